/* evener.h - one transformer over every OpenCL device of a machine.
 *
 * An evn_model is a model file opened for reading: shapes, tokenizer, metadata; it touches no device.
 * An evn_engine is a model loaded on a set of devices (its ranks), each holding a share of every matrix; it is
 * immutable after open. An evn_session is one token timeline: it owns the KV cache and the last logits.
 * One thread at a time per session; free sessions before their engine, engines before their model.
 * Beside this header: evener/sample.h, requests.h, grammar.h, chat.h, train.h, score.h, cluster.h, tune.h, inspect.h,
 * quantize.h, embed.h, classify.h, simulate.h, selftest.h, trace.h.
 *
 * Every call that can fail returns an evn_status (0 is success) and writes one clear line to `err` (may be NULL).
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
#else
#define EVN_API
#endif

/* ---- status ------------------------------------------------------------------------------------------------ */
typedef enum {
	EVN_OK = 0,
	EVN_ERR_MEMORY,      /* out of host memory */
	EVN_ERR_FILE,        /* a file is missing, unreadable or cannot be written */
	EVN_ERR_FORMAT,      /* a file's content contradicts its format */
	EVN_ERR_UNSUPPORTED, /* well-formed, but not something evener can do */
	EVN_ERR_USAGE,       /* an option, a config key or a call is wrong */
	EVN_ERR_LIMIT,       /* a stated limit or a device's memory is exceeded */
	EVN_ERR_DEVICE,      /* a driver or device failed */
	EVN_ERR_BUILD,       /* a driver's compiler refused a kernel */
	EVN_ERR_CANCELLED,   /* the caller's progress callback asked to stop, or another rank failed first */
	EVN_STATUS__COUNT
} evn_status;

typedef struct {
	evn_status code;
	char text[1024];
} evn_error;

EVN_API const char *evn_status_name(evn_status s);
EVN_API const char *evn_version(void); /* "0.1.0" */

/* ---- messages and progress --------------------------------------------------------------------------------- */
typedef enum { EVN_LOG_ERROR, EVN_LOG_WARN, EVN_LOG_INFO, EVN_LOG_DEBUG } evn_log_level;
typedef void (*evn_log_fn)(void *user, evn_log_level level, const char *line);
/* For the whole process. Lines above the level of EVENER_LOG (default warn) are dropped. fn = NULL drops all. */
EVN_API void evn_set_log(evn_log_fn fn, void *user);

/* Called often during long work: `done` of `total` in any unit, total 0 = unknown. Return false to stop: the work
 * then ends with EVN_ERR_CANCELLED. */
typedef bool (*evn_progress_fn)(void *user, const char *what, uint64_t done, uint64_t total);

/* ---- devices ----------------------------------------------------------------------------------------------- */
#define EVN_MAX_RANKS 8 /* devices (or sub-devices) that can hold a share at once */

/* When and how figures were measured. */
typedef struct {
	double taken_s, others, spread; /* Unix time, 0: never; cores others kept busy; (most - least) / median */
	bool thorough, doubted;         /* by steps of a model, else by a trial of a second; runs were clearly faster */
} evn_measured;

typedef struct {
	const char *id;        /* "P:D" as enumerated now */
	const char *stable_id; /* UUID or PCI address where the driver gives one, else platform/name/ordinal */
	const char *platform, *platform_name; /* short (pocl, intel, rusticl, nvidia, amd, ...), and as the driver says */
	const char *name, *vendor, *driver;   /* driver: its version */
	const char *type, *opencl;            /* "gpu", "cpu", "accelerator"; the device's OpenCL version */
	const char *same_chip_as;             /* id of another driver's device on the same chip, or NULL */
	const char *reason;                   /* why it is not usable; NULL when usable */
	const char *const *features;
	size_t n_features;
	uint32_t compute_units;
	uint64_t memory_bytes, max_alloc_bytes, local_bytes;
	uint64_t free_bytes; /* of memory_bytes, when the device was found; 0: the driver does not tell */
	bool unified_memory, usable;
	evn_measured measured; /* alone, with the format that was measured last; rates are 0 where it never was */
	double gemv_gbs, gemm_gflops, launch_us, map_us;
} evn_device_info;

typedef struct {
	const char *driver, *reason; /* the ICD file of a driver that could not be used, and why (no devices, crashed) */
} evn_driver_problem;

typedef struct evn_device_list evn_device_list;
/* Finds every device of every OpenCL platform. Each driver is first tried in a child process, so one that crashes or
 * hangs becomes a problem entry. measure: measure the rates now; else they are what earlier runs measured. */
EVN_API evn_status evn_devices_find(evn_device_list **out, bool measure, evn_progress_fn progress, void *user,
									evn_error *err);
EVN_API size_t evn_devices_count(const evn_device_list *l);
EVN_API const evn_device_info *evn_devices_get(const evn_device_list *l, size_t i); /* valid until free */
EVN_API size_t evn_devices_problem_count(const evn_device_list *l);
EVN_API evn_driver_problem evn_devices_problem(const evn_device_list *l, size_t i);
EVN_API void evn_devices_free(evn_device_list *l);

/* ---- model files ------------------------------------------------------------------------------------------- */
typedef struct evn_model evn_model;
typedef struct {
	const char *arch, *name; /* "llama", "qwen2", "qwen3", ...; general.name; NULL where the file does not say */
	/* 0 for a vocabulary-only file and where evener does not understand the architecture's keys */
	uint32_t n_layers, dim, ff_dim, n_heads, n_kv_heads, head_dim, vocab, n_ctx_train;
	uint64_t n_params, file_bytes, tensor_bytes;
	uint32_t gguf_version,                    /* 0: a folder with safetensors files */
		n_tensors, n_metadata, part, n_parts; /* part 1 of 3 of a model; 1 of 1: the whole */
} evn_model_info;

/* Opens a GGUF file (v2, v3), by its first file a model in parts (NAME-00001-of-00003.gguf), or a folder of Hugging
 * Face's transformers: config.json, safetensors files, tokenizer.json. Weights are read when
 * they are needed; a file that has changed by then is an error. A vocabulary is enough for the tokenizer. */
EVN_API evn_status evn_model_open(evn_model **out, const char *path, evn_error *err);
EVN_API void evn_model_close(evn_model *m);
/* Writes a model that was made in memory as a GGUF file; an existing file is replaced atomically. EVN_ERR_UNSUPPORTED
 * for a model that is a file already, and for one with adapters, which the file would not hold. */
EVN_API evn_status evn_model_save(const evn_model *m, const char *path, evn_error *err);
/* Adds scale times a LoRA adapter (GGUF, in llama.cpp's layout) to the model's matrices, which become f32 in memory.
 * Call it before an engine is opened, at most 16 times. An adapter of another model is an error, nothing changes. */
EVN_API evn_status evn_model_apply_adapter(evn_model *m, const char *path, double scale, evn_error *err);
EVN_API evn_model_info evn_model_get_info(const evn_model *m);

/* ---- tokenizer --------------------------------------------------------------------------------------------- */
/* Text to ids. *ids is malloc'd, also for no ids; the caller frees it. add_special: BOS/EOS where the model asks for
 * it; parse_special: control tokens written out in `text` become those tokens. `text` may be any bytes. */
EVN_API evn_status evn_tokenize(const evn_model *m, const char *text, size_t text_bytes, bool add_special,
								bool parse_special, int32_t **ids, size_t *n_ids, evn_error *err);
/* Ids to the exact bytes, malloc'd and NUL-terminated. unparse_special: control tokens become their text, else
 * nothing. An id outside the vocabulary is EVN_ERR_USAGE. */
EVN_API evn_status evn_detokenize(const evn_model *m, const int32_t *ids, size_t n_ids, bool unparse_special,
								  char **text, size_t *text_bytes, evn_error *err);
EVN_API bool evn_token_ends_generation(const evn_model *m, int32_t id);

/* A stream of tokens to text that never cuts a UTF-8 character: push keeps the bytes of an unfinished character until
 * a later token completes it; flush returns the rest, with U+FFFD for what stayed broken. */
typedef struct evn_text_stream evn_text_stream;
EVN_API evn_status evn_text_stream_create(evn_text_stream **out, const evn_model *m, evn_error *err);
EVN_API const char *evn_text_stream_push(evn_text_stream *s, int32_t id); /* valid until the next call */
EVN_API const char *evn_text_stream_flush(evn_text_stream *s);
EVN_API void evn_text_stream_free(evn_text_stream *s);

/* ---- plan -------------------------------------------------------------------------------------------------- */
typedef enum { EVN_REDUCE_AUTO, EVN_REDUCE_HOST, EVN_REDUCE_EVENTS, EVN_REDUCE_FLAGS } evn_reduce;
/* Activations in products with quantised weights: f32, or 8 bits in blocks of 32, as other engines do (this moves the
 * logits about as much as quantising the weights to 8 bits would). AUTO: whichever is measured to be faster. */
typedef enum { EVN_ACTIVATIONS_AUTO, EVN_ACTIVATIONS_F32, EVN_ACTIVATIONS_Q8 } evn_activation_type;
/* How the KV cache stores past tokens: 32 bits, 16 bits, or 8 bits with a scale for each 32. */
typedef enum { EVN_KV_F32, EVN_KV_F16, EVN_KV_Q8_0, EVN_KV_Q4_0 } evn_kv_cache;
/* Format of the messages between ranks for prompts. Messages of few tokens are always f32. */
typedef enum { EVN_MESSAGES_F32, EVN_MESSAGES_F16, EVN_MESSAGES_BF16, EVN_MESSAGES_Q8 } evn_message_type;

#define EVN_SHARE_AUTO (-1.0)
/* One entry of the device list: `match` is an ITEM of the grammar SELECTOR[/PARTS[@FIRST]] (docs/cli.md). Each device
 * or sub-device it matches becomes a rank. */
typedef struct {
	const char *match;
	double share;               /* EVN_SHARE_AUTO, or a weight >= 0 divided over the ranks of this item */
	uint64_t memory_bytes;      /* most this rank may hold; 0 = no limit of its own */
	double memory_fraction;     /* or a part of the device's memory, 0..1; 0 = default (0.9) */
	const double *prompt_share; /* of feed-forward units for prompts; NULL, EVN_SHARE_AUTO: as share */
} evn_device_rule;

typedef struct {
	const evn_device_rule *devices; /* none: every usable device, the planner drops those that would not help */
	size_t n_devices;
	const double *shares; /* one weight per rank in list order; NULL: the rules' shares, else measured */
	size_t n_shares;
	const double *prompt_shares; /* with shares: of feed-forward units for prompts; NULL, EVN_SHARE_AUTO: as shares */
	uint32_t context;            /* most tokens of a session or request; 0 = the model's own */
	uint32_t batch;              /* most prompt tokens computed at once; 0 = 512 */
	uint32_t cache_tokens;       /* tokens of all requests that the KV cache holds (evener/requests.h); 0 = context */
	evn_reduce reduce;
	evn_activation_type activations;
	evn_kv_cache kv_cache;
	evn_message_type messages;
	uint32_t deadline_s; /* what keeps others or the host waiting for so long has failed; 0 = 300, in training 3600 */
	uint32_t verify_every; /* in every Nth step a product of each device is computed again, on the host; 0: never */
	struct evn_cluster *cluster; /* the nodes that share the model (evener/cluster.h); NULL: this process alone */
	int cluster_split;           /* what they share: evn_cluster_split */
	bool rebalance, measure;  /* shares follow the devices' speeds, unless given; all is measured thoroughly, now */
	evn_progress_fn progress; /* may be NULL */
	void *progress_user;
} evn_options; /* zero-initialise, then set what you need */

typedef struct {
	const char *device, *name, *node; /* id, with "/units@first" for a sub-device; node: "1 (host)", NULL: only one */
	double share_decode, share_prefill; /* fractions of the whole, sum to 1 over ranks */
	/* Half-open ranges in the first of its layers; others differ by at most one grain, to keep the ratio. prompt_ff:
	 * feed-forward units for prompts; the device holds from the first of both to the last. */
	uint32_t heads[2], kv_heads[2], ff[2], vocab[2], prompt_ff[2], layers[2];
	uint64_t bytes; /* weights + KV cache + scratch on this device */
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
	const char *reduce, *cluster_split; /* "none" (one rank), "host", "events", "flags", "nodes"; NULL: one node */
	double all_reduce_us;               /* for one token's message */
	evn_measured measured;              /* of the ranks together */
} evn_plan_info;

typedef struct evn_plan evn_plan;
/* What evn_engine_open would do with these options: measures (or reads the cached profile), loads no weights. */
EVN_API evn_status evn_plan_make(evn_plan **out, const evn_model *m, const evn_options *o, evn_error *err);
EVN_API const evn_plan_info *evn_plan_get(const evn_plan *p); /* valid until free */
EVN_API void evn_plan_free(evn_plan *p);

/* ---- engine and session ------------------------------------------------------------------------------------ */
typedef struct evn_engine evn_engine;
EVN_API evn_status evn_engine_open(evn_engine **out, const evn_model *m, const evn_options *o, evn_error *err);
EVN_API void evn_engine_close(evn_engine *e);
EVN_API const evn_plan_info *evn_engine_plan(const evn_engine *e);
EVN_API uint32_t evn_engine_context(const evn_engine *e);
EVN_API bool evn_engine_works(const evn_engine *e); /* false once the last device has failed */

#define EVN_EVENTS_KEPT 32
/* What changed while the engine worked: a device failed, shares moved. */
typedef struct {
	double at_s; /* since the engine was opened */
	char text[480];
} evn_engine_event;
/* Copies the last n events, of at most EVN_EVENTS_KEPT, oldest first. Returns how many there have been. */
EVN_API uint64_t evn_engine_events(evn_engine *e, evn_engine_event *out, size_t n);

typedef struct evn_session evn_session;
EVN_API evn_status evn_session_create(evn_session **out, evn_engine *e, evn_error *err);
EVN_API void evn_session_free(evn_session *s);
/* Appends n ids at the session's position and computes the logits of the last one; with all_logits (n * vocab floats,
 * or NULL) also those of every position. When this fails or is cancelled the session is unchanged. */
EVN_API evn_status evn_session_eval(evn_session *s, const int32_t *ids, size_t n, float *all_logits, evn_error *err);
EVN_API const float *evn_session_logits(const evn_session *s); /* (vocab) of the last id; NULL before any */
EVN_API uint32_t evn_session_position(const evn_session *s);
/* Forgets every token from `position` on; position <= the current one. Logits are dropped. */
EVN_API evn_status evn_session_rewind(evn_session *s, uint32_t position, evn_error *err);

typedef struct {
	double busy_s, wait_s, gbs; /* since the session was created: computed, waited; 10^9 weight bytes per second */
	double share;               /* now, of what is computed for a token that is decoded */
} evn_rank_stats;
EVN_API evn_rank_stats evn_session_rank_stats(const evn_session *s, size_t rank);

#ifdef __cplusplus
}
#endif
#endif
