/* exchange.h - one HTTP request and its answer, and who works on it.
 *
 * The HTTP thread makes it when the headers are there, and owns one reference until the connection is done with it.
 * Each job that waits for a worker and each request of the scheduler has another. While others work, the connection
 * is suspended; exchange_wake lets the HTTP thread go on. */
#ifndef EVN_SERVE_EXCHANGE_H
#define EVN_SERVE_EXCHANGE_H

#include "evener.h"
#include "serve/buffer.h"
#include "serve/reply.h"
#include "serve/serve.h"

#include <microhttpd.h>
#include <pthread.h>
#include <stdatomic.h>

typedef struct exchange exchange;

typedef struct job {
	struct job *next;
	void (*run)(exchange *x);
	exchange *x;
} job;

enum {
	ROUTE_PUBLIC = 1 << 0, /* needs no API key */
	ROUTE_EARLY = 1 << 1,  /* answers while the model is loaded */
	ROUTE_PREFIX = 1 << 2, /* the path goes on; x->rest is what follows */
	ROUTE_WORK = 1 << 3,   /* has a body and is run by a worker, else by the HTTP thread */
};

typedef struct {
	const char *method, *path;
	unsigned flags;
	/* Sets x->reply and returns true; or false, if somebody else will do so and call exchange_wake. */
	bool (*run)(exchange *x);
} route;

typedef enum { EXCHANGE_READING, EXCHANGE_READY } exchange_state;

typedef struct generation generation;

struct exchange {
	server *server;
	struct MHD_Connection *http;
	const route *route; /* NULL: refused before it was known */
	char method[8], path[128];
	const char *rest; /* in path */
	char origin[128]; /* of an allowed page, or "" */
	uint64_t began_ns;
	exchange_state state; /* of the HTTP thread */
	bool too_large, close;
	buffer body;
	reply reply;
	/* For an answer whose body comes piece by piece: writes what is there, as a libmicrohttpd content reader does. */
	ssize_t (*read)(exchange *x, char *to, size_t n);
	struct served_model *served; /* the model that it uses (catalog.h) */
	problem model_problem;       /* why it could not be loaded; status 0: it could */
	exchange *next_waiting;      /* for the same model */
	void (*again)(exchange *x);
	void (*compose)(exchange *x); /* sets the reply once everybody has worked, in the HTTP thread; NULL: it is set */

	pthread_mutex_t lock; /* of what follows */
	bool suspended;
	bool ticks;           /* the watcher wakes it once a second (exchange_tick) */
	uint64_t told_ns;     /* when it told news last */
	bool abandoned, gone; /* no work is to begin for it; nor does anybody wait for the answer */
	generation *generation;

	atomic_uint references;
	job begin, more, release;
};

/* The reference is of the HTTP thread. NULL: out of memory. */
exchange *exchange_create(server *s, struct MHD_Connection *http, const char *method, const char *path);
void exchange_work_begins(exchange *x); /* another reference */
void exchange_work_ends(exchange *x);
void exchange_release(exchange *x); /* that of the HTTP thread */

/* Stops the HTTP thread's work on the connection, inside one of its callbacks. With x->lock held. */
void exchange_suspend(exchange *x);
/* Lets it go on. With x->lock held. */
void exchange_wake(exchange *x);
/* A second has passed since it told news. With x->lock held. */
bool exchange_is_due(const exchange *x, uint64_t now_ns);
/* Wakes it if it ticks and is due, or the server stops. */
void exchange_tick(exchange *x, uint64_t now_ns);
/* Ends the work on it: the client is gone, or the server stops. */
void exchange_abandon(exchange *x, bool gone);

/* A worker runs the job later. It was zero or has run. */
void exchange_submit(exchange *x, job *j, void (*run)(exchange *x));

#endif
