/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Artifacts, as clients whose artifact_uri is mlflow-artifacts:/… send and fetch them, and as the UI
 * asks for them. Bodies go to the disk as they come (domain/track/); files are sent by the
 * frame.
 *
 * Multipart and presigned transfers are for object stores: clients are told so in the words that let
 * them send the file in one piece.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include <mantik/blob.h>

#include "base/utf8.h"
#include "domain/track/registry.h"
#include "serve/files.h"
#include "serve/models.h"

#define PROXY "/api/2.0/mlflow-artifacts/"
#define FILES PROXY "artifacts"

/* What the UI's own upload takes, as MLflow's. */
enum { MAX_UI_UPLOAD = 10 << 20 };

/* --- answers ------------------------------------------------------------------------------- */

/* MIME types by the end of a name, of what MLflow shows as text: a browser that is told
 * octet-stream would only save it. */
static const char *type_of(const char *path)
{
	static const struct {
		const char *end, *type;
	} types[] = {
		{".txt", "text/plain"},	     {".log", "text/plain"},
		{".yaml", "text/plain"},     {".yml", "text/plain"},
		{".json", "application/json"}, {".csv", "text/csv"},
		{".tsv", "text/tab-separated-values"}, {".md", "text/plain"},
		{".py", "text/plain"},	     {".html", "text/html"},
		{".png", "image/png"},	     {".jpg", "image/jpeg"},
		{".jpeg", "image/jpeg"},     {".gif", "image/gif"},
		{".svg", "image/svg+xml"},   {".pdf", "application/pdf"},
		{"MLmodel", "text/plain"},   {"MLproject", "text/plain"},
	};
	size_t len = strlen(path);

	for (size_t i = 0; i < sizeof(types) / sizeof(*types); i++) {
		size_t n = strlen(types[i].end);

		if (len >= n && strcasecmp(path + len - n, types[i].end) == 0)
			return types[i].type;
	}
	return "application/octet-stream";
}

/* The URI as a path of the API. */
static const char *shown_root(const struct mk_artifact *artifact)
{
	size_t len = strlen(MK_ARTIFACT_SCHEME);

	return strncmp(artifact->uri, MK_ARTIFACT_SCHEME, len) == 0 ? artifact->uri + len
								    : artifact->uri;
}

static int no_artifact(struct serve_request *rq, const struct mk_artifact *artifact)
{
	return serve_fail(rq, "RESOURCE_DOES_NOT_EXIST", "No such artifact: '%s/%s'",
			  shown_root(artifact), artifact->path);
}

int serve_artifact_open(struct serve_request *rq, const struct mk_artifact *artifact)
{
	_cleanup_(mk_blob_closep) struct mk_blob *blob = NULL;
	const char *slash = strrchr(artifact->path, '/');
	struct mk_blob_stat st;
	int r = mk_kept_open(rq->call, &artifact->kept, artifact->path, &blob);

	if (r == -EISDIR)
		return serve_fail(rq, "INVALID_PARAMETER_VALUE",
				  "Artifact path refers to a directory, not a file: '%s/%s'",
				  shown_root(artifact), artifact->path);
	if (r == -ENOENT)
		return no_artifact(rq, artifact);
	if (r == 0)
		r = mk_blob_stat(rq->call, blob, &st);
	if (r < 0)
		return r;

	int fd = mk_blob_fd(blob) < 0 ? -1 : fcntl(mk_blob_fd(blob), F_DUPFD_CLOEXEC, 3);

	if (fd < 0) /* a link that leads nowhere has no bytes */
		return no_artifact(rq, artifact);
	rq->file->fd = fd;
	rq->file->size = st.size;
	rq->file->type = type_of(artifact->path);
	rq->file->name = mk_strdup(slash ? slash + 1 : artifact->path);
	return 0;
}

struct listing {
	struct serve_request *rq;
	const struct mk_artifact *artifact;
	enum serve_list how;
	json_t *files;
};

/* A name of a job's that is no UTF-8 cannot be said in JSON: its bytes are shown as they can be. */
static json_t *text_json(const char *text)
{
	size_t len = strlen(text);

	if (mk_utf8_bad(text, len) == len)
		return json_string(text);

	_cleanup_free_ char *copy = mk_strdup(text);

	for (char *s = copy; *s; s++)
		if ((unsigned char)*s >= 0x80)
			*s = '?';
	return json_string(copy);
}

static int add_file(void *arg, const struct mk_dirent *entry)
{
	struct listing *listing = arg;
	const char *dir = listing->artifact->path;
	_cleanup_buf_ struct mk_buf path = MK_BUF(64 << 10);

	if (listing->how == SERVE_LIST_ROOTED && *dir)
		(void)mk_buf_printf(&path, "%s/", dir);
	(void)mk_buf_puts(&path, entry->name);

	json_t *file = json_pack("{s:o, s:b}", "path", text_json(mk_buf_text(&path)), "is_dir",
				 (int)entry->is_dir);

	if (file && !entry->is_dir)
		(void)json_object_set_new(file, "file_size", json_integer(entry->size));
	return json_array_append_new(listing->files, file) < 0
		       ? mk_fail(listing->rq->call, ENOMEM, "out of memory for a listing")
		       : 0;
}

static int by_path(const void *a, const void *b)
{
	const json_t *x = *(json_t *const *)a, *y = *(json_t *const *)b;

	return strcmp(json_string_value(json_object_get(x, "path")),
		      json_string_value(json_object_get(y, "path")));
}

/* The elements move to another list, in order. */
static json_t *sorted(json_t *files)
{
	size_t n = json_array_size(files);
	json_t **v = mk_alloc((n + 1) * sizeof(*v));
	json_t *list = json_array();

	for (size_t i = 0; i < n; i++)
		v[i] = json_array_get(files, i);
	qsort(v, n, sizeof(*v), by_path);
	for (size_t i = 0; list && i < n; i++)
		if (json_array_append(list, v[i]) < 0) {
			json_decref(list);
			list = NULL;
		}
	free(v);
	return list;
}

int serve_artifact_list(struct serve_request *rq, const struct mk_artifact *artifact,
			enum serve_list how, json_t **ret)
{
	struct listing listing = {rq, artifact, how, json_array()};
	json_t *files = NULL, *answer = json_object();
	struct mk_dirent entry;
	int r = mk_kept_stat(rq->call, &artifact->kept, artifact->path, &entry);

	if (r == 0 && entry.is_dir)
		r = mk_kept_list(rq->call, &artifact->kept, artifact->path, add_file, &listing);
	if (r == -ENOENT) {
		mk_error_clear(rq->call);
		r = 0;
	}
	if (r == 0)
		files = sorted(listing.files);
	if (r == 0 && (!files || !answer))
		r = mk_fail(rq->call, ENOMEM, "out of memory for a listing");
	if (r == 0 && how == SERVE_LIST_ROOTED)
		(void)json_object_set_new(answer, "root_uri", json_string(artifact->uri));
	if (r == 0 && json_array_size(files))
		(void)json_object_set(answer, "files", files);
	json_decref(files);
	json_decref(listing.files);
	if (r == 0)
		*ret = answer;
	else
		json_decref(answer);
	return r;
}

/* --- the proxy ----------------------------------------------------------------------------- */

static int find(struct serve_request *rq, const char *path, struct mk_artifact *ret)
{
	return mk_artifact_find(rq->call, rq->m, rq->project_id, path, ret);
}

static int get(struct serve_request *rq, json_t **ret)
{
	_cleanup_artifact_ struct mk_artifact artifact = {};
	int r = find(rq, rq->rest, &artifact);

	(void)ret;
	return r < 0 ? r : serve_artifact_open(rq, &artifact);
}

static int list(struct serve_request *rq, json_t **ret)
{
	_cleanup_artifact_ struct mk_artifact artifact = {};
	const char *path = "";
	int r = serve_text(rq, "path", false, &path);

	if (r >= 0)
		r = find(rq, path, &artifact);
	return r < 0 ? r : serve_artifact_list(rq, &artifact, SERVE_LIST_NAMES, ret);
}

static int delete_files(struct serve_request *rq, json_t **ret)
{
	_cleanup_artifact_ struct mk_artifact artifact = {};
	int r = find(rq, rq->rest, &artifact);

	(void)ret;
	return r < 0 ? r : mk_artifact_remove(rq->call, rq->m, &artifact);
}

static int upload_begin(struct serve_request *rq, int64_t length, void **ret_state)
{
	_cleanup_artifact_ struct mk_artifact artifact = {};
	size_t len = strlen(rq->rest);
	struct mk_incoming *upload;
	int r;

	if (len && rq->rest[len - 1] == '/')
		return serve_fail(rq, "INVALID_PARAMETER_VALUE",
				  "Artifact path must include a filename (cannot end with '/').");
	r = find(rq, rq->rest, &artifact);
	if (r == 0)
		r = mk_incoming_begin(rq->call, rq->m, &artifact, length, &upload);
	if (r == 0)
		*ret_state = upload;
	return r;
}

static int upload_data(struct serve_request *rq, void *state, const void *data, size_t len)
{
	return mk_incoming_write(rq->call, state, data, len);
}

static int upload_end(struct serve_request *rq, void *state, bool complete, json_t **ret)
{
	(void)ret;
	return mk_incoming_end(rq->call, state, complete);
}

static const struct serve_sink upload = {upload_begin, upload_data, upload_end};

static int no_multipart(struct serve_request *rq, json_t **ret)
{
	(void)ret;
	return serve_fail(rq, "NOT_IMPLEMENTED",
			  "Multipart upload is not supported for the current artifact repository");
}

static int no_presigned(struct serve_request *rq, json_t **ret)
{
	(void)ret;
	return serve_fail(rq, "NOT_IMPLEMENTED",
			  "Multipart download is not supported for the current artifact repository");
}

static int no_presigned_run(struct serve_request *rq, json_t **ret)
{
	(void)ret;
	return serve_fail(rq, "INVALID_PARAMETER_VALUE",
			  "Presigned transfers are not supported for proxied artifact storage "
			  "(artifact URI scheme: mlflow-artifacts).");
}

/* --- by run, and by version ---------------------------------------------------------------- */

static int run_arg(struct serve_request *rq, bool need_path, struct mk_artifact *ret)
{
	const char *run, *path = "";
	int r = serve_text(rq, "run_id", true, &run);

	if (r > 0)
		r = serve_text(rq, "path", need_path, &path);
	return r < 0 ? r : mk_artifact_of_run(rq->call, rq->m, rq->project_id, run, path, ret);
}

static int list_run(struct serve_request *rq, json_t **ret)
{
	_cleanup_artifact_ struct mk_artifact artifact = {};
	int r = run_arg(rq, false, &artifact);

	return r < 0 ? r : serve_artifact_list(rq, &artifact, SERVE_LIST_ROOTED, ret);
}

static int get_run(struct serve_request *rq, json_t **ret)
{
	_cleanup_artifact_ struct mk_artifact artifact = {};
	int r = run_arg(rq, true, &artifact);

	(void)ret;
	return r < 0 ? r : serve_artifact_open(rq, &artifact);
}

static int get_version(struct serve_request *rq, json_t **ret)
{
	_cleanup_registered_version_ struct mk_registered_version version = {};
	_cleanup_artifact_ struct mk_artifact artifact = {};
	const char *name, *path;
	int64_t model, id;
	int r = serve_text(rq, "path", true, &path);

	(void)ret;
	if (r > 0)
		r = mk_artifact_check(rq->call, path);
	if (r >= 0)
		r = serve_version_arg(rq, &model, &name, &id);
	if (r == 0)
		r = mk_registered_version_get(rq->call, rq->m, rq->project_id, id, &version);
	if (r == 0)
		r = mk_artifact_of_uri(rq->call, rq->m, version.storage, &artifact.kept);
	if (r == -EXDEV)
		return serve_fail(rq, "NOT_IMPLEMENTED", "%s", rq->call->error.text);
	if (r < 0)
		return r;
	artifact.path = mk_strdup(path);
	artifact.uri = mk_strdup(version.storage);
	artifact.kept.follow = true;
	return serve_artifact_open(rq, &artifact);
}

/* The UI sends images so; the run and the path are in the query. */
static int ui_begin(struct serve_request *rq, int64_t length, void **ret_state)
{
	_cleanup_artifact_ struct mk_artifact artifact = {};
	const char *run = "", *path = "";
	struct mk_incoming *state;
	int r = serve_text(rq, "run_id", false, &run); /* or run_uuid */

	if (r >= 0)
		r = serve_text(rq, "path", false, &path);
	if (r >= 0 && (!*run || !*path))
		return serve_fail(rq, "INVALID_PARAMETER_VALUE", "Request must specify %s.",
				  *run ? "path" : "run_uuid");
	if (r >= 0)
		r = mk_artifact_check(rq->call, path);
	if (r < 0)
		return r;
	if (length > MAX_UI_UPLOAD || length < 0)
		return serve_fail(rq, "INVALID_PARAMETER_VALUE",
				  "Artifact size is too large. Max size is 10MB.");
	if (length == 0)
		return serve_fail(rq, "INVALID_PARAMETER_VALUE", "Request must specify data.");
	r = mk_artifact_of_run(rq->call, rq->m, rq->project_id, run, path, &artifact);
	if (r == 0)
		r = mk_incoming_begin(rq->call, rq->m, &artifact, length, &state);
	if (r == 0)
		*ret_state = state;
	return r;
}

static const struct serve_sink ui_upload = {ui_begin, upload_data, upload_end};

const struct serve_route serve_artifacts[] = {
	{"GET", FILES, list},
	{"GET", FILES "/*", get},
	{"PUT", FILES "/*", NULL, &upload},
	{"DELETE", FILES "/*", delete_files},
	{"POST", PROXY "mpu/create", no_multipart},
	{"POST", PROXY "mpu/create/*", no_multipart},
	{"POST", PROXY "mpu/complete", no_multipart},
	{"POST", PROXY "mpu/complete/*", no_multipart},
	{"POST", PROXY "mpu/abort", no_multipart},
	{"POST", PROXY "mpu/abort/*", no_multipart},
	{"GET", PROXY "presigned/*", no_presigned},
	{"POST", "/api/2.0/mlflow/artifacts/presigned-upload-url", no_presigned_run},
	{"POST", "/api/2.0/mlflow/artifacts/presigned-download-url", no_presigned_run},
	{"GET", "/api/2.0/mlflow/artifacts/list", list_run},
	{"POST", "/api/2.0/mlflow/upload-artifact", NULL, &ui_upload},
	{"GET", "/get-artifact", get_run},
	{"GET", "/model-versions/get-artifact", get_version},
	{},
};
