/* evener/sample.h - draws tokens from logits. */
#ifndef EVENER_SAMPLE_H
#define EVENER_SAMPLE_H

#include "../evener.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct {
	float temp;           /* 0 = greedy */
	int32_t top_k;        /* 0 = off */
	float top_p, min_p;   /* 1 = off; 0 = off */
	float repeat_penalty; /* 1 = off; of the last repeat_last_n tokens, those of the prompt too */
	int32_t repeat_last_n;
	/* As in OpenAI's API: subtracted from the logit of a token that was drawn before; the first for each time, the
	 * second once. 0 = off. */
	float frequency_penalty, presence_penalty;
	int64_t seed; /* -1 = from the clock */
} evn_sample_options;
EVN_API evn_sample_options evn_sample_defaults(void); /* in this order: 0.8, 40, 0.95, 0.05, 1, 64, 0, 0, -1 */

typedef struct {
	int32_t id;
	float bias; /* added to the logit */
} evn_logit_bias;

typedef struct evn_sampler evn_sampler;
EVN_API evn_status evn_sampler_create(evn_sampler **out, const evn_sample_options *o, uint32_t vocab, evn_error *err);
/* Draws from logits (vocab). Order: bias, repeat penalty, frequency and presence penalty, top-k, top-p, min-p,
 * temperature. Ties: the lower id. */
EVN_API evn_status evn_sampler_draw(evn_sampler *s, const float *logits, int32_t *id, evn_error *err);
/* Tokens that the penalties count. Those of a prompt count for the repeat penalty only. */
EVN_API void evn_sampler_accept_prompt(evn_sampler *s, const int32_t *ids, size_t n);
EVN_API void evn_sampler_accept(evn_sampler *s, int32_t id); /* it was drawn */
/* From now on. EVN_ERR_USAGE for an id outside the vocabulary and a bias that is not a finite number. */
EVN_API evn_status evn_sampler_bias(evn_sampler *s, evn_logit_bias bias, evn_error *err);
EVN_API void evn_sampler_ban(evn_sampler *s, int32_t id); /* never drawn from now on */
/* From now on only tokens whose bit is set are drawn: bit id % 64 of mask[id / 64] (evener/grammar.h). It is not
 * copied; NULL: every token. */
EVN_API void evn_sampler_allow(evn_sampler *s, const uint64_t *mask);
EVN_API void evn_sampler_free(evn_sampler *s);

#ifdef __cplusplus
}
#endif
#endif
