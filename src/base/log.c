/* log.c - log messages for the caller's function, the debug variables, and the clock. */
#include "base/base.h"

#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static evn_log_fn log_fn;
static void *log_user;
static atomic_bool has_log;                                  /* log_fn is not NULL: known without the lock */
static pthread_mutex_t log_lock = PTHREAD_MUTEX_INITIALIZER; /* rank threads log too */
static pthread_once_t env_once = PTHREAD_ONCE_INIT;
static evn_env env;

static void read_env(void)
{
	static const char *const levels[] = {"error", "warn", "info", "debug"};
	env.log_level = EVN_LOG_WARN;
	const char *level = getenv("EVENER_LOG");
	for (size_t i = 0; level && i < sizeof levels / sizeof *levels; i++)
		if (!strcmp(level, levels[i]))
			env.log_level = (evn_log_level)i;
	const char *debug = getenv("EVENER_DEBUG");
	env.debug_sync = debug && !strcmp(debug, "sync");
	env.kernel_dir = getenv("EVENER_KERNEL_DIR");
}

const evn_env *evn_env_get(void)
{
	pthread_once(&env_once, read_env);
	return &env;
}

void evn_set_log(evn_log_fn fn, void *user)
{
	pthread_mutex_lock(&log_lock);
	log_fn = fn;
	log_user = user;
	atomic_store(&has_log, fn != NULL);
	pthread_mutex_unlock(&log_lock);
}

bool evn_log_wants(evn_log_level level) { return atomic_load(&has_log) && level <= evn_env_get()->log_level; }

void evn_log(evn_log_level level, const char *fmt, ...)
{
	if (!evn_log_wants(level))
		return;
	char line[2048];
	va_list args;
	va_start(args, fmt);
	vsnprintf(line, sizeof line, fmt, args);
	va_end(args);
	pthread_mutex_lock(&log_lock);
	if (log_fn)
		log_fn(log_user, level, line);
	pthread_mutex_unlock(&log_lock);
}

void evn_log_took(uint64_t since_ns, const char *fmt, ...)
{
	char what[256];
	va_list args;
	va_start(args, fmt);
	vsnprintf(what, sizeof what, fmt, args);
	va_end(args);
	evn_log(EVN_LOG_INFO, "%s in %.3f s", what, (double)(evn_now_ns() - since_ns) * 1e-9);
}

uint64_t evn_now_ns(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

double evn_now_s(void) { return (double)evn_now_ns() * 1e-9; }
