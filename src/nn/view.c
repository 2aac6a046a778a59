#include "nn/view.h"

#include <stdlib.h>

static evn_range from(evn_range r, uint32_t first) { return (evn_range){r.begin - first, r.end - first}; }

/* A view of plain rows must use all of them, and so must that of heads with states. */
static evn_status check(const evn_block *b, evn_range used, evn_range held, bool whole, evn_error *err)
{
	const bool within = !evn_range_len(used) || (used.begin >= held.begin && used.end <= held.end);
	if (within && (!whole || evn_range_len(used) == evn_range_len(held)))
		return EVN_OK;
	return evn_fail(err, EVN_ERR_USAGE, "layer %u: the plan uses units %u to %u, the shard holds %u to %u", b->layer,
					used.begin, used.end, held.begin, held.end);
}

/* The bias of a sum is added once, by the first rank with units. */
static bool adds_bias(uint64_t ranks, uint32_t rank) { return (ranks & ((UINT64_C(1) << rank) - 1)) == 0; }

static void make_window(evn_block_view *w, const evn_block *b, const evn_shard_block *held, uint32_t rank)
{
	const evn_range groups = evn_groups_of(b, w->units), columns = from(w->units, held->units.begin);
	evn_row_spec specs[EVN_MATRIX_PARTS];
	evn_range rows[EVN_MATRIX_PARTS];
	const uint32_t n = evn_block_rows(b, specs);
	for (uint32_t i = 0; i < n; i++)
		rows[i] = from(evn_rows_of(&specs[i], b, w->units), evn_rows_of(&specs[i], b, held->units).begin);
	const uint32_t n_own = b->kind == EVN_BLOCK_ATTENTION && b->attention.crosses ? 1 : n;
	evn_matrix_view_output(&w->in, &held->in, held->offsets, n_own, rows, w->offsets);
	if (n_own < n)
		evn_matrix_view_output(&w->memory, &held->in, held->offsets + n_own, n - n_own, rows + n_own,
							   w->offsets + n_own);
	if (b->kind == EVN_BLOCK_ATTENTION && b->attention.v_is_k)
		w->offsets[2] = w->offsets[1];
	if (held->latent.query_b.n_parts) {
		const uint32_t width = b->attention.latent.plain + b->attention.latent.rotated;
		const evn_range of = {columns.begin * width, columns.end * width};
		evn_matrix_view_output(&w->query_b, &held->latent.query_b, &(uint32_t){0}, 1, &of, &(uint32_t){0});
	}
	evn_matrix_view_input(&w->out, &held->out,
						  (evn_range){columns.begin * b->unit_width, columns.end * b->unit_width});
	w->n_groups = evn_range_len(groups);
	w->skip = w->units.begin - groups.begin * b->group;
	w->first_held = groups.begin - held->groups.begin;
	if (!adds_bias(w->ranks, rank))
		w->out.bias = NULL;
}

static evn_status make_windows(evn_view *v, const evn_split *split, evn_error *err)
{
	const evn_graph *g = v->shard->graph;
	for (uint32_t i = 0; i < g->n_blocks; i++)
		for (evn_phase phase = 0; phase < EVN_PHASES; phase++) {
			const evn_block *b = &g->blocks[i];
			const evn_shard_block *held = &v->shard->blocks[i];
			evn_block_view *w = &v->windows[(size_t)i * EVN_PHASES + phase];
			w->units = evn_split_part(split, b->cut_class, b->cut_index, v->rank)->used[phase];
			w->ranks = evn_split_ranks(split, b->cut_class, b->cut_index, phase);
			EVN_TRY(check(b, w->units, held->units, v->shard->plain || b->kind == EVN_BLOCK_DELTA, err));
			if (evn_range_len(w->units))
				make_window(w, b, held, v->rank);
			if (b->kind == EVN_BLOCK_ATTENTION && w->n_groups > v->most_groups)
				v->most_groups = w->n_groups;
			if (phase == EVN_DECODE && i < g->n_encoder)
				continue;
			v->read_bytes[phase] += (uint64_t)((double)(w->in.bytes + w->out.bytes) * evn_block_read_fraction(b));
		}
	return EVN_OK;
}

static evn_status make_head(evn_view *v, const evn_split *split, evn_error *err)
{
	const evn_range held = v->shard->vocab;
	v->vocab = evn_split_part(split, EVN_PLAN_VOCAB, 0, v->rank)->used[EVN_DECODE];
	if (!evn_range_len(v->vocab))
		return EVN_OK;
	if (v->vocab.begin < held.begin || v->vocab.end > held.end)
		return evn_fail(err, EVN_ERR_USAGE, "the plan uses rows %u to %u of the vocabulary, the shard holds %u to %u",
						v->vocab.begin, v->vocab.end, held.begin, held.end);
	const evn_range rows = from(v->vocab, held.begin);
	evn_matrix_view_output(&v->head, &v->shard->head, &(uint32_t){0}, 1, &rows, &(uint32_t){0});
	for (evn_phase phase = 0; phase < EVN_PHASES; phase++)
		v->read_bytes[phase] += v->head.bytes;
	return EVN_OK;
}

evn_status evn_view_make(evn_view **out, const evn_shard *s, const evn_split *split, uint32_t rank, evn_error *err)
{
	evn_view *v = *out = calloc(1, sizeof *v);
	if (!v)
		return evn_fail_memory(err, "view", sizeof *v);
	v->shard = s;
	v->rank = rank;
	v->blocks = (evn_range){0, s->graph->n_blocks};
	v->windows = calloc((s->graph->n_blocks + 1u) * EVN_PHASES, sizeof *v->windows); /* a graph may have no blocks */
	if (!v->windows)
		return evn_fail_memory(err, "windows", s->graph->n_blocks * EVN_PHASES * sizeof *v->windows);
	EVN_TRY(make_windows(v, split, err));
	for (evn_phase phase = 0; phase < EVN_PHASES; phase++)
		v->read_bytes[phase] += s->projection.bytes;
	return make_head(v, split, err);
}

void evn_view_free(evn_view *v)
{
	if (!v)
		return;
	free(v->windows);
	free(v);
}
