/* graph.h - a model as data: the list of blocks that each row of activations goes through, and what is before and
 * after them. The loader, the plan, the walk, the known-answer tests, measuring and the trainer all read this
 * list.
 *
 * An architecture is one file that fills the list, and one row of graph.c. */
#ifndef EVN_GRAPH_H
#define EVN_GRAPH_H

#include "model/model.h"
#include "nn/ops.h"
#include "plan/plan.h"

typedef enum {
	EVN_BLOCK_ATTENTION,
	EVN_BLOCK_FEED_FORWARD,
	EVN_BLOCK_EXPERTS,
	EVN_BLOCK_DELTA,
	EVN_BLOCK_KINDS
} evn_block_kind;

/* Where the tensors of a norm are: with those of its block, with those of the layer before (before the end: of the
 * last layer), or outside of the layers. A norm of the end is outside without saying so. */
typedef enum { EVN_OF_BLOCK, EVN_OF_LAYER_BEFORE, EVN_OF_MODEL } evn_norm_place;

/* stem: the tensor's name without "blk.<layer>." and ".weight", and without the block's side. NULL: there is no norm.
 */
typedef struct {
	evn_norm_kind kind;
	const char *stem;
	evn_norm_place place;
} evn_norm_spec;

/* The stems of tensors whose rows are stacked, because they read the same input. There is one stem if a file holds
 * the rows of all of them in one tensor. */
typedef struct {
	const char *stems[EVN_MATRIX_PARTS];
	uint32_t n;
} evn_stack;

/* Attention over a latent vector (MLA): W_in gives the queries and the latent vector with the rotated key of all
 * heads, which is one KV head of `rotated` and `latent` entries. Queries are heads of `plain` and `rotated` entries;
 * with a `query` above 0 they come from a latent vector of their own. The block's unit_width is `value`. */
typedef struct {
	uint32_t rotated, latent, plain, value, query; /* latent is 0: there is no latent vector */
} evn_latent_spec;

typedef struct {
	uint32_t head_dim;
	evn_latent_spec latent;
	bool rotates;     /* queries and keys are rotated by their position */
	uint32_t rope;    /* by this one of the graph's ropes */
	bool rope_neox;   /* pairs (i, i + rope_dim / 2), otherwise (2i, 2i + 1) */
	bool qk_norm;     /* RMS norm of each query and key head before the rotation */
	bool qk_norm_all; /* the same over all heads together, for which the ranks add their squares */
	bool v_norm;      /* RMS norm of each value head, without weights */
	bool v_is_k;      /* values are the keys before their norm and rotation, so that there is no matrix of values */
	float scale;      /* the factor of a query times a key */
	float soft_cap;   /* scores become soft_cap * tanh(score / soft_cap); 0: they stay */
	bool sinks;       /* the softmax of each head has one more score, a weight of the model, which has no value */
	bool whole;       /* a query sees all keys of its sequence, those behind it too */
	uint32_t window;  /* a query sees this many of the newest keys, its own included; 0: all */
	bool gated;       /* the rows of a query head are followed by those of its gate, which multiplies its output */
	/* Keys and values come from the normed rows of the encoder, not from those of the queries: the memory of a
	 * sequence, all of which each query sees. */
	bool crosses;
	/* A score has a bias by the distance of key and query (relative positions of T5): the tensor (n_buckets, heads),
	 * which several blocks share. NULL: there is none. */
	const char *bias;
	uint32_t n_buckets;
	/* There are queries only: keys and values are those of the block `keys_of`, an earlier one of the same shape. The
	 * block is cut like that one. */
	bool shares;
	uint32_t keys_of;
} evn_attention_spec;

/* A gated DeltaNet (Yang et al. 2024): linear attention whose memory is a matrix for each value head, the state. In
 * place of keys and values of all positions a sequence keeps its last state (nn/cache.h). Value head h uses query and
 * key head h mod n_keys. A unit of the block is a value head. */
typedef struct {
	uint32_t n_keys; /* query heads, and as many key heads */
	uint32_t state;  /* the size of every head: a state is (state, state) */
	uint32_t taps;   /* of the causal convolution over positions */
} evn_delta_spec;

/* The experts of a block: n feed-forward networks of one shape, of which a row goes through the k with the largest
 * scores, router times row. Each is weighed by its probability among all n, a softmax of the scores. */
typedef struct {
	uint32_t n, k;
	const char *router; /* a stem */
	bool normed;        /* the weights of a row's experts are divided by their sum */
	bool sigmoid;       /* a weight is the logistic function of the score, not a probability among all */
	bool biased;        /* "exp_probs_b.bias" is added to logistic functions, for the choice alone */
	/* A row's experts are of n_used_groups of n_groups groups of equal size: those with the best expert or, if
	 * biased, with the best two. Below 2: there are no groups. */
	uint32_t n_groups, n_used_groups;
	float factor; /* of the sum of a row's experts */
	/* The router reads a norm of its own, with the weights "<router>.scale" / sqrt(dim), and the output of each
	 * expert has a factor, which is in "<out>.scale". */
	bool scales;
} evn_experts_spec;

/* act combines gate and up if it is gated, where `in` stacks gate and up; otherwise act(up). Gated blocks of a model
 * have one act. */
typedef struct {
	evn_nonlinearity act;
	bool gated;
	bool by_layer; /* not gated: act(up) is multiplied by the layer's inputs by the token (evn_graph.layer_inputs) */
	evn_experts_spec experts; /* of EVN_BLOCK_EXPERTS, which is gated */
	/* Of a block that joins: the stem of the vector that says its share (evn_block.joins); NULL: all of it is added
	 */
	const char *share;
} evn_feed_forward_spec;

/* Where the sum over ranks goes: to x, or aside. Blocks whose sums go aside stand one behind the other and read the
 * same x. The first sum, normed by `post`, takes the place of what was aside, and the last one is added to it. Then
 * x = kept * x + residual_scale * joint(what is aside), where joint is an RMS norm, by the last block's factors. */
typedef enum { EVN_TO_ROWS, EVN_ASIDE_FIRST, EVN_ASIDE_LAST } evn_sum_place;

/* One block: x = kept * x + residual_scale * post(W_out f(W_in norm(x))), where f is attention, a DeltaNet or the
 * feed-forward nonlinearity, and post is nothing or an RMS norm. A rank computes some of its units: query heads,
 * value heads, or feed-forward units. A unit of a block of experts is a unit of each expert, so all ranks have a part
 * of every expert. */
typedef struct {
	evn_block_kind kind;
	const char *side; /* tensors are named "<side>blk.<layer>.": "enc.", "dec."; NULL is "" */
	uint32_t layer;
	uint32_t n_units, unit_width; /* the columns of W_out, and the rows of W_in's first matrix, of one unit */
	uint32_t group;               /* query heads that share a KV head; 1 for a feed-forward block */
	evn_norm_spec norm;
	evn_stack in;
	/* The block reads the same x and norm as the block of experts before it, and they have one all-reduce. What it
	 * adds is weighed by the logistic function of its vector `share` times the normed row: a shared expert. */
	bool joins;
	const char *out;  /* the stem of W_out */
	const char *post; /* the stem of the norm of the sum over ranks; NULL: none. Sums that go aside have one */
	evn_sum_place to;
	const char *joint; /* of EVN_ASIDE_LAST: a stem */
	float residual_scale, kept;
	const char *scale; /* the stem of a number by which the layer's result is multiplied; NULL: there is none */
	union {
		evn_attention_spec attention;
		evn_feed_forward_spec feed_forward; /* of EVN_BLOCK_FEED_FORWARD and EVN_BLOCK_EXPERTS */
		evn_delta_spec delta;
	};
	uint32_t cut_class, cut_index; /* the block's class in the plan, and its index in that class */
} evn_block;

#define EVN_LAYER_PROJECTION "per_layer_model_proj.weight" /* of the inputs of layers by the token */
#define EVN_PATCH_MATRIX "v.patch_embd.weight"             /* of patches of images */
#define EVN_CLASS_ROW "v.class_embd"
#define EVN_COLOURS 3u
#define EVN_MOST_PATCH 64u   /* pixels of a side */
#define EVN_MOST_IMAGE 4096u /* the same */
#define EVN_MOST_EDGE 65536u
#define EVN_ROPES 2u /* different rotations of one model's blocks */

/* How a model of images reads them: `across` x `across` patches of side x side pixels of EVN_COLOURS. */
typedef struct {
	uint32_t across, side, floats; /* floats of a patch; 0: the model reads tokens */
	bool class_row;                /* a row of its own comes first */
	/* How an image is made ready (evener/embed.h); a value is (v / 255 - mean) / deviation. */
	uint32_t edge;
	bool bicubic;
	float mean[EVN_COLOURS], deviation[EVN_COLOURS];
} evn_patches;
static inline uint32_t evn_patch_rows(const evn_patches *p) { return p->across * p->across + p->class_row; }

typedef struct {
	const evn_model *model;
	const evn_hparams *h;
	uint32_t n_blocks;
	evn_block *blocks;
	bool biased; /* every norm and matrix of a block must have a bias; otherwise a matrix may have one */
	evn_activation activation;          /* of networks without a gate */
	float embedding_scale, logit_scale; /* factors of the embedding's rows and of the logits */
	float logit_cap;                    /* logits become logit_cap * tanh(logit / logit_cap); 0: they stay */
	evn_norm_spec out_norm;
	bool sums_inside; /* ranks also add sums inside blocks */
	bool sets_aside;  /* sums of some blocks go aside */
	bool shares_keys; /* some blocks have keys and values of others */
	/* The inputs of each layer by the token, one for each unit of a block `by_layer`; 0: there are none. They are a
	 * row of a second embedding, to which a projection of the first one is added. The host sends the two rows as one.
	 */
	uint32_t layer_inputs;
	evn_patches patches; /* the host sends a patch behind the row of its place */
	/* The tensor that every rank holds whole, and that multiplies a part of the rows as the host sends them: the
	 * embedding, for the inputs of layers; or patches. NULL: there is none. */
	const char *projection;
	bool has_states; /* a sequence has a state beside its keys and values */
	bool encodes;    /* queries see whole sequences: a sequence is one span, and no row predicts the next token */
	/* The first blocks are an encoder of its own: its rows do not go through the others, which attend to what it says
	 * of a sequence (attention.crosses). 0: there is none. */
	uint32_t n_encoder;
	evn_norm_spec encoder_norm; /* of its rows */
	int32_t decoder_start;      /* the id with which the other blocks begin */
	uint32_t n_ropes;           /* at least 1; the first is the hyper-parameters' until an architecture changes it */
	evn_rope ropes[EVN_ROPES];
	/* Blocks that are cut alike are a class of the plan: its first block, and the number of its blocks. The
	 * vocabulary is the first class. */
	uint32_t n_classes, class_first[EVN_PLAN_CLASSES], class_blocks[EVN_PLAN_CLASSES];
} evn_graph;

/* The graph borrows m. EVN_ERR_UNSUPPORTED lists the supported architectures, or names the tensors and keys of the
 * file that the graph does not read. */
evn_status evn_graph_make(evn_graph **out, const evn_model *m, evn_error *err);
void evn_graph_free(evn_graph *g);
/* Removes all blocks after the first n_layers. For measuring. */
void evn_graph_keep_layers(evn_graph *g, uint32_t n_layers);

/* The blocks that rows go through: of the encoder, or all others. */
static inline evn_range evn_graph_walk(const evn_graph *g, bool encoder)
{
	return encoder ? (evn_range){0, g->n_encoder} : (evn_range){g->n_encoder, g->n_blocks};
}

/* The output matrix, (vocab, dim): output.weight, or the token embedding if the two are tied. */
evn_status evn_graph_head(const evn_graph *g, const evn_tensor **out, evn_error *err);
/* The tensor "<side>blk.<layer>.<stem>.weight", of any shape. */
evn_status evn_block_tensor(const evn_graph *g, const evn_block *b, const char *stem, const evn_tensor **out,
							evn_error *err);

/* The floats of a row as the host sends it; the column at which the inputs of layers, or the patch, begin. */
uint32_t evn_graph_row_floats(const evn_graph *g);
static inline uint32_t evn_graph_layer_column(const evn_graph *g, uint32_t layer)
{
	return (uint32_t)evn_round_up(g->h->dim, EVN_PAD) + layer * g->layer_inputs;
}

/* How the gated blocks combine gate and up. */
evn_nonlinearity evn_graph_gate(const evn_graph *g);

/* True if the matrix of this stem has a bias. If the architecture requires one, loading reports a missing bias. */
bool evn_block_has_bias(const evn_graph *g, const evn_block *b, const char *stem);

/* The last of the blocks from `block` on that have one all-reduce. */
uint32_t evn_graph_last_joined(const evn_graph *g, uint32_t block);
/* The part of a block's weights that one row reads. */
double evn_block_read_fraction(const evn_block *b);

/* A run of rows of W_in: rows [first, first + n * width) of a tensor belong to n units, or to n groups of units. */
typedef struct {
	const char *stem;
	uint32_t tensor_rows, first, width;
	bool by_group;
} evn_row_spec;
/* The rows of each stacked matrix, in stacking order. Returns their number. Several may be one tensor. */
uint32_t evn_block_rows(const evn_block *b, evn_row_spec out[EVN_MATRIX_PARTS]);
/* The rows that units [u.begin, u.end) need. */
evn_range evn_rows_of(const evn_row_spec *r, const evn_block *b, evn_range units);
/* The groups of units [begin, end): KV heads; key heads of a DeltaNet, all of them if the units' own ones are not
 * side by side. If a group's units are on two ranks, both hold it. */
evn_range evn_groups_of(const evn_block *b, evn_range units);

/* ---- for the architectures' files ------------------------------------------------------------------------------ */

/* An architecture: the value of general.architecture, and the function that fills the list. Each file has one such
 * symbol. */
typedef struct {
	const char *name;
	bool has_layers;
	evn_status (*fill)(evn_graph *g, evn_error *err);
} evn_arch;
#define EVN_ARCH(symbol)                                                                                             \
	extern const evn_arch evn_arch_##symbol;                                                                         \
	const evn_arch evn_arch_##symbol

/* The usual blocks of a layer, made from the hyper-parameters: rotated attention, scaled by 1 / sqrt(head_dim); a
 * gated SiLU network; RMS norms. An architecture changes what is different. */
evn_block evn_attention_block(const evn_graph *g, uint32_t layer);
evn_block evn_feed_forward_block(const evn_graph *g, uint32_t layer);
/* The same for a mixture of experts whose weights are divided by their sum. Reads the keys of experts. */
evn_status evn_experts_block(const evn_graph *g, uint32_t layer, evn_block *out, evn_error *err);
/* The shared expert of a layer. Reads its key. */
evn_status evn_shared_expert_block(const evn_graph *g, uint32_t layer, evn_block *out, evn_error *err);
/* Reads a number that may be 0; *n is unchanged if the file has none. */
evn_status evn_graph_count(const evn_graph *g, const char *suffix, uint32_t *n, evn_error *err);
/* The number of experts, "<architecture>.expert_count"; 0 if the file has none. */
evn_status evn_graph_experts(const evn_graph *g, uint32_t *n, evn_error *err);
/* Reads the number "<architecture>.<suffix>" of the file, which must be above 0. If there is none, *value is
 * unchanged. */
evn_status evn_graph_f32(const evn_graph *g, const char *suffix, float *value, evn_error *err);
/* The same for a number of which 0 says that there is none. */
evn_status evn_graph_cap(const evn_graph *g, const char *suffix, float *value, evn_error *err);
evn_status evn_graph_bool(const evn_graph *g, const char *suffix, bool *value, evn_error *err);
evn_status evn_graph_string(const evn_graph *g, const char *suffix, evn_str *value, evn_error *err);
/* Reads the size "<architecture>.<suffix>", which must be 1 to 2^24. If there is none, *value is unchanged. */
evn_status evn_graph_u32(const evn_graph *g, const char *suffix, uint32_t *value, evn_error *err);
/* The bools of "<architecture>.<suffix>", one for each layer; NULL: there are none. */
evn_status evn_graph_flags(const evn_graph *g, const char *suffix, const uint8_t **out, evn_error *err);
/* Says that the value of this key does not matter here. */
void evn_graph_ignore(const evn_graph *g, const char *suffix);

/* The n numbers of "<architecture>.<suffix>", which must be above `least`. If there is none, values are unchanged. */
evn_status evn_graph_f32s(const evn_graph *g, const char *suffix, uint32_t n, float least, float *values,
						  evn_error *err);

/* The same for a size above 0 that may differ between layers. */
evn_status evn_graph_layer_u32(const evn_graph *g, const char *suffix, uint32_t layer, uint32_t *value,
							   evn_error *err);
/* The block is the last of its layer, whose result is multiplied by the number in the tensor of this stem, if there
 * is one. */
evn_status evn_block_scale_layer(const evn_graph *g, evn_block *b, const char *stem, evn_error *err);

/* Which layers have a window, and its size; 0: it covers the context, or the file has none. */
typedef struct {
	uint32_t window, period;  /* every period-th layer sees all keys; 0: none does */
	const uint8_t *of_layers; /* a bool for each layer; NULL: the period says it */
} evn_windows;
/* Reads the keys of windows. period: that of a file without a pattern. */
evn_status evn_graph_windows(const evn_graph *g, uint32_t period, evn_windows *out, evn_error *err);
bool evn_windowed(const evn_windows *w, uint32_t layer);

/* The blocks so far are an encoder for those that follow. */
void evn_graph_end_encoder(evn_graph *g, const char *norm);
/* Appends a block. Finds its class, and whether the file has its stacked rows in one tensor. */
evn_status evn_graph_add(evn_graph *g, const evn_block *b, evn_error *err);

#endif
