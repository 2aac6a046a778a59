/* test_memory.c - what ranks hold on their devices is no more than the plan reckoned with: weights, cache, scratch,
 * and the messages that they exchange, of which ranks of different contexts hold copies. */
#include "engine/harness.h"

#include "evener/train.h"
#include "group/team.h"
#include "nn/decoder.h"

#define N_RANKS 3u
#define CONTEXT 2048u
#define N_BATCH 1024u
#define SMALL ((uint64_t)1 << 20) /* of rounding up */
#define GEMM_SCRATCH ((uint64_t)32 << 20)

static evn_system *drivers;

typedef struct {
	const evn_model *model;
	evn_decoder_limits limits;
	evn_split split;
	evn_device *devices[N_RANKS];
	evn_queue *queues[N_RANKS];
	evn_decoder *decoders[N_RANKS];
	evn_kv *kv[N_RANKS];
	evn_comm *comm;
	evn_team *team;
	evn_step step;
} ranks;

static void give_up(void *arg) { evn_comm_cancel(((ranks *)arg)->comm); }

static evn_status load(void *arg, uint32_t rank, evn_error *err)
{
	ranks *r = arg;
	EVN_TRY(evn_decoder_load(&r->decoders[rank], r->queues[rank], r->model, &r->split, rank, r->limits, NULL, err));
	return evn_kv_create(&r->kv[rank], r->decoders[rank], err);
}

static evn_status run_step(void *arg, uint32_t rank, evn_error *err)
{
	ranks *r = arg;
	return evn_decoder_step(r->decoders[rank], r->kv[rank], r->comm, &r->step, err);
}

/* Opened one by one: contexts of their own. */
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

static void close_ranks(ranks *r)
{
	evn_team_free(r->team);
	evn_comm_free(r->comm);
	for (uint32_t i = 0; i < N_RANKS; i++) {
		evn_kv_free(r->kv[i]);
		evn_decoder_free(r->decoders[i]);
		evn_queue_free(r->queues[i]);
	}
	for (uint32_t i = 0; i < N_RANKS; i++)
		evn_device_close(r->devices[i]);
	evn_split_free(&r->split);
}

/* A step of one token at the end of the context: its keys are attended to in parts where there are cores for it. */
static void take_step(ranks *r, uint32_t dim, uint32_t vocab)
{
	evn_error err = {0};
	float *x = calloc(evn_round_up(dim, EVN_PAD), sizeof *x), *logits = malloc(vocab * sizeof *logits);
	assert_true(x && logits);
	r->step = (evn_step){.embeddings = x, .n_tok = 1, .position = CONTEXT - 1, .n_logits = 1, .logits = logits};
	require_ok(evn_team_run(r->team, run_step, r, NULL, NULL, &err));
	free(x);
	free(logits);
}

static void check_ranks(const evn_model *m, bool one_context, evn_message_type messages)
{
	evn_error err = {0};
	evn_plan_shape shape;
	uint64_t memory[N_RANKS];
	ranks r = {.model = m, .limits = {.n_ctx = CONTEXT, .n_batch = N_BATCH, .messages = messages}};
	open_devices(&r, one_context);
	for (uint32_t i = 0; i < N_RANKS; i++)
		memory[i] = UINT64_MAX;
	require_ok(evn_decoder_shape(m, r.limits, &shape, &err));
	require_ok(evn_split_make(&r.split, &shape, N_RANKS, (double[]){1, 2, 1}, NULL, memory, &err));
	require_ok(evn_comm_create(&r.comm, r.queues, N_RANKS, EVN_REDUCE_AUTO, messages,
								evn_decoder_message_floats(m, r.limits), &err));
	require_ok(evn_team_create(&r.team, N_RANKS, give_up, &r, &err));
	require_ok(evn_team_run(r.team, load, &r, NULL, NULL, &err));
	take_step(&r, shape.dim, shape.vocab);
	for (uint32_t i = 0; i < N_RANKS; i++) {
		uint64_t planned = evn_split_bytes(&shape, &r.split, i), held = evn_device_held_bytes(r.devices[i]);
		print_message("rank %u: %.1f MiB planned, %.1f held\n", i, (double)planned / 1048576, (double)held / 1048576);
		assert_true(held + GEMM_SCRATCH <= planned + SMALL);
	}
	close_ranks(&r);
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
