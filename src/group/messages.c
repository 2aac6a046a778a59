/* messages.c - long messages in a shorter format than f32. Every rank packs its partial sums by a kernel, and all add
 * what was packed, each its own too: so all hold equal sums. And the buffers that messages of any format lie in. */
#include <stdio.h>

#include "group/ways.h"

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

/* Between contexts, which is the most: copies of all. Two lanes by flags are two messages more of the rank's own. */
uint64_t evn_group_peer_bytes(evn_message_type messages, uint64_t max_floats)
{
	uint64_t packed = messages == EVN_MESSAGES_F32 ? 0 : evn_message_bytes(&formats[messages], max_floats);
	return EVN_TURNS * (evn_message_bytes(&formats[EVN_MESSAGES_F32], max_floats) + packed);
}

static evn_parts *parts_of(evn_group *g, uint32_t rank, bool packed)
{
	return packed ? &g->ranks[rank].packed : &g->ranks[rank].partials;
}

/* Zeros: of partial sums rows are written up to the weights' width only, and the padding behind them must be. */
static evn_status create_one(evn_buf **out, evn_queue *q, uint64_t bytes, evn_error *err)
{
	EVN_TRY(evn_buf_create(out, evn_queue_device(q), bytes, EVN_BUF_HOST_VISIBLE, "messages", err));
	return evn_fill_zero(q, *out, err);
}

evn_status evn_parts_create(evn_group *g, const evn_message_format *f, bool packed, evn_error *err)
{
	uint64_t bytes = evn_message_bytes(f, g->max_floats);
	for (uint32_t k = 0; k < g->n_ranks; k++) {
		evn_parts *parts = parts_of(g, k, packed);
		parts->format = f;
		parts->copies = !evn_one_context(g);
	}
	for (uint32_t turn = 0; turn < EVN_TURNS; turn++)
		for (uint32_t k = 0; k < g->n_ranks; k++)
			for (uint32_t i = 0; i < g->n_ranks; i++) {
				evn_parts *parts = parts_of(g, k, packed);
				if (i == k || parts->copies)
					EVN_TRY(create_one(&parts->bufs[turn][i], g->ranks[k].queue, bytes, err));
			}
	for (uint32_t turn = 0; turn < EVN_TURNS; turn++)
		for (uint32_t k = 0; k < g->n_ranks; k++)
			for (uint32_t i = 0; i < g->n_ranks && !parts_of(g, k, packed)->copies; i++)
				parts_of(g, k, packed)->bufs[turn][i] = parts_of(g, i, packed)->bufs[turn][i];
	for (uint32_t k = 0; k < g->n_ranks; k++)
		EVN_TRY(evn_queue_finish(g->ranks[k].queue, err));
	return EVN_OK;
}

void evn_parts_free(evn_group *g, bool packed)
{
	for (uint32_t k = 0; k < g->n_ranks; k++)
		for (uint32_t slot = 0; slot < EVN_LANES * EVN_TURNS; slot++)
			for (uint32_t i = 0; i < g->n_ranks; i++) {
				const evn_parts *parts = parts_of(g, k, packed);
				if (i == k || parts->copies || (g->shared && !packed))
					evn_buf_free(parts->bufs[slot][i]);
			}
}

static evn_status pack(evn_group *g, uint32_t rank, const evn_sum *s, evn_error *err)
{
	evn_member *m = &g->ranks[rank];
	if (!m->pack) {
		char sources[48];
		snprintf(sources, sizeof sources, "message/%s.cl pack.cl", g->packing->kernel);
		EVN_TRY(evn_kernel_get(&m->pack, m->queue, sources, "pack", "", err));
	}
	evn_args a = evn_args_begin(m->pack);
	evn_arg_buf(&a, m->packed.bufs[m->turn[0]][rank]);
	evn_arg_buf(&a, m->partials.bufs[m->turn[0]][rank]);
	return evn_launch_items(&a, s->n_tok * s->stride / 32, err);
}

evn_status evn_message(evn_group *g, uint32_t rank, const evn_sum *s, evn_parts **out, evn_error *err)
{
	bool packed = g->packing && evn_is_long(s);
	*out = parts_of(g, rank, packed);
	return packed && s->contributors >> rank & 1 ? pack(g, rank, s, err) : EVN_OK;
}
