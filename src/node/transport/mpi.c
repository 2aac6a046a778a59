/* mpi.c - the nodes of a job on MPI-3.1. Only this file sees MPI. Messages are sent from node to node without
 * waiting; one loop waits for all of them, so a wait can end by its deadline.
 *
 * A thread of its own, the watcher, sends every other node a beat and notes which of them it hears, whatever the
 * other threads of the process do. MPI is called by one thread at a time, under `lock`. */
#include <mpi.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

#include "base/child.h"
#include "node/node.h"

#define HOST_BYTES 256
#define MOST_REQUESTS 512
#define POLL_NS 50000u /* polls without a pause this long: a message takes as long between two machines */
#define NAP_NS                                                                                                       \
	10000 /* then sleeps between polls, because on a busy machine a thread that polls loses whole time slices */
#define IDLE_NS 1000000000u /* after this time the naps are LONG_NAP_NS */
#define LONG_NAP_NS 1000000
#define BEAT_MS 500u
#define LEAVE_MS 1u      /* between beats while the nodes leave */
#define SILENCE_MS 6000u /* then a node is lost. The job must have ended after 10 s */
#define LATER_MS 1000u   /* the others wait longer than node 0, so that one node tells it */
#define ABORT_MS 1000u   /* MPI_Abort has this long to end the process */
#define FINALIZE_MS 6000u
#define BEATS_AT_ONCE 4096
#define PUSH_NS 200000 /* between looks at messages that travel while everybody computes */

enum { TAG_BROADCAST = 1, TAG_GATHER, TAG_EXCHANGE, TAG_BEAT, TAG_PASS };
enum { BEAT, LAST_BEAT };

/* What is known of another node. */
typedef struct {
	MPI_Request sending, receiving;
	uint8_t sent, received;
	bool told, gone; /* it was sent the last beat; it has sent its last one */
	uint32_t silent_ms;
} other;

/* Messages under way, and the node at the other end of each. */
typedef struct {
	int n;
	MPI_Request requests[MOST_REQUESTS];
	MPI_Status statuses[MOST_REQUESTS];
	uint32_t peers[MOST_REQUESTS];
} under_way;

/* Of one slot (evn_nodes_pass_begin). */
typedef struct {
	MPI_Request request;
	uint32_t peer;
} passing;

struct evn_nodes {
	MPI_Comm comm;
	uint32_t index, count;
	char (*hosts)[HOST_BYTES];
	pthread_mutex_t lock;
	pthread_cond_t changed; /* of leaves */
	pthread_t watcher;
	bool watches, leaves;
	other others[EVN_MAX_NODES];
	passing passes[EVN_NODE_PASSES];
	_Atomic(evn_node_lost) on_lost;
	void *user;
	atomic_int lost;  /* the number of a lost node, or -1 */
	atomic_bool told; /* on_lost was called */
	atomic_bool ends; /* what waits fails. Later than `lost`, as on_lost may end the process with one line */
};

static evn_status check(int code, const char *call, evn_error *err)
{
	char text[MPI_MAX_ERROR_STRING] = "";
	int length;
	if (code == MPI_SUCCESS)
		return EVN_OK;
	MPI_Error_string(code, text, &length);
	return evn_fail(err, EVN_ERR_DEVICE, "%s: %.300s", call, text);
}

/* ---- who is alive ---------------------------------------------------------------------------------------------- */

/* At most one beat to a node is under way: what does not pass must not pile up. */
static void send_beat(evn_nodes *n, uint32_t to)
{
	other *p = &n->others[to];
	int sent = 1;
	if (p->sending != MPI_REQUEST_NULL)
		MPI_Test(&p->sending, &sent, MPI_STATUS_IGNORE);
	if (!sent || p->told)
		return;
	p->sent = n->leaves ? LAST_BEAT : BEAT;
	p->told = n->leaves;
	MPI_Isend(&p->sent, 1, MPI_BYTE, (int)to, TAG_BEAT, n->comm, &p->sending);
}

static void hear_beats(evn_nodes *n, uint32_t from)
{
	other *p = &n->others[from];
	for (int i = 0, heard = 1; i < BEATS_AT_ONCE && heard && !p->gone; i++) {
		heard = 0;
		if (p->receiving != MPI_REQUEST_NULL && MPI_Test(&p->receiving, &heard, MPI_STATUS_IGNORE) != MPI_SUCCESS)
			return; /* it counts as silence */
		if (heard) {
			p->silent_ms = 0;
			p->gone = p->received == LAST_BEAT;
		}
		if (!p->gone && p->receiving == MPI_REQUEST_NULL)
			MPI_Irecv(&p->received, 1, MPI_BYTE, (int)from, TAG_BEAT, n->comm, &p->receiving);
	}
}

static uint32_t limit_ms(const evn_nodes *n) { return SILENCE_MS + (n->index ? LATER_MS : 0); }

/* One beat to and from everybody. True when all nodes have left. */
static bool beat(evn_nodes *n, uint32_t passed_ms)
{
	bool done = n->leaves;
	for (uint32_t i = 0; i < n->count; i++) {
		other *p = &n->others[i];
		int sent = 1;
		if (i == n->index)
			continue;
		p->silent_ms += passed_ms;
		send_beat(n, i);
		hear_beats(n, i);
		if (p->told && p->sending != MPI_REQUEST_NULL)
			MPI_Test(&p->sending, &sent, MPI_STATUS_IGNORE);
		done = done && p->told && sent && p->gone;
		if (!p->gone && p->silent_ms > limit_ms(n) && atomic_load(&n->lost) < 0)
			atomic_store(&n->lost, (int)i);
	}
	return done;
}

static evn_status fail_lost(const evn_nodes *n, evn_error *err)
{
	const int lost = atomic_load(&n->lost);
	return evn_fail(err, EVN_ERR_DEVICE,
					"node %d (%s) is lost: nothing was heard of it for %u s; its process or its machine has stopped, "
					"or the network is cut",
					lost, n->hosts[lost], limit_ms(n) / 1000);
}

static void tell_lost(evn_nodes *n)
{
	evn_error why;
	const evn_node_lost tell = atomic_load(&n->on_lost);
	if (atomic_load(&n->lost) < 0 || !tell || atomic_exchange(&n->told, true))
		return;
	fail_lost(n, &why);
	tell(n->user, &why);
}

/* MPI moves long messages only while somebody calls it. True if there are some. */
static bool push(evn_nodes *n)
{
	bool any = false;
	for (uint32_t i = 0; i < EVN_NODE_PASSES; i++) {
		int done = 1;
		if (n->passes[i].request != MPI_REQUEST_NULL &&
			MPI_Request_get_status(n->passes[i].request, &done, MPI_STATUS_IGNORE) == MPI_SUCCESS)
			any |= !done;
	}
	return any;
}

static bool is_before(const struct timespec *a, const struct timespec *b)
{
	return a->tv_sec != b->tv_sec ? a->tv_sec < b->tv_sec : a->tv_nsec < b->tv_nsec;
}

static struct timespec from_now(uint64_t ns)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	t.tv_nsec += (long)(ns % 1000000000);
	t.tv_sec += (time_t)(ns / 1000000000) + t.tv_nsec / 1000000000;
	t.tv_nsec %= 1000000000;
	return t;
}

/* Until the next beat, or until the nodes begin to leave. The lock is held, but while it waits. */
static void wait_for_beat(evn_nodes *n, uint32_t ms)
{
	const struct timespec until = from_now(ms * UINT64_C(1000000));
	for (const bool leaves = n->leaves; n->leaves == leaves;) {
		struct timespec next = until;
		if (push(n))
			next = from_now(PUSH_NS);
		const bool is_last = !is_before(&next, &until);
		if (pthread_cond_timedwait(&n->changed, &n->lock, is_last ? &until : &next) != 0 && is_last)
			break;
	}
}

/* Silence is counted in beats of this node. So a job that is stopped as a whole, and goes on later, has not lost
 * anybody. */
static void *watch(void *nodes)
{
	evn_nodes *n = nodes;
	pthread_mutex_lock(&n->lock);
	for (uint32_t ms = 0; !beat(n, ms) && atomic_load(&n->lost) < 0;) {
		ms = n->leaves ? LEAVE_MS : BEAT_MS;
		wait_for_beat(n, ms);
	}
	pthread_mutex_unlock(&n->lock);
	tell_lost(n);
	atomic_store(&n->ends, atomic_load(&n->lost) >= 0);
	return NULL;
}

static evn_status start_watching(evn_nodes *n, evn_error *err)
{
	for (uint32_t i = 0; i < n->count; i++)
		n->others[i].sending = n->others[i].receiving = MPI_REQUEST_NULL;
	for (uint32_t i = 0; i < EVN_NODE_PASSES; i++)
		n->passes[i].request = MPI_REQUEST_NULL;
	n->watches = n->count > 1 && pthread_create(&n->watcher, NULL, watch, n) == 0;
	return n->watches || n->count < 2 ? EVN_OK : evn_fail(err, EVN_ERR_MEMORY, "no thread to watch the nodes");
}

void evn_nodes_on_lost(evn_nodes *n, evn_node_lost tell, void *user)
{
	n->user = user;
	atomic_store(&n->on_lost, tell);
	tell_lost(n);
}

/* ---- beginning and end ----------------------------------------------------------------------------------------- */

static evn_status begin(evn_nodes *n, evn_error *err)
{
	int provided, index, count;
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
	for (uint32_t i = 0; n->hosts && i < n->count; i++) /* for one that is lost before it says its name */
		snprintf(n->hosts[i], HOST_BYTES, "unknown host");
	return n->hosts ? EVN_OK : evn_fail_memory(err, "names of nodes", n->count * sizeof *n->hosts);
}

static evn_status exchange_names(evn_nodes *n, evn_error *err)
{
	uint32_t first[EVN_MAX_NODES + 1];
	int length;
	char host[MPI_MAX_PROCESSOR_NAME] = "";
	for (uint32_t i = 0; i <= EVN_MAX_NODES; i++)
		first[i] = i;
	MPI_Get_processor_name(host, &length);
	snprintf(n->hosts[n->index], HOST_BYTES, "%.200s", host);
	const evn_node_slots names = {
		.base = (uint8_t *)n->hosts, .apart = HOST_BYTES, .bytes = HOST_BYTES, .used = UINT64_MAX, .first = first};
	return evn_nodes_exchange(n, &names, NULL, err);
}

evn_status evn_nodes_join(evn_nodes **out, evn_error *err)
{
	pthread_condattr_t monotonic;
	evn_nodes *n = *out = calloc(1, sizeof *n);
	if (!n)
		return evn_fail_memory(err, "nodes", sizeof *n);
	n->comm = MPI_COMM_WORLD;
	atomic_init(&n->on_lost, NULL);
	atomic_init(&n->lost, -1);
	pthread_condattr_init(&monotonic);
	pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
	pthread_mutex_init(&n->lock, NULL);
	pthread_cond_init(&n->changed, &monotonic);
	pthread_condattr_destroy(&monotonic);
	EVN_TRY(begin(n, err));
	EVN_TRY(start_watching(n, err));
	return exchange_names(n, err);
}

/* The end of this process, if MPI does not end it or return in time. */
typedef struct {
	uint32_t ms;
	int exit_code;
} end_by;

static void *end_later(void *arg)
{
	const end_by *e = arg;
	nanosleep(&(struct timespec){.tv_sec = e->ms / 1000}, NULL);
	_exit(e->exit_code);
}

/* If the network is cut, the launcher may not answer. */
static void finalize(void)
{
	pthread_t thread;
	end_by e = {FINALIZE_MS, EXIT_FAILURE};
	const bool guarded = pthread_create(&thread, NULL, end_later, &e) == 0;
	MPI_Finalize();
	if (!guarded)
		return;
	pthread_cancel(thread);
	pthread_join(thread, NULL);
}

/* The last beats are the barrier at which all nodes leave. Without a node that is lost MPI_Finalize would wait for
 * ever. */
void evn_nodes_leave(evn_nodes *n)
{
	if (!n)
		return;
	pthread_mutex_lock(&n->lock);
	n->leaves = true;
	pthread_cond_signal(&n->changed);
	pthread_mutex_unlock(&n->lock);
	if (n->watches)
		pthread_join(n->watcher, NULL);
	if (atomic_load(&n->lost) < 0)
		finalize();
	pthread_mutex_destroy(&n->lock);
	pthread_cond_destroy(&n->changed);
	free(n->hosts);
	free(n);
}

/* If the network is cut, MPI_Abort may wait for an answer of the launcher. A thread that hangs may have the lock. */
void evn_nodes_abort(evn_nodes *n, int exit_code)
{
	static end_by e = {.ms = ABORT_MS};
	pthread_t thread;
	struct timespec until;
	e.exit_code = exit_code;
	evn_children_kill();
	pthread_create(&thread, NULL, end_later, &e);
	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_nsec += 200000000;
	until.tv_sec += until.tv_nsec / 1000000000;
	until.tv_nsec %= 1000000000;
	pthread_mutex_timedlock(&n->lock, &until);
	MPI_Abort(n->comm, exit_code);
	_exit(exit_code);
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

static evn_status fail_late(evn_nodes *n, under_way *u, uint64_t ms, evn_error *err)
{
	uint32_t late = n->index;
	pthread_mutex_lock(&n->lock);
	for (int i = 0, done; i < u->n && late == n->index; i++)
		if (MPI_Request_get_status(u->requests[i], &done, MPI_STATUS_IGNORE) == MPI_SUCCESS && !done)
			late = u->peers[i];
	pthread_mutex_unlock(&n->lock);
	return evn_fail(err, EVN_ERR_DEVICE, "node %u (%s) did not answer within %.1f s", late, n->hosts[late],
					(double)ms / 1000);
}

static evn_status test_all(evn_nodes *n, under_way *u, int *done, evn_error *err)
{
	pthread_mutex_lock(&n->lock);
	int code = MPI_Testall(u->n, u->requests, done, u->statuses), at = 0;
	pthread_mutex_unlock(&n->lock);
	if (code != MPI_ERR_IN_STATUS)
		return check(code, "MPI_Testall", err);
	while (at + 1 < u->n &&
		   (u->statuses[at].MPI_ERROR == MPI_SUCCESS || u->statuses[at].MPI_ERROR == MPI_ERR_PENDING))
		at++;
	check(u->statuses[at].MPI_ERROR, "a message failed", err);
	return evn_fail_within(err, "node %u (%s)", u->peers[at], n->hosts[u->peers[at]]);
}

/* Waits for all messages under way. If it fails they stay so, and the job can only end. */
static evn_status finish(evn_nodes *n, under_way *u, const evn_node_wait *wait, evn_error *err)
{
	const uint64_t began = evn_now_ns();
	for (int done = 0;;) {
		EVN_TRY(test_all(n, u, &done, err));
		if (done)
			return EVN_OK;
		const uint64_t waited = evn_now_ns() - began;
		if (atomic_load(&n->ends))
			return fail_lost(n, err);
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
	pthread_mutex_lock(&n->lock);
	const int code = send ? MPI_Isend(data, (int)bytes, MPI_BYTE, (int)peer, tag, n->comm, r)
						  : MPI_Irecv(data, (int)bytes, MPI_BYTE, (int)peer, tag, n->comm, r);
	pthread_mutex_unlock(&n->lock);
	return check(code, send ? "MPI_Isend" : "MPI_Irecv", err);
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

evn_status evn_nodes_pass_begin(evn_nodes *n, uint32_t slot, const evn_node_pass *pass, evn_error *err)
{
	under_way u;
	u.n = 0;
	EVN_TRY(add(n, &u, pass->sends, pass->data, pass->bytes, pass->peer, TAG_PASS, err));
	pthread_mutex_lock(&n->lock);
	n->passes[slot] = (passing){u.requests[0], pass->peer};
	pthread_cond_signal(&n->changed); /* the watcher pushes it */
	pthread_mutex_unlock(&n->lock);
	return EVN_OK;
}

evn_status evn_nodes_pass_end(evn_nodes *n, uint32_t slot, const evn_node_wait *wait, evn_error *err)
{
	under_way u;
	u.n = 0;
	pthread_mutex_lock(&n->lock);
	if (n->passes[slot].request != MPI_REQUEST_NULL) {
		u.requests[u.n] = n->passes[slot].request;
		u.peers[u.n++] = n->passes[slot].peer;
	}
	n->passes[slot].request = MPI_REQUEST_NULL;
	pthread_mutex_unlock(&n->lock);
	return finish(n, &u, wait, err);
}

evn_status evn_nodes_time_all_reduce(evn_nodes *nodes, uint64_t n_floats, uint32_t n, double *us, evn_error *err)
{
	float *from = calloc(2 * n_floats + 1, sizeof *from);
	if (!from)
		return evn_fail_memory(err, "messages", 2 * n_floats * sizeof *from);
	pthread_mutex_lock(&nodes->lock);
	int code = MPI_Barrier(nodes->comm);
	const uint64_t began = evn_now_ns();
	for (uint32_t i = 0; i < n && code == MPI_SUCCESS; i++)
		code = MPI_Allreduce(from, from + n_floats, (int)n_floats, MPI_FLOAT, MPI_SUM, nodes->comm);
	*us = n ? (double)(evn_now_ns() - began) * 1e-3 / n : 0;
	pthread_mutex_unlock(&nodes->lock);
	free(from);
	return check(code, "MPI_Allreduce", err);
}
