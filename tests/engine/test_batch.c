/* test_batch.c - the bits of a row depend only on its own sequence: not on how many rows or sequences are in the
 * step, nor on how a prompt is cut into steps. Sequences of different lengths are computed alone and then together,
 * joining in several orders. Every logit must be the same to the bit. The weights are the first layers of a real
 * model. */
#include "engine/ranks.h"

#include <math.h>

#include "nn/dot.h"

#define N_LAYERS 3u
#define MOST 9u      /* sequences */
#define N_DECODED 3u /* tokens of each sequence after its prompt */
#define CONTEXT 192u
#define N_BATCH 192u

static const uint32_t prompts[MOST] = {37, 1, 70, 16, 3, 64, 9, 21, 2}; /* tokens */
static evn_system *drivers;

/* How sequences come together. Each joins `every` steps after the one before it. chunk: the most prompt rows of a
 * sequence in one step. */
typedef struct {
	const char *name;
	uint32_t every, chunk;
	bool last_first;
} order;

static const order orders[] = {{"at once", 0, N_BATCH, false},
							   {"one after the other", 1, N_BATCH, false},
							   {"the last first", 1, N_BATCH, true},
							   {"prompts in pieces of 7", 0, 7, false},
							   {"in pieces of 33, one every two steps", 2, 33, true}};

typedef struct {
	evn_slot slot;
	int32_t ids[CONTEXT];
	uint32_t n_prompt, done, joins;
} sequence;

typedef struct {
	ranks r;
	evn_embedding embedding;
	uint32_t vocab, stride;
	float *x, *scratch;
	float *alone, *got; /* [sequence][1 + N_DECODED][vocab] */
} rig;

static float *logits_at(const rig *g, float *of, uint32_t i, uint32_t k)
{
	return of + ((size_t)i * (1 + N_DECODED) + k) * g->vocab;
}

static void begin(rig *g, sequence *s, uint32_t i)
{
	*s = (sequence){.n_prompt = prompts[i]};
	evn_random_ids(100 + i, g->vocab, s->ids, prompts[i] + N_DECODED);
}

/* Appends the next rows of a sequence, at most `chunk`, to the batch. *out is the place for its logits; NULL for
 * none. */
static void add_span(rig *g, sequence *s, uint32_t i, uint32_t chunk, evn_batch *b, evn_span *spans, float **out,
					 float *to)
{
	evn_error err = {0};
	const bool in_prompt = s->done < s->n_prompt;
	const uint32_t left = in_prompt ? s->n_prompt - s->done : 1, n = left < chunk ? left : chunk;
	require_ok(evn_slot_extend(&s->slot, &g->r.pool, s->done + n, &err));
	require_ok(evn_embed(&g->embedding, s->ids + s->done, n, s->done, g->x + (size_t)b->n_rows * g->stride, g->stride,
						 g->scratch, &err));
	spans[b->n_spans] = (evn_span){.slot = &s->slot,
								   .first_row = b->n_rows,
								   .n_rows = n,
								   .position = s->done,
								   .phase = in_prompt && s->n_prompt > 1 ? EVN_PROMPT : EVN_DECODE};
	s->done += n;
	out[b->n_spans++] = s->done < s->n_prompt ? NULL : logits_at(g, to, i, s->done - s->n_prompt);
	b->n_rows += n;
}

/* One step of the first n sequences, as far as they have joined. False if none has anything to do. */
static bool step(rig *g, sequence *s, uint32_t n, const order *o, uint32_t at, float *to)
{
	evn_span spans[MOST];
	float *out[MOST], *logits = malloc((size_t)MOST * g->vocab * sizeof *logits);
	uint32_t out_rows[MOST];
	evn_batch b = {.spans = spans, .x = g->x, .out_rows = out_rows, .out = logits};
	bool taken[MOST] = {false};
	assert_non_null(logits);
	for (int decodes = 0; decodes < 2; decodes++)
		for (uint32_t i = 0; i < n; i++) {
			const bool decoded = s[i].n_prompt == 1 || s[i].done >= s[i].n_prompt;
			const bool has_more = s[i].joins <= at && s[i].done < s[i].n_prompt + N_DECODED;
			if (!has_more || taken[i] || decoded != decodes || b.n_rows == N_BATCH)
				continue;
			taken[i] = true;
			add_span(g, &s[i], i, o->chunk < N_BATCH - b.n_rows ? o->chunk : N_BATCH - b.n_rows, &b, spans, out, to);
		}
	for (uint32_t i = 0; i < b.n_spans; i++)
		if (out[i])
			out_rows[b.n_out++] = spans[i].first_row + spans[i].n_rows - 1;
	if (b.n_rows)
		ranks_step(&g->r, &b);
	for (uint32_t i = 0, k = 0; i < b.n_spans; i++)
		if (out[i])
			memcpy(out[i], logits + (size_t)k++ * g->vocab, g->vocab * sizeof *logits);
	free(logits);
	return b.n_rows > 0;
}

static void run(rig *g, uint32_t first, uint32_t n, const order *o, float *to)
{
	sequence s[MOST];
	for (uint32_t i = 0; i < n; i++) {
		begin(g, &s[i], first + i);
		s[i].joins = o->every * (o->last_first ? n - 1 - i : i);
	}
	for (uint32_t at = 0; step(g, s, n, o, at, logits_at(g, to, first, 0)) || at < o->every * n; at++)
		;
	for (uint32_t i = 0; i < n; i++)
		evn_slot_free(&s[i].slot, &g->r.pool);
	assert_int_equal(g->r.pool.n_free, g->r.pool.n_blocks);
}

static void compare(const rig *g, uint32_t n, const char *how)
{
	for (uint32_t i = 0; i < n; i++)
		for (uint32_t k = 0; k <= N_DECODED; k++) {
			const float *want = logits_at(g, g->alone, i, k), *got = logits_at(g, g->got, i, k);
			for (uint32_t v = 0; v < g->vocab; v++)
				if (memcmp(&want[v], &got[v], sizeof *want))
					fail_msg("%u sequences, %s: sequence %u, token %u, logit %u: %.9g, alone %.9g", n, how, i, k, v,
							 (double)got[v], (double)want[v]);
		}
}

static void compare_all(rig *g)
{
	static const uint32_t sizes[] = {1, 2, 5, 9};
	for (uint32_t i = 0; i < MOST; i++)
		run(g, i, 1, &orders[0], g->alone);
	for (size_t k = 0; k < sizeof sizes / sizeof *sizes; k++)
		for (size_t o = 0; o < sizeof orders / sizeof *orders; o++) {
			run(g, 0, sizes[k], &orders[o], g->got);
			compare(g, sizes[k], orders[o].name);
		}
}

static void make_rows(rig *g)
{
	evn_error err = {0};
	const size_t n = (size_t)MOST * (1 + N_DECODED) * g->vocab;
	require_ok(evn_embedding_find(&g->embedding, g->r.graph, &err));
	g->stride = (uint32_t)evn_round_up(g->r.graph->h->dim, EVN_PAD);
	g->x = calloc((size_t)N_BATCH * g->stride, sizeof *g->x);
	g->scratch = calloc(g->stride, sizeof *g->scratch);
	g->alone = malloc(n * sizeof *g->alone);
	g->got = malloc(n * sizeof *g->got);
	assert_true(g->x && g->scratch && g->alone && g->got);
}

/* ---- what else comes out of a step ----------------------------------------------------------------------------- */

/* Runs the first prompt in one step and writes the wanted output of its rows to out. */
static void run_prompt(rig *g, sequence *s, evn_output output, uint32_t n_out, const uint32_t *rows, float *out)
{
	evn_error err = {0};
	begin(g, s, 0);
	require_ok(evn_slot_extend(&s->slot, &g->r.pool, s->n_prompt + N_DECODED, &err));
	require_ok(evn_embed(&g->embedding, s->ids, s->n_prompt, 0, g->x, g->stride, g->scratch, &err));
	const evn_span span = {.slot = &s->slot, .n_rows = s->n_prompt, .phase = EVN_PROMPT};
	ranks_step(&g->r, &(evn_batch){.n_rows = s->n_prompt,
								   .n_spans = 1,
								   .spans = &span,
								   .x = g->x,
								   .output = output,
								   .n_out = n_out,
								   .out_rows = rows,
								   .out = out});
}

/* The hidden rows times the output matrix must be the logits. The pooled row must be the mean of all rows. The rows
 * are not adjacent. f32 sums of dim products err by less than 1e-3 of the largest logits, which are about 30. */
static void check_outputs(rig *g)
{
	static const uint32_t rows[] = {0, 3, 4, 36};
	const uint32_t dim = g->r.graph->h->dim, n = prompts[0];
	uint32_t all[64];
	sequence s;
	evn_error err = {0};
	const evn_tensor *head;
	float *logits = malloc(4 * (size_t)g->vocab * sizeof *logits), *weights = malloc(dim * sizeof *weights);
	float *hidden = malloc((size_t)n * dim * sizeof *hidden), *pooled = malloc(dim * sizeof *pooled);
	assert_true(logits && weights && hidden && pooled && n <= 64);
	for (uint32_t i = 0; i < n; i++)
		all[i] = i;
	run_prompt(g, &s, EVN_OUT_LOGITS, 4, rows, logits);
	evn_slot_free(&s.slot, &g->r.pool);
	run_prompt(g, &s, EVN_OUT_HIDDEN, n, all, hidden);
	evn_slot_free(&s.slot, &g->r.pool);
	run_prompt(g, &s, EVN_OUT_POOLED, 1, NULL, pooled);
	evn_slot_free(&s.slot, &g->r.pool);
	require_ok(evn_graph_head(g->r.graph, &head, &err));
	for (uint32_t v = 0; v < g->vocab; v += 97) {
		require_ok(evn_tensor_rows(head, v, 1, weights, &err));
		for (uint32_t i = 0; i < 4; i++) {
			double sum = 0;
			for (uint32_t k = 0; k < dim; k++)
				sum += (double)weights[k] * (double)hidden[(size_t)rows[i] * dim + k];
			assert_true(fabs(sum - (double)logits[(size_t)i * g->vocab + v]) < 1e-3);
		}
	}
	for (uint32_t k = 0; k < dim; k++) {
		double sum = 0, largest = 0;
		for (uint32_t i = 0; i < n; i++) {
			sum += (double)hidden[(size_t)i * dim + k];
			largest = fmax(largest, fabs((double)hidden[(size_t)i * dim + k]));
		}
		assert_true(fabs(sum / n - (double)pooled[k]) <= largest * 1e-5);
	}
	free(logits);
	free(weights);
	free(hidden);
	free(pooled);
}

/* Copies every KV head of every rank from one slot's cache blocks to another's. */
static void copy_cache(rig *g, const evn_slot *from, const evn_slot *to, uint32_t n_positions)
{
	evn_error err = {0};
	for (uint32_t rank = 0; rank < g->r.n; rank++)
		for (uint32_t b = 0; b < g->r.graph->n_blocks; b++) {
			const uint32_t n_heads = evn_range_len(g->r.shards[rank]->blocks[b].groups);
			for (uint32_t h = 0; g->r.graph->blocks[b].kind == EVN_BLOCK_ATTENTION && h < n_heads; h++) {
				evn_cache *c = g->r.caches[rank];
				void *host = malloc(evn_cache_head_bytes(c, b, n_positions));
				assert_non_null(host);
				const evn_cache_head out = {.block = b, .kv_head = h, .slot = from, .n_positions = n_positions};
				const evn_cache_head in = {.block = b, .kv_head = h, .slot = to, .n_positions = n_positions};
				require_ok(evn_cache_export(c, g->r.queues[rank], &out, host, &err));
				require_ok(evn_cache_import(c, g->r.queues[rank], &in, host, &err));
				free(host);
			}
		}
}

static void decode_one(rig *g, evn_slot *slot, const sequence *s, float *logits)
{
	const evn_span span = {.slot = slot, .n_rows = 1, .position = s->n_prompt, .phase = EVN_DECODE};
	evn_error err = {0};
	require_ok(evn_embed(&g->embedding, s->ids + s->n_prompt, 1, s->n_prompt, g->x, g->stride, g->scratch, &err));
	ranks_step(&g->r, &(evn_batch){.n_rows = 1,
								   .n_spans = 1,
								   .spans = &span,
								   .x = g->x,
								   .n_out = 1,
								   .out_rows = (uint32_t[]){0},
								   .out = logits});
}

/* A sequence must continue from a copy of its cache, exported and imported, as from its own, also after the cache has
 * grown. */
static void check_moved_cache(rig *g)
{
	evn_error err = {0};
	sequence s;
	evn_slot copy = {0};
	float *want = g->alone, *got = g->got;
	run_prompt(g, &s, EVN_OUT_LOGITS, 0, NULL, NULL);
	require_ok(evn_slot_extend(&copy, &g->r.pool, s.n_prompt + N_DECODED, &err));
	copy_cache(g, &s.slot, &copy, s.n_prompt);
	decode_one(g, &s.slot, &s, want);
	decode_one(g, &copy, &s, got);
	assert_memory_equal(want, got, g->vocab * sizeof *want);
	for (uint32_t rank = 0; rank < g->r.n; rank++)
		require_ok(evn_cache_grow(g->r.caches[rank], g->r.queues[rank], g->r.pool.n_blocks + 3, &err));
	decode_one(g, &copy, &s, got);
	assert_memory_equal(want, got, g->vocab * sizeof *want);
	evn_slot_free(&s.slot, &g->r.pool);
	evn_slot_free(&copy, &g->r.pool);
}

static void refuse(rig *g, const evn_span *spans, uint32_t n_spans, uint32_t n_rows, const char *what)
{
	evn_error err = {0};
	const evn_batch b = {.n_rows = n_rows, .n_spans = n_spans, .spans = spans, .x = g->x};
	g->r.batch = &b;
	assert_int_not_equal(evn_team_run(g->r.team, ranks_walk, &g->r, NULL, NULL, &err), EVN_OK);
	assert_non_null(strstr(err.text, what));
	require_ok(evn_comm_reset(g->r.comm, &err));
}

static void check_refusals(rig *g)
{
	evn_error err = {0};
	evn_slot s = {0};
	require_ok(evn_slot_extend(&s, &g->r.pool, 64, &err));
	const evn_span decoded = {.slot = &s, .n_rows = 1, .phase = EVN_DECODE};
	const evn_span prompt_behind = {.slot = &s, .first_row = 1, .n_rows = 2, .phase = EVN_PROMPT};
	refuse(g, &decoded, 1, 0, "0 rows");
	refuse(g, &decoded, 1, 2, "expected 2");
	refuse(g, (evn_span[]){decoded, prompt_behind}, 2, 3, "a prompt follows");
	refuse(g, &(evn_span){.slot = &s, .n_rows = 2, .phase = EVN_DECODE}, 1, 2, "expected 1");
	refuse(g, &(evn_span){.slot = &s, .n_rows = 2, .position = CONTEXT - 1, .phase = EVN_PROMPT}, 1, 2, "context");
	refuse(g, &(evn_span){.slot = &s, .n_rows = 2, .position = 63, .phase = EVN_PROMPT}, 1, 2, "64 positions");
	evn_slot_free(&s, &g->r.pool);
}

/* ---- where ----------------------------------------------------------------------------------------------------- */

/* How products are computed. */
typedef enum {
	F32,
	ROUNDS, /* activations are rounded to 8 bits, with the device's fastest dot kind */
	F32_LANES,
	ROUNDS_LANES, /* the same with 1 lane */
} arithmetic;

static void with_rig(const char *model, const char *devices, evn_reduce reduce, arithmetic how, void (*check)(rig *))
{
	evn_error err = {0};
	evn_model *m;
	rig g = {.r.limits = {.n_ctx = CONTEXT, .n_batch = N_BATCH}};
	require_ok(evn_model_open(&m, getenv(model), &err));
	g.vocab = evn_model_get_info(m).vocab;
	g.r.n_layers = N_LAYERS;
	ranks_open_devices(&g.r, drivers, devices);
	for (uint32_t i = 0; i < g.r.n && how >= F32_LANES; i++)
		evn_device_set_lanes(g.r.devices[i], 1);
	g.r.limits.dot = how == ROUNDS || how == ROUNDS_LANES ? evn_dot_best(g.r.devices[0])
														  : evn_dot_f32(evn_device_lanes(g.r.devices[0]));
	ranks_start(&g.r, m, (double[]){5, 4}, (double[]){3, 4}, reduce, MOST * evn_blocks_for(CONTEXT));
	make_rows(&g);
	check(&g);
	free(g.x);
	free(g.scratch);
	free(g.alone);
	free(g.got);
	ranks_close(&g.r);
	evn_model_close(m);
}

static void check(const char *model, const char *devices, evn_reduce reduce, arithmetic how)
{
	with_rig(model, devices, reduce, how, compare_all);
}

static void outputs(void **at)
{
	(void)at;
	with_rig("EVENER_TEST_MODEL", "pocl/1+1", EVN_REDUCE_AUTO, F32, check_outputs);
}
static void moved_cache(void **at)
{
	(void)at;
	with_rig("EVENER_TEST_MODEL", "pocl/1+1", EVN_REDUCE_AUTO, F32, check_moved_cache);
}
static void refusals(void **at)
{
	(void)at;
	with_rig("EVENER_TEST_MODEL", "pocl", EVN_REDUCE_AUTO, F32, check_refusals);
}

static void one_rank_8_bits(void **at) { (void)at, check("EVENER_TEST_MODEL", "pocl", EVN_REDUCE_AUTO, ROUNDS); }
static void one_rank_f32(void **at) { (void)at, check("EVENER_TEST_MODEL", "pocl", EVN_REDUCE_AUTO, F32); }
static void one_core(void **at) { (void)at, check("EVENER_TEST_MODEL", "pocl/1@0", EVN_REDUCE_AUTO, ROUNDS); }
static void halves(void **at) { (void)at, check("EVENER_TEST_MODEL", "pocl/1+1", EVN_REDUCE_FLAGS, ROUNDS); }
static void two_drivers(void **at) { (void)at, check("EVENER_TEST_MODEL", "pocl,intel", EVN_REDUCE_HOST, F32); }
static void float_weights(void **at) { (void)at, check("EVENER_TEST_MODEL_F32", "pocl", EVN_REDUCE_AUTO, F32); }

static void lanes_8_bits(void **at) { (void)at, check("EVENER_TEST_MODEL", "pocl", EVN_REDUCE_AUTO, ROUNDS_LANES); }
static void lanes_halves(void **at) { (void)at, check("EVENER_TEST_MODEL", "pocl/1+1", EVN_REDUCE_FLAGS, F32_LANES); }

/* With an argument: only the cases with that name. */
int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(one_rank_8_bits), cmocka_unit_test(one_rank_f32), cmocka_unit_test(one_core),
		cmocka_unit_test(halves),          cmocka_unit_test(two_drivers),  cmocka_unit_test(float_weights),
		cmocka_unit_test(outputs),         cmocka_unit_test(moved_cache),  cmocka_unit_test(refusals),
		cmocka_unit_test(lanes_8_bits),    cmocka_unit_test(lanes_halves)};
	evn_error err = {0};
	if (!file_exists(getenv("EVENER_TEST_MODEL")) || !file_exists(getenv("EVENER_TEST_MODEL_F32")))
		return missing("EVENER_TEST_MODEL, EVENER_TEST_MODEL_F32");
	if (!driver_exists("pocl") || !driver_exists("intel"))
		return missing("pocl, intel");
	if (evn_system_open(&drivers, &err) != EVN_OK)
		return fprintf(stderr, "%s\n", err.text), 1;
	if (argc > 1)
		cmocka_set_test_filter(argv[1]);
	int failed = cmocka_run_group_tests(tests, NULL, NULL);
	evn_system_close(drivers);
	return failed;
}
