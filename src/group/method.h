/* method.h - the reduce methods behind comm.h, and what they share. A method is a file and a row in comm.c; its state
 * is its own. */
#ifndef EVN_METHOD_H
#define EVN_METHOD_H

#include "group/barrier.h"
#include "group/comm.h"

#define EVN_SHORT_FLOATS (1u << 16) /* messages up to so many are short: their latency matters most */
#define EVN_STREAMS 2               /* messages that may be in flight at once */
#define EVN_BUFFERS 2               /* of a stream that alternate */

/* How messages are written: blocks of 32 columns. A format is a row of formats[] in messages.c and a file in
 * kernels/message/. */
typedef struct {
	evn_message_type type;
	const char *kernel;   /* kernels/message/<kernel>.cl */
	uint32_t block_bytes; /* of 32 columns */
	double error;         /* most that a value moves, as a fraction of the largest magnitude in its block */
} evn_message_format;

/* The messages of one all-reduce as a rank's device sees them: all in one buffer, rank i's i * apart bytes from its
 * beginning. */
typedef struct {
	evn_buf *all;
	evn_buf **of; /* (n_ranks) parts of it. Of memory that all devices see only the rank's own */
} evn_messages;

/* The messages of one format. Ranks of one context whose devices work in the host's memory share the buffers; else
 * every rank has its own, and the others' messages are copied there. */
typedef struct {
	const evn_message_format *format;
	uint64_t apart;
	uint32_t n_messages; /* of a rank: EVN_BUFFERS for each stream */
	bool copies;
	evn_messages *messages; /* (n_ranks, n_messages) */
	uint8_t *host;          /* memory that all devices see; NULL: buffers of their own */
} evn_store;

/* The kernels of a rank that add messages of one format; built at first use. */
typedef struct {
	evn_kernel *add, *then[EVN_EPILOGUE_KEYS];
} evn_sum_kernels;

/* One all-reduce on the device's clock: it worked until `arrived` and waited until `resumed`. */
typedef struct {
	evn_event *arrived; /* NULL: resumed is of the kernel that waited, which began then */
	evn_event *resumed;
} evn_exchange;

typedef struct {
	evn_queue *queue;
	uint32_t index[EVN_STREAMS];       /* which buffer of the stream comes next */
	evn_sum_kernels of_f32, of_packed; /* messages */
	evn_kernel *pack;                  /* built at first use */
	evn_exchange *exchanges;           /* of this step, kept until its end for their times */
	uint32_t n_exchanges, max_exchanges;
	evn_event *step_begin;
	uint64_t since_ns;                   /* when the device began to work, if the host waits for it */
	atomic_uint_fast64_t waits_since_ns; /* for its device, in a call of the driver; 0: it does not wait */
	evn_comm_times times;
} evn_member;

typedef struct evn_reduce_method evn_reduce_method;

/* A method in use and its state. */
typedef struct {
	const evn_reduce_method *method;
	void *own;
} evn_reducer;

struct evn_comm {
	uint32_t n_ranks;
	uint64_t max_floats;
	evn_reducer *small, *large; /* of short messages and of long ones; may be the same */
	evn_reducer reducers[2];
	const evn_message_format *packing; /* of packed messages; NULL: all are f32 */
	evn_store partials, packed;
	evn_barrier barrier;
	uint64_t deadline_ms;
	uint64_t late_since_ns; /* when kernels were first seen to have waited in vain; 0: they have not */
	bool lost;              /* a device has not come to its end */
	evn_member *members;    /* (n_ranks) */
};

struct evn_reduce_method {
	evn_reduce reduce;
	const char *name;
	bool in_host_memory; /* partial sums lie in memory that all devices see; the host waits for nothing */
	evn_status (*create)(void **own, evn_comm *c, evn_error *err);
	/* This rank's partial sum is complete; may be NULL. */
	evn_status (*begin)(void *own, evn_comm *c, uint32_t rank, const evn_sum *s, evn_error *err);
	/* Waits for the others' and adds. */
	evn_status (*end)(void *own, evn_comm *c, uint32_t rank, const evn_sum *s, evn_error *err);
	/* After a failed step; may be NULL. No rank's thread is inside a collective, and all queues are finished. */
	void (*reset)(void *own, evn_comm *c);
	/* The rank that others waited for in vain, or -1; may be NULL. */
	int (*late)(const void *own);
	void (*free)(void *own, evn_comm *c); /* own may be NULL or half made; queues are finished */
};
extern const evn_reduce_method evn_reduce_by_host, evn_reduce_by_events, evn_reduce_by_flags;

/* Whether all ranks share a context. */
bool evn_one_context(const evn_comm *c);
/* Around a call of the driver that waits for the rank's device. */
void evn_wait_begins(evn_member *m);
void evn_wait_ends(evn_member *m);
/* A new exchange of this step, empty; valid until the next one. */
evn_status evn_exchange_add(evn_member *m, evn_exchange **out, evn_error *err);

/* ---- messages.c ------------------------------------------------------------------------------------------------ */

const evn_message_format *evn_message_format_of(evn_message_type type);
uint64_t evn_message_bytes(const evn_message_format *f, uint64_t n_floats);

evn_status evn_store_create(evn_store *st, evn_comm *c, const evn_message_format *f, bool in_host_memory,
							evn_error *err);
void evn_store_free(evn_store *st, const evn_comm *c);
/* The messages in one of the stream's buffers, as rank's device sees them. */
static inline const evn_messages *evn_store_at(const evn_store *st, uint32_t rank, uint32_t stream, uint32_t index)
{
	return &st->messages[rank * st->n_messages + stream * EVN_BUFFERS + index];
}
/* Those of rank's next all-reduce. */
static inline const evn_messages *evn_store_next(const evn_store *st, const evn_comm *c, uint32_t rank,
												 uint32_t stream)
{
	return evn_store_at(st, rank, stream, c->members[rank].index[stream]);
}

/* Whether the message travels packed. */
bool evn_packs(const evn_comm *c, const evn_sum *s);
static inline evn_store *evn_store_of(evn_comm *c, const evn_sum *s)
{
	return evn_packs(c, s) ? &c->packed : &c->partials;
}
/* Packs rank's partial sum if it has any and the message travels packed. */
evn_status evn_pack(evn_comm *c, uint32_t rank, const evn_sum *s, evn_error *err);

/* ---- sum.c ----------------------------------------------------------------------------------------------------- */

/* Adds the messages and does what follows, by one kernel on rank's queue. */
evn_status evn_enqueue_sum(evn_comm *c, uint32_t rank, const evn_sum *s, evn_error *err);
/* The arguments SUM of sum.cl. */
void evn_arg_sum(evn_args *a, evn_comm *c, uint32_t rank, const evn_sum *s);
/* The kernel `name` of the file of that name, which adds messages of this format; `items` share a row. then: what
 * else it does, or NULL. */
evn_status evn_sum_kernel(evn_kernel **out, evn_queue *q, const evn_message_format *f, const char *name,
						  const evn_epilogue *then, uint32_t items, evn_error *err);

#endif
