/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The end of what git keeps for nobody: mirrors of repositories that were removed, pins of commits
 * whose runs are gone for good. A deleted run is not gone: its row is there and keeps its commit.
 *
 * Names of mirrors are random and never used again, and a row is made before its mirror: a mirror
 * without a row is one whose repository was removed.
 */
#include <mantik/code.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "base/file.h"
#include "domain/code.h"
#include "domain/domain.h"

enum { NAME_LEN = 20 /* 16 hex digits and .git */ };

static bool is_mirror(const char *name)
{
	return strspn(name, "0123456789abcdef") == 16 && strncmp(name + 16, ".git", 4) == 0;
}

/* Whatever is named after a mirror: itself, its lock, what a killed program began. */
static int list_mirrors(struct mk_call *call, const char *path, struct mk_list *ret)
{
	DIR *dir = opendir(path);
	int r = 0;

	if (!dir)
		return errno == ENOENT ? 0 : mk_fail(call, errno, "%s: %s", path, strerror(errno));
	for (struct dirent *e; r == 0 && (e = readdir(dir));)
		if (is_mirror(e->d_name))
			r = mk_list_add(ret, e->d_name);
	closedir(dir);
	return r < 0 ? mk_fail(call, -r, "%s: too many entries", path) : 0;
}

static int remove_mirrors(struct mk_call *call, struct mantik *m, int *ret)
{
	_cleanup_free_ char *path = mk_strf("%s/git", m->data_dir);
	_cleanup_list_ struct mk_list names = {};
	int r = list_mirrors(call, path, &names);
	_cleanup_close_ int dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	for (size_t i = 0; r == 0 && i < names.n; i++) {
		_cleanup_stmt_ struct mk_stmt *stmt = NULL;
		_cleanup_free_ char *mirror = mk_strndup(names.v[i], NAME_LEN);

		r = mk_db_read(call, m->db, "SELECT 1 FROM repositories WHERE mirror = ?1", &stmt);
		if (r < 0)
			return r;
		mk_bind_text(stmt, 1, mirror);
		r = mk_step(call, stmt);
		if (r != 0) {
			r = r < 0 ? r : 0;
			continue;
		}
		r = mk_remove_tree(call, dir, names.v[i]);
		*ret += r == 0 && strlen(names.v[i]) == NAME_LEN;
	}
	return r;
}

static int used_commits(struct mk_call *call, struct mantik *m, int64_t id, struct mk_list *ret)
{
	_cleanup_stmt_ struct mk_stmt *stmt = NULL;
	int r = mk_db_read(call, m->db,
			   "SELECT DISTINCT commit_id FROM runs WHERE repository_id = ?1"
			   " AND commit_id IS NOT NULL ORDER BY commit_id",
			   &stmt);

	if (r < 0)
		return r;
	mk_bind_int(stmt, 1, id);
	while ((r = mk_step(call, stmt)) > 0)
		if (mk_list_add(ret, mk_col_text(stmt, 0)) < 0)
			return mk_fail(call, ENOMEM, "%zu commits: out of memory", ret->n);
	return r;
}

struct ids {
	int64_t *v;
	size_t n, cap;
};

static void ids_free(struct ids *ids)
{
	free(ids->v);
}

static int list_repositories(struct mk_call *call, struct mantik *m, struct ids *ret)
{
	_cleanup_stmt_ struct mk_stmt *stmt = NULL;
	int r = mk_db_read(call, m->db, "SELECT id FROM repositories", &stmt);

	if (r < 0)
		return r;
	while ((r = mk_step(call, stmt)) > 0) {
		if (ret->n == ret->cap) {
			size_t cap = ret->cap * 2 + 64;
			int64_t *v = reallocarray(ret->v, cap, sizeof(*v));

			if (!v)
				return mk_fail(call, ENOMEM, "%zu repositories: out of memory",
					       ret->n);
			ret->v = v;
			ret->cap = cap;
		}
		ret->v[ret->n++] = mk_col_int(stmt, 0);
	}
	return r;
}

static int remove_pins(struct mk_call *call, struct mantik *m, int64_t id, int *ret)
{
	_cleanup_code_ struct code code = {};
	_cleanup_list_ struct mk_list used = {};
	int n = 0;
	int r = mk_code_open(call, m, id, &code);

	if (r < 0 || !(code.hidden || code.origin.uri))
		return r;
	r = used_commits(call, m, id, &used);
	if (r == 0)
		r = mk_mirror_unpin(call, code.mirror, &used, &n);
	*ret += n;
	return r;
}

int mk_code_gc(struct mk_call *call, struct mantik *m, int *ret_mirrors, int *ret_pins)
{
	_cleanup_(ids_free) struct ids ids = {};
	int mirrors = 0, pins = 0;
	int r;

	if (m->read_only)
		return mk_fail(call, EROFS, "the platform is open for reading only");
	r = remove_mirrors(call, m, &mirrors);
	if (r == 0)
		r = list_repositories(call, m, &ids);
	for (size_t i = 0; r == 0 && i < ids.n; i++) {
		r = mk_call_check(call, "the pins of runs that are gone");
		if (r == 0)
			r = remove_pins(call, m, ids.v[i], &pins);
	}
	if (r < 0)
		return r;
	*ret_mirrors = mirrors;
	*ret_pins = pins;
	return 0;
}
