/* generated.c - see generated.h. The scheduler's thread calls take_token; the thread of the command waits, draws
 * the progress of the prompt and looks for signals. Both use the console, so they have a lock. */
#include "cli/commands/generated.h"
#include "base/base.h"
#include "cli/interrupt.h"
#include "cli/show/answer.h"
#include "cli/show/console.h"
#include "cli/show/ranks.h"
#include "evener/translate.h"

#include <math.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define LOOK_MS 20 /* for signals, and for the progress of the prompt */

typedef struct {
	generated *g;
	const loaded *loaded;
	const settings *settings;
	evn_answer *answer;
	FILE *content, *reasoning; /* streams into g */
	size_t limit;              /* of drawn ids */
	pthread_mutex_t lock;      /* guards what follows, and the console */
	pthread_cond_t changed;
	bool has_token, ended;
	uint64_t began_ns;
	size_t n_prompt;
	evn_status status; /* of printing */
	evn_error error;
} writing;

/* ---- the scheduler's thread ------------------------------------------------------------------------------------ */

static bool take(writing *w, evn_answer_piece piece)
{
	fputs(piece.content, w->content);
	fputs(piece.reasoning, w->reasoning);
	if (!w->settings->json && w->status == EVN_OK)
		w->status = answer_print(piece, &w->error);
	return w->status == EVN_OK && !piece.stopped;
}

static bool take_token(void *user, const evn_request_token *t)
{
	writing *w = user;
	bool goes_on = false;
	pthread_mutex_lock(&w->lock);
	if (!w->has_token) {
		console_progress_end();
		evn_log_took(w->began_ns, "first %zu tokens computed", w->n_prompt);
	}
	w->has_token = true;
	if (!t->ends && w->limit > 0) {
		w->g->ids[w->g->n_ids++] = t->id;
		goes_on = take(w, evn_answer_push(w->answer, t->id));
	}
	pthread_mutex_unlock(&w->lock);
	return goes_on;
}

static void take_end(void *user, const evn_request_result *result)
{
	writing *w = user;
	pthread_mutex_lock(&w->lock);
	w->g->result = *result;
	w->ended = true;
	pthread_cond_signal(&w->changed);
	pthread_mutex_unlock(&w->lock);
}

/* ---- the command's thread -------------------------------------------------------------------------------------- */

static void wait_a_little(writing *w)
{
	struct timespec until;
	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_nsec += LOOK_MS * 1000000;
	until.tv_sec += until.tv_nsec / 1000000000;
	until.tv_nsec %= 1000000000;
	pthread_cond_timedwait(&w->changed, &w->lock, &until);
}

static void wait_for_end(writing *w, evn_request *r, size_t n_prompt)
{
	const uint64_t before = evn_scheduler_get_stats(w->loaded->scheduler).prompt_tokens;
	pthread_mutex_lock(&w->lock);
	while (!w->ended) {
		wait_a_little(w);
		if (interrupted())
			evn_request_cancel(r);
		if (!w->has_token && !w->ended && n_prompt > 1)
			console_progress(NULL, "prompt", evn_scheduler_get_stats(w->loaded->scheduler).prompt_tokens - before,
							 n_prompt);
	}
	console_progress_end();
	pthread_mutex_unlock(&w->lock);
}

static evn_status open_writing(writing *w, const generate_options *o, evn_error *err)
{
	const settings *s = w->settings;
	const evn_answer_options answer = {.stops = s->stops.items,
									   .n_stops = s->stops.n,
									   .reasoning_apart = o->reasoning_apart && !w->loaded->form.grammar,
									   .starts_reasoning = o->prompt->starts_reasoning};
	pthread_condattr_t monotonic;
	pthread_condattr_init(&monotonic);
	pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
	pthread_mutex_init(&w->lock, NULL);
	pthread_cond_init(&w->changed, &monotonic);
	pthread_condattr_destroy(&monotonic);
	w->g->ids = calloc((size_t)evn_engine_context(w->loaded->engine) + 1, sizeof *w->g->ids);
	w->content = open_memstream(&w->g->content, &w->g->n_content);
	w->reasoning = open_memstream(&w->g->reasoning, &w->g->n_reasoning);
	if (!w->g->ids || !w->content || !w->reasoning)
		return evn_fail_memory(err, "the text", 0);
	return evn_answer_create(&w->answer, w->loaded->model, &answer, err);
}

static evn_status close_writing(writing *w, evn_status status, evn_error *err)
{
	bool lost = w->content && fclose(w->content) != 0;
	lost |= w->reasoning && fclose(w->reasoning) != 0;
	evn_answer_free(w->answer);
	pthread_cond_destroy(&w->changed);
	pthread_mutex_destroy(&w->lock);
	return status == EVN_OK && lost ? evn_fail_memory(err, "the text", 0) : status;
}

/* ---- models with an encoder and a decoder, which have no scheduler --------------------------------------------- */

typedef struct {
	writing *w;
	double began_s, first_s;
	bool stopped; /* take_token wants no more */
} translating;

static bool take_translated(void *user, int32_t id, bool ends)
{
	translating *t = user;
	t->w->g->result.n_tokens++;
	if (t->first_s == 0)
		t->first_s = evn_now_s();
	t->stopped = !take_token(t->w, &(evn_request_token){.id = id, .ends = ends, .logprob = NAN}) && !ends;
	return !t->stopped;
}

static bool goes_on(void *user)
{
	(void)user;
	return !interrupted();
}

static evn_status make_sampler(const writing *w, evn_sample_options sampling, evn_sampler **out, evn_error *err)
{
	const uint32_t vocab = w->loaded->info.vocab;
	evn_logit_bias *bias = NULL;
	evn_status status = evn_sampler_create(out, &sampling, vocab, err);
	if (status == EVN_OK)
		status = settings_biases(w->settings, &bias, err);
	for (size_t i = 0; i < w->settings->logit_bias.n && status == EVN_OK; i++)
		status = evn_sampler_bias(*out, bias[i], err);
	for (uint32_t id = 0; w->settings->ignore_eos && id < vocab && status == EVN_OK; id++)
		if (evn_token_ends_generation(w->loaded->model, (int32_t)id))
			evn_sampler_ban(*out, (int32_t)id);
	free(bias);
	return status;
}

static evn_status check_translation(const writing *w, evn_error *err)
{
	const settings *s = w->settings;
	if (w->loaded->form.grammar || s->chat)
		return evn_fail(err, EVN_ERR_UNSUPPORTED, "%s: a model with an encoder and a decoder",
						s->chat ? "--chat" : "a schema or grammar");
	if (s->n_beams > 1 && (s->ignore_eos || s->logit_bias.n))
		return evn_fail(err, EVN_ERR_USAGE, "--beams: ids are not drawn, so %s has no meaning",
						s->ignore_eos ? "--ignore-eos" : "--logit-bias");
	return EVN_OK;
}

static evn_status translate(writing *w, const generate_options *o, evn_error *err)
{
	const settings *s = w->settings;
	evn_sample_options sampling = settings_sample_options(s);
	evn_sampler *sampler = NULL;
	translating t = {.w = w, .began_s = evn_now_s()};
	sampling.seed = seed_of_text(s->seed, o->number);
	evn_status status = check_translation(w, err);
	if (status == EVN_OK)
		status = make_sampler(w, sampling, &sampler, err);
	const evn_translate_options how = {.sampler = sampler,
									   .n_beams = (uint32_t)s->n_beams,
									   .length_penalty = (float)s->length_penalty,
									   .max_tokens = s->n_predict > 0 ? (uint32_t)s->n_predict : s->n_predict == 0,
									   .on_token = take_translated,
									   .go_on = goes_on,
									   .user = &t};
	if (status == EVN_OK)
		status = evn_translate(w->loaded->engine, o->prompt->ids, o->prompt->n, &how, w->g->ranks, err);
	evn_sampler_free(sampler);
	if (status != EVN_OK && status != EVN_ERR_CANCELLED)
		return status;
	evn_request_result r = w->g->result;
	r.end = status == EVN_OK || t.stopped ? EVN_END_STOP : EVN_END_CANCELLED;
	r.n_prompt = (uint32_t)o->prompt->n;
	r.prompt_s = (t.first_s > 0 ? t.first_s : evn_now_s()) - t.began_s;
	r.decode_s = t.first_s > 0 ? evn_now_s() - t.first_s : 0;
	take_end(w, &r);
	return EVN_OK;
}

static evn_status compute(writing *w, const generate_options *o, evn_error *err)
{
	const settings *s = w->settings;
	evn_logit_bias *bias = NULL;
	evn_request *request;
	evn_request_options r = {
		.prompt = o->prompt->ids,
		.n_prompt = o->prompt->n,
		.max_tokens = s->n_predict > 0 ? (uint32_t)s->n_predict : s->n_predict == 0,
		.sampling = settings_sample_options(s),
		.n_bias = s->logit_bias.n,
		.grammar = w->loaded->form.grammar,
		.ignore_end = s->ignore_eos,
		.events = {.on_token = take_token, .on_end = take_end, .user = w},
	};
	r.sampling.seed = seed_of_text(s->seed, o->number);
	evn_status status = settings_biases(s, &bias, err);
	r.bias = bias;
	if (status == EVN_OK)
		status = evn_request_submit(&request, w->loaded->scheduler, &r, err);
	free(bias);
	if (status != EVN_OK)
		return status;
	wait_for_end(w, request, o->prompt->n);
	evn_request_free(request);
	const evn_scheduler_stats stats = evn_scheduler_get_stats(w->loaded->scheduler);
	memcpy(w->g->ranks, stats.ranks, sizeof stats.ranks);
	return EVN_OK;
}

static evn_status check_end(writing *w, evn_error *err)
{
	generated *g = w->g;
	if (g->result.end == EVN_END_FAILED) {
		*err = g->result.error;
		return err->code;
	}
	take(w, evn_answer_end(w->answer));
	if (!w->settings->json)
		answer_print_end();
	if (w->status != EVN_OK)
		*err = w->error;
	if (g->result.end == EVN_END_CANCELLED)
		g->finish = "interrupted";
	else if (g->n_ids == w->limit)
		g->finish = "length";
	else
		g->finish = g->result.end == EVN_END_LENGTH ? "context" : "stop";
	return w->status;
}

evn_status generate(generated *out, const loaded *l, const settings *s, const generate_options *o, evn_error *err)
{
	*out = (generated){0};
	writing w = {.g = out,
				 .loaded = l,
				 .settings = s,
				 .began_ns = evn_now_ns(),
				 .n_prompt = o->prompt->n,
				 .limit = s->n_predict < 0 ? SIZE_MAX : (size_t)s->n_predict};
	const bool translates = evn_engine_decoder_start(l->engine) >= 0;
	evn_status status = open_writing(&w, o, err);
	if (status == EVN_OK && !translates && s->n_beams > 1)
		status = evn_fail(err, EVN_ERR_USAGE, "--beams: expected a model with an encoder and a decoder");
	if (status == EVN_OK)
		status = (translates ? translate : compute)(&w, o, err);
	if (status == EVN_OK)
		status = check_end(&w, err);
	return close_writing(&w, status, err);
}

void generated_free(generated *g)
{
	free(g->ids);
	free(g->content);
	free(g->reasoning);
	*g = (generated){0};
}

/* ---- figures --------------------------------------------------------------------------------------------------- */

double generated_first_s(const generated *g) { return g->result.queue_s + g->result.prompt_s; }

double generated_prompt_rate(const generated *g)
{
	return per_second((double)g->result.n_prompt - g->result.n_cached, g->result.prompt_s);
}

double generated_decode_rate(const generated *g)
{
	return per_second((double)g->result.n_tokens - 1, g->result.decode_s);
}
