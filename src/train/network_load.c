/* network_load.c - a rank's part of the parameters: which tensor goes where, what is shared with whom. The cut is
 * decoder_load.c's. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "train/network_make.h"

const char *const evn_target_names[EVN_TARGETS] = {"attn_q",   "attn_k", "attn_v",  "attn_output",
												   "ffn_gate", "ffn_up", "ffn_down"};
enum { TARGET_Q, TARGET_K, TARGET_V, TARGET_OUT, TARGET_GATE, TARGET_UP, TARGET_DOWN };

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
	const evn_plan_shape shape = {.n_heads = n->h->n_heads, .n_kv_heads = n->h->n_kv_heads};
	const evn_layer_split *of = &l->split->layers[(size_t)l->layer * n->n_ranks];
	part p = {0};
	uint32_t end = 0;
	for (uint32_t r = 0; r < n->n_ranks; r++) {
		evn_range held = evn_kv_range(&shape, of[r].heads), owned = held;
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

/* One matrix among those stacked in a linear. */
typedef struct {
	int target;
	uint32_t rows, cols;
	part row, col;
} block;

static evn_piece piece_of(const loader *l, const char *suffix, const block *b)
{
	evn_piece p = {.rows = b->rows,
				   .cols = b->cols,
				   .row = b->row.held,
				   .col = b->col.held,
				   .owned = b->row.owned,
				   .shared = b->row.shared,
				   .holders = b->row.holders,
				   .owners = b->row.owners};
	snprintf(p.name, sizeof p.name, "blk.%u.%s.weight%s", l->layer, evn_target_names[b->target], suffix);
	return p;
}

/* ---- trained in f32 ---------------------------------------------------------------------------------------- */

static evn_status finish_param(const loader *l, evn_param *p, bool decays)
{
	p->decays = decays;
	EVN_TRY(evn_param_create(p, l->n->q, true, l->err));
	l->n->params[l->n->n_params++] = p;
	return EVN_OK;
}

static evn_status train_whole(const loader *l, evn_linear *linear, const block *blocks, uint32_t n, uint32_t *offsets)
{
	for (uint32_t i = 0; i < n; i++) {
		evn_piece piece = piece_of(l, "", &blocks[i]);
		offsets[i] = linear->weight.rows;
		evn_param_add(&linear->weight, &piece);
	}
	linear->in = evn_range_len(blocks[0].col.held);
	return finish_param(l, &linear->weight, true);
}

/* ---- frozen, with low-rank additions ------------------------------------------------------------------------ */

static evn_status find(const loader *l, const block *b, const evn_tensor **t)
{
	char name[80];
	snprintf(name, sizeof name, "blk.%u.%s.weight", l->layer, evn_target_names[b->target]);
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
	block a = {b->target, rank, b->cols, low, b->col}, up = {b->target, b->rows, rank, b->row, low_columns};
	if (split_input) {
		a.row = alone((evn_range){0, rank});
		up.row = replicated(l->n, b->rows);
	}
	evn_piece of_a = piece_of(l, ".lora_a", &a), of_b = piece_of(l, ".lora_b", &up);
	evn_param_add(&r->a, &of_a);
	evn_param_add(&r->b, &of_b);
	EVN_TRY(finish_param(l, &r->a, true));
	return finish_param(l, &r->b, true);
}

/* A linear of n stacked matrices; offsets: where the rows of each begin in y. */
static evn_status make_linear(const loader *l, evn_linear *linear, const block *blocks, uint32_t n, bool split_input,
							  uint32_t *offsets)
{
	const evn_trained *t = &l->n->trained;
	if (!t->lora_rank)
		return train_whole(l, linear, blocks, n, offsets);
	EVN_TRY(freeze(l, linear, blocks, n, split_input, offsets));
	linear->in = evn_range_len(blocks[0].col.held);
	linear->lora_rank = t->lora_rank;
	linear->lora_scale = t->lora_alpha / (float)t->lora_rank;
	for (uint32_t i = 0; i < n; i++)
		if (t->lora_targets >> blocks[i].target & 1)
			EVN_TRY(add_lora(l, linear, &blocks[i], split_input, offsets[i]));
	return EVN_OK;
}

/* ---- layers ------------------------------------------------------------------------------------------------ */

static evn_status make_norm(const loader *l, evn_param *p, const char *name)
{
	const part row = replicated(l->n, 1);
	evn_piece piece = {.rows = 1,
					   .cols = l->n->h->dim,
					   .row = row.held,
					   .col = {0, l->n->h->dim},
					   .owned = row.owned,
					   .shared = row.shared,
					   .holders = row.holders,
					   .owners = row.owners};
	snprintf(piece.name, sizeof piece.name, "%s", name);
	evn_param_add(p, &piece);
	if (!l->n->trained.lora_rank)
		return finish_param(l, p, false);
	const evn_tensor *t;
	EVN_TRY(evn_model_need(l->m, name, l->n->h->dim, 0, &t, l->err));
	return evn_vector_load(&p->value, l->n->q, t, (evn_range){0, l->n->h->dim}, l->err);
}

static evn_status make_layer_norm(const loader *l, evn_param *p, const char *which)
{
	char name[64];
	snprintf(name, sizeof name, "blk.%u.%s.weight", l->layer, which);
	return make_norm(l, p, name);
}

static evn_status make_layer(const loader *l, evn_train_layer *y)
{
	const evn_hparams *h = l->n->h;
	const part whole = alone((evn_range){0, h->dim}), kv = kv_part(l);
	const part heads = alone(scaled(y->heads, h->head_dim)), ff = alone(y->ff);
	const uint32_t q_rows = h->n_heads * h->head_dim, kv_rows = h->n_kv_heads * h->head_dim;
	const block qkv[] = {{TARGET_Q, q_rows, h->dim, heads, whole},
						 {TARGET_K, kv_rows, h->dim, kv, whole},
						 {TARGET_V, kv_rows, h->dim, kv, whole}};
	const block out = {TARGET_OUT, h->dim, q_rows, whole, heads};
	const block gate_up[] = {{TARGET_GATE, h->ff_dim, h->dim, ff, whole}, {TARGET_UP, h->ff_dim, h->dim, ff, whole}};
	const block down = {TARGET_DOWN, h->dim, h->ff_dim, whole, ff};
	uint32_t at[EVN_MATRIX_PARTS] = {0};
	EVN_TRY(make_layer_norm(l, &y->attn_norm, "attn_norm"));
	EVN_TRY(make_linear(l, &y->qkv, qkv, 3, false, at));
	y->k_offset = at[1];
	y->v_offset = at[2];
	EVN_TRY(make_linear(l, &y->attn_out, &out, 1, true, at));
	EVN_TRY(make_layer_norm(l, &y->ffn_norm, "ffn_norm"));
	EVN_TRY(make_linear(l, &y->gate_up, gate_up, 2, false, at));
	y->up_offset = at[1];
	return make_linear(l, &y->down, &down, 1, true, at);
}

static void take_ranges(const loader *l, evn_train_layer *y)
{
	const evn_network *n = l->n;
	const evn_plan_shape shape = {.n_heads = n->h->n_heads, .n_kv_heads = n->h->n_kv_heads};
	const evn_layer_split *of = &l->split->layers[(size_t)l->layer * n->n_ranks];
	y->heads = of[n->rank].heads;
	y->ff = of[n->rank].ff[EVN_PROMPT];
	y->kv_heads = evn_kv_range(&shape, y->heads);
	for (uint32_t i = 0; i < n->n_ranks; i++) {
		y->attn_contributors |= (evn_range_len(of[i].heads) > 0) * (1u << i);
		y->ff_contributors |= (evn_range_len(of[i].ff[EVN_PROMPT]) > 0) * (1u << i);
	}
}

/* ---- embedding and head ------------------------------------------------------------------------------------- */

static evn_status make_table(const loader *l, evn_param *p, const char *name)
{
	const evn_hparams *h = l->n->h;
	evn_piece piece = {.rows = h->vocab, .cols = h->dim, .row = l->n->vocab, .col = {0, h->dim}};
	piece.owned = piece.row;
	snprintf(piece.name, sizeof piece.name, "%s", name);
	evn_param_add(p, &piece);
	return finish_param(l, p, true);
}

static evn_status make_bias(const loader *l, evn_param *p, const char *name)
{
	evn_piece piece = {.rows = 1, .cols = l->n->h->vocab, .row = {0, 1}, .col = l->n->vocab, .owned = {0, 1}};
	snprintf(piece.name, sizeof piece.name, "%s", name);
	evn_param_add(p, &piece);
	return finish_param(l, p, false);
}

static evn_status make_ends(const loader *l)
{
	evn_network *n = l->n;
	n->vocab = l->split->vocab[n->rank];
	for (uint32_t i = 0; i < n->n_ranks; i++)
		n->vocab_contributors |= (evn_range_len(l->split->vocab[i]) > 0) * (1u << i);
	const char *head = evn_model_find(l->m, "output.weight") ? "output.weight" : "token_embd.weight";
	if (n->n_layers)
		EVN_TRY(make_norm(l, &n->out_norm, "output_norm.weight"));
	n->head.in = n->h->dim;
	if (n->trained.lora_rank) {
		const evn_tensor *t;
		EVN_TRY(evn_model_need(l->m, head, n->h->dim, n->h->vocab, &t, l->err));
		const evn_row_block rows = {t, n->vocab};
		return evn_matrix_split_output(&n->head.frozen, n->q, &rows, 1, NULL, l->err);
	}
	n->tied = strcmp(head, "token_embd.weight") == 0;
	EVN_TRY(make_table(l, &n->embedding, "token_embd.weight"));
	if (!n->tied)
		EVN_TRY(make_table(l, &n->head.weight, head));
	return evn_model_find(l->m, "output.bias") ? make_bias(l, &n->head_bias, "output.bias") : EVN_OK;
}

/* ---- values ------------------------------------------------------------------------------------------------- */

static evn_status load_part(const loader *l, const evn_gguf *state, const evn_param *p, const evn_piece *piece,
							evn_param_part which, const char *prefix, bool needed)
{
	char name[96];
	snprintf(name, sizeof name, "%s%s", prefix, piece->name);
	const evn_tensor *t = evn_gguf_find_tensor(state, name);
	if (!t && !needed)
		return EVN_OK;
	if (!t || t->shape[0] != piece->cols || t->shape[1] != piece->rows)
		return evn_fail(l->err, EVN_ERR_FORMAT, "%s: tensor \"%s\" %s, expected [%u, %u]", evn_gguf_name(state), name,
						t ? "has another shape" : "is missing", piece->cols, piece->rows);
	if (!evn_param_floats(p))
		return EVN_OK;
	uint64_t bytes = (uint64_t)piece->rows * piece->cols * sizeof(float);
	float *whole = malloc(bytes);
	if (!whole)
		return evn_fail_memory(l->err, name, bytes);
	for (uint32_t r = 0; r < piece->rows; r++)
		evn_tensor_row(t, r, whole + (uint64_t)r * piece->cols);
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

/* ---- the whole ---------------------------------------------------------------------------------------------- */

static evn_status load(loader *l, const evn_gguf *state)
{
	evn_network *n = l->n;
	const evn_arch *arch;
	EVN_TRY(evn_arch_find(l->m, &arch, l->err));
	const evn_attention_config heads = {
		.head_dim = n->h->head_dim, .rope_dim = n->h->rope_dim, .rope_neox = arch->rope_neox};
	EVN_TRY(evn_ops_create(&n->products.ops, n->q, &(evn_ops_config){0}, l->err));
	EVN_TRY(evn_backward_create(&n->backward, n->q, &heads, l->err));
	n->layers = calloc(n->n_layers + 1u, sizeof *n->layers);
	n->params = calloc((size_t)n->n_layers * 2 * EVN_TARGETS + 5, sizeof(evn_param *));
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

evn_status evn_network_load(evn_network **out, evn_queue *q, evn_group *g, const evn_model *m, const evn_gguf *state,
							const evn_split *split, uint32_t rank, const evn_trained *trained,
							const evn_pass_shape *shape, evn_error *err)
{
	evn_network *n = *out = calloc(1, sizeof *n);
	if (!n)
		return evn_fail_memory(err, "network", sizeof *n);
	n->q = n->products.q = q;
	n->products.times = &n->times;
	n->group = g;
	n->h = evn_model_hparams(m);
	n->trained = *trained;
	n->shape = *shape;
	n->rank = rank;
	n->n_ranks = split->n_ranks;
	n->n_layers = n->h->n_layers;
	n->n_tok = shape->n_ctx * shape->n_sequences;
	loader l = {.n = n, .m = m, .split = split, .err = err};
	return load(&l, state);
}
