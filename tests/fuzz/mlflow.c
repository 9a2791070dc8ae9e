/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes as an answer of a tracking server: taken apart the same in whatever pieces they come.
 */
#include "connect/tracking/mlflow/mlflow.h"

#include <stdio.h>
#include <string.h>

#include "fuzz.h"

struct seen {
	size_t n;
	int64_t steps;
	size_t bytes;
};

static int take(void *arg, json_t *element)
{
	struct seen *seen = arg;
	struct mk_t_pair *pairs;
	size_t n;

	mk_mlflow_pairs(mk_mlflow_list(element, "tags"), &pairs, &n);
	for (size_t i = 0; i < n; i++)
		seen->bytes += strlen(pairs[i].key) + strlen(pairs[i].value);
	free(pairs);
	seen->n++;
	seen->steps ^= mk_mlflow_number(element, "step", 7) ^ mk_mlflow_time(element, "timestamp");
	seen->bytes += strlen(mk_mlflow_text(element, "key")) +
		       (size_t)mk_mlflow_is_id(mk_mlflow_text(element, "run_id"));
	(void)mk_mlflow_double(element, "value");
	return 0;
}

static int feed(const char *data, size_t size, size_t piece, struct seen *seen)
{
	struct mk_mlflow_split split;
	int r = 0;

	mk_mlflow_split_init(&split, "metrics", take, seen);
	for (size_t at = 0; at < size && r == 0; at += piece)
		r = mk_mlflow_split_feed(&split, data + at, size - at < piece ? size - at : piece);
	if (r == 0) {
		json_t *rest = mk_mlflow_split_end(&split);

		FUZZ_CHECK(rest || split.why);
		FUZZ_CHECK(!rest || json_is_object(rest));
		r = rest ? 0 : -1;
		json_decref(rest);
	} else {
		FUZZ_CHECK(split.why);
	}
	mk_mlflow_split_free(&split);
	return r;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const char *text = (const char *)data, *why = NULL;
	struct seen whole = {}, pieces = {};
	int a = feed(text, size, size ? size : 1, &whole), b = feed(text, size, 3, &pieces);

	FUZZ_CHECK(a == b && whole.n == pieces.n && whole.steps == pieces.steps &&
		   whole.bytes == pieces.bytes);

	json_t *json = mk_mlflow_parse(text, size, &why);

	FUZZ_CHECK(json || why);
	json_decref(json);
	return 0;
}
