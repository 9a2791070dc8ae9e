/* SPDX-License-Identifier: Apache-2.0 */
/* A project of a tracking store in fs/tree without a mount. */
#include "store.h"

#include "fsclient.h"

#define TRAIN "projects/p/runs/train.00000000"
#define NET   "projects/p/models/net"

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
	CHECK_INT(client_write(&c, NET "/2/model.yaml", O_TRUNC, "x"), -EPERM);
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

	CHECK_LS(&c, TRAIN "/models", "m-1");
	CHECK_LS(&c, TRAIN "/models/m-1", "big.bin empty model.yaml plots");
	CHECK_LS(&c, TRAIN "/models/m-1/plots/deep", "größe.txt");
	CHECK_INT(client_stat(&c, TRAIN "/models/m-2", NULL), -ENOENT);
	CHECK_INT(client_stat(&c, "projects/p/runs/fold.00000000/models", NULL), -ENOENT);
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

int main(void)
{
	return RUN(TEST(models_of_the_project), TEST(models_that_went), TEST(models_of_a_run),
		   TEST(ours_have_none));
}
