/* SPDX-License-Identifier: Apache-2.0 */
/* Editable texts and config.yaml: kept to the letter, checked, never lost to another writer. */
#include <mantik/project.h>
#include <mantik/text.h>

#include "domain/texts.h"
#include "runs.h"

static int put(struct platform *p, enum mk_text_kind kind, int64_t owner, const char *text,
	       uint64_t seen)
{
	return mk_text_put(&p->call, p->m, kind, owner, text, strlen(text), seen);
}

static void fresh_text_is_a_template(void)
{
	PLATFORM(p);
	int64_t id = make_project(&p, "rain");
	_cleanup_(mk_text_free) struct mk_text text = {}, stat = {};

	CHECK_INT(mk_text_get(&p.call, p.m, MK_TEXT_PROJECT, id, &text), 0);
	CHECK(strncmp(text.text, "## project.yaml of rain:", 24) == 0);
	CHECK_INT(text.generation, 1);
	CHECK_INT(mk_text_stat(&p.call, p.m, MK_TEXT_PROJECT, id, &stat), 0);
	CHECK_INT(stat.len, text.len);
	CHECK_INT(stat.len, strlen(text.text));
	CHECK_INT(mk_text_get(&p.call, p.m, MK_TEXT_PROJECT, 99, &stat), -ENOENT);
	/* saving it unchanged changes nothing */
	CHECK_INT(put(&p, MK_TEXT_PROJECT, id, text.text, 1), 0);
	CHECK_INT(mk_project_remove(&p.call, p.m, id), 0);
}

/* Every `# key: value` of a template, uncommented alone, is valid (repository.yaml with its uri);
 * `##` begins prose. */
static void templates_are_valid_when_uncommented(void)
{
	_cleanup_call_ struct mk_call call;

	mk_call_init(&call);
	for (int kind = 0; kind < MK_TEXT_KINDS; kind++) {
		_cleanup_buf_ struct mk_buf text = MK_BUF(MK_LIMIT_TEXT);

		mk_text_template((enum mk_text_kind)kind, "x", 7, &text);
		for (const char *line = mk_buf_text(&text); *line;) {
			size_t n = strcspn(line, "\n");
			_cleanup_buf_ struct mk_buf one = MK_BUF(MK_LIMIT_TEXT);
			_cleanup_meaning_ struct mk_meaning meaning = {};

			if (line[0] == '#' && line[1] == ' ' && kind != MK_TEXT_README) {
				if (kind == MK_TEXT_REPOSITORY)
					mk_buf_puts(&one, "uri: /srv/git/a\n");
				mk_buf_put(&one, line + 2, n - 2);
				if (mk_text_check(&call, (enum mk_text_kind)kind, one.data, one.len,
						  &meaning) < 0) {
					CHECK(false);
					printf("# %s: %s\n", one.data, call.error.text);
				}
			}
			line += n + (line[n] == '\n');
		}
	}
}

static void texts_mean_something(void)
{
	PLATFORM(p);
	int64_t id = make_project(&p, "rain"), e = 0;
	_cleanup_(mk_project_free) struct mk_project project = {};
	_cleanup_(mk_experiment_free) struct mk_experiment experiment = {};

	CHECK_INT(put(&p, MK_TEXT_PROJECT, id, "site: juwels # ours\nmembers: {ben: Guest}\n", 1),
		  0);
	CHECK_INT(mk_project_get(&p.call, p.m, id, &project), 0);
	CHECK_TEXT(project.site, "juwels");
	CHECK(project.touched);
	CHECK_INT(mk_experiment_make(&p.call, p.m, id, "e", &e), 0);
	CHECK_INT(put(&p, MK_TEXT_EXPERIMENT, e,
		      "primary_metric: {name: f1, goal: maximize, of: best}\n", 1),
		  0);
	CHECK_INT(mk_experiment_get(&p.call, p.m, e, &experiment), 0);
	CHECK_TEXT(experiment.metric, "f1");
	CHECK(experiment.maximize && experiment.best && experiment.touched);
	CHECK_INT(mk_experiment_remove(&p.call, p.m, e), -ENOTEMPTY);
}

static void bad_texts_are_refused_whole(void)
{
	static const struct {
		enum mk_text_kind kind;
		const char *text, *error;
	} cases[] = {
		{MK_TEXT_PROJECT, "name: x\npublic: yes\nonwer: ana\n",
		 "project.yaml:3: unknown key \"onwer\", did you mean \"owner\"?"},
		{MK_TEXT_PROJECT, "members: {ben: King}\n",
		 "project.yaml:1: ben is \"King\", not one of Guest, Reporter, Researcher, "
		 "Maintainer, Owner"},
		{MK_TEXT_PROJECT, "- a\n", "project.yaml:1: must be `key: value` lines"},
		{MK_TEXT_REPOSITORY, "platform: github\n",
		 "repository.yaml: uri is missing: the address of a git repository, or an absolute "
		 "path"},
		{MK_TEXT_REPOSITORY, "# ours\nuri: -oProxyCommand=x\n",
		 "repository.yaml:2: uri -oProxyCommand=x: cannot begin with -"},
		{MK_TEXT_DEFAULTS, "entrypoint: x\n",
		 "defaults.yaml:1: unknown key \"entrypoint\", did you mean \"entry_point\"?"},
	};
	static const struct {
		const char *text;
	} experiments[] = {
		{"primary_metric: {goal: maximize}\n"},
		{"primary_metric: {name: f1, goal: up}\n"},
		{"primary_metric: {name: f1, off: best}\n"},
		{"primary_metric: f1\n"},
		{"note: [a]\n"},
		{"note: a\n\tb: c\n"},
	};
	_cleanup_call_ struct mk_call call;

	mk_call_init(&call);
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		struct mk_meaning meaning = {};

		CHECK_INT(mk_text_check(&call, cases[i].kind, cases[i].text, strlen(cases[i].text),
					&meaning),
			  -EINVAL);
		CHECK_TEXT(call.error.text, cases[i].error);
		mk_meaning_free(&meaning);
	}
	for (size_t i = 0; i < sizeof(experiments) / sizeof(*experiments); i++) {
		struct mk_meaning meaning = {};

		CHECK_INT(mk_text_check(&call, MK_TEXT_EXPERIMENT, experiments[i].text,
					strlen(experiments[i].text), &meaning),
			  -EINVAL);
		mk_meaning_free(&meaning);
	}

	PLATFORM(p);
	int64_t id = make_project(&p, "rain");
	_cleanup_(mk_text_free) struct mk_text text = {};
	_cleanup_free_ char *big = malloc((1 << 20) + 2);

	CHECK_INT(put(&p, MK_TEXT_PROJECT, id, "owner: ana\n", 0), 0);
	CHECK_INT(put(&p, MK_TEXT_PROJECT, id, "onwer: ana\n", 0), -EINVAL);
	memset(big, '#', (1 << 20) + 1);
	CHECK_INT(mk_text_put(&p.call, p.m, MK_TEXT_README, id, big, (1 << 20) + 1, 0), -EFBIG);
	CHECK_INT(mk_text_put(&p.call, p.m, MK_TEXT_README, id, big, 1 << 20, 0), 0);
	CHECK_INT(mk_text_get(&p.call, p.m, MK_TEXT_PROJECT, id, &text), 0);
	CHECK_TEXT(text.text, "owner: ana\n");
}

static void later_writer_must_have_read(void)
{
	PLATFORM(p);
	int64_t id = make_project(&p, "rain");
	_cleanup_(mk_text_free) struct mk_text text = {};

	CHECK_INT(put(&p, MK_TEXT_README, id, "one\n", 1), 0);
	CHECK_INT(put(&p, MK_TEXT_README, id, "two\n", 1), -EBUSY);
	NEED(p.call.error.text);
	CHECK(strstr(p.call.error.text, "README.md: changed by ") != NULL);
	CHECK_INT(put(&p, MK_TEXT_README, id, "one\n", 1), 0); /* the same text again */
	CHECK_INT(put(&p, MK_TEXT_README, id, "two\n", 2), 0);
	CHECK_INT(put(&p, MK_TEXT_README, id, "", 0), 0);
	CHECK_INT(mk_text_get(&p.call, p.m, MK_TEXT_README, id, &text), 0);
	CHECK_INT(text.len, 0);
	CHECK_INT(text.generation, 4);
	CHECK(strchr(text.who, '@') != NULL);
	mk_text_free(&text);
	CHECK_INT(mk_text_put(&p.call, p.m, MK_TEXT_README, id, "a\0\xff", 3, 0), 0);
	CHECK_INT(mk_text_get(&p.call, p.m, MK_TEXT_README, id, &text), 0);
	CHECK_INT(text.len, 3);
	CHECK(memcmp(text.text, "a\0\xff", 3) == 0);
}

static void configuration_is_read(void)
{
	PLATFORM(p);
	_cleanup_free_ char *machine = tmpdir_path(p.dir, "machine.yaml");
	_cleanup_free_ char *own = tmpdir_path(p.config, "config.yaml");
	static const char all[] = "cancel_grace: 1s\nslots: 4\n", mine[] = "slots: 2 # mine\n";
	static const char bad[] = "slots: 2\nslot: 3\n", range[] = "\ncancel_grace: 2h\n";

	NEED(mkdir(p.config, 0700) == 0);
	NEED(tmpdir_write(machine, all, strlen(all)) && tmpdir_write(own, mine, strlen(mine)));
	setenv("MANTIK_SYSTEM_CONFIG", machine, 1);
	CHECK_INT(platform_open(&p), 0);
	CHECK_INT(mantik_option_duration(p.m, "cancel_grace"), MK_SEC);
	CHECK_INT(mantik_option_int(p.m, "slots"), 2);
	NEED(tmpdir_write(own, bad, strlen(bad)));
	CHECK_INT(platform_open(&p), -EINVAL);
	CHECK(strstr(p.call.error.text,
		     "config.yaml:2: unknown key \"slot\", did you mean \"slots\"?") != NULL);
	NEED(tmpdir_write(own, range, strlen(range)));
	CHECK_INT(platform_open(&p), -EINVAL);
	CHECK(strstr(p.call.error.text,
		     "config.yaml:2: cancel_grace: \"2h\" is not a duration of 0s … 1h") != NULL);
	unsetenv("MANTIK_SYSTEM_CONFIG");
}

static void info_is_written_two_ways(void)
{
	PLATFORM(p);
	int64_t id = make_runs(&p, (struct made_run){.project_id = make_project(&p, "yes"),
						     .experiment = "e",
						     .name = "r",
						     .status = MK_FAILED,
						     .uid = "1a2b3c4d00000000000000000000000f"});
	_cleanup_(mk_run_free) struct mk_run run = {};
	_cleanup_buf_ struct mk_buf yaml = MK_BUF(MK_LIMIT_TEXT), json = MK_BUF(MK_LIMIT_TEXT);

	NEED(id && mk_run_get(&p.call, p.m, id, &run) == 0);
	CHECK_INT(mk_run_info(&run, NULL, false, &yaml), 0);
	CHECK_INT(mk_run_info(&run, NULL, true, &json), 0);
	CHECK(strncmp(yaml.data, "status: FAILED\nreason:\n", 23) == 0);
	CHECK(strstr(yaml.data, "1a2b3c4d00000000000000000000000f") != NULL);
	CHECK(strstr(yaml.data, "\nproject: \"yes\"\n") || strstr(yaml.data, "\nproject: 'yes'\n"));
	CHECK(strstr(yaml.data, "\nexit_code: 1\nsignal:\n") != NULL);
	CHECK(strstr(json.data, "{\n  \"status\": \"FAILED\",\n  \"reason\": null,\n") ==
	      json.data);
	CHECK(strstr(json.data, "\"exit_code\": 1,\n  \"signal\": null,\n") != NULL);
	CHECK(strcmp(json.data + json.len - 3, "\n}\n") == 0);
}

/* The line of the note, and nothing else, whatever YAML allows for it. */
static void a_note_is_put_into_a_text(void)
{
	static const struct {
		const char *text, *note, *becomes; /* NULL: it stays */
	} cases[] = {
		{"", "a", "note: a\n"},
		{"labels: [a/b]", "a: b", "labels: [a/b]\nnote: 'a: b'\n"},
		{"# x\n# note: what\n# y\n", "a", "# x\nnote: a\n# y\n"},
		{"note: a\nlabels: [a/b]  # c\n", "b", "note: b\nlabels: [a/b]  # c\n"},
		{"note: |\n  a\n\n  b\n\n# c\nlabels: [a/b]\n", "d", "note: d\n\n# c\nlabels: [a/b]\n"},
		{"note: |\n  a\n  b\n", "a\nb\n", NULL},
		{"note: 'a\n  b'\nlabels: [a/b]\n", NULL, "labels: [a/b]\n"},
		{"note: a\n", NULL, ""},
		{"labels: [a/b]\n", NULL, NULL},
		{"{note: a, labels: [a/b]}\n", "b", NULL}, /* not understood: it is its writer's */
		{"'note': a\n", "b", NULL},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		_cleanup_buf_ struct mk_buf text = MK_BUF(MK_LIMIT_TEXT);

		(void)mk_buf_puts(&text, cases[i].text);
		CHECK_INT(mk_note_put(&text, cases[i].note), cases[i].becomes != NULL);
		CHECK_TEXT(mk_buf_text(&text), cases[i].becomes ? cases[i].becomes : cases[i].text);
	}
}

int main(void)
{
	return RUN(TEST(a_note_is_put_into_a_text),
		   TEST(fresh_text_is_a_template), TEST(templates_are_valid_when_uncommented),
		   TEST(texts_mean_something), TEST(bad_texts_are_refused_whole),
		   TEST(later_writer_must_have_read), TEST(configuration_is_read),
		   TEST(info_is_written_two_ways));
}
