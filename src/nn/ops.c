/* ops.c - launchers: arguments in the kernel's order, sizes, one launch each. No policy but matvec against GEMM. */
#include "nn/ops.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Dequantised weights wait for GEMM in at most this much scratch; larger matrices go in row chunks. */
#define SCRATCH_BYTES ((uint64_t)32 << 20)
#define MAX_QUANTS 32
#define TILE_CHOICES 3
#define ITEMS_PER_UNIT 3u /* fewer would leave compute units idle at the end of a launch */
#define BLOCK_TOKENS 8u   /* TOKENS of kernels/matmul.cl */

static const uint32_t tiles_of_item[TILE_CHOICES] = {6, 3, 1}; /* TILES of kernels/matvec.cl */

struct evn_ops {
	evn_queue *q;
	evn_ops_config config;
	uint32_t gemm_from;
	uint32_t items; /* work-items that share a row, tile or head: 1 on CPUs, where one item fills a core's vectors */
	evn_kernel *rmsnorm, *swiglu, *add_bias;
	evn_kernel *matvec[TILE_CHOICES][MAX_QUANTS], *matmul[MAX_QUANTS], *dequantize[MAX_QUANTS];
	evn_buf *scratch;
};

static evn_status build_fixed(evn_ops *o, evn_error *err)
{
	char defines[64];
	snprintf(defines, sizeof defines, "-DNORM_ITEMS=%u", o->items);
	EVN_TRY(evn_kernel_get(&o->rmsnorm, o->q, "rowwise.cl", "rmsnorm", defines, err));
	EVN_TRY(evn_kernel_get(&o->swiglu, o->q, "rowwise.cl", "swiglu", defines, err));
	return evn_kernel_get(&o->add_bias, o->q, "rowwise.cl", "add_bias", defines, err);
}

/* On a GPU a group of 32 fills at least one sub-group everywhere. */
static uint32_t items_for(const evn_device *d)
{
	uint32_t items = evn_device_is_cpu(d) ? 1 : 32;
	while (items > evn_device_max_group(d))
		items /= 2;
	return items;
}

evn_status evn_ops_create(evn_ops **out, evn_queue *q, const evn_ops_config *config, evn_error *err)
{
	evn_ops *o = *out = calloc(1, sizeof *o);
	if (!o)
		return evn_fail_memory(err, "kernels", sizeof *o);
	*o = (evn_ops){.q = q, .config = *config, .gemm_from = UINT32_MAX};
	o->items = config->items ? config->items : items_for(evn_queue_device(q));
	return build_fixed(o, err);
}

void evn_ops_free(evn_ops *o)
{
	if (!o)
		return;
	evn_buf_free(o->scratch);
	free(o);
}

uint32_t evn_ops_items(const evn_ops *o) { return o->items; }

void evn_ops_set_gemm_from(evn_ops *o, uint32_t n_tok) { o->gemm_from = n_tok; }

/* The kernel of one weight format, built at first use. */
static evn_status quant_kernel(evn_ops *o, evn_kernel **table, const char *file, const char *name,
							   const evn_quant *quant, uint32_t tiles, evn_kernel **out, evn_error *err)
{
	size_t i = (size_t)(quant - evn_quant_at(0));
	if (i >= MAX_QUANTS)
		return evn_fail(err, EVN_ERR_LIMIT, "%s: more than %d weight formats", quant->name, MAX_QUANTS);
	if (!table[i]) {
		char sources[64], defines[64];
		snprintf(sources, sizeof sources, "quant/%s.cl %s", quant->kernel, file);
		snprintf(defines, sizeof defines, "-DSLICES=%u -DTOKENS=%u -DTILES=%u", o->items, BLOCK_TOKENS, tiles);
		EVN_TRY(evn_kernel_get(&table[i], o->q, sources, name, defines, err));
	}
	*out = table[i];
	return EVN_OK;
}

/* Index into tiles_of_item: as many tiles to a work-item as leave every compute unit some items. K-quants' steps are
 * eight times as long: more than one would only make the kernel too big. */
static uint32_t choose_tiles(const evn_ops *o, const evn_matrix_part *p)
{
	uint32_t n_tiles = p->rows / EVN_TILE_ROWS, i = 0;
	while (i + 1 < TILE_CHOICES &&
		   n_tiles < ITEMS_PER_UNIT * tiles_of_item[i] * evn_device_units(evn_queue_device(o->q)))
		i++;
	return o->items > 1 || p->quant->group_len > 32 ? TILE_CHOICES - 1 : i;
}

static evn_status launch2(evn_args *a, size_t groups_x, size_t groups_y, size_t items, evn_error *err)
{
	return evn_launch(a, 2, (size_t[]){groups_x, groups_y}, (size_t[]){items, 1}, err);
}

/* The arguments that matvec and matmul share. */
static evn_args product_args(evn_kernel *k, evn_buf *y, uint32_t y_stride, const evn_buf *x, uint32_t x_stride,
							 const evn_matrix_part *p)
{
	evn_args a = evn_args_begin(k);
	evn_arg_buf(&a, y);
	evn_arg_u32(&a, y_stride);
	evn_arg_u32(&a, p->y_offset);
	evn_arg_buf(&a, x);
	evn_arg_u32(&a, x_stride);
	evn_arg_buf(&a, p->tiles);
	evn_arg_u32(&a, p->n_steps);
	return a;
}

/* Whole blocks of tokens at once, the others one by one. */
static evn_status quantised_part(evn_ops *o, evn_buf *y, uint32_t y_stride, const evn_buf *x, uint32_t x_stride,
								 const evn_matrix_part *p, uint32_t n_tok, evn_error *err)
{
	evn_kernel *k = NULL;
	uint32_t n_tiles = p->rows / EVN_TILE_ROWS, n_blocks = o->items == 1 ? n_tok / BLOCK_TOKENS : 0;
	if (n_blocks) {
		EVN_TRY(quant_kernel(o, o->matmul, "matmul.cl", "matmul", p->quant, 1, &k, err));
		evn_args a = product_args(k, y, y_stride, x, x_stride, p);
		EVN_TRY(launch2(&a, n_tiles, n_blocks, 1, err));
	}
	uint32_t done = n_blocks * BLOCK_TOKENS;
	if (done == n_tok)
		return EVN_OK;
	uint32_t choice = choose_tiles(o, p), tiles = tiles_of_item[choice];
	EVN_TRY(quant_kernel(o, o->matvec[choice], "matvec.cl", "matvec", p->quant, tiles, &k, err));
	evn_args a = product_args(k, y, y_stride, x, x_stride, p);
	evn_arg_u32(&a, n_tiles);
	evn_arg_u32(&a, done);
	return launch2(&a, (n_tiles + tiles - 1) / tiles, n_tok - done, o->items, err);
}

evn_status evn_op_quantised(evn_ops *o, evn_buf *y, uint32_t y_stride, const evn_buf *x, uint32_t x_stride,
							const evn_matrix *m, uint32_t n_tok, evn_error *err)
{
	for (uint32_t i = 0; i < m->n_parts; i++)
		EVN_TRY(quantised_part(o, y, y_stride, x, x_stride, &m->parts[i], n_tok, err));
	return EVN_OK;
}

static evn_status dequantize(evn_ops *o, const evn_matrix_part *p, uint32_t first_tile, uint32_t n_tiles,
							 evn_error *err)
{
	evn_kernel *k = NULL;
	EVN_TRY(quant_kernel(o, o->dequantize, "dequantize.cl", "dequantize", p->quant, 1, &k, err));
	evn_args a = evn_args_begin(k);
	evn_arg_buf(&a, o->scratch);
	evn_arg_u32(&a, n_tiles * EVN_TILE_ROWS);
	evn_arg_buf(&a, p->tiles);
	evn_arg_u32(&a, first_tile);
	evn_arg_u32(&a, p->n_steps);
	return launch2(&a, p->n_steps, n_tiles, 1, err);
}

/* Row chunks of a part, dequantised one after the other into scratch, and what is done with each. */
typedef struct {
	evn_buf *out;
	uint32_t out_stride;
	const evn_buf *in;
	uint32_t in_stride, n_tok;
	bool back; /* dx += dy W instead of y = x W^T */
	bool adds; /* to what an earlier chunk of the same matrix left in dx */
} gemm_job;

static evn_status gemm_chunk(evn_ops *o, const gemm_job *j, uint32_t row, uint32_t rows, uint32_t columns,
							 evn_error *err)
{
	evn_product p = {.m = j->n_tok, .lda = j->in_stride, .ldb = rows, .ldc = j->out_stride, .alpha = 1};
	if (j->back) { /* scratch is [columns, rows]: W the other way round */
		p.n = columns;
		p.k = rows;
		p.b_transposed = true;
		p.a_offset = row;
		p.beta = j->adds ? 1 : 0;
	} else {
		p.n = rows;
		p.k = columns;
		p.c_offset = row;
	}
	return evn_multiply(o->q, &p, j->in, o->scratch, j->out, err);
}

static evn_status gemm_part(evn_ops *o, gemm_job *j, const evn_matrix_part *p, evn_error *err)
{
	uint32_t columns = p->n_steps * p->quant->group_len;
	uint64_t tile_bytes = (uint64_t)columns * EVN_TILE_ROWS * sizeof(float);
	if (tile_bytes > SCRATCH_BYTES)
		return evn_fail(err, EVN_ERR_LIMIT, "a matrix of %u columns: at most %llu are multiplied by GEMM", columns,
						(unsigned long long)(SCRATCH_BYTES / (EVN_TILE_ROWS * sizeof(float))));
	if (!o->scratch)
		EVN_TRY(
			evn_buf_create(&o->scratch, evn_queue_device(o->q), SCRATCH_BYTES, EVN_BUF_DEVICE, "GEMM scratch", err));
	uint32_t most = (uint32_t)(SCRATCH_BYTES / tile_bytes), n_tiles = p->rows / EVN_TILE_ROWS;
	for (uint32_t first = 0; first < n_tiles; first += most) {
		uint32_t n = n_tiles - first < most ? n_tiles - first : most;
		EVN_TRY(dequantize(o, p, first, n, err));
		EVN_TRY(gemm_chunk(o, j, p->y_offset + first * EVN_TILE_ROWS, n * EVN_TILE_ROWS, columns, err));
		j->adds = true;
	}
	return EVN_OK;
}

evn_status evn_op_gemm(evn_ops *o, evn_buf *y, uint32_t y_stride, const evn_buf *x, uint32_t x_stride,
					   const evn_matrix *m, uint32_t n_tok, evn_error *err)
{
	gemm_job j = {.out = y, .out_stride = y_stride, .in = x, .in_stride = x_stride, .n_tok = n_tok};
	for (uint32_t i = 0; i < m->n_parts; i++)
		EVN_TRY(gemm_part(o, &j, &m->parts[i], err));
	return EVN_OK;
}

evn_status evn_op_gemm_back(evn_ops *o, evn_buf *dx, uint32_t x_stride, const evn_buf *dy, uint32_t y_stride,
							const evn_matrix *m, uint32_t n_tok, evn_error *err)
{
	gemm_job j = {.out = dx, .out_stride = x_stride, .in = dy, .in_stride = y_stride, .n_tok = n_tok, .back = true};
	for (uint32_t i = 0; i < m->n_parts; i++)
		EVN_TRY(gemm_part(o, &j, &m->parts[i], err));
	return EVN_OK;
}

evn_status evn_op_linear(evn_ops *o, evn_buf *y, uint32_t y_stride, const evn_buf *x, uint32_t x_stride,
						 const evn_matrix *m, uint32_t n_tok, evn_error *err)
{
	return n_tok < o->gemm_from ? evn_op_quantised(o, y, y_stride, x, x_stride, m, n_tok, err)
								: evn_op_gemm(o, y, y_stride, x, x_stride, m, n_tok, err);
}

evn_status evn_op_rmsnorm(evn_ops *o, evn_buf *y, const evn_buf *x, uint32_t first, uint32_t n_tok, const evn_buf *w,
						  uint32_t stride, uint32_t dim, float eps, evn_error *err)
{
	evn_args a = evn_args_begin(o->rmsnorm);
	evn_arg_buf(&a, y);
	evn_arg_buf(&a, x);
	evn_arg_u32(&a, first);
	evn_arg_buf(&a, w);
	evn_arg_u32(&a, stride);
	evn_arg_u32(&a, dim);
	evn_arg_f32(&a, eps);
	return evn_launch(&a, 1, (size_t[]){n_tok}, (size_t[]){o->items}, err);
}

evn_status evn_op_swiglu(evn_ops *o, evn_buf *y, uint32_t y_stride, const evn_buf *gu, uint32_t gu_stride,
						 uint32_t up_offset, uint32_t width, uint32_t n_tok, evn_error *err)
{
	evn_args a = evn_args_begin(o->swiglu);
	evn_arg_buf(&a, y);
	evn_arg_u32(&a, y_stride);
	evn_arg_buf(&a, gu);
	evn_arg_u32(&a, gu_stride);
	evn_arg_u32(&a, up_offset);
	evn_arg_u32(&a, width);
	return launch2(&a, y_stride / 16, n_tok, 1, err);
}

evn_status evn_op_add_bias(evn_ops *o, evn_buf *y, uint32_t stride, const evn_buf *b, uint32_t width, uint32_t n_tok,
						   evn_error *err)
{
	evn_args a = evn_args_begin(o->add_bias);
	evn_arg_buf(&a, y);
	evn_arg_u32(&a, stride);
	evn_arg_buf(&a, b);
	return launch2(&a, width / 16, n_tok, 1, err);
}
