/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The threads handlers run in. As many as there is work for, 16 at most: a commit is waited for by
 * all who take part in it, so more of them make it no slower, and each keeps a database connection
 * of its own. They stay until the end.
 */
#include "serve/frame.h"

#include <errno.h>
#include <string.h>

enum { MOST = sizeof((struct serve_pool){}.threads) / sizeof(pthread_t), STACK = 1 << 20 };

static void *work(void *arg)
{
	struct serve_pool *pool = arg;

	pthread_mutex_lock(&pool->lock);
	for (;;) {
		struct serve_work *w = pool->first;

		if (!w) {
			if (pool->stop)
				break;
			pool->n_idle++;
			pthread_cond_wait(&pool->wake, &pool->lock);
			pool->n_idle--;
			continue;
		}
		pool->first = w->next;
		if (!pool->first)
			pool->last = &pool->first;
		pthread_mutex_unlock(&pool->lock);
		w->run(w);
		pthread_mutex_lock(&pool->lock);
	}
	pthread_mutex_unlock(&pool->lock);
	return NULL;
}

/* With the lock. */
static int begin(struct serve_pool *pool)
{
	pthread_attr_t attr;
	int r;

	pthread_attr_init(&attr);
	(void)pthread_attr_setstacksize(&attr, STACK);
	r = pthread_create(&pool->threads[pool->n_threads], &attr, work, pool);
	pthread_attr_destroy(&attr);
	if (r == 0)
		pool->n_threads++;
	return -r;
}

int serve_pool_init(struct mk_call *call, struct serve_pool *pool)
{
	*pool = (struct serve_pool){
		.lock = PTHREAD_MUTEX_INITIALIZER,
		.wake = PTHREAD_COND_INITIALIZER,
	};
	pool->last = &pool->first;
	pthread_mutex_lock(&pool->lock);

	int r = begin(pool);

	pthread_mutex_unlock(&pool->lock);
	return r < 0 ? mk_fail(call, -r, "the tracking server has no thread: %s", strerror(-r)) : 0;
}

void serve_pool_run(struct serve_pool *pool, struct serve_work *w)
{
	w->next = NULL;
	pthread_mutex_lock(&pool->lock);

	bool more = pool->first || !pool->n_idle;

	*pool->last = w;
	pool->last = &w->next;
	if (more && pool->n_threads < MOST)
		(void)begin(pool); /* without it the others do it later */
	pthread_cond_signal(&pool->wake);
	pthread_mutex_unlock(&pool->lock);
}

void serve_pool_done(struct serve_pool *pool)
{
	pthread_mutex_lock(&pool->lock);
	pool->stop = true;
	pthread_cond_broadcast(&pool->wake);
	pthread_mutex_unlock(&pool->lock);
	for (int i = 0; i < pool->n_threads; i++)
		pthread_join(pool->threads[i], NULL);
	pthread_cond_destroy(&pool->wake);
	pthread_mutex_destroy(&pool->lock);
}
