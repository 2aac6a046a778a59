/* catalog.h - the models that a server has. The first one is loaded at the start, the others when a request asks for
 * them; one that nobody uses makes room, or goes after a while. A thread loads and unloads. Meanwhile requests wait
 * without a worker, and others are answered by the models that are there.
 *
 * An exchange uses one model from before its route runs until it is destroyed. A model in use is never unloaded. But
 * if all stay in use while another one is waited for, one of them gets no new requests until it has made room. */
#ifndef EVN_SERVE_CATALOG_H
#define EVN_SERVE_CATALOG_H

#include "serve/exchange.h"

typedef enum { MODEL_UNLOADED, MODEL_CHANGES, MODEL_LOADED } model_state;

typedef struct served_model {
	serve_entry entry;
	char *name;
	model_state state;          /* the catalog's lock guards this, and what follows */
	serve_model m;              /* while it is loaded */
	evn_vocabulary *vocabulary; /* NULL until a request has a grammar */
	uint32_t n_users;
	uint64_t used_ns;   /* when it was used last */
	exchange *waiting;  /* for it to be loaded; the latest first */
	uint64_t wanted_ns; /* since when some wait */
} served_model;

typedef struct {
	pthread_mutex_t lock;
	pthread_cond_t changed;
	served_model *models; /* (n) the first one is meant where a request names none */
	size_t n;
	serve_catalog options;
	json_t *chat_variables;      /* an object, or NULL */
	served_model *draining;      /* it gets no new requests, so that it can make room; or NULL */
	evn_scheduler_stats retired; /* counts of models that were unloaded */
	pthread_t thread;
	bool has_thread, stops;
} catalog;

/* Loads the first model. */
evn_status catalog_start(server *s, const serve_catalog *c, evn_error *err);
void catalog_stop(server *s); /* no more loading; who waits is answered */
void catalog_free(server *s); /* unloads all */

/* Before a route with a body runs: finds the model that the body names. False: it must be loaded; the exchange is
 * submitted again. */
bool catalog_choose(exchange *x, void (*again)(exchange *x));
/* Whether the request, which names this model or none (NULL), has it: else 404, or why it could not be loaded. */
bool catalog_check(const exchange *x, const char *name, problem *p);
void catalog_release(exchange *x);

/* For a look from outside: the model keeps loaded until it is put back. NULL: it is not loaded. */
served_model *catalog_look(server *s, size_t i);
void catalog_look_away(server *s, served_model *m);
served_model *catalog_look_latest(server *s); /* the loaded one that was used last */
/* The counters of all models, since the start, and what they do now. ranks is not filled in. */
evn_scheduler_stats catalog_stats(server *s);

#endif
