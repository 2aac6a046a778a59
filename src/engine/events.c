/* events.c - what changed since the engine was opened. Other threads may ask while a step runs. */
#include "engine/engine.h"

#include <stdarg.h>
#include <stdio.h>

void evn_engine_note(evn_engine *e, evn_log_level level, const char *format, ...)
{
	evn_engine_events_kept *k = &e->events;
	evn_engine_event event = {.at_s = evn_now_s() - k->began_s};
	va_list args;
	va_start(args, format);
	vsnprintf(event.text, sizeof event.text, format, args);
	va_end(args);
	evn_log(level, "%s", event.text);
	pthread_mutex_lock(&k->lock);
	k->list[k->n++ % EVN_EVENTS_KEPT] = event;
	pthread_mutex_unlock(&k->lock);
	evn_trace_event(e, event.text);
}

uint64_t evn_engine_events(evn_engine *e, evn_engine_event *out, size_t n)
{
	evn_engine_events_kept *k = &e->events;
	pthread_mutex_lock(&k->lock);
	const uint64_t all = k->n, kept = all < EVN_EVENTS_KEPT ? all : EVN_EVENTS_KEPT, given = n < kept ? n : kept;
	for (uint64_t i = 0; i < given; i++)
		out[i] = k->list[(all - given + i) % EVN_EVENTS_KEPT];
	pthread_mutex_unlock(&k->lock);
	return all;
}
