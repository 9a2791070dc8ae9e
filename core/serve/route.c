/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which handler a method and path belong to. Exact paths are looked up in a sorted list; after them
 * come those that end in `*`, the longest first.
 */
#include "serve/frame.h"

#include <errno.h>
#include <string.h>

struct serve_routes {
	const struct serve_route **exact, **open;
	size_t n_exact, n_open;
};

/* The rooms of MLflow's API. */
const struct serve_route *const serve_tables[] = {
	serve_server,
	serve_ui,
	serve_graphql,
	serve_experiments,
	serve_runs,
	serve_metrics,
	serve_artifacts,
	serve_models,
	serve_versions,
	serve_logged,
	serve_search,
	NULL,
};

static int by_path(const void *a, const void *b)
{
	const struct serve_route *x = *(const struct serve_route *const *)a;
	const struct serve_route *y = *(const struct serve_route *const *)b;
	int r = strcmp(x->path, y->path);

	return r ? r : strcmp(x->method, y->method);
}

static int longest(const void *a, const void *b)
{
	size_t x = strlen((*(const struct serve_route *const *)a)->path);
	size_t y = strlen((*(const struct serve_route *const *)b)->path);

	return x < y ? 1 : x > y ? -1 : by_path(a, b);
}

static bool is_open(const struct serve_route *route)
{
	size_t n = strlen(route->path);

	return n && route->path[n - 1] == '*';
}

struct serve_routes *serve_routes_new(const struct serve_route *const *tables)
{
	struct serve_routes *routes = mk_new(struct serve_routes);
	size_t n = 0;

	for (size_t i = 0; tables[i]; i++)
		for (const struct serve_route *route = tables[i]; route->path; route++)
			n++;
	routes->exact = mk_alloc((n + 1) * sizeof(struct serve_route *));
	routes->open = mk_alloc((n + 1) * sizeof(struct serve_route *));
	for (size_t i = 0; tables[i]; i++)
		for (const struct serve_route *route = tables[i]; route->path; route++)
			if (is_open(route))
				routes->open[routes->n_open++] = route;
			else
				routes->exact[routes->n_exact++] = route;
	qsort(routes->exact, routes->n_exact, sizeof(*routes->exact), by_path);
	qsort(routes->open, routes->n_open, sizeof(*routes->open), longest);
	return routes;
}

void serve_routes_free(struct serve_routes *routes)
{
	if (!routes)
		return;
	free(routes->exact);
	free(routes->open);
	free(routes);
}

/* Where the rows of this path begin, or would. */
static size_t first_of(const struct serve_routes *routes, const char *path)
{
	size_t low = 0, high = routes->n_exact;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (strcmp(routes->exact[middle]->path, path) < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

const struct serve_route *serve_routes_find(const struct serve_routes *routes, const char *method,
					    const char *path, const char **ret_rest,
					    bool *ret_other)
{
	*ret_other = false;
	*ret_rest = "";
	for (size_t i = first_of(routes, path);
	     i < routes->n_exact && strcmp(routes->exact[i]->path, path) == 0; i++) {
		if (strcmp(routes->exact[i]->method, method) == 0)
			return routes->exact[i];
		*ret_other = true;
	}
	for (size_t i = 0; i < routes->n_open; i++) {
		size_t n = strlen(routes->open[i]->path) - 1;

		if (strncmp(routes->open[i]->path, path, n) != 0)
			continue;
		if (strcmp(routes->open[i]->method, method) == 0) {
			*ret_rest = path + n;
			return routes->open[i];
		}
		*ret_other = true;
	}
	return NULL;
}

const struct serve_route *serve_route_of(const char *method, const char *path)
{
	for (size_t i = 0; serve_tables[i]; i++)
		for (const struct serve_route *route = serve_tables[i]; route->path; route++)
			if (strcmp(route->path, path) == 0 && strcmp(route->method, method) == 0)
				return route;
	return NULL;
}

int serve_unknown(struct serve_request *rq, bool other)
{
	if (other)
		return serve_fail(rq, "ENDPOINT_NOT_FOUND", "%s does not take %s", rq->path,
				  rq->method);
	return serve_fail(rq, "ENDPOINT_NOT_FOUND",
			  "%s %s is not offered by mantikd: it has MLflow's experiments, runs, "
			  "metrics, artifacts and models",
			  rq->method, rq->path);
}
