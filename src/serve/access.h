/* access.h - who may use the server: API keys, and which web pages' browsers. */
#ifndef EVN_SERVE_ACCESS_H
#define EVN_SERVE_ACCESS_H

#include "serve/reply.h"

typedef struct {
	char *text;  /* of the key file; keys point into it */
	char **keys; /* NULL: everybody may */
	size_t n_keys;
	const char *cors, *host;
	bool loopback; /* only this machine reaches the server */
} access_rules;

/* Reads the keys, one a line. A file that other users can read is refused. path may be NULL. */
evn_status access_read_keys(access_rules *a, const char *path, evn_error *err);
void access_free(access_rules *a);

/* `authorization` is the header "Bearer KEY" or NULL. Takes the same time whichever key is wrong where. */
bool access_has_key(const access_rules *a, const char *authorization, problem *p);
/* Without a key, a page in a browser must not reach the server by a name that its author can point to this machine.
 * host: the header. */
bool access_host_allowed(const access_rules *a, const char *host, problem *p);
/* origin: the header that browsers send with requests of pages, or NULL. */
bool access_origin_allowed(const access_rules *a, const char *origin, const char *host, problem *p);

#endif
