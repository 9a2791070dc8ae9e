/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where the vault's key comes from. The sealed file says how it is locked and is opened so; the
 * option vault_key says how it is sealed the next time it is written.
 *
 *	file        <config>/vault.key, made by the first secret; refused when others may read it
 *	passphrase  $MANTIK_VAULT_PASSPHRASE_FILE, else asked on a terminal by mantikctl
 *	command     what vault_command prints
 *
 * A passphrase, asked for or printed, goes through scrypt. What came of it is kept for the life of
 * the process once it has opened the vault, so nobody is asked twice.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/rand.h>

#include "base/file.h"
#include "base/options.h"
#include "core.h"
#include "net/exec.h"
#include "vault/internal.h"

enum { PASSPHRASE = 4096, COMMAND_WAIT_S = 10 };

static bool option_is(const struct mantik *m, const char *value)
{
	return strcmp(mk_options_text(m->options, "vault_key"), value) == 0;
}

/* A file of ours that nobody else may read. Adds what is in it. */
static int read_private(struct mk_call *call, const char *path, const char *what,
			struct mk_buf *ret)
{
	_cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	struct stat st;

	if (fd < 0 || fstat(fd, &st) < 0)
		return errno == ENOENT ? -ENOENT
				       : mk_fail(call, ENOKEY, "%s: %s", path, strerror(errno));
	if (!S_ISREG(st.st_mode))
		return mk_fail(call, ENOKEY, "%s: is not a file", path);
	if (st.st_mode & 077 || (st.st_uid != geteuid() && st.st_uid != 0))
		return mk_fail(
			call, ENOKEY,
			"%s: others may read the %s (mode %04o, owner %d): chmod 600 it, and "
			"if others are on this machine set the secrets anew",
			path, what, st.st_mode & 07777, (int)st.st_uid);
	for (;;) {
		char *room = mk_buf_room(ret, 512);
		ssize_t n = room ? read(fd, room, 512) : -1;

		if (!room)
			return mk_fail(call, ENOKEY, "%s: is too long for a %s", path, what);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return mk_fail(call, ENOKEY, "%s: %s", path, strerror(errno));
		if (n == 0)
			return mk_buf_puts(ret, "");
		ret->len += (size_t)n;
	}
}

/* --- the key file ------------------------------------------------------------------------- */

static int read_key_file(struct mk_call *call, const char *path, unsigned char ret[VAULT_KEY])
{
	_cleanup_wipe_ struct mk_buf key = MK_BUF_SECRET(4 * 512);
	int r = read_private(call, path, "key", &key);

	if (r < 0)
		return r;
	if (key.len != VAULT_KEY)
		return mk_fail(call, ENOKEY, "%s: is no key: it has %zu bytes instead of %d", path,
			       key.len, VAULT_KEY);
	memcpy(ret, key.data, VAULT_KEY);
	return 0;
}

static int make_key_file(struct mk_call *call, const char *path, unsigned char ret[VAULT_KEY])
{
	if (RAND_bytes(ret, VAULT_KEY) != 1)
		return mk_fail(call, EIO, "vault: no random bytes");
	return mk_file_write(call, AT_FDCWD, path, ret, VAULT_KEY, 0600, true);
}

/* --- passphrases -------------------------------------------------------------------------- */

/* Without the end of its line; ENOKEY when nothing is left. */
static int take_line(struct mk_call *call, const char *from, struct mk_buf *text)
{
	size_t len = strcspn(mk_buf_text(text), "\r\n");

	if (len != text->len)
		mk_buf_truncate(text, len);
	return len ? 0 : mk_fail(call, ENOKEY, "%s gives no passphrase for the vault", from);
}

static int run_command(struct mk_call *call, struct mantik *m, struct mk_buf *ret)
{
	const char *command = mk_options_text(m->options, "vault_command");
	const char *const argv[] = {"sh", "-c", command, NULL};
	int64_t deadline = call->deadline, until = mk_now_mono() + COMMAND_WAIT_S * MK_SEC;
	int r;

	if (!*command)
		return mk_fail(call, ENOKEY,
			       "config.yaml: vault_key is command, but vault_command is not set");
	if (!call->may_wait) /* whoever may wait for something may wait for it */
		return mk_call_may_wait(call, "vault");
	if (!deadline || until < deadline)
		call->deadline = until;
	r = mk_exec_run(call, &(struct mk_exec){.argv = argv, .out = ret});
	call->deadline = deadline;
	if (r == -EREMOTEIO || r == -EFBIG || r == -ENOENT)
		return mk_fail(call, ENOKEY, "vault_command: %s%s%s", call->error.text,
			       call->error.detail ? ": " : "",
			       call->error.detail ? call->error.detail : "");
	if (r < 0)
		return mk_prefix(call, r, "vault_command");
	return take_line(call, "vault_command", ret);
}

static int passphrase(struct mk_call *call, struct mantik *m, bool fresh, struct mk_buf *ret)
{
	const char *file = getenv("MANTIK_VAULT_PASSPHRASE_FILE");
	int r;

	if (option_is(m, "command") ||
	    (option_is(m, "file") && *mk_options_text(m->options, "vault_command")))
		return run_command(call, m, ret);
	if (file && *file) {
		r = read_private(call, file, "passphrase", ret);
		if (r == -ENOENT)
			return mk_fail(call, ENOKEY,
				       "MANTIK_VAULT_PASSPHRASE_FILE: %s does not exist", file);
		return r < 0 ? r : take_line(call, file, ret);
	}
	if (!m->vault->ask)
		return mk_fail(
			call, ENOKEY,
			"the vault needs its passphrase: put it into a file of mode 0600 and "
			"name that in MANTIK_VAULT_PASSPHRASE_FILE before mounting (or use "
			"vault_key: command)");
	r = m->vault->ask(call, m->vault->ask_arg, fresh, ret);
	return r < 0 ? r : take_line(call, "the terminal", ret);
}

static int stretch(struct mk_call *call, struct mantik *m, const struct vault_lock *lock,
		   bool fresh, unsigned char ret[VAULT_KEY])
{
	_cleanup_wipe_ struct mk_buf words = MK_BUF_SECRET(PASSPHRASE);
	uint64_t n = UINT64_C(1) << lock->cost;
	int r = passphrase(call, m, fresh, &words);

	if (r < 0)
		return r;
	if (EVP_PBE_scrypt(mk_buf_text(&words), words.len, lock->salt, VAULT_SALT, n, 8, 1,
			   n * 1024 + (1 << 20), ret, VAULT_KEY) != 1)
		return mk_fail(call, ENOMEM, "vault: scrypt needs %d MiB",
			       (int)(n * 1024 >> 20) + 1);
	return 0;
}

static bool kept(struct mantik *m, const struct vault_lock *lock, unsigned char ret[VAULT_KEY])
{
	struct mk_vault *vault = m->vault;
	bool found;

	pthread_mutex_lock(&vault->lock);
	found = vault->cost == lock->cost && memcmp(vault->salt, lock->salt, VAULT_SALT) == 0;
	if (found)
		memcpy(ret, vault->master, VAULT_KEY);
	pthread_mutex_unlock(&vault->lock);
	return found;
}

void vault_keep_key(struct mantik *m, const struct vault_lock *lock,
		    const unsigned char key[VAULT_KEY])
{
	struct mk_vault *vault = m->vault;

	if (!lock->cost)
		return;
	pthread_mutex_lock(&vault->lock);
	vault->cost = lock->cost;
	memcpy(vault->salt, lock->salt, VAULT_SALT);
	memcpy(vault->master, key, VAULT_KEY);
	pthread_mutex_unlock(&vault->lock);
}

/* --- one asks for all --------------------------------------------------------------------- */

/* Lock held, and given up while it waits. */
static int wait_for_asker(struct mk_call *call, struct mk_vault *vault)
{
	int64_t until = mk_now_mono() + 50 * MK_MS;
	int r = call->may_wait ? mk_call_check(call, "the passphrase of the vault")
			       : mk_call_may_wait(call, "vault");

	if (r < 0)
		return r;
	(void)pthread_cond_timedwait(&vault->asked, &vault->lock,
				     &(struct timespec){until / MK_SEC, until % MK_SEC});
	return 0;
}

int vault_ask_begin(struct mk_call *call, struct mantik *m, const struct vault_lock *lock)
{
	struct mk_vault *vault = m->vault;
	unsigned char key[VAULT_KEY];
	uint64_t before;
	bool waited = false;
	int r = 0;

	if (!lock->cost)
		return 1;
	pthread_mutex_lock(&vault->lock);
	before = vault->n_asked;
	while (r == 0 && vault->asking) {
		waited = true;
		r = wait_for_asker(call, vault);
	}
	if (r == 0 && waited && vault->n_asked != before && vault->failed.code)
		r = mk_fail(call, vault->failed.code, "%s", vault->failed.text);
	if (r == 0)
		vault->asking = true;
	pthread_mutex_unlock(&vault->lock);
	if (r == 0 && kept(m, lock, key)) {
		OPENSSL_cleanse(key, sizeof(key));
		vault_ask_end(call, m, 0);
		r = 1;
	}
	return r;
}

void vault_ask_end(const struct mk_call *call, struct mantik *m, int result)
{
	struct mk_vault *vault = m->vault;
	/* Who lost patience says nothing about the others'. */
	bool tell = result < 0 && result != -EINTR && result != -ETIMEDOUT && result != MK_PUNT;

	pthread_mutex_lock(&vault->lock);
	free(vault->failed.text);
	vault->failed = (struct mk_error){
		.code = tell ? -result : 0,
		.text = tell ? mk_strdup(call->error.text ? call->error.text : strerror(-result))
			     : NULL,
	};
	vault->asking = false;
	vault->n_asked++;
	pthread_cond_broadcast(&vault->asked);
	pthread_mutex_unlock(&vault->lock);
}

/* --- the two questions -------------------------------------------------------------------- */

int vault_key(struct mk_call *call, struct mantik *m, const struct vault_lock *lock,
	      unsigned char ret[VAULT_KEY])
{
	_cleanup_free_ char *path = mk_strf("%s/vault.key", m->config_dir);
	int r;

	if (lock->cost)
		return kept(m, lock, ret) ? 0 : stretch(call, m, lock, false, ret);
	r = read_key_file(call, path, ret);
	if (r == -ENOENT)
		return mk_fail(
			call, ENOKEY,
			"%s: is missing, without it the vault cannot be opened; put it back from "
			"a backup, or move %s/vault away and set the secrets again with "
			"mantikctl login",
			path, m->config_dir);
	return r;
}

int vault_new_key(struct mk_call *call, struct mantik *m, const struct vault_lock *was,
		  struct vault_lock *ret_lock, unsigned char ret[VAULT_KEY])
{
	_cleanup_free_ char *path = mk_strf("%s/vault.key", m->config_dir);
	struct vault_lock lock = {};
	int r;

	if (option_is(m, "file")) {
		r = read_key_file(call, path, ret);
		if (r == -ENOENT)
			r = make_key_file(call, path, ret);
	} else if (was && was->cost) { /* the same passphrase as before */
		lock = *was;
		r = vault_key(call, m, &lock, ret);
	} else {
		lock.cost = VAULT_COST;
		if (RAND_bytes(lock.salt, VAULT_SALT) != 1)
			return mk_fail(call, EIO, "vault: no random bytes");
		r = stretch(call, m, &lock, true, ret);
	}
	if (r == 0)
		*ret_lock = lock;
	return r;
}
