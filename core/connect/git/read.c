/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Refs, commits and history of a mirror, by libgit2: local objects, no network. A pack that
 * another process has just fetched is found because libgit2 looks again when an object is missing.
 */
#include <errno.h>
#include <string.h>

#include "connect/git/internal.h"

enum { MAX_LOG = 200, MAX_SUBJECT = 500 };

static inline void git_reference_iterator_freep(git_reference_iterator **p)
{
	git_reference_iterator_free(*p);
}
static inline void git_revwalk_freep(git_revwalk **p)
{
	git_revwalk_free(*p);
}

bool mk_mirror_has(struct mk_mirror *mirror, const struct mk_oid *commit)
{
	_cleanup_call_ struct mk_call call;
	_cleanup_use_ struct git_use use = {.mirror = mirror};
	_cleanup_(git_commit_freep) git_commit *found = NULL;
	_cleanup_(git_tree_freep) git_tree *tree = NULL;

	mk_call_init(&call);
	return git_take(&call, mirror, &use.repo) == 0 &&
	       git_commit_lookup(&found, use.repo, git_of(commit)) == 0 &&
	       git_commit_tree(&tree, found) == 0;
}

/* 1: it leads to a commit. */
static int peel(const git_reference *ref, struct mk_oid *ret_commit, int64_t *ret_time)
{
	_cleanup_(git_object_freep) git_object *object = NULL;

	if (git_reference_peel(&object, ref, GIT_OBJECT_COMMIT) < 0)
		return 0;

	git_commit *commit = (git_commit *)object;

	*ret_commit = git_to(git_commit_id(commit));
	if (ret_time)
		*ret_time = (int64_t)git_commit_time(commit) * MK_SEC;
	return 1;
}

/* All refs, in git's order; fn: non-zero ends it. */
typedef int ref_fn(void *arg, const git_reference *ref);

static int each_ref(struct mk_call *call, struct mk_mirror *mirror, ref_fn *fn, void *arg)
{
	_cleanup_use_ struct git_use use = {.mirror = mirror};
	_cleanup_(git_reference_iterator_freep) git_reference_iterator *refs = NULL;
	int r = git_take(call, mirror, &use.repo);

	if (r < 0)
		return r;
	r = git_reference_iterator_new(&refs, use.repo);
	if (r < 0)
		return git_fail(call, mirror, r, "its refs");
	for (;;) {
		_cleanup_(git_reference_freep) git_reference *ref = NULL;

		r = git_reference_next(&ref, refs);
		if (r == GIT_ITEROVER)
			return 0;
		if (r < 0)
			return git_fail(call, mirror, r, "its refs");
		r = fn(arg, ref);
		if (r)
			return r;
	}
}

struct commits {
	const char *prefix;
	mk_ref_emit *emit;
	void *arg;
};

static int give_commit(void *arg, const git_reference *ref)
{
	const struct commits *c = arg;
	const char *name = git_reference_name(ref);
	size_t n = strlen(c->prefix);
	struct mk_oid commit;
	int64_t time;

	if (strncmp(name, c->prefix, n) != 0 || !peel(ref, &commit, &time))
		return 0;
	return c->emit(c->arg, name + n, &commit, time);
}

int mk_mirror_refs(struct mk_call *call, struct mk_mirror *mirror, const char *prefix,
		   mk_ref_emit *emit, void *arg)
{
	return each_ref(call, mirror, give_commit, &(struct commits){prefix, emit, arg});
}

struct raw {
	int (*emit)(void *arg, const char *name, const struct mk_oid *oid);
	void *arg;
};

static int give_raw(void *arg, const git_reference *ref)
{
	const struct raw *raw = arg;
	const char *name = git_reference_name(ref);
	const git_oid *target = git_reference_target(ref);

	if (!target ||
	    (strncmp(name, "refs/heads/", 11) != 0 && strncmp(name, "refs/tags/", 10) != 0))
		return 0;

	struct mk_oid oid = git_to(target);

	return raw->emit(raw->arg, name, &oid);
}

int git_raw_refs(struct mk_call *call, struct mk_mirror *mirror,
		 int (*emit)(void *arg, const char *name, const struct mk_oid *oid), void *arg)
{
	return each_ref(call, mirror, give_raw, &(struct raw){emit, arg});
}

static char *full_name(const char *prefix, const char *name)
{
	struct mk_buf text = MK_BUF(65536);

	(void)mk_buf_printf(&text, "%s%s", prefix, name);
	return mk_buf_steal(&text);
}

int mk_mirror_ref(struct mk_call *call, struct mk_mirror *mirror, const char *prefix,
		  const char *name, struct mk_oid *ret)
{
	_cleanup_use_ struct git_use use = {.mirror = mirror};
	_cleanup_(git_reference_freep) git_reference *ref = NULL;
	_cleanup_free_ char *full = full_name(prefix, name);
	int r = git_take(call, mirror, &use.repo);

	if (r < 0)
		return r;
	r = git_reference_lookup(&ref, use.repo, full);
	if (r == GIT_ENOTFOUND || r == GIT_EINVALIDSPEC)
		return mk_fail(call, ENOENT, "no %s %s", strstr(prefix, "tags") ? "tag" : "branch",
			       name);
	if (r < 0)
		return git_fail(call, mirror, r, name);
	if (!peel(ref, ret, NULL))
		return mk_fail(call, ENOENT, "%s leads to no commit", full);
	return 0;
}

char *mk_mirror_head(struct mk_mirror *mirror)
{
	_cleanup_call_ struct mk_call call;
	_cleanup_use_ struct git_use use = {.mirror = mirror};
	_cleanup_(git_reference_freep) git_reference *head = NULL, *branch = NULL;

	mk_call_init(&call);
	if (git_take(&call, mirror, &use.repo) < 0 ||
	    git_reference_lookup(&head, use.repo, "HEAD") < 0)
		return NULL;

	const char *target = git_reference_symbolic_target(head);

	if (!target || strncmp(target, "refs/heads/", 11) != 0 ||
	    git_reference_lookup(&branch, use.repo, target) < 0)
		return NULL;
	return mk_strdup(target + 11);
}

static bool has_branch(const struct mk_remote_refs *refs, const char *branch)
{
	for (size_t i = 0; i < refs->n; i++)
		if (strncmp(refs->v[i].name, "refs/heads/", 11) == 0 &&
		    strcmp(refs->v[i].name + 11, branch) == 0)
			return true;
	return false;
}

int git_set_head(struct mk_call *call, struct mk_mirror *mirror, const struct mk_remote_refs *refs)
{
	_cleanup_use_ struct git_use use = {.mirror = mirror};
	_cleanup_(git_reference_freep) git_reference *ref = NULL;
	const char *branch = refs->head;
	static const char *const likely[] = {"main", "master"};
	int r = git_take(call, mirror, &use.repo);

	if (r < 0)
		return r;
	for (size_t i = 0; !branch && i < 2; i++)
		if (has_branch(refs, likely[i]))
			branch = likely[i];
	for (size_t i = 0; !branch && i < refs->n; i++)
		if (strncmp(refs->v[i].name, "refs/heads/", 11) == 0)
			branch = refs->v[i].name + 11;
	if (!branch)
		return 0; /* empty: HEAD stays where it is and names nothing */

	_cleanup_free_ char *target = full_name("refs/heads/", branch);

	r = git_reference_symbolic_create(&ref, use.repo, "HEAD", target, 1, NULL);
	return r < 0 ? git_fail(call, mirror, r, "HEAD") : 0;
}

int mk_mirror_commit(struct mk_call *call, struct mk_mirror *mirror, const struct mk_oid *commit,
		     struct mk_oid *ret_tree, int64_t *ret_time)
{
	_cleanup_use_ struct git_use use = {.mirror = mirror};
	_cleanup_(git_commit_freep) git_commit *found = NULL;
	char hash[41];
	int r = git_take(call, mirror, &use.repo);

	if (r < 0)
		return r;
	r = git_commit_lookup(&found, use.repo, git_of(commit));
	mk_oid_text(commit, hash);
	if (r < 0)
		return git_fail(call, mirror, r, hash);
	*ret_tree = git_to(git_commit_tree_id(found));
	if (ret_time)
		*ret_time = (int64_t)git_commit_time(found) * MK_SEC;
	return 0;
}

int mk_mirror_abbreviated(struct mk_call *call, struct mk_mirror *mirror, const char *digits,
			  struct mk_oid *ret)
{
	_cleanup_use_ struct git_use use = {.mirror = mirror};
	_cleanup_(git_object_freep) git_object *object = NULL;
	git_oid id;
	int r = git_take(call, mirror, &use.repo);

	if (r < 0)
		return r;
	r = git_oid_fromstrn(&id, digits, strlen(digits));
	if (r == 0)
		r = git_object_lookup_prefix(&object, use.repo, &id, strlen(digits),
					     GIT_OBJECT_COMMIT);
	if (r == GIT_EAMBIGUOUS)
		return mk_fail(call, EINVAL, "several commits begin with %s: write more of it",
			       digits);
	if (r == GIT_ENOTFOUND)
		return mk_fail(call, ENOENT, "no commit begins with %s", digits);
	if (r < 0)
		return git_fail(call, mirror, r, digits);
	*ret = git_to(git_object_id(object));
	return 0;
}

bool mk_mirror_missing(struct mk_mirror *mirror, const struct mk_oid *commit, bool note)
{
	int64_t now = mk_now_mono();
	bool found = false;

	pthread_mutex_lock(&mirror->git->lock);
	for (int i = 0; i < MISSING && !found; i++)
		found = mirror->missing[i].at && now - mirror->missing[i].at < 60 * MK_SEC &&
			memcmp(&mirror->missing[i].oid, commit, sizeof(*commit)) == 0;
	if (note && !found) {
		mirror->missing[mirror->next_missing].oid = *commit;
		mirror->missing[mirror->next_missing].at = now;
		mirror->next_missing = (mirror->next_missing + 1) % MISSING;
	}
	pthread_mutex_unlock(&mirror->git->lock);
	return found;
}

/* One line whatever the author wrote. */
static void put_flat(struct mk_buf *out, const char *text, size_t max)
{
	for (size_t i = 0; text && text[i] && i < max; i++)
		(void)mk_buf_putc(out,
				  (unsigned char)text[i] < ' ' || text[i] == 0x7f ? ' ' : text[i]);
}

static int walk(struct mk_call *call, struct mk_mirror *mirror, git_repository *repo,
		const struct mk_oid *from, struct mk_buf *ret)
{
	_cleanup_(git_revwalk_freep) git_revwalk *walk = NULL;
	git_oid id;
	int r = git_revwalk_new(&walk, repo);

	if (r == 0)
		r = git_revwalk_sorting(walk, GIT_SORT_TIME);
	if (r == 0)
		r = git_revwalk_push(walk, git_of(from));
	for (int i = 0; r == 0 && i < MAX_LOG; i++) {
		_cleanup_(git_commit_freep) git_commit *commit = NULL;
		char hash[41], time[32];

		r = git_revwalk_next(&id, walk);
		if (r == GIT_ITEROVER)
			return 0;
		if (r == 0)
			r = git_commit_lookup(&commit, repo, &id);
		if (r < 0)
			break;

		struct mk_oid oid = git_to(&id);

		mk_oid_text(&oid, hash);
		mk_time_text((int64_t)git_commit_time(commit) * MK_SEC, false, time);
		(void)mk_buf_printf(ret, "%s %s ", hash, time);
		put_flat(ret, git_commit_author(commit)->name, MAX_SUBJECT);
		(void)mk_buf_puts(ret, "  ");
		put_flat(ret, git_commit_summary(commit), MAX_SUBJECT);
		(void)mk_buf_putc(ret, '\n');
	}
	return r < 0 ? git_fail(call, mirror, r, "its history") : 0;
}

/* libgit2 does not know where a shallow history ends, git does. */
static int walk_shallow(struct mk_call *call, struct mk_mirror *mirror, const struct mk_oid *from,
			struct mk_buf *ret)
{
	_cleanup_buf_ struct mk_buf out = MK_BUF(MK_LIMIT_BODY);
	char hash[41];
	const char *const args[] = {"log",
				    "-200",
				    "--date=format-local:%Y-%m-%dT%H:%M:%SZ",
				    "--format=%H %cd %an  %s",
				    "--no-show-signature",
				    hash,
				    NULL};
	const char *const env[] = {"TZ=UTC", NULL};

	mk_oid_text(from, hash);

	int r = git_run(call, mirror,
			&(struct git_command){
				.args = args, .env = env, .out = &out, .label = mirror->name});

	for (char *line = out.data, *end; r == 0 && line && *line; line = end) {
		end = line + strcspn(line, "\n");
		end += *end ? 1 : 0;
		put_flat(ret, line, strcspn(line, "\n"));
		(void)mk_buf_putc(ret, '\n');
	}
	return r;
}

int mk_mirror_log(struct mk_call *call, struct mk_mirror *mirror, const struct mk_oid *from,
		  struct mk_buf *ret)
{
	_cleanup_use_ struct git_use use = {.mirror = mirror};
	int r = git_take(call, mirror, &use.repo);

	if (r < 0)
		return r;
	r = git_repository_is_shallow(use.repo) ? walk_shallow(call, mirror, from, ret)
						: walk(call, mirror, use.repo, from, ret);
	if (r == 0 && mk_buf_check(ret) < 0)
		r = mk_fail(call, -mk_buf_check(ret), "mirror %s: its history is too long",
			    mirror->name);
	return r;
}
