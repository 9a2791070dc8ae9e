/* SPDX-License-Identifier: Apache-2.0 */
/* The head of an answer: libcurl has taken the lines apart, the values are read here. */
#include <errno.h>
#include <string.h>

#include <curl/curl.h>

#include "http_wire.h"

enum { MAX_OTHER = 64 << 10 }; /* kept of a body that is not the one asked for */

/* The value of a header of the answer, or NULL; valid until the next call. */
static const char *header(CURL *easy, const char *name)
{
	struct curl_header *h = NULL;

	if (curl_easy_header(easy, name, 0, CURLH_HEADER, -1, &h) != CURLHE_OK)
		return NULL;
	return h->value;
}

/* `text/html; charset=utf-8` -> `text/html` */
static char *media_type(const char *value)
{
	char *type = mk_strndup(value ? value : "", value ? strcspn(value, "; \t,") : 0);

	for (char *s = type; *s; s++)
		if (*s >= 'A' && *s <= 'Z')
			*s = (char)(*s - 'A' + 'a');
	return type;
}

static bool number(const char **s, int64_t *ret)
{
	char *end;

	if (**s < '0' || **s > '9')
		return false;
	errno = 0;
	*ret = strtoll(*s, &end, 10);
	*s = end;
	return errno == 0;
}

void mk_wire_read_range(const char *s, struct mk_http_answer *answer)
{
	int64_t begin = -1, end = -1, total = -1;

	if (!s || strncasecmp(s, "bytes", 5) != 0)
		return;
	s += 5 + strspn(s + 5, " \t");
	if (*s == '*') {
		s++;
	} else if (!number(&s, &begin) || *s++ != '-' || !number(&s, &end) || end < begin) {
		return;
	}
	if (*s++ != '/' || (*s != '*' && (!number(&s, &total) || (begin >= 0 && total <= end))))
		return;
	answer->range_begin = begin;
	answer->total = total;
}

void mk_wire_read_head(void *easy, struct mk_http_answer *answer)
{
	const char *encoding = header(easy, "Content-Encoding");
	bool plain = !encoding || strcasecmp(encoding, "identity") == 0;
	curl_off_t length = -1, after = -1;
	long status = 0;

	curl_easy_getinfo(easy, CURLINFO_RESPONSE_CODE, &status);
	curl_easy_getinfo(easy, CURLINFO_CONTENT_LENGTH_DOWNLOAD_T, &length);
	if (header(easy, "Retry-After")) /* seconds, or a date */
		curl_easy_getinfo(easy, CURLINFO_RETRY_AFTER, &after);
	answer->status = (int)status;
	answer->length = plain ? length : -1;
	answer->retry_after = after;
	answer->type = media_type(header(easy, "Content-Type"));
	answer->etag = mk_strdup(header(easy, "ETag"));
	answer->last_modified = mk_strdup(header(easy, "Last-Modified"));
	if (status == 206 || status == 416)
		mk_wire_read_range(header(easy, "Content-Range"), answer);
	if (status < 200 || status >= 300)
		answer->body.limit = MAX_OTHER;
}
