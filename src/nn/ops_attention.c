/* ops_attention.c - launchers of rotary embedding with the append to the KV cache, and of attention over the cache.
 */
#include "nn/ops_attention.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

struct evn_attention_ops {
	evn_queue *q;
	evn_attention_config config;
	uint32_t items; /* work-items that share a head: 1 on CPUs, where one item fills a core's vectors */
	evn_kernel *rope_append, *attention;
};

static evn_status build(evn_attention_ops *o, evn_error *err)
{
	char defines[128];
	snprintf(defines, sizeof defines, "-DHEAD_DIM=%u -DROPE_DIM=%u -DATTENTION_ITEMS=%u%s%s", o->config.head_dim,
			 o->config.rope_dim, o->items, o->config.rope_neox ? " -DROPE_NEOX" : "",
			 o->config.qk_norm ? " -DQK_NORM" : "");
	EVN_TRY(evn_kernel_get(&o->rope_append, o->q, "attention.cl", "rope_append", defines, err));
	return evn_kernel_get(&o->attention, o->q, "attention.cl", "attention", defines, err);
}

/* On a GPU a group of 32 fills at least one sub-group everywhere; the attention kernel's local memory decides. */
static uint32_t items_for(const evn_device *d, uint32_t head_dim)
{
	if (evn_device_is_cpu(d))
		return 1;
	uint32_t items = 32;
	while (items > 1 && (items > evn_device_max_group(d) ||
						 (uint64_t)items * (evn_head_pad(head_dim) + 2) * sizeof(float) > evn_device_local_bytes(d)))
		items /= 2;
	return items;
}

evn_status evn_attention_ops_create(evn_attention_ops **out, evn_queue *q, const evn_attention_config *config,
									evn_error *err)
{
	evn_attention_ops *o = *out = calloc(1, sizeof *o);
	if (!o)
		return evn_fail_memory(err, "attention kernels", sizeof *o);
	*o = (evn_attention_ops){.q = q, .config = *config};
	o->items = config->items ? config->items : items_for(evn_queue_device(q), config->head_dim);
	return build(o, err);
}

void evn_attention_ops_free(evn_attention_ops *o) { free(o); }

static evn_status launch2(evn_args *a, size_t groups_x, size_t groups_y, size_t items, evn_error *err)
{
	return evn_launch(a, 2, (size_t[]){groups_x, groups_y}, (size_t[]){items, 1}, err);
}

evn_status evn_op_rope_append(evn_attention_ops *o, evn_buf *q, evn_buf *k_cache, evn_buf *v_cache,
							  const evn_buf *qkv, const evn_buf *rope, const evn_buf *q_norm, const evn_buf *k_norm,
							  float norm_eps, const evn_attention *at, uint32_t n_tok, evn_error *err)
{
	evn_args a = evn_args_begin(o->rope_append);
	evn_arg_buf(&a, q);
	evn_arg_buf(&a, k_cache);
	evn_arg_buf(&a, v_cache);
	evn_arg_buf(&a, qkv);
	evn_arg_u32(&a, at->qkv_stride);
	evn_arg_u32(&a, at->k_offset);
	evn_arg_u32(&a, at->v_offset);
	evn_arg_u32(&a, at->n_heads);
	evn_arg_u32(&a, at->n_kv);
	evn_arg_u32(&a, at->n_ctx);
	evn_arg_u32(&a, at->position);
	evn_arg_buf(&a, rope);
	evn_arg_buf(&a, q_norm ? q_norm : rope); /* not read without QK_NORM, but every argument must be set */
	evn_arg_buf(&a, k_norm ? k_norm : rope);
	evn_arg_f32(&a, norm_eps);
	return launch2(&a, at->n_heads + 2 * at->n_kv, n_tok, 1, err);
}

evn_status evn_op_attention(evn_attention_ops *o, evn_buf *out, uint32_t out_stride, uint32_t out_offset,
							const evn_buf *q, const evn_buf *k_cache, const evn_buf *v_cache, const evn_attention *at,
							uint32_t n_tok, evn_error *err)
{
	evn_args a = evn_args_begin(o->attention);
	evn_arg_buf(&a, out);
	evn_arg_u32(&a, out_stride);
	evn_arg_u32(&a, out_offset);
	evn_arg_buf(&a, q);
	evn_arg_buf(&a, k_cache);
	evn_arg_buf(&a, v_cache);
	evn_arg_u32(&a, at->n_heads);
	evn_arg_u32(&a, at->n_ctx);
	evn_arg_u32(&a, at->position);
	evn_arg_u32(&a, at->first_head);
	evn_arg_u32(&a, at->first_kv);
	evn_arg_u32(&a, at->group);
	evn_arg_f32(&a, 1.0f / sqrtf((float)o->config.head_dim));
	return launch2(&a, at->n_heads, n_tok, o->items, err);
}
