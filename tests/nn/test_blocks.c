/* test_blocks.c - which sequence has which cache blocks: allocating, freeing, sharing. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "nn/blocks.h"

#define N EVN_BLOCK_POSITIONS

/* Every block is either free, or its number of users is the number of slots that name it. */
static void assert_consistent(const evn_block_pool *p, const evn_slot *slots, size_t n)
{
	uint32_t users[64] = {0}, n_used = 0;
	for (size_t i = 0; i < n; i++)
		for (uint32_t k = 0; k < slots[i].n_blocks; k++)
			users[slots[i].table[k]]++;
	for (uint32_t b = 0; b < p->n_blocks; b++) {
		assert_int_equal(p->n_users[b], users[b]);
		n_used += users[b] > 0;
	}
	assert_int_equal(p->n_free, p->n_blocks - n_used);
	for (uint32_t i = 0; i < p->n_free; i++)
		assert_int_equal(users[p->free_list[i]], 0);
}

static void test_extend_and_truncate(void **state)
{
	evn_error err = {0};
	evn_block_pool p = {0};
	evn_slot s[2] = {{0}};
	(void)state;
	assert_int_equal(evn_pool_grow(&p, 4, &err), EVN_OK);
	assert_int_equal(evn_slot_extend(&s[0], &p, N + 1, &err), EVN_OK);
	assert_int_equal(s[0].n_blocks, 2);
	assert_int_equal(evn_slot_extend(&s[0], &p, 2 * N, &err), EVN_OK); /* the slot has enough blocks already */
	assert_int_equal(s[0].n_blocks, 2);
	assert_int_equal(evn_slot_extend(&s[1], &p, 2 * N, &err), EVN_OK);
	assert_int_equal(evn_slot_extend(&s[0], &p, 2 * N + 1, &err), EVN_ERR_LIMIT);
	assert_int_equal(s[0].n_blocks, 2);
	assert_consistent(&p, s, 2);
	assert_int_equal(evn_slot_truncate(&s[1], &p, N + 1), N + 1); /* the last block is still used in part */
	assert_int_equal(s[1].n_blocks, 2);
	assert_int_equal(evn_slot_truncate(&s[1], &p, N), N);
	assert_int_equal(s[1].n_blocks, 1);
	assert_int_equal(evn_slot_extend(&s[0], &p, 3 * N, &err), EVN_OK);
	assert_consistent(&p, s, 2);
	evn_slot_free(&s[0], &p);
	evn_slot_free(&s[1], &p);
	assert_int_equal(p.n_free, 4);
	evn_pool_free(&p);
}

static void test_growth_keeps_what_is_held(void **state)
{
	evn_error err = {0};
	evn_block_pool p = {0};
	evn_slot s[2] = {{0}};
	(void)state;
	assert_int_equal(evn_pool_grow(&p, 3, &err), EVN_OK);
	assert_int_equal(evn_slot_extend(&s[0], &p, 3 * N, &err), EVN_OK);
	assert_int_equal(evn_pool_grow(&p, 5, &err), EVN_OK);
	assert_int_equal(evn_pool_grow(&p, 2, &err), EVN_OK); /* never shrinks */
	assert_int_equal(p.n_blocks, 5);
	assert_int_equal(evn_slot_extend(&s[1], &p, 2 * N, &err), EVN_OK);
	assert_consistent(&p, s, 2);
	evn_slot_free(&s[0], &p);
	evn_slot_free(&s[1], &p);
	evn_pool_free(&p);
}

/* The empty slot `to` shares the blocks of `from` that are entirely within n positions. Returns their positions. */
static uint32_t share(evn_slot *to, const evn_slot *from, evn_block_pool *p, uint32_t n)
{
	evn_error err = {0};
	for (uint32_t i = 0; i < from->n_blocks && (i + 1) * N <= n; i++)
		assert_int_equal(evn_slot_append(to, p, from->table[i], &err), EVN_OK);
	return to->n_blocks * N;
}

/* A slot that shares whole blocks appends to blocks of its own, also after a cut inside a shared block. */
static void test_sharing(void **state)
{
	evn_error err = {0};
	evn_block_pool p = {0};
	evn_slot s[2] = {{0}};
	(void)state;
	assert_int_equal(evn_pool_grow(&p, 8, &err), EVN_OK);
	assert_int_equal(evn_slot_extend(&s[0], &p, 3 * N, &err), EVN_OK);
	assert_int_equal(share(&s[1], &s[0], &p, 2 * N + 5), 2 * N);
	assert_int_equal(evn_slot_extend(&s[1], &p, 2 * N + 5, &err), EVN_OK);
	assert_int_not_equal(s[1].table[2], s[0].table[2]);
	assert_consistent(&p, s, 2);
	assert_int_equal(evn_slot_truncate(&s[1], &p, N + 5), N); /* the block is shared, so the slot gives it up */
	assert_int_equal(s[1].n_blocks, 1);
	assert_int_equal(evn_slot_truncate(&s[0], &p, N + 5), N + 5); /* now only s[0] uses it */
	assert_consistent(&p, s, 2);
	evn_slot_free(&s[0], &p);
	assert_int_equal(p.n_free, 7); /* the first block still has a user */
	evn_slot_free(&s[1], &p);
	assert_int_equal(p.n_free, 8);
	evn_pool_free(&p);
}

/* Random operations of four slots on a small pool. */
static void test_any_order(void **state)
{
	evn_error err = {0};
	evn_block_pool p = {0};
	evn_slot s[4] = {{0}};
	uint32_t random = 1;
	(void)state;
	assert_int_equal(evn_pool_grow(&p, 24, &err), EVN_OK);
	for (int i = 0; i < 20000; i++) {
		random = random * 1664525u + 1013904223u;
		evn_slot *a = &s[random >> 8 & 3], *b = &s[random >> 10 & 3];
		const uint32_t n = random >> 12 & 1023;
		if (random >> 30 == 0) {
			evn_slot_truncate(a, &p, n);
		} else if (random >> 30 == 1 && a != b) {
			evn_slot_free(a, &p);
			const uint32_t n_shared = share(a, b, &p, n);
			assert_true(n_shared <= n && n_shared % N == 0);
		} else {
			const evn_status st = evn_slot_extend(a, &p, n, &err);
			assert_true(st == EVN_OK || st == EVN_ERR_LIMIT);
		}
		assert_consistent(&p, s, 4);
	}
	for (int i = 0; i < 4; i++)
		evn_slot_free(&s[i], &p);
	assert_int_equal(p.n_free, 24);
	evn_pool_free(&p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_extend_and_truncate),
									   cmocka_unit_test(test_growth_keeps_what_is_held),
									   cmocka_unit_test(test_sharing), cmocka_unit_test(test_any_order)};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
