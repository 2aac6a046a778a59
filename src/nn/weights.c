#include "nn/weights.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SHOWN_NAMES 3u

/* ---- finding ----------------------------------------------------------------------------------------------------
 */

/* Finds the tensors of block b, or those outside the blocks if b is NULL. */
typedef struct {
	const evn_graph *g;
	const evn_block *b;
	evn_error *err;
} finder;

typedef struct {
	char text[96];
} tensor_name;

static tensor_name name_of(const finder *f, const char *stem, const char *ending)
{
	tensor_name n;
	if (f->b)
		snprintf(n.text, sizeof n.text, "%sblk.%u.%s.%s", f->b->side ? f->b->side : "", f->b->layer, stem, ending);
	else
		snprintf(n.text, sizeof n.text, "%s.%s", stem, ending);
	return n;
}

static evn_status need(const finder *f, const char *stem, const char *ending, uint64_t cols, uint64_t rows,
					   const evn_tensor **out)
{
	return evn_model_need(f->g->model, name_of(f, stem, ending).text, cols, rows, out, f->err);
}

static evn_status find_norm(const finder *f, evn_norm_spec norm, evn_affine *out)
{
	const uint32_t dim = f->g->h->dim;
	const evn_block of_layer_before = {.layer = (f->b ? f->b->layer : f->g->h->n_layers) - 1};
	finder at = *f;
	if (!norm.stem)
		return EVN_OK;
	if (norm.place != EVN_OF_BLOCK)
		at.b = norm.place == EVN_OF_LAYER_BEFORE ? &of_layer_before : NULL;
	EVN_TRY(need(&at, norm.stem, "weight", dim, 0, &out->weight));
	return norm.kind != EVN_NORM_RMS ? need(&at, norm.stem, "bias", dim, 0, &out->bias) : EVN_OK;
}

/* The matrix (rows, columns) of a block, or one for each expert. */
static evn_status need_matrix(const finder *f, const char *stem, uint64_t cols, uint64_t rows, const evn_tensor **out)
{
	const uint64_t n = f->b->kind == EVN_BLOCK_EXPERTS ? f->b->feed_forward.experts.n : 1;
	return evn_model_need_stack(f->g->model, name_of(f, stem, "weight").text, (uint64_t[]){cols, rows, n}, out,
								f->err);
}

/* The bias of such a matrix. */
static evn_status need_bias(const finder *f, const char *stem, uint64_t rows, const evn_tensor **out)
{
	const bool experts = f->b->kind == EVN_BLOCK_EXPERTS;
	return need(f, stem, "bias", rows, experts ? f->b->feed_forward.experts.n : 0, out);
}

static evn_status find_router(const finder *f, evn_block_weights *out)
{
	const evn_experts_spec *e = &f->b->feed_forward.experts;
	EVN_TRY(need(f, e->router, "weight", f->g->h->dim, e->n, &out->router.weight));
	if (e->scales) {
		EVN_TRY(need(f, e->router, "scale", f->g->h->dim, 0, &out->router_scale));
		EVN_TRY(need(f, f->b->out, "scale", e->n, 0, &out->expert_scales));
	}
	if (e->biased)
		EVN_TRY(need(f, "exp_probs_b", "bias", e->n, 0, &out->choice_bias));
	return evn_block_has_bias(f->g, f->b, e->router) ? need(f, e->router, "bias", e->n, 0, &out->router.bias)
													 : EVN_OK;
}

/* Finds the biases of stacked rows: either all of them exist or none. */
static evn_status find_in(const finder *f, evn_block_weights *out)
{
	out->n_in = evn_block_rows(f->b, out->rows);
	const bool biased = evn_block_has_bias(f->g, f->b, out->rows[0].stem);
	for (uint32_t i = 0; i < out->n_in; i++) {
		const evn_row_spec *r = &out->rows[i];
		EVN_TRY(need_matrix(f, r->stem, f->g->h->dim, r->tensor_rows, &out->in[i].weight));
		if (biased)
			EVN_TRY(need_bias(f, r->stem, r->tensor_rows, &out->in[i].bias));
	}
	return EVN_OK;
}

static evn_status find_out(const finder *f, evn_affine *out)
{
	const evn_block *b = f->b;
	const uint32_t dim = f->g->h->dim;
	EVN_TRY(need_matrix(f, b->out, (uint64_t)b->n_units * b->unit_width, dim, &out->weight));
	return evn_block_has_bias(f->g, b, b->out) ? need_bias(f, b->out, dim, &out->bias) : EVN_OK;
}

static evn_status find_delta(const finder *f, evn_delta_weights *out)
{
	const evn_block *b = f->b;
	const uint32_t channels = (2 * b->delta.n_keys + b->n_units) * b->unit_width, dim = f->g->h->dim;
	char decay[64];
	snprintf(decay, sizeof decay, "blk.%u.ssm_a", b->layer);
	EVN_TRY(need(f, "ssm_conv1d", "weight", b->delta.taps, channels, &out->conv));
	EVN_TRY(need(f, "ssm_alpha", "weight", dim, b->n_units, &out->alpha));
	EVN_TRY(need(f, "ssm_beta", "weight", dim, b->n_units, &out->beta));
	EVN_TRY(need(f, "ssm_dt", "bias", b->n_units, 0, &out->alpha_bias));
	EVN_TRY(evn_model_need(f->g->model, decay, b->n_units, 0, &out->decay, f->err));
	return need(f, "ssm_norm", "weight", b->unit_width, 0, &out->norm);
}

static evn_status find_latent(const finder *f, evn_block_weights *out)
{
	const evn_latent_spec *l = &f->b->attention.latent;
	const uint64_t heads = f->b->n_units;
	if (l->query) {
		EVN_TRY(need(f, "attn_q_a_norm", "weight", l->query, 0, &out->query_norm));
		EVN_TRY(need(f, "attn_q_b", "weight", l->query, heads * (l->plain + l->rotated), &out->query_b));
	}
	EVN_TRY(need(f, "attn_kv_a_norm", "weight", l->latent, 0, &out->latent_norm));
	if (evn_model_find(f->g->model, name_of(f, "attn_kv_b", "weight").text))
		return need(f, "attn_kv_b", "weight", l->latent, heads * (l->plain + l->value), &out->kv_b);
	EVN_TRY(evn_model_need_stack(f->g->model, name_of(f, "attn_k_b", "weight").text,
								 (uint64_t[]){l->plain, l->latent, heads}, &out->k_b, f->err));
	return evn_model_need_stack(f->g->model, name_of(f, "attn_v_b", "weight").text,
								(uint64_t[]){l->latent, l->value, heads}, &out->v_b, f->err);
}

evn_status evn_block_weights_find(evn_block_weights *out, const evn_graph *g, const evn_block *b, evn_error *err)
{
	const finder f = {g, b, err};
	*out = (evn_block_weights){0};
	EVN_TRY(find_norm(&f, b->norm, &out->norm));
	EVN_TRY(find_norm(&f, (evn_norm_spec){EVN_NORM_RMS, b->post, EVN_OF_BLOCK}, &out->post));
	EVN_TRY(find_norm(&f, (evn_norm_spec){EVN_NORM_RMS, b->joint, EVN_OF_BLOCK}, &out->joint));
	if (b->kind == EVN_BLOCK_ATTENTION && (b->attention.qk_norm || b->attention.qk_norm_all)) {
		const uint32_t dim = b->attention.head_dim, all = b->attention.qk_norm_all;
		EVN_TRY(need(&f, "attn_q_norm", "weight", all ? dim * b->n_units : dim, 0, &out->head_norms[0]));
		if (!b->attention.shares)
			EVN_TRY(
				need(&f, "attn_k_norm", "weight", all ? dim * (b->n_units / b->group) : dim, 0, &out->head_norms[1]));
	}
	if (b->kind == EVN_BLOCK_ATTENTION && b->attention.sinks)
		EVN_TRY(need(&f, "attn_sinks", "weight", b->n_units, 0, &out->sinks));
	if (b->kind == EVN_BLOCK_ATTENTION && b->attention.bias)
		EVN_TRY(
			evn_model_need(g->model, b->attention.bias, b->n_units, b->attention.n_buckets, &out->distances, err));
	if (b->kind == EVN_BLOCK_DELTA)
		EVN_TRY(find_delta(&f, &out->delta));
	if (b->kind == EVN_BLOCK_ATTENTION && b->attention.latent.latent)
		EVN_TRY(find_latent(&f, out));
	if (b->scale)
		EVN_TRY(need(&f, b->scale, "weight", 1, 0, &out->scale));
	if (b->kind == EVN_BLOCK_EXPERTS)
		EVN_TRY(find_router(&f, out));
	if (b->joins && b->feed_forward.share)
		EVN_TRY(need(&f, b->feed_forward.share, "weight", g->h->dim, 0, &out->router.weight));
	EVN_TRY(find_in(&f, out));
	return find_out(&f, &out->out);
}

/* The rows of the places are those of the tokens. */
static evn_status find_patches(const finder *f, evn_end_weights *out)
{
	const evn_hparams *h = f->g->h;
	EVN_TRY(evn_model_need(f->g->model, EVN_PLACES, h->dim, h->vocab, &out->tokens, f->err));
	EVN_TRY(need(f, "v.patch_embd", "weight", f->g->patches.floats, h->dim, &out->projection));
	if (evn_model_find(f->g->model, "v.patch_embd.bias"))
		EVN_TRY(need(f, "v.patch_embd", "bias", h->dim, 0, &out->patch_bias));
	return f->g->patches.class_row ? evn_model_need(f->g->model, EVN_CLASS_ROW, h->dim, 0, &out->class_row, f->err)
								   : EVN_OK;
}

evn_status evn_end_weights_find(evn_end_weights *out, const evn_graph *g, evn_error *err)
{
	const evn_hparams *h = g->h;
	const finder f = {g, NULL, err};
	const evn_tensor *positions = evn_model_find(g->model, "position_embd.weight");
	const evn_tensor *types = evn_model_find(g->model, "token_types.weight");
	*out = (evn_end_weights){0};
	if (types)
		EVN_TRY(need(&f, "token_types", "weight", h->dim, types->shape[1], &out->types));
	EVN_TRY(g->patches.floats ? find_patches(&f, out)
							  : need(&f, "token_embd", "weight", h->dim, h->vocab, &out->tokens));
	if (positions)
		EVN_TRY(need(&f, "position_embd", "weight", h->dim, positions->shape[1], &out->positions));
	EVN_TRY(find_norm(&f, g->out_norm, &out->out_norm));
	EVN_TRY(find_norm(&f, g->encoder_norm, &out->encoder_norm));
	if (g->layer_inputs) {
		const uint64_t all = (uint64_t)g->layer_inputs * h->n_layers;
		EVN_TRY(need(&f, "per_layer_token_embd", "weight", all, h->vocab, &out->layer_tokens));
		EVN_TRY(need(&f, "per_layer_model_proj", "weight", h->dim, all, &out->projection));
		EVN_TRY(need(&f, "per_layer_proj_norm", "weight", g->layer_inputs, 0, &out->layer_norm));
	}
	EVN_TRY(evn_graph_head(g, &out->head.weight, err));
	return evn_model_find(g->model, "output.bias") ? need(&f, "output", "bias", h->vocab, 0, &out->head.bias)
												   : EVN_OK;
}

/* ---- what is left over ------------------------------------------------------------------------------------------
 */

typedef struct {
	const evn_gguf *file;
	bool *is_read; /* (tensors of the file) */
} census;

/* Marks a tensor as read. The head may be a copy of the embedding from before an adapter changed it. */
static void mark(census *c, const evn_tensor *t)
{
	const evn_tensor *first = evn_gguf_tensor_at(c->file, 0);
	if (t && (uintptr_t)t >= (uintptr_t)first && (uintptr_t)t < (uintptr_t)(first + evn_gguf_n_tensors(c->file)))
		c->is_read[t - first] = true;
}

static void mark_affine(census *c, const evn_affine *a)
{
	mark(c, a->weight);
	mark(c, a->bias);
}

static evn_status mark_ends(census *c, const evn_graph *g, evn_error *err)
{
	evn_end_weights w;
	EVN_TRY(evn_end_weights_find(&w, g, err));
	mark(c, w.tokens);
	mark(c, w.positions);
	mark(c, w.types);
	mark(c, w.layer_tokens);
	mark(c, w.projection);
	mark(c, w.patch_bias);
	mark(c, w.class_row);
	mark(c, w.layer_norm);
	mark_affine(c, &w.out_norm);
	mark_affine(c, &w.encoder_norm);
	mark_affine(c, &w.head);
	if (g->h->rope.long_factors) {
		mark(c, evn_model_find(g->model, EVN_ROPE_FACTORS_SHORT));
		mark(c, evn_model_find(g->model, EVN_ROPE_FACTORS_LONG));
	} else if (g->h->rope.freq_factors) {
		mark(c, evn_model_find(g->model, EVN_ROPE_FACTORS));
	}
	return EVN_OK;
}

static void mark_delta(census *c, const evn_delta_weights *d)
{
	const evn_tensor *const all[] = {d->conv, d->alpha, d->beta, d->alpha_bias, d->decay, d->norm};
	for (size_t i = 0; i < sizeof all / sizeof *all; i++)
		mark(c, all[i]);
}

/* The layers behind those that are run. */
static void mark_prediction(census *c, const evn_hparams *h)
{
	for (uint32_t layer = h->n_layers; layer < h->n_layers + h->n_prediction_layers; layer++) {
		char prefix[32];
		const int n = snprintf(prefix, sizeof prefix, "blk.%u.", layer);
		for (uint32_t i = 0; i < evn_gguf_n_tensors(c->file); i++) {
			const evn_str name = evn_gguf_tensor_at(c->file, i)->name;
			c->is_read[i] |= name.length > (size_t)n && !memcmp(name.text, prefix, (size_t)n);
		}
	}
}

static evn_status mark_block(census *c, const evn_graph *g, const evn_block *b, evn_error *err)
{
	evn_block_weights w;
	EVN_TRY(evn_block_weights_find(&w, g, b, err));
	mark_affine(c, &w.norm);
	mark_affine(c, &w.post);
	mark_affine(c, &w.joint);
	for (uint32_t i = 0; i < w.n_in; i++)
		mark_affine(c, &w.in[i]);
	mark_affine(c, &w.out);
	mark_affine(c, &w.router);
	mark(c, w.router_scale);
	mark(c, w.expert_scales);
	mark(c, w.choice_bias);
	mark(c, w.head_norms[0]);
	mark(c, w.head_norms[1]);
	mark(c, w.sinks);
	mark(c, w.distances);
	mark_delta(c, &w.delta);
	mark(c, w.scale);
	const evn_tensor *const latent[] = {w.query_norm, w.query_b, w.latent_norm, w.k_b, w.v_b, w.kv_b};
	for (size_t i = 0; i < sizeof latent / sizeof *latent; i++)
		mark(c, latent[i]);
	return EVN_OK;
}

/* True for tensors that may be ignored: a checkpoint contains a whole model, and what the trainer needs to
 * continue. */
static bool is_harmless(evn_str name)
{
	static const char *const beginnings[] = {"train.", "adam_m.", "adam_v."};
	for (size_t i = 0; i < sizeof beginnings / sizeof *beginnings; i++) {
		const size_t n = strlen(beginnings[i]);
		if (name.length > n && !memcmp(name.text, beginnings[i], n))
			return true;
	}
	return false;
}

/* The head for classes reads its tensors itself (engine/head.h). */
static bool is_of_head(evn_str name)
{
	return evn_str_is(name, "cls.weight") || evn_str_is(name, "cls.bias") || evn_str_is(name, "cls.output.weight") ||
		   evn_str_is(name, "cls.output.bias");
}

static evn_status judge(const census *c, evn_error *err)
{
	char names[SHOWN_NAMES * 80] = "";
	uint32_t n_foreign = 0, n_harmless = 0;
	size_t used = 0;
	for (uint32_t i = 0; i < evn_gguf_n_tensors(c->file); i++) {
		const evn_str name = evn_gguf_tensor_at(c->file, i)->name;
		if (c->is_read[i] || is_of_head(name))
			continue;
		if (is_harmless(name)) {
			n_harmless++;
			continue;
		}
		if (n_foreign++ < SHOWN_NAMES)
			used += (size_t)snprintf(names + used, sizeof names - used, "%s\"%.*s\"", used ? ", " : "",
									 (int)name.length, name.text);
	}
	if (n_harmless)
		evn_log(EVN_LOG_INFO, "%s: %" PRIu32 " tensors of a checkpoint's state are not read", evn_gguf_name(c->file),
				n_harmless);
	if (!n_foreign)
		return EVN_OK;
	return evn_fail(err, EVN_ERR_UNSUPPORTED,
					"%s: %" PRIu32 " tensor%s that evener does not know in a model of this architecture: %s%s",
					evn_gguf_name(c->file), n_foreign, n_foreign > 1 ? "s" : "", names,
					n_foreign > SHOWN_NAMES ? ", ..." : "");
}

evn_status evn_graph_check_tensors(const evn_graph *g, evn_error *err)
{
	const evn_gguf *file = evn_model_gguf(g->model);
	census c = {file, calloc(evn_gguf_n_tensors(file) + 1u, sizeof *c.is_read)};
	if (!c.is_read)
		return evn_fail_memory(err, evn_gguf_name(file), evn_gguf_n_tensors(file));
	evn_status s = mark_ends(&c, g, err);
	for (uint32_t i = 0; i < g->n_blocks && s == EVN_OK; i++)
		s = mark_block(&c, g, &g->blocks[i], err);
	mark_prediction(&c, g->h);
	if (s == EVN_OK)
		s = judge(&c, err);
	free(c.is_read);
	return s;
}
