/* ops_heads.c - norms over the heads of all ranks. */
#include "nn/ops_internal.h"

static evn_status kernel_of(evn_ops *o, evn_kernel **k, const char *name, evn_error *err)
{
	if (*k)
		return EVN_OK;
	evn_spec spec = evn_spec_of("head_norms.cl");
	evn_spec_define(&spec, "NORM_ITEMS", o->items);
	evn_spec_lanes(&spec, o->lanes);
	return evn_kernel_get(k, o->q, &spec, name, err);
}

/* Sets the arguments that both kernels begin with. */
static evn_args args_of(evn_kernel *k, const evn_head_norms *n, uint32_t k_begin)
{
	evn_args a = evn_args_begin(k);
	evn_arg_buf(&a, n->qkv);
	evn_arg_u32(&a, n->stride);
	evn_arg_u32x4(&a, (uint32_t[]){0, n->q_width, n->k_offset + k_begin, n->k_width - k_begin});
	return a;
}

evn_status evn_op_head_squares(evn_ops *o, const evn_head_norms *n, evn_buf *sums, uint32_t n_rows, evn_error *err)
{
	EVN_TRY(kernel_of(o, &o->head_squares, "head_squares", err));
	evn_args a = args_of(o->head_squares, n, n->k_of_others);
	evn_arg_buf(&a, sums);
	return evn_launch(&a, 1, (size_t[]){n_rows}, (size_t[]){o->items}, err);
}

evn_status evn_op_head_norms(evn_ops *o, const evn_head_norms *n, const evn_buf *sums, uint32_t n_rows,
							 evn_error *err)
{
	EVN_TRY(kernel_of(o, &o->head_norms, "head_norms", err));
	evn_args a = args_of(o->head_norms, n, 0);
	evn_arg_buf(&a, sums);
	evn_arg_buf(&a, n->weights);
	evn_arg_u32x2(&a, (uint32_t[]){n->first_q, n->first_k});
	evn_arg_u32x2(&a, (uint32_t[]){n->all_q, n->all_k});
	evn_arg_f32(&a, n->eps);
	return evn_launch(&a, 1, (size_t[]){n_rows}, (size_t[]){o->items}, err);
}
