/* SPDX-License-Identifier: Apache-2.0 */
/* core/format/{spec,sweep}: run specs, their defaults, the runs they make, and what is refused. */
#include "format/sweep.h"

#include "test.h"

#define N(a) (sizeof(a) / sizeof(*(a)))

static struct mk_specs read_specs(struct mk_call *call, const char *text)
{
	struct mk_specs specs = {};

	mk_error_clear(call);
	(void)!mk_specs_read(call, "runs/new", text, strlen(text), &specs);
	return specs;
}

/* One spec over defaults.yaml. */
static int merge(struct mk_call *call, const char *defaults, const char *text, struct mk_doc **low,
		 struct mk_specs *specs, struct mk_spec *ret)
{
	*specs = read_specs(call, text);
	if (specs->n != 1)
		return -EINVAL;

	int r = mk_spec_read_defaults(call, "defaults.yaml", defaults, strlen(defaults), low);

	if (r < 0)
		return r;

	const struct mk_doc *layers[] = {NULL, *low, specs->v[0]};

	return mk_spec_merge(call, layers, N(layers), ret);
}

static void bad_specs_are_refused_with_the_sentence(void)
{
	static const struct {
		const char *text;
		int code;
		const char *error;
	} rows[] = {
		{"", EINVAL,
		 "runs/new: nothing to run: write a run spec, or a script that begins with #!"},
		{"---\n---\n# nothing\n", EINVAL,
		 "runs/new: nothing to run: write a run spec, or a script that begins with #!"},
		{"entry_pont: train\n", EINVAL,
		 "runs/new:1: unknown key \"entry_pont\", did you mean \"entry_point\"?"},
		{"name: a\nxyzzy: 1\n", EINVAL, "runs/new:2: unknown key \"xyzzy\""},
		{"xyzzy:\n", EINVAL, "runs/new:1: unknown key \"xyzzy\""},
		{"just a text\n", EINVAL,
		 "runs/new:1: a spec must be a map of keys and values, not a text"},
		{"- a\n", EINVAL,
		 "runs/new:1: a spec must be a map of keys and values, not a list"},
		{"name: [a]\n", EINVAL, "runs/new:1: name must be a text, not a list"},
		{"name: ''\n", EINVAL, "runs/new:1: name is empty"},
		{"parameters: [1]\n", EINVAL,
		 "runs/new:1: parameters must be a map of keys and values, not a list"},
		{"parameters:\n  layers: [64, 32]\n", EINVAL,
		 "runs/new:2: parameters: layers must be a text: a list as one value needs quotes, "
		 "a "
		 "run for each value is made by sweep:"},
		{"sweep: {lr: []}\n", EINVAL, "runs/new:1: sweep: lr has no values"},
		{"sweep:\n  lr:\n    - 1\n    - {a: 1}\n", EINVAL,
		 "runs/new:4: sweep: lr: item 2 is not a text"},
		{"parameters: {lr: 1}\nsweep: {lr: [1, 2]}\n", EINVAL,
		 "runs/new:2: lr is in parameters and in sweep: only one can be meant"},
		{"name: a\n\n\ndata: [{reference: tweets}]\n", EOPNOTSUPP,
		 "not supported yet: data (line 4)"},
		{"schedule: daily\n", EOPNOTSUPP, "not supported yet: schedule (line 1)"},
		{"code: develop\n", EINVAL,
		 "runs/new:1: code must be a map of keys and values: write code: {repository: "
		 "develop}"},
		{"code: /home/ana/a\n", EINVAL,
		 "runs/new:1: code must be a map of keys and values: write code: {path: "
		 "/home/ana/a}"},
		{"code: [a]\n", EINVAL,
		 "runs/new:1: code must be a map of keys and values, not a list"},
		{"code: a2\nbranch: develop\n", EINVAL,
		 "runs/new:2: unknown key \"branch\": write code: {repository: a2, branch: "
		 "develop}"},
		{"code: a2\ncommit: 12ab\n", EINVAL,
		 "runs/new:2: unknown key \"commit\": write code: {repository: a2, commit: 12ab}"},
		{"name: a\nbranch: develop\n", EINVAL,
		 "runs/new:2: unknown key \"branch\": write code: {branch: develop}"},
		{"code: {repository: a2}\nbranch: develop\n", EINVAL,
		 "runs/new:2: unknown key \"branch\": write code: {branch: develop}"},
		{"Resources: {Nodes: 1}\n", EINVAL,
		 "runs/new:1: unknown key \"Resources\": write override: {Resources: …}"},
		{"queue: booster\n", EINVAL,
		 "runs/new:1: unknown key \"queue\": write override: {Resources: {Queue: "
		 "booster}}"},
		{"project: p\n", EINVAL,
		 "runs/new:1: unknown key \"project\": a run belongs to the project whose runs/new "
		 "it is written to"},
		{"artifacts: [a, /etc/passwd]\n", EINVAL,
		 "runs/new:1: artifacts: \"/etc/passwd\" is absolute: what is copied out lies in the "
		 "working directory, \"etc/passwd\""},
		{"artifacts: out/../../x\n", EINVAL,
		 "runs/new:1: artifacts: \"out/../../x\" leads out of the working directory"},
		{"code: {branhc: develop}\n", EINVAL,
		 "runs/new:1: unknown key \"branhc\", did you mean \"branch\"?"},
		{"code: {path: sub/dir}\n", EINVAL,
		 "runs/new:1: code: path must be absolute, beginning with /, not \"sub/dir\""},
		{"code: {path: /a, branch: b}\n", EINVAL,
		 "runs/new:1: code: path is a directory of this machine: it has no repository and "
		 "no "
		 "branch"},
		{"command: a\nentry_point: b\n", EINVAL,
		 "runs/new:1: command and entry_point: only one can be meant"},
		{"script: echo\n", EINVAL,
		 "runs/new:1: script must begin with #! and the program that runs it"},
		{"after: {a: b}\n", EINVAL,
		 "runs/new:1: after must be a text or a list of texts, not a map"},
		{"backend_config: [a]\n", EINVAL,
		 "runs/new:1: backend_config must be a path in the repository or a map, not a "
		 "list"},
		{"override: 5\n", EINVAL,
		 "runs/new:1: override must be a map of keys and values, not a text"},
		{"name: a\n---\nname: b\nsite: {}\n", EINVAL,
		 "runs/new:4: site must be a text or a list of texts, not a map"},
		{"name:\n\ta\n", EINVAL, "runs/new:2: a tab in column 1: indent with blanks"},
		{"name: \xff\n", EINVAL, "runs/new:1: not UTF-8: the byte 0xff"},
		{"#!/bin/sh\r\necho\r\n", EINVAL,
		 "runs/new:1: the script has the line ends of Windows: no program would be found "
		 "for "
		 "it; dos2unix turns them"},
		{"#!/bin/sh\n# \xe4\n", EINVAL,
		 "runs/new:2: the script is not UTF-8: the byte 0xe4"},
	};
	_cleanup_call_ struct mk_call call;

	mk_call_init(&call);
	for (size_t i = 0; i < N(rows); i++) {
		_cleanup_specs_ struct mk_specs specs = read_specs(&call, rows[i].text);
		_cleanup_spec_ struct mk_spec spec = {};

		/* What only together makes no sense is told by laying it over nothing. */
		if (specs.n == 1)
			(void)!mk_spec_merge(&call, (const struct mk_doc *const *)specs.v, 1,
					     &spec);
		CHECK_INT(call.error.code, rows[i].code);
		CHECK_TEXT(call.error.text, rows[i].error);
	}

	_cleanup_buf_ struct mk_buf big = MK_BUF(3 << 20);
	struct mk_specs specs = {};

	for (int i = 0; i < 2 << 20; i++)
		(void)mk_buf_putc(&big, i ? 'a' : '#');
	CHECK_INT(mk_specs_read(&call, "runs/new", big.data, big.len, &specs), -EFBIG);
	CHECK_TEXT(call.error.text, "runs/new: 2097152 bytes, at most 1 MiB is taken");
	big.data[1] = '!';
	CHECK_INT(mk_specs_read(&call, "runs/new", big.data, big.len, &specs), -EFBIG);
}

static void several_documents_are_several_specs(void)
{
	_cleanup_call_ struct mk_call call;

	mk_call_init(&call);

	_cleanup_specs_ struct mk_specs specs =
		read_specs(&call, "---\nname: a\n---\nname: b\n---\n");

	CHECK_TEXT(call.error.text, NULL);
	CHECK_INT(specs.n, 2);
}

static void scripts_are_taken_whole(void)
{
	static const char text[] = "#!/bin/bash\n#SBATCH --nodes=4\necho: {x\n---\n";
	_cleanup_call_ struct mk_call call;
	_cleanup_(mk_doc_freep) struct mk_doc *low = NULL;
	_cleanup_specs_ struct mk_specs specs = {};
	_cleanup_spec_ struct mk_spec spec = {};

	mk_call_init(&call);
	NEED(merge(&call, "entry_point: train\nexperiment: e\n", text, &low, &specs, &spec) == 0);
	CHECK_TEXT(mk_spec_text(spec.script), text);
	CHECK_TEXT(mk_spec_text(spec.entry_point), NULL);
	CHECK_TEXT(mk_spec_text(spec.experiment), "e");
}

static void specs_lie_over_defaults(void)
{
	static const char defaults[] =
		"name: low\ncode: {repository: r, branch: dev}\nentry_point: train\nmlproject: "
		"a/MLproject\n"
		"parameters: {a: 1, b: 2, c: 3}\nsweep: {s: [1], t: [2]}\naccount: acc\n"
		"backend_config: {Resources: {Nodes: 1}}\noverride: {Resources: {Queue: q, Nodes: "
		"2}}\n"
		"artifacts: [x]\n";
	_cleanup_call_ struct mk_call call;
	_cleanup_(mk_doc_freep) struct mk_doc *low = NULL;
	_cleanup_specs_ struct mk_specs specs = {};
	_cleanup_spec_ struct mk_spec spec = {};

	mk_call_init(&call);
	NEED(merge(&call, defaults,
		   "code: {commit: abc}\nparameters: {b: 7e-6, s: 5}\nsweep: {a: [1, 2]}\naccount: "
		   "null\n"
		   "backend_config: {Exclude: [y]}\noverride: {Resources: {Queue: null}}\n",
		   &low, &specs, &spec) == 0);
	CHECK_TEXT(mk_spec_text(spec.name), "low");
	CHECK_TEXT(mk_spec_text(spec.repository), "r");
	CHECK_TEXT(mk_spec_text(spec.branch), NULL);
	CHECK_TEXT(mk_spec_text(spec.commit), "abc");
	CHECK_TEXT(mk_spec_text(spec.account), NULL);
	CHECK_INT(spec.parameters->n, 3); /* b, c, s */
	CHECK_TEXT(spec.parameters->items[0]->text, "7e-6");
	CHECK_TEXT(spec.parameters->items[0]->source, "runs/new");
	CHECK_TEXT(spec.parameters->items[1]->source, "defaults.yaml");
	CHECK_INT(spec.parameters->items[1]->line, 5);
	CHECK_INT(spec.sweep->n, 1);
	CHECK_TEXT(spec.sweep->keys[0]->text, "a");
	CHECK_INT(spec.backend_config->n, 1);
	CHECK_TEXT(spec.backend_config->keys[0]->text, "Exclude");
	CHECK_INT(spec.override->items[0]->n, 1);
	CHECK_INT(mk_spec_count(spec.artifacts), 1);
	/* The defaults are as they were: they serve the next spec of the same write. */
	CHECK_INT(low->n, 10);
	CHECK_INT(mk_doc_get(low, "parameters")->n, 3);
}

static void what_is_run_replaces_what_was(void)
{
	static const struct {
		const char *defaults, *spec, *command, *entry, *path;
	} rows[] = {
		{"command: c\n", "entry_point: e\n", NULL, "e", NULL},
		{"entry_point: e\n", "command: c\n", "c", NULL, NULL},
		{"code: {path: /a}\n", "code: {branch: b}\n", NULL, NULL, NULL},
		{"code: {repository: r}\n", "code: {path: /a}\n", NULL, NULL, "/a"},
	};
	_cleanup_call_ struct mk_call call;

	mk_call_init(&call);
	for (size_t i = 0; i < N(rows); i++) {
		_cleanup_(mk_doc_freep) struct mk_doc *low = NULL;
		_cleanup_specs_ struct mk_specs specs = {};
		_cleanup_spec_ struct mk_spec spec = {};

		CHECK_INT(merge(&call, rows[i].defaults, rows[i].spec, &low, &specs, &spec), 0);
		CHECK_TEXT(mk_spec_text(spec.command), rows[i].command);
		CHECK_TEXT(mk_spec_text(spec.entry_point), rows[i].entry);
		CHECK_TEXT(mk_spec_text(spec.path), rows[i].path);
		if (spec.path)
			CHECK(!spec.repository);
	}
}

static void defaults_are_checked(void)
{
	static const struct {
		const char *text;
		int r;
		const char *error;
	} rows[] = {
		{"", 0, NULL},
		{"account: a\n", 0, NULL},
		{"acount: a\n", -EINVAL,
		 "defaults.yaml:1: unknown key \"acount\", did you mean \"account\"?"},
		{"a: 1\n---\nb: 1\n", -EINVAL,
		 "defaults.yaml:2: a second document begins here, one is taken"},
		{"data: []\n", -EOPNOTSUPP, "defaults.yaml: not supported yet: data (line 1)"},
	};
	_cleanup_call_ struct mk_call call;

	mk_call_init(&call);
	for (size_t i = 0; i < N(rows); i++) {
		mk_error_clear(&call);
		CHECK_INT(mk_spec_check_defaults(&call, "defaults.yaml", rows[i].text,
						 strlen(rows[i].text)),
			  rows[i].r);
		CHECK_TEXT(call.error.text, rows[i].error);
	}
	CHECK_INT(mk_spec_check_defaults(&call, "defaults.yaml", mk_spec_defaults_text,
					 strlen(mk_spec_defaults_text)),
		  0);

	/* Each line of the template is right when its # is taken away. */
	_cleanup_buf_ struct mk_buf bare = MK_BUF(10000);
	const char *line = strstr(mk_spec_defaults_text, "# name:");

	for (; *line; line += strcspn(line, "\n") + 1)
		(void)mk_buf_put(&bare, line + 2, strcspn(line, "\n") - 1);
	CHECK_INT(mk_spec_check_defaults(&call, "defaults.yaml", bare.data, bare.len), 0);
	CHECK_TEXT(call.error.text && bare.error ? call.error.text : NULL, NULL);
}

static void sweeps_make_every_combination(void)
{
	static const char *const want[] = {
		"1 a x", "1 b x", "2 a x", "2 b x", "1 a y", "1 b y", "2 a y", "2 b y",
	};
	_cleanup_call_ struct mk_call call;
	_cleanup_(mk_doc_freep) struct mk_doc *low = NULL;
	_cleanup_specs_ struct mk_specs specs = {};
	_cleanup_spec_ struct mk_spec spec = {};
	size_t n = 0;

	mk_call_init(&call);
	NEED(merge(&call, "parameters: {fix: 0}\n", "sweep: {p: [1, 2], q: [a, b]}\nsite: [x, y]\n",
		   &low, &specs, &spec) == 0);
	CHECK_INT(mk_sweep_count(&call, &spec, &n), 0);
	NEED(n == N(want));
	for (size_t i = 0; i < n; i++) {
		_cleanup_pairs_ struct mk_pairs values = {};
		_cleanup_buf_ struct mk_buf got = MK_BUF(100);
		const struct mk_doc *site = NULL;

		CHECK_INT(mk_sweep_at(&call, &spec, i, &values, &site), 0);
		CHECK_TEXT(mk_pairs_get(&values, "fix"), "0");
		(void)mk_buf_printf(&got, "%s %s %s", mk_pairs_get(&values, "p"),
				    mk_pairs_get(&values, "q"), site->text);
		CHECK_TEXT(mk_buf_text(&got), want[i]);
	}
}

static void sweeps_are_bounded(void)
{
	_cleanup_call_ struct mk_call call;
	_cleanup_buf_ struct mk_buf text = MK_BUF(100000);
	size_t n;

	mk_call_init(&call);
	(void)mk_buf_puts(&text, "name: a\nsweep:\n");
	for (int k = 0; k < 30; k++) {
		(void)mk_buf_printf(&text, "  k%d: [", k);
		for (int v = 0; v < 11; v++)
			(void)mk_buf_printf(&text, "%d, ", v);
		(void)mk_buf_puts(&text, "]\n");
	}

	_cleanup_specs_ struct mk_specs specs = read_specs(&call, mk_buf_text(&text));
	_cleanup_spec_ struct mk_spec spec = {};

	NEED(specs.n == 1);
	NEED(mk_spec_merge(&call, (const struct mk_doc *const *)specs.v, 1, &spec) == 0);
	CHECK_INT(mk_sweep_count(&call, &spec, &n), -EINVAL);
	CHECK_TEXT(call.error.text, "runs/new:3: the sweep makes more than 10000 runs");
}

static void names_are_filled_in(void)
{
	static const struct {
		const char *name, *filled, *error;
	} rows[] = {
		{"lr-{learning_rate}-{site}", "lr-1e-5-local", NULL},
		{"plain", "plain", NULL},
		{"a{{b}}", "a{b}", NULL},
		{"{learning_rte}", NULL,
		 "name: name: {learning_rte} is no parameter of this run, did you mean "
		 "{learning_rate}?"},
		{"{zzz}", NULL, "name: name: {zzz} is no parameter of this run"},
		{"{a", NULL, "name: name: a { without }; a brace is {{"},
		{"a}", NULL, "name: name: a } without {; a brace is }}"},
	};
	_cleanup_call_ struct mk_call call;
	_cleanup_pairs_ struct mk_pairs values = {};

	mk_call_init(&call);
	CHECK_INT(mk_pairs_set(&values, "learning_rate", "1e-5"), 0);
	for (size_t i = 0; i < N(rows); i++) {
		_cleanup_buf_ struct mk_buf buf = MK_BUF(1000);

		mk_error_clear(&call);

		int r = mk_spec_fill(&call, NULL, "name", rows[i].name, &values, "local", &buf);

		CHECK_INT(r, rows[i].error ? -EINVAL : 0);
		CHECK_TEXT(call.error.text, rows[i].error);
		if (!r)
			CHECK_TEXT(mk_buf_text(&buf), rows[i].filled);
	}

	static const char *const bad[] = {"", "a\nb", "\x1b[2J"};

	for (size_t i = 0; i < N(bad); i++)
		CHECK_INT(mk_spec_check_name(&call, NULL, bad[i]), -EINVAL);
	CHECK_INT(mk_spec_check_name(&call, NULL, "-rf \"q\" ../.. 雨"), 0);
}

static void what_is_kept_reads_back(void)
{
	_cleanup_call_ struct mk_call call;
	_cleanup_(mk_doc_freep) struct mk_doc *low = NULL;
	_cleanup_specs_ struct mk_specs specs = {}, again = {};
	_cleanup_spec_ struct mk_spec spec = {}, back = {};
	_cleanup_pairs_ struct mk_pairs values = {};
	_cleanup_list_ struct mk_list after = {};
	_cleanup_buf_ struct mk_buf text = MK_BUF(10000);

	mk_call_init(&call);
	NEED(merge(&call, "",
		   "command: >\n  python a.py\n    --x {x}\noverride: {Resources: {Nodes: 2}}\n",
		   &low, &specs, &spec) == 0);
	CHECK_INT(mk_pairs_set(&values, "x", "7e-6"), 0);
	CHECK_INT(mk_pairs_set(&values, "y", "null"), 0);
	CHECK_INT(mk_pairs_set(&values, "z", "$(touch x); \"'"), 0);
	CHECK_INT(mk_list_add(&after, "prep.1a2b3c4d"), 0);
	mk_spec_write(&text,
		      &(struct mk_spec_pinned){.name = "n: 1",
					       .experiment = "e",
					       .repository = "r",
					       .branch = "dev",
					       .commit = "0123456789012345678901234567890123456789",
					       .command = spec.command,
					       .parameters = &values,
					       .after = &after,
					       .site = "local",
					       .override = spec.override});

	static const char want[] =
		"name: 'n: 1'\nexperiment: e\ncode:\n  repository: r\n  branch: dev\n"
		"  commit: '0123456789012345678901234567890123456789'\n"
		"command: >\n  python a.py\n    --x {x}\nparameters:\n  x: 7e-6\n  'y': 'null'\n"
		"  z: $(touch x); \"'\nafter:\n  - prep.1a2b3c4d\nsite: local\n"
		"override:\n  Resources:\n    Nodes: 2\n"
		"# not set; null keeps later defaults out\n"
		"sweep: null\naccount: null\nbackend_config: null\nartifacts: null\n";

	CHECK_TEXT(mk_buf_text(&text), want);

	/* Defaults written later change nothing. */
	_cleanup_(mk_doc_freep) struct mk_doc *later = NULL;

	NEED(merge(&call, "account: a\nsweep: {x: [1, 2]}\nentry_point: e\nartifacts: [a]\n",
		   mk_buf_text(&text), &later, &again, &back) == 0);
	CHECK(!back.account && !back.sweep && !back.artifacts && !back.entry_point);
	CHECK_TEXT(mk_spec_text(back.command), mk_spec_text(spec.command));
	CHECK_INT(back.command->style, '>');
	CHECK_TEXT(mk_doc_get((struct mk_doc *)back.parameters, "y")->text, "null");
}

int main(void)
{
	return RUN(TEST(bad_specs_are_refused_with_the_sentence),
		   TEST(several_documents_are_several_specs), TEST(scripts_are_taken_whole),
		   TEST(specs_lie_over_defaults), TEST(what_is_run_replaces_what_was),
		   TEST(defaults_are_checked), TEST(sweeps_make_every_combination),
		   TEST(sweeps_are_bounded), TEST(names_are_filled_in),
		   TEST(what_is_kept_reads_back));
}
