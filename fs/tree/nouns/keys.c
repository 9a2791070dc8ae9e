/* SPDX-License-Identifier: Apache-2.0 */
/*
 * params/, tags/, metrics/ of a run. A key with `/` is nested directories:
 *
 *	keys        listing          because
 *	loss        loss             a value
 *	train/acc   train/acc        a directory and a value
 *	a and a/b   a% and a/b       the value of `a` cannot be where the directory is
 *
 * Listings, lookups and sizes all come from one sorted snapshot of a run's keys, kept while the
 * database has not changed. Directories of keys without any key are in keydirs.c.
 */
#include "../noun.h"

struct key {
	char *key;
	int64_t size;
	int64_t mtime;
	uint64_t generation;
};

struct fs_keys {
	_Atomic int refs;
	bool live;
	size_t n;
	struct key *v;
};

static void keys_unref(struct fs_keys *keys)
{
	if (!keys || atomic_fetch_sub(&keys->refs, 1) != 1)
		return;
	for (size_t i = 0; i < keys->n; i++)
		free(keys->v[i].key);
	free(keys->v);
	free(keys);
}

static void keys_unrefp(struct fs_keys **keys)
{
	keys_unref(*keys);
	*keys = NULL;
}
#define _cleanup_keys_ _cleanup_(keys_unrefp)

void fs_keys_drop(struct fs_tree *tree)
{
	for (size_t i = 0; i < FS_KEYS_SLOTS; i++) {
		fs_lock(tree);

		struct fs_keys *keys = tree->keys[i].keys;

		tree->keys[i] = (struct fs_keys_slot){};
		fs_unlock(tree);
		keys_unref(keys);
	}
}

static int by_key(const void *a, const void *b)
{
	return strcmp(((const struct key *)a)->key, ((const struct key *)b)->key);
}

static int load_values(struct fs_at *at, const struct mk_run *run, struct fs_keys *keys)
{
	_cleanup_pairs_ struct mk_pairs pairs = {};
	int r = mk_run_values(at->call, at->m, at->object, at->row->which, &pairs);

	if (r < 0)
		return r;
	keys->v = mk_alloc(pairs.n * sizeof(*keys->v));
	keys->n = pairs.n;
	for (size_t i = 0; i < pairs.n; i++)
		keys->v[i] = (struct key){
			.key = mk_steal(&pairs.v[i].key),
			.size = (int64_t)strlen(pairs.v[i].value) + 1,
			.mtime = run->changed,
			.generation = run->generation,
		};
	return 0;
}

static int load_metrics(struct fs_at *at, struct fs_keys *keys)
{
	_cleanup_(mk_metrics_free) struct mk_metrics metrics = {};
	int r = mk_run_metrics(at->call, at->m, at->object, &metrics);

	if (r < 0)
		return r;
	keys->v = mk_alloc(metrics.n * sizeof(*keys->v));
	keys->n = metrics.n;
	for (size_t i = 0; i < metrics.n; i++)
		keys->v[i] = (struct key){
			.key = mk_steal(&metrics.v[i].key),
			.size = metrics.v[i].bytes,
			.mtime = metrics.v[i].last.time,
			.generation = metrics.v[i].bytes < 0 ? 0 : 1 + (uint64_t)metrics.v[i].bytes,
		};
	return 0;
}

/* The keys of this place's run. */
static int get(struct fs_at *at, struct fs_keys **ret)
{
	struct fs_tree *tree = at->tree;
	int which = at->row->which;
	struct fs_keys_slot *slot =
		&tree->keys[((uint64_t)at->object * 3 + (uint64_t)which) % FS_KEYS_SLOTS];
	_cleanup_run_ struct fs_run *run = NULL;
	struct fs_keys *keys = NULL;
	int r = fs_run_get(at, at->object, &run); /* one of a store is asked for first */
	uint64_t generation = mantik_generation(at->m);

	if (r < 0)
		return r;
	fs_run_keep(at, run); /* tail -f of a metric asks once a second */
	fs_lock(tree);
	if (slot->keys && slot->id == at->object && slot->which == which &&
	    slot->generation == generation) {
		keys = slot->keys;
		atomic_fetch_add(&keys->refs, 1);
	}
	fs_unlock(tree);
	if (keys) {
		*ret = keys;
		return 0;
	}
	keys = mk_new(struct fs_keys);
	keys->refs = 1;
	keys->live = !mk_status_final(run->run.status);
	r = which == FS_KEYS_METRICS ? load_metrics(at, keys) : load_values(at, &run->run, keys);
	if (r < 0) {
		keys_unref(keys);
		return r;
	}
	if (keys->n)
		qsort(keys->v, keys->n, sizeof(*keys->v), by_key);
	atomic_fetch_add(&keys->refs, 1);
	fs_lock(tree);

	struct fs_keys *old = slot->keys;

	*slot = (struct fs_keys_slot){at->object, which, generation, keys};
	fs_unlock(tree);
	keys_unref(old);
	*ret = keys;
	return 0;
}

/* Index of the first key not less than this. */
static size_t lower_bound(const struct fs_keys *keys, const char *key)
{
	size_t lo = 0, hi = keys->n;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;

		if (strcmp(keys->v[mid].key, key) < 0)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

static const struct key *exact(const struct fs_keys *keys, const char *key)
{
	size_t i = lower_bound(keys, key);

	return i < keys->n && strcmp(keys->v[i].key, key) == 0 ? &keys->v[i] : NULL;
}

static bool is_dir(const struct fs_keys *keys, const char *key)
{
	_cleanup_buf_ struct mk_buf prefix = MK_BUF(8192);

	if (mk_buf_printf(&prefix, "%s/", key) < 0)
		return false;

	size_t i = lower_bound(keys, mk_buf_text(&prefix));

	return i < keys->n && strncmp(keys->v[i].key, mk_buf_text(&prefix), prefix.len) == 0;
}

/*
 * The part of a cut entry below a directory of keys (prefix: empty, or with its `/`): of those that
 * begin as it does, the one that is cut to it. Adds it to the prefix.
 */
static int find_cut(const struct fs_keys *keys, struct mk_buf *prefix, const char *entry, size_t len,
		    const char *head, bool marked)
{
	_cleanup_buf_ struct mk_buf begin = MK_BUF(64 << 10), own = MK_BUF(MK_NAME_MAX + 3);
	const char *last = NULL;
	size_t last_len = 0;

	if (mk_buf_printf(&begin, "%s%s", mk_buf_text(prefix), head) < 0)
		return -ENOENT;
	for (size_t i = lower_bound(keys, mk_buf_text(&begin)); i < keys->n; i++) {
		const char *part = keys->v[i].key + prefix->len;
		size_t n;

		if (strncmp(keys->v[i].key, mk_buf_text(&begin), begin.len) != 0)
			break;
		n = strcspn(part, "/");
		if (last && n == last_len && memcmp(part, last, n) == 0)
			continue;
		last = part;
		last_len = n;
		mk_buf_truncate(&own, 0);
		if (mk_key_part(&own, part, n, marked) == 0 && own.len == len + marked &&
		    memcmp(mk_buf_text(&own), entry, len) == 0)
			return mk_buf_put(prefix, part, n);
	}
	return -ENOENT;
}

/* The key of a path of entries; a last `%` is the mark of a value beside its directory. */
static int key_of(struct fs_at *at, const char *path, bool *ret_marked, struct mk_buf *key)
{
	_cleanup_keys_ struct fs_keys *keys = NULL;

	for (;;) {
		_cleanup_buf_ struct mk_buf part = MK_BUF(MK_NAME_MAX);
		size_t len = strcspn(path, "/");
		bool marked = !path[len] && len > 1 && path[len - 1] == '%';
		int r = mk_key_part_read(&part, path, len - marked);

		if (r == -ENOENT && !keys) {
			int asked = get(at, &keys);

			if (asked < 0)
				return asked;
		}
		if (r == 0)
			r = mk_buf_put(key, mk_buf_text(&part), part.len);
		else if (r == -ENOENT)
			r = find_cut(keys, key, path, len - marked, mk_buf_text(&part), marked);
		if (r < 0)
			return -ENOENT;
		*ret_marked = marked;
		if (!path[len])
			return 0;
		if (mk_buf_putc(key, '/') < 0)
			return -ENOENT;
		path += len + 1;
	}
}

static int key_at(struct fs_at *at, const char *name, bool *ret_marked, struct mk_buf *key)
{
	_cleanup_buf_ struct mk_buf path = MK_BUF(64 << 10);
	int r = fs_at_below(at, name, &path);

	if (r < 0)
		return r;
	*ret_marked = false;
	return path.len ? key_of(at, mk_buf_text(&path), ret_marked, key) : 0;
}

static void fill(const struct key *key, const struct fs_keys *keys, struct fs_child *child)
{
	child->known = key->size >= 0;
	child->stat = (struct fs_stat){
		.size = key->size,
		.mtime = key->mtime,
		.generation = key->generation,
		.live = keys->live,
	};
}

int fs_keys_find(struct fs_at *at, const char *name, struct fs_child *child)
{
	_cleanup_buf_ struct mk_buf key = MK_BUF(8192);
	_cleanup_keys_ struct fs_keys *keys = NULL;
	bool marked;
	int r = key_at(at, name, &marked, &key);

	if (r < 0)
		return r;
	r = get(at, &keys);
	if (r < 0)
		return r;

	const struct key *value = exact(keys, mk_buf_text(&key));
	bool dir = is_dir(keys, mk_buf_text(&key));

	if (!marked && !dir && !value)
		dir = fs_keydir_is(at, mk_buf_text(&key));
	if (!marked && dir) {
		child->row = fs_placeholder(at->row, 0);
		return 0;
	}
	if (!value || marked != dir)
		return -ENOENT;
	child->row = fs_placeholder(at->row, 1);
	fill(value, keys, child);
	return 0;
}

static int emit_part(struct fs_at *at, const char *part, size_t len, bool mark,
		     struct fs_child *child, fs_emit *emit, void *arg)
{
	_cleanup_buf_ struct mk_buf name = MK_BUF(MK_NAME_MAX + 3); /* an escape is cut again */
	int r = mk_key_part(&name, part, len, mark);

	if (r < 0)
		return r;
	child->name = mk_buf_text(&name);
	return emit(arg, child);
}

int fs_keys_list(struct fs_at *at, uint64_t after, fs_emit *emit, void *arg)
{
	_cleanup_buf_ struct mk_buf prefix = MK_BUF(8192), last = MK_BUF(8192);
	_cleanup_list_ struct mk_list empty = {};
	_cleanup_keys_ struct fs_keys *keys = NULL;
	bool marked;
	int r = key_at(at, NULL, &marked, &prefix);

	if (r < 0)
		return r;
	if (prefix.len && mk_buf_putc(&prefix, '/') < 0)
		return -ENOENT;
	r = get(at, &keys);
	if (r < 0)
		return r;
	for (size_t i = lower_bound(keys, mk_buf_text(&prefix)); i < keys->n; i++) {
		const char *key = keys->v[i].key;
		struct fs_child child = {};

		if (strncmp(key, mk_buf_text(&prefix), prefix.len) != 0)
			break;

		const char *part = key + prefix.len, *slash = strchr(part, '/');

		if (slash) {
			size_t len = (size_t)(slash - part);

			if (last.len == len && memcmp(mk_buf_text(&last), part, len) == 0)
				continue;
			mk_buf_truncate(&last, 0);
			(void)mk_buf_put(&last, part, len);
			child.row = fs_placeholder(at->row, 0);
			r = emit_part(at, part, len, false, &child, emit, arg);
		} else {
			child.row = fs_placeholder(at->row, 1);
			fill(&keys->v[i], keys, &child);
			r = emit_part(at, part, strlen(part), is_dir(keys, key), &child, emit, arg);
		}
		if (r)
			return r;
	}
	r = fs_keydirs(at, mk_buf_text(&prefix), &empty);
	for (size_t i = 0, len = prefix.len; i < empty.n && r == 0; i++) {
		struct fs_child child = {.row = fs_placeholder(at->row, 0)};

		mk_buf_truncate(&prefix, len);
		r = mk_buf_puts(&prefix, empty.v[i]);
		if (r == 0 && !is_dir(keys, mk_buf_text(&prefix)) &&
		    !exact(keys, mk_buf_text(&prefix)))
			r = emit_part(at, empty.v[i], strlen(empty.v[i]), false, &child, emit, arg);
	}
	return r;
}

/* A key that can be logged or set; the core says so again when it is. */
static int check_new(struct fs_at *at, const char *name, int row, struct fs_child *child,
		     struct mk_buf *key)
{
	_cleanup_run_ struct fs_run *run = NULL;
	bool marked;
	int r = key_at(at, name, &marked, key);

	if (r == -ENOENT && name[0] == '.')
		return mk_fail(at->call, EINVAL, "%s: to make this very key write %%2E%s", name,
			       name + 1);
	if (r == -ENOENT || marked)
		return mk_fail(at->call, EINVAL, "%s: no key is written like this (a %% is %%25)",
			       name);
	if (key->len > 250)
		return mk_fail(at->call, EINVAL, "%.40s...: a key has at most 250 bytes, this has %zu",
			       name, key->len);
	if (r < 0)
		return r;
	r = fs_run_get(at, at->object, &run);
	if (r < 0)
		return r;
	if (run->run.deleted)
		return mk_fail(at->call, EROFS, "%s is deleted: restore it first (echo restore > ctl, or mv it back to "
			       "runs/)",
			       run->run.dir);
	child->row = fs_placeholder(at->row, row);
	return 0;
}

int fs_keys_create(struct fs_at *at, const char *name, struct fs_child *child)
{
	_cleanup_buf_ struct mk_buf key = MK_BUF(8192);

	return check_new(at, name, 1, child, &key);
}

int fs_keys_make(struct fs_at *at, const char *name, struct fs_child *child)
{
	_cleanup_buf_ struct mk_buf key = MK_BUF(8192);
	int r = check_new(at, name, 0, child, &key);

	if (r == 0)
		fs_keydir_add(at, mk_buf_text(&key));
	return r;
}

/* rmdir of a directory of keys: one without keys. */
int fs_keys_remove(struct fs_at *at)
{
	_cleanup_buf_ struct mk_buf key = MK_BUF(8192), below = MK_BUF(8192);
	_cleanup_list_ struct mk_list dirs = {};
	_cleanup_keys_ struct fs_keys *keys = NULL;
	bool marked;
	int r = key_at(at, NULL, &marked, &key);

	if (r < 0)
		return r;
	r = get(at, &keys);
	if (r < 0)
		return r;
	r = mk_buf_printf(&below, "%s/", mk_buf_text(&key));
	if (r == 0)
		r = fs_keydirs(at, mk_buf_text(&below), &dirs);
	if (r < 0)
		return mk_fail(at->call, -r, "%s: too long", at->name);
	if (dirs.n || is_dir(keys, mk_buf_text(&key)))
		return mk_fail(at->call, ENOTEMPTY, "%s: there are keys in it", mk_buf_text(&key));
	fs_keydir_remove(at, mk_buf_text(&key));
	return 0;
}

/* --- a value ------------------------------------------------------------------------------- */

int fs_value_stat(struct fs_at *at, struct fs_stat *st)
{
	_cleanup_buf_ struct mk_buf key = MK_BUF(8192);
	_cleanup_keys_ struct fs_keys *keys = NULL;
	struct fs_child child = {};
	bool marked;
	int r = key_at(at, NULL, &marked, &key);

	if (r < 0)
		return r;
	r = get(at, &keys);
	if (r < 0)
		return r;

	const struct key *value = exact(keys, mk_buf_text(&key));

	if (!value)
		return -ENOENT;
	fill(value, keys, &child);
	*st = child.stat;
	if (st->size >= 0)
		return 0;

	_cleanup_(mk_metric_free) struct mk_metric metric = {}; /* only its store can tell */

	r = mk_run_metric(at->call, at->m, at->object, mk_buf_text(&key), &metric);
	if (r < 0)
		return r;
	st->size = metric.bytes;
	st->generation = 1 + (uint64_t)metric.bytes;
	return 0;
}

int fs_value_show(struct fs_at *at, struct mk_buf *text)
{
	_cleanup_buf_ struct mk_buf key = MK_BUF(8192);
	bool marked;
	int r = key_at(at, NULL, &marked, &key);

	if (r < 0)
		return r;
	if (at->row->which == FS_KEYS_METRICS) {
		_cleanup_(mk_metric_free) struct mk_metric metric = {};

		r = mk_run_metric(at->call, at->m, at->object, mk_buf_text(&key), &metric);
		if (r < 0)
			return r;
		return mk_run_history(at->call, at->m, at->object, mk_buf_text(&key),
				      metric.bytes, text);
	}
	r = mk_run_value(at->call, at->m, at->object, at->row->which, mk_buf_text(&key), text);
	return r < 0 ? r : mk_buf_putc(text, '\n');
}

int fs_value_commit(struct fs_at *at, struct fs_commit *commit)
{
	_cleanup_buf_ struct mk_buf key = MK_BUF(8192);
	size_t len = commit->len;
	bool marked;
	int r = key_at(at, NULL, &marked, &key);

	if (r < 0)
		return r;
	/* One newline at the end is the file's, not the value's. */
	if (len && commit->text[len - 1] == '\n')
		len--;
	if (memchr(commit->text, 0, len))
		return mk_fail(at->call, EINVAL, "%s: a value holds no NUL", mk_buf_text(&key));

	_cleanup_free_ char *value = mk_strndup(commit->text, len);

	return mk_run_value_set(at->call, at->m, at->object, at->row->which, mk_buf_text(&key),
				value);
}

/* unlink of a tag. The directories it leaves empty stay, as they would on a disk. */
int fs_tag_remove(struct fs_at *at)
{
	_cleanup_buf_ struct mk_buf key = MK_BUF(8192);
	bool marked;
	int r = key_at(at, NULL, &marked, &key);

	if (r < 0)
		return r;
	if (fs_remover_is(at, at->object))
		return mk_fail(at->call, EPERM,
			       "tag \"%s\" stays: this program was at the whole run a moment ago, and a "
			       "run is not taken apart; rm tags/KEY alone removes a tag",
			       mk_buf_text(&key));
	r = mk_run_tag_remove(at->call, at->m, at->object, mk_buf_text(&key));
	for (size_t i = key.len; r == 0 && i > 0; i--) {
		if (key.data[i] != '/')
			continue;
		mk_buf_truncate(&key, i);
		fs_keydir_add(at, mk_buf_text(&key));
	}
	return r;
}

int fs_metric_append(struct fs_at *at, const char *lines, size_t len)
{
	_cleanup_buf_ struct mk_buf key = MK_BUF(8192);
	bool marked;
	int r = key_at(at, NULL, &marked, &key);

	return r < 0 ? r :
		       mk_run_log_metric(at->call, at->m, at->object, mk_buf_text(&key), lines, len);
}

int fs_metrics_table_show(struct fs_at *at, struct mk_buf *text)
{
	return mk_run_metrics_table(at->call, at->m, at->object, text);
}
