/* child.c - runs child processes at the same time under one deadline. Drivers that crash or hang do so there. */
#include "base/child.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define PATIENCE_MS 100 /* between two calls of go_on */
#define OUTPUT_LIMIT ((size_t)64 << 10)
#define PROGRAM "evener-probe"

typedef struct {
	evn_child *child;
	pid_t pid;
	int fd; /* -1 after the end of its output */
	size_t size;
} running;

/* ---- finding the probe program ------------------------------------------------------------------------------- */

static char *program_beside(const char *file)
{
	static const char *const places[] = {"", "/../libexec/evener", "/../../libexec/evener"};
	char *copy = evn_strdup(file);
	char *found = NULL;
	for (size_t i = 0; copy && i < sizeof places / sizeof *places && !found; i++) {
		if (i == 0)
			dirname(copy);
		found = evn_format("%s%s/" PROGRAM, copy, places[i]);
		if (found && access(found, X_OK) != 0) {
			free(found);
			found = NULL;
		}
	}
	free(copy);
	return found;
}

static char *program_on_path(void)
{
	const char *path = getenv("PATH");
	char *found = NULL;
	while (path && *path && !found) {
		size_t len = strcspn(path, ":");
		found = len ? evn_format("%.*s/" PROGRAM, (int)len, path) : NULL;
		if (found && access(found, X_OK) != 0) {
			free(found);
			found = NULL;
		}
		path += len + (path[len] == ':');
	}
	return found;
}

char *evn_find_probe(void)
{
	Dl_info here;
	char self[4096], *found = NULL;
	static const char anchor = 0; /* an address inside this library */
	if (dladdr(&anchor, &here) && here.dli_fname && strchr(here.dli_fname, '/'))
		found = program_beside(here.dli_fname);
	ssize_t len = found ? -1 : readlink("/proc/self/exe", self, sizeof self - 1);
	if (len > 0) {
		self[len] = '\0';
		found = program_beside(self);
	}
	return found ? found : program_on_path();
}

/* ---- all that run --------------------------------------------------------------------------------------------- */

/* 0: a free entry. If there are more children, the rest are not killed with this process. */
static atomic_int pids[64];

static void enter(pid_t pid)
{
	for (size_t i = 0; i < sizeof pids / sizeof *pids; i++)
		if (atomic_compare_exchange_strong(&pids[i], &(int){0}, pid))
			return;
}

static void leave(pid_t pid)
{
	for (size_t i = 0; i < sizeof pids / sizeof *pids; i++)
		atomic_compare_exchange_strong(&pids[i], &(int){pid}, 0);
}

void evn_children_kill(void)
{
	for (size_t i = 0; i < sizeof pids / sizeof *pids; i++) {
		int pid = atomic_exchange(&pids[i], 0);
		if (pid > 0 && kill(-pid, SIGKILL) == 0)
			waitpid(pid, NULL, 0);
	}
}

/* ---- starting ------------------------------------------------------------------------------------------------ */

static bool starts_with(const char *s, const char *prefix) { return !strncmp(s, prefix, strlen(prefix)); }

/* A child with drivers of its own judges them, and does so without OpenCL layers (fault injection, tracing). Other
 * children measure the devices that this process sees. */
static char **child_environment(char *vendors)
{
	static const char *const dropped[] = {"OCL_ICD_VENDORS=", "OCL_ICD_FILENAMES=", "OPENCL_LAYERS="};
	size_t n = 0, kept = 0;
	while (environ[n])
		n++;
	char **env = calloc(n + 2, sizeof *env);
	for (size_t i = 0; env && i < n; i++) {
		bool drop = false;
		for (size_t d = 0; vendors && d < sizeof dropped / sizeof *dropped; d++)
			drop |= starts_with(environ[i], dropped[d]);
		if (!drop)
			env[kept++] = environ[i];
	}
	if (env)
		env[kept] = vendors;
	return env;
}

static bool set_attributes(posix_spawnattr_t *attributes)
{
	sigset_t none, all;
	sigemptyset(&none);
	sigfillset(&all);
	return posix_spawnattr_setpgroup(attributes, 0) == 0 && posix_spawnattr_setsigmask(attributes, &none) == 0 &&
		   posix_spawnattr_setsigdefault(attributes, &all) == 0 &&
		   posix_spawnattr_setflags(attributes,
									POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF) == 0;
}

/* lock_file: the file of the time-slice lock that the child inherits; -1: none. */
static int spawn(running *r, int output, int lock_file, char **env)
{
	posix_spawn_file_actions_t actions;
	posix_spawnattr_t attributes;
	int code = posix_spawn_file_actions_init(&actions);
	if (code != 0)
		return code;
	code = posix_spawnattr_init(&attributes);
	if (code == 0) {
		code = set_attributes(&attributes) ? 0 : EINVAL;
		if (code == 0)
			code = posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
		if (code == 0)
			code = posix_spawn_file_actions_adddup2(&actions, output, 1);
		if (code == 0 && lock_file >= 0)
			code = posix_spawn_file_actions_adddup2(&actions, lock_file, EVN_TIMESLICE_FD);
		if (code == 0 && !evn_log_wants(EVN_LOG_DEBUG))
			code = posix_spawn_file_actions_addopen(&actions, 2, "/dev/null", O_WRONLY, 0);
		if (code == 0)
			code = posix_spawnp(&r->pid, r->child->argv[0], &actions, &attributes,
								(char *const *)(uintptr_t)r->child->argv, env);
		posix_spawnattr_destroy(&attributes);
	}
	posix_spawn_file_actions_destroy(&actions);
	return code;
}

static bool start(running *r, int lock_file)
{
	int ends[2] = {-1, -1};
	char *vendors = r->child->vendors ? evn_format("OCL_ICD_VENDORS=%s", r->child->vendors) : NULL;
	char **env = child_environment(vendors);
	r->child->output = calloc(1, OUTPUT_LIMIT + 1);
	int code = !env || !r->child->output ? ENOMEM : r->child->time_sliced && lock_file < 0 ? EMFILE : 0;
	if (code == 0 && pipe2(ends, O_CLOEXEC) != 0)
		code = errno;
	if (code == 0)
		code = spawn(r, ends[1], r->child->time_sliced ? lock_file : -1, env);
	if (ends[1] >= 0)
		close(ends[1]);
	if (code != 0) {
		evn_log(EVN_LOG_WARN, "%s could not be started: %s", r->child->argv[0], strerror(code));
		if (ends[0] >= 0)
			close(ends[0]);
		ends[0] = -1;
	}
	if (code == 0)
		enter(r->pid);
	r->fd = ends[0];
	free(env);
	free(vendors);
	return code == 0;
}

/* ---- reading and ending -------------------------------------------------------------------------------------- */

static void end_output(running *r)
{
	close(r->fd);
	r->fd = -1;
}

/* Output over the limit is read and dropped, so that the child does not block. */
static void read_some(running *r)
{
	char spill[4096];
	size_t room = OUTPUT_LIMIT - r->size;
	ssize_t n = read(r->fd, room ? r->child->output + r->size : spill, room ? room : sizeof spill);
	if (n > 0 && room)
		r->size += (size_t)n;
	else if (n == 0 || (n < 0 && errno != EINTR && errno != EAGAIN))
		end_output(r);
}

static int milliseconds_to(uint64_t deadline)
{
	uint64_t now = evn_now_ns();
	return now >= deadline ? 0 : (int)((deadline - now) / 1000000 + 1);
}

/* Returns when all children have ended, at the deadline, or when the caller asks to stop. */
static void read_all(running *all, size_t n, struct pollfd *polled, uint64_t deadline, const evn_patience *p)
{
	while (!p || p->go_on(p->user)) {
		size_t open = 0;
		for (size_t i = 0; i < n; i++) {
			polled[i] = (struct pollfd){.fd = all[i].fd, .events = POLLIN};
			open += all[i].fd >= 0;
		}
		int wait_ms = milliseconds_to(deadline);
		if (!open || !wait_ms)
			return;
		if (p && wait_ms > PATIENCE_MS)
			wait_ms = PATIENCE_MS;
		if (poll(polled, (nfds_t)n, wait_ms) < 0 && errno != EINTR)
			return;
		for (size_t i = 0; i < n; i++)
			if (all[i].fd >= 0 && polled[i].revents)
				read_some(&all[i]);
	}
}

/* Does not wait for the child: until somebody does, the system gives its number to no other process. */
static bool has_ended(const running *r)
{
	siginfo_t info = {0};
	return waitid(P_PID, (id_t)r->pid, &info, WEXITED | WNOHANG | WNOWAIT) == 0 && info.si_pid == r->pid;
}

/* A child may close its output and continue to run. Its group is always killed, so nothing that it started remains.
 * The group is killed before the child is waited for: after that another group may have its number. */
static void reap(running *r, uint64_t deadline, const evn_patience *p)
{
	bool ended;
	while (!(ended = has_ended(r)) && milliseconds_to(deadline) && (!p || p->go_on(p->user)))
		nanosleep(&(struct timespec){.tv_nsec = 2000000}, NULL);
	r->child->timed_out = !ended;
	kill(-r->pid, SIGKILL);
	leave(r->pid);
	while (waitpid(r->pid, &r->child->status, 0) < 0 && errno == EINTR)
		;
	if (r->fd >= 0)
		end_output(r);
}

void evn_children_run(evn_child *children, size_t n, uint64_t limit_ns, const evn_patience *p)
{
	running *all = calloc(n ? n : 1, sizeof *all);
	struct pollfd *polled = calloc(n ? n : 1, sizeof *polled);
	uint64_t deadline = evn_now_ns() + limit_ns;
	int lock_file = memfd_create("timeslice", MFD_CLOEXEC);
	for (size_t i = 0; all && polled && i < n; i++) {
		all[i] = (running){.child = &children[i], .fd = -1};
		children[i].started = children[i].argv[0] && start(&all[i], lock_file);
	}
	if (lock_file >= 0)
		close(lock_file);
	if (all && polled)
		read_all(all, n, polled, deadline, p);
	for (size_t i = 0; all && polled && i < n; i++)
		if (children[i].started)
			reap(&all[i], deadline, p);
	free(all);
	free(polled);
}
