/* events.c - queues of one context wait for each other's events and sum by a kernel: the host only enqueues. */
#include "group/method.h"

/* Every rank waits for every other, also for those that contribute nothing: a rank's next but one partial goes to the
 * buffer that the others read now, and their having passed the next all-reduce makes that safe. */
evn_status evn_reduce_by_events(evn_comm *c, uint32_t rank, const evn_sum *s, evn_error *err)
{
	evn_member *m = &c->ranks[rank];
	evn_parts *parts;
	EVN_TRY(evn_message(c, rank, s, &parts, err));
	if (c->n_ranks > 1) {
		if (m->n_exchanges == EVN_MAX_EXCHANGES)
			return evn_fail(err, EVN_ERR_LIMIT, "more than %d all-reduces in one step", EVN_MAX_EXCHANGES);
		uint32_t at = m->n_exchanges++;
		m->exchanges[at] = (evn_exchange){0};
		EVN_TRY(evn_event_last(&m->exchanges[at].arrived, m->queue, err));
		EVN_TRY(evn_queue_flush(m->queue, err));
		EVN_TRY(evn_comm_barrier(c, err));
		evn_event *others[EVN_MAX_RANKS];
		size_t n = 0;
		for (uint32_t i = 0; i < c->n_ranks; i++)
			if (i != rank)
				others[n++] = c->ranks[i].exchanges[at].arrived;
		EVN_TRY(evn_queue_wait(m->queue, others, n, &m->exchanges[at].resumed, err));
	}
	return evn_enqueue_sum(c, rank, parts, s, err);
}
