/* test_speculate.c - guesses from repetitions, and how many of them a step verifies, in simulated time: texts that
 * repeat themselves become faster, new texts do not become slower, whatever steps of several rows cost. */
#include "engine/lookup.h"
#include "engine/speculate.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define MOST 4096u

static const int32_t *draft_of(evn_lookup *l, int32_t *ids, uint32_t n, uint32_t most, uint32_t *got, float *chances)
{
	evn_error err = {0};
	assert_int_equal(evn_lookup_read(l, ids, n, &err), EVN_OK);
	*got = evn_lookup_draft(l, ids, n, most, chances);
	return ids + n;
}

static void test_lookup(void **state)
{
	(void)state;
	evn_error err = {0};
	evn_lookup *l;
	uint32_t n;
	float chances[8];
	/* "1 2" stood in two places; the longer repetition counts. */
	int32_t ids[32] = {9, 1, 2, 3, 4, 5, 1, 2, 7, 8, 9, 1, 2};
	assert_int_equal(evn_lookup_create(&l, &err), EVN_OK);
	const int32_t *draft = draft_of(l, ids, 13, 3, &n, chances);
	assert_int_equal(n, 3);
	assert_memory_equal(draft, ((const int32_t[]){3, 4, 5}), 12);
	assert_true(chances[0] < 1 && chances[1] < chances[0] && chances[2] < chances[1]);
	/* A wrong guess makes the next one less likely, a right one more. */
	const float before = chances[0];
	ids[13] = 6;
	draft_of(l, ids, 14, 3, &n, chances);
	assert_int_equal(n, 0);
	ids[14] = 9;
	ids[15] = 1;
	ids[16] = 2;
	draft_of(l, ids, 17, 1, &n, chances);
	assert_int_equal(n, 1);
	assert_true(chances[0] < before);
	/* A draft longer than the period repeats itself. */
	for (uint32_t i = 17; i < 23; i++)
		ids[i] = (int32_t)(40 + i % 2);
	draft = draft_of(l, ids, 23, 5, &n, chances);
	assert_int_equal(n, 5);
	assert_memory_equal(draft, ((const int32_t[]){41, 40, 41, 40, 41}), 20);
	evn_lookup_free(l);
}

/* ---- simulated texts ------------------------------------------------------------------------------------------- */

typedef struct {
	const char *name;
	double seconds[EVN_SPECULATE_ROWS + 1]; /* 0: as the one before it */
} machine;

static const machine machines[] = {
	{"as measured on a CPU", {[1] = 1, [2] = 1.7, [5] = 1.8, [7] = 2.1, [9] = 3, [16] = 4, [17] = 6, [32] = 8}},
	{"rows are free", {[1] = 1}},
	{"rows cost what they cost alone",
	 {[1] = 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, [17] = 20, [24] = 30}},
};

static double cost_of(const machine *m, uint32_t n_rows)
{
	while (n_rows > 1 && m->seconds[n_rows] <= 0)
		n_rows--;
	return m->seconds[n_rows];
}

/* The time in which the text behind its first n_prompt ids is written. Steps take up to 30 % longer by chance. */
static double write_text(const machine *m, const int32_t *text, uint32_t n_prompt, uint32_t n, uint64_t seed)
{
	static int32_t ids[MOST + EVN_MOST_DRAFTS];
	evn_error err = {0};
	evn_random r = {seed};
	evn_speculator s = {0};
	evn_lookup *l;
	double seconds = 0;
	assert_int_equal(evn_lookup_create(&l, &err), EVN_OK);
	memcpy(ids, text, n_prompt * sizeof *ids);
	for (uint32_t at = n_prompt; at < n;) {
		evn_draft d = {.n = 0};
		draft_of(l, ids, at, EVN_MOST_DRAFTS, &d.n, d.chances);
		evn_speculator_choose(&s, 1, 100, &d, 1, false);
		uint32_t n_right = 0;
		while (n_right < d.chosen && at + n_right < n && ids[at + n_right] == text[at + n_right])
			n_right++;
		const double cost = cost_of(m, 1 + d.chosen), step = cost * (1 + 0.3 * evn_random_uniform(&r));
		evn_speculator_observe(&s, &(evn_step_outcome){1 + d.chosen, d.chosen, n_right, step, 0});
		for (uint32_t i = 0; i <= n_right && at < n; i++, at++) {
			ids[at] = text[at];
			assert_int_equal(evn_lookup_read(l, ids, at + 1, &err), EVN_OK);
		}
		seconds += cost;
	}
	evn_lookup_free(l);
	return seconds;
}

/* Whether drafts keep what they promise: no more than 3 % is lost, and two steps, by first tries. */
static bool loses_little(const machine *m, const int32_t *text, uint32_t n_prompt, uint32_t n)
{
	const double plain = (n - n_prompt) * cost_of(m, 1);
	return write_text(m, text, n_prompt, n, 5) <= plain / 0.97 + 2 * cost_of(m, 1);
}

/* How many times faster than without drafts. */
static double speed(const machine *m, const int32_t *text, uint32_t n_prompt, uint32_t n)
{
	return (n - n_prompt) * cost_of(m, 1) / write_text(m, text, n_prompt, n, 5);
}

/* Ids of few kinds, so that repetitions abound and mean nothing. */
static void test_new_text(void **state)
{
	(void)state;
	static int32_t text[MOST];
	static const uint32_t kinds[] = {3, 10, 30, 100, 10000};
	for (size_t i = 0; i < 3 * sizeof kinds / sizeof *kinds; i++) {
		const machine *m = &machines[i % 3];
		evn_random r = {i};
		for (uint32_t k = 0; k < MOST; k++)
			text[k] = (int32_t)evn_random_below(&r, kinds[i / 3]);
		for (uint32_t n = 200; n <= MOST; n *= 4)
			if (!loses_little(m, text, 100, n))
				fail_msg("%s, %u ids of %u kinds: %.3f times as fast", m->name, n, kinds[i / 3],
						 speed(m, text, 100, n));
	}
}

/* Pieces of the text come again, and new ids between them. */
static void make_pieces(int32_t *text, uint32_t length, uint64_t seed)
{
	evn_random r = {seed};
	for (uint32_t k = 0; k < MOST;) {
		const uint32_t from = k > length ? evn_random_below(&r, k - length) : 0, fresh = 1 + length / 4;
		for (uint32_t i = 0; i < fresh && k < MOST; i++)
			text[k++] = (int32_t)evn_random_below(&r, 40000);
		for (uint32_t i = 0; i < length && k < MOST && from + i < k; i++, k++)
			text[k] = text[from + i];
	}
}

static void test_pieces(void **state)
{
	(void)state;
	static int32_t text[MOST];
	for (uint32_t length = 3; length < 100; length *= 2)
		for (size_t i = 0; i < 3; i++) {
			make_pieces(text, length, length);
			if (!loses_little(&machines[i], text, 100, MOST))
				fail_msg("%s, pieces of %u: %.3f times as fast", machines[i].name, length,
						 speed(&machines[i], text, 100, MOST));
		}
	assert_true(speed(&machines[0], text, 100, MOST) > 1.8); /* pieces of 96 */
	assert_true(speed(&machines[1], text, 100, MOST) > 3);
}

static void test_repetition(void **state)
{
	(void)state;
	static int32_t text[MOST];
	for (uint32_t i = 0; i < MOST; i++)
		text[i] = (int32_t)(i % 50);
	assert_true(speed(&machines[0], text, 100, 300) > 2);
	assert_true(speed(&machines[1], text, 100, 300) > 5);
	assert_true(loses_little(&machines[2], text, 100, 300));
	assert_true(speed(&machines[2], text, 100, MOST) > 0.99);
}

/* Of several requests, those get the drafts that promise most; the room of the step is kept. */
static void test_several(void **state)
{
	(void)state;
	evn_speculator s = {.warm = true};
	evn_draft d[3] = {{.chances = {0.2f, 0.04f}, .n = 2}, {.chances = {0.9f, 0.8f, 0.7f, 0.6f}, .n = 4}, {.n = 0}};
	evn_speculator_choose(&s, 3, 100, d, 3, false); /* nothing is known of costs */
	assert_int_equal(d[0].chosen + d[1].chosen + d[2].chosen, 0);
	for (int i = 0; i < 3; i++) {
		evn_speculator_observe(&s, &(evn_step_outcome){3, 0, 0, 1, 0});
		evn_speculator_observe(&s, &(evn_step_outcome){8, 4, 4, 1.3, 0});
	}
	evn_speculator_choose(&s, 3, 100, d, 3, false);
	assert_int_equal(d[1].chosen, 4);
	evn_speculator_choose(&s, 3, 5, d, 3, false);
	assert_int_equal(d[1].chosen, 4);
	assert_int_equal(d[0].chosen, 1);
	evn_speculator_choose(&s, 3, 2, d, 3, false); /* a fifth row costs more than it gives */
	assert_int_equal(d[1].chosen, 1);
	assert_int_equal(d[0].chosen, 0);
	evn_speculator_choose(&s, EVN_SPECULATE_ROWS, 100, d, 3, false);
	assert_int_equal(d[1].chosen, 0);
	for (int i = 0; i < 200; i++) /* costs are forgotten */
		evn_speculator_observe(&s, &(evn_step_outcome){40, 0, 0, 1, 0});
	evn_speculator_choose(&s, 3, 100, d, 3, false);
	assert_int_equal(d[1].chosen, 0);
}

/* ---- a draft model --------------------------------------------------------------------------------------------- */

typedef struct {
	const char *name;
	double right;           /* the part of its guesses that are right */
	double step, predicted; /* what a guess costs in steps of the model, and what the planner says */
	double least, most;     /* the speed beside that without it */
} drafting;

/* How many ids per second come of 2000, if a step of the model without drafts takes a second. */
static double write_with_model(const machine *m, const drafting *d)
{
	evn_random r = {7};
	evn_speculator s = {0};
	evn_draft_cost cost = {.predicted = d->predicted, .predicted_read = d->predicted / 10};
	double right = 0, seen = 0, seconds = 0;
	uint32_t unread = 100;
	for (uint32_t at = 0; at < 2000; at++) {
		float at_least;
		const uint32_t window = evn_speculator_window(&s, &cost, 1), new = unread < window ? unread : window;
		const evn_draft_chance c = {
			.n_rows = 1, .n_free = 100, .n_texts = 1, .n_unread = new, .chance = (right + 2.8) / (seen + 4)};
		const uint32_t n = window ? evn_speculator_ask(&s, &cost, &c, &at_least) : 0;
		evn_step_outcome o = {.n_rows = 1 + n, .n_drafts = n, .draft_s = n * d->step};
		for (uint32_t i = 0; i < n; i++)
			evn_draft_cost_step(&cost, 1, d->step);
		if (n && unread) {
			evn_draft_cost_read(&cost, new, new * d->step / 10);
			o.draft_s += new * d->step / 10;
			unread = 0;
		}
		right *= 0.995;
		seen *= 0.995;
		for (uint32_t i = 0; i < n && o.n_right == i; i++) {
			o.n_right += evn_random_uniform(&r) < d->right;
			right = 0.97 * right + (o.n_right > i);
			seen = 0.97 * seen + 1;
		}
		o.seconds = cost_of(m, o.n_rows) * (1 + 0.3 * evn_random_uniform(&r));
		evn_speculator_observe(&s, &o);
		seconds += cost_of(m, o.n_rows) + o.draft_s;
		at += o.n_right;
	}
	return 2000 / seconds;
}

static void test_draft_model(void **state)
{
	(void)state;
	static const drafting cases[] = {
		{"cheap and good", 0.9, 0.1, 0.1, 1.5, 3},        {"cheap and bad", 0.2, 0.1, 0.1, 0.97, 1.02},
		{"as slow as the model", 0.9, 1, 1, 0.97, 1.02},  {"slower than predicted", 0.9, 1, 0.1, 0.97, 1.02},
		{"faster than predicted", 0.9, 0.1, 0.8, 1.4, 3}, {"slow, and predicted to be slow", 0.9, 3, 3, 1, 1},
	};
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		const double speed = write_with_model(&machines[0], &cases[i]);
		print_message("%s: %.3f\n", cases[i].name, speed);
		assert_true(speed >= cases[i].least && speed <= cases[i].most);
	}
	assert_true(write_with_model(&machines[1], &cases[0]) > 2.5);
	assert_true(write_with_model(&machines[2], &cases[0]) >= 0.97);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_lookup),  cmocka_unit_test(test_new_text),
									   cmocka_unit_test(test_pieces),  cmocka_unit_test(test_repetition),
									   cmocka_unit_test(test_several), cmocka_unit_test(test_draft_model)};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
