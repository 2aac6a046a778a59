/* test_tokens.c - the tokens of a pass and of a step are counted exactly or refused, never modulo 2^32. */
#include "engine/harness.h"

#include "evener/train.h"
#include "train/network.h"
#include "train/tokens.h"

typedef struct {
	uint64_t n_ctx, n_sequences, n_passes;
	bool fits;
} counting;

static void counts_are_exact_or_refused(void **state)
{
	static const counting cases[] = {
		{1, 1, 1, true},
		{256, 8, 4, true},
		{65536, 65535, 1, true},
		{UINT32_MAX, 1, 1, true},
		{1, UINT32_MAX, 1, true},
		{1, 1, UINT32_MAX, true},
		{3, 5, UINT32_MAX / 5, true},
		{131088, 32768, 1, false}, /* 524288 modulo 2^32 */
		{16, 65536, 65536, false}, /* no sequence */
		{65536, 65536, 1, false},
		{(uint64_t)UINT32_MAX + 1, 1, 1, false},
		{UINT64_MAX, 2, 1, false},
		{1, UINT32_MAX, 2, false},
	};
	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		const counting *c = &cases[i];
		evn_token_counts n;
		evn_error err = {0};
		char number[24];
		evn_status s = evn_count_tokens(&n, c->n_ctx, c->n_sequences, c->n_passes, &err);
		assert_int_equal(s, c->fits ? EVN_OK : EVN_ERR_LIMIT);
		snprintf(number, sizeof number, "%llu", (unsigned long long)c->n_sequences);
		assert_true(c->fits || strstr(err.text, number));
		if (!c->fits)
			continue;
		assert_true(n.of_pass == c->n_ctx * c->n_sequences && n.sequences == c->n_sequences * c->n_passes);
		assert_true(n.of_step == c->n_ctx * c->n_sequences * c->n_passes);
	}
}

/* Before a file is opened or created. */
static void a_trainer_refuses_what_is_not_counted(void **state)
{
	static const struct {
		uint32_t context, batch, accumulate;
	} cases[] = {{131088, 32768, 1}, {16, 65536, 65536}};
	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		const evn_train_options o = {.data_path = "/nowhere/text",
									 .output_path = "/nowhere/model.gguf",
									 .steps = 1,
									 .context = cases[i].context,
									 .batch = cases[i].batch,
									 .accumulate = cases[i].accumulate,
									 .spec = {.architecture = "llama"}};
		evn_trainer *t;
		evn_error err = {0};
		assert_int_equal(evn_trainer_open(&t, &o, &(evn_options){0}, &err), EVN_ERR_LIMIT);
		assert_null(t);
	}
}

static void a_network_refuses_sums_that_are_not_counted(void **state)
{
	const evn_model_spec spec = {
		.architecture = "llama", .vocab = 260, .dim = 64, .context = 64, .n_layers = 1, .n_heads = 2};
	const evn_trained all = {0};
	evn_error err = {0};
	evn_model *m;
	(void)state;
	require_ok(evn_model_create(&m, &spec, &err));
	require_ok(evn_network_check(m, &all, &(evn_pass_shape){64, (1u << 20) - 1, false}, &err));
	assert_int_equal(evn_network_check(m, &all, &(evn_pass_shape){64, 1u << 20, false}, &err), EVN_ERR_LIMIT);
	assert_non_null(strstr(err.text, "67108864"));
	assert_int_equal(evn_network_check(m, &all, &(evn_pass_shape){64, 1u << 26, false}, &err), EVN_ERR_LIMIT);
	evn_model_close(m);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(counts_are_exact_or_refused),
									   cmocka_unit_test(a_trainer_refuses_what_is_not_counted),
									   cmocka_unit_test(a_network_refuses_sums_that_are_not_counted)};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
