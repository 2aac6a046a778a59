/* trace.h - writes what an engine does to a file of Chrome's trace format, which Perfetto opens. `timeline` reads it
 * again (commands/cmd_timeline.c). */
#ifndef EVN_CLI_TRACE_H
#define EVN_CLI_TRACE_H

#include <stdio.h>

#include "cli/config/settings.h"

/* Processes of the file, and the first thread of ranks and of their kernels. */
enum { TRACE_PID = 1, TRACE_REQUESTS_PID = 2, TRACE_STEPS = 1, TRACE_RANKS = 10, TRACE_KERNELS = 100 };

typedef struct {
	FILE *file; /* NULL: there is no trace */
	const char *path;
	evn_engine *engine;
} trace;

extern const char *const trace_kinds[]; /* the category of each evn_trace_kind */

/* Begins the trace that --trace asks for. */
evn_status trace_begin(trace *t, const settings *s, evn_engine *e, evn_error *err);
/* Ends it, before its engine is closed, if it was begun. Returns status, or what went wrong if that is EVN_OK. */
evn_status trace_end(trace *t, evn_status status, evn_error *err);

#endif
