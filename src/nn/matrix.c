/* matrix.c - repacks a rank's part of weight tensors directly into device memory. */
#include "nn/matrix.h"

#include <stdlib.h>
#include <string.h>

static uint32_t blocks_per_step(const evn_quant *q) { return q->group_len / q->block_len; }

/* The source of tiles: rows [rows.begin, rows.end) of the tensor, and blocks [first_block, first_block + n_blocks) of
 * each row. */
typedef struct {
	const evn_tensor *tensor;
	evn_range rows;
	uint32_t first_block, n_blocks;
} tile_source;

static uint64_t tile_bytes(const evn_quant *q, uint32_t n_steps)
{
	return (uint64_t)n_steps * blocks_per_step(q) * q->block_bytes * EVN_TILE_ROWS;
}

/* One expert's rows. scratch has room for EVN_TILE_ROWS whole rows. They follow each other in the file, so they are
 * read at once. */
static evn_status repack(evn_upload *to, const tile_source *s, uint32_t expert, uint32_t n_steps, uint8_t *scratch,
						 evn_error *err)
{
	const evn_quant *q = s->tensor->quant;
	const uint64_t row_bytes = s->tensor->shape[0] / q->block_len * q->block_bytes;
	const uint64_t before = expert * s->tensor->shape[1] * row_bytes;
	for (uint32_t first = s->rows.begin; first < s->rows.end; first += EVN_TILE_ROWS) {
		const uint32_t n = s->rows.end - first < EVN_TILE_ROWS ? s->rows.end - first : EVN_TILE_ROWS;
		const uint8_t *blocks, *rows[EVN_TILE_ROWS];
		void *tile;
		EVN_TRY(evn_tensor_bytes(s->tensor, before + first * row_bytes, n * row_bytes, scratch, &blocks, err));
		for (uint32_t r = 0; r < EVN_TILE_ROWS; r++)
			rows[r] = r < n ? blocks + r * row_bytes + (uint64_t)s->first_block * q->block_bytes : NULL;
		EVN_TRY(evn_upload_room(to, tile_bytes(q, n_steps), &tile, err));
		evn_repack_tile(q, rows, s->n_blocks, n_steps * blocks_per_step(q), tile);
	}
	return EVN_OK;
}

static evn_status repack_all(evn_upload *to, const evn_matrix_part *part, const tile_source *sources, uint32_t n,
							 evn_error *err)
{
	const evn_quant *q = part->quant;
	const uint64_t bytes = sources[0].tensor->shape[0] / q->block_len * q->block_bytes * EVN_TILE_ROWS;
	uint8_t *scratch = malloc((size_t)bytes);
	evn_status s = scratch ? EVN_OK : evn_fail_memory(err, "weights", bytes);
	for (uint32_t expert = 0; expert < sources[0].tensor->shape[2]; expert++)
		for (uint32_t i = 0; i < n && s == EVN_OK; i++)
			s = repack(to, &sources[i], expert, part->n_steps, scratch, err);
	free(scratch);
	return s;
}

/* Fills part->tiles from n sources of the same format and length of rows. */
static evn_status upload(evn_matrix_part *part, evn_queue *q, const tile_source *sources, uint32_t n, evn_error *err)
{
	const uint64_t bytes =
		part->rows / EVN_TILE_ROWS * tile_bytes(part->quant, part->n_steps) * sources[0].tensor->shape[2];
	evn_upload to;
	EVN_TRY(evn_buf_create(&part->tiles, evn_queue_device(q), bytes, EVN_BUF_DEVICE, "weights", err));
	EVN_TRY(evn_upload_begin(&to, q, part->tiles, bytes, err));
	EVN_TRY(evn_upload_end(&to, repack_all(&to, part, sources, n, err), err));
	return evn_device_unified_memory(evn_queue_device(q)) ? evn_queue_finish(q, err) : EVN_OK;
}

static evn_status add_part(evn_matrix *m, evn_queue *q, const tile_source *sources, uint32_t n, evn_error *err)
{
	const evn_quant *quant = sources[0].tensor->quant;
	uint32_t step_blocks = blocks_per_step(quant);
	if (m->n_parts == EVN_MATRIX_BUFFERS)
		return evn_fail(err, EVN_ERR_LIMIT, "weights need more than %d buffers, %s allows %.1f MiB in one",
						EVN_MATRIX_BUFFERS, evn_device_name(evn_queue_device(q)),
						(double)evn_device_max_alloc(evn_queue_device(q)) / 1048576.0);
	evn_matrix_part *p = &m->parts[m->n_parts++];
	*p = (evn_matrix_part){.quant = quant, .y_offset = m->rows, .first_row = m->rows};
	p->n_steps = p->tile_steps = (sources[0].n_blocks + step_blocks - 1) / step_blocks;
	for (uint32_t i = 0; i < n; i++)
		p->rows += (uint32_t)evn_round_up(evn_range_len(sources[i].rows), EVN_TILE_ROWS);
	p->expert_steps = p->rows / EVN_TILE_ROWS * p->tile_steps;
	m->n_experts = (uint32_t)sources[0].tensor->shape[2];
	m->rows += p->rows;
	if (p->n_steps * quant->group_len > m->columns)
		m->columns = p->n_steps * quant->group_len;
	m->bytes += p->rows / EVN_TILE_ROWS * tile_bytes(quant, p->n_steps) * m->n_experts;
	return upload(p, q, sources, n, err);
}

/* Takes the next tiles of *s, at most *left. */
static tile_source take_tiles(tile_source *s, uint32_t *left)
{
	tile_source taken = *s;
	const uint32_t n = (evn_range_len(s->rows) + EVN_TILE_ROWS - 1) / EVN_TILE_ROWS;
	if (n > *left)
		taken.rows.end = s->rows.begin + *left * EVN_TILE_ROWS;
	s->rows.begin = taken.rows.end;
	*left -= n > *left ? *left : n;
	return taken;
}

/* Sources of one format: one part, or as many as the device needs buffers for them. */
static evn_status add_parts(evn_matrix *m, evn_queue *q, tile_source *sources, uint32_t n, evn_error *err)
{
	const evn_quant *quant = sources[0].tensor->quant;
	const uint32_t n_steps = (sources[0].n_blocks + blocks_per_step(quant) - 1) / blocks_per_step(quant);
	const uint64_t fit =
		evn_device_max_alloc(evn_queue_device(q)) / (tile_bytes(quant, n_steps) * sources[0].tensor->shape[2]);
	const uint32_t most = !fit               ? 1
						  : fit < UINT32_MAX ? (uint32_t)fit
											 : UINT32_MAX; /* 1: creation says what is wrong */
	for (uint32_t i = 0; i < n;) {
		tile_source piece[EVN_MATRIX_PARTS];
		uint32_t left = most, k = 0;
		for (; i < n && left; i += !evn_range_len(sources[i].rows))
			piece[k++] = take_tiles(&sources[i], &left);
		EVN_TRY(add_part(m, q, piece, k, err));
	}
	return EVN_OK;
}

evn_status evn_matrix_split_output(evn_matrix *out, evn_queue *q, const evn_row_block *blocks, uint32_t n,
								   uint32_t *y_offsets, evn_error *err)
{
	*out = (evn_matrix){0};
	uint32_t row = 0;
	for (uint32_t i = 0; i < n && y_offsets; i++) {
		y_offsets[i] = row;
		row += (uint32_t)evn_round_up(evn_range_len(blocks[i].rows), EVN_TILE_ROWS);
	}
	for (uint32_t i = 0; i < n;) {
		tile_source sources[EVN_MATRIX_PARTS];
		uint32_t n_sources = 0;
		const evn_quant *quant = blocks[i].tensor->quant;
		for (; i < n && blocks[i].tensor->quant == quant; i++)
			if (evn_range_len(blocks[i].rows))
				sources[n_sources++] =
					(tile_source){.tensor = blocks[i].tensor,
								  .rows = blocks[i].rows,
								  .n_blocks = (uint32_t)(blocks[i].tensor->shape[0] / quant->block_len)};
		if (n_sources)
			EVN_TRY(add_parts(out, q, sources, n_sources, err));
	}
	return EVN_OK;
}

evn_status evn_matrix_split_input(evn_matrix *out, evn_queue *q, const evn_tensor *tensor, evn_range columns,
								  evn_error *err)
{
	*out = (evn_matrix){0};
	if (!evn_range_len(columns))
		return EVN_OK;
	uint32_t block = tensor->quant->block_len;
	uint32_t first_block = columns.begin / block, end_block = (columns.end + block - 1) / block;
	tile_source source = {.tensor = tensor,
						  .rows = {0, (uint32_t)tensor->shape[1]},
						  .first_block = first_block,
						  .n_blocks = end_block - first_block};
	out->x_shift = columns.begin - first_block * block;
	return add_parts(out, q, &source, 1, err);
}

/* ---- plain rows ------------------------------------------------------------------------------------------------ */

#define ROWS_AT_ONCE 64u

/* Dequantises columns [columns.begin, columns.end) of the rows of a block. scratch has room for ROWS_AT_ONCE whole
 * rows. */
static evn_status unpack(const evn_row_block *block, evn_range columns, uint32_t stride, float *scratch,
						 evn_upload *upload, evn_error *err)
{
	const uint64_t whole = block->tensor->shape[0];
	for (uint32_t first = block->rows.begin; first < block->rows.end; first += ROWS_AT_ONCE) {
		const uint32_t left = block->rows.end - first, n = left < ROWS_AT_ONCE ? left : ROWS_AT_ONCE;
		void *room;
		EVN_TRY(evn_tensor_rows(block->tensor, first, n, scratch, err));
		EVN_TRY(evn_upload_room(upload, (uint64_t)n * stride * sizeof(float), &room, err));
		float *to = room;
		for (uint32_t r = 0; r < n; r++, to += stride) {
			memset(to, 0, stride * sizeof *to);
			memcpy(to, scratch + r * whole + columns.begin, evn_range_len(columns) * sizeof *to);
		}
	}
	return EVN_OK;
}

static evn_status unpack_all(const evn_row_block *blocks, uint32_t n, evn_range columns, uint32_t stride,
							 evn_upload *to, evn_error *err)
{
	const uint64_t bytes = ROWS_AT_ONCE * blocks[0].tensor->shape[0] * sizeof(float);
	float *scratch = malloc(bytes);
	evn_status s = scratch ? EVN_OK : evn_fail_memory(err, "weights", bytes);
	for (uint32_t i = 0; i < n && s == EVN_OK; i++)
		s = unpack(&blocks[i], columns, stride, scratch, to, err);
	free(scratch);
	return s;
}

static evn_status load_plain(evn_matrix *m, evn_queue *q, const evn_row_block *blocks, uint32_t n, evn_range columns,
							 evn_error *err)
{
	evn_plain *p = &m->plain;
	p->rows = m->rows;
	p->columns = m->columns = evn_range_len(columns);
	p->stride = (uint32_t)evn_round_up(p->columns, EVN_PAD);
	m->bytes = (uint64_t)p->rows * p->stride * sizeof(float);
	if (!m->bytes)
		return EVN_OK;
	evn_upload to;
	EVN_TRY(evn_buf_create(&p->buf, evn_queue_device(q), m->bytes, EVN_BUF_DEVICE, "weights", err));
	EVN_TRY(evn_upload_begin(&to, q, p->buf, m->bytes, err));
	return evn_upload_end(&to, unpack_all(blocks, n, columns, p->stride, &to, err), err);
}

evn_status evn_matrix_plain_output(evn_matrix *out, evn_queue *q, const evn_row_block *blocks, uint32_t n,
								   uint32_t *y_offsets, evn_error *err)
{
	*out = (evn_matrix){.n_experts = 1};
	for (uint32_t i = 0; i < n; i++) {
		if (y_offsets)
			y_offsets[i] = out->rows;
		out->rows += evn_range_len(blocks[i].rows);
	}
	return load_plain(out, q, blocks, n, (evn_range){0, (uint32_t)blocks[0].tensor->shape[0]}, err);
}

evn_status evn_matrix_plain_input(evn_matrix *out, evn_queue *q, const evn_tensor *tensor, evn_range columns,
								  evn_error *err)
{
	const evn_row_block all = {tensor, {0, (uint32_t)tensor->shape[1]}};
	*out = (evn_matrix){.rows = evn_range_len(all.rows), .n_experts = 1};
	return load_plain(out, q, &all, 1, columns, err);
}

/* ---- windows --------------------------------------------------------------------------------------------------- */

/* Neighbours that also follow each other on the device become one part, and thus one launch. */
static void add_view(evn_matrix *m, const evn_matrix_part *p)
{
	evn_matrix_part *last = m->n_parts ? &m->parts[m->n_parts - 1] : NULL;
	m->bytes += p->rows / EVN_TILE_ROWS * tile_bytes(p->quant, p->n_steps) * m->n_experts;
	m->rows += p->rows;
	if (last && last->tiles == p->tiles && p->begin == last->begin + last->rows / EVN_TILE_ROWS * last->tile_steps)
		last->rows += p->rows;
	else
		m->parts[m->n_parts++] = *p;
}

static const evn_matrix_part *part_at(const evn_matrix *m, uint32_t row)
{
	uint32_t i = 0;
	while (i + 1 < m->n_parts && row >= m->parts[i + 1].y_offset)
		i++;
	return &m->parts[i];
}

void evn_matrix_view_output(evn_matrix *out, const evn_matrix *m, const uint32_t *y_offsets, uint32_t n,
							const evn_range *rows, uint32_t *view_offsets)
{
	if (!m->n_parts) {
		*out = *m;
		memcpy(view_offsets, y_offsets, n * sizeof *y_offsets);
		return;
	}
	*out = (evn_matrix){
		.n_experts = m->n_experts, .columns = m->columns, .bias = m->bias, .bias_stride = m->bias_stride};
	for (uint32_t i = 0; i < n; i++) {
		view_offsets[i] = out->rows;
		uint32_t row = y_offsets[i] + rows[i].begin;
		const uint32_t end = row + (uint32_t)evn_round_up(evn_range_len(rows[i]), EVN_TILE_ROWS);
		while (row < end) {
			evn_matrix_part p = *part_at(m, row);
			const uint32_t part_end = p.y_offset + p.rows < end ? p.y_offset + p.rows : end;
			p.first_row = row;
			p.begin += (row - p.y_offset) / EVN_TILE_ROWS * p.tile_steps;
			p.rows = part_end - row;
			p.y_offset = out->rows;
			add_view(out, &p);
			row = part_end;
		}
	}
}

void evn_matrix_view_input(evn_matrix *out, const evn_matrix *m, evn_range columns)
{
	if (!m->n_parts) {
		*out = *m;
		return;
	}
	*out = (evn_matrix){.n_experts = m->n_experts, .bias = m->bias, .bias_stride = m->bias_stride};
	for (uint32_t i = 0; i < m->n_parts && evn_range_len(columns); i++) {
		evn_matrix_part p = m->parts[i];
		const uint32_t step = p.quant->group_len, begin = m->x_shift + columns.begin;
		p.begin += begin / step;
		p.n_steps = (m->x_shift + columns.end + step - 1) / step - begin / step;
		out->columns = p.n_steps * step;
		out->x_shift = begin % step;
		add_view(out, &p);
	}
}

void evn_matrix_free(evn_matrix *m)
{
	for (uint32_t i = 0; i < m->n_parts; i++)
		evn_buf_free(m->parts[i].tiles);
	evn_buf_free(m->plain.buf);
	evn_buf_free(m->bias);
	*m = (evn_matrix){0};
}

evn_status evn_vector_load(evn_buf **out, evn_queue *q, const evn_tensor *tensor, evn_range entries, evn_error *err)
{
	uint64_t length = evn_round_up(evn_range_len(entries), EVN_PAD), whole = tensor->shape[0];
	EVN_TRY(evn_buf_create(out, evn_queue_device(q), length * sizeof(float), EVN_BUF_DEVICE, "vector", err));
	float *values = calloc(whole + length, sizeof *values);
	if (!values)
		return evn_fail_memory(err, "vector", (whole + length) * sizeof *values);
	float *padded = values + whole;
	evn_status s = evn_tensor_rows(tensor, 0, 1, values, err);
	if (s == EVN_OK) {
		memcpy(padded, values + entries.begin, evn_range_len(entries) * sizeof *values);
		s = evn_write(q, *out, 0, padded, length * sizeof *values, err);
	}
	free(values);
	return s;
}
