/* plan.h - who holds which part of which matrix. Pure arithmetic: no device, no file, the same numbers in give the
 * same plan out.
 *
 * A model is a table of block classes. A "share vector" gives each rank a weight; a "split" turns it into ranges of
 * every block: query heads, feed-forward units or experts, and the rows of the vocabulary. The ranges that a phase
 * uses are contiguous in rank order, disjoint, and cover the block. A rank holds what any phase uses. */
#ifndef EVN_PLAN_H
#define EVN_PLAN_H

#include "base/base.h"

#define EVN_MAX_CANDIDATES 16 /* layouts of devices among which the planner chooses; all subsets are tried */

typedef struct {
	uint32_t begin, end; /* half-open; empty when equal */
} evn_range;

static inline uint32_t evn_range_len(evn_range r) { return r.end - r.begin; }

/* What is cut. */
typedef enum { EVN_CUT_ROWS, EVN_CUT_HEADS, EVN_CUT_UNITS, EVN_CUT_EXPERTS } evn_cut_kind;

/* What a row of a step is. Decoding is bound by bytes and prompts by arithmetic, so a feed-forward block, most of the
 * work, is cut once for each. Heads are cut once, because the KV cache lies where they are. */
typedef enum { EVN_DECODE, EVN_PROMPT, EVN_PHASES } evn_phase;

/* All blocks of a model that are cut alike, in the order of the model. Sizes are means over the class; bytes are of
 * weights as the file stores them. */
typedef struct {
	evn_cut_kind kind;
	uint32_t n_blocks;
	uint32_t n, grain;    /* units of a block; they move in multiples of grain (n % grain may be != 0: last unit) */
	uint32_t group;       /* query heads that share a KV head; 1 where units share nothing */
	uint64_t unit_bytes;  /* weights of one unit: q rows and attention-out columns; rows and columns of one neuron */
	uint64_t group_bytes; /* of one group, held by every rank that has a unit of it: k and v rows */
	uint64_t cache_bytes; /* KV cache of one group in one block at the asked context */
	double unit_macs, group_macs; /* multiply-adds for one row that uses them */
	double read_fraction;         /* of the units, what one row uses: k / n of n experts, else 1 */
	double most_keys;             /* cached positions a unit attends to: 0: none, INFINITY: all, else a window */
	bool by_phase;                /* cut once for decoding and once for prompts */
} evn_plan_class;

#define EVN_PLAN_CLASSES 16u

/* The first class: one block, the rows of the vocabulary. Every other block ends in an all-reduce. */
#define EVN_PLAN_VOCAB 0u

/* What a plan needs to know of a model. */
typedef struct {
	uint32_t n_classes;
	evn_plan_class classes[EVN_PLAN_CLASSES];
	uint64_t fixed_bytes; /* held by every rank whatever its share: norms, scratch, tables */
	uint64_t peer_bytes;  /* and this for each rank that takes part, itself too: messages and copies of them */
} evn_plan_shape;

/* The first class of a kind, n_classes where there is none. */
uint32_t evn_plan_find(const evn_plan_shape *s, evn_cut_kind kind);
/* Blocks other than the vocabulary, which is how many all-reduces a step has. */
uint32_t evn_plan_n_blocks(const evn_plan_shape *s);
/* Groups (KV heads) that a range of units needs; one that straddles two ranks is held by both. */
evn_range evn_plan_groups(const evn_plan_class *cut, evn_range units);
/* What each of n_ranks ranks holds whatever its share. */
uint64_t evn_plan_fixed_bytes(const evn_plan_shape *s, uint32_t n_ranks);
/* Of the whole model held once, without what every rank holds. */
uint64_t evn_plan_bytes(const evn_plan_shape *s);

/* A rank's part of one block. used lies within held, unless it is empty. */
typedef struct {
	evn_range held, used[EVN_PHASES];
} evn_part;

typedef struct {
	evn_plan_shape shape; /* what was split */
	uint32_t n_ranks;
	evn_part *parts[EVN_PLAN_CLASSES]; /* [class][block of the class * n_ranks + rank] */
	bool one_layout; /* memory was too short for prompts to have shares of their own, as was asked for */
} evn_split;

/* Of block `block` of class k. Where the model has no such class, parts are empty. */
const evn_part *evn_split_part(const evn_split *split, uint32_t k, uint32_t block, uint32_t rank);
/* Bit per rank with something to do for the block. */
uint64_t evn_split_ranks(const evn_split *split, uint32_t k, uint32_t block, evn_phase phase);

/* How fast a rank is, as seen in steps of a decoder: a block takes work / rate and what is beside it. */
typedef struct {
	double gemv_gbs, gemm_gflops;  /* weights of blocks: bytes for decoding, arithmetic for a prompt */
	double vocab_gbs;              /* weights of the vocabulary's rows, with what is beside them */
	double block_us, block_row_us; /* a block whatever the share of it: for one row, for each row of a prompt */
	double key_ns, prompt_key_ns;  /* attention: a query head over one cached position */
} evn_rates;

void evn_rates_add(evn_rates *sum, const evn_rates *r);
evn_rates evn_rates_scaled(evn_rates r, double by);
/* Steps of one phase take 1 / by of the time. */
void evn_rates_speed_up(evn_rates *r, evn_phase phase, double by);

#define EVN_PLAN_PROMPT 512u /* tokens of the prompt that predictions are for */

/* What an all-reduce adds to a step: of one row, of a prompt of EVN_PLAN_PROMPT. */
typedef struct {
	double token_us, prompt_us;
} evn_reduce_cost;

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
	int device;            /* candidates with equal device > 0 are layouts of one device: at most one is taken */
	uint32_t parts;        /* ranks that it makes, each with these rates and this memory; 0 is 1 */
	evn_reduce_cost reduce_cost; /* between its own parts, where it has several */
} evn_plan_candidate;

static inline bool evn_same_device(const evn_plan_candidate *a, const evn_plan_candidate *b)
{
	return a->device > 0 && a->device == b->device;
}

/* n_ranks 1..EVN_MAX_RANKS, shares >= 0 with a sum > 0, memory[rank] most bytes (UINT64_MAX = any). prompt_shares: of
 * the classes cut by phase, for prompts; NULL: the same.
 * Over all blocks of a class each rank's part deviates from its share by at most one grain in each phase (remainders
 * are distributed over the blocks). Where what the ranks would hold for both phases does not fit, prompts have the
 * shares of decoding. Where a rank's memory cannot hold its share it gets less and the others more, in proportion; a
 * rank that cannot hold even evn_plan_fixed_bytes gets nothing. Where that is not enough, heads move by whole groups,
 * so that no KV head is held twice. EVN_ERR_LIMIT when all together cannot hold the model (says how much is missing).
 */
evn_status evn_split_make(evn_split *out, const evn_plan_shape *s, uint32_t n_ranks, const double *shares,
						  const double *prompt_shares, const uint64_t *memory, evn_error *err);
/* A rank's part as a split of one rank: all of it, or with divisor > 1 that fraction of every block, in whole grains
 * and at least one, and nothing of the vocabulary. */
evn_status evn_split_alone(evn_split *out, const evn_split *of, uint32_t rank, uint32_t divisor, evn_error *err);
void evn_split_free(evn_split *split);
/* What the rank holds. */
uint64_t evn_split_bytes(const evn_split *split, uint32_t rank);
/* Fraction of all weight bytes that the rank reads for a row. */
double evn_split_share(const evn_split *split, uint32_t rank, evn_phase phase);

/* Rows that go through the model together. Rows of decoding are of different sequences, each at `position`; those of
 * a prompt follow each other from there. */
typedef struct {
	evn_phase phase;
	uint32_t n_rows, position;
} evn_plan_step;

/* A rank's work in a step, over all blocks: weight bytes read, multiply-adds, query heads times positions attended
 * to; and bytes of the vocabulary, for one row. */
typedef struct {
	double bytes, macs, keys, vocab_bytes;
} evn_work;
evn_work evn_split_work(const evn_split *split, uint32_t rank, evn_plan_step step);

typedef struct {
	double decode_tok_s, prefill_tok_s;
} evn_prediction;

/* Seconds of a step without the vocabulary: for each block the time of the slowest rank, and an all-reduce where more
 * than one rank takes part. c[rank]. Endless where a rate is not > 0. */
double evn_predict_blocks_s(const evn_split *split, const evn_plan_candidate *c, evn_plan_step step,
							evn_reduce_cost cost);
double evn_predict_vocab_s(const evn_split *split, const evn_plan_candidate *c);
/* Decoding near the beginning of a text, and a prompt of EVN_PLAN_PROMPT tokens computed at once; the vocabulary is
 * computed for the last token of a prompt only. */
evn_prediction evn_predict(const evn_split *split, const evn_plan_candidate *c, evn_reduce_cost cost);

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
 * a chip and one layout of a device, at most EVN_MAX_RANKS ranks, none with a share of 0 or a rate that is not
 * known; a subset of several ranks must beat the best whole device by 2 % or it is not worth its risk. n <=
 * EVN_MAX_CANDIDATES. cost: between candidates; between the parts of one candidate alone it is the candidate's. */
evn_status evn_plan_choose(evn_choice *out, const evn_plan_shape *s, const evn_plan_candidate *c, uint32_t n,
						   evn_phase by, evn_reduce_cost cost, evn_error *err);
/* Share vectors that minimise predicted times for these ranks: in proportion to gemv_gbs, for prompts (may be NULL)
 * to gemm_gflops where automatic, else the given ones; where both kinds meet, an automatic one gets what the given
 * ones have on average per GB/s. Where not every gemm_gflops is known, prompts have the shares of decoding. */
evn_status evn_plan_shares(double *shares, double *prompt_shares, const evn_plan_candidate *c, uint32_t n,
						   evn_error *err);

#endif
