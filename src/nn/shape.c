/* shape.c - the bytes of a head, of a feed-forward unit and of a vocabulary row, and the grains of cuts. The planner
 * uses means over the blocks of a class. */
#include "nn/shape.h"

#include <math.h>

#include "group/comm.h"
#include "nn/cache.h"
#include "nn/embed.h"
#include "nn/rope.h"

static uint64_t mean(uint64_t sum, uint64_t n) { return n ? (sum + n - 1) / n : 0; }

static bool has_heads(const evn_block *b) { return b->kind == EVN_BLOCK_ATTENTION || b->kind == EVN_BLOCK_DELTA; }

/* KV heads, or key heads. */
static uint32_t groups_of_all(const evn_block *b) { return evn_groups_of(b, (evn_range){0, b->n_units}).end; }

/* Adds a block's bytes to the sums of its class. Enlarges the grain to that of the block's weight formats. */
static evn_status add_block(const evn_graph *g, const evn_block *b, evn_plan_class *sum, evn_error *err)
{
	evn_row_spec rows[EVN_MATRIX_PARTS];
	const uint32_t n = evn_block_rows(b, rows), n_groups = groups_of_all(b);
	const evn_tensor *t;
	for (uint32_t i = 0; i < n; i++) {
		EVN_TRY(evn_block_tensor(g, b, rows[i].stem, &t, err));
		const uint64_t n_rows = (uint64_t)rows[i].width * (rows[i].by_group ? n_groups : b->n_units);
		*(rows[i].by_group ? &sum->group_bytes : &sum->unit_bytes) += t->size_bytes / t->shape[1] * n_rows;
	}
	EVN_TRY(evn_block_tensor(g, b, b->out, &t, err));
	sum->unit_bytes += t->size_bytes;
	if (b->kind == EVN_BLOCK_ATTENTION && b->attention.latent.latent) {
		const evn_latent_spec *l = &b->attention.latent;
		sum->unit_bytes += (uint64_t)b->n_units * l->latent * (l->plain + l->value) * sizeof(float);
		if (l->query) {
			EVN_TRY(evn_block_tensor(g, b, "attn_q_b", &t, err));
			sum->unit_bytes += t->size_bytes;
		}
	}
	if (!has_heads(b) && t->quant->group_len > sum->grain)
		sum->grain = t->quant->group_len;
	return EVN_OK;
}

/* Sets everything except bytes and grain, from the first block of the class. */
static evn_plan_class class_of(const evn_graph *g, const evn_block *b, uint32_t n_blocks, evn_limits limits)
{
	const bool attends = has_heads(b);
	evn_row_spec rows[EVN_MATRIX_PARTS];
	const uint32_t n = evn_block_rows(b, rows);
	evn_plan_class k = {.kind = attends ? EVN_CUT_HEADS : EVN_CUT_UNITS,
						.n_blocks = n_blocks,
						.n = b->n_units,
						.grain = attends ? 1 : EVN_TILE_ROWS,
						.group = b->group,
						.unit_macs = (double)b->unit_width * g->h->dim, /* columns of W_out */
						.read_fraction = evn_block_read_fraction(b),
						.by_phase = !attends,
						.joins = b->joins};
	/* the rows of a prompt are those of the encoder, if there is one */
	k.is_idle[EVN_DECODE] = b < g->blocks + g->n_encoder;
	k.is_idle[EVN_PROMPT] = g->n_encoder && !k.is_idle[EVN_DECODE];
	for (uint32_t i = 0; i < n; i++) {
		const double share = rows[i].by_group ? (double)groups_of_all(b) * b->group / b->n_units : 1;
		*(rows[i].by_group ? &k.group_macs : &k.unit_macs) += share * rows[i].width * g->h->dim;
	}
	if (b->kind == EVN_BLOCK_EXPERTS)
		k.unit_macs *= b->feed_forward.experts.n;
	if (b->kind == EVN_BLOCK_ATTENTION) {
		const evn_latent_spec *l = &b->attention.latent;
		k.unit_macs += (double)l->latent * (l->plain + l->value) + (double)l->query * (l->plain + l->rotated);
	}
	if (b->kind == EVN_BLOCK_DELTA)
		k.cache_bytes = evn_states_for(limits.n_cache, limits.n_ctx) * evn_state_bytes(b);
	if (b->kind == EVN_BLOCK_ATTENTION) {
		k.most_keys = b->attention.window ? b->attention.window : (double)INFINITY;
		const uint32_t cached = evn_blocks_for(limits.n_cache ? limits.n_cache : limits.n_ctx);
		k.cache_bytes = 2 * (uint64_t)cached * evn_kv_block_bytes(limits.kv_cache, b->attention.head_dim);
	}
	return k;
}

static evn_status add_classes(const evn_graph *g, evn_limits limits, evn_plan_shape *s, evn_error *err)
{
	s->n_classes = g->n_classes;
	for (uint32_t k = EVN_PLAN_VOCAB + 1; k < g->n_classes; k++)
		s->classes[k] = class_of(g, &g->blocks[g->class_first[k]], g->class_blocks[k], limits);
	for (uint32_t i = 0; i < g->n_blocks; i++) {
		const evn_block *b = &g->blocks[i];
		evn_plan_class *k = &s->classes[b->cut_class];
		EVN_TRY(add_block(g, b, k, err));
		if (b->kind == EVN_BLOCK_ATTENTION &&
			b->attention.shares) /* none of the class's blocks, and read with them */
			k->unit_macs += 2.0 * b->unit_width * g->h->dim / k->n_blocks;
	}
	for (uint32_t k = EVN_PLAN_VOCAB + 1; k < g->n_classes; k++) {
		evn_plan_class *cut = &s->classes[k];
		cut->unit_bytes = mean(cut->unit_bytes, (uint64_t)cut->n_blocks * cut->n);
		cut->group_bytes = mean(cut->group_bytes, (uint64_t)cut->n_blocks * (cut->n / cut->group));
	}
	return EVN_OK;
}

/* A small grain for a small vocabulary, so that every rank gets some rows. */
static uint32_t vocab_grain(uint32_t vocab)
{
	uint32_t grain = 2 * EVN_TILE_ROWS;
	while (grain > 1 && vocab < EVN_MAX_RANKS * grain)
		grain /= 2;
	return grain;
}

/* The most decoded rows of one step for which memory is planned. Each sequence has one. */
#define DECODED_ROWS 16u

/* The widest rows of a DeltaNet: queries, keys, values and gates, outputs before and after they are stored, alpha and
 * beta. Queries of gated attention are twice as wide, and have a copy. */
static uint64_t delta_columns(const evn_graph *g)
{
	uint64_t most = 0;
	for (uint32_t i = 0; i < g->n_blocks && g->has_states; i++) {
		const evn_block *b = &g->blocks[i];
		const uint64_t columns =
			b->kind == EVN_BLOCK_DELTA
				? (2 * (uint64_t)b->delta.n_keys + 4 * (uint64_t)b->n_units) * b->unit_width + 2 * b->n_units
				: 0;
		most = columns > most ? columns : most;
	}
	return most + (g->has_states ? 3 * (uint64_t)g->h->n_heads * g->h->head_dim : 0);
}

/* The rows of attention over a latent vector: as attention reads and writes them, and queries on their way there. */
static uint64_t latent_columns(const evn_graph *g)
{
	uint64_t most = 0;
	for (uint32_t i = 0; i < g->n_blocks; i++) {
		const evn_block *b = &g->blocks[i];
		const evn_latent_spec *l = &b->attention.latent;
		if (b->kind != EVN_BLOCK_ATTENTION || !l->latent)
			continue;
		const uint64_t columns = 2 * (b->n_units + 1) * (uint64_t)b->attention.head_dim + 2 * (uint64_t)l->query +
								 b->n_units * (uint64_t)(l->plain + l->rotated + 2 * l->value) + l->latent;
		most = columns > most ? columns : most;
	}
	return most;
}

/* What a rank holds besides weights, cache and messages, whatever its share: scratch at full width. Attention output
 * can be held twice, before and after its conversion to another format. GEMM dequantises weights into 32 MiB. */
static uint64_t fixed_bytes(const evn_graph *g, evn_limits limits)
{
	const evn_hparams *h = g->h;
	uint64_t columns = delta_columns(g) + 4 * (uint64_t)h->dim +
					   (uint64_t)(3 * h->n_heads + 2 * h->n_kv_heads) * h->head_dim + 3 * (uint64_t)h->ff_dim;
	columns += g->layer_inputs
				   ? EVN_MICRO_BATCHES * (uint64_t)evn_graph_row_floats(g) + (uint64_t)g->layer_inputs * h->n_layers
				   : 0;
	columns += g->patches.floats ? EVN_MICRO_BATCHES * (uint64_t)evn_graph_row_floats(g) + h->dim +
									   2 * evn_round_up(g->patches.floats, EVN_PAD)
								 : 0;
	columns += latent_columns(g);
	columns += g->sets_aside ? EVN_MICRO_BATCHES * (uint64_t)h->dim : 0;
	uint64_t norms = h->dim, of_experts = 0, routers = 0, biases = 0;
	for (uint32_t i = 0; i < g->n_blocks; i++) {
		const evn_block *b = &g->blocks[i];
		norms += (uint64_t)(1 + (b->post != NULL) + (b->joint != NULL)) * h->dim;
		if (b->kind != EVN_BLOCK_EXPERTS)
			continue;
		routers += (uint64_t)h->dim * b->feed_forward.experts.n;
		if (evn_block_has_bias(g, b, b->out))
			biases += (uint64_t)b->feed_forward.experts.n * (h->dim + 2 * (uint64_t)b->n_units);
		const uint64_t row = 2 * (uint64_t)h->dim + 3 * (uint64_t)b->n_units;
		of_experts = row > of_experts ? row : of_experts;
	}
	of_experts *= evn_graph_expert_rows(g, limits.n_batch);
	uint64_t rope = (uint64_t)limits.n_ctx * evn_rope_stride(&g->ropes[0]) * g->n_ropes;
	uint64_t splits = evn_attention_split_bytes(h->head_dim, h->n_heads, DECODED_ROWS, limits.n_ctx);
	return (columns * evn_rows_room(limits.n_batch) + norms + routers + biases + of_experts + rope +
			EVN_LOGITS_ROWS * (uint64_t)(h->vocab + h->dim)) *
			   sizeof(float) +
		   splits + ((uint64_t)32 << 20) + (g->projection ? evn_model_find(g->model, g->projection)->size_bytes : 0);
}

evn_status evn_graph_shape(const evn_graph *g, evn_limits limits, evn_plan_shape *out, evn_error *err)
{
	const evn_hparams *h = g->h;
	const evn_tensor *head;
	evn_embedding embedding;
	EVN_TRY(evn_embedding_find(&embedding, g, err));
	EVN_TRY(evn_graph_head(g, &head, err));
	if (limits.n_ctx > embedding.n_positions)
		return evn_fail(err, EVN_ERR_LIMIT, "context: %u tokens, and the model has learned %u positions",
						limits.n_ctx, embedding.n_positions);
	*out =
		(evn_plan_shape){.fixed_bytes = fixed_bytes(g, limits),
						 .peer_bytes = evn_comm_peer_bytes(limits.messages, evn_message_floats(h, limits.n_batch))};
	out->classes[EVN_PLAN_VOCAB] = (evn_plan_class){.kind = EVN_CUT_ROWS,
													.n_blocks = 1,
													.n = h->vocab,
													.grain = vocab_grain(h->vocab),
													.group = 1,
													.unit_bytes = head->size_bytes / h->vocab,
													.unit_macs = h->dim,
													.read_fraction = 1};
	return add_classes(g, limits, out, err);
}

/* Adds what a row reads of a tensor: the fraction `read`. */
static void add_to_mix(evn_weight_mix *mix, const evn_tensor *t, double read)
{
	const size_t format = evn_quant_index(t->quant);
	mix->bytes[format] += read * (double)t->size_bytes;
	mix->macs[format] += read * (double)t->shape[0] * (double)t->shape[1] * (double)t->shape[2];
}

evn_status evn_graph_mix(const evn_graph *g, evn_weight_mix *out, evn_error *err)
{
	const evn_tensor *t;
	*out = (evn_weight_mix){0};
	for (uint32_t i = 0; i < g->n_blocks; i++) {
		const evn_block *b = &g->blocks[i];
		for (uint32_t k = 0; k < b->in.n; k++) {
			EVN_TRY(evn_block_tensor(g, b, b->in.stems[k], &t, err));
			add_to_mix(out, t, evn_block_read_fraction(b));
		}
		EVN_TRY(evn_block_tensor(g, b, b->out, &t, err));
		add_to_mix(out, t, evn_block_read_fraction(b));
		if (b->kind == EVN_BLOCK_ATTENTION && b->attention.latent.query) {
			EVN_TRY(evn_block_tensor(g, b, "attn_q_b", &t, err));
			add_to_mix(out, t, 1);
		}
	}
	if (g->projection)
		add_to_mix(out, evn_model_find(g->model, g->projection), 1);
	EVN_TRY(evn_graph_head(g, &t, err));
	out->head = evn_quant_index(t->quant);
	if (!g->n_blocks)
		add_to_mix(out, t, 1);
	return EVN_OK;
}
