/* decoder_shape.c - the model in the planner's terms: bytes of a head, of a unit, of a row; grains. */
#include "nn/arch.h"
#include "nn/decoder.h"

/* Bytes of all layers' tensors of one name, summed; the planner works with means. */
static evn_status sum_bytes(const evn_model *m, const char *part, uint64_t *sum, uint32_t *grain, evn_error *err)
{
	for (uint32_t i = 0; i < evn_model_hparams(m)->n_layers; i++) {
		const evn_tensor *t;
		EVN_TRY(evn_model_get_in_layer(m, i, part, &t, err));
		*sum += t->size_bytes;
		if (grain && t->quant->block_len > *grain)
			*grain = t->quant->block_len;
	}
	return EVN_OK;
}

static evn_status layer_bytes(const evn_model *m, evn_plan_shape *s, evn_error *err)
{
	uint64_t heads = 0, kv = 0, ff = 0, n = s->n_layers;
	EVN_TRY(sum_bytes(m, "attn_q.weight", &heads, NULL, err));
	EVN_TRY(sum_bytes(m, "attn_output.weight", &heads, NULL, err));
	EVN_TRY(sum_bytes(m, "attn_k.weight", &kv, NULL, err));
	EVN_TRY(sum_bytes(m, "attn_v.weight", &kv, NULL, err));
	EVN_TRY(sum_bytes(m, "ffn_gate.weight", &ff, NULL, err));
	EVN_TRY(sum_bytes(m, "ffn_up.weight", &ff, NULL, err));
	/* Units move in whole blocks of the down projection's columns. */
	EVN_TRY(sum_bytes(m, "ffn_down.weight", &ff, &s->ff_grain, err));
	s->head_bytes = (heads + n * s->n_heads - 1) / (n * s->n_heads);
	s->kv_head_bytes = (kv + n * s->n_kv_heads - 1) / (n * s->n_kv_heads);
	s->ff_unit_bytes = (ff + n * s->ff_dim - 1) / (n * s->ff_dim);
	return EVN_OK;
}

/* Scratch at full width: what a rank holds besides weights and cache, whatever its share. */
static uint64_t fixed_bytes(const evn_hparams *h, evn_decoder_limits limits)
{
	uint64_t columns =
		5 * (uint64_t)h->dim + (uint64_t)(2 * h->n_heads + 2 * h->n_kv_heads) * h->head_dim + 3 * (uint64_t)h->ff_dim;
	uint64_t norms = (uint64_t)(2 * h->n_layers + 1) * h->dim;
	uint64_t rope = (uint64_t)limits.n_ctx * h->rope_dim;
	return (columns * limits.n_batch + norms + rope + 16 * (uint64_t)h->vocab) * sizeof(float) + ((uint64_t)32 << 20);
}

evn_status evn_decoder_shape(const evn_model *m, evn_decoder_limits limits, evn_plan_shape *out, evn_error *err)
{
	const evn_arch *arch;
	EVN_TRY(evn_arch_find(m, &arch, err));
	const evn_hparams *h = evn_model_hparams(m);
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
							.vocab_grain = 2 * EVN_TILE_ROWS,
							.vocab_row_bytes = head->size_bytes / h->vocab,
							.kv_cache_bytes = 2 * (uint64_t)limits.n_ctx * evn_head_pad(h->head_dim) * sizeof(float),
							.fixed_bytes = fixed_bytes(h, limits)};
	return layer_bytes(m, out, err);
}
