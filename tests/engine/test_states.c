/* test_states.c - sequences of a model with states (a DeltaNet), which cannot go back to an earlier position: rewound
 * and broken-off sessions, several sequences at once, and what is refused. Each gives what a fresh session gives.
 *   test_states [DEVICES] */
#include "engine/harness.h"

#include "base/base.h"
#include "evener/requests.h"
#include "nn/blocks.h"

#define N_IDS 40u
#define N_REQUESTS 6u
#define N_TOKENS 8u

static const char *model_file, *devices = "pocl";
static running model;
static int32_t ids[N_IDS];
static size_t stop_at; /* tokens of a prompt after which it is stopped; 0: never */

static bool on_progress(void *user, const char *what, uint64_t done, uint64_t total)
{
	(void)user, (void)total;
	return !stop_at || strcmp(what, "prompt") != 0 || done < stop_at;
}

static evn_session *fresh(void)
{
	evn_error err = {0};
	evn_session *s;
	require_ok(evn_session_create(&s, model.engine, &err));
	return s;
}

static void eval(evn_session *s, uint32_t begin, uint32_t end)
{
	evn_error err = {0};
	require_ok(evn_session_eval(s, ids + begin, end - begin, NULL, &err));
}

/* The logits behind ids [0, cut) and [cut, end), each one prompt. */
static void assert_as_fresh(const evn_session *got, uint32_t cut, uint32_t end)
{
	evn_session *s = fresh();
	if (cut)
		eval(s, 0, cut);
	eval(s, cut, end);
	assert_int_equal(evn_session_position(got), end);
	assert_memory_equal(evn_session_logits(got), evn_session_logits(s), model.vocab * sizeof(float));
	evn_session_free(s);
}

static void test_rewind(void **state)
{
	(void)state;
	static const uint32_t cuts[] = {20, 39, 1, 0, 40};
	evn_error err = {0};
	evn_session *s = fresh();
	eval(s, 0, 30);
	for (uint32_t i = 30; i < N_IDS; i++)
		eval(s, i, i + 1);
	for (size_t i = 0; i < sizeof cuts / sizeof *cuts; i++) {
		require_ok(evn_session_rewind(s, cuts[i], &err));
		if (cuts[i] + 1 < N_IDS) {
			eval(s, cuts[i], N_IDS);
			assert_as_fresh(s, cuts[i], N_IDS);
		} else if (cuts[i] < N_IDS) {
			eval(s, cuts[i], N_IDS);
		}
	}
	require_ok(evn_session_rewind(s, 30, &err)); /* twice before anything is computed */
	require_ok(evn_session_rewind(s, 10, &err));
	eval(s, 10, 25);
	assert_as_fresh(s, 10, 25);
	evn_session_free(s);
}

/* The cache gets room for more states while some are in use. */
static void test_many_sessions(void **state)
{
	(void)state;
	evn_session *s[EVN_LEAST_STATES + 2];
	const uint32_t n = sizeof s / sizeof *s;
	for (uint32_t i = 0; i < n; i++) {
		s[i] = fresh();
		eval(s[i], 0, 5 + i);
	}
	for (uint32_t i = 0; i < n; i++) {
		eval(s[i], 5 + i, 30);
		assert_as_fresh(s[i], 5 + i, 30);
	}
	for (uint32_t i = 0; i < n; i++)
		evn_session_free(s[i]);
}

static void test_stopped(void **state)
{
	(void)state;
	evn_error err = {0};
	evn_session *s = fresh();
	eval(s, 0, 10);
	for (stop_at = 7; stop_at <= 14; stop_at += 7)
		assert_int_equal(evn_session_eval(s, ids + 10, 25, NULL, &err), EVN_ERR_CANCELLED);
	stop_at = 0;
	assert_int_equal(evn_session_position(s), 10);
	eval(s, 10, 35);
	assert_as_fresh(s, 10, 35);
	evn_session_free(s);
}

typedef struct {
	uint32_t n_prompt, n_got;
	int32_t want[N_TOKENS], got[N_TOKENS];
	evn_request *request;
} speaker;

static bool on_token(void *user, const evn_request_token *t)
{
	speaker *s = user;
	s->got[s->n_got++] = t->id;
	return true;
}

static void speak_alone(speaker *s, const int32_t *prompt)
{
	evn_error err = {0};
	evn_session *session = fresh();
	require_ok(evn_session_eval(session, prompt, s->n_prompt, NULL, &err));
	for (uint32_t i = 0; i < N_TOKENS; i++) {
		s->want[i] = 0;
		const float *logits = evn_session_logits(session);
		for (uint32_t v = 0; v < model.vocab; v++)
			s->want[i] = logits[v] > logits[s->want[i]] ? (int32_t)v : s->want[i];
		require_ok(evn_session_eval(session, &s->want[i], 1, NULL, &err));
	}
	evn_session_free(session);
}

static void submit(evn_scheduler *scheduler, speaker *s, const int32_t *prompt)
{
	evn_error err = {0};
	evn_sample_options sampling = evn_sample_defaults();
	sampling.temp = 0;
	sampling.repeat_penalty = 1;
	const evn_request_options o = {.prompt = prompt,
								   .n_prompt = s->n_prompt,
								   .max_tokens = N_TOKENS,
								   .sampling = sampling,
								   .ignore_end = true,
								   .events = {.on_token = on_token, .user = s}};
	require_ok(evn_request_submit(&s->request, scheduler, &o, &err));
}

static void wait_for(speaker *s, uint32_t n_cached)
{
	const evn_request_result r = evn_request_wait(s->request);
	if (r.end == EVN_END_FAILED)
		fail_msg("%s", r.error.text);
	assert_int_equal(r.n_cached, n_cached);
	assert_int_equal(s->n_got, N_TOKENS);
	evn_request_free(s->request);
}

/* More requests than states, of which some begin alike. */
static void test_requests(void **state)
{
	(void)state;
	static speaker s[N_REQUESTS];
	evn_error err = {0};
	evn_scheduler *scheduler;
	size_t n;
	for (uint32_t i = 0; i < N_REQUESTS; i++) {
		s[i] = (speaker){.n_prompt = 40 - 6 * i};
		speak_alone(&s[i], ids);
	}
	require_ok(evn_scheduler_create(&scheduler, model.engine, &(evn_scheduler_options){.prompt_chunk = 5}, &err));
	for (uint32_t i = 0; i < N_REQUESTS; i++)
		submit(scheduler, &s[i], ids);
	for (uint32_t i = 0; i < N_REQUESTS; i++) {
		wait_for(&s[i], 0);
		assert_memory_equal(s[i].got, s[i].want, sizeof s[i].want);
	}
	assert_int_equal(evn_scheduler_save(scheduler, ids, N_IDS, "states.keys", &n, &err), EVN_ERR_UNSUPPORTED);
	assert_non_null(strstr(err.text, "states"));
	evn_scheduler_free(scheduler);
}

/* The next turn of a conversation goes on behind what has been computed. A turn with another answer does not. */
static void test_turns(void **state)
{
	(void)state;
	evn_error err = {0};
	evn_scheduler *scheduler;
	speaker first = {.n_prompt = 20}, next = {.n_prompt = 38};
	require_ok(evn_scheduler_create(&scheduler, model.engine, NULL, &err));
	submit(scheduler, &first, ids);
	wait_for(&first, 0);
	for (uint32_t turn = 0; turn < 2; turn++) {
		int32_t prompt[N_IDS];
		next.n_got = 0;
		memcpy(prompt, ids, sizeof prompt);
		memcpy(prompt + first.n_prompt, first.got, sizeof first.got);
		prompt[22] = turn ? (prompt[22] + 1) % (int32_t)model.vocab : prompt[22];
		speak_alone(&next, prompt);
		submit(scheduler, &next, prompt);
		wait_for(&next, turn ? 0 : first.n_prompt + N_TOKENS - 1);
		assert_memory_equal(next.got, next.want, sizeof next.want);
	}
	evn_scheduler_free(scheduler);
}

static void test_refused(void **state)
{
	(void)state;
	evn_error err = {0};
	evn_engine *e;
	const engine_setup w = {.devices = devices, .context = 64, .rebalance = true};
	assert_int_equal(open_engine(&e, model.model, &w, &err), EVN_ERR_UNSUPPORTED);
	assert_non_null(strstr(err.text, "expected off"));
}

static int open_model(void **state)
{
	(void)state;
	model = start(
		model_file,
		&(engine_setup){.devices = devices, .context = 64, .batch = 6, .verify_every = 3, .progress = on_progress});
	evn_session_free(model.session);
	model.session = NULL;
	evn_random_ids(5, model.vocab, ids, N_IDS);
	return 0;
}

static int close_model(void **state)
{
	(void)state;
	stop(&model);
	return 0;
}

int main(int argc, char **argv)
{
	const char *folder = getenv("EVENER_TEST_CASES");
	char path[512];
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_rewind),  cmocka_unit_test(test_many_sessions),
									   cmocka_unit_test(test_stopped), cmocka_unit_test(test_requests),
									   cmocka_unit_test(test_turns),   cmocka_unit_test(test_refused)};
	devices = argc > 1 ? argv[1] : devices;
	if (!folder)
		return missing("EVENER_TEST_CASES names no folder");
	snprintf(path, sizeof path, "%s/qwen35-odd.gguf", folder);
	model_file = path;
	if (!file_exists(path))
		return missing("the folder holds no qwen35-odd.gguf: python3 has no numpy");
	if (!driver_exists(devices[0] == 'i' ? "intel" : "pocl"))
		return missing(devices);
	return cmocka_run_group_tests(tests, open_model, close_model);
}
