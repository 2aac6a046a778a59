/* ops_fused.h - a block of one row in one launch. A device of one compute unit works off one product after the
 * other anyway, and a launch less saves some 7 us of a token (two PoCL ranks on two cores): the host thread that
 * enqueues wants a core that would compute. */
#ifndef EVN_OPS_FUSED_H
#define EVN_OPS_FUSED_H

#include "nn/ops.h"
#include "nn/ops_attention.h"

/* y (1, out->rows) = out times what becomes of in times x; x (1, in->columns) in the form of evn_op_act_format. */
typedef struct {
	evn_buf *y;
	const evn_buf *x;
	const evn_matrix *in, *out;
} evn_fused;

/* Whether one launch does it: one decoded row on a CPU device of one unit, and both matrices in one and the same
 * format, each in one buffer, without biases. */
bool evn_op_fuses(const evn_ops *ops, const evn_fused *h, evn_rows rows);

/* evn_op_linear to a->qkv, evn_op_attention to attended (1, stride), evn_op_linear. */
evn_status evn_op_attention_block(evn_ops *ops, evn_attention_ops *attention_ops, const evn_fused *h,
								  const evn_attention *a, const evn_row_set *rows, evn_buf *attended, uint32_t stride,
								  evn_error *err);
/* evn_op_gate_up to gated (1, stride), evn_op_linear. */
evn_status evn_op_feed_forward_block(evn_ops *ops, const evn_fused *h, uint32_t up_offset, evn_buf *gated,
									 uint32_t stride, evn_error *err);

#endif
