#include "nn/ops_experts.h"

#include "kernels/constants.h"
#include "nn/ops_internal.h"

/* Pairs for each expert from which they are grouped: a block of rows costs about as much as two or three rows. */
#define PAIRS_TO_GROUP 2u
#define CHOOSE_ITEMS 64u
#define TILES 3u      /* of a work-item that multiplies a row */
#define RUN_BLOCKS 4u /* blocks that may use the same weights one after the other (kernels/blocks.cl) */

static bool are_grouped(const evn_routing *c, uint32_t n) { return n * c->k >= PAIRS_TO_GROUP * c->n_experts; }

/* Each expert may fill its last block with one row only. */
static uint32_t blocks_of(uint32_t n_experts, uint32_t n_pairs)
{
	const uint32_t used = n_experts < n_pairs ? n_experts : n_pairs;
	return (n_pairs + used * (EVN_BLOCK_TOKENS - 1)) / EVN_BLOCK_TOKENS;
}

uint32_t evn_expert_rows(uint32_t n_experts, uint32_t k, uint32_t n)
{
	return blocks_of(n_experts, n * k) * EVN_BLOCK_TOKENS;
}

/* ---- the choice ------------------------------------------------------------------------------------------------ */

static evn_status kernel_of(evn_ops *o, evn_kernel **k, const char *file, const char *name, evn_error *err)
{
	if (*k)
		return EVN_OK;
	evn_spec spec = evn_spec_of(file);
	evn_spec_lanes(&spec, o->lanes);
	evn_spec_define(&spec, "ITEMS", o->lanes == 1 ? CHOOSE_ITEMS : 1);
	return evn_kernel_get(k, o->q, &spec, name, err);
}

evn_status evn_op_rates(evn_ops *o, evn_buf *rates, uint32_t n_rates, const evn_router *r, const evn_buf *x,
						uint32_t stride, uint32_t n, evn_error *err)
{
	const uint32_t tiles = (n_rates + EVN_TILE_ROWS - 1) / EVN_TILE_ROWS;
	EVN_TRY(kernel_of(o, &o->experts.route, "router.cl", "route", err));
	evn_args a = evn_args_begin(o->experts.route);
	evn_arg_buf(&a, rates);
	evn_arg_u32(&a, tiles * EVN_TILE_ROWS);
	evn_arg_buf(&a, x);
	evn_arg_u32(&a, stride);
	evn_arg_buf(&a, r->norm);
	evn_arg_buf(&a, r->w);
	evn_arg_buf(&a, r->bias);
	evn_arg_f32(&a, 1.0f / (float)r->dim);
	evn_arg_f32(&a, r->eps);
	return evn_launch2(&a, tiles, n, o->lanes == 1 ? EVN_LANE_ITEMS : 1, err);
}

static evn_status rank(evn_ops *o, const evn_routing *c, uint32_t n, evn_error *err)
{
	const bool grouped = c->n_groups > 1;
	EVN_TRY(kernel_of(o, &o->experts.rank, "router.cl", "rank_experts", err));
	evn_args a = evn_args_begin(o->experts.rank);
	evn_arg_buf(&a, c->ranks);
	evn_arg_buf(&a, c->scores);
	evn_arg_u32(&a, (uint32_t)evn_round_up(c->n_experts, EVN_TILE_ROWS));
	evn_arg_u32x4(&a, (uint32_t[]){c->n_experts, grouped ? c->n_groups : 1, grouped ? c->n_used_groups : 1,
								   c->choice_bias != NULL});
	evn_arg_buf(&a, c->choice_bias ? c->choice_bias : c->scores); /* every argument must be set */
	return evn_launch(&a, 1, (size_t[]){n}, (size_t[]){o->lanes == 1 ? CHOOSE_ITEMS : 1}, err);
}

evn_status evn_op_choose(evn_ops *o, const evn_routing *c, const evn_router *r, const evn_buf *x, uint32_t stride,
						 uint32_t n, evn_error *err)
{
	EVN_TRY(evn_op_rates(o, c->scores, c->n_experts, r, x, stride, n, err));
	EVN_TRY(kernel_of(o, &o->experts.choose, "router.cl", "choose", err));
	const bool ranked = c->n_groups > 1 || c->choice_bias;
	if (ranked)
		EVN_TRY(rank(o, c, n, err));
	evn_args a = evn_args_begin(o->experts.choose);
	evn_arg_buf(&a, c->scores);
	evn_arg_buf(&a, ranked ? c->ranks : c->scores);
	evn_arg_u32(&a, (uint32_t)evn_round_up(c->n_experts, EVN_TILE_ROWS));
	evn_arg_u32x2(&a, (uint32_t[]){c->n_experts, c->k});
	evn_arg_u32(&a, c->sigmoid);
	evn_arg_buf(&a, c->experts);
	evn_arg_buf(&a, c->weights);
	evn_arg_buf(&a, c->places);
	return evn_launch(&a, 1, (size_t[]){n}, (size_t[]){o->lanes == 1 ? CHOOSE_ITEMS : 1}, err);
}

/* ---- groups ---------------------------------------------------------------------------------------------------- */

evn_status evn_op_group(evn_ops *o, const evn_routing *c, uint32_t n, evn_expert_set *out, evn_error *err)
{
	const uint32_t n_pairs = n * c->k, n_blocks = blocks_of(c->n_experts, n_pairs);
	*out = (evn_expert_set){.experts = c->experts, .n = n_pairs};
	if (!are_grouped(c, n))
		return EVN_OK;
	*out = (evn_expert_set){.experts = c->of_blocks, .n = n_blocks * EVN_BLOCK_TOKENS, .grouped = true};
	EVN_TRY(kernel_of(o, &o->experts.count, "expert_rows.cl", "count_pairs", err));
	EVN_TRY(kernel_of(o, &o->experts.place, "expert_rows.cl", "place_pairs", err));
	evn_args a = evn_args_begin(o->experts.count);
	evn_arg_buf(&a, c->counts);
	evn_arg_buf(&a, c->experts);
	evn_arg_u32(&a, n_pairs);
	EVN_TRY(evn_launch(&a, 1, (size_t[]){c->n_experts}, NULL, err));
	a = evn_args_begin(o->experts.place);
	evn_arg_buf(&a, c->places);
	evn_arg_buf(&a, c->of_blocks);
	evn_arg_u32(&a, n_blocks);
	evn_arg_buf(&a, c->counts);
	evn_arg_buf(&a, c->experts);
	evn_arg_u32(&a, n_pairs);
	return evn_launch(&a, 1, (size_t[]){c->n_experts}, NULL, err);
}

static uint32_t row_words(const evn_ops *o, evn_act_format format, uint32_t stride)
{
	const uint32_t block = o->lanes == 1 ? EVN_Q8_LANE_BYTES : EVN_Q8_BYTES;
	return format == EVN_ACT_Q8 ? stride / EVN_PAD * (block / 4) : stride;
}

evn_status evn_op_gather(evn_ops *o, const evn_routing *c, evn_act_format format, evn_buf *y, const evn_buf *x,
						 uint32_t stride, uint32_t n, evn_error *err)
{
	EVN_TRY(kernel_of(o, &o->experts.gather, "expert_rows.cl", "gather_rows", err));
	evn_args a = evn_args_begin(o->experts.gather);
	evn_arg_buf(&a, y);
	evn_arg_buf(&a, x);
	evn_arg_u32(&a, row_words(o, format, stride));
	evn_arg_buf(&a, c->places);
	evn_arg_u32(&a, c->k);
	return evn_launch(&a, 1, (size_t[]){(size_t)n * c->k}, (size_t[]){o->lanes == 1 ? CHOOSE_ITEMS : 1}, err);
}

evn_status evn_op_add_experts(evn_ops *o, const evn_routing *c, evn_buf *y, const evn_buf *x, uint32_t stride,
							  uint32_t n, evn_error *err)
{
	EVN_TRY(kernel_of(o, &o->experts.add, "expert_rows.cl", "add_experts", err));
	evn_args a = evn_args_begin(o->experts.add);
	evn_arg_buf(&a, y);
	evn_arg_u32(&a, stride);
	evn_arg_buf(&a, x);
	evn_arg_buf(&a, c->places);
	evn_arg_buf(&a, c->weights);
	evn_arg_buf(&a, c->experts);
	evn_arg_buf(&a, c->scales ? c->scales : c->weights); /* every argument must be set */
	evn_arg_u32x2(&a, (uint32_t[]){c->k, c->normed});
	evn_arg_u32(&a, c->scales != NULL);
	evn_arg_f32(&a, c->factor);
	return evn_launch_columns(o, &a, stride, n, err);
}

evn_status evn_op_add_shared(evn_ops *o, const evn_routing *c, const evn_router *r, const evn_buf *input,
							 const evn_shared_rows *rows, evn_error *err)
{
	if (r->w)
		EVN_TRY(evn_op_rates(o, c->scores, 1, r, input, rows->stride, rows->n, err));
	EVN_TRY(kernel_of(o, &o->experts.add_shared, "expert_rows.cl", "add_shared", err));
	evn_args a = evn_args_begin(o->experts.add_shared);
	evn_arg_buf(&a, rows->y);
	evn_arg_u32(&a, rows->stride);
	evn_arg_buf(&a, rows->x);
	evn_arg_buf(&a, c->scores);
	evn_arg_u32x2(&a, (uint32_t[]){r->w ? EVN_TILE_ROWS : 0, rows->adds});
	return evn_launch_columns(o, &a, rows->stride, rows->n, err);
}

/* ---- products -------------------------------------------------------------------------------------------------- */

/* A part of the experts' matrices times rows of activations. */
typedef struct {
	evn_act_format format;
	evn_buf *y;
	uint32_t y_stride;
	const evn_buf *x;
	uint32_t x_stride, shared;
	const evn_matrix_part *part;
	const evn_expert_set *set;
} product;

static evn_args product_args(evn_kernel *k, const product *p)
{
	evn_args a = evn_args_begin(k);
	evn_arg_buf(&a, p->y);
	evn_arg_u32x2(&a, (uint32_t[]){p->y_stride, p->part->y_offset});
	evn_arg_buf(&a, p->x);
	evn_arg_u32(&a, p->x_stride);
	evn_arg_tiles(&a, p->part);
	return a;
}

static evn_status by_rows(evn_ops *o, const product *p, evn_error *err)
{
	const evn_quant *quant = p->part->quant;
	const uint32_t n_tiles = p->part->rows / EVN_TILE_ROWS, tiles = evn_reads_tiles(quant, p->format) ? TILES : 1;
	evn_product_kernels *of;
	EVN_TRY(evn_kernels_of(o, quant, &of, err));
	evn_kernel **k = &of->matvec_experts[p->format][0];
	if (!*k) {
		evn_spec spec = evn_spec_row_product(o, "matvec_experts.cl", quant, p->format);
		evn_spec_define(&spec, "TILES", tiles);
		EVN_TRY(evn_kernel_get(k, o->q, &spec, "matvec_experts", err));
	}
	evn_args a = product_args(*k, p);
	evn_arg_u32x2(&a, (uint32_t[]){p->part->expert_steps, p->shared});
	evn_arg_buf(&a, p->set->experts);
	return evn_launch2(&a, (n_tiles + tiles - 1) / tiles, p->set->n, 1, err);
}

static evn_status by_blocks(evn_ops *o, const product *p, evn_error *err)
{
	const evn_quant *quant = p->part->quant;
	const uint32_t n_blocks = p->set->n / EVN_BLOCK_TOKENS, run = n_blocks < RUN_BLOCKS ? n_blocks : RUN_BLOCKS;
	evn_product_kernels *of;
	EVN_TRY(evn_kernels_of(o, quant, &of, err));
	evn_kernel **k = &of->matmul_experts[p->format];
	if (!*k) {
		const evn_spec spec = evn_spec_block_product(o, "matmul_experts.cl", quant, p->format);
		EVN_TRY(evn_kernel_get(k, o->q, &spec, "matmul_experts", err));
	}
	evn_args a = product_args(*k, p);
	evn_arg_u32(&a, p->part->expert_steps);
	evn_arg_buf(&a, p->set->experts);
	evn_arg_u32(&a, n_blocks);
	const size_t groups[] = {run, p->part->rows / EVN_TILE_ROWS, (n_blocks + run - 1) / run};
	return evn_launch(&a, 3, groups, (size_t[]){1, 1, 1}, err);
}

static evn_status by_lanes(evn_ops *o, const product *p, evn_error *err)
{
	const evn_quant *quant = p->part->quant;
	const uint32_t tokens = p->set->grouped ? EVN_BLOCK_TOKENS : 1;
	evn_product_kernels *of;
	EVN_TRY(evn_kernels_of(o, quant, &of, err));
	evn_kernel **k = &of->matvec_experts[p->format][tokens > 1];
	if (!*k) {
		const evn_spec spec = evn_spec_lane_product(o, "lanes/matvec_experts.cl", quant, p->format, tokens);
		EVN_TRY(evn_kernel_get(k, o->q, &spec, "matvec_experts", err));
	}
	evn_args a = product_args(*k, p);
	evn_arg_u32x2(&a, (uint32_t[]){p->part->expert_steps, p->shared});
	evn_arg_buf(&a, p->set->experts);
	return evn_launch2(&a, p->part->rows / EVN_TILE_ROWS, p->set->n / tokens, EVN_LANE_ITEMS, err);
}

/* y += the biases of each row's expert, for the rows of one part of the matrices. */
static evn_status add_biases(evn_ops *o, const product *p, const evn_matrix *m, evn_error *err)
{
	EVN_TRY(kernel_of(o, &o->experts.add_bias, "expert_rows.cl", "add_expert_bias", err));
	evn_args a = evn_args_begin(o->experts.add_bias);
	evn_arg_buf(&a, p->y);
	evn_arg_u32x2(&a, (uint32_t[]){p->y_stride, p->part->y_offset});
	evn_arg_buf(&a, m->bias);
	evn_arg_u32x2(&a, (uint32_t[]){m->bias_stride, p->part->first_row});
	evn_arg_buf(&a, p->set->experts);
	evn_arg_u32(&a, p->set->grouped ? EVN_BLOCK_TOKENS : 1);
	return evn_launch_columns(o, &a, p->part->rows, p->set->n, err);
}

evn_status evn_op_experts(evn_ops *o, evn_buf *y, uint32_t y_stride, const evn_buf *x, uint32_t x_stride,
						  uint32_t shared, const evn_matrix *m, const evn_expert_set *set, evn_phase phase,
						  evn_error *err)
{
	product p = {evn_op_act_format(o, m, phase), y, y_stride, x, x_stride, shared, NULL, set};
	for (uint32_t i = 0; i < m->n_parts; i++) {
		p.part = &m->parts[i];
		EVN_TRY((o->lanes == 1 ? by_lanes : set->grouped ? by_blocks : by_rows)(o, &p, err));
		if (m->bias)
			EVN_TRY(add_biases(o, &p, m, err));
	}
	return EVN_OK;
}
