/* wire.c - a switch between network namespaces with a delay and a rate, for kernels without netem: `wire DELAY_US
 * MBIT NAMESPACE...` makes the device eth0 in each namespace, prints "ready", and passes frames until it is killed.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

#define PORTS 8
#define FRAME_BYTES 65600
#define WAITING 4096 /* frames; more are dropped, as by a switch */
#define AT_ONCE 64

typedef struct {
	uint64_t due_ns;
	uint32_t bytes;
	uint8_t *data;
} frame;

typedef struct {
	int fd;
	uint8_t mac[6];
	uint64_t sends_until_ns;
	uint32_t first, n;
	frame waiting[WAITING]; /* a ring; what came from this port, in the order of due_ns */
} port;

static port ports[PORTS];
static int n_ports;
static uint64_t delay_ns, mbit;

static uint64_t now_ns(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static int open_port(port *p, const char *name)
{
	char path[128];
	struct ifreq r = {.ifr_flags = IFF_TAP | IFF_NO_PI};
	snprintf(path, sizeof path, "/var/run/netns/%s", name);
	snprintf(r.ifr_name, sizeof r.ifr_name, "eth0");
	const int space = open(path, O_RDONLY);
	if (space < 0 || setns(space, CLONE_NEWNET) != 0)
		return -1;
	close(space);
	p->fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK);
	return p->fd < 0 ? -1 : ioctl(p->fd, TUNSETIFF, &r);
}

/* Reads what a namespace sends. */
static void take(port *p)
{
	static uint8_t buffer[FRAME_BYTES];
	for (int i = 0; i < AT_ONCE; i++) {
		const ssize_t n = read(p->fd, buffer, sizeof buffer);
		if (n < 14)
			return;
		const uint64_t now = now_ns(), begins = p->sends_until_ns > now ? p->sends_until_ns : now;
		uint8_t *copy = p->n < WAITING ? malloc((size_t)n) : NULL;
		memcpy(p->mac, buffer + 6, sizeof p->mac);
		if (!copy)
			continue;
		memcpy(copy, buffer, (size_t)n);
		p->sends_until_ns = begins + (uint64_t)n * 8 * 1000 / mbit;
		p->waiting[(p->first + p->n++) % WAITING] = (frame){p->sends_until_ns + delay_ns, (uint32_t)n, copy};
	}
}

/* To the port that has the address; to all others if it is not known or a broadcast. */
static void pass(const port *from, const frame *f)
{
	int to = -1;
	for (int i = 0; i < n_ports; i++)
		if (memcmp(ports[i].mac, f->data, sizeof ports[i].mac) == 0)
			to = i;
	for (int i = 0; i < n_ports; i++)
		if (&ports[i] != from && (to < 0 || to == i) && write(ports[i].fd, f->data, f->bytes) < 0)
			continue; /* its device is down */
}

/* Passes the frames that are due. Returns when the next one is. */
static uint64_t deliver(void)
{
	uint64_t next = UINT64_MAX;
	for (int i = 0; i < n_ports; i++) {
		port *p = &ports[i];
		while (p->n && p->waiting[p->first].due_ns <= now_ns()) {
			pass(p, &p->waiting[p->first]);
			free(p->waiting[p->first].data);
			p->first = (p->first + 1) % WAITING;
			p->n--;
		}
		if (p->n && p->waiting[p->first].due_ns < next)
			next = p->waiting[p->first].due_ns;
	}
	return next;
}

int main(int argc, char **argv)
{
	struct pollfd polled[PORTS];
	delay_ns = argc > 3 ? strtoull(argv[1], NULL, 10) * 1000 : 0;
	mbit = argc > 3 ? strtoull(argv[2], NULL, 10) : 0;
	for (n_ports = 0; mbit && n_ports < argc - 3 && n_ports < PORTS; n_ports++) {
		if (open_port(&ports[n_ports], argv[n_ports + 3]) < 0) {
			fprintf(stderr, "%s: no device eth0: %s\n", argv[n_ports + 3], strerror(errno));
			return 77;
		}
		polled[n_ports] = (struct pollfd){.fd = ports[n_ports].fd, .events = POLLIN};
	}
	if (!n_ports)
		return 2;
	prctl(PR_SET_TIMERSLACK, 1ul, 0ul, 0ul, 0ul);
	printf("ready\n");
	fflush(stdout);
	for (;;) {
		const uint64_t next = deliver(), now = now_ns(), wait = next > now ? next - now : 0;
		const struct timespec limit = {.tv_sec = (time_t)(wait / 1000000000), .tv_nsec = (long)(wait % 1000000000)};
		if (ppoll(polled, (nfds_t)n_ports, next == UINT64_MAX ? NULL : &limit, NULL) < 0 && errno != EINTR)
			return 1;
		for (int i = 0; i < n_ports; i++)
			if (polled[i].revents & POLLIN)
				take(&ports[i]);
	}
}
