/* test_moves.c - boundaries between ranks that move at every step, by a random walk: feed-forward units, vocabulary
 * rows, and heads with their keys and values. The ids are those of a rank that holds everything, and the logits are
 * as near as those of other splits. test_moves [DEVICES [TOKENS]] */
#include "engine/harness.h"
#include "engine/move.h"

#include <math.h>

#define TOLERANCE 2e-3 /* of a logit, as between splits (test_splits) */

enum { CONTEXT = 640, PROMPT = 150, PIECE = 40, BLOCKS_MOVED = 12 };

static const char *devices = "pocl,pocl,pocl", *model_file;
static uint32_t n_tokens = 24;
static evn_model *model;
static uint32_t vocab;
static int32_t *ids;    /* (PROMPT + n_tokens) the prompt, and what one rank goes on with */
static float *expected; /* (n_tokens, vocab) its logits */

/* Random shares; now and then a rank has none, for prompts or at all. */
static void random_shares(evn_random *rng, uint32_t n, double *shares, double *prompt_shares)
{
	const uint32_t without = evn_random_below(rng, 2 * n), without_prompt = evn_random_below(rng, 2 * n);
	for (uint32_t i = 0; i < n; i++) {
		shares[i] = i == without && n > 1 ? 0 : 0.2 + evn_random_below(rng, 1000) * 1e-3;
		prompt_shares[i] = i == without_prompt && n > 1 ? 0 : 0.2 + evn_random_below(rng, 1000) * 1e-3;
	}
}

/* Some blocks, or all, get the parts of a new random split. */
static void move_some(evn_engine *e, evn_random *rng)
{
	evn_error err = {0};
	double shares[EVN_MAX_RANKS], prompt_shares[EVN_MAX_RANKS];
	uint64_t memory[EVN_MAX_RANKS];
	evn_split to;
	for (uint32_t i = 0; i < e->n_ranks; i++)
		memory[i] = UINT64_MAX;
	random_shares(rng, e->n_ranks, shares, prompt_shares);
	require_ok(evn_split_make(&to, &e->prepared.shape, e->n_ranks, shares, prompt_shares, memory, &err));
	for (uint32_t i = 0; i < e->n_ranks; i++)
		if (evn_random_below(rng, 2))
			evn_split_keep_held(&to, &e->prepared.split, i);
	const uint32_t n = evn_n_movable(e), first = evn_random_below(rng, n);
	for (uint32_t i = 0; i < BLOCKS_MOVED; i++) {
		const uint32_t block = (first + i) % n;
		require_ok(evn_engine_move(e, &to, block, &err));
		assert_false(evn_move_changes(e, &to, block));
	}
	evn_split_free(&to);
}

static void compare(const float *got, uint32_t token)
{
	const float *want = expected + (size_t)token * vocab;
	double worst = 0;
	for (uint32_t i = 0; i < vocab; i++) {
		const double error = fabs((double)got[i] - (double)want[i]);
		worst = error <= worst ? worst : error; /* keeps a NaN */
	}
	if (!(worst <= TOLERANCE * (1 + fabs((double)want[likeliest(want, vocab)]))))
		fail_msg("token %u: a logit differs by %g", token, worst);
	assert_int_equal(likeliest(got, vocab), likeliest(want, vocab));
}

static void test_random_walk(void **state)
{
	(void)state;
	evn_error err = {0};
	evn_random rng = {7};
	running r = start(model_file, &(engine_setup){.devices = devices, .context = CONTEXT});
	for (uint32_t at = 0; at < PROMPT; at += PIECE) {
		move_some(r.engine, &rng);
		require_ok(evn_session_eval(r.session, ids + at, PROMPT - at < PIECE ? PROMPT - at : PIECE, NULL, &err));
	}
	for (uint32_t i = 0; i < n_tokens; i++) {
		compare(evn_session_logits(r.session), i);
		move_some(r.engine, &rng);
		require_ok(evn_session_eval(r.session, &ids[PROMPT + i], 1, NULL, &err));
	}
	stop(&r);
}

/* What fails leaves everything as it was: here a split that uses what no rank may hold. */
static void test_failed_move(void **state)
{
	(void)state;
	evn_error err = {0};
	running r = start(model_file, &(engine_setup){.devices = devices, .context = CONTEXT});
	evn_engine *e = r.engine;
	evn_split to;
	double shares[EVN_MAX_RANKS] = {1};
	uint64_t memory[EVN_MAX_RANKS];
	for (uint32_t i = 0; i < e->n_ranks; i++)
		memory[i] = UINT64_MAX;
	require_ok(evn_split_make(&to, &e->prepared.shape, e->n_ranks, shares, NULL, memory, &err));
	const evn_block *b = &e->prepared.graph->blocks[1];
	to.parts[b->cut_class][(size_t)b->cut_index * e->n_ranks].held.end /= 2; /* uses more than it holds */
	assert_int_equal(evn_engine_move(e, &to, 1, &err), EVN_ERR_USAGE);
	assert_true(evn_move_changes(e, &to, 1));
	require_ok(evn_session_eval(r.session, ids, PROMPT, NULL, &err));
	compare(evn_session_logits(r.session), 0);
	evn_split_free(&to);
	stop(&r);
}

static int make_expected(void **state)
{
	(void)state;
	evn_error err = {0};
	static const char text[] = "The history of the sea is a long one, and it begins with the ships. ";
	running r = start(model_file, &(engine_setup){.devices = "pocl", .context = CONTEXT});
	int32_t *some;
	size_t n;
	vocab = r.vocab;
	model = r.model;
	ids = calloc(PROMPT + n_tokens, sizeof *ids);
	expected = calloc((size_t)n_tokens * vocab, sizeof *expected);
	require_ok(evn_tokenize(model, text, strlen(text), true, false, &some, &n, &err));
	for (uint32_t i = 0; i < PROMPT; i++)
		ids[i] = some[i % n];
	free(some);
	require_ok(evn_session_eval(r.session, ids, PROMPT, NULL, &err));
	for (uint32_t i = 0; i < n_tokens; i++) {
		memcpy(expected + (size_t)i * vocab, evn_session_logits(r.session), vocab * sizeof *expected);
		ids[PROMPT + i] = likeliest(expected + (size_t)i * vocab, vocab);
		require_ok(evn_session_eval(r.session, &ids[PROMPT + i], 1, NULL, &err));
	}
	stop(&r);
	return 0;
}

static int free_expected(void **state)
{
	(void)state;
	free(ids);
	free(expected);
	return 0;
}

int main(int argc, char **argv)
{
	const char *given = getenv("EVENER_TEST_MODEL");
	model_file = given ? given : EVN_REPO "/models/smollm2-135m-instruct-q4_1.gguf";
	devices = argc > 1 ? argv[1] : devices;
	n_tokens = argc > 2 ? (uint32_t)strtoul(argv[2], NULL, 10) : n_tokens;
	if (!file_exists(model_file))
		return missing("no model (scripts/fetch-model)");
	if (!driver_exists("pocl") || (strstr(devices, "intel") && !driver_exists("intel")))
		return missing(devices);
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_random_walk), cmocka_unit_test(test_failed_move)};
	return cmocka_run_group_tests(tests, make_expected, free_expected);
}
