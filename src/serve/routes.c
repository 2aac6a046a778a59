/* routes.c - the table of paths. */
#include "serve/endpoints.h"
#include "serve/server.h"

#include <string.h>

static const route routes[] = {
	{"GET", "/", ROUTE_PUBLIC | ROUTE_EARLY, endpoint_page},
	{"GET", "/events", 0, endpoint_events},
	{"GET", "/health", ROUTE_PUBLIC | ROUTE_EARLY, endpoint_health},
	{"GET", "/openapi.json", ROUTE_EARLY, endpoint_openapi},
	{"GET", "/v1/models", 0, endpoint_models},
	{"GET", "/v1/models/", ROUTE_PREFIX, endpoint_model},
	{"POST", "/tokenize", ROUTE_WORK, endpoint_tokenize},
	{"POST", "/detokenize", ROUTE_WORK, endpoint_detokenize},
	{"GET", "/metrics", 0, endpoint_metrics},
	{"POST", "/apply-template", ROUTE_WORK, endpoint_apply_template},
	{"POST", "/v1/completions", ROUTE_WORK, endpoint_completions},
	{"POST", "/v1/embeddings", ROUTE_WORK, endpoint_embeddings},
	{"POST", "/v1/chat/completions", ROUTE_WORK, endpoint_chat},
	{"POST", "/v1/messages", ROUTE_WORK, endpoint_messages},
	{"POST", "/v1/responses", ROUTE_WORK, endpoint_responses},
	{"POST", "/v1/messages/count_tokens", ROUTE_WORK, endpoint_count_tokens},
};

static bool matches(const route *r, const char *path)
{
	if (r->flags & ROUTE_PREFIX)
		return strncmp(path, r->path, strlen(r->path)) == 0 && path[strlen(r->path)];
	return strcmp(path, r->path) == 0;
}

const route *route_find(const char *method, const char *path, const char **rest, const char **allow, problem *p)
{
	for (size_t i = 0; i < sizeof routes / sizeof *routes; i++) {
		const route *r = &routes[i];
		bool get = strcmp(r->method, "GET") == 0;
		if (!matches(r, path))
			continue;
		*rest = path + strlen(r->path);
		if (strcmp(method, r->method) == 0 || (get && strcmp(method, "HEAD") == 0))
			return r;
		*allow = get ? "GET, HEAD, OPTIONS" : "POST, OPTIONS";
		problem_set(p, 405, NULL, NULL, "%s %.100s: expected %s", method, path, r->method);
		return NULL;
	}
	problem_set(p, 404, NULL, NULL, "%.100s: no such path", path);
	return NULL;
}
