/* merge.c - the pairs are in a heap. A merge changes the pairs on both sides. Their old entries stay in the heap;
 * they are recognised because their rank is no longer the rank of the pair. */
#include "model/merge.h"

#include <stdlib.h>

#define FIRST_CAPACITY 256u

evn_status evn_merger_reserve(evn_merger *m, size_t n, evn_error *err)
{
	if (n <= m->capacity)
		return EVN_OK;
	size_t capacity = n < FIRST_CAPACITY ? FIRST_CAPACITY : n;
	evn_merger_clear(m);
	m->symbols = malloc(capacity * sizeof *m->symbols);
	/* n - 1 pairs at the start; each of at most n - 1 merges removes one and adds up to two */
	m->queue = malloc(2 * capacity * sizeof *m->queue);
	if (!m->symbols || !m->queue)
		return evn_fail_memory(err, "tokenizer", capacity * (sizeof *m->symbols + 2 * sizeof *m->queue));
	m->capacity = capacity;
	return EVN_OK;
}

void evn_merger_clear(evn_merger *m)
{
	free(m->symbols);
	free(m->queue);
	*m = (evn_merger){0};
}

static void sift_down(uint64_t *queue, size_t n, size_t at)
{
	uint64_t entry = queue[at];
	for (size_t child = 4 * at + 1; child < n; child = 4 * at + 1) {
		size_t least = child, end = child + 4 < n ? child + 4 : n;
		for (size_t i = child + 1; i < end; i++)
			if (queue[i] < queue[least])
				least = i;
		if (queue[least] >= entry)
			break;
		queue[at] = queue[least];
		at = least;
	}
	queue[at] = entry;
}

static uint64_t pop(evn_merger *m)
{
	uint64_t top = m->queue[0];
	m->queue[0] = m->queue[--m->n_queue];
	sift_down(m->queue, m->n_queue, 0);
	return top;
}

static void push(evn_merger *m, uint64_t entry)
{
	size_t at = m->n_queue++;
	while (at > 0 && m->queue[(at - 1) / 4] > entry) {
		m->queue[at] = m->queue[(at - 1) / 4];
		at = (at - 1) / 4;
	}
	m->queue[at] = entry;
}

static uint64_t entry_of(const evn_symbol *left, uint32_t begin) { return (uint64_t)left->rank << 32 | begin; }

static void first_pairs(evn_merger *m, uint32_t n, evn_pair_fn pair, const void *user)
{
	m->n_queue = 0;
	for (uint32_t at = 0, previous = 0; at < n; previous = at, at += m->symbols[at].length) {
		evn_symbol *s = &m->symbols[at];
		s->previous = previous;
		s->rank = EVN_NO_RANK;
		if (at + s->length < n)
			pair(user, at, s, &m->symbols[at + s->length]);
		if (s->rank != EVN_NO_RANK)
			m->queue[m->n_queue++] = entry_of(s, at);
	}
	for (size_t i = m->n_queue / 4 + 1; i-- > 0;)
		if (i < m->n_queue)
			sift_down(m->queue, m->n_queue, i);
}

static void new_pair(evn_merger *m, uint32_t n, uint32_t begin, evn_pair_fn pair, const void *user)
{
	evn_symbol *left = &m->symbols[begin];
	left->rank = EVN_NO_RANK;
	if (begin + left->length < n)
		pair(user, begin, left, &m->symbols[begin + left->length]);
	if (left->rank != EVN_NO_RANK)
		push(m, entry_of(left, begin));
}

void evn_merge(evn_merger *m, uint32_t n, evn_pair_fn pair, const void *user)
{
	first_pairs(m, n, pair, user);
	while (m->n_queue > 0) {
		uint64_t entry = pop(m);
		uint32_t begin = (uint32_t)entry;
		evn_symbol *left = &m->symbols[begin];
		if (entry != entry_of(left, begin))
			continue;
		evn_symbol *right = &m->symbols[begin + left->length];
		left->id = left->merged;
		left->length += right->length;
		right->rank = EVN_NO_RANK; /* entries of a symbol that is gone do not count */
		if (begin + left->length < n)
			m->symbols[begin + left->length].previous = begin;
		new_pair(m, n, begin, pair, user);
		if (begin > 0)
			new_pair(m, n, left->previous, pair, user);
	}
}
