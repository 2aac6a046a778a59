/* test_simple_lm.c - whole engines on models made in memory: simple-lm against its two products in f64 on one to
 * three ranks, and a made model against itself after saving and reading. */
#include "engine/harness.h"

#include <math.h>

#include "evener/train.h"
#include "model/model.h"

enum { VOCAB = 10, DIM = 5, N_IDS = 10 };

static const engine_setup setups[] = {
	{.devices = "pocl"},
	{.devices = "pocl,pocl", .shares = (const double[]){3, 2}, .n_shares = 2},
	{.devices = "pocl,pocl,pocl", .shares = (const double[]){1, 5, 4}, .n_shares = 3},
	{.devices = "pocl,pocl,pocl", .shares = (const double[]){4, 0, 1}, .n_shares = 3},
};

static void rows_of(const evn_model *m, const char *name, uint32_t n, float *out)
{
	const evn_tensor *t = evn_model_find(m, name);
	assert_non_null(t);
	assert_int_equal(evn_tensor_rows(t, 0, n, out, NULL), EVN_OK);
}

/* y = W e + b. For f32 sums of five products, ten units of the sum of magnitudes are a generous bound. */
static void assert_logits(const evn_model *m, const int32_t *ids, const float *got)
{
	float embedding[VOCAB * DIM], weight[VOCAB * DIM], bias[VOCAB];
	rows_of(m, "token_embd.weight", VOCAB, embedding);
	rows_of(m, "output.weight", VOCAB, weight);
	assert_int_equal(evn_tensor_rows(evn_model_find(m, "output.bias"), 0, 1, bias, NULL), EVN_OK);
	for (int t = 0; t < N_IDS; t++)
		for (int v = 0; v < VOCAB; v++) {
			double want = (double)bias[v], magnitude = fabs(want);
			for (int i = 0; i < DIM; i++) {
				double product = (double)weight[v * DIM + i] * (double)embedding[ids[t] * DIM + i];
				want += product;
				magnitude += fabs(product);
			}
			if (!(fabs((double)got[t * VOCAB + v] - want) <= 10 * 0x1p-24 * magnitude))
				fail_msg("token %d, entry %d: %.9g, expected %.9g", t, v, (double)got[t * VOCAB + v], want);
		}
}

static void simple_lm_is_its_two_products(void **state)
{
	(void)state;
	const evn_model_spec spec = {.architecture = "simple-lm", .vocab = VOCAB, .dim = DIM, .seed = 1};
	evn_error err = {0};
	evn_model *m = NULL;
	int32_t ids[N_IDS];
	float first[N_IDS * VOCAB], logits[N_IDS * VOCAB];
	require_ok(evn_model_create(&m, &spec, &err));
	evn_random_ids(spec.seed, VOCAB, ids, N_IDS);
	for (size_t i = 0; i < sizeof setups / sizeof *setups; i++) {
		evn_engine *e = NULL;
		evn_session *s = NULL;
		require_ok(open_engine(&e, m, &setups[i], &err));
		require_ok(evn_session_create(&s, e, &err));
		require_ok(evn_session_eval(s, ids, N_IDS, i ? logits : first, &err));
		assert_logits(m, ids, i ? logits : first);
		const evn_plan_info *p = evn_engine_plan(e);
		double shares = 0;
		for (size_t r = 0; r < p->n_ranks; r++)
			shares += p->ranks[r].share_decode;
		assert_true(fabs(shares - 1) < 1e-9 && p->decode_tok_s > 0 && isfinite(p->prefill_tok_s));
		if (i == 1)
			assert_true(p->ranks[0].vocab[1] == 6 && p->ranks[1].vocab[1] == 10);
		if (i)
			assert_memory_equal(logits, first, sizeof first); /* no sum is split, so every bit is the same */
		require_ok(
			evn_session_eval(s, ids, 1, NULL, &err)); /* another kernel, but the tokens before it do not matter */
		for (int v = 0; v < VOCAB; v++)
			assert_true(fabsf(evn_session_logits(s)[v] - first[v]) < 1e-5f);
		evn_session_free(s);
		evn_engine_close(e);
	}
	evn_model_close(m);
}

static void last_logits(const evn_model *m, const engine_setup *w, const int32_t *ids, size_t n, float *out,
						size_t vocab)
{
	evn_error err = {0};
	evn_engine *e = NULL;
	evn_session *s = NULL;
	require_ok(open_engine(&e, m, w, &err));
	require_ok(evn_session_create(&s, e, &err));
	require_ok(evn_session_eval(s, ids, n, NULL, &err));
	memcpy(out, evn_session_logits(s), vocab * sizeof *out);
	evn_session_free(s);
	evn_engine_close(e);
}

static void a_model_saved_is_the_model_made(void **state)
{
	(void)state;
	const evn_model_spec specs[] = {
		{.architecture = "gpt2", .vocab = 260, .dim = 48, .context = 64, .n_layers = 2, .n_heads = 3, .seed = 2},
		{.architecture = "llama",
		 .vocab = 257,
		 .dim = 48,
		 .context = 64,
		 .n_layers = 2,
		 .n_heads = 6,
		 .n_kv_heads = 2},
	};
	for (size_t i = 0; i < sizeof specs / sizeof *specs; i++) {
		char path[] = "/tmp/evener-made-XXXXXX";
		int fd = mkstemp(path);
		assert_true(fd >= 0 && close(fd) == 0);
		evn_error err = {0};
		evn_model *made = NULL, *saved = NULL;
		int32_t ids[20];
		float a[260], b[260];
		require_ok(evn_model_create(&made, &specs[i], &err));
		require_ok(evn_model_save(made, path, &err));
		require_ok(evn_model_open(&saved, path, &err));
		evn_random_ids(9, specs[i].vocab, ids, 20);
		last_logits(made, &setups[1], ids, 20, a, specs[i].vocab);
		last_logits(saved, &setups[1], ids, 20, b, specs[i].vocab);
		for (uint32_t v = 0; v < specs[i].vocab; v++)
			assert_true(isfinite(a[v]) &&
						fabsf(a[v] - b[v]) < 1e-5f); /* measured separately, so another kernel may be chosen */
		evn_model_close(made);
		evn_model_close(saved);
		unlink(path);
	}
}

int main(void)
{
	if (!driver_exists("pocl"))
		return missing("pocl");
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(simple_lm_is_its_two_products),
		cmocka_unit_test(a_model_saved_is_the_model_made),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
