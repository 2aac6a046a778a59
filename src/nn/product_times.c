/* product_times.c - see product_times.h. */
#include "nn/product_times.h"

#include <stdlib.h>
#include <string.h>

evn_status evn_product_begin(evn_product_times *t, evn_queue *q, evn_product_kind kind, double flops, evn_error *err)
{
	if (!t || !t->wanted)
		return EVN_OK;
	if (t->n == t->room) {
		size_t room = t->room ? 2 * t->room : 64;
		evn_product_time *times = realloc(t->times, room * sizeof *times);
		if (!times)
			return evn_fail_memory(err, "times of products", room * sizeof *times);
		t->times = times;
		t->room = room;
	}
	evn_product_time *p = &t->times[t->n];
	*p = (evn_product_time){.kind = kind, .flops = flops};
	EVN_TRY(evn_event_last(&p->before, q, err));
	t->n++;
	return EVN_OK;
}

evn_status evn_product_end(evn_product_times *t, evn_queue *q, evn_error *err)
{
	return t && t->wanted ? evn_event_last(&t->times[t->n - 1].after, q, err) : EVN_OK;
}

static void forget(evn_product_times *t)
{
	for (size_t i = 0; i < t->n; i++) {
		evn_event_free(t->times[i].before);
		evn_event_free(t->times[i].after);
	}
	t->n = 0;
}

void evn_product_times_add(evn_product_times *t)
{
	for (size_t i = 0; i < t->n; i++) {
		const evn_product_time *p = &t->times[i];
		uint64_t begin = evn_event_end_ns(p->before), end = p->after ? evn_event_end_ns(p->after) : 0;
		if (!begin || end <= begin)
			continue;
		t->sums[p->kind].flops += p->flops;
		t->sums[p->kind].ns += (double)(end - begin);
	}
	forget(t);
}

void evn_product_times_clear(evn_product_times *t)
{
	forget(t);
	free(t->times);
	*t = (evn_product_times){0};
}
