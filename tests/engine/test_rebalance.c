/* test_rebalance.c - a rank that becomes slower gets a smaller share, and its share back when it is fast again. The
 * logits are those of one rank. fault_layer.c makes the rank slow. */
#include "base/base.h"
#include "engine/faults.h"

#include <math.h>

#define TOLERANCE 2e-3 /* as in test_moves */

enum { CONTEXT = 512, PROMPT = 12, QUIET = 40, MOST_S = 120 };

static void slow_down(unsigned long queue, const char *factor)
{
	char number[32];
	snprintf(number, sizeof number, "%lu", queue);
	setenv("FAULT_QUEUE", number, 1);
	setenv("FAULT_FACTOR", factor, 1);
	setenv("FAULT", "slow", 1);
}

typedef struct {
	evn_session *alone, *shared;
	int32_t id;
	uint32_t n;
} text;

/* One more token on both engines. */
static void step(text *t)
{
	evn_error err = {0};
	if (evn_session_position(t->alone) == CONTEXT) {
		require_ok(evn_session_rewind(t->alone, PROMPT, &err));
		require_ok(evn_session_rewind(t->shared, PROMPT, &err));
	}
	require_ok(evn_session_eval(t->alone, &t->id, 1, NULL, &err));
	require_ok(evn_session_eval(t->shared, &t->id, 1, NULL, &err));
	const float *want = evn_session_logits(t->alone), *got = evn_session_logits(t->shared);
	double worst = 0, scale = 1 + fabs((double)want[likeliest(want, vocab)]);
	for (uint32_t i = 0; i < vocab; i++) {
		const double error = fabs((double)got[i] - (double)want[i]);
		worst = error <= worst ? worst : error; /* keeps a NaN */
	}
	if (!(worst <= TOLERANCE * scale))
		fail_msg("token %u: a logit differs by %g", t->n, worst);
	t->id = likeliest(want, vocab);
	t->n++;
}

static double share_of(const text *t, size_t rank) { return evn_session_rank_stats(t->shared, rank).share; }

static void print_events(evn_engine *e)
{
	evn_engine_event list[EVN_EVENTS_KEPT];
	const uint64_t n = evn_engine_events(e, list, EVN_EVENTS_KEPT);
	for (uint64_t i = 0; i < n && i < EVN_EVENTS_KEPT; i++)
		print_message("%.1f s: %s\n", list[i].at_s, list[i].text);
}

/* Steps until the slower rank's share is on the wanted side of the limit, and stays: an event is noted then. On a
 * busy machine trials fail, and the next one waits longer. */
static void expect_share(text *t, evn_engine *e, bool below, double limit)
{
	const double until = evn_now_s() + MOST_S;
	uint64_t seen = evn_engine_events(e, NULL, 0);
	while (evn_now_s() < until) {
		const uint64_t n = evn_engine_events(e, NULL, 0);
		if (n > seen && (below ? share_of(t, 1) < limit : share_of(t, 1) > limit))
			return;
		seen = n;
		step(t);
	}
	print_events(e);
	fail_msg("the slow rank has %.1f %% after %u tokens, expected %s %.1f", 100 * share_of(t, 1), t->n,
			 below ? "below" : "above", 100 * limit);
}

/* Rank 1 becomes slower by this factor, and fast again. */
static void follow_slow_rank(const char *factor, double below)
{
	evn_error err = {0};
	evn_engine *alone, *shared;
	int32_t prompt[PROMPT];
	text t = {.id = 1};
	require_ok(open_engine(&alone, model, &(engine_setup){.devices = "pocl/1", .context = CONTEXT}, &err));
	const unsigned long first = fault_count("fault_queues");
	require_ok(open_engine(&shared, model,
						   &(engine_setup){.devices = "pocl/1+1", .context = CONTEXT, .rebalance = true}, &err));
	require_ok(evn_session_create(&t.alone, alone, &err));
	require_ok(evn_session_create(&t.shared, shared, &err));
	evn_random_ids(3, vocab, prompt, PROMPT);
	require_ok(evn_session_eval(t.alone, prompt, PROMPT, NULL, &err));
	require_ok(evn_session_eval(t.shared, prompt, PROMPT, NULL, &err));
	for (int i = 0; i < QUIET; i++)
		step(&t);
	slow_down(first + 1, factor);
	expect_share(&t, shared, true, below);
	unsetenv("FAULT");
	expect_share(&t, shared, false, 0.4);
	print_events(shared);
	evn_session_free(t.shared);
	evn_session_free(t.alone);
	evn_engine_close(shared);
	evn_engine_close(alone);
}

static void test_slow_rank(void **state)
{
	(void)state;
	follow_slow_rank("5", 0.35);
}

/* It takes no part any more, and comes back. */
static void test_very_slow_rank(void **state)
{
	(void)state;
	follow_slow_rank("40", 0.001);
}

/* Shares that were given stay. */
static void test_given_shares(void **state)
{
	(void)state;
	evn_error err = {0};
	evn_engine *e;
	evn_session *s;
	const double shares[] = {1, 1};
	int32_t id = 1;
	const unsigned long first = fault_count("fault_queues");
	require_ok(open_engine(
		&e, model,
		&(engine_setup){
			.devices = "pocl/1+1", .context = CONTEXT, .rebalance = true, .shares = shares, .n_shares = 2},
		&err));
	require_ok(evn_session_create(&s, e, &err));
	slow_down(first + 1, "5");
	for (int i = 0; i < 150; i++)
		require_ok(evn_session_eval(s, &id, 1, NULL, &err));
	unsetenv("FAULT");
	assert_true(fabs(evn_session_rank_stats(s, 1).share - 0.5) < 0.02);
	assert_int_equal(evn_engine_events(e, NULL, 0), 0);
	evn_session_free(s);
	evn_engine_close(e);
}

/* Flags seemed slow when they were measured, so sums go by events. Now those are slow, and flags are tried, also if
 * shares stay. */
static void test_flags_are_tried(void **state)
{
	(void)state;
	evn_error err = {0};
	evn_engine *e;
	evn_session *s;
	int32_t id = 1;
	setenv("EVENER_TEST_FLAGS_US", "400", 1);
	require_ok(open_engine(&e, model, &(engine_setup){.devices = "pocl/1+1", .context = CONTEXT}, &err));
	unsetenv("EVENER_TEST_FLAGS_US");
	require_ok(evn_session_create(&s, e, &err));
	assert_string_equal(evn_engine_plan(e)->reduce, "events");
	setenv("FAULT_DELAY_US", "4000", 1);
	setenv("FAULT", "delay", 1);
	const double until = evn_now_s() + MOST_S;
	while (!evn_engine_events(e, NULL, 0) && evn_now_s() < until) {
		if (evn_session_position(s) == CONTEXT)
			require_ok(evn_session_rewind(s, 1, &err));
		require_ok(evn_session_eval(s, &id, 1, NULL, &err));
	}
	unsetenv("FAULT");
	print_events(e);
	evn_engine_event event;
	assert_int_equal(evn_engine_events(e, &event, 1), 1);
	assert_non_null(strstr(event.text, "short sums by flags"));
	evn_session_free(s);
	evn_engine_close(e);
}

int main(void)
{
	const int status = faults_begin();
	if (status)
		return status;
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_slow_rank), cmocka_unit_test(test_very_slow_rank),
									   cmocka_unit_test(test_given_shares), cmocka_unit_test(test_flags_are_tried)};
	return cmocka_run_group_tests(tests, open_model, close_model);
}
