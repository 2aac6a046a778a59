/* method.h - the reduction methods behind comm.h, and the code that they share. A method is one file and one row in
 * comm.c. No other file sees its state. */
#ifndef EVN_METHOD_H
#define EVN_METHOD_H

#include "group/barrier.h"
#include "group/comm.h"

#define EVN_SHORT_FLOATS (1u << 16) /* messages up to this length are short: their latency matters most */
#define EVN_STREAMS 2               /* messages that can be in flight at once */
#define EVN_BUFFERS 2               /* buffers of a stream; they alternate */

/* A message format. Messages are written in blocks of 32 columns. A format is a row of formats[] in messages.c and a
 * file in kernels/message/. */
typedef struct {
	evn_message_type type;
	const char *kernel;   /* kernels/message/<kernel>.cl */
	uint32_t block_bytes; /* bytes of 32 columns */
	double error;         /* largest error of a value, as a fraction of the largest magnitude in its block */
} evn_message_format;

/* The messages of one all-reduce as one rank's device sees them. They are in one buffer; rank i's message begins at i
 * * apart bytes. */
typedef struct {
	evn_buf *all;
	evn_buf **of; /* (n_ranks) parts of `all`. In memory that all devices see, only the rank's own part is set */
} evn_messages;

typedef struct evn_stage evn_stage;

/* The messages of one format. Ranks of one context whose devices work in the host's memory share the buffers.
 * Otherwise every rank has its own buffers, and the others' messages are copied there. If a device has its own
 * memory, they travel through staging buffers. */
typedef struct {
	const evn_message_format *format;
	uint64_t apart;
	uint32_t n_messages; /* messages of a rank: EVN_BUFFERS for each stream */
	bool copies;
	evn_messages *messages; /* (n_ranks, n_messages) */
	evn_stage *stages;      /* (n_ranks, n_messages); NULL: all devices work in the host's memory */
	uint8_t *host;          /* memory that all devices see; NULL if the buffers have their own */
} evn_store;

/* The kernels of a rank that add messages of one format. Each is built when it is first used. */
typedef struct {
	evn_kernel *add, *then[EVN_EPILOGUE_KEYS];
} evn_sum_kernels;

/* One all-reduce in device time. The device worked until `arrived` and waited until `resumed`. */
typedef struct {
	evn_event *arrived; /* NULL: `resumed` is the event of the kernel that waited; its beginning is the arrival */
	evn_event *resumed;
} evn_exchange;

typedef struct {
	evn_queue *queue;
	evn_queue *transfers;              /* for messages that travel through staging buffers; otherwise NULL */
	evn_pinned output;                 /* for rows that the host reads from a device with its own memory */
	uint32_t index[EVN_STREAMS];       /* the next buffer of each stream */
	evn_sum_kernels of_f32, of_packed; /* kernels for f32 messages and for packed messages */
	evn_kernel *pack;                  /* built when it is first used */
	evn_exchange *exchanges;           /* those of this step; their events are kept until its end, for the times */
	uint32_t n_exchanges, max_exchanges;
	evn_event *step_begin;
	uint64_t since_ns; /* when the device began to work, with methods in which the host waits for it */
	atomic_uint_fast64_t waits_since_ns; /* since when the thread waits for its device in a driver call; or 0 */
	evn_comm_times times;
	struct evn_trace *trace; /* NULL: no times of steps are kept */
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
	evn_reducer *small, *large; /* for short and for long messages; can be the same */
	evn_reducer reducers[2];
	const evn_message_format *packing; /* the format of packed messages; NULL: all are f32 */
	const evn_comm_nodes *nodes;       /* NULL: those whose messages are added are in this process */
	uint64_t taking_part;              /* one bit for each rank */
	uint32_t begin, end; /* the ranks of this process; members, buffers and stages of others are empty */
	evn_store partials, packed;
	evn_barrier barrier; /* of this process's ranks */
	uint64_t deadline_ms;
	uint64_t late_since_ns; /* when kernels were first found to have waited in vain; 0: they have not */
	bool lost;              /* a device did not finish */
	bool flags_failed;
	evn_member *members; /* (n_ranks) */
};

struct evn_reduce_method {
	evn_reduce reduce;
	const char *name;
	bool in_host_memory; /* the partial sums are in memory that all devices see; the host waits for nothing */
	evn_status (*create)(void **own, evn_comm *c, evn_error *err);
	/* This rank's partial sum is complete. May be NULL. */
	evn_status (*begin)(void *own, evn_comm *c, uint32_t rank, const evn_sum *s, evn_error *err);
	/* Waits for the others' partial sums and adds them. */
	evn_status (*end)(void *own, evn_comm *c, uint32_t rank, const evn_sum *s, evn_error *err);
	/* Called after a failed step, when no thread is in a collective and all queues are finished. May be NULL. */
	void (*reset)(void *own, evn_comm *c);
	/* The rank that others waited for in vain, or -1. May be NULL. */
	int (*late)(const void *own);
	void (*free)(void *own, evn_comm *c); /* own may be NULL or half made; queues are finished */
};
extern const evn_reduce_method evn_reduce_by_host, evn_reduce_by_events, evn_reduce_by_flags, evn_reduce_by_nodes;

/* True for another rank that takes part. */
static inline bool evn_is_other(const evn_comm *c, uint32_t rank, uint32_t i)
{
	return i != rank && c->taking_part >> i & 1;
}
/* The ranks whose messages are added. */
static inline uint32_t evn_n_added(const evn_comm *c) { return c->nodes ? c->n_ranks : c->end - c->begin; }
/* True if all ranks of this process share a context. */
bool evn_one_context(const evn_comm *c);
/* Mark the beginning and the end of a driver call that waits for the rank's device. */
void evn_wait_begins(evn_member *m);
void evn_wait_ends(evn_member *m);
/* Appends an empty exchange to this step. It is valid until the next call. */
evn_status evn_exchange_add(evn_member *m, evn_exchange **out, evn_error *err);

/* ---- messages.c ------------------------------------------------------------------------------------------------ */

const evn_message_format *evn_message_format_of(evn_message_type type);
uint64_t evn_message_bytes(const evn_message_format *f, uint64_t n_floats);

evn_status evn_store_create(evn_store *st, evn_comm *c, const evn_message_format *f, bool in_host_memory,
							evn_error *err);
void evn_store_free(evn_store *st, const evn_comm *c);
/* The messages in buffer `index` of the stream, as rank's device sees them. */
static inline const evn_messages *evn_store_at(const evn_store *st, uint32_t rank, uint32_t stream, uint32_t index)
{
	return &st->messages[rank * st->n_messages + stream * EVN_BUFFERS + index];
}
/* The messages of rank's next all-reduce. */
static inline const evn_messages *evn_store_next(const evn_store *st, const evn_comm *c, uint32_t rank,
												 uint32_t stream)
{
	return evn_store_at(st, rank, stream, c->members[rank].index[stream]);
}

/* With staging, messages of the second stream are at most half as long. */
static inline uint64_t evn_store_apart(const evn_store *st, uint32_t stream)
{
	return st->stages && stream ? evn_round_up(st->apart / 2, EVN_PART_ALIGN) : st->apart;
}

/* True if the message is packed. */
bool evn_packs(const evn_comm *c, const evn_sum *s);
static inline evn_store *evn_store_of(evn_comm *c, const evn_sum *s)
{
	return evn_packs(c, s) ? &c->packed : &c->partials;
}
/* Packs rank's partial sum, if it has one and the message is packed. */
evn_status evn_pack(evn_comm *c, uint32_t rank, const evn_sum *s, evn_error *err);

/* ---- stage.c --------------------------------------------------------------------------------------------------- */

evn_status evn_stages_create(evn_store *st, evn_comm *c, evn_error *err);
void evn_stages_reset(evn_store *st, const evn_comm *c); /* queues are finished */
void evn_stages_free(evn_store *st, const evn_comm *c);
/* Enqueues the way of rank's message to the host, behind what its device computes now. */
evn_status evn_stage_send(evn_comm *c, uint32_t rank, const evn_sum *s, evn_error *err);
/* The host waits until rank's message has arrived there. */
evn_status evn_stage_wait_sent(evn_comm *c, uint32_t rank, const evn_sum *s, evn_error *err);
/* In one context: what rank receives waits until the others' messages have arrived there. */
evn_status evn_stage_enqueue_sent(evn_comm *c, uint32_t rank, const evn_sum *s, evn_error *err);
/* Enqueues the way of the others' messages to rank's device. What its queue computes next waits for them. */
evn_status evn_stage_receive(evn_comm *c, uint32_t rank, const evn_sum *s, evn_error *err);
/* Rank's message in the host's memory, once it was sent. */
const uint8_t *evn_stage_message(const evn_comm *c, uint32_t rank, const evn_sum *s);
/* Collects the rows on the host through pinned memory. */
evn_status evn_stage_gather(evn_member *m, const evn_gather *g, evn_error *err);

/* ---- nodes.c --------------------------------------------------------------------------------------------------- */

/* The message of a rank of another process in rank's next all-reduce, in the host's memory, after the exchange. */
const uint8_t *evn_nodes_message(const evn_comm *c, uint32_t rank, uint32_t from, const evn_sum *s);

/* ---- sum.c ----------------------------------------------------------------------------------------------------- */

/* Enqueues one kernel on rank's queue that adds the messages and runs the epilogue. */
evn_status evn_enqueue_sum(evn_comm *c, uint32_t rank, const evn_sum *s, evn_error *err);
/* Sets the arguments SUM of sum.cl. */
void evn_arg_sum(evn_args *a, evn_comm *c, uint32_t rank, const evn_sum *s);
/* The kernel `name`, from the file of that name, that adds messages of this format. `items` work-items share a row.
 * then: its epilogue, or NULL. */
evn_status evn_sum_kernel(evn_kernel **out, evn_queue *q, const evn_message_format *f, const char *name,
						  const evn_epilogue *then, uint32_t items, evn_error *err);

/* ---- trace.c --------------------------------------------------------------------------------------------------- */

/* Called around each sum, and when a rank's step begins and has ended. Without a trace they do nothing. */
evn_status evn_trace_arrives(evn_comm *c, uint32_t rank, const evn_sum *s, bool host_waits, evn_error *err);
evn_status evn_trace_has_added(evn_comm *c, uint32_t rank, evn_error *err);
/* A wait on the host, for methods without exchanges. */
void evn_trace_host_wait(evn_member *m, uint64_t arrived_ns, uint64_t resumed_ns);
void evn_trace_step_begins(evn_member *m);
void evn_trace_step_ended(evn_member *m, const evn_event *end);
void evn_trace_forget(evn_member *m); /* what the step has noted so far */
void evn_trace_free(evn_member *m);

#endif
