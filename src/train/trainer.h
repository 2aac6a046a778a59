/* trainer.h - a training run, for its own file and for the nodes that follow it. */
#ifndef EVN_TRAINER_H
#define EVN_TRAINER_H

#include "engine/cluster.h"
#include "evener/train.h"
#include "group/team.h"
#include "nn/embed.h"
#include "train/checkpoint.h"
#include "train/dataset.h"
#include "train/tokens.h"

struct evn_trainer {
	evn_train_options o;
	char *checkpoint_path;
	evn_model *model; /* the base model of an adapter, otherwise the state file itself */
	evn_state state;
	evn_trained trained;
	evn_pass_shape shape;
	evn_dataset data;
	evn_prepared prepared;
	uint32_t n_ranks, begin, end; /* those of this process are [begin, end) */
	evn_device *devices[EVN_MAX_RANKS];
	evn_queue *queues[EVN_MAX_RANKS];
	evn_network *networks[EVN_MAX_RANKS];
	evn_comm *comm;
	evn_team *team;
	evn_progress progress;
	float *loss, *val_loss; /* (o.steps) */
	evn_token_counts n_tok;
	/* of the current passes */
	uint32_t n_passes;
	uint32_t *ids, *targets;               /* (n_tok.of_step) */
	float *losses, *embeddings, *position; /* losses and embeddings of the passes; scratch for one position */
	evn_embedding embedding;
	float gradient_scale;
	evn_adamw adamw;
	double norm;
	bool warm;          /* a step is done, so all kernels are compiled */
	bool created;       /* this run has written the checkpoint of step 0 */
	int received;       /* a follower's copy of the state, in memory; 0: none */
	bool has_followers; /* other nodes wait for commands (follow.h) */
};

/* The model and the state are open: finds the devices, loads the parameters, makes room for batches. */
evn_status evn_trainer_load(evn_trainer *t, const evn_options *o, evn_error *err);
/* The passes of a step or of an evaluation, whose ids and targets are there. */
evn_status evn_trainer_passes(evn_trainer *t, evn_error *err);
/* The step of the optimizer, as t->adamw says. */
evn_status evn_trainer_update(evn_trainer *t, evn_error *err);
static inline evn_networks evn_trainer_networks(const evn_trainer *t)
{
	return (evn_networks){t->networks, t->begin, t->end, t->prepared.nodes.nodes};
}

#endif
