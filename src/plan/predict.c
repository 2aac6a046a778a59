/* predict.c - how long a split would take. Between two meetings every rank does its part of a phase, so a phase takes
 * as long as its slowest rank. One token is bound by the weights read, a prompt by the arithmetic on them; both also
 * take what a layer costs whatever the share of it, and attention over the positions cached so far. */
#include "plan/plan.h"

#include <math.h>

#define DECODE_POSITION 32u /* predictions are for decoding near the beginning of a text */

void evn_rates_add(evn_rates *sum, const evn_rates *r)
{
	sum->gemv_gbs += r->gemv_gbs;
	sum->gemm_gflops += r->gemm_gflops;
	sum->vocab_gbs += r->vocab_gbs;
	sum->layer_us += r->layer_us;
	sum->token_us += r->token_us;
	sum->key_ns += r->key_ns;
	sum->prompt_key_ns += r->prompt_key_ns;
}

evn_rates evn_rates_scaled(evn_rates r, double by)
{
	return (evn_rates){.gemv_gbs = r.gemv_gbs * by,
					   .gemm_gflops = r.gemm_gflops * by,
					   .vocab_gbs = r.vocab_gbs * by,
					   .layer_us = r.layer_us * by,
					   .token_us = r.token_us * by,
					   .key_ns = r.key_ns * by,
					   .prompt_key_ns = r.prompt_key_ns * by};
}

void evn_rates_hasten(evn_rates *r, uint32_t n_tok, double by)
{
	if (n_tok == 1) {
		r->gemv_gbs *= by;
		r->vocab_gbs *= by;
		r->layer_us /= by;
		r->key_ns /= by;
	} else {
		r->gemm_gflops *= by;
		r->token_us /= by;
		r->prompt_key_ns /= by;
	}
}

typedef struct {
	double attention, ff; /* bytes or multiply-adds */
} work;

static work read_bytes(const evn_plan_shape *s, const evn_layer_split *l, evn_phase phase)
{
	return (work){.attention = (double)evn_range_len(l->heads) * (double)s->head_bytes +
							   (double)evn_range_len(evn_kv_range(s, l->heads)) * (double)s->kv_head_bytes,
				  .ff = (double)evn_range_len(l->ff[phase]) * (double)s->ff_unit_bytes};
}

/* Weight elements, each one multiply-add per token. */
static work elements(const evn_plan_shape *s, const evn_layer_split *l, evn_phase phase)
{
	double head = 2.0 * s->head_dim * s->dim; /* q and out, or k and v */
	uint32_t n_heads = evn_range_len(l->heads) + evn_range_len(evn_kv_range(s, l->heads));
	return (work){.attention = n_heads * head, .ff = (double)s->ff_unit_lines * s->dim * evn_range_len(l->ff[phase])};
}

evn_work evn_split_work(const evn_plan_shape *s, const evn_split *split, uint32_t rank)
{
	evn_work sum = {.vocab_bytes = (double)evn_range_len(split->vocab[rank]) * (double)s->vocab_row_bytes};
	for (uint32_t i = 0; i < split->n_layers; i++) {
		const evn_layer_split *l = &split->layers[(size_t)i * split->n_ranks + rank];
		work b = read_bytes(s, l, EVN_DECODE), e = elements(s, l, EVN_PROMPT);
		sum.bytes += b.attention + b.ff;
		sum.macs += e.attention + e.ff;
		sum.heads += evn_range_len(l->heads);
	}
	return sum;
}

static bool takes_part(const evn_plan_shape *s, const evn_split *split, uint32_t rank)
{
	evn_work w = evn_split_work(s, split, rank);
	return w.bytes > 0 || w.macs > 0 || w.vocab_bytes > 0;
}

static bool several_take_part(const evn_plan_shape *s, const evn_split *split)
{
	uint32_t n = 0;
	for (uint32_t r = 0; r < split->n_ranks; r++)
		n += takes_part(s, split, r);
	return n > 1;
}

/* Seconds; a rate that is not known makes any work endless. `besides` falls to whoever has work. */
static double time_of(double amount, double rate, double besides)
{
	if (amount <= 0)
		return 0;
	return rate > 0 ? amount / rate + besides : INFINITY;
}

/* One rank's half layers in a step of n_tok tokens at `position`. */
static work layer_s(const evn_plan_shape *s, const evn_layer_split *l, const evn_rates *r, uint32_t n_tok,
					uint32_t position)
{
	double n = n_tok, keys = n * evn_range_len(l->heads) * (position + n / 2);
	bool one = n_tok == 1;
	work w = one ? read_bytes(s, l, evn_phase_of(n_tok)) : elements(s, l, evn_phase_of(n_tok));
	double rate = one ? r->gemv_gbs * 1e9 : r->gemm_gflops * 1e9 / 2 / n;
	double half = (one ? r->layer_us : n * r->token_us) * 1e-6 / 2;
	double attention = keys * (one ? r->key_ns : r->prompt_key_ns) * 1e-9;
	return (work){.attention = time_of(w.attention, rate, half + attention), .ff = time_of(w.ff, rate, half)};
}

double evn_predict_layers_s(const evn_plan_shape *s, const evn_split *split, const evn_plan_candidate *c,
							uint32_t n_tok, uint32_t position, evn_meeting meeting)
{
	double meeting_us = n_tok == 1 ? meeting.token_us : meeting.prompt_us * n_tok / EVN_PLAN_PROMPT;
	double sum = several_take_part(s, split) ? 2.0 * split->n_layers * meeting_us * 1e-6 : 0;
	for (uint32_t i = 0; i < split->n_layers; i++) {
		work slowest = {0};
		for (uint32_t r = 0; r < split->n_ranks; r++) {
			work w = layer_s(s, &split->layers[(size_t)i * split->n_ranks + r], &c[r].rates, n_tok, position);
			slowest.attention = fmax(slowest.attention, w.attention);
			slowest.ff = fmax(slowest.ff, w.ff);
		}
		sum += slowest.attention + slowest.ff;
	}
	return sum;
}

double evn_predict_vocab_s(const evn_plan_shape *s, const evn_split *split, const evn_plan_candidate *c)
{
	double slowest = 0;
	for (uint32_t r = 0; r < split->n_ranks; r++)
		slowest = fmax(slowest, time_of(evn_split_work(s, split, r).vocab_bytes, c[r].rates.vocab_gbs * 1e9, 0));
	return slowest;
}

evn_prediction evn_predict(const evn_plan_shape *s, const evn_split *split, const evn_plan_candidate *c,
						   evn_meeting meeting)
{
	double vocab_s = evn_predict_vocab_s(s, split, c);
	double decode_s = vocab_s + evn_predict_layers_s(s, split, c, 1, DECODE_POSITION, meeting);
	double prompt_s = vocab_s + evn_predict_layers_s(s, split, c, EVN_PLAN_PROMPT, 0, meeting);
	return (evn_prediction){.decode_tok_s = 1 / decode_s, .prefill_tok_s = EVN_PLAN_PROMPT / prompt_s};
}

static evn_status whole_tok_s(double *out, const evn_plan_shape *s, const evn_plan_candidate *c, evn_error *err)
{
	evn_split whole;
	EVN_TRY(evn_split_make(&whole, s, 1, (double[]){1}, NULL, (uint64_t[]){UINT64_MAX}, err));
	*out = evn_predict(s, &whole, c, (evn_meeting){0}).prefill_tok_s;
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

double evn_split_share(const evn_plan_shape *s, const evn_split *split, uint32_t rank, evn_phase phase)
{
	double mine = 0, all = 0;
	for (uint32_t r = 0; r < split->n_ranks; r++) {
		double bytes = evn_split_work(s, split, r).vocab_bytes;
		for (uint32_t i = 0; i < split->n_layers; i++) {
			work w = read_bytes(s, &split->layers[(size_t)i * split->n_ranks + r], phase);
			bytes += w.attention + w.ff;
		}
		all += bytes;
		mine += r == rank ? bytes : 0;
	}
	return all > 0 ? mine / all : 0;
}
