/* doubt.h - a trial that runs prove wrong. A machine may be busy with what its counters do not show, such as another
 * guest of its host. Devices that are measured then seem slower than they are, and the plan is bad for as long as the
 * figures are kept. So a run that is clearly faster than its plan predicted doubts the moment of the measurement. The
 * next start measures again what was measured about that time, once. A run that is slower proves nothing: the machine
 * may be busy now. */
#ifndef EVN_DOUBT_H
#define EVN_DOUBT_H

#include <stdbool.h>
#include <stdint.h>

typedef struct evn_engine evn_engine;
typedef struct evn_step_seen evn_step_seen;

/* What an engine has seen. All zeros at the start. */
typedef struct {
	uint32_t n_steps;
	double wall_s;
	bool over; /* there is nothing more to find out */
} evn_doubt;

/* True if what was measured at that time is doubted. Unix time. */
bool evn_doubt_covers(double taken_s);
/* Keeps the moment in the cache folder, where it takes the place of an earlier one. */
void evn_doubt_moment(double taken_s);

/* After a step that succeeded. */
void evn_doubt_after_step(evn_engine *e, const evn_step_seen *seen);
/* Doubts what the engine's plan was made from, unless it has been measured again for a doubt before. The engine notes
 * the reason. */
void evn_doubt_plan(evn_engine *e, const char *reason);

#endif
