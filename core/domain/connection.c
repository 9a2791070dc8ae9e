/* SPDX-License-Identifier: Apache-2.0 */
/*
 * connections/<name>.yaml: the text to the letter but for its secrets, which go to the vault.
 *
 *	put    parse -> lock -> old text, seen? -> new text beside it -> vault -> rename
 *
 * Whatever fails before the rename leaves both as they were. A process that is killed between vault
 * and rename leaves the old text with the new secret: if that was set for another server, it is not
 * sent (mk_credentials_bind), else it is the one that was just typed.
 */
#include <mantik/connection.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/doc.h"
#include "base/file.h"
#include "base/path.h"
#include "core.h"
#include "domain/connection_text.h"
#include "domain/domain.h"
#include "vault/vault.h"

/* A text on disk or to be put there. */
struct draft {
	char *where; /* "connections/x.yaml": how errors begin */
	char *path;
	struct mk_buf text;
	int64_t changed;
	struct mk_doc *doc; /* NULL, as credentials: nobody can read it */
	struct mk_credentials *credentials;
	struct mk_secret secrets[MK_CONNECTION_KEYS];
};

static void draft_done(struct draft *d)
{
	free(d->where);
	free(d->path);
	mk_buf_wipe(&d->text);
	mk_connection_doc_free(&d->doc);
	mk_credentials_free(d->credentials);
}
#define _cleanup_draft_ _cleanup_(draft_done)

static struct draft draft_of(const struct mantik *m, const char *name)
{
	return (struct draft){
		.where = mk_strf("connections/%s.yaml", name),
		.path = mk_strf("%s/connections/%s.yaml", m->config_dir, name),
		.text = MK_BUF_SECRET(MK_CONNECTION_MAX),
	};
}

void mk_connection_free(struct mk_connection *connection)
{
	free(connection->name);
	free(connection->kind);
	free(connection->url);
	*connection = (struct mk_connection){};
}

void mk_connection_asker(struct mantik *m, mk_connection_ask *ask, void *arg)
{
	mk_vault_asker(m, ask, arg);
}

static uint64_t generation_of(const struct draft *d)
{
	return mk_ino(mk_buf_text(&d->text), d->text.len);
}

/* --- reading ------------------------------------------------------------------------------ */

static int parse(struct mk_call *call, struct draft *d)
{
	return mk_connection_parse(call, d->where, mk_buf_text(&d->text), d->text.len, &d->doc,
				   &d->credentials, d->secrets);
}

/* The file, without understanding it. ENOENT. */
static int read_file(struct mk_call *call, const char *name, struct draft *d)
{
	struct stat st;
	int r = mk_connection_name_check(call, name);

	if (r < 0)
		return mk_fail(call, ENOENT, "there is no connection %s", name);
	r = mk_file_read(call, AT_FDCWD, d->path, &d->text);
	if (r == -ENOENT || r == -ENOTDIR)
		return mk_fail(call, ENOENT, "there is no connection %s", name);
	if (r < 0)
		return r;
	if (stat(d->path, &st) == 0)
		d->changed = st.st_mtim.tv_sec * MK_SEC + st.st_mtim.tv_nsec;
	return 0;
}

/* What a person may see of it. */
static int shown(struct mk_call *call, struct draft *d, struct mk_buf *ret)
{
	if (d->doc && mk_connection_hide(call, d->where, mk_buf_text(&d->text), d->text.len, d->doc,
					 ret) == 0)
		return 0;
	mk_error_clear(call);
	mk_buf_truncate(ret, 0);
	mk_connection_hide_lines(mk_buf_text(&d->text), d->text.len, ret);
	return mk_buf_check(ret) < 0 ? mk_fail(call, EFBIG, "%s: is too long", d->where) : 0;
}

static int take_names(struct mk_call *call, const struct mantik *m, struct mk_list *ret)
{
	_cleanup_free_ char *path = mk_strf("%s/connections", m->config_dir);
	_cleanup_call_ struct mk_call quiet;
	DIR *dir = opendir(path);
	int r = 0;

	mk_call_init(&quiet);
	if (!dir)
		return errno == ENOENT || errno == ENOTDIR
			       ? 0
			       : mk_fail(call, errno, "%s: %s", path, strerror(errno));
	for (struct dirent *e; r == 0 && (e = readdir(dir));) {
		size_t len = strlen(e->d_name);

		if (len <= 5 || strcmp(e->d_name + len - 5, ".yaml") != 0)
			continue;
		e->d_name[len - 5] = 0;
		if (mk_connection_name_check(&quiet, e->d_name) == 0)
			r = mk_list_add(ret, e->d_name);
	}
	closedir(dir);
	mk_list_sort(ret);
	return r < 0 ? mk_fail(call, -r, "%s: too many connections", path) : 0;
}

int mk_connection_list(struct mk_call *call, struct mantik *m, mk_connection_emit *emit, void *arg)
{
	_cleanup_list_ struct mk_list names = {};
	int r = take_names(call, m, &names);

	for (size_t i = 0; r == 0 && i < names.n; i++) {
		_cleanup_draft_ struct draft d = draft_of(m, names.v[i]);
		static char none[] = "";

		if (read_file(call, names.v[i], &d) == -ENOENT) { /* went meanwhile */
			mk_error_clear(call);
			continue;
		}
		if (parse(call, &d) < 0)
			mk_error_clear(call);

		const struct mk_connection connection = {
			.name = names.v[i],
			.kind = d.credentials ? d.credentials->kind : none,
			.url = d.credentials ? d.credentials->url : none,
		};

		mk_error_clear(call);
		r = emit(arg, &connection);
	}
	return r;
}

int mk_connection_find(struct mk_call *call, struct mantik *m, const char *name,
		       struct mk_connection *ret)
{
	_cleanup_draft_ struct draft d = draft_of(m, name);
	int r = read_file(call, name, &d);

	if (r == 0)
		r = parse(call, &d);
	if (r < 0)
		return r;
	*ret = (struct mk_connection){
		.name = mk_strdup(name),
		.kind = mk_strdup(d.credentials->kind),
		.url = mk_strdup(d.credentials->url),
	};
	return 0;
}

int mk_connection_get(struct mk_call *call, struct mantik *m, const char *name, struct mk_text *ret)
{
	_cleanup_draft_ struct draft d = draft_of(m, name);
	struct mk_buf text = MK_BUF(MK_CONNECTION_MAX);
	int r = read_file(call, name, &d);

	if (r < 0)
		return r;
	if (parse(call, &d) < 0)
		mk_error_clear(call);
	r = shown(call, &d, &text);
	if (r < 0) {
		mk_buf_free(&text);
		return r;
	}
	ret->len = text.len;
	ret->text = mk_buf_steal(&text);
	ret->who = mk_strdup("");
	ret->generation = generation_of(&d);
	ret->changed = d.changed;
	return 0;
}

int mk_connection_check(struct mk_call *call, struct mantik *m, const char *name)
{
	_cleanup_(mk_credentials_freep) struct mk_credentials *c = NULL;
	_cleanup_wipe_ struct mk_buf user = MK_BUF_SECRET(MK_CONNECTION_MAX);
	_cleanup_wipe_ struct mk_buf password = MK_BUF_SECRET(2 * MK_CONNECTION_MAX);
	int r = mk_credentials_open(call, m, name, &c);

	if (r == 0)
		r = mk_credentials_login(call, c, &user, &password);
	return r < 0 ? r : 0;
}

/* --- writing ------------------------------------------------------------------------------ */

static int may_write(struct mk_call *call, const struct mantik *m)
{
	if (!m->read_only)
		return 0;
	return mk_fail(call, EROFS, "%s",
		       m->read_only_why ? m->read_only_why
					: "the platform is open for reading only");
}

/*
 * Who wrote which text: a file does not tell, so the platform notes it (settings, "connection:NAME")
 * with the text's generation. A text it does not know was written by hand.
 */
struct author {
	const char *name, *who;
	uint64_t generation;
};

static int note_author(struct mk_call *call, struct mk_conn *conn, void *arg)
{
	const struct author *author = arg;
	_cleanup_free_ char *key = mk_strf("connection:%s", author->name);
	_cleanup_free_ char *value =
		mk_strf("%llu %s", (unsigned long long)author->generation, author->who);
	_cleanup_stmt_ struct mk_stmt *stmt = NULL;
	int r = mk_prepare(call, conn, "INSERT OR REPLACE INTO settings VALUES (?1, ?2)", &stmt);

	if (r < 0)
		return r;
	mk_bind_text(stmt, 1, key);
	mk_bind_text(stmt, 2, value);
	return mk_exec(call, stmt);
}

/* For a sentence only: what cannot be noted is not waited for. */
static void keep_author(const struct mk_call *asker, struct mantik *m, const char *name,
			uint64_t generation)
{
	_cleanup_free_ char *who = mk_domain_who(asker);
	struct author author = {name, who, generation};
	_cleanup_call_ struct mk_call call;

	mk_call_init(&call);
	call.deadline = mk_now_mono() + 200 * MK_MS;
	(void)!mk_db_write(&call, m->db, MK_KILLSAFE, note_author, &author);
}

static char *author_of(struct mantik *m, const char *name, uint64_t generation)
{
	_cleanup_call_ struct mk_call call;
	_cleanup_free_ char *key = mk_strf("connection:%s", name), *value = NULL;
	_cleanup_stmt_ struct mk_stmt *stmt = NULL;
	char *end = NULL;

	mk_call_init(&call);
	call.deadline = mk_now_mono() + 200 * MK_MS;
	if (mk_db_read(&call, m->db, "SELECT value FROM settings WHERE key = ?1", &stmt) < 0)
		return NULL;
	mk_bind_text(stmt, 1, key);
	if (mk_step(&call, stmt) > 0)
		value = mk_col_dup(stmt, 0);
	if (!value || strtoull(value, &end, 10) != generation || *end != ' ')
		return NULL;
	return mk_strdup(end + 1);
}

static int check_seen(struct mk_call *call, struct mantik *m, const char *name,
		      const struct draft *old, uint64_t seen)
{
	_cleanup_free_ char *who = NULL;
	char changed[32];

	if (!seen || !old->changed || seen == generation_of(old))
		return 0;
	who = author_of(m, name, generation_of(old));
	mk_time_text(old->changed, false, changed);
	return mk_fail(call, EBUSY, "%s: was changed by %s at %s, after you had read it; read it again",
		       old->where, who ? who : "another program, in the file itself,", changed);
}

/* `(set)` keeps what is set, and for the same server only. */
static int check_kept(struct mk_call *call, const struct draft *old, const struct draft *new,
		      size_t i)
{
	const struct mk_secret *secret = &new->secrets[i];

	if (!old->credentials || (!old->secrets[i].is_set && !old->secrets[i].value))
		return mk_fail(
			call, EINVAL,
			"%s:%d: %s: (set) keeps one that is set, but there is none; write it "
			"here, or leave the line out and use mantikctl login",
			new->where, secret->line, secret->key);
	if (strcmp(old->credentials->origin, new->credentials->origin) != 0)
		return mk_fail(
			call, EINVAL,
			"%s:%d: %s: was set for %s and is not sent to %s; write it again, if "
			"that is where it belongs now",
			new->where, secret->line, secret->key, old->credentials->origin,
			new->credentials->origin);
	return 0;
}

/* What is to change in the vault. */
struct changes {
	struct mk_vault_change v[MK_CONNECTION_KEYS];
	struct mk_buf bound[MK_CONNECTION_KEYS];
	size_t n;
};

static void changes_done(struct changes *c)
{
	for (size_t i = 0; i < MK_CONNECTION_KEYS; i++)
		mk_buf_wipe(&c->bound[i]);
}

static void add_change(struct changes *c, const char *key, const char *origin, const char *secret)
{
	struct mk_buf *bound = &c->bound[c->n];

	*bound = MK_BUF_SECRET(2 * MK_CONNECTION_MAX);
	if (secret)
		mk_credentials_bind(bound, origin, secret);
	c->v[c->n++] = (struct mk_vault_change){key, secret ? mk_buf_text(bound) : NULL};
}

/* given: a secret that is not in the text (mantikctl login), or NULL. */
static int find_changes(struct mk_call *call, const struct draft *old, const struct draft *new,
			const struct mk_secret *given, struct changes *ret)
{
	for (size_t i = 0; i < MK_CONNECTION_KEYS; i++) {
		const struct mk_secret *secret = &new->secrets[i];
		bool is_given = given && strcmp(given->key, secret->key) == 0;
		const char *value = is_given ? given->value : secret->value;

		if (!value && secret->is_set) {
			int r = check_kept(call, old, new, i);

			if (r < 0)
				return r;
			value = old->secrets[i].value; /* it stood there in plain, by hand */
			if (!value)
				continue;
		}
		/* Gone from the text: forgotten. What never was is not asked for. */
		if (!value && old->credentials && !old->secrets[i].is_set)
			continue;
		if (!value && !old->changed)
			continue;
		add_change(ret, secret->key, new->credentials->origin, value);
	}
	return 0;
}

static int write_text(struct mk_call *call, struct mantik *m, const char *name,
		      const struct draft *new, const struct mk_buf *text,
		      const struct changes *changes)
{
	_cleanup_free_ char *dir = mk_strf("%s/connections", m->config_dir);
	_cleanup_free_ char *fresh = mk_strf("%s/.%s.yaml.new", dir, name);
	_cleanup_close_ int fd = -1;
	int r = mk_path_make(call, dir);

	if (r == 0)
		r = mk_file_write(call, AT_FDCWD, fresh, mk_buf_text(text), text->len, 0600, true);
	if (r < 0)
		return mk_prefix(call, r, "%s: cannot be stored", new->where);
	if (changes->n)
		r = mk_vault_change_held(call, m, name, changes->v, changes->n);
	if (r == 0 && rename(fresh, new->path) < 0)
		r = mk_fail(call, errno, "%s: cannot be stored: %s", new->where, strerror(errno));
	if (r < 0) {
		(void)unlink(fresh);
		return r;
	}
	fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd >= 0)
		(void)fsync(fd);
	keep_author(call, m, name, mk_ino(mk_buf_text(text), text->len));
	return 0;
}

/* Held: vault.lock. */
static int store(struct mk_call *call, struct mantik *m, const char *name, struct draft *new,
		 const struct mk_secret *given, uint64_t seen)
{
	_cleanup_draft_ struct draft old = draft_of(m, name);
	_cleanup_buf_ struct mk_buf text = MK_BUF(MK_CONNECTION_MAX);
	_cleanup_(changes_done) struct changes changes = {};
	int r = read_file(call, name, &old);

	if (r < 0 && r != -ENOENT)
		return r;
	mk_error_clear(call);
	if (r == 0 && parse(call, &old) < 0)
		mk_error_clear(call);
	r = check_seen(call, m, name, &old, seen);
	if (r == 0)
		r = mk_connection_hide(call, new->where, mk_buf_text(&new->text), new->text.len,
				       new->doc, &text);
	if (r == 0)
		r = find_changes(call, &old, new, given, &changes);
	if (r < 0)
		return r;
	if (!changes.n && old.changed && old.text.len == text.len &&
	    memcmp(mk_buf_text(&old.text), mk_buf_text(&text), text.len) == 0)
		return 0;
	return write_text(call, m, name, new, &text, &changes);
}

int mk_connection_put(struct mk_call *call, struct mantik *m, const char *name, const char *text,
		      size_t len, uint64_t seen)
{
	_cleanup_draft_ struct draft new = draft_of(m, name);
	_cleanup_close_ int lock = -1;
	int r = mk_connection_name_check(call, name);

	if (r == 0)
		r = may_write(call, m);
	if (r < 0)
		return r;
	if (mk_buf_put(&new.text, text, len) < 0)
		return mk_fail(call, EFBIG, "%s: is over 64 KiB", new.where);
	r = parse(call, &new);
	if (r == 0)
		r = mk_vault_lock(call, m, &lock);
	return r < 0 ? r : store(call, m, name, &new, NULL, seen);
}

int mk_connection_remove(struct mk_call *call, struct mantik *m, const char *name)
{
	_cleanup_draft_ struct draft old = draft_of(m, name);
	_cleanup_close_ int lock = -1;
	bool has_secrets = false;
	int r = may_write(call, m);

	if (r == 0)
		r = read_file(call, name, &old);
	if (r == 0)
		r = mk_vault_lock(call, m, &lock);
	if (r < 0)
		return r;
	if (parse(call, &old) < 0) {
		mk_error_clear(call);
		has_secrets = true; /* who knows */
	}
	for (size_t i = 0; i < MK_CONNECTION_KEYS; i++)
		has_secrets |= old.secrets[i].is_set;
	if (has_secrets)
		r = mk_vault_keep_held(call, m, name, NULL);
	if (r < 0)
		return mk_prefix(call, r, "%s stays, its secrets cannot be removed", old.where);
	if (unlink(old.path) < 0)
		return mk_fail(call, errno, "%s: %s", old.where, strerror(errno));
	return 0;
}

/* --- a secret alone ----------------------------------------------------------------------- */

static const char *login_key(const struct draft *d)
{
	const struct mk_credentials *c = d->credentials;

	if (c->has_password || c->has_token)
		return c->has_password ? "password" : "token";
	return c->user ? "password" : "token";
}

int mk_connection_login_key(struct mk_call *call, struct mantik *m, const char *name,
			    const char **ret)
{
	_cleanup_draft_ struct draft d = draft_of(m, name);
	int r = read_file(call, name, &d);

	if (r == 0)
		r = parse(call, &d);
	if (r == 0)
		*ret = login_key(&d);
	return r;
}

/* Is the key there already? Else a line for it is added, and all checked anew. */
static int with_line(struct mk_call *call, const struct mantik *m, const char *name,
		     const char *key, struct draft *old, struct draft *ret)
{
	struct draft new = draft_of(m, name);
	bool is_there = false;
	int r;

	for (size_t i = 0; i < MK_CONNECTION_KEYS; i++)
		is_there |= strcmp(mk_secret_keys[i], key) == 0 &&
			    (old->secrets[i].is_set || old->secrets[i].value);
	if (is_there)
		r = mk_buf_put(&new.text, mk_buf_text(&old->text), old->text.len);
	else
		r = mk_connection_add_line(call, old->where, mk_buf_text(&old->text), old->text.len,
					   old->doc, key, &new.text);
	if (r == 0)
		r = parse(call, &new);
	if (r < 0)
		draft_done(&new);
	else
		*ret = new;
	return r;
}

int mk_connection_secret(struct mk_call *call, struct mantik *m, const char *name, const char *key,
			 const char *secret)
{
	_cleanup_draft_ struct draft old = draft_of(m, name), new = {};
	_cleanup_close_ int lock = -1;
	int r = may_write(call, m);

	if (r == 0)
		r = read_file(call, name, &old);
	if (r == 0)
		r = parse(call, &old);
	if (r == 0)
		r = mk_vault_lock(call, m, &lock);
	if (r < 0)
		return r;
	if (!key)
		key = login_key(&old);
	if (!*secret || strpbrk(secret, "\r\n"))
		return mk_fail(call, EINVAL, "%s: the %s is %s", old.where, key,
			       *secret ? "more than one line" : "empty");
	r = with_line(call, m, name, key, &old, &new);
	if (r < 0)
		return r;

	const struct mk_secret given = {.key = key, .value = secret};

	return store(call, m, name, &new, &given, 0);
}
