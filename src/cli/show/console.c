/* console.c - see console.h. Ranks may log from their own threads, so there is a lock. */
#include "cli/show/console.h"
#include "cli/interrupt.h"
#include "cli/show/text.h"

#include <errno.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define SHOW_AFTER_S 2.0 /* shorter work shows nothing */
#define JUDGE_AFTER_S                                                                                                \
	0.3 /* after this time the remaining time can be estimated well enough to show the bar early                     \
		 */
#define REDRAW_S 0.1
#define BAR_WIDTH 24

static struct {
	pthread_mutex_t lock;
	bool quiet, terminal, color;
	char what[64], note[128];
	double began_s, drawn_s;
	uint64_t done;
	int tenths; /* the steps of 10 % that were already printed, without a terminal */
	bool on_screen;
	char drawn[256];      /* what is on the screen */
	bool unfinished_line; /* on stdout */
	uint64_t warned[16];  /* hashes of the warnings so far */
	size_t n_warned;
} console = {.lock = PTHREAD_MUTEX_INITIALIZER};

static void clear_bar(void)
{
	if (console.on_screen)
		fputs("\r\033[K", stderr);
	console.on_screen = false;
	console.drawn[0] = 0;
}

static void draw(const char *text)
{
	if (strcmp(text, console.drawn) == 0)
		return;
	snprintf(console.drawn, sizeof console.drawn, "%s", text);
	fprintf(stderr, "\r\033[K%s", text);
	console.on_screen = true;
}

static bool same_place(int a, int b)
{
	struct stat x, y;
	return fstat(a, &x) == 0 && fstat(b, &y) == 0 && x.st_dev == y.st_dev && x.st_ino == y.st_ino;
}

static void finish_line(void)
{
	if (console.unfinished_line && same_place(STDOUT_FILENO, STDERR_FILENO)) {
		fputc('\n', stderr);
		console.unfinished_line = false;
	}
}

void console_printed(const char *text)
{
	pthread_mutex_lock(&console.lock);
	if (*text)
		console.unfinished_line = text[strlen(text) - 1] != '\n';
	pthread_mutex_unlock(&console.lock);
}

evn_status console_check_output(evn_error *err)
{
	errno = 0;
	if (fflush(stdout) == 0 && !ferror(stdout))
		return EVN_OK;
	return evn_fail(err, EVN_ERR_FILE, "standard output: %s", errno ? strerror(errno) : "cannot be written");
}

void console_print_end(void)
{
	pthread_mutex_lock(&console.lock);
	if (console.unfinished_line && isatty(STDOUT_FILENO)) {
		putchar('\n');
		fflush(stdout);
		console.unfinished_line = false;
	}
	pthread_mutex_unlock(&console.lock);
}

static void write_line(const char *kind, const char *text)
{
	char line[2048];
	snprintf(line, sizeof line, "%s%s", kind, text);
	text_printable(line);
	pthread_mutex_lock(&console.lock);
	clear_bar();
	finish_line();
	fprintf(stderr, "evener: %s\n", line);
	pthread_mutex_unlock(&console.lock);
}

/* Several engines of one command would give the same warning. */
static bool is_new_warning(const char *line)
{
	uint64_t hash = evn_hash_str(EVN_HASH_START, line);
	bool known = false;
	pthread_mutex_lock(&console.lock);
	for (size_t i = 0; i < console.n_warned; i++)
		known |= console.warned[i] == hash;
	if (!known && console.n_warned < sizeof console.warned / sizeof *console.warned)
		console.warned[console.n_warned++] = hash;
	pthread_mutex_unlock(&console.lock);
	return !known;
}

static void write_log_line(void *user, evn_log_level level, const char *line)
{
	static const char *const kinds[] = {"error: ", "warning: ", "", "debug: "};
	(void)user;
	if (interrupted())
		return; /* what fails now fails because of that */
	if (level != EVN_LOG_WARN || is_new_warning(line))
		write_line(kinds[level], line);
}

void console_start(bool quiet)
{
	const char *term = getenv("TERM"), *no_color = getenv("NO_COLOR");
	console.quiet = quiet;
	console.terminal = isatty(STDERR_FILENO) && term && strcmp(term, "dumb") != 0;
	console.color = !(no_color && *no_color);
	evn_set_log(write_log_line, NULL);
}

void console_error(const char *text) { write_line("", text); }

void console_note(const char *fmt, ...)
{
	if (console.quiet)
		return;
	char text[1024];
	va_list args;
	va_start(args, fmt);
	vsnprintf(text, sizeof text, fmt, args);
	va_end(args);
	write_line("", text);
}

/* Writes 12345678 as "12.3 M". */
static void short_count(double n, char *buffer, size_t size)
{
	static const char *const units[] = {"", " k", " M", " G"};
	size_t unit = 0;
	for (; n >= 1000 && unit < 3; unit++)
		n /= 1000;
	snprintf(buffer, size, n >= 100 || unit == 0 ? "%.0f%s" : "%.1f%s", n, units[unit]);
}

static void draw_progress_bar(double fraction, double rate, double left_s)
{
	char bar[BAR_WIDTH + 1], pace[32], text[sizeof console.drawn];
	int full = (int)(fraction * BAR_WIDTH);
	memset(bar, '=', (size_t)full);
	memset(bar + full, ' ', (size_t)(BAR_WIDTH - full));
	bar[BAR_WIDTH] = 0;
	short_count(rate, pace, sizeof pace);
	snprintf(text, sizeof text, "%s [%s%s%s] %3.0f %%  %s%s  %.0f s left", console.what,
			 console.color ? "\033[32m" : "", bar, console.color ? "\033[0m" : "", 100 * fraction,
			 *console.note ? console.note : pace, *console.note ? "" : "/s", left_s);
	draw(text);
}

/* How much there is to do is not known. */
static void draw_count(uint64_t done, double rate, double elapsed_s)
{
	char count[32], pace[32], text[sizeof console.drawn];
	short_count((double)done, count, sizeof count);
	short_count(rate, pace, sizeof pace);
	if (done)
		snprintf(text, sizeof text, "%s: %s (%s/s)", console.what, count, pace);
	else
		snprintf(text, sizeof text, "%s: %.0f s", console.what, elapsed_s);
	draw(text);
}

/* Without a terminal: a line for each 10 %. Work that was at its end when it was first heard of is not mentioned. */
static void print_progress(double fraction)
{
	int tenths = (int)(fraction * 10);
	if (tenths <= console.tenths || (tenths >= 10 && console.tenths == 0))
		return;
	console.tenths = tenths;
	finish_line();
	fprintf(stderr, "evener: %s %d %%%s%s\n", console.what, 10 * tenths, *console.note ? "  " : "", console.note);
}

static void show_progress(uint64_t done, uint64_t total)
{
	double now = evn_now_s(), elapsed = now - console.began_s;
	double rate = elapsed > 0 ? (double)done / elapsed : 0;
	double fraction = total ? (double)done / (double)total : 0;
	double left = rate > 0 && total > done ? (double)(total - done) / rate : 0;
	/* an early bar can be taken back, a line cannot */
	bool foreseen = console.terminal && elapsed >= JUDGE_AFTER_S && elapsed + left > SHOW_AFTER_S;
	if (elapsed < SHOW_AFTER_S && !foreseen && !console.on_screen)
		return;
	if (console.terminal && now - console.drawn_s >= REDRAW_S) {
		console.drawn_s = now;
		if (total)
			draw_progress_bar(fraction > 1 ? 1 : fraction, rate, left);
		else
			draw_count(done, rate, elapsed);
	} else if (!console.terminal && total) {
		print_progress(fraction);
	}
}

bool console_progress(void *user, const char *what, uint64_t done, uint64_t total)
{
	(void)user;
	if (console.quiet)
		return !interrupted();
	pthread_mutex_lock(&console.lock);
	if (done < console.done || strncmp(console.what, what, sizeof console.what - 1) != 0 || console.began_s == 0.0) {
		snprintf(console.what, sizeof console.what, "%s", what);
		text_printable(console.what);
		clear_bar();
		console.began_s = evn_now_s();
		console.tenths = 0;
	}
	console.done = done;
	show_progress(done, total);
	if (total && done >= total) {
		clear_bar();
		console.began_s = 0;
	}
	pthread_mutex_unlock(&console.lock);
	return !interrupted();
}

void console_progress_note(const char *fmt, ...)
{
	va_list args;
	va_start(args, fmt);
	pthread_mutex_lock(&console.lock);
	vsnprintf(console.note, sizeof console.note, fmt, args);
	pthread_mutex_unlock(&console.lock);
	va_end(args);
}

void console_progress_end(void)
{
	pthread_mutex_lock(&console.lock);
	console.note[0] = 0;
	clear_bar();
	console.began_s = 0;
	pthread_mutex_unlock(&console.lock);
}

void console_abandon(void)
{
	static const char clear[] = "\r\033[K";
	if (console.on_screen && write(STDERR_FILENO, clear, sizeof clear - 1) < 0)
		return; /* there is nobody to tell */
}
