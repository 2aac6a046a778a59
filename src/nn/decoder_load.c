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

static evn_status load_whole_vector(const loader *l, const char *part, uint32_t length, evn_buf **out)
{
	const evn_tensor *t;
	EVN_TRY(need(l, part, length, 0, &t));
	return evn_vector_load(out, l->d->q, t, (evn_range){0, length}, l->err);
}

static evn_status load_norm(const loader *l, const char *stem, evn_norm_weights *out)
{
	char part[64];
	snprintf(part, sizeof part, "%s.weight", stem);
	EVN_TRY(load_whole_vector(l, part, l->d->h->dim, &out->weight));
	snprintf(part, sizeof part, "%s.bias", stem);
	return l->d->arch->biased ? load_whole_vector(l, part, l->d->h->dim, &out->bias) : EVN_OK;
}

/* Whether a matrix that may have a bias has one; where the architecture says that it must, loading it will tell. */
static bool has_bias(const loader *l, const char *stem, char part[64])
{
	snprintf(part, 64, "%s.bias", stem);
	return l->d->arch->biased || find(l, part);
}

/* A bias of summed outputs is added once, by the first rank that contributes. */
static evn_status load_sum_bias(const loader *l, const char *stem, uint32_t contributors, evn_buf **out)
{
	char part[64];
	bool first = (contributors & ((1u << l->d->rank) - 1)) == 0;
	return first && has_bias(l, stem, part) ? load_whole_vector(l, part, l->d->h->dim, out) : EVN_OK;
}

/* The entries of one tensor's bias that belong to rows of a block. */
static evn_status copy_bias(const loader *l, const char *part, const evn_row_block *block, float *out)
{
	const evn_tensor *t;
	EVN_TRY(need(l, part, block->tensor->shape[1], 0, &t));
	float *whole = malloc(t->shape[0] * sizeof *whole);
	if (!whole)
		return evn_fail_memory(l->err, part, t->shape[0] * sizeof *whole);
	evn_tensor_row(t, 0, whole);
	memcpy(out, whole + block->rows.begin, evn_range_len(block->rows) * sizeof *whole);
	free(whole);
	return EVN_OK;
}

/* Row blocks stacked to one matrix, and where they go; stems[i] names the tensor of block i. */
typedef struct {
	uint32_t n, offsets[EVN_MATRIX_PARTS];
	const char *stems[EVN_MATRIX_PARTS];
	evn_row_block blocks[EVN_MATRIX_PARTS];
} stacking;

/* Biases stacked as their rows are; all of them or none. */
static evn_status load_stacked_bias(const loader *l, const stacking *s, const evn_matrix *m, evn_buf **out)
{
	char part[64];
	if (!has_bias(l, s->stems[0], part))
		return EVN_OK;
	uint64_t bytes = m->rows * sizeof(float);
	float *stacked = calloc(1, bytes);
	evn_status status = stacked ? EVN_OK : evn_fail_memory(l->err, "bias", bytes);
	for (uint32_t i = 0; i < s->n && status == EVN_OK; i++) {
		snprintf(part, sizeof part, "%s.bias", s->stems[i]);
		status = copy_bias(l, part, &s->blocks[i], stacked + s->offsets[i]);
	}
	if (status == EVN_OK)
		status = evn_buf_create(out, evn_queue_device(l->d->q), bytes, EVN_BUF_DEVICE, "bias", l->err);
	if (status == EVN_OK)
		status = evn_write(l->d->q, *out, 0, stacked, bytes, l->err);
	free(stacked);
	return status;
}

static evn_status load_stack(const loader *l, stacking *s, evn_matrix *m, evn_buf **bias)
{
	EVN_TRY(evn_matrix_split_output(m, l->d->q, s->blocks, s->n, s->offsets, l->err));
	return load_stacked_bias(l, s, m, bias);
}

static evn_status need_matrix(const loader *l, const char *stem, uint64_t cols, uint64_t rows, const evn_tensor **out)
{
	char part[64];
	snprintf(part, sizeof part, "%s.weight", stem);
	return need(l, part, cols, rows, out);
}

/* Rows of q, of k and of v: of three tensors, or of one in which they follow each other. */
static evn_status find_qkv(const loader *l, const evn_layer *y, stacking *s)
{
	const evn_hparams *h = l->d->h;
	const char *const *names = l->d->arch->stacks[EVN_STACK_QKV];
	const uint32_t rows[3] = {h->n_heads * h->head_dim, h->n_kv_heads * h->head_dim, h->n_kv_heads * h->head_dim};
	const evn_range heads[3] = {y->heads, y->kv_heads, y->kv_heads};
	const bool fused = !names[1];
	uint32_t first = 0;
	s->n = 3;
	for (uint32_t i = 0; i < 3; i++) {
		evn_row_block *b = &s->blocks[i];
		s->stems[i] = names[fused ? 0 : i];
		EVN_TRY(need_matrix(l, s->stems[i], h->dim, fused ? rows[0] + rows[1] + rows[2] : rows[i], &b->tensor));
		b->rows = (evn_range){first + heads[i].begin * h->head_dim, first + heads[i].end * h->head_dim};
		first += fused ? rows[i] : 0;
	}
	return EVN_OK;
}

static evn_status load_attention(const loader *l, evn_layer *y)
{
	const evn_hparams *h = l->d->h;
	const char *out_stem = l->d->arch->stacks[EVN_STACK_ATTN_OUT][0];
	const evn_tensor *out;
	stacking qkv;
	EVN_TRY(load_norm(l, "attn_norm", &y->attn_norm));
	EVN_TRY(find_qkv(l, y, &qkv));
	EVN_TRY(need_matrix(l, out_stem, (uint64_t)h->n_heads * h->head_dim, h->dim, &out));
	EVN_TRY(load_stack(l, &qkv, &y->qkv, &y->qkv_bias));
	y->k_offset = qkv.offsets[1];
	y->v_offset = qkv.offsets[2];
	if (l->d->arch->qk_norm) {
		EVN_TRY(load_whole_vector(l, "attn_q_norm.weight", h->head_dim, &y->q_norm));
		EVN_TRY(load_whole_vector(l, "attn_k_norm.weight", h->head_dim, &y->k_norm));
	}
	EVN_TRY(load_sum_bias(l, out_stem, y->attn_contributors, &y->attn_out_bias));
	const evn_range columns = {y->heads.begin * h->head_dim, y->heads.end * h->head_dim};
	return evn_matrix_split_input(&y->attn_out, l->d->q, out, columns, l->err);
}

/* The windows of one phase. Biases are loaded for each: they are short. */
static evn_status take_window(const loader *l, const evn_layer *y, const stacking *held, evn_ff *f)
{
	const char *down_stem = l->d->arch->stacks[EVN_STACK_FF_OUT][0];
	const uint32_t first = held->blocks[0].rows.begin;
	const evn_range window = {f->units.begin - first, f->units.end - first};
	stacking in = *held;
	evn_matrix_view_output(&f->gate_up, &y->gate_up, held->offsets, held->n, window, in.offsets);
	evn_matrix_view_input(&f->down, &y->down, window);
	f->up_offset = in.offsets[in.n - 1];
	for (uint32_t i = 0; i < in.n; i++)
		in.blocks[i].rows = f->units;
	EVN_TRY(load_stacked_bias(l, &in, &f->gate_up, &f->gate_up_bias));
	return load_sum_bias(l, down_stem, f->contributors, &f->down_bias);
}

static evn_status load_feed_forward(const loader *l, evn_layer *y, evn_range units)
{
	const evn_hparams *h = l->d->h;
	const evn_stack *stacks = l->d->arch->stacks;
	const evn_tensor *down;
	stacking in = {0};
	EVN_TRY(load_norm(l, "ffn_norm", &y->ffn_norm));
	for (; stacks[EVN_STACK_FF_IN][in.n]; in.n++) {
		in.stems[in.n] = stacks[EVN_STACK_FF_IN][in.n];
		EVN_TRY(need_matrix(l, in.stems[in.n], h->dim, h->ff_dim, &in.blocks[in.n].tensor));
		in.blocks[in.n].rows = units;
	}
	EVN_TRY(need_matrix(l, stacks[EVN_STACK_FF_OUT][0], h->ff_dim, h->dim, &down));
	EVN_TRY(evn_matrix_split_output(&y->gate_up, l->d->q, in.blocks, in.n, in.offsets, l->err));
	EVN_TRY(evn_matrix_split_input(&y->down, l->d->q, down, units, l->err));
	for (int phase = 0; phase < EVN_PHASES; phase++)
		if (evn_range_len(y->ff[phase].units))
			EVN_TRY(take_window(l, y, &in, &y->ff[phase]));
	return EVN_OK;
}

static void take_ranges(evn_layer *y, const evn_split *split, uint32_t layer, uint32_t rank, uint32_t group)
{
	const evn_layer_split *of = &split->layers[layer * split->n_ranks];
	y->heads = of[rank].heads;
	if (evn_range_len(y->heads))
		y->kv_heads = (evn_range){y->heads.begin / group, (y->heads.end + group - 1) / group};
	for (uint32_t i = 0; i < split->n_ranks; i++)
		y->attn_contributors |= (evn_range_len(of[i].heads) > 0) * (1u << i);
	for (int phase = 0; phase < EVN_PHASES; phase++) {
		y->ff[phase].units = of[rank].ff[phase];
		for (uint32_t i = 0; i < split->n_ranks; i++)
			y->ff[phase].contributors |= (evn_range_len(of[i].ff[phase]) > 0) * (1u << i);
	}
}

static evn_status load_layers(loader *l, const evn_split *split, evn_load_progress *progress)
{
	evn_decoder *d = l->d;
	d->layers = calloc(d->n_layers + 1, sizeof *d->layers); /* there may be none */
	if (!d->layers)
		return evn_fail_memory(l->err, "layers", d->n_layers * sizeof *d->layers);
	for (l->layer = 0; l->layer < d->n_layers; l->layer++) {
		evn_layer *y = &d->layers[l->layer];
		take_ranges(y, split, l->layer, d->rank, d->h->n_heads / d->h->n_kv_heads);
		if (evn_range_len(y->heads))
			EVN_TRY(load_attention(l, y));
		evn_range units = evn_ff_held(&split->layers[(size_t)l->layer * split->n_ranks + d->rank]);
		if (evn_range_len(units))
			EVN_TRY(load_feed_forward(l, y, units));
		uint64_t bytes = y->qkv.bytes + y->attn_out.bytes;
		for (int phase = 0; phase < EVN_PHASES; phase++)
			d->weight_bytes[phase] += bytes + y->ff[phase].gate_up.bytes + y->ff[phase].down.bytes;
		if (progress) {
			atomic_fetch_add(&progress->done_bytes, bytes + y->gate_up.bytes + y->down.bytes);
			if (atomic_load(&progress->stop))
				return evn_fail(l->err, EVN_ERR_CANCELLED, "loading was stopped");
		}
	}
	return EVN_OK;
}

static evn_status load_out_norm(evn_decoder *d, const evn_model *m, evn_error *err)
{
	evn_buf **const to[] = {&d->out_norm.weight, &d->out_norm.bias};
	static const char *const parts[] = {"weight", "bias"};
	for (int i = 0; i < (d->arch->biased ? 2 : 1); i++) {
		const evn_tensor *t;
		char name[64];
		snprintf(name, sizeof name, "%s.%s", d->arch->out_norm, parts[i]);
		EVN_TRY(evn_model_need(m, name, d->h->dim, 0, &t, err));
		EVN_TRY(evn_vector_load(to[i], d->q, t, (evn_range){0, d->h->dim}, err));
	}
	return EVN_OK;
}

/* The head is output.weight, or the token embedding where the two are tied. */
static evn_status load_head(evn_decoder *d, const evn_model *m, const evn_split *split, evn_load_progress *progress,
							evn_error *err)
{
	const evn_tensor *t;
	const char *name = evn_model_find(m, "output.weight") ? "output.weight" : "token_embd.weight";
	d->vocab = split->vocab[d->rank];
	if (!evn_range_len(d->vocab))
		return EVN_OK;
	if (d->arch->out_norm)
		EVN_TRY(load_out_norm(d, m, err));
	EVN_TRY(evn_model_need(m, name, d->h->dim, d->h->vocab, &t, err));
	evn_row_block block = {t, d->vocab};
	EVN_TRY(evn_matrix_split_output(&d->head, d->q, &block, 1, NULL, err));
	if (evn_model_find(m, "output.bias")) {
		EVN_TRY(evn_model_need(m, "output.bias", d->h->vocab, 0, &t, err));
		EVN_TRY(evn_vector_load(&d->head_bias, d->q, t, d->vocab, err));
	}
	for (int phase = 0; phase < EVN_PHASES; phase++)
		d->weight_bytes[phase] += d->head.bytes;
	if (progress)
		atomic_fetch_add(&progress->done_bytes, d->head.bytes);
	return EVN_OK;
}

static evn_status load_rope(evn_decoder *d, evn_error *err)
{
	/* Where nothing rotates the kernel still wants a buffer. */
	uint64_t bytes = (uint64_t)d->limits.n_ctx * (d->h->rope_dim ? d->h->rope_dim : 1) * sizeof(float);
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
	uint32_t n = d->limits.n_batch;
	for (uint32_t i = 0; i < d->n_layers; i++) {
		const evn_layer *y = &d->layers[i];
		grow(&d->qkv_stride, y->qkv.rows);
		grow(&d->attended_stride, y->attn_out.columns);
		for (int phase = 0; phase < EVN_PHASES; phase++) {
			grow(&d->gate_up_stride, y->ff[phase].gate_up.rows);
			grow(&d->gated_stride, y->ff[phase].down.columns);
		}
	}
	for (uint32_t lane = 0; lane < EVN_DECODER_LANES; lane++) {
		EVN_TRY(make_scratch(d, &d->lanes[lane].x, n, d->dim_stride, "residual", err));
		EVN_TRY(make_scratch(d, &d->lanes[lane].normed, n, d->dim_stride, "normed", err));
		n = (n + 1) / 2; /* the second lane has half a step's tokens at most */
	}
	n = d->limits.n_batch;
	EVN_TRY(make_scratch(d, &d->qkv, n, d->qkv_stride, "qkv", err));
	EVN_TRY(make_scratch(d, &d->attended, n, d->attended_stride, "attention output", err));
	EVN_TRY(make_scratch(d, &d->gate_up, n, d->gate_up_stride, "gate and up", err));
	EVN_TRY(make_scratch(d, &d->gated, n, d->gated_stride, "gated", err));
	EVN_TRY(make_scratch(d, &d->logits, EVN_LOGITS_TOKENS, d->head.rows, "logits", err));
	return evn_queue_finish(d->q, err);
}

static evn_status make_attention(evn_decoder *d, evn_error *err)
{
	const evn_attention_config heads = evn_arch_heads(d->arch, d->h, d->limits.kv_cache);
	return evn_attention_ops_create(&d->attention_ops, d->q, &heads, err);
}

evn_status evn_decoder_load(evn_decoder **out, evn_queue *q, const evn_model *m, const evn_split *split,
							uint32_t rank, evn_decoder_limits limits, evn_load_progress *progress, evn_error *err)
{
	evn_decoder *d = *out = calloc(1, sizeof *d);
	if (!d)
		return evn_fail_memory(err, "decoder", sizeof *d);
	loader l = {.d = d, .m = m, .err = err};
	EVN_TRY(evn_arch_find(m, &d->arch, err));
	EVN_TRY(evn_model_require_hparams(m, &d->h, err));
	d->q = q;
	d->rank = rank;
	d->limits = limits;
	d->n_layers = limits.n_layers ? limits.n_layers : d->h->n_layers;
	d->dim_stride = (uint32_t)evn_round_up(d->h->dim, EVN_PAD);
	EVN_TRY(evn_ops_create(&d->ops, q, &(evn_ops_config){.dot = limits.dot}, err));
	if (d->n_layers > 0)
		EVN_TRY(make_attention(d, err));
	EVN_TRY(load_layers(&l, split, progress));
	EVN_TRY(load_head(d, m, split, progress, err));
	EVN_TRY(load_rope(d, err));
	return make_all_scratch(d, err);
}

static void free_layer(evn_layer *y)
{
	evn_buf *const vectors[] = {y->attn_norm.weight, y->attn_norm.bias, y->ffn_norm.weight, y->ffn_norm.bias,
								y->qkv_bias,         y->q_norm,         y->k_norm,          y->attn_out_bias};
	for (size_t i = 0; i < sizeof vectors / sizeof *vectors; i++)
		evn_buf_free(vectors[i]);
	evn_matrix_free(&y->qkv);
	evn_matrix_free(&y->attn_out);
	evn_matrix_free(&y->gate_up);
	evn_matrix_free(&y->down);
	for (int phase = 0; phase < EVN_PHASES; phase++) {
		evn_buf_free(y->ff[phase].gate_up_bias);
		evn_buf_free(y->ff[phase].down_bias);
	}
}

void evn_decoder_free(evn_decoder *d)
{
	if (!d)
		return;
	for (uint32_t i = 0; i < d->n_layers && d->layers; i++)
		free_layer(&d->layers[i]);
	free(d->layers);
	evn_matrix_free(&d->head);
	for (uint32_t lane = 0; lane < EVN_DECODER_LANES; lane++) {
		evn_buf_free(d->lanes[lane].x);
		evn_buf_free(d->lanes[lane].normed);
	}
	evn_buf *const buffers[] = {d->out_norm.weight, d->out_norm.bias, d->head_bias, d->rope,  d->qkv,
								d->attended,        d->gate_up,       d->gated,     d->logits};
	for (size_t i = 0; i < sizeof buffers / sizeof *buffers; i++)
		evn_buf_free(buffers[i]);
	evn_ops_free(d->ops);
	evn_attention_ops_free(d->attention_ops);
	free(d);
}

evn_ops *evn_decoder_ops(const evn_decoder *d) { return d->ops; }
uint64_t evn_decoder_weight_bytes(const evn_decoder *d, uint32_t n_tok)
{
	return d->weight_bytes[evn_phase_of(n_tok)];
}

evn_status evn_kv_create(evn_kv **out, const evn_decoder *d, evn_error *err)
{
	evn_kv *kv = *out = calloc(1, sizeof *kv);
	if (!kv)
		return evn_fail_memory(err, "KV cache", sizeof *kv);
	kv->n_layers = d->n_layers;
	kv->k = calloc(d->n_layers + 1, sizeof(evn_buf *)); /* there may be no layers */
	kv->v = calloc(d->n_layers + 1, sizeof(evn_buf *));
	if (!kv->k || !kv->v)
		return evn_fail_memory(err, "KV cache", d->n_layers * sizeof(evn_buf *));
	for (uint32_t i = 0; i < d->n_layers; i++) {
		uint64_t bytes = (uint64_t)evn_range_len(d->layers[i].kv_heads) *
						 evn_kv_cache_bytes(d->limits.kv_cache, d->h->head_dim, d->limits.n_ctx);
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
