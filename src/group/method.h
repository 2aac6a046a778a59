/* method.h - the reduce methods behind comm.h, and what they share. A method is a file and a row in comm.c. */
#ifndef EVN_METHOD_H
#define EVN_METHOD_H

#include "group/comm.h"
#include "group/barrier.h"

#define EVN_BUFFERS 2          /* of a slot that alternate */
#define EVN_SLOTS 2            /* messages that may be in flight at once */
#define EVN_MAX_EXCHANGES 1024 /* of one step, kept until its end for their times */

/* How messages are written: blocks of 32 columns. A format is a row of formats[] in messages.c and a file in
 * kernels/message/. */
typedef struct {
	evn_message_type type;
	const char *kernel;   /* kernels/message/<kernel>.cl */
	uint32_t block_bytes; /* of 32 columns */
	double error;         /* most that a value moves, as a fraction of the largest magnitude in its block */
} evn_message_format;

/* Every rank's messages as one context knows them, in one format; [evn_buffer_of()][rank]. */
typedef struct {
	const evn_message_format *format;
	bool copies; /* the others' are copies, which the host brings: contexts differ and the memory is not shared */
	evn_buf *bufs[EVN_SLOTS * EVN_BUFFERS][EVN_MAX_RANKS];
	evn_kernel *add, *add_norm[EVN_NORM_KINDS][EVN_FORMS]; /* built at first use */
} evn_parts;

/* One all-reduce on the device's clock: it worked until `arrived` and waited until `resumed`. */
typedef struct {
	evn_event *arrived, *resumed;
} evn_exchange;

typedef struct {
	evn_queue *queue;
	uint32_t index[EVN_SLOTS]; /* which buffer of the slot comes next */
	evn_parts partials;
	evn_parts packed; /* in a shorter format than f32 */
	evn_kernel *pack; /* built at first use */
	evn_exchange exchanges[EVN_MAX_EXCHANGES];
	uint32_t n_exchanges;
	evn_event *step_begin;
	evn_comm_times times;
	/* host */
	evn_buf *mapped_buf[EVN_BUFFERS];
	void *mapped[EVN_BUFFERS]; /* that one, this rank's message, as the host sees it while mapped; else NULL */
	uint64_t since_ns;         /* when the device began to work */
	/* flags */
	evn_kernel *arrive, *wait, *flags_and_add, *flags_and_norm[EVN_NORM_KINDS][EVN_FORMS];
	evn_buf *shared;               /* the communicator's */
	uint32_t begun, at[EVN_SLOTS]; /* messages begun in a kernel of their own; how many when the slot's last was */
} evn_member;

typedef struct evn_reduce_method evn_reduce_method;

struct evn_comm {
	uint32_t n_ranks;
	const evn_reduce_method *small, *large; /* methods of short messages and of long ones */
	const evn_message_format *packing;      /* of packed messages; NULL: all are f32 */
	evn_barrier barrier;
	evn_member ranks[EVN_MAX_RANKS];
	uint64_t max_floats;
	uint8_t *shared; /* flags and partials in host memory that all devices see; NULL: buffers of their own */
	uint64_t shared_bytes;
};

struct evn_reduce_method {
	evn_reduce reduce;
	const char *name;
	evn_status (*all_reduce)(evn_comm *c, uint32_t rank, const evn_sum *s, evn_error *err);
	evn_status (*begin)(evn_comm *c, uint32_t rank, const evn_sum *s, evn_error *err); /* NULL: nothing to do */
};

/* Where the next message of a slot lies among a rank's buffers. */
static inline uint32_t evn_buffer_of(const evn_member *m, uint32_t slot)
{
	return slot * EVN_BUFFERS + m->index[slot];
}

evn_status evn_reduce_on_host(evn_comm *c, uint32_t rank, const evn_sum *s, evn_error *err);
evn_status evn_reduce_by_events(evn_comm *c, uint32_t rank, const evn_sum *s, evn_error *err);
evn_status evn_reduce_by_flags(evn_comm *c, uint32_t rank, const evn_sum *s, evn_error *err);
evn_status evn_arrive_by_flags(evn_comm *c, uint32_t rank, const evn_sum *s, evn_error *err);

bool evn_one_context(const evn_comm *c);

/* messages.c */
const evn_message_format *evn_message_format_of(evn_message_type type);
uint64_t evn_message_bytes(const evn_message_format *f, uint64_t n_floats);
/* Buffers for the packed messages, or for the partial sums themselves. */
evn_status evn_parts_create(evn_comm *c, const evn_message_format *f, bool packed, evn_error *err);
void evn_parts_free(evn_comm *c, bool packed);
/* Whether the message travels in the format of packed ones. */
bool evn_packs(const evn_comm *c, const evn_sum *s);
/* What travels: the partial sums, or those packed, if rank has any. */
evn_status evn_message(evn_comm *c, uint32_t rank, const evn_sum *s, evn_parts **out, evn_error *err);

/* sum.c: x += parts in rank order and what follows, by one kernel on rank's queue. */
evn_status evn_enqueue_sum(evn_comm *c, uint32_t rank, evn_parts *parts, const evn_sum *s, evn_error *err);
/* Of a kernel that reads or writes messages of this format. */
evn_spec evn_spec_messages(const char *file, const evn_message_format *format);

/* host.c */
void evn_forget_mapping(evn_member *m, uint32_t index);

/* flags.c: shared memory laid out as flags, then partials [index][rank]; and its state between steps. */
evn_status evn_flags_create(evn_comm *c, evn_error *err);
void evn_flags_reset(evn_comm *c);
/* The rank that somebody waited for in vain, or -1. */
int evn_flags_late(const evn_comm *c);

#endif
