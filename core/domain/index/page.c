/* SPDX-License-Identifier: Apache-2.0 */
/* See page.h. A page lives as long as one question. */
#include "domain/index/page.h"

#include <errno.h>
#include <string.h>

void mk_page_free(struct mk_page *page)
{
	mk_arena_free(&page->arena);
	free(page->runs);
	free(page->experiments);
	for (size_t i = 0; i < page->n_models; i++)
		free(page->models[i].versions);
	free(page->models);
	*page = (struct mk_page){};
}

/* Sets *text to a copy of it; NULL becomes "". */
static int keep(struct mk_page *page, const char **text)
{
	const char *from = *text ? *text : "";

	*text = mk_arena_text(&page->arena, from, strlen(from));
	return *text ? 0 : -ENOMEM;
}

static int keep_texts(struct mk_page *page, const char **texts[], size_t n)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < n; i++)
		r = keep(page, texts[i]);
	return r;
}
#define KEEP(page, ...) \
	keep_texts(page, (const char **[]){__VA_ARGS__}, \
		   sizeof((const char **[]){__VA_ARGS__}) / sizeof(const char **))

/* A copy of an array of n items of this size; its texts are still the store's. */
static void *keep_array(struct mk_page *page, const void *items, size_t n, size_t size)
{
	void *to = mk_arena_take(&page->arena, n * size);

	if (to && n)
		memcpy(to, items, n * size);
	return to;
}

static int keep_pairs(struct mk_page *page, const struct mk_t_pair **pairs, size_t n)
{
	struct mk_t_pair *to = keep_array(page, *pairs, n, sizeof(*to));
	int r = to ? 0 : -ENOMEM;

	for (size_t i = 0; r == 0 && i < n; i++)
		r = KEEP(page, &to[i].key, &to[i].value);
	*pairs = to;
	return r;
}

/* Room for one more; the new item or NULL. */
static void *grow(void **items, size_t *n, size_t *cap, size_t size)
{
	if (*n == *cap) {
		size_t more = *cap ? *cap * 2 : 64;
		void *v = realloc(*items, more * size);

		if (!v)
			return NULL;
		*items = v;
		*cap = more;
	}
	return (char *)*items + (*n)++ * size;
}

int mk_page_add_run(void *arg, const struct mk_t_run *run)
{
	struct mk_page *page = arg;
	struct mk_t_run *to =
		grow((void **)&page->runs, &page->n_runs, &page->cap_runs, sizeof(*to));

	if (!to)
		return -ENOMEM;
	*to = *run;

	int r = KEEP(page, &to->id, &to->experiment_id, &to->name, &to->user, &to->artifact_uri);

	if (r == 0)
		r = keep_pairs(page, &to->params, to->n_params);
	if (r == 0)
		r = keep_pairs(page, &to->tags, to->n_tags);

	struct mk_t_metric *metrics =
		keep_array(page, run->metrics, run->n_metrics, sizeof(*metrics));
	struct mk_t_dataset *datasets =
		keep_array(page, run->datasets, run->n_datasets, sizeof(*datasets));
	const char **models = keep_array(page, run->models, run->n_models, sizeof(*models));

	if (!metrics || !datasets || !models)
		return -ENOMEM;
	for (size_t i = 0; r == 0 && i < to->n_metrics; i++)
		r = KEEP(page, &metrics[i].key);
	for (size_t i = 0; r == 0 && i < to->n_datasets; i++)
		r = KEEP(page, &datasets[i].name, &datasets[i].digest, &datasets[i].source_type,
			 &datasets[i].source, &datasets[i].context);
	for (size_t i = 0; r == 0 && i < to->n_models; i++)
		r = KEEP(page, &models[i]);
	to->metrics = metrics;
	to->datasets = datasets;
	to->models = models;
	return r;
}

int mk_page_add_experiment(void *arg, const struct mk_t_experiment *experiment)
{
	struct mk_page *page = arg;
	struct mk_t_experiment *to = grow((void **)&page->experiments, &page->n_experiments,
					  &page->cap_experiments, sizeof(*to));

	if (!to)
		return -ENOMEM;
	*to = *experiment;

	int r = KEEP(page, &to->id, &to->name, &to->artifact_location);

	return r < 0 ? r : keep_pairs(page, &to->tags, to->n_tags);
}

int mk_page_add_model(void *arg, const struct mk_t_model *model)
{
	struct mk_page *page = arg;
	struct mk_page_model *to =
		grow((void **)&page->models, &page->n_models, &page->cap_models, sizeof(*to));

	if (!to)
		return -ENOMEM;
	*to = (struct mk_page_model){.model = *model};

	int r = KEEP(page, &to->model.name, &to->model.description);

	return r < 0 ? r : keep_pairs(page, &to->model.tags, to->model.n_tags);
}

int mk_page_add_version(void *arg, const struct mk_t_version *version)
{
	struct mk_page *page = arg;
	struct mk_page_model *model = &page->models[page->model];
	struct mk_t_version *to = grow((void **)&model->versions, &model->n_versions,
				       &model->cap_versions, sizeof(*to));

	if (!to)
		return -ENOMEM;
	*to = *version;

	const char **aliases =
		keep_array(page, version->aliases, version->n_aliases, sizeof(*aliases));
	int r = aliases ? KEEP(page, &to->version, &to->run_id, &to->stage, &to->status,
			       &to->description, &to->source)
			: -ENOMEM;

	for (size_t i = 0; r == 0 && i < to->n_aliases; i++)
		r = KEEP(page, &aliases[i]);
	to->aliases = aliases;
	return r < 0 ? r : keep_pairs(page, &to->tags, to->n_tags);
}

/* --- digest -------------------------------------------------------------------------------- */

static void mix(uint64_t *hash, const void *data, size_t len)
{
	const unsigned char *s = data;

	for (size_t i = 0; i < len; i++)
		*hash = (*hash ^ s[i]) * UINT64_C(0x100000001b3);
	*hash = (*hash ^ 0xff) * UINT64_C(0x100000001b3);
}

static void mix_text(uint64_t *hash, const char *text)
{
	mix(hash, text, strlen(text));
}

static void mix_pairs(uint64_t *hash, const struct mk_t_pair *pairs, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		mix_text(hash, pairs[i].key);
		mix_text(hash, pairs[i].value);
	}
	mix(hash, &n, sizeof(n));
}

int64_t mk_page_digest(const struct mk_t_run *run)
{
	uint64_t hash = UINT64_C(0xcbf29ce484222325);
	const int64_t numbers[] = {run->status, run->started, run->ended, run->deleted};

	mix(&hash, numbers, sizeof(numbers));
	mix_text(&hash, run->experiment_id);
	mix_text(&hash, run->name);
	mix_text(&hash, run->user);
	mix_text(&hash, run->artifact_uri);
	mix_pairs(&hash, run->params, run->n_params);
	mix_pairs(&hash, run->tags, run->n_tags);
	for (size_t i = 0; i < run->n_metrics; i++) {
		const struct mk_t_metric *metric = &run->metrics[i];

		mix_text(&hash, metric->key);
		mix(&hash, &metric->last.step, sizeof(metric->last.step));
		mix(&hash, &metric->last.value, sizeof(metric->last.value));
		mix(&hash, &metric->last.time, sizeof(metric->last.time));
	}
	for (size_t i = 0; i < run->n_datasets; i++) {
		mix_text(&hash, run->datasets[i].name);
		mix_text(&hash, run->datasets[i].digest);
		mix_text(&hash, run->datasets[i].source);
		mix_text(&hash, run->datasets[i].context);
	}
	for (size_t i = 0; i < run->n_models; i++)
		mix_text(&hash, run->models[i]);
	hash &= INT64_MAX;
	return hash ? (int64_t)hash : 1;
}

int64_t mk_page_tags_digest(const struct mk_t_experiment *experiment)
{
	uint64_t hash = UINT64_C(0xcbf29ce484222325);

	mix_pairs(&hash, experiment->tags, experiment->n_tags);
	return (int64_t)(hash & INT64_MAX);
}
