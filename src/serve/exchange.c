/* exchange.c - see exchange.h. */
#include "serve/generate.h"
#include "serve/server.h"

#include <stdio.h>
#include <stdlib.h>

#define TICK_NS 1000000000u

exchange *exchange_create(server *s, struct MHD_Connection *http, const char *method, const char *path)
{
	exchange *x = calloc(1, sizeof *x);
	if (!x)
		return NULL;
	x->server = s;
	x->http = http;
	x->began_ns = evn_now_ns();
	snprintf(x->method, sizeof x->method, "%s", method);
	snprintf(x->path, sizeof x->path, "%s", path);
	pthread_mutex_init(&x->lock, NULL);
	atomic_init(&x->references, 1);
	atomic_fetch_add(&s->n_exchanges, 1);
	return x;
}

static void destroy(exchange *x)
{
	server *s = x->server;
	generation_free(x->generation);
	buffer_free(&x->body);
	free(x->reply.body);
	catalog_release(x);
	pthread_mutex_destroy(&x->lock);
	free(x);
	atomic_fetch_sub(&s->n_exchanges, 1);
}

/* To free the scheduler's requests takes a moment in which their last callbacks return: that is a worker's time. */
static void drop(exchange *x)
{
	if (atomic_fetch_sub(&x->references, 1) > 1)
		return;
	if (x->generation)
		exchange_submit(x, &x->release, destroy);
	else
		destroy(x);
}

void exchange_work_begins(exchange *x)
{
	atomic_fetch_add(&x->references, 1);
	atomic_fetch_add(&x->server->n_working, 1);
}

void exchange_work_ends(exchange *x)
{
	server *s = x->server;
	drop(x);
	atomic_fetch_sub(&s->n_working, 1);
}

void exchange_release(exchange *x) { drop(x); }

void exchange_suspend(exchange *x)
{
	x->suspended = true;
	MHD_suspend_connection(x->http);
}

void exchange_wake(exchange *x)
{
	if (!x->suspended)
		return;
	x->suspended = false;
	MHD_resume_connection(x->http);
}

bool exchange_is_due(const exchange *x, uint64_t now_ns) { return now_ns - x->told_ns >= TICK_NS; }

void exchange_tick(exchange *x, uint64_t now_ns)
{
	pthread_mutex_lock(&x->lock);
	if (x->ticks && (exchange_is_due(x, now_ns) || atomic_load(&x->server->stopping)))
		exchange_wake(x);
	pthread_mutex_unlock(&x->lock);
}

void exchange_abandon(exchange *x, bool gone)
{
	pthread_mutex_lock(&x->lock);
	bool news = gone ? !x->gone : !x->abandoned;
	x->abandoned = true;
	x->gone |= gone;
	generation *g = x->generation;
	if (x->ticks)
		exchange_wake(x);
	pthread_mutex_unlock(&x->lock);
	if (news && g)
		generation_cancel(g);
}

void exchange_submit(exchange *x, job *j, void (*run)(exchange *x))
{
	j->run = run;
	j->x = x;
	work_add(&x->server->work, j);
}
