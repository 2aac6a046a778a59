#include "nn/tap.h"

#include <stdlib.h>
#include <string.h>

#include "nn/block.h"

#define BLOCK 32u /* values that share a scale */

void evn_tap_clear(evn_tap *t)
{
	free(t->x.values);
	free(t->x.scales);
	free(t->y.values);
	free(t->y.scales);
	t->x = t->y = (evn_row_copy){0};
	t->taken = false;
}

static void decode(evn_row_copy *out, const uint8_t *blocks, uint64_t block_bytes)
{
	for (uint32_t i = 0; i < out->n; i++) {
		const uint8_t *block = blocks + i / BLOCK * block_bytes;
		memcpy(&out->scales[i / BLOCK], block + EVN_Q8_SCALE, sizeof(float));
		out->values[i] = out->scales[i / BLOCK] * (float)((const int8_t *)block)[i % BLOCK];
	}
}

/* The first n columns of the first row. */
static evn_status copy_row(evn_row_copy *out, evn_queue *q, const evn_buf *buf, evn_act_format format, uint32_t n,
						   evn_error *err)
{
	const bool wide = evn_device_lanes(evn_queue_device(q)) > 1;
	const uint64_t block_bytes = wide ? EVN_Q8_BYTES : EVN_Q8_LANE_BYTES;
	*out = (evn_row_copy){.n = n, .values = malloc((n + 1) * sizeof(float))};
	if (!out->values)
		return evn_fail_memory(err, "a copied row", n * sizeof(float));
	if (format == EVN_ACT_F32)
		return evn_read(q, buf, 0, out->values, n * sizeof(float), err);
	const uint64_t n_blocks = evn_round_up(n, BLOCK) / BLOCK;
	uint8_t *blocks = malloc(n_blocks * block_bytes + 1);
	out->scales = malloc((n_blocks + 1) * sizeof(float));
	evn_status s = blocks && out->scales ? evn_read(q, buf, 0, blocks, n_blocks * block_bytes, err)
										 : evn_fail_memory(err, "a copied row", n_blocks * block_bytes);
	if (s == EVN_OK)
		decode(out, blocks, block_bytes);
	free(blocks);
	return s;
}

static evn_status take_in(evn_tap *t, const evn_walker *w, const evn_micro_batch *mb, evn_error *err)
{
	const evn_workspace *s = w->workspace;
	const evn_block *b = &s->graph->blocks[t->block];
	const evn_block_view *y = evn_view_block(w->view, t->block, mb->rows.phase);
	const evn_kept r = evn_block_kept(w, t->block, mb);
	const evn_act_format in = evn_op_act_format(s->ops, &y->in, mb->rows.phase);
	EVN_TRY(copy_row(&t->x, s->q, r.normed, in, y->in.columns, err));
	if (b->kind == EVN_BLOCK_FEED_FORWARD && b->feed_forward.gated)
		return copy_row(&t->y, s->q, r.mid, evn_op_act_format(s->ops, &y->out, mb->rows.phase), y->out.columns, err);
	return copy_row(&t->y, s->q, r.in, EVN_ACT_F32, y->in.rows, err);
}

static evn_status take_out(evn_tap *t, const evn_walker *w, const evn_micro_batch *mb, evn_error *err)
{
	const evn_workspace *s = w->workspace;
	const evn_block_view *y = evn_view_block(w->view, t->block, mb->rows.phase);
	const evn_kept r = evn_block_kept(w, t->block, mb);
	const evn_buf *partial = evn_comm_partial(w->comm, w->view->rank, mb->stream);
	const evn_act_format out = evn_op_act_format(s->ops, &y->out, mb->rows.phase);
	EVN_TRY(copy_row(&t->x, s->q, r.mid, out, y->out.columns, err));
	return copy_row(&t->y, s->q, partial, EVN_ACT_F32, s->graph->h->dim, err);
}

evn_status evn_tap_take(evn_tap *t, const evn_walker *w, const evn_micro_batch *mb, evn_error *err)
{
	evn_tap_clear(t);
	EVN_TRY((t->product == EVN_TAP_IN ? take_in : take_out)(t, w, mb, err));
	t->phase = mb->rows.phase;
	t->taken = true;
	return EVN_OK;
}
