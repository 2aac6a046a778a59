/* server.h - the parts of a running server. */
#ifndef EVN_SERVE_SERVER_H
#define EVN_SERVE_SERVER_H

#include "serve/access.h"
#include "serve/catalog.h"
#include "serve/exchange.h"
#include "serve/metrics.h"
#include "serve/work.h"

/* A connection of a client. It receives a request, or its exchange is answered. */
typedef struct connection {
	struct connection *next, *previous;
	int fd;
	uint64_t since_ns;     /* when the request could begin to come */
	bool receiving, ended; /* ended: the client sends no more */
	exchange *exchange;
} connection;

struct server {
	serve_options options;
	char url[128];
	access_rules access;
	struct MHD_Daemon *daemon;
	int listener;
	work_queue work;

	catalog catalog;
	int64_t created; /* Unix time */
	metrics metrics;
	atomic_bool ready, stopping;

	pthread_mutex_t lock; /* of the connections, and of what they say of their exchanges */
	connection *connections;
	struct pollfd *polled; /* (max_connections), with their connections */
	connection **polled_of;

	pthread_t watcher;
	bool has_watcher;
	atomic_bool watcher_stops;
	atomic_uint n_exchanges, n_working; /* alive; references of workers and the scheduler */
};

/* connections.c */
void connection_notify(void *user, struct MHD_Connection *http, void **context, enum MHD_ConnectionNotificationCode);
connection *connection_of(struct MHD_Connection *http);          /* NULL: it could not be followed */
void connection_received(server *s, connection *c, exchange *x); /* a whole request has come */
void connection_answered(server *s, connection *c);
void *connections_watch(void *server); /* the thread */
void connections_abandon(server *s);   /* ends the work on all exchanges */

/* http.c */
enum MHD_Result http_handle(void *user, struct MHD_Connection *http, const char *path, const char *method,
							const char *version, const char *data, size_t *bytes, void **request);
void http_completed(void *user, struct MHD_Connection *http, void **request, enum MHD_RequestTerminationCode code);

/* routes.c: the route, or NULL and what is wrong. *rest is what follows a prefix. */
const route *route_find(const char *method, const char *path, const char **rest, const char **allow, problem *p);

#endif
