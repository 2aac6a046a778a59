/* reply.h - what is answered: a status and a body, usually JSON. Errors have OpenAI's shape. */
#ifndef EVN_SERVE_REPLY_H
#define EVN_SERVE_REPLY_H

#include "serve/buffer.h"
#include <jansson.h>

/* Why a request is refused or failed. */
typedef struct {
	unsigned status;  /* of HTTP */
	const char *code; /* OpenAI's word, or NULL */
	char param[64];   /* the field of the request, or "" */
	char message[1024];
} problem;

/* Fills in p and returns false, so that a failure is one line. */
bool problem_set(problem *p, unsigned status, const char *code, const char *param, const char *fmt, ...)
	EVN_PRINTF(5, 6);
/* The library's failure as an answer: wrong use is the client's fault, all else the server's. */
bool problem_from(problem *p, const char *param, const evn_error *e);
json_t *problem_json(const problem *p); /* {"error": ...}; NULL: out of memory */

#define OUT_OF_MEMORY                                                                                                \
	"{\"error\":{\"message\":\"out of memory\",\"type\":\"server_error\",\"param\":null,\"code\":null}}"

typedef struct {
	unsigned status;
	const char *type; /* of the body */
	char *body;       /* malloc'd; NULL: none */
	size_t bytes;
	const char *allow; /* the methods that the path knows, where the one asked for is not among them */
	unsigned retry_after_s;
} reply;

void reply_json(reply *r, unsigned status, json_t *root); /* owns root; NULL: memory has run out */
void reply_problem(reply *r, const problem *p);
void reply_copy(reply *r, const char *type, const void *body, size_t bytes);

/* Appends a server-sent event; owns event, NULL: memory has run out. */
void reply_event(buffer *b, json_t *event);

/* Text whose bytes may be no UTF-8: U+FFFD stands for those. */
json_t *reply_text(const char *text, size_t n);
/* A logarithm of a probability; JSON has no infinity. */
json_t *reply_logprob(float value);

#endif
