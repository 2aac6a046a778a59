/* network_load.c - a rank's part of the parameters: which tensor goes where, what is shared with whom. The cut is
 * decoder_load.c's. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "train/network_make.h"

const char *const evn_target_names[EVN_TARGETS] = {"attn_q",   "attn_k", "attn_v",  "attn_output",
												   "ffn_gate", "ffn_up", "ffn_down"};

typedef struct {
	evn_network *n;
	const evn_model *m;
	const evn_split *split;
	evn_error *err;
	uint32_t layer;
} loader;

/* How the rows (or columns) of a tensor are divided: this rank's, and what is known of the others'. */
typedef struct {
	evn_range held, owned;
	bool shared;
	uint32_t holders, owners;
} part;

static uint32_t all_ranks(const evn_network *n) { return (uint32_t)((1ull << n->n_ranks) - 1); }
static evn_range scaled(evn_range r, uint32_t by) { return (evn_range){r.begin * by, r.end * by}; }
static part alone(evn_range r) { return (part){.held = r, .owned = r}; }

/* The same rows of a tensor in which others stand before them. */
static part behind(part p, uint32_t first)
{
	p.held = (evn_range){first + p.held.begin, first + p.held.end};
	p.owned = (evn_range){first + p.owned.begin, first + p.owned.end};
	return p;
}

/* A vector that is added to a sum over ranks, once: by the first that contributes. */
static part added_once(const evn_network *n, uint32_t length, uint32_t contributors)
{
	uint32_t first = contributors & (~contributors + 1);
	return alone((evn_range){0, first == 1u << n->rank ? length : 0});
}

/* Held whole by every rank, owned by the first. */
static part replicated(const evn_network *n, uint32_t length)
{
	return (part){.held = {0, length},
				  .owned = {0, n->rank == 0 ? length : 0},
				  .shared = n->n_ranks > 1,
				  .holders = all_ranks(n),
				  .owners = 1};
}

/* Rows of KV heads: the first rank that holds a head owns it. */
static part kv_part(const loader *l)
{
	const evn_network *n = l->n;
	const uint32_t heads = evn_plan_find(&l->split->shape, EVN_CUT_HEADS);
	const evn_plan_class *cut = &l->split->shape.classes[heads];
	part p = {0};
	uint32_t end = 0;
	for (uint32_t r = 0; r < n->n_ranks; r++) {
		evn_range held = evn_plan_groups(cut, evn_split_part(l->split, heads, l->layer, r)->held), owned = held;
		if (!evn_range_len(held))
			continue;
		if (owned.begin < end) {
			p.shared = true;
			owned.begin = end < owned.end ? end : owned.end;
		}
		end = held.end;
		p.holders |= 1u << r;
		p.owners |= (evn_range_len(owned) > 0) * (1u << r);
		if (r == n->rank) {
			p.held = scaled(held, n->h->head_dim);
			p.owned = scaled(owned, n->h->head_dim);
		}
	}
	return p;
}

/* One matrix among those stacked in a linear: part of a tensor rows x cols. */
typedef struct {
	const char *stem; /* "attn_q" */
	uint32_t rows, cols;
	part row, col;
} block;

static evn_piece piece_of(const loader *l, const char *ending, const block *b)
{
	evn_piece p = {.rows = b->rows,
				   .cols = b->cols,
				   .row = b->row.held,
				   .col = b->col.held,
				   .owned = b->row.owned,
				   .shared = b->row.shared,
				   .holders = b->row.holders,
				   .owners = b->row.owners};
	snprintf(p.name, sizeof p.name, "blk.%u.%s.%s", l->layer, b->stem, ending);
	return p;
}

static evn_piece vector_of(const char *name, uint32_t length, const part *row)
{
	evn_piece p = {.rows = length,
				   .cols = 1,
				   .row = row->held,
				   .col = {0, 1},
				   .owned = row->owned,
				   .shared = row->shared,
				   .holders = row->holders,
				   .owners = row->owners};
	snprintf(p.name, sizeof p.name, "%s", name);
	return p;
}

/* ---- values ------------------------------------------------------------------------------------------------- */

static evn_status load_part(const loader *l, const evn_gguf *state, const evn_param *p, const evn_piece *piece,
							evn_param_part which, const char *prefix, bool needed)
{
	char name[96];
	snprintf(name, sizeof name, "%s%s", prefix, piece->name);
	const evn_tensor *t = evn_gguf_find_tensor(state, name);
	const uint32_t cols = p->vector ? piece->rows : piece->cols, rows = p->vector ? 1 : piece->rows;
	if (!t && !needed)
		return EVN_OK;
	if (!t || t->shape[0] != cols || t->shape[1] != rows)
		return evn_fail(l->err, EVN_ERR_FORMAT, "%s: tensor \"%s\" %s, expected [%u, %u]", evn_gguf_name(state), name,
						t ? "has another shape" : "is missing", cols, rows);
	if (!evn_param_floats(p))
		return EVN_OK;
	uint64_t bytes = (uint64_t)rows * cols * sizeof(float);
	float *whole = malloc(bytes);
	if (!whole)
		return evn_fail_memory(l->err, name, bytes);
	for (uint32_t r = 0; r < rows; r++)
		evn_tensor_row(t, r, whole + (uint64_t)r * cols);
	evn_status s = evn_piece_upload(p, piece, l->n->q, which, whole, l->err);
	free(whole);
	return s;
}

static evn_status load_values(const loader *l, const evn_gguf *state)
{
	for (uint32_t i = 0; i < l->n->n_params; i++) {
		const evn_param *p = l->n->params[i];
		for (uint32_t k = 0; k < p->n_pieces; k++) {
			EVN_TRY(load_part(l, state, p, &p->pieces[k], EVN_PARAM_VALUE, "", true));
			EVN_TRY(load_part(l, state, p, &p->pieces[k], EVN_PARAM_M, "adam_m.", false));
			EVN_TRY(load_part(l, state, p, &p->pieces[k], EVN_PARAM_V, "adam_v.", false));
		}
	}
	return EVN_OK;
}

/* ---- trained in f32 ---------------------------------------------------------------------------------------- */

static evn_status finish_param(const loader *l, evn_param *p)
{
	EVN_TRY(evn_param_create(p, l->n->q, true, l->err));
	l->n->params[l->n->n_params++] = p;
	return EVN_OK;
}

/* Trained with everything else, or as the model has it. */
static evn_status finish_vector(const loader *l, evn_param *p)
{
	if (!l->n->trained.lora_rank)
		return finish_param(l, p);
	EVN_TRY(evn_param_create(p, l->n->q, false, l->err));
	for (uint32_t k = 0; k < p->n_pieces; k++)
		EVN_TRY(load_part(l, evn_model_gguf(l->m), p, &p->pieces[k], EVN_PARAM_VALUE, "", true));
	return EVN_OK;
}

static evn_status train_whole(const loader *l, evn_linear *linear, const block *blocks, uint32_t n, uint32_t *offsets)
{
	for (uint32_t i = 0; i < n; i++) {
		evn_piece piece = piece_of(l, "weight", &blocks[i]);
		offsets[i] = linear->weight.rows;
		evn_param_add(&linear->weight, &piece);
	}
	linear->in = evn_range_len(blocks[0].col.held);
	return finish_param(l, &linear->weight);
}

/* ---- frozen, with low-rank additions ------------------------------------------------------------------------ */

static evn_status find(const loader *l, const block *b, const evn_tensor **t)
{
	char name[80];
	snprintf(name, sizeof name, "blk.%u.%s.weight", l->layer, b->stem);
	return evn_model_need(l->m, name, b->cols, b->rows, t, l->err);
}

static evn_status freeze(const loader *l, evn_linear *linear, const block *blocks, uint32_t n, bool split_input,
						 uint32_t *offsets)
{
	evn_row_block rows[EVN_MATRIX_PARTS];
	for (uint32_t i = 0; i < n; i++) {
		EVN_TRY(find(l, &blocks[i], &rows[i].tensor));
		rows[i].rows = blocks[i].row.held;
	}
	if (!split_input)
		return evn_matrix_split_output(&linear->frozen, l->n->q, rows, n, offsets, l->err);
	EVN_TRY(evn_matrix_split_input(&linear->frozen, l->n->q, rows[0].tensor, blocks[0].col.held, l->err));
	linear->x_shift = linear->frozen.x_shift;
	offsets[0] = 0;
	return EVN_OK;
}

/* Where y is split, so is B, and A is everybody's; where x is split it is the other way round. */
static evn_status add_lora(const loader *l, evn_linear *linear, const block *b, bool split_input, uint32_t y_offset)
{
	const uint32_t rank = l->n->trained.lora_rank;
	const part low = replicated(l->n, rank), low_columns = alone((evn_range){0, rank});
	evn_lora *r = &linear->lora[linear->n_lora++];
	r->y_offset = y_offset;
	block a = {b->stem, rank, b->cols, low, b->col}, up = {b->stem, b->rows, rank, b->row, low_columns};
	if (split_input) {
		a.row = alone((evn_range){0, rank});
		up.row = replicated(l->n, b->rows);
	}
	evn_piece of_a = piece_of(l, "weight.lora_a", &a), of_b = piece_of(l, "weight.lora_b", &up);
	evn_param_add(&r->a, &of_a);
	evn_param_add(&r->b, &of_b);
	EVN_TRY(finish_param(l, &r->a));
	return finish_param(l, &r->b);
}

static bool gets_addition(const evn_trained *t, const char *stem)
{
	for (uint32_t i = 0; i < EVN_TARGETS; i++)
		if (strcmp(evn_target_names[i], stem) == 0)
			return t->lora_targets >> i & 1;
	return false;
}

static evn_status freeze_with_additions(const loader *l, evn_linear *linear, const block *blocks, uint32_t n,
										bool split_input, uint32_t *offsets)
{
	const evn_trained *t = &l->n->trained;
	EVN_TRY(freeze(l, linear, blocks, n, split_input, offsets));
	linear->in = evn_range_len(blocks[0].col.held);
	linear->lora_rank = t->lora_rank;
	linear->lora_scale = t->lora_alpha / (float)t->lora_rank;
	for (uint32_t i = 0; i < n; i++)
		if (gets_addition(t, blocks[i].stem))
			EVN_TRY(add_lora(l, linear, &blocks[i], split_input, offsets[i]));
	return EVN_OK;
}

/* ---- a linear ---------------------------------------------------------------------------------------------- */

/* Biases of stacked rows, where they begin in y; all of them or none. */
static evn_status make_bias(const loader *l, evn_param *p, const block *blocks, uint32_t n, const uint32_t *offsets)
{
	p->vector = true;
	for (uint32_t i = 0; i < n; i++) {
		char name[80];
		snprintf(name, sizeof name, "blk.%u.%s.bias", l->layer, blocks[i].stem);
		if (i == 0 && !l->n->graph->biased && !evn_model_find(l->m, name))
			return EVN_OK;
		evn_piece piece = vector_of(name, blocks[i].rows, &blocks[i].row);
		p->rows = offsets[i]; /* behind the padding of frozen rows */
		evn_param_add(p, &piece);
	}
	return finish_vector(l, p);
}

/* A linear of n stacked matrices; offsets: where the rows of each begin in y. contributors: bit per rank, where it is
 * split by input; else 0. */
static evn_status make_linear(const loader *l, evn_linear *linear, const block *blocks, uint32_t n,
							  uint32_t contributors, uint32_t *offsets)
{
	if (l->n->trained.lora_rank)
		EVN_TRY(freeze_with_additions(l, linear, blocks, n, contributors != 0, offsets));
	else
		EVN_TRY(train_whole(l, linear, blocks, n, offsets));
	if (!contributors)
		return make_bias(l, &linear->bias, blocks, n, offsets);
	block once = blocks[0];
	once.row = added_once(l->n, once.rows, contributors);
	return make_bias(l, &linear->bias, &once, 1, offsets);
}

/* ---- layers ------------------------------------------------------------------------------------------------ */

/* stem: "output_norm" */
static evn_status make_norm(const loader *l, evn_train_norm *norm, const char *stem)
{
	evn_param *const params[] = {&norm->weight, &norm->bias};
	static const char *const endings[] = {"weight", "bias"};
	const part row = replicated(l->n, l->n->h->dim);
	for (int i = 0; i < (l->n->graph->biased ? 2 : 1); i++) {
		char name[80];
		snprintf(name, sizeof name, "%s.%s", stem, endings[i]);
		evn_piece piece = vector_of(name, l->n->h->dim, &row);
		params[i]->vector = true;
		evn_param_add(params[i], &piece);
		EVN_TRY(finish_vector(l, params[i]));
	}
	return EVN_OK;
}

static evn_status make_layer_norm(const loader *l, evn_train_norm *norm, const char *which)
{
	char stem[64];
	snprintf(stem, sizeof stem, "blk.%u.%s", l->layer, which);
	return make_norm(l, norm, stem);
}

/* The stacked matrices of a block, which are split by output. */
static uint32_t stack_in(const loader *l, const evn_block *b, evn_range units, block out[EVN_MATRIX_PARTS])
{
	evn_row_spec specs[EVN_MATRIX_PARTS];
	const uint32_t n = evn_block_rows(b, specs), dim = l->n->h->dim;
	for (uint32_t i = 0; i < n; i++) {
		const part own = specs[i].by_group ? kv_part(l) : alone(scaled(units, specs[i].width));
		out[i] = (block){.stem = specs[i].stem,
						 .rows = specs[i].tensor_rows,
						 .cols = dim,
						 .row = behind(own, specs[i].first),
						 .col = alone((evn_range){0, dim})};
	}
	return n;
}

/* The matrix that is split by input. */
static block stack_out(const loader *l, const evn_block *b, evn_range units)
{
	const uint32_t dim = l->n->h->dim;
	return (block){b->out, dim, b->n_units * b->unit_width, alone((evn_range){0, dim}),
				   alone(scaled(units, b->unit_width))};
}

static evn_status make_layer(const loader *l, evn_train_layer *y)
{
	const evn_block *attends = evn_network_attention(l->n, l->layer),
					*expands = evn_network_feed_forward(l->n, l->layer);
	const block out = stack_out(l, attends, y->heads), down = stack_out(l, expands, y->ff);
	block in[EVN_MATRIX_PARTS];
	uint32_t at[EVN_MATRIX_PARTS] = {0}, n = stack_in(l, attends, y->heads, in);
	EVN_TRY(make_layer_norm(l, &y->attn_norm, attends->norm.stem));
	EVN_TRY(make_linear(l, &y->qkv, in, n, 0, at));
	y->k_offset = at[1];
	y->v_offset = at[2];
	EVN_TRY(make_linear(l, &y->attn_out, &out, 1, y->attn_contributors, at));
	EVN_TRY(make_layer_norm(l, &y->ffn_norm, expands->norm.stem));
	n = stack_in(l, expands, y->ff, in);
	EVN_TRY(make_linear(l, &y->gate_up, in, n, 0, at));
	y->up_offset = at[n - 1];
	return make_linear(l, &y->down, &down, 1, y->ff_contributors, at);
}

static void take_ranges(const loader *l, evn_train_layer *y)
{
	const evn_split *split = l->split;
	const uint32_t heads = evn_plan_find(&split->shape, EVN_CUT_HEADS),
				   units = evn_plan_find(&split->shape, EVN_CUT_UNITS);
	y->heads = evn_split_part(split, heads, l->layer, l->n->rank)->held;
	y->kv_heads = evn_plan_groups(&split->shape.classes[heads], y->heads);
	y->ff = evn_split_part(split, units, l->layer, l->n->rank)->used[EVN_PROMPT];
	y->attn_contributors = (uint32_t)evn_split_ranks(split, heads, l->layer, EVN_PROMPT);
	y->ff_contributors = (uint32_t)evn_split_ranks(split, units, l->layer, EVN_PROMPT);
}

/* ---- embedding and head ------------------------------------------------------------------------------------- */

static evn_status make_table(const loader *l, evn_param *p, const char *name, uint32_t rows, evn_range row)
{
	evn_piece piece = {.rows = rows, .cols = l->n->h->dim, .row = row, .col = {0, l->n->h->dim}, .owned = row};
	snprintf(piece.name, sizeof piece.name, "%s", name);
	evn_param_add(p, &piece);
	return finish_param(l, p);
}

/* Learned positions are cut as the vocabulary is, so that who looks up tokens adds them to the same partial sum. */
static evn_status make_positions(const loader *l)
{
	evn_network *n = l->n;
	const evn_tensor *t = evn_model_find(l->m, "position_embd.weight");
	if (!t)
		return EVN_OK;
	const uint64_t rows = t->shape[1], vocab = n->h->vocab;
	const evn_range row = {(uint32_t)(rows * n->vocab.begin / vocab), (uint32_t)(rows * n->vocab.end / vocab)};
	return make_table(l, &n->positions, "position_embd.weight", (uint32_t)rows, row);
}

static evn_status make_head_bias(const loader *l)
{
	evn_param *p = &l->n->head.bias;
	const part row = alone(l->n->vocab);
	if (!evn_model_find(l->m, "output.bias"))
		return EVN_OK;
	evn_piece piece = vector_of("output.bias", l->n->h->vocab, &row);
	p->vector = true;
	evn_param_add(p, &piece);
	return finish_vector(l, p);
}

static evn_status make_ends(const loader *l)
{
	evn_network *n = l->n;
	n->vocab = evn_split_part(l->split, EVN_PLAN_VOCAB, 0, n->rank)->held;
	n->vocab_contributors = (uint32_t)evn_split_ranks(l->split, EVN_PLAN_VOCAB, 0, EVN_PROMPT);
	const char *head = evn_model_find(l->m, "output.weight") ? "output.weight" : "token_embd.weight";
	if (n->graph->out_norm.stem)
		EVN_TRY(make_norm(l, &n->out_norm, n->graph->out_norm.stem));
	EVN_TRY(make_head_bias(l));
	n->head.in = n->h->dim;
	if (n->trained.lora_rank) {
		const evn_tensor *t;
		EVN_TRY(evn_model_need(l->m, head, n->h->dim, n->h->vocab, &t, l->err));
		const evn_row_block rows = {t, n->vocab};
		return evn_matrix_split_output(&n->head.frozen, n->q, &rows, 1, NULL, l->err);
	}
	n->tied = strcmp(head, "token_embd.weight") == 0;
	EVN_TRY(make_table(l, &n->embedding, "token_embd.weight", n->h->vocab, n->vocab));
	EVN_TRY(make_positions(l));
	return n->tied ? EVN_OK : make_table(l, &n->head.weight, head, n->h->vocab, n->vocab);
}

/* ---- the whole ---------------------------------------------------------------------------------------------- */

static evn_status load(loader *l, const evn_gguf *state)
{
	evn_network *n = l->n;
	EVN_TRY(evn_graph_make(&n->graph, l->m, l->err));
	const evn_attention_config heads = {.head_dim = n->h->head_dim,
										.rope_dim = n->h->rope_dim,
										.rope_neox = n->n_layers && evn_network_attention(n, 0)->attention.rope_neox};
	EVN_TRY(evn_ops_create(&n->products.ops, n->q, &(evn_ops_config){0}, l->err));
	EVN_TRY(evn_backward_create(&n->backward, n->q, &heads, l->err));
	n->products.backward = n->backward;
	n->layers = calloc(n->n_layers + 1u, sizeof *n->layers);
	n->params = calloc((size_t)n->n_layers * 2 * EVN_TARGETS + 6, sizeof(evn_param *));
	if (!n->layers || !n->params)
		return evn_fail_memory(l->err, "layers", n->n_layers * sizeof *n->layers);
	EVN_TRY(make_ends(l));
	for (l->layer = 0; l->layer < n->n_layers; l->layer++) {
		take_ranges(l, &n->layers[l->layer]);
		EVN_TRY(make_layer(l, &n->layers[l->layer]));
	}
	EVN_TRY(load_values(l, state));
	EVN_TRY(evn_network_make_buffers(n, l->err));
	return evn_queue_finish(n->q, l->err);
}

evn_status evn_network_load(evn_network **out, evn_queue *q, evn_comm *comm, const evn_model *m,
							const evn_gguf *state, const evn_split *split, uint32_t rank, const evn_trained *trained,
							const evn_pass_shape *shape, evn_error *err)
{
	evn_network *n = *out = calloc(1, sizeof *n);
	if (!n)
		return evn_fail_memory(err, "network", sizeof *n);
	n->q = n->products.q = q;
	n->products.times = &n->times;
	n->comm = comm;
	n->h = evn_model_hparams(m);
	n->trained = *trained;
	n->shape = *shape;
	n->rank = rank;
	n->n_ranks = split->n_ranks;
	n->n_layers = n->h->n_layers;
	n->n_tok = evn_pass_tokens(shape);
	loader l = {.n = n, .m = m, .split = split, .err = err};
	return load(&l, state);
}
