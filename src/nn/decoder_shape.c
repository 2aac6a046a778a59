/* decoder_shape.c - the model in the planner's terms: bytes of a head, of a unit, of a row; grains. */
#include "nn/arch.h"
#include "nn/decoder.h"
#include "nn/embed.h"

/* Bytes of a stack's rows [first, end) in all layers. */
static evn_status sum_rows(const evn_model *m, const evn_arch *arch, int stack, uint64_t first, uint64_t end,
						   uint64_t *sum, evn_error *err)
{
	const uint32_t n_layers = evn_model_hparams(m)->n_layers;
	for (uint32_t layer = 0; layer < n_layers; layer++) {
		uint64_t at = 0; /* row of the stack at which a tensor begins */
		for (const char *const *stem = arch->stacks[stack]; *stem; stem++) {
			const evn_tensor *t;
			EVN_TRY(evn_arch_matrix(m, layer, *stem, &t, err));
			uint64_t from = first > at ? first - at : 0, to = end < at + t->shape[1] ? end - at : t->shape[1];
			if (end > at && to > from)
				*sum += t->size_bytes / t->shape[1] * (to - from);
			at += t->shape[1];
		}
	}
	return EVN_OK;
}

/* Units move in whole steps of the down projection's columns. */
static evn_status ff_grain(const evn_model *m, const evn_arch *arch, uint32_t *grain, evn_error *err)
{
	for (uint32_t i = 0; i < evn_model_hparams(m)->n_layers; i++) {
		const evn_tensor *t;
		EVN_TRY(evn_arch_matrix(m, i, arch->stacks[EVN_STACK_FF_OUT][0], &t, err));
		if (t->quant->group_len > *grain)
			*grain = t->quant->group_len;
	}
	return EVN_OK;
}

/* The planner works with means over the layers. */
static evn_status layer_bytes(const evn_model *m, const evn_arch *arch, evn_plan_shape *s, evn_error *err)
{
	uint64_t heads = 0, kv = 0, ff = 0, n = s->n_layers, q_rows = (uint64_t)s->n_heads * s->head_dim;
	EVN_TRY(sum_rows(m, arch, EVN_STACK_QKV, 0, q_rows, &heads, err));
	EVN_TRY(sum_rows(m, arch, EVN_STACK_ATTN_OUT, 0, UINT64_MAX, &heads, err));
	EVN_TRY(sum_rows(m, arch, EVN_STACK_QKV, q_rows, UINT64_MAX, &kv, err));
	EVN_TRY(sum_rows(m, arch, EVN_STACK_FF_IN, 0, UINT64_MAX, &ff, err));
	EVN_TRY(sum_rows(m, arch, EVN_STACK_FF_OUT, 0, UINT64_MAX, &ff, err));
	EVN_TRY(ff_grain(m, arch, &s->ff_grain, err));
	s->head_bytes = (heads + n * s->n_heads - 1) / (n * s->n_heads);
	s->kv_head_bytes = (kv + n * s->n_kv_heads - 1) / (n * s->n_kv_heads);
	s->ff_unit_bytes = (ff + n * s->ff_dim - 1) / (n * s->ff_dim);
	for (const char *const *stem = arch->stacks[EVN_STACK_FF_IN]; *stem; stem++)
		s->ff_unit_lines++;
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

/* Scratch at full width: what a rank holds besides weights, cache and messages, whatever its share. The second lane
 * has half a step's tokens. Attended rows may be held twice, before and after they are stored in another form. GEMM
 * dequantises weights into 32 MiB. */
static uint64_t fixed_bytes(const evn_hparams *h, evn_decoder_limits limits)
{
	uint64_t columns =
		3 * (uint64_t)h->dim + (uint64_t)(3 * h->n_heads + 2 * h->n_kv_heads) * h->head_dim + 3 * (uint64_t)h->ff_dim;
	uint64_t norms = (uint64_t)(2 * h->n_layers + 1) * h->dim;
	uint64_t rope = (uint64_t)limits.n_ctx * h->rope_dim;
	uint64_t splits = evn_attention_split_bytes(h->head_dim, h->n_heads, limits.n_batch, limits.n_ctx);
	return (columns * limits.n_batch + norms + rope + 16 * (uint64_t)h->vocab) * sizeof(float) + splits +
		   ((uint64_t)32 << 20);
}

evn_status evn_decoder_shape(const evn_model *m, evn_decoder_limits limits, evn_plan_shape *out, evn_error *err)
{
	const evn_arch *arch;
	EVN_TRY(evn_arch_find(m, &arch, err));
	const evn_hparams *h = evn_model_hparams(m);
	evn_embedding embedding;
	EVN_TRY(evn_embedding_find(&embedding, m, err));
	if (limits.n_ctx > embedding.n_positions)
		return evn_fail(err, EVN_ERR_LIMIT, "context: %u tokens, and the model has learned %u positions",
						limits.n_ctx, embedding.n_positions);
	const evn_tensor *head = evn_model_find(m, "output.weight");
	if (!head)
		EVN_TRY(evn_model_need(m, "token_embd.weight", h->dim, h->vocab, &head, err));
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
							.kv_cache_bytes = 2 * evn_kv_cache_bytes(limits.kv_cache, h->head_dim, limits.n_ctx),
							.fixed_bytes = fixed_bytes(h, limits)};
	out->peer_bytes = evn_comm_peer_bytes(limits.messages, evn_decoder_message_floats(m, limits));
	return h->n_layers ? layer_bytes(m, arch, out, err) : EVN_OK;
}
