/* evener/trace.h - what an engine did when: steps, what each rank computed, its waits and all-reduces, requests. */
#ifndef EVENER_TRACE_H
#define EVENER_TRACE_H

#include "evener.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef enum {
	EVN_TRACE_STEP,         /* track 0 */
	EVN_TRACE_ATTENTION,    /* track: the rank */
	EVN_TRACE_FEED_FORWARD, /* or experts */
	EVN_TRACE_OUTPUT,       /* behind the last block: norm, logits */
	EVN_TRACE_WAIT,         /* until the last rank has arrived at an all-reduce */
	EVN_TRACE_REDUCE,       /* messages travel and are added; the next norm */
	EVN_TRACE_KERNEL,       /* track: the rank */
	EVN_TRACE_REQUEST,      /* of a scheduler; track: its number. Its waiting, its prompt and its answer */
	EVN_TRACE_EVENT,        /* as in evn_engine_events; it takes no time */
	EVN_TRACE_KINDS,
} evn_trace_kind;

typedef struct {
	evn_trace_kind kind;
	const char *name; /* "layer 3 attention"; valid during the call */
	uint64_t track;
	double began_s, ended_s;        /* since the trace was begun */
	uint32_t prompt_tokens, tokens; /* of steps and requests: computed of prompts, and decoded or drawn */
} evn_trace_span;

/* Spans of one track come in order of time. Called between steps, which wait for it; it must not call the engine. */
typedef void (*evn_trace_fn)(void *user, const evn_trace_span *s);

/* Tells fn from the next step on what happens; fn = NULL ends that. A trace costs an event for each all-reduce, and
 * the times of events, which an engine of several ranks has anyway. kernels: an event for each launch, too. Ranks of
 * other nodes are not seen. Times of ranks come from the devices' clocks, fitted to the host's to some
 * microseconds. */
EVN_API evn_status evn_engine_trace(evn_engine *e, evn_trace_fn fn, void *user, bool kernels, evn_error *err);

#ifdef __cplusplus
}
#endif
#endif
