#include "nn/graph.h"

#include "evener/inspect.h"
#include "nn/weights.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* One row for each architecture. */
#define ARCHITECTURES(row)                                                                                           \
	row(llama) row(gpt_oss) row(qwen2) row(qwen2moe) row(qwen3) row(qwen3moe) row(qwen2vl) row(qwen3vl)              \
		row(mistral3) row(phi3) row(smollm3) row(granite) row(olmo2) row(gemma2) row(gemma3) row(gemma4) row(gpt2)   \
			row(simple_lm) row(bert) row(nomic_bert) row(qwen35) row(qwen35moe) row(deepseek2) row(t5) row(vit)

#define DECLARED(name) extern const evn_arch evn_arch_##name;
#define LISTED(name) &evn_arch_##name,
ARCHITECTURES(DECLARED)
static const evn_arch *const archs[] = {ARCHITECTURES(LISTED)};
#define N_ARCHS (sizeof archs / sizeof *archs)

static evn_status unknown(const evn_model *m, const evn_hparams *h, evn_error *err)
{
	char names[512] = "";
	for (size_t i = 0, n = 0; i < N_ARCHS && n < sizeof names; i++)
		n += (size_t)snprintf(names + n, sizeof names - n, "%s%s", i ? ", " : "", archs[i]->name);
	return evn_fail(err, EVN_ERR_UNSUPPORTED, "%s: architecture \"%.*s\" is not one evener runs (%s)",
					evn_gguf_name(evn_model_gguf(m)), (int)h->arch.length, h->arch.text, names);
}

static evn_status find_arch(const evn_model *m, const evn_hparams *h, const evn_arch **out, evn_error *err)
{
	*out = NULL;
	for (size_t i = 0; i < N_ARCHS; i++)
		if (evn_str_is(h->arch, archs[i]->name))
			*out = archs[i];
	if (!*out)
		return unknown(m, h, err);
	if ((h->n_layers > 0) != (*out)->has_layers)
		return evn_fail(err, EVN_ERR_FORMAT, "%s: a %s model of %u layers", evn_gguf_name(evn_model_gguf(m)),
						(*out)->name, h->n_layers);
	return EVN_OK;
}

evn_status evn_graph_make(evn_graph **out, const evn_model *m, evn_error *err)
{
	const evn_arch *arch;
	const evn_hparams *h;
	*out = NULL;
	EVN_TRY(evn_model_require_hparams(m, &h, err));
	EVN_TRY(find_arch(m, h, &arch, err));
	evn_graph *g = calloc(1, sizeof *g);
	if (!g)
		return evn_fail_memory(err, "model", sizeof *g);
	*g = (evn_graph){.model = m,
					 .h = h,
					 .embedding_scale = 1,
					 .logit_scale = 1,
					 .n_ropes = 1,
					 .ropes = {h->rope},
					 .n_classes = EVN_PLAN_VOCAB + 1};
	evn_status s = arch->fill(g, err);
	if (s == EVN_OK)
		s = evn_graph_check_tensors(g, err);
	if (s == EVN_OK)
		s = evn_model_check_keys(m, err);
	if (s != EVN_OK) {
		evn_graph_free(g);
		return s;
	}
	*out = g;
	return EVN_OK;
}

evn_status evn_model_check(const evn_model *m, evn_error *err)
{
	evn_graph *g;
	EVN_TRY(evn_graph_make(&g, m, err));
	evn_graph_free(g);
	return EVN_OK;
}

void evn_graph_free(evn_graph *g)
{
	if (!g)
		return;
	free(g->blocks);
	free(g);
}

void evn_graph_keep_layers(evn_graph *g, uint32_t n_layers)
{
	while (g->n_blocks && g->blocks[g->n_blocks - 1].layer >= n_layers) {
		const evn_block *last = &g->blocks[--g->n_blocks];
		if (last->kind != EVN_BLOCK_ATTENTION || !last->attention.shares)
			g->class_blocks[last->cut_class]--;
	}
}

/* ---- tensors --------------------------------------------------------------------------------------------------- */

evn_status evn_graph_head(const evn_graph *g, const evn_tensor **out, evn_error *err)
{
	*out = evn_model_head(g->model); /* it exists, because hparams come from the embedding */
	return evn_model_check_shape(g->model, *out, g->h->dim, g->h->vocab, err);
}

evn_status evn_block_tensor(const evn_graph *g, const evn_block *b, const char *stem, const evn_tensor **out,
							evn_error *err)
{
	char name[96];
	snprintf(name, sizeof name, "%sblk.%u.%s.weight", b->side ? b->side : "", b->layer, stem);
	return evn_model_get(g->model, name, out, err);
}

bool evn_block_has_bias(const evn_graph *g, const evn_block *b, const char *stem)
{
	char name[96];
	snprintf(name, sizeof name, "%sblk.%u.%s.bias", b->side ? b->side : "", b->layer, stem);
	return g->biased || evn_model_find(g->model, name);
}

evn_nonlinearity evn_graph_gate(const evn_graph *g)
{
	for (uint32_t i = 0; i < g->n_blocks; i++)
		if ((g->blocks[i].kind == EVN_BLOCK_FEED_FORWARD || g->blocks[i].kind == EVN_BLOCK_EXPERTS) &&
			g->blocks[i].feed_forward.gated)
			return g->blocks[i].feed_forward.act;
	return EVN_SILU;
}

uint32_t evn_graph_last_joined(const evn_graph *g, uint32_t block)
{
	while (block + 1 < g->n_blocks && g->blocks[block + 1].joins)
		block++;
	return block;
}

double evn_block_read_fraction(const evn_block *b)
{
	const evn_experts_spec *e = &b->feed_forward.experts;
	return b->kind == EVN_BLOCK_EXPERTS ? (double)e->k / e->n : 1;
}

/* Behind the inputs of the last layer a whole vector can be read. */
uint32_t evn_graph_row_floats(const evn_graph *g)
{
	const uint64_t of_layers = (uint64_t)g->layer_inputs * g->h->n_layers;
	if (g->patches.floats)
		return (uint32_t)(evn_round_up(g->h->dim, EVN_PAD) + evn_round_up(g->patches.floats, EVN_PAD));
	return (uint32_t)(evn_round_up(g->h->dim, EVN_PAD) +
					  (of_layers ? evn_round_up(of_layers + EVN_TILE_ROWS, EVN_PAD) : 0));
}

static uint32_t parts_of(const evn_block *b)
{
	if (b->kind == EVN_BLOCK_ATTENTION && b->attention.shares)
		return 1;
	return b->kind == EVN_BLOCK_ATTENTION ? b->attention.v_is_k ? 2 : 3 : b->feed_forward.gated ? 2 : 1;
}

static uint32_t width_of_part(const evn_block *b, uint32_t i)
{
	return b->kind == EVN_BLOCK_ATTENTION && b->attention.gated && i == 0 ? 2 * b->unit_width : b->unit_width;
}

/* Queries, keys and values are in one tensor, gates in another. */
static uint32_t rows_of_delta(const evn_block *b, evn_row_spec out[EVN_MATRIX_PARTS])
{
	const uint32_t width = b->unit_width, keys = b->delta.n_keys * width, values = b->n_units * width;
	const evn_row_spec of_keys = {b->in.stems[0], 2 * keys + values, 0, width, true};
	out[0] = out[1] = out[2] = of_keys;
	out[1].first = keys;
	out[2].first = 2 * keys;
	out[2].by_group = false;
	out[3] = (evn_row_spec){b->in.stems[1], values, 0, width, false};
	return 4;
}

static uint32_t rows_of_part(const evn_block *b, uint32_t i)
{
	const bool by_group = b->kind == EVN_BLOCK_ATTENTION && i > 0;
	return (by_group ? b->n_units / b->group : b->n_units) * width_of_part(b, i);
}

/* Queries, or the latent vector that they come from; then that of keys and values. */
static uint32_t rows_of_latent(const evn_block *b, evn_row_spec out[EVN_MATRIX_PARTS])
{
	const evn_latent_spec *l = &b->attention.latent;
	const uint32_t width = l->plain + l->rotated, keys = l->latent + l->rotated;
	out[0] = l->query ? (evn_row_spec){b->in.stems[0], l->query, 0, l->query, true}
					  : (evn_row_spec){b->in.stems[0], b->n_units * width, 0, width, false};
	out[1] = (evn_row_spec){b->in.stems[1], keys, 0, keys, true};
	return 2;
}

uint32_t evn_block_rows(const evn_block *b, evn_row_spec out[EVN_MATRIX_PARTS])
{
	if (b->kind == EVN_BLOCK_DELTA)
		return rows_of_delta(b, out);
	if (b->kind == EVN_BLOCK_ATTENTION && b->attention.latent.latent)
		return rows_of_latent(b, out);
	const uint32_t n = parts_of(b);
	const bool fused = b->in.n < n;
	uint32_t first = 0, all = 0;
	for (uint32_t i = 0; i < n; i++)
		all += rows_of_part(b, i);
	for (uint32_t i = 0; i < n; i++) {
		const uint32_t rows = rows_of_part(b, i);
		out[i] = (evn_row_spec){.stem = b->in.stems[fused ? 0 : i],
								.tensor_rows = fused ? all : rows,
								.first = first,
								.width = width_of_part(b, i),
								.by_group = b->kind == EVN_BLOCK_ATTENTION && i > 0};
		first += fused ? rows : 0;
	}
	return n;
}

/* Units side by side use key heads side by side, but those before the last and behind the first. */
static evn_range key_heads(const evn_block *b, evn_range units)
{
	const uint32_t n = b->delta.n_keys, begin = units.begin % n, end = begin + evn_range_len(units);
	return end > n ? (evn_range){0, n} : (evn_range){begin, end};
}

evn_range evn_groups_of(const evn_block *b, evn_range units)
{
	if (b->kind == EVN_BLOCK_DELTA)
		return key_heads(b, units);
	const uint32_t begin = units.begin / b->group;
	return (evn_range){begin, evn_range_len(units) ? (units.end - 1) / b->group + 1 : begin};
}

evn_range evn_rows_of(const evn_row_spec *r, const evn_block *b, evn_range units)
{
	const evn_range of = r->by_group ? evn_groups_of(b, units) : units;
	return (evn_range){r->first + of.begin * r->width, r->first + of.end * r->width};
}

/* ---- filling --------------------------------------------------------------------------------------------------- */

evn_block evn_attention_block(const evn_graph *g, uint32_t layer)
{
	const evn_hparams *h = g->h;
	return (evn_block){.kind = EVN_BLOCK_ATTENTION,
					   .layer = layer,
					   .n_units = h->n_heads,
					   .unit_width = h->head_dim,
					   .group = h->n_heads / h->n_kv_heads,
					   .norm = {.kind = EVN_NORM_RMS, .stem = "attn_norm"},
					   .in = {{"attn_q", "attn_k", "attn_v"}, 3},
					   .out = "attn_output",
					   .residual_scale = 1,
					   .kept = 1,
					   .attention = {.head_dim = h->head_dim,
									 .rotates = h->rope.dim > 0,
									 .scale = 1.0f / sqrtf((float)h->head_dim)}};
}

evn_block evn_feed_forward_block(const evn_graph *g, uint32_t layer)
{
	return (evn_block){.kind = EVN_BLOCK_FEED_FORWARD,
					   .layer = layer,
					   .n_units = g->h->ff_dim,
					   .unit_width = 1,
					   .group = 1,
					   .norm = {.kind = EVN_NORM_RMS, .stem = "ffn_norm"},
					   .in = {{"ffn_gate", "ffn_up"}, 2},
					   .out = "ffn_down",
					   .residual_scale = 1,
					   .kept = 1,
					   .feed_forward = {.act = EVN_SILU, .gated = true}};
}

evn_status evn_block_scale_layer(const evn_graph *g, evn_block *b, const char *stem, evn_error *err)
{
	const evn_tensor *t;
	float scale;
	if (evn_block_tensor(g, b, stem, &t, NULL) != EVN_OK)
		return EVN_OK;
	EVN_TRY(evn_model_check_shape(g->model, t, 1, 0, err));
	EVN_TRY(evn_tensor_rows(t, 0, 1, &scale, err));
	b->scale = stem;
	b->kept *= scale;
	b->residual_scale *= scale;
	return EVN_OK;
}

/* Some files hold the rows of a stack in one tensor, one matrix after the other: q, k and v, or gate and up. The
 * latter has the name of up and twice its rows. */
static void find_fused(const evn_graph *g, evn_block *b)
{
	const bool attends = b->kind == EVN_BLOCK_ATTENTION;
	const char *fused = attends ? "attn_qkv" : "ffn_up";
	const evn_tensor *t;
	if (b->kind == EVN_BLOCK_EXPERTS || b->kind == EVN_BLOCK_DELTA || b->in.n < 2 ||
		evn_block_tensor(g, b, b->in.stems[0], &t, NULL) == EVN_OK ||
		evn_block_tensor(g, b, fused, &t, NULL) != EVN_OK)
		return;
	if (attends || t->shape[1] == 2 * (uint64_t)b->n_units)
		b->in = (evn_stack){{fused}, 1};
}

/* Before the encoder ends, all blocks are its own. */
static bool of_encoder(const evn_graph *g, const evn_block *b) { return b < g->blocks + g->n_encoder; }

static bool cut_alike(const evn_graph *g, const evn_block *a, const evn_block *b)
{
	return a->kind == b->kind && a->joins == b->joins && a->n_units == b->n_units && a->unit_width == b->unit_width &&
		   a->group == b->group &&
		   (a->kind != EVN_BLOCK_ATTENTION ||
			(a->attention.window == b->attention.window && a->attention.v_is_k == b->attention.v_is_k &&
			 a->attention.crosses == b->attention.crosses)) &&
		   of_encoder(g, a) == of_encoder(g, b) &&
		   (a->kind != EVN_BLOCK_EXPERTS || (a->feed_forward.experts.n == b->feed_forward.experts.n &&
											 a->feed_forward.experts.k == b->feed_forward.experts.k));
}

/* A block that shares keys has the cut of the block that has them, and is none of its class's blocks. */
static evn_status find_class(evn_graph *g, evn_block *b, evn_error *err)
{
	if (b->kind == EVN_BLOCK_ATTENTION && b->attention.shares) {
		b->cut_class = g->blocks[b->attention.keys_of].cut_class;
		b->cut_index = g->blocks[b->attention.keys_of].cut_index;
		return EVN_OK;
	}
	for (b->cut_class = EVN_PLAN_VOCAB + 1; b->cut_class < g->n_classes; b->cut_class++)
		if (cut_alike(g, &g->blocks[g->class_first[b->cut_class]], b))
			break;
	if (b->cut_class == EVN_PLAN_CLASSES)
		return evn_fail(err, EVN_ERR_LIMIT, "%s: its blocks have more than %u shapes",
						evn_gguf_name(evn_model_gguf(g->model)), EVN_PLAN_CLASSES - 1);
	if (b->cut_class == g->n_classes)
		g->class_first[g->n_classes++] = g->n_blocks;
	b->cut_index = g->class_blocks[b->cut_class]++;
	return EVN_OK;
}

void evn_graph_end_encoder(evn_graph *g, const char *norm)
{
	g->n_encoder = g->n_blocks;
	g->encoder_norm = (evn_norm_spec){EVN_NORM_RMS, norm, EVN_OF_MODEL};
	g->encodes = false;
}

evn_status evn_graph_add(evn_graph *g, const evn_block *b, evn_error *err)
{
	evn_block *more = realloc(g->blocks, (g->n_blocks + 1u) * sizeof *more);
	if (!more)
		return evn_fail_memory(err, "blocks", (g->n_blocks + 1u) * sizeof *more);
	g->blocks = more;
	more[g->n_blocks] = *b;
	find_fused(g, &more[g->n_blocks]);
	EVN_TRY(find_class(g, &more[g->n_blocks], err));
	g->sums_inside |= b->kind == EVN_BLOCK_ATTENTION && b->attention.qk_norm_all;
	g->sets_aside |= b->to != EVN_TO_ROWS;
	g->encodes |= b->kind == EVN_BLOCK_ATTENTION && b->attention.whole;
	g->shares_keys |= b->kind == EVN_BLOCK_ATTENTION && b->attention.shares;
	g->has_states |= b->kind == EVN_BLOCK_DELTA;
	g->n_blocks++;
	return EVN_OK;
}
