/* network.h - a model on one rank, for training: a shard with gradients, the walk of inference with a tape, and the
 * backward walk. It is cut exactly as for inference. */
#ifndef EVN_NETWORK_H
#define EVN_NETWORK_H

#include "nn/micro_batch.h"
#include "train/linear.h"

/* What is trained. */
typedef struct {
	uint32_t lora_rank; /* 0: every parameter, in f32; otherwise additions of this rank to unchanged weights */
	float lora_alpha;   /* additions are multiplied by lora_alpha / lora_rank */
	uint32_t lora_targets;
} evn_trained;

/* The bits of lora_targets, and the names of these tensors. */
#define EVN_TARGETS 7
extern const char *const evn_target_names[EVN_TARGETS]; /* "attn_q", ... */
bool evn_is_target(const evn_trained *t, const char *stem);

typedef struct {
	uint32_t n_ctx, n_sequences; /* tokens of one pass: n_sequences of n_ctx */
	bool recompute;              /* keep only the blocks' inputs; compute the rest again in the backward walk */
} evn_pass_shape;

/* The tokens of all sequences. evn_network_check refuses shapes for which 32 bits are too few. */
static inline uint32_t evn_pass_tokens(const evn_pass_shape *s) { return s->n_ctx * s->n_sequences; }

typedef struct {
	evn_param weight, bias; /* without pieces if they are not trained */
} evn_train_norm;

typedef struct {
	evn_train_norm norm;
	evn_linear in, out;
} evn_train_block;

typedef struct {
	evn_queue *q;
	evn_comm *comm;
	evn_graph *graph;
	evn_trained trained;
	evn_pass_shape shape;
	uint32_t rank, n_ranks, n_tok;
	uint64_t vocab_ranks; /* one bit for each rank with vocabulary rows */
	evn_shard *shard;
	evn_view *view;
	evn_workspace *workspace;
	evn_tape *tape;
	evn_walker walker;    /* of the four */
	evn_micro_batch rows; /* of a pass: all its sequences */
	evn_product_times times;
	evn_backward *backward;
	evn_gradient_ops gradients;

	evn_train_block *blocks; /* parallel to the blocks of the graph */
	evn_train_norm out_norm;
	evn_linear head;
	evn_param tokens, positions; /* tables; tokens only if the embedding is not also the head */
	evn_param *embedding;        /* tokens or the head's weight; NULL if it is not trained */
	evn_param **params;          /* all that are trained, in the same order on every rank */
	uint32_t n_params;

	/* Rows of the workspace. The tape keeps the rows of the blocks, so the workspace's own are free: gradients are in
	 * the rows of the second micro-batch, and those of a block's rows in workspace->of[kind]. */
	evn_buf *x, *normed, *dx, *d_normed;
	uint32_t loss_tokens; /* logits are computed for at most this many tokens at once */
	/* scratch */
	evn_buf *moments, *delta, *sink, *logits, *x_piece, *d_piece, *stats, *losses, *ids, *targets, *starts, *order,
		*message, *squares, *total, *low, *d_low;
} evn_network;

/* EVN_OK if the model can be trained. EVN_ERR_UNSUPPORTED if it cannot. EVN_ERR_USAGE if another `trained` or shape
 * is possible. EVN_ERR_LIMIT if the shape has too many tokens. */
evn_status evn_network_check(const evn_model *m, const evn_trained *trained, const evn_pass_shape *shape,
							 evn_error *err);
/* The floats of the longest sum over ranks. They are needed before the communicator, and thus before the network, is
 * created. */
uint64_t evn_network_message(const evn_graph *g, const evn_trained *trained, const evn_pass_shape *shape,
							 uint32_t n_ranks);
/* Bytes of what the tape keeps of all blocks besides their inputs, on one rank that holds everything. */
uint64_t evn_network_activation_bytes(const evn_graph *g, const evn_pass_shape *shape);
/* Tokens whose logits are computed at once. */
uint32_t evn_network_loss_tokens(const evn_hparams *h, uint32_t n_tok);

/* Loads the rank's part of `split`, which must have one cut for both phases. Weights come from m. Additions and the
 * optimizer's state, if there is one, come from `state` (tensors NAME, adam_m.NAME, adam_v.NAME). */
evn_status evn_network_load(evn_network **out, evn_queue *q, evn_comm *comm, const evn_model *m,
							const evn_gguf *state, const evn_split *split, uint32_t rank, const evn_trained *trained,
							const evn_pass_shape *shape, evn_error *err);
void evn_network_free(evn_network *n);

/* params.c: makes the parameters, with their values and the optimizer's state as `state` has them. */
evn_status evn_network_make_params(evn_network *n, const evn_split *split, const evn_gguf *state, evn_error *err);

/* The tokens of one pass, on the host. embeddings (n_tok, stride) include the positions; they are given only if the
 * embedding is not trained. */
typedef struct {
	const uint32_t *ids, *targets; /* (n_tok) */
	const float *embeddings;
	/* Of what the embedding and each block add to the residual; fraction 0 for none. The key of the pass decides the
	 * masks, whatever the cut. */
	evn_dropout dropout;
} evn_train_batch;

/* Computes the forward pass. If gradient_scale > 0 it also computes the backward pass, with each token's loss
 * multiplied by it. losses (n_tok) is on the host and may be NULL. Every rank calls it. */
evn_status evn_network_pass(evn_network *n, const evn_train_batch *batch, float gradient_scale, float *losses,
							evn_error *err);

/* A norm, for the backward walk. */
typedef struct {
	evn_norm_kind kind;
	const evn_norm_weights *weights;
	const evn_train_norm *trained;
	const evn_buf *x; /* its input */
} evn_norm_back;
/* Adds this rank's partial sum of dx, from d_normed, and the gradients of the norm's parameters (pass.c). */
evn_status evn_network_norm_back(evn_network *n, const evn_norm_back *norm, evn_error *err);

/* The logits and losses of all tokens from x, in pieces (loss.c). With a gradient_scale also dx, and the gradients of
 * the head and the output norm. */
evn_status evn_network_loss(evn_network *n, float gradient_scale, evn_error *err);

/* Clears the gradients. After the passes: one step of AdamW, with gradients clipped to norm `clip` (0: not clipped).
 * *norm is the norm of the whole gradient, the same on every rank. If it is not finite, nothing changes
 * (update.c). */
evn_status evn_network_zero_gradients(evn_network *n, evn_error *err);
evn_status evn_network_update(evn_network *n, const evn_adamw *adamw, float clip, double *norm, evn_error *err);

#endif
