/* status.c - errors: a code and one line of text, written where the fact is known. Small helpers beside it. */
#include "base/base.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const status_names[EVN_STATUS__COUNT] = {
	[EVN_OK] = "ok",
	[EVN_ERR_MEMORY] = "out of memory",
	[EVN_ERR_FILE] = "file error",
	[EVN_ERR_FORMAT] = "bad format",
	[EVN_ERR_UNSUPPORTED] = "unsupported",
	[EVN_ERR_USAGE] = "wrong use",
	[EVN_ERR_LIMIT] = "limit exceeded",
	[EVN_ERR_DEVICE] = "device error",
	[EVN_ERR_BUILD] = "kernel build error",
	[EVN_ERR_CANCELLED] = "cancelled",
};

const char *evn_status_name(evn_status s)
{
	return (unsigned)s < EVN_STATUS__COUNT ? status_names[s] : "unknown status";
}

const char *evn_version(void) { return EVN_VERSION; }

evn_status evn_fail(evn_error *err, evn_status code, const char *fmt, ...)
{
	if (err) {
		char text[sizeof err->text]; /* the arguments may point into err->text */
		va_list args;
		va_start(args, fmt);
		vsnprintf(text, sizeof text, fmt, args);
		va_end(args);
		memcpy(err->text, text, sizeof text);
		err->code = code;
	}
	return code;
}

evn_status evn_fail_memory(evn_error *err, const char *what, uint64_t bytes)
{
	if (bytes == 0)
		return evn_fail(err, EVN_ERR_MEMORY, "%s: could not allocate host memory", what);
	return evn_fail(err, EVN_ERR_MEMORY, "%s: could not allocate %llu bytes of host memory", what,
					(unsigned long long)bytes);
}

evn_status evn_fail_within(evn_error *err, const char *fmt, ...)
{
	if (!err)
		return EVN_ERR_DEVICE;
	char prefix[sizeof err->text];
	va_list args;
	va_start(args, fmt);
	vsnprintf(prefix, sizeof prefix, fmt, args);
	va_end(args);
	size_t used = strlen(prefix);
	if (used + 2 < sizeof prefix)
		snprintf(prefix + used, sizeof prefix - used, ": %.*s", (int)(sizeof prefix - used - 3), err->text);
	memcpy(err->text, prefix, sizeof prefix);
	return err->code;
}

bool evn_mul_u64(uint64_t a, uint64_t b, uint64_t *out)
{
	if (b && a > UINT64_MAX / b)
		return false;
	*out = a * b;
	return true;
}

bool evn_add_u64(uint64_t a, uint64_t b, uint64_t *out)
{
	if (a > UINT64_MAX - b)
		return false;
	*out = a + b;
	return true;
}

char *evn_strdup(const char *s)
{
	size_t size = strlen(s) + 1;
	char *copy = malloc(size);
	if (copy)
		memcpy(copy, s, size);
	return copy;
}

char *evn_format(const char *fmt, ...)
{
	va_list args, again;
	va_start(args, fmt);
	va_copy(again, args);
	int n = vsnprintf(NULL, 0, fmt, args);
	char *s = n < 0 ? NULL : malloc((size_t)n + 1);
	if (s)
		vsnprintf(s, (size_t)n + 1, fmt, again);
	va_end(again);
	va_end(args);
	return s;
}

static int by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;
	return (x > y) - (x < y);
}

double evn_median(double *values, size_t n)
{
	qsort(values, n, sizeof *values, by_value);
	return values[n / 2];
}

double evn_log_sum_exp(const float *x, size_t n)
{
	float most = -INFINITY;
	double sum = 0;
	for (size_t i = 0; i < n; i++)
		most = fmaxf(most, x[i]);
	for (size_t i = 0; i < n; i++)
		sum += exp((double)x[i] - (double)most);
	return (double)most + log(sum);
}

uint64_t evn_hash(uint64_t h, const void *data, size_t size)
{
	const unsigned char *p = data;
	for (size_t i = 0; i < size; i++)
		h = (h ^ p[i]) * 0x100000001b3u;
	return h;
}

uint64_t evn_hash_str(uint64_t h, const char *s) { return evn_hash(h, s, strlen(s) + 1); }
