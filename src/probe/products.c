/* products.c - how fast ranks multiply, launch, train and reduce. Products are of matrices of one shape, filled with
 * one byte: rates are of formats and kernels, not of models. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "probe/bench.h"

#define TRIAL_NS 20000000u /* a slice of a trial takes so long, or one pass where that is longer */
#define THOROUGH_NS 60000000u
#define SLICES 7u /* a figure is their median; medians of 3 differed by a factor of two on a shared machine */
#define SLOW_NS 1000000000u   /* a pass this long is figure enough */
#define PROMPT_NS 4000000000u /* a prompt token by token may take so long, else fewer tokens must do */
/* Bytes of weights to go through. Caches of 32 MiB are common; with a set of that size F16 was predicted to
 * decode 1.5 times as fast as it does. */
#define WORKING_SET ((uint64_t)128 << 20)
#define MATRIX_ROWS 2048u  /* and columns */
#define MATRIX_BYTE 0x2c   /* every scale, float and sum of products becomes a normal number in every format */
#define PROMPT_MATRICES 2u /* enough for prompts, and bearable on slow devices */

/* ---- what is multiplied ---------------------------------------------------------------------------------------- */

evn_status bench_make_blocks(bench *b, const evn_quant *q, evn_error *err)
{
	const uint64_t size = (uint64_t)MATRIX_ROWS * MATRIX_ROWS / q->block_len * q->block_bytes;
	free(b->blocks);
	b->blocks = malloc(size);
	if (!b->blocks)
		return evn_fail_memory(err, "matrix", size);
	memset(b->blocks, MATRIX_BYTE, size);
	b->tensor = (evn_tensor){
		.quant = q, .n_dims = 2, .shape = {MATRIX_ROWS, MATRIX_ROWS, 1, 1}, .size_bytes = size, .data = b->blocks};
	return EVN_OK;
}

void bench_free_matrices(bench_rank *r)
{
	for (uint32_t i = 0; i < r->n_matrices; i++)
		evn_matrix_free(&r->matrices[i]);
	r->n_matrices = 0;
	r->bytes = 0;
}

static evn_status make_matrices(const bench *b, bench_rank *r, evn_error *err)
{
	bench_free_matrices(r);
	while (r->bytes < WORKING_SET && r->n_matrices < MAX_MATRICES) {
		evn_matrix *m = &r->matrices[r->n_matrices++];
		*m = (evn_matrix){0};
		EVN_TRY(evn_matrix_split_output(m, r->queue, &(evn_row_block){&b->tensor, {0, MATRIX_ROWS}}, 1, NULL, err));
		r->bytes += m->bytes;
	}
	return EVN_OK;
}

/* The same rows as input of all products. Denormals or garbage would make some CPUs many times slower. */
evn_status bench_make_input(void *arg, uint32_t rank, evn_error *err)
{
	bench_rank *r = &((bench *)arg)->ranks[rank];
	const uint64_t bytes = (uint64_t)MATRIX_ROWS * PROMPT_TOKENS * sizeof(float);
	void *host;
	for (int format = 0; format < EVN_ACT_FORMATS; format++)
		EVN_TRY(evn_buf_create(&r->x[format], r->device, bytes, EVN_BUF_DEVICE, "input", err));
	EVN_TRY(evn_buf_create(&r->y, r->device, bytes, EVN_BUF_DEVICE, "output", err));
	EVN_TRY(evn_map(r->queue, r->x[EVN_ACT_F32], bytes, EVN_MAP_OVERWRITE, true, &host, err));
	for (uint64_t i = 0; i < bytes / sizeof(float); i++)
		((float *)host)[i] = 0.01f * (float)(i % 17);
	return evn_unmap(r->queue, r->x[EVN_ACT_F32], host, err);
}

static evn_status multiply(bench_rank *r, const evn_matrix *m, uint32_t n_tok, evn_error *err)
{
	evn_act_format format = evn_op_act_format(r->ops, m, EVN_DECODE);
	return evn_op_quantised(r->ops, r->y, MATRIX_ROWS, format, r->x[format], MATRIX_ROWS, m, n_tok, err);
}

/* From now on the rank multiplies so. */
static evn_status use_dot(bench_rank *r, evn_dot dot, evn_error *err)
{
	evn_ops_free(r->ops);
	r->ops = NULL;
	r->dot = dot;
	evn_device_set_lanes(r->device, evn_dot_lanes(dot));
	EVN_TRY(evn_ops_create(&r->ops, r->queue, &(evn_ops_config){.dot = dot}, err));
	if (evn_dot_reads_bytes(dot))
		EVN_TRY(
			evn_op_store(r->ops, EVN_ACT_Q8, r->x[EVN_ACT_Q8], r->x[EVN_ACT_F32], MATRIX_ROWS, PROMPT_TOKENS, err));
	return EVN_OK;
}

/* ---- figures ----------------------------------------------------------------------------------------------------
 */

typedef evn_status (*pass_fn)(bench_rank *r, uint32_t n_tok, evn_error *err);

/* Every matrix: the bytes of a token. */
static evn_status whole_pass(bench_rank *r, uint32_t n_tok, evn_error *err)
{
	for (uint32_t i = 0; i < r->n_matrices; i++)
		EVN_TRY(multiply(r, &r->matrices[i], n_tok, err));
	return evn_queue_finish(r->queue, err);
}

static uint32_t n_prompt_matrices(const bench_rank *r)
{
	return r->n_matrices < PROMPT_MATRICES ? r->n_matrices : PROMPT_MATRICES;
}

static evn_status quantised_pass(bench_rank *r, uint32_t n_tok, evn_error *err)
{
	for (uint32_t i = 0; i < n_prompt_matrices(r); i++)
		EVN_TRY(multiply(r, &r->matrices[i], n_tok, err));
	return evn_queue_finish(r->queue, err);
}

static evn_status gemm_pass(bench_rank *r, uint32_t n_tok, evn_error *err)
{
	for (uint32_t i = 0; i < n_prompt_matrices(r); i++)
		EVN_TRY(evn_op_gemm(r->ops, r->y, MATRIX_ROWS, r->x[EVN_ACT_F32], MATRIX_ROWS, &r->matrices[i], n_tok, err));
	return evn_queue_finish(r->queue, err);
}

/* The mean time of a pass in a slice. */
static evn_status time_slice(const bench *b, bench_rank *r, pass_fn pass, uint32_t n_tok, double *ns, evn_error *err)
{
	const uint64_t limit = b->mode == EVN_THOROUGH ? THOROUGH_NS : TRIAL_NS, began = evn_now_ns();
	uint64_t now;
	uint32_t n = 0;
	do {
		EVN_TRY(pass(r, n_tok, err));
		now = evn_now_ns();
		n++;
	} while (now - began < limit);
	*ns = (double)(now - began) / n;
	return EVN_OK;
}

/* The median over slices, after a pass that does not count: it may compile. A very slow pass is figure enough, but
 * for GEMM's first, which always compiles. All ranks meet equally often. */
static evn_status time_passes(bench *b, bench_rank *r, pass_fn pass, uint32_t n_tok, double *ns, evn_error *err)
{
	double slices[SLICES], least = INFINITY, most = 0;
	const uint64_t began = evn_now_ns();
	EVN_TRY(pass(r, n_tok, err));
	const uint64_t first = evn_now_ns() - began;
	for (uint32_t i = 0; i < SLICES; i++) {
		slices[i] = (double)first;
		EVN_TRY(evn_comm_barrier(b->comm, (uint32_t)(r - b->ranks), err));
		if (first <= SLOW_NS || pass == gemm_pass)
			EVN_TRY(time_slice(b, r, pass, n_tok, &slices[i], err));
		least = fmin(least, slices[i]);
		most = fmax(most, slices[i]);
	}
	*ns = evn_median(slices, SLICES);
	r->spread += (most - least) / *ns;
	r->n_spreads++;
	return EVN_OK;
}

static double prompt_flops(const bench_rank *r) { return 2.0 * n_prompt_matrices(r) * MATRIX_ROWS * MATRIX_ROWS; }

/* The i-th dot kind that the rank may use for the present format; beyond its last: the last again. Ranks that are
 * unlike have unlike choices, and all must measure equally often. */
static evn_dot choice(const bench *b, const bench_rank *r, uint32_t i)
{
	const uint32_t dots = bench_dots(r, b->tensor.quant);
	evn_dot found = EVN_DOT_NONE;
	for (evn_dot dot = EVN_DOT_NONE; dot < EVN_DOT_COUNT; dot++)
		if (dots >> dot & 1) {
			found = dot;
			if (i-- == 0)
				break;
		}
	return found;
}

static uint32_t n_choices(const bench *b)
{
	uint32_t most = 1;
	for (uint32_t i = 0; i < b->n; i++) {
		const uint32_t n = (uint32_t)__builtin_popcount(bench_dots(&b->ranks[i], b->tensor.quant));
		most = n > most ? n : most;
	}
	return most;
}

/* Prompts, by the kernels that read quantised blocks; with 1 lane by each of two (evn_ops_set_block_cost). */
static evn_status measure_prompt(bench *b, bench_rank *r, bool blocks, evn_error *err)
{
	evn_product_rates *rates = &b->facts.ranks[r - b->ranks].products[evn_quant_index(b->tensor.quant)][r->dot];
	double ns, *gflops = blocks ? &rates->block_gflops : &rates->prompt_gflops;
	evn_ops_set_block_cost(r->ops, blocks ? EVN_BLOCKS_ALWAYS : EVN_BLOCKS_NEVER);
	EVN_TRY(time_passes(b, r, quantised_pass, r->prompt_tokens, &ns, err));
	/* a part of a block takes the time of a full one */
	*gflops = prompt_flops(r) * (double)evn_round_up(r->prompt_tokens, blocks ? EVN_LANE_BLOCK_TOKENS : 1) / ns;
	bench_report(b, (uint32_t)(r - b->ranks), *gflops, "product/%s/%u/%s", b->tensor.quant->name, (unsigned)r->dot,
				 blocks ? "block" : "prompt");
	return EVN_OK;
}

static evn_status measure_dot(bench *b, bench_rank *r, bool blocks, evn_error *err)
{
	const char *name = b->tensor.quant->name;
	const uint32_t rank = (uint32_t)(r - b->ranks);
	evn_product_rates *rates = &b->facts.ranks[rank].products[evn_quant_index(b->tensor.quant)][r->dot];
	double ns;
	EVN_TRY(time_passes(b, r, whole_pass, 1, &ns, err));
	rates->gbs = (double)r->bytes / ns;
	bench_report(b, rank, rates->gbs, "product/%s/%u/gbs", name, (unsigned)r->dot);
	if (b->mix.bytes[evn_quant_index(b->tensor.quant)] <= 0)
		return EVN_OK; /* the format of the vocabulary alone, of which a prompt needs one row */
	const double token_ns = ns * n_prompt_matrices(r) / r->n_matrices;
	r->prompt_tokens = PROMPT_TOKENS;
	while (r->prompt_tokens > 8 && token_ns * r->prompt_tokens > PROMPT_NS)
		r->prompt_tokens /= 2;
	EVN_TRY(measure_prompt(b, r, false, err));
	return blocks ? measure_prompt(b, r, true, err) : EVN_OK;
}

/* A rank has 1 lane with its i-th dot kind. The other ranks measure as often, for themselves in vain. */
static bool some_has_one_lane(const bench *b, uint32_t i)
{
	bool some = false;
	for (uint32_t rank = 0; rank < b->n; rank++)
		some |= evn_dot_lanes(choice(b, &b->ranks[rank], i)) == 1;
	return some;
}

evn_status bench_measure_format(void *arg, uint32_t rank, evn_error *err)
{
	bench *b = arg;
	bench_rank *r = &b->ranks[rank];
	EVN_TRY(make_matrices(b, r, err));
	for (uint32_t i = 0; i < n_choices(b); i++) {
		EVN_TRY(use_dot(r, choice(b, r, i), err));
		EVN_TRY(measure_dot(b, r, some_has_one_lane(b, i), err));
	}
	return EVN_OK;
}

/* One row: next to nothing to compute, by a kernel that is there already where rows are converted. */
static evn_status tiny_launch(bench_rank *r, evn_error *err)
{
	if (evn_dot_reads_bytes(r->dot))
		return evn_op_store(r->ops, EVN_ACT_Q8, r->x[EVN_ACT_Q8], r->x[EVN_ACT_F32], EVN_PAD, 1, err);
	return evn_op_add_bias(r->ops, r->y, MATRIX_ROWS, r->x[EVN_ACT_F32], 16, 1, err);
}

evn_status bench_measure_launches(void *arg, uint32_t rank, evn_error *err)
{
	enum { LAUNCHES = 256, MAPS = 16 };
	bench *b = arg;
	bench_rank *r = &b->ranks[rank];
	EVN_TRY(tiny_launch(r, err));
	EVN_TRY(evn_queue_finish(r->queue, err));
	uint64_t began = evn_now_ns();
	for (int i = 0; i < LAUNCHES; i++)
		EVN_TRY(tiny_launch(r, err));
	EVN_TRY(evn_queue_finish(r->queue, err));
	uint64_t launched = evn_now_ns();
	for (int i = 0; i < MAPS; i++) {
		void *host;
		EVN_TRY(evn_map(r->queue, r->y, 4096, EVN_MAP_READ, true, &host, err));
		EVN_TRY(evn_unmap(r->queue, r->y, host, err));
		EVN_TRY(evn_queue_finish(r->queue, err));
	}
	bench_report(b, rank, (double)(launched - began) * 1e-3 / LAUNCHES, "launch_us");
	bench_report(b, rank, (double)(evn_now_ns() - launched) * 1e-3 / MAPS, "map_us");
	return EVN_OK;
}

/* Of the present format, at a prompt's size. */
evn_status bench_measure_gemm(void *arg, uint32_t rank, evn_error *err)
{
	bench *b = arg;
	bench_rank *r = &b->ranks[rank];
	double *gflops = &b->facts.ranks[rank].gemm_gflops[evn_quant_index(b->tensor.quant)], ns;
	EVN_TRY(make_matrices(b, r, err));
	EVN_TRY(use_dot(r, evn_dot_f32(evn_device_lanes(r->device)), err));
	EVN_TRY(time_passes(b, r, gemm_pass, PROMPT_TOKENS, &ns, err));
	*gflops = prompt_flops(r) * PROMPT_TOKENS / ns;
	bench_report(b, rank, *gflops, "gemm/%s", b->tensor.quant->name);
	return EVN_OK;
}

static evn_status training_pass(bench_rank *r, uint32_t n_tok, evn_error *err)
{
	(void)n_tok;
	return evn_training_products_run(&r->training, err);
}

evn_status bench_measure_training(void *arg, uint32_t rank, evn_error *err)
{
	bench *b = arg;
	bench_rank *r = &b->ranks[rank];
	double ns;
	for (uint32_t i = 0; i < b->n; i++)
		if (b->ranks[i].prompt_tokens && b->ranks[i].prompt_tokens < PROMPT_TOKENS)
			return EVN_OK; /* on every rank: one is too slow to be tried */
	if (!r->n_matrices)
		EVN_TRY(make_matrices(b, r, err));
	EVN_TRY(evn_training_products_create(&r->training, r->queue, r->matrices, n_prompt_matrices(r), err));
	EVN_TRY(time_passes(b, r, training_pass, 0, &ns, err));
	b->facts.ranks[rank].training_gflops = evn_training_products_flops(&r->training) / ns;
	bench_report(b, rank, b->facts.ranks[rank].training_gflops, "training_gflops");
	return EVN_OK;
}

evn_status bench_measure_reduce(void *arg, uint32_t rank, evn_error *err)
{
	enum { TIMES = 7 };
	bench *b = arg;
	double us[TIMES];
	EVN_TRY(evn_comm_try(b->comm, rank, err));
	EVN_TRY(evn_comm_time_all_reduce(b->comm, rank, REDUCE_FLOATS, TIMES, us, err));
	if (rank)
		return EVN_OK;
	bench_report(b, 0, evn_median(us, TIMES), "reduce/%d/token", (int)evn_comm_reduce(b->comm));
	b->fit[evn_comm_reduce(b->comm)] = true;
	return EVN_OK;
}
