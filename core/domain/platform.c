/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Opening the platform: options, directories, the lease of another host, the database. Called once
 * by each program; what it makes is only read afterwards, by all threads.
 */
#include <mantik/option.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/options.h"
#include "base/path.h"
#include "cache/blobs.h"
#include "core.h"
#include "db/lease.h"
#include "domain/code.h"
#include "domain/index/index.h"
#include "vault/vault.h"

/* $NAME if it is an absolute path (XDG: others are to be ignored). */
static const char *env_path(const char *name)
{
	const char *value = getenv(name);

	return value && value[0] == '/' ? value : NULL;
}

static char *join(const char *dir, const char *name)
{
	_cleanup_buf_ struct mk_buf path = MK_BUF(8192);

	(void)mk_buf_printf(&path, "%s/%s", dir, name);
	return mk_buf_steal(&path);
}

/* The first that is there: asked, own variable, $XDG_…/mantik, ~/below/mantik. */
static int choose(struct mk_call *call, const char *what, const char *asked, const char *own,
		  const char *xdg, const char *below, char **ret)
{
	_cleanup_free_ char *path = NULL;

	if (asked && *asked)
		path = mk_strdup(asked);
	else if (env_path(own))
		path = mk_strdup(env_path(own));
	else if (env_path(xdg))
		path = join(env_path(xdg), "mantik");
	else if (env_path("HOME")) {
		_cleanup_free_ char *dir = join(env_path("HOME"), below);

		path = join(dir, "mantik");
	} else {
		return mk_fail(call, EINVAL, "no %s directory: neither %s nor HOME is set", what,
			       own);
	}
	return mk_prefix(call, mk_path_resolve(call, path, ret), "%s directory", what);
}

static const char *asked_or_option(const char *asked, const struct mantik *m, const char *option)
{
	return asked && *asked ? asked : mk_options_text(m->options, option);
}

/* A directory of this user's alone, made if need be. */
static int own_dir(struct mk_call *call, const char *path)
{
	struct stat st;
	int r = mk_path_make(call, path);

	if (r < 0)
		return r;
	if (lstat(path, &st) < 0)
		return mk_fail(call, errno, "%s: %s", path, strerror(errno));
	if (!S_ISDIR(st.st_mode) || st.st_uid != geteuid() || (st.st_mode & 022))
		return mk_fail(call, EACCES,
			       "%s: is not a directory of yours alone; set XDG_RUNTIME_DIR", path);
	return 0;
}

/* After su, sudo and in an old tmux the variable leads to another user's directory, or nowhere. */
static bool is_runtime_dir(struct mk_call *call, const char *path)
{
	struct stat st;
	bool good = path && mk_path_make(call, path) == 0 && stat(path, &st) == 0 &&
		    st.st_uid == geteuid() && access(path, W_OK | X_OK) == 0;

	mk_error_clear(call);
	return good;
}

/*
 * Sockets and locks: $XDG_RUNTIME_DIR/mantik/<8 hex of the data directory>, so that two platforms
 * of one user do not meet. Without a runtime directory of this user (cron, ssh with a command, su)
 * one below /tmp, which must be ours and closed to others.
 */
static int choose_run_dir(struct mk_call *call, struct mantik *m)
{
	_cleanup_buf_ struct mk_buf path = MK_BUF(4096);
	const char *runtime = env_path("XDG_RUNTIME_DIR");

	if (is_runtime_dir(call, runtime))
		(void)mk_buf_printf(&path, "%s/mantik", runtime);
	else
		(void)mk_buf_printf(&path, "/tmp/mantik-%d", (int)geteuid());

	int r = own_dir(call, mk_buf_text(&path));

	if (r < 0)
		return r;

	uint64_t hash = mk_ino(m->data_dir, strlen(m->data_dir));

	(void)mk_buf_printf(&path, "/%08x", (unsigned)(hash ^ hash >> 32));
	r = mk_path_make(call, mk_buf_text(&path));
	if (r < 0)
		return r;
	m->run_dir = mk_buf_steal(&path);
	return 0;
}

static int choose_dirs(struct mk_call *call, const struct mantik_options *options, struct mantik *m)
{
	int r = choose(call, "data", asked_or_option(options->data_dir, m, "data_dir"),
		       "MANTIK_DATA_DIR", "XDG_DATA_HOME", ".local/share", &m->data_dir);

	if (r < 0)
		return r;
	r = choose(call, "cache", asked_or_option(options->cache_dir, m, "cache_dir"),
		   "MANTIK_CACHE_DIR", "XDG_CACHE_HOME", ".cache", &m->cache_dir);
	if (r < 0)
		return r;

	const char *work = mk_options_text(m->options, "work_dir");
	_cleanup_free_ char *standard = join(m->data_dir, "work");

	r = mk_path_resolve(call, *work ? work : standard, &m->work_dir);
	return mk_prefix(call, r, "work_dir");
}

/* A data directory on a read-only medium is as good as any for reading. */
static int make_dirs(struct mk_call *call, struct mantik *m)
{
	static const char *const below[] = {"runs", "git"};
	int r = mk_path_make(call, m->cache_dir);

	if (r < 0 && !m->read_only)
		return r;
	mk_error_clear(call);
	if (m->read_only)
		return 0;
	r = mk_path_make(call, m->data_dir);
	for (size_t i = 0; r == 0 && i < 2; i++) {
		_cleanup_free_ char *dir = join(m->data_dir, below[i]);

		r = mk_path_make(call, dir);
	}
	if (r == 0)
		r = mk_path_make(call, m->work_dir);
	if (r == -EROFS || r == -EACCES)
		return mk_fail(call, EROFS,
			       "%s: cannot be written; make it writable, or open the "
			       "platform for reading only",
			       m->data_dir);
	return r;
}

/* Another host's lease makes this one a reader. */
static int look_at_lease(struct mk_call *call, struct mantik *m)
{
	_cleanup_lease_info_ struct mk_lease_info info = {};
	_cleanup_buf_ struct mk_buf text = MK_BUF(4096);
	int r = mk_lease_look(call, m->data_dir, &info);

	if (r < 0)
		return r;
	if (info.state != MK_LEASE_AWAY && info.state != MK_LEASE_GONE)
		return 0;
	mk_lease_text(&info, &text);
	m->read_only = true;
	m->read_only_why = mk_buf_steal(&text);
	return 0;
}

/* The machine's configuration, then the user's over it. $MANTIK_SYSTEM_CONFIG is for tests. */
static int read_options(struct mk_call *call, struct mantik *m)
{
	const char *machine = env_path("MANTIK_SYSTEM_CONFIG");
	_cleanup_free_ char *own = join(m->config_dir, "config.yaml");
	int r = mk_options_read(call, m->options, machine ? machine : "/etc/mantik/config.yaml");

	return r < 0 ? r : mk_options_read(call, m->options, own);
}

struct upgrade {
	struct mantik *m;
	struct mk_lease *lease;
};

/* No mantikd works, and none begins to, while the schema changes. */
static int hold_lease(struct mk_call *call, void *arg)
{
	struct upgrade *upgrade = arg;

	int r = mk_lease_take(call, upgrade->m, &upgrade->lease);

	if (r != -EBUSY)
		return r;
	mk_error_clear(call);
	return mk_fail(call, EBUSY,
		       "a mantikd of the older version works with it, which goes away when its last "
		       "run has ended");
}

static int open_db(struct mk_call *call, struct mantik *m)
{
	static const char *const names[] = {
		[MK_JOURNAL_AUTO] = "auto",
		[MK_JOURNAL_WAL] = "wal",
		[MK_JOURNAL_ROLLBACK] = "rollback",
	};
	_cleanup_free_ char *path = join(m->data_dir, "mantik.db");
	const char *chosen = mk_options_text(m->options, "journal");
	int journal = MK_JOURNAL_ROLLBACK;

	while (journal > MK_JOURNAL_AUTO && strcmp(names[journal], chosen) != 0)
		journal--;

	struct upgrade upgrade = {.m = m};
	int r = mk_db_open_guarded(call, path, m->read_only, (enum mk_db_journal)journal, hold_lease,
				   &upgrade, &m->db);

	mk_lease_release(upgrade.lease);
	return r;
}

void mantik_close(struct mantik *m)
{
	if (!m)
		return;
	if (m->has_keeper) /* poke.c */
		(void)pthread_join(m->keeper, NULL);
	pthread_mutex_destroy(&m->keep_lock);
	mk_code_close(m);
	mk_blobs_free(m->blobs);
	mk_index_free(m->index);
	mk_db_close(m->db);
	mk_options_free(m->options);
	mk_vault_free(m->vault);
	free(m->data_dir);
	free(m->cache_dir);
	free(m->config_dir);
	free(m->run_dir);
	free(m->work_dir);
	free(m->read_only_why);
	free(m);
}

/* Runs that have not ended are looked after again by whoever comes next: after a reboot or a killed
 * mantikd nobody else would. That mantikd cannot be started is no reason not to open. */
static void wake_daemon(struct mantik *m)
{
	_cleanup_call_ struct mk_call call;
	_cleanup_stmt_ struct mk_stmt *live = NULL;

	mk_call_init(&call);
	call.deadline = mk_now_mono() + MK_SEC;
	if (m->read_only || m->read_only_why || m->no_daemon)
		return;
	if (mk_db_read(
		    &call, m->db,
		    "SELECT 1 FROM runs WHERE status < 2 AND remote_id IS NULL AND api = 0"
		    " UNION ALL SELECT 1 FROM intents UNION ALL SELECT 1 FROM outbox LIMIT 1",
		    &live) < 0 ||
	    mk_step(&call, live) != 1)
		return;
	mk_reset(&live);
	(void)!mantik_poke(&call, m);
}

/* A platform of which only the configuration directory is known. */
static int begin(struct mk_call *call, const struct mantik_options *options, struct mantik **ret)
{
	_cleanup_(mantik_closep) struct mantik *m = mk_new(struct mantik);

	m->read_only = options->read_only;
	m->no_daemon = options->no_daemon;
	pthread_mutex_init(&m->keep_lock, NULL);
	m->options = mk_options_new();
	m->vault = mk_vault_new();
	m->index = mk_index_new();
	m->blobs = mk_blobs_new();

	int r = choose(call, "configuration", options->config_dir, "MANTIK_CONFIG_DIR",
		       "XDG_CONFIG_HOME", ".config", &m->config_dir);

	if (r == 0)
		*ret = mk_steal(&m);
	return r;
}

int mantik_open(struct mk_call *call, const struct mantik_options *options, struct mantik **ret)
{
	static const struct mantik_options none;
	_cleanup_(mantik_closep) struct mantik *m = NULL;
	int r;

	options = options ? options : &none;
	r = begin(call, options, &m);
	if (r == 0)
		r = read_options(call, m);
	if (r == 0)
		r = choose_dirs(call, options, m);
	if (r == 0)
		r = make_dirs(call, m);
	if (r == 0)
		r = choose_run_dir(call, m);
	if (r == 0)
		r = look_at_lease(call, m);
	if (r == 0)
		r = open_db(call, m);
	if (r < 0)
		return r;
	if (m->read_only_why)
		r = mk_fail(call, EBUSY, "%s", m->read_only_why);
	wake_daemon(m);
	*ret = mk_steal(&m);
	return r;
}

int mantik_takeover(struct mk_call *call, struct mantik *m)
{
	return mk_lease_takeover(call, m);
}

int mantik_holder(struct mk_call *call, const struct mantik *m, struct mk_buf *ret)
{
	_cleanup_lease_info_ struct mk_lease_info info = {};
	int r = mk_lease_look(call, m->data_dir, &info);

	if (r == 0)
		mk_lease_text(&info, ret);
	return r;
}

int mantik_backup(struct mk_call *call, struct mantik *m, const char *path)
{
	_cleanup_free_ char *real = NULL;
	int r = mk_path_resolve(call, path, &real);

	return r < 0 ? r : mk_db_backup(call, m->db, real);
}

/* --- what was opened ---------------------------------------------------------------------- */

const char *mantik_data_dir(const struct mantik *m)
{
	return m->data_dir;
}

const char *mantik_cache_dir(const struct mantik *m)
{
	return m->cache_dir;
}

const char *mantik_config_dir(const struct mantik *m)
{
	return m->config_dir;
}

const char *mantik_run_dir(const struct mantik *m)
{
	return m->run_dir;
}

const char *mantik_work_dir(const struct mantik *m)
{
	return m->work_dir;
}

bool mantik_read_only(const struct mantik *m)
{
	return m->read_only;
}

const char *mantik_read_only_why(const struct mantik *m)
{
	return m->read_only_why;
}

int64_t mantik_option_int(const struct mantik *m, const char *key)
{
	return mk_options_number(m->options, key);
}

int64_t mantik_option_duration(const struct mantik *m, const char *key)
{
	return mk_options_number(m->options, key);
}

uint64_t mantik_generation(struct mantik *m)
{
	return mk_db_generation(m->db);
}

/* The options of directories are "" unless set: what is in force is known here. */
static const char *in_force(const struct mantik *m, const struct mk_option *option)
{
	const struct {
		const char *name, *value;
	} dirs[] = {
		{"data_dir", m->data_dir},
		{"cache_dir", m->cache_dir},
		{"work_dir", m->work_dir},
	};

	for (size_t i = 0; i < sizeof(dirs) / sizeof(*dirs); i++)
		if (strcmp(dirs[i].name, option->name) == 0 && dirs[i].value)
			return dirs[i].value;
	return mk_options_text(m->options, option->name);
}

int mk_option_list(const struct mantik *m, mk_option_emit *emit, void *arg)
{
	size_t n;
	const struct mk_option *table = mk_option_table(&n);
	int r = 0;

	for (size_t i = 0; r == 0 && i < n; i++)
		r = emit(arg, &table[i], in_force(m, &table[i]),
			 mk_options_where(m->options, table[i].name));
	return r;
}

int mk_option_look(struct mk_call *call, const struct mantik_options *options, mk_option_emit *emit,
		   void *arg)
{
	_cleanup_(mantik_closep) struct mantik *m = NULL;
	int r = begin(call, options, &m);

	if (r == 0)
		r = read_options(call, m);
	if (r < 0)
		return r;
	/* One that leads nowhere is shown as it is written: that is what is to be mended. */
	if (choose_dirs(call, options, m) < 0)
		mk_error_clear(call);
	return mk_option_list(m, emit, arg);
}

int mk_option_write(struct mk_call *call, const struct mantik_options *options, const char *name,
		    const char *value)
{
	_cleanup_(mantik_closep) struct mantik *m = NULL;
	_cleanup_free_ char *path = NULL;
	int r = begin(call, options, &m);

	if (r < 0)
		return r;
	path = join(m->config_dir, "config.yaml");
	return mk_options_write(call, path, name, value);
}
