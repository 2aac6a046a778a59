/* translate.h - models with an encoder and a decoder (T5): a text is read by the encoder as a whole, and the decoder
 * writes another one. */
#ifndef EVENER_TRANSLATE_H
#define EVENER_TRANSLATE_H

#include "sample.h"

#ifdef __cplusplus
extern "C" {
#endif

/* The id with which the decoder begins; -1: the model has no encoder beside a decoder. */
EVN_API int32_t evn_engine_decoder_start(const evn_engine *e);

/* What the encoder is to read. The session then begins anew, at position 0. It must be called before
 * evn_session_eval, whose ids are those of the decoder. EVN_ERR_LIMIT if the text is longer than a step has rows;
 * EVN_ERR_USAGE if the model has no encoder beside a decoder. */
EVN_API evn_status evn_session_encode(evn_session *s, const int32_t *ids, size_t n, evn_error *err);

#define EVN_MAX_BEAMS 32

typedef struct {
	/* Draws the ids; NULL: the likeliest. With beams it is not used. */
	evn_sampler *sampler;
	/* 0 or 1: one id after the other is drawn. Otherwise the best n_beams texts are kept at each step, and of those
	 * that ended the one with the largest sum of log-probabilities, divided by length^length_penalty, is the answer.
	 */
	uint32_t n_beams;
	float length_penalty;
	uint32_t max_tokens; /* 0: as many as the context has room for */
	/* Each id of the answer, as it is drawn, or with beams all at the end. ends: it ends the text. False ends the
	 * call. */
	bool (*on_token)(void *user, int32_t id, bool ends);
	bool (*go_on)(void *user); /* asked before each step; false ends the call. NULL: always true */
	void *user;
} evn_translate_options;
/* Reads n ids and writes the answer. EVN_ERR_CANCELLED if go_on or on_token ended it. ranks (EVN_MAX_RANKS, or NULL):
 * what each rank did. */
EVN_API evn_status evn_translate(evn_engine *e, const int32_t *ids, size_t n, const evn_translate_options *o,
								 evn_rank_stats *ranks, evn_error *err);

#ifdef __cplusplus
}
#endif

#endif
