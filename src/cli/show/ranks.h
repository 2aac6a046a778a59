/* ranks.h - what each rank of a plan did, in words and as JSON. */
#ifndef EVN_CLI_RANKS_H
#define EVN_CLI_RANKS_H

#include "evener.h"

#include <jansson.h>
#include <stdio.h>

/* A line for each rank: share, time in which it computed and waited, GB/s. stats: one for each rank. */
void ranks_print(FILE *out, const evn_plan_info *p, const evn_rank_stats *stats);
void ranks_note(const evn_plan_info *p, const evn_rank_stats *stats); /* the same, unless quiet */
json_t *ranks_json(const evn_plan_info *p, const evn_rank_stats *stats);
/* The last events of the engine: devices that failed, shares that moved. */
void events_note(evn_engine *e);
json_t *events_json(evn_engine *e);

double per_second(double n, double seconds); /* NaN if there is nothing to tell */

#endif
