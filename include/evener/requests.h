/* evener/requests.h - many requests at once: continuous batching.
 *
 * An evn_scheduler owns a thread that computes steps on an engine. A step has a row for each request that is being
 * decoded, and beside these rows pieces of prompts. Requests join and leave between steps. Their keys and values lie
 * in the cache blocks of one pool; requests that begin alike share blocks.
 *
 * The ids of a request do not depend on the other requests: its logits have the same bits alone and among others.
 *
 * The functions may be called from any thread. Free requests before their scheduler, and it before its engine. While
 * a scheduler exists, no other session should compute on its engine: steps would alternate. */
#ifndef EVENER_REQUESTS_H
#define EVENER_REQUESTS_H

#include "grammar.h"
#include "sample.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct {
	int32_t id;
	float logprob; /* natural logarithm of the probability before temperature and cuts */
} evn_token_logprob;

typedef struct {
	int32_t id;
	bool ends;                    /* the model ends its answer with it; it is not part of the text */
	float logprob;                /* NaN unless logprobs were asked for */
	const evn_token_logprob *top; /* (n_top), the most likely first; valid during the call */
	size_t n_top;
} evn_request_token;

typedef enum {
	EVN_END_STOP,      /* an end token, on_token returned false, or the grammar allows no more */
	EVN_END_LENGTH,    /* max_tokens or the context is reached */
	EVN_END_CANCELLED, /* evn_request_cancel, or the scheduler was freed */
	EVN_END_FAILED,    /* see error */
} evn_request_end;

typedef struct {
	evn_request_end end;
	evn_error error;                       /* EVN_END_FAILED */
	uint32_t n_prompt, n_cached, n_tokens; /* ids of the prompt, those whose cache blocks were there, ids drawn */
	uint32_t n_drafted, n_accepted;        /* ids that were guessed and computed, and those of them that were drawn */
	uint32_t n_put_off;                    /* how often its cache blocks were given to a request with more right */
	double queue_s, prompt_s, decode_s;    /* waiting, until the first token, from then on */
} evn_request_result;

/* Both are called by the scheduler's thread and must return quickly: all requests wait for them. They must not call
 * evn_request_free or evn_scheduler_free. */
typedef struct {
	bool (*on_token)(void *user, const evn_request_token *token); /* false ends the request */
	void (*on_score)(void *user, size_t index, float logprob);    /* of the prompt's id at `index`, in order */
	void (*on_end)(void *user, const evn_request_result *result); /* once, also for a cancelled request */
	void *user;
} evn_request_events;

typedef struct {
	const int32_t *prompt; /* copied */
	size_t n_prompt;
	uint32_t max_tokens;         /* 0: as many as the context holds */
	evn_sample_options sampling; /* from evn_sample_defaults */
	const evn_logit_bias *bias;  /* copied */
	size_t n_bias;
	evn_grammar
		*grammar; /* what is drawn is a text of it, unless max_tokens cuts it; NULL: any. It outlives the request */
	bool ignore_end; /* tokens that end the answer are never drawn */
	bool logprobs;   /* n_top: at most EVN_MAX_TOP_LOGPROBS */
	uint32_t n_top;
	size_t score_from; /* with on_score: the first id of the prompt whose logprob is wanted, from 1 on; 0: none */
	bool only_score;   /* no id is drawn */
	int32_t priority;  /* lower values first, as in vLLM; a waiting request gains one each EVN_AGEING_S seconds */
	evn_request_events events;
} evn_request_options; /* zero-initialise, set sampling, then set what you need */

#define EVN_MAX_TOP_LOGPROBS 20
#define EVN_AGEING_S 5

/* Whether ids are guessed, from the text so far or by a draft model, so that one step computes several ids of a
 * request. The ids that are drawn are the same. */
typedef enum {
	EVN_SPECULATE_AUTO,   /* where it is faster, by what steps have cost and how often guesses were right */
	EVN_SPECULATE_LOOKUP, /* from the text, wherever it has a repetition */
	EVN_SPECULATE_DRAFT,  /* by the draft model, always */
	EVN_SPECULATE_OFF,
} evn_speculate;

typedef struct {
	uint32_t
		max_waiting; /* requests that may wait; 0: 1024. Behind that evn_request_submit fails with EVN_ERR_LIMIT */
	uint32_t max_running;  /* requests computed at once; 0: as many as a step has rows */
	uint32_t prompt_chunk; /* most prompt tokens in a step with decoding rows; 0: chosen */
	evn_speculate speculate;
	evn_engine *draft; /* from evn_engine_open_draft; NULL: no draft model. It outlives the scheduler */
} evn_scheduler_options;

typedef struct evn_scheduler evn_scheduler;
typedef struct evn_request evn_request;

EVN_API evn_status evn_scheduler_create(evn_scheduler **out, evn_engine *e, const evn_scheduler_options *o,
										evn_error *err);
/* Ends all requests as cancelled and waits for their on_end. Nothing can be submitted any more. */
EVN_API void evn_scheduler_stop(evn_scheduler *s);
/* Stops it. Its requests must have been freed; stop it first if some still run. */
EVN_API void evn_scheduler_free(evn_scheduler *s);

/* EVN_ERR_LIMIT if the queue is full, or if prompt and one token do not fit into the context or the pool.
 * EVN_ERR_USAGE for an empty prompt, an id outside the vocabulary, or sampling options out of range.
 * EVN_ERR_CANCELLED if the scheduler was stopped. */
EVN_API evn_status evn_request_submit(evn_request **out, evn_scheduler *s, const evn_request_options *o,
									  evn_error *err);
EVN_API void evn_request_cancel(evn_request *r);             /* ends at the next step boundary; on_end follows */
EVN_API evn_request_result evn_request_wait(evn_request *r); /* until on_end has returned */
EVN_API void evn_request_free(evn_request *r);               /* cancels it if it still runs, and waits */

typedef struct {
	uint32_t n_running, n_waiting;
	uint32_t n_blocks, n_used, n_cached; /* cache blocks of 64 positions: all, in use, free with known content */
	uint64_t steps, rows, put_off;       /* since the beginning; rows / steps: how many share a step */
	uint64_t prompt_tokens, cached_tokens, tokens; /* computed for prompts, found in the cache, drawn */
	uint64_t drafted, accepted; /* ids that were guessed and computed, and those of them that were drawn */
	uint64_t ended[EVN_END_FAILED + 1];
	double prompt_s, decode_s;           /* time of steps with prompt rows, and of the others */
	evn_rank_stats ranks[EVN_MAX_RANKS]; /* since the scheduler was created */
} evn_scheduler_stats;
EVN_API evn_scheduler_stats evn_scheduler_get_stats(evn_scheduler *s);

/* ---- a draft model ------------------------------------------------------------------------------------------- */
/* EVN_ERR_UNSUPPORTED if the two have different vocabularies. */
EVN_API evn_status evn_model_check_draft(const evn_model *draft, const evn_model *m, evn_error *err);
/* Where a draft model would be computed beside a model with these options: on the device, or the set of devices, that
 * is predicted to compute it fastest. The steps of both alternate, so it may be a device that the model uses, too. */
EVN_API evn_status evn_plan_draft(evn_plan **out, const evn_model *draft, const evn_options *o, evn_error *err);
/* Opens it there; an event of e says where and why. o: the options of e. For evn_scheduler_options of e.
 * EVN_ERR_UNSUPPORTED also for a model that cannot go back behind a wrong guess. */
EVN_API evn_status evn_engine_open_draft(evn_engine **out, const evn_model *draft, evn_engine *e,
										 const evn_options *o, evn_error *err);

/* ---- keys and values in a file ------------------------------------------------------------------------------ */
/* Writes the keys and values of the first ids that the scheduler still knows, so that another process need not
 * compute them. *n_saved: how many of the n ids. The file replaces an older one when it is complete. It holds for
 * this model and this format of the cache, on any devices. */
EVN_API evn_status evn_scheduler_save(evn_scheduler *s, const int32_t *ids, size_t n, const char *path,
									  size_t *n_saved, evn_error *err);
/* Makes them known to this scheduler: a request that begins with these ids need not compute them. EVN_ERR_UNSUPPORTED
 * for a file of another model or format, EVN_ERR_FORMAT for a damaged one, EVN_ERR_LIMIT if the cache has no room. */
EVN_API evn_status evn_scheduler_load(evn_scheduler *s, const char *path, size_t *n_loaded, evn_error *err);

#ifdef __cplusplus
}
#endif
#endif
