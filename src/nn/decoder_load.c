/* decoder_load.c - a rank's shard: which tensor goes where, and how it is cut. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "nn/decoder_rank.h"
#include "nn/rope.h"

/* What loading one layer needs. */
typedef struct {
	evn_decoder *d;
	const evn_model *m;
	const evn_arch *arch;
	uint32_t layer;
	evn_error *err;
} loader;

static const evn_tensor *find(const loader *l, const char *part)
{
	const evn_tensor *t;
	evn_model_get_in_layer(l->m, l->layer, part, &t, NULL);
	return t;
}

static evn_status need(const loader *l, const char *part, uint64_t cols, uint64_t rows, const evn_tensor **out)
{
	char name[96];
	snprintf(name, sizeof name, "blk.%u.%s", l->layer, part);
	return evn_model_need(l->m, name, cols, rows, out, l->err);
}

static evn_range scaled(evn_range r, uint32_t by) { return (evn_range){r.begin * by, r.end * by}; }

static evn_status load_whole_vector(const loader *l, const char *part, uint32_t length, evn_buf **out)
{
	const evn_tensor *t;
	EVN_TRY(need(l, part, length, 0, &t));
	return evn_vector_load(out, l->d->q, t, (evn_range){0, length}, l->err);
}

/* Biases of q, k and v, stacked as their rows are; all three or none. */
static evn_status load_qkv_bias(const loader *l, evn_layer *y, const evn_row_block *blocks, const uint32_t *offsets)
{
	static const char *const names[] = {"attn_q.bias", "attn_k.bias", "attn_v.bias"};
	if (!find(l, names[0]))
		return EVN_OK;
	uint64_t bytes = y->qkv.rows * sizeof(float);
	float *stacked = calloc(1, bytes), *whole = NULL;
	evn_status s = stacked ? EVN_OK : evn_fail_memory(l->err, "bias", bytes);
	for (int i = 0; i < 3 && s == EVN_OK; i++) {
		const evn_tensor *t;
		s = need(l, names[i], blocks[i].tensor->shape[1], 0, &t);
		if (s == EVN_OK && !(whole = malloc(t->shape[0] * sizeof *whole)))
			s = evn_fail_memory(l->err, names[i], t->shape[0] * sizeof *whole);
		if (s == EVN_OK) {
			evn_tensor_row(t, 0, whole);
			memcpy(stacked + offsets[i], whole + blocks[i].rows.begin, evn_range_len(blocks[i].rows) * sizeof *whole);
		}
		free(whole);
		whole = NULL;
	}
	if (s == EVN_OK)
		s = evn_buf_create(&y->qkv_bias, evn_queue_device(l->d->q), bytes, EVN_BUF_DEVICE, "bias", l->err);
	if (s == EVN_OK)
		s = evn_write(l->d->q, y->qkv_bias, 0, stacked, bytes, l->err);
	free(stacked);
	return s;
}

static evn_status load_attention(const loader *l, evn_layer *y)
{
	const evn_hparams *h = l->d->h;
	const evn_tensor *q, *k, *v, *out;
	EVN_TRY(load_whole_vector(l, "attn_norm.weight", h->dim, &y->attn_norm));
	EVN_TRY(need(l, "attn_q.weight", h->dim, (uint64_t)h->n_heads * h->head_dim, &q));
	EVN_TRY(need(l, "attn_k.weight", h->dim, (uint64_t)h->n_kv_heads * h->head_dim, &k));
	EVN_TRY(need(l, "attn_v.weight", h->dim, (uint64_t)h->n_kv_heads * h->head_dim, &v));
	EVN_TRY(need(l, "attn_output.weight", (uint64_t)h->n_heads * h->head_dim, h->dim, &out));
	evn_range kv_rows = scaled(y->kv_heads, h->head_dim);
	evn_row_block blocks[3] = {{q, scaled(y->heads, h->head_dim)}, {k, kv_rows}, {v, kv_rows}};
	uint32_t offsets[3];
	EVN_TRY(evn_matrix_split_output(&y->qkv, l->d->q, blocks, 3, offsets, l->err));
	y->k_offset = offsets[1];
	y->v_offset = offsets[2];
	EVN_TRY(load_qkv_bias(l, y, blocks, offsets));
	if (l->arch->qk_norm) {
		EVN_TRY(load_whole_vector(l, "attn_q_norm.weight", h->head_dim, &y->q_norm));
		EVN_TRY(load_whole_vector(l, "attn_k_norm.weight", h->head_dim, &y->k_norm));
	}
	/* A bias of summed outputs is added once, by the first rank that contributes. */
	bool first = (y->attn_contributors & ((1u << l->d->rank) - 1)) == 0;
	if (first && find(l, "attn_output.bias"))
		EVN_TRY(load_whole_vector(l, "attn_output.bias", h->dim, &y->attn_out_bias));
	return evn_matrix_split_input(&y->attn_out, l->d->q, out, blocks[0].rows, l->err);
}

static evn_status load_feed_forward(const loader *l, evn_layer *y)
{
	const evn_hparams *h = l->d->h;
	const evn_tensor *gate, *up, *down;
	EVN_TRY(load_whole_vector(l, "ffn_norm.weight", h->dim, &y->ffn_norm));
	EVN_TRY(need(l, "ffn_gate.weight", h->dim, h->ff_dim, &gate));
	EVN_TRY(need(l, "ffn_up.weight", h->dim, h->ff_dim, &up));
	EVN_TRY(need(l, "ffn_down.weight", h->ff_dim, h->dim, &down));
	evn_row_block blocks[2] = {{gate, y->ff}, {up, y->ff}};
	uint32_t offsets[2];
	EVN_TRY(evn_matrix_split_output(&y->gate_up, l->d->q, blocks, 2, offsets, l->err));
	y->up_offset = offsets[1];
	return evn_matrix_split_input(&y->down, l->d->q, down, y->ff, l->err);
}

static void take_ranges(evn_layer *y, const evn_split *split, uint32_t layer, uint32_t rank, uint32_t group)
{
	const evn_layer_split *of = &split->layers[layer * split->n_ranks];
	y->heads = of[rank].heads;
	y->ff = of[rank].ff;
	if (evn_range_len(y->heads))
		y->kv_heads = (evn_range){y->heads.begin / group, (y->heads.end + group - 1) / group};
	for (uint32_t i = 0; i < split->n_ranks; i++) {
		y->attn_contributors |= (evn_range_len(of[i].heads) > 0) * (1u << i);
		y->ff_contributors |= (evn_range_len(of[i].ff) > 0) * (1u << i);
	}
}

static evn_status load_layers(loader *l, const evn_split *split, evn_load_progress *progress)
{
	evn_decoder *d = l->d;
	d->layers = calloc(d->n_layers, sizeof *d->layers);
	if (!d->layers)
		return evn_fail_memory(l->err, "layers", d->n_layers * sizeof *d->layers);
	for (l->layer = 0; l->layer < d->n_layers; l->layer++) {
		evn_layer *y = &d->layers[l->layer];
		take_ranges(y, split, l->layer, d->rank, d->h->n_heads / d->h->n_kv_heads);
		if (evn_range_len(y->heads))
			EVN_TRY(load_attention(l, y));
		if (evn_range_len(y->ff))
			EVN_TRY(load_feed_forward(l, y));
		uint64_t bytes = y->qkv.bytes + y->attn_out.bytes + y->gate_up.bytes + y->down.bytes;
		d->weight_bytes += bytes;
		if (progress) {
			atomic_fetch_add(&progress->done_bytes, bytes);
			if (atomic_load(&progress->stop))
				return evn_fail(l->err, EVN_ERR_CANCELLED, "loading was stopped");
		}
	}
	return EVN_OK;
}

/* The head is output.weight, or the token embedding where the two are tied. */
static evn_status load_head(evn_decoder *d, const evn_model *m, const evn_split *split, evn_load_progress *progress,
							evn_error *err)
{
	const evn_tensor *t, *norm;
	const char *name = evn_model_find(m, "output.weight") ? "output.weight" : "token_embd.weight";
	d->vocab = split->vocab[d->rank];
	if (!evn_range_len(d->vocab))
		return EVN_OK;
	EVN_TRY(evn_model_need(m, "output_norm.weight", d->h->dim, 0, &norm, err));
	EVN_TRY(evn_vector_load(&d->out_norm, d->q, norm, (evn_range){0, d->h->dim}, err));
	EVN_TRY(evn_model_need(m, name, d->h->dim, d->h->vocab, &t, err));
	evn_row_block block = {t, d->vocab};
	EVN_TRY(evn_matrix_split_output(&d->head, d->q, &block, 1, NULL, err));
	d->weight_bytes += d->head.bytes;
	if (progress)
		atomic_fetch_add(&progress->done_bytes, d->head.bytes);
	return EVN_OK;
}

static evn_status load_rope(evn_decoder *d, evn_error *err)
{
	uint64_t bytes = (uint64_t)d->limits.n_ctx * d->h->rope_dim * sizeof(float);
	void *table;
	EVN_TRY(evn_buf_create(&d->rope, evn_queue_device(d->q), bytes, EVN_BUF_DEVICE, "rope table", err));
	EVN_TRY(evn_map(d->q, d->rope, bytes, EVN_MAP_OVERWRITE, true, &table, err));
	evn_rope_table(d->h, d->limits.n_ctx, table);
	return evn_unmap(d->q, d->rope, table, err);
}

/* Zeroed: the columns between width and stride must be zeros, and nothing writes them later. */
static evn_status make_scratch(evn_decoder *d, evn_buf **out, uint32_t n_tok, uint32_t stride, const char *what,
							   evn_error *err)
{
	if (!stride)
		return EVN_OK;
	uint64_t bytes = (uint64_t)n_tok * stride * sizeof(float);
	EVN_TRY(evn_buf_create(out, evn_queue_device(d->q), bytes, EVN_BUF_DEVICE, what, err));
	return evn_fill_zero(d->q, *out, err);
}

static void grow(uint32_t *stride, uint32_t columns)
{
	uint32_t padded = (uint32_t)evn_round_up(columns, EVN_PAD);
	if (padded > *stride)
		*stride = padded;
}

static evn_status make_all_scratch(evn_decoder *d, evn_error *err)
{
	uint32_t n = d->limits.n_batch, q_stride = 0;
	for (uint32_t i = 0; i < d->n_layers; i++) {
		const evn_layer *y = &d->layers[i];
		grow(&d->qkv_stride, y->qkv.rows);
		grow(&q_stride, evn_range_len(y->heads) * evn_head_pad(d->h->head_dim));
		grow(&d->attended_stride, y->attn_out.columns);
		grow(&d->gate_up_stride, y->gate_up.rows);
		grow(&d->gated_stride, y->down.columns);
	}
	EVN_TRY(make_scratch(d, &d->x, n, d->dim_stride, "residual", err));
	EVN_TRY(make_scratch(d, &d->normed, n, d->dim_stride, "normed", err));
	EVN_TRY(make_scratch(d, &d->qkv, n, d->qkv_stride, "qkv", err));
	EVN_TRY(make_scratch(d, &d->q_heads, n, q_stride, "queries", err));
	EVN_TRY(make_scratch(d, &d->attended, n, d->attended_stride, "attention output", err));
	EVN_TRY(make_scratch(d, &d->gate_up, n, d->gate_up_stride, "gate and up", err));
	EVN_TRY(make_scratch(d, &d->gated, n, d->gated_stride, "gated", err));
	EVN_TRY(make_scratch(d, &d->logits, EVN_LOGITS_TOKENS, d->head.rows, "logits", err));
	return evn_queue_finish(d->q, err);
}

evn_status evn_decoder_load(evn_decoder **out, evn_queue *q, const evn_model *m, const evn_split *split,
							uint32_t rank, evn_decoder_limits limits, evn_load_progress *progress, evn_error *err)
{
	evn_decoder *d = *out = calloc(1, sizeof *d);
	if (!d)
		return evn_fail_memory(err, "decoder", sizeof *d);
	loader l = {.d = d, .m = m, .err = err};
	EVN_TRY(evn_arch_find(m, &l.arch, err));
	EVN_TRY(evn_model_require_hparams(m, &d->h, err));
	d->q = q;
	d->rank = rank;
	d->limits = limits;
	d->n_layers = d->h->n_layers;
	d->dim_stride = (uint32_t)evn_round_up(d->h->dim, EVN_PAD);
	evn_attention_config heads = {.head_dim = d->h->head_dim,
								  .rope_dim = d->h->rope_dim,
								  .rope_neox = l.arch->rope_neox,
								  .qk_norm = l.arch->qk_norm};
	EVN_TRY(evn_ops_create(&d->ops, q, &(evn_ops_config){0}, err));
	EVN_TRY(evn_attention_ops_create(&d->attention_ops, q, &heads, err));
	EVN_TRY(load_layers(&l, split, progress));
	EVN_TRY(load_head(d, m, split, progress, err));
	EVN_TRY(load_rope(d, err));
	return make_all_scratch(d, err);
}

static void free_layer(evn_layer *y)
{
	evn_buf *const vectors[] = {y->attn_norm, y->ffn_norm, y->qkv_bias, y->q_norm, y->k_norm, y->attn_out_bias};
	for (size_t i = 0; i < sizeof vectors / sizeof *vectors; i++)
		evn_buf_free(vectors[i]);
	evn_matrix_free(&y->qkv);
	evn_matrix_free(&y->attn_out);
	evn_matrix_free(&y->gate_up);
	evn_matrix_free(&y->down);
}

void evn_decoder_free(evn_decoder *d)
{
	if (!d)
		return;
	for (uint32_t i = 0; i < d->n_layers && d->layers; i++)
		free_layer(&d->layers[i]);
	free(d->layers);
	evn_matrix_free(&d->head);
	evn_buf *const buffers[] = {d->out_norm, d->rope,     d->x,       d->normed, d->qkv,
								d->q_heads,  d->attended, d->gate_up, d->gated,  d->logits};
	for (size_t i = 0; i < sizeof buffers / sizeof *buffers; i++)
		evn_buf_free(buffers[i]);
	evn_ops_free(d->ops);
	evn_attention_ops_free(d->attention_ops);
	free(d);
}

evn_ops *evn_decoder_ops(const evn_decoder *d) { return d->ops; }
uint64_t evn_decoder_weight_bytes(const evn_decoder *d) { return d->weight_bytes; }

evn_status evn_kv_create(evn_kv **out, const evn_decoder *d, evn_error *err)
{
	evn_kv *kv = *out = calloc(1, sizeof *kv);
	if (!kv)
		return evn_fail_memory(err, "KV cache", sizeof *kv);
	kv->n_layers = d->n_layers;
	kv->k = calloc(d->n_layers, sizeof(evn_buf *));
	kv->v = calloc(d->n_layers, sizeof(evn_buf *));
	if (!kv->k || !kv->v)
		return evn_fail_memory(err, "KV cache", d->n_layers * sizeof(evn_buf *));
	for (uint32_t i = 0; i < d->n_layers; i++) {
		uint64_t bytes = (uint64_t)evn_range_len(d->layers[i].kv_heads) * d->limits.n_ctx *
						 evn_head_pad(d->h->head_dim) * sizeof(float);
		if (!bytes)
			continue;
		EVN_TRY(evn_buf_create(&kv->k[i], evn_queue_device(d->q), bytes, EVN_BUF_DEVICE, "KV cache", err));
		EVN_TRY(evn_buf_create(&kv->v[i], evn_queue_device(d->q), bytes, EVN_BUF_DEVICE, "KV cache", err));
	}
	return EVN_OK;
}

void evn_kv_free(evn_kv *kv)
{
	if (!kv)
		return;
	for (uint32_t i = 0; i < kv->n_layers; i++) {
		evn_buf_free(kv->k ? kv->k[i] : NULL);
		evn_buf_free(kv->v ? kv->v[i] : NULL);
	}
	free(kv->k);
	free(kv->v);
	free(kv);
}
