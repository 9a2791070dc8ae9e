/* SPDX-License-Identifier: Apache-2.0 */
/*
 * MLflow's web pages over our data: the static files of an installed mlflow, named by the option
 * serve_ui (its virtual environment, or the folder itself), and the questions they ask before they
 * show anything. We bring no pages of our own.
 *
 *	<serve_ui>/index.html, or in it server/js/build/, mlflow/server/js/build/ or
 *	lib/python3.N/site-packages/mlflow/server/js/build/
 */
#include "serve/serve.h"

#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <linux/openat2.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "base/file.h"
#include "base/options.h"

static const char *const places[] = {
	"", "/server/js/build", "/mlflow/server/js/build",
	"/lib/python3*/site-packages/mlflow/server/js/build"};

/* Those that a browser looks at; the rest is bytes. */
static const struct {
	const char *end, *type;
} types[] = {
	{".html", "text/html; charset=utf-8"},
	{".js", "text/javascript; charset=utf-8"},
	{".mjs", "text/javascript; charset=utf-8"},
	{".css", "text/css; charset=utf-8"},
	{".json", "application/json"},
	{".svg", "image/svg+xml"},
	{".png", "image/png"},
	{".ico", "image/x-icon"},
	{".woff", "font/woff"},
	{".woff2", "font/woff2"},
	{".ttf", "font/ttf"},
	{".txt", "text/plain; charset=utf-8"},
};

static const char *type_of(const char *path)
{
	const char *dot = strrchr(path, '.');

	for (size_t i = 0; dot && i < sizeof(types) / sizeof(*types); i++)
		if (strcmp(types[i].end, dot) == 0)
			return types[i].type;
	return NULL;
}

/* The folder with the pages, by descriptor; -ENOENT. */
static int open_pages(const char *where)
{
	for (size_t i = 0; i < sizeof(places) / sizeof(*places); i++) {
		_cleanup_free_ char *pattern = mk_strf("%s%s/index.html", where, places[i]);
		glob_t found = {};
		int fd = -ENOENT;

		if (glob(pattern, 0, NULL, &found) == 0) {
			_cleanup_free_ char *dir = mk_strndup(
				found.gl_pathv[0], strlen(found.gl_pathv[0]) - strlen("/index.html"));

			fd = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
		}
		globfree(&found);
		if (fd >= 0)
			return fd;
	}
	return -ENOENT;
}

static int page(struct serve_request *rq, const char *name)
{
	const char *where = mk_options_text(rq->m->options, "serve_ui");
	struct open_how how = {.flags = O_RDONLY | O_CLOEXEC | O_NONBLOCK, .resolve = RESOLVE_BENEATH};
	struct stat st;

	if (!*where)
		return serve_fail(rq, "ENDPOINT_NOT_FOUND",
				  "no pages are shown here until mantikctl config serve_ui names a "
				  "virtual environment with mlflow, whose pages are taken");

	_cleanup_close_ int dir = open_pages(where);

	if (dir < 0)
		return serve_fail(rq, "ENDPOINT_NOT_FOUND",
				  "serve_ui: there is no mlflow with its pages in %s", where);

	_cleanup_close_ int fd = (int)syscall(SYS_openat2, dir, name, &how, sizeof(how));

	if (fd < 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))
		return serve_fail(rq, "NOT_FOUND", "the pages of mlflow have no %s", name);
	*rq->file = (struct serve_file){
		.fd = mk_steal_fd(&fd), .size = st.st_size, .type = type_of(name), .is_page = true};
	return 0;
}

static int root(struct serve_request *rq, json_t **ret)
{
	return page(rq, "index.html");
}

/* http://any:TOKEN@127.0.0.1:PORT/login: the browser has the token then, and its address is plain. */
static int login(struct serve_request *rq, json_t **ret)
{
	rq->to_scope = true;
	return 0;
}

static int static_file(struct serve_request *rq, json_t **ret)
{
	return page(rq, *rq->rest ? rq->rest : ".");
}

/* What a 3.x server says of itself; clients and pages ask it for what they need not try. */
static int server_info(struct serve_request *rq, json_t **ret)
{
	*ret = json_pack("{s:s, s:b, s:b, s:b, s:b, s:b, s:b, s:{s:b}}", "store_type", "SqlStore",
			 "workspaces_enabled", 0, "trace_archival_enabled", 0,
			 "multipart_uploads_enabled", 0, "multipart_downloads_enabled", 0,
			 "presigned_upload_run_id_supported", 0, "presigned_upload_model_id_supported",
			 0, "features_enabled", "gateway", 0);
	return *ret ? 0 : mk_fail(rq->call, ENOMEM, "out of memory");
}

/* The pages tell nobody what is looked at here. */
static int telemetry(struct serve_request *rq, json_t **ret)
{
	*ret = json_pack("{s:b, s:b, s:[], s:[]}", "disable_ui_telemetry", 1, "disable_telemetry", 1,
			 "disable_ui_events", "disable_events");
	return *ret ? 0 : mk_fail(rq->call, ENOMEM, "out of memory");
}

/* There is no gateway: a page that asks is told of no endpoints, instead of showing an error. */
static int gateway(struct serve_request *rq, json_t **ret)
{
	*ret = json_pack("{s:[]}", "endpoints");
	return *ret ? 0 : mk_fail(rq->call, ENOMEM, "out of memory");
}

static int none(struct serve_request *rq, json_t **ret)
{
	return 0;
}

const struct serve_route serve_ui[] = {
	{"GET", "/", root},
	{"GET", "", login}, /* /projects/NAME without its slash */
	{"GET", "/login", login},
	{"GET", "/static-files/*", static_file},
	{"GET", "/api/3.0/mlflow/server-info", server_info},
	{"GET", "/api/3.0/mlflow/ui-telemetry", telemetry},
	{"POST", "/api/3.0/mlflow/ui-telemetry", none},
	{"GET", "/api/2.0/mlflow/gateway-proxy", gateway},
	{},
};
