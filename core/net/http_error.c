/* SPDX-License-Identifier: Apache-2.0 */
/* The words for an answer that was not wanted, and for none: what happened, in which connection,
 * what to do. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include <curl/curl.h>

#include "base/file.h"
#include "base/utf8.h"
#include "http_wire.h"

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

/* --- no answer ----------------------------------------------------------------------------- */

enum kind { AWAY, SETUP, BROKEN, NONSENSE };

static const struct {
	CURLcode code;
	enum kind kind;
	int error;
	const char *text; /* NULL: curl's own words */
} outcomes[] = {
	{CURLE_COULDNT_RESOLVE_HOST, AWAY, EHOSTUNREACH, "no host of that name is known"},
	{CURLE_COULDNT_RESOLVE_PROXY, AWAY, EHOSTUNREACH,
	 "no host of the proxy's name (https_proxy, http_proxy) is known"},
	{CURLE_COULDNT_CONNECT, AWAY, EHOSTUNREACH, NULL},
	{CURLE_OPERATION_TIMEDOUT, AWAY, EHOSTUNREACH, "no connection in time"},
	{CURLE_SSL_CONNECT_ERROR, AWAY, EHOSTUNREACH, NULL},
	{CURLE_PEER_FAILED_VERIFICATION, AWAY, EHOSTUNREACH, NULL},
	{CURLE_SSL_CACERT_BADFILE, SETUP, EHOSTUNREACH, "its ca: is no file with certificates"},
	{CURLE_SSL_CERTPROBLEM, SETUP, ENOKEY,
	 "its client_cert: and client_key: are not a PEM certificate and its key without "
	 "passphrase"},
	{CURLE_GOT_NOTHING, BROKEN, EREMOTEIO, "the connection was closed without an answer"},
	{CURLE_RECV_ERROR, BROKEN, EREMOTEIO, "the connection broke"},
	{CURLE_SEND_ERROR, BROKEN, EREMOTEIO, "the connection broke"},
	{CURLE_SEND_FAIL_REWIND, BROKEN, EREMOTEIO, "the connection was closed without an answer"},
	{CURLE_PARTIAL_FILE, BROKEN, EREMOTEIO, "the connection broke in the middle of the answer"},
	{CURLE_BAD_CONTENT_ENCODING, NONSENSE, EREMOTEIO, "its answer cannot be decompressed"},
	{CURLE_UNSUPPORTED_PROTOCOL, NONSENSE, EREMOTEIO, "what is there does not speak HTTP"},
	{CURLE_WEIRD_SERVER_REPLY, NONSENSE, EREMOTEIO, "what is there does not speak HTTP"},
	{CURLE_HTTP2, NONSENSE, EREMOTEIO, "what is there does not speak HTTP"},
	{CURLE_URL_MALFORMAT, NONSENSE, EINVAL, "no URL"},
	{CURLE_OUT_OF_MEMORY, NONSENSE, ENOMEM, "out of memory"},
};

/* What to do about it, where we know. */
static const char *advice(CURLcode code, long system_error, const char *words)
{
	if (code == CURLE_COULDNT_CONNECT && system_error == ECONNREFUSED)
		return "connection refused: does the server run there?";
	if (code == CURLE_SSL_CONNECT_ERROR && strstr(words, "wrong version number"))
		return "no TLS there: is it http:// and not https://?";
	return NULL;
}

int mk_wire_fail(struct mk_call *call, struct mk_wire *wire, void *easy, int curl_code,
		 const char *words)
{
	CURLcode code = (CURLcode)curl_code;
	const struct mk_http_peer *peer = wire->request->peer;
	enum kind kind = NONSENSE;
	int error = EREMOTEIO;
	const char *text = NULL;
	long system_error = 0;

	for (size_t i = 0; i < sizeof(outcomes) / sizeof(*outcomes); i++)
		if (outcomes[i].code == code) {
			kind = outcomes[i].kind;
			error = outcomes[i].error;
			text = outcomes[i].text;
		}
	curl_easy_getinfo(easy, CURLINFO_OS_ERRNO, &system_error);
	if (!text)
		text = advice(code, system_error, words);
	if (!text && code == CURLE_COULDNT_CONNECT && system_error > 0)
		text = strerror((int)system_error);
	if (!text)
		text = words[0] ? words : curl_easy_strerror(code);
	wire->unreachable = kind == AWAY;
	wire->unanswered = kind == BROKEN;
	if (code == CURLE_PEER_FAILED_VERIFICATION)
		(void)mk_fail(call, error,
			      "%s: its certificate is not trusted (%s): name the file of its "
			      "authority as ca: in connections/%s.yaml",
			      wire->label, text, peer->remote);
	else
		(void)mk_fail(call, error, "%s: %s", wire->label, text);
	mk_error_detail(call, peer->remote, wire->answer.status, words);
	return -error;
}
