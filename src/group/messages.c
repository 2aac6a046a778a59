/* messages.c - messages in a shorter format than f32. Every rank packs its partial sums by a kernel, and all add
 * what was packed, each its own too: so all hold equal sums. And the buffers that messages of any format lie in. */
#include <stdio.h>

#include "group/method.h"

/* Rounding to nearest leaves an error of half a unit in the last place: of 11 bits, of 8 bits, and of 1 / 127 of the
 * block's largest magnitude, whose scale is up to 2^-7 too long. */
static const evn_message_format formats[] = {
	[EVN_MESSAGES_F32] = {EVN_MESSAGES_F32, "f32", 32 * 4, 0},
	[EVN_MESSAGES_F16] = {EVN_MESSAGES_F16, "f16", 32 * 2, 0x1p-11},
	[EVN_MESSAGES_BF16] = {EVN_MESSAGES_BF16, "bf16", 32 * 2, 0x1p-8},
	[EVN_MESSAGES_Q8] = {EVN_MESSAGES_Q8, "q8", 34, 0.5 / 127 * (1 + 0x1p-7) + 0x1p-20},
};

const evn_message_format *evn_message_format_of(evn_message_type type) { return &formats[type]; }

uint64_t evn_message_bytes(const evn_message_format *f, uint64_t n_floats)
{
	return evn_round_up(n_floats, 32) / 32 * f->block_bytes;
}

/* Between contexts, which is the most: copies of all. A second slot, with flags, is two messages more of the
 * rank's own. */
uint64_t evn_comm_peer_bytes(evn_message_type messages, uint64_t max_floats)
{
	uint64_t packed = messages == EVN_MESSAGES_F32 ? 0 : evn_message_bytes(&formats[messages], max_floats);
	return EVN_BUFFERS * (evn_message_bytes(&formats[EVN_MESSAGES_F32], max_floats) + packed);
}

static evn_parts *parts_of(evn_comm *c, uint32_t rank, bool packed)
{
	return packed ? &c->ranks[rank].packed : &c->ranks[rank].partials;
}

/* Zeros: of partial sums rows are written up to the weights' width only, and the padding behind them must be. */
static evn_status create_one(evn_buf **out, evn_queue *q, uint64_t bytes, evn_error *err)
{
	EVN_TRY(evn_buf_create(out, evn_queue_device(q), bytes, EVN_BUF_HOST_VISIBLE, "messages", err));
	return evn_fill_zero(q, *out, err);
}

evn_status evn_parts_create(evn_comm *c, const evn_message_format *f, bool packed, evn_error *err)
{
	uint64_t bytes = evn_message_bytes(f, c->max_floats);
	for (uint32_t k = 0; k < c->n_ranks; k++) {
		evn_parts *parts = parts_of(c, k, packed);
		parts->format = f;
		parts->copies = !evn_one_context(c);
	}
	for (uint32_t index = 0; index < EVN_BUFFERS; index++)
		for (uint32_t k = 0; k < c->n_ranks; k++)
			for (uint32_t i = 0; i < c->n_ranks; i++) {
				evn_parts *parts = parts_of(c, k, packed);
				if (i == k || parts->copies)
					EVN_TRY(create_one(&parts->bufs[index][i], c->ranks[k].queue, bytes, err));
			}
	for (uint32_t index = 0; index < EVN_BUFFERS; index++)
		for (uint32_t k = 0; k < c->n_ranks; k++)
			for (uint32_t i = 0; i < c->n_ranks && !parts_of(c, k, packed)->copies; i++)
				parts_of(c, k, packed)->bufs[index][i] = parts_of(c, i, packed)->bufs[index][i];
	for (uint32_t k = 0; k < c->n_ranks; k++)
		EVN_TRY(evn_queue_finish(c->ranks[k].queue, err));
	return EVN_OK;
}

void evn_parts_free(evn_comm *c, bool packed)
{
	for (uint32_t k = 0; k < c->n_ranks; k++)
		for (uint32_t slot = 0; slot < EVN_SLOTS * EVN_BUFFERS; slot++)
			for (uint32_t i = 0; i < c->n_ranks; i++) {
				const evn_parts *parts = parts_of(c, k, packed);
				if (i == k || parts->copies || (c->shared && !packed))
					evn_buf_free(parts->bufs[slot][i]);
			}
}

static evn_status pack(evn_comm *c, uint32_t rank, const evn_sum *s, evn_error *err)
{
	evn_member *m = &c->ranks[rank];
	if (!m->pack) {
		const evn_spec spec = evn_spec_messages("pack.cl", c->packing);
		EVN_TRY(evn_kernel_get(&m->pack, m->queue, &spec, "pack", err));
	}
	evn_args a = evn_args_begin(m->pack);
	evn_arg_buf(&a, m->packed.bufs[m->index[0]][rank]);
	evn_arg_buf(&a, m->partials.bufs[m->index[0]][rank]);
	return evn_launch_items(&a, s->n_rows * s->stride / 32, err);
}

bool evn_packs(const evn_comm *c, const evn_sum *s) { return c->packing && s->packs; }

evn_status evn_message(evn_comm *c, uint32_t rank, const evn_sum *s, evn_parts **out, evn_error *err)
{
	const bool packed = evn_packs(c, s);
	*out = parts_of(c, rank, packed);
	return packed && s->ranks >> rank & 1 ? pack(c, rank, s, err) : EVN_OK;
}
