/* serve.h - an HTTP server in the shape of OpenAI's API: completions, chat, models, tokens, metrics.
 *
 * It listens before there is a model; until serve_model every endpoint but the files answers 503. One thread moves
 * bytes (epoll, libmicrohttpd). Workers read requests: JSON, chat template, tokenizer. The scheduler's thread makes
 * the answers. A fourth thread watches the connections for clients that hang up or are too slow. */
#ifndef EVN_SERVE_H
#define EVN_SERVE_H

#include "evener/chat.h"
#include "evener/requests.h"

typedef struct {
	const char *host; /* an address or a name */
	uint16_t port;    /* 0: any that is free */
	const char *api_key_file;
	const char *cors; /* an origin whose pages may use the server, or "*"; NULL: none */
	uint64_t max_body_bytes;
	uint32_t max_connections;
	double receive_s; /* a whole request must have come by then */
} serve_options;

/* A model that is loaded. */
typedef struct {
	evn_model *model;
	evn_engine *engine;
	evn_scheduler *scheduler;
} serve_model;

#define EVN_MOST_MODELS 32 /* of a server */

/* A model that can be served. load and unload are called from any thread, one at a time for a model; unload also
 * after a load that failed. */
typedef struct {
	const char *name;    /* copied; for clients */
	evn_model_info info; /* of its file; the strings in it are not used */
	evn_status (*load)(void *user, serve_model *out, evn_error *err);
	void (*unload)(void *user);
	void *user;
} serve_entry;

typedef struct {
	const serve_entry *entries; /* (n > 0) the first one is loaded now, the others when they are asked for */
	size_t n;
	size_t most_loaded;          /* models at a time; 0: as many as memory holds */
	double idle_s;               /* a model that nobody has used for so long is unloaded; 0: only to make room */
	evn_sample_options sampling; /* where a request says nothing */
	evn_chat_options chat;       /* template_text; variables_json, which a request adds to */
} serve_catalog;

typedef struct server server;

evn_status serve_start(server **out, const serve_options *o, evn_error *err);
const char *serve_url(const server *s); /* "http://127.0.0.1:8080" */
/* Call it at most once. What loaded models need must live until serve_stop, which unloads them. */
evn_status serve_set_models(server *s, const serve_catalog *c, evn_error *err);
/* Accepts no more requests, gives running answers grace_s to end, cancels the others, and frees the server. */
void serve_stop(server *s, double grace_s);

#endif
