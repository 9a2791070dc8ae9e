/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where the files of something are. A run's and a logged model's have routes of their own; those of
 * a version of a registered model are wherever its source says:
 *
 *	models:/m-<32 hex>            a logged model
 *	runs:/<run>/<path>            a run
 *	<artifact_uri of its run>/…   a run
 *	mlflow-artifacts:/<path>      the server's own store
 *	s3://…, /a/path               only the server can read it, and cannot list it
 */
#include "mlflow.h"

#include <errno.h>
#include <string.h>

void mk_mlflow_where_free(struct mk_mlflow_where *where)
{
	free(where->id);
	free(where->version);
	free(where->prefix);
	*where = (struct mk_mlflow_where){};
}

char *mk_mlflow_join(const char *prefix, const char *path)
{
	return mk_strf("%s%s%s", prefix, *prefix && *path ? "/" : "", path);
}

/* The text after a beginning, or NULL. */
static const char *after(const char *text, const char *begin)
{
	size_t len = strlen(begin);

	return strncmp(text, begin, len) == 0 ? text + len : NULL;
}

static char *trim(const char *path)
{
	path += strspn(path, "/");

	size_t len = strlen(path);

	while (len && path[len - 1] == '/')
		len--;
	return mk_strndup(path, len);
}

/* `<id>/<path>` */
static bool split_id(const char *text, struct mk_mlflow_where *where)
{
	_cleanup_free_ char *id = mk_strndup(text, strcspn(text, "/"));

	if (!mk_mlflow_is_id(id))
		return false;
	where->prefix = trim(text + strlen(id));
	where->id = mk_steal(&id);
	return true;
}

/* A path of the server's store: `mlflow-artifacts:/1/…`, `mlflow-artifacts://host/1/…` or its URL.
 * NULL: another store. */
char *mk_mlflow_proxied(const char *uri)
{
	static const char route[] = "/api/2.0/mlflow-artifacts/artifacts/";
	const char *path = after(uri, "mlflow-artifacts:");

	if (path && strncmp(path, "//", 2) == 0)
		path += 2 + strcspn(path + 2, "/");
	if (!path && (after(uri, "http://") || after(uri, "https://"))) {
		path = strstr(uri, route);
		path = path ? path + sizeof(route) - 1 : NULL;
	}
	return path ? trim(path) : NULL;
}

static int copy_uri(void *arg, const struct mk_t_run *run)
{
	char **uri = arg;

	free(*uri);
	*uri = mk_strdup(run->artifact_uri);
	return 0;
}

static int find_version(struct mk_call *call, struct mk_tracking *t, const struct mk_t_place *place,
			struct mk_mlflow_where *ret)
{
	_cleanup_buf_ struct mk_buf query = {};
	_cleanup_json_ json_t *answer = NULL;
	_cleanup_free_ char *what =
		mk_strf("version %.20s of model %.200s", place->version, place->id);

	mk_mlflow_arg(&query, "name", place->id);
	mk_mlflow_arg(&query, "version", place->version);

	int r = mk_mlflow_ask(call, t,
			      &(struct mk_mlflow_ask){
				      .what = what,
				      .route = "mlflow/model-versions/get",
				      .query = &query,
			      },
			      &answer);

	if (r < 0)
		return r;

	json_t *version = json_object_get(answer, "model_version");
	const char *source = mk_mlflow_text(version, "source");
	const char *run_id = mk_mlflow_text(version, "run_id"), *path;

	path = after(source, "models:/m-");
	if (path && split_id(path - 2, ret)) {
		ret->kind = IN_MODEL;
		return 0;
	}
	path = after(source, "runs:/");
	if (path && split_id(path, ret)) {
		ret->kind = IN_RUN;
		return 0;
	}
	if (mk_mlflow_is_id(run_id)) {
		_cleanup_free_ char *uri = NULL;

		r = mk_mlflow_run(call, t, run_id, copy_uri, &uri);
		if (r < 0 && r != -ENOENT)
			return r;
		path = r == 0 && *uri ? after(source, uri) : NULL;
		if (path && (!*path || *path == '/')) {
			ret->kind = IN_RUN;
			ret->id = mk_strdup(run_id);
			ret->prefix = trim(path);
			return 0;
		}
	}
	ret->prefix = mk_mlflow_proxied(source);
	ret->kind = ret->prefix ? PROXIED : BY_VERSION;
	if (ret->kind == BY_VERSION) {
		ret->id = mk_strdup(place->id);
		ret->version = mk_strdup(place->version);
		ret->prefix = mk_strdup("");
	}
	return 0;
}

int mk_mlflow_find(struct mk_call *call, struct mk_tracking *t, const struct mk_t_place *place,
		   struct mk_mlflow_where *ret)
{
	if (place->root == MK_T_VERSION)
		return find_version(call, t, place, ret);
	if (!mk_mlflow_is_id(place->id))
		return mk_fail(call, ENOENT, "%s: \"%.60s\" is no id", t->peer.remote, place->id);
	*ret = (struct mk_mlflow_where){
		.kind = place->root == MK_T_RUN ? IN_RUN : IN_MODEL,
		.id = mk_strdup(place->id),
		.prefix = mk_strdup(""),
	};
	return 0;
}

int mk_mlflow_artifact_uri(struct mk_call *call, struct mk_tracking *t, const char *run_id,
			   char **ret)
{
	return mk_mlflow_run(call, t, run_id, copy_uri, ret);
}

int mk_mlflow_find_proxied(struct mk_call *call, struct mk_tracking *t,
			   struct mk_mlflow_where *where)
{
	_cleanup_free_ char *uri = NULL;
	int r = where->kind == IN_RUN ? mk_mlflow_artifact_uri(call, t, where->id, &uri) : 0;

	if (r < 0)
		return r;

	_cleanup_free_ char *root = uri ? mk_mlflow_proxied(uri) : NULL;

	if (!root)
		return mk_fail(call, EOPNOTSUPP,
			       "%s: the server does not hand out these files: does the url of "
			       "connections/%s.yaml lack the server's --static-prefix?",
			       t->peer.remote, t->peer.remote);

	char *prefix = mk_mlflow_join(root, where->prefix);

	mk_mlflow_where_free(where);
	*where = (struct mk_mlflow_where){.kind = PROXIED, .prefix = prefix};
	return 0;
}

static bool is_hex(char c)
{
	return (c >= '0' && c <= '9') || ((c | 0x20) >= 'a' && (c | 0x20) <= 'f');
}

const char *mk_mlflow_path_why(const char *path)
{
	const char *why = NULL;

	for (const char *s = path; *s; s++) {
		if (*s == '%' && is_hex(s[1]) && is_hex(s[2]))
			why = "a % with two digits, which the server decodes again";
		else if (*s == '#' || *s == '\n')
			why = "a # or a line break, which the server refuses";
	}
	for (const char *s = path; *s && !why;) {
		size_t len = strcspn(s, "/");

		if (len == 0 || (len == 1 && *s == '.') || (len == 2 && strncmp(s, "..", 2) == 0))
			why = "an empty part, . or ..";
		s += len + (s[len] == '/' && s[len + 1]);
		if (*s == '/')
			why = "a / at its end, or two of them";
	}
	return why;
}

int mk_mlflow_check_path(struct mk_call *call, struct mk_tracking *t, const char *path)
{
	const char *why = mk_mlflow_path_why(path);

	if (!why)
		return 0;
	return mk_fail(call, EINVAL,
		       "%s: \"%.200s\" cannot be read through an MLflow server: its name has %s",
		       t->peer.remote, path, why);
}
