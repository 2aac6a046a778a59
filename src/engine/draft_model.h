/* draft_model.h - guesses what comes next in texts by a second, cheaper model of the same vocabulary.
 *
 * It has an engine of its own. Its steps alternate with those of the model, so the devices that compute them fastest
 * are the best ones, whether the model uses them or not. It reads the end of a text only: a guess needs little of it,
 * and what it reads must first be earned.
 *
 * How likely a guess is right follows from how far its logit is ahead of the next one. What comes of verified guesses
 * is counted for each class of distances. */
#ifndef EVN_DRAFT_MODEL_H
#define EVN_DRAFT_MODEL_H

#include "engine/engine.h"
#include "engine/speculate.h"
#include "evener/requests.h"

typedef struct evn_draft_model evn_draft_model;

/* What the draft model's cache has of a text: `n` ids from `from` on. Zero-initialise. */
typedef struct {
	evn_slot slot;
	int32_t *ids; /* (n_ctx of the draft model) those in the cache */
	uint32_t from, n;
	uint32_t n_recoveries; /* of its engine, when they were computed */
} evn_draft_text;

/* A text whose next ids are wanted: at most `most`, written behind its ids, where there is room. */
typedef struct {
	evn_draft_text *text;
	int32_t *ids;
	uint32_t n_ids, most;
	evn_draft *draft; /* n and chances */
	uint8_t *classes; /* (most) for evn_draft_model_learn */
} evn_draft_ask;

/* e: see evn_engine_open_draft. It outlives *out. */
evn_status evn_draft_model_create(evn_draft_model **out, evn_engine *e, const evn_engine *of, evn_error *err);
void evn_draft_model_free(evn_draft_model *d);
void evn_draft_text_free(evn_draft_model *d, evn_draft_text *t);

/* How many ids it would read before it could guess, if it read no more than `window` of a new text. */
uint32_t evn_draft_model_unread(const evn_draft_model *d, const evn_draft_ask *a, uint32_t window);
/* Guesses for n texts. A text gets no further guess when the chance that all are right falls below `least`. Texts for
 * which there is no room get none. False: no device is left, and there are no more guesses; err says why. */
bool evn_draft_model_guess(evn_draft_model *d, evn_draft_ask *asks, uint32_t n, uint32_t window, float least,
						   evn_error *err);
/* A guess of this class was right, or was the first wrong one. */
void evn_draft_model_learn(evn_draft_model *d, uint8_t class, bool right);
/* The chance that a guess is right if those before it are. Without new ones it returns to what was assumed at first,
 * so that what once failed is tried again. Call it once for each step. */
double evn_draft_model_chance(evn_draft_model *d);
evn_draft_cost *evn_draft_model_cost(evn_draft_model *d);

#endif
