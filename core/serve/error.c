/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Errors in MLflow's shape: {"error_code": …, "message": …} and the status that goes with it. The
 * reference client asks again after 408, 429, 500, 502, 503 and 504, for minutes: what will not be
 * better then has another status.
 */
#include "serve/frame.h"

#include <errno.h>
#include <string.h>

/* MLflow's own pairs (mlflow/exceptions.py). */
static const struct {
	const char *error_code;
	int status;
} codes[] = {
	{"BAD_REQUEST", 400},
	{"INVALID_PARAMETER_VALUE", 400},
	{"RESOURCE_ALREADY_EXISTS", 400},
	{"INVALID_STATE", 400},
	{"UNAUTHENTICATED", 401},
	{"PERMISSION_DENIED", 403},
	{"RESOURCE_DOES_NOT_EXIST", 404},
	{"NOT_FOUND", 404},
	{"ENDPOINT_NOT_FOUND", 404},
	{"ABORTED", 409},
	{"RESOURCE_CONFLICT", 409},
	{"ALREADY_EXISTS", 409},
	{"RESOURCE_LIMIT_EXCEEDED", 413},
	{"REQUEST_LIMIT_EXCEEDED", 429},
	{"NOT_IMPLEMENTED", 501},
	{"TEMPORARILY_UNAVAILABLE", 503},
	{"DEADLINE_EXCEEDED", 504},
	{"RESOURCE_EXHAUSTED", 507},
	{"INTERNAL_ERROR", 500},
};

static const struct {
	int code;
	const char *error_code;
} errnos[] = {
	{ENOENT, "RESOURCE_DOES_NOT_EXIST"},
	{EINVAL, "INVALID_PARAMETER_VALUE"},
	{ENAMETOOLONG, "INVALID_PARAMETER_VALUE"},
	{EFBIG, "INVALID_PARAMETER_VALUE"},
	{E2BIG, "INVALID_PARAMETER_VALUE"},
	{ERANGE, "INVALID_PARAMETER_VALUE"},
	{EISDIR, "INVALID_PARAMETER_VALUE"},
	{ENOTDIR, "INVALID_PARAMETER_VALUE"},
	{EEXIST, "RESOURCE_ALREADY_EXISTS"},
	{EROFS, "INVALID_STATE"},
	{ENOTEMPTY, "INVALID_STATE"},
	{EACCES, "PERMISSION_DENIED"},
	{EPERM, "PERMISSION_DENIED"},
	{ENOSPC, "RESOURCE_EXHAUSTED"},
	{EDQUOT, "RESOURCE_EXHAUSTED"},
	{EOPNOTSUPP, "NOT_IMPLEMENTED"},
	{ESTALE, "ABORTED"},
	{EBUSY, "TEMPORARILY_UNAVAILABLE"},
	{EAGAIN, "TEMPORARILY_UNAVAILABLE"},
	{EINTR, "TEMPORARILY_UNAVAILABLE"}, /* the server is being stopped */
	{ETIMEDOUT, "DEADLINE_EXCEEDED"},
};

static int status_of(const char *error_code)
{
	for (size_t i = 0; i < sizeof(codes) / sizeof(*codes); i++)
		if (strcmp(codes[i].error_code, error_code) == 0)
			return codes[i].status;
	return 500;
}

static const char *word_of(int code)
{
	for (size_t i = 0; i < sizeof(errnos) / sizeof(*errnos); i++)
		if (errnos[i].code == code)
			return errnos[i].error_code;
	return "INTERNAL_ERROR";
}

static int errno_of(const char *error_code)
{
	for (size_t i = 0; i < sizeof(errnos) / sizeof(*errnos); i++)
		if (strcmp(errnos[i].error_code, error_code) == 0)
			return errnos[i].code;
	return EREMOTEIO;
}

int serve_fail(struct serve_request *rq, const char *error_code, const char *fmt, ...)
{
	_cleanup_buf_ struct mk_buf text = MK_BUF(1 << 16);
	va_list ap;

	va_start(ap, fmt);
	(void)mk_buf_vprintf(&text, fmt, ap);
	va_end(ap);
	rq->error_code = error_code;
	rq->status = status_of(error_code);
	return mk_fail(rq->call, errno_of(error_code), "%s", mk_buf_text(&text));
}

int serve_error_body(const struct serve_request *rq, int r, char **ret)
{
	const char *word = rq->error_code ? rq->error_code : word_of(-r);
	const char *text = rq->call->error.text ? rq->call->error.text : strerror(-r);
	/* What was refused may itself be no UTF-8. */
	json_t *body = json_pack("{s:s, s:s}", "error_code", word, "message", text);

	if (!body)
		body = json_pack("{s:s, s:s}", "error_code", word, "message", strerror(-r));
	*ret = body ? json_dumps(body, JSON_COMPACT) : NULL;
	json_decref(body);
	return rq->error_code && rq->status ? rq->status : status_of(word);
}
