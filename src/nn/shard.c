/* shard.c - loads a shard: finds the tensors of each block and cuts them. */
#include "nn/shard.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "nn/distances.h"
#include "nn/weights.h"

/* The context for loading one block. */
typedef struct {
	const evn_shard *s;
	evn_queue *q;
	const evn_block *b;
	evn_error *err;
} loader;

static evn_status load_vector(const loader *l, const evn_tensor *t, evn_buf **out)
{
	return t ? evn_vector_load(out, l->q, t, (evn_range){0, (uint32_t)t->shape[0]}, l->err) : EVN_OK;
}

static evn_status load_norm(const loader *l, const evn_affine *norm, evn_norm_weights *out)
{
	EVN_TRY(load_vector(l, norm->weight, &out->weight));
	return load_vector(l, norm->bias, &out->bias);
}

/* Writes host values to a new vector on the device. */
static evn_status upload(const loader *l, const float *values, uint64_t n, evn_buf **out)
{
	EVN_TRY(evn_buf_create(out, evn_queue_device(l->q), n * sizeof *values, EVN_BUF_DEVICE, "vector", l->err));
	return evn_write(l->q, *out, 0, values, n * sizeof *values, l->err);
}

/* Copies entries `rows` of row `at` of a tensor; a vector has one row. */
static evn_status copy_entries(const loader *l, const evn_tensor *t, uint64_t at, evn_range rows, float *out)
{
	float *whole = malloc(t->shape[0] * sizeof *whole);
	if (!whole)
		return evn_fail_memory(l->err, "vector", t->shape[0] * sizeof *whole);
	const evn_status s = evn_tensor_rows(t, at, 1, whole, l->err);
	if (s == EVN_OK)
		memcpy(out, whole + rows.begin, evn_range_len(rows) * sizeof *whole);
	free(whole);
	return s;
}

/* Norms over all heads: the weights of the held heads of queries, then those of keys. */
static evn_status load_norms_of_all(const loader *l, const evn_tensor *const norms[2], const evn_shard_block *y,
									evn_buf **out)
{
	const uint32_t dim = l->b->attention.head_dim;
	const evn_range q = {y->units.begin * dim, y->units.end * dim}, k = {y->groups.begin * dim, y->groups.end * dim};
	const uint64_t n = (uint64_t)evn_range_len(q) + evn_range_len(k);
	float *both = calloc(n, sizeof *both);
	if (!both)
		return evn_fail_memory(l->err, "norms of heads", n * sizeof *both);
	evn_status s = copy_entries(l, norms[0], 0, q, both);
	if (s == EVN_OK)
		s = copy_entries(l, norms[1], 0, k, both + evn_range_len(q));
	if (s == EVN_OK)
		s = upload(l, both, n, out);
	free(both);
	return s;
}

static evn_status load_head_norms(const loader *l, const evn_block_weights *w, const evn_shard_block *y,
								  evn_buf **out)
{
	const uint32_t dim = l->b->attention.head_dim, pad = (uint32_t)evn_round_up(dim, 16), group = l->b->group;
	const evn_range heads = {y->groups.begin * group, y->groups.end * group};
	const uint64_t of_head = w->distances ? EVN_BIASES : w->sinks ? 1 : 0;
	const uint64_t n = 2 * (uint64_t)pad + of_head * evn_range_len(heads);
	if (!w->head_norms[0] && !of_head)
		return EVN_OK;
	float *all = calloc(n, sizeof *all);
	evn_status s = all ? EVN_OK : evn_fail_memory(l->err, "norms of heads", n * sizeof *all);
	for (uint32_t i = 0; i < 2 && w->head_norms[i] && s == EVN_OK; i++)
		s = copy_entries(l, w->head_norms[i], 0, (evn_range){0, dim}, all + i * pad);
	if (w->sinks && s == EVN_OK)
		s = copy_entries(l, w->sinks, 0, heads, all + 2 * (size_t)pad);
	if (w->distances && s == EVN_OK)
		s = evn_distance_biases(w->distances, l->b->attention.whole, heads, all + 2 * (size_t)pad, l->err);
	if (s == EVN_OK)
		s = upload(l, all, n, out);
	free(all);
	return s;
}

/* Rows of the bias of a matrix, and where they are in the stack of the matrix's rows. */
typedef struct {
	const evn_tensor *bias; /* (rows), or (experts, rows) */
	evn_range rows;
	uint32_t offset;
} bias_part;

/* Stacks biases like their rows, for one expert after the other. */
static evn_status load_bias(const loader *l, const bias_part *parts, uint32_t n, evn_matrix *m)
{
	const uint32_t stride = (uint32_t)evn_round_up(m->rows, EVN_PAD);
	const uint64_t size = (uint64_t)stride * m->n_experts;
	if (!parts[0].bias)
		return EVN_OK;
	float *stacked = calloc(size, sizeof *stacked);
	evn_status s = stacked ? EVN_OK : evn_fail_memory(l->err, "bias", size * sizeof *stacked);
	for (uint32_t e = 0; e < m->n_experts; e++)
		for (uint32_t i = 0; i < n && s == EVN_OK; i++)
			s = copy_entries(l, parts[i].bias, e, parts[i].rows, stacked + (uint64_t)e * stride + parts[i].offset);
	if (s == EVN_OK)
		s = upload(l, stacked, size, &m->bias);
	free(stacked);
	m->bias_stride = stride;
	return s;
}

static evn_status load_in(const loader *l, const evn_block_weights *w, evn_shard_block *y)
{
	evn_row_block blocks[EVN_MATRIX_PARTS];
	bias_part biases[EVN_MATRIX_PARTS];
	for (uint32_t i = 0; i < w->n_in; i++)
		blocks[i] = (evn_row_block){w->in[i].weight, evn_rows_of(&w->rows[i], l->b, y->units)};
	EVN_TRY((l->s->plain ? evn_matrix_plain_output : evn_matrix_split_output)(&y->in, l->q, blocks, w->n_in,
																			  y->offsets, l->err));
	for (uint32_t i = 0; i < w->n_in; i++)
		biases[i] = (bias_part){w->in[i].bias, blocks[i].rows, y->offsets[i]};
	return load_bias(l, biases, w->n_in, &y->in);
}

/* Every rank holds the bias of the sum. The view decides which rank adds it. */
static evn_status load_out(const loader *l, const evn_affine *out, evn_shard_block *y)
{
	const uint32_t width = l->b->unit_width;
	const evn_range columns = {y->units.begin * width, y->units.end * width};
	EVN_TRY(
		(l->s->plain ? evn_matrix_plain_input : evn_matrix_split_input)(&y->out, l->q, out->weight, columns, l->err));
	return load_bias(l, &(bias_part){out->bias, {0, l->s->graph->h->dim}, 0}, 1, &y->out);
}

typedef struct {
	const evn_tensor *weight, *bias; /* the bias may be NULL */
	evn_range rows;
} router_rows;

/* Rows that one kernel multiplies with the normed row (nn/ops_experts.h), in tiles of 16 rows with padded columns. */
static evn_status load_router_rows(const loader *l, const router_rows *parts, uint32_t n_parts, evn_norm_weights *out)
{
	const uint64_t dim = parts[0].weight->shape[0], stride = evn_round_up(dim, EVN_PAD);
	uint64_t n = 0, e = 0;
	for (uint32_t k = 0; k < n_parts; k++)
		n += evn_range_len(parts[k].rows);
	const uint64_t padded = evn_round_up(n, EVN_TILE_ROWS), size = stride * padded;
	float *tiles = calloc(size + dim + padded, sizeof *tiles);
	if (!tiles)
		return evn_fail_memory(l->err, "router", (size + dim + padded) * sizeof *tiles);
	float *row = tiles + size, *bias = row + dim;
	evn_status s = EVN_OK;
	for (uint32_t k = 0; k < n_parts && s == EVN_OK; k++) {
		if (parts[k].bias)
			s = copy_entries(l, parts[k].bias, 0, parts[k].rows, bias + e);
		for (uint32_t r = parts[k].rows.begin; r < parts[k].rows.end && s == EVN_OK; r++, e++) {
			s = evn_tensor_rows(parts[k].weight, r, 1, row, l->err);
			for (uint64_t i = 0; i < dim; i++)
				tiles[(e / EVN_TILE_ROWS * stride + i) * EVN_TILE_ROWS + e % EVN_TILE_ROWS] = row[i];
		}
	}
	if (s == EVN_OK)
		s = upload(l, tiles, size, &out->weight);
	if (s == EVN_OK)
		s = upload(l, bias, padded, &out->bias);
	free(tiles);
	return s;
}

/* Every rank holds the whole router. */
static evn_status load_router(const loader *l, const evn_affine *router, evn_norm_weights *out)
{
	const evn_tensor *w = router->weight;
	const uint32_t n = w->n_dims > 1 ? (uint32_t)w->shape[1] : 1;
	return load_router_rows(l, &(router_rows){w, router->bias, {0, n}}, 1, out);
}

/* The weights of the norm that a router reads. */
static evn_status load_router_scale(const loader *l, const evn_tensor *scale, evn_buf **out)
{
	const uint32_t dim = l->s->graph->h->dim;
	const uint64_t n = evn_round_up(dim, EVN_PAD);
	if (!scale)
		return EVN_OK;
	float *values = calloc(n, sizeof *values);
	if (!values)
		return evn_fail_memory(l->err, "router", n * sizeof *values);
	evn_status s = copy_entries(l, scale, 0, (evn_range){0, dim}, values);
	for (uint32_t i = 0; i < dim; i++)
		values[i] /= sqrtf((float)dim);
	if (s == EVN_OK)
		s = upload(l, values, n, out);
	free(values);
	return s;
}

/* The taps of channels `rows` of the tensor, to channels from *at on. */
static evn_status copy_taps(const loader *l, const evn_tensor *conv, evn_range rows, uint32_t channels, uint32_t *at,
							float *out)
{
	float row[64];
	for (uint32_t i = rows.begin; i < rows.end; i++, ++*at) {
		EVN_TRY(evn_tensor_rows(conv, i, 1, row, l->err));
		for (uint32_t k = 0; k < l->b->delta.taps; k++)
			out[(size_t)k * channels + *at] = row[k];
	}
	return EVN_OK;
}

static evn_status load_conv(const loader *l, const evn_block_weights *w, const evn_shard_block *y, evn_buf **out)
{
	const uint32_t width = l->b->unit_width;
	const uint32_t channels = (2 * evn_range_len(y->groups) + evn_range_len(y->units)) * width;
	const uint64_t n = (uint64_t)l->b->delta.taps * channels;
	uint32_t at = 0;
	float *all = calloc(n, sizeof *all);
	evn_status s = all ? EVN_OK : evn_fail_memory(l->err, "convolution", n * sizeof *all);
	for (uint32_t i = 0; i < 3 && s == EVN_OK; i++)
		s = copy_taps(l, w->delta.conv, evn_rows_of(&w->rows[i], l->b, y->units), channels, &at, all);
	if (s == EVN_OK)
		s = upload(l, all, n, out);
	free(all);
	return s;
}

/* The rows of alpha of the held heads, then those of beta. */
static evn_status load_alpha_beta(const loader *l, const evn_delta_weights *d, const evn_shard_block *y,
								  evn_norm_weights *out)
{
	const router_rows rows[] = {{d->alpha, d->alpha_bias, y->units}, {d->beta, NULL, y->units}};
	return load_router_rows(l, rows, 2, out);
}

static evn_status load_delta(const loader *l, const evn_block_weights *w, evn_shard_block *y)
{
	EVN_TRY(load_conv(l, w, y, &y->delta.conv));
	EVN_TRY(load_alpha_beta(l, &w->delta, y, &y->router));
	EVN_TRY(evn_vector_load(&y->delta.decay, l->q, w->delta.decay, y->units, l->err));
	return load_vector(l, w->delta.norm, &y->delta.norm);
}

/* The held heads' matrices, each with `rows` rows. */
static evn_status load_of_heads(const loader *l, const evn_tensor *t, evn_range heads, uint64_t rows, evn_buf **out)
{
	const uint64_t n = evn_range_len(heads) * rows, floats = n * t->shape[0];
	float *values = malloc(floats * sizeof *values);
	if (!values)
		return evn_fail_memory(l->err, "heads", floats * sizeof *values);
	evn_status s = evn_tensor_rows(t, heads.begin * rows, (uint32_t)n, values, l->err);
	if (s == EVN_OK)
		s = upload(l, values, floats, out);
	free(values);
	return s;
}

/* The same from one tensor that has, for each head, the rows of its keys and those of its values. Keys are
 * transposed. */
static evn_status load_joint_heads(const loader *l, const evn_tensor *t, evn_range heads, evn_latent_parts *out)
{
	const evn_latent_spec *spec = &l->b->attention.latent;
	const uint64_t n = evn_range_len(heads), in_head = spec->plain + spec->value, latent = spec->latent;
	float *all = malloc(2 * n * in_head * latent * sizeof *all), *k = all + n * in_head * latent,
		  *v = k + n * spec->plain * latent;
	if (!all)
		return evn_fail_memory(l->err, "heads", 2 * n * in_head * latent * sizeof *all);
	evn_status s = evn_tensor_rows(t, heads.begin * in_head, n * in_head, all, l->err);
	for (uint64_t h = 0; h < n && s == EVN_OK; h++) {
		const float *of_head = all + h * in_head * latent;
		for (uint64_t i = 0; i < spec->plain * latent; i++)
			k[(h * latent + i % latent) * spec->plain + i / latent] = of_head[i];
		memcpy(v + h * spec->value * latent, of_head + spec->plain * latent, spec->value * latent * sizeof *v);
	}
	if (s == EVN_OK)
		s = upload(l, k, n * spec->plain * latent, &out->k_b);
	if (s == EVN_OK)
		s = upload(l, v, n * spec->value * latent, &out->v_b);
	free(all);
	return s;
}

static evn_status load_latent(const loader *l, const evn_block_weights *w, const evn_shard_block *y,
							  evn_latent_parts *out)
{
	const evn_latent_spec *spec = &l->b->attention.latent;
	const uint32_t width = spec->plain + spec->rotated;
	EVN_TRY(load_vector(l, w->latent_norm, &out->norm));
	if (w->kv_b) {
		EVN_TRY(load_joint_heads(l, w->kv_b, y->units, out));
	} else {
		EVN_TRY(load_of_heads(l, w->k_b, y->units, spec->latent, &out->k_b));
		EVN_TRY(load_of_heads(l, w->v_b, y->units, spec->value, &out->v_b));
	}
	if (!w->query_b)
		return EVN_OK;
	const evn_row_block rows = {w->query_b, {y->units.begin * width, y->units.end * width}};
	EVN_TRY(load_vector(l, w->query_norm, &out->query_norm));
	return evn_matrix_split_output(&out->query_b, l->q, &rows, 1, NULL, l->err);
}

static evn_status load_block(const loader *l, evn_shard_block *y)
{
	evn_block_weights w;
	EVN_TRY(evn_block_weights_find(&w, l->s->graph, l->b, l->err));
	EVN_TRY(load_vector(l, w.post.weight, &y->post));
	EVN_TRY(load_vector(l, w.joint.weight, &y->joint));
	if (evn_range_len(y->units) || l->b->norm.kind == EVN_NORM_REPLACE) /* which every rank computes */
		EVN_TRY(load_norm(l, &w.norm, &y->norm));
	if (!evn_range_len(y->units))
		return EVN_OK;
	y->groups = evn_groups_of(l->b, y->units);
	EVN_TRY(l->b->kind == EVN_BLOCK_ATTENTION && l->b->attention.qk_norm_all
				? load_norms_of_all(l, w.head_norms, y, &y->head_norms)
				: load_head_norms(l, &w, y, &y->head_norms));
	if (w.router.weight)
		EVN_TRY(load_router(l, &w.router, &y->router));
	EVN_TRY(load_router_scale(l, w.router_scale, &y->router_scale));
	EVN_TRY(load_vector(l, w.expert_scales, &y->expert_scales));
	EVN_TRY(load_vector(l, w.choice_bias, &y->choice_bias));
	if (w.delta.conv)
		EVN_TRY(load_delta(l, &w, y));
	if (w.latent_norm)
		EVN_TRY(load_latent(l, &w, y, &y->latent));
	EVN_TRY(load_in(l, &w, y));
	return load_out(l, &w.out, y);
}

static evn_status count(evn_shard *s, uint64_t bytes, evn_load_progress *progress, evn_error *err)
{
	s->bytes += bytes;
	if (!progress)
		return EVN_OK;
	atomic_fetch_add(&progress->done_bytes, bytes);
	return atomic_load(&progress->stop) ? evn_fail(err, EVN_ERR_CANCELLED, "loading was stopped") : EVN_OK;
}

evn_status evn_shard_load_head(evn_matrix *out, const evn_shard *s, evn_queue *q, evn_range rows, evn_error *err)
{
	evn_end_weights w;
	EVN_TRY(evn_end_weights_find(&w, s->graph, err));
	if (!evn_range_len(rows))
		return EVN_OK;
	const evn_row_block block = {w.head.weight, rows};
	EVN_TRY((s->plain ? evn_matrix_plain_output : evn_matrix_split_output)(out, q, &block, 1, NULL, err));
	return w.head.bias ? evn_vector_load(&out->bias, q, w.head.bias, rows, err) : EVN_OK;
}

static evn_status load_ends(const loader *l, evn_shard *s)
{
	evn_end_weights w;
	EVN_TRY(evn_end_weights_find(&w, s->graph, l->err));
	EVN_TRY(load_norm(l, &w.out_norm, &s->out_norm));
	EVN_TRY(load_norm(l, &w.encoder_norm, &s->encoder_norm));
	if (w.projection) {
		const evn_row_block all = {w.projection, {0, (uint32_t)w.projection->shape[1]}};
		EVN_TRY(load_vector(l, w.layer_norm, &s->layer_norm));
		EVN_TRY(evn_matrix_split_output(&s->projection, l->q, &all, 1, NULL, l->err));
	}
	return evn_shard_load_head(&s->head, s, l->q, s->vocab, l->err);
}

evn_status evn_shard_load_block(evn_shard_block *out, const evn_shard *s, evn_queue *q, uint32_t block,
								evn_range units, evn_error *err)
{
	const loader l = {.s = s, .q = q, .b = &s->graph->blocks[block], .err = err};
	*out = (evn_shard_block){.units = units};
	return load_block(&l, out);
}

static evn_status load(evn_shard *s, evn_queue *q, const evn_shard_part *part, evn_error *err)
{
	const loader l = {.s = s, .q = q, .err = err};
	for (uint32_t i = 0; i < s->graph->n_blocks; i++) {
		evn_shard_block *y = &s->blocks[i];
		const evn_block *b = &s->graph->blocks[i];
		EVN_TRY(evn_shard_load_block(y, s, q, i,
									 evn_split_part(part->split, b->cut_class, b->cut_index, part->rank)->held, err));
		EVN_TRY(count(s, y->in.bytes + y->out.bytes, part->progress, err));
	}
	s->vocab = evn_split_part(part->split, EVN_PLAN_VOCAB, 0, part->rank)->held;
	EVN_TRY(load_ends(&l, s));
	EVN_TRY(count(s, s->head.bytes + s->projection.bytes, part->progress, err));
	evn_uploads_end(q);
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

void evn_shard_block_free(evn_shard_block *b)
{
	free_norm(&b->norm);
	free_norm(&b->router);
	evn_matrix_free(&b->latent.query_b);
	evn_buf_free(b->latent.query_norm);
	evn_buf_free(b->latent.norm);
	evn_buf_free(b->latent.k_b);
	evn_buf_free(b->latent.v_b);
	evn_buf_free(b->delta.conv);
	evn_buf_free(b->delta.decay);
	evn_buf_free(b->delta.norm);
	evn_matrix_free(&b->in);
	evn_matrix_free(&b->out);
	evn_buf_free(b->head_norms);
	evn_buf_free(b->post);
	evn_buf_free(b->joint);
	evn_buf_free(b->router_scale);
	evn_buf_free(b->expert_scales);
	evn_buf_free(b->choice_bias);
	*b = (evn_shard_block){0};
}

void evn_shard_free(evn_shard *s)
{
	if (!s)
		return;
	for (uint32_t i = 0; i < s->graph->n_blocks && s->blocks; i++)
		evn_shard_block_free(&s->blocks[i]);
	free(s->blocks);
	free_norm(&s->out_norm);
	free_norm(&s->encoder_norm);
	evn_matrix_free(&s->head);
	evn_matrix_free(&s->projection);
	evn_buf_free(s->layer_norm);
	free(s);
}
