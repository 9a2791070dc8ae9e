/* SPDX-License-Identifier: Apache-2.0 */
/* A project of a tracking store in fs/tree without a mount. */
#include "domain/outbox/outbox.h"
#include "store.h"

#include "fsclient.h"

#define TRAIN "projects/p/runs/train.00000000"
#define FOLD_HEX "00000000"
#define FOLD  "projects/p/runs/fold." FOLD_HEX
#define NET   "projects/p/models/net"
#define RAIN  "projects/p/experiments/rain"

static void models_of_the_project(void)
{
	STORE(p, t);
	CLIENT(c, p);
	struct fs_attr attr;

	CHECK_LS(&c, "projects/p/models", "%2Eodd%2Fname net");
	CHECK_INT(t.asked, 1); /* not for versions */
	CHECK_LS(&c, "projects/p/models/%2Eodd%2Fname", "");
	CHECK_LS(&c, NET, "1 2 champion best one");
	CHECK_LINK(&c, NET "/champion", "2");
	CHECK_INT(t.asked, 3);
	CHECK_LS(&c, NET "/2", "model.yaml big.bin empty model.yaml% plots");
	CHECK_LS(&c, NET "/2/plots/deep", "größe.txt");
	CHECK_INT(client_stat(&c, NET "/3", NULL), -ENOENT);
	CHECK_INT(client_stat(&c, NET "/2/nothing", NULL), -ENOENT);
	CHECK_INT(client_stat(&c, NET "/2/big.bin", &attr), 0);
	CHECK_INT(attr.st.st_size, BIG);
	CHECK_INT(attr.st.st_mtim.tv_sec, 4000);
	CHECK_INT(client_stat(&c, NET "/2/model.yaml%", &attr), 0);
	CHECK_INT(attr.st.st_size, 4);
	CHECK_CAT(&c, NET "/2/model.yaml",
		  "model: net\nversion: '2'\nrun: train.00000000\n"
		  "stage: Production\naliases: [champion, best one]\nstatus: READY\n"
		  "description: \"two lines\\nof it\"\nmodel_description: all of it\n"
		  "source: runs:/0000000000000000000000000000000a/net\n"
		  "created: '1970-01-01T00:50:00.000Z'\nchanged: '1970-01-01T01:06:40.000Z'\n"
		  "tags:\n  'a: b': \"x\\ty\\nz\"\nmetrics:\n  loss: 0.25\n");

	_cleanup_free_ char *text = client_cat(&c, NET "/1/model.yaml");

	CHECK(text && strstr(text, RUN_ID("f"))); /* one we know nothing of */
	CHECK(text && strstr(text, "\naliases: []\n"));
	CHECK_INT(client_write(&c, NET "/2/model.yaml", O_TRUNC, "x"), -EINVAL);
}

static void models_that_went(void)
{
	STORE(p, t);
	CLIENT(c, p);

	CHECK_LS(&c, NET, "1 2 champion best one");
	later(&p);
	t.fails = EHOSTUNREACH;
	CHECK_LS(&c, NET, "1 2 champion best one");
	CHECK_INT(client_stat(&c, NET "/2/empty", NULL), -EHOSTUNREACH); /* never seen */
	t.fails = 0;
	t.no_models = true;
	later(&p);
	CHECK_LS(&c, "projects/p/models", "");
	CHECK_INT(client_stat(&c, NET, NULL), -ENOENT);
}

static void models_of_a_run(void)
{
	STORE(p, t);
	CLIENT(c, p);

	CHECK_LS(&c, TRAIN "/models", "net%2Fa twin.m-01234567 twin.m-2");
	t.asked = 0;
	later(&p);
	CHECK_LS(&c, TRAIN "/models", "net%2Fa twin.m-01234567 twin.m-2");
	CHECK_INT(t.asked, 1); /* for the run: a name is for good */
	CHECK_LS(&c, TRAIN "/models/net%2Fa", "big.bin empty model.yaml plots");
	CHECK_LS(&c, TRAIN "/models/net%2Fa/plots/deep", "größe.txt");
	CHECK_INT(client_stat(&c, TRAIN "/models/m-2", NULL), -ENOENT);
	CHECK_INT(client_stat(&c, FOLD "/models", NULL), -ENOENT);
	CHECK_LS(&c, TRAIN "/artifacts", "big.bin empty model.yaml plots");
}

static void ours_have_none(void)
{
	PLATFORM(p);
	CLIENT(c, p);

	NEED(make_runs(&p, (struct made_run){.project_id = make_project(&p, "own"),
					     .experiment = "e",
					     .name = "r",
					     .status = MK_FINISHED,
					     .uid = RUN_ID("c")}) > 0);
	CHECK_INT(client_stat(&c, "projects/own/models", NULL), -ENOENT);
	CHECK_INT(client_stat(&c, "projects/own/runs/r.00000000/models", NULL), -ENOENT);
}

#define NOTICE                                                                        \
	"# Of the tracking server of connections/fake.yaml. Can be changed here: note,\n" \
	"# primary_metric, tags; and the name with mv.\n"

static void nested_runs_know_each_other(void)
{
	STORE(p, t);
	CLIENT(c, p);
	_cleanup_free_ char *train = client_cat(&c, TRAIN "/info.yaml");
	_cleanup_free_ char *fold = client_cat(&c, FOLD "/info.yaml");
	_cleanup_free_ char *json = client_cat(&c, TRAIN "/info.json");

	CHECK(train && strstr(train, "\ndeleted: false\nunsent: 0\nparent:\nchildren:\n"
				     "  - fold." FOLD_HEX "\n"
				     "datasets:\n"
				     "  - name: tweets\n    digest: d1\n"
				     "    source: '{\"url\": \"http://x/y\"}'\n    context: training\n"
				     "  - name: 'more: #1'\n    digest: d2\n    source:\n"
				     "    context:\n"));
	CHECK(fold && strstr(fold, "\nparent: train.00000000\nchildren: []\ndatasets: []\n"));
	CHECK(json && strstr(json, ",\n  \"unsent\": 0,\n  \"parent\": null,\n  \"children\": [\"fold." FOLD_HEX
				   "\"],\n  \"datasets\": [{\"name\": \"tweets\", "));
}

static void what_its_runs_do_not_have(void)
{
	STORE(p, t);
	CLIENT(c, p);

	CHECK_LS(&c, TRAIN, "status info.yaml info.json ctl params tags metrics metrics.tsv "
			    "artifacts models");
	CHECK_INT(client_stat(&c, TRAIN "/spec.yaml", NULL), -ENOENT);
	CHECK_INT(client_stat(&c, TRAIN "/logs", NULL), -ENOENT);
	CHECK_INT(client_stat(&c, TRAIN "/logs/stdout", NULL), -ENOENT);
	CHECK_CAT(&c, TRAIN "/ctl", "words: refresh delete restore\n");
	CHECK_INT(client_stat(&c, "projects/p/runs/defaults.yaml", NULL), -ENOENT);
	CHECK_LS(&c, "projects/p", "project.yaml README.md code experiments runs models");
}

static void what_cannot_be_written(void)
{
	STORE(p, t);
	CLIENT(c, p);

	CHECK_INT(client_write(&c, TRAIN "/ctl", 0, "cancel\n"), -EOPNOTSUPP);
	CHECK(strstr(c.why, "tracking server's, here it takes: refresh delete restore"));
	CHECK_INT(client_write(&c, TRAIN "/ctl", 0, "jump\n"), -EINVAL);
	CHECK_INT(client_write(&c, "projects/p/runs/new", 0, "command: 'true'\n"), -EOPNOTSUPP);
	CHECK(strstr(c.why, "connections/fake.yaml"));
	CHECK_INT(client_write(&c, "projects/p/runs/defaults.yaml", O_TRUNC, "name: x\n"), -ENOENT);
	CHECK_INT(client_remove(&c, RAIN, true), -ENOTEMPTY);
}

/* (How it gets to the store is tests/unit/outbox.c.) */
static void what_is_written_is_shown(void)
{
	STORE(p, t);
	CLIENT(c, p);
	int64_t rows = 0;

	CHECK_INT(client_write(&c, TRAIN "/params/lr", O_TRUNC, "1\n"), -EEXIST);
	CHECK(strstr(c.why, "params never change"));
	CHECK_INT(client_write(&c, TRAIN "/params/new", O_TRUNC, "1\n"), 0);
	CHECK_CAT(&c, TRAIN "/params/new", "1\n");
	CHECK_INT(client_write(&c, TRAIN "/tags/a/b", O_TRUNC, "1\n"), -ENOENT);
	CHECK_INT(client_mkdir(&c, TRAIN "/tags/a"), 0);
	CHECK_INT(client_write(&c, TRAIN "/tags/a/b", O_TRUNC, "1\n"), 0);
	CHECK_CAT(&c, TRAIN "/tags/a/b", "1\n");
	CHECK_INT(client_remove(&c, FOLD "/tags/mlflow.parentRunId", false), 0);
	CHECK_LS(&c, FOLD "/tags", "");
	CHECK_INT(client_write(&c, TRAIN "/metrics/loss", O_APPEND, "1\n"), 0);
	CHECK_INT(client_write(&c, TRAIN "/metrics/loss", O_TRUNC, "1\n"), -EPERM);
	CHECK_INT(client_rename(&c, TRAIN, "projects/p/runs/deleted/train.00000000"), 0);
	CHECK_LS(&c, "projects/p/runs/deleted", "train.00000000");
	CHECK_INT(client_write(&c, "projects/p/runs/deleted/train.00000000/tags/x", O_TRUNC, "1\n"),
		  -EROFS);
	CHECK_INT(client_rename(&c, "projects/p/runs/deleted/train.00000000", TRAIN), 0);
	CHECK_INT(client_mkdir(&c, "projects/p/experiments/new"), 0);
	CHECK_INT(client_mkdir(&c, "projects/p/experiments/rain"), -EEXIST);
	CHECK_INT(client_rename(&c, RAIN, "projects/p/experiments/sun"), 0);
	CHECK_LS(&c, "projects/p/experiments", "new sun");
	CHECK_INT(mk_outbox_count(&p.call, p.m, run, &rows), 0);
	CHECK_INT(rows, 5); /* param, tag, point, delete, restore */

	char *info = client_cat(&c, TRAIN "/info.yaml");

	CHECK(info && strstr(info, "\nunsent: 5\n"));
	free(info);
}

static void an_experiment_is_edited(void)
{
	STORE(p, t);
	CLIENT(c, p);
	static const char text[] = "name: rain\nid: '1'\nnote: new\n"
				   "primary_metric: {name: acc, goal: maximize}\n"
				   "tags: {team: c, more: d}\n";

	CHECK_INT(client_write(&c, RAIN "/experiment.yaml", O_TRUNC, text), 0);
	CHECK_CAT(&c, RAIN "/experiment.yaml",
		  NOTICE "name: rain\nid: '1'\ntracking_server: fake\nnote: new\n"
		  "primary_metric: {name: acc, goal: maximize, of: last}\n"
		  "tags:\n  more: d\n  team: c\n");
	later(&p);
	CHECK_LS(&c, "projects/p/experiments", "rain"); /* the store says what it said before */
	CHECK_CAT(&c, RAIN "/experiment.yaml",
		  NOTICE "name: rain\nid: '1'\ntracking_server: fake\nnote: new\n"
		  "primary_metric: {name: acc, goal: maximize, of: last}\n"
		  "tags:\n  more: d\n  team: c\n");
	CHECK_INT(client_write(&c, RAIN "/experiment.yaml", O_TRUNC, "name: sun\n"), -EINVAL);
	CHECK(strstr(c.why, "experiment.yaml:1: name cannot be changed here: mv renames"));
	CHECK_INT(client_write(&c, RAIN "/experiment.yaml", O_TRUNC, "note: x\nnoet: y\n"), -EINVAL);
	CHECK(strstr(c.why, "did you mean \"note\""));
	CHECK_INT(client_write(&c, RAIN "/experiment.yaml", O_TRUNC, "tags: {team: x}\n"), -EINVAL);
	CHECK(strstr(c.why, "\"more\" is left out"));
}

/* The runs of an experiment of a store at once; its project is deleted there. */
static void all_runs_go_and_come_back(void)
{
	STORE(p, t);
	CLIENT(c, p);
	int64_t rows = 0;

	CHECK_INT(mk_project_delete(&p.call, p.m, 1, 0), -EOPNOTSUPP);
	CHECK_INT(mk_run_delete_all(&p.call, p.m, 1, 1), 2);
	CHECK_LS(&c, "projects/p/runs/deleted", "fold.00000000 train.00000000");
	CHECK_LS(&c, RAIN "/runs", "");
	CHECK_INT(mk_outbox_count(&p.call, p.m, run, &rows), 0);
	CHECK_INT(rows, 1);
	CHECK_INT(mk_run_delete_all(&p.call, p.m, 1, 0), 0);
	CHECK_INT(mk_run_restore_all(&p.call, p.m, 1, 0), 2);
	CHECK_LS(&c, RAIN "/runs", "fold.00000000 train.00000000");
}

static void none_goes_while_one_is_live(void)
{
	STORE(p, t, .live = true);

	(void)run;
	CHECK_INT(mk_run_delete_all(&p.call, p.m, 1, 0), -EBUSY);
	CHECK_INT(mk_outbox_any(&p.call, p.m, 1), 0);
}

static int delete_all(struct mk_call *call, struct mk_conn *conn, void *arg)
{
	(void)arg;
	return mk_domain_run(call, conn, "UPDATE runs SET deleted = 5 WHERE ?1 = 0", 0, 0);
}

static void what_the_server_deleted_is_not_swept_up(void)
{
	STORE(p, t);

	CHECK_INT(mk_db_write(&p.call, p.m->db, MK_KILLSAFE, delete_all, NULL), 0);
	CHECK_INT(mk_run_gc(&p.call, p.m, 0, 0), 0);
}

static void an_experiment_is_told(void)
{
	STORE(p, t);
	CLIENT(c, p);
	_cleanup_(mk_experiment_free) struct mk_experiment experiment = {};

	CHECK_CAT(&c, RAIN "/experiment.yaml",
		  NOTICE
		  "name: rain\nid: '1'\ntracking_server: fake\n"
		  "note: \"what we want to know:\\n1. all\"\n"
		  "primary_metric: {name: loss, goal: minimize, of: last}\n"
		  "tags:\n  team: 'a: b'\n");
	CHECK_INT(mk_experiment_get(&p.call, p.m, 1, &experiment), 0);
	CHECK_TEXT(experiment.metric, "loss");
	t.no_models = true; /* and its tags are gone */
	later(&p);
	CHECK_LS(&c, "projects/p/experiments", "rain");
	CHECK_CAT(&c, RAIN "/experiment.yaml",
		  NOTICE
		  "name: rain\nid: '1'\ntracking_server: fake\n");
}

/* No tag says which way: the name does, and a comment says so. Saving it as it is says nothing new. */
static void a_goal_is_guessed(void)
{
	STORE(p, t, .no_goal = true);
	CLIENT(c, p);
	_cleanup_(mk_experiment_free) struct mk_experiment experiment = {};

	CHECK_LS(&c, "projects/p/experiments", "rain");
	CHECK_INT(mk_experiment_get(&p.call, p.m, 1, &experiment), 0);
	CHECK_TEXT(experiment.metric, "val/acc");
	CHECK_INT(experiment.maximize, true);

	_cleanup_free_ char *text = client_cat(&c, RAIN "/experiment.yaml");

	NEED(text && strstr(text, "\nprimary_metric: {name: val/acc, of: last}"
				  "  # goal: maximize, guessed from the name\n"));
	CHECK_INT(client_write(&c, RAIN "/experiment.yaml", O_TRUNC, text), 0);
	(void)run;
	CHECK_INT(mk_outbox_any(&p.call, p.m, 1), 0);
	CHECK_INT(client_write(&c, RAIN "/experiment.yaml", O_TRUNC,
			       "tags: {team: 'a: b'}\nprimary_metric: {name: my loss}\n"),
		  0);

	_cleanup_free_ char *now = client_cat(&c, RAIN "/experiment.yaml");

	CHECK(now && strstr(now, "\nprimary_metric: {name: my loss, goal: minimize, of: last}\n"));
}

int main(void)
{
	return RUN(TEST(models_of_the_project), TEST(models_that_went), TEST(models_of_a_run),
		   TEST(ours_have_none),
		   TEST(nested_runs_know_each_other), TEST(what_its_runs_do_not_have),
		   TEST(what_cannot_be_written), TEST(what_is_written_is_shown),
		   TEST(an_experiment_is_edited), TEST(all_runs_go_and_come_back),
		   TEST(none_goes_while_one_is_live),
		   TEST(what_the_server_deleted_is_not_swept_up), TEST(an_experiment_is_told),
		   TEST(a_goal_is_guessed));
}
