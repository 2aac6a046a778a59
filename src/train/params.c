/* params.c - the parameters of a network: the pieces of tensors that a rank trains, and which of them it shares with
 * which ranks. Weights and their cut are the shard's. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "train/network.h"

const char *const evn_target_names[EVN_TARGETS] = {"attn_q",   "attn_k", "attn_v",  "attn_output",
												   "ffn_gate", "ffn_up", "ffn_down"};

bool evn_is_target(const evn_trained *t, const char *stem)
{
	for (uint32_t i = 0; i < EVN_TARGETS; i++)
		if (strcmp(evn_target_names[i], stem) == 0)
			return t->lora_targets >> i & 1;
	return false;
}

/* `block` is the block whose parameters are made. */
typedef struct {
	evn_network *n;
	const evn_split *split;
	const evn_gguf *state;
	evn_error *err;
	uint32_t block;
} maker;

/* A rank's part of the rows of a tensor, as in evn_piece. */
typedef struct {
	evn_range held, owned;
	bool shared;
	uint32_t holders, owners;
} part;

static const evn_block *block_of(const maker *k) { return &k->n->graph->blocks[k->block]; }

static uint32_t ranks_of(const maker *k) { return (uint32_t)evn_view_block(k->n->view, k->block, EVN_PROMPT)->ranks; }

static evn_range units_of(const maker *k, uint32_t rank)
{
	return evn_split_part(k->split, block_of(k)->cut_class, block_of(k)->cut_index, rank)->held;
}

static part alone(evn_range r) { return (part){.held = r, .owned = r}; }

/* Each of these ranks holds all rows, and the first owns them. */
static part replicated(const maker *k, uint32_t length, uint32_t ranks)
{
	const uint32_t first = ranks & (~ranks + 1), mine = 1u << k->n->rank;
	return (part){.held = {0, ranks & mine ? length : 0},
				  .owned = {0, first == mine ? length : 0},
				  .shared = ranks != first,
				  .holders = ranks,
				  .owners = first};
}

/* A vector that is added once to a sum over ranks: the first rank of the block holds it. */
static part added_once(const maker *k, uint32_t length)
{
	part p = replicated(k, length, ranks_of(k));
	return alone(p.owned);
}

/* Rows of W_in. If several ranks hold a row, the first of them owns it. */
static part rows_of(const maker *k, const evn_row_spec *spec)
{
	part p = {0};
	uint32_t end = 0;
	for (uint32_t r = 0; r < k->n->n_ranks; r++) {
		evn_range held = evn_rows_of(spec, block_of(k), units_of(k, r)), owned = held;
		if (!evn_range_len(held))
			continue;
		if (owned.begin < end) {
			p.shared = true;
			owned.begin = end < owned.end ? end : owned.end;
		}
		end = held.end;
		p.holders |= 1u << r;
		p.owners |= (evn_range_len(owned) > 0) * (1u << r);
		if (r == k->n->rank) {
			p.held = held;
			p.owned = owned;
		}
	}
	return p;
}

/* ---- values ---------------------------------------------------------------------------------------------------- */

static evn_status load_part(const maker *k, const evn_param *p, const evn_piece *piece, evn_param_part which,
							const char *prefix)
{
	char name[96];
	snprintf(name, sizeof name, "%s%s", prefix, piece->name);
	const evn_tensor *t = evn_gguf_find_tensor(k->state, name);
	const uint32_t cols = p->vector ? piece->rows : piece->cols, rows = p->vector ? 1 : piece->rows;
	if (!t && which != EVN_PARAM_VALUE)
		return EVN_OK;
	if (!t || t->shape[0] != cols || t->shape[1] != rows)
		return evn_fail(k->err, EVN_ERR_FORMAT, "%s: tensor \"%s\" %s, expected [%u, %u]", evn_gguf_name(k->state),
						name, t ? "has another shape" : "is missing", cols, rows);
	if (!evn_param_floats(p))
		return EVN_OK;
	uint64_t bytes = (uint64_t)rows * cols * sizeof(float);
	float *whole = malloc(bytes);
	if (!whole)
		return evn_fail_memory(k->err, name, bytes);
	evn_status s = evn_tensor_rows(t, 0, rows, whole, k->err);
	if (s == EVN_OK)
		s = evn_piece_upload(p, piece, k->n->q, which, whole, k->err);
	free(whole);
	return s;
}

/* value: the shard's buffer, or NULL, and then the value comes from the state. */
static evn_status finish(const maker *k, evn_param *p, evn_buf *value)
{
	EVN_TRY(evn_param_create(p, k->n->q, value, k->err));
	for (uint32_t i = 0; i < p->n_pieces; i++) {
		if (!p->borrows)
			EVN_TRY(load_part(k, p, &p->pieces[i], EVN_PARAM_VALUE, ""));
		EVN_TRY(load_part(k, p, &p->pieces[i], EVN_PARAM_M, "adam_m."));
		EVN_TRY(load_part(k, p, &p->pieces[i], EVN_PARAM_V, "adam_v."));
	}
	k->n->params[k->n->n_params++] = p;
	return EVN_OK;
}

/* ---- pieces ---------------------------------------------------------------------------------------------------- */

typedef struct {
	char text[80];
} tensor_name;

/* "blk.3.attn_q.weight" */
static tensor_name name_of(const maker *k, const char *stem, const char *ending)
{
	tensor_name n;
	snprintf(n.text, sizeof n.text, "blk.%u.%s.%s", block_of(k)->layer, stem, ending);
	return n;
}

static void add_piece(evn_param *p, const char *name, uint32_t rows, uint32_t cols, const part *row, evn_range col)
{
	evn_piece piece = {.rows = rows,
					   .cols = cols,
					   .row = row->held,
					   .col = col,
					   .owned = row->owned,
					   .shared = row->shared,
					   .holders = row->holders,
					   .owners = row->owners};
	snprintf(piece.name, sizeof piece.name, "%s", name);
	evn_param_add(p, &piece);
}

static void add_vector(evn_param *p, const char *name, uint32_t length, const part *row)
{
	p->vector = true;
	add_piece(p, name, length, 1, row, (evn_range){0, 1});
}

/* stem: "output_norm", or "blk.3.attn_norm" */
static evn_status make_norm(const maker *k, evn_train_norm *norm, const char *stem, uint32_t ranks,
							const evn_norm_weights *weights)
{
	const uint32_t dim = k->n->graph->h->dim;
	const part row = replicated(k, dim, ranks);
	char name[80];
	snprintf(name, sizeof name, "%s.weight", stem);
	add_vector(&norm->weight, name, dim, &row);
	EVN_TRY(finish(k, &norm->weight, weights->weight));
	if (!k->n->graph->biased)
		return EVN_OK;
	snprintf(name, sizeof name, "%s.bias", stem);
	add_vector(&norm->bias, name, dim, &row);
	return finish(k, &norm->bias, weights->bias);
}

/* ---- everything is trained ------------------------------------------------------------------------------------- */

/* W_in: stacked matrices that are cut by rows, and their biases. */
static evn_status train_in(const maker *k, evn_linear *l)
{
	evn_row_spec specs[EVN_MATRIX_PARTS];
	const uint32_t n = evn_block_rows(block_of(k), specs), dim = k->n->graph->h->dim;
	for (uint32_t i = 0; i < n; i++) {
		const part row = rows_of(k, &specs[i]);
		add_piece(&l->weight, name_of(k, specs[i].stem, "weight").text, specs[i].tensor_rows, dim, &row,
				  (evn_range){0, dim});
		if (evn_block_has_bias(k->n->graph, block_of(k), specs[0].stem))
			add_vector(&l->bias, name_of(k, specs[i].stem, "bias").text, specs[i].tensor_rows, &row);
	}
	EVN_TRY(finish(k, &l->weight, l->m->plain.buf));
	return l->bias.n_pieces ? finish(k, &l->bias, l->m->bias) : EVN_OK;
}

/* W_out, which is cut by columns, and a bias that one rank adds. */
static evn_status train_out(const maker *k, evn_linear *l)
{
	const evn_block *b = block_of(k);
	const uint32_t dim = k->n->graph->h->dim, width = b->unit_width;
	const evn_range units = units_of(k, k->n->rank);
	const part row = alone((evn_range){0, dim}), once = added_once(k, dim);
	add_piece(&l->weight, name_of(k, b->out, "weight").text, dim, b->n_units * width, &row,
			  (evn_range){units.begin * width, units.end * width});
	EVN_TRY(finish(k, &l->weight, l->m->plain.buf));
	if (!evn_block_has_bias(k->n->graph, b, b->out))
		return EVN_OK;
	add_vector(&l->bias, name_of(k, b->out, "bias").text, dim, &once);
	return finish(k, &l->bias, l->m->bias);
}

static evn_status train_block(const maker *k, evn_train_block *t)
{
	const evn_block *b = block_of(k);
	char stem[64];
	snprintf(stem, sizeof stem, "blk.%u.%s", b->layer, b->norm.stem);
	EVN_TRY(make_norm(k, &t->norm, stem, ranks_of(k), &k->n->shard->blocks[k->block].norm));
	EVN_TRY(train_in(k, &t->in));
	return train_out(k, &t->out);
}

/* Rows `row` of a table that is not a matrix of the shard. */
static evn_status make_table(const maker *k, evn_param *p, const char *name, uint32_t rows, evn_range row)
{
	const uint32_t dim = k->n->graph->h->dim;
	const part own = alone(row);
	add_piece(p, name, rows, dim, &own, (evn_range){0, dim});
	return finish(k, p, NULL);
}

/* Learned positions are cut in proportion to the vocabulary: a rank adds its rows of both to one partial sum. */
static evn_status train_positions(const maker *k)
{
	const evn_tensor *t = evn_model_find(k->n->graph->model, "position_embd.weight");
	if (!t)
		return EVN_OK;
	const uint64_t rows = t->shape[1], vocab = k->n->graph->h->vocab;
	const evn_range held = k->n->shard->vocab;
	const evn_range row = {(uint32_t)(rows * held.begin / vocab), (uint32_t)(rows * held.end / vocab)};
	return make_table(k, &k->n->positions, "position_embd.weight", (uint32_t)rows, row);
}

static evn_status train_head(const maker *k, const char *name)
{
	evn_network *n = k->n;
	const uint32_t dim = n->graph->h->dim;
	const part row = alone(n->shard->vocab);
	add_piece(&n->head.weight, name, n->graph->h->vocab, dim, &row, (evn_range){0, dim});
	return finish(k, &n->head.weight, n->shard->head.plain.buf);
}

/* The embedding, the head and the output norm. */
static evn_status train_ends(const maker *k)
{
	evn_network *n = k->n;
	const uint32_t vocab = n->graph->h->vocab, everybody = (uint32_t)((1ull << n->n_ranks) - 1);
	const bool tied = !evn_model_find(n->graph->model, "output.weight");
	const part row = alone(n->shard->vocab);
	if (n->graph->out_norm.stem)
		EVN_TRY(make_norm(k, &n->out_norm, n->graph->out_norm.stem, everybody, &n->shard->out_norm));
	if (evn_model_find(n->graph->model, "output.bias")) {
		add_vector(&n->head.bias, "output.bias", vocab, &row);
		EVN_TRY(finish(k, &n->head.bias, n->shard->head.bias));
	}
	n->embedding = tied ? &n->head.weight : &n->tokens;
	EVN_TRY(tied ? train_head(k, "token_embd.weight")
				 : make_table(k, &n->tokens, "token_embd.weight", vocab, row.held));
	EVN_TRY(train_positions(k));
	return tied ? EVN_OK : train_head(k, "output.weight");
}

/* ---- low-rank additions are trained ---------------------------------------------------------------------------- */

static evn_plain plain_of(const evn_param *p)
{
	return (evn_plain){
		.buf = p->value, .rows = p->rows, .columns = evn_range_len(p->pieces[0].col), .stride = p->stride};
}

/* The addition to a tensor: A (rank, cols), B (rows, rank). */
typedef struct {
	const char *stem;
	uint32_t rows, cols, y_offset;
	part a_row, b_row;
	evn_range a_col;
} addition;

static evn_status add_addition(const maker *k, evn_linear *l, const addition *of)
{
	const evn_trained *t = &k->n->trained;
	const uint32_t rank = t->lora_rank, i = l->n_additions++;
	add_piece(&l->a[i], name_of(k, of->stem, "weight.lora_a").text, rank, of->cols, &of->a_row, of->a_col);
	add_piece(&l->b[i], name_of(k, of->stem, "weight.lora_b").text, of->rows, rank, &of->b_row, (evn_range){0, rank});
	EVN_TRY(finish(k, &l->a[i], NULL));
	EVN_TRY(finish(k, &l->b[i], NULL));
	l->additions[i] = (evn_addition){.a = plain_of(&l->a[i]),
									 .b = plain_of(&l->b[i]),
									 .y_offset = of->y_offset,
									 .scale = t->lora_alpha / (float)rank,
									 .low = k->n->low};
	return EVN_OK;
}

/* W_in is cut by rows: B is cut with it, and every rank has A. For W_out it is the other way round. */
static evn_status add_to_in(const maker *k, evn_linear *l)
{
	const evn_trained *t = &k->n->trained;
	const uint32_t dim = k->n->graph->h->dim;
	evn_row_spec specs[EVN_MATRIX_PARTS];
	const uint32_t n = evn_block_rows(block_of(k), specs);
	for (uint32_t i = 0; i < n; i++) {
		const addition of = {.stem = specs[i].stem,
							 .rows = specs[i].tensor_rows,
							 .cols = dim,
							 .y_offset = k->n->shard->blocks[k->block].offsets[i],
							 .a_row = replicated(k, t->lora_rank, ranks_of(k)),
							 .b_row = rows_of(k, &specs[i]),
							 .a_col = {0, dim}};
		if (evn_is_target(t, specs[i].stem))
			EVN_TRY(add_addition(k, l, &of));
	}
	return EVN_OK;
}

static evn_status add_to_out(const maker *k, evn_linear *l)
{
	const evn_trained *t = &k->n->trained;
	const evn_block *b = block_of(k);
	const uint32_t dim = k->n->graph->h->dim, width = b->unit_width;
	const evn_range units = units_of(k, k->n->rank);
	const addition of = {.stem = b->out,
						 .rows = dim,
						 .cols = b->n_units * width,
						 .a_row = alone((evn_range){0, t->lora_rank}),
						 .b_row = replicated(k, dim, ranks_of(k)),
						 .a_col = {units.begin * width, units.end * width}};
	return evn_is_target(t, b->out) ? add_addition(k, l, &of) : EVN_OK;
}

static evn_status add_to_block(const maker *k, evn_train_block *t)
{
	EVN_TRY(add_to_in(k, &t->in));
	return add_to_out(k, &t->out);
}

/* ---- the whole ------------------------------------------------------------------------------------------------- */

evn_status evn_network_make_params(evn_network *n, const evn_split *split, const evn_gguf *state, evn_error *err)
{
	maker k = {.n = n, .split = split, .state = state, .err = err};
	const bool adds = n->trained.lora_rank > 0;
	/* A block has a norm and two matrices, each with a bias, or additions of two halves to four tensors. */
	n->params = calloc((size_t)n->graph->n_blocks * 8 + 6, sizeof(evn_param *));
	if (!n->params)
		return evn_fail_memory(err, "parameters", n->graph->n_blocks * 8 * sizeof(evn_param *));
	n->head.m = &n->shard->head;
	if (!adds)
		EVN_TRY(train_ends(&k));
	for (k.block = 0; k.block < n->graph->n_blocks; k.block++) {
		evn_block_view *w = &n->view->windows[(size_t)k.block * EVN_PHASES + EVN_PROMPT];
		evn_train_block *t = &n->blocks[k.block];
		t->in.m = &w->in;
		t->out.m = &w->out;
		EVN_TRY((adds ? add_to_block : train_block)(&k, t));
		w->in.additions = t->in.additions;
		w->in.n_additions = t->in.n_additions;
		w->out.additions = t->out.additions;
		w->out.n_additions = t->out.n_additions;
	}
	return EVN_OK;
}
