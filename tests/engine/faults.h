/* faults.h - what tests with fault_layer.c share: the model, the layer's counters, and the end of faults. */
#ifndef EVN_TEST_FAULTS_H
#define EVN_TEST_FAULTS_H

#include "engine/harness.h"

#include <dlfcn.h>

#define FAULT_LAYER EVN_BINARY_DIR "/tests/fault_layer.so"

static evn_model *model;
static uint32_t vocab;

/* Loads the layer with the drivers. 0, or the exit status of a test for which something is missing. */
static inline int faults_begin(void)
{
	setenv("OPENCL_LAYERS", FAULT_LAYER, 1);
	if (!file_exists(getenv("EVENER_TEST_MODEL")))
		return missing("EVENER_TEST_MODEL");
	return driver_exists("pocl") ? 0 : missing("PoCL is not installed");
}

static inline int open_model(void **state)
{
	(void)state;
	evn_error err = {0};
	require_ok(evn_model_open(&model, getenv("EVENER_TEST_MODEL"), &err));
	vocab = evn_model_get_info(model).vocab;
	return 0;
}

static inline int close_model(void **state)
{
	(void)state;
	evn_model_close(model);
	return 0;
}

/* A variable or function of the layer, which the loader has loaded. */
static inline void *fault_symbol(const char *name)
{
	void *layer = dlopen(FAULT_LAYER, RTLD_NOW | RTLD_NOLOAD);
	assert_non_null(layer);
	void *found = dlsym(layer, name);
	assert_non_null(found);
	dlclose(layer);
	return found;
}

static inline unsigned long fault_count(const char *name) { return *(unsigned long *)fault_symbol(name); }

/* What hangs goes on, too. */
static inline void fail_no_more(void)
{
	void (*release)(void);
	*(void **)&release = fault_symbol("fault_release");
	unsetenv("FAULT");
	release();
}

#endif
