/* test_tune.c - the search for GEMM parameters on real drivers: sets that crash or hang are skipped, the result is
 * stored, and rates are then measured again. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "engine/profile.h"
#include "engine/tune.h"
#include "evener/tune.h"

static char folder[] = "/tmp/evener-tune-XXXXXX";

typedef struct {
	size_t trials, failed, timed_out, crashed, results;
	double best;
	evn_tune_result result;
	char parameters[EVN_GEMM_TEXT];
} record;

static void take_trial(void *user, const evn_tune_trial *t)
{
	record *r = user;
	r->trials++;
	assert_int_equal(t->problem != NULL, t->gflops == 0);
	if (t->problem) {
		r->failed++;
		r->timed_out += strstr(t->problem, "took more than") != NULL;
		r->crashed += strstr(t->problem, "the driver crashed (Segmentation fault)") != NULL;
	}
	if (t->gflops > r->best)
		r->best = t->gflops;
}

static void take_result(void *user, const evn_tune_result *t)
{
	record *r = user;
	r->results++;
	r->result = *t;
	snprintf(r->parameters, sizeof r->parameters, "%s", t->parameters ? t->parameters : "");
}

static evn_status tune(record *r, const char *device, double budget_s, double trial_s, evn_error *err)
{
	const evn_device_rule rule = {.match = device, .share = EVN_SHARE_AUTO};
	*r = (record){0};
	return evn_tune(NULL,
					&(evn_tune_options){.devices = &rule,
										.n_devices = 1,
										.budget_s = budget_s,
										.trial_s = trial_s,
										.trial = take_trial,
										.result = take_result,
										.user = r},
					err);
}

/* Every helper is killed while it builds. The search ends normally and changes nothing. */
static void test_trials_that_hang(void **state)
{
	(void)state;
	record r;
	evn_error err = {0};
	if (tune(&r, "cpu", 1.2, 0.1, &err) != EVN_OK)
		fail_msg("%s", err.text);
	assert_true(r.results >= 1);
	assert_true(r.timed_out >= 3);
	assert_int_equal(r.timed_out, r.trials);
	assert_false(r.result.kept);
	assert_true(r.result.gflops == 0);
	assert_int_equal(r.result.n_failed, r.result.n_trials);
}

static bool stop_at_once(void *user, const char *what, uint64_t done, uint64_t total)
{
	(void)user;
	assert_non_null(strstr(what, "tuning "));
	assert_true(done <= total);
	return false;
}

static void test_stopped_by_the_user(void **state)
{
	(void)state;
	evn_error err = {0};
	const evn_tune_options o = {.budget_s = 60, .progress = stop_at_once};
	assert_int_equal(evn_tune(NULL, &o, &err), EVN_ERR_CANCELLED);
}

static void test_the_search_tries_no_set_twice(void **state)
{
	(void)state;
	evn_gemm_params p, zero = {0};
	static evn_tune_search s;
	for (int cpu = 0; cpu < 2; cpu++) {
		evn_tune_search_begin(&s, cpu);
		while (evn_tune_search_next(&s, &p)) {
			assert_true(evn_gemm_params_valid(&p));
			for (uint32_t i = 0; i < s.n; i++)
				assert_true(memcmp(&s.tried[i].params, &p, sizeof p));
			/* only large tiles work, so the best set has them */
			evn_tune_search_record(&s, &p, p.mwg * p.nwg >= 1024 ? p.mwg : 0);
		}
		assert_true(s.n > 100);
		assert_memory_not_equal(&s.tried[s.best].params, &zero, sizeof zero);
		assert_int_equal(s.tried[s.best].params.mwg, 256);
	}
}

/* ---- a helper that crashes ------------------------------------------------------------------------------------- */

/* Runs as a copy in a folder where evener-probe crashes on the set that CPUs start with. */
static void test_trials_that_crash(void **state)
{
	(void)state;
	record r;
	evn_error err = {0};
	evn_system *sys;
	evn_gemm_params initial, kept;
	char text[EVN_GEMM_TEXT];
	size_t i = 0;
	if (evn_system_open(&sys, &err) != EVN_OK)
		fail_msg("%s", err.text);
	while (i < evn_system_count(sys) &&
		   !(evn_system_info(sys, i)->usable && evn_gemm_params_initial(sys, i, &initial)))
		i++;
	if (i == evn_system_count(sys))
		skip();
	/* Time for the set that crashes and for the start of a second one. */
	if (tune(&r, evn_system_info(sys, i)->id, 2, 100, &err) != EVN_OK)
		fail_msg("%s", err.text);
	assert_int_equal(r.results, 1);
	assert_true(r.crashed >= 2); /* once at the start, and once more in the comparison */
	assert_int_equal(r.crashed, r.failed);
	assert_true(r.result.kept);
	assert_true(r.result.before_gflops == 0);
	assert_true(r.result.gflops > 0);
	assert_true(evn_gemm_params_of(sys, i, &kept));
	evn_gemm_params_text(&kept, text);
	assert_string_equal(text, r.parameters);
	assert_memory_not_equal(&kept, &initial, sizeof kept);
	evn_system_close(sys);
}

static int run_with_crashes(void)
{
	char command[1024], self[256] = "";
	if (readlink("/proc/self/exe", self, sizeof self - 1) < 0)
		return 1;
	snprintf(command, sizeof command,
			 "cp '%s' %s/copy && printf '#!/bin/sh\\ncase \"$3\" in *KREG=16*VWM=16*VWN=4*) kill -SEGV $$;; esac\\n"
			 "exec \"%s/evener-probe\" \"$@\"\\n' >%s/evener-probe && chmod +x %s/evener-probe && %s/copy --crashes",
			 self, folder, EVN_BINARY_DIR, folder, folder, folder);
	return system(command);
}

static void test_a_copy_with_crashes(void **state)
{
	(void)state;
	assert_int_equal(run_with_crashes(), 0);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest crashes[] = {cmocka_unit_test(test_trials_that_crash)};
	if (argc > 1 && !strcmp(argv[1], "--crashes"))
		return cmocka_run_group_tests(crashes, NULL, NULL);
	if (!mkdtemp(folder))
		return 1;
	setenv("EVENER_CACHE_DIR", folder, 1);
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_the_search_tries_no_set_twice),
		cmocka_unit_test(test_trials_that_hang),
		cmocka_unit_test(test_stopped_by_the_user),
		cmocka_unit_test(test_a_copy_with_crashes),
	};
	int failures = cmocka_run_group_tests(tests, NULL, NULL);
	char command[64];
	snprintf(command, sizeof command, "rm -r %s", folder);
	return system(command) ? 1 : failures;
}
