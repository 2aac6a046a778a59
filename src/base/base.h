/* base.h - what every layer needs: failing with one clear line, the log, checked arithmetic, files, the clock. */
#ifndef EVN_BASE_H
#define EVN_BASE_H

#include "evener.h"

#if defined(__GNUC__)
#define EVN_PRINTF(fmt, args) __attribute__((format(printf, fmt, args)))
#else
#define EVN_PRINTF(fmt, args)
#endif

/* Writes code and text to err (may be NULL) and returns the code, so that a failure is one line. */
evn_status evn_fail(evn_error *err, evn_status code, const char *fmt, ...) EVN_PRINTF(3, 4);
/* Out of host memory while allocating `bytes` (0: unknown) for `what`. */
evn_status evn_fail_memory(evn_error *err, const char *what, uint64_t bytes);
/* Puts "text: " before the message that err already holds; returns its code. */
evn_status evn_fail_within(evn_error *err, const char *fmt, ...) EVN_PRINTF(2, 3);

#define EVN_TRY(call)                                                                                                \
	do {                                                                                                             \
		evn_status try_status_ = (call);                                                                             \
		if (try_status_ != EVN_OK)                                                                                   \
			return try_status_;                                                                                      \
	} while (0)

void evn_log(evn_log_level level, const char *fmt, ...) EVN_PRINTF(2, 3);
bool evn_log_wants(evn_log_level level);
/* Logs, at level info, what was done and how long it took since since_ns (a value of evn_now_ns). The steps of a
 * start are logged like this. */
void evn_log_took(uint64_t since_ns, const char *fmt, ...) EVN_PRINTF(2, 3);

/* EVENER_* variables, read once. */
typedef struct {
	evn_log_level log_level;
	bool debug_sync;        /* EVENER_DEBUG=sync */
	const char *kernel_dir; /* EVENER_KERNEL_DIR or NULL */
} evn_env;
const evn_env *evn_env_get(void);

/* Return false on overflow and leave *out as it is. */
bool evn_mul_u64(uint64_t a, uint64_t b, uint64_t *out);
bool evn_add_u64(uint64_t a, uint64_t b, uint64_t *out);
static inline uint64_t evn_round_up(uint64_t n, uint64_t multiple)
{
	return (n + multiple - 1) / multiple * multiple;
}

/* Like strdup. NULL when out of memory. */
char *evn_strdup(const char *s);
char *evn_format(const char *fmt, ...) EVN_PRINTF(1, 2); /* malloc'd */

/* The median of n > 0 values. If n is even, the upper of the two in the middle. Sorts the values. */
double evn_median(double *values, size_t n);
/* The logarithm of the sum of exp(x[i]), n > 0. */
double evn_log_sum_exp(const float *x, size_t n);

uint64_t evn_now_ns(void); /* monotonic */
double evn_now_s(void);    /* the same clock in seconds */

/* Processor time in core-seconds: of the whole machine, and of this process and the children it has waited for. */
typedef struct {
	double busy_s, own_s;
	uint64_t at_ns;
} evn_cpu_time;
evn_cpu_time evn_cpu_time_now(void);
/* The mean number of cores that other programs kept busy since then. 0 if the system does not say. */
double evn_cpu_others(const evn_cpu_time *since);
/* The number of other threads on this machine that run or are ready to run now, the mean over 40 ms. 0 if the system
 * does not say. */
double evn_cpu_wanted(void);

/* An open regular file that is not empty. It is read, never mapped: if another program cuts a mapped file short, the
 * process ends (SIGBUS), and a map shows everything that others write to the file. Thread-safe. */
typedef struct evn_source evn_source;
evn_status evn_source_open(evn_source **out, const char *path, evn_error *err);
void evn_source_close(evn_source *s);
uint64_t evn_source_size(const evn_source *s); /* when it was opened */
/* Copies n bytes from `offset` on. EVN_ERR_FILE, with the file's name, if the file has changed since it was opened.
 * Removing or replacing the file does no harm. */
evn_status evn_source_read(const evn_source *s, uint64_t offset, void *to, size_t n, evn_error *err);

/* Reads a whole file of at most `limit` bytes. *out is malloc'd and has a NUL after the end, which *size does not
 * count. */
evn_status evn_read_file(char **out, size_t *size, const char *path, size_t limit, evn_error *err);
/* A file that is written beside its target and takes its place when it is complete, so readers see the old file or
 * the new one, never a part. A link stays a link. */
typedef struct evn_new_file evn_new_file;
evn_status evn_new_file_open(evn_new_file **out, const char *path, evn_error *err);
void evn_new_file_write(evn_new_file *f, const void *data, size_t size); /* close tells of failures */
/* keep: it takes the target's place; otherwise it is removed. */
evn_status evn_new_file_close(evn_new_file *f, bool keep, evn_error *err);
/* The same for a whole file. A pipe or a device is written directly. */
evn_status evn_write_file(const char *path, const void *data, size_t size, evn_error *err);
/* The path of `name` in the cache folder: $EVENER_CACHE_DIR, else $XDG_CACHE_HOME/evener, else ~/.cache/evener. Makes
 * the folders, with mode 0700. malloc'd. NULL if no folder can be made, or if other users may write to it, which the
 * log says once; then nothing is cached. */
char *evn_cache_path(const char *name);

/* FNV-1a with 64 bits. Start with EVN_HASH_START and pass each result to the next call. For cache keys; it does not
 * resist attackers. */
#define EVN_HASH_START 0xcbf29ce484222325u
uint64_t evn_hash(uint64_t h, const void *data, size_t size);
uint64_t evn_hash_str(uint64_t h, const char *s); /* includes the terminating NUL, so "ab","c" != "a","bc" */

/* Random numbers. The same seed gives the same numbers on every machine. Any state is a valid seed. */
typedef struct {
	uint64_t state;
} evn_random;
uint64_t evn_random_bits(evn_random *r);
double evn_random_uniform(evn_random *r);             /* [0, 1) */
double evn_random_normal(evn_random *r);              /* mean 0, deviation 1 */
uint32_t evn_random_below(evn_random *r, uint32_t n); /* 0 to n - 1 */
/* Draws n token ids by seed. They do not come from the numbers that a model with this seed has as weights. */
void evn_random_ids(uint64_t seed, uint32_t vocab, int32_t *ids, size_t n);

#endif
