/* norm.c - which parts a norm has, and its arguments. */
#include "ocl/ocl.h"

void evn_spec_store(evn_spec *s, evn_form form)
{
	evn_spec_part(s, "STORE", form == EVN_FORM_Q8 ? "store_q8.cl" : "store_f32.cl");
}

void evn_spec_norm(evn_spec *s, evn_norm_kind kind, evn_form form, uint32_t items)
{
	static const char *const names[EVN_NORM_KINDS] = {"rms", "layer", "none"};
	evn_spec_part(s, "NORM", "norm_%s.cl", names[kind]);
	evn_spec_store(s, form);
	evn_spec_define(s, "NORM_ITEMS", items);
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
