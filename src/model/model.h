/* model.h - a model file for the layers above: hyper-parameters, named weights, vocabulary. */
#ifndef EVN_MODEL_H
#define EVN_MODEL_H

#include "model/gguf.h"
#include "model/tokenizer.h"

typedef enum {
	EVN_ROPE_SCALING_NONE,
	EVN_ROPE_SCALING_LINEAR,
	EVN_ROPE_SCALING_YARN,
	EVN_ROPE_SCALING_LONGROPE
} evn_rope_scaling;

/* Tensors that belong to the hyper-parameters. */
#define EVN_ROPE_FACTORS "rope_freqs.weight"
#define EVN_ROPE_FACTORS_SHORT "rope_factors_short.weight"
#define EVN_ROPE_FACTORS_LONG "rope_factors_long.weight"
/* Of a model of images, in place of token_embd.weight: a row for each place of a patch, and one for the class. */
#define EVN_PLACES "v.position_embd.weight"

/* How queries and keys are rotated by their positions (nn/rope.h). */
typedef struct {
	uint32_t dim; /* the dimensions of a head that are rotated */
	float base;
	evn_rope_scaling scaling;
	float factor;               /* > 0: the context is stretched by this factor; 1 for none */
	uint32_t n_ctx_orig;        /* yarn, longrope: the context before stretching */
	float attn_factor;          /* of the rotated queries and keys; 1 if the file gives none */
	float beta_fast, beta_slow; /* yarn: 32 and 1 if the file gives none */
	float ext_factor;           /* yarn: how much of the unstretched frequencies is kept; 1 if the file gives none */
	bool exact_ramp; /* yarn: the ramp may begin and end between two pairs; otherwise it is widened to whole ones */
	float log_multiplier; /* yarn: divides the factor of longer contexts by that of this one; 0: no */
	/* A query at position p is multiplied by 1 + query_growth * ln(1 + floor(p / n_ctx_orig)); 0: it is not. */
	float query_growth;
	/* (dim / 2) divisors of the frequencies, or NULL: from rope_freqs.weight (llama3), or of longrope for contexts up
	 * to n_ctx_orig and for longer ones. */
	const float *freq_factors, *long_factors;
} evn_rope;

/* The same without scaling. */
static inline evn_rope evn_rope_plain(const evn_rope *r)
{
	return (evn_rope){.dim = r->dim, .base = r->base, .factor = 1, .attn_factor = 1};
}

/* The hyper-parameters that decoder families share, read from "<arch>.*" keys and checked: every size > 0, n_heads %
 * n_kv_heads == 0, rope.dim even and <= head_dim, vocab = rows of token_embd.weight, or of EVN_PLACES. A model
 * without layers has zeros for what belongs to layers. A model with learned positions (position_embd.weight) has a
 * rope.dim of 0. Where layers differ, ff_dim and n_kv_heads are the largest. */
typedef struct {
	evn_str arch; /* general.architecture */
	uint32_t n_layers, dim, ff_dim, n_heads, n_kv_heads, head_dim, vocab, n_ctx_train;
	uint32_t n_prediction_layers; /* of the file, behind the n_layers that are run */
	float norm_eps;
	evn_rope rope;
} evn_hparams;

/* *out is all zeros if this fails. evn_hparams_clear frees what it owns. */
evn_status evn_hparams_read(evn_hparams *out, const evn_gguf *g, evn_error *err);
void evn_hparams_clear(evn_hparams *h);

/* evn_model_hparams returns NULL if the file has none that evener understands: a vocabulary-only file, or an
 * architecture with other keys. Opening such a file is no error; evn_model_require_hparams says why there are
 * none. */
const evn_hparams *evn_model_hparams(const evn_model *m);
evn_status evn_model_require_hparams(const evn_model *m, const evn_hparams **out, evn_error *err);
/* The tokenizer. It is created at first use and owned by the model; any thread may call this. NULL if it cannot be
 * created. */
const evn_tokenizer *evn_model_tokenizer(const evn_model *m, evn_error *err);
const evn_gguf *evn_model_gguf(const evn_model *m);
/* Replaces the tensor's weights by these f32 values (malloc'd). On success the model owns them. */
evn_status evn_model_replace(evn_model *m, const evn_tensor *t, float *values, evn_error *err);
/* If the output matrix is the token embedding, the output matrix keeps its present values when the embedding is
 * replaced, because an adapter for the embedding was trained with them. */
evn_status evn_model_untie(evn_model *m, evn_error *err);
/* The output matrix: output.weight, or the token embedding if the two are tied. NULL if there is neither. */
const evn_tensor *evn_model_head(const evn_model *m);
/* Opens a GGUF file in memory (malloc'd). The model owns it, also if this fails. `name` is for messages. */
evn_status evn_model_from_memory(evn_model **out, const char *name, uint8_t *data, size_t size, evn_error *err);
const char *evn_model_path(const evn_model *m); /* NULL for a model in memory */
/* The files of the adapters that have been applied, in order. */
#define EVN_MAX_ADAPTERS 16
uint32_t evn_model_adapters(const evn_model *m, const char *const **paths);
/* Call it before weights are replaced. `hash`: of what it does. EVN_ERR_LIMIT if the model has
 * EVN_MAX_ADAPTERS already. */
evn_status evn_model_note_adapter(evn_model *m, const char *path, uint64_t hash, evn_error *err);
/* What a model is made of: its file, and the adapters to apply in this order. */
typedef struct {
	const char *path; /* NULL: there is no model */
	const char *const *adapters;
	uint32_t n_adapters;
} evn_model_files;
/* For measuring: every adapter is applied with scale 1. What counts is that the adapted matrices become f32. */
evn_status evn_model_open_adapted(evn_model **out, const evn_model_files *files, evn_error *err);
const evn_tensor *evn_model_find(const evn_model *m, const char *name);
/* The tensor of this name, of any shape. *out is NULL if it is missing. */
evn_status evn_model_get(const evn_model *m, const char *name, const evn_tensor **out, evn_error *err);
/* Like evn_model_need. */
evn_status evn_model_check_shape(const evn_model *m, const evn_tensor *t, uint64_t cols, uint64_t rows,
								 evn_error *err);
/* The same for n matrices of this shape in one tensor. */
evn_status evn_model_need_stack(const evn_model *m, const char *name, const uint64_t shape[3], const evn_tensor **out,
								evn_error *err);
/* The tensor must exist and have this shape: cols = shape[0], rows = shape[1] (rows 0: one-dimensional). */
evn_status evn_model_need(const evn_model *m, const char *name, uint64_t cols, uint64_t rows, const evn_tensor **out,
						  evn_error *err);

/* EVN_ERR_UNSUPPORTED if the metadata have a key that changes the arithmetic and that nothing has asked for. Call it,
 * and the two functions below, when the hyper-parameters are read and the list of blocks is filled. */
evn_status evn_model_check_keys(const evn_model *m, evn_error *err);
/* One warning that names the unknown entries (evener/inspect.h), if there are any. */
void evn_model_warn_unknown_keys(const evn_model *m);

#endif
