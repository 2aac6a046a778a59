/* test_memory.c - ranks hold no more memory on their devices than the plan has counted: weights, cache, scratch, and
 * the messages that they exchange. Ranks of different contexts hold copies of these. */
#include "engine/ranks.h"

#include "evener/train.h"

#define N_RANKS 3u
#define CONTEXT 2048u
#define N_BATCH 1024u
#define SMALL ((uint64_t)1 << 20) /* for rounding up */
#define GEMM_SCRATCH ((uint64_t)32 << 20)

static evn_system *drivers;

/* Opened one by one, devices have separate contexts. */
static void open_devices(ranks *r, bool one_context)
{
	evn_error err = {0};
	evn_pick picks[N_RANKS];
	size_t n = 0;
	for (uint32_t i = 0; i < N_RANKS; i++)
		require_ok(evn_system_select(drivers, "pocl", 0, picks, &n, N_RANKS, &err));
	if (one_context)
		require_ok(evn_devices_open(drivers, picks, N_RANKS, r->devices, &err));
	for (uint32_t i = 0; i < N_RANKS; i++) {
		if (!one_context)
			require_ok(evn_devices_open(drivers, &picks[i], 1, &r->devices[i], &err));
		evn_device_build_throwaway(r->devices[i], true);
		require_ok(evn_queue_create(&r->queues[i], r->devices[i], &err));
	}
}

/* A step of one token at the end of the context. Its keys are divided into parts if there are enough cores. */
static void take_step(ranks *r)
{
	evn_error err = {0};
	evn_slot slot = {0};
	float *x = calloc(evn_round_up(r->graph->h->dim, EVN_PAD), sizeof *x);
	float *logits = malloc(r->graph->h->vocab * sizeof *logits);
	assert_true(x && logits);
	require_ok(evn_slot_extend(&slot, &r->pool, CONTEXT, &err));
	const evn_span span = {.slot = &slot, .n_rows = 1, .position = CONTEXT - 1, .phase = EVN_DECODE};
	ranks_step(r, &(evn_batch){.n_rows = 1,
							   .n_spans = 1,
							   .spans = &span,
							   .x = x,
							   .n_out = 1,
							   .out_rows = (uint32_t[]){0},
							   .out = logits});
	evn_slot_free(&slot, &r->pool);
	free(x);
	free(logits);
}

static void check_ranks(const evn_model *m, bool one_context, evn_message_type messages)
{
	ranks r = {.n = N_RANKS, .limits = {.n_ctx = CONTEXT, .n_batch = N_BATCH, .messages = messages}};
	open_devices(&r, one_context);
	ranks_start(&r, m, (double[]){1, 2, 1}, NULL, EVN_REDUCE_AUTO, evn_blocks_for(CONTEXT));
	take_step(&r);
	for (uint32_t i = 0; i < N_RANKS; i++) {
		uint64_t planned = evn_split_bytes(&r.split, i), held = evn_device_held_bytes(r.devices[i]);
		print_message("rank %u: %.1f MiB planned, %.1f held\n", i, (double)planned / 1048576, (double)held / 1048576);
		assert_true(held + GEMM_SCRATCH <= planned + SMALL);
	}
	ranks_close(&r);
}

static void ranks_hold_what_was_planned(void **state)
{
	const evn_model_spec spec = {.architecture = "llama",
								 .vocab = 300,
								 .dim = 2048,
								 .context = CONTEXT,
								 .n_layers = 1,
								 .n_heads = 32,
								 .n_kv_heads = 4,
								 .ff_dim = 256,
								 .seed = 1};
	evn_error err = {0};
	evn_model *m;
	(void)state;
	require_ok(evn_model_create(&m, &spec, &err));
	check_ranks(m, true, EVN_MESSAGES_F32);
	check_ranks(m, false, EVN_MESSAGES_F32);
	check_ranks(m, false, EVN_MESSAGES_F16);
	evn_model_close(m);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(ranks_hold_what_was_planned)};
	evn_error err = {0};
	if (!driver_exists("pocl"))
		return missing("pocl");
	if (evn_system_open(&drivers, &err) != EVN_OK)
		return fprintf(stderr, "%s\n", err.text), 1;
	int failed = cmocka_run_group_tests(tests, NULL, NULL);
	evn_system_close(drivers);
	return failed;
}
