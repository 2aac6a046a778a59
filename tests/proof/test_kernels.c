/* Every kernel on every usable device, with the device's own width and as GPUs compute, with 1 lane.
 *   test_kernels            every platform except those with a run of their own, because their compilers are slow;
 *                           with one weight format of each kind
 *   test_kernels PLATFORM   this platform, the same formats
 *   test_kernels PLATFORM all   with every weight format
 *   test_kernels --tiny     small shapes and no GEMM, for interpreters
 *   test_kernels --tiny 1   the same with 1 lane
 * OCL_ICD_VENDORS selects the drivers. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "nn/dot.h"
#include "proof/selftest.h"

#define MAX_TESTS 64

typedef struct {
	size_t device;
	evn_selftest_options options;
	uint32_t n_results;
	char name[64];
} test;

static evn_system *sys;
static test tests[MAX_TESTS];
static size_t n_tests;

static void take_result(void *user, const evn_selftest_result *r)
{
	((test *)user)->n_results++;
	if (!r->passed)
		print_message("%s %s: error %.3g of %.3g: %s\n", r->device, r->kernel, r->max_error, r->tolerance, r->reason);
	else if (getenv("EVENER_TEST_VERBOSE"))
		print_message("%s %s: error %.3g of %.3g\n", r->device, r->kernel, r->max_error, r->tolerance);
	assert_true(!r->passed || r->max_error <= r->tolerance);
}

static void kernels_know_their_answers(void **state)
{
	test *t = *state;
	evn_error err = {0};
	evn_device *d = NULL;
	const evn_pick pick = {.device = t->device};
	if (evn_devices_open(sys, &pick, 1, &d, &err) != EVN_OK)
		fail_msg("%s", err.text);
	evn_status s = evn_selftest_run(d, &t->options, take_result, t, &err);
	evn_device_close(d);
	if (s != EVN_OK)
		fail_msg("%s", err.text);
	if (t->options.subject)
		assert_int_equal(t->n_results, 3);
	else
		assert_true(t->n_results > (t->options.few_variants ? 2 : t->options.few_formats ? 4 : 13) * 4);
}

/* A proof must not pass because no case ran: if the subject has no case, or if only the beginning of its name is
 * right. */
static void nothing_run_is_not_passed(void **state)
{
	const test *t = *state;
	static const struct {
		const char *subject, *quant;
		bool known;
	} cases[] = {{"rmsnorm", NULL, true},      {"rms", NULL, false},         {"norm", NULL, false},
				 {"matvec", "NO SUCH", false}, {"dequantize", "Q8_0", true}, {"matvec", "Q8_0 ", false},
				 {"flags", NULL, true}};
	static const evn_quant unknown = {.name = "NO SUCH", .kernel = "none"};
	evn_error err = {0};
	evn_device *d = NULL;
	const evn_pick pick = {.device = t->device};
	if (evn_devices_open(sys, &pick, 1, &d, &err) != EVN_OK)
		fail_msg("%s", err.text);
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		const evn_quant *q = cases[i].quant ? evn_quant_by_name(cases[i].quant) : NULL;
		const evn_selftest_options options = {
			.subject = cases[i].subject, .quant = cases[i].quant && !q ? &unknown : q, .tiny = true};
		assert_int_equal(evn_selftest_run(d, &options, NULL, NULL, &err), cases[i].known ? EVN_OK : EVN_ERR_DEVICE);
		assert_true(cases[i].known || strstr(err.text, cases[i].subject));
	}
	evn_device_close(d);
}

static void a_name_part_selects(void **state)
{
	test *t = *state, only = {.options = {.only = "rmsnorm f32 50", .tiny = true}};
	evn_error err = {0};
	evn_device *d = NULL;
	const evn_pick pick = {.device = t->device};
	if (evn_devices_open(sys, &pick, 1, &d, &err) != EVN_OK)
		fail_msg("%s", err.text);
	evn_status s = evn_selftest_run(d, &only.options, take_result, &only, &err);
	evn_device_close(d);
	assert_int_equal(s, EVN_OK);
	assert_int_equal(only.n_results, 1);
}

/* What is proved before a model runs: only the products with the given dot kind, and attention with the model's
 * heads. */
typedef struct {
	const char *how;
	uint32_t n_products, n_heads;
} model_results;

static void take_model_result(void *user, const evn_selftest_result *r)
{
	model_results *m = user;
	if (!r->passed)
		print_message("%s %s: %s\n", r->device, r->kernel, r->reason);
	assert_true(r->passed);
	m->n_heads += strstr(r->kernel, "of the model") != NULL;
	if (strstr(r->kernel, " q4_1 ") && !strstr(r->kernel, "block")) {
		m->n_products++;
		assert_non_null(strstr(r->kernel, m->how));
	}
}

static void only_what_a_model_runs(void **state)
{
	const test *t = *state;
	const evn_attention_config heads = {.head_dim = 48, .rope_dim = 32, .group = 5, .kv_cache = EVN_KV_F16};
	const char *const parts[] = {"matvec q4_1 ", "matvec of few rows q4_1 ", "matmul q4_1 ", "gate and up q4_1 ",
								 "of the model, "};
	const evn_pick pick = {.device = t->device};
	evn_error err = {0};
	evn_device *d = NULL;
	if (evn_devices_open(sys, &pick, 1, &d, &err) != EVN_OK)
		fail_msg("%s", err.text);
	const evn_dot best = evn_dot_best(d);
	model_results m = {.how = evn_dot_name(best)};
	evn_selftest_options options = {.dots = 1u << best, .heads = &heads};
	for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
		options.only = parts[i];
		assert_int_equal(evn_selftest_run(d, &options, take_model_result, &m, &err), EVN_OK);
	}
	const bool halves = evn_device_is_cpu(d) && evn_device_units(d) == 1;
	evn_device_close(d);
	assert_true(m.n_products >= 5);
	assert_int_equal(m.n_heads, halves ? 4 : 3);
}

static void add(size_t device, uint32_t lanes, bool tiny, bool few_formats)
{
	const evn_device_info *info = evn_system_info(sys, device);
	if (n_tests == MAX_TESTS)
		return;
	test *t = &tests[n_tests++];
	*t = (test){.device = device, .options = {.lanes = lanes, .tiny = tiny, .few_formats = few_formats}};
	snprintf(t->name, sizeof t->name, lanes ? "%s (%s), %u lane" : "%s (%s)", info->platform, info->id, lanes);
}

static bool has_its_own_run(const char *platform)
{
	return !strcmp(platform, "intel") || !strcmp(platform, "rusticl");
}

/* Compilers take most of the time. Without every format, the kernels for 1 lane are tried on PoCL alone, in small
 * shapes, and llvmpipe gets two formats and two shapes of attention; with 1 lane attention alone. */
static void find_tests(const char *platform, bool every_format)
{
	for (size_t i = 0; i < evn_system_count(sys); i++) {
		const evn_device_info *info = evn_system_info(sys, i);
		const bool slow = !strcmp(info->platform, "rusticl"),
				   vectors_alone = slow || !strcmp(info->platform, "intel");
		if (!info->usable || (platform ? strcmp(info->platform, platform) != 0 : has_its_own_run(info->platform)))
			continue;
		add(i, 0, false, !every_format);
		tests[n_tests - 1].options.tiny_heads = slow;
		tests[n_tests - 1].options.one_gate = tests[n_tests - 1].options.few_variants = slow && !every_format;
		if (vectors_alone && !slow && !every_format)
			continue;
		add(i, 1, true, !every_format);
		tests[n_tests - 1].options.tiny_heads = true;
		if (slow && !every_format) {
			tests[n_tests - 1].options.few_variants = true;
			tests[n_tests - 1].options.subject = "attention";
		}
		tests[n_tests - 1].options.one_gate = !every_format;
	}
}

static void find_tiny_tests(uint32_t lanes)
{
	for (size_t i = 0; i < evn_system_count(sys); i++)
		if (evn_system_info(sys, i)->usable) {
			add(i, lanes, true, lanes == 1);
			tests[n_tests - 1].options.tiny_heads = lanes == 1;
		}
}

int main(int argc, char **argv)
{
	evn_error err = {0};
	const char *choice = argc > 1 ? argv[1] : NULL;
	bool tiny = choice && !strcmp(choice, "--tiny");
	setenv("EVENER_CACHE_DIR", EVN_BINARY_DIR "/tests/cache", 0);
	if (evn_system_open(&sys, &err) != EVN_OK) {
		print_error("%s\n", err.text);
		return 1;
	}
	if (tiny)
		find_tiny_tests(argc > 2 ? 1 : 0);
	else
		find_tests(choice, argc > 2 && !strcmp(argv[2], "all"));
	if (!n_tests) {
		print_message("skipped: no usable OpenCL device%s%s\n", choice ? " of " : "", choice ? choice : "");
		return 77;
	}
	struct CMUnitTest units[MAX_TESTS + 3] = {{0}};
	for (size_t i = 0; i < n_tests; i++)
		units[i] = (struct CMUnitTest){tests[i].name, kernels_know_their_answers, NULL, NULL, &tests[i]};
	units[n_tests] = (struct CMUnitTest){"a name part selects", a_name_part_selects, NULL, NULL, &tests[0]};
	units[n_tests + 1] =
		(struct CMUnitTest){"nothing run is not passed", nothing_run_is_not_passed, NULL, NULL, &tests[0]};
	units[n_tests + 2] = (struct CMUnitTest){"only what a model runs", only_what_a_model_runs, NULL, NULL, &tests[0]};
	size_t n_units = tiny || tests[0].options.tiny_heads ? n_tests + 2 : n_tests + 3;
	int failed = _cmocka_run_group_tests("kernels", units, n_units, NULL, NULL);
	evn_system_close(sys);
	return failed;
}
