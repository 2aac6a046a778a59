#include "engine/parked.h"

#include <stdlib.h>
#include <string.h>

struct evn_parked {
	evn_parked *next;
	evn_slot slot;
	uint32_t n;
	int32_t ids[];
};

void evn_park(evn_parked **list, const int32_t *ids, uint32_t n, evn_slot *slot)
{
	evn_parked *p = malloc(sizeof *p + n * sizeof *ids);
	if (!p)
		return;
	p->next = *list;
	p->slot = *slot;
	p->n = n;
	for (uint32_t i = 0; i < n; i++)
		p->ids[i] = ids[i];
	*slot = (evn_slot){0};
	*list = p;
}

uint32_t evn_unpark(evn_parked **list, const int32_t *ids, uint32_t n, evn_slot *slot)
{
	evn_parked **found = NULL;
	for (evn_parked **at = list; *at; at = &(*at)->next)
		if ((*at)->n <= n && (!found || (*at)->n > (*found)->n) && !memcmp((*at)->ids, ids, (*at)->n * sizeof *ids))
			found = at;
	if (!found)
		return 0;
	evn_parked *p = *found;
	const uint32_t length = p->n;
	*found = p->next;
	*slot = p->slot;
	free(p);
	return length;
}

bool evn_parked_drop(evn_parked **list, evn_block_pool *pool)
{
	evn_parked **at = list;
	if (!*at)
		return false;
	while ((*at)->next)
		at = &(*at)->next;
	evn_slot_free(&(*at)->slot, pool);
	free(*at);
	*at = NULL;
	return true;
}

uint32_t evn_parked_blocks(const evn_parked *list)
{
	uint32_t n = 0;
	for (; list; list = list->next)
		n += list->slot.n_blocks;
	return n;
}
