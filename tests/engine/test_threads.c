/* test_threads.c - sessions of one engine in several threads. Each gets the logits that it gets alone, to the bit.
 * Meanwhile other sessions are opened and closed. */
#include "engine/harness.h"

#include <pthread.h>

#define N_THREADS 3
#define N_PROMPT 20
#define N_DECODED 6

static const char *model_file;

typedef struct {
	evn_engine *engine;
	int32_t ids[N_PROMPT + N_DECODED];
	uint32_t vocab;
	float *want, *got; /* (1 + N_DECODED, vocab) */
	evn_status status;
	evn_error err;
} speaker;

static evn_status speak(speaker *s, float *out)
{
	evn_session *session;
	evn_status st = evn_session_create(&session, s->engine, &s->err);
	if (st == EVN_OK)
		st = evn_session_eval(session, s->ids, N_PROMPT, NULL, &s->err);
	for (int i = 0; st == EVN_OK && i <= N_DECODED; i++) {
		memcpy(out + (size_t)i * s->vocab, evn_session_logits(session), s->vocab * sizeof *out);
		if (i < N_DECODED)
			st = evn_session_eval(session, s->ids + N_PROMPT + i, 1, NULL, &s->err);
	}
	evn_session_free(session);
	return st;
}

static void *in_thread(void *arg)
{
	speaker *s = arg;
	for (int again = 0; again < 2 && s->status == EVN_OK; again++)
		s->status = speak(s, s->got);
	return NULL;
}

static void begin(speaker *s, evn_engine *e, uint32_t vocab, int32_t first)
{
	const size_t n = (1 + N_DECODED) * (size_t)vocab;
	*s = (speaker){.engine = e, .vocab = vocab, .want = malloc(n * sizeof(float)), .got = malloc(n * sizeof(float))};
	assert_true(s->want && s->got);
	for (int32_t i = 0; i < N_PROMPT + N_DECODED; i++)
		s->ids[i] = 400 + 97 * i + first;
	s->status = speak(s, s->want);
	assert_int_equal(s->status, EVN_OK);
}

static void test_devices(const char *devices)
{
	evn_error err = {0};
	evn_model *m;
	evn_engine *e;
	speaker s[N_THREADS];
	pthread_t threads[N_THREADS];
	require_ok(evn_model_open(&m, model_file, &err));
	/* prompts in pieces, so that the steps of the sessions alternate */
	require_ok(open_engine(&e, m, &(engine_setup){.devices = devices, .context = 64, .batch = 7}, &err));
	const uint32_t vocab = evn_model_get_info(m).vocab;
	for (int i = 0; i < N_THREADS; i++)
		begin(&s[i], e, vocab, 11 * i);
	for (int i = 0; i < N_THREADS; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, in_thread, &s[i]), 0);
	for (int i = 0; i < N_THREADS; i++)
		pthread_join(threads[i], NULL);
	for (int i = 0; i < N_THREADS; i++) {
		if (s[i].status != EVN_OK)
			fail_msg("session %d: %s", i, s[i].err.text);
		assert_memory_equal(s[i].want, s[i].got, (1 + N_DECODED) * (size_t)vocab * sizeof(float));
		free(s[i].want);
		free(s[i].got);
	}
	evn_engine_close(e);
	evn_model_close(m);
}

static void test_one_rank(void **at) { (void)at, test_devices("pocl"); }
static void test_two_ranks(void **at) { (void)at, test_devices("pocl/1+1"); }

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_one_rank), cmocka_unit_test(test_two_ranks)};
	model_file = getenv("EVENER_TEST_MODEL");
	if (!file_exists(model_file))
		return missing("EVENER_TEST_MODEL");
	if (!driver_exists("pocl"))
		return missing("pocl");
	return cmocka_run_group_tests(tests, NULL, NULL);
}
