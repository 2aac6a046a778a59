/* predict.c - how fast a split would be. Between two meetings every rank does its part of a phase, so a phase takes
 * as long as its slowest rank. Decode is bound by the weights read, prefill by the arithmetic on them. Reading the KV
 * cache is left out: the figures are for short contexts. */
#include "plan/plan.h"

#include <math.h>

/* Kernels a rank launches in a phase that it takes part in. */
#define ATTENTION_LAUNCHES 6 /* norm and q,k,v; rope and append; scores; softmax; mix; out */
#define FF_LAUNCHES 4        /* norm; gate and up; activation; down */
#define VOCAB_LAUNCHES 2     /* norm; logits */
/* Prompt tokens that share one set of launches and meetings. */
#define PREFILL_BATCH 128.0

typedef struct {
	double attention, ff, vocab; /* bytes or multiply-adds */
} work;

static work read_bytes(const evn_plan_shape *s, const evn_layer_split *l)
{
	return (work){.attention = (double)evn_range_len(l->heads) * (double)s->head_bytes +
							   (double)evn_range_len(evn_kv_range(s, l->heads)) * (double)s->kv_head_bytes,
				  .ff = (double)evn_range_len(l->ff) * (double)s->ff_unit_bytes};
}

/* Weight elements, each one multiply-add per token. The vocabulary counts for the last token of a prompt only: 0. */
static work elements(const evn_plan_shape *s, const evn_layer_split *l)
{
	double head = 2.0 * s->head_dim * s->dim; /* q and out, or k and v */
	uint32_t n_heads = evn_range_len(l->heads) + evn_range_len(evn_kv_range(s, l->heads));
	return (work){.attention = n_heads * head, .ff = (double)s->ff_unit_lines * s->dim * evn_range_len(l->ff)};
}

static double vocab_bytes(const evn_plan_shape *s, const evn_split *split, uint32_t rank)
{
	return (double)evn_range_len(split->vocab[rank]) * (double)s->vocab_row_bytes;
}

/* Seconds; a rate that is not known makes any work endless. */
static double time_of(double amount, double rate, double launches, double launch_us)
{
	if (amount <= 0)
		return 0;
	return rate > 0 ? amount / rate + launches * launch_us * 1e-6 : INFINITY;
}

static bool takes_part(const evn_split *split, uint32_t rank)
{
	bool any = evn_range_len(split->vocab[rank]) > 0;
	for (uint32_t i = 0; i < split->n_layers && !any; i++) {
		const evn_layer_split *l = &split->layers[(size_t)i * split->n_ranks + rank];
		any = evn_range_len(l->heads) > 0 || evn_range_len(l->ff) > 0;
	}
	return any;
}

static double meetings_s(const evn_split *split, double all_reduce_us)
{
	uint32_t n = 0;
	for (uint32_t r = 0; r < split->n_ranks; r++)
		n += takes_part(split, r);
	return n > 1 ? 2.0 * split->n_layers * all_reduce_us * 1e-6 : 0;
}

evn_prediction evn_predict(const evn_plan_shape *s, const evn_split *split, const evn_plan_candidate *c,
						   double all_reduce_us)
{
	double meetings = meetings_s(split, all_reduce_us), decode = meetings, prefill = meetings / PREFILL_BATCH;
	double vocab_s = 0;
	for (uint32_t i = 0; i < split->n_layers; i++) {
		work decode_s = {0}, prefill_s = {0};
		for (uint32_t r = 0; r < split->n_ranks; r++) {
			const evn_layer_split *l = &split->layers[(size_t)i * split->n_ranks + r];
			work b = read_bytes(s, l), e = elements(s, l);
			double gbs = c[r].gemv_gbs * 1e9, macs = c[r].gemm_gflops * 1e9 / 2, us = c[r].launch_us;
			decode_s.attention = fmax(decode_s.attention, time_of(b.attention, gbs, ATTENTION_LAUNCHES, us));
			decode_s.ff = fmax(decode_s.ff, time_of(b.ff, gbs, FF_LAUNCHES, us));
			prefill_s.attention =
				fmax(prefill_s.attention, time_of(e.attention, macs, ATTENTION_LAUNCHES / PREFILL_BATCH, us));
			prefill_s.ff = fmax(prefill_s.ff, time_of(e.ff, macs, FF_LAUNCHES / PREFILL_BATCH, us));
		}
		decode += decode_s.attention + decode_s.ff;
		prefill += prefill_s.attention + prefill_s.ff;
	}
	for (uint32_t r = 0; r < split->n_ranks; r++)
		vocab_s =
			fmax(vocab_s, time_of(vocab_bytes(s, split, r), c[r].gemv_gbs * 1e9, VOCAB_LAUNCHES, c[r].launch_us));
	if (split->n_layers == 0)
		prefill = vocab_s; /* nothing else is computed */
	return (evn_prediction){.decode_tok_s = 1 / (decode + vocab_s), .prefill_tok_s = 1 / prefill};
}

static evn_status whole_tok_s(double *out, const evn_plan_shape *s, const evn_plan_candidate *c, evn_error *err)
{
	evn_split whole;
	EVN_TRY(evn_split_make(&whole, s, 1, (double[]){1}, (uint64_t[]){UINT64_MAX}, err));
	*out = evn_predict(s, &whole, c, 0).prefill_tok_s;
	evn_split_free(&whole);
	return EVN_OK;
}

evn_status evn_predict_sequences(double *tok_s, double *together, const evn_plan_shape *s,
								 const evn_plan_candidate *c, uint32_t n_ranks, uint64_t n, evn_error *err)
{
	double busy_until[EVN_MAX_RANKS] = {0}, end = 0; /* in times of a token for each token of a sub-sequence */
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

double evn_split_share(const evn_plan_shape *s, const evn_split *split, uint32_t rank)
{
	double mine = 0, all = 0;
	for (uint32_t r = 0; r < split->n_ranks; r++) {
		double bytes = vocab_bytes(s, split, r);
		for (uint32_t i = 0; i < split->n_layers; i++) {
			work b = read_bytes(s, &split->layers[(size_t)i * split->n_ranks + r]);
			bytes += b.attention + b.ff;
		}
		all += bytes;
		mine += r == rank ? bytes : 0;
	}
	return all > 0 ? mine / all : 0;
}
