/* test_verify.c - a device that computes a wrong value is found while a text is written. A value that was wrong once
 * is computed again; a device that is wrong again is left out. Devices that are right are never suspected.
 * fault_layer.c makes values wrong. */
#include "base/base.h"
#include "engine/faults.h"

enum { N_PROMPT = 20, N_TOKENS = 40, CONTEXT = 128 };

static int32_t prompt[N_PROMPT], expected[N_TOKENS];

/* In so many launches of this queue products are wrong. */
static void flip(unsigned long queue, unsigned long times)
{
	char number[32];
	snprintf(number, sizeof number, "%lu", queue);
	*(unsigned long *)fault_symbol("fault_flips") = 0;
	setenv("FAULT_QUEUE", number, 1);
	snprintf(number, sizeof number, "%lu", times);
	setenv("FAULT_TIMES", number, 1);
	setenv("FAULT_FLOATS", "500", 1);
	setenv("FAULT_KERNEL", "matvec", 1);
	setenv("FAULT", "flip", 1);
}

static void write_text(evn_engine *e, int32_t *ids)
{
	evn_error err = {0};
	evn_session *s;
	require_ok(evn_session_create(&s, e, &err));
	for (int i = 0; i < N_TOKENS; i++) {
		require_ok(i ? evn_session_eval(s, &ids[i - 1], 1, NULL, &err)
					 : evn_session_eval(s, prompt, N_PROMPT, NULL, &err));
		ids[i] = likeliest(evn_session_logits(s), vocab);
	}
	evn_session_free(s);
}

static evn_engine *open_on(const char *devices, bool rounds, unsigned long *first_queue)
{
	evn_error err = {0};
	evn_engine *e;
	*first_queue = fault_count("fault_queues");
	require_ok(open_engine(
		&e, model, &(engine_setup){.devices = devices, .context = CONTEXT, .rounds = rounds, .verify_every = 1},
		&err));
	return e;
}

static uint64_t print_events(evn_engine *e)
{
	evn_engine_event list[EVN_EVENTS_KEPT];
	const uint64_t n = evn_engine_events(e, list, EVN_EVENTS_KEPT);
	for (uint64_t i = 0; i < n && i < EVN_EVENTS_KEPT; i++)
		print_message("%.1f s: %s\n", list[i].at_s, list[i].text);
	return n;
}

/* Every step is checked, with f32 and with rounded activations, whole and in parts. */
static void test_no_false_alarm(void **state)
{
	(void)state;
	static const char *const devices[] = {"pocl", "pocl/1+1", "pocl,pocl,pocl"};
	for (size_t i = 0; i < 6; i++) {
		int32_t ids[N_TOKENS];
		unsigned long first;
		evn_engine *e = open_on(devices[i / 2], i % 2, &first);
		write_text(e, ids);
		assert_int_equal(print_events(e), 0);
		if (i % 2 == 0)
			assert_memory_equal(ids, expected, sizeof ids);
		evn_engine_close(e);
	}
}

/* The products of one step are wrong, once. */
static void test_wrong_once(void **state)
{
	(void)state;
	evn_error err = {0};
	evn_session *s;
	int32_t ids[N_TOKENS];
	unsigned long first, a_step = 0;
	evn_engine *e = open_on("pocl,pocl", false, &first);
	require_ok(evn_session_create(&s, e, &err));
	for (int i = 0; i < N_TOKENS; i++) {
		if (i == 2 || i == 5)
			flip(first + 1, i == 2 ? 0 : a_step);
		require_ok(i ? evn_session_eval(s, &ids[i - 1], 1, NULL, &err)
					 : evn_session_eval(s, prompt, N_PROMPT, NULL, &err));
		ids[i] = likeliest(evn_session_logits(s), vocab);
		if (i == 2)
			a_step = fault_count("fault_flips"); /* that would have been */
		unsetenv("FAULT");
	}
	evn_session_free(s);
	assert_int_equal(print_events(e), 1);
	assert_int_equal(evn_engine_plan(e)->n_ranks, 2);
	assert_memory_equal(ids, expected, sizeof ids);
	evn_engine_close(e);
}

/* A device that is always wrong is left out. */
static void test_wrong_for_ever(void **state)
{
	(void)state;
	int32_t ids[N_TOKENS];
	unsigned long first;
	evn_engine *e = open_on("pocl,pocl", false, &first);
	flip(first + 1, 1000000000);
	write_text(e, ids);
	unsetenv("FAULT");
	print_events(e);
	assert_int_equal(evn_engine_plan(e)->n_ranks, 1);
	assert_memory_equal(ids, expected, sizeof ids);
	evn_engine_close(e);
}

static int find_expected(void **state)
{
	(void)state;
	evn_error err = {0};
	open_model(state);
	evn_random_ids(3, 1000, prompt, N_PROMPT);
	evn_engine *e;
	require_ok(open_engine(&e, model, &(engine_setup){.devices = "pocl", .context = CONTEXT}, &err));
	write_text(e, expected);
	evn_engine_close(e);
	return 0;
}

int main(void)
{
	const int status = faults_begin();
	if (status)
		return status;
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_no_false_alarm), cmocka_unit_test(test_wrong_once),
									   cmocka_unit_test(test_wrong_for_ever)};
	return cmocka_run_group_tests(tests, find_expected, close_model);
}
