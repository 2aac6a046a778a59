/* test_scheduler.c - many requests at once, greedy and seeded, among cancelled ones and ones of other priorities, in
 * a cache that is too small for all. Each gets the ids that a session computes for it alone. */
#include "engine/harness.h"

#include <fcntl.h>
#include <math.h>

#include "base/base.h"
#include "engine/engine.h"
#include "evener/requests.h"

#define N 12
#define CONTEXT 448u
#define N_TOKENS 24u

static const char *model_file;
static const char *devices = "pocl";
static running model; /* without a session */

typedef struct {
	int32_t prompt[CONTEXT];
	uint32_t n_prompt, n_want, n_got, stops_after; /* stops_after: on_token returns false then; 0: never */
	evn_sample_options sampling;
	int32_t want[N_TOKENS], got[N_TOKENS];
	float logprobs[N_TOKENS];
	evn_request *request;
	evn_request_result result;
	int n_ends;
	float scores[CONTEXT]; /* of the prompt's ids */
	size_t next_score;
} speaker;

static bool on_token(void *user, const evn_request_token *t)
{
	speaker *s = user;
	assert_true(s->n_got < N_TOKENS);
	s->logprobs[s->n_got] = t->logprob;
	for (size_t i = 1; i < t->n_top; i++)
		assert_true(t->top[i].logprob <= t->top[i - 1].logprob);
	s->got[s->n_got++] = t->id;
	return s->n_got != s->stops_after;
}

static void on_end(void *user, const evn_request_result *result)
{
	speaker *s = user;
	s->result = *result;
	s->n_ends++;
}

static void on_score(void *user, size_t index, float logprob)
{
	speaker *s = user;
	assert_int_equal(index, s->next_score);
	s->scores[s->next_score++] = logprob;
}

/* Prompts of 1 to 300 ids; every third begins as the one before it does. */
static void make_speaker(speaker *s, const speaker *before, uint32_t i)
{
	static const uint32_t lengths[] = {1, 64, 300, 129, 17, 128, 2, 65};
	*s = (speaker){.n_prompt = lengths[i % 8], .sampling = evn_sample_defaults()};
	evn_random_ids(40 + i, model.vocab, s->prompt, s->n_prompt);
	for (uint32_t k = 0; before && i % 3 == 2 && k < 100 && k < s->n_prompt && k < before->n_prompt; k++)
		s->prompt[k] = before->prompt[k];
	s->sampling.temp = i % 2 ? 0.9f : 0;
	s->sampling.seed = i;
	s->sampling.repeat_penalty = i % 4 == 1 ? 1.2f : 1;
	s->sampling.frequency_penalty = i % 4 == 3 ? 0.5f : 0;
}

static void speak_alone(speaker *s)
{
	evn_error err = {0};
	evn_session *session;
	evn_sampler *sampler;
	require_ok(evn_session_create(&session, model.engine, &err));
	require_ok(evn_sampler_create(&sampler, &s->sampling, model.vocab, &err));
	evn_sampler_accept_prompt(sampler, s->prompt, s->n_prompt);
	require_ok(evn_session_eval(session, s->prompt, s->n_prompt, NULL, &err));
	while (s->n_want < N_TOKENS) {
		int32_t id;
		require_ok(evn_sampler_draw(sampler, evn_session_logits(session), &id, &err));
		evn_sampler_accept(sampler, id);
		s->want[s->n_want++] = id;
		if (evn_token_ends_generation(model.model, id))
			break;
		require_ok(evn_session_eval(session, &id, 1, NULL, &err));
	}
	evn_sampler_free(sampler);
	evn_session_free(session);
}

static evn_request_options options_of(speaker *s)
{
	return (evn_request_options){.prompt = s->prompt,
								 .n_prompt = s->n_prompt,
								 .max_tokens = N_TOKENS,
								 .sampling = s->sampling,
								 .events = {on_token, on_score, on_end, s}};
}

static void submit(evn_scheduler *s, speaker *who, int32_t priority)
{
	evn_error err = {0};
	evn_request_options o = options_of(who);
	o.priority = priority;
	o.logprobs = priority != 0;
	o.n_top = o.logprobs ? 5 : 0;
	require_ok(evn_request_submit(&who->request, s, &o, &err));
}

static void check(const speaker *s, uint32_t i)
{
	if (s->result.end == EVN_END_FAILED)
		fail_msg("request %u: %s", i, s->result.error.text);
	assert_int_equal(s->n_ends, 1);
	assert_int_equal(s->n_got, s->result.n_tokens);
	if (s->n_got != s->n_want)
		fail_msg("request %u: %u ids, alone %u", i, s->n_got, s->n_want);
	assert_true(s->result.n_prompt < 64 || s->result.n_cached ||
				s->result.prompt_s > 1e-3); /* the prompt's own steps */
	for (uint32_t k = 0; k < s->n_got; k++)
		if (s->got[k] != s->want[k])
			fail_msg("request %u, put off %u times, %u ids from the cache: id %u is %d, alone %d", i,
					 s->result.n_put_off, s->result.n_cached, k, s->got[k], s->want[k]);
	assert_int_equal(s->result.end,
					 evn_token_ends_generation(model.model, s->got[s->n_got - 1]) ? EVN_END_STOP : EVN_END_LENGTH);
}

static void test_together(void **state)
{
	(void)state;
	static speaker s[N], cancelled[N / 4];
	evn_error err = {0};
	evn_scheduler *scheduler;
	for (uint32_t i = 0; i < N; i++) {
		make_speaker(&s[i], i ? &s[i - 1] : NULL, i);
		speak_alone(&s[i]);
	}
	require_ok(evn_scheduler_create(&scheduler, model.engine, &(evn_scheduler_options){.prompt_chunk = 48}, &err));
	for (uint32_t i = 0; i < N; i++) {
		submit(scheduler, &s[i], i % 5 == 4 ? -1 : 0);
		if (i % 4 == 0) {
			make_speaker(&cancelled[i / 4], &s[i], i + 2);
			submit(scheduler, &cancelled[i / 4], 0);
		}
	}
	for (uint32_t i = 0; i < N / 4; i++)
		evn_request_free(cancelled[i].request); /* whether it runs or waits */
	for (uint32_t i = 0; i < N; i++) {
		evn_request_wait(s[i].request);
		evn_request_free(s[i].request);
		check(&s[i], i);
	}
	const evn_scheduler_stats stats = evn_scheduler_get_stats(scheduler);
	assert_true(stats.put_off > 0);
	assert_true(stats.cached_tokens > 0);
	assert_true(stats.rows > 2 * stats.steps);
	evn_scheduler_free(scheduler);
}

/* As with devices that have their own memory: every rank finds the largest logits, on the device or on the host. */
static void find_top(bool on_device)
{
	model.engine->finds_top = true;
	for (uint32_t i = 0; i < model.engine->n_ranks; i++)
		model.engine->ranks[i].workspace->finds_top = on_device;
}

static void check_found(void)
{
	for (uint32_t i = 0; i < model.engine->n_ranks; i++) {
		const evn_workspace *w = model.engine->ranks[i].workspace;
		assert_non_null(w->finds_top ? (const void *)w->top : (const void *)w->host_logits);
	}
}

/* A device with its own memory needs no more than one round: it finds them anyway, and a CPU beside it does not. */
static void test_largest(void **state)
{
	(void)state;
	static const struct {
		float temp, top_p, min_p;
		int32_t top_k;
	} cases[] = {{0, 1, 0, 0}, {0.9f, 0.95f, 0.05f, 40}, {2, 1, 0, 64}, {1, 1, 0, 5}};
	const bool anyway = model.engine->finds_top;
	static speaker s[4];
	evn_error err = {0};
	evn_scheduler *scheduler;
	for (uint32_t i = 0; i < 4; i++) {
		make_speaker(&s[i], NULL, (i < 2 ? 4 : 8) + 2 * i); /* prompts of 17 and 2 ids */
		s[i].sampling = (evn_sample_options){.temp = cases[i].temp,
											 .top_p = cases[i].top_p,
											 .min_p = cases[i].min_p,
											 .top_k = cases[i].top_k,
											 .repeat_penalty = 1,
											 .seed = i};
		speak_alone(&s[i]);
	}
	for (uint32_t round = 0; round < (anyway ? 1 : 2); round++) {
		if (!anyway)
			find_top(round == 0);
		require_ok(evn_scheduler_create(&scheduler, model.engine, NULL, &err));
		for (uint32_t i = 0; i < 4; i++) {
			s[i].n_got = 0;
			s[i].n_ends = 0;
			submit(scheduler, &s[i], 0);
		}
		for (uint32_t i = 0; i < 4; i++) {
			evn_request_wait(s[i].request);
			evn_request_free(s[i].request);
			check(&s[i], i);
		}
		evn_scheduler_free(scheduler);
		check_found();
	}
	if (!anyway)
		find_top(false);
	model.engine->finds_top = anyway;
}

/* A prompt that was computed before comes from the cache, and the ids are the same. */
static void test_again(void **state)
{
	(void)state;
	static speaker s[2];
	evn_error err = {0};
	evn_scheduler *scheduler;
	require_ok(evn_scheduler_create(&scheduler, model.engine, NULL, &err));
	for (int i = 0; i < 2; i++) {
		make_speaker(&s[i], NULL, 3);
		submit(scheduler, &s[i], 1);
		evn_request_wait(s[i].request);
		evn_request_free(s[i].request);
	}
	assert_int_equal(s[0].result.n_cached, 0);
	assert_int_equal(s[1].result.n_cached, 128);
	assert_int_equal(s[0].n_got, s[1].n_got);
	assert_memory_equal(s[0].got, s[1].got, sizeof s[0].got);
	for (uint32_t i = 0; i < s[0].n_got; i++) {
		assert_true(s[0].logprobs[i] <= 0);
		assert_true(s[0].logprobs[i] == s[1].logprobs[i]);
	}
	evn_scheduler_free(scheduler);
}

static double logprob(const float *logits, int32_t id)
{
	double sum = 0;
	for (uint32_t i = 0; i < model.vocab; i++)
		sum += exp((double)logits[i] - (double)logits[id]);
	return -log(sum);
}

/* The logprobs of given ids, among other requests; a beginning that is known comes from the cache. */
static void test_scores(void **state)
{
	(void)state;
	enum { N_IDS = 200, FROM = 150 };
	static speaker s[3], other;
	evn_error err = {0};
	evn_scheduler *scheduler;
	evn_session *session;
	float *logits = malloc((size_t)N_IDS * model.vocab * sizeof *logits);
	assert_non_null(logits);
	make_speaker(&s[0], NULL, 3);
	s[0].n_prompt = N_IDS;
	evn_random_ids(9, model.vocab, s[0].prompt, N_IDS);
	require_ok(evn_session_create(&session, model.engine, &err));
	require_ok(evn_session_eval(session, s[0].prompt, N_IDS, logits, &err));
	evn_session_free(session);

	require_ok(evn_scheduler_create(&scheduler, model.engine, NULL, &err));
	make_speaker(&other, NULL, 2);
	submit(scheduler, &other, 0);
	for (uint32_t i = 0; i < 3; i++) {
		s[i] = s[0];
		s[i].next_score = i == 2 ? 1 : FROM;
		evn_request_options o = options_of(&s[i]);
		o.score_from = s[i].next_score;
		o.only_score = true;
		require_ok(evn_request_submit(&s[i].request, scheduler, &o, &err));
		assert_int_equal(evn_request_wait(s[i].request).end, EVN_END_LENGTH);
		evn_request_free(s[i].request);
		assert_int_equal(s[i].next_score, N_IDS);
		assert_int_equal(s[i].n_got, 0);
		assert_int_equal(s[i].result.n_cached, i == 1 ? 128 : 0);
		for (uint32_t k = i == 2 ? 1 : FROM; k < N_IDS; k++)
			assert_float_equal(s[i].scores[k], logprob(logits + (size_t)(k - 1) * model.vocab, s[0].prompt[k]), 1e-5);
	}
	evn_request_free(other.request);
	evn_scheduler_free(scheduler);
	free(logits);
}

static void test_ends(void **state)
{
	(void)state;
	static speaker s[3];
	evn_error err = {0};
	evn_scheduler *scheduler;
	require_ok(evn_scheduler_create(&scheduler, model.engine, NULL, &err));
	make_speaker(&s[0], NULL, 4);
	s[0].stops_after = 3;
	submit(scheduler, &s[0], 0);
	assert_int_equal(evn_request_wait(s[0].request).end, EVN_END_STOP);
	assert_int_equal(s[0].n_got, 3);
	evn_request_free(s[0].request);

	make_speaker(&s[1], NULL, 4); /* the context ends it */
	s[1].n_prompt = CONTEXT - 2;
	evn_random_ids(4, model.vocab, s[1].prompt, s[1].n_prompt);
	evn_request_options o = options_of(&s[1]);
	o.max_tokens = 0;
	o.ignore_end = true;
	require_ok(evn_request_submit(&s[1].request, scheduler, &o, &err));
	assert_int_equal(evn_request_wait(s[1].request).end, EVN_END_LENGTH);
	assert_int_equal(s[1].n_got, 3);
	evn_request_free(s[1].request);

	make_speaker(&s[2], NULL, 2);
	submit(scheduler, &s[2], 0);
	evn_scheduler_stop(scheduler);
	assert_int_equal(evn_request_wait(s[2].request).end, EVN_END_CANCELLED);
	evn_request_free(s[2].request);
	o = options_of(&s[2]);
	assert_int_equal(evn_request_submit(&s[2].request, scheduler, &o, &err), EVN_ERR_CANCELLED);
	evn_scheduler_free(scheduler);
}

/* Texts that repeat themselves, with drafts: greedy, drawn, with penalties, with probabilities, ended in a draft. */
static void test_drafts(void **state)
{
	(void)state;
	enum { N_REPEATING = 5, PERIOD = 7 };
	static speaker s[N_REPEATING];
	evn_error err = {0};
	evn_scheduler *scheduler;
	for (uint32_t i = 0; i < N_REPEATING; i++) {
		make_speaker(&s[i], NULL, 8); /* greedy */
		s[i].n_prompt = 61 + i;
		evn_random_ids(70 + i, model.vocab, s[i].prompt, PERIOD);
		for (uint32_t k = PERIOD; k < s[i].n_prompt; k++)
			s[i].prompt[k] = s[i].prompt[k - PERIOD];
	}
	s[1].sampling.temp = s[2].sampling.temp = 0.8f;
	s[2].sampling.repeat_penalty = 1.02f;
	for (uint32_t i = 0; i < N_REPEATING; i++)
		speak_alone(&s[i]);
	s[3].stops_after = s[3].n_want = s[3].n_want < 11 ? s[3].n_want : 11;
	const evn_scheduler_options always = {.speculate = EVN_SPECULATE_LOOKUP};
	require_ok(evn_scheduler_create(&scheduler, model.engine, &always, &err));
	for (uint32_t i = 0; i < N_REPEATING; i++)
		submit(scheduler, &s[i], i == 4);
	for (uint32_t i = 0; i < N_REPEATING; i++) {
		evn_request_wait(s[i].request);
		evn_request_free(s[i].request);
		assert_int_equal(s[i].n_got, s[i].n_want);
		assert_memory_equal(s[i].got, s[i].want, s[i].n_want * sizeof *s[i].got);
		assert_true(s[i].result.n_accepted <= s[i].result.n_drafted);
	}
	const evn_scheduler_stats stats = evn_scheduler_get_stats(scheduler);
	assert_true(stats.accepted > N_TOKENS && stats.drafted >= stats.accepted);
	evn_scheduler_free(scheduler);
}

static void refuse(evn_scheduler *s, const evn_request_options *o, evn_status status, const char *text)
{
	evn_error err = {0};
	evn_request *r;
	assert_int_equal(evn_request_submit(&r, s, o, &err), status);
	assert_null(r);
	if (!strstr(err.text, text))
		fail_msg("%s: does not say \"%s\"", err.text, text);
}

static void test_refused(void **state)
{
	(void)state;
	static speaker s, waits[2];
	evn_error err = {0};
	evn_scheduler *scheduler;
	const evn_scheduler_options one = {.max_running = 1, .max_waiting = 2};
	require_ok(evn_scheduler_create(&scheduler, model.engine, &one, &err));
	make_speaker(&s, NULL, 2);
	evn_request_options o = options_of(&s);
	o.n_prompt = 0;
	refuse(scheduler, &o, EVN_ERR_USAGE, "no tokens");
	o = options_of(&s);
	o.only_score = true;
	refuse(scheduler, &o, EVN_ERR_USAGE, "score_from");
	o = options_of(&s);
	o.n_prompt = CONTEXT + 1;
	refuse(scheduler, &o, EVN_ERR_LIMIT, "at most 448 fit");
	o = options_of(&s);
	o.sampling.top_p = 2;
	refuse(scheduler, &o, EVN_ERR_USAGE, "top_p");
	o = options_of(&s);
	o.n_bias = 1;
	o.bias = &(evn_logit_bias){(int32_t)model.vocab, 1};
	refuse(scheduler, &o, EVN_ERR_USAGE, "logit bias");
	o = options_of(&s);
	s.prompt[1] = -1;
	refuse(scheduler, &o, EVN_ERR_USAGE, "token id -1");

	for (int i = 0; i < 2; i++) {
		make_speaker(&waits[i], NULL, 2);
		submit(scheduler, &waits[i], 0);
	}
	make_speaker(&s, NULL, 2);
	o = options_of(&s);
	evn_request *more[2] = {NULL};
	evn_status status = EVN_OK;
	for (int i = 0; i < 2 && status == EVN_OK; i++)
		status = evn_request_submit(&more[i], scheduler, &o, &err);
	assert_int_equal(status, EVN_ERR_LIMIT);
	assert_non_null(strstr(err.text, "2 requests wait already"));
	for (int i = 0; i < 2; i++) {
		evn_request_free(more[i]);
		evn_request_free(waits[i].request);
	}
	evn_scheduler_free(scheduler);
}

/* Continues the conversation of `s`: its prompt, what was drawn, and two ids more. */
static void continue_it(evn_scheduler *scheduler, const speaker *s, speaker *next)
{
	make_speaker(next, NULL, 2);
	next->n_prompt = s->n_prompt + s->n_got + 2;
	memcpy(next->prompt, s->prompt, s->n_prompt * sizeof *s->prompt);
	memcpy(next->prompt + s->n_prompt, s->got, s->n_got * sizeof *s->got);
	next->prompt[next->n_prompt - 2] = next->prompt[next->n_prompt - 1] = 7;
	submit(scheduler, next, 0);
	evn_request_wait(next->request);
	evn_request_free(next->request);
	assert_int_equal(next->result.n_cached, s->n_prompt + s->n_got - 1);
}

static void expect_damaged(evn_scheduler *scheduler, const char *path, const char *text)
{
	evn_error err = {0};
	size_t n_loaded;
	assert_int_equal(evn_scheduler_load(scheduler, path, &n_loaded, &err), EVN_ERR_FORMAT);
	assert_int_equal(n_loaded, 0);
	if (!strstr(err.text, text))
		fail_msg("%s: does not say \"%s\"", err.text, text);
}

/* What a scheduler has computed another one goes on with: the ids are the same as without the file between them. */
static void test_saved(void **state)
{
	(void)state;
	static speaker s, next, again;
	evn_error err = {0};
	evn_scheduler *scheduler;
	size_t n, n_loaded;
	char path[] = "/tmp/evn-keys-XXXXXX";
	close(mkstemp(path));
	require_ok(evn_scheduler_create(&scheduler, model.engine, NULL, &err));
	make_speaker(&s, NULL, 4);
	s.n_prompt = 200;
	evn_random_ids(5, model.vocab, s.prompt, s.n_prompt);
	submit(scheduler, &s, 0);
	evn_request_wait(s.request);
	evn_request_free(s.request);
	int32_t all[CONTEXT];
	memcpy(all, s.prompt, s.n_prompt * sizeof *all);
	memcpy(all + s.n_prompt, s.got, s.n_got * sizeof *all);
	require_ok(evn_scheduler_save(scheduler, all, s.n_prompt + s.n_got, path, &n, &err));
	assert_int_equal(n, s.n_prompt + s.n_got - 1);
	continue_it(scheduler, &s, &next); /* saving takes nothing away */
	evn_scheduler_free(scheduler);

	require_ok(evn_scheduler_create(&scheduler, model.engine, NULL, &err));
	require_ok(evn_scheduler_load(scheduler, path, &n_loaded, &err));
	assert_int_equal(n_loaded, n);
	continue_it(scheduler, &s, &again);
	assert_int_equal(again.n_got, next.n_got);
	assert_memory_equal(again.got, next.got, next.n_got * sizeof *next.got);

	struct stat st;
	assert_int_equal(stat(path, &st), 0);
	uint8_t byte;
	const int file = open(path, O_RDWR);
	assert_int_equal(pread(file, &byte, 1, st.st_size / 2), 1);
	byte ^= 1;
	assert_int_equal(pwrite(file, &byte, 1, st.st_size / 2), 1);
	close(file);
	evn_request *request;
	evn_request_options o = options_of(&s);
	expect_damaged(scheduler, path, "checksum");
	assert_int_equal(truncate(path, st.st_size - 1), 0);
	expect_damaged(scheduler, path, "expected");
	assert_int_equal(truncate(path, 5), 0);
	expect_damaged(scheduler, path, "it has 5 bytes");
	unlink(path);
	require_ok(evn_request_submit(&request, scheduler, &o, &err)); /* it goes on */
	evn_request_free(request);
	evn_scheduler_free(scheduler);
}

int main(int argc, char **argv)
{
	evn_error err = {0};
	model_file = getenv("EVENER_TEST_MODEL");
	devices = argc > 1 ? argv[1] : devices;
	if (argc > 2) /* one test */
		cmocka_set_test_filter(argv[2]);
	if (!file_exists(model_file))
		return missing("EVENER_TEST_MODEL");
	if (!driver_exists("pocl") || (strstr(devices, "intel") && !driver_exists("intel")))
		return missing("a driver");
	const engine_setup setup = {.devices = devices, .context = CONTEXT, .batch = 64};
	if (evn_model_open(&model.model, model_file, &err) != EVN_OK ||
		open_engine(&model.engine, model.model, &setup, &err) != EVN_OK) {
		print_error("%s\n", err.text);
		return 1;
	}
	model.vocab = evn_model_get_info(model.model).vocab;
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_together), cmocka_unit_test(test_again),
									   cmocka_unit_test(test_largest),  cmocka_unit_test(test_scores),
									   cmocka_unit_test(test_ends),     cmocka_unit_test(test_refused),
									   cmocka_unit_test(test_saved),    cmocka_unit_test(test_drafts)};
	int failed = cmocka_run_group_tests_name(devices, tests, NULL, NULL);
	stop(&model);
	return failed;
}
