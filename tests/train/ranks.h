/* ranks.h - a small model in memory with a network on each of several ranks, for the training tests. */
#ifndef EVN_TEST_RANKS_H
#define EVN_TEST_RANKS_H

#include "engine/harness.h"

#include <math.h>

#include "group/team.h"
#include "nn/shape.h"
#include "train/network.h"

typedef struct {
	const char *devices; /* items with commas between them */
	double shares[EVN_MAX_RANKS];
	evn_reduce reduce;
} ranks_cut;

typedef struct {
	evn_system *drivers;
	evn_model *model;
	const evn_gguf *state;
	evn_trained trained;
	evn_pass_shape shape;
	evn_split split;
	uint32_t n;
	evn_device *devices[EVN_MAX_RANKS];
	evn_queue *queues[EVN_MAX_RANKS];
	evn_network *networks[EVN_MAX_RANKS];
	evn_comm *comm;
	evn_team *team;
	/* of the running pass or update */
	evn_train_batch batch;
	float gradient_scale, *losses, clip;
	float eps; /* 0: 1e-8 */
	evn_adamw adamw;
	double norms[EVN_MAX_RANKS];
} ranks;

static inline void ranks_give_up(void *arg) { evn_comm_cancel(((ranks *)arg)->comm); }

static inline evn_status ranks_load(void *arg, uint32_t rank, evn_error *err)
{
	ranks *r = arg;
	return evn_network_load(&r->networks[rank], r->queues[rank], r->comm, r->model, r->state, &r->split, rank,
							&r->trained, &r->shape, err);
}

/* model, state, trained and shape are set. drivers still belongs to the caller. */
static inline void ranks_open(ranks *r, const ranks_cut *c)
{
	evn_error err = {0};
	evn_pick picks[EVN_MAX_RANKS];
	evn_plan_shape shape;
	uint64_t memory[EVN_MAX_RANKS];
	char list[128], *rest = list;
	size_t n = 0;
	snprintf(list, sizeof list, "%s", c->devices);
	for (char *item; (item = strsep(&rest, ","));)
		require_ok(evn_system_select(r->drivers, item, 0, picks, &n, EVN_MAX_RANKS, &err));
	r->n = (uint32_t)n;
	require_ok(evn_devices_open(r->drivers, picks, n, r->devices, &err));
	for (uint32_t i = 0; i < r->n; i++) {
		require_ok(evn_queue_create(&r->queues[i], r->devices[i], &err));
		memory[i] = UINT64_MAX;
	}
	evn_limits limits = {.n_ctx = r->shape.n_ctx, .n_batch = r->shape.n_ctx * r->shape.n_sequences};
	evn_graph *graph;
	require_ok(evn_graph_make(&graph, r->model, &err));
	require_ok(evn_graph_shape(graph, limits, &shape, &err));
	require_ok(evn_split_make(&r->split, &shape, r->n, c->shares, NULL, memory, &err));
	require_ok(evn_network_check(r->model, &r->trained, &r->shape, &err));
	const evn_comm_config config = {.queues = r->queues,
									.n_ranks = r->n,
									.reduce = c->reduce,
									.max_floats = evn_network_message(graph, &r->trained, &r->shape, r->n)};
	evn_graph_free(graph);
	require_ok(evn_comm_create(&r->comm, &config, &err));
	require_ok(
		evn_team_create(&r->team, &(evn_team_config){.n_ranks = r->n, .on_failure = ranks_give_up, .arg = r}, &err));
	require_ok(evn_team_run(r->team, ranks_load, r, NULL, NULL, &err));
}

static inline void ranks_close(ranks *r)
{
	evn_team_free(r->team);
	for (uint32_t i = 0; i < r->n; i++)
		evn_network_free(r->networks[i]);
	evn_comm_free(r->comm);
	for (uint32_t i = 0; i < r->n; i++)
		evn_queue_free(r->queues[i]);
	for (uint32_t i = 0; i < r->n; i++)
		evn_device_close(r->devices[i]);
	evn_split_free(&r->split);
}

static inline evn_status ranks_pass_one(void *arg, uint32_t rank, evn_error *err)
{
	ranks *r = arg;
	if (r->gradient_scale > 0)
		EVN_TRY(evn_network_zero_gradients(r->networks[rank], err));
	return evn_network_pass(r->networks[rank], &r->batch, r->gradient_scale, rank == 0 ? r->losses : NULL, err);
}

/* The mean loss of the batch. With a gradient, also the gradient of the mean, not yet summed over ranks. */
static inline double ranks_pass(ranks *r, bool gradient)
{
	evn_error err = {0};
	uint32_t n_tok = r->shape.n_ctx * r->shape.n_sequences;
	double sum = 0;
	r->gradient_scale = gradient ? 1.0f / (float)n_tok : 0;
	r->losses = test_malloc(n_tok * sizeof *r->losses);
	require_ok(evn_team_run(r->team, ranks_pass_one, r, NULL, NULL, &err));
	for (uint32_t t = 0; t < n_tok; t++)
		sum += (double)r->losses[t];
	test_free(r->losses);
	return sum / n_tok;
}

static inline evn_status ranks_update_one(void *arg, uint32_t rank, evn_error *err)
{
	ranks *r = arg;
	return evn_network_update(r->networks[rank], &r->adamw, r->clip, &r->norms[rank], err);
}

/* AdamW's step with rate 0 leaves the parameters and sums the gradients. */
static inline void ranks_update(ranks *r, float rate)
{
	evn_error err = {0};
	r->adamw = (evn_adamw){
		.rate = rate, .beta1 = 0.9f, .beta2 = 0.95f, .eps = r->eps > 0 ? r->eps : 1e-8f, .unbias1 = 1, .unbias2 = 1};
	require_ok(evn_team_run(r->team, ranks_update_one, r, NULL, NULL, &err));
	for (uint32_t i = 1; i < r->n; i++)
		assert_true(r->norms[i] == r->norms[0]);
}

/* The whole tensor that piece k of parameter i belongs to, joined from its pieces and their owners. malloc'd. */
static inline float *ranks_gather(ranks *r, uint32_t i, uint32_t k, evn_param_part part, uint64_t *n)
{
	evn_error err = {0};
	const evn_piece *piece = &r->networks[0]->params[i]->pieces[k];
	*n = (uint64_t)piece->rows * piece->cols;
	float *whole = test_malloc(*n * sizeof *whole);
	for (uint64_t at = 0; at < *n; at++)
		whole[at] = NAN; /* marks a row that no rank owns */
	for (uint32_t rank = 0; rank < r->n; rank++) {
		const evn_param *p = r->networks[rank]->params[i];
		for (uint32_t at = 0; at < p->n_pieces; at++)
			if (strcmp(p->pieces[at].name, piece->name) == 0)
				require_ok(evn_piece_download(p, &p->pieces[at], r->queues[rank], part, whole, &err));
	}
	return whole;
}

#endif
