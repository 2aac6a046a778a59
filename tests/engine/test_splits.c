/* test_splits.c - the logits do not depend on how a model is cut: any number of ranks, any shares, every reduction
 * method, any size of prompt pieces. Also the guarantees of a session after a call is refused, stopped or taken
 * back. */
#include "engine/harness.h"

#include <math.h>

#include "worst.h"

#define N_IDS 24
#define TOLERANCE 1e-3 /* absolute, for logits up to about 30; the order of f32 summation differs */

static const char *model_file;
static int32_t ids[N_IDS];

/* "The capital of France is" and tokens of common words. */
static void make_ids(void)
{
	static const int32_t begin[] = {504, 3575, 282, 4649, 314};
	for (size_t i = 0; i < N_IDS; i++)
		ids[i] = i < 5 ? begin[i] : (int32_t)(400 + 97 * i);
}

/* Logits of every token: the first 12 as a prompt, the others one by one. */
static float *teacher_forced(const running *r)
{
	evn_error err = {0};
	float *all = malloc((size_t)N_IDS * r->vocab * sizeof *all);
	assert_non_null(all);
	require_ok(evn_session_rewind(r->session, 0, &err));
	require_ok(evn_session_eval(r->session, ids, 12, all, &err));
	for (size_t i = 12; i < N_IDS; i++)
		require_ok(evn_session_eval(r->session, ids + i, 1, all + i * r->vocab, &err));
	return all;
}

static float *logits_of(const engine_setup *w, uint32_t *vocab)
{
	static const char *const names[] = {
		[EVN_REDUCE_HOST] = "host", [EVN_REDUCE_EVENTS] = "events", [EVN_REDUCE_FLAGS] = "flags"};
	running r = start(model_file, w);
	const evn_plan_info *plan = evn_engine_plan(r.engine);
	if (w->n_shares)
		assert_int_equal(plan->n_ranks, w->n_shares);
	if (w->reduce != EVN_REDUCE_AUTO)
		assert_string_equal(plan->reduce, names[w->reduce]);
	float *all = teacher_forced(&r);
	*vocab = r.vocab;
	stop(&r);
	return all;
}

static void assert_close(const float *got, const float *want, size_t n)
{
	double worst = 0;
	for (size_t i = 0; i < n; i++)
		worst = worse(worst, fabs((double)got[i] - (double)want[i]));
	print_message("largest difference %.2g\n", worst);
	assert_true(worst <= TOLERANCE);
}

static void assert_same_bits(const float *got, const float *want, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (memcmp(&got[i], &want[i], sizeof *got))
			fail_msg("value %zu: %.9g and %.9g", i, (double)got[i], (double)want[i]);
}

static float *one_rank;

static int make_one_rank(void **at)
{
	uint32_t vocab;
	(void)at;
	make_ids();
	one_rank = logits_of(&(engine_setup){.devices = "pocl", .context = 64}, &vocab);
	return 0;
}

static int free_one_rank(void **at)
{
	(void)at;
	free(one_rank);
	return 0;
}

/* Several ranks agree with one rank. Every method up to `last` gives the bits of the method "host". */
static void compare_methods(const char *devices, const double *shares, size_t n, evn_reduce last)
{
	uint32_t vocab;
	engine_setup w = {.devices = devices, .shares = shares, .n_shares = n, .context = 64, .reduce = EVN_REDUCE_HOST};
	float *host = logits_of(&w, &vocab);
	assert_close(host, one_rank, (size_t)N_IDS * vocab);
	while (w.reduce != last) {
		w.reduce++;
		float *other = logits_of(&w, &vocab);
		assert_same_bits(other, host, (size_t)N_IDS * vocab);
		free(other);
	}
	free(host);
}

static void test_even(void **at)
{
	(void)at;
	compare_methods("pocl,pocl", (double[]){1, 1}, 2, EVN_REDUCE_EVENTS);
}
static void test_uneven(void **at)
{
	(void)at;
	compare_methods("pocl,pocl", (double[]){5, 3}, 2, EVN_REDUCE_EVENTS);
}
static void test_lopsided(void **at)
{
	(void)at;
	compare_methods("pocl,pocl", (double[]){9, 1}, 2, EVN_REDUCE_EVENTS);
}
static void test_idle_rank(void **at)
{
	(void)at;
	compare_methods("pocl,pocl", (double[]){1, 0}, 2, EVN_REDUCE_EVENTS);
}
static void test_idle_first_rank(void **at)
{
	(void)at;
	compare_methods("pocl,pocl,pocl", (double[]){0, 2, 1}, 3, EVN_REDUCE_EVENTS);
}
static void test_halves(void **at)
{
	(void)at;
	compare_methods("pocl/1+1", NULL, 0, EVN_REDUCE_FLAGS);
}
static void test_three(void **at)
{
	(void)at;
	compare_methods("pocl,pocl,pocl", (double[]){5, 3, 2}, 3, EVN_REDUCE_EVENTS);
}
static void test_four_ranks_over_three_kv_heads(void **at)
{
	(void)at;
	compare_methods("pocl,pocl,pocl,pocl", (double[]){1, 1, 1, 1}, 4, EVN_REDUCE_EVENTS);
}

/* Prompts are cut by prompt_shares, decode by shares. First a prompt in one step, and in pieces of which the last is
 * so short that it uses the decode cut. Then single tokens continue with the cache that each of them left. */
static void compare_phases(const char *devices, const double *shares, const double *prompt_shares, uint32_t batch)
{
	evn_error err = {0};
	running r = start(model_file, &(engine_setup){.devices = devices,
												  .shares = shares,
												  .prompt_shares = prompt_shares,
												  .n_shares = 2,
												  .context = 64,
												  .batch = batch});
	const evn_plan_info *plan = evn_engine_plan(r.engine);
	float *all = malloc((size_t)N_IDS * r.vocab * sizeof *all);
	assert_non_null(all);
	assert_int_not_equal(plan->ranks[0].ff[1], plan->ranks[0].prompt_ff[1]);
	require_ok(evn_session_eval(r.session, ids, N_IDS, all, &err));
	assert_close(all, one_rank, (size_t)N_IDS * r.vocab);
	require_ok(evn_session_rewind(r.session, 18, &err));
	for (size_t i = 18; i < N_IDS; i++)
		require_ok(evn_session_eval(r.session, ids + i, 1, all + i * r.vocab, &err));
	assert_close(all, one_rank, (size_t)N_IDS * r.vocab);
	require_ok(evn_session_eval(r.session, ids, N_IDS, all, &err)); /* a prompt after decoded tokens */
	require_ok(evn_session_rewind(r.session, 0, &err));
	require_ok(evn_session_eval(r.session, ids, N_IDS, all, &err));
	assert_close(all, one_rank, (size_t)N_IDS * r.vocab);
	free(all);
	stop(&r);
}

static void test_prompts_with_shares_of_their_own(void **at)
{
	(void)at;
	compare_phases("pocl/1+1", (double[]){1, 1}, (double[]){3, 1}, 0);
	compare_phases("pocl/1+1", (double[]){1, 1}, (double[]){1, 0}, 17);
	compare_phases("pocl,pocl", (double[]){1, 0}, (double[]){1, 3}, 17);
	compare_phases("pocl,pocl", (double[]){1, 5}, (double[]){5, 1}, 0);
}

static void test_two_runs_are_the_same(void **at)
{
	uint32_t vocab;
	engine_setup w = {.devices = "pocl,pocl", .shares = (double[]){5, 3}, .n_shares = 2, .context = 64};
	float *first = logits_of(&w, &vocab), *second = logits_of(&w, &vocab);
	(void)at;
	assert_same_bits(second, first, (size_t)N_IDS * vocab);
	free(first);
	free(second);
}

/* ---- one session ----------------------------------------------------------------------------------------------- */

static void test_prompt_pieces(void **at)
{
	evn_error err = {0};
	running r =
		start(model_file,
			  &(engine_setup){
				  .devices = "pocl,pocl", .shares = (double[]){5, 3}, .n_shares = 2, .context = 64, .batch = 7});
	float *all = malloc((size_t)N_IDS * r.vocab * sizeof *all);
	(void)at;
	assert_non_null(all);
	require_ok(evn_session_eval(r.session, ids, N_IDS, all, &err));
	assert_int_equal(evn_session_position(r.session), N_IDS);
	assert_close(all, one_rank, (size_t)N_IDS * r.vocab);
	assert_same_bits(evn_session_logits(r.session), all + (size_t)(N_IDS - 1) * r.vocab, r.vocab);
	/* Without all_logits, the logits of the last token are the same. */
	require_ok(evn_session_rewind(r.session, 0, &err));
	require_ok(evn_session_eval(r.session, ids, N_IDS, NULL, &err));
	assert_same_bits(evn_session_logits(r.session), all + (size_t)(N_IDS - 1) * r.vocab, r.vocab);
	free(all);
	stop(&r);
}

static void test_rewind(void **at)
{
	evn_error err = {0};
	running r = start(model_file, &(engine_setup){.devices = "pocl/1+1", .context = 64});
	float *before = malloc(r.vocab * sizeof *before);
	(void)at;
	assert_non_null(before);
	assert_null(evn_session_logits(r.session));
	require_ok(evn_session_eval(r.session, ids, 8, NULL, &err));
	require_ok(evn_session_eval(r.session, ids + 8, 1, NULL, &err));
	memcpy(before, evn_session_logits(r.session), r.vocab * sizeof *before);
	/* other keys and values from position 9 on */
	require_ok(evn_session_eval(r.session, ids + 9, 6, NULL, &err));
	require_ok(evn_session_rewind(r.session, 8, &err));
	assert_null(evn_session_logits(r.session));
	assert_int_equal(evn_session_position(r.session), 8);
	require_ok(evn_session_eval(r.session, ids + 8, 1, NULL, &err));
	assert_same_bits(evn_session_logits(r.session), before, r.vocab);
	assert_int_equal(evn_session_rewind(r.session, 10, &err), EVN_ERR_USAGE);
	assert_string_equal(err.text, "rewind to 10: the session holds 9 tokens");
	free(before);
	stop(&r);
}

static void test_sessions_do_not_disturb_each_other(void **at)
{
	evn_error err = {0};
	running r = start(model_file, &(engine_setup){.devices = "pocl/1+1", .context = 64});
	evn_session *other;
	(void)at;
	require_ok(evn_session_create(&other, r.engine, &err));
	require_ok(evn_session_eval(r.session, ids, 4, NULL, &err));
	require_ok(evn_session_eval(other, ids + 8, 5, NULL, &err));
	require_ok(evn_session_eval(r.session, ids + 4, 1, NULL, &err));
	float *interleaved = malloc(r.vocab * sizeof *interleaved);
	assert_non_null(interleaved);
	memcpy(interleaved, evn_session_logits(r.session), r.vocab * sizeof *interleaved);
	evn_session_free(other);
	require_ok(evn_session_rewind(r.session, 0, &err));
	require_ok(evn_session_eval(r.session, ids, 4, NULL, &err));
	require_ok(evn_session_eval(r.session, ids + 4, 1, NULL, &err));
	assert_same_bits(evn_session_logits(r.session), interleaved, r.vocab);
	free(interleaved);
	stop(&r);
}

static void test_refused_calls(void **at)
{
	evn_error err = {0};
	running r = start(model_file, &(engine_setup){.devices = "pocl,pocl", .context = 10});
	const int32_t negative[] = {504, -1}, beyond[] = {504, (int32_t)r.vocab};
	(void)at;
	require_ok(evn_session_eval(r.session, ids, 6, NULL, &err));
	float *logits = malloc(r.vocab * sizeof *logits);
	assert_non_null(logits);
	memcpy(logits, evn_session_logits(r.session), r.vocab * sizeof *logits);
	assert_int_equal(evn_session_eval(r.session, negative, 2, NULL, &err), EVN_ERR_USAGE);
	assert_string_equal(err.text, "token id -1: the vocabulary has 0 to 49151");
	assert_int_equal(evn_session_eval(r.session, beyond, 2, NULL, &err), EVN_ERR_USAGE);
	assert_int_equal(evn_session_eval(r.session, ids, 0, NULL, &err), EVN_ERR_USAGE);
	assert_int_equal(evn_session_eval(r.session, ids, 5, NULL, &err), EVN_ERR_LIMIT);
	assert_string_equal(err.text, "context: 6 tokens are held and 5 more do not fit into 10");
	assert_int_equal(evn_session_position(r.session), 6);
	assert_same_bits(evn_session_logits(r.session), logits, r.vocab);
	require_ok(evn_session_eval(r.session, ids, 4, NULL, &err)); /* exactly full */
	assert_int_equal(evn_session_eval(r.session, ids, 1, NULL, &err), EVN_ERR_LIMIT);
	require_ok(evn_session_rewind(r.session, 0, &err));
	require_ok(evn_session_eval(r.session, ids, 6, NULL, &err));
	assert_same_bits(evn_session_logits(r.session), logits, r.vocab);
	free(logits);
	stop(&r);
}

typedef struct {
	uint64_t stop_at; /* in tokens; UINT64_MAX: do not stop */
} patience;

static bool stop_at_token(void *user, const char *what, uint64_t done, uint64_t total)
{
	const patience *p = user;
	(void)total;
	return strcmp(what, "prompt") || done < p->stop_at;
}

static void test_stopped_prompt(void **at)
{
	evn_error err = {0};
	patience p = {.stop_at = UINT64_MAX};
	running r =
		start(model_file,
			  &(engine_setup){
				  .devices = "pocl/1+1", .context = 64, .batch = 7, .progress = stop_at_token, .progress_user = &p});
	(void)at;
	require_ok(evn_session_eval(r.session, ids, 3, NULL, &err));
	float *logits = malloc(2 * r.vocab * sizeof *logits);
	assert_non_null(logits);
	memcpy(logits, evn_session_logits(r.session), r.vocab * sizeof *logits);
	p.stop_at = 14;
	assert_int_equal(evn_session_eval(r.session, ids + 3, 20, NULL, &err), EVN_ERR_CANCELLED);
	assert_string_equal(err.text, "the prompt was stopped at token 14 of 20");
	assert_int_equal(evn_session_position(r.session), 3);
	assert_same_bits(evn_session_logits(r.session), logits, r.vocab);
	/* The session continues as if the call had not been made. */
	p.stop_at = UINT64_MAX;
	require_ok(evn_session_eval(r.session, ids + 3, 4, NULL, &err));
	memcpy(logits + r.vocab, evn_session_logits(r.session), r.vocab * sizeof *logits);
	require_ok(evn_session_rewind(r.session, 0, &err));
	require_ok(evn_session_eval(r.session, ids, 3, NULL, &err));
	require_ok(evn_session_eval(r.session, ids + 3, 4, NULL, &err));
	assert_same_bits(evn_session_logits(r.session), logits + r.vocab, r.vocab);
	free(logits);
	stop(&r);
}

int main(int argc, char **argv)
{
	const char *given = getenv("EVENER_TEST_MODEL");
	model_file = argc > 1 ? argv[1] : given ? given : EVN_REPO "/models/smollm2-135m-instruct-q4_1.gguf";
	if (!file_exists(model_file))
		return missing(model_file);
	if (!driver_exists("pocl"))
		return missing("driver pocl is not installed");
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_even),
		cmocka_unit_test(test_uneven),
		cmocka_unit_test(test_lopsided),
		cmocka_unit_test(test_idle_rank),
		cmocka_unit_test(test_idle_first_rank),
		cmocka_unit_test(test_halves),
		cmocka_unit_test(test_three),
		cmocka_unit_test(test_four_ranks_over_three_kv_heads),
		cmocka_unit_test(test_prompts_with_shares_of_their_own),
		cmocka_unit_test(test_two_runs_are_the_same),
		cmocka_unit_test(test_prompt_pieces),
		cmocka_unit_test(test_rewind),
		cmocka_unit_test(test_sessions_do_not_disturb_each_other),
		cmocka_unit_test(test_refused_calls),
		cmocka_unit_test(test_stopped_prompt),
	};
	return cmocka_run_group_tests(tests, make_one_rank, free_one_rank);
}
