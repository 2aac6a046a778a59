/* cmd_timeline.c - evener timeline: draws one step of a trace that --trace has written, a row for each rank. */
#include "cli/cli.h"
#include "base/base.h"
#include "cli/show/json.h"
#include "cli/show/table.h"
#include "cli/show/text.h"
#include "cli/show/trace.h"
#include "evener/trace.h"
#include "plot/plot.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_BYTES ((size_t)1 << 30)
#define MAX_ROWS (2 * EVN_MAX_RANKS)

/* The colours of a timeline's kinds. */
enum { ATTENTION, REDUCE, FEED_FORWARD, OUTPUT, KERNEL_COLOUR = 5, WAIT = 7, N_KINDS };

typedef struct {
	evn_trace_kind kind;
	uint32_t thread;
	const char *name;
	double began_us, ended_us;
	double tokens; /* decoded, of a step */
} event;

typedef struct {
	const char *path;
	json_t *root;
	event *events, *steps; /* sorted into those of ranks and those of steps */
	size_t n_events, n_steps;
	const char *thread_names[TRACE_KERNELS + EVN_MAX_RANKS];
	event step;    /* that is drawn */
	size_t number; /* of the token; 0: the trace has prompts only */
	evn_timeline_span *spans;
	size_t n_spans;
	uint32_t row_of[TRACE_KERNELS + EVN_MAX_RANKS];
	const char *row_names[MAX_ROWS];
	uint32_t n_rows, threads[MAX_ROWS];
} timeline;

/* ---- reading --------------------------------------------------------------------------------------------------- */

static evn_status fail_event(const timeline *t, size_t i, const char *what, evn_error *err)
{
	return evn_fail(err, EVN_ERR_FORMAT, "%s: event %zu: expected %s", t->path, i, what);
}

static bool kind_of(const char *category, evn_trace_kind *out)
{
	for (*out = 0; *out < EVN_TRACE_KINDS; (*out)++)
		if (category && strcmp(category, trace_kinds[*out]) == 0)
			return true;
	return false;
}

static void take_name(timeline *t, json_t *e, json_int_t thread)
{
	const char *name = json_string_value(json_object_get(json_object_get(e, "args"), "name"));
	const char *what = json_string_value(json_object_get(e, "name"));
	if (what && strcmp(what, "thread_name") == 0 && name)
		t->thread_names[thread] = name;
}

/* Events of other programs, in a file that was saved again, are left out. */
static evn_status take_event(timeline *t, size_t i, json_t *e, evn_error *err)
{
	const char *phase = json_string_value(json_object_get(e, "ph"));
	const json_t *ts = json_object_get(e, "ts"), *dur = json_object_get(e, "dur");
	const json_int_t thread = json_integer_value(json_object_get(e, "tid"));
	event out = {.name = json_string_value(json_object_get(e, "name"))};
	if (!phase)
		return fail_event(t, i, "an object with the phase \"ph\"", err);
	if (json_integer_value(json_object_get(e, "pid")) != TRACE_PID || thread < 0 ||
		thread >= TRACE_KERNELS + EVN_MAX_RANKS)
		return EVN_OK;
	if (*phase == 'M')
		take_name(t, e, thread);
	if (*phase != 'X' || !kind_of(json_string_value(json_object_get(e, "cat")), &out.kind))
		return EVN_OK;
	if (!json_is_number(ts) || !json_is_number(dur) || !(json_number_value(dur) >= 0))
		return fail_event(t, i, "numbers \"ts\" and \"dur\"", err);
	out.thread = (uint32_t)thread;
	out.name = out.name ? out.name : "";
	out.began_us = json_number_value(ts);
	out.ended_us = out.began_us + json_number_value(dur);
	out.tokens = json_number_value(json_object_get(json_object_get(e, "args"), "tokens"));
	*(out.kind == EVN_TRACE_STEP ? &t->steps[t->n_steps++] : &t->events[t->n_events++]) = out;
	return EVN_OK;
}

static evn_status read_trace(timeline *t, evn_error *err)
{
	char *text = NULL;
	size_t bytes, i;
	json_error_t why;
	json_t *e;
	EVN_TRY(text_read(&text, &bytes, t->path, MAX_BYTES, err));
	t->root = json_loadb(text, bytes, 0, &why);
	free(text);
	if (!t->root)
		return evn_fail(err, EVN_ERR_FORMAT, "%s: no trace: line %d: %s", t->path, why.line, why.text);
	json_t *list = json_is_object(t->root) ? json_object_get(t->root, "traceEvents") : t->root;
	if (!json_is_array(list))
		return evn_fail(err, EVN_ERR_FORMAT, "%s: no trace: expected an array of events", t->path);
	t->events = calloc(json_array_size(list) + 1, sizeof *t->events);
	t->steps = calloc(json_array_size(list) + 1, sizeof *t->steps);
	if (!t->events || !t->steps)
		return evn_fail_memory(err, "the trace", json_array_size(list) * sizeof *t->events);
	json_array_foreach(list, i, e) EVN_TRY(take_event(t, i, e, err));
	return EVN_OK;
}

/* ---- choosing -------------------------------------------------------------------------------------------------- */

static double time_of(const event *e) { return e->ended_us - e->began_us; }

static int by_time(const void *a, const void *b)
{
	const double x = time_of(*(const event *const *)a), y = time_of(*(const event *const *)b);
	return (x > y) - (x < y);
}

/* The n-th of the chosen steps; n = 0: the one of median time. */
static evn_status choose_step(timeline *t, size_t n, evn_error *err)
{
	const event **chosen = calloc(t->n_steps + 1, sizeof *chosen);
	size_t n_chosen = 0;
	if (!chosen)
		return evn_fail_memory(err, "the steps", t->n_steps * sizeof *chosen);
	for (size_t i = 0; i < t->n_steps; i++)
		if (t->steps[i].tokens > 0)
			chosen[n_chosen++] = &t->steps[i];
	const bool decodes = n_chosen > 0;
	for (size_t i = 0; i < t->n_steps && !decodes && !n; i++)
		chosen[n_chosen++] = &t->steps[i];
	evn_status status = EVN_OK;
	if (!t->n_steps)
		status = evn_fail(err, EVN_ERR_FORMAT, "%s: no steps: expected what --trace writes", t->path);
	else if (n > n_chosen)
		status = evn_fail(err, EVN_ERR_USAGE, "--token %zu: %s has %zu tokens", n, t->path, n_chosen);
	if (status == EVN_OK) {
		const event *step = n ? chosen[n - 1] : NULL;
		if (!n) {
			qsort(chosen, n_chosen, sizeof *chosen, by_time);
			step = chosen[n_chosen / 2];
		}
		t->step = *step;
		for (size_t i = 0; i < t->n_steps && decodes; i++)
			t->number += t->steps[i].tokens > 0 && &t->steps[i] <= step;
	}
	free(chosen);
	return status;
}

static bool in_step(const timeline *t, const event *e)
{
	return e->ended_us > t->step.began_us && e->began_us < t->step.ended_us;
}

/* ---- drawing --------------------------------------------------------------------------------------------------- */

static uint32_t colour_of(evn_trace_kind kind)
{
	switch (kind) {
	case EVN_TRACE_ATTENTION:
		return ATTENTION;
	case EVN_TRACE_FEED_FORWARD:
		return FEED_FORWARD;
	case EVN_TRACE_OUTPUT:
		return OUTPUT;
	case EVN_TRACE_REDUCE:
		return REDUCE;
	case EVN_TRACE_KERNEL:
		return KERNEL_COLOUR;
	default:
		return WAIT;
	}
}

/* A row for each rank, and one for its kernels if the trace has them. */
static void make_rows(timeline *t)
{
	bool has[TRACE_KERNELS + EVN_MAX_RANKS] = {false};
	for (size_t i = 0; i < t->n_events; i++)
		has[t->events[i].thread] |= in_step(t, &t->events[i]);
	for (uint32_t rank = 0; rank < EVN_MAX_RANKS; rank++)
		for (int kernels = 0; kernels < 2; kernels++) {
			const uint32_t thread = rank + (kernels ? TRACE_KERNELS : TRACE_RANKS);
			if (!has[thread])
				continue;
			t->row_of[thread] = t->n_rows;
			t->threads[t->n_rows] = thread;
			t->row_names[t->n_rows++] = t->thread_names[thread] ? t->thread_names[thread] : "a rank";
		}
}

static evn_status make_spans(timeline *t, evn_error *err)
{
	t->spans = calloc(t->n_events + 1, sizeof *t->spans);
	if (!t->spans)
		return evn_fail_memory(err, "the bars", t->n_events * sizeof *t->spans);
	for (size_t i = 0; i < t->n_events; i++) {
		const event *e = &t->events[i];
		if (in_step(t, e))
			t->spans[t->n_spans++] =
				(evn_timeline_span){t->row_of[e->thread], colour_of(e->kind), (e->began_us - t->step.began_us) * 1e-3,
									(e->ended_us - t->step.began_us) * 1e-3};
	}
	return EVN_OK;
}

static bool layer_of(const event *e, unsigned *layer)
{
	const char *at = strstr(e->name, "layer ");
	return at && e->kind != EVN_TRACE_KERNEL && sscanf(at, "layer %u", layer) == 1;
}

/* The layer in the middle of the step is shown larger. */
static void zoom(const timeline *t, evn_timeline *out, char *title, size_t size)
{
	unsigned layer, most = 0;
	for (size_t i = 0; i < t->n_events; i++)
		if (in_step(t, &t->events[i]) && layer_of(&t->events[i], &layer) && layer > most)
			most = layer;
	out->zoom_began = out->ended;
	out->zoom_ended = 0;
	for (size_t i = 0; i < t->n_events; i++) {
		const event *e = &t->events[i];
		if (!in_step(t, e) || !layer_of(e, &layer) || layer != most / 2)
			continue;
		const double began = (e->began_us - t->step.began_us) * 1e-3, ended = (e->ended_us - t->step.began_us) * 1e-3;
		out->zoom_began = began < out->zoom_began ? began : out->zoom_began;
		out->zoom_ended = ended > out->zoom_ended ? ended : out->zoom_ended;
	}
	snprintf(title, size, "layer %u", most / 2);
	out->zoom_title = most && out->zoom_ended > out->zoom_began ? title : NULL;
}

static evn_status draw_step(const timeline *t, const char *path, evn_error *err)
{
	static const char *const names[N_KINDS] = {[ATTENTION] = "attention",
											   [FEED_FORWARD] = "feed-forward",
											   [OUTPUT] = "output",
											   [REDUCE] = "all-reduce",
											   [WAIT] = "waits for other ranks"};
	const char *kinds[N_KINDS] = {NULL};
	char title[160], zoom_title[32];
	evn_timeline picture = {.title = title,
							.x_label = "time (ms)",
							.row_names = t->row_names,
							.n_rows = t->n_rows,
							.kinds = kinds,
							.n_kinds = N_KINDS,
							.spans = t->spans,
							.n_spans = t->n_spans,
							.ended = time_of(&t->step) * 1e-3};
	for (size_t i = 0; i < t->n_spans; i++)
		kinds[t->spans[i].kind] = t->spans[i].kind == KERNEL_COLOUR ? "kernels" : names[t->spans[i].kind];
	if (t->number)
		snprintf(title, sizeof title, "Token %zu: %.3g ms", t->number, picture.ended);
	else
		snprintf(title, sizeof title, "A step of a prompt: %.3g ms", picture.ended);
	zoom(t, &picture, zoom_title, sizeof zoom_title);
	return evn_plot_timeline(path, &picture, err);
}

/* What each rank did in the step, in milliseconds. */
static evn_status print_step(const timeline *t, evn_error *err)
{
	table cells = table_start("lrrr");
	table_cell(&cells, "rank");
	table_cell(&cells, "computes, ms");
	table_cell(&cells, "waits, ms");
	table_cell(&cells, "all-reduce, ms");
	for (uint32_t row = 0; row < t->n_rows; row++) {
		double ms[N_KINDS] = {0}, all = 0;
		for (size_t i = 0; i < t->n_spans; i++)
			if (t->spans[i].row == row)
				ms[t->spans[i].kind] += t->spans[i].ended - t->spans[i].began;
		for (int kind = 0; kind < N_KINDS; kind++)
			all += ms[kind];
		if (t->threads[row] >= TRACE_KERNELS)
			continue;
		table_cell(&cells, "%s", t->row_names[row]);
		table_cell(&cells, "%.2f", all - ms[WAIT] - ms[REDUCE]);
		table_cell(&cells, "%.2f", ms[WAIT]);
		table_cell(&cells, "%.2f", ms[REDUCE]);
	}
	return table_print(&cells, err);
}

evn_status cmd_timeline(const invocation *in, evn_error *err)
{
	timeline t = {.path = in->n_arguments ? in->arguments[0] : NULL};
	if (!t.path)
		return evn_fail(err, EVN_ERR_USAGE, "timeline: no trace; give FILE.json, which --trace has written");
	if (!in->settings.output_path)
		return evn_fail(err, EVN_ERR_USAGE, "timeline: no file for the picture; give -o OUT.svg or -o OUT.png");
	evn_status status = read_trace(&t, err);
	if (status == EVN_OK)
		status = choose_step(&t, (size_t)in->settings.timeline_token, err);
	if (status == EVN_OK) {
		make_rows(&t);
		status = make_spans(&t, err);
	}
	if (status == EVN_OK)
		status = draw_step(&t, in->settings.output_path, err);
	if (status == EVN_OK)
		status = print_step(&t, err);
	free(t.spans);
	free(t.steps);
	free(t.events);
	json_decref(t.root);
	return status;
}
