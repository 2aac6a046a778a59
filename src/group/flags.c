/* flags.c - ranks wait for each other inside kernels: each counts its all-reduces in a word of host memory that all
 * devices see, and a one-item kernel spins until the others' counts have come as far. Neither host nor event is
 * waited for.
 *
 * Only for devices with hardware of their own that share the host's memory: two ranks on the same workers would wait
 * for ever (seen: two sub-devices of Intel's CPU runtime). So every spin is bounded, and the method is used only
 * after a trial (evn_comm_time_all_reduce) has shown that ranks do pass each other and that the sums are right. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "group/method.h"
#include "kernels/constants.h"

#define FLAG_BYTES 4096
#define SPIN_LIMIT                                                                                                   \
	(1u << 30)            /* looks, some seconds: a driver that compiles a kernel at its first launch is waited for */
#define DELAY_LOOKS 6000u /* looks, about 2 us: what a driver does with its locks between two kernels */
#define FUSED_FLOATS 8192 /* up to here the one work-item that waits adds too: a launch less */

#define SIXTEEN (16 * sizeof(float)) /* what kernels count places in */

static uint64_t partial_bytes(const evn_comm *c) { return evn_round_up(c->max_floats * sizeof(float), 4096); }

/* Where the partial of rank 0 begins; the others' follow. The second slot's lie behind the first's. */
static uint64_t first_partial(const evn_comm *c, uint32_t slot)
{
	return FLAG_BYTES + slot * c->n_ranks * partial_bytes(c);
}

static evn_status wrap(evn_comm *c, evn_member *m, evn_error *err)
{
	evn_device *d = evn_queue_device(m->queue);
	m->partials.format = evn_message_format_of(EVN_MESSAGES_F32);
	EVN_TRY(evn_buf_wrap(&m->shared, d, c->shared, c->shared_bytes, "flags", err));
	for (uint32_t slot = 0; slot < EVN_SLOTS * EVN_BUFFERS; slot++)
		for (uint32_t i = 0; i < c->n_ranks; i++)
			EVN_TRY(evn_buf_wrap(&m->partials.bufs[slot][i], d,
								 c->shared + first_partial(c, slot) + i * partial_bytes(c), partial_bytes(c),
								 "partial sums", err));
	const evn_spec spec = evn_spec_messages("flags_sum.cl", m->partials.format);
	EVN_TRY(evn_kernel_get(&m->arrive, m->queue, &spec, "flags_arrive", err));
	EVN_TRY(evn_kernel_get(&m->wait, m->queue, &spec, "flags_wait", err));
	return evn_kernel_get(&m->flags_and_add, m->queue, &spec, "flags_and_add", err);
}

evn_status evn_flags_create(evn_comm *c, evn_error *err)
{
	for (uint32_t i = 0; i < c->n_ranks; i++)
		if (!evn_device_unified_memory(evn_queue_device(c->ranks[i].queue)))
			return evn_fail(err, EVN_ERR_UNSUPPORTED,
							"reduce: flags needs devices that work in the host's memory, %s does not",
							evn_device_name(evn_queue_device(c->ranks[i].queue)));
	c->shared_bytes = FLAG_BYTES + EVN_SLOTS * EVN_BUFFERS * c->n_ranks * partial_bytes(c);
	c->shared = aligned_alloc(4096, c->shared_bytes);
	if (!c->shared)
		return evn_fail_memory(err, "partial sums", c->shared_bytes);
	memset(c->shared, 0, c->shared_bytes);
	for (uint32_t i = 0; i < c->n_ranks; i++)
		EVN_TRY(wrap(c, &c->ranks[i], err));
	return EVN_OK;
}

void evn_flags_reset(evn_comm *c)
{
	if (c->shared)
		memset(c->shared, 0, FLAG_BYTES);
}

int evn_flags_late(const evn_comm *c)
{
	if (!c->shared)
		return -1;
	uint32_t late;
	memcpy(&late, c->shared + (size_t)EVN_LATE_SLOT * EVN_FLAG_WORDS * sizeof late, sizeof late);
	return (int)late - 1;
}

/* Ranks that leave an all-reduce at the same moment run into the locks of a driver that they share, and sleep there:
 * PoCL 3.1 has one for the code of all kernels, and with it an all-reduce took 10 to 14 us instead of 4, a decoded
 * token a fifth more. So of the ranks of one driver each goes a little after the one before it. */
static uint32_t delay_looks(const evn_comm *c, uint32_t rank)
{
	uint32_t before = 0;
	for (uint32_t i = 0; i < rank; i++)
		before +=
			evn_devices_share_context(evn_queue_device(c->ranks[i].queue), evn_queue_device(c->ranks[rank].queue));
	return before * DELAY_LOOKS;
}

static void flags_args(evn_args *a, const evn_comm *c, const evn_member *m, uint32_t rank)
{
	evn_arg_buf(a, m->shared);
	evn_arg_u32(a, rank);
	evn_arg_u32(a, c->n_ranks);
	evn_arg_u32(a, SPIN_LIMIT);
	evn_arg_u32(a, delay_looks(c, rank));
}

static bool is_fused(const evn_sum *s) { return (uint64_t)s->n_rows * s->stride <= FUSED_FLOATS; }

/* A fused kernel arrives and waits itself. */
evn_status evn_arrive_by_flags(evn_comm *c, uint32_t rank, const evn_sum *s, evn_error *err)
{
	evn_member *m = &c->ranks[rank];
	if (is_fused(s))
		return EVN_OK;
	evn_args a = evn_args_begin(m->arrive);
	evn_arg_buf(&a, m->shared);
	evn_arg_u32(&a, rank);
	m->at[s->slot] = ++m->begun;
	EVN_TRY(evn_launch(&a, 1, (size_t[]){1}, (size_t[]){1}, err));
	return evn_queue_flush(m->queue, err); /* the others spin until this rank's count comes */
}

/* One kernel that arrives, waits and adds; where a norm follows, that too. */
static evn_status flags_and_add(evn_comm *c, uint32_t rank, const evn_sum *s, evn_exchange *exchange, evn_error *err)
{
	evn_member *m = &c->ranks[rank];
	evn_kernel **k = s->then ? &m->flags_and_norm[s->then->kind][s->then->form] : &m->flags_and_add;
	if (!*k) { /* flags_and_add is there already */
		evn_spec spec = evn_spec_messages("flags_and_norm.cl", m->partials.format);
		evn_spec_norm(&spec, s->then->kind, s->then->form, 1);
		EVN_TRY(evn_kernel_get(k, m->queue, &spec, "flags_and_norm", err));
	}
	evn_args a = evn_args_begin(*k);
	flags_args(&a, c, m, rank);
	evn_arg_u32(&a, (uint32_t)(partial_bytes(c) / SIXTEEN));
	evn_arg_buf(&a, s->x);
	evn_arg_u32(&a, s->then ? s->n_rows : s->n_rows * s->stride / 16);
	evn_arg_u32(&a, (uint32_t)(first_partial(c, m->index[0]) / SIXTEEN));
	evn_arg_u32(&a, (uint32_t)s->ranks);
	if (s->then)
		evn_arg_norm(&a, s->then, s->stride);
	return evn_launch_timed(&a, 1, (size_t[]){1}, (size_t[]){1}, &exchange->resumed, err);
}

evn_status evn_reduce_by_flags(evn_comm *c, uint32_t rank, const evn_sum *s, evn_error *err)
{
	evn_member *m = &c->ranks[rank];
	if (m->n_exchanges == EVN_MAX_EXCHANGES)
		return evn_fail(err, EVN_ERR_LIMIT, "more than %d all-reduces in one step", EVN_MAX_EXCHANGES);
	evn_exchange *exchange = &m->exchanges[m->n_exchanges++];
	*exchange = (evn_exchange){0};
	if (is_fused(s)) {
		EVN_TRY(flags_and_add(c, rank, s, exchange, err));
	} else {
		evn_args a = evn_args_begin(m->wait);
		flags_args(&a, c, m, rank);
		evn_arg_u32(&a, m->begun - m->at[s->slot]);
		EVN_TRY(evn_launch_timed(&a, 1, (size_t[]){1}, (size_t[]){1}, &exchange->resumed, err));
		EVN_TRY(evn_enqueue_sum(c, rank, &m->partials, s, err));
	}
	return evn_queue_flush(m->queue, err); /* the others spin until this rank's count comes */
}
