/* network.h - a decoder of the Llama family, GPT-2 or one without layers, on one rank, as training needs it:
 * parameters with their gradients, the activations that the backward walk reads, and the two walks. It is cut exactly
 * as inference cuts it. */
#ifndef EVN_NETWORK_H
#define EVN_NETWORK_H

#include "nn/graph.h"
#include "nn/ops.h"
#include "plan/plan.h"
#include "train/linear.h"

/* What is trained. */
typedef struct {
	uint32_t lora_rank; /* 0: every parameter, in f32; else additions of this rank, the weights as they stand */
	float lora_alpha;   /* additions count lora_alpha / lora_rank */
	uint32_t lora_targets;
} evn_trained;

/* Bits of lora_targets, and the tensors' names. */
#define EVN_TARGETS 7
extern const char *const evn_target_names[EVN_TARGETS]; /* "attn_q", ... */

typedef struct {
	uint32_t n_ctx, n_sequences; /* tokens of one pass: n_sequences of n_ctx */
	bool recompute;              /* keep only the layers' inputs; compute the rest again in the backward walk */
} evn_pass_shape;

/* Of all sequences; evn_network_check refuses shapes of more than this counts. */
static inline uint32_t evn_pass_tokens(const evn_pass_shape *s) { return s->n_ctx * s->n_sequences; }

/* What one layer computed, (n_tok, stride) each. */
typedef struct {
	evn_buf *attn_normed, *qkv, *attended, *lse, *ffn_normed, *gate_up, *gated;
} evn_activations;

/* The bias has no pieces where there is none, the weight neither in a network without norms. */
typedef struct {
	evn_param weight, bias;
} evn_train_norm;

typedef struct {
	evn_range heads, kv_heads, ff;
	evn_train_norm attn_norm, ffn_norm;
	evn_linear qkv, attn_out, gate_up, down;
	uint32_t k_offset, v_offset, up_offset;
	uint32_t attn_contributors, ff_contributors; /* bit per rank */
	evn_buf *input, *middle;                     /* residual before attention and before feed-forward */
	evn_activations kept;                        /* the network's shared ones where it recomputes */
} evn_train_layer;

typedef struct {
	evn_queue *q;
	evn_comm *comm;
	evn_products products;
	evn_product_times times; /* of the products */
	evn_backward *backward;
	const evn_hparams *h;
	evn_graph *graph; /* each layer is one attention and one feed-forward block */
	evn_trained trained;
	evn_pass_shape shape;
	uint32_t rank, n_ranks, n_tok;
	uint32_t dim_stride, qkv_stride, attended_stride, gate_up_stride, gated_stride, logits_stride;
	evn_train_layer *layers;
	uint32_t n_layers;
	evn_range vocab;
	uint32_t vocab_contributors, loss_tokens; /* logits are computed for at most loss_tokens at once */
	evn_param embedding, positions;           /* not held where they are not trained */
	evn_train_norm out_norm;
	evn_linear head; /* its weight is the embedding's where the two are tied */
	bool tied;
	evn_param **params; /* all that are trained, in one order on every rank */
	uint32_t n_params;
	evn_buf *rope;
	evn_dropout dropout; /* of the pass that runs */
	/* scratch */
	evn_activations shared;
	evn_buf *x, *normed, *dx, *d_normed, *d_qkv, *d_attended, *d_gate_up, *d_gated, *moments, *delta, *sink;
	evn_buf *logits, *x_piece, *d_piece, *stats, *losses, *ids, *targets, *starts, *order, *message, *squares, *total;
} evn_network;

/* What training can do with this model, else EVN_ERR_UNSUPPORTED, or EVN_ERR_USAGE where another `trained` or shape
 * would do, EVN_ERR_LIMIT where the shape has too many tokens. */
evn_status evn_network_check(const evn_model *m, const evn_trained *trained, const evn_pass_shape *shape,
							 evn_error *err);
/* Floats of the longest sum over ranks: needed before the communicator, and so before the network. */
uint64_t evn_network_message(const evn_model *m, const evn_trained *trained, const evn_pass_shape *shape,
							 uint32_t n_ranks);
/* Bytes that all layers' activations take when none are recomputed. */
uint64_t evn_network_activation_bytes(const evn_hparams *h, const evn_pass_shape *shape);

/* Rank's part of `split`. Trained parameters and the optimizer's state, where there is one, come out of `state`
 * (tensors NAME, adam_m.NAME, adam_v.NAME), all else out of m. */
evn_status evn_network_load(evn_network **out, evn_queue *q, evn_comm *comm, const evn_model *m,
							const evn_gguf *state, const evn_split *split, uint32_t rank, const evn_trained *trained,
							const evn_pass_shape *shape, evn_error *err);
void evn_network_free(evn_network *n);

static inline const evn_block *evn_network_attention(const evn_network *n, uint32_t layer)
{
	return &n->graph->blocks[2 * (size_t)layer];
}
static inline const evn_block *evn_network_feed_forward(const evn_network *n, uint32_t layer)
{
	return &n->graph->blocks[2 * (size_t)layer + 1];
}

/* Tokens of one pass, on the host. embeddings (n_tok, stride), positions added: only where they are not trained. */
typedef struct {
	const uint32_t *ids, *targets; /* (n_tok) */
	const float *embeddings;
	/* After the embedding, attention and feed-forward, before they are added to the residual; fraction 0 for none.
	 * The key of a pass gives the masks, whatever the cut. */
	evn_dropout dropout;
} evn_train_batch;

/* Forward, and where gradient_scale > 0 backward with the loss of each token counted so often. losses (n_tok): on the
 * host, may be NULL. Every rank calls it. */
evn_status evn_network_pass(evn_network *n, const evn_train_batch *batch, float gradient_scale, float *losses,
							evn_error *err);

/* walk.c: y = the norm of x, and back: the partial sum this rank gives to dx from d_normed, the gradients of the
 * norm's parameters. y's columns from dim on are zeros. */
evn_status evn_network_norm(evn_network *n, evn_buf *y, const evn_buf *x, const evn_train_norm *norm, evn_error *err);
evn_status evn_network_norm_back(evn_network *n, const evn_buf *x, const evn_train_norm *norm, evn_error *err);

/* loss.c: logits and loss of all tokens from x, piece by piece; with a gradient_scale also dx and the gradients of
 * head and output norm. */
evn_status evn_network_loss(evn_network *n, float gradient_scale, evn_error *err);

/* update.c: gradients become zero; after the passes, one step of AdamW clipped to norm `clip` (0: not clipped).
 * *norm: of the whole gradient, the same on every rank; where it is not finite nothing is changed. */
evn_status evn_network_zero_gradients(evn_network *n, evn_error *err);
evn_status evn_network_update(evn_network *n, const evn_adamw *adamw, float clip, double *norm, evn_error *err);

#endif
