/* request.h - a request of the scheduler: its job, and what draws its next id. */
#ifndef EVN_REQUEST_H
#define EVN_REQUEST_H

#include <stdatomic.h>

#include "engine/draft_model.h"
#include "engine/lookup.h"
#include "engine/schedule.h"
#include "engine/speculate.h"
#include "evener/requests.h"

struct evn_request {
	evn_job job; /* the first member: a job is a request */
	evn_scheduler *scheduler;
	evn_request_options o; /* the pointers in it are not kept, but those of events */
	evn_sampler *sampler;
	evn_matcher *matcher;             /* NULL: any text */
	evn_lookup *lookup;               /* NULL: no drafts */
	evn_draft_text draft_text;        /* in the cache of the draft model */
	uint8_t classes[EVN_MOST_DRAFTS]; /* of its guesses */
	bool guessed_by_model;            /* the step's drafts are from the draft model; n_verified were looked at */
	uint32_t n_verified;
	uint32_t room;                      /* of job.ids */
	double arrived_s, began_s, first_s; /* evn_now_s; 0: not yet */
	uint64_t number;                    /* in order of arrival, from 1 on */
	uint32_t n_tokens;                  /* drawn */
	uint32_t next_score;                /* the index of the next id that on_score hears of; 0: none */
	atomic_bool cancelled;
	bool ended; /* on_end has returned; the scheduler's lock guards it */
	evn_request_result result;
	evn_request *next; /* among those that have arrived and are not scheduled yet */
};

/* Checks the options and makes the request, not scheduled. */
evn_status evn_request_create(evn_request **out, const evn_model *m, const evn_request_options *o, evn_error *err);
void evn_request_destroy(evn_request *r);

/* The most drafts for which there is a place: they may be drawn within n_ctx ids. */
uint32_t evn_request_most_drafts(const evn_request *r, uint32_t n_ctx);
/* Writes guesses of the next ids behind those of the job, from the text so far. */
void evn_request_guess(evn_request *r, uint32_t n_ctx, evn_draft *draft);
/* Whether the logits behind the id at `position` are wanted. */
bool evn_request_wants(const evn_request *r, uint32_t position);
/* Tells on_score the logprob of the prompt's id at `index`, from the logits behind the id before it. */
void evn_request_score(evn_request *r, uint32_t index, const float *logits, uint32_t vocab);
/* How many of the largest of these logits suffice; 0: all are needed. */
uint32_t evn_request_needs(const evn_request *r, uint32_t position);
/* What a step gave for a row: all logits (vocab), or NULL and lists of the largest (n_lists, n_top). */
typedef struct {
	const float *all;
	const uint64_t *top;
	uint32_t n_lists, n_top;
} evn_row_logits;
/* Draws the next id from the row, appends it and tells on_token. *ended: the request ends with it, with
 * result.end. n_ctx: the most ids whose keys and values the cache can hold. */
evn_status evn_request_draw(evn_request *r, const evn_model *m, const evn_row_logits *logits, uint32_t n_ctx,
							bool *ended, evn_error *err);

#endif
