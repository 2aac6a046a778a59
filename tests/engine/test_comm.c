/* test_comm.c - all-reduce with every method, compared bit for bit with plain sums. There are many rounds, in
 * which ranks arrive late by random times, and different ranks have a partial sum. Further: packed messages, with
 * the same bits on every rank and within the rounding of their format; two long messages in flight at once; a rank
 * that fails in the middle.
 *   test_comm [DEVICES [packed|staged|integrated]]
 *       several drivers: what works between any two, or only packed messages, or a device with its own memory beside
 *       others of its driver, or a GPU that works in the host's memory */
#include "engine/comm_rounds.h"

#define LONG_FLOATS 65536u /* longer messages do not use flags */
#define MOST_PACKED (LONG_FLOATS + 96)

static const char *several_drivers;

static void open_ranks_for(ranks *r, const char *devices, evn_reduce how, evn_message_type messages, uint32_t most)
{
	ranks_open(r, devices, 1, (evn_comm_config){.reduce = how, .messages = messages, .max_floats = most});
}

static void open_ranks(ranks *r, const char *devices, evn_reduce how, evn_message_type messages)
{
	open_ranks_for(r, devices, how, messages, messages == EVN_MESSAGES_F32 ? MOST_FLOATS : MOST_PACKED);
}

static void check_sums(const char *devices, uint32_t repeat, evn_reduce how)
{
	evn_error err = {0};
	ranks r;
	ranks_open(&r, devices, repeat, (evn_comm_config){.reduce = how, .max_floats = MOST_FLOATS});
	require_ok(evn_team_run(r.team, run_rounds, &r, NULL, NULL, &err));
	check_x(&r);
	ranks_close(&r);
}

/* ---- two long messages in flight at once, each with an x of its own -------------------------------------------- */

enum { STREAMS = 2, STREAM_ROUNDS = 5, STREAM_FLOATS = LONG_FLOATS + 96 };

typedef struct {
	ranks r;
	evn_buf *x[STREAMS][EVN_MAX_RANKS];
	float partial[EVN_MAX_RANKS][STREAM_FLOATS];
} streams;

static evn_sum stream_sum(const streams *l, uint32_t rank, uint32_t stream, uint32_t round)
{
	return (evn_sum){.x = l->x[stream][rank],
					 .n_rows = 1,
					 .stride = STREAM_FLOATS,
					 .ranks = mask_of(round * STREAMS + stream, &l->r),
					 .stream = stream,
					 .overlaps = true,
					 .kept = 1,
					 .scale = 1};
}

static evn_status end_stream(streams *l, uint32_t rank, uint32_t stream, uint32_t round, evn_error *err)
{
	const evn_sum sum = stream_sum(l, rank, stream, round);
	return evn_comm_all_reduce_end(l->r.comm, rank, &sum, err);
}

static evn_status begin_stream(streams *l, uint32_t rank, uint32_t stream, uint32_t round, evn_error *err)
{
	const evn_sum sum = stream_sum(l, rank, stream, round);
	float *partial = l->partial[rank];
	for (uint32_t i = 0; i < STREAM_FLOATS; i++)
		partial[i] = sum.ranks >> rank & 1 ? value(round * STREAMS + stream, rank, i) : 1e30f;
	EVN_TRY(evn_write(l->r.queues[rank], evn_comm_partial(l->r.comm, rank, stream), 0, partial,
					  STREAM_FLOATS * sizeof *partial, err));
	return evn_comm_all_reduce_begin(l->r.comm, rank, &sum, err);
}

static evn_status run_streams(void *arg, uint32_t rank, evn_error *err)
{
	streams *l = arg;
	evn_comm_step_begin(l->r.comm, rank);
	for (uint32_t round = 0; round <= STREAM_ROUNDS; round++)
		for (uint32_t stream = 0; stream < STREAMS; stream++) {
			nanosleep(&(struct timespec){0, 100000 * (long)(mixed(round, rank, stream) % 8)}, NULL);
			if (round)
				EVN_TRY(end_stream(l, rank, stream, round - 1, err));
			if (round < STREAM_ROUNDS)
				EVN_TRY(begin_stream(l, rank, stream, round, err));
		}
	return evn_comm_step_end(l->r.comm, rank, err);
}

static float stream_want(const streams *l, uint32_t stream, uint32_t i)
{
	float x = 0;
	for (uint32_t round = 0; round < STREAM_ROUNDS; round++) {
		float sum = 0;
		for (uint32_t k = 0; k < l->r.n; k++)
			if (mask_of(round * STREAMS + stream, &l->r) >> k & 1)
				sum += value(round * STREAMS + stream, k, i);
		x += sum;
	}
	return x;
}

static void check_stream(streams *l, uint32_t rank, uint32_t stream)
{
	evn_error err = {0};
	float *got = l->partial[rank];
	require_ok(evn_read(l->r.queues[rank], l->x[stream][rank], 0, got, STREAM_FLOATS * sizeof *got, &err));
	for (uint32_t i = 0; i < STREAM_FLOATS; i++) {
		float want = stream_want(l, stream, i);
		if (memcmp(&got[i], &want, sizeof want))
			fail_msg("rank %u, message %u: x[%u] is %.9g, expected %.9g", rank, stream, i, (double)got[i],
					 (double)want);
	}
}

static void check_two_at_once(evn_reduce how)
{
	evn_error err = {0};
	streams *l = calloc(1, sizeof *l);
	assert_non_null(l);
	open_ranks_for(&l->r, several_drivers ? several_drivers : "pocl/1+1", how, EVN_MESSAGES_F32,
				   STREAMS * STREAM_FLOATS);
	assert_true(evn_comm_overlaps(l->r.comm, STREAM_FLOATS));
	assert_false(evn_comm_overlaps(l->r.comm, STREAM_FLOATS + 32)); /* there is no room for two messages */
	assert_false(evn_comm_overlaps(l->r.comm, LONG_FLOATS));        /* short messages do not overlap */
	for (uint32_t stream = 0; stream < STREAMS; stream++)
		for (uint32_t k = 0; k < l->r.n; k++) {
			require_ok(evn_buf_create(&l->x[stream][k], l->r.devices[k], STREAM_FLOATS * sizeof(float),
									  EVN_BUF_DEVICE, "x", &err));
			require_ok(evn_fill_zero(l->r.queues[k], l->x[stream][k], &err));
		}
	require_ok(evn_team_run(l->r.team, run_streams, l, NULL, NULL, &err));
	for (uint32_t stream = 0; stream < STREAMS; stream++)
		for (uint32_t k = 0; k < l->r.n; k++) {
			check_stream(l, k, stream);
			evn_buf_free(l->x[stream][k]);
		}
	if (how == EVN_REDUCE_FLAGS) {
		assert_true(evn_comm_fall_back(l->r.comm));
		assert_false(evn_comm_overlaps(l->r.comm, STREAM_FLOATS)); /* the host would have to wait */
	}
	ranks_close(&l->r);
	free(l);
}

static void test_two_at_once(void **at)
{
	(void)at;
	check_two_at_once(EVN_REDUCE_FLAGS);
}

/* ---- packed messages: odd numbers of blocks of 32, others between them ----------------------------------------- */

/* The largest error of a value: as a fraction of itself, as a fraction of the largest in its block, and the least
 * absolute error. */
static const struct {
	const char *name;
	double of_value, of_block, least;
} packings[] = {
	[EVN_MESSAGES_F16] = {"f16", 0x1p-11, 0, 0x1p-25},
	[EVN_MESSAGES_BF16] = {"bf16", 0x1p-8, 0, 0},
	[EVN_MESSAGES_Q8] = {"q8", 0, 1 / 252.0, 0},
};
static const struct {
	uint32_t n_floats;
	bool packs;
} packed_rounds[] = {{LONG_FLOATS + 32, true}, {32, false},  {MOST_PACKED, true},      {LONG_FLOATS, false},
					 {LONG_FLOATS + 96, true}, {4096, true}, {LONG_FLOATS + 64, false}};
enum { PACKED_ROUNDS = sizeof packed_rounds / sizeof *packed_rounds };

/* Below 2^15, so that halfs can hold it. */
static float packed_value(uint32_t round, uint32_t rank, uint32_t i) { return value(round, rank, i) * 0x1p-8f; }

static evn_status run_packed(void *arg, uint32_t rank, evn_error *err)
{
	ranks *r = arg;
	float *partial = malloc(MOST_PACKED * sizeof *partial);
	evn_status s = partial ? EVN_OK : evn_fail_memory(err, "test", MOST_PACKED * sizeof *partial);
	evn_comm_step_begin(r->comm, rank);
	for (uint32_t round = 0; round < PACKED_ROUNDS && s == EVN_OK; round++) {
		uint32_t n = packed_rounds[round].n_floats, mask = mask_of(round, r);
		for (uint32_t i = 0; i < n; i++)
			partial[i] = mask >> rank & 1 ? packed_value(round, rank, i) : 1e30f;
		s = evn_write(r->queues[rank], evn_comm_partial(r->comm, rank, 0), 0, partial, n * sizeof *partial, err);
		evn_sum sum = evn_sum_of(r->x[rank], n, mask);
		sum.packs = packed_rounds[round].packs;
		if (s == EVN_OK)
			s = evn_comm_all_reduce(r->comm, rank, &sum, err);
	}
	free(partial);
	return s == EVN_OK ? evn_comm_step_end(r->comm, rank, err) : s;
}

/* The block of 32 columns that begins at `first`: the expected values and their bounds. */
static void sum_block(const ranks *r, evn_message_type messages, uint32_t first, double *want, double *bound)
{
	double size[32] = {0};
	memset(want, 0, 32 * sizeof *want);
	memset(bound, 0, 32 * sizeof *bound);
	for (uint32_t round = 0; round < PACKED_ROUNDS; round++)
		for (uint32_t k = 0; k < r->n; k++) {
			bool packed = packed_rounds[round].packs;
			double top = 0, v[32];
			if (first >= packed_rounds[round].n_floats || !(mask_of(round, r) >> k & 1))
				continue;
			for (uint32_t i = 0; i < 32; i++) {
				v[i] = (double)packed_value(round, k, first + i);
				top = fmax(top, fabs(v[i]));
			}
			for (uint32_t i = 0; i < 32; i++) {
				want[i] += v[i];
				size[i] += fabs(v[i]) + top / 252;
				bound[i] += packed ? packings[messages].of_value * fabs(v[i]) + packings[messages].of_block * top +
										 packings[messages].least
								   : 0;
			}
		}
	for (uint32_t i = 0; i < 32; i++)
		bound[i] += size[i] * PACKED_ROUNDS * (r->n + 1) * 0x1p-24;
}

static void check_packed(const char *devices, evn_reduce how, evn_message_type messages)
{
	evn_error err = {0};
	ranks r;
	float *got[EVN_MAX_RANKS] = {NULL};
	double want[32], bound[32], worst = 0;
	open_ranks(&r, devices, how, messages);
	require_ok(evn_team_run(r.team, run_packed, &r, NULL, NULL, &err));
	for (uint32_t k = 0; k < r.n; k++) {
		got[k] = malloc(MOST_PACKED * sizeof **got);
		require_ok(evn_read(r.queues[k], r.x[k], 0, got[k], MOST_PACKED * sizeof **got, &err));
		if (memcmp(got[k], got[0], MOST_PACKED * sizeof **got))
			fail_msg("%s: ranks 0 and %u hold different sums", packings[messages].name, k);
	}
	for (uint32_t i = 0; i < MOST_PACKED; i++) {
		if (i % 32 == 0)
			sum_block(&r, messages, i, want, bound);
		double error = fabs((double)got[0][i] - want[i % 32]);
		if (!(error <= bound[i % 32]))
			fail_msg("%s: x[%u] is %.9g, expected %.9g within %.2g", packings[messages].name, i, (double)got[0][i],
					 want[i % 32], bound[i % 32]);
		worst = fmax(worst, error / bound[i % 32]);
	}
	assert_true(worst > 0.5); /* the message was packed, and the bound is not trivial */
	for (uint32_t k = 0; k < r.n; k++)
		free(got[k]);
	ranks_close(&r);
}

static void test_packed(void **at)
{
	(void)at;
	for (evn_message_type messages = EVN_MESSAGES_F16; messages <= EVN_MESSAGES_Q8; messages++) {
		check_packed(several_drivers ? several_drivers : "pocl/1+1", EVN_REDUCE_HOST, messages);
		if (!several_drivers)
			check_packed("pocl,pocl,pocl", EVN_REDUCE_EVENTS, messages);
	}
	if (!several_drivers)
		check_packed("pocl/1+1", EVN_REDUCE_FLAGS, EVN_MESSAGES_F16); /* long messages use events */
}

/* The trial of a communicator with packed messages. Its sums are not exact, but it must tell right from wrong. */
static evn_status time_packed(void *arg, uint32_t rank, evn_error *err)
{
	return evn_comm_time_all_reduce(((ranks *)arg)->comm, rank, MOST_PACKED, 1, NULL, err);
}

static void test_trial_of_packed(void **at)
{
	evn_error err = {0};
	(void)at;
	for (evn_message_type messages = EVN_MESSAGES_F16; messages <= EVN_MESSAGES_Q8; messages++) {
		ranks r;
		open_ranks(&r, several_drivers ? several_drivers : "pocl/1+1", EVN_REDUCE_HOST, messages);
		require_ok(evn_team_run(r.team, time_packed, &r, NULL, NULL, &err));
		ranks_close(&r);
	}
}

/* ---- the methods
 * -----------------------------------------------------------------------------------------------------
 */

static void test_host(void **at)
{
	(void)at;
	check_sums(several_drivers ? several_drivers : "pocl,pocl,pocl", 1, EVN_REDUCE_HOST);
}

static void test_events(void **at)
{
	(void)at;
	check_sums("pocl,pocl,pocl", 1, EVN_REDUCE_EVENTS);
	check_sums("pocl/1+1", 1, EVN_REDUCE_EVENTS);
}

/* PoCL's disjoint sub-devices have separate worker threads. So do two drivers with one core each. */
static void test_flags(void **at)
{
	(void)at;
	check_sums(several_drivers ? several_drivers : "pocl/1+1", 1, EVN_REDUCE_FLAGS);
}

static void test_one_rank(void **at)
{
	(void)at;
	check_sums("pocl", 1, EVN_REDUCE_AUTO);
}

/* More ranks than a kernel could have buffer arguments for. */
static void test_nine_ranks(void **at)
{
	(void)at;
	check_sums("pocl,pocl,pocl", 3, EVN_REDUCE_EVENTS);
	check_sums("pocl,pocl,pocl", 3, EVN_REDUCE_HOST);
}

static evn_status try_method(void *arg, uint32_t rank, evn_error *err)
{
	return evn_comm_try(((ranks *)arg)->comm, rank, err);
}

static void check_trial(const char *devices, evn_reduce how)
{
	evn_error err = {0};
	ranks r;
	open_ranks_for(&r, devices, how, EVN_MESSAGES_F32, EVN_TRIAL_FLOATS);
	require_ok(evn_team_run(r.team, try_method, &r, NULL, NULL, &err));
	ranks_close(&r);
}

static void test_trial(void **at)
{
	(void)at;
	check_trial(several_drivers ? several_drivers : "pocl/1+1", EVN_REDUCE_HOST);
	check_trial(several_drivers ? several_drivers : "pocl/1+1", EVN_REDUCE_FLAGS);
	if (!several_drivers)
		check_trial("pocl,pocl,pocl", EVN_REDUCE_EVENTS);
}

static void check_failure(const char *devices, evn_reduce how)
{
	evn_error err = {0};
	ranks r;
	open_ranks(&r, devices, how, EVN_MESSAGES_F32);
	for (uint32_t k = 0; k < 2; k++) {
		r.fail_rank = k;
		r.fail_round = 17 + k; /* in the middle of a step */
		assert_int_equal(evn_team_run(r.team, run_rounds, &r, NULL, NULL, &err), EVN_ERR_DEVICE);
		require_ok(evn_comm_reset(r.comm, &err));
	}
	r.fail_rank = r.n;
	for (uint32_t i = 0; i < r.n; i++)
		require_ok(evn_fill_zero(r.queues[i], r.x[i], &err));
	require_ok(evn_team_run(r.team, run_rounds, &r, NULL, NULL, &err));
	check_x(&r);
	ranks_close(&r);
}

static void test_a_rank_fails(void **at)
{
	(void)at;
	check_failure(several_drivers ? several_drivers : "pocl,pocl,pocl", EVN_REDUCE_HOST);
	if (!several_drivers)
		check_failure("pocl,pocl,pocl", EVN_REDUCE_EVENTS);
}

static void test_events_need_one_platform(void **at)
{
	evn_error err = {0};
	ranks r;
	evn_comm *g;
	(void)at;
	open_ranks(&r, several_drivers, EVN_REDUCE_HOST, EVN_MESSAGES_F32);
	const evn_comm_config config = {
		.queues = r.queues, .n_ranks = r.n, .reduce = EVN_REDUCE_EVENTS, .max_floats = 64};
	assert_int_equal(evn_comm_create(&g, &config, &err), EVN_ERR_USAGE);
	assert_non_null(strstr(err.text, "reduce: events needs all devices on one platform"));
	evn_comm_free(g);
	ranks_close(&r);
}

/* ---- a device with its own memory ------------------------------------------------------------------------------ */

static void test_staged(void **at)
{
	(void)at;
	for (evn_reduce how = EVN_REDUCE_HOST; how <= EVN_REDUCE_EVENTS; how++) {
		check_sums(several_drivers, 1, how);
		check_two_at_once(how);
		check_trial(several_drivers, how);
		check_failure(several_drivers, how);
		check_packed(several_drivers, how, EVN_MESSAGES_Q8);
	}
}

#define TRAVEL_MS 400u

/* While the card's message travels, its queue does not wait for it. */
static evn_status work_meanwhile(void *arg, uint32_t rank, evn_error *err)
{
	ranks *r = arg;
	const evn_sum sum = evn_sum_of(r->x[rank], 1024, 3);
	evn_comm_step_begin(r->comm, rank);
	const uint64_t began = evn_now_ns();
	EVN_TRY(evn_comm_all_reduce_begin(r->comm, rank, &sum, err));
	EVN_TRY(evn_fill_zero(r->queues[rank], r->x[rank], err));
	EVN_TRY(evn_queue_finish(r->queues[rank], err));
	const uint64_t worked = evn_now_ns() - began;
	EVN_TRY(evn_comm_all_reduce_end(r->comm, rank, &sum, err));
	EVN_TRY(evn_comm_step_end(r->comm, rank, err));
	const uint64_t took = evn_now_ns() - began;
	if (worked > TRAVEL_MS * 900000u || took < TRAVEL_MS * 1000000u)
		return evn_fail(err, EVN_ERR_DEVICE, "worked for %.1f of %.1f ms", (double)worked * 1e-6,
						(double)took * 1e-6);
	return EVN_OK;
}

static void test_travel_overlaps(void **at)
{
	(void)at;
	for (evn_reduce how = EVN_REDUCE_HOST; how <= EVN_REDUCE_EVENTS; how++) {
		evn_error err = {0};
		ranks r;
		open_ranks(&r, several_drivers, how, EVN_MESSAGES_F32);
		setenv("DISCRETE_LATENCY_US", "400000", 1);
		require_ok(evn_team_run(r.team, work_meanwhile, &r, NULL, NULL, &err));
		unsetenv("DISCRETE_LATENCY_US");
		ranks_close(&r);
	}
}

static void test_flags_need_the_hosts_memory(void **at)
{
	evn_error err = {0};
	ranks r;
	evn_comm *g;
	(void)at;
	open_ranks(&r, several_drivers, EVN_REDUCE_HOST, EVN_MESSAGES_F32);
	const evn_comm_config config = {.queues = r.queues, .n_ranks = r.n, .reduce = EVN_REDUCE_FLAGS, .max_floats = 64};
	assert_int_equal(evn_comm_create(&g, &config, &err), EVN_ERR_UNSUPPORTED);
	evn_comm_free(g);
	ranks_close(&r);
}

/* ---- a GPU that works in the host's memory --------------------------------------------------------------------- */

static void test_integrated(void **at)
{
	evn_error err = {0};
	ranks r;
	evn_comm *g;
	(void)at;
	check_sums(several_drivers, 1, EVN_REDUCE_EVENTS);
	open_ranks(&r, several_drivers, EVN_REDUCE_HOST, EVN_MESSAGES_F32);
	bool atomics = true;
	for (uint32_t i = 0; i < r.n; i++)
		atomics &= evn_device_is_cpu(r.devices[i]) || evn_device_has(r.devices[i], "svm_atomics");
	const evn_comm_config config = {.queues = r.queues, .n_ranks = r.n, .reduce = EVN_REDUCE_FLAGS, .max_floats = 64};
	const evn_status s = evn_comm_create(&g, &config, &err);
	evn_comm_free(g);
	ranks_close(&r);
	print_message("fine-grained SVM atomics: %s\n", atomics ? "yes" : "no");
	assert_int_equal(s, atomics ? EVN_OK : EVN_ERR_UNSUPPORTED);
}

int main(int argc, char **argv)
{
	several_drivers = argc > 1 ? argv[1] : NULL;
	const int found = ranks_find_drivers(several_drivers ? several_drivers : "pocl");
	if (found)
		return found;
	const struct CMUnitTest one[] = {
		cmocka_unit_test(test_host),     cmocka_unit_test(test_events),
		cmocka_unit_test(test_flags),    cmocka_unit_test(test_two_at_once),
		cmocka_unit_test(test_one_rank), cmocka_unit_test(test_nine_ranks),
		cmocka_unit_test(test_trial),    cmocka_unit_test(test_a_rank_fails),
		cmocka_unit_test(test_packed),   cmocka_unit_test(test_trial_of_packed),
	};
	const struct CMUnitTest several[] = {
		cmocka_unit_test(test_host),         cmocka_unit_test(test_flags),
		cmocka_unit_test(test_trial),        cmocka_unit_test(test_two_at_once),
		cmocka_unit_test(test_a_rank_fails), cmocka_unit_test(test_events_need_one_platform),
	};
	const struct CMUnitTest packed[] = {cmocka_unit_test(test_packed), cmocka_unit_test(test_trial_of_packed)};
	const struct CMUnitTest staged[] = {cmocka_unit_test(test_staged), cmocka_unit_test(test_travel_overlaps),
										cmocka_unit_test(test_flags_need_the_hosts_memory)};
	const struct CMUnitTest integrated[] = {cmocka_unit_test(test_integrated)};
	int failed = argc > 2 && !strcmp(argv[2], "integrated") ? cmocka_run_group_tests(integrated, NULL, NULL)
				 : argc > 2 && !strcmp(argv[2], "staged")   ? cmocka_run_group_tests(staged, NULL, NULL)
				 : argc > 2                                 ? cmocka_run_group_tests(packed, NULL, NULL)
				 : several_drivers                          ? cmocka_run_group_tests(several, NULL, NULL)
															: cmocka_run_group_tests(one, NULL, NULL);
	evn_system_close(drivers);
	return failed;
}
