/* kernel_times.c - how long each kernel of a queue runs, by the device's clock. An event for each launch is kept
 * until timing ends. */
#include "ocl/internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct evn_launch_time {
	evn_kernel *kernel;
	cl_event event;
	struct evn_launch_time *next;
} evn_launch_time;

/* Appends the name of each part of "matvec.cl WEIGHTS=quant/q4_k.cl ROW=row_q8.cl" without folder and suffix, then
 * the defines without -D. */
char *evn_kernel_label(const evn_spec *spec, const char *name)
{
	char text[sizeof spec->sources + sizeof spec->defines + 64];
	size_t n = (size_t)snprintf(text, 64, "%s", name);
	n = n < 63 ? n : 63;
	for (const char *part = strchr(spec->sources, '='); part; part = strchr(part + 1, '=')) {
		const size_t length = strcspn(part, " ");
		const char *end = part + length, *from = end;
		while (from[-1] != '/' && from[-1] != '=')
			from--;
		if (end - from > 3 && !strncmp(end - 3, ".cl", 3))
			end -= 3;
		text[n++] = ' ';
		memcpy(text + n, from, (size_t)(end - from));
		n += (size_t)(end - from);
	}
	for (const char *c = spec->defines; *c; c++) {
		c += strncmp(c, "-D", 2) ? 0 : 2;
		text[n++] = *c;
	}
	text[n] = '\0';
	return evn_strdup(text);
}

void evn_launches_forget(evn_queue *q)
{
	while (q->times) {
		evn_launch_time *next = q->times->next;
		clReleaseEvent(q->times->event);
		free(q->times);
		q->times = next;
	}
}

evn_status evn_launch_note(evn_kernel *k, cl_event event, bool owned, evn_error *err)
{
	evn_launch_time *t = malloc(sizeof *t);
	if (!t) {
		if (owned)
			clReleaseEvent(event);
		return evn_fail_memory(err, "the time of a launch", sizeof *t);
	}
	if (!owned)
		clRetainEvent(event);
	*t = (evn_launch_time){k, event, k->queue->times};
	k->queue->times = t;
	return EVN_OK;
}

/* False if the driver tells no times. */
static bool times_of(const evn_launch_time *t, cl_ulong *began, cl_ulong *ended)
{
	return clGetEventProfilingInfo(t->event, CL_PROFILING_COMMAND_START, sizeof *began, began, NULL) == CL_SUCCESS &&
		   clGetEventProfilingInfo(t->event, CL_PROFILING_COMMAND_END, sizeof *ended, ended, NULL) == CL_SUCCESS &&
		   *ended > *began;
}

static void add_times(evn_queue *q)
{
	for (evn_launch_time *t = q->times; t; t = t->next) {
		cl_ulong began = 0, ended = 0;
		if (times_of(t, &began, &ended))
			t->kernel->timed_ns += ended - began;
		t->kernel->n_timed++;
	}
	evn_launches_forget(q);
}

/* The list has the last launch first. */
static void reverse(evn_queue *q)
{
	evn_launch_time *all = q->times, *next;
	for (q->times = NULL; all; all = next) {
		next = all->next;
		all->next = q->times;
		q->times = all;
	}
}

void evn_queue_take_launches(evn_queue *q, evn_launch_span_fn each, void *user)
{
	cl_ulong began, ended;
	reverse(q);
	for (const evn_launch_time *t = q->times; t; t = t->next)
		if (times_of(t, &began, &ended))
			each(user, &(evn_launch_span){t->kernel->label, began, ended});
	evn_launches_forget(q);
}

evn_status evn_queue_time_kernels(evn_queue *q, bool on, evn_error *err)
{
	EVN_TRY(evn_queue_finish(q, err));
	if (on)
		EVN_TRY(evn_queue_profile(q, err));
	if (!on)
		add_times(q);
	else
		evn_launches_forget(q);
	for (evn_kernel *k = on ? q->kernels : NULL; k; k = k->next)
		k->n_timed = k->timed_ns = 0;
	q->timed = on;
	return EVN_OK;
}

void evn_queue_kernel_times(const evn_queue *q, evn_kernel_sum_fn each, void *user)
{
	for (const evn_kernel *k = q->kernels; k; k = k->next)
		if (k->n_timed)
			each(user, &(evn_kernel_sum){k->label, k->n_timed, k->timed_ns});
}
