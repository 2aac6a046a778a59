/* test_trainer.c - steps of the trainer that fail. Work that was done is kept and counted; other work changes
 * nothing. */
#include "engine/harness.h"

#include "evener/train.h"

#include <dlfcn.h>
#include <math.h>

#define LAYER EVN_BINARY_DIR "/tests/fault_layer.so"
#define STEPS 3

static char folder[] = "/tmp/evener-test-trainer-XXXXXX";

static evn_trainer *open_trainer(const char *output, uint32_t eval_every, double rate)
{
	static char path[128]; /* the trainer keeps it */
	evn_error err = {0};
	evn_trainer *t;
	evn_device_rule device = {.match = "pocl", .share = EVN_SHARE_AUTO};
	snprintf(path, sizeof path, "%s/%s", folder, output);
	const evn_train_options o = {.spec = {.architecture = "llama",
										  .vocab = 257,
										  .dim = 48,
										  .context = 32,
										  .n_layers = 1,
										  .n_heads = 3,
										  .n_kv_heads = 1,
										  .ff_dim = 96,
										  .seed = 1},
								 .data_path = EVN_TEST_DATA "/persuasion-20k.txt",
								 .output_path = path,
								 .steps = STEPS,
								 .context = 32,
								 .batch = 2,
								 .accumulate = 1,
								 .rate = rate,
								 .min_rate = rate,
								 .held_out = 0.02,
								 .eval_every = eval_every,
								 .seed = 1};
	require_ok(evn_trainer_open(&t, &o, &(evn_options){.devices = &device, .n_devices = 1}, &err));
	return t;
}

static double step(evn_trainer *t)
{
	evn_error err = {0};
	evn_train_step s;
	require_ok(evn_trainer_step(t, &s, &err));
	return s.loss;
}

static unsigned long launches(void)
{
	void *layer = dlopen(LAYER, RTLD_NOW | RTLD_NOLOAD);
	assert_non_null(layer);
	const unsigned long *n = dlsym(layer, "fault_launches");
	assert_non_null(n);
	dlclose(layer);
	return *n;
}

/* The next launches work, then all fail. */
static void fail_after(unsigned long more)
{
	char at[32];
	snprintf(at, sizeof at, "%lu", launches() + more);
	setenv("FAULT_AFTER", at, 1);
	setenv("FAULT", "launch", 1);
}

/* The parameters have changed before the held-out loss fails: the next call must not make the same step again. */
static void a_step_counts_if_only_its_evaluation_fails(void **state)
{
	evn_error err = {0};
	evn_train_step s;
	const float *loss, *held_out;
	double want[STEPS];
	(void)state;
	evn_trainer *t = open_trainer("whole", 0, 1e-3);
	unsigned long before = launches();
	want[0] = step(t);
	const unsigned long of_a_step = launches() - before;
	want[1] = step(t);
	evn_trainer_close(t);

	t = open_trainer("broken", 1, 1e-3);
	fail_after(of_a_step);
	assert_int_equal(evn_trainer_step(t, &s, &err), EVN_ERR_DEVICE);
	unsetenv("FAULT");
	assert_int_equal(evn_trainer_losses(t, &loss, &held_out), 1);
	assert_true(loss[0] == (float)want[0] && isnan(held_out[0]));
	require_ok(evn_trainer_step(t, &s, &err));
	assert_int_equal(s.step, 2);
	assert_true(s.loss == want[1] && isfinite(s.val_loss));
	evn_trainer_close(t);
}

static void a_loss_that_is_not_finite_exceeds_a_limit(void **state)
{
	evn_error err = {0};
	evn_train_step s;
	const float *loss, *held_out;
	evn_status status = EVN_OK;
	(void)state;
	evn_trainer *t = open_trainer("far", 0, 1e30);
	for (int i = 0; i < STEPS && status == EVN_OK; i++)
		status = evn_trainer_step(t, &s, &err);
	assert_int_equal(status, EVN_ERR_LIMIT);
	assert_int_equal(evn_trainer_losses(t, &loss, &held_out), s.step - 1);
	evn_trainer_close(t);
}

static int make_folder(void **state)
{
	(void)state;
	return mkdtemp(folder) ? 0 : -1;
}

static int remove_folder(void **state)
{
	char command[64];
	(void)state;
	snprintf(command, sizeof command, "rm -r %s", folder);
	return system(command);
}

int main(void)
{
	setenv("OPENCL_LAYERS", LAYER, 1);
	if (!driver_exists("pocl"))
		return missing("PoCL is not installed");
	const struct CMUnitTest tests[] = {cmocka_unit_test(a_step_counts_if_only_its_evaluation_fails),
									   cmocka_unit_test(a_loss_that_is_not_finite_exceeds_a_limit)};
	return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
