/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Any text as arguments of MLflow's experiments, runs and metrics, on a platform there is. The first
 * line is the method and path, each other one `name<TAB>value`: JSON, or else a text; `<run>` and
 * `<experiment>` are ones there are.
 */
#include "platform.h"

#include "core.h"
#include "domain/track/track.h"
#include "fuzz.h"
#include "serve/serve.h"

static struct platform p;
static char uid[33], experiment[24];

static void begin(void)
{
	int64_t e = 0, id = 0;
	struct mk_run run = {};

	(void)test_run; /* platform.h brings it */
	FUZZ_CHECK(platform_init(&p));
	FUZZ_CHECK(mk_track_experiment_make(&p.call, p.m, 0, "e", NULL, NULL, &e) == 0);
	FUZZ_CHECK(mk_track_run_make(&p.call, p.m,
				     &(struct mk_track_new){.experiment_id = e, .name = "r"},
				     &id) == 0);
	FUZZ_CHECK(mk_run_peek(&p.call, p.m, id, &run) == 0);
	memcpy(uid, run.uid, sizeof(uid));
	(void)snprintf(experiment, sizeof(experiment), "%lld", (long long)e);
	mk_run_free(&run);
	mk_error_clear(&p.call);
}

static void end(void)
{
	platform_done(&p);
}

static serve_handler *handler(const char *line, size_t len, const char **ret_method)
{
	static const struct serve_route *const tables[] = {serve_experiments, serve_runs,
							   serve_metrics};

	for (size_t i = 0; i < 3; i++)
		for (const struct serve_route *route = tables[i]; route->path; route++) {
			size_t n = strlen(route->path);

			if (len > n && memcmp(line + len - n, route->path, n) == 0) {
				*ret_method = route->method;
				return route->run;
			}
		}
	return NULL;
}

static json_t *value_of(const char *text)
{
	json_t *value;

	if (strcmp(text, "<run>") == 0)
		return json_string(uid);
	if (strcmp(text, "<experiment>") == 0)
		return json_string(experiment);
	value = json_loads(text, JSON_DECODE_ANY, NULL);
	return value ? value : json_string(text);
}

static json_t *arguments(char *text)
{
	json_t *in = json_object();
	char *next;

	for (char *line = text; line && *line; line = next) {
		char *tab = strchr(line, '\t');

		next = strchr(line, '\n');
		if (next)
			*next++ = 0;
		if (!tab || (next && tab > next))
			continue;
		*tab = 0;
		(void)json_object_set_new(in, line, value_of(tab + 1));
	}
	return in;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	_cleanup_free_ char *text = mk_strndup((const char *)data, size);
	_cleanup_buf_ struct mk_buf out = MK_BUF(1 << 24);
	char *rest = strchr(text, '\n');
	const char *method;
	serve_handler *run = handler(text, rest ? (size_t)(rest - text) : strlen(text), &method);

	if (!run)
		return 0;
	if (!p.m) {
		begin();
		(void)atexit(end);
	}

	struct serve_request rq = {
		.call = &p.call,
		.m = p.m,
		.method = method,
		.path = "",
		.rest = "",
		.in = arguments(rest ? rest + 1 : text + strlen(text)),
		.out = &out,
	};
	json_t *answer = NULL;
	int r = run(&rq, &answer);

	/* Refused in words that a client gets; nothing is the server's own fault. */
	if (r < 0)
		FUZZ_CHECK(p.call.error.text && (rq.error_code || r == -ENOENT || r == -EINVAL ||
						 r == -EEXIST));
	json_decref(answer);
	json_decref(rq.in);
	mk_error_clear(&p.call);
	return 0;
}
