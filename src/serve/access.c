/* access.c - see access.h. */
#include "serve/access.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

enum { MAX_KEY_FILE = 65536 };

static evn_status check_mode(const char *path, evn_error *err)
{
	struct stat st;
	if (stat(path, &st) != 0)
		return evn_fail(err, EVN_ERR_FILE, "%s: %s", path, strerror(errno));
	if (st.st_mode & (S_IRWXG | S_IRWXO))
		return evn_fail(err, EVN_ERR_FILE, "%s: other users may read or write it (mode %03o); expected mode 600",
						path, (unsigned)st.st_mode & 0777);
	return EVN_OK;
}

static char *trim(char *line)
{
	line += strspn(line, " \t\r");
	for (size_t n = strlen(line); n > 0 && strchr(" \t\r", line[n - 1]); n--)
		line[n - 1] = 0;
	return line;
}

evn_status access_read_keys(access_rules *a, const char *path, evn_error *err)
{
	if (!path)
		return EVN_OK;
	size_t bytes = 0, lines = 1;
	EVN_TRY(check_mode(path, err));
	EVN_TRY(evn_read_file(&a->text, &bytes, path, MAX_KEY_FILE, err));
	for (size_t i = 0; i < bytes; i++)
		lines += a->text[i] == '\n';
	a->keys = calloc(lines, sizeof *a->keys);
	if (!a->keys)
		return evn_fail_memory(err, path, 0);
	for (char *rest = a->text, *line; (line = strsep(&rest, "\n"));)
		if (*(line = trim(line)))
			a->keys[a->n_keys++] = line;
	return a->n_keys ? EVN_OK : evn_fail(err, EVN_ERR_FORMAT, "%s: expected an API key on a line, found none", path);
}

void access_free(access_rules *a)
{
	if (a->text)
		explicit_bzero(a->text, strlen(a->text));
	free(a->text);
	free(a->keys);
	*a = (access_rules){0};
}

/* The time depends on the text that was sent, not on the key. */
static bool same(const char *sent, size_t n, const char *key)
{
	size_t length = strlen(key);
	unsigned different = n != length;
	for (size_t i = 0; i < n; i++)
		different |= (unsigned char)(sent[i] ^ key[i % length]);
	return different == 0;
}

bool access_has_key(const access_rules *a, const char *authorization, problem *p)
{
	if (!a->keys)
		return true;
	bool bearer = authorization && strncasecmp(authorization, "Bearer ", 7) == 0, found = false;
	const char *sent = bearer ? authorization + 7 : "";
	for (size_t i = 0; i < a->n_keys; i++)
		found |= same(sent, strlen(sent), a->keys[i]);
	return found || problem_set(p, 401, "invalid_api_key", NULL, "%s",
								bearer ? "the API key is not known"
									   : "expected the header 'Authorization: Bearer KEY', found none");
}

static bool ends_in(const char *text, const char *end)
{
	size_t n = strlen(text), m = strlen(end);
	return n > m && strcasecmp(text + n - m, end) == 0;
}

static bool is_address(const char *host)
{
	unsigned char address[sizeof(struct in6_addr)];
	return inet_pton(AF_INET, host, address) == 1 || inet_pton(AF_INET6, host, address) == 1;
}

/* "name:80", "[::1]:80" or either without the port, to the name. */
static void host_name(char *to, size_t size, const char *host)
{
	bool bracket = *host == '[';
	snprintf(to, size, "%s", host + bracket);
	to[strcspn(to, bracket ? "]" : ":")] = 0;
}

bool access_host_allowed(const access_rules *a, const char *host, problem *p)
{
	char name[256];
	if (a->keys || !a->loopback || !host)
		return true;
	host_name(name, sizeof name, host);
	if (is_address(name) || strcasecmp(name, "localhost") == 0 || strcasecmp(name, a->host) == 0 ||
		ends_in(name, ".localhost") || ends_in(name, ".internal"))
		return true;
	return problem_set(p, 403, "host_not_allowed", NULL,
					   "Host: expected localhost or an address, found '%.60s'; other names need --api-key-file",
					   name);
}

bool access_origin_allowed(const access_rules *a, const char *origin, const char *host, problem *p)
{
	if (!origin || (a->cors && (strcmp(a->cors, "*") == 0 || strcmp(a->cors, origin) == 0)))
		return true;
	const char *name = strstr(origin, "://");
	if (name && host && strcasecmp(name + 3, host) == 0)
		return true; /* a page of this server */
	return problem_set(p, 403, "origin_not_allowed", NULL,
					   "Origin: '%.60s' is not allowed; evener serve --cors ORIGIN allows one", origin);
}
