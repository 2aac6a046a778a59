/* ops_fused.c - the launchers of kernels/attention_block.cl and kernels/feed_forward_block.cl. */
#include "nn/ops_fused.h"

#include "nn/ops_internal.h"

#define TILES 4u /* tiles of a work-item, in both products of attention */

bool evn_op_fuses(const evn_ops *o, const evn_fused *h, evn_rows rows)
{
	const evn_device *d = evn_queue_device(o->q);
	if (rows.n > 1 || rows.phase != EVN_DECODE || o->lanes == 1 || !evn_device_is_cpu(d) || evn_device_units(d) > 1 ||
		h->in->bias || h->out->bias || h->in->n_parts == 0)
		return false;
	const evn_quant *quant = h->in->parts[0].quant;
	return evn_in_one_buffer(h->in) && h->out->n_parts == 1 && h->out->parts[0].quant == quant &&
		   evn_reads_tiles(quant, evn_op_act_format(o, h->in, EVN_DECODE));
}

/* Both products read the same activation format, because their weight formats are the same. */
static evn_spec fused_spec(const evn_ops *o, const evn_fused *h, const char *file)
{
	const evn_act_format format = evn_op_act_format(o, h->in, EVN_DECODE);
	evn_spec s = evn_spec_row_product(o, file, h->in->parts[0].quant, format);
	evn_spec_store(&s, format);
	return s;
}

/* Sets the last arguments, which both kernels have, and launches. */
static evn_status launch_fused(evn_args *a, const evn_fused *h, evn_buf *between, evn_error *err)
{
	evn_arg_buf(a, h->y);
	evn_arg_buf(a, h->x);
	evn_arg_tiles(a, &h->in->parts[0]);
	evn_arg_buf(a, between);
	evn_arg_tiles(a, &h->out->parts[0]);
	return evn_launch2(a, 1, 1, 1, err);
}

evn_status evn_op_attention_block(evn_ops *o, evn_attention_ops *attention_ops, const evn_fused *h,
								  const evn_attention *at, const evn_row_set *row, evn_buf *attended, uint32_t stride,
								  evn_error *err)
{
	const uint32_t queries = evn_attention_queries(attention_ops, at, row);
	evn_product_kernels *of;
	evn_buf *rows;
	EVN_TRY(evn_kernels_of(o, h->in->parts[0].quant, &of, err)); /* it also checks the number of formats */
	EVN_TRY(evn_attention_rows(attention_ops, stride, 1, &rows, err));
	evn_kernel **k = evn_attention_block_kernel(attention_ops, h->in->parts[0].quant,
												evn_op_act_format(o, h->in, EVN_DECODE), queries);
	if (!*k) {
		evn_spec spec = fused_spec(o, h, "attention_block.cl");
		evn_spec_attention(&spec, attention_ops, queries);
		evn_spec_define(&spec, "TILES", TILES);
		EVN_TRY(evn_kernel_get(k, o->q, &spec, "attention_block", err));
	}
	evn_args a = evn_args_begin(*k);
	evn_arg_attention(&a, attention_ops, at, row);
	evn_arg_buf(&a, rows);
	evn_arg_u32x2(&a, (uint32_t[]){stride, h->out->x_shift});
	return launch_fused(&a, h, attended, err);
}

evn_status evn_op_feed_forward_block(evn_ops *o, const evn_fused *h, uint32_t up_offset, evn_buf *gated,
									 uint32_t stride, evn_error *err)
{
	evn_product_kernels *of;
	EVN_TRY(evn_kernels_of(o, h->in->parts[0].quant, &of, err));
	evn_kernel **k = &of->feed_forward_block[evn_op_act_format(o, h->in, EVN_DECODE)];
	if (!*k) {
		evn_spec spec = fused_spec(o, h, "feed_forward_block.cl");
		evn_spec_gate(&spec, o);
		EVN_TRY(evn_kernel_get(k, o->q, &spec, "feed_forward_block", err));
	}
	evn_args a = evn_args_begin(*k);
	evn_arg_u32(&a, stride);
	evn_arg_u32x2(&a, (uint32_t[]){evn_up_tile(h->in, up_offset), up_offset / EVN_TILE_ROWS});
	return launch_fused(&a, h, gated, err);
}
