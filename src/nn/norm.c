/* norm.c - sets the parts and the arguments of a norm's kernel. */
#include "nn/norm.h"

#include "kernels/constants.h"

void evn_spec_store(evn_spec *s, evn_act_format format)
{
	evn_spec_part(s, "STORE", format == EVN_ACT_Q8 ? "store_q8.cl" : "store_f32.cl");
}

void evn_spec_norm(evn_spec *s, evn_norm_kind kind, evn_act_format format, uint32_t items)
{
	static const char *const names[EVN_NORM_KINDS] = {"rms", "layer", "none", "layer"};
	evn_spec_part(s, "NORM", "norm_%s.cl", names[kind]);
	evn_spec_store(s, format);
	evn_spec_define(s, "NORM_ITEMS", items);
	evn_spec_option(s, kind == EVN_NORM_REPLACE ? "-DREPLACES" : "");
	evn_spec_lanes(s, items > 1 ? 1 : EVN_TILE_ROWS);
}

void evn_arg_norm(evn_args *a, const evn_norm *n, uint32_t stride)
{
	const evn_buf *unread = n->y; /* every kernel argument must be set */
	evn_arg_buf(a, n->y);
	evn_arg_buf(a, n->w ? n->w : unread);
	evn_arg_buf(a, n->bias ? n->bias : unread);
	evn_arg_u32x2(a, (uint32_t[]){stride, n->dim});
	evn_arg_f32(a, n->eps);
}

evn_status evn_norm_launch(evn_kernel *k, uint32_t items, const evn_norm *n, const evn_buf *x, uint32_t first,
						   uint32_t n_rows, uint32_t stride, evn_error *err)
{
	evn_args a = evn_args_begin(k);
	evn_arg_buf(&a, x);
	evn_arg_u32(&a, first);
	evn_arg_norm(&a, n, stride);
	return evn_launch(&a, 1, (size_t[]){n_rows}, (size_t[]){items}, err);
}

static void specify(evn_spec *s, const void *norm, uint32_t items)
{
	const evn_norm *n = norm;
	evn_spec_norm(s, n->kind, n->format, items);
	evn_spec_option(s, n->post ? "-DPOST_NORM" : "");
}

static void set_args(evn_args *a, const void *norm, uint32_t stride)
{
	const evn_norm *n = norm;
	evn_arg_norm(a, n, stride);
	if (n->post)
		evn_arg_buf(a, n->post);
}

evn_epilogue evn_norm_epilogue(const evn_norm *n)
{
	if (!n)
		return (evn_epilogue){0};
	const uint32_t with_post = n->post ? EVN_NORM_KINDS : 0;
	return (evn_epilogue){.add = "add_norm",
						  .flags = "flags_and_norm",
						  .key = (with_post + (uint32_t)n->kind) * EVN_ACT_FORMATS + (uint32_t)n->format,
						  .specify = specify,
						  .set_args = set_args,
						  .arg = n};
}
