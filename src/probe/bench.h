/* bench.h - the set of devices that is measured, and what is known of it. */
#ifndef EVN_BENCH_H
#define EVN_BENCH_H

#include "group/comm.h"
#include "group/team.h"
#include "nn/ops_gemm.h"
#include "probe/probe.h"
#include "probe/training_products.h"
#include "proof/proof.h"

#define MAX_MATRICES 128u
#define PROMPT_TOKENS 128u
#define REDUCE_FLOATS 2048u /* of an all-reduce that is timed: a token's, of a usual model */

typedef struct {
	evn_device *device;
	evn_queue *queue;
	evn_ops *ops;
	uint32_t kind;                     /* the first rank that is as many units of the same device */
	bool is_part;                      /* a sub-device */
	uint32_t dots;                     /* to choose from; bits 1 << evn_dot */
	uint32_t other_dots;               /* of the other width, before they are proved; then some of dots */
	evn_dot dot;                       /* in use */
	evn_matrix matrices[MAX_MATRICES]; /* of the present format */
	uint32_t n_matrices;
	uint64_t bytes;
	evn_buf *x[EVN_ACT_FORMATS], *y; /* the same input in each form */
	uint32_t prompt_tokens;          /* PROMPT_TOKENS, or fewer on a slow device */
	double spread, n_spreads;        /* sums of the figures' spreads */
	evn_training_products training;
} bench_rank;

typedef struct {
	int fd;
	char *known;     /* lines of earlier measurements, and of the workers that prove */
	evn_facts facts; /* and now */
	evn_system *system;
	evn_model *model;
	evn_weight_mix mix;
	evn_proof_record record;
	const evn_workload *workload;
	evn_measure_mode mode;
	evn_tensor tensor; /* of the present format */
	uint8_t *blocks;
	uint32_t n;
	bench_rank ranks[EVN_MAX_RANKS];
	evn_comm *comm;
	evn_team *team;
	bool fit[EVN_REDUCE_FLAGS + 1]; /* reduce methods whose trial went well */
} bench;

/* bench.c: writes "rank<TAB>key<TAB>value"; format makes the key. */
void bench_report(bench *b, uint32_t rank, double value, const char *format, ...)
	__attribute__((format(printf, 4, 5)));
/* Opens the devices that are named as evn_pick_name names them; queues[n] are theirs. */
evn_status bench_open(bench *b, const char *const *picks, uint32_t n, evn_queue **queues, evn_error *err);
/* Runs fn on the threads of all ranks, with a communicator. */
evn_status bench_run(bench *b, evn_queue **queues, evn_reduce method, evn_rank_fn fn, evn_error *err);
void bench_free(bench *b);

/* prove.c: what the rank has not proved yet. A device that computes wrongly must not be measured, let alone used. In
 * a set each device has been proved alone before, except for what only parts run. */
evn_status bench_prove(const bench *b, uint32_t rank, const evn_proof_record *record, evn_error *err);
/* A device may be faster with the other width (evn_device_lanes). Alone, its kinds are measured too if all kernels
 * pass; if they do not, the device still has its usual width. */
void bench_prove_other_width(const bench *b, bench_rank *r, const evn_proof_record *record);
evn_proof_record bench_record(bench *b);
/* The proofs of one device by several processes: a driver's compiler uses one core. Where one fails, the proof is
 * given again by bench_prove, and its failure is seen then. Called before a driver is loaded. */
void bench_prove_in_parallel(bench *b, const char *pick);

/* The dot kinds among which measuring chooses for products with this format. */
static inline uint32_t bench_dots(const bench_rank *r, const evn_quant *q)
{
	return q->block_len == 1 ? evn_dots_for_floats(r->dots) : r->dots;
}

/* products.c: figures, each taken by all ranks at once. Functions for bench_run; arg is the bench. */
evn_status bench_make_blocks(bench *b, const evn_quant *q, evn_error *err); /* the present format */
evn_status bench_make_input(void *arg, uint32_t rank, evn_error *err);
evn_status bench_measure_format(void *arg, uint32_t rank, evn_error *err);
evn_status bench_measure_gemm(void *arg, uint32_t rank, evn_error *err);
evn_status bench_measure_launches(void *arg, uint32_t rank, evn_error *err);
evn_status bench_measure_training(void *arg, uint32_t rank, evn_error *err);
evn_status bench_measure_reduce(void *arg, uint32_t rank, evn_error *err);
void bench_free_matrices(bench_rank *r);

#endif
