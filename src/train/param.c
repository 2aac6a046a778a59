/* param.c - see param.h. */
#include "train/param.h"

#include <stdlib.h>
#include <string.h>

void evn_param_add(evn_param *p, const evn_piece *piece)
{
	evn_piece *to = &p->pieces[p->n_pieces++];
	*to = *piece;
	to->at = p->rows;
	p->rows += evn_range_len(piece->row);
	p->stride = p->vector ? 1 : (uint32_t)evn_round_up(evn_range_len(piece->col), EVN_PAD);
}

bool evn_piece_continues(const evn_param *p, uint32_t k)
{
	return k > 0 && strcmp(p->pieces[k].name, p->pieces[k - 1].name) == 0;
}

evn_buf *evn_param_buf(const evn_param *p, evn_param_part part)
{
	evn_buf *const bufs[EVN_PARAM__COUNT] = {p->value, p->m, p->v, p->gradient};
	return bufs[part];
}

evn_status evn_param_create(evn_param *p, evn_queue *q, evn_buf *value, evn_error *err)
{
	evn_buf **const bufs[] = {&p->gradient, &p->m, &p->v, &p->value};
	const uint64_t bytes = evn_param_floats(p) * sizeof(float);
	p->borrows = bytes && value;
	p->value = bytes ? value : NULL;
	for (size_t i = 0; i < (value ? 3 : 4) && bytes; i++) {
		EVN_TRY(evn_buf_create(bufs[i], evn_queue_device(q), bytes, EVN_BUF_DEVICE, p->pieces[0].name, err));
		EVN_TRY(evn_fill_zero(q, *bufs[i], err));
	}
	return EVN_OK;
}

void evn_param_free(evn_param *p)
{
	evn_buf *const bufs[] = {p->borrows ? NULL : p->value, p->gradient, p->m, p->v};
	for (size_t i = 0; i < sizeof bufs / sizeof *bufs; i++)
		evn_buf_free(bufs[i]);
	p->value = p->gradient = p->m = p->v = NULL;
}

/* Copies rows [row.begin, row.end) of the piece between the whole tensor and a packed host copy of its buffer
 * rows. */
static void copy_columns(const evn_param *p, const evn_piece *piece, evn_range row, float *packed, float *whole,
						 bool pack)
{
	uint32_t n = evn_range_len(piece->col);
	for (uint32_t r = row.begin; r < row.end; r++) {
		float *in = whole + (uint64_t)r * piece->cols + piece->col.begin;
		float *out = packed + (uint64_t)(r - row.begin) * p->stride;
		memcpy(pack ? out : in, pack ? in : out, n * sizeof(float));
	}
}

static evn_status transfer(const evn_param *p, const evn_piece *piece, evn_range row, evn_queue *q, evn_buf *buf,
						   float *whole, bool upload, evn_error *err)
{
	uint64_t bytes = (uint64_t)evn_range_len(row) * p->stride * sizeof(float);
	if (!bytes || !evn_range_len(piece->col))
		return EVN_OK;
	uint64_t offset = (uint64_t)(piece->at + row.begin - piece->row.begin) * p->stride * sizeof(float);
	float *packed = calloc(1, bytes);
	if (!packed)
		return evn_fail_memory(err, piece->name, bytes);
	evn_status s;
	if (upload) {
		copy_columns(p, piece, row, packed, whole, true);
		s = evn_write(q, buf, offset, packed, bytes, err);
	} else {
		s = evn_read(q, buf, offset, packed, bytes, err);
		if (s == EVN_OK)
			copy_columns(p, piece, row, packed, whole, false);
	}
	free(packed);
	return s;
}

evn_status evn_piece_upload(const evn_param *p, const evn_piece *piece, evn_queue *q, evn_param_part part,
							const float *whole, evn_error *err)
{
	return transfer(p, piece, piece->row, q, evn_param_buf(p, part), (float *)(uintptr_t)whole, true, err);
}

evn_status evn_piece_download(const evn_param *p, const evn_piece *piece, evn_queue *q, evn_param_part part,
							  float *whole, evn_error *err)
{
	return transfer(p, piece, piece->owned, q, evn_param_buf(p, part), whole, false, err);
}

uint64_t evn_piece_message(const evn_param *p, const evn_piece *piece)
{
	return evn_round_up((uint64_t)piece->rows * p->stride, EVN_PAD);
}

evn_status evn_piece_share(const evn_param *p, const evn_piece *piece, evn_sharing what, evn_comm *c, uint32_t rank,
						   evn_queue *q, evn_buf *scratch, evn_error *err)
{
	const uint64_t row_bytes = p->stride * sizeof(float);
	bool values = what == EVN_TAKE_VALUES;
	evn_range give = values ? piece->owned : piece->row;
	evn_buf *buf = values ? p->value : p->gradient, *partial = evn_comm_partial(c, rank, 0);
	if ((uint64_t)evn_range_len(give) * p->stride < evn_piece_message(p, piece))
		EVN_TRY(evn_fill_zero(q, partial, err));
	if (evn_range_len(give))
		EVN_TRY(evn_copy(q, partial, give.begin * row_bytes, buf,
						 (piece->at + give.begin - piece->row.begin) * row_bytes, evn_range_len(give) * row_bytes,
						 err));
	EVN_TRY(evn_fill_zero(q, scratch, err));
	const evn_sum sum = evn_sum_of(scratch, evn_piece_message(p, piece), values ? piece->owners : piece->holders);
	EVN_TRY(evn_comm_all_reduce(c, rank, &sum, err));
	if (!evn_range_len(piece->row))
		return EVN_OK;
	return evn_copy(q, buf, piece->at * row_bytes, scratch, piece->row.begin * row_bytes,
					evn_range_len(piece->row) * row_bytes, err);
}
