/* SPDX-License-Identifier: Apache-2.0 */
/* See mantik/trace.h. Sinks change under the lock a line is given under: none is called once it is
 * gone. */
#include <mantik/trace.h>

#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <mantik/call.h>

static const struct {
	const char *name;
	enum mk_trace_component component;
} components[] = {
	{"fuse", MK_TRACE_FUSE},
	{"exec", MK_TRACE_EXEC},
	{"db", MK_TRACE_DB},
	{"http", MK_TRACE_HTTP},
	{"serve", MK_TRACE_SERVE},
};
enum { N_COMPONENTS = sizeof(components) / sizeof(*components) };

_Atomic unsigned mk_traced;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* protects sinks */
static struct {
	unsigned components;
	mk_trace_line *line;
	void *arg;
} sinks[MK_TRACE_SINKS];

void mk_trace_to(enum mk_trace_sink sink, unsigned wanted, mk_trace_line *line, void *arg)
{
	unsigned all = 0;

	pthread_mutex_lock(&lock);
	sinks[sink].components = wanted;
	sinks[sink].line = line;
	sinks[sink].arg = arg;
	for (size_t i = 0; i < MK_TRACE_SINKS; i++)
		all |= sinks[i].components;
	atomic_store(&mk_traced, all);
	pthread_mutex_unlock(&lock);
}

void mk_trace_stderr(void *arg, const char *line, size_t len)
{
	(void)arg;
	(void)!write(STDERR_FILENO, line, len);
}

const char *mk_trace_names(void)
{
	return "fuse exec db http serve";
}

static int parse_word(const char *word, size_t len, unsigned *ret)
{
	for (size_t i = 0; i < N_COMPONENTS; i++)
		if (strlen(components[i].name) == len &&
		    memcmp(components[i].name, word, len) == 0) {
			*ret |= components[i].component;
			return 0;
		}
	if ((len == 2 && memcmp(word, "on", 2) == 0) || (len == 3 && memcmp(word, "all", 3) == 0)) {
		*ret = MK_TRACE_ALL;
		return 0;
	}
	return len == 3 && memcmp(word, "off", 3) == 0 ? 0 : -EINVAL;
}

int mk_trace_parse(const char *words, size_t len, unsigned *ret)
{
	unsigned wanted = 0;
	int r = -EINVAL; /* of no word at all */

	for (size_t at = 0; at < len;) {
		size_t n = 0;

		while (at + n < len && !memchr(" ,:\n", words[at + n], 4))
			n++;
		if (n) {
			r = parse_word(words + at, n, &wanted);
			if (r < 0)
				return r;
		}
		at += n + 1;
	}
	if (r == 0)
		*ret = wanted;
	return r;
}

/* One printable line; user and password of a URL do not stand in it. */
static void clean(struct mk_buf *line)
{
	for (size_t i = 0; i < line->len; i++)
		if ((unsigned char)line->data[i] < ' ' || line->data[i] == 0x7f)
			line->data[i] = ' ';
	for (char *s = line->len ? strstr(line->data, "://") : NULL; s; s = strstr(s + 1, "://")) {
		char *at = memrchr(s + 3, '@', strcspn(s + 3, "/ ?#"));

		if (at)
			memset(s + 3, '*', (size_t)(at - (s + 3)));
	}
}

void mk_trace(enum mk_trace_component component, uint64_t number, const char *fmt, ...)
{
	_cleanup_buf_ struct mk_buf text = MK_BUF(1 << 16), line = MK_BUF((1 << 16) + 256);
	int64_t now = mk_now_real();
	time_t seconds = (time_t)(now / MK_SEC);
	struct tm tm;
	va_list ap;

	va_start(ap, fmt);
	(void)mk_buf_vprintf(&text, fmt, ap);
	va_end(ap);
	gmtime_r(&seconds, &tm);
	(void)mk_buf_printf(&line, "%02d:%02d:%02d.%06d ", tm.tm_hour, tm.tm_min, tm.tm_sec,
			    (int)(now % MK_SEC / 1000));
	for (size_t i = 0; i < N_COMPONENTS; i++)
		if (components[i].component == component)
			(void)mk_buf_puts(&line, components[i].name);
	if (number)
		(void)mk_buf_printf(&line, " #%llu", (unsigned long long)number);
	(void)mk_buf_printf(&line, " %s", mk_buf_text(&text));
	if (mk_buf_check(&text) < 0 || mk_buf_check(&line) < 0)
		return;
	clean(&line);
	(void)mk_buf_putc(&line, '\n');
	pthread_mutex_lock(&lock);
	for (size_t i = 0; i < MK_TRACE_SINKS; i++)
		if (sinks[i].components & component)
			sinks[i].line(sinks[i].arg, line.data, line.len);
	pthread_mutex_unlock(&lock);
}
