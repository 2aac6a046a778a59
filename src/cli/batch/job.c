/* job.c - see job.h. */
#include "cli/batch/job.h"
#include "base/base.h"
#include "cli/batch/openai.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

/* ---- the workshop ---------------------------------------------------------------------------------------------- */

evn_status workshop_start(workshop *w, evn_error *err)
{
	pthread_condattr_t attributes;
	bool ok = pthread_mutex_init(&w->lock, NULL) == 0 && pthread_condattr_init(&attributes) == 0 &&
			  pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC) == 0 &&
			  pthread_cond_init(&w->changed, &attributes) == 0;
	return ok ? EVN_OK : evn_fail_memory(err, "a lock", 0);
}

void workshop_end(workshop *w)
{
	evn_vocabulary_free(w->vocabulary);
	pthread_cond_destroy(&w->changed);
	pthread_mutex_destroy(&w->lock);
}

job *workshop_take(workshop *w, double seconds)
{
	uint64_t until_ns = evn_now_ns() + (uint64_t)(seconds * 1e9);
	struct timespec until = {(time_t)(until_ns / 1000000000), (long)(until_ns % 1000000000)};
	pthread_mutex_lock(&w->lock);
	if (!w->ended)
		pthread_cond_timedwait(&w->changed, &w->lock, &until);
	job *list = w->ended;
	w->ended = NULL;
	pthread_mutex_unlock(&w->lock);
	return list;
}

/* ---- events of requests ---------------------------------------------------------------------------------------- */

static bool append(text_buffer *b, const char *text)
{
	size_t n = strlen(text);
	if (n == 0)
		return true;
	if (b->n + n + 1 > b->room) {
		size_t room = 2 * (b->n + n) + 64;
		char *more = realloc(b->data, room);
		if (!more)
			return false;
		b->data = more;
		b->room = room;
	}
	memcpy(b->data + b->n, text, n + 1);
	b->n += n;
	return true;
}

static void take_piece(job_part *p, evn_answer_piece piece)
{
	p->no_memory |= !append(&p->content, piece.content) || !append(&p->reasoning, piece.reasoning);
	p->stopped |= piece.stopped;
}

static bool take_token(void *user, const evn_request_token *token)
{
	job_part *p = user;
	atomic_fetch_add(&p->job->shop->n_tokens, 1);
	if (!token->ends)
		take_piece(p, evn_answer_push(p->answer, token->id));
	return !p->stopped && !p->no_memory;
}

static void take_score(void *user, size_t index, float logprob)
{
	job_part *p = user;
	(void)index;
	atomic_fetch_add(&p->job->shop->n_tokens, 1);
	p->logprob += (double)logprob;
	p->n_scored++;
}

static void take_end(void *user, const evn_request_result *result)
{
	job_part *p = user;
	job *j = p->job;
	p->result = *result;
	if (p->answer)
		take_piece(p, evn_answer_end(p->answer));
	pthread_mutex_lock(&j->shop->lock);
	if (++j->n_ended == j->n_parts) {
		j->next = j->shop->ended;
		j->shop->ended = j;
		pthread_cond_signal(&j->shop->changed);
	}
	pthread_mutex_unlock(&j->shop->lock);
}

/* ---- beginning ------------------------------------------------------------------------------------------------- */

evn_status job_submit(job_part *p, const evn_answer_options *answer, evn_request_options *request, evn_error *err)
{
	const workshop *w = p->job->shop;
	request->events = (evn_request_events){.on_token = take_token, .on_end = take_end, .user = p};
	EVN_TRY(evn_answer_create(&p->answer, w->model, answer, err));
	return evn_request_submit(&p->request, w->scheduler, request, err);
}

/* Pieces with the same text have different answers. */
int64_t job_seed(const job *j) { return seed_of_text(j->shop->seed, j->piece); }

static evn_status submit_answer(job *j, evn_error *err)
{
	const settings *s = j->shop->settings;
	evn_answer_options answer = {.stops = s->stops.items,
								 .n_stops = s->stops.n,
								 .reasoning_apart = !s->raw && !j->shop->grammar,
								 .starts_reasoning = !j->shop->grammar && j->question.prompt.starts_reasoning};
	evn_request_options request = {
		.prompt = j->question.prompt.ids,
		.n_prompt = j->question.prompt.n,
		.max_tokens = s->n_answer < 0 ? 0 : (uint32_t)s->n_answer,
		.sampling = settings_sample_options(s),
		.grammar = j->shop->grammar,
		.priority = input_priority(j->fields),
	};
	request.sampling.seed = job_seed(j);
	return job_submit(&j->parts[0], &answer, &request, err);
}

static evn_status submit_label(job *j, size_t i, evn_error *err)
{
	evn_request_options o = {
		.sampling = evn_sample_defaults(),
		.only_score = true,
		.priority = input_priority(j->fields),
		.events = {.on_score = take_score, .on_end = take_end, .user = &j->parts[i]},
	};
	int32_t *ids = NULL;
	evn_status status = ask_label(&ids, &o.n_prompt, &o.score_from, j->shop->asking, &j->question,
								  j->shop->settings->labels.items[i], err);
	o.prompt = ids;
	if (status == EVN_OK)
		status = evn_request_submit(&j->parts[i].request, j->shop->scheduler, &o, err);
	free(ids);
	return status;
}

static evn_status submit(job *j, evn_error *err)
{
	const repeated_text *labels = &j->shop->settings->labels;
	if (j->openai)
		return openai_submit(j, err);
	evn_status status = ask(&j->question, j->shop->asking, j->fields, err);
	if (status == EVN_OK && labels->n == 0)
		return submit_answer(j, err);
	for (size_t i = 0; status == EVN_OK && i < labels->n; i++)
		status = submit_label(j, i, err);
	return status;
}

static void free_parts(job *j)
{
	for (size_t i = 0; j->parts && i < j->n_parts; i++) {
		job_part *p = &j->parts[i];
		evn_request_free(p->request);
		evn_answer_free(p->answer);
		free(p->content.data);
		free(p->reasoning.data);
	}
	free(j->parts);
	j->parts = NULL;
	j->n_parts = 0;
}

bool job_is_piece_fault(evn_status s) { return s == EVN_ERR_USAGE || s == EVN_ERR_LIMIT || s == EVN_ERR_UNSUPPORTED; }

/* What the piece asks for, and a part for each of its requests. */
static evn_status prepare(job *j, evn_error *err)
{
	size_t n_labels = j->shop->settings->labels.n;
	j->fields = input_fields(j->shop->input, j->piece);
	j->n_parts = n_labels ? n_labels : 1;
	if (j->fields && j->shop->input->format == INPUT_OPENAI) {
		j->openai = calloc(1, sizeof *j->openai);
		if (j->openai && openai_read(j->openai, j))
			j->n_parts = (size_t)j->openai->params.n;
	}
	j->parts = calloc(j->n_parts, sizeof *j->parts);
	if (!j->fields || !j->parts || (j->shop->input->format == INPUT_OPENAI && !j->openai))
		return evn_fail_memory(err, "a piece", 0);
	for (size_t i = 0; i < j->n_parts; i++)
		j->parts[i].job = j;
	return EVN_OK;
}

evn_status job_begin(job **out, workshop *w, size_t piece, evn_error *err)
{
	job *j = calloc(1, sizeof *j);
	*out = j;
	if (!j)
		return evn_fail_memory(err, "a piece", sizeof *j);
	*j = (job){.shop = w, .piece = piece};
	evn_status status = prepare(j, err);
	if (status == EVN_OK)
		status = submit(j, err);
	if (status == EVN_OK)
		return EVN_OK;
	free_parts(j); /* some of its requests may run already */
	if (!job_is_piece_fault(status)) {
		job_free(j);
		*out = NULL;
	}
	return status;
}

void job_free(job *j)
{
	if (!j)
		return;
	free_parts(j);
	question_free(&j->question);
	openai_free(j->openai);
	json_decref(j->fields);
	free(j);
}
