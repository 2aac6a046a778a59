/* test_schedule.c - the schedule without a device: a cache block is an array of ids, time is counted in steps, and
 * the next id of a sequence is a hash of its ids. Whenever a row is computed, the positions before it must hold the
 * ids of its own sequence. */
#include "engine/schedule.h"
#include "evener/requests.h"

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define MOST_IDS 1024u
#define MOST_BLOCKS 256u

typedef struct {
	evn_job job;
	int32_t ids[MOST_IDS];
	uint32_t wanted; /* ids in all */
	double arrives_s, first_s, end_s;
	uint32_t own_steps; /* steps with rows of its prompt */
	bool added;
} sequence;

typedef struct {
	evn_block_pool pool;
	evn_schedule s;
	int32_t content[MOST_BLOCKS][EVN_BLOCK_POSITIONS];
	double now_s;
	uint64_t n_rows;
	evn_random *guesses; /* NULL: no drafts */
	uint64_t n_right, n_wrong;
} machine;

static void begin(machine *m, uint32_t n_blocks, uint32_t max_rows, uint32_t max_running)
{
	evn_error err = {0};
	memset(m, 0, sizeof *m);
	assert_int_equal(evn_pool_grow(&m->pool, n_blocks, &err), EVN_OK);
	m->s = (evn_schedule){.pool = &m->pool, .max_rows = max_rows, .max_running = max_running, .chunk = max_rows / 2};
	assert_int_equal(evn_prefixes_create(&m->s.prefixes, &m->pool, &err), EVN_OK);
}

/* All blocks must be free again when the last sequence and the known blocks are gone. */
static void end(machine *m)
{
	assert_int_equal(m->s.n_jobs, 0);
	assert_int_equal(m->s.n_running, 0);
	evn_prefixes_free(m->s.prefixes);
	assert_int_equal(m->pool.n_free, m->pool.n_blocks);
	evn_pool_free(&m->pool);
}

static void check_row(machine *m, const evn_job *j, uint32_t position)
{
	for (uint32_t i = 0; i < position; i++) {
		const int32_t held = m->content[j->slot.table[i / EVN_BLOCK_POSITIONS]][i % EVN_BLOCK_POSITIONS];
		if (held != j->ids[i])
			fail_msg("position %u of %u holds id %d, expected %d", i, position, held, j->ids[i]);
	}
}

/* Nobody else may use a block that is written. */
static void check_alone(const machine *m, const evn_job *j, uint32_t block)
{
	for (const evn_job *other = m->s.jobs; other; other = other->next)
		for (uint32_t i = 0; other != j && i < other->slot.n_blocks; i++)
			assert_int_not_equal(other->slot.table[i], block);
}

static void compute_rows(machine *m, evn_job *j)
{
	const uint32_t end = j->n_done + j->n_next;
	assert_true(j->running);
	assert_true(end <= j->n_ids + j->n_draft);
	assert_true(evn_blocks_for(end) <= j->slot.n_blocks);
	for (uint32_t i = j->n_done; i < end; i++) {
		const uint32_t block = j->slot.table[i / EVN_BLOCK_POSITIONS];
		check_alone(m, j, block);
		m->content[block][i % EVN_BLOCK_POSITIONS] = j->ids[i];
	}
	check_row(m, j, end);
	m->n_rows += j->n_next;
}

static int32_t next_id(const int32_t *ids, uint32_t n)
{
	return (int32_t)(evn_hash(EVN_HASH_START, ids, n * sizeof *ids) % 5);
}

/* Guesses for jobs that wait for one id: right ones, and maybe wrong ones behind them. */
static void guess(machine *m, evn_job *j)
{
	j->n_draft = 0;
	if (!m->guesses || !j->running || evn_job_in_prompt(j) || j->n_done + 1 != j->n_ids)
		return;
	j->n_draft = evn_random_below(m->guesses, 9);
	const uint32_t n_right = evn_random_below(m->guesses, 9);
	for (uint32_t i = j->n_ids; i < j->n_ids + j->n_draft; i++)
		j->ids[i] = (next_id(j->ids, i) + (i - j->n_ids >= n_right)) % 5;
}

/* Computes one step, which takes a second. Returns its rows. */
static uint32_t step(machine *m)
{
	evn_error err = {0};
	uint32_t rows, sum = 0, n_running = 0;
	for (evn_job *j = m->s.jobs; j; j = j->next)
		guess(m, j);
	assert_int_equal(evn_schedule_next(&m->s, &rows, &err), EVN_OK);
	assert_true(rows <= m->s.max_rows);
	for (evn_job *j = m->s.jobs; j; j = j->next) {
		sequence *q = (sequence *)j;
		sum += j->n_next;
		n_running += j->running;
		q->own_steps += j->n_next && evn_job_in_prompt(j);
		if (j->n_next)
			compute_rows(m, j);
	}
	assert_int_equal(sum, rows);
	assert_int_equal(n_running, m->s.n_running);
	assert_true(n_running <= m->s.max_running);
	evn_schedule_done(&m->s);
	m->now_s += 1;
	return rows;
}

/* False if the row of the id that was drawn is still to be computed. */
static bool draw_one(machine *m, evn_job *j)
{
	const int32_t draft = j->n_draft ? j->ids[j->n_ids] : -1, id = next_id(j->ids, j->n_ids);
	j->ids[j->n_ids++] = id;
	m->n_right += id == draft;
	m->n_wrong += draft >= 0 && id != draft;
	if (id != draft)
		return false;
	evn_schedule_accept(&m->s, j);
	return true;
}

/* Every sequence that is computed up to its last id gets another one; with right drafts, several. */
static void draw(machine *m)
{
	for (evn_job *j = m->s.jobs, *next; j; j = next) {
		sequence *q = (sequence *)j;
		next = j->next;
		if (!j->running || j->n_done < j->n_ids)
			continue;
		q->first_s = q->first_s > 0 ? q->first_s : m->now_s;
		while (draw_one(m, j))
			if (j->n_ids >= q->wanted)
				break;
		if (j->n_ids < q->wanted)
			continue;
		q->end_s = m->now_s;
		evn_schedule_remove(&m->s, j);
	}
}

static void arrive(machine *m, sequence *q, int32_t priority)
{
	q->job.ids = q->ids;
	q->job.n_ids = q->job.n_prompt;
	q->job.due_s = m->now_s + (double)priority * EVN_AGEING_S;
	q->arrives_s = m->now_s;
	q->added = true;
	evn_schedule_add(&m->s, &q->job);
}

/* Prompts with few different beginnings, so that blocks are shared, of lengths around whole blocks. */
static void make_prompt(evn_random *r, sequence *q, uint32_t most)
{
	*q = (sequence){.job.n_prompt = 1 + evn_random_below(r, most)};
	if (evn_random_below(r, 3) == 0)
		q->job.n_prompt = q->job.n_prompt / EVN_BLOCK_POSITIONS * EVN_BLOCK_POSITIONS + EVN_BLOCK_POSITIONS;
	const uint32_t kind = evn_random_below(r, 3), differs = evn_random_below(r, 2 * q->job.n_prompt);
	for (uint32_t i = 0; i < q->job.n_prompt; i++)
		q->ids[i] = (int32_t)(i < differs ? kind : evn_random_below(r, 5));
	q->wanted = q->job.n_prompt + 1 + evn_random_below(r, 100);
}

static void check_ids(const sequence *q)
{
	for (uint32_t n = q->job.n_prompt; n < q->wanted; n++)
		assert_int_equal(q->ids[n], next_id(q->ids, n));
}

/* Sequences come at random to a small pool, so that many are put off and blocks change hands. Some leave early. */
static void run_random(bool with_drafts)
{
	enum { N = 60 };
	static machine m;
	static sequence q[N];
	uint64_t n_put_off = 0, n_cached = 0, n_right = 0, n_wrong = 0;
	for (uint64_t seed = 1; seed <= 40; seed++) {
		evn_random r = {seed};
		begin(&m, 8 + evn_random_below(&r, 12), 16 + evn_random_below(&r, 100), 1 + evn_random_below(&r, 9));
		m.guesses = with_drafts ? &r : NULL;
		for (uint32_t n = 0; n < N || m.s.n_jobs;) {
			if (n < N && evn_random_below(&r, 4) == 0) {
				make_prompt(&r, &q[n], 200);
				arrive(&m, &q[n], (int32_t)evn_random_below(&r, 5) - 2);
				n++;
			}
			const bool has_jobs = m.s.n_jobs > 0;
			assert_true(step(&m) > 0 || !has_jobs);
			draw(&m);
			if (m.s.jobs && evn_random_below(&r, 30) == 0) {
				((sequence *)m.s.jobs)->wanted = 0; /* cancelled */
				evn_schedule_remove(&m.s, m.s.jobs);
			}
		}
		for (uint32_t i = 0; i < N; i++) {
			n_cached += q[i].job.n_cached;
			if (q[i].wanted)
				check_ids(&q[i]);
		}
		n_put_off += m.s.n_put_off;
		n_right += m.n_right;
		n_wrong += m.n_wrong;
		end(&m);
	}
	assert_true(n_put_off > 100);
	assert_true(n_cached > 1000);
	assert_true((n_right > 1000) == with_drafts && (n_wrong > 1000) == with_drafts);
}

static void test_random(void **state)
{
	(void)state;
	run_random(false);
}

static void test_drafts(void **state)
{
	(void)state;
	run_random(true);
}

static void run_alone(machine *m, sequence *q)
{
	arrive(m, q, 0);
	while (m->s.n_jobs) {
		step(m);
		draw(m);
	}
}

static sequence extended(const sequence *q, uint32_t n_prompt)
{
	sequence longer = {.job.n_prompt = n_prompt, .wanted = n_prompt + 1};
	memcpy(longer.ids, q->ids, sizeof q->ids);
	return longer;
}

/* A conversation's next turn computes only what is new: the last id that was drawn, and what follows. */
static void test_next_turn(void **state)
{
	(void)state;
	static machine m;
	static sequence first, second;
	evn_random r = {7};
	for (uint32_t n = 490; n <= 515; n++) {
		begin(&m, 64, 512, 8);
		first = (sequence){.job.n_prompt = 300, .wanted = n};
		for (uint32_t i = 0; i < 300; i++)
			first.ids[i] = (int32_t)evn_random_below(&r, 1000);
		run_alone(&m, &first);
		second = extended(&first, n + 20);
		const uint64_t before = m.n_rows;
		run_alone(&m, &second);
		assert_int_equal(second.job.n_cached, n - 1);
		assert_int_equal(m.n_rows - before, 20 + 1);
		end(&m);
	}
}

/* A tail goes to one sequence only, and not to one that has but a part of its ids. */
static void test_tails(void **state)
{
	(void)state;
	static machine m;
	static sequence first, q[3];
	begin(&m, 64, 512, 8);
	first = (sequence){.job.n_prompt = 40, .wanted = 50};
	run_alone(&m, &first);
	run_alone(&m, &first); /* leaves the same tail */
	assert_int_equal(evn_prefixes_unused(m.s.prefixes), 1);
	q[0] = extended(&first, 55);
	q[0].ids[45]++;
	q[1] = q[2] = extended(&first, 55);
	for (uint32_t i = 0; i < 3; i++)
		arrive(&m, &q[i], 0);
	while (m.s.n_jobs) {
		step(&m);
		draw(&m);
	}
	assert_int_equal(q[0].job.n_cached, 0);
	assert_int_equal(q[1].job.n_cached, 49);
	assert_int_equal(q[2].job.n_cached, 0);
	q[0] = (sequence){.job.n_prompt = 30, .wanted = 31}; /* ids that a tail begins with */
	memcpy(q[0].ids, first.ids, sizeof q[0].ids);
	run_alone(&m, &q[0]);
	assert_int_equal(q[0].job.n_cached, 29);
	end(&m);
}

/* Sequences that begin alike and come together compute the common part once. */
static void test_together(void **state)
{
	(void)state;
	enum { N = 6 };
	static machine m;
	static sequence q[N];
	begin(&m, 128, 512, 8);
	for (uint32_t i = 0; i < N; i++) {
		q[i] = (sequence){.job.n_prompt = 300, .wanted = 301};
		memset(q[i].ids, 0, sizeof q[i].ids);
		q[i].ids[298] = (int32_t)i; /* so that no tail can be taken */
		arrive(&m, &q[i], 0);
	}
	while (m.s.n_jobs) {
		step(&m);
		draw(&m);
	}
	assert_int_equal(m.n_rows, 300 + (N - 1) * (300 - 256));
	end(&m);
}

/* An hour of low priority requests that alone are more than the machine can do, and a high one now and then. */
static void test_hour(void **state)
{
	(void)state;
	enum { N = 4000 };
	static machine m;
	static sequence q[N];
	evn_random r = {3};
	uint32_t n = 0, n_high = 0;
	double longest_wait = 0;
	begin(&m, 40, 128, 64);
	for (uint32_t at = 0; at < 3600; at++) {
		const bool high = at % 97 == 50;
		if (n < N && (at % 2 == 0 || high)) {
			make_prompt(&r, &q[n], high ? 100 : 300);
			for (uint32_t i = 0; i < q[n].job.n_prompt; i++) /* nothing is shared */
				q[n].ids[i] = (int32_t)evn_random_below(&r, 100000);
			arrive(&m, &q[n], high ? -10000 : 0);
			n++;
			n_high += high;
		}
		step(&m);
		draw(&m);
	}
	for (uint32_t i = 0; i < n; i++) {
		const bool high = q[i].job.due_s < -10000;
		const double wait = (q[i].first_s > 0 ? q[i].first_s : m.now_s) - q[i].arrives_s;
		if (high)
			assert_true(wait <= q[i].own_steps + 2);
		longest_wait = !high && i < n / 2 && wait > longest_wait ? wait : longest_wait;
		if (i < n / 4) /* more come than can be served, so the queue grows; but those that came early are served */
			assert_true(q[i].first_s > 0);
	}
	assert_true(n_high > 30);
	assert_true(longest_wait < 3600);
	while (m.s.jobs)
		evn_schedule_remove(&m.s, m.s.jobs);
	end(&m);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_random),    cmocka_unit_test(test_drafts),
									   cmocka_unit_test(test_next_turn), cmocka_unit_test(test_tails),
									   cmocka_unit_test(test_together),  cmocka_unit_test(test_hour)};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
