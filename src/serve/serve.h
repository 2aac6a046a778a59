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

/* What is served. The caller frees it after serve_stop. */
typedef struct {
	const char *name;
	evn_model *model;
	evn_engine *engine;
	evn_scheduler *scheduler;
	evn_sample_options sampling; /* where a request says nothing */
	evn_chat_options chat;       /* template_text; variables_json, which a request adds to */
} serve_model;

typedef struct server server;

evn_status serve_start(server **out, const serve_options *o, evn_error *err);
const char *serve_url(const server *s); /* "http://127.0.0.1:8080" */
/* Copied; call it at most once. */
evn_status serve_set_model(server *s, const serve_model *m, evn_error *err);
/* Accepts no more requests, gives running answers grace_s to end, cancels the others, and frees the server. */
void serve_stop(server *s, double grace_s);

#endif
