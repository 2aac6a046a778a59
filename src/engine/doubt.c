#include "engine/doubt.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "engine/engine.h"

#define STEPS 32u    /* that decode one row, looked at together */
#define FASTER 1.2   /* than predicted */
#define ABOUT_S 300. /* the sets of a first use are measured within so many seconds */
#define FILE_LIMIT ((size_t)64)

static char *moment_file(void) { return evn_cache_path("profiles/doubted"); }

bool evn_doubt_covers(double taken_s)
{
	char *path = moment_file(), *text = NULL;
	size_t size;
	const bool known = path && evn_read_file(&text, &size, path, FILE_LIMIT, NULL) == EVN_OK;
	const double moment = known ? strtod(text, NULL) : 0;
	free(path);
	free(text);
	return moment > 0 && taken_s > 0 && fabs(taken_s - moment) < ABOUT_S;
}

void evn_doubt_moment(double taken_s)
{
	char text[32], *path = moment_file();
	const int n = snprintf(text, sizeof text, "%.0f\n", taken_s);
	if (path)
		evn_write_file(path, text, (size_t)n, NULL);
	free(path);
}

void evn_doubt_plan(evn_engine *e, const char *reason)
{
	const evn_profile *p = &e->prepared.profile;
	if (e->doubt.over)
		return;
	e->doubt.over = true;
	if (p->measured_again || p->measured.taken_s <= 0)
		return;
	evn_doubt_moment(p->measured.taken_s);
	evn_engine_note(e, EVN_LOG_INFO, "the measurement of the devices is doubted: %s%s", reason,
					p->measured.thorough ? "" : "; the next start measures again");
}

void evn_doubt_after_step(evn_engine *e, const evn_step_seen *seen)
{
	evn_doubt *d = &e->doubt;
	char reason[128];
	if (d->over || !e->prepared.plan || seen->batch->n_rows != 1 || seen->batch->spans[0].phase != EVN_DECODE)
		return;
	d->wall_s += seen->wall_s;
	if (++d->n_steps < STEPS)
		return;
	const double predicted = evn_plan_get(e->prepared.plan)->decode_tok_s, tok_s = d->n_steps / d->wall_s;
	d->n_steps = 0;
	d->wall_s = 0;
	if (predicted <= 0 || tok_s <= FASTER * predicted)
		return;
	snprintf(reason, sizeof reason, "%u tokens were decoded at %.0f tokens/s, predicted were %.0f", STEPS, tok_s,
			 predicted);
	evn_doubt_plan(e, reason);
}
