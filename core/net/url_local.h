/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Addresses of tracking stores that are files of this machine, as MLflow writes them:
 *
 *	file:///home/ana/mlruns   file:mlruns   ./mlruns         a folder
 *	sqlite:////home/ana/mlflow.db   sqlite:///mlflow.db      a database; three slashes: the path
 *						                 is relative, as SQLAlchemy has it
 *
 * The one way they are kept is file:///absolute/path and sqlite:////absolute/path, without `.`, `..`
 * and doubled slashes, percent-encoded where a byte means something in a URL. No I/O but a look at
 * what is there for a path without a scheme.
 */
#ifndef MK_URL_LOCAL_H
#define MK_URL_LOCAL_H

#include <stdbool.h>

#include <mantik/call.h>

/* file: or sqlite: in any case. */
bool mk_url_is_local(const char *url);
bool mk_url_is_sqlite(const char *url);
/* The form above. A relative path is refused; one of three slashes is taken as absolute. EINVAL. */
int mk_url_local(struct mk_call *call, const char *url, char **ret) _must_check_;
/* The same for what a person types: relative to the current directory, scheme or none (then a file is
 * a database, anything else a folder). 0: it is no address of this machine, 1 with *ret. EINVAL. */
int mk_url_typed(struct mk_call *call, const char *text, char **ret) _must_check_;
/* The path of a URL in that form. */
char *mk_url_local_path(const char *url);

#endif
