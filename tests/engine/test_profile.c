/* test_profile.c - the reduction method that follows from measurements of each; which results about a device are
 * cached, and which are not. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <glob.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "adapter.h"
#include "engine/doubt.h"
#include "engine/harness.h"
#include "engine/profile.h"
#include "evener/train.h"

static char folder[] = "/tmp/evener-profile-XXXXXX";

static void expect(evn_reduce asked, double host, double events, double flags, evn_reduce method, double us)
{
	evn_profile p = {.host_us = host, .events_us = events, .flags_us = flags};
	evn_reduce_cost cost;
	assert_int_equal(evn_profile_reduce(&p, asked, &cost), method);
	assert_true(cost.token_us == us);
}

static void test_methods(void **state)
{
	(void)state;
	expect(EVN_REDUCE_AUTO, 78, 33, 7, EVN_REDUCE_FLAGS, 7);
	expect(EVN_REDUCE_AUTO, 78, 0, 0, EVN_REDUCE_HOST, 78);
	expect(EVN_REDUCE_AUTO, 78, 33, 0, EVN_REDUCE_EVENTS, 33);
	expect(EVN_REDUCE_AUTO, 220, 139, 148, EVN_REDUCE_FLAGS, 148); /* as measured on a busy machine */
	expect(EVN_REDUCE_AUTO, 50, 40, 265, EVN_REDUCE_EVENTS, 40);   /* spinning slows the ranks down */
	expect(EVN_REDUCE_AUTO, 50, 0, 265, EVN_REDUCE_HOST, 50);
	/* each method costs little more than the one before it, but flags cost clearly more than the best */
	expect(EVN_REDUCE_AUTO, 100, 140, 200, EVN_REDUCE_EVENTS, 140);
	expect(EVN_REDUCE_HOST, 78, 33, 7, EVN_REDUCE_HOST, 78);
}

static evn_status get(evn_profile *out, const evn_system *s, const evn_pick *pick, evn_progress_fn progress)
{
	return evn_profile_get(out, s, pick, 1, NULL, &(evn_profile_options){.progress = progress}, NULL);
}

static bool stop_at_once(void *user, const char *what, uint64_t done, uint64_t total)
{
	(void)user;
	(void)what;
	(void)done;
	(void)total;
	return false;
}

/* Writes that the device was late so often, and measured nothing, for the one model that the folder knows. */
static void remember_late(unsigned late)
{
	char pattern[64], *lines;
	glob_t found;
	unsigned long long of;
	size_t size;
	snprintf(pattern, sizeof pattern, "%s/profiles/*.txt", folder);
	assert_int_equal(glob(pattern, 0, NULL, &found), 0);
	assert_int_equal(found.gl_pathc, 1);
	assert_int_equal(evn_read_file(&lines, &size, found.gl_pathv[0], 1 << 20, NULL), EVN_OK);
	assert_non_null(strstr(lines, "\tmodel/"));
	assert_int_equal(sscanf(strstr(lines, "\tmodel/"), "\tmodel/%llx", &of), 1);
	char *more = evn_format("0\tmodel/%llx\t0\n0\tfault/%llx\tmeasuring took more than 360 s\n0\tlate/%llx\t%u\n", of,
							of, of, late);
	char *merged = evn_facts_merge(lines, more);
	assert_non_null(merged);
	assert_int_equal(evn_write_file(found.gl_pathv[0], merged, strlen(merged), NULL), EVN_OK);
	free(lines);
	free(more);
	free(merged);
	globfree(&found);
}

/* A device that took too long once, for example because its kernels were not compiled yet, is measured again. After
 * the second time it stays out. */
static void test_late(void **state)
{
	(void)state;
	evn_system *s;
	evn_error err = {0};
	evn_pick pick;
	size_t n = 0;
	if (evn_system_open(&s, &err) != EVN_OK || evn_system_select(s, "pocl/1", 0, &pick, &n, 1, &err) != EVN_OK)
		skip();
	evn_profile p;
	assert_int_equal(get(&p, s, &pick, NULL), EVN_OK);
	assert_true(p.ranks[0].gemv_gbs > 0 && !p.ranks[0].fault[0]);
	assert_true(p.measured.taken_s > 1e9 && !p.measured.thorough);
	remember_late(2);
	assert_int_equal(get(&p, s, &pick, stop_at_once), EVN_OK);
	assert_string_equal(p.ranks[0].fault, "measuring took more than 360 s");
	assert_true(p.ranks[0].gemv_gbs == 0);
	remember_late(1);
	assert_int_equal(get(&p, s, &pick, stop_at_once), EVN_ERR_CANCELLED); /* because it was about to be measured */
	evn_system_close(s);
}

/* A model with adapters is measured with them: the measuring helper reads the adapters too, and a profile of the
 * model without them is not used. */
static void test_adapters_are_measured(void **state)
{
	(void)state;
	const evn_model_spec spec = {
		.architecture = "llama", .vocab = 260, .dim = 64, .context = 64, .n_layers = 1, .n_heads = 2, .seed = 1};
	char path[64], adapter[64];
	evn_system *s;
	evn_error err = {0};
	evn_pick pick;
	evn_model *m;
	evn_profile p;
	size_t n = 0;
	if (evn_system_open(&s, &err) != EVN_OK || evn_system_select(s, "pocl/1", 0, &pick, &n, 1, &err) != EVN_OK)
		skip();
	snprintf(path, sizeof path, "%s/model.gguf", folder);
	snprintf(adapter, sizeof adapter, "%s/adapter.gguf", folder);
	write_adapter(adapter, 64);
	assert_int_equal(evn_model_create(&m, &spec, &err), EVN_OK);
	assert_int_equal(evn_model_save(m, path, &err), EVN_OK);
	evn_model_close(m);
	for (int adapted = 0; adapted < 3; adapted++) {
		assert_int_equal(evn_model_open(&m, path, &err), EVN_OK);
		if (adapted)
			assert_int_equal(evn_model_apply_adapter(m, adapter, 1, &err), EVN_OK);
		if (adapted == 2) /* now the helper cannot read it */
			assert_int_equal(unlink(adapter), 0);
		const evn_profile_options o = {.measuring = adapted ? EVN_MEASURE_THOROUGH : EVN_MEASURE_NEEDED};
		const evn_status status = evn_profile_get(&p, s, &pick, 1, m, &o, &err);
		assert_int_equal(status, adapted == 2 ? EVN_ERR_FILE : EVN_OK);
		assert_true(adapted == 2 ? strstr(err.text, "adapter.gguf") != NULL : p.ranks[0].gemv_gbs > 0);
		evn_model_close(m);
	}
	write_adapter(adapter, 64); /* that it was not there is not remembered */
	assert_int_equal(evn_model_open(&m, path, &err), EVN_OK);
	assert_int_equal(evn_model_apply_adapter(m, adapter, 1, &err), EVN_OK);
	assert_int_equal(evn_profile_get(&p, s, &pick, 1, m, &(evn_profile_options){0}, &err), EVN_OK);
	assert_true(p.ranks[0].gemv_gbs > 0);
	evn_model_close(m);
	evn_system_close(s);
}

/* Makes every measured set look 300 times slower. */
static void slow_all_down(void)
{
	char pattern[64];
	glob_t found;
	snprintf(pattern, sizeof pattern, "%s/profiles/*.txt", folder);
	assert_int_equal(glob(pattern, 0, NULL, &found), 0);
	for (size_t i = 0; i < found.gl_pathc; i++) {
		char *lines, *more = calloc(1, 1), *next;
		size_t size;
		assert_int_equal(evn_read_file(&lines, &size, found.gl_pathv[i], 1 << 20, NULL), EVN_OK);
		for (char *at = lines; *at; at += strcspn(at, "\n"), at += *at == '\n') {
			char key[160];
			unsigned rank;
			double value;
			if (sscanf(at, "%u\t%159[^\t\n]\t%lf", &rank, key, &value) != 3)
				continue;
			const bool rate = strstr(key, "/gbs") != NULL, time = !strcmp(key, "launch_us");
			if (!rate && !time)
				continue;
			next = evn_format("%s%u\t%s\t%g\n", more, rank, key, rate ? value / 300 : value * 300);
			free(more);
			more = next;
		}
		next = evn_facts_merge(lines, more);
		assert_int_equal(evn_write_file(found.gl_pathv[i], next, strlen(next), NULL), EVN_OK);
		free(next);
		free(more);
		free(lines);
	}
	globfree(&found);
}

static bool note_measuring(void *user, const char *what, uint64_t done, uint64_t total)
{
	(void)done;
	(void)total;
	*(bool *)user |= strstr(what, "timing the kernels") != NULL;
	return true;
}

/* Opens an engine, decodes n tokens and tells how many events there were and whether devices were measured. */
static uint64_t decode(const evn_model *m, uint32_t n, bool *measured)
{
	evn_error err = {0};
	evn_engine *e;
	evn_session *s;
	int32_t id = 1;
	*measured = false;
	const engine_setup setup = {.devices = "pocl/1", .progress = note_measuring, .progress_user = measured};
	require_ok(open_engine(&e, m, &setup, &err));
	require_ok(evn_session_create(&s, e, &err));
	for (uint32_t i = 0; i < n; i++)
		require_ok(evn_session_eval(s, &id, 1, NULL, &err));
	const uint64_t events = evn_engine_events(e, NULL, 0);
	evn_session_free(s);
	evn_engine_close(e);
	return events;
}

/* Figures that are far too slow are measured again by the next start, once. */
static void test_slow_figures_are_doubted(void **state)
{
	(void)state;
	const evn_model_spec spec = {
		.architecture = "llama", .vocab = 260, .dim = 64, .context = 256, .n_layers = 2, .n_heads = 2, .seed = 1};
	char path[64];
	evn_error err = {0};
	evn_model *m;
	bool measured;
	if (!driver_exists("pocl"))
		skip();
	snprintf(path, sizeof path, "%s/model.gguf", folder);
	require_ok(evn_model_create(&m, &spec, &err));
	require_ok(evn_model_save(m, path, &err));
	evn_model_close(m);
	require_ok(evn_model_open(&m, path, &err));
	decode(m, 1, &measured);
	assert_true(measured);
	slow_all_down();
	assert_int_equal(decode(m, 40, &measured), 1);
	assert_false(measured);
	decode(m, 1, &measured);
	assert_true(measured);
	slow_all_down(); /* and this is not believed: it was measured again */
	assert_int_equal(decode(m, 40, &measured), 0);
	assert_false(measured);
	evn_model_close(m);
}

static int set_up(void **state)
{
	(void)state;
	if (!mkdtemp(folder))
		return -1;
	return setenv("EVENER_CACHE_DIR", folder, 1);
}

static int tear_down(void **state)
{
	(void)state;
	char command[64];
	snprintf(command, sizeof command, "rm -rf %s", folder);
	return system(command);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_methods), cmocka_unit_test(test_late),
									   cmocka_unit_test(test_slow_figures_are_doubted), /* before the thorough one */
									   cmocka_unit_test(test_adapters_are_measured)};
	return cmocka_run_group_tests(tests, set_up, tear_down);
}
