#include "probe/steps.h"

#include <math.h>
#include <stdlib.h>

#include "group/team.h"
#include "base/child.h"

#define WEIGHT_BYTES                                                                                                 \
	((uint64_t)256 << 20) /* layers to go through, all ranks together: more than servers' caches hold */
#define PROMPT_TOKENS 256u
#define CONTEXT (2 * PROMPT_TOKENS)
#define SLOW_S 0.25         /* a token that takes so long is not waited for again and again */
#define SLICE_NS 100000000  /* has a mean, with the stalls that a text meets too; a figure is the median of these */
#define SLICE_STEPS 20u     /* are enough for a mean where they take less */
#define WINDOW_NS 500000000 /* for a kind of step, in slices between those of other kinds */
#define MIN_SLICES 3u
#define MAX_SLICES 5u

typedef struct {
	evn_shard *shard;
	evn_view *view;
	evn_workspace *workspace;
	evn_cache *cache;
	evn_comm *comm;   /* of one */
	uint64_t done_ns; /* when its step was done */
} walker;

/* One kind of step, and how long it took on each rank: means of slices. */
typedef struct {
	evn_plan_step of;
	bool logits;
	evn_comm *together; /* NULL: each rank by itself, all at once */
	uint32_t n;
	double ns[EVN_MAX_RANKS][MAX_SLICES];
} timing;

struct evn_steps {
	evn_graph *graph; /* of a few layers */
	evn_queue *queues[EVN_MAX_RANKS];
	evn_step_rank as[EVN_MAX_RANKS];
	uint32_t n;
	evn_plan_shape shape; /* of a few layers, too */
	evn_limits limits;
	evn_block_pool pool;
	evn_slot slot; /* the whole context */
	evn_split split;
	float *embeddings, *logits;
	evn_team *team;
	walker walkers[EVN_MAX_RANKS];
	evn_plan_candidate ranks[EVN_MAX_RANKS]; /* the rates measured */
	evn_comm *comms[EVN_REDUCE_FLAGS + 1];   /* of all ranks, by reduce method */
	/* what the team does */
	evn_split one[EVN_MAX_RANKS]; /* a rank's ranges as if it were alone */
	evn_batch batch;
	evn_span span;
	evn_comm *together;
	double spread, n_spreads; /* sums over what was timed */
};

static void release_waiting(void *arg)
{
	evn_steps *s = arg;
	if (s->together)
		evn_comm_cancel(s->together);
}

/* ---- building -----------------------------------------------------------------------------------------------------
 */

/* Shares as the planner gives them. */
static evn_status split_by_rates(evn_steps *s, evn_error *err)
{
	double shares[EVN_MAX_RANKS], prompt_shares[EVN_MAX_RANKS];
	uint64_t memory[EVN_MAX_RANKS];
	for (uint32_t i = 0; i < s->n; i++)
		memory[i] = UINT64_MAX;
	evn_split_free(&s->split);
	EVN_TRY(evn_plan_shares(shares, prompt_shares, s->ranks, s->n, err));
	return evn_split_make(&s->split, &s->shape, s->n, shares, prompt_shares, memory, err);
}

static evn_plan_step token_at(uint32_t position) { return (evn_plan_step){EVN_DECODE, 1, position}; }
static evn_plan_step prompt_at(const evn_steps *s, uint32_t position)
{
	return (evn_plan_step){EVN_PROMPT, s->limits.n_batch, position};
}

/* As many of the model's layers as are worth it. */
static evn_status cut_layers(evn_steps *s, uint32_t n_layers, evn_error *err)
{
	double all = 0, slowest_s = 0;
	for (uint32_t i = 0; i < s->n; i++)
		s->ranks[i] = (evn_plan_candidate){
			.share = EVN_SHARE_AUTO, .prompt_share = EVN_SHARE_AUTO, .rates.gemv_gbs = s->as[i].gbs, .id = ""};
	EVN_TRY(split_by_rates(s, err));
	for (uint32_t i = 0; i < s->n; i++)
		all += evn_split_work(&s->split, i, token_at(0)).bytes / n_layers;
	evn_graph_keep_layers(s->graph, (uint32_t)fmin(n_layers, ceil((double)WEIGHT_BYTES / fmax(all, 1))));
	EVN_TRY(evn_graph_shape(s->graph, s->limits, &s->shape, err));
	EVN_TRY(split_by_rates(s, err));
	for (uint32_t i = 0; i < s->n; i++)
		slowest_s = fmax(slowest_s, evn_split_work(&s->split, i, token_at(0)).bytes / (s->as[i].gbs * 1e9));
	return slowest_s < SLOW_S
			   ? EVN_OK
			   : evn_fail(err, EVN_ERR_UNSUPPORTED, "steps of %.1f s are too slow to be measured", slowest_s);
}

static evn_status create(evn_steps *s, const evn_model *m, evn_error *err)
{
	const evn_hparams *h;
	EVN_TRY(evn_graph_make(&s->graph, m, err));
	h = s->graph->h;
	if (s->graph->n_encoder)
		return evn_fail(err, EVN_ERR_UNSUPPORTED, "a model with an encoder and a decoder has two kinds of steps");
	if (h->n_layers == 0)
		return evn_fail(err, EVN_ERR_UNSUPPORTED, "a model without layers takes no steps through them");
	s->limits = (evn_limits){.n_ctx = CONTEXT < h->n_ctx_train ? CONTEXT : h->n_ctx_train};
	s->limits.n_batch = s->limits.n_ctx / 2;
	if (s->limits.n_batch < 2)
		return evn_fail(err, EVN_ERR_UNSUPPORTED, "a context of %u tokens is too short", h->n_ctx_train);
	EVN_TRY(evn_graph_shape(s->graph, s->limits, &s->shape, err));
	EVN_TRY(cut_layers(s, h->n_layers, err));
	EVN_TRY(evn_pool_grow(&s->pool, evn_blocks_for(s->limits.n_ctx), err));
	if (s->graph->has_states)
		EVN_TRY(evn_pool_grow_states(&s->pool, 1, err));
	EVN_TRY(evn_slot_extend(&s->slot, &s->pool, s->limits.n_ctx, err));
	const uint32_t stride = evn_graph_row_floats(s->graph);
	const uint64_t n_floats = (uint64_t)stride * s->limits.n_batch;
	s->embeddings = calloc(n_floats, sizeof *s->embeddings);
	s->logits = malloc(h->vocab * sizeof *s->logits);
	if (!s->embeddings || !s->logits)
		return evn_fail_memory(err, "steps", (n_floats + h->vocab) * sizeof(float));
	for (uint64_t i = 0; i < n_floats; i++) /* padding must stay 0 */
		s->embeddings[i] = i % stride < h->dim ? 0.01f * (float)(i % 17) - 0.08f : 0;
	return evn_team_create(&s->team, &(evn_team_config){.n_ranks = s->n, .on_failure = release_waiting, .arg = s},
						   err);
}

evn_status evn_steps_create(evn_steps **out, const evn_model *m, const evn_step_rank *ranks, uint32_t n,
							evn_error *err)
{
	evn_steps *s = *out = calloc(1, sizeof *s);
	if (!s)
		return evn_fail_memory(err, "steps", sizeof *s);
	s->n = n;
	for (uint32_t i = 0; i < n; i++) {
		s->as[i] = ranks[i];
		s->queues[i] = ranks[i].queue;
	}
	return create(s, m, err);
}

static void unload(evn_steps *s)
{
	for (uint32_t i = 0; i < s->n; i++) {
		walker *w = &s->walkers[i];
		evn_cache_free(w->cache);
		evn_workspace_free(w->workspace);
		evn_view_free(w->view);
		evn_shard_free(w->shard);
		evn_comm_free(w->comm);
		*w = (walker){0};
		evn_split_free(&s->one[i]);
	}
	for (size_t method = 0; method < sizeof s->comms / sizeof *s->comms; method++) {
		evn_comm_free(s->comms[method]);
		s->comms[method] = NULL;
	}
	s->together = NULL;
}

void evn_steps_free(evn_steps *s)
{
	if (!s)
		return;
	evn_team_free(s->team);
	unload(s);
	evn_split_free(&s->split);
	evn_slot_free(&s->slot, &s->pool);
	evn_pool_free(&s->pool);
	evn_graph_free(s->graph);
	free(s->embeddings);
	free(s->logits);
	free(s);
}

static evn_status load(void *arg, uint32_t rank, evn_error *err)
{
	evn_steps *s = arg;
	walker *w = &s->walkers[rank];
	bool alone = s->one[rank].n_ranks == 1;
	evn_queue *q = s->queues[rank];
	const evn_shard_part part = {.split = alone ? &s->one[rank] : &s->split, .rank = alone ? 0 : rank};
	evn_limits limits = s->limits;
	limits.dot = s->as[rank].dot;
	evn_device_set_lanes(evn_queue_device(q), evn_dot_lanes(limits.dot));
	EVN_TRY(evn_shard_load(&w->shard, q, s->graph, &part, err));
	EVN_TRY(evn_view_make(&w->view, w->shard, part.split, part.rank, err));
	EVN_TRY(evn_workspace_create(&w->workspace, q, w->shard, limits, err));
	evn_ops_set_gemm(w->workspace->ops, s->as[rank].gemm);
	evn_ops_set_block_cost(w->workspace->ops, s->as[rank].block_cost);
	EVN_TRY(evn_cache_create(&w->cache, q, w->shard, limits.kv_cache, s->pool.n_blocks, err));
	return evn_cache_grow_states(w->cache, q, s->pool.n_states, err);
}

static evn_status create_comm(const evn_steps *s, evn_comm **out, evn_queue *const *queues, uint32_t n,
							  evn_reduce reduce, evn_error *err)
{
	const evn_comm_config config = {.queues = queues,
									.n_ranks = n,
									.reduce = reduce,
									.max_floats = evn_message_floats(s->graph->h, s->limits.n_batch)};
	return evn_comm_create(out, &config, err);
}

static evn_status load_alone(evn_steps *s, uint32_t divisor, evn_error *err)
{
	for (uint32_t i = 0; i < s->n; i++) {
		EVN_TRY(evn_split_alone(&s->one[i], &s->split, i, divisor, err));
		EVN_TRY(create_comm(s, &s->walkers[i].comm, &s->queues[i], 1, EVN_REDUCE_AUTO, err));
	}
	return evn_team_run(s->team, load, s, NULL, NULL, err);
}

/* ---- timing -------------------------------------------------------------------------------------------------------
 */

static evn_status run_step(void *arg, uint32_t rank, evn_error *err)
{
	evn_steps *s = arg;
	walker *w = &s->walkers[rank];
	const evn_walker walks = {
		.view = w->view, .workspace = w->workspace, .cache = w->cache, .comm = s->together ? s->together : w->comm};
	EVN_TRY(evn_walk(&walks, &s->batch, err));
	w->done_ns = evn_now_ns();
	return EVN_OK;
}

/* As a session takes it: from the caller's thread, which waits for all. Adds to sums. */
static evn_status time_step(evn_steps *s, const timing *t, double *sums, evn_error *err)
{
	const uint32_t n = t->of.n_rows, last = n - 1;
	s->slot.n_state = t->of.position; /* any state takes as long */
	s->span = (evn_span){.slot = &s->slot, .n_rows = n, .position = t->of.position, .phase = t->of.phase};
	s->batch = (evn_batch){.n_rows = n,
						   .n_spans = 1,
						   .spans = &s->span,
						   .x = s->embeddings,
						   .n_out = t->logits,
						   .out_rows = &last,
						   .out = s->logits};
	s->together = t->together;
	uint64_t began = evn_now_ns();
	EVN_TRY(evn_team_run(s->team, run_step, s, NULL, NULL, err));
	for (uint32_t i = 0; i < s->n; i++)
		sums[i] += (double)((t->together ? evn_now_ns() : s->walkers[i].done_ns) - began);
	return EVN_OK;
}

static evn_status time_slice(evn_steps *s, timing *t, evn_error *err)
{
	double sums[EVN_MAX_RANKS] = {0}, ignored[EVN_MAX_RANKS] = {0};
	uint32_t n_steps = 0;
	if (t->of.phase == EVN_DECODE) /* after other work it finds its weights further away */
		EVN_TRY(time_step(s, t, ignored, err));
	uint64_t began = evn_now_ns();
	for (; n_steps == 0 || (n_steps < SLICE_STEPS && evn_now_ns() - began < SLICE_NS); n_steps++)
		EVN_TRY(time_step(s, t, sums, err));
	for (uint32_t i = 0; i < s->n; i++)
		t->ns[i][t->n] = sums[i] / n_steps;
	t->n++;
	return EVN_OK;
}

static void note_spread(evn_steps *s, const timing *t)
{
	for (uint32_t i = 0; i < s->n; i++) {
		double slices[MAX_SLICES], least = INFINITY, most = 0;
		for (uint32_t k = 0; k < t->n; k++) {
			slices[k] = t->ns[i][k];
			least = fmin(least, slices[k]);
			most = fmax(most, slices[k]);
		}
		s->spread += (most - least) / evn_median(slices, t->n);
		s->n_spreads++;
	}
}

static evn_status time_all(evn_steps *s, timing *t, uint32_t n, evn_error *err)
{
	double ignored[EVN_MAX_RANKS] = {0};
	for (uint32_t i = 0; i < n; i++) /* kernels are built */
		EVN_TRY(time_step(s, &t[i], ignored, err));
	uint64_t spent_ns = 0;
	for (uint32_t round = 0; round < MIN_SLICES || (round < MAX_SLICES && spent_ns < (uint64_t)n * WINDOW_NS);
		 round++) {
		evn_timeslice_pass();
		uint64_t began = evn_now_ns();
		for (uint32_t i = 0; i < n; i++)
			EVN_TRY(time_slice(s, &t[i], err));
		spent_ns += evn_now_ns() - began;
	}
	for (uint32_t i = 0; i < n; i++)
		note_spread(s, &t[i]);
	return EVN_OK;
}

double evn_steps_spread(const evn_steps *s) { return s->n_spreads > 0 ? s->spread / s->n_spreads : 0; }

/* ---- rates --------------------------------------------------------------------------------------------------------
 */

/* T = besides + amount / rate, from the times of a large and a small amount. */
static void fit(double large, double small, double large_ns, double small_ns, double *per_ns, double *besides_ns)
{
	double slope = large > small ? (large_ns - small_ns) / (large - small) : 0;
	*besides_ns = large_ns - slope * large;
	if (slope <= 0 || *besides_ns < 0) {
		*besides_ns = 0;
		slope = large_ns / large;
	}
	*per_ns = 1 / slope;
}

/* What is timed of a rank with its share, and of one with a part of it. */
enum { PROMPT, PROMPT_LATE, TOKEN, TOKEN_LATE, TOKEN_LOGITS, N_WHOLE };
enum { SMALL_PROMPT, SMALL_TOKEN, N_SMALL };

/* What more positions take; 0 for a rank without heads. */
static double per_key(double ns, double n_keys) { return n_keys > 0 ? fmax(0, ns) / n_keys : 0; }

/* From the times of the rank with its share, and of `small` with a part of it. */
static void work_out(const evn_steps *s, uint32_t rank, const evn_split *small, timing *whole, timing *part,
					 evn_rates *r)
{
	const double n = s->limits.n_batch, n_blocks = evn_plan_n_blocks(&s->shape);
	double d[N_WHOLE], d_small[N_SMALL], besides;
	evn_work work[N_WHOLE], work_small[N_SMALL];
	*r = (evn_rates){0};
	for (int i = 0; i < N_WHOLE; i++) {
		work[i] = evn_split_work(&s->split, rank, whole[i].of);
		d[i] = evn_median(whole[i].ns[rank], whole[i].n);
	}
	for (int i = 0; i < N_SMALL; i++) {
		work_small[i] = evn_split_work(small, 0, part[i].of);
		d_small[i] = evn_median(part[i].ns[rank], part[i].n);
	}
	if (work[TOKEN].bytes <= 0)
		return;
	r->key_ns = per_key(d[TOKEN_LATE] - d[TOKEN], work[TOKEN_LATE].keys - work[TOKEN].keys);
	r->prompt_key_ns = per_key(d[PROMPT_LATE] - d[PROMPT], work[PROMPT_LATE].keys - work[PROMPT].keys);
	fit(work[TOKEN].bytes, work_small[SMALL_TOKEN].bytes, d[TOKEN], d_small[SMALL_TOKEN], &r->gemv_gbs, &besides);
	r->block_us = besides / n_blocks * 1e-3;
	const double keys_ns = work[PROMPT].keys * r->prompt_key_ns;
	const double small_keys_ns = work_small[SMALL_PROMPT].keys * r->prompt_key_ns;
	fit(work[PROMPT].macs, work_small[SMALL_PROMPT].macs, fmax(d[PROMPT] - keys_ns, d[PROMPT] / 2),
		fmax(d_small[SMALL_PROMPT] - small_keys_ns, d_small[SMALL_PROMPT] / 2), &r->gemm_gflops, &besides);
	r->gemm_gflops *= 2;
	r->block_row_us = besides / n_blocks / n * 1e-3;
	r->vocab_gbs = work[TOKEN].vocab_bytes / fmax(d[TOKEN_LOGITS] - d[TOKEN], d[TOKEN] / 100);
}

/* Ranks of a kind are equally fast: what was measured of each differs by chance, and would become shares. */
static void average_rates(evn_steps *s, const evn_rates *measured)
{
	for (uint32_t i = 0; i < s->n; i++) {
		evn_rates sum = {0};
		double n_alike = 0;
		for (uint32_t k = 0; k < s->n; k++)
			if (s->as[k].kind == s->as[i].kind) {
				evn_rates_add(&sum, &measured[k]);
				n_alike++;
			}
		s->ranks[i].rates = evn_rates_scaled(sum, 1 / n_alike);
	}
}

static evn_status measure_alone(evn_steps *s, timing *whole, timing *part, evn_error *err)
{
	const uint32_t n = s->limits.n_batch, last = s->limits.n_ctx - 1;
	evn_rates measured[EVN_MAX_RANKS];
	whole[PROMPT] = (timing){.of = prompt_at(s, 0)}; /* prompts first: they fill the caches */
	whole[PROMPT_LATE] = (timing){.of = prompt_at(s, n)};
	whole[TOKEN] = (timing){.of = token_at(0)};
	whole[TOKEN_LATE] = (timing){.of = token_at(last)};
	whole[TOKEN_LOGITS] = (timing){.of = token_at(0), .logits = true};
	part[SMALL_PROMPT] = (timing){.of = prompt_at(s, 0)};
	part[SMALL_TOKEN] = (timing){.of = token_at(0)};
	EVN_TRY(load_alone(s, 1, err));
	EVN_TRY(time_all(s, whole, N_WHOLE, err));
	unload(s);
	EVN_TRY(load_alone(s, 4, err));
	EVN_TRY(time_all(s, part, N_SMALL, err));
	for (uint32_t i = 0; i < s->n; i++)
		work_out(s, i, &s->one[i], whole, part, &measured[i]);
	unload(s);
	average_rates(s, measured);
	return EVN_OK;
}

/* ---- all-reduces
 * -----------------------------------------------------------------------------------------------------
 */

/* Ranks that were timed side by side can be faster in step with each other, and no all-reduce is for nothing. */
#define LEAST_REDUCE_US 0.1

/* Seconds of a step by the rates measured, all-reduces for nothing. */
static double own_s(const evn_steps *s, evn_plan_step step)
{
	double vocab_s = step.phase == EVN_DECODE ? evn_predict_vocab_s(&s->split, s->ranks) : 0;
	return vocab_s + evn_predict_blocks_s(&s->split, s->ranks, step, (evn_reduce_cost){0});
}

/* Makes rates such that the fastest method's steps are predicted as they were timed; us[method]: an all-reduce of
 * each. A rank that is alone has none. */
static void work_out_reduce_costs(evn_steps *s, evn_plan_step step, const double *step_s, double *us)
{
	const double n_reduces = s->n > 1 ? evn_plan_n_reduces(&s->shape) : 0;
	double fastest_s = INFINITY, own = own_s(s, step);
	for (evn_reduce method = EVN_REDUCE_AUTO; method <= EVN_REDUCE_FLAGS; method++)
		fastest_s = step_s[method] > 0 ? fmin(fastest_s, step_s[method]) : fastest_s;
	double most_s = fmax(fastest_s - n_reduces * LEAST_REDUCE_US * 1e-6, fastest_s / 2);
	for (uint32_t i = 0; (own > most_s || s->n == 1) && i < s->n; i++)
		evn_rates_speed_up(&s->ranks[i].rates, step.phase, own / most_s);
	own = fmin(own, most_s);
	for (evn_reduce method = EVN_REDUCE_AUTO; method <= EVN_REDUCE_FLAGS; method++)
		us[method] = step_s[method] > 0 ? (step_s[method] - own) * 1e6 / fmax(n_reduces, 1) : 0;
}

/* A rank that is alone is timed once more too: layouts of a device are measured in turn, and what decides between
 * them is what they did at the same time. */
static evn_status measure_together(evn_steps *s, timing *prompts, timing *tokens, const bool *methods,
								   evn_reduce_cost *out, evn_error *err)
{
	double prompt_s[EVN_REDUCE_FLAGS + 1] = {0}, token_s[EVN_REDUCE_FLAGS + 1] = {0};
	double prompt_us[EVN_REDUCE_FLAGS + 1], token_us[EVN_REDUCE_FLAGS + 1];
	evn_reduce of[EVN_REDUCE_FLAGS];
	uint32_t n = 0;
	bool known = true;
	for (uint32_t i = 0; i < s->n; i++) /* a rank may have been too slow for any part */
		known &= s->ranks[i].rates.gemv_gbs > 0;
	if (known)
		EVN_TRY(split_by_rates(s, err));
	EVN_TRY(evn_team_run(s->team, load, s, NULL, NULL, err));
	for (evn_reduce method = EVN_REDUCE_AUTO; method <= EVN_REDUCE_FLAGS; method++) {
		if (!methods[method])
			continue;
		EVN_TRY(create_comm(s, &s->comms[method], s->queues, s->n, method, err));
		prompts[n] = (timing){.of = prompt_at(s, 0), .together = s->comms[method]};
		tokens[n] = (timing){.of = token_at(0), .logits = true, .together = s->comms[method]};
		of[n++] = method;
	}
	EVN_TRY(time_all(s, prompts, n, err));
	EVN_TRY(time_all(s, tokens, n, err));
	for (uint32_t i = 0; i < n; i++) {
		prompt_s[of[i]] = evn_median(prompts[i].ns[0], prompts[i].n) * 1e-9;
		token_s[of[i]] = evn_median(tokens[i].ns[0], tokens[i].n) * 1e-9;
	}
	work_out_reduce_costs(s, prompt_at(s, 0), prompt_s, prompt_us);
	work_out_reduce_costs(s, token_at(0), token_s, token_us);
	for (evn_reduce method = EVN_REDUCE_AUTO; method <= EVN_REDUCE_FLAGS; method++)
		out[method] = (evn_reduce_cost){token_us[method], prompt_us[method] * EVN_PLAN_PROMPT / s->limits.n_batch};
	return EVN_OK;
}

evn_status evn_steps_measure(evn_steps *s, const bool *methods, evn_rates *rates, evn_reduce_cost *costs,
							 evn_error *err)
{
	timing *t = calloc(N_WHOLE + N_SMALL, sizeof *t);
	if (!t)
		return evn_fail_memory(err, "timings", (N_WHOLE + N_SMALL) * sizeof *t);
	const bool alone[EVN_REDUCE_FLAGS + 1] = {[EVN_REDUCE_AUTO] = true};
	evn_status status = measure_alone(s, t, t + N_WHOLE, err);
	if (status == EVN_OK)
		status = measure_together(s, t, t + EVN_REDUCE_FLAGS, s->n > 1 ? methods : alone, costs, err);
	unload(s);
	for (uint32_t i = 0; i < s->n; i++)
		rates[i] = s->ranks[i].rates;
	free(t);
	return status;
}
