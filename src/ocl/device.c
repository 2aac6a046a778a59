/* device.c - opens the picked devices: sub-devices, and one context for all devices of a platform. */
#include "ocl/internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/constants.h"

#define ROW_ITEMS 256u

evn_status evn_cl_fail(evn_error *err, const evn_device *d, const char *call, const char *what, cl_int code)
{
	const bool full = code == CL_MEM_OBJECT_ALLOCATION_FAILURE; /* of the device's memory */
	evn_status s = full ? EVN_ERR_LIMIT : code == CL_OUT_OF_HOST_MEMORY ? EVN_ERR_MEMORY : EVN_ERR_DEVICE;
	return evn_fail(err, s, "%s%s%s%s: %s (%d) on %s%s", call, what ? " [" : "", what ? what : "", what ? "]" : "",
					evn_cl_error_name(code), code, d->name, full ? ", whose memory is full" : "");
}

static void context_release(evn_context *c)
{
	if (c && --c->users == 0) {
		if (c->cl)
			clReleaseContext(c->cl);
		free(c);
	}
}

void evn_device_close(evn_device *d)
{
	if (!d)
		return;
	evn_programs_free(d);
	evn_chunk_release(d->chunk);
	evn_usecount_closed(d);
	context_release(d->context);
	if (d->is_sub_device && d->cl)
		clReleaseDevice(d->cl);
	pthread_mutex_destroy(&d->lock);
	free(d);
}

/* OpenCL has no number for the first unit of a sub-device, only counts. A first sub-device therefore takes the units
 * before first_unit. */
static evn_status make_sub_device(evn_device *d, const evn_pick *p, cl_device_id parent, evn_error *err)
{
	cl_device_id parts[2] = {NULL, NULL};
	cl_uint n_parts = p->first_unit ? 2 : 1;
	cl_device_partition_property how[5] = {CL_DEVICE_PARTITION_BY_COUNTS};
	size_t i = 1;
	if (p->first_unit)
		how[i++] = (cl_device_partition_property)p->first_unit;
	how[i++] = (cl_device_partition_property)p->n_units;
	how[i] = CL_DEVICE_PARTITION_BY_COUNTS_LIST_END;
	cl_int code = clCreateSubDevices(parent, how, n_parts, parts, NULL);
	if (code != CL_SUCCESS)
		return evn_cl_fail(err, d, "clCreateSubDevices", NULL, code);
	if (p->first_unit)
		clReleaseDevice(parts[0]);
	d->cl = parts[n_parts - 1];
	d->is_sub_device = true;
	d->units = p->n_units;
	return EVN_OK;
}

static evn_status open_one(const evn_system *s, const evn_pick *p, evn_device **out, evn_error *err)
{
	evn_device *d = *out = calloc(1, sizeof *d);
	if (!d)
		return evn_fail_memory(err, "device", sizeof *d);
	pthread_mutex_init(&d->lock, NULL);
	d->system = s;
	d->index = p->device;
	d->info = evn_system_info(s, p->device);
	d->loses_count = evn_usecount_opened(d);
	d->cl = evn_system_cl_device(s, p->device);
	d->units = d->info->compute_units;
	evn_pick_name(s, p, d->id, sizeof d->id);
	snprintf(d->name, sizeof d->name, "%s %s", d->id, d->info->name);
	if (p->n_units)
		EVN_TRY(make_sub_device(d, p, d->cl, err));
	cl_int code = clGetDeviceInfo(d->cl, CL_DEVICE_MAX_WORK_GROUP_SIZE, sizeof d->max_group, &d->max_group, NULL);
	if (code != CL_SUCCESS)
		return evn_cl_fail(err, d, "clGetDeviceInfo", "work-group size", code);
	d->lanes = EVN_TILE_ROWS;
	if (!evn_device_is_cpu(d))
		evn_device_set_lanes(d, 1);
	return EVN_OK;
}

/* Makes one context for those devices of picks[first]'s platform that have none yet. */
static evn_status share_context(const evn_system *s, const evn_pick *picks, size_t n, size_t first,
								evn_device **devices, evn_error *err)
{
	cl_device_id members[EVN_MAX_RANKS];
	cl_uint n_members = 0;
	evn_context *c = calloc(1, sizeof *c);
	if (!c)
		return evn_fail_memory(err, "context", sizeof *c);
	for (size_t i = first; i < n; i++) {
		if (evn_system_platform(s, picks[i].device) != evn_system_platform(s, picks[first].device))
			continue;
		devices[i]->context = c;
		c->users++;
		bool known = false; /* a device that was picked twice is in the context once */
		for (cl_uint k = 0; k < n_members; k++)
			known |= members[k] == devices[i]->cl;
		if (!known)
			members[n_members++] = devices[i]->cl;
	}
	cl_context_properties on[] = {CL_CONTEXT_PLATFORM,
								  (cl_context_properties)evn_system_cl_platform(s, picks[first].device), 0};
	cl_int code;
	c->cl = clCreateContext(on, n_members, members, NULL, NULL, &code);
	return c->cl ? EVN_OK : evn_cl_fail(err, devices[first], "clCreateContext", NULL, code);
}

evn_status evn_devices_open(const evn_system *s, const evn_pick *picks, size_t n, evn_device **devices,
							evn_error *err)
{
	if (n > EVN_MAX_RANKS)
		return evn_fail(err, EVN_ERR_LIMIT, "%zu devices are listed, expected at most %d", n, EVN_MAX_RANKS);
	evn_status status = EVN_OK;
	evn_gemm_prepare();
	memset(devices, 0, n * sizeof *devices);
	for (size_t i = 0; i < n && status == EVN_OK; i++)
		status = open_one(s, &picks[i], &devices[i], err);
	for (size_t i = 0; i < n && status == EVN_OK; i++)
		if (!devices[i]->context)
			status = share_context(s, picks, n, i, devices, err);
	for (size_t i = 0; i < n && status != EVN_OK; i++) {
		evn_device_close(devices[i]);
		devices[i] = NULL;
	}
	return status;
}

bool evn_device_slow_binaries(const evn_device *d) { return evn_system_slow_binaries(d->system, d->index); }
const char *evn_device_name(const evn_device *d) { return d->name; }
const char *evn_device_id(const evn_device *d) { return d->id; }
bool evn_device_is_cpu(const evn_device *d) { return !strcmp(d->info->type, "cpu"); }

bool evn_device_has(const evn_device *d, const char *feature)
{
	for (size_t i = 0; i < d->info->n_features; i++)
		if (!strcmp(d->info->features[i], feature))
			return true;
	return false;
}

uint32_t evn_device_lanes(const evn_device *d) { return d->lanes; }

void evn_device_set_lanes(evn_device *d, uint32_t lanes)
{
	if (lanes == EVN_TILE_ROWS || (lanes == 1 && d->max_group >= EVN_LANE_ITEMS))
		d->lanes = lanes;
}

uint32_t evn_device_row_items(const evn_device *d)
{
	if (d->lanes > 1)
		return 1;
	return d->max_group < ROW_ITEMS ? EVN_LANE_ITEMS : ROW_ITEMS;
}

bool evn_device_unified_memory(const evn_device *d) { return d->info->unified_memory; }
uint32_t evn_device_units(const evn_device *d) { return d->units; }
uint64_t evn_device_local_bytes(const evn_device *d) { return d->info->local_bytes; }
size_t evn_device_max_group(const evn_device *d) { return d->max_group; }
const char *evn_device_language(const evn_device *d) { return evn_cl_language(d->info->opencl); }
uint64_t evn_device_max_alloc(const evn_device *d) { return d->info->max_alloc_bytes; }
uint64_t evn_device_held_bytes(const evn_device *d) { return atomic_load(&d->held_bytes); }
bool evn_devices_share_context(const evn_device *a, const evn_device *b) { return a->context == b->context; }
