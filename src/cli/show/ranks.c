/* ranks.c - see ranks.h. */
#include "cli/show/ranks.h"
#include "cli/show/console.h"
#include "cli/show/json.h"

#include <math.h>

#define LINE "%s%s%s: share %.1f %%, busy %.2f s, waited %.2f s, %.1f GB/s"
#define NODE_OF(r) (r).node ? " on node " : "", (r).node ? (r).node : ""

void ranks_print(FILE *out, const evn_plan_info *p, const evn_rank_stats *stats)
{
	for (size_t i = 0; i < p->n_ranks; i++)
		fprintf(out, LINE "\n", p->ranks[i].device, NODE_OF(p->ranks[i]), 100 * stats[i].share, stats[i].busy_s,
				stats[i].wait_s, stats[i].gbs);
}

void ranks_note(const evn_plan_info *p, const evn_rank_stats *stats)
{
	for (size_t i = 0; i < p->n_ranks; i++)
		console_note(LINE, p->ranks[i].device, NODE_OF(p->ranks[i]), 100 * stats[i].share, stats[i].busy_s,
					 stats[i].wait_s, stats[i].gbs);
}

json_t *ranks_json(const evn_plan_info *p, const evn_rank_stats *stats)
{
	json_t *ranks = json_array();
	for (size_t i = 0; i < p->n_ranks; i++) {
		json_t *rank = json_pack("{s:o, s:o, s:o, s:o, s:o}", "device", json_text(p->ranks[i].device), "share",
								 json_number(stats[i].share), "busy_s", json_number(stats[i].busy_s), "wait_s",
								 json_number(stats[i].wait_s), "gbs", json_number(stats[i].gbs));
		if (p->ranks[i].node && rank)
			json_object_set_new(rank, "node", json_text(p->ranks[i].node));
		json_push(&ranks, rank);
	}
	return ranks;
}

void events_note(evn_engine *e)
{
	evn_engine_event list[EVN_EVENTS_KEPT];
	const uint64_t all = evn_engine_events(e, list, EVN_EVENTS_KEPT);
	if (all > EVN_EVENTS_KEPT)
		console_note("%llu earlier events", (unsigned long long)(all - EVN_EVENTS_KEPT));
	for (uint64_t i = 0; i < all && i < EVN_EVENTS_KEPT; i++)
		console_note("after %.1f s: %s", list[i].at_s, list[i].text);
}

json_t *events_json(evn_engine *e)
{
	evn_engine_event list[EVN_EVENTS_KEPT];
	json_t *events = json_array();
	const uint64_t all = evn_engine_events(e, list, EVN_EVENTS_KEPT);
	for (uint64_t i = 0; i < all && i < EVN_EVENTS_KEPT; i++)
		json_push(&events,
				  json_pack("{s:o, s:o}", "at_s", json_number(list[i].at_s), "text", json_text(list[i].text)));
	return events;
}

double per_second(double n, double seconds) { return n > 0 && seconds > 0 ? n / seconds : (double)NAN; }
