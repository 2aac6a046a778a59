/* test_team.c - one thread for each rank: every rank runs once, the right error is reported, and a failing rank
 * releases the ranks that wait for it. */
#include "engine/harness.h"

#include <stdatomic.h>
#include <time.h>

#include "group/team.h"
#include "group/barrier.h"

#define N 4

static void pause_us(long us) { nanosleep(&(struct timespec){0, us * 1000}, NULL); }

typedef struct {
	atomic_uint runs[N];
	atomic_uint ticks, failures;
	evn_status status[N];
	long pause[N]; /* us before it returns its status */
	evn_barrier barrier;
	bool waits;
	uint32_t failing;
} work;

static evn_status run_rank(void *arg, uint32_t rank, evn_error *err)
{
	work *w = arg;
	atomic_fetch_add(&w->runs[rank], 1);
	pause_us(w->pause[rank]);
	if (w->waits && rank != w->failing)
		return evn_barrier_wait(&w->barrier, rank) ? EVN_OK
												   : evn_fail(err, EVN_ERR_CANCELLED, "rank %u was released", rank);
	return w->status[rank] ? evn_fail(err, w->status[rank], "failed") : EVN_OK;
}

static void on_failure(void *arg)
{
	work *w = arg;
	atomic_fetch_add(&w->failures, 1);
	evn_barrier_cancel(&w->barrier);
}

static void tick(void *arg) { atomic_fetch_add(&((work *)arg)->ticks, 1); }

typedef struct {
	work w;
	evn_team *team;
} fixture;

static int setup(void **at)
{
	evn_error err = {0};
	fixture *f = calloc(1, sizeof *f);
	assert_non_null(f);
	assert_true(evn_barrier_init(&f->w.barrier, N, 60000));
	require_ok(
		evn_team_create(&f->team, &(evn_team_config){.n_ranks = N, .on_failure = on_failure, .arg = &f->w}, &err));
	*at = f;
	return 0;
}

static int teardown(void **at)
{
	fixture *f = *at;
	evn_team_free(f->team);
	evn_barrier_destroy(&f->w.barrier);
	free(f);
	return 0;
}

static void test_every_rank_runs_once(void **at)
{
	fixture *f = *at;
	evn_error err = {0};
	for (unsigned round = 1; round <= 500; round++) {
		require_ok(evn_team_run(f->team, run_rank, &f->w, NULL, NULL, &err));
		for (uint32_t i = 0; i < N; i++)
			assert_int_equal(f->w.runs[i], round);
	}
	assert_int_equal(f->w.failures, 0);
}

static void test_the_cause_comes_out(void **at)
{
	fixture *f = *at;
	evn_error err = {0};
	f->w.status[0] = EVN_ERR_CANCELLED;
	f->w.status[2] = EVN_ERR_DEVICE;
	f->w.status[3] = EVN_ERR_CANCELLED;
	f->w.pause[2] = 20000; /* the cause of the failure becomes known last */
	assert_int_equal(evn_team_run(f->team, run_rank, &f->w, NULL, NULL, &err), EVN_ERR_DEVICE);
	assert_int_equal(err.code, EVN_ERR_DEVICE);
	assert_string_equal(err.text, "rank 2: failed");
	assert_int_equal(evn_team_fault(f->team)->rank, 2);
	assert_int_equal(f->w.failures, 3);
	assert_int_equal(evn_team_run(f->team, run_rank, &f->w, NULL, NULL, NULL), EVN_ERR_DEVICE);
	memset(f->w.status, 0, sizeof f->w.status);
	require_ok(evn_team_run(f->team, run_rank, &f->w, NULL, NULL, &err));
}

static void test_only_followers(void **at)
{
	fixture *f = *at;
	evn_error err = {0};
	f->w.status[1] = f->w.status[3] = EVN_ERR_CANCELLED;
	assert_int_equal(evn_team_run(f->team, run_rank, &f->w, NULL, NULL, &err), EVN_ERR_CANCELLED);
	assert_string_equal(err.text, "failed"); /* it only followed: nobody is to blame */
}

static void test_a_failing_rank_releases_the_others(void **at)
{
	fixture *f = *at;
	evn_error err = {0};
	f->w.waits = true;
	for (uint32_t failing = 0; failing < N; failing++) {
		f->w.failing = failing;
		f->w.status[failing] = EVN_ERR_BUILD;
		f->w.pause[failing] = 3000;
		assert_int_equal(evn_team_run(f->team, run_rank, &f->w, NULL, NULL, &err), EVN_ERR_BUILD);
		f->w.status[failing] = EVN_OK;
		f->w.pause[failing] = 0;
		evn_barrier_reset(&f->w.barrier);
		f->w.failing = N;
		require_ok(evn_team_run(f->team, run_rank, &f->w, NULL, NULL, &err));
	}
}

/* The tick runs in this thread while ranks work, however slow the machine is. */
static void test_tick(void **at)
{
	fixture *f = *at;
	evn_error err = {0};
	f->w.pause[1] = 450000;
	require_ok(evn_team_run(f->team, run_rank, &f->w, tick, &f->w, &err));
	assert_true(f->w.ticks >= 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_every_rank_runs_once, setup, teardown),
		cmocka_unit_test_setup_teardown(test_the_cause_comes_out, setup, teardown),
		cmocka_unit_test_setup_teardown(test_only_followers, setup, teardown),
		cmocka_unit_test_setup_teardown(test_a_failing_rank_releases_the_others, setup, teardown),
		cmocka_unit_test_setup_teardown(test_tick, setup, teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
