/* test_lora.c - an adapter that is applied is part of the model: the model's key changes, and the file without the
 * adapter is not written. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "adapter.h"
#include "evener/train.h"
#include "model/model.h"

#define DIM 64u

static char folder[] = "/tmp/evener-lora-XXXXXX";
static char adapter[64], other[64], saved[64];

static evn_model *make(void)
{
	const evn_model_spec spec = {
		.architecture = "llama", .vocab = 260, .dim = DIM, .context = 32, .n_layers = 1, .n_heads = 2, .seed = 1};
	evn_model *m;
	assert_int_equal(evn_model_create(&m, &spec, NULL), EVN_OK);
	return m;
}

static void an_adapter_changes_the_key(void **state)
{
	evn_model *plain = make(), *once = make(), *twice = make();
	(void)state;
	assert_int_equal(evn_model_apply_adapter(once, adapter, 1, NULL), EVN_OK);
	assert_int_equal(evn_model_apply_adapter(twice, adapter, 1, NULL), EVN_OK);
	assert_true(evn_model_fingerprint(plain) != evn_model_fingerprint(once));
	assert_true(evn_model_fingerprint(once) == evn_model_fingerprint(twice));
	assert_int_equal(evn_model_apply_adapter(twice, adapter, 1, NULL), EVN_OK);
	assert_true(evn_model_fingerprint(once) != evn_model_fingerprint(twice));
	const char *const *paths;
	assert_int_equal(evn_model_adapters(plain, &paths), 0);
	assert_int_equal(evn_model_adapters(twice, &paths), 2);
	assert_string_equal(paths[0], adapter);
	assert_string_equal(paths[1], adapter);
	evn_model_close(plain);
	evn_model_close(once);
	evn_model_close(twice);
}

static void what_does_not_fit_changes_nothing(void **state)
{
	evn_model *m = make();
	const uint64_t before = evn_model_fingerprint(m);
	const char *const *paths;
	evn_error err = {0};
	(void)state;
	assert_int_equal(evn_model_apply_adapter(m, other, 1, &err), EVN_ERR_FORMAT);
	assert_true(evn_model_fingerprint(m) == before && evn_model_adapters(m, &paths) == 0);
	for (int i = 0; i < EVN_MAX_ADAPTERS; i++)
		assert_int_equal(evn_model_apply_adapter(m, adapter, 1, &err), EVN_OK);
	const uint64_t full = evn_model_fingerprint(m);
	assert_int_equal(evn_model_apply_adapter(m, adapter, 1, &err), EVN_ERR_LIMIT);
	assert_true(evn_model_fingerprint(m) == full);
	evn_model_close(m);
}

static void a_model_with_an_adapter_is_not_saved_without(void **state)
{
	evn_model *m = make();
	evn_error err = {0};
	(void)state;
	assert_int_equal(evn_model_save(m, saved, &err), EVN_OK);
	assert_int_equal(unlink(saved), 0);
	assert_int_equal(evn_model_apply_adapter(m, adapter, 1, &err), EVN_OK);
	assert_int_equal(evn_model_save(m, saved, &err), EVN_ERR_UNSUPPORTED);
	assert_non_null(strstr(err.text, "adapter"));
	assert_int_not_equal(access(saved, F_OK), 0);
	evn_model_close(m);
}

static int make_files(void **state)
{
	(void)state;
	if (!mkdtemp(folder))
		return -1;
	snprintf(adapter, sizeof adapter, "%s/adapter.gguf", folder);
	snprintf(other, sizeof other, "%s/other.gguf", folder);
	snprintf(saved, sizeof saved, "%s/saved.gguf", folder);
	write_adapter(adapter, DIM);
	write_adapter(other, DIM / 2);
	return 0;
}

static int remove_files(void **state)
{
	(void)state;
	unlink(adapter);
	unlink(other);
	return rmdir(folder);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(an_adapter_changes_the_key),
									   cmocka_unit_test(what_does_not_fit_changes_nothing),
									   cmocka_unit_test(a_model_with_an_adapter_is_not_saved_without)};
	return cmocka_run_group_tests(tests, make_files, remove_files);
}
