/* pocl_usecount.c - works around drivers that miscount a kernel's users (quirks.c). PoCL before 6.0 loads a kernel
 * again when it is launched wider than before. The new copy has its own count of users, but a finished launch
 * always decrements the newest copy's count. If three queues run the kernel meanwhile, the count falls below zero,
 * and an assertion ends the process.
 *
 * The workaround, if three such devices are open: before its first launch of a kernel, a queue launches the kernel
 * wider than it will ever be launched again, with work-groups that return at once. The kernel is then loaded at
 * its maximum width before any other launch, and never again. */
#include "ocl/internal.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

static atomic_uint open_devices;

bool evn_usecount_opened(const evn_device *d)
{
	const bool affected = evn_system_loses_count(d->system, d->index);
	if (affected)
		atomic_fetch_add(&open_devices, 1);
	return affected;
}

void evn_usecount_closed(const evn_device *d)
{
	if (d->loses_count)
		atomic_fetch_sub(&open_devices, 1);
}

bool evn_usecount_needed(const evn_device *d) { return d->loses_count && atomic_load(&open_devices) > 2; }

/* The guard is inserted after the first brace that follows a line beginning with "kernel". It stays on the brace's
 * line, so that the line numbers in build logs stay right. */
char *evn_usecount_source(const char *text)
{
	static const char head[] = "\nkernel ";
	size_t n = 0, length = strlen(text);
	for (const char *c = text; (c = strstr(c, head)); c++)
		n++;
	char *out = malloc(length + n * (sizeof EVN_USECOUNT_RETURN - 1) + 1), *to = out;
	if (!out)
		return NULL;
	const char *from = text;
	for (const char *c = text; (c = strstr(c, head)) && (c = strchr(c, '{')); from = c) {
		c++;
		memcpy(to, from, (size_t)(c - from));
		to += c - from;
		memcpy(to, EVN_USECOUNT_RETURN, sizeof EVN_USECOUNT_RETURN - 1);
		to += sizeof EVN_USECOUNT_RETURN - 1;
	}
	strcpy(to, from);
	return out;
}

size_t evn_usecount_guards(const char *text)
{
	size_t n = 0;
	for (; (text = strstr(text, EVN_USECOUNT_RETURN)); text++)
		n++;
	return n;
}

evn_status evn_usecount_first_launch(evn_kernel *k, uint32_t dims, const size_t *global, const size_t *locals,
									 evn_error *err)
{
	const evn_device *d = k->queue->device;
	if (!d->loses_count)
		return EVN_OK;
	size_t local = locals ? locals[0] : 1;
	if (global[0] / local == EVN_USECOUNT_GROUPS)
		return evn_fail(err, EVN_ERR_LIMIT, "kernel %s: a launch of %zu work-groups, a number that is reserved",
						k->name, EVN_USECOUNT_GROUPS);
	if (!evn_usecount_needed(d))
		return EVN_OK;
	for (uint32_t i = 0; i < dims && i < 2; i++)
		if (global[i] > EVN_USECOUNT_GROUPS * local)
			return evn_fail(
				err, EVN_ERR_LIMIT,
				"kernel %s: a launch of %zu work-items, expected at most %zu with more than two ranks on this driver",
				k->name, global[i], EVN_USECOUNT_GROUPS * local);
	if (k->launched_widest)
		return EVN_OK;
	const size_t widest[3] = {EVN_USECOUNT_GROUPS * local, locals && dims > 1 ? locals[1] : 1,
							  locals && dims > 2 ? locals[2] : 1};
	cl_int code = clEnqueueNDRangeKernel(k->queue->cl, k->cl, dims, NULL, widest, locals, 0, NULL, NULL);
	k->launched_widest = code == CL_SUCCESS;
	return code == CL_SUCCESS ? EVN_OK : evn_cl_fail(err, d, "clEnqueueNDRangeKernel", k->name, code);
}
