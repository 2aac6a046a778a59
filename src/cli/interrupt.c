/* interrupt.c - see interrupt.h. Handlers use only async-signal-safe calls. */
#include "cli/interrupt.h"
#include "base/child.h"
#include "cli/show/console.h"

#include <signal.h>
#include <time.h>
#include <unistd.h>

static volatile sig_atomic_t stop, grace_ms = 100; /* stop: the signal, or 0 */
static volatile sig_atomic_t answers;              /* SIGINT ends an answer only */
static timer_t deadline;
static bool has_deadline;

static void end_now(int signal_number)
{
	(void)signal_number;
	evn_children_kill();
	console_abandon();
	_exit(EXIT_INTERRUPTED);
}

static void on_interrupt(int signal_number)
{
	if (stop)
		end_now(signal_number);
	stop = signal_number;
	if (has_deadline && interrupted_for_good()) {
		struct itimerspec in = {.it_value = {.tv_sec = grace_ms / 1000, .tv_nsec = grace_ms % 1000 * 1000000}};
		timer_settime(deadline, 0, &in, NULL);
	}
}

void interrupt_start(void)
{
	struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGALRM};
	has_deadline = timer_create(CLOCK_MONOTONIC, &event, &deadline) == 0;
	struct sigaction action = {.sa_handler = end_now, .sa_flags = SA_RESTART}, before;
	sigaction(SIGALRM, &action, NULL);
	action.sa_handler = on_interrupt;
	sigaction(SIGINT, &action, NULL);
	sigaction(SIGTERM, &action, NULL);
	if (sigaction(SIGHUP, NULL, &before) == 0 && before.sa_handler != SIG_IGN) /* nohup */
		sigaction(SIGHUP, &action, NULL);
}

void interrupt_saves(void) { grace_ms = 1500; }

void interrupt_serves(void) { grace_ms = 10000; }

void interrupt_answers(void)
{
	struct sigaction action = {.sa_handler = on_interrupt}, before; /* without SA_RESTART */
	answers = 1;
	grace_ms = 1500;
	sigaction(SIGINT, &action, NULL);
	sigaction(SIGTERM, &action, NULL);
	if (sigaction(SIGHUP, NULL, &before) == 0 && before.sa_handler != SIG_IGN)
		sigaction(SIGHUP, &action, NULL);
}

bool interrupted_for_good(void) { return stop && !(answers && stop == SIGINT); }

bool interrupted(void) { return stop != 0; }

void interrupt_done(void) { stop = 0; }
