/* measure.c - what devices can do with a model's own matrices, run in the helper program. Every rank has a thread;
 * each figure is taken while all ranks do the same, because devices that share a memory bus slow each other down. */
#include <math.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "group/comm.h"
#include "group/team.h"
#include "nn/graph.h"
#include "nn/ops_gemm.h"
#include "probe/probe.h"
#include "probe/steps.h"
#include "probe/training_products.h"
#include "proof/proof.h"

#define WINDOW_NS 250000000u             /* a figure is taken over so long, or one pass where that is longer, */
#define ENOUGH_PASSES 64u                /* or so many where they take less */
#define SLOW_NS 1000000000u              /* a pass this long is figure enough */
#define PROMPT_NS 4000000000u            /* a prompt token by token may take so long, else fewer tokens must do */
#define GEMM_BUDGET_NS 3000000000u       /* no further GEMM sizes are tried after so long */
#define WORKING_SET ((uint64_t)64 << 20) /* bytes of weights to go through: more than caches hold */
#define MAX_MATRICES 512
#define LAYER_MATRICES 4   /* of one layer: enough for prompts, and bearable on slow devices */
#define GEMM_TOKENS 128u   /* prompt tokens at which gemm_gflops is taken */
#define GENERAL_ROWS 2048u /* without a model: Q4_0 matrices of this many rows and columns */

typedef struct {
	evn_device *device;
	evn_queue *queue;
	evn_ops *ops;
	uint32_t kind; /* the first rank that is as many units of the same device */
	bool is_part;  /* a sub-device */
	uint32_t dots; /* to choose from; bits 1 << evn_dot */
	evn_dot dot;   /* chosen */
	evn_matrix *matrices;
	uint32_t n_matrices;
	uint64_t bytes;
	evn_buf *x[EVN_ACT_FORMATS], *y; /* the same input in each format */
	uint32_t x_stride, y_stride;
	uint32_t prompt_tokens; /* GEMM_TOKENS, or fewer on a slow device */
	double prompt_ns;       /* of so many through a layer, by the quantised kernels */
	double gbs;
	uint32_t gemm_from;
	evn_training_products training;
} bench_rank;

typedef struct {
	int fd;
	evn_system *system;
	const evn_model *model;
	const evn_workload *workload;
	uint8_t *general_blocks; /* weights of the general shape */
	evn_tensor general;
	uint32_t n;
	bench_rank ranks[EVN_MAX_RANKS];
	evn_comm *comm;
	evn_team *team;
	uint32_t reduce_floats;
	bool fit[EVN_REDUCE_FLAGS + 1]; /* reduce methods whose trial went well */
	uint64_t gemm_began_ns;
	atomic_bool gemm_enough; /* said by one rank, heard by all: they measure together */
} bench;

static void report(bench *b, uint32_t rank, const char *key, double value)
{
	dprintf(b->fd, "%u\t%s\t%.6g\n", rank, key, value);
}

static void report_fault(bench *b, uint32_t rank, const char *text) { dprintf(b->fd, "%u\tfault\t%s\n", rank, text); }

/* ---- what is multiplied ---------------------------------------------------------------------------------------- */

/* n <= EVN_MATRIX_PARTS tensors that read the same input, stacked as the decoder stacks them. */
static evn_status add_matrix(bench_rank *r, const evn_tensor *const *tensors, uint32_t n, evn_error *err)
{
	evn_row_block blocks[EVN_MATRIX_PARTS];
	for (uint32_t i = 0; i < n; i++)
		blocks[i] = (evn_row_block){tensors[i], {0, (uint32_t)tensors[i]->shape[1]}};
	evn_matrix *m = &r->matrices[r->n_matrices++];
	EVN_TRY(evn_matrix_split_output(m, r->queue, blocks, n, NULL, err));
	r->bytes += m->bytes;
	if (m->columns > r->x_stride)
		r->x_stride = m->columns;
	if (m->rows > r->y_stride)
		r->y_stride = m->rows;
	return EVN_OK;
}

static evn_status add_block(bench_rank *r, const evn_graph *g, const evn_block *b, evn_error *err)
{
	const evn_tensor *tensors[EVN_MATRIX_PARTS], *out;
	for (uint32_t i = 0; i < b->in.n; i++)
		EVN_TRY(evn_block_tensor(g, b, b->in.stems[i], &tensors[i], err));
	EVN_TRY(evn_block_tensor(g, b, b->out, &out, err));
	EVN_TRY(add_matrix(r, tensors, b->in.n, err));
	return add_matrix(r, &out, 1, err);
}

/* As many blocks as make a working set; of a model without layers the head. */
static evn_status add_matrices_of(bench_rank *r, const evn_graph *g, evn_error *err)
{
	const evn_tensor *head;
	for (uint32_t i = 0; i < g->n_blocks && r->bytes < WORKING_SET && r->n_matrices + 2 <= MAX_MATRICES; i++)
		EVN_TRY(add_block(r, g, &g->blocks[i], err));
	if (g->n_blocks)
		return EVN_OK;
	EVN_TRY(evn_graph_head(g, &head, err));
	return add_matrix(r, &head, 1, err);
}

static evn_status add_model_matrices(bench_rank *r, const evn_model *m, evn_error *err)
{
	evn_graph *g;
	EVN_TRY(evn_graph_make(&g, m, err));
	evn_status s = add_matrices_of(r, g, err);
	evn_graph_free(g);
	return s;
}

static evn_status make_general(bench *b, evn_error *err)
{
	const evn_quant *q = evn_quant_by_name("Q4_0");
	uint64_t n_blocks = (uint64_t)GENERAL_ROWS * GENERAL_ROWS / q->block_len, size = n_blocks * q->block_bytes;
	b->general_blocks = malloc(size);
	if (!b->general_blocks)
		return evn_fail_memory(err, "matrix", size);
	for (uint64_t i = 0; i < size; i++)
		b->general_blocks[i] = i % q->block_bytes == 1 ? 0x2c : (uint8_t)(i * 37); /* scales near 0.07 */
	b->general = (evn_tensor){.quant = q,
							  .n_dims = 2,
							  .shape = {GENERAL_ROWS, GENERAL_ROWS, 1, 1},
							  .size_bytes = size,
							  .data = b->general_blocks};
	return EVN_OK;
}

static evn_status fill_ones(bench_rank *r, evn_error *err)
{
	uint64_t bytes = (uint64_t)r->x_stride * GEMM_TOKENS * sizeof(float);
	void *host;
	for (int format = 0; format < EVN_ACT_FORMATS; format++)
		EVN_TRY(evn_buf_create(&r->x[format], r->device, bytes, EVN_BUF_DEVICE, "input", err));
	EVN_TRY(evn_buf_create(&r->y, r->device, (uint64_t)r->y_stride * GEMM_TOKENS * sizeof(float), EVN_BUF_DEVICE,
						   "output", err));
	EVN_TRY(evn_map(r->queue, r->x[EVN_ACT_F32], bytes, EVN_MAP_OVERWRITE, true, &host, err));
	for (uint64_t i = 0; i < bytes / sizeof(float); i++)
		((float *)host)[i] =
			0.01f * (float)(i % 17); /* denormals or garbage would make some CPUs many times slower */
	return evn_unmap(r->queue, r->x[EVN_ACT_F32], host, err);
}

static evn_status multiply(bench_rank *r, const evn_matrix *m, uint32_t n_tok, evn_error *err)
{
	evn_act_format format = evn_op_act_format(r->ops, m, EVN_DECODE);
	return evn_op_quantised(r->ops, r->y, r->y_stride, format, r->x[format], r->x_stride, m, n_tok, err);
}

/* ---- the way of multiplying ---------------------------------------------------------------------------------- */

static evn_dot lowest_dot(uint32_t dots)
{
	evn_dot dot = EVN_DOT_NONE;
	while (dot < EVN_DOT_COUNT - 1 && !(dots >> dot & 1))
		dot++;
	return dot;
}

/* Of ranks that are unlike, one may have a choice where another has none; all measure as often, for they meet. */
static bool has_choice(const bench *b)
{
	bool choice = false;
	for (uint32_t i = 0; i < b->n; i++)
		choice |= (b->ranks[i].dots & (b->ranks[i].dots - 1)) != 0;
	return choice;
}

/* From now on the rank multiplies so. */
static evn_status use_dot(bench_rank *r, evn_dot dot, evn_error *err)
{
	evn_ops_free(r->ops);
	r->dot = dot;
	EVN_TRY(evn_ops_create(&r->ops, r->queue, &(evn_ops_config){.dot = dot}, err));
	if (dot != EVN_DOT_NONE)
		EVN_TRY(evn_op_store(r->ops, EVN_ACT_Q8, r->x[EVN_ACT_Q8], r->x[EVN_ACT_F32], r->x_stride, GEMM_TOKENS, err));
	EVN_TRY(multiply(r, &r->matrices[0], 1, err));
	return evn_queue_finish(r->queue, err);
}

/* A device that computes wrongly must not be measured, let alone used. In a set each has been proved alone before,
 * but for what only parts run. */
static evn_status prove(const bench *b, uint32_t rank, evn_error *err)
{
	const bench_rank *r = &b->ranks[rank];
	if (b->n == 1)
		return evn_prove_kernels(r->device, b->model, r->dots, err);
	return r->kind == rank && r->is_part ? evn_prove_part(r->device, b->model, r->dots, err) : EVN_OK;
}

static evn_status set_up(void *arg, uint32_t rank, evn_error *err)
{
	bench *b = arg;
	bench_rank *r = &b->ranks[rank];
	r->matrices = calloc(MAX_MATRICES, sizeof *r->matrices);
	if (!r->matrices)
		return evn_fail_memory(err, "matrices", MAX_MATRICES * sizeof *r->matrices);
	r->dots = evn_dots_possible(b->workload->activations, r->device);
	EVN_TRY(prove(b, rank, err));
	if (b->model)
		EVN_TRY(add_model_matrices(r, b->model, err));
	while (!b->model && r->bytes < WORKING_SET / 2)
		EVN_TRY(add_matrix(r, &(const evn_tensor *){&b->general}, 1, err));
	EVN_TRY(fill_ones(r, err));
	return use_dot(r, lowest_dot(r->dots), err);
}

/* ---- figures -----------------------------------------------------------------------------------------------------
 */

typedef evn_status (*pass_fn)(bench_rank *r, uint32_t n_tok, evn_error *err);

/* Every matrix: the bytes of a token. */
static evn_status whole_pass(bench_rank *r, uint32_t n_tok, evn_error *err)
{
	for (uint32_t i = 0; i < r->n_matrices; i++)
		EVN_TRY(multiply(r, &r->matrices[i], n_tok, err));
	return evn_queue_finish(r->queue, err);
}

static evn_status quantised_pass(bench_rank *r, uint32_t n_tok, evn_error *err)
{
	for (uint32_t i = 0; i < r->n_matrices && i < LAYER_MATRICES; i++)
		EVN_TRY(multiply(r, &r->matrices[i], n_tok, err));
	return evn_queue_finish(r->queue, err);
}

static evn_status gemm_pass(bench_rank *r, uint32_t n_tok, evn_error *err)
{
	for (uint32_t i = 0; i < r->n_matrices && i < LAYER_MATRICES; i++)
		EVN_TRY(evn_op_gemm(r->ops, r->y, r->y_stride, r->x[EVN_ACT_F32], r->x_stride, &r->matrices[i], n_tok, err));
	return evn_queue_finish(r->queue, err);
}

/* Mean time of a pass over the window, after one that does not count but where it is very slow. GEMM's first pass
 * compiles, so it never counts. */
static evn_status time_passes(bench *b, bench_rank *r, pass_fn pass, uint32_t n_tok, double *ns, evn_error *err)
{
	uint64_t began = evn_now_ns(), now, n = 0;
	EVN_TRY(pass(r, n_tok, err));
	*ns = (double)(evn_now_ns() - began);
	EVN_TRY(evn_comm_barrier(b->comm, (uint32_t)(r - b->ranks), err));
	if (*ns > SLOW_NS && pass != gemm_pass)
		return EVN_OK;
	began = evn_now_ns();
	do {
		EVN_TRY(pass(r, n_tok, err));
		now = evn_now_ns();
		n++;
	} while (now - began < WINDOW_NS && n < ENOUGH_PASSES);
	*ns = (double)(now - began) / (double)n;
	return EVN_OK;
}

static evn_status measure_gemv(void *arg, uint32_t rank, evn_error *err)
{
	bench *b = arg;
	bench_rank *r = &b->ranks[rank];
	double ns, other_ns;
	const evn_dot first = r->dot;
	EVN_TRY(time_passes(b, r, whole_pass, 1, &ns, err));
	if (has_choice(b)) {
		const uint32_t rest = r->dots & ~(1u << first);
		EVN_TRY(use_dot(r, rest ? lowest_dot(rest) : first, err));
		EVN_TRY(time_passes(b, r, whole_pass, 1, &other_ns, err));
		if (other_ns >= ns)
			EVN_TRY(use_dot(r, first, err));
		ns = fmin(ns, other_ns);
	}
	report(b, rank, "dot", r->dot);
	r->gbs = (double)r->bytes / ns;
	report(b, rank, "gemv_gbs", r->gbs);
	double layer_ns = ns * fmin(1, (double)LAYER_MATRICES / r->n_matrices);
	r->prompt_tokens = GEMM_TOKENS;
	while (r->prompt_tokens > 8 && layer_ns * r->prompt_tokens > PROMPT_NS)
		r->prompt_tokens /= 2;
	return EVN_OK;
}

static evn_status measure_launches(void *arg, uint32_t rank, evn_error *err)
{
	enum { LAUNCHES = 256, MAPS = 16 };
	bench *b = arg;
	bench_rank *r = &b->ranks[rank];
	EVN_TRY(evn_op_add_bias(r->ops, r->y, r->y_stride, r->x[EVN_ACT_F32], 16, 1, err));
	EVN_TRY(evn_queue_finish(r->queue, err));
	uint64_t began = evn_now_ns();
	for (int i = 0; i < LAUNCHES; i++)
		EVN_TRY(evn_op_add_bias(r->ops, r->y, r->y_stride, r->x[EVN_ACT_F32], 16, 1, err));
	EVN_TRY(evn_queue_finish(r->queue, err));
	uint64_t launched = evn_now_ns();
	for (int i = 0; i < MAPS; i++) {
		void *host;
		EVN_TRY(evn_map(r->queue, r->y, 4096, EVN_MAP_READ, true, &host, err));
		EVN_TRY(evn_unmap(r->queue, r->y, host, err));
		EVN_TRY(evn_queue_finish(r->queue, err));
	}
	report(b, rank, "launch_us", (double)(launched - began) * 1e-3 / LAUNCHES);
	report(b, rank, "map_us", (double)(evn_now_ns() - launched) * 1e-3 / MAPS);
	return EVN_OK;
}

static double layer_flops(const bench_rank *r)
{
	double flops = 0;
	for (uint32_t i = 0; i < r->n_matrices && i < LAYER_MATRICES; i++)
		flops += 2.0 * r->matrices[i].rows * r->matrices[i].columns;
	return flops;
}

/* The kernels that read quantised blocks, at a prompt's size; what prompts can do without GEMM. */
static evn_status measure_prompt(void *arg, uint32_t rank, evn_error *err)
{
	bench *b = arg;
	bench_rank *r = &b->ranks[rank];
	EVN_TRY(time_passes(b, r, quantised_pass, r->prompt_tokens, &r->prompt_ns, err));
	report(b, rank, "prompt_gflops", layer_flops(r) * r->prompt_tokens / r->prompt_ns);
	return EVN_OK;
}

/* The least power of two of tokens from which GEMM wins all the way up to a prompt's size. */
static evn_status measure_gemm(void *arg, uint32_t rank, evn_error *err)
{
	bench *b = arg;
	bench_rank *r = &b->ranks[rank];
	double gemm_ns, quantised_ns = r->prompt_ns;
	uint32_t from = 0;
	if (r->prompt_tokens < GEMM_TOKENS)
		return EVN_OK; /* so slow that building CLBlast's kernels alone would try the user's patience */
	if (b->workload->purpose == EVN_FOR_TEXT && evn_dots_suffice(b->model, r->dots))
		return EVN_OK;
	EVN_TRY(evn_prove_gemm(r->device, b->model, err));
	for (uint32_t n_tok = GEMM_TOKENS; n_tok >= 2; n_tok /= 2) {
		EVN_TRY(evn_comm_barrier(b->comm, rank, err));
		if (atomic_load(&b->gemm_enough))
			break;
		if (n_tok < GEMM_TOKENS)
			EVN_TRY(time_passes(b, r, quantised_pass, n_tok, &quantised_ns, err));
		EVN_TRY(time_passes(b, r, gemm_pass, n_tok, &gemm_ns, err));
		if (gemm_ns < quantised_ns && (n_tok == GEMM_TOKENS || from == 2 * n_tok))
			from = n_tok;
		if (n_tok == GEMM_TOKENS)
			report(b, rank, "gemm_gflops", layer_flops(r) * n_tok / gemm_ns);
		if (evn_now_ns() - b->gemm_began_ns > GEMM_BUDGET_NS)
			atomic_store(&b->gemm_enough, true);
	}
	report(b, rank, "gemm_from", from);
	r->gemm_from = from ? from : UINT32_MAX;
	return EVN_OK;
}

static evn_status training_pass(bench_rank *r, uint32_t n_tok, evn_error *err)
{
	(void)n_tok;
	return evn_training_products_run(&r->training, err);
}

static evn_status measure_training(void *arg, uint32_t rank, evn_error *err)
{
	bench *b = arg;
	bench_rank *r = &b->ranks[rank];
	uint32_t n = r->n_matrices < LAYER_MATRICES ? r->n_matrices : LAYER_MATRICES;
	double ns;
	for (uint32_t i = 0; i < b->n; i++)
		if (b->ranks[i].prompt_tokens < GEMM_TOKENS)
			return EVN_OK; /* on every rank: one is too slow to be tried, as for GEMM */
	EVN_TRY(evn_training_products_create(&r->training, r->queue, r->matrices, n, err));
	EVN_TRY(training_pass(r, 0, err)); /* compiles */
	EVN_TRY(time_passes(b, r, training_pass, 0, &ns, err));
	report(b, rank, "training_gflops", evn_training_products_flops(&r->training) / ns);
	return EVN_OK;
}

static const char *reduce_key(evn_reduce method)
{
	return method == EVN_REDUCE_FLAGS ? "flags_us" : method == EVN_REDUCE_EVENTS ? "events_us" : "host_us";
}

static const char *prompt_key(evn_reduce method)
{
	return method == EVN_REDUCE_FLAGS    ? "flags_prompt_us"
		   : method == EVN_REDUCE_EVENTS ? "events_prompt_us"
										 : "host_prompt_us";
}

static evn_status measure_reduce(void *arg, uint32_t rank, evn_error *err)
{
	enum { TIMES = 7 };
	bench *b = arg;
	double us[TIMES];
	EVN_TRY(evn_comm_try(b->comm, rank, err));
	EVN_TRY(evn_comm_time_all_reduce(b->comm, rank, b->reduce_floats, TIMES, us, err));
	if (rank)
		return EVN_OK;
	report(b, 0, reduce_key(evn_comm_reduce(b->comm)), evn_median(us, TIMES));
	b->fit[evn_comm_reduce(b->comm)] = true;
	return EVN_OK;
}

/* ---- the course of it --------------------------------------------------------------------------------------------
 */

static void release_waiting(void *arg) { evn_comm_cancel(((bench *)arg)->comm); }

/* Picks by the names that evn_pick_name gives: "0:0" or "0:0/1@1". */
static evn_status parse_pick(const evn_system *s, const char *name, evn_pick *out, evn_error *err)
{
	char id[64];
	unsigned n_units = 0, first = 0;
	size_t n = 0;
	if (sscanf(name, "%63[^/]/%u@%u", id, &n_units, &first) < 1)
		return evn_fail(err, EVN_ERR_USAGE, "%s: not a device", name);
	EVN_TRY(evn_system_select(s, id, 0, out, &n, 1, err));
	out->n_units = n_units;
	out->first_unit = first;
	return EVN_OK;
}

static evn_status open_ranks(bench *b, const char *const *picks, uint32_t n, evn_queue **queues, evn_error *err)
{
	evn_pick chosen[EVN_MAX_RANKS];
	evn_device *devices[EVN_MAX_RANKS];
	if (n == 0 || n > EVN_MAX_RANKS)
		return evn_fail(err, EVN_ERR_LIMIT, "%u devices to measure, 1 to %d are possible", n, EVN_MAX_RANKS);
	EVN_TRY(evn_system_open(&b->system, err));
	for (uint32_t i = 0; i < n; i++)
		EVN_TRY(parse_pick(b->system, picks[i], &chosen[i], err));
	EVN_TRY(evn_devices_open(b->system, chosen, n, devices, err));
	b->n = n;
	for (uint32_t i = 0; i < n; i++) {
		b->ranks[i].device = devices[i];
		evn_device_build_throwaway(devices[i], evn_device_slow_binaries(devices[i]));
		b->ranks[i].gemm_from = UINT32_MAX;
		b->ranks[i].is_part = chosen[i].n_units > 0;
		while (!evn_picks_alike(&chosen[b->ranks[i].kind], &chosen[i]))
			b->ranks[i].kind++;
	}
	for (uint32_t i = 0; i < n; i++) {
		EVN_TRY(evn_queue_create(&b->ranks[i].queue, devices[i], err));
		queues[i] = b->ranks[i].queue;
	}
	return EVN_OK;
}

static evn_status with_comm(bench *b, evn_queue **queues, evn_reduce method, evn_rank_fn fn, evn_error *err)
{
	const uint64_t most = b->reduce_floats > EVN_TRIAL_FLOATS ? b->reduce_floats : EVN_TRIAL_FLOATS;
	const evn_comm_config config = {.queues = queues, .n_ranks = b->n, .reduce = method, .max_floats = most};
	evn_status s = evn_comm_create(&b->comm, &config, err);
	if (s == EVN_OK)
		s = evn_team_run(b->team, fn, b, NULL, NULL, err);
	evn_comm_free(b->comm);
	b->comm = NULL;
	return s;
}

static evn_status measure_all(bench *b, evn_queue **queues, evn_error *err)
{
	EVN_TRY(
		evn_team_create(&b->team, &(evn_team_config){.n_ranks = b->n, .on_failure = release_waiting, .arg = b}, err));
	if (!b->model)
		EVN_TRY(make_general(b, err));
	b->reduce_floats = (uint32_t)evn_round_up(b->model ? evn_model_hparams(b->model)->dim : GENERAL_ROWS, EVN_PAD);
	EVN_TRY(with_comm(b, queues, EVN_REDUCE_HOST, set_up, err));
	EVN_TRY(with_comm(b, queues, EVN_REDUCE_HOST, measure_gemv, err));
	EVN_TRY(with_comm(b, queues, EVN_REDUCE_HOST, measure_launches, err));
	EVN_TRY(with_comm(b, queues, EVN_REDUCE_HOST, measure_prompt, err));
	if (b->n > 1) {
		EVN_TRY(with_comm(b, queues, EVN_REDUCE_HOST, measure_reduce, err));
		bool shared = true;
		for (uint32_t i = 1; i < b->n; i++)
			shared &= evn_devices_share_context(b->ranks[0].device, b->ranks[i].device);
		if (shared)
			EVN_TRY(with_comm(b, queues, EVN_REDUCE_EVENTS, measure_reduce, err));
		/* The trial of flags: where it fails, ranks share workers or do not share memory, and have other methods. */
		evn_error why = {0};
		if (with_comm(b, queues, EVN_REDUCE_FLAGS, measure_reduce, &why) != EVN_OK)
			evn_log(EVN_LOG_INFO, "%s", why.text);
	}
	/* GEMM alone only, and last, because drivers' compilers have been seen to crash on CLBlast's kernels: what is
	 * known by now stays known. */
	b->gemm_began_ns = evn_now_ns();
	if (b->n == 1)
		EVN_TRY(with_comm(b, queues, EVN_REDUCE_HOST, measure_gemm, err));
	return b->workload->purpose == EVN_FOR_TRAINING ? with_comm(b, queues, EVN_REDUCE_HOST, measure_training, err)
													: EVN_OK;
}

static void report_rates(bench *b, uint32_t rank, const evn_rates *r)
{
	report(b, rank, "step_gbs", r->gemv_gbs);
	report(b, rank, "step_gflops", r->gemm_gflops);
	report(b, rank, "vocab_gbs", r->vocab_gbs);
	report(b, rank, "block_us", r->block_us);
	report(b, rank, "block_row_us", r->block_row_us);
	report(b, rank, "key_ns", r->key_ns);
	report(b, rank, "prompt_key_ns", r->prompt_key_ns);
}

/* What all-reduces add in the middle of work takes the place of what they take alone. */
static void report_reduce_costs(bench *b, const evn_reduce_cost *costs)
{
	for (evn_reduce method = EVN_REDUCE_HOST; method <= EVN_REDUCE_FLAGS; method++) {
		if (!b->fit[method])
			continue;
		report(b, 0, reduce_key(method), costs[method].token_us);
		report(b, 0, prompt_key(method), costs[method].prompt_us);
	}
}

/* Products say what a device can do, steps what it will do; where a model or a device is not fit for steps, products
 * must do. */
static evn_status measure_steps(bench *b, evn_error *err)
{
	evn_step_rank ranks[EVN_MAX_RANKS];
	evn_rates rates[EVN_MAX_RANKS];
	evn_reduce_cost costs[EVN_REDUCE_FLAGS + 1];
	evn_steps *steps;
	for (uint32_t i = 0; i < b->n; i++) {
		const bench_rank *r = &b->ranks[i];
		ranks[i] = (evn_step_rank){r->queue, r->gbs, r->kind, r->dot, r->gemm_from <= EVN_GEMM_PROMPT};
	}
	evn_status s = evn_steps_create(&steps, b->model, ranks, b->n, err);
	if (s == EVN_OK)
		s = evn_steps_measure(steps, b->fit, rates, costs, err);
	for (uint32_t i = 0; s == EVN_OK && i < b->n; i++)
		report_rates(b, i, &rates[i]);
	if (s == EVN_OK && b->n > 1)
		report_reduce_costs(b, costs);
	evn_steps_free(steps);
	return s;
}

static void bench_free(bench *b)
{
	evn_team_free(b->team);
	for (uint32_t i = 0; i < b->n; i++) {
		bench_rank *r = &b->ranks[i];
		for (uint32_t k = 0; k < r->n_matrices; k++)
			evn_matrix_free(&r->matrices[k]);
		free(r->matrices);
		for (int format = 0; format < EVN_ACT_FORMATS; format++)
			evn_buf_free(r->x[format]);
		evn_buf_free(r->y);
		evn_training_products_free(&r->training);
		evn_ops_free(r->ops);
		evn_queue_free(r->queue);
	}
	for (uint32_t i = 0; i < b->n; i++)
		evn_device_close(b->ranks[i].device);
	evn_system_close(b->system);
	free(b->general_blocks);
}

evn_status evn_profile_measure(int fd, const char *const *picks, uint32_t n, const evn_model_files *model,
							   const evn_workload *workload, evn_error *err)
{
	bench *b = calloc(1, sizeof *b);
	evn_model *m = NULL;
	evn_queue *queues[EVN_MAX_RANKS];
	if (!b)
		return evn_fail_memory(err, "measuring", sizeof *b);
	b->fd = fd;
	b->workload = workload;
	evn_status s = model->path ? evn_model_open_adapted(&m, model, err) : EVN_OK;
	b->model = m;
	if (s == EVN_OK)
		s = open_ranks(b, picks, n, queues, err);
	if (s == EVN_OK)
		s = measure_all(b, queues, err);
	evn_error why = {0};
	if (s == EVN_OK && m && measure_steps(b, &why) != EVN_OK)
		evn_log(EVN_LOG_INFO, "%s", why.text);
	if (s == EVN_OK)
		dprintf(fd, "0\tdone\t1\n");
	else if (err)
		report_fault(b, 0, err->text);
	bench_free(b);
	free(b);
	evn_model_close(m);
	return s;
}
