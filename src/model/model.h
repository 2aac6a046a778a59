/* model.h - a model file as the layers above see it: hyper-parameters, named weights, vocabulary. */
#ifndef EVN_MODEL_H
#define EVN_MODEL_H

#include "model/gguf.h"
#include "model/tokenizer.h"

typedef enum { EVN_ROPE_SCALING_NONE, EVN_ROPE_SCALING_LINEAR, EVN_ROPE_SCALING_YARN } evn_rope_scaling;

/* Hyper-parameters common to the decoder families, read from "<arch>.*" keys and checked: every size > 0,
 * n_heads % n_kv_heads == 0, rope_dim even and <= head_dim, vocab = rows of token_embd.weight. A model without layers
 * has zeros for what belongs to layers; one with learned positions (position_embd.weight) has a rope_dim of 0. */
typedef struct {
	evn_str arch; /* general.architecture */
	uint32_t n_layers, dim, ff_dim, n_heads, n_kv_heads, head_dim, vocab, n_ctx_train;
	float norm_eps;
	float rope_base;
	uint32_t rope_dim; /* dimensions of a head that rotate */
	evn_rope_scaling rope_scaling;
	float rope_factor;                    /* >= 1: context is stretched by this; 1 for none */
	uint32_t rope_n_ctx_orig;             /* yarn: context before stretching */
	float rope_attn_factor;               /* yarn: 1 when the file gives none */
	float rope_beta_fast, rope_beta_slow; /* yarn: 32 and 1 when the file gives none */
	const float *rope_freq_factors;       /* (rope_dim / 2) divisors from rope_freqs.weight (llama3), or NULL */
} evn_hparams;

/* *out is zeros when this fails; evn_hparams_clear frees what it owns. */
evn_status evn_hparams_read(evn_hparams *out, const evn_gguf *g, evn_error *err);
void evn_hparams_clear(evn_hparams *h);

/* NULL when the file has none that evener understands: a vocabulary-only file, an architecture with other keys.
 * evn_model_open does not mind; require says why. */
const evn_hparams *evn_model_hparams(const evn_model *m);
evn_status evn_model_require_hparams(const evn_model *m, const evn_hparams **out, evn_error *err);
/* Created at first use, owned by the model; any thread. NULL when it cannot be. */
const evn_tokenizer *evn_model_tokenizer(const evn_model *m, evn_error *err);
const evn_gguf *evn_model_gguf(const evn_model *m);
/* The tensor's weights become these f32 values, malloc'd, which the model takes over where this succeeds. */
evn_status evn_model_replace(evn_model *m, const evn_tensor *t, float *values, evn_error *err);
/* A GGUF file in memory, malloc'd, which the model takes over also where this fails; `name` is for messages. */
evn_status evn_model_from_memory(evn_model **out, const char *name, uint8_t *data, size_t size, evn_error *err);
const char *evn_model_path(const evn_model *m); /* NULL for one in memory */
const evn_tensor *evn_model_find(const evn_model *m, const char *name);
/* "blk.<layer>.<part>", of any shape; *out is NULL where it is missing. */
evn_status evn_model_get_in_layer(const evn_model *m, uint32_t layer, const char *part, const evn_tensor **out,
								  evn_error *err);
/* The tensor must exist with this shape: cols = shape[0], rows = shape[1] (rows 0: one-dimensional). */
evn_status evn_model_need(const evn_model *m, const char *name, uint64_t cols, uint64_t rows, const evn_tensor **out,
						  evn_error *err);

/* 64-bit key of the content that plans and profiles depend on: the file's header, not its weights. */
uint64_t evn_model_fingerprint(const evn_model *m);

#endif
