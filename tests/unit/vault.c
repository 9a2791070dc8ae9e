/* SPDX-License-Identifier: Apache-2.0 */
/* core/vault: what is sealed comes back, and nothing else does. */
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "base/file.h"
#include "base/options.h"
#include "core.h"
#include "platform.h"
#include "vault/vault.h"

#define CANARY "canary-7f3a9c21-never-in-plain"

static char *config_path(const struct platform *p, const char *name)
{
	return tmpdir_path(p->config, name);
}

static int read_file(struct platform *p, const char *name, struct mk_buf *ret)
{
	_cleanup_free_ char *path = config_path(p, name);

	return mk_file_read(&p->call, AT_FDCWD, path, ret);
}

static void write_file(struct platform *p, const char *name, const char *data, size_t len,
		       mode_t mode)
{
	_cleanup_free_ char *path = config_path(p, name);

	CHECK_INT(mk_file_write(&p->call, AT_FDCWD, path, data, len, mode, false), 0);
	CHECK_INT(chmod(path, mode), 0);
}

static int option(struct platform *p, const char *name, const char *value)
{
	return mk_options_set(&p->call, p->m->options, "test", name, value);
}

/* The secret, or "" when it is not set; anything else is a failed check. */
static char *use(struct platform *p, const char *connection, const char *key)
{
	struct mk_buf secret = MK_BUF_SECRET(1 << 20);
	int r = mk_vault_use(&p->call, p->m, connection, key, &secret);

	CHECK(r == 0 || r == -ENOENT);
	mk_error_clear(&p->call);
	return mk_buf_steal(&secret);
}

#define CHECK_SECRET(p, connection, key, value)                      \
	do {                                                         \
		_cleanup_free_ char *got_ = use(p, connection, key); \
		CHECK_TEXT(got_, value);                             \
	} while (0)

static void a_secret_is_kept_and_changed_and_forgotten(void)
{
	PLATFORM(p);
	struct stat st;
	_cleanup_free_ char *vault = config_path(&p, "vault"), *key = config_path(&p, "vault.key");

	CHECK_INT(mk_vault_has(&p.call, p.m, "mlflow", "password"), 0);
	CHECK(access(vault, F_OK) < 0); /* looking makes nothing */
	CHECK_INT(mk_vault_put(&p.call, p.m, "mlflow", "password", CANARY), 0);
	CHECK_INT(mk_vault_put(&p.call, p.m, "mlflow", "token", "t"), 0);
	CHECK_INT(mk_vault_put(&p.call, p.m, "gitlab", "token", "other"), 0);
	CHECK_INT(mk_vault_has(&p.call, p.m, "mlflow", "password"), 1);
	CHECK_INT(mk_vault_has(&p.call, p.m, "mlflo", "password"), 0);
	CHECK_SECRET(&p, "mlflow", "password", CANARY);
	CHECK(stat(vault, &st) == 0 && (st.st_mode & 07777) == 0600);
	CHECK(stat(key, &st) == 0 && (st.st_mode & 07777) == 0600 && st.st_size == 32);
	CHECK_INT(mk_vault_put(&p.call, p.m, "mlflow", "password", "new"), 0);
	CHECK_SECRET(&p, "mlflow", "password", "new");
	CHECK_SECRET(&p, "mlflow", "token", "t");
	CHECK_INT(mk_vault_put(&p.call, p.m, "mlflow", "password", NULL), 0);
	CHECK_SECRET(&p, "mlflow", "password", "");
	CHECK_INT(mk_vault_forget(&p.call, p.m, "mlflow"), 0);
	CHECK_SECRET(&p, "mlflow", "token", "");
	CHECK_SECRET(&p, "gitlab", "token", "other");
	CHECK_INT(mk_vault_use(&p.call, p.m, "mlflow", "token", &MK_BUF(10)), -ENOENT);
}

static void what_is_on_disk_is_sealed_anew_each_time(void)
{
	PLATFORM(p);
	_cleanup_buf_ struct mk_buf one = MK_BUF(1 << 20), two = MK_BUF(1 << 20);

	CHECK_INT(mk_vault_put(&p.call, p.m, "m", "token", CANARY), 0);
	CHECK_INT(read_file(&p, "vault", &one), 0);
	CHECK_INT(mk_vault_put(&p.call, p.m, "m", "token", "x" CANARY), 0);
	CHECK_INT(mk_vault_put(&p.call, p.m, "m", "token", CANARY), 0);
	CHECK_INT(read_file(&p, "vault", &two), 0);
	CHECK_INT(one.len, two.len);
	CHECK(!memmem(one.data, one.len, "canary", 6));
	CHECK(memcmp(one.data + 25, two.data + 25, 28) != 0); /* salt and nonce */
	CHECK(memcmp(one.data + 53, two.data + 53, one.len - 53) != 0);
	mk_buf_truncate(&two, 0);
	CHECK_INT(mk_vault_put(&p.call, p.m, "m", "token", CANARY),
		  0); /* nothing new: not written */
	mk_buf_truncate(&one, 0);
	CHECK_INT(read_file(&p, "vault", &one), 0);
}

/* Every bit and every length of a small vault. */
static void damage_is_told_and_kept(void)
{
	PLATFORM(p);
	_cleanup_buf_ struct mk_buf good = MK_BUF(1 << 20), secret = MK_BUF_SECRET(1000);

	CHECK_INT(mk_vault_put(&p.call, p.m, "m", "token", "s3"), 0);
	CHECK_INT(read_file(&p, "vault", &good), 0);
	for (size_t len = 0; len < good.len; len++) {
		write_file(&p, "vault", good.data, len, 0600);
		CHECK_INT(mk_vault_use(&p.call, p.m, "m", "token", &secret), -EUCLEAN);
	}
	for (size_t bit = 0; bit < good.len * 8; bit += 3) {
		good.data[bit / 8] ^= (char)(1 << bit % 8);
		write_file(&p, "vault", good.data, good.len, 0600);
		CHECK_INT(mk_vault_use(&p.call, p.m, "m", "token", &secret), -EUCLEAN);
		good.data[bit / 8] ^= (char)(1 << bit % 8);
	}
	CHECK_INT(secret.len, 0);
	/* A damaged one is not written over. */
	write_file(&p, "vault", good.data, good.len - 1, 0600);
	CHECK_INT(mk_vault_put(&p.call, p.m, "m", "token", "new"), -EUCLEAN);
	CHECK(strstr(p.call.error.text, "/vault: is damaged"));
	write_file(&p, "vault", good.data, good.len, 0600);
	CHECK_SECRET(&p, "m", "token", "s3");
}

static void a_key_others_may_read_is_refused(void)
{
	static const mode_t modes[] = {0644, 0640, 0604, 0660};
	PLATFORM(p);
	_cleanup_free_ char *key = config_path(&p, "vault.key");
	_cleanup_buf_ struct mk_buf secret = MK_BUF_SECRET(1000), good = MK_BUF(1000);

	CHECK_INT(mk_vault_put(&p.call, p.m, "m", "token", "s"), 0);
	for (size_t i = 0; i < sizeof(modes) / sizeof(*modes); i++) {
		CHECK_INT(chmod(key, modes[i]), 0);
		CHECK_INT(mk_vault_use(&p.call, p.m, "m", "token", &secret), -ENOKEY);
		CHECK_INT(mk_vault_put(&p.call, p.m, "m", "token", "n"), -ENOKEY);
	}
	CHECK(strstr(p.call.error.text, "vault.key: others may read the key (mode 0660"));
	CHECK(strstr(p.call.error.text, "chmod 600"));
	CHECK_INT(chmod(key, 0600), 0);
	CHECK_SECRET(&p, "m", "token", "s");
	/* Another key, half a key, none. */
	CHECK_INT(read_file(&p, "vault.key", &good), 0);
	good.data[5] ^= 1;
	write_file(&p, "vault.key", good.data, 32, 0600);
	CHECK_INT(mk_vault_use(&p.call, p.m, "m", "token", &secret), -EKEYREJECTED);
	write_file(&p, "vault.key", good.data, 31, 0600);
	CHECK_INT(mk_vault_use(&p.call, p.m, "m", "token", &secret), -ENOKEY);
	CHECK_INT(unlink(key), 0);
	CHECK_INT(mk_vault_use(&p.call, p.m, "m", "token", &secret), -ENOKEY);
	CHECK_INT(mk_vault_put(&p.call, p.m, "m", "token", "n"), -ENOKEY);
	CHECK(access(key, F_OK) < 0); /* and none is made that would not open it */
}

static void a_passphrase_opens_it(void)
{
	PLATFORM(p);
	_cleanup_free_ char *file = config_path(&p, "words");
	_cleanup_free_ char *key = config_path(&p, "vault.key");
	_cleanup_buf_ struct mk_buf secret = MK_BUF_SECRET(1000);

	CHECK_INT(option(&p, "vault_key", "passphrase"), 0);
	unsetenv("MANTIK_VAULT_PASSPHRASE_FILE");
	CHECK_INT(mk_vault_put(&p.call, p.m, "m", "token", "s"), -ENOKEY);
	CHECK(strstr(p.call.error.text, "MANTIK_VAULT_PASSPHRASE_FILE"));
	write_file(&p, "words", "correct horse\n", 14, 0600);
	setenv("MANTIK_VAULT_PASSPHRASE_FILE", file, 1);
	CHECK_INT(mk_vault_put(&p.call, p.m, "m", "token", "s"), 0);
	CHECK(access(key, F_OK) < 0);
	CHECK_SECRET(&p, "m", "token", "s");
	/* Asked once: the process has it now. */
	unsetenv("MANTIK_VAULT_PASSPHRASE_FILE");
	CHECK_SECRET(&p, "m", "token", "s");
	CHECK_INT(mk_vault_put(&p.call, p.m, "m", "user", "u"), 0);
	NEED(platform_open(&p) == 0);
	CHECK_INT(option(&p, "vault_key", "passphrase"), 0);
	CHECK_INT(mk_vault_use(&p.call, p.m, "m", "token", &secret), -ENOKEY);
	write_file(&p, "words", "wrong horse\n", 12, 0600);
	setenv("MANTIK_VAULT_PASSPHRASE_FILE", file, 1);
	CHECK_INT(mk_vault_use(&p.call, p.m, "m", "token", &secret), -EKEYREJECTED);
	CHECK(strstr(p.call.error.text, "the passphrase is wrong"));
	CHECK(!strstr(p.call.error.text, "horse"));
	CHECK_INT(mk_vault_put(&p.call, p.m, "m", "token", "n"), -EKEYREJECTED);
	write_file(&p, "words", "correct horse\n", 14, 0644);
	CHECK_INT(mk_vault_use(&p.call, p.m, "m", "token", &secret), -ENOKEY);
	write_file(&p, "words", "correct horse", 13, 0600);
	CHECK_SECRET(&p, "m", "token", "s");
	CHECK_SECRET(&p, "m", "user", "u");
	unsetenv("MANTIK_VAULT_PASSPHRASE_FILE");
}

static int ask(struct mk_call *call, void *arg, bool fresh, struct mk_buf *ret)
{
	int *asked = arg;

	(*asked) += fresh ? 100 : 1;
	return mk_buf_puts(ret, "from a person");
}

static void a_person_is_asked_once(void)
{
	PLATFORM(p);
	int asked = 0;

	unsetenv("MANTIK_VAULT_PASSPHRASE_FILE");
	CHECK_INT(option(&p, "vault_key", "passphrase"), 0);
	mk_vault_asker(p.m, ask, &asked);
	CHECK_INT(mk_vault_put(&p.call, p.m, "m", "token", "s"), 0);
	CHECK_INT(asked, 100);
	CHECK_INT(mk_vault_put(&p.call, p.m, "m", "token", "t"), 0);
	CHECK_INT(asked, 100);
	NEED(platform_open(&p) == 0);
	CHECK_INT(option(&p, "vault_key", "passphrase"), 0);
	mk_vault_asker(p.m, ask, &asked);
	CHECK_SECRET(&p, "m", "token", "t");
	CHECK_SECRET(&p, "m", "token", "t");
	CHECK_INT(asked, 101);
}

static void a_command_opens_it(void)
{
	PLATFORM(p);
	_cleanup_free_ char *log = config_path(&p, "log");
	_cleanup_free_ char *line = mk_strf("echo x >> %s; echo its words", log);
	_cleanup_buf_ struct mk_buf secret = MK_BUF_SECRET(1000), ran = MK_BUF(1000);

	CHECK_INT(option(&p, "vault_key", "command"), 0);
	CHECK_INT(mk_vault_put(&p.call, p.m, "m", "token", "s"), -ENOKEY);
	CHECK(strstr(p.call.error.text, "vault_command is not set"));
	CHECK_INT(option(&p, "vault_command", line), 0);
	p.call.may_wait = NULL;
	CHECK_INT(mk_vault_put(&p.call, p.m, "m", "token", "s"), MK_PUNT);
	CHECK_TEXT(p.call.punt, "vault");
	p.call.may_wait = "somebody";
	CHECK_INT(mk_vault_put(&p.call, p.m, "m", "token", "s"), 0);
	p.call.may_wait = NULL; /* from now on it is known */
	CHECK_SECRET(&p, "m", "token", "s");
	CHECK_INT(read_file(&p, "log", &ran), 0);
	CHECK_TEXT(mk_buf_text(&ran), "x\n");
	NEED(platform_open(&p) == 0);
	p.call.may_wait = MK_ANY;
	CHECK_INT(option(&p, "vault_command", "echo oops >&2; exit 3"), 0);
	CHECK_INT(mk_vault_use(&p.call, p.m, "m", "token", &secret), -ENOKEY);
	CHECK(strstr(p.call.error.text, "vault_command: sh ended with exit code 3: oops"));
	CHECK_INT(option(&p, "vault_command", "true"), 0);
	CHECK_INT(mk_vault_use(&p.call, p.m, "m", "token", &secret), -ENOKEY);
	/* The option back at file: it still opens, and the next change seals it with a file. */
	CHECK_INT(option(&p, "vault_command", "echo its words"), 0);
	CHECK_SECRET(&p, "m", "token", "s");
	CHECK_INT(mk_vault_put(&p.call, p.m, "m", "token", "t"), 0);
	CHECK_INT(option(&p, "vault_command", "exit 1"), 0);
	NEED(platform_open(&p) == 0);
	CHECK_SECRET(&p, "m", "token", "t");
}

struct user {
	struct platform *p;
	int r;
	char text[400];
};

static void *use_it(void *arg)
{
	struct user *user = arg;
	_cleanup_buf_ struct mk_buf secret = MK_BUF_SECRET(1000);
	_cleanup_call_ struct mk_call call;

	mk_call_init(&call);
	user->r = mk_vault_use(&call, user->p->m, "m", "token", &secret);
	(void)snprintf(user->text, sizeof(user->text), "%s",
		       user->r < 0 ? call.error.text : mk_buf_text(&secret));
	return NULL;
}

/* A command may be a question on somebody's screen: eight threads ask it once. */
static void one_asks_for_all(void)
{
	enum { USERS = 8 };
	PLATFORM(p);
	_cleanup_free_ char *log = config_path(&p, "log");
	_cleanup_free_ char *good = mk_strf("echo x >> %s; sleep 0.3; echo its words", log);
	_cleanup_free_ char *bad = mk_strf("echo x >> %s; sleep 0.3; echo no >&2; exit 3", log);
	struct user users[USERS];
	pthread_t threads[USERS];

	CHECK_INT(option(&p, "vault_key", "command"), 0);
	CHECK_INT(option(&p, "vault_command", "echo its words"), 0);
	CHECK_INT(mk_vault_put(&p.call, p.m, "m", "token", "s"), 0);
	for (int turn = 0; turn < 2; turn++) {
		_cleanup_buf_ struct mk_buf ran = MK_BUF(1000);

		NEED(platform_open(&p) == 0);
		CHECK_INT(option(&p, "vault_key", "command"), 0);
		CHECK_INT(option(&p, "vault_command", turn ? good : bad), 0);
		(void)unlink(log);
		for (int i = 0; i < USERS; i++) {
			users[i] = (struct user){.p = &p};
			NEED(pthread_create(&threads[i], NULL, use_it, &users[i]) == 0);
		}
		for (int i = 0; i < USERS; i++) {
			(void)pthread_join(threads[i], NULL);
			CHECK_INT(users[i].r, turn ? 0 : -ENOKEY);
			CHECK(strstr(users[i].text, turn ? "s" : "sh ended with exit code 3: no"));
		}
		CHECK_INT(read_file(&p, "log", &ran), 0);
		CHECK_TEXT(mk_buf_text(&ran), "x\n");
	}
}

static void two_processes_write_at_once(void)
{
	enum { EACH = 25, WRITERS = 4 };
	PLATFORM(p);
	pid_t pids[WRITERS];

	for (int w = 0; w < WRITERS; w++) {
		pids[w] = fork();
		for (int i = 0; pids[w] == 0 && i < EACH; i++) {
			_cleanup_free_ char *name = mk_strf("c%d-%d", w, i);

			if (mk_vault_put(&p.call, p.m, name, "token", name) < 0)
				_exit(1);
		}
		if (pids[w] == 0)
			_exit(0);
	}
	for (int w = 0; w < WRITERS; w++) {
		int status = -1;

		CHECK(waitpid(pids[w], &status, 0) == pids[w] && status == 0);
	}
	for (int w = 0; w < WRITERS; w++)
		for (int i = 0; i < EACH; i++) {
			_cleanup_free_ char *name = mk_strf("c%d-%d", w, i);

			CHECK_SECRET(&p, name, "token", name);
		}
}

/* Killed at any moment of a write: the old or the new, never less, and no leavings. */
static void a_killed_writer_leaves_old_or_new(void)
{
	PLATFORM(p);
	unsigned seed = 1;

	CHECK_INT(mk_vault_put(&p.call, p.m, "m", "token", "0"), 0);
	for (int round = 0; round < 40; round++) {
		pid_t pid = fork();

		for (int i = 0; pid == 0; i++) {
			_cleanup_free_ char *value = mk_strf("%d", i);

			if (mk_vault_put(&p.call, p.m, "m", "token", value) < 0)
				_exit(1);
		}
		(void)usleep((unsigned)rand_r(&seed) % 8000);
		CHECK_INT(kill(pid, SIGKILL), 0);

		int status = 0;

		CHECK(waitpid(pid, &status, 0) == pid && WIFSIGNALED(status));

		_cleanup_free_ char *got = use(&p, "m", "token");

		CHECK(*got >= '0' && *got <= '9');
	}
	write_file(&p, "vault.tmp99", "left", 4, 0600);
	CHECK_INT(mk_vault_put(&p.call, p.m, "m", "token", "last"), 0);

	_cleanup_free_ char *left = config_path(&p, "vault.tmp99");

	CHECK(access(left, F_OK) < 0);
}

static int make_read_only(const char *dir)
{
	if (geteuid() != 0)
		return chmod(dir, 0500);
	if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
	    mount(dir, dir, NULL, MS_BIND, NULL) < 0)
		return -1;
	return mount(NULL, dir, NULL, MS_REMOUNT | MS_BIND | MS_RDONLY, NULL);
}

static void a_read_only_directory_is_told(void)
{
	PLATFORM(p);
	int status = -1;

	CHECK_INT(mk_vault_put(&p.call, p.m, "m", "token", "s"), 0);

	pid_t pid = fork();

	if (pid == 0) {
		struct mk_buf secret = MK_BUF_SECRET(100);

		if (make_read_only(p.config) < 0)
			_exit(77);

		int r = mk_vault_put(&p.call, p.m, "m", "token", "new");

		if ((r != -EROFS && r != -EACCES) ||
		    !strstr(p.call.error.text, "the configuration cannot be written"))
			_exit(1);
		r = mk_vault_use(&p.call, p.m, "m", "token", &secret);
		_exit(r == 0 && strcmp(secret.data, "s") == 0 ? 0 : 2);
	}
	CHECK(waitpid(pid, &status, 0) == pid && WIFEXITED(status));
	if (WEXITSTATUS(status) == 77)
		SKIP("no mount namespace can be had here");
	CHECK_INT(WEXITSTATUS(status), 0);
	CHECK_SECRET(&p, "m", "token", "s");
}

static void limits_hold(void)
{
	PLATFORM(p);
	_cleanup_free_ char *big = malloc((1 << 16) + 2);

	NEED(big);
	memset(big, 'x', (1 << 16) + 1);
	big[(1 << 16) + 1] = 0;
	CHECK_INT(mk_vault_put(&p.call, p.m, "m", "token", big), -EFBIG);
	big[1 << 16] = 0;
	for (int i = 0; i < 15; i++) {
		_cleanup_free_ char *name = mk_strf("c%d", i);

		CHECK_INT(mk_vault_put(&p.call, p.m, name, "token", big), 0);
	}
	CHECK_INT(mk_vault_put(&p.call, p.m, "last", "token", big), -EFBIG);
	CHECK_SECRET(&p, "last", "token", "");
	CHECK_SECRET(&p, "c14", "token", big);
}

int main(void)
{
	return RUN(TEST(a_secret_is_kept_and_changed_and_forgotten),
		   TEST(what_is_on_disk_is_sealed_anew_each_time), TEST(damage_is_told_and_kept),
		   TEST(a_key_others_may_read_is_refused), TEST(a_passphrase_opens_it),
		   TEST(a_person_is_asked_once), TEST(a_command_opens_it), TEST(one_asks_for_all),
		   TEST(two_processes_write_at_once), TEST(a_killed_writer_leaves_old_or_new),
		   TEST(a_read_only_directory_is_told), TEST(limits_hold));
}
