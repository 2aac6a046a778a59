/* interrupt.c - see interrupt.h. Handlers use only async-signal-safe calls. */
#include "cli/interrupt.h"

#include <signal.h>
#include <time.h>
#include <unistd.h>

static volatile sig_atomic_t stop;
static timer_t deadline;
static bool has_deadline;

static void on_interrupt(int signal_number)
{
	(void)signal_number;
	if (stop)
		_exit(EXIT_INTERRUPTED);
	stop = 1;
	if (has_deadline) {
		struct itimerspec in = {.it_value = {.tv_sec = 1, .tv_nsec = 500000000}};
		timer_settime(deadline, 0, &in, NULL);
	}
}

static void on_deadline(int signal_number)
{
	(void)signal_number;
	_exit(EXIT_INTERRUPTED);
}

void interrupt_start(void)
{
	struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGALRM};
	has_deadline = timer_create(CLOCK_MONOTONIC, &event, &deadline) == 0;
	struct sigaction action = {.sa_handler = on_deadline, .sa_flags = SA_RESTART};
	sigaction(SIGALRM, &action, NULL);
	action.sa_handler = on_interrupt;
	sigaction(SIGINT, &action, NULL);
	sigaction(SIGTERM, &action, NULL);
}

bool interrupted(void) { return stop != 0; }
