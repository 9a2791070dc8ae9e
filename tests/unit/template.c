/* SPDX-License-Identifier: Apache-2.0 */
/* core/domain/template: entry points of a commit and the specs made from them. */
#include <mantik/spec.h>

#include "net/exec.h"
#include "platform.h"

static const char make_repository[] =
	"set -e\n"
	"git init -q -b main up && cd up && mkdir -p models/wine broken\n"
	"cat >models/wine/MLproject <<'EOF'\n"
	"name: wine\n"
	"entry_points:\n"
	"  train: {parameters: {lr: {type: float, default: 7e-6}, data: path}, command: 'run {lr} "
	"{data}'}\n"
	"  main: {command: run}\n"
	"EOF\n"
	"printf 'a:\\n\\tb\\n' >broken/MLproject\n"
	"git add . && git -c user.name=t -c user.email=t@t commit -q -m t\n";

struct code {
	int64_t project, repository;
	struct mk_oid commit;
};

static bool make_code(struct platform *p, struct code *ret)
{
	const char *const argv[] = {"sh", "-c", make_repository, NULL};
	const struct mk_exec exec = {.remote = "disk:test", .argv = argv, .dir = p->dir};
	_cleanup_buf_ struct mk_buf yaml = MK_BUF(4096);

	(void)mk_buf_printf(&yaml, "uri: %s/up\n", p->dir);
	if (mk_exec_run(&p->call, &exec) < 0 ||
	    mk_project_make(&p->call, p->m, "p", &ret->project) < 0 ||
	    mk_repository_make(&p->call, p->m, ret->project, "a2", &ret->repository) < 0 ||
	    mk_text_put(&p->call, p->m, MK_TEXT_REPOSITORY, ret->repository, mk_buf_text(&yaml),
			yaml.len, 0) < 0 ||
	    mk_code_refresh(&p->call, p->m, ret->repository) < 0 ||
	    mk_code_ref(&p->call, p->m, ret->repository, MK_BRANCHES, "main", &ret->commit) < 0) {
		printf("# %s\n", p->call.error.text);
		return false;
	}
	return true;
}

static void offers_entry_points(void)
{
	PLATFORM(p);
	struct code code = {};
	_cleanup_list_ struct mk_list paths = {}, names = {}, none = {};

	NEED(make_code(&p, &code));
	CHECK_INT(mk_code_mlprojects(&p.call, p.m, code.repository, &code.commit, &paths), 0);
	NEED(paths.n == 2);
	CHECK_TEXT(paths.v[1], "models/wine/MLproject");
	CHECK_INT(mk_spec_entry_points(&p.call, p.m, code.repository, &code.commit, paths.v[1],
				       &names), 0);
	NEED(names.n == 2);
	CHECK_TEXT(names.v[0], "train");
	CHECK_TEXT(names.v[1], "main");
	CHECK_INT(mk_spec_entry_points(&p.call, p.m, code.repository, &code.commit, paths.v[0],
				       &none), -EINVAL);
	CHECK_TEXT(p.call.error.text, "broken/MLproject:2: a tab in column 1: indent with blanks");
	CHECK_INT(mk_spec_entry_points(&p.call, p.m, code.repository, &code.commit, "MLproject",
				       &none), -ENOENT);
	CHECK_INT(none.n, 0);
}

static void fills_in_every_default(void)
{
	static const char want[] =
		"# Entry point train of models/wine/MLproject as a complete run spec: cp it into the "
		"project's runs/new as it is,\n"
		"# or change it first.\n"
		"\n"
		"name: train                         # {parameter} and {site} are filled in\n"
		"experiment: wine                    # made if missing\n"
		"code:\n"
		"  repository: a2\n"
		"  branch: main                      # or commit: <sha>, which stays\n"
		"mlproject: models/wine/MLproject\n"
		"entry_point: train\n"
		"parameters:\n"
		"  lr: 7e-6                          # float\n"
		"  # data:                           # path, needs a value\n"
		"site: local\n";
	static const char defaults[] = "experiment: other\nsite: local\n";
	PLATFORM(p);
	struct code code = {};
	_cleanup_buf_ struct mk_buf text = MK_BUF(MK_LIMIT_TEXT), less = MK_BUF(MK_LIMIT_TEXT);

	NEED(make_code(&p, &code));
	CHECK_INT(mk_spec_template(&p.call, p.m, code.repository, "main", &code.commit,
				   "models/wine/MLproject", "train", &text), 0);
	CHECK_TEXT(mk_buf_text(&text), want);
	CHECK_INT(mk_spec_template(&p.call, p.m, code.repository, "main", &code.commit,
				   "models/wine/MLproject", "test", &less), -ENOENT);

	/* what the project sets already is left to it */
	CHECK_INT(mk_text_put(&p.call, p.m, MK_TEXT_DEFAULTS, code.project, defaults,
			      strlen(defaults), 0), 0);
	CHECK_INT(mk_spec_template(&p.call, p.m, code.repository, NULL, &code.commit,
				   "models/wine/MLproject", "main", &less), 0);
	CHECK(!strstr(mk_buf_text(&less), "\nexperiment:"));
	CHECK(!strstr(mk_buf_text(&less), "\nsite:"));
	CHECK(strstr(mk_buf_text(&less), "\nname: a2 "));
	CHECK(strstr(mk_buf_text(&less), "\n  commit: "));
}

int main(void)
{
	return RUN(TEST(offers_entry_points), TEST(fills_in_every_default));
}
