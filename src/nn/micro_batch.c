#include "nn/micro_batch.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "nn/top.h"

/* ---- checking the batch ---------------------------------------------------------------------------------------- */

/* A sequence of a model with an encoder: in a batch of the encoder a whole one, otherwise one with a memory. */
static evn_status check_memory(const evn_batch *b, const evn_span *s, evn_error *err)
{
	if (b->encodes && s->phase != EVN_PROMPT)
		return evn_fail(err, EVN_ERR_USAGE, "batch: a decoded row for the encoder, expected whole sequences");
	if (!b->encodes && (!s->memory || !s->n_memory || evn_blocks_for(s->n_memory) > s->memory->n_blocks))
		return evn_fail(err, EVN_ERR_USAGE, "batch: a sequence without a memory; the encoder must be run first");
	return EVN_OK;
}

static evn_status check_span(const evn_walker *w, const evn_batch *b, const evn_span *s, uint32_t first_row,
							 evn_error *err)
{
	const uint32_t n_ctx = w->workspace->limits.n_ctx;
	if (s->first_row != first_row || !s->n_rows)
		return evn_fail(err, EVN_ERR_USAGE, "batch: a span of %u rows from row %u on, expected from row %u",
						s->n_rows, s->first_row, first_row);
	if (s->phase == EVN_DECODE && s->n_rows > 1)
		return evn_fail(err, EVN_ERR_USAGE, "batch: a decoded span has %u rows, expected 1", s->n_rows);
	if (s->n_rows > n_ctx || s->position > n_ctx - s->n_rows)
		return evn_fail(err, EVN_ERR_LIMIT, "context: %u rows from position %u on do not fit into %u", s->n_rows,
						s->position, n_ctx);
	if (w->workspace->graph->n_encoder)
		EVN_TRY(check_memory(b, s, err));
	if ((w->workspace->graph->encodes || b->encodes) && s->position)
		return evn_fail(err, EVN_ERR_USAGE, "batch: a span from position %u on, expected a whole sequence",
						s->position);
	if (w->workspace->graph->n_blocks && evn_blocks_for(s->position + s->n_rows) > s->slot->n_blocks)
		return evn_fail(err, EVN_ERR_USAGE, "batch: the slot has blocks for %u positions, %u are needed",
						s->slot->n_blocks * EVN_BLOCK_POSITIONS, s->position + s->n_rows);
	return EVN_OK;
}

/* Rows of a model with states go on where the state is, or begin anew. */
static evn_status check_state(const evn_walker *w, const evn_span *s, const evn_span *before, evn_error *err)
{
	const evn_slot *slot = s->slot;
	if (!w->workspace->graph->has_states)
		return EVN_OK;
	if (!slot->state || slot->state > w->cache->n_states)
		return evn_fail(err, EVN_ERR_USAGE, "batch: a sequence with state %u, expected 1 to %u", slot->state,
						w->cache->n_states);
	const bool follows = before && before->slot == slot;
	const uint32_t at = follows ? before->position + before->n_rows : slot->n_state;
	if (s->position == at || (!follows && !s->position))
		return EVN_OK;
	return evn_fail(err, EVN_ERR_USAGE, "batch: a sequence goes on at position %u, and its state is that of %u",
					s->position, at);
}

/* Checks the batch. *n_prompt = the rows of prompts, which come first. */
static evn_status check(const evn_walker *w, const evn_batch *b, uint32_t *n_prompt, evn_error *err)
{
	uint32_t at = 0;
	*n_prompt = 0;
	if (b->encodes && !w->workspace->graph->n_encoder)
		return evn_fail(err, EVN_ERR_USAGE, "batch: rows for an encoder, which the model has not");
	if (!b->n_rows || b->n_rows > w->workspace->limits.n_batch)
		return evn_fail(err, EVN_ERR_USAGE, "batch: %u rows, expected 1 to %u", b->n_rows,
						w->workspace->limits.n_batch);
	for (uint32_t i = 0; i < b->n_spans; i++) {
		const evn_span *s = &b->spans[i];
		EVN_TRY(check_span(w, b, s, at, err));
		EVN_TRY(check_state(w, s, i ? s - 1 : NULL, err));
		if (s->phase == EVN_PROMPT && *n_prompt < at)
			return evn_fail(err, EVN_ERR_USAGE, "batch: a prompt follows a decoded row, expected all prompts first");
		at += s->n_rows;
		*n_prompt = s->phase == EVN_PROMPT ? at : *n_prompt;
	}
	if (at != b->n_rows)
		return evn_fail(err, EVN_ERR_USAGE, "batch: spans of %u rows together, expected %u", at, b->n_rows);
	for (uint32_t i = 0; i < b->n_out && b->output != EVN_OUT_POOLED; i++)
		if (b->out_rows[i] >= b->n_rows || (i && b->out_rows[i] <= b->out_rows[i - 1]))
			return evn_fail(err, EVN_ERR_USAGE, "batch: output row %u, expected ascending rows below %u",
							b->out_rows[i], b->n_rows);
	return EVN_OK;
}

/* The position at which a sequence's rows of the batch begin. */
static uint32_t first_position(const evn_batch *b, const evn_slot *slot)
{
	uint32_t i = 0;
	while (b->spans[i].slot != slot)
		i++;
	return b->spans[i].position;
}

void evn_spans_done(const evn_span *spans, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++) {
		evn_slot *slot = spans[i].slot;
		const bool last = i + 1 == n || spans[i + 1].slot != slot;
		if (!last || !slot->state)
			continue;
		slot->n_state = spans[i].position + spans[i].n_rows;
		slot->second = !slot->second;
	}
}

/* ---- cutting the batch ----------------------------------------------------------------------------------------- */

/* The first row of a span at or behind row `at`; n_rows if there is none. Where queries see whole sequences, these
 * are not cut. */
static uint32_t next_span(const evn_batch *b, uint32_t at)
{
	for (uint32_t i = 0; i < b->n_spans; i++)
		if (b->spans[i].first_row >= at)
			return b->spans[i].first_row;
	return b->n_rows;
}

/* The first row of the second micro-batch; n_rows if there is only one. */
static uint32_t find_cut(const evn_walker *w, const evn_batch *b, uint32_t n_prompt, bool *overlaps)
{
	*overlaps = false;
	if (n_prompt < b->n_rows) /* rows of both phases, or only decoded rows */
		return n_prompt ? n_prompt : b->n_rows;
	uint32_t first = (uint32_t)evn_round_up((b->n_rows + 1) / 2, EVN_PAD);
	if (w->workspace->graph->encodes || b->encodes)
		first = next_span(b, first);
	if (first >= b->n_rows)
		return b->n_rows;
	*overlaps = !w->workspace->graph->sums_inside &&
				evn_comm_overlaps(w->comm, (uint64_t)(b->n_rows - first) * w->workspace->dim_stride);
	return *overlaps ? first : b->n_rows;
}

/* Writes the parts of the batch's spans within rows [begin, end). Returns their number. */
static uint32_t copy_spans(const evn_batch *b, uint32_t begin, uint32_t end, evn_span *spans)
{
	uint32_t n = 0;
	for (uint32_t i = 0; i < b->n_spans; i++) {
		evn_span s = b->spans[i];
		const uint32_t from = s.first_row > begin ? s.first_row : begin;
		const uint32_t to = s.first_row + s.n_rows < end ? s.first_row + s.n_rows : end;
		if (from >= to)
			continue;
		s.position += from - s.first_row;
		s.first_row = from;
		s.n_rows = to - from;
		spans[n++] = s;
	}
	return n;
}

static bool is_of_logits(const evn_batch *b) { return b->output == EVN_OUT_LOGITS || b->output == EVN_OUT_TOP; }

static void find_outputs(const evn_walker *w, const evn_batch *b, evn_micro_batch *mb)
{
	const uint32_t end = mb->first_row + mb->rows.n_rows;
	for (uint32_t i = 0; i < b->n_out && b->output != EVN_OUT_POOLED; i++) {
		mb->first_out += b->out_rows[i] < mb->first_row;
		mb->n_out += b->out_rows[i] >= mb->first_row && b->out_rows[i] < end;
	}
	mb->out_is_all = is_of_logits(b) && !b->encodes && mb->n_out == mb->rows.n_rows && mb->n_out <= EVN_LOGITS_ROWS &&
					 evn_range_len(w->view->blocks) > 0;
}

/* Spans of one sequence that follow each other are one run. The second part of a cut span goes on from the state that
 * the first part has written. */
static evn_status send_runs(const evn_walker *w, const evn_batch *b, evn_micro_batch *mb, const evn_row_buffers *bufs,
							evn_error *err)
{
	const evn_slot *last = NULL;
	uint32_t *words = bufs->run_words;
	uint32_t n = 0;
	if (!w->workspace->graph->has_states)
		return EVN_OK;
	for (uint32_t i = 0; i < mb->rows.n_spans; i++) {
		const evn_span *s = &mb->rows.spans[i];
		if (s->slot == last) {
			words[(n - 1) * EVN_RUN_WORDS + 1] += s->n_rows;
			continue;
		}
		last = s->slot;
		const bool goes_on = s->position != first_position(b, last);
		uint32_t *run = words + n++ * EVN_RUN_WORDS;
		run[0] = s->first_row - mb->first_row;
		run[1] = s->n_rows;
		run[2] = s->position ? evn_slot_state(last, goes_on) : EVN_NO_STATE;
		run[3] = evn_slot_state(last, true);
	}
	mb->runs = (evn_runs){bufs->runs, n};
	return evn_write_later(w->workspace->q, bufs->runs, 0, words, (uint64_t)n * EVN_RUN_WORDS * sizeof *words, NULL,
						   err);
}

static evn_status send_table(const evn_walker *w, evn_micro_batch *mb, evn_row_buffers *bufs, evn_error *err)
{
	uint64_t n_blocks = 0;
	if (!w->workspace->n_kinds)
		return EVN_OK;
	for (uint32_t i = 0; i < mb->rows.n_spans; i++)
		n_blocks += evn_blocks_for(mb->rows.spans[i].position + mb->rows.spans[i].n_rows);
	const uint64_t n_words = evn_row_table_words(mb->rows.n_spans, n_blocks);
	EVN_TRY(evn_row_buffers_reserve(w->workspace, bufs, n_words, err));
	evn_row_table_fill(w->workspace->attention[0], &mb->rows, w->view->most_groups, bufs->words);
	mb->rows.table = bufs->table;
	return evn_write_later(w->workspace->q, bufs->table, 0, bufs->words, n_words * sizeof *bufs->words, NULL, err);
}

/* Rows that attend to memories have a second table. */
static evn_status send_memories(const evn_walker *w, evn_micro_batch *mb, evn_span *spans, evn_row_buffers *bufs,
								evn_error *err)
{
	uint64_t n_blocks = 0;
	mb->memory = mb->rows;
	mb->memory.spans = spans;
	mb->memory.of_memory = true;
	for (uint32_t i = 0; i < mb->rows.n_spans; i++) {
		spans[i] = mb->rows.spans[i];
		spans[i].slot = (evn_slot *)(uintptr_t)spans[i].memory; /* it is only read */
		spans[i].position = spans[i].n_memory;
		n_blocks += evn_blocks_for(spans[i].n_memory);
	}
	const uint64_t n_words = evn_row_table_words(mb->rows.n_spans, n_blocks);
	EVN_TRY(evn_row_buffers_reserve(w->workspace, bufs, n_words, err));
	evn_row_table_fill(w->workspace->attention[0], &mb->memory, w->view->most_groups, bufs->words);
	mb->memory.table = bufs->table;
	return evn_write_later(w->workspace->q, bufs->table, 0, bufs->words, n_words * sizeof *bufs->words, NULL, err);
}

evn_status evn_micro_batches_cut(const evn_walker *w, const evn_batch *batch, evn_micro_batch *out, uint32_t *n,
								 evn_error *err)
{
	uint32_t n_prompt, begin = 0;
	bool overlaps;
	evn_span *spans = w->workspace->spans;
	EVN_TRY(check(w, batch, &n_prompt, err));
	const uint32_t cut = find_cut(w, batch, n_prompt, &overlaps);
	*n = cut < batch->n_rows ? 2 : 1;
	for (uint32_t i = 0; i < *n; i++) {
		const uint32_t end = i == 0 ? cut : batch->n_rows;
		evn_row_buffers *bufs = &w->workspace->rows[i];
		evn_micro_batch *mb = &out[i];
		*mb = (evn_micro_batch){.rows = {.n_rows = end - begin, .spans = spans},
								.first_row = begin,
								.encodes = batch->encodes,
								.overlaps = overlaps,
								.stream = overlaps ? i : 0,
								.x = bufs->x,
								.normed = bufs->normed,
								.aside = bufs->aside,
								.by_layer = {bufs->sent, evn_graph_row_floats(w->workspace->graph),
											 evn_graph_layer_column(w->workspace->graph, 0),
											 w->workspace->graph->layer_inputs}};
		mb->rows.n_spans = copy_spans(batch, begin, end, spans);
		mb->rows.phase = spans[0].phase;
		find_outputs(w, batch, mb);
		EVN_TRY(send_table(w, mb, bufs, err));
		EVN_TRY(send_runs(w, batch, mb, bufs, err));
		if (w->workspace->graph->n_encoder && !batch->encodes)
			EVN_TRY(send_memories(w, mb, spans + w->workspace->limits.n_batch + 1, &w->workspace->memories[i], err));
		spans += mb->rows.n_spans;
		begin = end;
	}
	return EVN_OK;
}

/* ---- output ---------------------------------------------------------------------------------------------------- */

/* At most EVN_LOGITS_ROWS rows of the micro-batch. Rows that are adjacent are used in place; other rows are copied
 * together. */
static evn_status pick_rows(const evn_walker *w, const evn_micro_batch *mb, const uint32_t *rows, uint32_t n,
							const evn_buf **out, uint32_t *first, evn_error *err)
{
	const uint64_t bytes = w->workspace->dim_stride * sizeof(float);
	*out = mb->x;
	*first = rows[0] - mb->first_row;
	if (rows[n - 1] - rows[0] == n - 1)
		return EVN_OK;
	for (uint32_t i = 0; i < n; i++)
		EVN_TRY(evn_copy(w->workspace->q, w->workspace->picked, i * bytes, mb->x, (rows[i] - mb->first_row) * bytes,
						 bytes, err));
	*out = w->workspace->picked;
	*first = 0;
	return EVN_OK;
}

/* Computes the output norm of n rows of x, in the format `format`. */
static evn_status norm_rows(const evn_walker *w, const evn_micro_batch *mb, evn_act_format format, const evn_buf *x,
							uint32_t first, uint32_t n, evn_error *err)
{
	const evn_workspace *s = w->workspace;
	const evn_norm_weights *weights = &w->view->shard->out_norm;
	const evn_norm norm = {.kind = s->graph->out_norm.kind,
						   .format = format,
						   .y = mb->normed,
						   .w = weights->weight,
						   .bias = weights->bias,
						   .dim = s->graph->h->dim,
						   .eps = s->graph->h->norm_eps};
	return evn_op_norm(s->ops, &norm, x, first, n, s->dim_stride, err);
}

static void finish_logits(const evn_graph *g, float *logits, uint32_t n)
{
	for (uint32_t i = 0; i < n && g->logit_scale != 1; i++)
		logits[i] *= g->logit_scale;
	for (uint32_t i = 0; i < n && g->logit_cap > 0; i++)
		logits[i] = g->logit_cap * tanhf(logits[i] / g->logit_cap);
}

/* Computes this rank's columns of the logits of n rows. */
static evn_status compute_logits(const evn_walker *w, const evn_micro_batch *mb, const uint32_t *rows, uint32_t n,
								 evn_error *err)
{
	evn_workspace *s = w->workspace;
	const evn_matrix *head = &w->view->head;
	const evn_buf *x;
	uint32_t first;
	if (!mb->out_is_all) {
		EVN_TRY(pick_rows(w, mb, rows, n, &x, &first, err));
		EVN_TRY(norm_rows(w, mb, evn_op_act_format(s->ops, head, EVN_DECODE), x, first, n, err));
	}
	return evn_op_linear(s->ops, s->logits, s->logits_stride, mb->normed, s->dim_stride, head,
						 (evn_rows){n, EVN_DECODE}, err);
}

/* Writes this rank's columns of the logits of n rows to the host's matrix. */
static evn_status logits_of(const evn_walker *w, const evn_micro_batch *mb, const uint32_t *rows, uint32_t n,
							float *out, evn_error *err)
{
	const evn_workspace *s = w->workspace;
	const evn_range mine = w->view->vocab;
	const uint32_t vocab = s->graph->h->vocab;
	EVN_TRY(compute_logits(w, mb, rows, n, err));
	const evn_gather columns = {.from = s->logits,
								.to = out,
								.from_stride = s->logits_stride,
								.to_stride = vocab,
								.n_rows = n,
								.column = mine.begin,
								.n_columns = evn_range_len(mine)};
	EVN_TRY(evn_comm_gather(w->comm, w->view->rank, &columns, err));
	for (uint32_t i = 0; i < n; i++)
		finish_logits(s->graph, out + (uint64_t)i * vocab + mine.begin, columns.n_columns);
	return EVN_OK;
}

/* ---- the largest logits ---------------------------------------------------------------------------------------- */

static evn_status make_room_for_top(evn_workspace *s, uint32_t width, evn_error *err)
{
	const uint64_t entries = (uint64_t)EVN_LOGITS_ROWS * evn_top_slices(width) * EVN_TOP_MOST;
	const uint64_t floats = (uint64_t)EVN_LOGITS_ROWS * s->logits_stride;
	if (s->finds_top)
		return s->top ? EVN_OK
					  : evn_buf_create(&s->top, evn_queue_device(s->q), entries * sizeof(uint64_t), EVN_BUF_DEVICE,
									   "largest logits", err);
	if (!s->host_logits)
		s->host_logits = malloc(floats * sizeof *s->host_logits);
	return s->host_logits ? EVN_OK : evn_fail_memory(err, "logits", floats * sizeof *s->host_logits);
}

/* Writes lists of the largest logits of this rank's columns of n rows to `lists`, those of the first row. */
static evn_status top_of(const evn_walker *w, const evn_batch *b, uint64_t *lists, uint32_t n, evn_error *err)
{
	evn_workspace *s = w->workspace;
	const evn_range vocab = w->view->vocab;
	const evn_top_row row = {evn_range_len(vocab), vocab.begin, s->graph->logit_scale};
	const uint64_t stride = (uint64_t)b->n_lists * b->n_top;
	const uint32_t first = evn_top_first_list(vocab.begin, w->view->rank) * b->n_top;
	evn_gather g = {.from = s->logits, .from_stride = s->logits_stride, .n_rows = n, .n_columns = row.n};
	EVN_TRY(make_room_for_top(s, row.n, err));
	if (s->finds_top) { /* an entry has the bytes of two floats */
		EVN_TRY(evn_op_top(s->ops, s->top, b->n_top, s->logits, s->logits_stride, &row, n, err));
		g.from = s->top;
		g.n_columns = g.from_stride = 2 * evn_top_slices(row.n) * b->n_top;
		g.to = (float *)(void *)lists;
		g.to_stride = (uint32_t)(2 * stride);
		g.column = 2 * first;
		return evn_comm_gather(w->comm, w->view->rank, &g, err);
	}
	g.to = s->host_logits;
	g.to_stride = s->logits_stride;
	EVN_TRY(evn_comm_gather(w->comm, w->view->rank, &g, err));
	for (uint32_t i = 0; i < n; i++)
		evn_top_of(lists + i * stride + first, b->n_top, s->host_logits + (uint64_t)i * s->logits_stride, &row);
	return EVN_OK;
}

/* Writes n rows after the output norm to the host, (n, dim). */
static evn_status hidden_of(const evn_walker *w, const evn_micro_batch *mb, const uint32_t *rows, uint32_t n,
							float *out, evn_error *err)
{
	evn_workspace *s = w->workspace;
	const uint32_t dim = s->graph->h->dim;
	const evn_buf *x;
	uint32_t first;
	EVN_TRY(pick_rows(w, mb, rows, n, &x, &first, err));
	EVN_TRY(norm_rows(w, mb, EVN_ACT_F32, x, first, n, err));
	const evn_gather all = {
		.from = mb->normed, .to = out, .from_stride = s->dim_stride, .to_stride = dim, .n_rows = n, .n_columns = dim};
	return evn_comm_gather(w->comm, w->view->rank, &all, err);
}

/* Adds the micro-batch's rows (n_rows, dim) to the means of their spans. */
static void add_to_means(const evn_batch *b, const evn_micro_batch *mb, uint32_t dim, const float *rows)
{
	for (uint32_t i = 0; i < b->n_spans; i++) {
		const evn_span *s = &b->spans[i];
		float *mean = b->out + (uint64_t)i * dim;
		for (uint32_t r = s->first_row; r < s->first_row + s->n_rows; r++) {
			const float *row = rows + (uint64_t)(r - mb->first_row) * dim;
			if (r < mb->first_row || r >= mb->first_row + mb->rows.n_rows)
				continue;
			for (uint32_t k = 0; k < dim; k++)
				mean[k] = (r == s->first_row ? 0 : mean[k]) + row[k] / (float)s->n_rows;
		}
	}
}

static evn_status pooled(const evn_walker *w, const evn_batch *b, const evn_micro_batch *mb, evn_error *err)
{
	const evn_workspace *s = w->workspace;
	const uint32_t dim = s->graph->h->dim, n = mb->rows.n_rows;
	float *rows = malloc((uint64_t)n * dim * sizeof *rows);
	const evn_gather all = {.from = mb->normed,
							.to = rows,
							.from_stride = s->dim_stride,
							.to_stride = dim,
							.n_rows = n,
							.n_columns = dim};
	evn_status status = rows ? norm_rows(w, mb, EVN_ACT_F32, mb->x, 0, n, err)
							 : evn_fail_memory(err, "pooled rows", (uint64_t)n * dim * sizeof *rows);
	if (status == EVN_OK)
		status = evn_comm_gather(w->comm, w->view->rank, &all, err);
	if (status == EVN_OK)
		add_to_means(b, mb, dim, rows);
	free(rows);
	return status;
}

/* The output rows [at, at + n) of the batch. */
static evn_status output_of(const evn_walker *w, const evn_batch *b, const evn_micro_batch *mb, uint32_t at,
							uint32_t n, evn_error *err)
{
	const evn_hparams *h = w->workspace->graph->h;
	const uint32_t *rows = b->out_rows + at;
	if (b->output == EVN_OUT_HIDDEN)
		return hidden_of(w, mb, rows, n, b->out + (uint64_t)at * h->dim, err);
	if (b->output == EVN_OUT_LOGITS)
		return logits_of(w, mb, rows, n, b->out + (uint64_t)at * h->vocab, err);
	EVN_TRY(compute_logits(w, mb, rows, n, err));
	return top_of(w, b, b->top + (uint64_t)at * b->n_lists * b->n_top, n, err);
}

/* All ranks have the same rows after the output norm, so the first rank that takes part writes them. */
evn_status evn_micro_batch_output(const evn_walker *w, const evn_batch *batch, const evn_micro_batch *mb,
								  evn_error *err)
{
	if (is_of_logits(batch) ? !evn_range_len(w->view->vocab) : w->view->rank != evn_comm_first(w->comm))
		return EVN_OK;
	if (batch->output == EVN_OUT_POOLED)
		return pooled(w, batch, mb, err);
	for (uint32_t done = 0, n; done < mb->n_out; done += n) {
		n = mb->n_out - done < EVN_LOGITS_ROWS ? mb->n_out - done : EVN_LOGITS_ROWS;
		EVN_TRY(output_of(w, batch, mb, mb->first_out + done, n, err));
	}
	return EVN_OK;
}
