/* decoder.h - a decoder-only transformer of the Llama family on one rank: its shard of the weights, its KV cache, and
 * the layer walk that all ranks run together. */
#ifndef EVN_DECODER_H
#define EVN_DECODER_H

#include <stdatomic.h>

#include "group/comm.h"
#include "model/model.h"
#include "nn/ops.h"
#include "nn/ops_attention.h"
#include "plan/plan.h"

typedef struct evn_decoder evn_decoder;
typedef struct evn_kv evn_kv;

typedef struct {
	uint32_t n_ctx;    /* tokens of a KV cache */
	uint32_t n_batch;  /* most tokens of one step */
	uint32_t n_layers; /* the first so many; 0: all of them */
	evn_dot dot;       /* how this rank multiplies by integer weights */
	evn_kv_cache kv_cache;
	evn_message_type messages; /* how long ones between ranks travel; for evn_decoder_shape */
} evn_decoder_limits;

/* Progress of loading, shared by the threads that load: done counts bytes on the device; a set stop ends it. */
typedef struct {
	atomic_ullong done_bytes;
	atomic_bool stop;
} evn_load_progress;

/* What the planner needs to know: sizes of the model's matrices, scratch, messages and cache at these limits. */
evn_status evn_decoder_shape(const evn_model *m, evn_decoder_limits limits, evn_plan_shape *out, evn_error *err);

/* Loads rank's ranges of `split` through q. The decoder borrows q and m. */
evn_status evn_decoder_load(evn_decoder **out, evn_queue *q, const evn_model *m, const evn_split *split,
							uint32_t rank, evn_decoder_limits limits, evn_load_progress *progress, evn_error *err);
void evn_decoder_free(evn_decoder *d);
evn_ops *evn_decoder_ops(const evn_decoder *d);
uint64_t evn_decoder_weight_bytes(const evn_decoder *d, uint32_t n_tok); /* read by a step of so many tokens */

evn_status evn_kv_create(evn_kv **out, const evn_decoder *d, evn_error *err);
void evn_kv_free(evn_kv *kv);

/* Longest all_reduce message in floats. */
uint64_t evn_decoder_message_floats(const evn_model *m, evn_decoder_limits limits);

/* One step of n_tok <= n_batch tokens at `position`. */
typedef struct {
	const float *embeddings; /* (n_tok, stride): rows of the token embedding, padded with zeros to EVN_PAD */
	uint32_t n_tok, position;
	uint32_t n_logits; /* of the last n_logits tokens */
	float *logits;     /* host, (n_logits, vocab); each rank writes the columns it holds */
} evn_step;
evn_status evn_decoder_step(evn_decoder *d, evn_kv *kv, evn_comm *g, const evn_step *step, evn_error *err);

#endif
