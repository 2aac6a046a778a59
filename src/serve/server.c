/* server.c - starts and stops the server: its socket, its threads, its model. */
#include "serve/server.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define HEADER_BYTES 65536 /* of a request, and the block of an answer */
#define IDLE_S 60          /* a client that takes nothing of its answer */
#define FLUSH_S 0.5        /* for the last bytes of answers that were cancelled */
#define LOOK_EVERY_NS 5000000

/* ---- the socket ------------------------------------------------------------------------------------------------ */

static bool is_loopback(const struct sockaddr *a)
{
	if (a->sa_family == AF_INET)
		return (ntohl(((const struct sockaddr_in *)a)->sin_addr.s_addr) >> 24) == 127;
	return a->sa_family == AF_INET6 && IN6_IS_ADDR_LOOPBACK(&((const struct sockaddr_in6 *)a)->sin6_addr);
}

static int open_listener(const struct addrinfo *a)
{
	int fd = socket(a->ai_family, a->ai_socktype | SOCK_CLOEXEC | SOCK_NONBLOCK, a->ai_protocol), on = 1;
	if (fd < 0)
		return -1;
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
	if (bind(fd, a->ai_addr, a->ai_addrlen) == 0 && listen(fd, SOMAXCONN) == 0)
		return fd;
	int code = errno;
	close(fd);
	errno = code;
	return -1;
}

static void name_url(server *s)
{
	struct sockaddr_storage bound;
	socklen_t n = sizeof bound;
	uint16_t port = s->options.port;
	if (getsockname(s->listener, (struct sockaddr *)&bound, &n) == 0) {
		port = ntohs(bound.ss_family == AF_INET6 ? ((struct sockaddr_in6 *)&bound)->sin6_port
												 : ((struct sockaddr_in *)&bound)->sin_port);
		s->access.loopback = is_loopback((struct sockaddr *)&bound);
	}
	bool bracket = strchr(s->options.host, ':') != NULL;
	snprintf(s->url, sizeof s->url, "http://%s%.80s%s:%u", bracket ? "[" : "", s->options.host, bracket ? "]" : "",
			 port);
}

static evn_status listen_on(server *s, evn_error *err)
{
	char port[8];
	struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE | AI_NUMERICSERV}, *found = NULL;
	snprintf(port, sizeof port, "%u", s->options.port);
	int code = getaddrinfo(s->options.host, port, &hints, &found);
	if (code != 0)
		return evn_fail(err, EVN_ERR_USAGE, "--host %s: %s", s->options.host, gai_strerror(code));
	s->listener = -1;
	for (const struct addrinfo *a = found; a && s->listener < 0; a = a->ai_next)
		s->listener = open_listener(a);
	code = errno;
	freeaddrinfo(found);
	if (s->listener < 0)
		return evn_fail(err, EVN_ERR_FILE, "%s port %s: %s", s->options.host, port, strerror(code));
	name_url(s);
	return EVN_OK;
}

/* ---- starting -------------------------------------------------------------------------------------------------- */

static EVN_PRINTF(2, 0) void log_http(void *user, const char *fmt, va_list args)
{
	char line[512];
	(void)user;
	vsnprintf(line, sizeof line, fmt, args);
	line[strcspn(line, "\n")] = 0;
	evn_log(EVN_LOG_DEBUG, "HTTP: %s", line);
}

static evn_status start_daemon(server *s, evn_error *err)
{
	s->daemon =
		MHD_start_daemon(MHD_USE_EPOLL_INTERNAL_THREAD | MHD_ALLOW_SUSPEND_RESUME | MHD_USE_ERROR_LOG, 0, NULL, NULL,
						 http_handle, s, MHD_OPTION_EXTERNAL_LOGGER, log_http, NULL, MHD_OPTION_LISTEN_SOCKET,
						 s->listener, MHD_OPTION_CONNECTION_LIMIT, (unsigned)s->options.max_connections,
						 MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)HEADER_BYTES, MHD_OPTION_CONNECTION_TIMEOUT,
						 (unsigned)IDLE_S, MHD_OPTION_STRICT_FOR_CLIENT, 1, MHD_OPTION_NOTIFY_COMPLETED,
						 http_completed, s, MHD_OPTION_NOTIFY_CONNECTION, connection_notify, s, MHD_OPTION_END);
	return s->daemon ? EVN_OK : evn_fail(err, EVN_ERR_FILE, "the HTTP server does not start: %s", strerror(errno));
}

static evn_status start_threads(server *s, evn_error *err)
{
	EVN_TRY(work_start(&s->work, err));
	int code = pthread_create(&s->watcher, NULL, connections_watch, s);
	s->has_watcher = code == 0;
	return s->has_watcher ? EVN_OK : evn_fail(err, EVN_ERR_MEMORY, "a thread of the server: %s", strerror(code));
}

evn_status serve_start(server **out, const serve_options *o, evn_error *err)
{
	server *s = calloc(1, sizeof *s);
	*out = NULL;
	if (!s)
		return evn_fail_memory(err, "the server", sizeof *s);
	s->options = *o;
	s->listener = -1;
	s->access.cors = o->cors;
	s->access.host = o->host;
	s->created = (int64_t)time(NULL);
	json_object_seed(0); /* before there are threads */
	pthread_mutex_init(&s->lock, NULL);
	s->polled = calloc(o->max_connections, sizeof *s->polled);
	s->polled_of = calloc(o->max_connections, sizeof *s->polled_of);
	evn_status status = s->polled && s->polled_of ? EVN_OK : evn_fail_memory(err, "the server", 0);
	if (status == EVN_OK)
		status = access_read_keys(&s->access, o->api_key_file, err);
	if (status == EVN_OK)
		status = listen_on(s, err);
	if (status == EVN_OK)
		status = start_threads(s, err);
	if (status == EVN_OK)
		status = start_daemon(s, err);
	if (status == EVN_OK)
		*out = s;
	else
		serve_stop(s, 0);
	return status;
}

const char *serve_url(const server *s) { return s->url; }

evn_status serve_set_models(server *s, const serve_catalog *c, evn_error *err)
{
	EVN_TRY(catalog_start(s, c, err));
	atomic_store(&s->ready, true);
	return EVN_OK;
}

/* ---- stopping -------------------------------------------------------------------------------------------------- */

/* Waits until the count is 0, or for limit_s seconds; negative: without a limit. */
static void wait_for(const atomic_uint *count, double limit_s)
{
	const struct timespec pause = {.tv_nsec = LOOK_EVERY_NS};
	double began = evn_now_s();
	while (atomic_load(count) > 0 && (limit_s < 0 || evn_now_s() - began < limit_s))
		nanosleep(&pause, NULL);
}

static void stop_daemon(server *s, double grace_s)
{
	MHD_socket listener = MHD_quiesce_daemon(s->daemon);
	if (listener != MHD_INVALID_SOCKET) {
		close(listener);
		s->listener = -1;
	}
	wait_for(&s->n_exchanges, grace_s);
	connections_abandon(s);
	catalog_stop(s);
	wait_for(&s->n_working, -1);
	wait_for(&s->n_exchanges, FLUSH_S);
	MHD_stop_daemon(s->daemon);
}

void serve_stop(server *s, double grace_s)
{
	if (!s)
		return;
	atomic_store(&s->stopping, true);
	if (s->daemon)
		stop_daemon(s, grace_s);
	atomic_store(&s->watcher_stops, true);
	if (s->has_watcher)
		pthread_join(s->watcher, NULL);
	if (s->work.n_threads)
		work_stop(&s->work);
	if (s->listener >= 0)
		close(s->listener);
	access_free(&s->access);
	free(s->polled);
	free(s->polled_of);
	catalog_free(s);
	pthread_mutex_destroy(&s->lock);
	free(s);
}
