/* SPDX-License-Identifier: Apache-2.0 */
/* connections/ in fs/tree without a mount: written, shown, edited, removed, never read back. */
#include <mantik/connection.h>

#include "fsclient.h"
#include "net/health.h"
#include "vault/vault.h"

#define HEAD  "kind: git\nurl: https://forge.example\nuser: ana\n"
#define FILE_ "connections/forge.yaml"

static void a_connection_is_a_file(void)
{
	PLATFORM(p);
	CLIENT(c, p);
	struct fs_attr attr;

	CHECK_LS(&c, "connections", "");
	CHECK_INT(client_write(&c, FILE_, O_TRUNC, HEAD "password: hunter2\n"), 0);
	CHECK_LS(&c, "connections", "forge.yaml");
	CHECK_CAT(&c, FILE_, HEAD "password: (set)\n");
	CHECK_INT(client_stat(&c, FILE_, &attr), 0);
	CHECK_INT(attr.st.st_size, strlen(HEAD "password: (set)\n"));
	CHECK_INT(attr.st.st_mode, S_IFREG | 0600);
	CHECK_INT(mk_vault_has(c.call, p.m, "forge", "password"), 1);
	CHECK_INT(client_write(&c, FILE_, O_TRUNC, HEAD "pasword: hunter2\n"), -EINVAL);
	CHECK_TEXT(c.why, "connections/forge.yaml:4: unknown key \"pasword\", did you mean "
			  "\"password\"?");
	CHECK_CAT(&c, FILE_, HEAD "password: (set)\n");
	CHECK_INT(client_write(&c, "connections/forge", O_TRUNC, HEAD), -EPERM);
	CHECK_INT(client_write(&c, "connections/a:b.yaml", O_TRUNC, HEAD), -EINVAL);
	CHECK_INT(client_mkdir(&c, "connections/dir"), -EPERM);
	CHECK_INT(client_rename(&c, FILE_, "connections/other.yaml"), -EPERM);
	CHECK(strstr(c.why, "keeps its name"));
	CHECK_INT(client_remove(&c, FILE_, false), 0);
	CHECK_LS(&c, "connections", "");
	CHECK_INT(mk_vault_has(c.call, p.m, "forge", "password"), 0);
	CHECK_INT(client_remove(&c, FILE_, false), -ENOENT);
}

static void editors_save_it(void)
{
	PLATFORM(p);
	CLIENT(c, p);

	/* vim: away and created anew; sed -i and rsync: renamed over; rsync also to a new name. */
	CHECK_INT(client_write(&c, FILE_, O_TRUNC, HEAD "password: hunter2\n"), 0);
	CHECK_INT(client_rename(&c, FILE_, FILE_ "~"), 0);
	CHECK_INT(client_write(&c, FILE_, O_EXCL, HEAD "# vim\npassword: (set)\n"), 0);
	CHECK_CAT(&c, FILE_ "~", HEAD "password: (set)\n");
	CHECK_CAT(&c, FILE_, HEAD "# vim\npassword: (set)\n");
	CHECK_INT(client_remove(&c, FILE_ "~", false), 0);
	CHECK_INT(client_write(&c, "connections/sedAb12Cd", O_EXCL, HEAD "password: (set)\n"), 0);
	CHECK_INT(client_rename(&c, "connections/sedAb12Cd", FILE_), 0);
	CHECK_CAT(&c, FILE_, HEAD "password: (set)\n");
	CHECK_INT(client_write(&c, "connections/.new.yaml.AbCd12", O_EXCL, HEAD "token: hunter3\n"),
		  0);
	CHECK_INT(client_rename(&c, "connections/.new.yaml.AbCd12", "connections/new.yaml"), 0);
	CHECK_CAT(&c, "connections/new.yaml", HEAD "token: (set)\n");
	CHECK_INT(client_write(&c, "connections/.bad.yaml.AbCd12", O_EXCL, "kind: x\n"), 0);
	CHECK_INT(client_rename(&c, "connections/.bad.yaml.AbCd12", "connections/bad.yaml"),
		  -EINVAL);
	CHECK_INT(client_remove(&c, "connections/.bad.yaml.AbCd12", false), 0);
	CHECK_LS(&c, "connections", "forge.yaml new.yaml");
	CHECK_INT(mk_vault_has(c.call, p.m, "forge", "password"), 1);
}

static void who_wrote_a_secret_does_not_read_it(void)
{
	PLATFORM(p);
	CLIENT(c, p);
	struct fs_handle *handle = NULL;
	struct fs_open_reply reply;
	struct fs_node *node;
	static const char text[] = HEAD "password: hunter2\n";

	CHECK_INT(client_write(&c, FILE_, O_TRUNC, HEAD), 0);
	NEED(client_walk(&c, FILE_, &node, NULL) == 0);
	CHECK_INT(fs_open(c.call, c.tree, node, O_RDWR | O_TRUNC, &handle, &reply), 0);
	CHECK_INT(fs_write(c.call, c.tree, handle, text, strlen(text), 0), strlen(text));
	CHECK_INT(fs_fsync(c.call, c.tree, handle), 0);

	_cleanup_free_ char *got = client_read(&c, handle, 1000);

	CHECK_TEXT(got, HEAD "password: (set)\n");
	fs_release(c.call, c.tree, handle);
	client_forget(&c, node);
}

static void what_another_changed_is_not_overwritten(void)
{
	PLATFORM(p);
	CLIENT(c, p);
	static const char other[] = HEAD "# other\n";

	CHECK_INT(client_write(&c, FILE_, O_TRUNC, HEAD), 0);
	CHECK_CAT(&c, FILE_, HEAD);
	CHECK_INT(mk_connection_put(c.call, p.m, "forge", other, strlen(other), 0), 0);
	CHECK_INT(client_write(&c, FILE_, O_TRUNC, HEAD "# mine\n"), -EBUSY);
	CHECK(strstr(c.why, "was changed by ") && strstr(c.why, " (pid "));
	CHECK_CAT(&c, FILE_, HEAD "# other\n");
	CHECK_INT(client_write(&c, FILE_, O_TRUNC, HEAD "# mine\n"), 0);
}

/* rm -rf of the whole mount: lists it, and is refused README.txt. */
static void a_mount_is_not_taken_apart(void)
{
	PLATFORM(p);
	CLIENT(c, p);

	CHECK_INT(client_write(&c, FILE_, O_TRUNC, HEAD "password: hunter2\n"), 0);
	CHECK_INT(client_remove(&c, "README.txt", false), -EPERM);
	CHECK_INT(client_remove(&c, FILE_, false), -EPERM);
	CHECK(strstr(c.why, "rm connections/forge.yaml alone removes it"));
	CHECK_CAT(&c, FILE_, HEAD "password: (set)\n");
}

static void its_health_is_a_file(void)
{
	PLATFORM(p);
	CLIENT(c, p);

	CHECK_INT(client_write(&c, "connections/forge2.yaml", O_TRUNC, HEAD "password: hunter2\n"),
		  0);
	CHECK_LS(&c, ".mantik/connections", "forge2");
	CHECK_CAT(&c, ".mantik/connections/forge2",
		  "kind: git\nurl: https://forge.example\nhealth: not asked yet\nrequests: 0\n"
		  "failures: 0\nbytes: 0\n");
	mk_health_note("forge2", ETIMEDOUT, "no answer", 1, 0);

	_cleanup_free_ char *text = client_cat(&c, ".mantik/connections/forge2");

	CHECK(text && strstr(text, "health: down since 20") &&
	      strstr(text, "last_error: no answer\n"));
	CHECK_INT(client_write(&c, ".mantik/connections/forge2", O_TRUNC, "x"), -EPERM);
}

int main(void)
{
	return RUN(TEST(a_connection_is_a_file), TEST(editors_save_it),
		   TEST(who_wrote_a_secret_does_not_read_it),
		   TEST(what_another_changed_is_not_overwritten), TEST(a_mount_is_not_taken_apart),
		   TEST(its_health_is_a_file));
}
