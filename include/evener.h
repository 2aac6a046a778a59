/* evener.h - one transformer over every OpenCL device of a machine.
 *
 * An evn_model is a model file opened for reading: shapes, tokenizer, metadata; it touches no device.
 * An evn_engine is a model loaded on a set of devices (its ranks), each holding a share of every matrix; it is
 * immutable after open. An evn_session is one token timeline: it owns the KV cache and the last logits.
 * One thread at a time per session; free sessions before their engine, engines before their model.
 *
 * Every call that can fail returns an evn_status (0 is done) and writes one clear line to `err` (may be NULL).
 * The library prints nothing: messages and progress go through callbacks. Strings are UTF-8. `_free` and `_close`
 * accept NULL. Units end names: _bytes, _us, _s, _gbs (10^9 bytes/s), _gflops (10^9 operations/s). */
#ifndef EVENER_H
#define EVENER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define EVN_API __attribute__((visibility("default")))
#define EVN_PRINTF(fmt, args) __attribute__((format(printf, fmt, args)))
#else
#define EVN_API
#define EVN_PRINTF(fmt, args)
#endif

#define EVN_MAX_RANKS 8 /* devices (or sub-devices) that can hold a share at once */

/* ---- status ---------------------------------------------------------------------------------------------- */

typedef enum {
	EVN_OK = 0,
	EVN_ERR_MEMORY,      /* host memory could not be had */
	EVN_ERR_FILE,        /* a file is missing, unreadable or cannot be written */
	EVN_ERR_FORMAT,      /* a file's content contradicts its format */
	EVN_ERR_UNSUPPORTED, /* well-formed, but not something evener can do */
	EVN_ERR_USAGE,       /* an option, a config key or a call is wrong */
	EVN_ERR_LIMIT,       /* a stated limit or a device's memory is exceeded */
	EVN_ERR_DEVICE,      /* a driver or device failed */
	EVN_ERR_BUILD,       /* a driver's compiler refused a kernel */
	EVN_ERR_CANCELLED,   /* the caller's progress callback asked to stop, or a peer rank failed first */
	EVN_STATUS__COUNT
} evn_status;

typedef struct {
	evn_status code;
	char text[1024];
} evn_error;

EVN_API const char *evn_status_name(evn_status s);
EVN_API const char *evn_version(void); /* "0.1.0" */

/* ---- messages and progress ------------------------------------------------------------------------------- */

typedef enum { EVN_LOG_ERROR, EVN_LOG_WARN, EVN_LOG_INFO, EVN_LOG_DEBUG } evn_log_level;
typedef void (*evn_log_fn)(void *user, evn_log_level level, const char *line);

/* Process-wide. Lines above the level of EVENER_LOG (default warn) are not delivered. fn = NULL drops all. */
EVN_API void evn_set_log(evn_log_fn fn, void *user);

/* Called while long work runs, often; `done` of `total` in any unit, total 0 = unknown. Return false to stop:
 * the work then ends with EVN_ERR_CANCELLED. */
typedef bool (*evn_progress_fn)(void *user, const char *what, uint64_t done, uint64_t total);

/* ---- devices --------------------------------------------------------------------------------------------- */

typedef struct {
	const char *id;        /* "P:D" as enumerated now */
	const char *stable_id; /* UUID or PCI address where the driver gives one, else platform/name/ordinal */
	const char *platform;  /* short name: pocl, intel, rusticl, nvidia, amd, ... */
	const char *platform_name;
	const char *name;
	const char *vendor;
	const char *driver;       /* driver version */
	const char *type;         /* "gpu", "cpu", "accelerator" */
	const char *opencl;       /* device version string */
	const char *same_chip_as; /* id of another driver's device on the same chip, or NULL */
	const char *reason;       /* why it is not usable; NULL when usable */
	const char *const *features;
	size_t n_features;
	uint32_t compute_units;
	uint64_t memory_bytes, max_alloc_bytes, local_bytes;
	bool unified_memory, usable;
	bool measured; /* the four rates below are known; measured alone with a general shape */
	double gemv_gbs, gemm_gflops, launch_us, map_us;
} evn_device_info;

typedef struct evn_device_list evn_device_list;

/* A driver that could not be used at all (zero devices, crashed, hung), in words. */
typedef struct {
	const char *driver; /* the ICD file */
	const char *reason;
} evn_driver_problem;

/* Finds every device of every OpenCL platform. First contact with each driver happens in a child process, so a
 * driver that crashes or hangs becomes a problem entry, not an end. measure = also fill the rates (cached);
 * remeasure = ignore the cache. */
EVN_API evn_status evn_devices_find(evn_device_list **out, bool measure, bool remeasure, evn_progress_fn progress,
									void *user, evn_error *err);
EVN_API size_t evn_devices_count(const evn_device_list *l);
EVN_API const evn_device_info *evn_devices_get(const evn_device_list *l, size_t i); /* valid until free */
EVN_API size_t evn_devices_problem_count(const evn_device_list *l);
EVN_API evn_driver_problem evn_devices_problem(const evn_device_list *l, size_t i);
EVN_API void evn_devices_free(evn_device_list *l);

/* ---- known-answer tests ---------------------------------------------------------------------------------- */

typedef struct {
	const char *device; /* id */
	const char *kernel; /* kernel and variant */
	bool passed;
	double max_error, tolerance; /* as a fraction of the largest expected magnitude */
	const char *reason;          /* NULL when passed */
} evn_selftest_result;
typedef void (*evn_selftest_fn)(void *user, const evn_selftest_result *r);

/* Runs every kernel on every device of the list (NULL = all) against f64 references on the host. One call of fn
 * per kernel and device. The status is EVN_OK when all passed, EVN_ERR_DEVICE when one did not. */
EVN_API evn_status evn_selftest(const char *devices, evn_selftest_fn fn, void *user, evn_error *err);

/* ---- model files ----------------------------------------------------------------------------------------- */

typedef struct evn_model evn_model;

typedef struct {
	const char *arch; /* "llama", "qwen2", "qwen3", ...; NULL when the file names none */
	const char *name; /* general.name or NULL */
	/* 0 for a vocabulary-only file and where evener does not understand the architecture's keys */
	uint32_t n_layers, dim, ff_dim, n_heads, n_kv_heads, head_dim, vocab, n_ctx_train;
	uint64_t n_params, file_bytes, tensor_bytes;
	uint32_t gguf_version, n_tensors, n_metadata;
} evn_model_info;

typedef struct {
	const char *name;
	const char *type; /* "Q4_1", "F32", ... */
	uint32_t n_dims;
	uint64_t shape[4]; /* GGUF order: shape[0] is the contiguous dimension */
	uint64_t offset_bytes, size_bytes;
} evn_tensor_info;

/* Opens a GGUF file (v2, v3; mapped, not read). A vocabulary-only file is enough for the tokenizer. */
EVN_API evn_status evn_model_open(evn_model **out, const char *path, evn_error *err);
EVN_API void evn_model_close(evn_model *m);

/* A model with random weights, the same for the same seed everywhere. simple-lm: an embedding and a linear layer with
 * bias, no more. gpt2 and llama have a byte-level tokenizer: token b is byte b, 256 ends the text. */
typedef struct {
	const char *architecture; /* "simple-lm", "gpt2", "llama" */
	uint32_t vocab, dim;
	uint32_t context;                               /* tokens; 0 = 1024 */
	uint32_t n_layers, n_heads, n_kv_heads, ff_dim; /* not for simple-lm; 0 KV heads = n_heads, 0 ff_dim = 4 dim */
	uint64_t seed;
} evn_model_spec;
EVN_API evn_status evn_model_create(evn_model **out, const evn_model_spec *spec, evn_error *err);
/* As a GGUF file, replaced atomically. */
EVN_API evn_status evn_model_save(const evn_model *m, const char *path, evn_error *err);
/* n ids of the vocabulary drawn by seed. */
EVN_API void evn_random_ids(uint64_t seed, uint32_t vocab, int32_t *ids, size_t n);
/* Adds a LoRA adapter (GGUF, as llama.cpp has them) to the model's matrices, scale times; those become f32 in memory.
 * Before an engine is opened. An adapter of another model is an error and changes nothing. */
EVN_API evn_status evn_model_apply_adapter(evn_model *m, const char *path, double scale, evn_error *err);
EVN_API evn_model_info evn_model_get_info(const evn_model *m);
EVN_API evn_tensor_info evn_model_tensor(const evn_model *m, uint32_t i);
/* Metadata entry i: its key, and its value in words (arrays shortened to their first elements and a count). */
EVN_API void evn_model_metadata(const evn_model *m, uint32_t i, const char **key, const char **type, char *value,
								size_t value_size);

/* ---- tokenizer ------------------------------------------------------------------------------------------- */

/* Text to ids. *ids is malloc'd, caller frees. add_special: BOS/EOS where the model asks for it; parse_special:
 * texts of control tokens in `text` become those tokens. `text` may be any bytes; length in bytes. */
EVN_API evn_status evn_tokenize(const evn_model *m, const char *text, size_t text_bytes, bool add_special,
								bool parse_special, int32_t **ids, size_t *n_ids, evn_error *err);
/* The same for a text that is learned or scored, without special tokens: evn_tokenize leaves out what it has no token
 * for, here that is EVN_ERR_UNSUPPORTED, which names the first such byte, its line and its offset, and the text `name`. */
EVN_API evn_status evn_tokenize_whole(const evn_model *m, const char *name, const char *text, size_t text_bytes,
									  int32_t **ids, size_t *n_ids, evn_error *err);
/* Ids to text, malloc'd and NUL-terminated, exact bytes; unparse_special: control tokens as their text, else
 * nothing. An id outside the vocabulary is EVN_ERR_USAGE. */
EVN_API evn_status evn_detokenize(const evn_model *m, const int32_t *ids, size_t n_ids, bool unparse_special,
								  char **text, size_t *text_bytes, evn_error *err);
EVN_API bool evn_token_ends_generation(const evn_model *m, int32_t id);

/* Turns a stream of tokens into text without ever cutting a UTF-8 character: bytes of an unfinished character are
 * held back until the next token completes it; flush yields the rest with U+FFFD for what stayed broken. */
typedef struct evn_text_stream evn_text_stream;
EVN_API evn_status evn_text_stream_create(evn_text_stream **out, const evn_model *m, evn_error *err);
EVN_API const char *evn_text_stream_push(evn_text_stream *s, int32_t id); /* valid until the next call */
EVN_API const char *evn_text_stream_flush(evn_text_stream *s);
EVN_API void evn_text_stream_free(evn_text_stream *s);

/* ---- plan and engine ------------------------------------------------------------------------------------- */

typedef enum { EVN_REDUCE_AUTO, EVN_REDUCE_HOST, EVN_REDUCE_EVENTS, EVN_REDUCE_FLAGS } evn_reduce;

/* Activations in products with integer weights: f32, or rounded to 8 bits in blocks of 32 as the peers do (the logits
 * move by about what quantising the weights to 8 bits would cost). AUTO: whichever is measured to be faster. */
typedef enum { EVN_ACTIVATIONS_AUTO, EVN_ACTIVATIONS_F32, EVN_ACTIVATIONS_Q8 } evn_activation_type;

/* How keys and values of past tokens are kept: 32 bits, 16 bits, or 8 bits with a scale for each 32. */
typedef enum { EVN_KV_F32, EVN_KV_F16, EVN_KV_Q8_0 } evn_kv_cache;

/* How long messages between ranks travel, those of prompts: as they are, in 16 bits, or in 8 bits with a scale for each
 * 32. Those of few tokens are f32 always. */
typedef enum { EVN_MESSAGES_F32, EVN_MESSAGES_F16, EVN_MESSAGES_BF16, EVN_MESSAGES_Q8 } evn_message_type;

#define EVN_SHARE_AUTO (-1.0)

/* One entry of the device list: `match` is an ITEM of the grammar SELECTOR[/PARTS[@FIRST]] (docs/cli.md). Each device
 * or sub-device it matches becomes a rank. */
typedef struct {
	const char *match;
	double share;           /* EVN_SHARE_AUTO, or a weight >= 0 divided over the ranks of this item */
	uint64_t memory_bytes;  /* most this rank may hold; 0 = no limit of its own */
	double memory_fraction; /* or a part of the device's memory, 0..1; 0 = default (0.9) */
	const double *prompt_share; /* the feed-forward units' for prompts, divided likewise; NULL, EVN_SHARE_AUTO: as share */
} evn_device_rule;

typedef struct {
	const evn_device_rule *devices; /* NULL: every usable device, the planner drops those that would not help */
	size_t n_devices;
	const double *shares; /* one weight per rank in list order; NULL: the rules' shares, else measured */
	size_t n_shares;
	const double *prompt_shares; /* with shares: of the feed-forward units for prompts; NULL, EVN_SHARE_AUTO: as shares */
	uint32_t context;            /* tokens the KV cache holds; 0 = the model's own */
	uint32_t batch;              /* most prompt tokens computed at once; 0 = 512 */
	evn_reduce reduce;
	evn_activation_type activations;
	evn_kv_cache kv_cache;
	evn_message_type messages;
	bool remeasure;
	evn_progress_fn progress; /* may be NULL */
	void *progress_user;
} evn_options; /* zero-initialise, then set what you need */

typedef struct {
	const char *device; /* id, with "/units@first" for a sub-device */
	const char *name;
	double share_decode, share_prefill; /* fractions of the whole, sum to 1 over ranks */
	/* half-open ranges of the first layer; other layers differ by at most one grain, so that the whole model
	 * keeps the asked ratio */
	uint32_t heads[2], kv_heads[2], ff[2], vocab[2];
	uint32_t prompt_ff[2]; /* feed-forward units for prompts; the device holds these, ff and what is between */
	uint64_t bytes;        /* weights + KV cache + scratch held on this device */
	double gemv_gbs, gemm_gflops, launch_us, map_us;
} evn_plan_rank;

typedef struct {
	const char *device, *reason;
} evn_plan_dropped;

typedef struct {
	size_t n_ranks, n_dropped;
	const evn_plan_rank *ranks;
	const evn_plan_dropped *dropped;
	double decode_tok_s, prefill_tok_s; /* predicted */
	const char *best_single_device;
	double best_single_decode_tok_s, best_single_prefill_tok_s;
	const char *reduce;   /* "none" (one rank), "host", "events", "flags" */
	double all_reduce_us; /* measured for one token's message */
} evn_plan_info;

typedef struct evn_plan evn_plan;

/* What evn_engine_open would do with these options: measures (or reads the cached profile), loads no weights. */
EVN_API evn_status evn_plan_make(evn_plan **out, const evn_model *m, const evn_options *o, evn_error *err);
EVN_API const evn_plan_info *evn_plan_get(const evn_plan *p); /* valid until free */
EVN_API void evn_plan_free(evn_plan *p);

typedef struct evn_engine evn_engine;
typedef struct evn_session evn_session;

EVN_API evn_status evn_engine_open(evn_engine **out, const evn_model *m, const evn_options *o, evn_error *err);
EVN_API void evn_engine_close(evn_engine *e);
EVN_API const evn_plan_info *evn_engine_plan(const evn_engine *e);
EVN_API uint32_t evn_engine_context(const evn_engine *e);
/* Median of n sums over the ranks of a message of so many bytes (0: one token's), microseconds; 0 for one rank.
 * Longer than a batch's is EVN_ERR_LIMIT. */
EVN_API evn_status evn_engine_measure_all_reduce(evn_engine *e, uint64_t bytes, uint32_t n, double *us,
												 evn_error *err);

EVN_API evn_status evn_session_create(evn_session **out, evn_engine *e, evn_error *err);
EVN_API void evn_session_free(evn_session *s);

/* Appends n ids at the session's position and computes the logits of the last one. With all_logits (n * vocab
 * floats, or NULL) also those of every position. The session is unchanged when this fails or is cancelled. */
EVN_API evn_status evn_session_eval(evn_session *s, const int32_t *ids, size_t n, float *all_logits, evn_error *err);
EVN_API const float *evn_session_logits(const evn_session *s); /* (vocab) of the last id; NULL before any */
EVN_API uint32_t evn_session_position(const evn_session *s);
/* Forgets every token from `position` on; position <= the current one. Logits are dropped. */
EVN_API evn_status evn_session_rewind(evn_session *s, uint32_t position, evn_error *err);

/* Since session_create, per rank: seconds its device computed, seconds it waited for others, and weight bytes
 * read per second of computing. */
typedef struct {
	double busy_s, wait_s, gbs;
} evn_rank_stats;
EVN_API evn_rank_stats evn_session_rank_stats(const evn_session *s, size_t rank);

/* ---- tuning ---------------------------------------------------------------------------------------------- */

typedef struct {
	const char *device;     /* id */
	const char *parameters; /* "MWG=64 ...", CLBlast's names; NULL: CLBlast's own choice */
	double gflops;          /* 0: it did not work */
	const char *problem;    /* then why: "the driver crashed (...)"; else NULL */
} evn_tune_trial;

typedef struct {
	const char *device, *name;
	const char *parameters; /* that are used from now on; NULL: CLBlast's own choice */
	double gflops, before_gflops;
	bool kept; /* something better than before was found and is kept in the cache */
	uint32_t n_trials, n_failed;
} evn_tune_result;

typedef struct {
	const evn_device_rule *devices; /* which; NULL: every usable one */
	size_t n_devices;
	double budget_s;          /* for each device */
	double trial_s;           /* most for one set of parameters; 0 = 30 */
	evn_progress_fn progress; /* the callbacks may be NULL */
	void (*trial)(void *user, const evn_tune_trial *t);
	void (*result)(void *user, const evn_tune_result *r);
	void *user; /* of all three */
} evn_tune_options;

/* Searches parameters of the matrix product that prompts are computed with, on m's matrices (NULL: on a general
 * shape). Sets that crash or hang a driver do so in a child process and are passed over. */
EVN_API evn_status evn_tune(const evn_model *m, const evn_tune_options *o, evn_error *err);

/* ---- sampling -------------------------------------------------------------------------------------------- */

typedef struct {
	float temp;           /* 0 = greedy */
	int32_t top_k;        /* 0 = off */
	float top_p;          /* 1 = off */
	float min_p;          /* 0 = off */
	float repeat_penalty; /* 1 = off */
	int32_t repeat_last_n;
	int64_t seed; /* -1 = from the clock */
} evn_sample_options;

EVN_API evn_sample_options
evn_sample_defaults(void); /* temp .8, top_k 40, top_p .95, min_p .05, penalty 1, last 64 */

typedef struct evn_sampler evn_sampler;
EVN_API evn_status evn_sampler_create(evn_sampler **out, const evn_sample_options *o, uint32_t vocab, evn_error *err);
/* Draws from logits (vocab). Order: repeat penalty, top-k, top-p, min-p, temperature. Ties: the lower id. */
EVN_API evn_status evn_sampler_draw(evn_sampler *s, const float *logits, int32_t *id, evn_error *err);
EVN_API void evn_sampler_accept(evn_sampler *s, int32_t id); /* makes it count for the repeat penalty */
EVN_API void evn_sampler_ban(evn_sampler *s, int32_t id);    /* never drawn from now on */
EVN_API void evn_sampler_free(evn_sampler *s);

/* ---- scoring --------------------------------------------------------------------------------------------- */

/* Over several ranks either every matrix is split, or the text: each rank then holds the whole model and computes
 * pieces of it. AUTO: what is predicted to be faster and fits into the devices' memory. */
typedef enum { EVN_SPLIT_AUTO, EVN_SPLIT_TENSOR, EVN_SPLIT_SEQUENCE } evn_split_mode;

/* A piece of a text, computed without what stands before it. */
typedef struct {
	const int32_t *ids;
	uint32_t n_ids;
	uint32_t first; /* 1 to n_ids - 1: of the tokens scored; those before it are only read */
	double *log_p;  /* (n_ids - first), to be filled in: natural logarithm of each token's probability */
	bool done;      /* log_p is filled in; set from the start: the window is left out */
} evn_window;

typedef struct {
	const char *device, *name;
	double share;     /* of the matrices, or of the windows' tokens computed so far */
	uint64_t windows; /* it has taken part in */
} evn_score_rank;

typedef struct {
	evn_split_mode split;                /* never AUTO */
	const char *reason;                  /* why SEQUENCE is not possible, or NULL */
	double tensor_tok_s, sequence_tok_s; /* predicted; 0: not possible */
	size_t n_ranks;
	const evn_score_rank *ranks;
	const evn_plan_info *plan; /* of the tensor split */
} evn_score_info;

typedef struct evn_scorer evn_scorer;

/* o->context: tokens of the longest window; n_windows: how many there will be, for the prediction. */
EVN_API evn_status evn_scorer_open(evn_scorer **out, const evn_model *m, const evn_options *o, evn_split_mode split,
								   uint64_t n_windows, evn_error *err);
/* Computes the windows that are not done. progress (may be NULL) counts their tokens; while it is called, and only
 * then, windows become done, and they stay done where the run is stopped or fails. */
EVN_API evn_status evn_scorer_run(evn_scorer *s, evn_window *windows, size_t n, evn_progress_fn progress, void *user,
								  evn_error *err);
EVN_API const evn_score_info *evn_scorer_info(evn_scorer *s); /* valid until the next call */
EVN_API void evn_scorer_close(evn_scorer *s);

/* Where the windows done can be kept until a run has ended, malloc'd: a file of the user's cache folder named after all
 * that their figures depend on. NULL where there is no such folder, and while EVENER_KERNEL_DIR is set. */
EVN_API char *evn_scorer_state_path(const evn_scorer *s, const evn_window *windows, size_t n);
EVN_API evn_status evn_windows_save(const char *path, const evn_window *windows, size_t n, evn_error *err);
/* Makes done those that the file has, and counts them: none where there is no file, or one that is damaged. */
EVN_API size_t evn_windows_load(const char *path, evn_window *windows, size_t n);

/* ---- training -------------------------------------------------------------------------------------------- */

/* Zero-initialise, then set what you need. Paths are kept, not copied. */
typedef struct {
	const char *model_path; /* a model to go on from; NULL: a new one by spec */
	evn_model_spec spec;
	const char *data_path;   /* the text to learn */
	const int32_t *ids;      /* or n_ids tokens, learned as one sequence; context, batch, held_out are not looked at */
	size_t n_ids;
	const char *output_path; /* the GGUF file to write; while training runs its state is at output_path.checkpoint */
	bool resume;             /* go on from that checkpoint; without it an unfinished run is an error */
	uint32_t steps, context; /* context: tokens of a sequence, a multiple of 16 */
	uint32_t batch;          /* sequences computed at once */
	uint32_t accumulate;     /* batches whose gradients make one step */
	double rate, min_rate;   /* learning rate: `warmup` steps up to rate, then half a cosine down to min_rate */
	uint32_t warmup;
	double decay, clip;              /* of AdamW; largest norm of a gradient, 0 = any */
	double held_out;                 /* fraction of the text, its end, that is not learned but tested on */
	uint32_t eval_every, save_every; /* steps; 0 = at the end only */
	double dropout; /* fraction of what the embedding and a layer's halves add that is dropped while learning */
	uint64_t seed;  /* of the order in which the text is learned, of what is dropped, of an adapter's first weights */
	uint32_t lora_rank; /* > 0: the model stays as it is and low-rank additions are trained (LoRA) */
	double lora_alpha;
	const char *lora_targets; /* "attn_q,attn_v": which matrices get additions */
} evn_train_options;

typedef struct {
	uint32_t step;         /* from 1 */
	double loss, val_loss; /* mean -log p of a token; val_loss NAN where it was not computed at this step */
	double worst_loss; /* of all tokens of the step: below log 2 every one was the likeliest */
	double gradient_norm, rate, tok_s;
	double product_gflops; /* arithmetic of matrix products over the time in them, all ranks, this run; 0: not known yet */
} evn_train_step;

typedef struct evn_trainer evn_trainer;

/* Shares that o does not give follow the devices' GEMM rates; o->context and batch are not looked at. */
EVN_API evn_status evn_trainer_open(evn_trainer **out, const evn_train_options *t, const evn_options *o,
									evn_error *err);
/* One step. A loss or gradient that is not finite is an error which names the step; parameters stay as they are. */
EVN_API evn_status evn_trainer_step(evn_trainer *t, evn_train_step *out, evn_error *err);
EVN_API evn_status evn_trainer_save(evn_trainer *t, evn_error *err);   /* the checkpoint */
EVN_API evn_status evn_trainer_finish(evn_trainer *t, evn_error *err); /* output_path; removes the checkpoint */
/* Its prefill speeds are those of training, as far as products go. */
EVN_API const evn_plan_info *evn_trainer_plan(const evn_trainer *t);
EVN_API uint64_t evn_trainer_parameters(const evn_trainer *t);                 /* that are trained */
EVN_API uint64_t evn_trainer_tokens(const evn_trainer *t, uint64_t *held_out); /* of the text */
/* Steps done, also by earlier runs, and their losses; valid until the next step. */
EVN_API uint32_t evn_trainer_losses(const evn_trainer *t, const float **loss, const float **val_loss);
EVN_API void evn_trainer_close(evn_trainer *t);

#ifdef __cplusplus
}
#endif
#endif
