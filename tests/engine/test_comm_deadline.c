/* test_comm_deadline.c - a rank that does not arrive, and a device that does not finish. The run must end in time and
 * name the rank and its device. A reset must not hang. Everything that is still usable must work again. */
#include "engine/comm_ranks.h"

#include <stdatomic.h>
#include <time.h>

#include "kernels/constants.h"

enum { N_FLOATS = 64, DEADLINE_MS = 1000, LONG_MS = 20000, N_WAITS = 8, WAIT_WORDS = 1024 };

static void sleep_ms(long ms) { nanosleep(&(struct timespec){ms / 1000, ms % 1000 * 1000000}, NULL); }

typedef struct {
	ranks r;
	uint32_t late_rank;
	long late_ms; /* it arrives so much later, or when it is released */
	atomic_bool released;
	uint32_t *words; /* for kernels that wait until they are released */
	evn_buf *flags[N_WAITS];
} late;

static void open_late(late *l, const char *devices, evn_reduce how, uint32_t deadline_ms)
{
	*l = (late){0};
	ranks_open(&l->r, devices, 1,
			   (evn_comm_config){.reduce = how, .max_floats = N_FLOATS, .deadline_ms = deadline_ms});
	l->late_rank = l->r.n;
}

static evn_status reduce_once(void *arg, uint32_t rank, evn_error *err)
{
	late *l = arg;
	evn_comm_step_begin(l->r.comm, rank);
	const uint64_t until =
		evn_now_ns() + (uint64_t)l->late_ms * 1000000; /* on a busy machine each sleep takes longer */
	while (rank == l->late_rank && evn_now_ns() < until && !atomic_load(&l->released))
		sleep_ms(10);
	const evn_sum sum = evn_sum_of(l->r.x[rank], N_FLOATS, 1);
	EVN_TRY(evn_comm_all_reduce(l->r.comm, rank, &sum, err));
	return evn_comm_step_end(l->r.comm, rank, err);
}

/* The run fails and names the rank. */
static void run_and_blame(late *l, evn_rank_fn fn, uint32_t rank, const char *what)
{
	evn_error err = {0};
	char name[32];
	const uint64_t began = evn_now_ns();
	assert_int_equal(evn_team_run(l->r.team, fn, l, NULL, NULL, &err), EVN_ERR_DEVICE);
	assert_true(evn_now_ns() - began < (uint64_t)LONG_MS * 1000000);
	const evn_fault *f = evn_team_fault(l->r.team);
	assert_int_equal(f->rank, rank);
	assert_int_equal(f->status, EVN_ERR_DEVICE);
	assert_string_equal(f->err.text, err.text);
	snprintf(name, sizeof name, "rank %u: ", rank);
	if (l->r.n > 1)
		assert_memory_equal(err.text, name, strlen(name));
	assert_non_null(strstr(err.text, evn_device_name(l->r.devices[rank])));
	if (!strstr(err.text, what))
		fail_msg("'%s' does not say '%s'", err.text, what);
}

/* Drivers cache compiled kernels. After this, the time of a sum has no compiling in it. */
static void compile_kernels(void **at)
{
	evn_error err = {0};
	static const char *const devices[] = {"pocl", "pocl,pocl,pocl", "pocl/1+1"};
	(void)at;
	for (size_t i = 0; i < sizeof devices / sizeof *devices; i++) {
		late l;
		open_late(&l, devices[i], EVN_REDUCE_HOST, 0);
		require_ok(evn_team_run(l.r.team, reduce_once, &l, NULL, NULL, &err));
		ranks_close(&l.r);
	}
}

/* A rank that arrives within the grace time is waited for, and all can continue. */
static void test_a_late_rank(void **at)
{
	evn_error err = {0};
	(void)at;
	for (evn_reduce how = EVN_REDUCE_HOST; how <= EVN_REDUCE_EVENTS; how++) {
		late l;
		open_late(&l, "pocl,pocl,pocl", how, DEADLINE_MS);
		l.late_rank = 1;
		l.late_ms = DEADLINE_MS + 200;
		run_and_blame(&l, reduce_once, 1, "did not reach an all-reduce");
		assert_false(evn_team_abandoned(l.r.team));
		require_ok(evn_comm_reset(l.r.comm, &err));
		l.late_rank = l.r.n;
		require_ok(evn_team_run(l.r.team, reduce_once, &l, NULL, NULL, &err));
		ranks_close(&l.r);
	}
}

static void free_team(late *l)
{
	while (!evn_team_free(l->r.team))
		sleep_ms(10);
	l->r.team = NULL;
}

/* A rank that does not arrive is abandoned. The team cannot be used any more, and says so. */
static void test_a_hung_rank(void **at)
{
	late l;
	(void)at;
	open_late(&l, "pocl,pocl", EVN_REDUCE_HOST, DEADLINE_MS);
	l.late_rank = 0;
	l.late_ms = LONG_MS;
	run_and_blame(&l, reduce_once, 0, "did not reach an all-reduce");
	assert_true(evn_team_abandoned(l.r.team));
	run_and_blame(&l, reduce_once, 0, "did not reach an all-reduce");
	assert_false(evn_team_free(l.r.team));
	atomic_store(&l.released, true); /* the thread returns to a step that is over */
	free_team(&l);
	ranks_close(&l.r);
}

/* ---- a device that hangs --------------------------------------------------------------------------------------- */

static void set_words(late *l, uint32_t rank_1)
{
	for (uint32_t i = 0; i < N_WAITS; i++) {
		volatile uint32_t *words = l->words + i * WAIT_WORDS;
		words[EVN_FLAG_LATE] = 0;
		words[EVN_FLAG_OF(0)] = 1;
		words[EVN_FLAG_OF(1)] = rank_1;
	}
}

/* Enqueues kernels that wait for rank 1, one after the other. Each waits as long as it can; all of them wait for many
 * seconds. */
static evn_status hang(late *l, uint32_t rank, evn_error *err)
{
	evn_spec spec = evn_spec_of("flags_sum.cl");
	evn_kernel *k;
	EVN_TRY(evn_kernel_get(&k, l->r.queues[rank], &spec, "flags_wait", err));
	for (uint32_t i = 0; i < N_WAITS; i++) {
		evn_args a = evn_args_begin(k);
		evn_arg_buf(&a, l->flags[i]);
		evn_arg_u32x4(&a,
					  (uint32_t[]){0, 2, UINT32_MAX, 0}); /* rank, ranks, the limit of polls, polls before leaving */
		evn_arg_u32(&a, 0);
		EVN_TRY(evn_launch(&a, 1, (size_t[]){1}, (size_t[]){1}, err));
	}
	return EVN_OK;
}

static evn_status reduce_behind(void *arg, uint32_t rank, evn_error *err)
{
	late *l = arg;
	evn_comm_step_begin(l->r.comm, rank);
	if (rank == l->late_rank)
		EVN_TRY(hang(l, rank, err));
	const evn_sum sum = evn_sum_of(l->r.x[rank], N_FLOATS, 1);
	EVN_TRY(evn_comm_all_reduce(l->r.comm, rank, &sum, err));
	return evn_comm_step_end(l->r.comm, rank, err);
}

/* The first launch compiles the kernel. It has nothing to wait for. */
static void make_hang(late *l, uint32_t rank)
{
	evn_error err = {0};
	const size_t bytes = WAIT_WORDS * sizeof *l->words;
	l->late_rank = rank;
	l->words = aligned_alloc(bytes, N_WAITS * bytes);
	assert_non_null(l->words);
	for (uint32_t i = 0; i < N_WAITS; i++)
		require_ok(evn_buf_wrap(&l->flags[i], l->r.devices[rank], l->words + i * WAIT_WORDS, bytes, "flags", &err));
	set_words(l, 1);
	require_ok(hang(l, rank, &err));
	require_ok(evn_queue_finish(l->r.queues[rank], &err));
	set_words(l, 0);
}

static void end_hang(late *l)
{
	evn_error err = {0};
	set_words(l, 1);
	require_ok(evn_queue_finish(l->r.queues[l->late_rank], &err));
	free_team(l);
	for (uint32_t i = 0; i < N_WAITS; i++)
		evn_buf_free(l->flags[i]);
	ranks_close(&l->r);
	free(l->words);
}

/* With events, all devices wait for the device that hangs, and all threads wait for their device. */
static void check_hung_device(const char *devices, evn_reduce how, uint32_t rank)
{
	evn_error err = {0};
	late l;
	open_late(&l, devices, how, DEADLINE_MS);
	require_ok(evn_team_run(l.r.team, reduce_once, &l, NULL, NULL, &err)); /* builds the kernels */
	make_hang(&l, rank);
	run_and_blame(&l, reduce_behind, rank, how == EVN_REDUCE_HOST ? "" : "did not finish its queue within");
	end_hang(&l);
}

static void test_a_hung_device(void **at)
{
	(void)at;
	check_hung_device("pocl", EVN_REDUCE_AUTO, 0);
	check_hung_device("pocl/1+1", EVN_REDUCE_EVENTS, 1);
	check_hung_device("pocl/1+1", EVN_REDUCE_HOST, 1);
}

static void test_reset_of_a_hung_device(void **at)
{
	evn_error err = {0};
	late l;
	(void)at;
	open_late(&l, "pocl/1+1", EVN_REDUCE_HOST, DEADLINE_MS);
	make_hang(&l, 1);
	require_ok(hang(&l, 1, &err));
	const uint64_t began = evn_now_ns();
	assert_int_equal(evn_comm_reset(l.r.comm, &err), EVN_ERR_DEVICE);
	assert_true(evn_now_ns() - began < (uint64_t)LONG_MS * 1000000);
	assert_non_null(strstr(err.text, evn_device_name(l.r.devices[1])));
	assert_int_equal(evn_team_run(l.r.team, reduce_once, &l, NULL, NULL, &err), EVN_ERR_DEVICE);
	assert_false(evn_comm_free(l.r.comm));
	end_hang(&l);
}

int main(void)
{
	const int found = ranks_find_drivers("pocl");
	if (found)
		return found;
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(compile_kernels),
		cmocka_unit_test(test_a_late_rank),
		cmocka_unit_test(test_a_hung_rank),
		cmocka_unit_test(test_a_hung_device),
		cmocka_unit_test(test_reset_of_a_hung_device),
	};
	int failed = cmocka_run_group_tests(tests, NULL, NULL);
	evn_system_close(drivers);
	return failed;
}
