/* test_timeslice.c - the time-slice lock between real processes: one works at a time, each gets its slice, and a
 * process that dies releases the lock. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/child.h"

#define ROUNDS 20
#define WORKERS 3

typedef struct {
	atomic_int inside, most_inside, n_slices;
	char order[ROUNDS * WORKERS];
} record;

static void work(record *r, char name)
{
	int inside = atomic_fetch_add(&r->inside, 1) + 1;
	if (inside > atomic_load(&r->most_inside))
		atomic_store(&r->most_inside, inside);
	r->order[atomic_fetch_add(&r->n_slices, 1)] = name;
	nanosleep(&(struct timespec){.tv_nsec = 3000000}, NULL);
	atomic_fetch_sub(&r->inside, 1);
}

/* Starts a process as evn_children_run does, with the lock file as its descriptor. */
static pid_t start(int lock_file, record *r, char name, int dies_after)
{
	pid_t pid = fork();
	if (pid != 0)
		return pid;
	if (dup2(lock_file, EVN_TIMESLICE_FD) < 0)
		_exit(2);
	evn_timeslice_join();
	for (int round = 0; round < ROUNDS; round++) {
		work(r, name);
		if (round == dies_after)
			raise(SIGKILL);
		evn_timeslice_pass();
	}
	_exit(0);
}

static record *run(int dies_after)
{
	record *r = mmap(NULL, sizeof *r, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	int lock_file = memfd_create("timeslice", MFD_CLOEXEC), status;
	pid_t workers[WORKERS];
	assert_true(r != MAP_FAILED && lock_file >= 0);
	for (int i = 0; i < WORKERS; i++)
		workers[i] = start(lock_file, r, (char)('a' + i), i == 0 ? dies_after : -1);
	for (int i = 0; i < WORKERS; i++) {
		assert_int_equal(waitpid(workers[i], &status, 0), workers[i]);
		assert_true(i == 0 && dies_after >= 0 ? WIFSIGNALED(status) : WIFEXITED(status) && WEXITSTATUS(status) == 0);
	}
	assert_int_equal(close(lock_file), 0);
	return r;
}

/* The first process may have worked before the others started, and the last after they ended. */
static void test_one_at_a_time(void **state)
{
	(void)state;
	record *r = run(-1);
	int changes = 0;
	assert_int_equal(r->most_inside, 1);
	assert_int_equal(r->n_slices, ROUNDS * WORKERS);
	for (int i = 1; i < r->n_slices; i++)
		changes += r->order[i] != r->order[i - 1];
	assert_true(changes > ROUNDS * WORKERS / 2);
	munmap(r, sizeof *r);
}

static void test_one_dies(void **state)
{
	(void)state;
	record *r = run(4);
	assert_int_equal(r->most_inside, 1);
	assert_int_equal(r->n_slices, 5 + ROUNDS * (WORKERS - 1));
	munmap(r, sizeof *r);
}

/* Returns the process that waits for the slice: it holds the gate. 0 if there is none for five seconds. */
static pid_t waiting(int lock_file)
{
	for (int i = 0; i < 5000; i++) {
		struct flock gate = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 1, .l_len = 1};
		if (fcntl(lock_file, F_GETLK, &gate) == 0 && gate.l_type != F_UNLCK)
			return gate.l_pid;
		nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
	}
	return 0;
}

/* Passes the slice to a process that is stopped at that moment and wakes only 50 ms later. */
static int pass_to_a_slow_one(int lock_file, record *r)
{
	int status;
	if (dup2(lock_file, EVN_TIMESLICE_FD) < 0)
		return 2;
	evn_timeslice_join();
	pid_t slow = start(lock_file, r, 's', 0);
	if (waiting(lock_file) != slow || kill(slow, SIGSTOP) != 0 || waitpid(slow, &status, WUNTRACED) != slow)
		return 3;
	pid_t waker = fork();
	if (waker == 0) {
		nanosleep(&(struct timespec){.tv_nsec = 50000000}, NULL);
		_exit(kill(slow, SIGCONT) != 0);
	}
	evn_timeslice_pass();
	work(r, 'f');
	return waitpid(slow, &status, 0) == slow && waitpid(waker, &status, 0) == waker ? 0 : 4;
}

static void test_who_waits_comes_first(void **state)
{
	(void)state;
	record *r = mmap(NULL, sizeof *r, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	int lock_file = memfd_create("timeslice", MFD_CLOEXEC), status;
	assert_true(r != MAP_FAILED && lock_file >= 0);
	pid_t first = fork();
	if (first == 0)
		_exit(pass_to_a_slow_one(lock_file, r));
	assert_int_equal(waitpid(first, &status, 0), first);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
	assert_memory_equal(r->order, "sf", 2);
	assert_int_equal(close(lock_file), 0);
	munmap(r, sizeof *r);
}

/* Without a join, evn_timeslice_pass does nothing. */
static void test_alone(void **state)
{
	(void)state;
	evn_timeslice_pass();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_alone),
		cmocka_unit_test(test_one_at_a_time),
		cmocka_unit_test(test_one_dies),
		cmocka_unit_test(test_who_waits_comes_first),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
