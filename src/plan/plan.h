/* plan.h - decides which rank holds which part of each matrix. It is pure arithmetic: no device, no file, and
 * equal inputs give equal plans.
 *
 * A model is a table of block classes. Shares give each rank a weight. A split turns the shares into ranges of
 * every block: query heads, feed-forward units or experts, and vocabulary rows. The ranges that one phase uses are
 * contiguous in rank order, disjoint, and cover the block. A rank holds all that any phase uses. */
#ifndef EVN_PLAN_H
#define EVN_PLAN_H

#include "base/base.h"

#define EVN_PLAN_MAX_RANKS 16384u /* of a split: more than devices can share (EVN_MAX_RANKS), for simulations */
#define EVN_MAX_CANDIDATES 16     /* device layouts that the planner chooses from; it tries every subset */

typedef struct {
	uint32_t begin, end; /* half-open; empty if both are equal */
} evn_range;

static inline uint32_t evn_range_len(evn_range r) { return r.end - r.begin; }

/* What the cuts of a block count. */
typedef enum { EVN_CUT_ROWS, EVN_CUT_HEADS, EVN_CUT_UNITS, EVN_CUT_EXPERTS } evn_cut_kind;

/* The phase of a step's row. Decode is limited by bytes and prefill by arithmetic. A feed-forward block, most of the
 * work, is therefore cut once for each phase. Heads are cut once, because the KV cache lies where the heads are. */
typedef enum { EVN_DECODE, EVN_PROMPT, EVN_PHASES } evn_phase;

/* The blocks of a model that are cut alike, in the order of the model. Sizes are means over the class. Bytes are
 * those of the weights in the file. */
typedef struct {
	evn_cut_kind kind;
	uint32_t n_blocks;
	uint32_t n, grain;    /* units of a block; cuts are at multiples of grain, the last one may be smaller */
	uint32_t group;       /* query heads that share a KV head; 1 if units share nothing */
	uint64_t unit_bytes;  /* weights of one unit: a head's q rows and output columns, or a neuron's rows and column */
	uint64_t group_bytes; /* weights of one group, its k and v rows; every rank with a unit of the group holds them */
	uint64_t cache_bytes; /* KV cache of one group in one block, for the given context */
	double unit_macs, group_macs; /* multiply-adds for a row */
	double read_fraction;         /* the part of the units that one row uses: k / n of n experts, otherwise 1 */
	double most_keys;         /* cached positions that a unit attends to: 0 for none, INFINITY for all, or a window */
	bool by_phase;            /* has one cut for decode and one for prompts */
	bool joins;               /* its blocks have no all-reduce of their own */
	bool is_idle[EVN_PHASES]; /* rows of this phase do not go through its blocks */
} evn_plan_class;

#define EVN_PLAN_CLASSES 16u

/* The first class is one block, the vocabulary rows. Every other block ends in one all-reduce, unless it joins
 * another one. */
#define EVN_PLAN_VOCAB 0u

/* What a plan needs to know about a model. */
typedef struct {
	uint32_t n_classes;
	evn_plan_class classes[EVN_PLAN_CLASSES];
	uint64_t fixed_bytes; /* held by every rank, whatever its share: norms, scratch, tables */
	uint64_t peer_bytes;  /* held by every rank for each rank, itself included: messages and their copies */
} evn_plan_shape;

/* The first class of a kind, or n_classes if there is none. */
uint32_t evn_plan_find(const evn_plan_shape *s, evn_cut_kind kind);
/* The number of blocks without the vocabulary. */
uint32_t evn_plan_n_blocks(const evn_plan_shape *s);
/* The number of all-reduces of a step. */
uint32_t evn_plan_n_reduces(const evn_plan_shape *s);
/* The groups (KV heads) that a range of units needs. If a group's units are on two ranks, both need it. */
evn_range evn_plan_groups(const evn_plan_class *cut, evn_range units);
/* What each of n_ranks ranks holds, whatever its share. */
uint64_t evn_plan_fixed_bytes(const evn_plan_shape *s, uint32_t n_ranks);
/* The bytes of the whole model, held once, without what every rank holds. */
uint64_t evn_plan_bytes(const evn_plan_shape *s);

/* A rank's part of one block. `used` is inside `held`, or empty. */
typedef struct {
	evn_range held, used[EVN_PHASES];
} evn_part;

typedef struct {
	evn_plan_shape shape; /* what is split */
	uint32_t n_ranks;
	evn_part *parts[EVN_PLAN_CLASSES]; /* [class][block of the class * n_ranks + rank] */
	bool one_layout; /* memory was too short for separate prompt shares, so prompts use the decode cut */
} evn_split;

/* The part of block `block` of class k. Empty if the model has no such class. */
const evn_part *evn_split_part(const evn_split *split, uint32_t k, uint32_t block, uint32_t rank);
/* One bit for each rank that computes a part of the block. */
uint64_t evn_split_ranks(const evn_split *split, uint32_t k, uint32_t block, evn_phase phase);
/* One bit for each rank that computes a part of any block in any phase. */
uint64_t evn_split_workers(const evn_split *split);

/* A rank's speed, measured in steps of a decoder. The time of a block is work / rate, a fixed cost, and attention. */
typedef struct {
	double gemv_gbs, gemm_gflops;  /* for block weights: bytes in decode, arithmetic in prefill */
	double vocab_gbs;              /* for vocabulary weights, with all fixed costs */
	double block_us, block_row_us; /* fixed cost of a block: for a step of one row; for each row of a prompt */
	double key_ns, prompt_key_ns;  /* attention of one query head to one cached position */
} evn_rates;

void evn_rates_add(evn_rates *sum, const evn_rates *r);
evn_rates evn_rates_scaled(evn_rates r, double by);
/* Divides the times of one phase's steps by `by`. */
void evn_rates_speed_up(evn_rates *r, evn_phase phase, double by);

#define EVN_PLAN_PROMPT 512u  /* tokens of the prompt for which predictions are made */
#define EVN_PLAN_POSITION 32u /* those of decoding are near the beginning of a text */

/* The time that an all-reduce adds to a step of one row, and of a prompt of EVN_PLAN_PROMPT tokens. */
typedef struct {
	double token_us, prompt_us;
} evn_reduce_cost;

/* What a plan needs to know about a rank, or about several equal ones: a device layout is the whole device or equal
 * sub-devices. Rates must be > 0 if a share is automatic. */
typedef struct {
	const char *name; /* for messages: "0:0 pthread-..." */
	const char *id;   /* for messages: "0:0" */
	evn_rates rates;
	uint64_t memory_bytes;       /* the most that it may hold */
	uint64_t host_bytes;         /* without memory of its own: what all such ranks may hold together; otherwise 0 */
	double share;                /* EVN_SHARE_AUTO, or a weight >= 0 */
	double prompt_share;         /* the share for prompts; EVN_SHARE_AUTO: equal to share if that is given */
	int chip;                    /* equal if >= 0: the same chip with different drivers */
	int driver;                  /* the platform's ordinal; different drivers of one chip exclude each other */
	int device;                  /* equal if > 0: layouts of one device, of which at most one is taken */
	uint32_t parts;              /* the ranks it makes, each with these rates and this memory; 0 means 1 */
	evn_reduce_cost reduce_cost; /* between its own parts, if there are several */
} evn_plan_candidate;

static inline bool evn_same_device(const evn_plan_candidate *a, const evn_plan_candidate *b)
{
	return a->device > 0 && a->device == b->device;
}

/* The ranks that it makes. */
static inline uint32_t evn_plan_parts(const evn_plan_candidate *c) { return c->parts ? c->parts : 1; }

/* True for two layouts of one device, and for two drivers of one chip. */
bool evn_plan_excludes(const evn_plan_candidate *a, const evn_plan_candidate *b);

/* memory[rank]: the most that each of n ranks may hold. Those without memory of their own divide the host's: each
 * gets what every rank holds, and a part of the rest in proportion to its share. */
void evn_plan_memory(uint64_t *memory, const evn_plan_shape *s, const evn_plan_candidate *c, const double *shares,
					 uint32_t n);
/* The ranks without memory of their own hold more than they may together. */
bool evn_plan_host_is_full(const evn_split *split, const evn_plan_candidate *c);
/* The candidates that can work together have enough memory for the model. */
bool evn_plan_fits(const evn_plan_shape *s, const evn_plan_candidate *c, uint32_t n);

/* Splits the shape over n_ranks ranks (1..EVN_PLAN_MAX_RANKS).
 * - shares are >= 0 with a sum > 0. memory[rank] is the most bytes (UINT64_MAX: any).
 * - prompt_shares are for prompts and for the classes with a cut for each phase; NULL: like shares.
 * - Over all blocks of a class, a rank's part differs from its share by at most one grain in each phase. The
 *   remainders of rounding are distributed over the blocks.
 * - If a rank cannot hold what it needs for both phases, prompts get the decode shares.
 * - If a rank's memory cannot hold its share, it gets less and the others get more, in proportion. A rank that cannot
 *   hold even evn_plan_fixed_bytes gets nothing.
 * - If that is not enough, heads are cut at whole groups, so that no KV head is held twice.
 * - EVN_ERR_LIMIT if all ranks together cannot hold the model; the message says how much is missing. */
evn_status evn_split_make(evn_split *out, const evn_plan_shape *s, uint32_t n_ranks, const double *shares,
						  const double *prompt_shares, const uint64_t *memory, evn_error *err);
/* Nobody holds anything yet. */
evn_status evn_split_make_empty(evn_split *out, const evn_plan_shape *s, uint32_t n_ranks, evn_error *err);
/* Turns a rank's part into a split of one rank. With divisor > 1 it keeps that fraction of every block, in whole
 * grains and at least one, and no vocabulary. */
evn_status evn_split_alone(evn_split *out, const evn_split *of, uint32_t rank, uint32_t divisor, evn_error *err);
evn_status evn_split_copy(evn_split *out, const evn_split *of, evn_error *err);
/* Keeps only what rows of this phase use. Each part then holds that range and uses it in both phases. */
void evn_split_keep_phase(evn_split *split, evn_phase phase);
/* The rank also goes on holding what it holds in `before`, a split of the same shape over the same ranks, of the
 * blocks of which a part of what is held can be used: feed-forward units, and the vocabulary if its grain allows it.
 */
void evn_split_keep_held(evn_split *split, const evn_split *before, uint32_t rank);
void evn_split_free(evn_split *split);
/* The bytes that the rank holds. */
uint64_t evn_split_bytes(const evn_split *split, uint32_t rank);
/* The fraction of all weight bytes that the rank reads for one row. */
double evn_split_share(const evn_split *split, uint32_t rank, evn_phase phase);

/* Rows that are computed together. In decode each row is of another sequence and at `position`. The rows of a prompt
 * follow each other from `position` on. */
typedef struct {
	evn_phase phase;
	uint32_t n_rows, position;
} evn_plan_step;

/* A rank's work in a step, over all blocks: weight bytes read, multiply-adds, and query heads times positions
 * attended to. vocab_bytes is for one row. */
typedef struct {
	double bytes, macs, keys, vocab_bytes;
} evn_work;
evn_work evn_split_work(const evn_split *split, uint32_t rank, evn_plan_step step);

typedef struct {
	double decode_tok_s, prefill_tok_s;
} evn_prediction;

/* The seconds of a step without the vocabulary: for each block the time of the slowest rank, and one all-reduce if
 * several ranks take part. c has n_ranks elements. INFINITY if a rate is not > 0. */
double evn_predict_blocks_s(const evn_split *split, const evn_plan_candidate *c, evn_plan_step step,
							evn_reduce_cost cost);
double evn_predict_vocab_s(const evn_split *split, const evn_plan_candidate *c);
/* The seconds that one rank works in a step with these rates, in its parts of all blocks and, for n_logits rows, of
 * the vocabulary. */
double evn_predict_rank_s(const evn_split *split, uint32_t rank, const evn_rates *rates, evn_plan_step step,
						  uint32_t n_logits);
/* Predicts decode near the beginning of a text, and a prompt of EVN_PLAN_PROMPT tokens in one step. A prompt computes
 * the vocabulary for its last token only. */
evn_prediction evn_predict(const evn_split *split, const evn_plan_candidate *c, evn_reduce_cost cost);

typedef struct {
	bool taken[EVN_MAX_CANDIDATES];
	char reason[EVN_MAX_CANDIDATES][256]; /* of the candidates that are not taken */
	evn_prediction predicted;
	uint32_t best_single;                 /* index of the best whole device */
	evn_prediction best_single_predicted; /* 0 tokens/s if no device can hold the model alone */
} evn_choice;

/* Predicts tokens/s if every rank holds the whole model. n sub-sequences of equal length are computed, each by the
 * rank that would finish it first. tok_s has the speed of each rank, *together that of all. */
evn_status evn_predict_sequences(double *tok_s, double *together, const evn_plan_shape *s,
								 const evn_plan_candidate *c, uint32_t n_ranks, uint64_t n, evn_error *err);

/* Takes the subset with the shortest predicted time of phase `by`; within 1 % the other phase decides. It takes at
 * most one driver of a chip, one layout of a device and EVN_MAX_RANKS ranks, and none with a share of 0 or an unknown
 * rate. A subset of several ranks must be 2 % faster than the best whole device; a smaller gain is not worth the
 * risk. n <= EVN_MAX_CANDIDATES. `cost` is that between candidates; for the parts of one candidate alone, the
 * candidate's own is used. */
evn_status evn_plan_choose(evn_choice *out, const evn_plan_shape *s, const evn_plan_candidate *c, uint32_t n,
						   evn_phase by, evn_reduce_cost cost, evn_error *err);
/* Computes the shares with the shortest predicted times for these ranks. Automatic shares are in proportion to
 * gemv_gbs, and for prompts (may be NULL) to gemm_gflops. If some shares are given, an automatic one is its rate
 * times the given ones' average per GB/s. If a gemm_gflops is unknown, prompts get the decode shares. */
evn_status evn_plan_shares(double *shares, double *prompt_shares, const evn_plan_candidate *c, uint32_t n,
						   evn_error *err);

#endif
