/* test_torture.c - one call or one allocation fails in opening a model, writing a text with a share that moves, and
 * closing: the text is right all the same, or there is an error of one line. Nothing hangs, nothing leaks (with
 * AddressSanitizer). Then everything works again.
 *   test_torture                          some of the calls and allocations
 *   test_torture all                      each one
 *   test_torture [all] calls|allocations  of one kind
 *   test_torture calls|allocations N      number N alone */
#include "base/base.h"
#include "engine/harness.h"
#include "engine/move.h"

#include <dlfcn.h>

#define CALL_LAYER EVN_BINARY_DIR "/tests/call_layer.so"

enum { N_PROMPT = 5, N_TOKENS = 8, CONTEXT = 64, SOME = 40, SECONDS = 240 };

/* ---- what fails ------------------------------------------------------------------------------------------------ */

void *__real_malloc(size_t size);
void *__real_calloc(size_t n, size_t size);
void *__real_realloc(void *old, size_t size);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_realloc(void *old, size_t size);

static unsigned long n_allocations, refused_allocation = -1ul;

static bool is_refused(void) { return __atomic_fetch_add(&n_allocations, 1, __ATOMIC_SEQ_CST) == refused_allocation; }

/* The linker sends the allocations of this project's files here, and no library's. */
void *__wrap_malloc(size_t size) { return is_refused() ? NULL : __real_malloc(size); }
void *__wrap_calloc(size_t n, size_t size) { return is_refused() ? NULL : __real_calloc(n, size); }
void *__wrap_realloc(void *old, size_t size) { return is_refused() ? NULL : __real_realloc(old, size); }

static void *of_layer(const char *name)
{
	void *layer = dlopen(CALL_LAYER, RTLD_NOW | RTLD_NOLOAD);
	if (!layer) /* the loader loads it with the first call */
		return NULL;
	dlclose(layer);
	return dlsym(layer, name);
}

typedef struct {
	const char *name;
	unsigned long *(*count)(void), *(*refused)(void);
} failing;

static unsigned long *calls(void) { return of_layer("call_count"); }
static unsigned long *refused_call(void) { return of_layer("call_refused"); }
static unsigned long *allocations(void) { return &n_allocations; }
static unsigned long *refused_alloc(void) { return &refused_allocation; }

static const failing calls_fail = {"calls", calls, refused_call},
					 allocations_fail = {"allocations", allocations, refused_alloc};

/* ---- what is tried --------------------------------------------------------------------------------------------- */

static bool every_one;
static const char *only;
static unsigned long only_at;
static char model_file[512];
static int32_t expected[N_TOKENS];
static uint32_t n_recovered, n_errors;

/* Every block gets another part. A rank may be lost meanwhile. */
static evn_status move(evn_engine *e, evn_error *err)
{
	const double shares[] = {0.3, 0.7};
	const uint64_t memory[] = {UINT64_MAX, UINT64_MAX};
	evn_split to;
	if (e->n_ranks != 2)
		return EVN_OK;
	EVN_TRY(evn_split_make(&to, &e->prepared.shape, 2, shares, shares, memory, err));
	evn_status s = EVN_OK;
	for (uint32_t i = 0; s == EVN_OK && i < evn_n_movable(e); i++)
		s = evn_engine_move(e, &to, i, err);
	evn_split_free(&to);
	return s;
}

static evn_status write_text(evn_engine *e, uint32_t vocab, int32_t *ids, evn_error *err)
{
	static const int32_t prompt[N_PROMPT] = {1, 7, 3, 12, 5};
	evn_session *session;
	EVN_TRY(evn_session_create(&session, e, err));
	evn_status s = EVN_OK;
	for (int i = 0; s == EVN_OK && i < N_TOKENS; i++) {
		s = i == 4 ? move(e, err) : EVN_OK;
		if (s == EVN_OK)
			s = i ? evn_session_eval(session, &ids[i - 1], 1, NULL, err)
				  : evn_session_eval(session, prompt, N_PROMPT, NULL, err);
		if (s == EVN_OK)
			ids[i] = likeliest(evn_session_logits(session), vocab);
	}
	evn_session_free(session);
	return s;
}

static evn_status open_and_write(int32_t *ids, evn_error *err)
{
	static const double shares[] = {5, 3};
	const engine_setup setup = {
		.devices = "pocl/1+1", .shares = shares, .n_shares = 2, .context = CONTEXT, .reduce = EVN_REDUCE_EVENTS};
	evn_model *model;
	evn_engine *e;
	EVN_TRY(evn_model_open(&model, model_file, err));
	evn_status s = open_engine(&e, model, &setup, err);
	if (s == EVN_OK) {
		s = write_text(e, evn_model_get_info(model).vocab, ids, err);
		evn_engine_close(e);
	}
	evn_model_close(model);
	return s;
}

static void must_work(const char *after, unsigned long at)
{
	evn_error err = {0};
	int32_t ids[N_TOKENS];
	if (open_and_write(ids, &err) != EVN_OK || memcmp(ids, expected, sizeof ids) != 0)
		fail_msg("after %s %lu failed, nothing works: %s", after, at, err.text);
}

static void fail_at(const failing *f, unsigned long at)
{
	evn_error err = {0};
	int32_t ids[N_TOKENS] = {0};
	*f->refused() = *f->count() + at;
	alarm(SECONDS); /* it hangs */
	const evn_status s = open_and_write(ids, &err);
	alarm(0);
	*f->refused() = -1ul;
	const char *name = f == &calls_fail ? of_layer("call_name") : "";
	if (s == EVN_OK)
		n_recovered++;
	else
		n_errors++;
	if (only_at != -1ul || every_one)
		print_message("%s %lu %s: %s %s\n", f->name, at, name ? name : "", evn_status_name(s), err.text);
	if (s == EVN_OK && memcmp(ids, expected, sizeof ids) != 0)
		fail_msg("%s %lu failed: the text is wrong", f->name, at);
	if (s != EVN_OK && (!err.text[0] || strchr(err.text, '\n')))
		fail_msg("%s %lu failed: %s, and its text is '%s'", f->name, at, evn_status_name(s), err.text);
}

static void test_failing(void **state)
{
	const failing *f = *state;
	const unsigned long before = *f->count();
	if (only && strcmp(only, f->name) != 0)
		skip();
	must_work("nothing", 0);
	const unsigned long n = *f->count() - before, step = every_one || n < SOME ? 1 : n / SOME;
	n_recovered = n_errors = 0;
	if (only_at != -1ul) {
		fail_at(f, only_at);
		return;
	}
	unsigned long tried = 0;
	for (unsigned long at = step / 2; at < n; at += step) {
		fail_at(f, at);
		if (tried++ % 20 == 0)
			must_work(f->name, at);
	}
	must_work(f->name, n);
	print_message("%lu of %lu %s failed: the text went on %u times, %u errors\n", tried, n, f->name, n_recovered,
				  n_errors);
}

static int find_expected(void **state)
{
	(void)state;
	evn_error err = {0};
	require_ok(
		open_and_write(expected, &err)); /* the first run measures and proves; the others find it in the cache */
	return 0;
}

int main(int argc, char **argv)
{
	const char *cases = getenv("EVENER_TEST_CASES");
	int i = 1;
	every_one = argc > i && !strcmp(argv[i], "all");
	i += every_one;
	only = argc > i ? argv[i++] : NULL;
	only_at = argc > i ? strtoul(argv[i], NULL, 10) : -1ul;
	snprintf(model_file, sizeof model_file, "%s/q8_0-linear-gqa.gguf", cases ? cases : ".");
	setenv("OPENCL_LAYERS", CALL_LAYER, 1);
	if (!file_exists(model_file))
		return missing("EVENER_TEST_CASES");
	if (!driver_exists("pocl"))
		return missing("PoCL is not installed");
	const struct CMUnitTest tests[] = {
		{"calls", test_failing, NULL, NULL, (void *)&calls_fail},
		{"allocations", test_failing, NULL, NULL, (void *)&allocations_fail},
	};
	return _cmocka_run_group_tests("torture", tests, 2, find_expected, NULL);
}
