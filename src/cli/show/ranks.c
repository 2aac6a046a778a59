/* ranks.c - see ranks.h. */
#include "cli/show/ranks.h"
#include "cli/show/console.h"
#include "cli/show/json.h"

#include <math.h>

#define LINE "%s: share %.1f %%, busy %.2f s, waited %.2f s, %.1f GB/s"

void ranks_print(FILE *out, const evn_plan_info *p, const evn_rank_stats *stats)
{
	for (size_t i = 0; i < p->n_ranks; i++)
		fprintf(out, LINE "\n", p->ranks[i].device, 100 * p->ranks[i].share_decode, stats[i].busy_s, stats[i].wait_s,
				stats[i].gbs);
}

void ranks_note(const evn_plan_info *p, const evn_rank_stats *stats)
{
	for (size_t i = 0; i < p->n_ranks; i++)
		console_note(LINE, p->ranks[i].device, 100 * p->ranks[i].share_decode, stats[i].busy_s, stats[i].wait_s,
					 stats[i].gbs);
}

json_t *ranks_json(const evn_plan_info *p, const evn_rank_stats *stats)
{
	json_t *ranks = json_array();
	for (size_t i = 0; i < p->n_ranks; i++)
		json_push(&ranks, json_pack("{s:o, s:o, s:o, s:o, s:o}", "device", json_text(p->ranks[i].device), "share",
									json_number(p->ranks[i].share_decode), "busy_s", json_number(stats[i].busy_s),
									"wait_s", json_number(stats[i].wait_s), "gbs", json_number(stats[i].gbs)));
	return ranks;
}

double per_second(double n, double seconds) { return n > 0 && seconds > 0 ? n / seconds : (double)NAN; }
