/* test_base.c - one-line errors, checked arithmetic, files: the basis of every layer. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/base.h"

static char folder[] = "/tmp/evener-base-XXXXXX";

static int make_folder(void **state)
{
	(void)state;
	return mkdtemp(folder) ? 0 : -1;
}

static int remove_folder(void **state)
{
	(void)state;
	return rmdir(folder);
}

static void test_fail_writes_code_and_text(void **state)
{
	(void)state;
	evn_error err = {0};
	assert_int_equal(evn_fail(&err, EVN_ERR_FORMAT, "%s: %d", "file", 7), EVN_ERR_FORMAT);
	assert_int_equal(err.code, EVN_ERR_FORMAT);
	assert_string_equal(err.text, "file: 7");
	assert_int_equal(evn_fail(NULL, EVN_ERR_LIMIT, "nobody listens"), EVN_ERR_LIMIT);
	/* The arguments may point into the error's own text. */
	evn_fail(&err, EVN_ERR_FILE, "again: %s", err.text);
	assert_string_equal(err.text, "again: file: 7");
}

static void test_fail_within_puts_a_prefix(void **state)
{
	(void)state;
	evn_error err = {0};
	evn_fail(&err, EVN_ERR_DEVICE, "inner");
	assert_int_equal(evn_fail_within(&err, "layer %d", 3), EVN_ERR_DEVICE);
	assert_string_equal(err.text, "layer 3: inner");
	char longer[sizeof err.text * 2];
	memset(longer, 'x', sizeof longer - 1);
	longer[sizeof longer - 1] = '\0';
	evn_fail_within(&err, "%s", longer);
	assert_int_equal(strlen(err.text), sizeof err.text - 1);
}

static void test_every_status_has_a_name(void **state)
{
	(void)state;
	for (int s = 0; s < EVN_STATUS__COUNT; s++)
		assert_true(evn_status_name((evn_status)s) && *evn_status_name((evn_status)s));
	assert_string_equal(evn_status_name(EVN_STATUS__COUNT), "unknown status");
}

static void test_log_of_a_sum(void **state)
{
	(void)state;
	const float large[] = {1000, 1000, -1000}, one[] = {-3}, none[] = {-INFINITY, 2}, bad[] = {1, NAN, 2};
	assert_true(fabs(evn_log_sum_exp(large, 3) - 1000 - log(2)) < 1e-12);
	assert_true(evn_log_sum_exp(one, 1) == -3 && evn_log_sum_exp(none, 2) == 2);
	assert_true(isnan(evn_log_sum_exp(bad, 3)));
}

static void test_arithmetic_refuses_to_wrap(void **state)
{
	(void)state;
	uint64_t out = 5;
	assert_true(evn_mul_u64(UINT32_MAX, UINT32_MAX, &out));
	assert_true(out == (uint64_t)UINT32_MAX * UINT32_MAX);
	assert_false(evn_mul_u64((uint64_t)1 << 32, (uint64_t)1 << 32, &out));
	assert_true(out == (uint64_t)UINT32_MAX * UINT32_MAX);
	assert_true(evn_mul_u64(UINT64_MAX, 0, &out));
	assert_true(out == 0);
	assert_false(evn_add_u64(UINT64_MAX, 1, &out));
	assert_true(evn_add_u64(UINT64_MAX - 1, 1, &out));
	assert_true(out == UINT64_MAX);
	assert_true(evn_round_up(33, 32) == 64 && evn_round_up(64, 32) == 64 && evn_round_up(0, 32) == 0);
}

static void test_median_is_the_middle(void **state)
{
	(void)state;
	double odd[] = {5, 1, 3}, even[] = {4, 1, 3, 2}, one[] = {7};
	assert_true(evn_median(odd, 3) == 3 && evn_median(even, 4) == 3 && evn_median(one, 1) == 7);
}

static void test_hashes_keep_parts_apart(void **state)
{
	(void)state;
	uint64_t ab_c = evn_hash_str(evn_hash_str(EVN_HASH_START, "ab"), "c");
	uint64_t a_bc = evn_hash_str(evn_hash_str(EVN_HASH_START, "a"), "bc");
	assert_true(ab_c != a_bc);
	/* FNV-1a of "a", from its authors' test vectors. */
	assert_true(evn_hash(EVN_HASH_START, "a", 1) == 0xaf63dc4c8601ec8cu);
}

static void test_files_are_written_whole_and_read_back(void **state)
{
	(void)state;
	char *path = evn_format("%s/file", folder), *text = NULL;
	size_t size = 0;
	evn_error err = {0};
	assert_int_equal(evn_write_file(path, "old", 3, &err), EVN_OK);
	assert_int_equal(evn_write_file(path, "newer\0text", 10, &err), EVN_OK);
	assert_int_equal(evn_read_file(&text, &size, path, 100, &err), EVN_OK);
	assert_int_equal(size, 10);
	assert_memory_equal(text, "newer\0text", 11);
	free(text);
	assert_int_equal(evn_read_file(&text, &size, path, 9, &err), EVN_ERR_LIMIT);
	unlink(path);
	free(path);
}

static void refused(const char *path, const char *fragment)
{
	evn_error err = {0};
	evn_source *s;
	char *text;
	size_t size;
	assert_int_equal(evn_source_open(&s, path, &err), EVN_ERR_FILE);
	assert_non_null(strstr(err.text, path));
	assert_non_null(strstr(err.text, fragment));
	assert_int_equal(evn_read_file(&text, &size, path, 100, &err), EVN_ERR_FILE);
}

static void test_only_regular_files_are_opened(void **state)
{
	(void)state;
	char *fifo = evn_format("%s/fifo", folder), *empty = evn_format("%s/empty", folder);
	assert_int_equal(mkfifo(fifo, 0600), 0); /* opening a FIFO for reading would wait for a writer */
	fclose(fopen(empty, "w"));
	refused(folder, "folder");
	refused(fifo, "not a regular file");
	refused(empty, "empty");
	refused("/nonexistent/file", "No such file");
	unlink(fifo);
	unlink(empty);
	free(fifo);
	free(empty);
}

static void set_time(const char *path, long nanoseconds)
{
	const struct timespec times[2] = {{1000000000, nanoseconds}, {1000000000, nanoseconds}};
	assert_int_equal(utimensat(AT_FDCWD, path, times, 0), 0);
}

/* The bytes that the file had when it was opened, or an error that names it. */
static void test_a_source_that_changes_is_noticed(void **state)
{
	(void)state;
	char *path = evn_format("%s/source", folder), bytes[10];
	evn_source *s;
	evn_error err = {0};
	for (int change = 0; change < 5; change++) {
		assert_int_equal(evn_write_file(path, "0123456789", 10, &err), EVN_OK);
		set_time(path, 1);
		assert_int_equal(evn_source_open(&s, path, &err), EVN_OK);
		assert_int_equal(evn_source_size(s), 10);
		assert_int_equal(evn_source_read(s, 3, bytes, 4, &err), EVN_OK);
		assert_memory_equal(bytes, "3456", 4);
		assert_int_equal(evn_source_read(s, 8, bytes, 3, &err), EVN_ERR_FILE); /* behind the end */
		evn_status expected = EVN_ERR_FILE;
		const char *says = "expected the 10 that it had";
		if (change == 0) {
			assert_int_equal(truncate(path, 0), 0);
		} else if (change == 1) {
			assert_int_equal(truncate(path, 20), 0);
		} else if (change == 2) {
			FILE *f = fopen(path, "r+");
			assert_true(f && fputc('x', f) == 'x' && fclose(f) == 0);
			says = "has been written to";
		} else { /* what is open is still the old file */
			expected = EVN_OK;
			assert_true(change == 3 ? unlink(path) == 0 : evn_write_file(path, "other", 5, &err) == EVN_OK);
		}
		err = (evn_error){0};
		assert_int_equal(evn_source_read(s, 0, bytes, 10, &err), expected);
		if (expected == EVN_OK)
			assert_memory_equal(bytes, "0123456789", 10);
		else if (!strstr(err.text, path) || !strstr(err.text, says))
			fail_msg("%s", err.text);
		evn_source_close(s);
	}
	evn_source_close(NULL);
	unlink(path);
	free(path);
}

static void test_a_file_that_cannot_be_written_stays_as_it_was(void **state)
{
	(void)state;
	evn_error err = {0};
	assert_int_equal(evn_write_file("/nonexistent/folder/file", "x", 1, &err), EVN_ERR_FILE);
	assert_non_null(strstr(err.text, "/nonexistent/folder/file"));
	assert_int_equal(evn_write_file(folder, "x", 1, &err), EVN_ERR_FILE); /* a folder has this name */
	struct stat st;
	assert_true(stat(folder, &st) == 0 && S_ISDIR(st.st_mode));
}

static void test_links_and_devices_are_not_replaced(void **state)
{
	(void)state;
	evn_error err = {0};
	struct stat st;
	char *path = evn_format("%s/file", folder), *link = evn_format("%s/link", folder), *text = NULL;
	size_t size = 0;
	assert_int_equal(evn_write_file(path, "old", 3, &err), EVN_OK);
	assert_int_equal(symlink(path, link), 0);
	assert_int_equal(evn_write_file(link, "new", 3, &err), EVN_OK);
	assert_true(lstat(link, &st) == 0 && S_ISLNK(st.st_mode));
	assert_int_equal(evn_read_file(&text, &size, path, 100, &err), EVN_OK);
	assert_string_equal(text, "new");
	assert_int_equal(evn_write_file("/dev/null", "x", 1, &err), EVN_OK);
	assert_true(stat("/dev/null", &st) == 0 && S_ISCHR(st.st_mode));
	assert_int_equal(evn_write_file("/dev/full", "x", 1, &err), EVN_ERR_FILE);
	assert_non_null(strstr(err.text, "No space left"));
	assert_true(stat("/dev/full", &st) == 0 && S_ISCHR(st.st_mode));
	unlink(link);
	unlink(path);
	free(text);
	free(path);
	free(link);
}

static void test_cache_folders_are_made(void **state)
{
	(void)state;
	setenv("EVENER_CACHE_DIR", folder, 1);
	char *path = evn_cache_path("a/b/name");
	char *expected = evn_format("%s/a/b/name", folder), *b = evn_format("%s/a/b", folder),
		 *a = evn_format("%s/a", folder);
	assert_string_equal(path, expected);
	struct stat st;
	assert_int_equal(stat(b, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0700);
	setenv("EVENER_CACHE_DIR", "/proc/nowhere", 1);
	assert_null(evn_cache_path("name"));
	rmdir(b);
	rmdir(a);
	free(path);
	free(expected);
	free(b);
	free(a);
}

static void count_line(void *user, evn_log_level level, const char *line)
{
	(void)level;
	*(int *)user += strstr(line, "cache folder") != NULL;
}

/* The cache decides which devices are used and what they run, so a folder that others may write to is refused. */
static void test_cache_folders_of_others_are_refused(void **state)
{
	(void)state;
	char *inner = evn_format("%s/inner", folder);
	int n_lines = 0;
	evn_set_log(count_line, &n_lines);
	setenv("EVENER_CACHE_DIR", folder, 1);
	static const mode_t modes[] = {0700, 0755, 0775, 0757, 0777, 01777};
	for (size_t i = 0; i < sizeof modes / sizeof *modes; i++) {
		assert_int_equal(chmod(folder, modes[i]), 0);
		char *path = evn_cache_path("name");
		assert_int_equal(path != NULL, !(modes[i] & 022));
		free(path);
	}
	assert_int_equal(chmod(folder, 0700), 0);
	assert_int_equal(mkdir(inner, 0700), 0);
	assert_int_equal(chmod(inner, 0770), 0);
	assert_null(evn_cache_path("inner/name"));
	assert_int_equal(rmdir(inner), 0);
	assert_int_equal(n_lines, 1);
	evn_set_log(NULL, NULL);
	free(inner);
}

/* Threads log while the caller sets another log function. The thread sanitizer finds a race here. */
static void *ask_often(void *stop)
{
	while (!atomic_load((atomic_bool *)stop))
		evn_log(EVN_LOG_WARN, "one of %d", (int)evn_log_wants(EVN_LOG_ERROR));
	return NULL;
}

static void test_the_log_may_be_set_while_others_write(void **state)
{
	(void)state;
	atomic_bool stop = false;
	int n_lines = 0;
	pthread_t other;
	assert_int_equal(pthread_create(&other, NULL, ask_often, &stop), 0);
	for (int i = 0; i < 2000; i++)
		evn_set_log(i % 2 ? NULL : count_line, &n_lines);
	evn_set_log(NULL, NULL);
	assert_false(evn_log_wants(EVN_LOG_ERROR));
	atomic_store(&stop, true);
	assert_int_equal(pthread_join(other, NULL), 0);
}

/* A child process keeps a processor busy. Until this process has waited for it, it counts as another program. */
static void test_other_programs_are_seen_at_work(void **state)
{
	(void)state;
	evn_cpu_time began = evn_cpu_time_now();
	pid_t child = fork();
	if (child == 0)
		for (;;)
			;
	assert_true(child > 0);
	clockid_t clock; /* measures the child's processor time, because a busy machine gives it little */
	struct timespec used = {0};
	assert_int_equal(clock_getcpuclockid(child, &clock), 0);
	while (used.tv_sec == 0 && used.tv_nsec < 200000000) {
		usleep(10000);
		assert_int_equal(clock_gettime(clock, &used), 0);
	}
	double others = evn_cpu_others(&began);
	kill(child, SIGKILL);
	assert_int_equal(waitpid(child, NULL, 0), child);
	evn_cpu_time ended = evn_cpu_time_now();
	assert_true(others > 0.2);
	assert_true(ended.own_s - began.own_s > 0.08); /* after the wait it counts as ours */
	assert_true(evn_cpu_wanted() >= 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_fail_writes_code_and_text),
		cmocka_unit_test(test_fail_within_puts_a_prefix),
		cmocka_unit_test(test_every_status_has_a_name),
		cmocka_unit_test(test_log_of_a_sum),
		cmocka_unit_test(test_arithmetic_refuses_to_wrap),
		cmocka_unit_test(test_median_is_the_middle),
		cmocka_unit_test(test_hashes_keep_parts_apart),
		cmocka_unit_test(test_files_are_written_whole_and_read_back),
		cmocka_unit_test(test_only_regular_files_are_opened),
		cmocka_unit_test(test_a_source_that_changes_is_noticed),
		cmocka_unit_test(test_a_file_that_cannot_be_written_stays_as_it_was),
		cmocka_unit_test(test_links_and_devices_are_not_replaced),
		cmocka_unit_test(test_cache_folders_are_made),
		cmocka_unit_test(test_cache_folders_of_others_are_refused),
		cmocka_unit_test(test_the_log_may_be_set_while_others_write),
		cmocka_unit_test(test_other_programs_are_seen_at_work),
	};
	return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
