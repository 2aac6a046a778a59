/* http.c - libmicrohttpd's callbacks: takes a request in, has it run, and sends the reply. */
#include "serve/generate.h"
#include "serve/server.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum { STREAM_BLOCK = 16384 };

static const char *header(exchange *x, const char *name)
{
	return MHD_lookup_connection_value(x->http, MHD_HEADER_KIND, name);
}

/* ---- sending --------------------------------------------------------------------------------------------------- */

static ssize_t read_stream(void *user, uint64_t position, char *to, size_t n)
{
	exchange *x = user;
	(void)position;
	return x->read(x, to, n);
}

static void add_cors(const exchange *x, struct MHD_Response *r)
{
	MHD_add_response_header(r, "Access-Control-Allow-Origin", x->origin);
	MHD_add_response_header(r, "Vary", "Origin");
	if (strcmp(x->method, "OPTIONS") != 0)
		return;
	MHD_add_response_header(r, "Access-Control-Allow-Methods", "GET, HEAD, POST, OPTIONS");
	MHD_add_response_header(r, "Access-Control-Allow-Headers", "Authorization, Content-Type, x-api-key");
	MHD_add_response_header(r, "Access-Control-Max-Age", "86400");
}

static void add_headers(const exchange *x, struct MHD_Response *r)
{
	char seconds[16];
	if (x->reply.type)
		MHD_add_response_header(r, "Content-Type", x->reply.type);
	if (x->reply.allow)
		MHD_add_response_header(r, "Allow", x->reply.allow);
	if (x->read) {
		MHD_add_response_header(r, "Cache-Control", "no-cache");
		MHD_add_response_header(r, "X-Accel-Buffering", "no"); /* asks proxies to pass on what comes at once */
	}
	if (x->reply.status == 401)
		MHD_add_response_header(r, "WWW-Authenticate", "Bearer");
	if (x->reply.retry_after_s) {
		snprintf(seconds, sizeof seconds, "%u", x->reply.retry_after_s);
		MHD_add_response_header(r, "Retry-After", seconds);
	}
	if (*x->origin)
		add_cors(x, r);
	if (x->close || atomic_load(&x->server->stopping))
		MHD_add_response_header(r, "Connection", "close");
}

static enum MHD_Result send_reply(exchange *x)
{
	struct MHD_Response *r;
	if (x->compose)
		x->compose(x);
	if (x->read)
		r = MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, STREAM_BLOCK, read_stream, x, NULL);
	else
		r = MHD_create_response_from_buffer(x->reply.bytes, x->reply.body, MHD_RESPMEM_PERSISTENT);
	if (!r)
		return MHD_NO;
	add_headers(x, r);
	enum MHD_Result result = MHD_queue_response(x->http, x->reply.status, r);
	MHD_destroy_response(r);
	return result;
}

/* ---- taking in ------------------------------------------------------------------------------------------------- */

static enum MHD_Result count(void *user, enum MHD_ValueKind kind, const char *name, const char *value)
{
	size_t *counts = user;
	(void)kind;
	(void)value;
	counts[0] += strcasecmp(name, "Content-Length") == 0;
	counts[1] += strcasecmp(name, "Transfer-Encoding") == 0;
	return MHD_YES;
}

/* Two lengths of one body are how a request hides in another before a proxy. */
static bool check_framing(exchange *x, problem *p)
{
	size_t counts[2] = {0};
	MHD_get_connection_values(x->http, MHD_HEADER_KIND, count, counts);
	const char *encoding = header(x, "Transfer-Encoding"), *length = header(x, "Content-Length");
	if (counts[0] + counts[1] > 1)
		return problem_set(p, 400, NULL, NULL, "expected one of Content-Length and Transfer-Encoding, found %zu",
						   counts[0] + counts[1]);
	if (encoding && strcasecmp(encoding, "chunked") != 0)
		return problem_set(p, 400, NULL, NULL, "Transfer-Encoding: expected chunked, found '%.60s'", encoding);
	if (length && strtoull(length, NULL, 10) > x->server->options.max_body_bytes)
		return problem_set(p, 413, NULL, NULL, "the body is larger than %" PRIu64 " bytes",
						   x->server->options.max_body_bytes);
	return true;
}

static bool check_browser(exchange *x, problem *p)
{
	const access_rules *a = &x->server->access;
	const char *host = header(x, "Host"), *origin = header(x, "Origin");
	if (!access_host_allowed(a, host, p) || !access_origin_allowed(a, origin, host, p))
		return false;
	if (origin && a->cors)
		snprintf(x->origin, sizeof x->origin, "%s", origin);
	return true;
}

/* Anthropic's clients send the key in a header of its own. */
static bool has_key(exchange *x, problem *p)
{
	const char *key = header(x, "x-api-key"), *authorization = header(x, "Authorization");
	char *bearer = key && !authorization ? evn_format("Bearer %s", key) : NULL;
	const bool has = access_has_key(&x->server->access, bearer ? bearer : authorization, p);
	free(bearer);
	return has;
}

/* What can be refused before the body comes. */
static bool check_head(exchange *x, problem *p)
{
	server *s = x->server;
	if (!check_framing(x, p) || !check_browser(x, p))
		return false;
	if (strcmp(x->method, "OPTIONS") != 0 && !(x->route && (x->route->flags & ROUTE_PUBLIC)) && !has_key(x, p))
		return false;
	if (!x->route)
		return true;
	if (atomic_load(&s->stopping))
		return problem_set(p, 503, NULL, NULL, "the server is stopping");
	if (!(x->route->flags & ROUTE_EARLY) && !atomic_load(&s->ready))
		return problem_set(p, 503, NULL, NULL, "the model is being loaded");
	return true;
}

static exchange *begin(server *s, struct MHD_Connection *http, const char *method, const char *path,
					   enum MHD_Result *result)
{
	exchange *x = exchange_create(s, http, method, path);
	if (!x)
		return NULL;
	problem p = {0}, unknown = {0};
	x->route = route_find(x->method, x->path, &x->rest, &x->reply.allow, &unknown);
	bool refused = !check_head(x, &p);
	if (!refused && !x->route && strcmp(method, "OPTIONS") != 0) {
		p = unknown;
		refused = true;
	}
	if (refused) {
		x->state = EXCHANGE_READY;
		x->close = header(x, "Content-Length") || header(x, "Transfer-Encoding");
		reply_problem(&x->reply, &p);
		*result = send_reply(x);
	}
	return x;
}

static void take(exchange *x, const char *data, size_t n)
{
	x->too_large |= n > x->server->options.max_body_bytes - x->body.used;
	if (x->too_large)
		buffer_free(&x->body); /* the rest is read and thrown away: an answer comes behind the whole request */
	else
		buffer_add(&x->body, data, n);
}

static void run(exchange *x)
{
	bool done = x->route->run(x);
	buffer_free(&x->body);
	if (!done)
		return;
	pthread_mutex_lock(&x->lock);
	exchange_wake(x);
	pthread_mutex_unlock(&x->lock);
}

static void run_as_work(exchange *x)
{
	if (!catalog_choose(x, run_as_work))
		return; /* it comes again when the model is loaded */
	run(x);
	exchange_work_ends(x);
}

/* What can be refused only when the whole request is there. */
static bool check_whole(const exchange *x, problem *p)
{
	if (atomic_load(&x->server->stopping))
		return problem_set(p, 503, NULL, NULL, "the server is stopping");
	if (x->too_large)
		return problem_set(p, 413, NULL, NULL, "the body is larger than %" PRIu64 " bytes",
						   x->server->options.max_body_bytes);
	return !x->body.failed || problem_set(p, 500, NULL, NULL, "out of memory");
}

static enum MHD_Result dispatch(exchange *x)
{
	problem p = {0};
	x->state = EXCHANGE_READY;
	if (!x->route) { /* OPTIONS */
		x->reply.status = 204;
		return send_reply(x);
	}
	if (!check_whole(x, &p)) {
		reply_problem(&x->reply, &p);
		return send_reply(x);
	}
	if (!(x->route->flags & ROUTE_WORK)) {
		x->route->run(x);
		return send_reply(x);
	}
	exchange_work_begins(x);
	pthread_mutex_lock(&x->lock);
	exchange_suspend(x);
	pthread_mutex_unlock(&x->lock);
	exchange_submit(x, &x->begin, run_as_work);
	return MHD_YES;
}

enum MHD_Result http_handle(void *user, struct MHD_Connection *http, const char *path, const char *method,
							const char *version, const char *data, size_t *bytes, void **request)
{
	server *s = user;
	exchange *x = *request;
	connection *c = connection_of(http);
	enum MHD_Result result = MHD_YES;
	(void)version;
	if (!c)
		return MHD_NO;
	if (!x) {
		*request = begin(s, http, method, path, &result);
		return *request ? result : MHD_NO;
	}
	if (*bytes > 0) {
		take(x, data, *bytes);
		*bytes = 0;
		return MHD_YES;
	}
	if (x->state != EXCHANGE_READING)
		return send_reply(x);
	connection_received(s, c, x);
	return dispatch(x);
}

static void log_answer(exchange *x, bool complete)
{
	char tokens[96] = "";
	pthread_mutex_lock(&x->lock);
	if (x->generation)
		generation_describe(x->generation, tokens, sizeof tokens);
	pthread_mutex_unlock(&x->lock);
	evn_log(EVN_LOG_INFO, "%s %.100s: %u%s, %.3f s%s", x->method, x->path, x->reply.status,
			complete ? "" : ", connection lost", (double)(evn_now_ns() - x->began_ns) * 1e-9, tokens);
}

void http_completed(void *user, struct MHD_Connection *http, void **request, enum MHD_RequestTerminationCode code)
{
	server *s = user;
	exchange *x = *request;
	connection *c = connection_of(http);
	*request = NULL;
	if (c)
		connection_answered(s, c);
	if (!x)
		return;
	log_answer(x, code == MHD_REQUEST_TERMINATED_COMPLETED_OK);
	exchange_abandon(x, true);
	exchange_release(x);
}
