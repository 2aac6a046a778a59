/* connections.c - follows the connections: which ones are too slow with their request, and whose client has hung up
 * while the answer is made. libmicrohttpd looks at neither: it knows only the time since the last byte, and it does
 * not look at the socket of a suspended connection. So a thread looks ten times a second. It also wakes what tells
 * news every second. A client that shuts down its side of the connection has hung up. */
#include "serve/server.h"

#include <poll.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <time.h>

#define LOOK_EVERY_NS 100000000

connection *connection_of(struct MHD_Connection *http)
{
	const union MHD_ConnectionInfo *info = MHD_get_connection_info(http, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
	return info ? info->socket_context : NULL;
}

static void add(server *s, struct MHD_Connection *http, void **context)
{
	const union MHD_ConnectionInfo *info = MHD_get_connection_info(http, MHD_CONNECTION_INFO_CONNECTION_FD);
	connection *c = info ? calloc(1, sizeof *c) : NULL;
	*context = c;
	if (!c)
		return;
	c->fd = info->connect_fd;
	c->receiving = true;
	c->since_ns = evn_now_ns();
	pthread_mutex_lock(&s->lock);
	c->next = s->connections;
	if (c->next)
		c->next->previous = c;
	s->connections = c;
	pthread_mutex_unlock(&s->lock);
}

static void remove_connection(server *s, connection *c)
{
	pthread_mutex_lock(&s->lock);
	if (c->next)
		c->next->previous = c->previous;
	if (c->previous)
		c->previous->next = c->next;
	else
		s->connections = c->next;
	pthread_mutex_unlock(&s->lock);
	free(c);
}

void connection_notify(void *user, struct MHD_Connection *http, void **context,
					   enum MHD_ConnectionNotificationCode code)
{
	if (code == MHD_CONNECTION_NOTIFY_STARTED)
		add(user, http, context);
	else if (*context)
		remove_connection(user, *context);
}

void connection_received(server *s, connection *c, exchange *x)
{
	pthread_mutex_lock(&s->lock);
	c->receiving = false;
	c->exchange = x;
	pthread_mutex_unlock(&s->lock);
}

void connection_answered(server *s, connection *c)
{
	pthread_mutex_lock(&s->lock);
	c->receiving = true;
	c->since_ns = evn_now_ns();
	c->exchange = NULL;
	pthread_mutex_unlock(&s->lock);
}

/* What a client that has hung up leaves behind. libmicrohttpd overlooks the end of a connection that comes together
 * with a part of a request. An end is believed the second time, so that a whole request before it is read. */
static void hung_up(connection *c)
{
	if (c->exchange)
		exchange_abandon(c->exchange, true);
	else if (c->receiving && c->ended)
		shutdown(c->fd, SHUT_RDWR);
	c->ended = true;
}

static void look(server *s)
{
	uint64_t now = evn_now_ns();
	nfds_t n = 0;
	for (connection *c = s->connections; c && n < s->options.max_connections; c = c->next) {
		if (c->receiving && (double)(now - c->since_ns) > s->options.receive_s * 1e9)
			shutdown(c->fd, SHUT_RDWR); /* libmicrohttpd sees that and closes it */
		if (c->exchange)
			exchange_tick(c->exchange, now);
		s->polled[n] = (struct pollfd){.fd = c->fd, .events = POLLRDHUP};
		s->polled_of[n++] = c;
	}
	if (poll(s->polled, n, 0) <= 0)
		return;
	for (nfds_t i = 0; i < n; i++)
		if (s->polled[i].revents & (POLLRDHUP | POLLHUP | POLLERR))
			hung_up(s->polled_of[i]);
}

void *connections_watch(void *user)
{
	server *s = user;
	const struct timespec pause = {.tv_nsec = LOOK_EVERY_NS};
	while (!atomic_load(&s->watcher_stops)) {
		pthread_mutex_lock(&s->lock);
		look(s);
		pthread_mutex_unlock(&s->lock);
		nanosleep(&pause, NULL);
	}
	return NULL;
}

void connections_abandon(server *s)
{
	pthread_mutex_lock(&s->lock);
	for (connection *c = s->connections; c; c = c->next)
		if (c->exchange)
			exchange_abandon(c->exchange, false);
	pthread_mutex_unlock(&s->lock);
}
