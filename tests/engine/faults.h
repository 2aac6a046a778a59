/* faults.h - what tests with fault_layer.c share: its counters, and the end of faults. */
#ifndef EVN_TEST_FAULTS_H
#define EVN_TEST_FAULTS_H

#include "engine/harness.h"

#include <dlfcn.h>

#define FAULT_LAYER EVN_BINARY_DIR "/tests/fault_layer.so"

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
