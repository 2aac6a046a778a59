#include "nn/blocks.h"

#include <stdlib.h>

evn_status evn_pool_grow(evn_block_pool *p, uint32_t n_blocks, evn_error *err)
{
	if (n_blocks <= p->n_blocks)
		return EVN_OK;
	uint32_t *free_list = malloc(n_blocks * sizeof *free_list);
	uint32_t *n_users = calloc(n_blocks, sizeof *n_users);
	if (!free_list || !n_users) {
		free(free_list);
		free(n_users);
		return evn_fail_memory(err, "KV cache's blocks", 2 * n_blocks * sizeof *n_users);
	}
	/* The free list ends with the lowest number, which is taken first. */
	uint32_t n_free = 0;
	for (uint32_t i = n_blocks; i-- > p->n_blocks;)
		free_list[n_free++] = i;
	for (uint32_t i = 0; i < p->n_free; i++)
		free_list[n_free++] = p->free_list[i];
	for (uint32_t i = 0; i < p->n_blocks; i++)
		n_users[i] = p->n_users[i];
	free(p->free_list);
	free(p->n_users);
	p->n_blocks = n_blocks;
	p->n_free = n_free;
	p->free_list = free_list;
	p->n_users = n_users;
	return EVN_OK;
}

evn_status evn_pool_grow_states(evn_block_pool *p, uint32_t n_states, evn_error *err)
{
	if (n_states <= p->n_states)
		return EVN_OK;
	uint32_t *more = realloc(p->free_states, n_states * sizeof *more);
	if (!more)
		return evn_fail_memory(err, "states", n_states * sizeof *more);
	p->free_states = more;
	for (; p->n_states < n_states; p->n_states++)
		more[p->n_free_states++] = p->n_states;
	return EVN_OK;
}

void evn_pool_free(evn_block_pool *p)
{
	free(p->free_list);
	free(p->n_users);
	free(p->free_states);
	*p = (evn_block_pool){0};
}

static evn_status make_room(evn_slot *s, uint32_t n_blocks, evn_error *err)
{
	if (n_blocks <= s->room)
		return EVN_OK;
	uint32_t *more = realloc(s->table, n_blocks * sizeof *more);
	if (!more)
		return evn_fail_memory(err, "block table", n_blocks * sizeof *more);
	s->table = more;
	s->room = n_blocks;
	return EVN_OK;
}

evn_status evn_slot_extend(evn_slot *s, evn_block_pool *p, uint32_t n_positions, evn_error *err)
{
	const uint32_t wanted = evn_blocks_for(n_positions), more = wanted > s->n_blocks ? wanted - s->n_blocks : 0;
	if (more > p->n_free)
		return evn_fail(err, EVN_ERR_LIMIT, "KV cache: %u more blocks of %u positions are needed, %u of %u are free",
						more, EVN_BLOCK_POSITIONS, p->n_free, p->n_blocks);
	if (p->n_states && !s->state && !p->n_free_states)
		return evn_fail(err, EVN_ERR_LIMIT, "states: all %u sequences that can have one have it", p->n_states);
	EVN_TRY(make_room(s, wanted, err));
	if (p->n_states && !s->state)
		s->state = 1 + p->free_states[--p->n_free_states];
	for (; s->n_blocks < wanted; s->n_blocks++) {
		const uint32_t block = p->free_list[--p->n_free];
		p->n_users[block] = 1;
		s->table[s->n_blocks] = block;
	}
	return EVN_OK;
}

void evn_pool_hold(evn_block_pool *p, uint32_t block) { p->n_users[block]++; }

void evn_pool_release(evn_block_pool *p, uint32_t block)
{
	if (--p->n_users[block] == 0)
		p->free_list[p->n_free++] = block;
}

static void give_back_last(evn_slot *s, evn_block_pool *p) { evn_pool_release(p, s->table[--s->n_blocks]); }

uint32_t evn_slot_truncate(evn_slot *s, evn_block_pool *p, uint32_t n_positions)
{
	if (n_positions < s->n_state)
		n_positions = s->n_state = 0;
	while (s->n_blocks > evn_blocks_for(n_positions))
		give_back_last(s, p);
	const bool whole = n_positions % EVN_BLOCK_POSITIONS == 0;
	if (whole || s->n_blocks < evn_blocks_for(n_positions) || p->n_users[s->table[s->n_blocks - 1]] == 1)
		return n_positions;
	give_back_last(s, p);
	return s->n_blocks * EVN_BLOCK_POSITIONS;
}

evn_status evn_slot_append(evn_slot *s, evn_block_pool *p, uint32_t block, evn_error *err)
{
	EVN_TRY(make_room(s, s->n_blocks + 1, err));
	evn_pool_hold(p, block);
	s->table[s->n_blocks++] = block;
	return EVN_OK;
}

void evn_slot_free(evn_slot *s, evn_block_pool *p)
{
	evn_slot_truncate(s, p, 0);
	if (s->state)
		p->free_states[p->n_free_states++] = s->state - 1;
	free(s->table);
	*s = (evn_slot){0};
}
