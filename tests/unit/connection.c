/* SPDX-License-Identifier: Apache-2.0 */
/* connections/<name>.yaml: what may stand there, what is shown of it, what becomes of its secrets. */
#include <fcntl.h>
#include <sys/stat.h>

#include <mantik/connection.h>

#include "base/file.h"
#include "core.h"
#include "net/health.h"
#include "platform.h"
#include "vault/credentials.h"
#include "vault/vault.h"

static int put(struct platform *p, const char *name, const char *text)
{
	mk_error_clear(&p->call);
	return mk_connection_put(&p->call, p->m, name, text, strlen(text), 0);
}

static char *shown(struct platform *p, const char *name)
{
	struct mk_text text = {};

	mk_error_clear(&p->call);
	CHECK_INT(mk_connection_get(&p->call, p->m, name, &text), 0);
	free(text.who);
	return text.text ? text.text : mk_strdup("");
}

static char *on_disk(struct platform *p, const char *name)
{
	struct mk_buf text = MK_BUF(1 << 20);
	_cleanup_free_ char *path = mk_strf("%s/connections/%s.yaml", p->config, name);

	CHECK_INT(mk_file_read(&p->call, AT_FDCWD, path, &text), 0);
	return mk_buf_steal(&text);
}

static void put_by_hand(struct platform *p, const char *name, const char *text)
{
	_cleanup_free_ char *dir = mk_strf("%s/connections", p->config);
	_cleanup_free_ char *path = mk_strf("%s/%s.yaml", dir, name);

	CHECK_INT(mk_mkdirs(&p->call, dir, 0700), 0);
	CHECK_INT(mk_file_write(&p->call, AT_FDCWD, path, text, strlen(text), 0600, false), 0);
}

#define CHECK_SHOWN(p, name, want)                              \
	do {                                                    \
		_cleanup_free_ char *got_ = shown(p, name);     \
		CHECK_TEXT(got_, want);                         \
	} while (0)

/* What goes to the server: `Basic …`, `Bearer …`, "" nothing; "!CODE" an error. */
static char *auth(struct platform *p, const char *name, const char *origin, bool again)
{
	_cleanup_(mk_credentials_freep) struct mk_credentials *c = NULL;
	_cleanup_wipe_ struct mk_buf value = MK_BUF_SECRET(1 << 20);
	int r;

	mk_error_clear(&p->call);
	r = mk_credentials_open(&p->call, p->m, name, &c);
	if (r == 0)
		r = mk_credentials_auth(&p->call, c, origin ? origin : c->origin, again, &value);
	return r < 0 ? mk_strf("!%d", -r) : mk_strdup(mk_buf_text(&value));
}

#define CHECK_AUTH(p, name, origin, again, want)                          \
	do {                                                              \
		_cleanup_free_ char *got_ = auth(p, name, origin, again); \
		CHECK_TEXT(got_, want);                                   \
	} while (0)

#define HEAD "kind: mlflow\nurl: https://h.example:5000/x\nuser: ana\n"
#define BASIC "Basic YW5hOmh1bnRlcjI=" /* ana:hunter2 */

static void secrets_are_cut_out_where_they_stand(void)
{
	static const struct {
		const char *text, *shown;
	} cases[] = {
		{HEAD "password: hunter2\n", HEAD "password: (set)\n"},
		{HEAD "password: hunter2", HEAD "password: (set)"},
		{HEAD "password:    hunter2   # of 2024\nca: /c\n",
		 HEAD "password:    (set)   # of 2024\nca: /c\n"},
		{"# mine\n" HEAD "\n# below\npassword: \"hunter2\" # c\n",
		 "# mine\n" HEAD "\n# below\npassword: (set) # c\n"},
		{HEAD "password: 'hunter2'\nca: /c\n", HEAD "password: (set)\nca: /c\n"},
		{HEAD "password: \"h\\u0075nter2\"\n", HEAD "password: (set)\n"},
		{HEAD "password: |-\n  hunter2\nca: /c\n", HEAD "password: (set)\nca: /c\n"},
		{HEAD "password: |\n  hunter2\nca: /c\n", HEAD "password: (set)\nca: /c\n"},
		{HEAD "password: >+\n  hunter2\n\n", HEAD "password: (set)\n"},
		{HEAD "password: >-  # folded\n    hunter2\n\nca: /c\n",
		 HEAD "password: (set)  # folded\nca: /c\n"},
		{HEAD "password:\n  hunter2\nca: /c\n", HEAD "password:\n  (set)\nca: /c\n"},
		{HEAD "password: !!str hunter2\n", NULL}, /* `!`: between quotes */
		{"# \xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80\n" HEAD "password: hunter2\n",
		 "# \xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80\n" HEAD "password: (set)\n"},
		{"\xef\xbb\xbf" HEAD "password: hunter2\n", NULL}, /* a byte order mark */
		{"kind: mlflow\r\nurl: https://h.example:5000/x\r\nuser: ana\r\npassword: hunter2\r\n",
		 "kind: mlflow\r\nurl: https://h.example:5000/x\r\nuser: ana\r\npassword: (set)\r\n"},
		{"{kind: mlflow, url: https://h.example:5000/x, user: ana, password: hunter2}\n",
		 "{kind: mlflow, url: https://h.example:5000/x, user: ana, password: (set)}\n"},
		{"{\"kind\":\"mlflow\",\"url\":\"https://h.example:5000/x\",\"password\":\"hunter2\","
		 "\"user\":\"ana\"}",
		 "{\"kind\":\"mlflow\",\"url\":\"https://h.example:5000/x\",\"password\":(set),"
		 "\"user\":\"ana\"}"},
	};
	PLATFORM(p);

	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		int r = put(&p, "m", cases[i].text);

		CHECK_INT(r, cases[i].shown ? 0 : -EINVAL);
		if (r < 0 || !cases[i].shown) {
			if (cases[i].shown)
				printf("# case %zu: %s\n", i, p.call.error.text);
			continue;
		}

		_cleanup_free_ char *disk = on_disk(&p, "m");

		/* In JSON it may stand between quotes. */
		if (cases[i].text[0] != '{')
			CHECK_TEXT(disk, cases[i].shown);
		CHECK(!strstr(disk, "hunter"));
		CHECK_SHOWN(&p, "m", disk);
		CHECK_AUTH(&p, "m", NULL, false, BASIC);
		/* What is shown may be written back, and changes nothing. */
		CHECK_INT(put(&p, "m", disk), 0);
		CHECK_AUTH(&p, "m", NULL, false, BASIC);
		CHECK_INT(mk_connection_remove(&p.call, p.m, "m"), 0);
	}
}

static void wrong_texts_are_refused_with_line_and_key(void)
{
	static const struct {
		const char *text, *error;
	} cases[] = {
		{"", "connections/m.yaml: must be `key: value` lines, kind and url first"},
		{"url: http://h\n", "connections/m.yaml: kind: is missing: one of mlflow, git"},
		{"kind: mlfow\nurl: http://h\n", "connections/m.yaml:1: kind: no such kind, did you mean "
						 "\"mlflow\"?: one of mlflow, git"},
		{"kind: mlflow\n", "connections/m.yaml: url: is missing: address of the server, with its "
		 "static prefix if it has one; or a store of this machine: "
		 "file:///path/mlruns, sqlite:////path/mlflow.db"},
		{HEAD "\npasword: hunter2\n",
		 "connections/m.yaml:5: unknown key \"pasword\", did you mean \"password\"?"},
		{"kind: mlflow\nurl: https://ana:hunter2@h:5000\n",
		 "connections/m.yaml:2: url: has a user or password in it; write the url without what "
		 "stands before the @, and `user: …` and `password: …` on lines of their own"},
		{"kind: mlflow\nurl: ana:hunter2@h\n",
		 "connections/m.yaml:2: url: has a user or password in it; write the url without what "
		 "stands before the @, and `user: …` and `password: …` on lines of their own"},
		{"kind: mlflow\nurl: hunter2:5000\n",
		 "connections/m.yaml:2: url: is no address like https://host:port/prefix"},
		{"kind: mlflow\nurl: http://h/?token=hunter2\n",
		 "connections/m.yaml:2: url: must end before its ?"},
		{HEAD "password: (set)\n",
		 "connections/m.yaml:4: password: (set) keeps one that is set, but there is none; write "
		 "it here, or leave the line out and use mantikctl login"},
		{HEAD "password: hunter2\ntoken: hunter3\n",
		 "connections/m.yaml:5: token: there is a password already; one of the two"},
		{"kind: mlflow\nurl: http://h\npassword: hunter2\n",
		 "connections/m.yaml:3: password: whose? `user: …` is missing"},
		{HEAD "password: #hunter2\n", "connections/m.yaml:4: password: one that begins with # "
					      "must stand between quotes: '#…'"},
		{HEAD "password: !hunter2\n", "connections/m.yaml:4: password: one that begins with ! "
					      "must stand between quotes: '!…'"},
		{HEAD "password: &hunter2\n", "connections/m.yaml:4: password: one that begins with & "
					      "must stand between quotes: '&…'"},
		{HEAD "password: *hunter2\n", "connections/m.yaml:4: password: one that begins with * "
					      "must stand between quotes: '*…'"},
		{HEAD "password: [hunter2]\n", "connections/m.yaml:4: password: must be a text"},
		{HEAD "password: null\n",
		 "connections/m.yaml:4: password: put it between quotes: '…'"},
		{HEAD "password: ''\n", "connections/m.yaml:4: password: is empty; leave the line out to "
					"have none set"},
		{HEAD "# was hunter2\npassword: hunter2\n",
		 "connections/m.yaml:4: the password stands in a comment, too, where it would stay "
		 "readable: take it out"},
		{HEAD "token_file: x\n", "connections/m.yaml:4: token_file: is no absolute path"},
		{HEAD "token_command: pass show x\n",
		 "connections/m.yaml:4: token_command: write the program and its arguments as a list: "
		 "[pass, show, mlflow]"},
		{HEAD "client_key: /k\n", "connections/m.yaml:4: client_key: needs client_cert"},
		{"kind: git\nurl: https://h\nworkspace: x\n",
		 "connections/m.yaml:3: unknown key \"workspace\""},
	};
	PLATFORM(p);
	_cleanup_free_ char *vault = tmpdir_path(p.config, "vault");
	struct mk_text text = {};

	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		CHECK_INT(put(&p, "m", cases[i].text), -EINVAL);
		CHECK_TEXT(p.call.error.text, cases[i].error);
		CHECK(!p.call.error.text || !strstr(p.call.error.text, "hunter"));
	}
	CHECK_INT(mk_connection_get(&p.call, p.m, "m", &text), -ENOENT);
	CHECK(access(vault, F_OK) < 0);
	CHECK_INT(put(&p, ".m", HEAD), -EINVAL);
	CHECK_INT(put(&p, "-m", HEAD), -EINVAL);
	CHECK_INT(put(&p, "a:b", HEAD), -EINVAL);
	CHECK_INT(put(&p, "a/b", HEAD), -EINVAL);
	CHECK_INT(put(&p, "", HEAD), -EINVAL);
}

static void set_keeps_and_a_missing_line_forgets(void)
{
	PLATFORM(p);
	struct stat st;
	_cleanup_free_ char *dir = tmpdir_path(p.config, "connections");
	_cleanup_free_ char *file = tmpdir_path(dir, "m.yaml");

	CHECK_INT(put(&p, "m", HEAD "password: hunter2\n"), 0);
	CHECK(stat(dir, &st) == 0 && (st.st_mode & 07777) == 0700);
	CHECK(stat(file, &st) == 0 && (st.st_mode & 07777) == 0600);
	CHECK_INT(put(&p, "m", HEAD "password: (set)\nworkspace: w\n"), 0);
	CHECK_AUTH(&p, "m", NULL, false, BASIC);
	CHECK_INT(put(&p, "m", HEAD "password: '(set)'\n"), 0);
	CHECK_AUTH(&p, "m", NULL, false, BASIC);
	CHECK_INT(put(&p, "m", HEAD "token: t0k\n"), 0); /* of a user that has no password now */
	CHECK_AUTH(&p, "m", NULL, false, "Bearer t0k");
	CHECK_INT(mk_vault_has(&p.call, p.m, "m", "password"), 0);
	CHECK_INT(put(&p, "m", HEAD), 0);
	CHECK_AUTH(&p, "m", NULL, false, "");
	CHECK_INT(mk_vault_has(&p.call, p.m, "m", "token"), 0);
	CHECK_INT(put(&p, "m", HEAD "password: (set)\n"), -EINVAL);
	CHECK_INT(put(&p, "m", HEAD "password: hunter2\n"), 0);
	CHECK_INT(mk_connection_remove(&p.call, p.m, "m"), 0);
	CHECK_INT(mk_vault_has(&p.call, p.m, "m", "password"), 0);
	CHECK_INT(mk_connection_remove(&p.call, p.m, "m"), -ENOENT);
}

static void a_secret_goes_nowhere_else(void)
{
	PLATFORM(p);

	CHECK_INT(put(&p, "m", HEAD "password: hunter2\n"), 0);
	CHECK_AUTH(&p, "m", "https://h.example:5000", false, BASIC);
	CHECK_AUTH(&p, "m", "http://h.example:5000", false, "");
	CHECK_AUTH(&p, "m", "https://h.example:5001", false, "");
	CHECK_AUTH(&p, "m", "https://evil.example:5000", false, "");
	CHECK_INT(put(&p, "m",
		      "kind: mlflow\nurl: https://evil.example:5000/x\nuser: ana\npassword: (set)\n"),
		  -EINVAL);
	CHECK(strstr(p.call.error.text, "m.yaml:4: password: was set for https://h.example:5000 and "
					"is not sent to https://evil.example:5000"));
	/* Another path of the same server keeps it. */
	CHECK_INT(put(&p, "m",
		      "kind: mlflow\nurl: https://H.example:5000/y\nuser: ana\npassword: (set)\n"),
		  0);
	CHECK_AUTH(&p, "m", NULL, false, BASIC);
	/* Also when the file was changed behind our back. */
	put_by_hand(&p, "m",
		    "kind: mlflow\nurl: https://evil.example\nuser: ana\npassword: (set)\n");
	CHECK_AUTH(&p, "m", NULL, false, "!126"); /* ENOKEY */
	CHECK(strstr(p.call.error.text, "was set for another server than https://evil.example:443"));
}

static void a_file_written_by_hand_shows_nothing(void)
{
	PLATFORM(p);

	put_by_hand(&p, "m", HEAD "password: hunter2\n");
	CHECK_SHOWN(&p, "m", HEAD "password: (set)\n");
	CHECK_AUTH(&p, "m", NULL, false, "!126");
	CHECK(strstr(p.call.error.text, "the password stands there in plain"));
	/* Saved once, it is where it belongs. */
	CHECK_INT(put(&p, "m", HEAD "password: (set)\n"), 0);
	CHECK_AUTH(&p, "m", NULL, false, BASIC);

	_cleanup_free_ char *disk = on_disk(&p, "m");

	CHECK_TEXT(disk, HEAD "password: (set)\n");
	put_by_hand(&p, "m", "kind: mlflow\npassword: hunter2: x\n  more hunter\nurl: {{\n");
	CHECK_SHOWN(&p, "m", "kind: mlflow\npassword: (set)\nurl: {{\n");
	CHECK_AUTH(&p, "m", NULL, false, "!22");
	CHECK(!strstr(p.call.error.text, "hunter"));
}

static void nobody_overwrites_what_they_have_not_read(void)
{
	PLATFORM(p);
	_cleanup_(mk_text_free) struct mk_text one = {}, two = {};

	CHECK_INT(put(&p, "m", HEAD), 0);
	CHECK_INT(mk_connection_get(&p.call, p.m, "m", &one), 0);
	CHECK_INT(put(&p, "m", HEAD "workspace: w\n"), 0);
	CHECK_INT(mk_connection_get(&p.call, p.m, "m", &two), 0);
	CHECK(one.generation != two.generation && two.changed >= one.changed);
	CHECK_INT(mk_connection_put(&p.call, p.m, "m", HEAD "ca: /c\n", strlen(HEAD "ca: /c\n"),
				    one.generation),
		  -EBUSY);
	CHECK(strstr(p.call.error.text, "m.yaml: was changed by "));
	CHECK_INT(mk_connection_put(&p.call, p.m, "m", HEAD "ca: /c\n", strlen(HEAD "ca: /c\n"),
				    two.generation),
		  0);
}

static void a_login_adds_its_line(void)
{
	PLATFORM(p);
	const char *key = NULL;

	CHECK_INT(put(&p, "m", HEAD "workspace: w # c\n"), 0);
	CHECK_INT(mk_connection_login_key(&p.call, p.m, "m", &key), 0);
	CHECK_TEXT(key, "password");
	CHECK_INT(mk_connection_secret(&p.call, p.m, "m", NULL, "hunter2"), 0);
	CHECK_SHOWN(&p, "m", HEAD "password: (set)\nworkspace: w # c\n");
	CHECK_AUTH(&p, "m", NULL, false, BASIC);
	CHECK_INT(mk_connection_secret(&p.call, p.m, "m", "password", "new"), 0);
	CHECK_AUTH(&p, "m", NULL, false, "Basic YW5hOm5ldw==");
	CHECK_INT(mk_connection_secret(&p.call, p.m, "m", "token", "t"), -EINVAL);
	CHECK(strstr(p.call.error.text, "there is a password already"));
	CHECK_INT(mk_connection_secret(&p.call, p.m, "m", NULL, ""), -EINVAL);
	CHECK_INT(mk_connection_secret(&p.call, p.m, "none", NULL, "x"), -ENOENT);
	CHECK_INT(put(&p, "g", "kind: git\nurl: https://g.example"), 0);
	CHECK_INT(mk_connection_secret(&p.call, p.m, "g", NULL, "t0k"), 0);
	CHECK_SHOWN(&p, "g", "kind: git\nurl: https://g.example\ntoken: (set)\n");
	CHECK_INT(put(&p, "j", "{kind: git, url: https://g.example}"), 0);
	CHECK_INT(mk_connection_secret(&p.call, p.m, "j", NULL, "t0k"), -EINVAL);
	CHECK(strstr(p.call.error.text, "add the line `token: (set)` by hand"));
	put_by_hand(&p, "h", HEAD "password: plain1\n");
	CHECK_INT(mk_connection_secret(&p.call, p.m, "h", NULL, "hunter2"), 0);
	CHECK_SHOWN(&p, "h", HEAD "password: (set)\n");
	CHECK_AUTH(&p, "h", NULL, false, BASIC);
}

static void tokens_come_from_files_and_programs(void)
{
	PLATFORM(p);
	_cleanup_free_ char *file = tmpdir_path(p.dir, "token"), *count = tmpdir_path(p.dir, "count");
	_cleanup_free_ char *from_file =
		mk_strf("kind: mlflow\nurl: http://h\ntoken_file: %s\n", file);
	_cleanup_free_ char *from_program = mk_strf(
		"kind: mlflow\nurl: http://h\ntoken_command: [sh, -c, 'echo x >> %s; wc -l < %s']\n",
		count, count);
	_cleanup_(mk_credentials_freep) struct mk_credentials *c = NULL;

	CHECK_INT(put(&p, "f", from_file), 0);
	CHECK_AUTH(&p, "f", NULL, false, "!127"); /* EKEYEXPIRED */
	CHECK_INT(mk_file_write(&p.call, AT_FDCWD, file, " abc \nrest\n", 11, 0600, false), 0);
	CHECK_AUTH(&p, "f", NULL, false, "Bearer abc");
	CHECK_INT(mk_file_write(&p.call, AT_FDCWD, file, "def", 3, 0600, false), 0);
	CHECK_AUTH(&p, "f", NULL, true, "Bearer def");
	CHECK_INT(mk_file_write(&p.call, AT_FDCWD, file, "\n", 1, 0600, false), 0);
	CHECK_AUTH(&p, "f", NULL, true, "!127");
	CHECK_INT(put(&p, "c", from_program), 0);
	NEED(mk_credentials_open(&p.call, p.m, "c", &c) == 0);
	for (int i = 0; i < 4; i++) {
		static const char *const want[] = {"Bearer 1", "Bearer 1", "Bearer 2", "Bearer 2"};
		_cleanup_wipe_ struct mk_buf value = MK_BUF_SECRET(1000);

		CHECK_INT(mk_credentials_auth(&p.call, c, c->origin, i == 2, &value), 0);
		CHECK_TEXT(mk_buf_text(&value), want[i]);
	}
	CHECK_INT(put(&p, "c", "kind: mlflow\nurl: http://h\ntoken_command: ['false']\n"), 0);
	CHECK_AUTH(&p, "c", NULL, false, "!127");
	CHECK(strstr(p.call.error.text, "connections/c.yaml: token_command: false ended with exit code"));
	CHECK_INT(put(&p, "c", "kind: mlflow\nurl: http://h\ntoken_command: not-a-program-at-all\n"),
		  0);
	CHECK_AUTH(&p, "c", NULL, false, "!127");
}

static int count(void *arg, const struct mk_connection *connection)
{
	struct mk_buf *text = arg;

	return mk_buf_printf(text, "%s %s %s\n", connection->name, connection->kind,
			     connection->url);
}

static void a_tracking_url_is_a_connection(void)
{
	PLATFORM(p);
	_cleanup_free_ char *name = NULL, *again = NULL, *other = NULL, *third = NULL, *home = NULL;
	_cleanup_buf_ struct mk_buf list = MK_BUF(4096);

	unsetenv("MLFLOW_TRACKING_TOKEN");
	unsetenv("MLFLOW_TRACKING_USERNAME");
	unsetenv("MLFLOW_TRACKING_PASSWORD");
	setenv("HOME", p.dir, 1);
	CHECK_INT(mk_connection_tracking(&p.call, p.m, "http://Host.example:5000/", &name), 0);
	CHECK_TEXT(name, "host.example");
	CHECK_SHOWN(&p, "host.example", "kind: mlflow\nurl: http://host.example:5000\n");
	CHECK_INT(mk_connection_tracking(&p.call, p.m, "http://host.example:5000", &again), 0);
	CHECK_TEXT(again, "host.example");
	CHECK_INT(mk_connection_tracking(&p.call, p.m, "http://host.example:5001", &other), 0);
	CHECK_TEXT(other, "host.example-5001");
	setenv("MLFLOW_TRACKING_USERNAME", "ana", 1);
	setenv("MLFLOW_TRACKING_PASSWORD", "hunter2", 1);
	free(mk_steal(&other));
	CHECK_INT(mk_connection_tracking(&p.call, p.m, "http://[::1]:5002", &other), 0);
	CHECK_TEXT(other, "1-");
	CHECK_SHOWN(&p, other, "kind: mlflow\nurl: 'http://[::1]:5002'\nuser: ana  # from "
			       "MLFLOW_TRACKING_USERNAME\npassword: (set)\n");
	CHECK_AUTH(&p, other, NULL, false, BASIC);
	setenv("MLFLOW_TRACKING_PASSWORD", "new", 1);
	CHECK_INT(mk_connection_tracking(&p.call, p.m, "http://[::1]:5002", &third), 0);
	CHECK_AUTH(&p, other, NULL, false, "Basic YW5hOm5ldw==");
	setenv("MLFLOW_TRACKING_USERNAME", "bob", 1); /* another's password is not ana's */
	setenv("MLFLOW_TRACKING_PASSWORD", "bobs", 1);
	free(mk_steal(&third));
	CHECK_INT(mk_connection_tracking(&p.call, p.m, "http://[::1]:5002", &third), 0);
	CHECK_AUTH(&p, other, NULL, false, "Basic YW5hOm5ldw==");
	unsetenv("MLFLOW_TRACKING_USERNAME");
	unsetenv("MLFLOW_TRACKING_PASSWORD");
	home = tmpdir_path(p.dir, ".mlflow");
	CHECK_INT(mkdir(home, 0700), 0);
	free(mk_steal(&home));
	home = tmpdir_path(p.dir, ".mlflow/credentials");
	static const char ini[] = "[other]\nmlflow_tracking_password = no\n[mlflow]\n"
				  "mlflow_tracking_username = ana\nmlflow_tracking_password = hunter2\n";

	CHECK_INT(mk_file_write(&p.call, AT_FDCWD, home, ini, strlen(ini), 0600, false), 0);
	free(mk_steal(&third));
	CHECK_INT(mk_connection_tracking(&p.call, p.m, "https://file.example/pre/fix/", &third), 0);
	CHECK_SHOWN(&p, "file.example",
		    "kind: mlflow\nurl: https://file.example/pre/fix\nuser: ana  # from "
		    "~/.mlflow/credentials\npassword: (set)\n");
	CHECK_AUTH(&p, "file.example", NULL, false, BASIC);
	free(mk_steal(&third));
	CHECK_INT(mk_connection_tracking(&p.call, p.m, "http://ana:hunter2@h", &third), -EINVAL);
	CHECK(!strstr(p.call.error.text, "hunter"));
	CHECK_INT(mk_connection_list(&p.call, p.m, count, &list), 0);
	CHECK_TEXT(mk_buf_text(&list), "1- mlflow http://[::1]:5002\n"
				       "file.example mlflow https://file.example/pre/fix\n"
				       "host.example mlflow http://host.example:5000\n"
				       "host.example-5001 mlflow http://host.example:5001\n");
}

static void git_finds_its_connection(void)
{
	PLATFORM(p);
	static const struct {
		const char *uri, *name, *want;
	} cases[] = {
		{"https://git.example/group/a.git", NULL, "group"},
		{"https://git.example/groups/a.git", NULL, "all"},
		{"https://GIT.example:443/x", NULL, "all"},
		{"http://git.example/group/a.git", NULL, NULL},
		{"https://git.example:444/group/a.git", NULL, NULL},
		{"https://other.example/group/a.git", NULL, NULL},
		{"https://git.example/group/a.git", "all", "all"},
		{"git@git.example:group/a.git", NULL, NULL},
		{"/local/path", NULL, NULL},
	};

	CHECK_INT(put(&p, "all", "kind: git\nurl: https://git.example\ntoken: t1\n"), 0);
	CHECK_INT(put(&p, "group",
		      "kind: git\nurl: https://git.example/group\nuser: ana\npassword: p2\n"),
		  0);
	CHECK_INT(put(&p, "m", "kind: mlflow\nurl: https://git.example\n"), 0);
	put_by_hand(&p, "broken", "kind: {{\n");
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		_cleanup_(mk_credentials_freep) struct mk_credentials *c = NULL;
		int r = mk_credentials_for_git(&p.call, p.m, cases[i].uri, cases[i].name, &c);

		CHECK_INT(r, cases[i].want != NULL);
		CHECK_TEXT(c ? c->name : NULL, cases[i].want);
		if (c && strcmp(c->name, "group") == 0) {
			_cleanup_wipe_ struct mk_buf user = MK_BUF(100), password = MK_BUF(100);

			CHECK_INT(mk_credentials_login(&p.call, c, &user, &password), 1);
			CHECK_TEXT(mk_buf_text(&user), "ana");
			CHECK_TEXT(mk_buf_text(&password), "p2");
		}
	}

	struct mk_credentials *c = NULL;

	CHECK_INT(mk_credentials_for_git(&p.call, p.m, "https://git.example/x", "group", &c), -EINVAL);
	CHECK_INT(mk_credentials_for_git(&p.call, p.m, "https://git.example/x", "m", &c), -EINVAL);
	CHECK_INT(mk_credentials_for_git(&p.call, p.m, "https://git.example/x", "no", &c), -ENOENT);
}

static void health_is_told(void)
{
	PLATFORM(p);
	_cleanup_buf_ struct mk_buf text = MK_BUF(4096);

	CHECK_INT(mk_connection_health(&p.call, p.m, "h1", &text), -ENOENT);
	CHECK_INT(put(&p, "h1", "kind: mlflow\nurl: http://h\n"), 0);
	CHECK_INT(mk_connection_health(&p.call, p.m, "h1", &text), 0);
	CHECK_TEXT(mk_buf_text(&text), "kind: mlflow\nurl: http://h\nhealth: not asked yet\n"
				       "requests: 0\nfailures: 0\nbytes: 0\n");
	mk_health_note("h1", 0, NULL, 12, 345);
	mk_buf_truncate(&text, 0);
	CHECK_INT(mk_connection_health(&p.call, p.m, "h1", &text), 0);
	CHECK(strstr(mk_buf_text(&text), "health: ok\nlast_answer: 20"));
	CHECK(strstr(mk_buf_text(&text), "latency: 0.012\nrequests: 1\nfailures: 0\nbytes: 345\n"));
	mk_health_note("h1", EHOSTUNREACH, "connection refused", 1, 0);
	mk_buf_truncate(&text, 0);
	CHECK_INT(mk_connection_health(&p.call, p.m, "h1", &text), 0);
	CHECK(strstr(mk_buf_text(&text), "health: down since 20"));
	CHECK(strstr(mk_buf_text(&text), "last_error: connection refused\n"));
}

int main(void)
{
	return RUN(TEST(secrets_are_cut_out_where_they_stand),
		   TEST(wrong_texts_are_refused_with_line_and_key),
		   TEST(set_keeps_and_a_missing_line_forgets), TEST(a_secret_goes_nowhere_else),
		   TEST(a_file_written_by_hand_shows_nothing),
		   TEST(nobody_overwrites_what_they_have_not_read), TEST(a_login_adds_its_line),
		   TEST(tokens_come_from_files_and_programs), TEST(a_tracking_url_is_a_connection),
		   TEST(git_finds_its_connection), TEST(health_is_told));
}
