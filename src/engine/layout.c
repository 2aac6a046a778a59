#include "engine/layout.h"

#include <stdio.h>
#include <string.h>

evn_layout evn_layout_of(const evn_system *s, const evn_pick *pick)
{
	evn_layout l = {.n = 1, .picks = {*pick}};
	evn_pick_name(s, pick, l.name, sizeof l.name);
	return l;
}

/* "0:0/2+2" */
static void name_parts(const evn_system *s, evn_layout *l)
{
	size_t at = (size_t)snprintf(l->name, sizeof l->name, "%s", evn_system_info(s, l->picks[0].device)->id);
	for (uint32_t k = 0; k < l->n && at < sizeof l->name; k++)
		at += (size_t)snprintf(l->name + at, sizeof l->name - at, "%c%u", k ? '+' : '/', l->picks[k].n_units);
}

static bool is_sensible(uint32_t parts, uint32_t cores)
{
	return parts == 2 || parts == 4 || parts == EVN_MAX_RANKS || parts == cores;
}

uint32_t evn_layouts_list(const evn_system *s, evn_layout *out)
{
	uint32_t n = 0;
	for (size_t i = 0; i < evn_system_count(s) && n < EVN_MAX_CANDIDATES; i++)
		if (evn_system_info(s, i)->usable)
			out[n++] = evn_layout_of(s, &(evn_pick){.device = i});
	for (size_t i = 0; i < evn_system_count(s); i++) {
		const evn_device_info *info = evn_system_info(s, i);
		if (!info->usable || strcmp(info->type, "cpu") != 0)
			continue;
		for (uint32_t parts = 2; parts <= EVN_MAX_RANKS && n < EVN_MAX_CANDIDATES; parts++) {
			evn_layout *l = &out[n];
			*l = (evn_layout){.n = parts};
			if (!is_sensible(parts, info->compute_units) || !evn_system_divide(s, i, parts, l->picks))
				continue;
			name_parts(s, l);
			n++;
		}
	}
	return n;
}
