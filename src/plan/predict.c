/* predict.c - predicts how long a split takes. Every rank computes its part of a block between two all-reduces, so a
 * block takes as long as its slowest rank. Decode is limited by the weight bytes, prefill by the arithmetic. Both
 * also have the fixed cost of a block, and attention to the cached positions. */
#include "plan/plan.h"

#include <math.h>

void evn_rates_add(evn_rates *sum, const evn_rates *r)
{
	sum->gemv_gbs += r->gemv_gbs;
	sum->gemm_gflops += r->gemm_gflops;
	sum->vocab_gbs += r->vocab_gbs;
	sum->block_us += r->block_us;
	sum->block_row_us += r->block_row_us;
	sum->key_ns += r->key_ns;
	sum->prompt_key_ns += r->prompt_key_ns;
}

evn_rates evn_rates_scaled(evn_rates r, double by)
{
	return (evn_rates){.gemv_gbs = r.gemv_gbs * by,
					   .gemm_gflops = r.gemm_gflops * by,
					   .vocab_gbs = r.vocab_gbs * by,
					   .block_us = r.block_us * by,
					   .block_row_us = r.block_row_us * by,
					   .key_ns = r.key_ns * by,
					   .prompt_key_ns = r.prompt_key_ns * by};
}

void evn_rates_speed_up(evn_rates *r, evn_phase phase, double by)
{
	if (phase == EVN_DECODE) {
		r->gemv_gbs *= by;
		r->vocab_gbs *= by;
		r->block_us /= by;
		r->key_ns /= by;
	} else {
		r->gemm_gflops *= by;
		r->block_row_us /= by;
		r->prompt_key_ns /= by;
	}
}

/* What a step needs from any block of a class. */
typedef struct {
	const evn_plan_class *cut;
	double read;      /* the part of the held units that some row of the step reads */
	double used;      /* the part of the held units that one row uses, times the rows */
	double positions; /* positions that one head attends to, for all rows together */
} demand;

/* The positions that n successive rows from `first` on attend to. Each row counts half of its own position. */
static double positions_of(double first, double n, double most)
{
	double rising = fmin(fmax(most - first, 0), n); /* the other rows are limited by the window */
	double all = rising * (first + rising / 2);
	return rising < n ? all + (n - rising) * most : all;
}

static demand demand_of(const evn_plan_class *cut, evn_plan_step step)
{
	const double n = step.n_rows, f = cut->read_fraction;
	if (cut->is_idle[step.phase])
		return (demand){.cut = cut};
	demand d = {.cut = cut, .read = f < 1 ? 1 - pow(1 - f, n) : 1, .used = n * f};
	d.positions = step.phase == EVN_DECODE ? n * positions_of(step.position, 1, cut->most_keys)
										   : positions_of(step.position, n, cut->most_keys);
	return d;
}

static evn_work work_of(const demand *d, evn_range units)
{
	const evn_plan_class *cut = d->cut;
	const double n = evn_range_len(units), n_groups = evn_range_len(evn_plan_groups(cut, units));
	return (evn_work){.bytes = (n * (double)cut->unit_bytes + n_groups * (double)cut->group_bytes) * d->read,
					  .macs = (n * cut->unit_macs + n_groups * cut->group_macs) * d->used,
					  .keys = n * d->positions};
}

/* The vocabulary has one cut for both phases. */
static double vocab_bytes(const evn_split *split, uint32_t rank)
{
	const evn_range rows = evn_split_part(split, EVN_PLAN_VOCAB, 0, rank)->used[EVN_DECODE];
	return (double)evn_range_len(rows) * (double)split->shape.classes[EVN_PLAN_VOCAB].unit_bytes;
}

evn_work evn_split_work(const evn_split *split, uint32_t rank, evn_plan_step step)
{
	evn_work sum = {.vocab_bytes = vocab_bytes(split, rank)};
	for (uint32_t k = EVN_PLAN_VOCAB + 1; k < split->shape.n_classes; k++) {
		const demand d = demand_of(&split->shape.classes[k], step);
		for (uint32_t i = 0; i < d.cut->n_blocks; i++) {
			const evn_work w = work_of(&d, evn_split_part(split, k, i, rank)->used[step.phase]);
			sum.bytes += w.bytes;
			sum.macs += w.macs;
			sum.keys += w.keys;
		}
	}
	return sum;
}

static bool takes_part(const evn_split *split, uint32_t rank)
{
	for (uint32_t k = 0; k < split->shape.n_classes; k++)
		for (uint32_t i = 0; i < split->shape.classes[k].n_blocks; i++)
			if (evn_range_len(evn_split_part(split, k, i, rank)->held))
				return true;
	return false;
}

static bool several_take_part(const evn_split *split)
{
	uint32_t n = 0;
	for (uint32_t r = 0; r < split->n_ranks; r++)
		n += takes_part(split, r);
	return n > 1;
}

/* In seconds. INFINITY if the rate is unknown. */
static double time_of(double amount, double rate)
{
	if (amount <= 0)
		return 0;
	return rate > 0 ? amount / rate : INFINITY;
}

/* A rank's time for its part of a block. Several rows in decode read the weights once, unless their arithmetic takes
 * longer. */
static double block_s(evn_work w, const evn_rates *r, evn_plan_step step)
{
	const bool prompt = step.phase == EVN_PROMPT;
	const double read_s = time_of(w.bytes, r->gemv_gbs * 1e9), compute_s = time_of(w.macs, r->gemm_gflops * 1e9 / 2);
	const double work_s = prompt ? compute_s : step.n_rows == 1 ? read_s : fmax(read_s, compute_s);
	if (work_s <= 0)
		return 0; /* it has no part of this block */
	const double beside_us =
		prompt ? step.n_rows * r->block_row_us : r->block_us + (step.n_rows - 1) * r->block_row_us;
	return work_s + beside_us * 1e-6 + w.keys * (prompt ? r->prompt_key_ns : r->key_ns) * 1e-9;
}

/* The time of a long message is proportional to its rows. */
static double all_reduce_us(evn_plan_step step, evn_reduce_cost cost)
{
	const double row_us = cost.prompt_us / EVN_PLAN_PROMPT;
	return step.phase == EVN_PROMPT ? step.n_rows * row_us : cost.token_us + (step.n_rows - 1) * row_us;
}

double evn_predict_blocks_s(const evn_split *split, const evn_plan_candidate *c, evn_plan_step step,
							evn_reduce_cost cost)
{
	double sum = several_take_part(split) ? evn_plan_n_reduces(&split->shape) * all_reduce_us(step, cost) * 1e-6 : 0;
	for (uint32_t k = EVN_PLAN_VOCAB + 1; k < split->shape.n_classes; k++) {
		const demand d = demand_of(&split->shape.classes[k], step);
		for (uint32_t i = 0; i < d.cut->n_blocks; i++) {
			double slowest = 0;
			for (uint32_t r = 0; r < split->n_ranks; r++) {
				const evn_range used = evn_split_part(split, k, i, r)->used[step.phase];
				slowest = fmax(slowest, block_s(work_of(&d, used), &c[r].rates, step));
			}
			sum += slowest;
		}
	}
	return sum;
}

double evn_predict_rank_s(const evn_split *split, uint32_t rank, const evn_rates *rates, evn_plan_step step,
						  uint32_t n_logits)
{
	double sum = n_logits ? time_of(vocab_bytes(split, rank), rates->vocab_gbs * 1e9) : 0;
	for (uint32_t k = EVN_PLAN_VOCAB + 1; k < split->shape.n_classes; k++) {
		const demand d = demand_of(&split->shape.classes[k], step);
		for (uint32_t i = 0; i < d.cut->n_blocks; i++)
			sum += block_s(work_of(&d, evn_split_part(split, k, i, rank)->used[step.phase]), rates, step);
	}
	return sum;
}

double evn_predict_vocab_s(const evn_split *split, const evn_plan_candidate *c)
{
	double slowest = 0;
	for (uint32_t r = 0; r < split->n_ranks; r++)
		slowest = fmax(slowest, time_of(vocab_bytes(split, r), c[r].rates.vocab_gbs * 1e9));
	return slowest;
}

evn_prediction evn_predict(const evn_split *split, const evn_plan_candidate *c, evn_reduce_cost cost)
{
	const evn_plan_step token = {EVN_DECODE, 1, EVN_PLAN_POSITION}, prompt = {EVN_PROMPT, EVN_PLAN_PROMPT, 0};
	double vocab_s = evn_predict_vocab_s(split, c);
	double decode_s = vocab_s + evn_predict_blocks_s(split, c, token, cost);
	double prompt_s = vocab_s + evn_predict_blocks_s(split, c, prompt, cost);
	return (evn_prediction){.decode_tok_s = 1 / decode_s, .prefill_tok_s = EVN_PLAN_PROMPT / prompt_s};
}

static evn_status whole_tok_s(double *out, const evn_plan_shape *s, const evn_plan_candidate *c, evn_error *err)
{
	evn_split whole;
	EVN_TRY(evn_split_make(&whole, s, 1, (double[]){1}, NULL, (uint64_t[]){UINT64_MAX}, err));
	*out = evn_predict(&whole, c, (evn_reduce_cost){0}).prefill_tok_s;
	evn_split_free(&whole);
	return EVN_OK;
}

evn_status evn_predict_sequences(double *tok_s, double *together, const evn_plan_shape *s,
								 const evn_plan_candidate *c, uint32_t n_ranks, uint64_t n, evn_error *err)
{
	double busy_until[EVN_MAX_RANKS] = {0}, end = 0; /* in s for each token of a sub-sequence */
	for (uint32_t r = 0; r < n_ranks; r++)
		EVN_TRY(whole_tok_s(&tok_s[r], s, &c[r], err));
	for (uint64_t i = 0; i < n; i++) {
		uint32_t first = 0;
		for (uint32_t r = 1; r < n_ranks; r++)
			if (busy_until[r] + 1 / tok_s[r] < busy_until[first] + 1 / tok_s[first])
				first = r;
		busy_until[first] += 1 / tok_s[first];
		end = fmax(end, busy_until[first]);
	}
	*together = end > 0 ? (double)n / end : 0;
	return EVN_OK;
}

double evn_split_share(const evn_split *split, uint32_t rank, evn_phase phase)
{
	const evn_plan_step row = {.phase = phase, .n_rows = 1};
	double mine = 0, all = 0;
	for (uint32_t r = 0; r < split->n_ranks; r++) {
		const evn_work w = evn_split_work(split, r, row);
		all += w.bytes + w.vocab_bytes;
		mine += r == rank ? w.bytes + w.vocab_bytes : 0;
	}
	return all > 0 ? mine / all : 0;
}
