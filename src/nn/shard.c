/* shard.c - loads a shard: finds the tensors of each block and cuts them. */
#include "nn/shard.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The context for loading one block. */
typedef struct {
	evn_shard *s;
	evn_queue *q;
	const evn_block *b;
	evn_error *err;
} loader;

typedef struct {
	char text[96];
} tensor_name;

static tensor_name name_of(const loader *l, const char *stem, const char *ending)
{
	tensor_name n;
	snprintf(n.text, sizeof n.text, "blk.%u.%s.%s", l->b->layer, stem, ending);
	return n;
}

static evn_status need(const loader *l, const char *name, uint64_t cols, uint64_t rows, const evn_tensor **out)
{
	return evn_model_need(l->s->graph->model, name, cols, rows, out, l->err);
}

static evn_status load_vector(const loader *l, const char *name, uint32_t length, evn_buf **out)
{
	const evn_tensor *t;
	EVN_TRY(need(l, name, length, 0, &t));
	return evn_vector_load(out, l->q, t, (evn_range){0, length}, l->err);
}

static evn_status load_norm(const loader *l, const char *stem, evn_norm_weights *out)
{
	const uint32_t dim = l->s->graph->h->dim;
	if (!stem)
		return EVN_OK;
	EVN_TRY(load_vector(l, name_of(l, stem, "weight").text, dim, &out->weight));
	return l->s->graph->biased ? load_vector(l, name_of(l, stem, "bias").text, dim, &out->bias) : EVN_OK;
}

/* Writes host values to a new vector on the device. */
static evn_status upload(const loader *l, const float *values, uint64_t n, evn_buf **out)
{
	EVN_TRY(evn_buf_create(out, evn_queue_device(l->q), n * sizeof *values, EVN_BUF_DEVICE, "vector", l->err));
	return evn_write(l->q, *out, 0, values, n * sizeof *values, l->err);
}

/* Copies entries `rows` of a vector tensor of this length to out. */
static evn_status copy_entries(const loader *l, const char *name, uint32_t length, evn_range rows, float *out)
{
	const evn_tensor *t;
	EVN_TRY(need(l, name, length, 0, &t));
	float *whole = malloc(t->shape[0] * sizeof *whole);
	if (!whole)
		return evn_fail_memory(l->err, name, t->shape[0] * sizeof *whole);
	evn_tensor_row(t, 0, whole);
	memcpy(out, whole + rows.begin, evn_range_len(rows) * sizeof *whole);
	free(whole);
	return EVN_OK;
}

static evn_status load_head_norms(const loader *l, evn_buf **out)
{
	const uint32_t dim = l->b->attention.head_dim, pad = (uint32_t)evn_round_up(dim, 16);
	float *both = calloc(2 * (size_t)pad, sizeof *both);
	if (!both)
		return evn_fail_memory(l->err, "norms of heads", 2 * (size_t)pad * sizeof *both);
	evn_status s = copy_entries(l, name_of(l, "attn_q_norm", "weight").text, dim, (evn_range){0, dim}, both);
	if (s == EVN_OK)
		s = copy_entries(l, name_of(l, "attn_k_norm", "weight").text, dim, (evn_range){0, dim}, both + pad);
	if (s == EVN_OK)
		s = upload(l, both, 2 * (uint64_t)pad, out);
	free(both);
	return s;
}

/* The stacked rows of W_in: their sources, and their places in the matrix. */
typedef struct {
	uint32_t n, *offsets;
	evn_row_spec specs[EVN_MATRIX_PARTS];
	evn_row_block blocks[EVN_MATRIX_PARTS];
} stacking;

/* Stacks the biases like their rows. Either all of them exist or none. */
static evn_status load_stacked_bias(const loader *l, const stacking *s, evn_matrix *m)
{
	const uint64_t n = evn_round_up(m->rows, EVN_PAD);
	if (!evn_block_has_bias(l->s->graph, l->b, s->specs[0].stem))
		return EVN_OK;
	float *stacked = calloc(n, sizeof *stacked);
	evn_status status = stacked ? EVN_OK : evn_fail_memory(l->err, "bias", n * sizeof *stacked);
	for (uint32_t i = 0; i < s->n && status == EVN_OK; i++)
		status = copy_entries(l, name_of(l, s->specs[i].stem, "bias").text, s->specs[i].tensor_rows,
							  s->blocks[i].rows, stacked + s->offsets[i]);
	if (status == EVN_OK)
		status = upload(l, stacked, n, &m->bias);
	free(stacked);
	return status;
}

static evn_status load_in(const loader *l, evn_shard_block *y)
{
	stacking s = {.n = evn_block_rows(l->b, s.specs), .offsets = y->offsets};
	for (uint32_t i = 0; i < s.n; i++) {
		EVN_TRY(need(l, name_of(l, s.specs[i].stem, "weight").text, l->s->graph->h->dim, s.specs[i].tensor_rows,
					 &s.blocks[i].tensor));
		s.blocks[i].rows = evn_rows_of(&s.specs[i], l->b, y->units);
	}
	EVN_TRY((l->s->plain ? evn_matrix_plain_output : evn_matrix_split_output)(&y->in, l->q, s.blocks, s.n, y->offsets,
																			  l->err));
	return load_stacked_bias(l, &s, &y->in);
}

/* Every rank holds the bias of the sum. The view decides which rank adds it. */
static evn_status load_out(const loader *l, evn_shard_block *y)
{
	const uint32_t width = l->b->unit_width, dim = l->s->graph->h->dim;
	const evn_tensor *t;
	EVN_TRY(need(l, name_of(l, l->b->out, "weight").text, (uint64_t)l->b->n_units * width, dim, &t));
	const evn_range columns = {y->units.begin * width, y->units.end * width};
	EVN_TRY((l->s->plain ? evn_matrix_plain_input : evn_matrix_split_input)(&y->out, l->q, t, columns, l->err));
	return evn_block_has_bias(l->s->graph, l->b, l->b->out)
			   ? load_vector(l, name_of(l, l->b->out, "bias").text, dim, &y->out.bias)
			   : EVN_OK;
}

static evn_status load_block(const loader *l, evn_shard_block *y)
{
	if (!evn_range_len(y->units))
		return EVN_OK;
	y->groups = evn_groups_of(l->b, y->units);
	EVN_TRY(load_norm(l, l->b->norm.stem, &y->norm));
	if (l->b->kind == EVN_BLOCK_ATTENTION && l->b->attention.qk_norm)
		EVN_TRY(load_head_norms(l, &y->head_norms));
	EVN_TRY(load_in(l, y));
	return load_out(l, y);
}

static evn_status count(evn_shard *s, uint64_t bytes, evn_load_progress *progress, evn_error *err)
{
	s->bytes += bytes;
	if (!progress)
		return EVN_OK;
	atomic_fetch_add(&progress->done_bytes, bytes);
	return atomic_load(&progress->stop) ? evn_fail(err, EVN_ERR_CANCELLED, "loading was stopped") : EVN_OK;
}

static evn_status load_out_norm(const loader *l)
{
	const evn_graph *g = l->s->graph;
	evn_buf **const to[] = {&l->s->out_norm.weight, &l->s->out_norm.bias};
	for (int i = 0; i < (g->biased ? 2 : 1) && g->out_norm.stem; i++) {
		char name[64];
		snprintf(name, sizeof name, "%s.%s", g->out_norm.stem, i ? "bias" : "weight");
		EVN_TRY(load_vector(l, name, g->h->dim, to[i]));
	}
	return EVN_OK;
}

static evn_status load_head(const loader *l)
{
	evn_shard *s = l->s;
	const evn_tensor *t;
	EVN_TRY(load_out_norm(l));
	if (!evn_range_len(s->vocab))
		return EVN_OK;
	EVN_TRY(evn_graph_head(s->graph, &t, l->err));
	const evn_row_block rows = {t, s->vocab};
	EVN_TRY((s->plain ? evn_matrix_plain_output : evn_matrix_split_output)(&s->head, l->q, &rows, 1, NULL, l->err));
	if (!evn_model_find(s->graph->model, "output.bias"))
		return EVN_OK;
	EVN_TRY(need(l, "output.bias", s->graph->h->vocab, 0, &t));
	return evn_vector_load(&s->head.bias, l->q, t, s->vocab, l->err);
}

static evn_status load(evn_shard *s, evn_queue *q, const evn_shard_part *part, evn_error *err)
{
	loader l = {.s = s, .q = q, .err = err};
	for (uint32_t i = 0; i < s->graph->n_blocks; i++) {
		evn_shard_block *y = &s->blocks[i];
		l.b = &s->graph->blocks[i];
		y->units = evn_split_part(part->split, l.b->cut_class, l.b->cut_index, part->rank)->held;
		EVN_TRY(load_block(&l, y));
		EVN_TRY(count(s, y->in.bytes + y->out.bytes, part->progress, err));
	}
	s->vocab = evn_split_part(part->split, EVN_PLAN_VOCAB, 0, part->rank)->held;
	EVN_TRY(load_head(&l));
	EVN_TRY(count(s, s->head.bytes, part->progress, err));
	return evn_queue_finish(q, err);
}

evn_status evn_shard_load(evn_shard **out, evn_queue *q, const evn_graph *g, const evn_shard_part *part,
						  evn_error *err)
{
	evn_shard *s = *out = calloc(1, sizeof *s);
	if (!s)
		return evn_fail_memory(err, "shard", sizeof *s);
	s->graph = g;
	s->plain = part->plain;
	s->blocks = calloc(g->n_blocks + 1u, sizeof *s->blocks); /* + 1: a graph may have no blocks */
	if (!s->blocks)
		return evn_fail_memory(err, "blocks", g->n_blocks * sizeof *s->blocks);
	return load(s, q, part, err);
}

static void free_norm(evn_norm_weights *n)
{
	evn_buf_free(n->weight);
	evn_buf_free(n->bias);
}

void evn_shard_free(evn_shard *s)
{
	if (!s)
		return;
	for (uint32_t i = 0; i < s->graph->n_blocks && s->blocks; i++) {
		evn_shard_block *y = &s->blocks[i];
		free_norm(&y->norm);
		evn_matrix_free(&y->in);
		evn_matrix_free(&y->out);
		evn_buf_free(y->head_norms);
	}
	free(s->blocks);
	free_norm(&s->out_norm);
	evn_matrix_free(&s->head);
	free(s);
}
