/* test_console.c - what stderr shows: each warning once, separate lines beside a result, and progress at a readable
 * rate. */
#include "base/base.h"
#include "cli/show/console.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

/* Puts other files in the place of stdout and stderr, and back. */
typedef struct {
	int out, err;
} streams;

static streams redirect(int out, int err)
{
	fflush(stdout);
	streams before = {dup(STDOUT_FILENO), dup(STDERR_FILENO)};
	dup2(out, STDOUT_FILENO);
	dup2(err, STDERR_FILENO);
	return before;
}

static void restore(streams before)
{
	fflush(stdout);
	dup2(before.out, STDOUT_FILENO);
	dup2(before.err, STDERR_FILENO);
	close(before.out);
	close(before.err);
}

static int scratch_file(void)
{
	FILE *f = tmpfile();
	assert_non_null(f);
	int fd = dup(fileno(f));
	fclose(f);
	return fd;
}

/* The text of a file, up to a limit. */
static const char *text_of(int fd)
{
	static char text[65536];
	ssize_t n = pread(fd, text, sizeof text - 1, 0);
	assert_true(n >= 0);
	text[n] = '\0';
	return text;
}

static void a_warning_comes_once(void **state)
{
	(void)state;
	int fd = scratch_file();
	streams before = redirect(fd, fd);
	console_start(true);
	for (int i = 0; i < 3; i++) {
		evn_log(EVN_LOG_WARN, "context %d is long", 7);
		evn_log(EVN_LOG_WARN, "context %d is long", i);
	}
	restore(before);
	assert_string_equal(text_of(fd), "evener: warning: context 7 is long\nevener: warning: context 0 is long\n"
									 "evener: warning: context 1 is long\nevener: warning: context 2 is long\n");
	close(fd);
}

static void print_and_note(const char *text)
{
	printf("%s", text);
	fflush(stdout);
	console_printed(text);
	console_note("done");
}

static void a_note_does_not_continue_the_text(void **state)
{
	(void)state;
	int fd = scratch_file(), other = scratch_file();
	streams before = redirect(fd, fd);
	console_start(false);
	print_and_note("one");
	print_and_note("two\n");
	restore(before);
	assert_string_equal(text_of(fd), "one\nevener: done\ntwo\nevener: done\n");
	close(fd);
	fd = scratch_file();
	before = redirect(fd, other);
	console_start(false);
	print_and_note("one");
	restore(before);
	assert_string_equal(text_of(fd), "one");
	assert_string_equal(text_of(other), "evener: done\n");
	console_printed("\n");
	close(fd);
	close(other);
}

static void pause_ms(long ms) { nanosleep(&(struct timespec){ms / 1000, ms % 1000 * 1000000}, NULL); }

static void lines_without_a_terminal(void **state)
{
	(void)state;
	int fd = scratch_file();
	streams before = redirect(fd, fd);
	console_start(false);
	console_progress(NULL, "prompt", 5, 10);
	console_progress(NULL, "prompt", 10, 10); /* done soon, so nothing is drawn */
	console_progress(NULL, "loading", 0, 100);
	pause_ms(2100);
	for (uint64_t i = 35; i <= 50; i++)
		console_progress(NULL, "loading", i, 100);
	console_progress_end();
	restore(before);
	assert_string_equal(text_of(fd), "evener: loading 30 %\nevener: loading 40 %\nevener: loading 50 %\n");
	close(fd);
}

static size_t count(const char *text, const char *part)
{
	size_t n = 0;
	for (; (text = strstr(text, part)); text += strlen(part))
		n++;
	return n;
}

/* Half a second of progress that is reported every two milliseconds, on a terminal. */
static void ten_draws_a_second(void **state)
{
	(void)state;
	int terminal = posix_openpt(O_RDWR | O_NOCTTY);
	if (terminal < 0 || grantpt(terminal) != 0 || unlockpt(terminal) != 0)
		skip();
	int shown = open(ptsname(terminal), O_RDWR | O_NOCTTY);
	assert_true(shown >= 0);
	setenv("TERM", "xterm", 1);
	streams before = redirect(STDOUT_FILENO, shown);
	console_start(false);
	console_progress(NULL, "training", 1, 1000);
	pause_ms(2100);
	for (uint64_t i = 2; i < 252; i++) {
		console_progress(NULL, "training", i, 1000);
		pause_ms(2);
	}
	console_progress_end();
	restore(before);
	char text[65536];
	ssize_t n = read(terminal, text, sizeof text - 1);
	assert_true(n > 0);
	text[n] = '\0';
	size_t draws = count(text, "\r\033[Ktraining");
	assert_true(draws >= 2);
	assert_true(draws <= 40); /* a busy machine may take four seconds for it */
	close(shown);
	close(terminal);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_warning_comes_once),
		cmocka_unit_test(a_note_does_not_continue_the_text),
		cmocka_unit_test(lines_without_a_terminal),
		cmocka_unit_test(ten_draws_a_second),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
