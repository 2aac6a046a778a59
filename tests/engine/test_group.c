/* test_group.c - all_reduce by every way against plain sums, bit for bit, over many rounds in which ranks come late
 * by random times and take turns in contributing; and a rank that fails in the middle. test_group [DEVICES]   of
 * several drivers: what works between any two */
#include "engine/harness.h"

#include <time.h>

#include "engine/team.h"
#include "group/group.h"

#define MOST_FLOATS 4096u
#define ROUNDS 240u
#define PER_STEP 12u

static const char *several_drivers;
static evn_system *drivers;

typedef struct {
	uint32_t n;
	evn_device *devices[EVN_MAX_RANKS];
	evn_queue *queues[EVN_MAX_RANKS];
	evn_group *group;
	evn_team *team;
	evn_buf *x[EVN_MAX_RANKS];
	uint32_t fail_rank, fail_round; /* n: none does */
} ranks;

/* The same number for the same arguments on every rank (SplitMix64's mixing). */
static uint32_t mixed(uint64_t a, uint64_t b, uint64_t c)
{
	uint64_t z = a * 0x9e3779b97f4a7c15u + b * 0xd1342543de82ef95u + c * 0x2545f4914f6cdd1du + 1;
	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
	z = (z ^ z >> 27) * 0x94d049bb133111ebu;
	return (uint32_t)(z >> 32);
}

/* Of very different sizes, so that another order of summation gives other bits. */
static float value(uint32_t round, uint32_t rank, uint32_t i)
{
	uint32_t bits = mixed(round, rank, i);
	return ((float)(bits >> 8) - 8388608.0f) / (float)(1u << (bits & 31));
}

static uint32_t length_of(uint32_t round) { return 16 * (1 + mixed(round, 99, 0) % (MOST_FLOATS / 16)); }
static uint32_t contributors_of(uint32_t round, uint32_t n) { return 1 + mixed(round, 98, 0) % ((1u << n) - 1); }

static void give_up(void *arg) { evn_group_give_up(((ranks *)arg)->group); }

static void open_ranks(ranks *r, const char *devices, evn_reduce how)
{
	evn_error err = {0};
	evn_pick picks[EVN_MAX_RANKS];
	char list[128], *rest = list;
	size_t n = 0;
	*r = (ranks){0};
	snprintf(list, sizeof list, "%s", devices);
	for (char *item; (item = strsep(&rest, ","));)
		require_ok(evn_system_select(drivers, item, 0, picks, &n, EVN_MAX_RANKS, &err));
	r->n = r->fail_rank = (uint32_t)n;
	require_ok(evn_devices_open(drivers, picks, n, r->devices, &err));
	for (uint32_t i = 0; i < r->n; i++) {
		require_ok(evn_queue_create(&r->queues[i], r->devices[i], &err));
		require_ok(evn_buf_create(&r->x[i], r->devices[i], MOST_FLOATS * sizeof(float), EVN_BUF_DEVICE, "x", &err));
		require_ok(evn_fill_zero(r->queues[i], r->x[i], &err));
	}
	require_ok(evn_group_create(&r->group, r->queues, r->n, how, MOST_FLOATS, &err));
	require_ok(evn_team_create(&r->team, r->n, give_up, r, &err));
	if (how != EVN_REDUCE_AUTO)
		assert_int_equal(evn_group_reduce(r->group), how);
}

static void close_ranks(ranks *r)
{
	evn_team_free(r->team);
	evn_group_free(r->group);
	for (uint32_t i = 0; i < r->n; i++) {
		evn_buf_free(r->x[i]);
		evn_queue_free(r->queues[i]);
	}
	for (uint32_t i = 0; i < r->n; i++)
		evn_device_close(r->devices[i]);
}

/* The rank's partial, or where it does not contribute something that must not be read. */
static evn_status write_partial(ranks *r, uint32_t round, uint32_t rank, bool contributes, evn_error *err)
{
	float partial[MOST_FLOATS];
	uint32_t n = length_of(round);
	for (uint32_t i = 0; i < n; i++)
		partial[i] = contributes ? value(round, rank, i) : 1e30f;
	return evn_write(r->queues[rank], evn_group_partial(r->group, rank), 0, partial, n * sizeof *partial, err);
}

static evn_status run_rounds(void *arg, uint32_t rank, evn_error *err)
{
	ranks *r = arg;
	for (uint32_t round = 0; round < ROUNDS; round++) {
		uint32_t contributors = contributors_of(round, r->n), delay = mixed(round, rank, 97) % 16;
		if (round % PER_STEP == 0)
			evn_group_step_begin(r->group, rank);
		if (delay < 4)
			nanosleep(&(struct timespec){0, 100000 * (long)delay}, NULL);
		if (rank == r->fail_rank && round == r->fail_round)
			return evn_fail(err, EVN_ERR_DEVICE, "rank %u fails", rank);
		EVN_TRY(write_partial(r, round, rank, contributors >> rank & 1, err));
		EVN_TRY(evn_all_reduce(r->group, rank, r->x[rank], length_of(round), contributors, err));
		if (round % PER_STEP == PER_STEP - 1)
			EVN_TRY(evn_group_step_end(r->group, rank, err));
	}
	return EVN_OK;
}

/* What x must hold after all rounds: in each, the partials in rank order first, then that to x. */
static void sum_plainly(float *x, uint32_t n_ranks)
{
	memset(x, 0, MOST_FLOATS * sizeof *x);
	for (uint32_t round = 0; round < ROUNDS; round++) {
		uint32_t contributors = contributors_of(round, n_ranks);
		for (uint32_t i = 0; i < length_of(round); i++) {
			float sum = 0;
			for (uint32_t k = 0; k < n_ranks; k++)
				if (contributors >> k & 1)
					sum += value(round, k, i);
			x[i] += sum;
		}
	}
}

static void check_x(ranks *r)
{
	evn_error err = {0};
	float want[MOST_FLOATS], got[MOST_FLOATS];
	sum_plainly(want, r->n);
	for (uint32_t k = 0; k < r->n; k++) {
		require_ok(evn_read(r->queues[k], r->x[k], 0, got, sizeof got, &err));
		for (uint32_t i = 0; i < MOST_FLOATS; i++)
			if (memcmp(&got[i], &want[i], sizeof *got))
				fail_msg("rank %u: x[%u] is %.9g, expected %.9g", k, i, (double)got[i], (double)want[i]);
	}
}

static void check_sums(const char *devices, evn_reduce how)
{
	evn_error err = {0};
	ranks r;
	open_ranks(&r, devices, how);
	require_ok(evn_team_run(r.team, run_rounds, &r, NULL, NULL, &err));
	check_x(&r);
	close_ranks(&r);
}

static void test_host(void **at)
{
	(void)at;
	check_sums(several_drivers ? several_drivers : "pocl,pocl,pocl", EVN_REDUCE_HOST);
}

static void test_events(void **at)
{
	(void)at;
	check_sums("pocl,pocl,pocl", EVN_REDUCE_EVENTS);
	check_sums("pocl/1+1", EVN_REDUCE_EVENTS);
}

/* PoCL's disjoint sub-devices have workers of their own, as have two drivers with a core each. */
static void test_flags(void **at)
{
	(void)at;
	check_sums(several_drivers ? several_drivers : "pocl/1+1", EVN_REDUCE_FLAGS);
}

static void test_one_rank(void **at)
{
	(void)at;
	check_sums("pocl", EVN_REDUCE_AUTO);
}

static void check_failure(const char *devices, evn_reduce how)
{
	evn_error err = {0};
	ranks r;
	open_ranks(&r, devices, how);
	for (uint32_t k = 0; k < 2; k++) {
		r.fail_rank = k;
		r.fail_round = 17 + k; /* in the middle of a step */
		assert_int_equal(evn_team_run(r.team, run_rounds, &r, NULL, NULL, &err), EVN_ERR_DEVICE);
		evn_group_reset(r.group);
	}
	r.fail_rank = r.n;
	for (uint32_t i = 0; i < r.n; i++)
		require_ok(evn_fill_zero(r.queues[i], r.x[i], &err));
	require_ok(evn_team_run(r.team, run_rounds, &r, NULL, NULL, &err));
	check_x(&r);
	close_ranks(&r);
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
	evn_group *g;
	(void)at;
	open_ranks(&r, several_drivers, EVN_REDUCE_HOST);
	assert_int_equal(evn_group_create(&g, r.queues, r.n, EVN_REDUCE_EVENTS, 64, &err), EVN_ERR_USAGE);
	assert_non_null(strstr(err.text, "reduce: events needs all devices on one platform"));
	evn_group_free(g);
	close_ranks(&r);
}

int main(int argc, char **argv)
{
	evn_error err = {0};
	several_drivers = argc > 1 ? argv[1] : NULL;
	if (!driver_exists("pocl") || (several_drivers && strstr(several_drivers, "intel") && !driver_exists("intel")))
		return missing("a driver of the list of devices is not installed");
	if (evn_system_open(&drivers, &err) != EVN_OK)
		return fprintf(stderr, "%s\n", err.text), 1;
	const struct CMUnitTest one[] = {
		cmocka_unit_test(test_host),     cmocka_unit_test(test_events),       cmocka_unit_test(test_flags),
		cmocka_unit_test(test_one_rank), cmocka_unit_test(test_a_rank_fails),
	};
	const struct CMUnitTest several[] = {
		cmocka_unit_test(test_host),
		cmocka_unit_test(test_flags),
		cmocka_unit_test(test_a_rank_fails),
		cmocka_unit_test(test_events_need_one_platform),
	};
	int failed =
		several_drivers ? cmocka_run_group_tests(several, NULL, NULL) : cmocka_run_group_tests(one, NULL, NULL);
	evn_system_close(drivers);
	return failed;
}
