#include "engine/verify.h"

#include "engine/engine.h"
#include "proof/check.h"

#define ROWS 4u /* of a product; together some thousand products of numbers, in about 20 us */

/* The blocks whose products have a reference (proof/check.c). */
static bool is_checked(const evn_block *b) { return b->kind != EVN_BLOCK_EXPERTS && !b->joins; }

/* The block with this number among those that are checked, in a circle. False if there is none. */
static bool find_block(const evn_graph *g, uint64_t random, uint32_t *block)
{
	for (uint32_t i = 0; i < g->n_blocks; i++) {
		*block = (uint32_t)((random + i) % g->n_blocks);
		if (is_checked(&g->blocks[*block]))
			return true;
	}
	return false;
}

/* Over nodes no step can be computed again by one node alone. */
void evn_verify_begin(evn_engine *e, evn_step_check *c)
{
	evn_verify *v = &e->verify;
	uint32_t block;
	if (!e->options.verify_every || e->prepared.cluster || ++v->n_steps < e->options.verify_every)
		return;
	v->n_steps = 0;
	v->random = evn_hash(EVN_HASH_START, &v->random, sizeof v->random);
	if (!find_block(e->prepared.graph, v->random >> 8, &block))
		return;
	c->on = true;
	c->seed = v->random;
	for (uint32_t i = 0; i < e->n_ranks; i++)
		c->taps[i] = (evn_tap){.block = block, .product = v->random & 1 ? EVN_TAP_IN : EVN_TAP_OUT};
}

evn_tap *evn_verify_tap(evn_step_check *c, uint32_t rank) { return c->on ? &c->taps[rank] : NULL; }

evn_status evn_verify_rank(evn_engine *e, evn_step_check *c, uint32_t rank, evn_error *err)
{
	if (!c->on || !c->taps[rank].taken)
		return EVN_OK;
	const evn_status s = evn_check_product(&c->taps[rank], e->ranks[rank].view, c->seed, ROWS, err);
	e->verify.n_checks++;
	if (s != EVN_ERR_DEVICE)
		return s;
	e->verify.n_wrong++;
	atomic_store(&c->wrong, true);
	return s;
}

void evn_verify_end(evn_step_check *c)
{
	for (uint32_t i = 0; i < EVN_MAX_RANKS; i++)
		evn_tap_clear(&c->taps[i]);
}
