/* shapes.h - model shapes and repeatable pseudo-random numbers for the tests of the plan. */
#ifndef TESTS_PLAN_SHAPES_H
#define TESTS_PLAN_SHAPES_H

#include "plan/plan.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <math.h>

#define MIB (UINT64_C(1) << 20)
#define GIB (UINT64_C(1) << 30)

static inline uint64_t next_random(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state * UINT64_C(0x2545F4914F6CDD1D) >> 16;
}

static inline uint32_t random_in(uint64_t *state, uint32_t least, uint32_t most)
{
	return least + (uint32_t)(next_random(state) % (most - least + 1));
}

/* A model of the Llama family, described in its own terms. */
typedef struct {
	uint32_t n_layers, dim, ff_dim, n_heads, n_kv_heads, head_dim, vocab;
	uint32_t ff_grain, vocab_grain;
	uint64_t head_bytes, kv_head_bytes, ff_unit_bytes, vocab_row_bytes; /* bytes of weights */
	uint64_t kv_cache_bytes;                                            /* bytes of one KV head in one layer */
	uint64_t fixed_bytes;
} llama;

enum { VOCAB = EVN_PLAN_VOCAB, HEADS, UNITS }; /* the classes of its plan */

/* The same model in the planner's terms: a layer is a block of heads and a block of units. */
static inline evn_plan_shape shape_of(const llama *m)
{
	const double head_macs = 2.0 * m->head_dim * m->dim; /* q and out, or k and v */
	evn_plan_shape s = {.n_classes = m->n_layers ? 3 : 1, .fixed_bytes = m->fixed_bytes};
	s.classes[VOCAB] = (evn_plan_class){.kind = EVN_CUT_ROWS,
										.n_blocks = 1,
										.n = m->vocab,
										.grain = m->vocab_grain,
										.group = 1,
										.unit_bytes = m->vocab_row_bytes,
										.read_fraction = 1};
	if (!m->n_layers)
		return s;
	s.classes[HEADS] = (evn_plan_class){.kind = EVN_CUT_HEADS,
										.n_blocks = m->n_layers,
										.n = m->n_heads,
										.grain = 1,
										.group = m->n_heads / m->n_kv_heads,
										.unit_bytes = m->head_bytes,
										.group_bytes = m->kv_head_bytes,
										.cache_bytes = m->kv_cache_bytes,
										.unit_macs = head_macs,
										.group_macs = head_macs,
										.read_fraction = 1,
										.most_keys = INFINITY};
	s.classes[UNITS] = (evn_plan_class){.kind = EVN_CUT_UNITS,
										.n_blocks = m->n_layers,
										.n = m->ff_dim,
										.grain = m->ff_grain,
										.group = 1,
										.unit_bytes = m->ff_unit_bytes,
										.unit_macs = 3.0 * m->dim, /* rows of gate and up, a column of down */
										.read_fraction = 1,
										.by_phase = true};
	return s;
}

/* SmolLM2-135M as Q4_1 (20 bytes per 32 weights) with an 8-bit vocabulary (34 per 32) and an f32 KV cache. */
static inline llama small_model(uint32_t context)
{
	return (llama){.n_layers = 30,
				   .dim = 576,
				   .ff_dim = 1536,
				   .n_heads = 9,
				   .n_kv_heads = 3,
				   .head_dim = 64,
				   .vocab = 49152,
				   .ff_grain = 32,
				   .vocab_grain = 16,
				   .head_bytes = 2 * 64 * 576 / 32 * 20,
				   .kv_head_bytes = 2 * 64 * 576 / 32 * 20,
				   .ff_unit_bytes = 3 * 576 / 32 * 20,
				   .vocab_row_bytes = 576 / 32 * 34,
				   .kv_cache_bytes = (uint64_t)context * 2 * 64 * 4,
				   .fixed_bytes = MIB};
}

static inline llama random_model(uint64_t *state)
{
	static const uint32_t grains[] = {1, 2, 16, 32, 256};
	llama s = {.n_layers = random_in(state, 1, 80),
			   .dim = 64 * random_in(state, 1, 64),
			   .ff_dim = random_in(state, 1, 8192),
			   .n_kv_heads = random_in(state, 1, 8),
			   .head_dim = 32 * random_in(state, 1, 4),
			   .vocab = random_in(state, 1, 150000),
			   .ff_grain = grains[random_in(state, 0, 4)],
			   .vocab_grain = grains[random_in(state, 0, 4)],
			   .fixed_bytes = random_in(state, 0, 1 << 20)};
	s.n_heads = s.n_kv_heads * random_in(state, 1, 9);
	s.head_bytes = (uint64_t)2 * s.head_dim * s.dim * 5 / 8;
	s.kv_head_bytes = s.head_bytes;
	s.ff_unit_bytes = (uint64_t)3 * s.dim * 5 / 8;
	s.vocab_row_bytes = (uint64_t)s.dim * 17 / 16;
	s.kv_cache_bytes = (uint64_t)random_in(state, 0, 8192) * 2 * s.head_dim * 4;
	return s;
}

/* Shares of which some are 0 and some very different, but never all 0. */
static inline uint32_t random_shares(double *shares, uint64_t *state)
{
	uint32_t n = random_in(state, 1, EVN_MAX_RANKS);
	double sum = 0;
	for (uint32_t r = 0; r < n; r++) {
		uint32_t kind = random_in(state, 0, 5);
		shares[r] = kind == 0 ? 0 : kind == 1 ? random_in(state, 1, 9) : random_in(state, 1, 1000000) * 1e-6;
		shares[r] *= kind == 2 ? 1e-3 : 1;
		sum += shares[r];
	}
	if (sum <= 0)
		shares[n - 1] = 1;
	return n;
}

static inline evn_split split_of(const evn_plan_shape *s, uint32_t n, const double *shares, const double *prompts)
{
	static const uint64_t any[EVN_MAX_RANKS] = {UINT64_MAX, UINT64_MAX, UINT64_MAX, UINT64_MAX,
												UINT64_MAX, UINT64_MAX, UINT64_MAX, UINT64_MAX};
	evn_split split;
	assert_int_equal(evn_split_make(&split, s, n, shares, prompts, any, NULL), EVN_OK);
	return split;
}

#endif
