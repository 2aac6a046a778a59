/* test_child.c - child processes under a deadline: their output, how they ended, and that nothing that they started
 * is left. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>

#include "base/child.h"

#define SECOND UINT64_C(1000000000)

/* The system may need a moment to remove a killed process. A process that no parent waits for may stay as a
 * zombie. */
static bool is_gone(const char *pid)
{
	char path[64], state = 0;
	snprintf(path, sizeof path, "/proc/%ld/stat", strtol(pid, NULL, 10));
	for (int i = 0; i < 5000; i++) {
		FILE *f = fopen(path, "re");
		bool there = f && fscanf(f, "%*d (%*[^)]) %c", &state) == 1 && state != 'Z';
		if (f)
			fclose(f);
		if (!there)
			return true;
		nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
	}
	return false;
}

static void test_what_a_child_started_ends_with_it(void **state)
{
	(void)state;
	evn_child children[] = {{.argv = {"sh", "-c", "sleep 300 >/dev/null & echo $!; exit 3"}},
							{.argv = {"sh", "-c", "sleep 300 >/dev/null & echo $!; exec sleep 300 >/dev/null"}}};
	evn_children_run(children, 2, 3 * SECOND, NULL);
	for (int i = 0; i < 2; i++) {
		assert_true(children[i].started);
		assert_int_equal(children[i].timed_out, i == 1);
		assert_true(strtol(children[i].output, NULL, 10) > 0);
		assert_true(is_gone(children[i].output));
		free(children[i].output);
	}
	assert_true(WIFEXITED(children[0].status) && WEXITSTATUS(children[0].status) == 3);
	assert_true(WIFSIGNALED(children[1].status) && WTERMSIG(children[1].status) == SIGKILL);
	assert_true(waitpid(-1, NULL, WNOHANG) < 0 && errno == ECHILD);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_what_a_child_started_ends_with_it)};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
