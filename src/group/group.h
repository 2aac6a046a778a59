/* group.h - the ranks of an engine and their collectives. Each rank has a host thread of its own, and every rank's
 * thread makes the same calls in the same order (as in MPI); a collective is where they meet.
 *
 * Sums are f32 and in rank order, so the same plan gives the same bits every run and on every way:
 *   host    each thread waits for its device and maps its message, brings its device copies of the others', and a
 *           kernel adds. Works between any drivers; devices that see each other's memory need no copies.
 *   events  ranks of one context: each queue waits for the others' events and a kernel reads all partials. The host
 *           only enqueues.
 *   flags   devices that work in the host's memory: a kernel counts and spins (flags.c). For messages of few tokens,
 *           and longer ones two at once; others go by events or host.
 * Messages of many tokens, more than 256 KiB as f32, may be packed into a shorter format: each rank's by a kernel,
 * and all ranks add what was packed, in f32. Largest error of a partial sum: f16 2^-11 of it (2^-25 in all for values
 * below 2^-14; beyond 65504 it is that), bf16 2^-8 of it, q8 1/252 of the largest magnitude in its block of 32. */
#ifndef EVN_GROUP_H
#define EVN_GROUP_H

#include "ocl/ocl.h"

typedef struct evn_group evn_group;

/* messages: how long ones travel; then all lengths are multiples of 32.
 * reduce AUTO: events where all ranks share a context, else host. EVENTS without a shared context is EVN_ERR_USAGE,
 * FLAGS where a device has memory of its own EVN_ERR_UNSUPPORTED. max_floats: the longest message. Queues are
 * borrowed. */
evn_status evn_group_create(evn_group **out, evn_queue *const *queues, uint32_t n_ranks, evn_reduce reduce,
							evn_message_type messages, uint64_t max_floats, evn_error *err);
/* What each rank holds for each rank of a group, itself too, at most: two messages, and as many packed. */
uint64_t evn_group_peer_bytes(evn_message_type messages, uint64_t max_floats);
void evn_group_free(evn_group *g);
evn_reduce evn_group_reduce(const evn_group *g); /* the way of short messages */
const char *evn_reduce_name(evn_reduce r);

/* Where rank writes its partial sum before the next all_reduce. Two buffers alternate, so a rank may write the next
 * partial while others still read this one. */
evn_buf *evn_group_partial(const evn_group *g, uint32_t rank);
evn_buf *evn_group_partial_of(const evn_group *g, uint32_t rank, uint32_t lane);

typedef struct {
	evn_buf *x; /* (n_tok, stride) */
	uint32_t n_tok, stride;
	uint32_t contributors; /* bit per rank */
	uint32_t lane;         /* of messages on their way at once: 0, or 1 */
	bool overlaps;         /* evn_group_overlaps allows it: one of two that are on their way at once */
	const evn_norm *then;  /* of the summed rows, which are at hand here; may be NULL, and differ from rank to rank */
} evn_sum;

/* x += sum over the contributors of their partials, then the norm; stride a multiple of 32. Ranks that do not
 * contribute take part all the same. */
evn_status evn_all_reduce_norm(evn_group *g, uint32_t rank, const evn_sum *s, evn_error *err);
/* The same in two parts, between which a rank may work on another message: its partial is complete; and the others'
 * are waited for and added. */
evn_status evn_all_reduce_begin(evn_group *g, uint32_t rank, const evn_sum *s, evn_error *err);
evn_status evn_all_reduce_end(evn_group *g, uint32_t rank, const evn_sum *s, evn_error *err);
/* Whether two messages of so many floats may be on their way at once, lane 1's begun before lane 0's has ended. */
bool evn_group_overlaps(const evn_group *g, uint64_t n_floats);

/* The sum alone, of n_floats: a multiple of 16. */
evn_status evn_all_reduce(evn_group *g, uint32_t rank, evn_buf *x, uint64_t n_floats, uint32_t contributors,
						  evn_error *err);

/* Waits until every rank's thread is here. EVN_ERR_CANCELLED when a rank gave up. */
evn_status evn_group_meet(evn_group *g, evn_error *err);
/* The same without waiting, for long work between meetings. */
evn_status evn_group_check(evn_group *g, evn_error *err);
/* A rank that failed, or a caller that wants the step to end, says so: the others' meetings end with
 * EVN_ERR_CANCELLED instead of waiting for ever. */
void evn_group_give_up(evn_group *g);
/* Short messages go the way of long ones from now on: when flags proved unfit. False when they do already. No thread
 * may be inside a collective. */
bool evn_group_fall_back(evn_group *g);
/* Makes the group usable again after a failed step; no thread may be inside a collective. Finishes the queues. */
void evn_group_reset(evn_group *g);

/* Times all_reduces of n_floats among all ranks and checks their sums; us[n] (may be NULL) = what one took, n times
 * the mean of a step of 60: so many has a decoder of 30 layers, and what a step costs beside them - the host wakes
 * the devices, waits for them and for the other ranks - is shared as it is there. The trial that a way must pass.
 * Every rank calls it. */
evn_status evn_group_time_all_reduce(evn_group *g, uint32_t rank, uint64_t n_floats, uint32_t n, double *us,
									 evn_error *err);

/* A step is what happens between two begins; evn_group_step_end waits for the rank's queue. */
void evn_group_step_begin(evn_group *g, uint32_t rank);
evn_status evn_group_step_end(evn_group *g, uint32_t rank, evn_error *err);

/* Inside steps, since creation: time the rank's device worked, and time it waited for other ranks. */
typedef struct {
	uint64_t busy_ns, wait_ns;
} evn_group_times;
evn_group_times evn_group_rank_times(const evn_group *g, uint32_t rank);

#endif
