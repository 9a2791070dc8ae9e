/* SPDX-License-Identifier: Apache-2.0 */
/* The words for an answer that was not wanted: what happened, in which connection, what to do. */
#include "http.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/file.h"
#include "base/utf8.h"

static const struct {
	int status, error;
	const char *text;
} statuses[] = {
	{400, EINVAL, "refused as invalid"},
	{403, EACCES, "not allowed for you"},
	{404, ENOENT, "not found"},
	{405, EREMOTEIO, "not a request it knows"},
	{408, ETIMEDOUT, "took too long"},
	{409, EBUSY, "in conflict with another change"},
	{410, ENOENT, "gone"},
	{412, ESTALE, "changed meanwhile"},
	{413, EFBIG, "too large for it"},
	{416, EINVAL, "no such range"},
	{422, EINVAL, "refused as invalid"},
	{429, EBUSY, "too many requests"},
	{500, EREMOTEIO, "an error inside the server"},
	{501, EOPNOTSUPP, "not offered by it"},
	{502, EREMOTEIO, "the server behind it does not answer"},
	{503, EBUSY, "not available now"},
	{504, ETIMEDOUT, "the server behind it did not answer in time"},
};

/* The first line of a text for people; nothing of a page of HTML. */
static char *first_line(const struct mk_http_answer *answer)
{
	const char *text = mk_buf_text(&answer->body);

	if (!answer->type || strncmp(answer->type, "text/plain", 10) != 0)
		return NULL;
	text += strspn(text, " \t\r\n");

	size_t len = strcspn(text, "\r\n");

	len = len > 300 ? 300 : len;
	len = mk_utf8_bad(text, len);
	return len ? mk_strndup(text, len) : NULL;
}

static char *when(const struct mk_http_answer *answer)
{
	if (answer->retry_after <= 0)
		return mk_strdup("");
	return mk_strf(", asks to come again in %lld s", (long long)answer->retry_after);
}

static int fail_401(struct mk_call *call, const struct mk_http_request *request,
		    const struct mk_http_answer *answer, const char *what)
{
	const char *remote = request->peer->remote;

	if (!answer->authorized)
		return mk_fail(call, ENOKEY,
			       "%s: %s: it wants a password or a token: mantikctl login %s", remote,
			       what, remote);
	return mk_fail(call, EACCES,
		       "%s: %s: it does not accept the password or token: mantikctl login %s sets "
		       "a new one",
		       remote, what, remote);
}

int mk_http_fail(struct mk_call *call, const struct mk_http_request *request,
		 const struct mk_http_answer *answer, const char *what, const char *words)
{
	const char *remote = request->peer->remote, *text = "an answer nobody expected";
	_cleanup_free_ char *line = words ? mk_strdup(words) : first_line(answer);
	_cleanup_free_ char *again = when(answer);
	_cleanup_free_ char *origin = mk_url_origin(request->url);
	int error = EREMOTEIO;

	for (size_t i = 0; i < sizeof(statuses) / sizeof(*statuses); i++)
		if (statuses[i].status == answer->status) {
			error = statuses[i].error;
			text = statuses[i].text;
		}
	if (answer->status == 401)
		error = -fail_401(call, request, answer, what);
	else
		(void)mk_fail(call, error, "%s: %s: %s%s (%s answered %d)%s%s", remote, what, text,
			      again, origin ? origin : "it", answer->status, line ? ": " : "",
			      line ? line : "");
	mk_error_detail(call, remote, answer->status, line ? line : mk_buf_text(&answer->body));
	return -error;
}
