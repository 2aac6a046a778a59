#include "engine/request.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "engine/sample_top.h"
#include "model/model.h"

static uint32_t vocab_of(const evn_model *m) { return evn_model_hparams(m)->vocab; }

/* ---- beginning and end ----------------------------------------------------------------------------------------- */

static evn_status check(const evn_model *m, const evn_request_options *o, evn_error *err)
{
	if (!o->n_prompt)
		return evn_fail(err, EVN_ERR_USAGE, "the prompt has no tokens");
	for (size_t i = 0; i < o->n_prompt; i++)
		if (o->prompt[i] < 0 || (uint32_t)o->prompt[i] >= vocab_of(m))
			return evn_fail(err, EVN_ERR_USAGE, "token id %d: the vocabulary has 0 to %u", o->prompt[i],
							vocab_of(m) - 1);
	if (o->score_from >= o->n_prompt || (o->only_score && !o->score_from))
		return evn_fail(err, EVN_ERR_USAGE, "score_from: %zu is not an id of the prompt behind its first, of %zu ids",
						o->score_from, o->n_prompt);
	if (o->n_top > EVN_MAX_TOP_LOGPROBS)
		return evn_fail(err, EVN_ERR_LIMIT, "top logprobs: %u, at most %d are possible", o->n_top,
						EVN_MAX_TOP_LOGPROBS);
	return EVN_OK;
}

static evn_status make_sampler(evn_request *r, const evn_model *m, const evn_request_options *o, evn_error *err)
{
	EVN_TRY(evn_sampler_create(&r->sampler, &o->sampling, vocab_of(m), err));
	for (size_t i = 0; i < o->n_bias; i++)
		EVN_TRY(evn_sampler_bias(r->sampler, o->bias[i], err));
	for (uint32_t id = 0; o->ignore_end && id < vocab_of(m); id++)
		if (evn_token_ends_generation(m, (int32_t)id))
			evn_sampler_ban(r->sampler, (int32_t)id);
	evn_sampler_accept_prompt(r->sampler, o->prompt, o->n_prompt);
	return o->grammar ? evn_matcher_create(&r->matcher, o->grammar, err) : EVN_OK;
}

evn_status evn_request_create(evn_request **out, const evn_model *m, const evn_request_options *o, evn_error *err)
{
	*out = NULL;
	EVN_TRY(check(m, o, err));
	evn_request *r = calloc(1, sizeof *r);
	if (!r)
		return evn_fail_memory(err, "request", sizeof *r);
	r->o = *o;
	r->o.prompt = NULL;
	r->o.bias = NULL;
	r->next_score = (uint32_t)o->score_from;
	r->job.n_fresh = o->score_from ? (uint32_t)(o->n_prompt - o->score_from + 1) : 0;
	r->room = (uint32_t)o->n_prompt + EVN_BLOCK_POSITIONS;
	r->job.n_prompt = r->job.n_ids = (uint32_t)o->n_prompt;
	r->job.ids = malloc(r->room * sizeof *r->job.ids);
	evn_status status =
		r->job.ids ? make_sampler(r, m, o, err) : evn_fail_memory(err, "request", r->room * sizeof *r->job.ids);
	if (status != EVN_OK) {
		evn_request_destroy(r);
		return status;
	}
	memcpy(r->job.ids, o->prompt, o->n_prompt * sizeof *o->prompt);
	*out = r;
	return EVN_OK;
}

void evn_request_destroy(evn_request *r)
{
	free(r->job.ids);
	evn_sampler_free(r->sampler);
	evn_matcher_free(r->matcher);
	evn_lookup_free(r->lookup);
	free(r);
}

/* ---- probabilities --------------------------------------------------------------------------------------------- */

/* The n largest logits in order; of equal ones the lower id first. Returns their number. */
static size_t find_top(const float *logits, uint32_t vocab, double log_of_sum, evn_token_logprob *top, uint32_t n)
{
	size_t n_top = 0;
	for (uint32_t i = 0; n && i < vocab; i++) {
		const float logprob = (float)((double)logits[i] - log_of_sum);
		if (n_top == n && !(logprob > top[n - 1].logprob))
			continue;
		size_t at = n_top < n ? n_top++ : n - 1;
		for (; at && top[at - 1].logprob < logprob; at--)
			top[at] = top[at - 1];
		top[at] = (evn_token_logprob){(int32_t)i, logprob};
	}
	return n_top;
}

bool evn_request_wants(const evn_request *r, uint32_t position)
{
	const uint32_t next = position + 1;
	return next >= r->job.n_ids || (r->next_score && next >= r->next_score && next < r->job.n_prompt);
}

/* A request that was put off computes rows again whose scores are known. */
void evn_request_score(evn_request *r, uint32_t index, const float *logits, uint32_t vocab)
{
	if (index < r->next_score)
		return;
	r->next_score = index + 1;
	if (r->o.events.on_score)
		r->o.events.on_score(r->o.events.user, index,
							 (float)((double)logits[r->job.ids[index]] - evn_log_sum_exp(logits, vocab)));
}

/* ---- drafts ---------------------------------------------------------------------------------------------------- */

static uint32_t least(uint32_t a, uint32_t b) { return a < b ? a : b; }

uint32_t evn_request_most_drafts(const evn_request *r, uint32_t n_ctx)
{
	const uint32_t n_ids = r->job.n_ids, most = least(EVN_MOST_DRAFTS, r->room - n_ids);
	if (n_ids >= n_ctx || r->o.only_score)
		return 0;
	return least(most, least(n_ctx - n_ids, r->o.max_tokens ? r->o.max_tokens - r->n_tokens - 1 : UINT32_MAX));
}

void evn_request_guess(evn_request *r, uint32_t n_ctx, evn_draft *draft)
{
	*draft = (evn_draft){0};
	if (r->lookup)
		draft->n =
			evn_lookup_draft(r->lookup, r->job.ids, r->job.n_ids, evn_request_most_drafts(r, n_ctx), draft->chances);
}

/* ---- the next id ----------------------------------------------------------------------------------------------- */

static evn_status append(evn_request *r, int32_t id, evn_error *err)
{
	if (r->job.n_ids == r->room) {
		int32_t *more = realloc(r->job.ids, 2 * (size_t)r->room * sizeof *more);
		if (!more)
			return evn_fail_memory(err, "request", 2 * (size_t)r->room * sizeof *more);
		r->job.ids = more;
		r->room *= 2;
	}
	r->job.ids[r->job.n_ids++] = id;
	r->n_tokens++;
	return EVN_OK;
}

static bool tell(const evn_request *r, int32_t id, bool ends, const float *logits, uint32_t vocab)
{
	evn_token_logprob top[EVN_MAX_TOP_LOGPROBS];
	evn_request_token t = {.id = id, .ends = ends, .logprob = NAN, .top = top};
	if (!r->o.events.on_token)
		return true;
	if (r->o.logprobs) {
		const double sum = evn_log_sum_exp(logits, vocab);
		t.logprob = (float)((double)logits[id] - sum);
		t.n_top = find_top(logits, vocab, sum, top, r->o.n_top);
	}
	return r->o.events.on_token(r->o.events.user, &t);
}

uint32_t evn_request_needs(const evn_request *r, uint32_t position)
{
	const bool draws = position + 1 >= r->job.n_ids && !r->o.only_score;
	return draws && !r->o.logprobs && !r->matcher ? evn_sampler_needs(r->sampler) : 0;
}

static evn_status draw(evn_request *r, const evn_row_logits *l, int32_t *id, evn_error *err)
{
	uint64_t top[EVN_TOP_MOST];
	const uint64_t *allowed;
	if (r->matcher) {
		EVN_TRY(evn_matcher_mask(r->matcher, &allowed, err));
		evn_sampler_allow(r->sampler, allowed);
	}
	if (l->all)
		return evn_sampler_draw(r->sampler, l->all, id, err);
	return evn_sampler_draw_top(r->sampler, top, evn_top_merge(top, l->top, l->n_lists, l->n_top), id, err);
}

evn_status evn_request_draw(evn_request *r, const evn_model *m, const evn_row_logits *logits, uint32_t n_ctx,
							bool *ended, evn_error *err)
{
	int32_t id;
	if (r->o.only_score) {
		*ended = true;
		r->result.end = EVN_END_LENGTH;
		return EVN_OK;
	}
	EVN_TRY(draw(r, logits, &id, err));
	EVN_TRY(append(r, id, err));
	evn_sampler_accept(r->sampler, id);
	if (r->matcher)
		EVN_TRY(evn_matcher_accept(r->matcher, id, err));
	if (r->lookup)
		EVN_TRY(evn_lookup_read(r->lookup, r->job.ids, r->job.n_ids, err));
	if (r->first_s == 0)
		r->first_s = evn_now_s();
	const bool ends = evn_token_ends_generation(m, id), more = tell(r, id, ends, logits->all, vocab_of(m));
	*ended = true;
	if (ends || !more || (r->matcher && evn_matcher_is_complete(r->matcher)))
		r->result.end = EVN_END_STOP;
	else if ((r->o.max_tokens && r->n_tokens >= r->o.max_tokens) || r->job.n_ids > n_ctx)
		r->result.end = EVN_END_LENGTH;
	else
		*ended = false;
	return EVN_OK;
}
