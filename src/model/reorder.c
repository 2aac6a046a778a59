/* reorder.c - weights of checkpoint folders in the order that GGUF files have. Rows of llama's queries and keys are
 * taken from the two halves of their head in turn; GPT-2's matrices are transposed; a layer's experts, which are
 * tensors of their own, become one. */
#include "model/gguf_internal.h"

#include <stdlib.h>
#include <string.h>

/* The row of the file that is row r. */
static uint64_t stored_row(const evn_tensor *t, uint64_t r)
{
	const uint64_t width = t->shape[1] / t->pair_heads, in_head = r % width;
	return r - in_head + in_head % 2 * (width / 2) + in_head / 2;
}

static evn_status read_pairs(const evn_tensor *t, uint64_t offset, uint64_t n, uint8_t *out, evn_error *err)
{
	const uint64_t row_bytes = t->shape[0] * t->quant->block_bytes;
	while (n) {
		const uint64_t in_row = offset % row_bytes, left = row_bytes - in_row, take = n < left ? n : left;
		const uint64_t from = stored_row(t, offset / row_bytes) * row_bytes + in_row;
		EVN_TRY(evn_source_read(t->source, t->offset_bytes + from, out, (size_t)take, err));
		out += take;
		offset += take;
		n -= take;
	}
	return EVN_OK;
}

/* A column is contiguous in the file: its part of rows [first, end) is read at once. */
static evn_status read_columns(const evn_tensor *t, uint64_t offset, uint64_t n, uint8_t *out, uint8_t *column,
							   evn_error *err)
{
	const uint64_t size = t->quant->block_bytes, columns = t->shape[0], row_bytes = columns * size;
	const uint64_t first = offset / row_bytes, end = (offset + n + row_bytes - 1) / row_bytes;
	for (uint64_t c = 0; c < columns; c++) {
		const uint64_t from = (c * t->shape[1] + first) * size;
		EVN_TRY(evn_source_read(t->source, t->offset_bytes + from, column, (size_t)((end - first) * size), err));
		for (uint64_t r = first; r < end; r++) {
			const uint64_t at = r * row_bytes + c * size;
			if (at >= offset && at < offset + n)
				memcpy(out + (at - offset), column + (r - first) * size, (size_t)size);
		}
	}
	return EVN_OK;
}

static evn_status read_pieces(const evn_tensor *t, uint64_t offset, uint64_t n, uint8_t *out, evn_error *err)
{
	const uint64_t piece_bytes = t->size_bytes / t->n_pieces;
	while (n) {
		const evn_file_part *p = &t->pieces[offset / piece_bytes];
		const uint64_t at = offset % piece_bytes, left = piece_bytes - at, take = n < left ? n : left;
		EVN_TRY(evn_source_read(p->source, p->offset_bytes + at, out, (size_t)take, err));
		out += take;
		offset += take;
		n -= take;
	}
	return EVN_OK;
}

evn_status evn_tensor_reorder(const evn_tensor *t, uint64_t offset, uint64_t n, uint8_t *out, evn_error *err)
{
	const uint64_t row_bytes = t->shape[0] * t->quant->block_bytes;
	if (t->pieces)
		return read_pieces(t, offset, n, out, err);
	if (t->pair_heads)
		return read_pairs(t, offset, n, out, err);
	const uint64_t most = (n / row_bytes + 2) * t->quant->block_bytes;
	uint8_t *column = malloc((size_t)most);
	if (!column)
		return evn_fail_memory(err, "weights", most);
	const evn_status s = read_columns(t, offset, n, out, column, err);
	free(column);
	return s;
}
