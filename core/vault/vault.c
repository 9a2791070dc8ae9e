/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The vault's content: read whole, changed in memory, sealed and replaced whole. The text inside is
 *
 *	<connection> NUL <key> NUL <secret> NUL …
 *
 * A reader needs no lock, since the file is replaced by a rename; who changes it holds vault.lock
 * from reading to writing. Nothing is kept in memory between two calls but a passphrase's key.
 */
#include "vault/vault.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/file.h>

#include <openssl/crypto.h>

#include "base/file.h"
#include "base/path.h"
#include "core.h"
#include "vault/internal.h"

enum { LOCK_TRIES = 100, LOCK_WAIT_MS = 50, SEALED = VAULT_TEXT + 4096 };

struct mk_vault *mk_vault_new(void)
{
	struct mk_vault *vault = mk_new(struct mk_vault);
	pthread_condattr_t monotonic;

	pthread_mutex_init(&vault->lock, NULL);
	pthread_condattr_init(&monotonic);
	pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
	pthread_cond_init(&vault->asked, &monotonic);
	pthread_condattr_destroy(&monotonic);
	return vault;
}

void mk_vault_free(struct mk_vault *vault)
{
	if (!vault)
		return;
	pthread_mutex_destroy(&vault->lock);
	pthread_cond_destroy(&vault->asked);
	free(vault->failed.text);
	OPENSSL_cleanse(vault, sizeof(*vault));
	free(vault);
}

void mk_vault_asker(struct mantik *m, mk_vault_ask *ask, void *arg)
{
	m->vault->ask = ask;
	m->vault->ask_arg = arg;
}

static char *path_of(const struct mantik *m, const char *name)
{
	return mk_strf("%s/%s", m->config_dir, name);
}

/* --- the text inside ---------------------------------------------------------------------- */

struct entry {
	const char *connection, *key, *secret;
};

/* The next entry, from *at on; false at the end (or where the text is none of ours). */
static bool next_entry(const struct mk_buf *text, size_t *at, struct entry *ret)
{
	const char *part[3];
	size_t pos = *at;

	for (int i = 0; i < 3; i++) {
		const char *begin = mk_buf_text(text) + pos;
		const char *end = pos < text->len ? memchr(begin, 0, text->len - pos) : NULL;

		if (!end)
			return false;
		part[i] = begin;
		pos += (size_t)(end - begin) + 1;
	}
	*ret = (struct entry){part[0], part[1], part[2]};
	*at = pos;
	return true;
}

static void add_entry(struct mk_buf *text, const char *connection, const char *key,
		      const char *secret)
{
	(void)mk_buf_put(text, connection, strlen(connection) + 1);
	(void)mk_buf_put(text, key, strlen(key) + 1);
	(void)mk_buf_put(text, secret, strlen(secret) + 1);
}

static const char *find(const struct mk_buf *text, const char *connection, const char *key)
{
	struct entry entry;

	for (size_t at = 0; next_entry(text, &at, &entry);)
		if (strcmp(entry.connection, connection) == 0 && strcmp(entry.key, key) == 0)
			return entry.secret;
	return NULL;
}

/* --- the file ----------------------------------------------------------------------------- */

/* 1, or 0 when there is no vault yet. */
static int read_vault(struct mk_call *call, struct mantik *m, struct vault_lock *lock,
		      struct mk_buf *text)
{
	_cleanup_buf_ struct mk_buf sealed = MK_BUF(SEALED);
	_cleanup_free_ char *path = path_of(m, "vault");
	unsigned char key[VAULT_KEY];
	bool asks;
	int r = mk_file_read(call, AT_FDCWD, path, &sealed);

	if (r == -ENOENT || r == -ENOTDIR) {
		mk_error_clear(call);
		return 0;
	}
	if (r == -EFBIG || r == -EINVAL || r == -ELOOP)
		return mk_fail(call, EUCLEAN, "%s: is no vault of ours", path);
	if (r == 0)
		r = vault_look(call, path, &sealed, lock);
	if (r == 0)
		r = vault_ask_begin(call, m, lock);
	if (r < 0)
		return r;
	asks = r == 0;
	r = vault_key(call, m, lock, key);
	if (r == 0)
		r = vault_unseal(call, path, &sealed, key, text);
	if (r == 0)
		vault_keep_key(m, lock, key);
	if (asks)
		vault_ask_end(call, m, r);
	OPENSSL_cleanse(key, sizeof(key));
	return r < 0 ? r : 1;
}

/* What a killed writer left behind. Lock held. */
static void sweep(const struct mantik *m)
{
	DIR *dir = opendir(m->config_dir);

	for (struct dirent *e; dir && (e = readdir(dir));)
		if (strncmp(e->d_name, "vault.tmp", 9) == 0 ||
		    strncmp(e->d_name, "vault.key.tmp", 13) == 0)
			(void)unlinkat(dirfd(dir), e->d_name, 0);
	if (dir)
		closedir(dir);
}

static int write_vault(struct mk_call *call, struct mantik *m, const struct vault_lock *was,
		       const struct mk_buf *text)
{
	_cleanup_buf_ struct mk_buf sealed = MK_BUF(SEALED);
	_cleanup_free_ char *path = path_of(m, "vault");
	unsigned char key[VAULT_KEY];
	struct vault_lock lock;
	int r;

	if (mk_buf_check(text) < 0)
		return mk_fail(call, EFBIG, "%s: all secrets together are over 1 MiB", path);
	sweep(m);
	r = vault_new_key(call, m, was, &lock, key);
	if (r == 0)
		r = vault_seal(call, &lock, key, text, &sealed);
	if (r == 0)
		r = mk_file_write(call, AT_FDCWD, path, sealed.data, sealed.len, 0600, true);
	if (r == 0)
		vault_keep_key(m, &lock, key);
	OPENSSL_cleanse(key, sizeof(key));
	return r;
}

int mk_vault_lock(struct mk_call *call, struct mantik *m, int *ret_fd)
{
	_cleanup_free_ char *path = path_of(m, "vault.lock");
	_cleanup_close_ int fd = -1;
	int r = mk_path_make(call, m->config_dir);

	if (r == 0) {
		fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
		if (fd < 0)
			r = mk_fail(call, errno, "%s", strerror(errno));
	}
	if (r < 0)
		return mk_prefix(call, r, "%s: the configuration cannot be written", m->config_dir);
	for (int i = 0; flock(fd, LOCK_EX | LOCK_NB) < 0; i++) {
		if (errno == EINTR)
			continue;
		if (errno != EWOULDBLOCK) /* no locks there: the rename alone has to do */
			break;

		struct pollfd p = {.fd = mk_call_cancel_fd(call), .events = POLLIN};

		r = mk_call_check(call, path);
		if (r < 0)
			return r;
		if (i == LOCK_TRIES)
			return mk_fail(call, EBUSY, "%s: another program is changing connections",
				       path);
		(void)poll(&p, 1, LOCK_WAIT_MS);
	}
	*ret_fd = mk_steal_fd(&fd);
	return 0;
}

/* --- changes ------------------------------------------------------------------------------ */

static const struct mk_vault_change *change_of(const struct mk_vault_change *changes, size_t n,
					       const char *key)
{
	for (size_t i = 0; i < n; i++)
		if (strcmp(changes[i].key, key) == 0)
			return &changes[i];
	return NULL;
}

static int check(struct mk_call *call, const char *connection,
		 const struct mk_vault_change *changes, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (changes[i].secret && strlen(changes[i].secret) > VAULT_SECRET)
			return mk_fail(call, EFBIG, "%s: the %s is over 64 KiB", connection,
				       changes[i].key);
	return 0;
}

int mk_vault_change_held(struct mk_call *call, struct mantik *m, const char *connection,
			 const struct mk_vault_change *changes, size_t n)
{
	_cleanup_wipe_ struct mk_buf old = MK_BUF_SECRET(VAULT_TEXT),
				     text = MK_BUF_SECRET(VAULT_TEXT);
	struct vault_lock was = {};
	struct entry entry;
	bool changed = false;
	int r = check(call, connection, changes, n);
	int there = r < 0 ? r : read_vault(call, m, &was, &old);

	if (there < 0)
		return there;
	for (size_t at = 0; next_entry(&old, &at, &entry);) {
		bool ours = strcmp(entry.connection, connection) == 0;

		if (ours && change_of(changes, n, entry.key))
			continue;
		add_entry(&text, entry.connection, entry.key, entry.secret);
	}
	for (size_t i = 0; i < n; i++) {
		const char *had = find(&old, connection, changes[i].key);

		changed |=
			!had != !changes[i].secret || (had && strcmp(had, changes[i].secret) != 0);
		if (changes[i].secret)
			add_entry(&text, connection, changes[i].key, changes[i].secret);
	}
	return changed ? write_vault(call, m, there ? &was : NULL, &text) : 0;
}

int mk_vault_change(struct mk_call *call, struct mantik *m, const char *connection,
		    const struct mk_vault_change *changes, size_t n)
{
	_cleanup_close_ int fd = -1;
	int r = mk_vault_lock(call, m, &fd);

	return r < 0 ? r : mk_vault_change_held(call, m, connection, changes, n);
}

int mk_vault_put(struct mk_call *call, struct mantik *m, const char *connection, const char *key,
		 const char *secret)
{
	return mk_vault_change(call, m, connection,
			       &(struct mk_vault_change){.key = key, .secret = secret}, 1);
}

int mk_vault_keep_held(struct mk_call *call, struct mantik *m, const char *connection,
		       const char *const *keys)
{
	_cleanup_wipe_ struct mk_buf old = MK_BUF_SECRET(VAULT_TEXT),
				     text = MK_BUF_SECRET(VAULT_TEXT);
	struct vault_lock was = {};
	struct entry entry;
	bool changed = false;
	int r = read_vault(call, m, &was, &old);

	if (r <= 0)
		return r;
	for (size_t at = 0; next_entry(&old, &at, &entry);) {
		bool keep = strcmp(entry.connection, connection) != 0;

		for (size_t i = 0; !keep && keys && keys[i]; i++)
			keep = strcmp(keys[i], entry.key) == 0;
		changed |= !keep;
		if (keep)
			add_entry(&text, entry.connection, entry.key, entry.secret);
	}
	return changed ? write_vault(call, m, &was, &text) : 0;
}

int mk_vault_forget(struct mk_call *call, struct mantik *m, const char *connection)
{
	_cleanup_close_ int fd = -1;
	int r = mk_vault_lock(call, m, &fd);

	return r < 0 ? r : mk_vault_keep_held(call, m, connection, NULL);
}

/* --- use ---------------------------------------------------------------------------------- */

int mk_vault_has(struct mk_call *call, struct mantik *m, const char *connection, const char *key)
{
	_cleanup_wipe_ struct mk_buf text = MK_BUF_SECRET(VAULT_TEXT);
	struct vault_lock lock;
	int r = read_vault(call, m, &lock, &text);

	return r <= 0 ? r : find(&text, connection, key) != NULL;
}

int mk_vault_use(struct mk_call *call, struct mantik *m, const char *connection, const char *key,
		 struct mk_buf *ret)
{
	_cleanup_wipe_ struct mk_buf text = MK_BUF_SECRET(VAULT_TEXT);
	struct vault_lock lock;
	const char *secret;
	int r = read_vault(call, m, &lock, &text);

	if (r < 0)
		return r;
	secret = r ? find(&text, connection, key) : NULL;
	if (!secret)
		return mk_fail(call, ENOENT, "%s: no %s is set", connection, key);
	r = mk_buf_puts(ret, secret);
	return r < 0 ? mk_fail(call, EFBIG, "%s: the %s is too long", connection, key) : 0;
}
