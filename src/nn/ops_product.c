/* ops_product.c - products of activations and weights by kernels that read quantised blocks, for one token or a block
 * of tokens. GEMM for long prompts is in ops_gemm.c. */
#include "nn/ops_internal.h"

#define ITEMS_PER_UNIT 3u /* with fewer, compute units would be idle at the end of a launch */
#define RUN_BLOCKS 4u     /* blocks of tokens that use the same weights one after the other (kernels/blocks.cl) */
#define GATE_ITEMS (2 * EVN_LANE_ITEMS) /* of a work-group that computes 32 rows of gate and up */
#define CORE_CACHE_BYTES ((uint64_t)1 << 20)

static const uint32_t tiles_of_item[EVN_TILE_CHOICES] = {6, 3, 1};

static bool is_integer(const evn_quant *q) { return q->block_len > 1; }

/* Only GEMM reads plain rows. It multiplies no experts. */
static bool by_gemm(const evn_ops *o, const evn_matrix *m, evn_phase phase)
{
	return m->n_parts == 0 || (phase == EVN_PROMPT && o->prompts_by_gemm && m->n_experts == 1);
}

evn_act_format evn_op_act_format(const evn_ops *o, const evn_matrix *m, evn_phase phase)
{
	bool integer = evn_dot_reads_bytes(o->config.dot) && !by_gemm(o, m, phase);
	for (uint32_t i = 0; i < m->n_parts; i++)
		integer &= is_integer(m->parts[i].quant);
	return integer ? EVN_ACT_Q8 : EVN_ACT_F32;
}

evn_status evn_kernels_of(evn_ops *o, const evn_quant *quant, evn_product_kernels **out, evn_error *err)
{
	size_t i = (size_t)(quant - evn_quant_at(0));
	*out = &o->products[i < EVN_MAX_QUANTS ? i : 0];
	return i < EVN_MAX_QUANTS
			   ? EVN_OK
			   : evn_fail(err, EVN_ERR_LIMIT, "%s: more than %d weight formats", quant->name, EVN_MAX_QUANTS);
}

static evn_spec product(const evn_ops *o, const char *file, const evn_quant *quant, evn_act_format format)
{
	evn_spec s = evn_spec_of(file);
	evn_spec_part(&s, "WEIGHTS", "quant/%s.cl", quant->kernel);
	if (format == EVN_ACT_Q8)
		evn_spec_dot(&s, o->config.dot, evn_queue_device(o->q));
	return s;
}

evn_spec evn_spec_row_product(const evn_ops *o, const char *file, const evn_quant *quant, evn_act_format format)
{
	evn_spec s = product(o, file, quant, format);
	evn_spec_part(&s, "ROW", format == EVN_ACT_Q8 ? "row_q8.cl" : "row_f32.cl");
	return s;
}

/* The same with scalars, for a row or a block of rows. */
evn_spec evn_spec_lane_product(const evn_ops *o, const char *file, const evn_quant *quant, evn_act_format format,
							   uint32_t tokens)
{
	evn_spec s = product(o, file, quant, format);
	evn_spec_part(&s, "ROW", format == EVN_ACT_Q8 ? "lanes/row_q8.cl" : "lanes/row_f32.cl");
	evn_spec_define(&s, "TOKENS", tokens);
	return s;
}

/* With scalars: rows are multiplied in blocks of EVN_LANE_BLOCK_TOKENS, where that takes less time than 8 at once. */
static bool by_lane_blocks(const evn_ops *o, uint32_t n_tok)
{
	const double in_blocks = (double)evn_round_up(n_tok, EVN_LANE_BLOCK_TOKENS) * o->block_cost;
	return n_tok > 1 && in_blocks < (double)evn_round_up(n_tok, EVN_BLOCK_TOKENS);
}

/* With scalars: gate and up are multiplied in one launch. */
static bool fuses_lanes(const evn_ops *o, uint32_t n_tok)
{
	return by_lane_blocks(o, n_tok) || (n_tok == 1 && evn_device_max_group(evn_queue_device(o->q)) >= GATE_ITEMS);
}

/* A block of rows with scalars. */
static evn_spec lane_block_product(const evn_ops *o, const char *file, const evn_quant *quant, evn_act_format format)
{
	evn_spec s = product(o, file, quant, format);
	evn_spec_part(&s, "BLOCK", format == EVN_ACT_Q8 ? "lanes/block_q8.cl" : "lanes/block_f32.cl");
	return s;
}

/* With scalars: the rows of activations that an item of matvec multiplies at once. */
static uint32_t tokens_of(uint32_t n_tok) { return n_tok > 1 ? EVN_BLOCK_TOKENS : 1; }

evn_spec evn_spec_block_product(const evn_ops *o, const char *file, const evn_quant *quant, evn_act_format format)
{
	evn_spec s = product(o, file, quant, format);
	evn_spec_part(&s, "BLOCK", format == EVN_ACT_Q8 ? "block_q8.cl" : "block_f32.cl");
	return s;
}

/* The steps of K formats are eight times as long, and with f32 activations they are unrolled. */
bool evn_reads_tiles(const evn_quant *quant, evn_act_format format)
{
	return format == EVN_ACT_Q8 || quant->group_len == 32;
}

/* The index into tiles_of_item: the most tiles for each work-item that leave every compute unit several items. */
static uint32_t choose_tiles(const evn_ops *o, const evn_matrix_part *p, evn_act_format format)
{
	uint32_t n_tiles = p->rows / EVN_TILE_ROWS, i = 0;
	while (i + 1 < EVN_TILE_CHOICES &&
		   n_tiles < ITEMS_PER_UNIT * tiles_of_item[i] * evn_device_units(evn_queue_device(o->q)))
		i++;
	return evn_reads_tiles(p->quant, format) ? i : EVN_TILE_CHOICES - 1;
}

void evn_arg_tiles(evn_args *a, const evn_matrix_part *p)
{
	evn_arg_buf(a, p->tiles);
	evn_arg_u32x4(a, (uint32_t[]){p->begin, p->tile_steps, p->n_steps, p->rows / EVN_TILE_ROWS});
}

/* Sets the arguments that matvec and matmul share. */
static evn_args product_args(evn_kernel *k, evn_buf *y, uint32_t y_stride, const evn_buf *x, uint32_t x_stride,
							 const evn_matrix_part *p)
{
	evn_args a = evn_args_begin(k);
	evn_arg_buf(&a, y);
	evn_arg_u32x2(&a, (uint32_t[]){y_stride, p->y_offset});
	evn_arg_buf(&a, x);
	evn_arg_u32(&a, x_stride);
	evn_arg_tiles(&a, p);
	return a;
}

static evn_status matvec(evn_ops *o, evn_buf *y, uint32_t y_stride, evn_act_format format, const evn_buf *x,
						 uint32_t x_stride, const evn_matrix_part *p, uint32_t first, uint32_t n_tok, evn_error *err)
{
	uint32_t n_tiles = p->rows / EVN_TILE_ROWS, choice = choose_tiles(o, p, format), tiles = tiles_of_item[choice];
	evn_product_kernels *of;
	EVN_TRY(evn_kernels_of(o, p->quant, &of, err));
	evn_kernel **k = &of->matvec[format][choice];
	if (!*k) {
		evn_spec spec = evn_spec_row_product(o, "matvec.cl", p->quant, format);
		evn_spec_define(&spec, "TILES", tiles);
		EVN_TRY(evn_kernel_get(k, o->q, &spec, "matvec", err));
	}
	evn_args a = product_args(*k, y, y_stride, x, x_stride, p);
	evn_arg_u32(&a, first);
	return evn_launch2(&a, (n_tiles + tiles - 1) / tiles, n_tok, 1, err);
}

static evn_status lane_matvec(evn_ops *o, evn_buf *y, uint32_t y_stride, evn_act_format format, const evn_buf *x,
							  uint32_t x_stride, const evn_matrix_part *p, uint32_t n_tok, evn_error *err)
{
	const uint32_t tokens = tokens_of(n_tok);
	evn_product_kernels *of;
	EVN_TRY(evn_kernels_of(o, p->quant, &of, err));
	evn_kernel **k = &of->matvec[format][tokens > 1];
	if (!*k) {
		const evn_spec spec = evn_spec_lane_product(o, "lanes/matvec.cl", p->quant, format, tokens);
		EVN_TRY(evn_kernel_get(k, o->q, &spec, "matvec", err));
	}
	evn_args a = product_args(*k, y, y_stride, x, x_stride, p);
	evn_arg_u32(&a, 0);
	return evn_launch2(&a, p->rows / EVN_TILE_ROWS, (n_tok + tokens - 1) / tokens, EVN_LANE_ITEMS, err);
}

/* Launches the work-groups (block of tokens, rows) of blocks with scalars. */
static evn_status launch_lane_blocks(evn_args *a, size_t n_rows, uint32_t n_tok, evn_error *err)
{
	evn_arg_u32(a, n_tok);
	return evn_launch2(a, (n_tok + EVN_LANE_BLOCK_TOKENS - 1) / EVN_LANE_BLOCK_TOKENS, n_rows, EVN_LANE_ITEMS, err);
}

static evn_status lane_matmul(evn_ops *o, evn_buf *y, uint32_t y_stride, evn_act_format format, const evn_buf *x,
							  uint32_t x_stride, const evn_matrix_part *p, uint32_t n_tok, evn_error *err)
{
	evn_product_kernels *of;
	EVN_TRY(evn_kernels_of(o, p->quant, &of, err));
	evn_kernel **k = &of->matmul[format];
	if (!*k) {
		const evn_spec spec = lane_block_product(o, "lanes/matmul.cl", p->quant, format);
		EVN_TRY(evn_kernel_get(k, o->q, &spec, "matmul", err));
	}
	evn_args a = product_args(*k, y, y_stride, x, x_stride, p);
	return launch_lane_blocks(&a, (p->rows + EVN_LANE_BLOCK_ROWS - 1) / EVN_LANE_BLOCK_ROWS, n_tok, err);
}

/* The blocks of tokens that are multiplied with vectors. A single row is multiplied alone. Two or more rows are worth
 * a block, which reads the weights once. Both ways add in the same order. */
static uint32_t blocks_of(uint32_t n_tok)
{
	return n_tok % EVN_BLOCK_TOKENS == 1 ? n_tok / EVN_BLOCK_TOKENS
										 : (n_tok + EVN_BLOCK_TOKENS - 1) / EVN_BLOCK_TOKENS;
}

/* Launches the work-groups (block of a run, columns, run) of all blocks of tokens. Weights that fit into a core's
 * cache need no runs; without runs short prompts are a few percent faster. */
static evn_status launch_blocks(const evn_ops *o, evn_args *a, const evn_matrix_part *p, uint32_t n_columns,
								uint32_t n_blocks, evn_error *err)
{
	const uint64_t n_weights = (uint64_t)p->rows * p->n_steps * p->quant->group_len;
	const bool runs = o->config.runs || n_weights / p->quant->block_len * p->quant->block_bytes > CORE_CACHE_BYTES;
	const uint32_t run = !runs ? 1 : n_blocks < RUN_BLOCKS ? n_blocks : RUN_BLOCKS;
	evn_arg_u32(a, n_blocks);
	return evn_launch(a, 3, (size_t[]){run, n_columns, (n_blocks + run - 1) / run}, (size_t[]){1, 1, 1}, err);
}

static evn_status matmul(evn_ops *o, evn_buf *y, uint32_t y_stride, evn_act_format format, const evn_buf *x,
						 uint32_t x_stride, const evn_matrix_part *p, uint32_t n_blocks, evn_error *err)
{
	evn_product_kernels *of;
	EVN_TRY(evn_kernels_of(o, p->quant, &of, err));
	evn_kernel **k = &of->matmul[format];
	if (!*k) {
		const evn_spec spec = evn_spec_block_product(o, "matmul.cl", p->quant, format);
		EVN_TRY(evn_kernel_get(k, o->q, &spec, "matmul", err));
	}
	evn_args a = product_args(*k, y, y_stride, x, x_stride, p);
	return launch_blocks(o, &a, p, p->rows / EVN_TILE_ROWS, n_blocks, err);
}

static evn_status quantised_part(evn_ops *o, evn_buf *y, uint32_t y_stride, evn_act_format format, const evn_buf *x,
								 uint32_t x_stride, const evn_matrix_part *p, uint32_t n_tok, evn_error *err)
{
	if (o->lanes == 1)
		return (by_lane_blocks(o, n_tok) ? lane_matmul : lane_matvec)(o, y, y_stride, format, x, x_stride, p, n_tok,
																	  err);
	uint32_t n_blocks = blocks_of(n_tok), done = n_blocks * EVN_BLOCK_TOKENS;
	if (n_blocks)
		EVN_TRY(matmul(o, y, y_stride, format, x, x_stride, p, n_blocks, err));
	return done >= n_tok ? EVN_OK : matvec(o, y, y_stride, format, x, x_stride, p, done, n_tok - done, err);
}

evn_status evn_op_quantised(evn_ops *o, evn_buf *y, uint32_t y_stride, evn_act_format format, const evn_buf *x,
							uint32_t x_stride, const evn_matrix *m, uint32_t n_tok, evn_error *err)
{
	for (uint32_t i = 0; i < m->n_parts; i++)
		EVN_TRY(quantised_part(o, y, y_stride, format, x, x_stride, &m->parts[i], n_tok, err));
	return EVN_OK;
}

evn_status evn_op_dequantize(evn_ops *o, const evn_matrix_part *p, uint32_t first_tile, uint32_t n_tiles,
							 evn_error *err)
{
	evn_product_kernels *of;
	EVN_TRY(evn_kernels_of(o, p->quant, &of, err));
	if (!of->dequantize) {
		evn_spec spec = product(o, "dequantize.cl", p->quant, EVN_ACT_F32);
		evn_spec_lanes(&spec, o->lanes);
		EVN_TRY(evn_kernel_get(&of->dequantize, o->q, &spec, "dequantize", err));
	}
	evn_args a = evn_args_begin(of->dequantize);
	evn_arg_buf(&a, o->scratch);
	evn_arg_u32(&a, n_tiles * EVN_TILE_ROWS);
	evn_arg_buf(&a, p->tiles);
	evn_arg_u32(&a, p->begin + first_tile * p->tile_steps);
	evn_arg_u32(&a, p->tile_steps);
	return evn_launch_columns(o, &a, p->n_steps * EVN_TILE_ROWS, n_tiles, err);
}

evn_status evn_op_linear(evn_ops *o, evn_buf *y, uint32_t y_stride, const evn_buf *x, uint32_t x_stride,
						 const evn_matrix *m, evn_rows rows, evn_error *err)
{
	EVN_TRY(by_gemm(o, m, rows.phase)
				? evn_op_gemm(o, y, y_stride, x, x_stride, m, rows.n, err)
				: evn_op_quantised(o, y, y_stride, evn_op_act_format(o, m, rows.phase), x, x_stride, m, rows.n, err));
	const evn_columns to = {y, y_stride, 0}, from = {(evn_buf *)x, x_stride, m->x_shift};
	for (uint32_t i = 0; i < m->n_additions; i++)
		EVN_TRY(evn_op_addition(o, to, from, &m->additions[i], rows.n, err));
	if (m->bias && !m->n_parts)
		return evn_op_add_bias(o, y, y_stride, m->bias, (uint32_t)evn_round_up(m->rows, 16), rows.n, err);
	for (uint32_t i = 0; i < m->n_parts && m->bias; i++) {
		const evn_matrix_part *p = &m->parts[i];
		EVN_TRY(evn_add_bias(o, y, y_stride, p->y_offset, m->bias, p->first_row, p->rows, rows.n, err));
	}
	return EVN_OK;
}

/* ---- gate and up ----------------------------------------------------------------------------------------------- */

bool evn_in_one_buffer(const evn_matrix *m) { return m->parts[m->n_parts - 1].tiles == m->parts[0].tiles; }

uint32_t evn_up_tile(const evn_matrix *m, uint32_t up_offset)
{
	const evn_matrix_part *gates = &m->parts[0], *ups = &m->parts[m->n_parts - 1];
	return (ups->begin - gates->begin) / gates->tile_steps + (up_offset - ups->y_offset) / EVN_TILE_ROWS;
}

/* The gate and up products of rows of x and their combination. */
typedef struct {
	evn_act_format format, y_format; /* the formats of x and of y */
	evn_buf *y;
	uint32_t y_stride;
	const evn_buf *x;
	uint32_t x_stride;
	const evn_matrix_part *gates;
	uint32_t up, n_tiles; /* as in kernels/gated.cl */
} gated_rows;

static evn_args swiglu_args(evn_kernel *k, const gated_rows *g)
{
	evn_args a = evn_args_begin(k);
	evn_arg_buf(&a, g->y);
	evn_arg_u32(&a, g->y_stride);
	evn_arg_buf(&a, g->x);
	evn_arg_u32(&a, g->x_stride);
	evn_arg_tiles(&a, g->gates);
	evn_arg_u32x2(&a, (uint32_t[]){g->up, g->n_tiles});
	return a;
}

static evn_status matvec_swiglu(evn_ops *o, const gated_rows *g, uint32_t first, uint32_t n_tok, evn_error *err)
{
	evn_product_kernels *of;
	EVN_TRY(evn_kernels_of(o, g->gates->quant, &of, err));
	evn_kernel **k = &of->matvec_swiglu[g->format][g->y_format];
	if (!*k) {
		evn_spec spec = evn_spec_row_product(o, "matvec_swiglu.cl", g->gates->quant, g->format);
		evn_spec_store(&spec, g->y_format);
		evn_spec_gate(&spec, o);
		EVN_TRY(evn_kernel_get(k, o->q, &spec, "matvec_swiglu", err));
	}
	evn_args a = swiglu_args(*k, g);
	evn_arg_u32(&a, first);
	return evn_launch2(&a, g->y_stride / 32, n_tok, 1, err);
}

static evn_status lane_matvec_swiglu(evn_ops *o, const gated_rows *g, evn_error *err)
{
	evn_product_kernels *of;
	EVN_TRY(evn_kernels_of(o, g->gates->quant, &of, err));
	evn_kernel **k = &of->matvec_swiglu[g->format][g->y_format];
	if (!*k) {
		evn_spec spec = evn_spec_lane_product(o, "lanes/matvec_swiglu.cl", g->gates->quant, g->format, 1);
		evn_spec_store(&spec, g->y_format);
		evn_spec_gate(&spec, o);
		EVN_TRY(evn_kernel_get(k, o->q, &spec, "matvec_swiglu", err));
	}
	evn_args a = swiglu_args(*k, g);
	evn_arg_u32(&a, 0);
	return evn_launch2(&a, g->y_stride / 32, 1, GATE_ITEMS, err);
}

static evn_status lane_matmul_swiglu(evn_ops *o, const gated_rows *g, uint32_t n_tok, evn_error *err)
{
	evn_product_kernels *of;
	EVN_TRY(evn_kernels_of(o, g->gates->quant, &of, err));
	evn_kernel **k = &of->matmul_swiglu[g->format][g->y_format];
	if (!*k) {
		evn_spec spec = lane_block_product(o, "lanes/matmul_swiglu.cl", g->gates->quant, g->format);
		evn_spec_gate(&spec, o);
		evn_spec_store(&spec, g->y_format);
		EVN_TRY(evn_kernel_get(k, o->q, &spec, "matmul_swiglu", err));
	}
	evn_args a = swiglu_args(*k, g);
	return launch_lane_blocks(&a, g->y_stride / 32, n_tok, err);
}

static evn_status matmul_swiglu(evn_ops *o, const gated_rows *g, uint32_t n_blocks, evn_error *err)
{
	evn_product_kernels *of;
	EVN_TRY(evn_kernels_of(o, g->gates->quant, &of, err));
	evn_kernel **k = &of->matmul_swiglu[g->format][g->y_format];
	if (!*k) {
		evn_spec spec = evn_spec_block_product(o, "matmul_swiglu.cl", g->gates->quant, g->format);
		evn_spec_store(&spec, g->y_format);
		evn_spec_gate(&spec, o);
		EVN_TRY(evn_kernel_get(k, o->q, &spec, "matmul_swiglu", err));
	}
	evn_args a = swiglu_args(*k, g);
	return launch_blocks(o, &a, g->gates, g->y_stride / 32, n_blocks, err);
}

static evn_status gate(evn_ops *o, const gated_rows *g, uint32_t n_tok, evn_error *err)
{
	if (o->lanes == 1)
		return n_tok > 1 ? lane_matmul_swiglu(o, g, n_tok, err) : lane_matvec_swiglu(o, g, err);
	const uint32_t n_blocks = blocks_of(n_tok), done = n_blocks * EVN_BLOCK_TOKENS;
	if (n_blocks)
		EVN_TRY(matmul_swiglu(o, g, n_blocks, err));
	return done >= n_tok ? EVN_OK : matvec_swiglu(o, g, done, n_tok - done, err);
}

evn_status evn_op_gate_up(evn_ops *o, evn_act_format y_format, evn_buf *y, uint32_t y_stride, const evn_buf *x,
						  uint32_t x_stride, const evn_matrix *m, uint32_t up_offset, evn_buf *gate_up,
						  uint32_t gate_up_stride, evn_rows rows, evn_error *err)
{
	const evn_act_format format = evn_op_act_format(o, m, rows.phase);
	if (m->bias || by_gemm(o, m, rows.phase) || !evn_in_one_buffer(m) ||
		!(o->lanes == 1 ? fuses_lanes(o, rows.n) : evn_reads_tiles(m->parts[0].quant, format))) {
		EVN_TRY(evn_op_linear(o, gate_up, gate_up_stride, x, x_stride, m, rows, err));
		return evn_op_swiglu(o, y_format, y, y_stride, gate_up, gate_up_stride, up_offset, up_offset, rows.n, err);
	}
	const gated_rows g = {.format = format,
						  .y_format = y_format,
						  .y = y,
						  .y_stride = y_stride,
						  .x = x,
						  .x_stride = x_stride,
						  .gates = &m->parts[0],
						  .up = evn_up_tile(m, up_offset),
						  .n_tiles = up_offset / EVN_TILE_ROWS};
	return gate(o, &g, rows.n, err);
}
