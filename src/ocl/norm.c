/* norm.c - which kernel files make up a norm, and its arguments. */
#include <stdio.h>

#include "ocl/ocl.h"

const char *evn_store_sources(evn_form form) { return form == EVN_FORM_Q8 ? "q8.cl store_q8.cl" : "store_f32.cl"; }

evn_status evn_norm_kernel_get(evn_kernel **out, evn_queue *q, evn_norm_kind kind, evn_form form, const char *rest,
							   const char *name, uint32_t items, evn_error *err)
{
	static const char *const files[EVN_NORM_KINDS] = {"norm_rms.cl", "norm_layer.cl", "norm_none.cl"};
	char sources[160], defines[32];
	snprintf(sources, sizeof sources, "%s norm.cl %s %s", evn_store_sources(form), files[kind], rest);
	snprintf(defines, sizeof defines, "-DNORM_ITEMS=%u", items);
	return evn_kernel_get(out, q, sources, name, defines, err);
}

void evn_arg_norm(evn_args *a, const evn_norm *n, uint32_t stride)
{
	const evn_buf *unread = n->y; /* every argument must be set */
	evn_arg_buf(a, n->y);
	evn_arg_buf(a, n->w ? n->w : unread);
	evn_arg_buf(a, n->bias ? n->bias : unread);
	evn_arg_u32(a, stride);
	evn_arg_u32(a, n->dim);
	evn_arg_f32(a, n->eps);
}

evn_status evn_norm_launch(evn_kernel *k, uint32_t items, const evn_norm *n, const evn_buf *x, uint32_t first,
						   uint32_t n_tok, uint32_t stride, evn_error *err)
{
	evn_args a = evn_args_begin(k);
	evn_arg_buf(&a, x);
	evn_arg_u32(&a, first);
	evn_arg_norm(&a, n, stride);
	return evn_launch(&a, 1, (size_t[]){n_tok}, (size_t[]){items}, err);
}
