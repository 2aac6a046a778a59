/* ops_fused.h - a block of one row in one launch. A device with one compute unit runs one product after the other
 * anyway. Each saved launch saves about 7 us of a token (two PoCL ranks on two cores), because the host thread that
 * enqueues needs a core that would compute. */
#ifndef EVN_OPS_FUSED_H
#define EVN_OPS_FUSED_H

#include "nn/ops.h"
#include "nn/ops_attention.h"

/* y (1, out->rows) = out times (attention or the gated nonlinearity of (in times x)). x (1, in->columns) has the
 * format of evn_op_act_format. */
typedef struct {
	evn_buf *y;
	const evn_buf *x;
	const evn_matrix *in, *out;
} evn_fused;

/* True if one launch can compute it: one decoded row on a CPU device with one unit, both matrices in the same format,
 * each in one buffer and without a bias. */
bool evn_op_fuses(const evn_ops *ops, const evn_fused *h, evn_rows rows);

/* The same as evn_op_linear to a->qkv, evn_op_attention to attended (1, stride), and evn_op_linear to y. */
evn_status evn_op_attention_block(evn_ops *ops, evn_attention_ops *attention_ops, const evn_fused *h,
								  const evn_attention *a, const evn_row_set *rows, evn_buf *attended, uint32_t stride,
								  evn_error *err);
/* The same as evn_op_gate_up to gated (1, stride) and evn_op_linear to y. */
evn_status evn_op_feed_forward_block(evn_ops *ops, const evn_fused *h, uint32_t up_offset, evn_buf *gated,
									 uint32_t stride, evn_error *err);

#endif
