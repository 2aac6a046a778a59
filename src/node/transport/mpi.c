/* mpi.c - the nodes of a job on MPI-3.1. Only this file sees MPI. Messages are sent from node to node without
 * waiting; one loop waits for all of them, so a wait can end by its deadline. */
#include <mpi.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <time.h>

#include "node/node.h"

#define HOST_BYTES 256
#define MOST_REQUESTS 512
#define POLL_NS 50000u /* polls without a pause this long: a message takes as long between two machines */
#define NAP_NS                                                                                                       \
	10000 /* then sleeps between polls, because on a busy machine a thread that polls loses whole time slices */
#define IDLE_NS 1000000000u /* after this time the naps are LONG_NAP_NS */
#define LONG_NAP_NS 1000000

enum { TAG_BROADCAST = 1, TAG_GATHER, TAG_EXCHANGE };

struct evn_nodes {
	MPI_Comm comm;
	uint32_t index, count;
	char (*hosts)[HOST_BYTES];
};

/* Messages under way, and the node at the other end of each. */
typedef struct {
	int n;
	MPI_Request requests[MOST_REQUESTS];
	MPI_Status statuses[MOST_REQUESTS];
	uint32_t peers[MOST_REQUESTS];
} under_way;

static evn_status check(int code, const char *call, evn_error *err)
{
	char text[MPI_MAX_ERROR_STRING] = "";
	int length;
	if (code == MPI_SUCCESS)
		return EVN_OK;
	MPI_Error_string(code, text, &length);
	return evn_fail(err, EVN_ERR_DEVICE, "%s: %.300s", call, text);
}

/* ---- beginning and end ----------------------------------------------------------------------------------------- */

static evn_status begin(evn_nodes *n, evn_error *err)
{
	int provided, index, count, length;
	char host[MPI_MAX_PROCESSOR_NAME] = "", own[HOST_BYTES] = "";
	EVN_TRY(check(MPI_Init_thread(NULL, NULL, MPI_THREAD_SERIALIZED, &provided), "MPI_Init_thread", err));
	if (provided < MPI_THREAD_SERIALIZED)
		return evn_fail(err, EVN_ERR_UNSUPPORTED,
						"this MPI lets only one thread call it: expected MPI_THREAD_SERIALIZED");
	MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN);
	EVN_TRY(check(MPI_Comm_dup(MPI_COMM_WORLD, &n->comm), "MPI_Comm_dup", err));
	MPI_Comm_set_errhandler(n->comm, MPI_ERRORS_RETURN);
	MPI_Comm_rank(n->comm, &index);
	MPI_Comm_size(n->comm, &count);
	n->index = (uint32_t)index;
	n->count = (uint32_t)count;
	if (n->count > EVN_MAX_NODES)
		return evn_fail(err, EVN_ERR_LIMIT, "%u processes, at most %d can share a model", n->count, EVN_MAX_NODES);
	n->hosts = calloc(n->count, sizeof *n->hosts);
	if (!n->hosts)
		return evn_fail_memory(err, "names of nodes", n->count * sizeof *n->hosts);
	MPI_Get_processor_name(host, &length);
	snprintf(own, sizeof own, "%.200s", host);
	return check(MPI_Allgather(own, HOST_BYTES, MPI_BYTE, n->hosts, HOST_BYTES, MPI_BYTE, n->comm), "MPI_Allgather",
				 err);
}

evn_status evn_nodes_join(evn_nodes **out, evn_error *err)
{
	evn_nodes *n = *out = calloc(1, sizeof *n);
	if (!n)
		return evn_fail_memory(err, "nodes", sizeof *n);
	n->comm = MPI_COMM_WORLD;
	return begin(n, err);
}

void evn_nodes_leave(evn_nodes *n)
{
	if (!n)
		return;
	MPI_Finalize();
	free(n->hosts);
	free(n);
}

void evn_nodes_abort(evn_nodes *n, int exit_code)
{
	MPI_Abort(n->comm, exit_code);
	exit(exit_code);
}

uint32_t evn_nodes_index(const evn_nodes *n) { return n->index; }
uint32_t evn_nodes_count(const evn_nodes *n) { return n->count; }
const char *evn_nodes_host(const evn_nodes *n, uint32_t node) { return n->hosts[node]; }

/* ---- waiting --------------------------------------------------------------------------------------------------- */

static void pause_after(uint64_t waited_ns)
{
	static _Thread_local bool precise;
	if (waited_ns < POLL_NS)
		return;
	if (!precise) /* the system may make each nap 50 us longer, to wake several threads at once */
		precise = prctl(PR_SET_TIMERSLACK, 1ul, 0ul, 0ul, 0ul) == 0;
	nanosleep(&(struct timespec){.tv_nsec = waited_ns < IDLE_NS ? NAP_NS : LONG_NAP_NS}, NULL);
}

static evn_status fail_late(const evn_nodes *n, under_way *u, uint64_t ms, evn_error *err)
{
	uint32_t late = n->index;
	for (int i = 0, done; i < u->n && late == n->index; i++)
		if (MPI_Request_get_status(u->requests[i], &done, MPI_STATUS_IGNORE) == MPI_SUCCESS && !done)
			late = u->peers[i];
	return evn_fail(err, EVN_ERR_DEVICE, "node %u (%s) did not answer within %.1f s", late, n->hosts[late],
					(double)ms / 1000);
}

/* Waits for all messages under way. If it fails they stay so, and the job can only end. */
static evn_status finish(const evn_nodes *n, under_way *u, const evn_node_wait *wait, evn_error *err)
{
	const uint64_t began = evn_now_ns();
	for (int done = 0;;) {
		EVN_TRY(check(MPI_Testall(u->n, u->requests, &done, u->statuses), "MPI_Testall", err));
		if (done)
			return EVN_OK;
		const uint64_t waited = evn_now_ns() - began;
		if (wait && wait->give_up && wait->give_up(wait->user))
			return evn_fail(err, EVN_ERR_CANCELLED, "the wait for other nodes was ended");
		if (wait && wait->deadline_ms && waited > wait->deadline_ms * 1000000)
			return fail_late(n, u, wait->deadline_ms, err);
		pause_after(waited);
	}
}

/* ---- messages -------------------------------------------------------------------------------------------------- */

static evn_status add(evn_nodes *n, under_way *u, bool send, void *data, uint64_t bytes, uint32_t peer, int tag,
					  evn_error *err)
{
	MPI_Request *r = &u->requests[u->n];
	if (bytes > INT32_MAX || u->n == MOST_REQUESTS)
		return evn_fail(err, EVN_ERR_LIMIT, "a message of %llu bytes between nodes is too long",
						(unsigned long long)bytes);
	u->peers[u->n++] = peer;
	return send ? check(MPI_Isend(data, (int)bytes, MPI_BYTE, (int)peer, tag, n->comm, r), "MPI_Isend", err)
				: check(MPI_Irecv(data, (int)bytes, MPI_BYTE, (int)peer, tag, n->comm, r), "MPI_Irecv", err);
}

evn_status evn_nodes_broadcast(evn_nodes *n, void *data, uint64_t bytes, const evn_node_wait *wait, evn_error *err)
{
	under_way u;
	u.n = 0;
	for (uint32_t i = 1; i < n->count; i++)
		if (n->index == 0 || n->index == i)
			EVN_TRY(add(n, &u, n->index == 0, data, bytes, n->index == 0 ? i : 0, TAG_BROADCAST, err));
	return finish(n, &u, wait, err);
}

evn_status evn_nodes_gather(evn_nodes *n, void *all, const uint64_t *begins, const evn_node_wait *wait,
							evn_error *err)
{
	under_way u;
	u.n = 0;
	for (uint32_t i = 1; i < n->count; i++)
		if ((n->index == 0 || n->index == i) && begins[i] < begins[i + 1])
			EVN_TRY(add(n, &u, n->index != 0, (uint8_t *)all + begins[i], begins[i + 1] - begins[i],
						n->index == 0 ? i : 0, TAG_GATHER, err));
	return finish(n, &u, wait, err);
}

evn_status evn_nodes_exchange(evn_nodes *n, const evn_node_slots *s, const evn_node_wait *wait, evn_error *err)
{
	under_way u;
	u.n = 0;
	for (uint32_t peer = 0; peer < n->count; peer++) {
		if (peer == n->index)
			continue;
		for (uint32_t slot = s->first[peer]; slot < s->first[peer + 1]; slot++)
			if (s->used >> slot & 1)
				EVN_TRY(add(n, &u, false, s->base + slot * s->apart, s->bytes, peer, TAG_EXCHANGE, err));
		for (uint32_t slot = s->first[n->index]; slot < s->first[n->index + 1]; slot++)
			if (s->used >> slot & 1)
				EVN_TRY(add(n, &u, true, s->base + slot * s->apart, s->bytes, peer, TAG_EXCHANGE, err));
	}
	return finish(n, &u, wait, err);
}

evn_status evn_nodes_time_all_reduce(evn_nodes *nodes, uint64_t n_floats, uint32_t n, double *us, evn_error *err)
{
	float *from = calloc(2 * n_floats + 1, sizeof *from);
	if (!from)
		return evn_fail_memory(err, "messages", 2 * n_floats * sizeof *from);
	int code = MPI_Barrier(nodes->comm);
	const uint64_t began = evn_now_ns();
	for (uint32_t i = 0; i < n && code == MPI_SUCCESS; i++)
		code = MPI_Allreduce(from, from + n_floats, (int)n_floats, MPI_FLOAT, MPI_SUM, nodes->comm);
	*us = n ? (double)(evn_now_ns() - began) * 1e-3 / n : 0;
	free(from);
	return check(code, "MPI_Allreduce", err);
}
