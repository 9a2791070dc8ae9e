/* SPDX-License-Identifier: Apache-2.0 */
/* core/format: MLproject files, commands, and the specs made from them. */
#include "format/command.h"
#include "format/mlproject.h"

#include "base/doc.h"
#include "format/shell.h"
#include "test.h"

#define N(a) (sizeof(a) / sizeof(*(a)))

static int parse(struct mk_call *call, const char *text, struct mk_mlproject *ret)
{
	mk_error_clear(call);
	return mk_mlproject_parse(call, "MLproject", text, strlen(text), ret);
}

static void keeps_texts_and_types(void)
{
	static const char text[] = "name: wine\n"
				   "conda_env: conda.yaml\n"
				   "entry_points:\n"
				   "  main:\n"
				   "    parameters:\n"
				   "      lr: {type: float, default: 7e-6}\n"
				   "      level: {type: int, default: None}\n"
				   "      flag: {type: string, default: --nocache}\n"
				   "      text: {default: 'yes'}\n"
				   "      path:\n"
				   "        type: str\n"
				   "        default:\n"
				   "          /a/b\n"
				   "      short: uri\n"
				   "      bare:\n"
				   "      empty: {type: str, default: ''}\n"
				   "      none: {type: str, default: null}\n"
				   "    command: >\n"
				   "      run {lr}\n"
				   "  test:\n"
				   "    parameters:\n"
				   "    command: |\n"
				   "      a\n"
				   "      b\n";
	static const struct {
		const char *name, *type, *value;
		bool plain;
	} want[] = {
		{"lr", "float", "7e-6", true},	       {"level", "int", "None", true},
		{"flag", "string", "--nocache", true}, {"text", NULL, "yes", false},
		{"path", "str", "/a/b", true},	       {"short", "uri", NULL, false},
		{"bare", NULL, NULL, false},	       {"empty", "str", "", false},
		{"none", "str", NULL, false},
	};
	_cleanup_call_ struct mk_call call;
	_cleanup_mlproject_ struct mk_mlproject project = {};

	mk_call_init(&call);
	CHECK_INT(parse(&call, text, &project), 0);
	CHECK_TEXT(project.name, "wine");
	CHECK_TEXT(project.conda_env, "conda.yaml");
	CHECK_INT(project.warnings.n, 0);
	NEED(project.n_entry_points == 2);

	const struct mk_entry_point *entry = &project.entry_points[0];

	NEED(entry->n_parameters == N(want));
	for (size_t i = 0; i < N(want); i++) {
		CHECK_TEXT(entry->parameters[i].name, want[i].name);
		CHECK_TEXT(entry->parameters[i].type, want[i].type);
		CHECK_TEXT(entry->parameters[i].value, want[i].value);
		CHECK_INT(entry->parameters[i].value_plain, want[i].plain);
	}
	CHECK_INT(entry->style, '>');
	CHECK_INT(entry->parameters[0].line, 6);
	CHECK_INT(project.entry_points[1].n_parameters, 0);
	CHECK_INT(project.entry_points[1].style, '|');
}

static void odd_keys_are_warnings(void)
{
	static const char text[] = "nmae: x\n"
				   "venv: y\n"
				   "entry_points:\n"
				   "  main:\n"
				   "    parameters:\n"
				   "      a: {type: int, default 100}\n"
				   "      b: {type: int, defualt: 1, description: how many}\n"
				   "    command: run {a}\n"
				   "    help: text\n";
	static const char *const want[] = {
		"MLproject:6: parameter a: \"default 100\" is no key and is ignored, write "
		"\"default: 100\"",
		"MLproject:7: parameter b: unknown key \"defualt\" is ignored, did you mean "
		"\"default\"?",
		"MLproject:9: entry point main: unknown key \"help\" is ignored",
		"MLproject:1: unknown key \"nmae\" is ignored, did you mean \"name\"?",
		"MLproject:2: unknown key \"venv\" is ignored",
	};
	_cleanup_call_ struct mk_call call;
	_cleanup_mlproject_ struct mk_mlproject project = {};

	mk_call_init(&call);
	CHECK_INT(parse(&call, text, &project), 0);
	CHECK_INT(project.warnings.n, N(want));
	for (size_t i = 0; i < N(want) && i < project.warnings.n; i++)
		CHECK_TEXT(project.warnings.v[i], want[i]);
}

static void wrong_shapes_are_refused(void)
{
	static const struct {
		const char *text, *error;
	} cases[] = {
		{"- a\n", "MLproject:1: not an MLproject, which is a map with entry_points:"},
		{"", "MLproject:1: not an MLproject, which is a map with entry_points:"},
		{"entry_points: [a]\n", "MLproject:1: entry_points must be a map, not a list"},
		{"entry_points:\n  main: run\n",
		 "MLproject:2: entry point main is not a map with command: and parameters:"},
		{"entry_points:\n  main:\n    command: [a, b]\n",
		 "MLproject:3: command of the entry point main is not a text (commands are joined by "
		 "&& or ;)"},
		{"entry_points:\n  main:\n    parameters:\n      x: [a]\n",
		 "MLproject:4: parameter x: a list, not a type or {type: …, default: …}"},
		{"entry_points:\n  main:\n    parameters:\n      x: {default: [1, 2]}\n",
		 "MLproject:4: default of the parameter x is a list: write it as one text in quotes, "
		 "as the command shall get it"},
		{"python_env: a\nconda_env: b\n",
		 "MLproject:2: both python_env and conda_env: a project has one environment"},
		{"docker_env: {volumes: []}\n", "MLproject:1: docker_env names no image"},
		{"python_env: /etc/x\n",
		 "MLproject:1: python_env: \"/etc/x\" is not a path beside the MLproject"},
	};
	_cleanup_call_ struct mk_call call;

	mk_call_init(&call);
	for (size_t i = 0; i < N(cases); i++) {
		_cleanup_mlproject_ struct mk_mlproject project = {};

		CHECK_INT(parse(&call, cases[i].text, &project), -EINVAL);
		CHECK_TEXT(call.error.text, cases[i].error);
	}
}

static void entry_points_are_found_or_suggested(void)
{
	static const struct {
		const char *name, *error;
	} cases[] = {
		{"train", NULL},
		{NULL, "MLproject has no entry point \"main\", it has train, evaluate"},
		{"trian", "MLproject has no entry point \"trian\", did you mean \"train\"?"},
		{"x/y.py", "MLproject has no entry point \"x/y.py\"; a script is run by `command: "
			   "python x/y.py`"},
	};
	_cleanup_call_ struct mk_call call;
	_cleanup_mlproject_ struct mk_mlproject project = {};

	mk_call_init(&call);
	CHECK_INT(parse(&call, "entry_points: {train: {command: a}, evaluate: {command: b}}",
			&project), 0);
	for (size_t i = 0; i < N(cases); i++) {
		const struct mk_entry_point *entry = NULL;

		mk_error_clear(&call);
		CHECK_INT(mk_mlproject_entry(&call, &project, cases[i].name, &entry),
			  cases[i].error ? -EINVAL : 0);
		CHECK_TEXT(call.error.text, cases[i].error);
		CHECK((entry != NULL) == (cases[i].error == NULL));
	}
}

/* command: of a spec with the value of x; the error or the command. */
static const char *command(struct mk_call *call, const char *text, char style, const char *x,
			   char **ret)
{
	_cleanup_pairs_ struct mk_pairs given = {};

	mk_error_clear(call);
	if (x && mk_pairs_set(&given, "x", x) < 0)
		abort();
	if (mk_command_plain(call, "s.yaml", 4, text, style, &given, ret) < 0)
		return call->error.text;
	return *ret;
}

static void lines_run_as_meant(void)
{
	static const struct {
		char style;
		const char *text, *want;
	} cases[] = {
		{'>', "python a.py\n  --a 1\n  --b 2\n", "python a.py --a 1 --b 2"},
		{'>', "python a.py\n  --a 1\n--b 2\n", "python a.py --a 1 --b 2"},
		{'>', "python a.py\n  --a\n{x}\n", "python a.py --a 1"},
		{'>', "python a.py \\\n  --a \\  \n  --b\n", "python a.py --a --b"},
		{'>', "python a.py \\ --a \\ --b\n", "python a.py --a --b"},
		{'>', "python my\\ dir/a.py\n", "python my\\ dir/a.py"},
		{'>', "python a.py\npython b.py\n", "python a.py\npython b.py"},
		{'>', "python a.py --t 'a\n  b' c\n", "python a.py --t 'a\n  b' c"},
		{'>', "python a.py\r\n  --a\r\n", "python a.py --a"},
		{'|', "python a.py\npython b.py\n", "python a.py\npython b.py"},
		{'|', "python a.py\n  --a 1\n\n  --b\n", "python a.py --a 1 --b"},
		{'|', "python a.py\n  {x}\n", "python a.py 1"},
		{'|', "if true; then\n  a\n  b\nfi\n", "if true; then\n  a\n  b\nfi"},
		{'|', "a \\\n  b\n", "a b"},
		{'|', "a \\\\\n  b\n", "a \\\\\n  b"},
		{'|', "cat <<E\n- a\n  - b \\\nE\n", "cat <<E\n- a\n  - b \\\nE\n"},
		{'"', "a\n  -b", "a -b"},
		{'"', "a\nb", "a\nb"},
		{0, "a   b", "a   b"},
		{0, "  a \\", "a"},
		{0, "{{a}} ${{B}}", "{a} ${B}"},
	};
	_cleanup_call_ struct mk_call call;

	mk_call_init(&call);
	for (size_t i = 0; i < N(cases); i++) {
		_cleanup_free_ char *got = NULL;

		CHECK_TEXT(command(&call, cases[i].text, cases[i].style,
				   strstr(cases[i].text, "{x}") ? "1" : NULL, &got),
			   cases[i].want);
	}
}

static void commands_are_refused_with_a_reason(void)
{
	static const struct {
		const char *text, *x, *want;
	} cases[] = {
		{"run {y}", "1",
		 "s.yaml:4: command: {y} is no parameter, did you mean {x}?"},
		{"run ${HOME}", NULL,
		 "s.yaml:4: command: {HOME} is no parameter; for a variable of the shell write "
		 "${{HOME}}, with two braces"},
		{"awk '{print $1}'", NULL,
		 "s.yaml:4: command: {print $1} is no parameter; a brace of the command itself is "
		 "written {{ or }}"},
		{"run {}", NULL,
		 "s.yaml:4: command: {} names no parameter; a brace of the command itself is written "
		 "{{ or }}"},
		{"run {x", "1", "s.yaml:4: command: a single { in the command; a brace of the command "
				"itself is written {{"},
		{"run x}", NULL, "s.yaml:4: command: a single } in the command; a brace of the command "
				 "itself is written }}"},
		{"run {x!r}", "1", "s.yaml:4: command: {x!r}: only a parameter's name can stand in the "
				   "braces: {x}"},
		{"run", "1", "s.yaml:4: command: it does not use the parameter {x}"},
		{" \n", NULL, "s.yaml:4: command: the command is empty"},
		{"echo 'a", NULL, "s.yaml:4: command: the command holds a ' that is not closed"},
		{"echo $(a", NULL, "s.yaml:4: command: the command holds $( without )"},
		{"bash -c 'echo {x}'", "a b",
		 "s.yaml:4: command: {x} stands in a text that a second shell reads (-c), where a "
		 "value may hold only letters, digits and @%+=:,./_- but it is a b"},
	};
	_cleanup_call_ struct mk_call call;

	mk_call_init(&call);
	for (size_t i = 0; i < N(cases); i++) {
		_cleanup_free_ char *got = NULL;

		CHECK_TEXT(command(&call, cases[i].text, 0, cases[i].x, &got), cases[i].want);
		CHECK_INT(call.error.code, EINVAL);
		CHECK(!got);
	}
}

static void entry_commands_check_their_values(void)
{
	static const char text[] = "entry_points:\n"
				   "  main:\n"
				   "    parameters:\n"
				   "      epochs: {type: int, default: 3}\n"
				   "      data: path\n"
				   "      page: uri\n"
				   "      unused: {default: 1}\n"
				   "    command: run {epochs} {data} {page}\n";
	static const struct {
		const char *given[8]; /* names and values */
		int error;
		const char *want; /* command or error */
	} cases[] = {
		{{"data", "a b", "page", "s3://x"}, 0, "run 3 'a b' s3://x"},
		{{"data", "file:///d", "page", "s3:x", "epochs", "1e2"}, 0, "run 1e2 /d s3:x"},
		{{"epochs", "1"}, EINVAL,
		 "entry point main of MLproject: no value for the parameters data, page"},
		{{"data", "a"}, EINVAL, "entry point main of MLproject: no value for the parameter page"},
		{{"data", "a", "page", "b"}, EINVAL,
		 "entry point main: the parameter page is a uri and needs an address such as "
		 "https://…, not \"b\""},
		{{"data", "s3://a", "page", "s3://b"}, EOPNOTSUPP,
		 "not supported yet: an address as value of the path parameter data: s3://a"},
		{{"epoch", "1"}, EINVAL,
		 "entry point main of MLproject has no parameter \"epoch\", did you mean \"epochs\"?"},
		{{"zzz", "1"}, EINVAL, "entry point main of MLproject has no parameter \"zzz\""},
	};
	_cleanup_call_ struct mk_call call;
	_cleanup_mlproject_ struct mk_mlproject project = {};

	mk_call_init(&call);
	NEED(parse(&call, text, &project) == 0);
	for (size_t i = 0; i < N(cases); i++) {
		_cleanup_pairs_ struct mk_pairs given = {}, values = {};
		_cleanup_list_ struct mk_list warnings = {};
		_cleanup_free_ char *got = NULL;

		for (size_t k = 0; cases[i].given[k]; k += 2)
			CHECK_INT(mk_pairs_set(&given, cases[i].given[k], cases[i].given[k + 1]), 0);
		mk_error_clear(&call);
		CHECK_INT(mk_command_entry(&call, "MLproject", project.entry_points, &given, &values,
					   &got, &warnings), -cases[i].error);
		CHECK_TEXT(cases[i].error ? call.error.text : got, cases[i].want);
		CHECK_INT(values.n, cases[i].error ? 0 : 4);
		if (i == 1) {
			CHECK_TEXT(mk_pairs_get(&values, "data"), "file:///d");
			CHECK_TEXT(warnings.v[0], "MLproject:4: entry point main: epochs is declared "
						  "int, but its value is no whole number");
			CHECK_TEXT(warnings.v[1], "MLproject:7: entry point main: the command does not "
						  "use the parameter unused");
		}
	}
}

static void template_reads_back(void)
{
	static const char text[] = "entry_points:\n"
				   "  main:\n"
				   "    parameters:\n"
				   "      lr: {type: float, default: 7e-6}\n"
				   "      text: {default: '7e-6: # a'}\n"
				   "      'odd key: x': {default: \"two\\nlines\"}\n"
				   "      data: path\n"
				   "      'no': {type: \"a\\nb\", default: None}\n"
				   "    command: run\n";
	static const char want[] =
		"# Entry point main of p/MLproject as a complete run spec: cp it into the project's "
		"runs/new as it is,\n"
		"# or change it first.\n"
		"\n"
		"name: sample                        # {parameter} and {site} are filled in\n"
		"experiment: wine                    # made if missing\n"
		"code:\n"
		"  repository: sample\n"
		"  branch: main                      # or commit: <sha>, which stays\n"
		"mlproject: p/MLproject\n"
		"entry_point: main\n"
		"parameters:\n"
		"  lr: 7e-6                          # float\n";
	const struct mk_entry_spec spec = {.repository = "sample", .branch = "main",
					   .mlproject = "p/MLproject", .experiment = "wine",
					   .site = "local"};
	_cleanup_call_ struct mk_call call;
	_cleanup_mlproject_ struct mk_mlproject project = {};
	_cleanup_buf_ struct mk_buf out = MK_BUF(MK_LIMIT_TEXT);
	_cleanup_(mk_doc_freep) struct mk_doc *doc = NULL;

	mk_call_init(&call);
	NEED(parse(&call, text, &project) == 0);
	CHECK_INT(mk_entry_spec_write(&call, &spec, project.entry_points, &out), 0);
	CHECK(strncmp(mk_buf_text(&out), want, strlen(want)) == 0);
	CHECK(strstr(mk_buf_text(&out), "\n  # data:                           # path, needs a value\n"));
	CHECK_INT(mk_doc_parse(&call, "t", mk_buf_text(&out), out.len, &doc), 0);
	NEED(doc);

	struct mk_doc *parameters = mk_doc_get(doc, "parameters");

	NEED(parameters && parameters->n == 4);
	for (size_t i = 0; i < project.entry_points->n_parameters; i++) {
		const struct mk_parameter *parameter = &project.entry_points->parameters[i];
		struct mk_doc *value = mk_doc_get(parameters, parameter->name);

		CHECK_TEXT(value ? value->text : NULL, parameter->value);
	}
	CHECK_TEXT(mk_doc_get(doc, "site")->text, "local");
}

static void shell_words(void)
{
	static const struct {
		const char *text, *quoted, *expanded;
	} cases[] = {
		{"a/b", "a/b", "a/b"},
		{"", "''", "\"\""},
		{"a b", "'a b'", "\"a b\""},
		{"it's", "'it'\"'\"'s'", "\"it's\""},
		{"$USER/x", "'$USER/x'", "\"$USER/x\""},
		{"$(a \"$B\" | c)d", "'$(a \"$B\" | c)d'", "\"$(a \"$B\" | c)d\""},
		{"a\"b", "'a\"b'", "\"a\\\"b\""},
		{"a\\", "'a\\'", "\"a\\\\\""},
	};

	for (size_t i = 0; i < N(cases); i++) {
		_cleanup_buf_ struct mk_buf quoted = MK_BUF(100), expanded = MK_BUF(100);

		mk_shell_quote(&quoted, cases[i].text);
		mk_shell_expand(&expanded, cases[i].text);
		CHECK_TEXT(mk_buf_text(&quoted), cases[i].quoted);
		CHECK_TEXT(mk_buf_text(&expanded), cases[i].expanded);
	}
}

int main(void)
{
	return RUN(TEST(keeps_texts_and_types), TEST(odd_keys_are_warnings),
		   TEST(wrong_shapes_are_refused), TEST(entry_points_are_found_or_suggested),
		   TEST(lines_run_as_meant), TEST(commands_are_refused_with_a_reason),
		   TEST(entry_commands_check_their_values), TEST(template_reads_back),
		   TEST(shell_words));
}
