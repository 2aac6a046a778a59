/* interrupt.c - see interrupt.h. Handlers use only async-signal-safe calls. */
#include "cli/interrupt.h"
#include "base/child.h"
#include "cli/show/console.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <time.h>
#include <unistd.h>

/* Set by handlers, or by the thread of interrupt_serves. stop: the signal, or 0; answers: SIGINT ends an answer only.
 */
static atomic_int stop, grace_ms = 100, answers;
static sigset_t caught;
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
	if (atomic_exchange(&stop, signal_number))
		end_now(signal_number);
	if (has_deadline && interrupted_for_good()) {
		struct itimerspec in = {.it_value = {.tv_sec = grace_ms / 1000, .tv_nsec = grace_ms % 1000 * 1000000}};
		timer_settime(deadline, 0, &in, NULL);
	}
}

static void set_handlers(int flags)
{
	const struct sigaction action = {.sa_handler = on_interrupt, .sa_flags = flags};
	for (int i = 1; i < NSIG; i++)
		if (sigismember(&caught, i) == 1)
			sigaction(i, &action, NULL);
}

void interrupt_start(void)
{
	struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGALRM};
	has_deadline = timer_create(CLOCK_MONOTONIC, &event, &deadline) == 0;
	struct sigaction action = {.sa_handler = end_now, .sa_flags = SA_RESTART}, before;
	sigaction(SIGALRM, &action, NULL);
	sigemptyset(&caught);
	sigaddset(&caught, SIGINT);
	sigaddset(&caught, SIGTERM);
	if (sigaction(SIGHUP, NULL, &before) == 0 && before.sa_handler != SIG_IGN) /* nohup */
		sigaddset(&caught, SIGHUP);
	set_handlers(SA_RESTART);
}

void interrupt_saves(void) { grace_ms = 1500; }

void interrupt_follows(void) { grace_ms = 10000; }

static void *take_signals(void *unused)
{
	(void)unused;
	for (int signal_number; sigwait(&caught, &signal_number) == 0;)
		on_interrupt(signal_number);
	return NULL;
}

void interrupt_serves(void)
{
	pthread_t thread;
	grace_ms = 60000; /* answers have two seconds; a driver may be compiling a kernel on a busy machine */
	pthread_sigmask(SIG_BLOCK, &caught, NULL);
	if (pthread_create(&thread, NULL, take_signals, NULL) == 0)
		pthread_detach(thread);
	else
		pthread_sigmask(SIG_UNBLOCK, &caught, NULL);
}

void interrupt_answers(void)
{
	answers = 1;
	grace_ms = 1500;
	set_handlers(0); /* without SA_RESTART */
}

bool interrupted_for_good(void) { return stop && !(answers && stop == SIGINT); }

bool interrupted(void) { return stop != 0; }

void interrupt_done(void) { stop = 0; }
