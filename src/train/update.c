/* update.c - turns gradients into new parameters: shared pieces are summed, the global norm is computed and clipped,
 * each rank makes AdamW's step on what it holds, and the owners' values replace the other copies of shared pieces. */
#include <math.h>

#include "train/network.h"

evn_status evn_network_zero_gradients(evn_network *n, evn_error *err)
{
	for (uint32_t i = 0; i < n->n_params; i++)
		if (n->params[i]->gradient)
			EVN_TRY(evn_fill_zero(n->q, n->params[i]->gradient, err));
	return EVN_OK;
}

static evn_status share_all(evn_network *n, evn_sharing what, evn_error *err)
{
	for (uint32_t i = 0; i < n->n_params && n->n_ranks > 1; i++) {
		const evn_param *p = n->params[i];
		for (uint32_t k = 0; k < p->n_pieces; k++)
			if (p->pieces[k].shared)
				EVN_TRY(evn_piece_share(p, &p->pieces[k], what, n->comm, n->rank, n->q, n->message, err));
	}
	return EVN_OK;
}

/* Adds the squares of the rows of a piece that this rank owns. */
static evn_status add_squares(evn_network *n, const evn_param *p, double *sum, evn_error *err)
{
	uint64_t floats = evn_param_floats(p), count = (floats + EVN_SQUARES_PIECE - 1) / EVN_SQUARES_PIECE;
	EVN_TRY(evn_op_sum_squares(n->backward, n->squares, p->gradient, floats, err));
	void *host;
	EVN_TRY(evn_map(n->q, n->squares, count * sizeof(float), EVN_MAP_READ, true, &host, err));
	for (uint64_t i = 0; i < count; i++)
		*sum += (double)((const float *)host)[i];
	return evn_unmap(n->q, n->squares, host, err);
}

/* Subtracts the rows of a shared piece that other ranks own, row by row, because they must not count. */
static evn_status subtract_others(evn_network *n, const evn_param *p, const evn_piece *piece, double *sum,
								  evn_error *err)
{
	uint64_t floats = (uint64_t)evn_range_len(piece->row) * p->stride;
	void *host;
	if (!floats)
		return EVN_OK;
	EVN_TRY(evn_map(n->q, p->gradient, evn_param_floats(p) * sizeof(float), EVN_MAP_READ, true, &host, err));
	for (uint32_t r = piece->row.begin; r < piece->row.end; r++) {
		const float *row = (const float *)host + (uint64_t)(piece->at + r - piece->row.begin) * p->stride;
		bool owned = r >= piece->owned.begin && r < piece->owned.end;
		for (uint32_t c = 0; c < p->stride && !owned; c++)
			*sum -= (double)row[c] * (double)row[c];
	}
	return evn_unmap(n->q, p->gradient, host, err);
}

static evn_status gradient_norm(evn_network *n, double *norm, evn_error *err)
{
	double squares = 0;
	for (uint32_t i = 0; i < n->n_params; i++) {
		const evn_param *p = n->params[i];
		if (!p->gradient)
			continue;
		EVN_TRY(add_squares(n, p, &squares, err));
		for (uint32_t k = 0; k < p->n_pieces; k++)
			if (p->pieces[k].shared)
				EVN_TRY(subtract_others(n, p, &p->pieces[k], &squares, err));
	}
	if (squares < 0) /* f32 sums minus exact ones can be negative if a rank owns almost nothing of what it holds */
		squares = 0;
	float mine[16] = {(float)squares}, all[16] = {0};
	EVN_TRY(evn_write(n->q, evn_comm_partial(n->comm, n->rank, 0), 0, mine, sizeof mine, err));
	EVN_TRY(evn_write(n->q, n->total, 0, all, sizeof all, err));
	const evn_sum sum = evn_sum_of(n->total, 16, (1ull << n->n_ranks) - 1);
	EVN_TRY(evn_comm_all_reduce(n->comm, n->rank, &sum, err));
	EVN_TRY(evn_read(n->q, n->total, 0, all, sizeof all, err));
	*norm = sqrt((double)all[0]);
	return EVN_OK;
}

static evn_status step(evn_network *n, const evn_adamw *adamw, float clip, double *norm, evn_error *err)
{
	EVN_TRY(share_all(n, EVN_SUM_GRADIENTS, err));
	EVN_TRY(gradient_norm(n, norm, err));
	if (!isfinite(*norm))
		return EVN_OK;
	evn_adamw a = *adamw;
	a.gradient_scale = clip > 0 && *norm > (double)clip ? (float)((double)clip / *norm) : 1;
	for (uint32_t i = 0; i < n->n_params; i++) {
		const evn_param *p = n->params[i];
		a.decay = p->vector ? 0 : adamw->decay;
		if (p->gradient)
			EVN_TRY(evn_op_adamw(n->backward, p->value, p->m, p->v, p->gradient, evn_param_floats(p), &a, err));
	}
	return share_all(n, EVN_TAKE_VALUES, err);
}

evn_status evn_network_update(evn_network *n, const evn_adamw *adamw, float clip, double *norm, evn_error *err)
{
	evn_comm_step_begin(n->comm, n->rank);
	EVN_TRY(step(n, adamw, clip, norm, err));
	return evn_comm_step_end(n->comm, n->rank, err);
}
