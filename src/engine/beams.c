#include "engine/beams.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* A text: its ids behind the one that begins it, and the sum of their log-probabilities. */
typedef struct {
	int32_t *ids; /* (n_ctx) */
	uint32_t n;
	double sum;
	evn_slot slot; /* of one that goes on: all but its last id */
} beam;

/* A continuation of a beam. */
typedef struct {
	uint32_t from;
	int32_t id;
	double sum;
} branch;

typedef struct {
	evn_engine *e;
	const evn_translate_options *o;
	evn_comm_times before[EVN_MAX_RANKS];
	uint64_t bytes_read[EVN_MAX_RANKS];
	uint32_t vocab, stride, n, most; /* n: beams that are wanted; most: ids of a text */
	evn_slot memory;
	uint32_t n_text;
	beam beams[EVN_MAX_BEAMS], next[EVN_MAX_BEAMS]; /* those that go on */
	uint32_t n_beams;
	beam ended[EVN_MAX_BEAMS]; /* the best of those that have ended, best first */
	uint32_t n_ended;
	branch branches[2 * EVN_MAX_BEAMS]; /* the best, best first */
	uint32_t n_branches;
	float *x, *logits; /* rows of the embedding and one more; (n, vocab) */
} search;

/* Ranks copy a cache block. */
typedef struct {
	const evn_engine *e;
	uint32_t from, to;
} copying;

/* ---- memory ---------------------------------------------------------------------------------------------------- */

static evn_status make_ids(beam *beams, uint32_t n, uint32_t most, evn_error *err)
{
	for (uint32_t i = 0; i < n; i++) {
		beams[i].ids = malloc((most + 1u) * sizeof *beams[i].ids);
		if (!beams[i].ids)
			return evn_fail_memory(err, "beams", (most + 1u) * sizeof *beams[i].ids);
	}
	return EVN_OK;
}

static evn_status make(search *s, evn_error *err)
{
	const uint64_t rows = s->n_text > s->n ? s->n_text : s->n;
	EVN_TRY(make_ids(s->beams, s->n, s->most, err));
	EVN_TRY(make_ids(s->next, s->n, s->most, err));
	EVN_TRY(make_ids(s->ended, s->n, s->most, err));
	s->x = calloc((rows + 1) * s->stride, sizeof *s->x);
	s->logits = malloc((uint64_t)s->n * s->vocab * sizeof *s->logits);
	return s->x && s->logits ? EVN_OK : evn_fail_memory(err, "beams", (rows + 1) * s->stride * sizeof *s->x);
}

static void free_slots(search *s)
{
	for (uint32_t i = 0; i < s->n; i++) {
		evn_slot_free(&s->beams[i].slot, &s->e->pool);
		evn_slot_free(&s->next[i].slot, &s->e->pool);
	}
	evn_slot_free(&s->memory, &s->e->pool);
}

static void free_search(search *s)
{
	for (uint32_t i = 0; i < s->n; i++) {
		free(s->beams[i].ids);
		free(s->next[i].ids);
		free(s->ended[i].ids);
	}
	free(s->x);
	free(s->logits);
	free(s);
}

/* Each beam may fill the context, as a session may. */
static evn_status grow(search *s, evn_error *err)
{
	evn_engine *e = s->e;
	EVN_TRY(evn_engine_grow_cache(e, err));
	return evn_pool_grow(&e->pool, evn_session_blocks(e) * e->n_sessions, err);
}

/* ---- steps ----------------------------------------------------------------------------------------------------- */

static evn_status embed(search *s, int32_t id, uint32_t row, uint32_t position, evn_error *err)
{
	const uint64_t last = s->n_text > s->n ? s->n_text : s->n;
	return evn_embed(&s->e->embedding, &id, 1, position, s->x + (uint64_t)row * s->stride, s->stride,
					 s->x + last * s->stride, err);
}

static bool go_on(void *user)
{
	const search *s = user;
	return !s->o->go_on || s->o->go_on(s->o->user);
}

static evn_status take_step(search *s, const evn_batch *batch, evn_error *err)
{
	EVN_TRY(evn_engine_step(s->e, batch, &(evn_step_watch){go_on, s}, err));
	for (uint32_t i = 0; i < s->e->n_ranks; i++)
		s->bytes_read[i] += evn_engine_read_bytes(s->e, i, batch->encodes ? EVN_PROMPT : EVN_DECODE);
	return EVN_OK;
}

static evn_status read_text(search *s, const int32_t *text, evn_error *err)
{
	for (uint32_t i = 0; i < s->n_text; i++)
		EVN_TRY(embed(s, text[i], i, i, err));
	EVN_TRY(evn_slot_extend(&s->memory, &s->e->pool, s->n_text, err));
	const evn_span span = {.slot = &s->memory, .n_rows = s->n_text, .phase = EVN_PROMPT};
	const evn_batch batch = {.n_rows = s->n_text, .n_spans = 1, .spans = &span, .encodes = true, .x = s->x};
	return take_step(s, &batch, err);
}

/* Computes the logits behind the last id of each beam, in one step. */
static evn_status step(search *s, evn_error *err)
{
	evn_span spans[EVN_MAX_BEAMS];
	uint32_t rows[EVN_MAX_BEAMS];
	for (uint32_t i = 0; i < s->n_beams; i++) {
		beam *b = &s->beams[i];
		const int32_t id = b->n ? b->ids[b->n - 1] : evn_engine_decoder_start(s->e);
		EVN_TRY(embed(s, id, i, b->n, err));
		EVN_TRY(evn_slot_extend(&b->slot, &s->e->pool, b->n + 1, err));
		rows[i] = i;
		spans[i] = (evn_span){.slot = &b->slot,
							  .first_row = i,
							  .n_rows = 1,
							  .position = b->n,
							  .phase = EVN_DECODE,
							  .memory = &s->memory,
							  .n_memory = s->n_text};
	}
	const evn_batch batch = {.n_rows = s->n_beams,
							 .n_spans = s->n_beams,
							 .spans = spans,
							 .x = s->x,
							 .n_out = s->n_beams,
							 .out_rows = rows,
							 .out = s->logits};
	return take_step(s, &batch, err);
}

/* ---- choosing -------------------------------------------------------------------------------------------------- */

/* Keeps the best 2 n branches: so many because each beam may end in one. Of equal ones the first stays. */
static void offer(search *s, branch b)
{
	const uint32_t most = 2 * s->n;
	uint32_t at = s->n_branches;
	if (at == most && !(b.sum > s->branches[most - 1].sum))
		return;
	at = s->n_branches < most ? s->n_branches++ : most - 1;
	for (; at && s->branches[at - 1].sum < b.sum; at--)
		s->branches[at] = s->branches[at - 1];
	s->branches[at] = b;
}

static void find_branches(search *s)
{
	s->n_branches = 0;
	for (uint32_t i = 0; i < s->n_beams; i++) {
		const float *logits = s->logits + (uint64_t)i * s->vocab;
		const double all = evn_log_sum_exp(logits, s->vocab);
		for (uint32_t id = 0; id < s->vocab; id++)
			offer(s, (branch){i, (int32_t)id, s->beams[i].sum + ((double)logits[id] - all)});
	}
}

static double value_of(const search *s, double sum, uint32_t n) { return sum / pow(n, (double)s->o->length_penalty); }

static void write_ids(beam *to, const beam *from, int32_t id, double sum)
{
	memcpy(to->ids, from->ids, from->n * sizeof *to->ids);
	to->n = from->n;
	to->ids[to->n++] = id;
	to->sum = sum;
}

/* Among the best that have ended, if it is one of them. */
static void end_text(search *s, const branch *b)
{
	const beam *from = &s->beams[b->from];
	const double value = value_of(s, b->sum, from->n + 1);
	uint32_t at = s->n_ended;
	if (at == s->n && !(value > value_of(s, s->ended[at - 1].sum, s->ended[at - 1].n)))
		return;
	at = s->n_ended < s->n ? s->n_ended++ : s->n - 1;
	const beam place = s->ended[at];
	for (; at && value_of(s, s->ended[at - 1].sum, s->ended[at - 1].n) < value; at--)
		s->ended[at] = s->ended[at - 1];
	s->ended[at] = place;
	write_ids(&s->ended[at], from, b->id, b->sum);
}

static evn_status copy_block(void *arg, uint32_t rank, evn_error *err)
{
	const copying *c = arg;
	const evn_rank *r = &c->e->ranks[rank];
	return evn_cache_copy_block(r->cache, r->queue, c->from, c->to, err);
}

/* The empty slot gets the keys and values of the first n positions of another one. */
static evn_status fork_slot(search *s, evn_slot *to, const evn_slot *from, uint32_t n, evn_error *err)
{
	evn_engine *e = s->e;
	const uint32_t whole = n / EVN_BLOCK_POSITIONS;
	for (uint32_t i = 0; i < whole; i++)
		EVN_TRY(evn_slot_append(to, &e->pool, from->table[i], err));
	if (n % EVN_BLOCK_POSITIONS == 0)
		return EVN_OK;
	EVN_TRY(evn_slot_extend(to, &e->pool, n, err));
	copying c = {e, from->table[whole], to->table[whole]};
	return evn_engine_run(e, copy_block, &c, NULL, NULL, err);
}

/* The n_next chosen branches become the beams. The last branch of a beam takes its slot. */
static evn_status take_branches(search *s, const branch *chosen, uint32_t n_next, evn_error *err)
{
	for (uint32_t i = 0; i < n_next; i++) {
		beam *from = &s->beams[chosen[i].from], *to = &s->next[i];
		bool again = false;
		for (uint32_t k = i + 1; k < n_next; k++)
			again |= chosen[k].from == chosen[i].from;
		write_ids(to, from, chosen[i].id, chosen[i].sum);
		if (again) {
			EVN_TRY(fork_slot(s, &to->slot, &from->slot, from->n + 1, err));
			continue;
		}
		to->slot = from->slot;
		from->slot = (evn_slot){0};
	}
	for (uint32_t i = 0; i < s->n; i++) {
		const beam before = s->beams[i];
		evn_slot_free(&s->beams[i].slot, &s->e->pool);
		s->beams[i] = s->next[i];
		s->next[i] = (beam){.ids = before.ids};
	}
	s->n_beams = n_next;
	return EVN_OK;
}

/* One more id of each beam. *done: no text that goes on can become better than those that have ended. */
static evn_status go_further(search *s, bool *done, evn_error *err)
{
	branch chosen[EVN_MAX_BEAMS];
	uint32_t n = 0;
	EVN_TRY(step(s, err));
	find_branches(s);
	const bool last = s->beams[0].n + 1 == s->most;
	for (uint32_t i = 0; i < s->n_branches && n < s->n; i++) {
		if (last || evn_token_ends_generation(s->e->model, s->branches[i].id))
			end_text(s, &s->branches[i]);
		else
			chosen[n++] = s->branches[i];
	}
	const beam *worst = &s->ended[s->n - 1];
	*done =
		last || !n ||
		(s->n_ended == s->n && value_of(s, chosen[0].sum, s->beams[0].n + 1) <= value_of(s, worst->sum, worst->n));
	return *done ? EVN_OK : take_branches(s, chosen, n, err);
}

static evn_status find_text(search *s, const int32_t *text, evn_error *err)
{
	bool done = false;
	s->n_beams = 1;
	s->n_ended = 0;
	s->beams[0].n = 0;
	s->beams[0].sum = 0;
	for (uint32_t i = 0; i < s->e->n_ranks; i++)
		s->before[i] = evn_comm_rank_times(s->e->comm, i);
	memset(s->bytes_read, 0, sizeof s->bytes_read);
	evn_status status = grow(s, err);
	if (status == EVN_OK)
		status = read_text(s, text, err);
	while (status == EVN_OK && !done)
		status = go_further(s, &done, err);
	free_slots(s);
	return status;
}

static evn_status tell(const search *s, evn_error *err)
{
	const beam *best = &s->ended[0];
	for (uint32_t i = 0; i < best->n; i++)
		if (!s->o->on_token(s->o->user, best->ids[i], evn_token_ends_generation(s->e->model, best->ids[i])))
			return evn_fail(err, EVN_ERR_CANCELLED, "the text was stopped");
	return EVN_OK;
}

static evn_status check(const search *s, const int32_t *text, evn_error *err)
{
	const evn_limits *l = &s->e->prepared.limits;
	const uint32_t most = l->n_batch < l->n_ctx ? l->n_batch : l->n_ctx;
	if (!s->n_text || s->n_text > most)
		return evn_fail(err, EVN_ERR_LIMIT, "a text of %u tokens for the encoder, which reads 1 to %u at once",
						s->n_text, most);
	for (uint32_t i = 0; i < s->n_text; i++)
		if (text[i] < 0 || (uint32_t)text[i] >= s->vocab)
			return evn_fail(err, EVN_ERR_USAGE, "token id %d: the vocabulary has 0 to %u", text[i], s->vocab - 1);
	return EVN_OK;
}

evn_status evn_beams_search(evn_engine *e, const int32_t *text, size_t n_text, const evn_translate_options *o,
							evn_rank_stats *ranks, evn_error *err)
{
	const evn_hparams *h = evn_model_hparams(e->model);
	const uint32_t n_ctx = e->prepared.limits.n_ctx;
	search *s = calloc(1, sizeof *s);
	if (!s)
		return evn_fail_memory(err, "beams", sizeof *s);
	*s = (search){.e = e,
				  .o = o,
				  .vocab = h->vocab,
				  .stride = (uint32_t)evn_round_up(h->dim, EVN_PAD),
				  .n = o->n_beams,
				  .most = o->max_tokens && o->max_tokens < n_ctx ? o->max_tokens : n_ctx,
				  .n_text = n_text < UINT32_MAX ? (uint32_t)n_text : UINT32_MAX};
	evn_status status = check(s, text, err);
	if (status == EVN_OK)
		status = make(s, err);
	pthread_mutex_lock(&e->lock);
	e->n_sessions += s->n;
	const uint32_t n_abandoned = e->n_abandoned;
	if (status == EVN_OK)
		status = find_text(s, text, err);
	/* without the device that failed, once more */
	if (status != EVN_OK && status != EVN_ERR_CANCELLED && s->x && evn_engine_recover(e, err) &&
		e->n_abandoned == n_abandoned)
		status = find_text(s, text, err);
	e->n_sessions -= s->n;
	for (uint32_t i = 0; i < e->n_ranks && ranks && status == EVN_OK; i++)
		ranks[i] = evn_engine_rank_stats(e, i, s->before[i], s->bytes_read[i]);
	pthread_mutex_unlock(&e->lock);
	if (status == EVN_OK)
		status = tell(s, err);
	if (e->n_abandoned == n_abandoned) /* otherwise a device that hangs may come back to it */
		free_search(s);
	return status;
}
