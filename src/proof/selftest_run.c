/* selftest_run.c - a run of attention kernels with random heads, a cache and a row table, for known answers. */
#include "proof/selftest_parts.h"

#include <math.h>
#include <string.h>

/* Makes n_tok rows of qkv. Their queries are so large that the scores change the maximum. */
static evn_status make_qkv(evn_cases *c, evn_case_array *a, const evn_attention_run *r, uint32_t n_tok,
						   evn_error *err)
{
	EVN_TRY(evn_case_array_make(c, a, (uint64_t)n_tok * r->at.qkv_stride, err));
	for (uint64_t i = 0; i < a->n; i++)
		if (i % r->at.qkv_stride < r->of.n_heads * r->config.head_dim)
			a->values[i] *= 4;
	return evn_case_upload(c, a, err);
}

/* All bytes are 0xff, which is a NaN in every format. */
static evn_status make_cache(evn_cases *c, evn_case_array *a, const evn_attention_run *r, evn_error *err)
{
	uint64_t bytes =
		(uint64_t)r->n_blocks * r->at.n_kv_held * evn_kv_block_bytes(r->config.kv_cache, r->config.head_dim);
	EVN_TRY(evn_case_array_make(c, a, bytes / sizeof *a->values, err));
	memset(a->values, 0xff, bytes);
	return evn_case_upload(c, a, err);
}

/* The blocks are in reverse order, so that a kernel that ignores the table fails. */
static evn_status make_slot(evn_cases *c, evn_attention_run *r, evn_error *err)
{
	void *table;
	r->n_blocks = evn_blocks_for(r->n_ctx);
	EVN_TRY(evn_case_memory(c, &table, r->n_blocks * sizeof *r->slot.table, err));
	r->slot = (evn_slot){.n_blocks = r->n_blocks, .room = r->n_blocks, .table = table};
	for (uint32_t i = 0; i < r->n_blocks; i++)
		r->slot.table[i] = r->n_blocks - 1 - i;
	for (int i = 0; i < 2; i++)
		EVN_TRY(evn_case_array_make(c, &r->tables[i], evn_row_table_words(1, r->n_blocks), err));
	return EVN_OK;
}

static evn_status make_weights(evn_cases *c, evn_attention_run *r, evn_error *err)
{
	const uint32_t pad = (uint32_t)evn_round_up(r->config.head_dim, 16), n_heads = r->at.n_kv_held * r->config.group;
	const uint64_t of_head = r->config.biased ? EVN_BIASES : 1;
	EVN_TRY(evn_case_array_make(c, &r->weights_qk, 2 * (uint64_t)pad + n_heads * of_head, err));
	for (uint32_t i = 0; i < pad; i++)
		r->weights_qk.values[i] *= 4;
	for (uint32_t h = 0; h < n_heads && r->config.biased; h++) {
		float *biases = r->weights_qk.values + 2 * pad + (uint64_t)h * EVN_BIASES, *last = biases + EVN_BIASES - 1;
		for (int i = 0; i < EVN_KV_TILE; i++) { /* farther than all that differ */
			biases[i] = biases[EVN_KV_TILE];
			last[-i] = last[1 - EVN_KV_TILE];
		}
	}
	return evn_case_upload(c, &r->weights_qk, err);
}

evn_status evn_attention_run_make(evn_cases *c, evn_attention_run *r, evn_error *err)
{
	const uint32_t dim = r->config.head_dim;
	void *weights;
	r->n_keys = r->of.position + (r->config.crosses ? 0 : r->n_tok);
	r->n_ctx = r->of.position + r->n_tok + 3;
	r->out_stride = (uint32_t)evn_round_up(r->out_offset + r->of.n_heads * dim, EVN_PAD);
	if (r->out_stride < r->out_columns)
		r->out_stride = r->out_columns;
	r->at.n_heads = r->of.n_heads;
	r->at.n_kv = r->of.n_kv;
	r->at.n_kv_held = EVN_RUN_UNUSED_KV + r->of.n_kv;
	r->at.first_held = EVN_RUN_UNUSED_KV;
	r->at.skip = r->of.first_head - r->of.first_kv * r->config.group;
	r->at.scale = (float)(1 / sqrt(dim));
	EVN_TRY(make_slot(c, r, err));
	EVN_TRY(evn_case_memory(c, &weights, r->n_keys * sizeof(double), err));
	r->weights = weights;
	EVN_TRY(make_qkv(c, &r->past, r, r->of.position ? r->of.position : 1, err));
	EVN_TRY(make_qkv(c, &r->qkv, r, r->n_tok, err));
	r->at.rope_stride = r->config.rope_dim + (r->config.query_scales ? 16 : 0);
	EVN_TRY(evn_case_input(c, &r->rope, (uint64_t)r->n_ctx * r->at.rope_stride + 1, err));
	EVN_TRY(make_weights(c, r, err));
	EVN_TRY(make_cache(c, &r->k_cache, r, err));
	EVN_TRY(make_cache(c, &r->v_cache, r, err));
	r->at.qkv = r->qkv.buf;
	r->at.rope = r->rope.buf;
	r->at.norms = r->config.qk_norm || r->config.sinks || r->config.biased ? r->weights_qk.buf : NULL;
	r->at.window = EVN_RUN_WINDOW;
	r->at.soft_cap = EVN_RUN_SOFT_CAP;
	r->at.norm_eps = EVN_RUN_EPS;
	r->at.k_cache = r->k_cache.buf;
	r->at.v_cache = r->v_cache.buf;
	return evn_case_output(c, &r->out, (uint64_t)r->n_tok * r->out_stride, err);
}

/* which: 0 for the span that fills the cache, 1 for the tested tokens. */
static evn_status make_rows(evn_cases *c, const evn_attention_ops *ops, evn_attention_run *r, int which,
							evn_row_set *out, evn_error *err)
{
	const uint32_t n = which ? r->n_tok : r->of.position;
	evn_case_array *table = &r->tables[which];
	r->spans[which] = (evn_span){.slot = &r->slot,
								 .n_rows = n,
								 .position = which ? r->of.position : 0,
								 .phase = n > 1 ? EVN_PROMPT : EVN_DECODE};
	*out = (evn_row_set){
		.n_rows = n, .n_spans = 1, .spans = &r->spans[which], .phase = r->spans[which].phase, .table = table->buf};
	out->of_memory = which && r->config.crosses;
	evn_row_table_fill(ops, out, r->of.n_kv, (uint32_t *)(void *)table->values);
	return evn_case_upload(c, table, err);
}

evn_status evn_attention_run_rows(evn_cases *c, const evn_attention_ops *ops, evn_attention_run *r, evn_row_set *out,
								  evn_error *err)
{
	return make_rows(c, ops, r, 1, out, err);
}

evn_status evn_attention_run_fill(evn_cases *c, evn_attention_ops *ops, evn_attention_run *r, evn_act_format format,
								  evn_error *err)
{
	evn_attention fill = r->at;
	evn_row_set rows;
	evn_case_array out;
	if (!r->of.position)
		return EVN_OK;
	EVN_TRY(evn_case_output(c, &out, (uint64_t)r->of.position * r->out_stride, err));
	EVN_TRY(make_rows(c, ops, r, 0, &rows, err));
	fill.qkv = r->past.buf;
	if (r->config.crosses)
		return evn_op_append(ops, &fill, &rows, err);
	return evn_op_attention(ops, format, out.buf, r->out_stride, r->out_offset, &fill, &rows, err);
}

static evn_status read_cache(evn_cases *c, const evn_case_array *cache, const uint8_t **tiles, evn_error *err)
{
	void *memory;
	uint64_t bytes = cache->n * sizeof *cache->values;
	EVN_TRY(evn_case_memory(c, &memory, bytes, err));
	*tiles = memory;
	return evn_read(c->q, cache->buf, 0, memory, bytes, err);
}

evn_status evn_attention_run_read(evn_cases *c, evn_attention_run *r, evn_error *err)
{
	EVN_TRY(read_cache(c, &r->k_cache, &r->k_tiles, err));
	return read_cache(c, &r->v_cache, &r->v_tiles, err);
}
