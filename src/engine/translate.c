/* translate.c - a text for the encoder, and the decoder's answer: drawn id by id, or the best of several beams. */
#include "evener/translate.h"

#include <stdlib.h>

#include "engine/beams.h"

static evn_status cancelled(evn_error *err) { return evn_fail(err, EVN_ERR_CANCELLED, "the text was stopped"); }

static int32_t likeliest(const float *logits, uint32_t vocab)
{
	uint32_t best = 0;
	for (uint32_t i = 1; i < vocab; i++)
		best = logits[i] > logits[best] ? i : best;
	return (int32_t)best;
}

static evn_status draw(evn_session *s, const evn_translate_options *o, uint32_t vocab, int32_t *id, evn_error *err)
{
	const float *logits = evn_session_logits(s);
	if (!o->sampler) {
		*id = likeliest(logits, vocab);
		return EVN_OK;
	}
	EVN_TRY(evn_sampler_draw(o->sampler, logits, id, err));
	evn_sampler_accept(o->sampler, *id);
	return EVN_OK;
}

static evn_status write_ids(const evn_engine *e, evn_session *s, const evn_translate_options *o, evn_error *err)
{
	const uint32_t n_ctx = e->prepared.limits.n_ctx, vocab = evn_model_hparams(e->model)->vocab;
	int32_t id = evn_engine_decoder_start(e);
	for (uint32_t n = 0; n < n_ctx && (!o->max_tokens || n < o->max_tokens); n++) {
		if (o->go_on && !o->go_on(o->user))
			return cancelled(err);
		EVN_TRY(evn_session_eval(s, &id, 1, NULL, err));
		EVN_TRY(draw(s, o, vocab, &id, err));
		const bool ends = evn_token_ends_generation(e->model, id);
		if (!o->on_token(o->user, id, ends))
			return cancelled(err);
		if (ends)
			return EVN_OK;
	}
	return EVN_OK;
}

static evn_status draw_ids(evn_engine *e, const int32_t *ids, size_t n, const evn_translate_options *o,
						   evn_rank_stats *ranks, evn_error *err)
{
	evn_session *s;
	EVN_TRY(evn_session_create(&s, e, err));
	evn_status status = evn_session_encode(s, ids, n, err);
	if (status == EVN_OK)
		status = write_ids(e, s, o, err);
	for (uint32_t i = 0; i < e->n_ranks && ranks; i++)
		ranks[i] = evn_session_rank_stats(s, i);
	evn_session_free(s);
	return status;
}

evn_status evn_translate(evn_engine *e, const int32_t *ids, size_t n, const evn_translate_options *o,
						 evn_rank_stats *ranks, evn_error *err)
{
	const uint32_t most = e->prepared.limits.n_batch < EVN_MAX_BEAMS ? e->prepared.limits.n_batch : EVN_MAX_BEAMS;
	if (evn_engine_decoder_start(e) < 0)
		return evn_fail(err, EVN_ERR_USAGE, "%s: the model has no encoder beside a decoder",
						evn_gguf_name(evn_model_gguf(e->model)));
	if (o->n_beams > most)
		return evn_fail(err, EVN_ERR_LIMIT, "beams: %u, at most %u are possible", o->n_beams, most);
	return o->n_beams > 1 ? evn_beams_search(e, ids, n, o, ranks, err) : draw_ids(e, ids, n, o, ranks, err);
}
