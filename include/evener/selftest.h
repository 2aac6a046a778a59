/* selftest.h - known-answer tests of every kernel on every device. */
#ifndef EVENER_SELFTEST_H
#define EVENER_SELFTEST_H

#include "evener.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct {
	const char *device; /* id */
	const char *kernel; /* kernel and variant */
	bool passed;
	double max_error, tolerance; /* as a fraction of the largest expected magnitude */
	const char *reason;          /* NULL when passed */
} evn_selftest_result;
typedef void (*evn_selftest_fn)(void *user, const evn_selftest_result *r);

/* Runs every kernel on every device of the list (NULL = all) and compares with f64 references on the host. Calls fn
 * once per kernel and device. EVN_OK when all passed, EVN_ERR_DEVICE when one did not. */
EVN_API evn_status evn_selftest(const char *devices, evn_selftest_fn fn, void *user, evn_error *err);

#ifdef __cplusplus
}
#endif
#endif
