/* messages.c - long messages in a shorter format than f32. Every rank packs its partial sums by a kernel, and all add
 * what was packed, each its own too: so all hold equal sums. Device memory of other contexts gets copies by the host.
 */
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

static uint64_t bytes_of(const evn_group *g, uint64_t n_floats) { return n_floats / 32 * g->packing->block_bytes; }

uint64_t evn_packed_bytes(const evn_group *g, const evn_sum *s)
{
	return bytes_of(g, (uint64_t)s->n_tok * s->stride);
}

/* Ranks that wait for each other's events read each other's buffers; the others have copies. */
static bool has_copies(const evn_group *g) { return g->large->reduce != EVN_REDUCE_EVENTS; }

evn_status evn_packed_create(evn_group *g, evn_error *err)
{
	for (uint32_t turn = 0; turn < EVN_TURNS; turn++)
		for (uint32_t k = 0; k < g->n_ranks; k++)
			for (uint32_t i = 0; i < g->n_ranks; i++) {
				evn_member *m = &g->ranks[k];
				m->packed.format = g->packing;
				if (i != k && !has_copies(g))
					continue;
				EVN_TRY(evn_buf_create(&m->packed.bufs[turn][i], evn_queue_device(m->queue),
									   bytes_of(g, evn_round_up(g->max_floats, 32)), EVN_BUF_HOST_VISIBLE, "messages",
									   err));
			}
	for (uint32_t turn = 0; turn < EVN_TURNS && !has_copies(g); turn++)
		for (uint32_t k = 0; k < g->n_ranks; k++)
			for (uint32_t i = 0; i < g->n_ranks; i++)
				g->ranks[k].packed.bufs[turn][i] = g->ranks[i].packed.bufs[turn][i];
	return EVN_OK;
}

void evn_packed_free(evn_group *g)
{
	for (uint32_t turn = 0; turn < EVN_TURNS && g->packing; turn++)
		for (uint32_t k = 0; k < g->n_ranks; k++)
			for (uint32_t i = 0; i < g->n_ranks; i++)
				if (i == k || has_copies(g))
					evn_buf_free(g->ranks[k].packed.bufs[turn][i]);
}

evn_status evn_pack(evn_group *g, uint32_t rank, const evn_sum *s, evn_error *err)
{
	evn_member *m = &g->ranks[rank];
	if (!(s->contributors >> rank & 1))
		return EVN_OK;
	if (!m->pack) {
		char sources[48];
		snprintf(sources, sizeof sources, "message/%s.cl pack.cl", g->packing->kernel);
		EVN_TRY(evn_kernel_get(&m->pack, m->queue, sources, "pack", "", err));
	}
	evn_args a = evn_args_begin(m->pack);
	evn_arg_buf(&a, m->packed.bufs[m->turn[0]][rank]);
	evn_arg_buf(&a, m->partials.bufs[m->turn[0]][rank]);
	return evn_launch(&a, 1, (size_t[]){(size_t)s->n_tok * s->stride / 32}, (size_t[]){1}, err);
}
