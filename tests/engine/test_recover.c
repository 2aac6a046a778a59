/* test_recover.c - a device that fails while a text is written: the others go on, and the ids are those of a run in
 * which nothing failed. fault_layer.c makes the launches of one rank fail, or hang. */
#include "base/base.h"
#include "engine/faults.h"
#include "evener/requests.h"

enum { N_PROMPT = 20, N_TOKENS = 8, CONTEXT = 256, DEADLINE_S = 5 };

static int32_t prompt[N_PROMPT], expected[N_TOKENS];

/* ---- faults ---------------------------------------------------------------------------------------------------- */

static unsigned long queues(void) { return fault_count("fault_queues"); }

/* From now on, behind `after` more launches of all ranks, the launches in this queue fail. */
static void inject(const char *kind, unsigned long queue, unsigned long after)
{
	char number[32];
	snprintf(number, sizeof number, "%lu", queue);
	setenv("FAULT_QUEUE", number, 1);
	snprintf(number, sizeof number, "%lu", fault_count("fault_launches") + after);
	setenv("FAULT_AFTER", number, 1);
	setenv("FAULT", kind, 1);
}

/* ---- texts ----------------------------------------------------------------------------------------------------- */

typedef struct {
	evn_engine *engine;
	unsigned long first_queue;
} opened;

static opened open_on(const char *devices, uint32_t deadline_s)
{
	evn_error err = {0};
	opened o = {.first_queue = queues()};
	require_ok(open_engine(&o.engine, model,
						   &(engine_setup){.devices = devices, .context = CONTEXT, .deadline_s = deadline_s}, &err));
	return o;
}

/* Greedy ids; the fault comes before token `when`, 0: in the prompt. */
static void write_text(const opened *o, int32_t *ids, const char *kind, unsigned long rank, int when,
					   unsigned long after)
{
	evn_error err = {0};
	evn_session *session;
	require_ok(evn_session_create(&session, o->engine, &err));
	for (int i = 0; i < N_TOKENS; i++) {
		if (kind && i == when)
			inject(kind, o->first_queue + rank, after);
		require_ok(i ? evn_session_eval(session, &ids[i - 1], 1, NULL, &err)
					 : evn_session_eval(session, prompt, N_PROMPT, NULL, &err));
		ids[i] = likeliest(evn_session_logits(session), vocab);
	}
	evn_session_free(session);
}

static void check_plan(const evn_engine *e, size_t n_ranks, const char *reason)
{
	const evn_plan_info *p = evn_engine_plan(e);
	assert_int_equal(p->n_ranks, n_ranks);
	assert_true(p->n_dropped >= 1);
	if (!strstr(p->dropped[p->n_dropped - 1].reason, reason))
		fail_msg("%s: does not say %s", p->dropped[p->n_dropped - 1].reason, reason);
}

static void expect_text(const int32_t *ids, const char *what)
{
	for (int i = 0; i < N_TOKENS; i++)
		if (ids[i] != expected[i])
			fail_msg("%s: id %d is %d, without a fault %d", what, i, ids[i], expected[i]);
}

/* Every rank of three, in the prompt and between tokens, at once and in the middle of a step. */
static void test_errors(void **state)
{
	(void)state;
	for (unsigned long i = 0; i < 6; i++) {
		const unsigned long rank = i % 3;
		int32_t ids[N_TOKENS];
		char what[64], reason[16];
		const opened o = open_on("pocl,pocl,pocl", 0);
		snprintf(what, sizeof what, "rank %lu fails %s", rank, i < 3 ? "in the prompt" : "at token 3");
		snprintf(reason, sizeof reason, "rank %lu: ", rank);
		write_text(&o, ids, "launch", rank, i < 3 ? 0 : 3, rank * 40);
		expect_text(ids, what);
		check_plan(o.engine, 2, reason);
		fail_no_more();
		evn_engine_close(o.engine);
	}
}

/* The second rank that fails leaves one. Then nothing is left, and what was written stays. */
static void test_one_after_the_other(void **state)
{
	(void)state;
	evn_error err = {0};
	evn_session *session;
	int32_t ids[N_TOKENS];
	opened o = open_on("pocl,pocl,pocl", 0);
	write_text(&o, ids, "launch", 2, 2, 0);
	fail_no_more();
	o.first_queue = queues() - 2;
	write_text(&o, ids, "launch", 0, 4, 10);
	expect_text(ids, "one rank is left");
	check_plan(o.engine, 1, "rank 0: ");
	fail_no_more();
	require_ok(evn_session_create(&session, o.engine, &err));
	require_ok(evn_session_eval(session, prompt, N_PROMPT, NULL, &err));
	assert_true(evn_engine_works(o.engine));
	inject("launch", queues() - 1, 0);
	for (int i = 0; i < 2; i++) {
		err = (evn_error){0};
		assert_int_equal(evn_session_eval(session, ids, 1, NULL, &err), EVN_ERR_DEVICE);
		if (!strstr(err.text, "it cannot be replaced: no other device was named"))
			fail_msg("%s", err.text);
		fail_no_more();
	}
	assert_int_equal(evn_session_position(session), N_PROMPT);
	assert_false(evn_engine_works(o.engine));
	evn_session_free(session);
	evn_engine_close(o.engine);
}

/* A device that does not finish is given up after the deadline. */
static void test_hang(void **state)
{
	(void)state;
	for (unsigned long rank = 0; rank < 2; rank++) {
		int32_t ids[N_TOKENS];
		const opened o = open_on("pocl,pocl", DEADLINE_S);
		write_text(&o, ids, "hang", rank, rank ? 3 : 0, 0);
		expect_text(ids, "a device hangs");
		check_plan(o.engine, 1, rank ? "rank 1: " : "rank 0: ");
		fail_no_more();
		evn_engine_close(o.engine);
	}
}

/* ---- requests -------------------------------------------------------------------------------------------------- */

typedef struct {
	int32_t ids[N_TOKENS];
	int n;
} heard;

static bool on_token(void *user, const evn_request_token *t)
{
	heard *h = user;
	h->ids[h->n++] = t->id;
	return true;
}

static bool on_token_then_fail(void *user, const evn_request_token *t)
{
	heard *h = user;
	if (h->n == 3)
		inject("launch", queues() - 1, 5);
	return on_token(user, t);
}

/* All requests of a server live on. */
static void test_requests(void **state)
{
	(void)state;
	enum { N = 4 };
	evn_error err = {0};
	evn_scheduler *scheduler;
	evn_request *r[N];
	heard h[N] = {0};
	const opened o = open_on("pocl,pocl", 0);
	require_ok(evn_scheduler_create(&scheduler, o.engine, NULL, &err));
	for (int i = 0; i < N; i++) {
		evn_request_options q = {.prompt = prompt,
								 .n_prompt = N_PROMPT,
								 .max_tokens = N_TOKENS,
								 .ignore_end = true,
								 .sampling = evn_sample_defaults(),
								 .events = {.on_token = i ? on_token : on_token_then_fail, .user = &h[i]}};
		q.sampling.temp = 0;
		require_ok(evn_request_submit(&r[i], scheduler, &q, &err));
	}
	for (int i = 0; i < N; i++) {
		const evn_request_result result = evn_request_wait(r[i]);
		if (result.end != EVN_END_LENGTH)
			fail_msg("request %d: %s", i, result.error.text);
		assert_int_equal(result.n_tokens, N_TOKENS);
		expect_text(h[i].ids, "a request");
		evn_request_free(r[i]);
	}
	check_plan(o.engine, 1, "rank 1: ");
	fail_no_more();
	evn_scheduler_free(scheduler);
	evn_engine_close(o.engine);
}

/* The memory of one device is full while weights are loaded. It gets a smaller share, until that fits. */
static void test_full(void **state)
{
	(void)state;
	evn_engine_event events[EVN_EVENTS_KEPT];
	int32_t ids[N_TOKENS];
	if (!driver_exists("intel"))
		skip();
	setenv("FAULT_DEVICE", "pthread", 1); /* so PoCL names its device */
	setenv("FAULT_BYTES", "40000000", 1);
	setenv("FAULT", "full", 1);
	const opened o = open_on("pocl,intel", 0);
	const uint64_t n = evn_engine_events(o.engine, events, EVN_EVENTS_KEPT);
	for (uint64_t i = 0; i < n; i++)
		print_message("%s\n", events[i].text);
	assert_int_equal(evn_engine_plan(o.engine)->n_ranks, 2);
	assert_true(n > 0 && strstr(events[0].text, "smaller share"));
	write_text(&o, ids, NULL, 0, 0, 0);
	expect_text(ids, "memory is full");
	fail_no_more();
	evn_engine_close(o.engine);
}

static int find_expected(void **state)
{
	open_model(state);
	evn_random_ids(3, 1000, prompt, N_PROMPT);
	opened o = open_on("pocl", 0);
	write_text(&o, expected, NULL, 0, 0, 0);
	evn_engine_close(o.engine);
	int32_t ids[N_TOKENS];
	o = open_on("pocl,pocl", 0); /* compiles what test_hang has no time for */
	write_text(&o, ids, NULL, 0, 0, 0);
	expect_text(ids, "two ranks");
	evn_engine_close(o.engine);
	return 0;
}

int main(void)
{
	const int status = faults_begin();
	if (status)
		return status;
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_hang), cmocka_unit_test(test_errors),
									   cmocka_unit_test(test_one_after_the_other), cmocka_unit_test(test_requests),
									   cmocka_unit_test(test_full)};
	return cmocka_run_group_tests(tests, find_expected, close_model);
}
