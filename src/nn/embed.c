/* embed.c - see embed.h. On the host: a row per token is less than a launch. */
#include "nn/embed.h"

evn_status evn_embedding_find(evn_embedding *out, const evn_model *m, evn_error *err)
{
	const evn_hparams *h;
	EVN_TRY(evn_model_require_hparams(m, &h, err));
	*out = (evn_embedding){.dim = h->dim, .n_positions = UINT32_MAX};
	EVN_TRY(evn_model_need(m, "token_embd.weight", h->dim, h->vocab, &out->tokens, err));
	const evn_tensor *p = evn_model_find(m, "position_embd.weight");
	if (!p)
		return EVN_OK;
	EVN_TRY(evn_model_need(m, "position_embd.weight", h->dim, p->shape[1], &out->positions, err));
	if (p->shape[1] < UINT32_MAX)
		out->n_positions = (uint32_t)p->shape[1];
	return EVN_OK;
}

void evn_embed(const evn_embedding *e, const int32_t *ids, uint32_t n, uint32_t position, float *rows,
			   uint32_t stride, float *scratch)
{
	for (uint32_t t = 0; t < n; t++) {
		float *row = rows + (uint64_t)t * stride;
		evn_tensor_row(e->tokens, (uint64_t)ids[t], row);
		if (!e->positions)
			continue;
		evn_tensor_row(e->positions, (uint64_t)position + t, scratch);
		for (uint32_t i = 0; i < e->dim; i++)
			row[i] += scratch[i];
	}
}
