/* plan.h - who holds which part of which matrix. Pure arithmetic: no device, no file, the same numbers in give the
 * same plan out.
 *
 * A "share vector" gives each rank a weight; a "split" turns it into ranges: query heads and feed-forward units per
 * layer, vocabulary rows once. Ranges of a kind are contiguous in rank order, disjoint, and cover everything. */
#ifndef EVN_PLAN_H
#define EVN_PLAN_H

#include "base/base.h"

#define EVN_MAX_CANDIDATES 16 /* devices and ways of using them that the planner weighs; all subsets are tried */

typedef struct {
	uint32_t begin, end; /* half-open; empty when equal */
} evn_range;

static inline uint32_t evn_range_len(evn_range r) { return r.end - r.begin; }

/* What a plan needs to know of a model. Bytes are of weights as the file stores them. A model without layers has
 * zeros for what belongs to layers. */
typedef struct {
	uint32_t n_layers, dim, ff_dim, n_heads, n_kv_heads, head_dim, vocab;
	uint32_t ff_grain; /* feed-forward units move in multiples of this (ff_dim % ff_grain may be != 0: last unit) */
	uint32_t vocab_grain;   /* vocabulary rows likewise */
	uint64_t head_bytes;    /* q rows + attention-out columns of one query head, mean over layers */
	uint64_t kv_head_bytes; /* k and v rows of one KV head, mean over layers */
	uint32_t ff_unit_lines; /* rows and columns of one unit: of gate, up and down, or of up and down */
	uint64_t ff_unit_bytes; /* of these, mean over layers */
	uint64_t vocab_row_bytes;
	uint64_t kv_cache_bytes; /* of one KV head in one layer at the asked context */
	uint64_t fixed_bytes;    /* held by every rank whatever its share: norms, scratch, tables */
	uint64_t peer_bytes;     /* and this for each rank that takes part, itself too: messages and copies of them */
} evn_plan_shape;

/* What each of n_ranks ranks holds whatever its share. */
uint64_t evn_plan_fixed_bytes(const evn_plan_shape *s, uint32_t n_ranks);

/* Query heads [begin,end) need the KV heads they attend to; a group that straddles two ranks is held by both. */
evn_range evn_kv_range(const evn_plan_shape *s, evn_range heads);

/* Steps of few tokens are bound by bytes, those of many by arithmetic: the feed-forward units of a rank, most of its
 * work, differ between the two. Heads do not, because the cache lies where they are. */
typedef enum { EVN_DECODE, EVN_PROMPT, EVN_PHASES } evn_phase;
#define EVN_PROMPT_FROM 16u /* tokens of a step from which it is a prompt's: weights are decoded once for 8 */
static inline evn_phase evn_phase_of(uint32_t n_tok) { return n_tok < EVN_PROMPT_FROM ? EVN_DECODE : EVN_PROMPT; }

typedef struct {
	evn_range heads, ff[EVN_PHASES];
} evn_layer_split;
/* The units that a rank holds, of which a step uses those of its phase: from the first of either to the last. */
evn_range evn_ff_held(const evn_layer_split *l);

typedef struct {
	uint32_t n_ranks, n_layers;
	evn_layer_split *layers; /* [layer * n_ranks + rank] */
	evn_range vocab[EVN_MAX_RANKS];
	bool one_layout; /* memory was too short for prompts to have shares of their own, as was asked for */
} evn_split;

/* How fast a rank is, as seen in steps of a decoder: a step of its share takes work / rate and what is beside it. */
typedef struct {
	double gemv_gbs, gemm_gflops; /* weights of layers: bytes for one token, arithmetic for a prompt */
	double vocab_gbs;             /* weights of the vocabulary's rows, with what is beside them */
	double layer_us, token_us;    /* a layer whatever the share of it: for one token, for each token of a prompt */
	double key_ns, prompt_key_ns; /* attention: a query head over one cached position */
} evn_rates;

void evn_rates_add(evn_rates *sum, const evn_rates *r);
evn_rates evn_rates_scaled(evn_rates r, double by);
/* Steps of one token, or of prompts, take 1 / by of the time. */
void evn_rates_hasten(evn_rates *r, uint32_t n_tok, double by);

#define EVN_PLAN_PROMPT 512u /* tokens of the prompt that predictions are for */

/* What a meeting of ranks adds to a step: for one token, for a prompt of EVN_PLAN_PROMPT. */
typedef struct {
	double token_us, prompt_us;
} evn_meeting;

/* What a plan needs to know of a rank, or of several alike: a device may take part whole or as equal sub-devices.
 * Rates must be > 0 where a share is automatic. */
typedef struct {
	const char *name; /* for reasons: "0:0 pthread-..." */
	const char *id;   /* for reasons: "0:0" */
	evn_rates rates;
	uint64_t memory_bytes; /* most it may hold */
	double share;          /* EVN_SHARE_AUTO, or a weight >= 0 */
	double prompt_share;   /* the same for prompts; EVN_SHARE_AUTO: as share where that is given */
	int chip;              /* candidates with equal chip >= 0 are one piece of silicon through several drivers */
	int driver;            /* ordinal of its platform; only different drivers of one chip exclude each other */
	int device;            /* candidates with equal device > 0 are ways of using one device: at most one is taken */
	uint32_t parts;        /* ranks that it makes, each with these rates and this memory; 0 is 1 */
	evn_meeting meeting;   /* of its own parts, where it has several */
} evn_plan_candidate;

static inline bool evn_same_device(const evn_plan_candidate *a, const evn_plan_candidate *b)
{
	return a->device > 0 && a->device == b->device;
}

/* n_ranks 1..EVN_MAX_RANKS, shares >= 0 with a sum > 0, memory[rank] most bytes (UINT64_MAX = any). prompt_shares: of
 * the feed-forward units for prompts; NULL: the same.
 * Over the whole model each rank's part of heads, of ff and of vocab deviates from its share by at most one grain
 * per kind and phase (remainders are spread over layers). Where what the ranks would hold of both phases does not
 * fit, prompts have the shares of decoding. Where a rank's memory cannot hold its share it gets less and the others
 * more, in proportion; a rank that cannot hold even evn_plan_fixed_bytes gets nothing. Where that is not enough,
 * heads move by whole KV groups, so that no KV head is held twice. EVN_ERR_LIMIT when all together cannot hold the
 * model (says how much is missing). */
evn_status evn_split_make(evn_split *out, const evn_plan_shape *s, uint32_t n_ranks, const double *shares,
						  const double *prompt_shares, const uint64_t *memory, evn_error *err);
void evn_split_free(evn_split *split);
uint64_t evn_split_bytes(const evn_plan_shape *s, const evn_split *split, uint32_t rank);
/* Fraction of all weight bytes that the rank reads in a step. */
double evn_split_share(const evn_plan_shape *s, const evn_split *split, uint32_t rank, evn_phase phase);

typedef struct {
	double decode_tok_s, prefill_tok_s;
} evn_prediction;

/* A rank's work: weight bytes read for a token, multiply-adds of one of a prompt, query heads; all layers. */
typedef struct {
	double bytes, macs, heads, vocab_bytes;
} evn_work;
evn_work evn_split_work(const evn_plan_shape *s, const evn_split *split, uint32_t rank);

/* Seconds of a step of n_tok tokens at `position`, without the vocabulary: the sum over attention and feed-forward of
 * each layer of the slowest rank's time, plus two meetings a layer where more than one rank takes part. c[rank].
 * Endless where a rate is not > 0. */
double evn_predict_layers_s(const evn_plan_shape *s, const evn_split *split, const evn_plan_candidate *c,
							uint32_t n_tok, uint32_t position, evn_meeting meeting);
double evn_predict_vocab_s(const evn_plan_shape *s, const evn_split *split, const evn_plan_candidate *c);
/* Decoding near the beginning of a text, and a prompt of EVN_PLAN_PROMPT tokens computed at once; the vocabulary is
 * computed for the last token of a prompt only. */
evn_prediction evn_predict(const evn_plan_shape *s, const evn_split *split, const evn_plan_candidate *c,
						   evn_meeting meeting);

typedef struct {
	bool taken[EVN_MAX_CANDIDATES];
	char reason[EVN_MAX_CANDIDATES][256]; /* of those not taken */
	evn_prediction predicted;
	uint32_t best_single;                 /* index */
	evn_prediction best_single_predicted; /* 0 tokens/s where no device can hold the model alone */
} evn_choice;

/* Tokens/s where every rank holds the whole model and computes sub-sequences of equal length, n in all, each by the
 * rank that would have it done first: of each rank, and together. */
evn_status evn_predict_sequences(double *tok_s, double *together, const evn_plan_shape *s,
								 const evn_plan_candidate *c, uint32_t n_ranks, uint64_t n, evn_error *err);

/* Picks the subset with the least predicted time of phase `by` (within 1 % the other decides). At most one driver of
 * a chip and one way of using a device, at most EVN_MAX_RANKS ranks, none with a share of 0 or a rate that is not
 * known; a subset of several ranks must beat the best whole device by 2 % or it is not worth its risk. n <=
 * EVN_MAX_CANDIDATES. meeting: between candidates; the parts of one candidate alone meet at its own cost. */
evn_status evn_plan_choose(evn_choice *out, const evn_plan_shape *s, const evn_plan_candidate *c, uint32_t n,
						   evn_phase by, evn_meeting meeting, evn_error *err);
/* Share vectors that minimise predicted times for these ranks: in proportion to gemv_gbs, for prompts (may be NULL)
 * to gemm_gflops where automatic, else the given ones; where both kinds meet, an automatic one gets what the given
 * ones have on average per GB/s. Where not every gemm_gflops is known, prompts have the shares of decoding. */
evn_status evn_plan_shares(double *shares, double *prompt_shares, const evn_plan_candidate *c, uint32_t n,
						   evn_error *err);

#endif
