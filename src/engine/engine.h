/* engine.h - the parts behind evn_engine and evn_session. */
#ifndef EVN_ENGINE_H
#define EVN_ENGINE_H

#include "engine/prepare.h"
#include "evener/score.h"
#include "group/team.h"
#include "nn/embed.h"

typedef struct {
	evn_device *device;
	evn_queue *queue;
	evn_decoder *decoder;
} evn_rank;

struct evn_engine {
	const evn_model *model;
	evn_options options; /* pointers in it are not kept */
	evn_prepared prepared;
	evn_embedding embedding;
	uint32_t n_ranks;
	evn_rank ranks[EVN_MAX_RANKS];
	evn_comm *comm;
	evn_team *team;
};

/* Takes *p over, also where it fails. Without a plan in *p, evn_engine_plan must not be called. */
evn_status evn_engine_open_prepared(evn_engine **out, const evn_model *m, const evn_options *o, evn_prepared *p,
									evn_error *err);

/* Of the model, the ranks and how they compute. */
uint64_t evn_scorer_fingerprint(const evn_scorer *s);

#endif
