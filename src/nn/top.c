#include "nn/top.h"

#include "nn/ops_internal.h"

/* Most logits are not among the largest: a list that is full takes few of them. */
void evn_top_of(uint64_t *list, uint32_t n_top, const float *logits, const evn_top_row *row)
{
	for (uint32_t i = 0; i < n_top; i++)
		list[i] = EVN_TOP_NONE;
	for (uint32_t i = 0; i < row->n; i++) {
		const float logit = row->scale == 1 ? logits[i] : logits[i] * row->scale;
		const uint64_t entry = evn_top_entry(logit, row->first_id + i);
		if (entry >= list[n_top - 1])
			continue;
		uint32_t at = n_top - 1;
		for (; at && list[at - 1] > entry; at--)
			list[at] = list[at - 1];
		list[at] = entry;
	}
}

uint32_t evn_top_merge(uint64_t *out, const uint64_t *lists, uint32_t n_lists, uint32_t n_top)
{
	uint32_t n = 0;
	for (uint32_t k = 0; k < n_top; k++)
		out[k] = EVN_TOP_NONE;
	for (uint32_t l = 0; l < n_lists; l++) {
		const uint64_t *list = lists + (uint64_t)l * n_top;
		for (uint32_t i = 0; i < n_top && list[i] < out[n_top - 1]; i++) {
			uint32_t at = n_top - 1;
			for (; at && out[at - 1] > list[i]; at--)
				out[at] = out[at - 1];
			out[at] = list[i];
		}
	}
	while (n < n_top && out[n] != EVN_TOP_NONE)
		n++;
	return n;
}

bool evn_top_on_device(const evn_device *d)
{
	return !evn_device_unified_memory(d) && evn_device_local_bytes(d) >= EVN_TOP_SLICE * sizeof(uint64_t);
}

evn_status evn_op_top(evn_ops *o, evn_buf *to, uint32_t n_top, const evn_buf *logits, uint32_t stride,
					  const evn_top_row *row, uint32_t n_rows, evn_error *err)
{
	if (!o->top) {
		const evn_spec spec = evn_spec_of("top.cl");
		EVN_TRY(evn_kernel_get(&o->top, o->q, &spec, "top", err));
	}
	evn_args a = evn_args_begin(o->top);
	evn_arg_buf(&a, to);
	evn_arg_u32(&a, n_top);
	evn_arg_buf(&a, logits);
	evn_arg_u32x2(&a, (uint32_t[]){row->n, stride});
	evn_arg_u32(&a, row->first_id);
	evn_arg_f32(&a, row->scale);
	const size_t most = evn_kernel_max_group(o->top); /* llvmpipe (Mesa 22.3): 32, where the device allows 1024 */
	return evn_launch2(&a, evn_top_slices(row->n), n_rows, most < EVN_LANE_ITEMS ? most : EVN_LANE_ITEMS, err);
}
