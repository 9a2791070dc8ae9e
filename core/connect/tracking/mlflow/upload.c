/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A file to the server's store.
 *
 *	runs/get                  where the run's artifacts are; not below mlflow-artifacts: nobody
 *	                          can write there through the server
 *	PUT …/mlflow-artifacts/artifacts/<root>/<path>
 *	artifacts/list            it is there, with its size: 200 alone was said of half a file, and
 *	                          (before 3) of one put *into* a directory of the same name
 *
 * The server decodes the names of paths until nothing changes: a name that would change is refused
 * before a byte is sent, for it would be written elsewhere.
 */
#include "mlflow.h"

#include <stdatomic.h>
#include <string.h>
#include <unistd.h>

#include "base/utf8.h"

enum { MAX_NAME = 255, MAX_PATH = 4000 };

static const char *why_not(const char *path)
{
	size_t len = strlen(path);

	if (!len)
		return "no name";
	if (mk_utf8_bad(path, len) < len)
		return "a byte that is not UTF-8";
	if (len > MAX_PATH)
		return "more than 4000 bytes";
	for (const char *s = path; *s; s++)
		if ((unsigned char)*s < ' ' || *s == 0x7f)
			return "a control character, which the server stores as something else";
	for (const char *s = path; *s; s += strcspn(s, "/"), s += *s == '/')
		if (strcspn(s, "/") > MAX_NAME)
			return "a part of more than 255 bytes";
	return mk_mlflow_path_why(path);
}

/* The path in the server's own store, or why it is not there. */
static int root_of(struct mk_call *call, struct mk_tracking *t, const char *uri, char **ret)
{
	*ret = mk_mlflow_proxied(uri);
	if (*ret)
		return 0;
	return mk_fail(
		call, EOPNOTSUPP,
		"%s: the artifacts of this run are at %.200s, where its server takes no files: "
		"write them there by other means, or start the server with --serve-artifacts "
		"and make a new experiment",
		t->peer.remote, *uri ? uri : "a place it does not tell");
}

int mk_mlflow_put_check(struct mk_call *call, struct mk_tracking *t, const char *artifact_uri,
			const char *path)
{
	_cleanup_free_ char *root = NULL;
	const char *why = why_not(path);

	if (why)
		return mk_fail(
			call, EINVAL,
			"%s: \"%.200s\" cannot be written through an MLflow server: its name "
			"has %s: give it another name",
			t->peer.remote, path, why);
	return *artifact_uri ? root_of(call, t, artifact_uri, &root) : 0;
}

/* --- what is there --------------------------------------------------------------------------- */

struct looking {
	const char *path;
	bool found, is_dir;
	int64_t size;
};

static int look(void *arg, const struct mk_t_file *file)
{
	struct looking *looking = arg;

	if (strcmp(file->path, looking->path) == 0) {
		looking->found = true;
		looking->is_dir = file->is_dir;
		looking->size = file->size;
	}
	return 0;
}

static int find(struct mk_call *call, struct mk_tracking *t, const struct mk_t_place *place,
		const char *path, struct looking *ret)
{
	const char *slash = strrchr(path, '/');
	_cleanup_free_ char *folder = mk_strndup(path, slash ? (size_t)(slash - path) : 0);
	_cleanup_free_ char *token = NULL;
	int r;

	*ret = (struct looking){.path = path};
	do
		r = mk_mlflow_files(call, t, place, folder, &token, look, ret);
	while (r == 0 && token && !ret->found);
	return r;
}

static int fail_directory(struct mk_call *call, struct mk_tracking *t, const char *path)
{
	return mk_fail(call, EISDIR, "%s: %s is a directory there", t->peer.remote, path);
}

/* An error inside the server: does something stand in the way? 0: nothing that one can see. */
static int find_obstacle(struct mk_call *call, struct mk_tracking *t,
			 const struct mk_t_place *place, const char *path)
{
	_cleanup_free_ char *part = mk_strdup(path);

	for (;;) {
		struct looking looking;
		int r = find(call, t, place, part, &looking);
		char *slash = strrchr(part, '/');

		if (r < 0)
			return 0;
		if (looking.found && looking.is_dir && strcmp(part, path) == 0)
			return fail_directory(call, t, path);
		if (looking.found && !looking.is_dir && strcmp(part, path) != 0)
			return mk_fail(call, ENOTDIR, "%s: %s: %s is a file there", t->peer.remote,
				       path, part);
		if (looking.found || !slash)
			return 0;
		*slash = 0;
	}
}

static int verify(struct mk_call *call, struct mk_tracking *t, const struct mk_t_place *place,
		  const char *path, int64_t size)
{
	struct looking looking;
	int r = find(call, t, place, path, &looking);

	if (r < 0)
		return r;
	if (looking.found && looking.is_dir)
		return fail_directory(call, t, path);
	if (!looking.found)
		return mk_fail(call, EREMOTEIO,
			       "%s: %s: the server said it has the file, and does not list it",
			       t->peer.remote, path);
	if (looking.size != size)
		return mk_fail(call, EREMOTEIO, "%s: %s: the server has %lld bytes of it, not %lld",
			       t->peer.remote, path, (long long)looking.size, (long long)size);
	return 0;
}

/* --- sending --------------------------------------------------------------------------------- */

static ssize_t read_source(void *arg, int64_t offset, void *data, size_t len)
{
	ssize_t n;

	do
		n = pread(*(int *)arg, data, len, offset);
	while (n < 0 && errno == EINTR);
	return n < 0 ? -errno : n;
}

static int judge(struct mk_call *call, struct mk_tracking *t, const struct mk_t_place *place,
		 const char *path, const struct mk_http_request *request,
		 const struct mk_http_answer *answer)
{
	int r = 0;

	if (answer->status == 503 && strstr(mk_buf_text(&answer->body), "serve-artifacts"))
		return mk_fail(call, EOPNOTSUPP,
			       "%s: %s: the server takes no files: it was started with "
			       "--no-serve-artifacts",
			       t->peer.remote, path);
	if (answer->status == 413)
		return mk_fail(call, EFBIG,
			       "%s: %s: too large for the server or what is in front of it "
			       "(nginx: client_max_body_size)",
			       t->peer.remote, path);
	if (answer->status == 500)
		r = find_obstacle(call, t, place, path);
	return r < 0 ? r : mk_mlflow_fail(call, t, request, answer, path);
}

int mk_mlflow_put(struct mk_call *call, struct mk_tracking *t, const struct mk_t_place *place,
		  const char *path, int fd, int64_t size)
{
	_cleanup_answer_ struct mk_http_answer answer = {};
	_cleanup_buf_ struct mk_buf url = {};
	_cleanup_free_ char *root = NULL, *uri = NULL;
	int r = mk_mlflow_put_check(call, t, "", path);

	if (r < 0)
		return r;
	if (place->root != MK_T_RUN)
		return mk_fail(call, EOPNOTSUPP,
			       "%s: %s: a model's files are those that were logged", t->peer.remote,
			       path);
	if (!mk_mlflow_is_id(place->id))
		return mk_fail(call, ENOENT, "%s: \"%.60s\" is no id", t->peer.remote, place->id);
	r = mk_mlflow_artifact_uri(call, t, place->id, &uri);
	if (r == 0)
		r = root_of(call, t, uri, &root);
	if (r < 0)
		return r;

	_cleanup_free_ char *whole = mk_mlflow_join(root, path);

	mk_mlflow_url(t, &url,
		      atomic_load(&t->ajax) ? "/ajax-api/2.0/mlflow-artifacts/artifacts/"
					    : "/api/2.0/mlflow-artifacts/artifacts/");
	mk_url_put(&url, whole, true);
	if (mk_buf_check(&url) < 0)
		return mk_fail(call, ENAMETOOLONG, "%s: %s: a name too long to be sent",
			       t->peer.remote, path);

	struct mk_http_request request = {
		.peer = &t->peer,
		.method = "PUT",
		.url = mk_buf_text(&url),
		.source = read_source,
		.source_arg = &fd,
		.source_len = size,
		.repeatable = true,
	};

	r = mk_http_send(call, &request, &answer);
	if (r < 0)
		return r;
	if (answer.status < 200 || answer.status > 299)
		return judge(call, t, place, path, &request, &answer);
	return verify(call, t, place, path, size);
}
