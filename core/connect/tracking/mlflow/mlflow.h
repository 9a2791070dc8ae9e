/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The rooms of the MLflow connector. What it speaks: https://mlflow.org/docs/latest/rest-api.html,
 * and what servers do beyond that page.
 *
 *	client.c    opening, URLs, one question and its answer, errors
 *	auth.c      what MLflow's own client takes from the environment, when we were told nothing
 *	json.c      numbers, texts, lists of what may be anything
 *	experiments.c runs.c history.c place.c artifacts.c models.c    the operations of tracking.h
 *	write.c write_models.c upload.c    those of them that change something
 */
#ifndef MK_MLFLOW_H
#define MK_MLFLOW_H

#include <jansson.h>

#include "base/file.h"
#include "connect/tracking/tracking.h"
#include "net/http.h"
#include "vault/credentials.h"

/* --- json.c ---------------------------------------------------------------------------------- */

/* The value of a text, "" when there is none; a number is its digits. Without NUL; owned by o. */
const char *mk_mlflow_text(json_t *o, const char *key);
/* A whole number, also as a text or with a fraction of 0; none when there is no such. */
int64_t mk_mlflow_number(const json_t *o, const char *key, int64_t none);
/* NaN and infinities are texts. */
double mk_mlflow_double(const json_t *o, const char *key);
/* Milliseconds since 1970 as ns, kept within what ns can say; 0 none. */
int64_t mk_mlflow_time(const json_t *o, const char *key);
/* A member that is a list, or NULL: absent is empty. */
json_t *mk_mlflow_list(const json_t *o, const char *key);
/* Is it an id as MLflow gives them: [A-Za-z0-9][A-Za-z0-9_-]{0,255}? It becomes part of URLs. */
bool mk_mlflow_is_id(const char *text);
/* [{"key": …, "value": …}]; keys of 1 to 1000 bytes. *ret is freed, its texts are the list's. */
void mk_mlflow_pairs(json_t *list, struct mk_t_pair **ret, size_t *ret_n);
/* The value of a key in such a list, "" when there is none. */
const char *mk_mlflow_tag(json_t *tags, const char *key);

void mk_mlflow_base64(struct mk_buf *ret, const char *text, size_t len);

/* One document. NULL: it is none, with why. Depth 64. */
json_t *mk_mlflow_parse(const char *text, size_t len, const char **ret_why);

/*
 * Takes a JSON object apart as it comes in: each element of its list `name` is given to `element`
 * when it is complete, the rest of the object is kept. So a list may be longer than what memory
 * should hold.
 */
struct mk_mlflow_split {
	const char *name;
	/* Negative: ends it. Owns nothing of the element afterwards. */
	int (*element)(void *arg, json_t *element);
	void *arg;
	struct mk_buf rest, part;
	int depth;
	bool in_list, in_string, escaped, ended;
	const char *why; /* of -EBADMSG, -EFBIG */
};
void mk_mlflow_split_init(struct mk_mlflow_split *split, const char *name,
			  int (*element)(void *arg, json_t *element), void *arg);
void mk_mlflow_split_free(struct mk_mlflow_split *split);
/* -EBADMSG: no JSON; -EFBIG; -ENOMEM; or what element gave. */
int mk_mlflow_split_feed(struct mk_mlflow_split *split, const char *data, size_t len) _must_check_;
/* The object without its list. NULL: it was not complete. */
json_t *mk_mlflow_split_end(struct mk_mlflow_split *split);

/* --- client.c -------------------------------------------------------------------------------- */

struct mk_tracking {
	struct mk_credentials *credentials;
	struct mk_http_peer peer;
	const char *headers[2];
	char *workspace_header;
	char *ca_file, *client_cert;  /* of the environment */
	struct mk_mlflow_env *env;    /* auth.c */
	_Atomic bool ajax;	      /* the API is found at /ajax-api, not at /api */
	_Atomic bool no_get_artifact; /* /get-artifact is not there: only the proxied route */
	_Atomic bool no_ranges;	      /* the proxied route gives no parts of what /get-artifact has */
};

/* One question. The texts of errors are `<connection>: <what>: …`. */
struct mk_mlflow_ask {
	const char *what;     /* "run 3f…" */
	const char *route;    /* below /api/2.0/: "mlflow/runs/get" */
	struct mk_buf *query; /* "run_id=…", or NULL */
	json_t *body;	      /* POST; NULL: GET */
	const char *method;   /* … or PATCH, DELETE, with a body */
	bool once;	      /* it changes something, and not the same when it is done twice */
	bool changes;	      /* it changes something: an empty answer says that it is done */
	size_t limit;	      /* of the answer; 0: 8 MiB */
	bool optional;	      /* an older server has no such route: EOPNOTSUPP */
	/* The elements of this list of the answer, before the function returns (EFBIG: none). */
	const char *list;
	int (*element)(void *arg, json_t *element);
	void *arg;
	bool stream; /* … while they come; element must not wait and is not told of an end */
};
/* *ret: the answer, without the list. */
int mk_mlflow_ask(struct mk_call *call, struct mk_tracking *t, const struct mk_mlflow_ask *ask,
		  json_t **ret) _must_check_;
/* For routes that give bytes. path: from the base URL on, encoded. */
void mk_mlflow_url(const struct mk_tracking *t, struct mk_buf *url, const char *path);
/* The error of an answer nobody wanted. */
int mk_mlflow_fail(struct mk_call *call, struct mk_tracking *t,
		   const struct mk_http_request *request, const struct mk_http_answer *answer,
		   const char *what);
/* Adds `&key=value`, encoded. */
void mk_mlflow_arg(struct mk_buf *query, const char *key, const char *value);
/* Takes next_page_token of an answer. -EREMOTEIO when it is the one that was asked with: a server
 * that turns in circles. */
int mk_mlflow_next(struct mk_call *call, struct mk_tracking *t, json_t *answer,
		   char **token) _must_check_;

static inline void mk_mlflow_decref(json_t **json)
{
	json_decref(*json);
	*json = NULL;
}
#define _cleanup_json_ _cleanup_(mk_mlflow_decref)

/* --- auth.c ---------------------------------------------------------------------------------- */

/* Reads the environment: the peer's auth, and its certificates when it has none of its own. */
void mk_mlflow_env(struct mk_tracking *t);
void mk_mlflow_env_free(struct mk_mlflow_env *env);

/* --- place.c --------------------------------------------------------------------------------- */

/* Where the files of a place really are. */
struct mk_mlflow_where {
	enum { IN_RUN, IN_MODEL, PROXIED, BY_VERSION } kind;
	char *id; /* IN_RUN, IN_MODEL: whose; BY_VERSION: the registered model */
	char *version;
	char *prefix; /* path there, without slashes at its ends; PROXIED: from the store's root */
};
void mk_mlflow_where_free(struct mk_mlflow_where *where);
int mk_mlflow_find(struct mk_call *call, struct mk_tracking *t, const struct mk_t_place *place,
		   struct mk_mlflow_where *ret) _must_check_;
/* The same place by the store's own path, for servers without /get-artifact. EOPNOTSUPP. */
int mk_mlflow_find_proxied(struct mk_call *call, struct mk_tracking *t,
			   struct mk_mlflow_where *where) _must_check_;
/* The path in the server's own store that a URI stands for; NULL: it is elsewhere. */
char *mk_mlflow_proxied(const char *uri);
/* What a run says where its artifacts are. */
int mk_mlflow_artifact_uri(struct mk_call *call, struct mk_tracking *t, const char *run_id,
			   char **ret) _must_check_;
/* prefix/path, one may be "". */
char *mk_mlflow_join(const char *prefix, const char *path);
/* What a path has that no server of MLflow gives (it decodes names until nothing changes, and
 * refuses `..` and `#`), or NULL. */
const char *mk_mlflow_path_why(const char *path);
/* EINVAL for such a path: what came would be another file. */
int mk_mlflow_check_path(struct mk_call *call, struct mk_tracking *t,
			 const char *path) _must_check_;

/* --- operations ------------------------------------------------------------------------------ */

int mk_mlflow_experiments(struct mk_call *call, struct mk_tracking *t, char **token,
			  mk_t_experiment_emit *emit, void *arg) _must_check_;
int mk_mlflow_runs(struct mk_call *call, struct mk_tracking *t, const struct mk_t_query *query,
		   char **token, mk_t_run_emit *emit, void *arg) _must_check_;
int mk_mlflow_run(struct mk_call *call, struct mk_tracking *t, const char *id, mk_t_run_emit *emit,
		  void *arg) _must_check_;
int mk_mlflow_history(struct mk_call *call, struct mk_tracking *t, const char *run_id,
		      const char *key, char **token, struct mk_point **points,
		      size_t *n) _must_check_;
int mk_mlflow_tail(struct mk_call *call, struct mk_tracking *t, const char *run_id, const char *key,
		   int64_t known, const struct mk_point *last, struct mk_point **points,
		   size_t *n) _must_check_;
int mk_mlflow_files(struct mk_call *call, struct mk_tracking *t, const struct mk_t_place *place,
		    const char *path, char **token, mk_t_file_emit *emit, void *arg) _must_check_;
int mk_mlflow_read(struct mk_call *call, struct mk_tracking *t, const struct mk_t_place *place,
		   const char *path, int64_t offset, int64_t len, char **etag,
		   int (*sink)(void *arg, const void *data, size_t len), void *arg,
		   int64_t *ret_total) _must_check_;
int mk_mlflow_models(struct mk_call *call, struct mk_tracking *t, char **token,
		     mk_t_model_emit *emit, void *arg) _must_check_;
int mk_mlflow_versions(struct mk_call *call, struct mk_tracking *t, const char *model, char **token,
		       mk_t_version_emit *emit, void *arg) _must_check_;

int mk_mlflow_logged(struct mk_call *call, struct mk_tracking *t, const char *id,
		     mk_t_logged_emit *emit, void *arg) _must_check_;

/* --- operations that change something -------------------------------------------------------- */

/* A member of a question: its text is UTF-8 (EILSEQ) of at most max characters (EINVAL). what:
 * what it is, for the words. */
int mk_mlflow_put_text(struct mk_call *call, struct mk_tracking *t, json_t *body, const char *key,
		       const char *text, size_t max, const char *what) _must_check_;
/* Says once more what may be said twice, and forgets the answer. method NULL: POST. */
int mk_mlflow_change(struct mk_call *call, struct mk_tracking *t, const char *what,
		     const char *route, const char *method, json_t *body) _must_check_;

int mk_mlflow_log(struct mk_call *call, struct mk_tracking *t, const char *run_id,
		  const struct mk_t_batch *batch) _must_check_;
int mk_mlflow_tag_set(struct mk_call *call, struct mk_tracking *t, const char *run_id,
		      const char *key, const char *value) _must_check_;
int mk_mlflow_tag_remove(struct mk_call *call, struct mk_tracking *t, const char *run_id,
			 const char *key) _must_check_;
int mk_mlflow_run_rename(struct mk_call *call, struct mk_tracking *t, const char *run_id,
			 const char *name) _must_check_;
int mk_mlflow_run_delete(struct mk_call *call, struct mk_tracking *t,
			 const char *run_id) _must_check_;
int mk_mlflow_run_restore(struct mk_call *call, struct mk_tracking *t,
			  const char *run_id) _must_check_;
int mk_mlflow_experiment_make(struct mk_call *call, struct mk_tracking *t, const char *name,
			      char **ret_id) _must_check_;
int mk_mlflow_experiment_rename(struct mk_call *call, struct mk_tracking *t, const char *id,
				const char *name) _must_check_;
int mk_mlflow_experiment_tag(struct mk_call *call, struct mk_tracking *t, const char *id,
			     const char *key, const char *value) _must_check_;
int mk_mlflow_experiment_delete(struct mk_call *call, struct mk_tracking *t,
				const char *id) _must_check_;
int mk_mlflow_experiment_restore(struct mk_call *call, struct mk_tracking *t,
				 const char *id) _must_check_;
int mk_mlflow_put_check(struct mk_call *call, struct mk_tracking *t, const char *artifact_uri,
			const char *path) _must_check_;
int mk_mlflow_put(struct mk_call *call, struct mk_tracking *t, const struct mk_t_place *place,
		  const char *path, int fd, int64_t size) _must_check_;
int mk_mlflow_alias_set(struct mk_call *call, struct mk_tracking *t, const char *model,
			const char *alias, const char *version) _must_check_;
int mk_mlflow_alias_remove(struct mk_call *call, struct mk_tracking *t, const char *model,
			   const char *alias) _must_check_;
int mk_mlflow_model_describe(struct mk_call *call, struct mk_tracking *t, const char *model,
			     const char *text) _must_check_;
int mk_mlflow_version_describe(struct mk_call *call, struct mk_tracking *t, const char *model,
			       const char *version, const char *text) _must_check_;

#endif
