/* trace.c - see trace.h. The file is an array with an event on each line. What a killed process leaves lacks the end
 * of the array, which Perfetto does not miss. */
#include "cli/show/trace.h"
#include "base/base.h"
#include "evener/trace.h"

#include <errno.h>
#include <string.h>

const char *const trace_kinds[] = {
	[EVN_TRACE_STEP] = "step",     [EVN_TRACE_ATTENTION] = "attention", [EVN_TRACE_FEED_FORWARD] = "feed-forward",
	[EVN_TRACE_OUTPUT] = "output", [EVN_TRACE_WAIT] = "wait",           [EVN_TRACE_REDUCE] = "all-reduce",
	[EVN_TRACE_KERNEL] = "kernel", [EVN_TRACE_REQUEST] = "request",     [EVN_TRACE_EVENT] = "event"};

/* Device names come from drivers and may hold anything. */
static void put_text(FILE *f, const char *text)
{
	fputc('"', f);
	for (const unsigned char *c = (const unsigned char *)text; *c; c++)
		if (*c == '"' || *c == '\\')
			fprintf(f, "\\%c", *c);
		else if (*c < 0x20 || *c >= 0x7f)
			fputc('?', f);
		else
			fputc(*c, f);
	fputc('"', f);
}

static void put_name(FILE *f, const char *what, int pid, size_t tid, const char *name)
{
	fprintf(f, ",\n{\"ph\":\"M\",\"pid\":%d,\"tid\":%zu,\"name\":\"%s\",\"args\":{\"name\":", pid, tid, what);
	put_text(f, name);
	fputs("}}", f);
}

static void put_tokens(FILE *f, const evn_trace_span *s)
{
	fprintf(f, ",\"args\":{\"prompt_tokens\":%u,\"tokens\":%u}", s->prompt_tokens, s->tokens);
}

/* A request has a track of its own, which its events find by their id. */
static void put_request(FILE *f, const evn_trace_span *s)
{
	const double times[] = {s->began_s, s->ended_s};
	for (int end = 0; end < 2; end++) {
		fprintf(f,
				",\n{\"ph\":\"%c\",\"pid\":%d,\"tid\":0,\"cat\":\"request\",\"id\":%llu,\"ts\":%.3f,"
				"\"name\":\"request %llu: %s\"",
				end ? 'e' : 'b', TRACE_REQUESTS_PID, (unsigned long long)s->track, times[end] * 1e6,
				(unsigned long long)s->track, s->name);
		put_tokens(f, s);
		fputc('}', f);
	}
}

static void put_event(FILE *f, const evn_trace_span *s)
{
	fprintf(f,
			",\n{\"ph\":\"i\",\"s\":\"g\",\"pid\":%d,\"tid\":%d,\"cat\":\"event\",\"ts\":%.3f,\"name\":", TRACE_PID,
			TRACE_STEPS, s->began_s * 1e6);
	put_text(f, s->name);
	fputc('}', f);
}

static void put_span(FILE *f, const evn_trace_span *s)
{
	const unsigned long long track = s->kind == EVN_TRACE_STEP
										 ? TRACE_STEPS
										 : s->track + (s->kind == EVN_TRACE_KERNEL ? TRACE_KERNELS : TRACE_RANKS);
	fprintf(f,
			",\n{\"ph\":\"X\",\"pid\":%d,\"tid\":%llu,\"cat\":\"%s\",\"ts\":%.3f,\"dur\":%.3f,\"name\":", TRACE_PID,
			track, trace_kinds[s->kind], s->began_s * 1e6, (s->ended_s - s->began_s) * 1e6);
	put_text(f, s->name);
	if (s->kind == EVN_TRACE_STEP)
		put_tokens(f, s);
	fputc('}', f);
}

static void put(void *user, const evn_trace_span *s)
{
	FILE *f = user;
	if (s->kind == EVN_TRACE_REQUEST)
		put_request(f, s);
	else if (s->kind == EVN_TRACE_EVENT)
		put_event(f, s);
	else
		put_span(f, s);
}

static void put_tracks(FILE *f, const evn_plan_info *p, bool kernels)
{
	char name[256];
	fputs("[\n{\"ph\":\"M\",\"pid\":1,\"tid\":0,\"name\":\"process_name\",\"args\":{\"name\":\"engine\"}}", f);
	put_name(f, "process_name", TRACE_REQUESTS_PID, 0, "requests");
	put_name(f, "thread_name", TRACE_PID, TRACE_STEPS, "steps");
	for (size_t i = 0; i < p->n_ranks; i++) {
		snprintf(name, sizeof name, "%s %s", p->ranks[i].device, p->ranks[i].name);
		put_name(f, "thread_name", TRACE_PID, TRACE_RANKS + i, name);
		snprintf(name, sizeof name, "%s kernels", p->ranks[i].device);
		if (kernels)
			put_name(f, "thread_name", TRACE_PID, TRACE_KERNELS + i, name);
	}
}

evn_status trace_begin(trace *t, const settings *s, evn_engine *e, evn_error *err)
{
	*t = (trace){0};
	if (!s->trace_path)
		return EVN_OK;
	t->file = fopen(s->trace_path, "w");
	if (!t->file)
		return evn_fail(err, EVN_ERR_FILE, "%s: could not write: %s", s->trace_path, strerror(errno));
	t->path = s->trace_path;
	t->engine = e;
	put_tracks(t->file, evn_engine_plan(e), s->trace_kernels);
	return evn_engine_trace(e, put, t->file, s->trace_kernels, err);
}

evn_status trace_end(trace *t, evn_status status, evn_error *err)
{
	if (!t->file)
		return status;
	const evn_status ended = evn_engine_trace(t->engine, NULL, NULL, false, status == EVN_OK ? err : NULL);
	fputs("\n]\n", t->file);
	const bool lost = ferror(t->file);
	const bool failed = fclose(t->file) != 0 || lost;
	t->file = NULL;
	if (status != EVN_OK || ended != EVN_OK)
		return status != EVN_OK ? status : ended;
	return failed ? evn_fail(err, EVN_ERR_FILE, "%s: could not write: %s", t->path, strerror(errno)) : EVN_OK;
}
