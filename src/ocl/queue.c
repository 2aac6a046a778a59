/* queue.c - every command is enqueued here, so that failures are checked and named in one place. */
#include "ocl/internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "kernels/constants.h"

#define MOST_ITEMS_WIDE ((size_t)4096)

static evn_status create_queue(evn_queue **out, evn_device *d, cl_command_queue_properties how, evn_error *err)
{
	evn_queue *q = *out = calloc(1, sizeof *q);
	if (!q)
		return evn_fail_memory(err, "queue", sizeof *q);
	cl_int code;
	q->device = d;
	q->profiles = how & CL_QUEUE_PROFILING_ENABLE;
	q->cl = clCreateCommandQueue(d->context->cl, d->cl, how, &code);
	if (q->cl)
		return EVN_OK;
	free(q);
	*out = NULL;
	return evn_cl_fail(err, d, "clCreateCommandQueue", NULL, code);
}

evn_status evn_queue_create(evn_queue **out, evn_device *d, evn_error *err)
{
	return create_queue(out, d, CL_QUEUE_PROFILING_ENABLE, err);
}

evn_status evn_queue_create_untimed(evn_queue **out, evn_device *d, evn_error *err)
{
	return create_queue(out, d, 0, err);
}

evn_status evn_queue_profile(evn_queue *q, evn_error *err)
{
	evn_queue *other;
	if (q->profiles)
		return EVN_OK;
	EVN_TRY(evn_queue_create(&other, q->device, err));
	cl_command_queue plain = q->cl;
	q->cl = other->cl;
	q->profiles = true;
	other->cl = plain;
	evn_queue_free(other);
	return EVN_OK;
}

void evn_queue_free(evn_queue *q)
{
	if (!q)
		return;
	clFinish(q->cl);
	for (evn_kernel *k = q->kernels; k;) {
		evn_kernel *next = k->next;
		clReleaseKernel(k->cl);
		free(k->label);
		free(k->set);
		free(k);
		k = next;
	}
	evn_launches_forget(q);
	evn_uploads_end(q);
	if (q->gemm_scratch)
		clReleaseMemObject(q->gemm_scratch);
	clReleaseCommandQueue(q->cl);
	free(q);
}

evn_device *evn_queue_device(const evn_queue *q) { return q->device; }

evn_status evn_queue_flush(evn_queue *q, evn_error *err)
{
	cl_int code = clFlush(q->cl);
	return code == CL_SUCCESS ? EVN_OK : evn_cl_fail(err, q->device, "clFlush", NULL, code);
}

void evn_queue_wait_begins(evn_queue *q) { atomic_store(&q->waits_since_ns, evn_now_ns()); }
void evn_queue_wait_ends(evn_queue *q) { atomic_store(&q->waits_since_ns, 0); }
uint64_t evn_queue_waits_since_ns(const evn_queue *q) { return atomic_load(&q->waits_since_ns); }

evn_status evn_queue_finish(evn_queue *q, evn_error *err)
{
	evn_queue_wait_begins(q);
	cl_int code = clFinish(q->cl);
	evn_queue_wait_ends(q);
	return code == CL_SUCCESS ? EVN_OK : evn_cl_fail(err, q->device, "clFinish", NULL, code);
}

evn_status evn_queue_finish_within(evn_queue *q, uint64_t ms, evn_error *err)
{
	const uint64_t until = evn_now_ns() + ms * 1000000;
	evn_event *last;
	EVN_TRY(evn_event_last(&last, q, err));
	evn_status s = evn_queue_flush(q, err);
	while (s == EVN_OK && !evn_event_done(last)) {
		if (evn_now_ns() > until)
			s = evn_fail(err, EVN_ERR_DEVICE, "%s did not finish its queue within %llu ms", q->device->name,
						 (unsigned long long)ms);
		else
			nanosleep(&(struct timespec){0, 1000000}, NULL);
	}
	evn_event_free(last);
	return s;
}

/* The most work-items that a kernel's groups may have. A kernel that requires a size was compiled for it, whatever
 * the limit is said to be: rusticl (Mesa 22.3) says 32 for llvmpipe, and runs groups of 128. */
static size_t find_max_group(const evn_kernel *k)
{
	const evn_device *d = k->queue->device;
	size_t most = 0, required[3] = {0};
	if (clGetKernelWorkGroupInfo(k->cl, d->cl, CL_KERNEL_WORK_GROUP_SIZE, sizeof most, &most, NULL) != CL_SUCCESS ||
		!most)
		most = d->max_group;
	if (clGetKernelWorkGroupInfo(k->cl, d->cl, CL_KERNEL_COMPILE_WORK_GROUP_SIZE, sizeof required, required, NULL) !=
		CL_SUCCESS)
		return most;
	const size_t items = required[0] * required[1] * required[2];
	return items > most ? items : most;
}

evn_status evn_kernel_get(evn_kernel **out, evn_queue *q, const evn_spec *spec, const char *name, evn_error *err)
{
	cl_program program;
	EVN_TRY(evn_program_get(q->device, spec, &program, err));
	evn_kernel *k = calloc(1, sizeof *k);
	if (!k)
		return evn_fail_memory(err, "kernel", sizeof *k);
	cl_int code;
	snprintf(k->name, sizeof k->name, "%s", name);
	k->label = evn_kernel_label(spec, name);
	k->queue = q;
	k->cl = clCreateKernel(program, name, &code);
	const char *call = "clCreateKernel";
	if (k->cl) {
		call = "clGetKernelInfo";
		code = clGetKernelInfo(k->cl, CL_KERNEL_NUM_ARGS, sizeof k->n_args, &k->n_args, NULL);
	}
	evn_status s = EVN_OK;
	if (code != CL_SUCCESS)
		s = evn_cl_fail(err, q->device, call, name, code);
	else if (!k->label || !(k->set = calloc(k->n_args + 1, sizeof *k->set)))
		s = evn_fail_memory(err, "kernel", k->n_args * sizeof *k->set);
	if (s != EVN_OK) {
		if (k->cl)
			clReleaseKernel(k->cl);
		free(k->label);
		free(k);
		return s;
	}
	k->max_group = find_max_group(k);
	k->next = q->kernels;
	*out = q->kernels = k;
	return EVN_OK;
}

size_t evn_kernel_max_group(const evn_kernel *k) { return k->max_group; }

evn_args evn_args_begin(evn_kernel *k) { return (evn_args){.kernel = k}; }

static void set_arg(evn_args *a, evn_arg_value now, size_t size, const void *value)
{
	uint32_t i = a->n++;
	if (a->code != CL_SUCCESS || i >= a->kernel->n_args) /* evn_launch reports a wrong number of arguments */
		return;
	evn_arg_value *set = &a->kernel->set[i];
	if (set->kind == now.kind && !memcmp(set->value, now.value, sizeof now.value))
		return;
	a->code = clSetKernelArg(a->kernel->cl, i, size, value);
	*set = a->code == CL_SUCCESS ? now : (evn_arg_value){0};
}

void evn_arg_buf(evn_args *a, const evn_buf *b)
{
	set_arg(a, (evn_arg_value){EVN_ARG_BUF, {b->serial, 0}}, sizeof b->cl, &b->cl);
}

static void set_numbers(evn_args *a, const void *numbers, size_t size)
{
	evn_arg_value now = {EVN_ARG_NUMBERS, {0}};
	memcpy(now.value, numbers, size);
	set_arg(a, now, size, numbers);
}

void evn_arg_u32(evn_args *a, uint32_t v) { set_numbers(a, &v, sizeof v); }
void evn_arg_f32(evn_args *a, float v) { set_numbers(a, &v, sizeof v); }
void evn_arg_u32x2(evn_args *a, const uint32_t v[2]) { set_numbers(a, v, 2 * sizeof *v); }
void evn_arg_u32x4(evn_args *a, const uint32_t v[4]) { set_numbers(a, v, 4 * sizeof *v); }
void evn_arg_u64x2(evn_args *a, const uint64_t v[2]) { set_numbers(a, v, 2 * sizeof *v); }
void evn_arg_f32x2(evn_args *a, const float v[2]) { set_numbers(a, v, 2 * sizeof *v); }

/* Structs are set at every launch. */
void evn_arg_struct(evn_args *a, const void *value, size_t size)
{
	uint32_t i = a->n++;
	if (a->code == CL_SUCCESS && i < a->kernel->n_args)
		a->code = clSetKernelArg(a->kernel->cl, i, size, value);
}

/* Calls clFinish after each launch, so that an error is reported for the kernel that caused it. */
static evn_status finish_named(const evn_kernel *k, evn_error *err)
{
	evn_log(EVN_LOG_DEBUG, "%s: %s", k->queue->device->name, k->name);
	cl_int code = clFinish(k->queue->cl);
	return code == CL_SUCCESS ? EVN_OK : evn_cl_fail(err, k->queue->device, "clFinish", k->name, code);
}

static evn_status enqueue_kernel(evn_args *a, uint32_t dims, const size_t *groups, const size_t *locals,
								 cl_event *event, evn_error *err)
{
	evn_kernel *k = a->kernel;
	evn_queue *q = k->queue;
	if (a->code != CL_SUCCESS)
		return evn_cl_fail(err, q->device, "clSetKernelArg", k->name, a->code);
	if (a->n != k->n_args)
		return evn_fail(err, EVN_ERR_DEVICE, "kernel %s: takes %u arguments, %u were set", k->name, k->n_args, a->n);
	size_t global[3], items = 1;
	for (uint32_t i = 0; i < dims; i++) {
		items *= locals ? locals[i] : 1;
		global[i] = groups[i] * (locals ? locals[i] : 1);
		if (!global[i])
			return evn_fail(err, EVN_ERR_DEVICE, "kernel %s: empty launch (dimension %u)", k->name, i);
	}
	if (items > k->max_group)
		return evn_fail(err, EVN_ERR_UNSUPPORTED, "kernel %s: work-groups of %zu items, %s allows it %zu", k->name,
						items, q->device->name, k->max_group);
	EVN_TRY(evn_usecount_first_launch(k, dims, global, locals, err));
	cl_event own = NULL;
	cl_int code =
		clEnqueueNDRangeKernel(q->cl, k->cl, dims, NULL, global, locals, 0, NULL, q->timed && !event ? &own : event);
	if (code != CL_SUCCESS)
		return evn_cl_fail(err, q->device, "clEnqueueNDRangeKernel", k->name, code);
	if (q->timed)
		EVN_TRY(evn_launch_note(k, event ? *event : own, !event, err));
	return evn_env_get()->debug_sync ? finish_named(k, err) : EVN_OK;
}

evn_status evn_launch(evn_args *a, uint32_t dims, const size_t *groups, const size_t *locals, evn_error *err)
{
	return enqueue_kernel(a, dims, groups, locals, NULL, err);
}

evn_status evn_launch_vectors(evn_args *a, uint32_t dims, const size_t *items, evn_error *err)
{
	static const size_t ones[] = {1, 1, 1};
	return evn_launch(a, dims, items, evn_device_is_cpu(a->kernel->queue->device) ? ones : NULL, err);
}

evn_status evn_launch_items(evn_args *a, uint32_t n, evn_error *err)
{
	size_t local = evn_device_lanes(a->kernel->queue->device) == 1 ? EVN_LANE_ITEMS : 1;
	while (local > a->kernel->max_group)
		local /= 2;
	const size_t most = MOST_ITEMS_WIDE / local, groups = (n + local - 1) / local;
	const size_t width = groups && groups < most ? groups : most;
	evn_arg_u32(a, n);
	return evn_launch(a, 2, (size_t[]){width, (groups + width - 1) / width}, (size_t[]){local, 1}, err);
}

evn_status evn_launch_timed(evn_args *a, uint32_t dims, const size_t *groups, const size_t *locals, evn_event **out,
							evn_error *err)
{
	evn_event *e = *out = calloc(1, sizeof *e);
	if (!e)
		return evn_fail_memory(err, "event", sizeof *e);
	evn_status s = enqueue_kernel(a, dims, groups, locals, &e->cl, err);
	if (s != EVN_OK) {
		free(e);
		*out = NULL;
	}
	return s;
}

evn_status evn_event_last(evn_event **out, evn_queue *q, evn_error *err)
{
	return evn_queue_wait(q, NULL, 0, out, err);
}

/* A marker without events completes when all commands before it have completed. */
evn_status evn_queue_wait(evn_queue *q, evn_event *const *events, size_t n, evn_event **resumed, evn_error *err)
{
	cl_event list[EVN_MAX_EVENTS];
	if (n > EVN_MAX_EVENTS)
		return evn_fail(err, EVN_ERR_LIMIT, "a queue can wait for %d events, not for %zu", EVN_MAX_EVENTS, n);
	for (size_t i = 0; i < n; i++)
		list[i] = events[i]->cl;
	evn_event *e = *resumed = calloc(1, sizeof *e);
	if (!e)
		return evn_fail_memory(err, "event", sizeof *e);
	cl_int code = n ? clEnqueueBarrierWithWaitList(q->cl, (cl_uint)n, list, &e->cl)
					: clEnqueueMarkerWithWaitList(q->cl, 0, NULL, &e->cl);
	if (code == CL_SUCCESS)
		return EVN_OK;
	free(e);
	*resumed = NULL;
	return evn_cl_fail(err, q->device, "clEnqueueBarrierWithWaitList", NULL, code);
}

static uint64_t event_time(const evn_event *e, cl_profiling_info which)
{
	cl_ulong ns = 0;
	if (clGetEventProfilingInfo(e->cl, which, sizeof ns, &ns, NULL) != CL_SUCCESS)
		return 0;
	return ns;
}

uint64_t evn_event_begin_ns(const evn_event *e) { return event_time(e, CL_PROFILING_COMMAND_START); }
uint64_t evn_event_end_ns(const evn_event *e) { return event_time(e, CL_PROFILING_COMMAND_END); }

bool evn_event_done(const evn_event *e)
{
	cl_int state;
	return clGetEventInfo(e->cl, CL_EVENT_COMMAND_EXECUTION_STATUS, sizeof state, &state, NULL) != CL_SUCCESS ||
		   state <= CL_COMPLETE;
}

evn_status evn_event_wait(evn_event *e, evn_queue *q, evn_error *err)
{
	evn_queue_wait_begins(q);
	cl_int code = clWaitForEvents(1, &e->cl);
	evn_queue_wait_ends(q);
	return code == CL_SUCCESS ? EVN_OK : evn_cl_fail(err, q->device, "clWaitForEvents", NULL, code);
}

void evn_event_free(evn_event *e)
{
	if (!e)
		return;
	clReleaseEvent(e->cl);
	free(e);
}
