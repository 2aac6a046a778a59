#include "train/follow.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

typedef enum { END, PASSES, UPDATE, COLLECTION } command;

/* Nodes are equal, as evn_prepare makes sure: structs travel as they are. */
typedef struct {
	uint32_t command, n_passes, step;
	float gradient_scale;
	bool with_state;
	evn_adamw adamw;
} order;

/* What a follower must know before it opens the model. */
typedef struct {
	uint64_t state_bytes;
	evn_trained trained;
	evn_pass_shape shape;
	evn_token_counts n_tok;
	uint32_t context, accumulate, lora_rank;
	double dropout, clip;
	uint64_t seed;
} task;

#define SENT_BYTES ((uint64_t)64 << 20) /* of the state at once */

static evn_nodes *nodes_of(const evn_trainer *t) { return t->prepared.nodes.nodes; }

/* ---- opening --------------------------------------------------------------------------------------------------- */

static evn_status send_file(evn_nodes *nodes, const char *path, uint64_t bytes, evn_error *err)
{
	evn_source *source;
	uint8_t *piece = malloc(SENT_BYTES);
	evn_status s = piece ? evn_source_open(&source, path, err) : evn_fail_memory(err, path, SENT_BYTES);
	for (uint64_t at = 0, n; at < bytes && s == EVN_OK; at += n) {
		n = bytes - at < SENT_BYTES ? bytes - at : SENT_BYTES;
		s = evn_source_read(source, at, piece, n, err);
		if (s == EVN_OK)
			s = evn_nodes_broadcast(nodes, piece, n, NULL, err);
	}
	if (piece && s == EVN_OK)
		evn_source_close(source);
	free(piece);
	return s;
}

/* Into memory that has a path, for this process and for the one that measures devices. */
static evn_status receive_file(evn_nodes *nodes, uint64_t bytes, int *out, evn_error *err)
{
	*out = memfd_create("evener state", MFD_CLOEXEC);
	if (*out < 0 || ftruncate(*out, (off_t)bytes) != 0)
		return evn_fail_memory(err, "state of training", bytes);
	uint8_t *data = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, *out, 0);
	if (data == MAP_FAILED)
		return evn_fail_memory(err, "state of training", bytes);
	evn_status s = EVN_OK;
	for (uint64_t at = 0, n; at < bytes && s == EVN_OK; at += n) {
		n = bytes - at < SENT_BYTES ? bytes - at : SENT_BYTES;
		s = evn_nodes_broadcast(nodes, data + at, n, NULL, err);
	}
	munmap(data, bytes);
	return s;
}

static const char *state_path(const evn_trainer *t)
{
	const bool goes_on = t->o.model_path && !t->o.lora_rank && !t->o.resume;
	return goes_on ? t->o.model_path : t->checkpoint_path;
}

static evn_status measure_file(const char *path, uint64_t *bytes, evn_error *err)
{
	evn_source *source;
	EVN_TRY(evn_source_open(&source, path, err));
	*bytes = evn_source_size(source);
	evn_source_close(source);
	return EVN_OK;
}

evn_status evn_lead_state(evn_trainer *t, evn_cluster *c, evn_status opened, evn_error *err)
{
	task k = {.trained = t->trained,
			  .shape = t->shape,
			  .n_tok = t->n_tok,
			  .context = t->o.context,
			  .accumulate = t->o.accumulate,
			  .lora_rank = t->o.lora_rank,
			  .dropout = t->o.dropout,
			  .clip = t->o.clip,
			  .seed = t->o.seed};
	evn_error own = {0};
	if (!c)
		return opened;
	if (err)
		own = *err;
	if (opened == EVN_OK)
		opened = measure_file(state_path(t), &k.state_bytes, &own);
	evn_status s = evn_cluster_agree(c, opened, &own);
	if (s == EVN_OK)
		s = evn_nodes_broadcast(c->nodes, &k, sizeof k, NULL, &own);
	if (s == EVN_OK)
		s = send_file(c->nodes, state_path(t), k.state_bytes, &own);
	if (s == EVN_OK)
		s = evn_cluster_agree(c, EVN_OK, &own); /* could the others open it? */
	if (err)
		*err = own;
	return s;
}

static evn_status open_received(evn_trainer *t, const char *model_path, evn_error *err)
{
	char path[64];
	snprintf(path, sizeof path, "/proc/%d/fd/%d", (int)getpid(), t->received);
	EVN_TRY(evn_state_open(&t->state, path, err));
	return evn_model_open(&t->model, t->o.lora_rank ? model_path : path, err);
}

static evn_status receive_state(evn_trainer *t, evn_cluster *c, const char *model_path, evn_error *err)
{
	task k;
	EVN_TRY(evn_cluster_agree(c, EVN_OK, err));
	EVN_TRY(evn_nodes_broadcast(c->nodes, &k, sizeof k, NULL, err));
	t->trained = k.trained;
	t->shape = k.shape;
	t->n_tok = k.n_tok;
	t->o.context = k.context;
	t->o.accumulate = k.accumulate;
	t->o.lora_rank = k.lora_rank;
	t->o.dropout = k.dropout;
	t->o.clip = k.clip;
	t->o.seed = k.seed;
	EVN_TRY(receive_file(c->nodes, k.state_bytes, &t->received, err));
	return evn_cluster_agree(c, open_received(t, model_path, err), err);
}

evn_status evn_follow_split(evn_trainer *t, evn_status split, evn_error *err)
{
	evn_cluster *c = t->prepared.cluster;
	bool all[EVN_MAX_NODES] = {false};
	if (!c)
		return split;
	const uint32_t n = evn_cluster_nodes(c), own = evn_cluster_node(c);
	if (own)
		evn_split_free(&t->prepared.split);
	EVN_TRY(evn_cluster_share_split(c, &t->prepared, split, err));
	all[own] = t->shape.recompute;
	EVN_TRY(evn_cluster_exchange(c, all, sizeof *all, err));
	for (uint32_t i = 0; i < n; i++)
		t->shape.recompute |= all[i];
	return EVN_OK;
}

evn_status evn_follow_trainer_loaded(evn_trainer *t, evn_status loaded, evn_error *err)
{
	evn_error own = {0};
	if (!t->prepared.cluster)
		return loaded;
	if (err)
		own = *err;
	const evn_status s = evn_cluster_agree(t->prepared.cluster, loaded, &own);
	t->has_followers = s == EVN_OK && evn_cluster_node(t->prepared.cluster) == 0;
	if (err)
		*err = own;
	return s;
}

/* ---- node 0 tells ---------------------------------------------------------------------------------------------- */

static evn_status send_order(const evn_trainer *t, order o, evn_error *err)
{
	return t->has_followers ? evn_nodes_broadcast(nodes_of(t), &o, sizeof o, NULL, err) : EVN_OK;
}

/* The ids, then the targets, of t->n_passes passes. */
static evn_status share_batch(evn_trainer *t, evn_error *err)
{
	const uint64_t bytes = (uint64_t)t->n_passes * t->n_tok.of_pass * sizeof *t->ids;
	EVN_TRY(evn_nodes_broadcast(nodes_of(t), t->ids, bytes, NULL, err));
	return evn_nodes_broadcast(nodes_of(t), t->targets, bytes, NULL, err);
}

evn_status evn_lead_passes(evn_trainer *t, evn_error *err)
{
	const order o = {
		.command = PASSES, .n_passes = t->n_passes, .step = t->progress.step, .gradient_scale = t->gradient_scale};
	EVN_TRY(send_order(t, o, err));
	return t->has_followers ? share_batch(t, err) : EVN_OK;
}

evn_status evn_lead_update(evn_trainer *t, evn_error *err)
{
	return send_order(t, (order){.command = UPDATE, .adamw = t->adamw}, err);
}

evn_status evn_lead_collection(evn_trainer *t, bool with_state, evn_error *err)
{
	return send_order(t, (order){.command = COLLECTION, .with_state = with_state}, err);
}

void evn_lead_training_end(evn_trainer *t)
{
	send_order(t, (order){.command = END}, NULL);
	t->has_followers = false;
}

/* ---- the other nodes do ---------------------------------------------------------------------------------------- */

static evn_status obey(evn_trainer *t, const order *o, evn_error *err)
{
	const evn_networks n = evn_trainer_networks(t);
	switch ((command)o->command) {
	case PASSES:
		t->n_passes = o->n_passes;
		t->progress.step = o->step;
		t->gradient_scale = o->gradient_scale;
		EVN_TRY(share_batch(t, err));
		return evn_trainer_passes(t, err);
	case UPDATE:
		t->adamw = o->adamw;
		return evn_trainer_update(t, err);
	case COLLECTION:
		return evn_checkpoint_give(&n, o->with_state, err);
	case END:
		break;
	}
	return EVN_OK;
}

static evn_status follow(evn_trainer *t, const char *model_path, const evn_options *o, evn_error *err)
{
	order next = {.command = UPDATE};
	EVN_TRY(receive_state(t, o->cluster, model_path, err));
	EVN_TRY(evn_trainer_load(t, o, err));
	while (next.command != END) {
		EVN_TRY(evn_nodes_broadcast(nodes_of(t), &next, sizeof next, NULL, err));
		EVN_TRY(obey(t, &next, err));
	}
	return EVN_OK;
}

evn_status evn_trainer_follow(const char *model_path, const evn_options *o, evn_error *err)
{
	evn_trainer *t = calloc(1, sizeof *t);
	if (!t)
		return evn_fail_memory(err, "trainer", sizeof *t);
	const evn_status s = follow(t, model_path, o, err);
	const int received = t->received;
	evn_trainer_close(t);
	if (received > 0)
		close(received);
	return s;
}
