/* SPDX-License-Identifier: Apache-2.0 */
/* Answers, made from what a handler left: JSON, a text it wrote itself, a file or a part of one. */
#include "serve/frame.h"

#include <errno.h>
#include <microhttpd.h>
#include <string.h>
#include <sys/stat.h>

#include "base/file.h"

static struct MHD_Response *of_text(char *text, size_t len)
{
	struct MHD_Response *response =
		text ? MHD_create_response_from_buffer(len, text, MHD_RESPMEM_MUST_FREE) : NULL;

	if (!response)
		free(text);
	return response;
}

static void put(struct MHD_Response *response, const char *name, const char *value)
{
	if (response)
		(void)MHD_add_response_header(response, name, value);
}

/* As it is after `filename=`: RFC 6266, the UTF-8 form. */
static void put_name(struct MHD_Response *response, const char *name)
{
	_cleanup_buf_ struct mk_buf text = MK_BUF(4096);

	(void)mk_buf_puts(&text, "attachment; filename*=UTF-8''");
	for (const unsigned char *c = (const unsigned char *)name; *c; c++)
		if ((*c | 0x20) >= 'a' && (*c | 0x20) <= 'z')
			(void)mk_buf_putc(&text, (char)*c);
		else if ((*c >= '0' && *c <= '9') || *c == '.' || *c == '_' || *c == '-')
			(void)mk_buf_putc(&text, (char)*c);
		else
			(void)mk_buf_printf(&text, "%%%02X", *c);
	if (mk_buf_check(&text) == 0)
		put(response, MHD_HTTP_HEADER_CONTENT_DISPOSITION, mk_buf_text(&text));
}

static const char *header(struct MHD_Connection *conn, const char *name)
{
	return MHD_lookup_connection_value(conn, MHD_HEADER_KIND, name);
}

static struct MHD_Response *of_file(struct serve_request *rq, struct MHD_Connection *conn,
				    int *ret_status)
{
	struct serve_file *file = rq->file;
	struct stat st;
	char tag[64];
	int64_t from = 0, len = file->size;

	if (fstat(file->fd, &st) < 0)
		return NULL;
	(void)snprintf(tag, sizeof(tag), "\"%llx-%llx\"",
		       (unsigned long long)((uint64_t)st.st_mtim.tv_sec * 1000000000u +
					    (uint64_t)st.st_mtim.tv_nsec),
		       (unsigned long long)file->size);

	const char *have = header(conn, MHD_HTTP_HEADER_IF_NONE_MATCH);
	const char *same = header(conn, MHD_HTTP_HEADER_IF_RANGE);
	struct MHD_Response *response;
	int r = same && strcmp(same, tag) != 0 ?
			0 :
			serve_range(header(conn, MHD_HTTP_HEADER_RANGE), file->size, &from, &len);
	_cleanup_free_ char *range = NULL;

	if (have && strcmp(have, tag) == 0) {
		*ret_status = MHD_HTTP_NOT_MODIFIED;
		response = of_text(mk_strdup(""), 0);
	} else if (r < 0) {
		*ret_status = MHD_HTTP_RANGE_NOT_SATISFIABLE;
		response = of_text(mk_strdup(""), 0);
		range = mk_strf("bytes */%lld", (long long)file->size);
	} else {
		*ret_status = r ? MHD_HTTP_PARTIAL_CONTENT : MHD_HTTP_OK;
		if (len == 0) {
			response = of_text(mk_strdup(""), 0);
		} else {
			response = MHD_create_response_from_fd_at_offset64(
				(uint64_t)len, file->fd, (uint64_t)from);
			if (response)
				file->fd = -1; /* its own */
		}
		if (r)
			range = mk_strf("bytes %lld-%lld/%lld", (long long)from,
					(long long)(from + len - 1), (long long)file->size);
	}
	put(response, MHD_HTTP_HEADER_ETAG, tag);
	put(response, MHD_HTTP_HEADER_ACCEPT_RANGES, "bytes");
	put(response, MHD_HTTP_HEADER_CONTENT_TYPE,
	    file->type ? file->type : "application/octet-stream");
	if (range)
		put(response, MHD_HTTP_HEADER_CONTENT_RANGE, range);
	if (file->name)
		put_name(response, file->name);
	return response;
}

struct MHD_Response *serve_answer(struct serve_request *rq, struct MHD_Connection *conn, json_t *ret,
				  int *ret_status)
{
	struct MHD_Response *response;

	*ret_status = MHD_HTTP_OK;
	if (rq->to_scope) {
		/* Absolute: one that is not keeps the user and password that may stand in a browser's
		 * address, and its pages then may ask nothing. The Host is one of ours. */
		_cleanup_free_ char *to = mk_strf("http://%s%s/", header(conn, MHD_HTTP_HEADER_HOST),
						  rq->scope);

		*ret_status = MHD_HTTP_SEE_OTHER;
		response = of_text(mk_strdup(""), 0);
		put(response, MHD_HTTP_HEADER_LOCATION, to);
		return response;
	}
	if (rq->file->fd >= 0)
		return of_file(rq, conn, ret_status);
	if (rq->out->len || rq->type) {
		size_t len = rq->out->len;

		response = of_text(mk_buf_steal(rq->out), len);
	} else {
		/* 17 digits: what is read is what was written, to the bit */
		char *text = ret ? json_dumps(ret, JSON_COMPACT | JSON_REAL_PRECISION(17)) :
				   mk_strdup("{}");

		response = of_text(text, text ? strlen(text) : 0);
	}
	put(response, MHD_HTTP_HEADER_CONTENT_TYPE, rq->type ? rq->type : "application/json");
	return response;
}

struct MHD_Response *serve_answer_error(struct serve_request *rq, int r, int *ret_status)
{
	char *text = NULL;

	*ret_status = serve_error_body(rq, r, &text);

	struct MHD_Response *response = of_text(text, text ? strlen(text) : 0);

	put(response, MHD_HTTP_HEADER_CONTENT_TYPE, "application/json");
	if (*ret_status == MHD_HTTP_UNAUTHORIZED)
		put(response, MHD_HTTP_HEADER_WWW_AUTHENTICATE, "Basic realm=\"mantik\"");
	if (*ret_status == MHD_HTTP_TOO_MANY_REQUESTS || *ret_status == MHD_HTTP_SERVICE_UNAVAILABLE)
		put(response, MHD_HTTP_HEADER_RETRY_AFTER, "1");
	return response;
}
