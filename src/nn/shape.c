/* shape.c - bytes of a head, of a unit, of a row of the vocabulary; grains. The planner works with means over blocks.
 */
#include "nn/shape.h"

#include "group/comm.h"
#include "nn/embed.h"

/* Bytes that all units, and all groups of units, of a block take together. */
typedef struct {
	uint64_t units, groups;
} block_bytes;

static evn_status add_block(const evn_graph *g, const evn_block *b, block_bytes *sum, uint32_t *grain, evn_error *err)
{
	evn_row_spec rows[EVN_MATRIX_PARTS];
	const uint32_t n = evn_block_rows(b, rows);
	const evn_tensor *t;
	for (uint32_t i = 0; i < n; i++) {
		EVN_TRY(evn_block_tensor(g, b, rows[i].stem, &t, err));
		const uint64_t n_rows = (uint64_t)rows[i].width * (rows[i].by_group ? b->n_units / b->group : b->n_units);
		*(rows[i].by_group ? &sum->groups : &sum->units) += t->size_bytes / t->shape[1] * n_rows;
	}
	EVN_TRY(evn_block_tensor(g, b, b->out, &t, err));
	sum->units += t->size_bytes;
	if (t->quant->group_len > *grain)
		*grain = t->quant->group_len;
	return EVN_OK;
}

static uint64_t mean(uint64_t sum, uint64_t n) { return (sum + n - 1) / n; }

static evn_status add_blocks(const evn_graph *g, evn_plan_shape *s, evn_error *err)
{
	block_bytes of[EVN_BLOCK_KINDS] = {{0}};
	uint32_t ignored = 0;
	for (uint32_t i = 0; i < g->n_blocks; i++) {
		const evn_block *b = &g->blocks[i];
		const bool attends = b->kind == EVN_BLOCK_ATTENTION;
		EVN_TRY(add_block(g, b, &of[b->kind], attends ? &ignored : &s->ff_grain, err));
		if (!attends)
			s->ff_unit_lines = b->in.n + 1;
	}
	const uint64_t n = s->n_layers;
	s->head_bytes = mean(of[EVN_BLOCK_ATTENTION].units, n * s->n_heads);
	s->kv_head_bytes = mean(of[EVN_BLOCK_ATTENTION].groups, n * s->n_kv_heads);
	s->ff_unit_bytes = mean(of[EVN_BLOCK_FEED_FORWARD].units, n * s->ff_dim);
	return EVN_OK;
}

/* A vocabulary of few rows is still cut for every rank to have some. */
static uint32_t vocab_grain(uint32_t vocab)
{
	uint32_t grain = 2 * EVN_TILE_ROWS;
	while (grain > 1 && vocab < EVN_MAX_RANKS * grain)
		grain /= 2;
	return grain;
}

/* Rows that are decoded in one step, at most, as memory is reckoned: each sequence has one. */
#define DECODED_ROWS 16u

/* Scratch at full width: what a rank holds besides weights, cache and messages, whatever its share. Attended rows may
 * be held twice, before and after they are stored in another form. GEMM dequantises weights into 32 MiB. */
static uint64_t fixed_bytes(const evn_hparams *h, evn_limits limits)
{
	uint64_t columns =
		4 * (uint64_t)h->dim + (uint64_t)(3 * h->n_heads + 2 * h->n_kv_heads) * h->head_dim + 3 * (uint64_t)h->ff_dim;
	uint64_t norms = (uint64_t)(2 * h->n_layers + 1) * h->dim;
	uint64_t rope = (uint64_t)limits.n_ctx * h->rope_dim;
	uint64_t splits = evn_attention_split_bytes(h->head_dim, h->n_heads, DECODED_ROWS, limits.n_ctx);
	return (columns * evn_rows_room(limits.n_batch) + norms + rope +
			EVN_LOGITS_ROWS * (uint64_t)(h->vocab + h->dim)) *
			   sizeof(float) +
		   splits + ((uint64_t)32 << 20);
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
	*out = (evn_plan_shape){.n_layers = h->n_layers,
							.dim = h->dim,
							.ff_dim = h->ff_dim,
							.n_heads = h->n_heads,
							.n_kv_heads = h->n_kv_heads,
							.head_dim = h->head_dim,
							.vocab = h->vocab,
							.ff_grain = EVN_TILE_ROWS,
							.ff_unit_lines = 1,
							.vocab_grain = vocab_grain(h->vocab),
							.vocab_row_bytes = head->size_bytes / h->vocab,
							.kv_cache_bytes = 2 * (uint64_t)evn_blocks_for(limits.n_ctx) *
											  evn_kv_block_bytes(limits.kv_cache, h->head_dim),
							.fixed_bytes = fixed_bytes(h, limits)};
	out->peer_bytes = evn_comm_peer_bytes(limits.messages, evn_message_floats(h, limits.n_batch));
	return g->n_blocks ? add_blocks(g, out, err) : EVN_OK;
}
