#include "engine/usage.h"

#include <stdio.h>
#include <string.h>

evn_usage evn_usage_of(const evn_system *s, const evn_pick *pick)
{
	evn_usage u = {.n = 1, .picks = {*pick}};
	evn_pick_name(s, pick, u.name, sizeof u.name);
	return u;
}

/* "0:0/2+2" */
static void name_parts(const evn_system *s, evn_usage *u)
{
	size_t at = (size_t)snprintf(u->name, sizeof u->name, "%s", evn_system_info(s, u->picks[0].device)->id);
	for (uint32_t k = 0; k < u->n && at < sizeof u->name; k++)
		at += (size_t)snprintf(u->name + at, sizeof u->name - at, "%c%u", k ? '+' : '/', u->picks[k].n_units);
}

static bool is_sensible(uint32_t parts, uint32_t cores)
{
	return parts == 2 || parts == 4 || parts == EVN_MAX_RANKS || parts == cores;
}

uint32_t evn_usages_list(const evn_system *s, evn_usage *out)
{
	uint32_t n = 0;
	for (size_t i = 0; i < evn_system_count(s) && n < EVN_MAX_CANDIDATES; i++)
		if (evn_system_info(s, i)->usable)
			out[n++] = evn_usage_of(s, &(evn_pick){.device = i});
	for (size_t i = 0; i < evn_system_count(s); i++) {
		const evn_device_info *info = evn_system_info(s, i);
		if (!info->usable || strcmp(info->type, "cpu") != 0)
			continue;
		for (uint32_t parts = 2; parts <= EVN_MAX_RANKS && n < EVN_MAX_CANDIDATES; parts++) {
			evn_usage *u = &out[n];
			*u = (evn_usage){.n = parts};
			if (!is_sensible(parts, info->compute_units) || !evn_system_divide(s, i, parts, u->picks))
				continue;
			name_parts(s, u);
			n++;
		}
	}
	return n;
}
