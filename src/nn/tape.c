#include "nn/tape.h"

#include <stdlib.h>

static evn_status make_rows(const evn_workspace *w, evn_kept *k, evn_block_kind kind, evn_error *err)
{
	const evn_inner_rows *of = &w->of[kind];
	if (!of->in_stride)
		return EVN_OK; /* the rank has no block of this kind */
	EVN_TRY(evn_workspace_rows(w, &k->normed, w->limits.n_batch, w->dim_stride, "activations", err));
	EVN_TRY(evn_workspace_rows(w, &k->in, w->limits.n_batch, of->in_stride, "activations", err));
	return evn_workspace_rows(w, &k->mid, w->limits.n_batch, of->mid_stride, "activations", err);
}

static evn_status make_lse(const evn_workspace *w, evn_kept *k, uint32_t n_heads, evn_error *err)
{
	return evn_workspace_rows(w, &k->lse, w->limits.n_batch, n_heads, "activations", err);
}

static evn_status make(evn_tape *t, const evn_workspace *w, const evn_view *v, evn_error *err)
{
	uint32_t most_heads = 0;
	for (uint32_t i = 0; i < t->n_blocks; i++) {
		const evn_block_kind kind = w->graph->blocks[i].kind;
		const uint32_t n = evn_range_len(evn_view_block(v, i, EVN_PROMPT)->units);
		const uint32_t n_heads = kind == EVN_BLOCK_ATTENTION ? n : 0;
		evn_kept *k = &t->blocks[i];
		if (!n)
			continue;
		EVN_TRY(evn_workspace_rows(w, &k->x, w->limits.n_batch, w->dim_stride, "activations", err));
		most_heads = n_heads > most_heads ? n_heads : most_heads;
		if (t->shares)
			continue;
		EVN_TRY(make_rows(w, k, kind, err));
		EVN_TRY(make_lse(w, k, n_heads, err));
	}
	for (evn_block_kind kind = 0; kind < EVN_BLOCK_KINDS && t->shares; kind++)
		EVN_TRY(make_rows(w, &t->shared[kind], kind, err));
	return t->shares ? make_lse(w, &t->shared[EVN_BLOCK_ATTENTION], most_heads, err) : EVN_OK;
}

evn_status evn_tape_create(evn_tape **out, const evn_workspace *w, const evn_view *v, bool shares, evn_error *err)
{
	evn_tape *t = *out = calloc(1, sizeof *t);
	if (!t)
		return evn_fail_memory(err, "tape", sizeof *t);
	t->n_blocks = w->graph->n_blocks;
	t->shares = shares;
	t->blocks = calloc(t->n_blocks + 1u, sizeof *t->blocks); /* + 1: a model may have no blocks */
	if (!t->blocks)
		return evn_fail_memory(err, "tape", t->n_blocks * sizeof *t->blocks);
	EVN_TRY(make(t, w, v, err));
	for (uint32_t i = 0; i < t->n_blocks && shares; i++) {
		evn_buf *x = t->blocks[i].x;
		t->blocks[i] = t->shared[w->graph->blocks[i].kind];
		t->blocks[i].x = x;
	}
	return EVN_OK;
}

static void free_rows(evn_kept *k)
{
	evn_buf_free(k->normed);
	evn_buf_free(k->in);
	evn_buf_free(k->mid);
	evn_buf_free(k->lse);
}

void evn_tape_free(evn_tape *t)
{
	if (!t)
		return;
	for (uint32_t i = 0; i < t->n_blocks && t->blocks; i++) {
		evn_buf_free(t->blocks[i].x);
		if (!t->shares)
			free_rows(&t->blocks[i]);
	}
	for (evn_block_kind kind = 0; kind < EVN_BLOCK_KINDS; kind++)
		free_rows(&t->shared[kind]);
	free(t->blocks);
	free(t);
}

evn_dropout evn_tape_dropout(const evn_tape *t, uint32_t site)
{
	const uint64_t place[2] = {t->dropout.key, site};
	return (evn_dropout){t->dropout.fraction, evn_hash(EVN_HASH_START, place, sizeof place)};
}
