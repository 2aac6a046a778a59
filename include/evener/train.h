/* train.h - new models with random weights, and training. */
#ifndef EVENER_TRAIN_H
#define EVENER_TRAIN_H

#include "evener.h"

#ifdef __cplusplus
extern "C" {
#endif

/* A model with random weights; the same seed gives the same weights on every machine. simple-lm: only an embedding
 * and a linear layer with bias. gpt2 and llama have a byte-level tokenizer: token b is byte b, 256 ends the text. */
typedef struct {
	const char *architecture; /* "simple-lm", "gpt2", "llama" */
	uint32_t vocab, dim;
	uint32_t context;                               /* tokens; 0 = 1024 */
	uint32_t n_layers, n_heads, n_kv_heads, ff_dim; /* not for simple-lm; 0 KV heads = n_heads, 0 ff_dim = 4 dim */
	uint64_t seed;
} evn_model_spec;
EVN_API evn_status evn_model_create(evn_model **out, const evn_model_spec *spec, evn_error *err);

/* Zero-initialise, then set what you need. Paths are kept, not copied. */
typedef struct {
	const char *model_path; /* the model to start from; NULL: a new one by spec */
	evn_model_spec spec;
	const char *data_path; /* the text to learn */
	const int32_t *ids;    /* or n_ids tokens, learned as one sequence; context, batch and held_out are ignored */
	size_t n_ids;
	const char *output_path; /* the GGUF file to write; until training ends, its state is in output_path.checkpoint */
	bool resume;             /* continue from that checkpoint; if false, an existing checkpoint is an error */
	uint32_t steps, context; /* context: tokens of a sequence, a multiple of 16 */
	uint32_t batch;          /* sequences computed at once */
	uint32_t accumulate;     /* batches whose gradients make one step */
	double rate, min_rate;   /* learning rate: `warmup` steps up to rate, then half a cosine down to min_rate */
	uint32_t warmup;
	double decay, clip;              /* of AdamW; largest norm of a gradient, 0 = any */
	double held_out;                 /* fraction of the text, at its end, kept for validation */
	uint32_t eval_every, save_every; /* steps; 0 = at the end only */
	double dropout; /* fraction dropped of the outputs of the embedding, attention and feed-forward while learning */
	uint64_t seed;  /* for the order of the text, dropout, and an adapter's first weights */
	uint32_t lora_rank; /* > 0: trains low-rank additions (LoRA), the model's own weights stay */
	double lora_alpha;
	const char *lora_targets; /* "attn_q,attn_v": which matrices get additions */
} evn_train_options;

typedef struct {
	uint32_t step;         /* from 1 */
	double loss, val_loss; /* mean -log p of a token; val_loss is NAN when this step has no validation */
	double worst_loss;     /* the largest of a token in this step; below log 2 every token was the likeliest */
	double gradient_norm, rate, tok_s;
	double product_gflops; /* speed of the matrix products of this process in this run; 0: not known yet */
} evn_train_step;

typedef struct evn_trainer evn_trainer;

/* Shares that o leaves open follow the devices' GEMM rates; o->context and o->batch are ignored. */
EVN_API evn_status evn_trainer_open(evn_trainer **out, const evn_train_options *t, const evn_options *o,
									evn_error *err);
/* One step. A loss or gradient that is not finite is EVN_ERR_LIMIT, which names the step; the parameters do not
 * change. If only the held-out loss cannot be computed, the step is done all the same and counted. */
EVN_API evn_status evn_trainer_step(evn_trainer *t, evn_train_step *out, evn_error *err);
EVN_API evn_status evn_trainer_save(evn_trainer *t, evn_error *err);   /* writes the checkpoint */
EVN_API evn_status evn_trainer_finish(evn_trainer *t, evn_error *err); /* writes output_path */
/* Prefill speeds in this plan are those of training. */
EVN_API const evn_plan_info *evn_trainer_plan(const evn_trainer *t);
EVN_API uint64_t evn_trainer_parameters(const evn_trainer *t);                 /* how many are trained */
EVN_API uint64_t evn_trainer_tokens(const evn_trainer *t, uint64_t *held_out); /* of the text */
/* Returns how many steps are done, including earlier runs, and their losses; valid until the next step. */
EVN_API uint32_t evn_trainer_losses(const evn_trainer *t, const float **loss, const float **val_loss);
EVN_API void evn_trainer_close(evn_trainer *t);

/* Over nodes (evener/cluster.h), node 0 opens a trainer with o->cluster, and every other node calls this. It computes
 * its part until node 0 closes the trainer. Data, options and files are node 0's; model_path is looked at only for an
 * adapter: the model it is for. */
EVN_API evn_status evn_trainer_follow(const char *model_path, const evn_options *o, evn_error *err);

#ifdef __cplusplus
}
#endif
#endif
