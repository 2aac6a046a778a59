/* node.h - the processes of one job and the messages between them. Each process is a node; node 0 leads. MPI starts
 * the processes and carries the messages (transport/mpi.c). A build without MPI has one node (transport/none.c).
 *
 * All nodes make the same calls in the same order. One thread of a process calls at a time, not always the same one.
 * A call that waits polls, and sleeps when it has waited long.
 *
 * A node of which nothing is heard for some seconds is lost, and with it the job: every wait ends with
 * EVN_ERR_DEVICE, which names the node. */
#ifndef EVN_NODE_H
#define EVN_NODE_H

#include "base/base.h"

#define EVN_MAX_NODES 64

typedef struct evn_nodes evn_nodes;

/* The processes that a launcher (mpirun, srun) has started together with this one, itself included. 1: none did. */
uint32_t evn_nodes_launched(void);
/* Waits for all nodes. EVN_ERR_UNSUPPORTED in a build without MPI. Once in a process. */
evn_status evn_nodes_join(evn_nodes **out, evn_error *err);
/* Called once when a node is lost, also if no thread waits for it: by a thread of its own, or by evn_nodes_on_lost.
 */
typedef void (*evn_node_lost)(void *user, const evn_error *why);
void evn_nodes_on_lost(evn_nodes *n, evn_node_lost tell, void *user);
/* Waits for all nodes; call it when all of them do. NULL is accepted. */
void evn_nodes_leave(evn_nodes *n);
/* Ends the processes of all nodes at once, this one within two seconds even if the launcher cannot be reached. */
void evn_nodes_abort(evn_nodes *n, int exit_code) __attribute__((noreturn));

uint32_t evn_nodes_index(const evn_nodes *n); /* this node */
uint32_t evn_nodes_count(const evn_nodes *n);
const char *evn_nodes_host(const evn_nodes *n, uint32_t node);

/* What ends a wait before the other nodes have answered; NULL: nothing does. */
typedef struct {
	uint64_t deadline_ms;        /* 0: none. EVN_ERR_DEVICE with the name of a node that did not answer */
	bool (*give_up)(void *user); /* may be NULL; EVN_ERR_CANCELLED. Another thread may set what it reads */
	void *user;
} evn_node_wait;

/* Node 0's bytes come to all nodes. */
evn_status evn_nodes_broadcast(evn_nodes *n, void *data, uint64_t bytes, const evn_node_wait *wait, evn_error *err);
/* Every node has a part of `all`: bytes [begins[i], begins[i + 1]) of it are those of node i. Afterwards node 0 has
 * all parts. */
evn_status evn_nodes_gather(evn_nodes *n, void *all, const uint64_t *begins, const evn_node_wait *wait,
							evn_error *err);
/* Slots of `bytes` at multiples of `apart`. Slots [first[i], first[i + 1]) are those of node i, one bit of `used` for
 * each slot. Afterwards every node has all that are used. */
typedef struct {
	uint8_t *base;
	uint64_t apart, bytes, used;
	const uint32_t *first; /* (count + 1) */
} evn_node_slots;
evn_status evn_nodes_exchange(evn_nodes *n, const evn_node_slots *s, const evn_node_wait *wait, evn_error *err);

/* A message from one node to another, which goes on while both compute. Both name the other one; its messages arrive
 * in the order in which they were sent. A slot has one message at a time. The data must stay until the end, which
 * waits for it; a slot without a message has ended. */
#define EVN_NODE_PASSES 4
typedef struct {
	bool sends; /* or receives */
	uint32_t peer;
	void *data;
	uint64_t bytes;
} evn_node_pass;
evn_status evn_nodes_pass_begin(evn_nodes *n, uint32_t slot, const evn_node_pass *pass, evn_error *err);
evn_status evn_nodes_pass_end(evn_nodes *n, uint32_t slot, const evn_node_wait *wait, evn_error *err);

/* The mean time of n plain MPI_Allreduce calls of this length among all nodes, to compare with. */
evn_status evn_nodes_time_all_reduce(evn_nodes *nodes, uint64_t n_floats, uint32_t n, double *us, evn_error *err);

#endif
