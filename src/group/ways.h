/* ways.h - the ways of summing behind group.h, and what they share. A way is a file and a row in group.c. */
#ifndef EVN_WAYS_H
#define EVN_WAYS_H

#include "group/group.h"
#include "group/meeting.h"

#define EVN_TURNS 2            /* exchange buffers that alternate */
#define EVN_MAX_EXCHANGES 1024 /* of one step, kept until its end for their times */

/* One meeting on the device's clock: it worked until `arrived` and waited until `resumed`. */
typedef struct {
	evn_event *arrived, *resumed;
} evn_exchange;

typedef struct {
	evn_queue *queue;
	uint32_t turn; /* which exchange buffer comes next */
	/* Every rank's partials as this rank's context knows them; [turn][rank]. Only its own where contexts differ and
	 * the memory is not shared host memory. */
	evn_buf *partials[EVN_TURNS][EVN_MAX_RANKS];
	evn_kernel *add, *add_norm[EVN_NORM_KINDS][EVN_FORMS], *norm[EVN_NORM_KINDS][EVN_FORMS]; /* built at first use */
	evn_exchange exchanges[EVN_MAX_EXCHANGES];
	uint32_t n_exchanges;
	evn_event *step_begin;
	evn_group_times times;
	/* host */
	float *mapped[EVN_TURNS]; /* own partial as the host sees it, while mapped */
	uint64_t since_ns;        /* when the device began to work */
	/* flags */
	evn_kernel *meet, *meet_and_add, *meet_and_norm[EVN_NORM_KINDS][EVN_FORMS];
	evn_buf *flags;
	uint32_t round; /* meetings so far */
} evn_member;

typedef struct evn_way evn_way;

struct evn_group {
	uint32_t n_ranks;
	const evn_way *small, *large; /* ways for messages of few tokens and of many */
	evn_meeting meeting;
	evn_member ranks[EVN_MAX_RANKS];
	uint64_t max_floats;
	uint8_t *shared; /* flags and partials in host memory that all devices see; NULL: buffers of their own */
	uint64_t shared_bytes;
};

struct evn_way {
	evn_reduce reduce;
	const char *name;
	evn_status (*all_reduce)(evn_group *g, uint32_t rank, const evn_sum *s, evn_error *err);
};

evn_status evn_reduce_on_host(evn_group *g, uint32_t rank, const evn_sum *s, evn_error *err);
evn_status evn_reduce_by_events(evn_group *g, uint32_t rank, const evn_sum *s, evn_error *err);
evn_status evn_reduce_by_flags(evn_group *g, uint32_t rank, const evn_sum *s, evn_error *err);

/* sum.c: x += partials in rank order and what follows, by one kernel on rank's queue. */
evn_status evn_enqueue_sum(evn_group *g, uint32_t rank, const evn_sum *s, evn_error *err);
/* What follows alone: x is summed already. */
evn_status evn_enqueue_norm(evn_group *g, uint32_t rank, const evn_sum *s, evn_error *err);
/* Sets x, the count of contributors and EVN_MAX_RANKS buffers as arguments: their partials of this turn in rank order
 * as rank's context knows them, the rest filled up. */
void evn_arg_partials(evn_args *a, const evn_group *g, uint32_t rank, const evn_sum *s);
void evn_forget_mapping(evn_member *m, uint32_t rank, uint32_t turn);

/* flags.c: shared memory laid out as flags, then partials [turn][rank]; and its state between steps. */
evn_status evn_flags_create(evn_group *g, evn_error *err);
void evn_flags_reset(evn_group *g);
/* The rank that somebody waited for in vain, or -1. */
int evn_flags_late(const evn_group *g);

#endif
