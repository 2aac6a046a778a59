/* settings.h - the values that every command works with: defaults, then those of the config file, then those of the
 * flags. The option table (options.h) fills the fields. Strings are borrowed from argv, the environment and the
 * config. */
#ifndef EVN_CLI_SETTINGS_H
#define EVN_CLI_SETTINGS_H

#include "cli/config/parse.h"
#include "evener/sample.h"

typedef struct {
	const char *model_path;
	const char *draft_path;   /* of the draft model, or NULL */
	const char *lora;         /* FILE[:SCALE] or NULL */
	const char *architecture; /* of a model to make; NULL: the model is read */
	const char *format;       /* of its weights in a simulation; NULL: F32 */
	const char *simulate;     /* the file of a cluster; NULL: nothing is simulated */
	int64_t vocab, dim, layers, heads, kv_heads, ff, init_seed;
	int64_t context, batch, verify_every;

	const char *devices; /* the list after -d, or NULL */
	share_list shares;   /* one for each rank, from --shares */
	memory_list memory;  /* one for each item of the list, or one for all, from --memory */
	evn_device_rule rules[EVN_MAX_RANKS];
	double prompt_shares[EVN_MAX_RANKS]; /* the prompt shares of the rules */
	size_t n_rules;
	char *owned_models[MAX_REPEATED], *owned_adapters[MAX_REPEATED];
	char *owned_list, *owned_paths[11]; /* strings that the rules and paths may point into */

	int split, reduce, activations, kv_cache, messages, cluster_split, rebalance,
		speculate; /* indices into the choices of the options */
	bool measure;

	double temp, top_p, min_p, repeat_penalty, length_penalty;
	int64_t top_k, repeat_last_n, seed;

	const char *prompt, *prompt_file, *ids, *encoder_ids, *image;
	int64_t n_random_ids;
	int64_t n_predict, n_beams;
	int64_t window, n_windows;
	const char *chat_system, *chat_template, *chat_variables;
	repeated_text stops, logit_bias;
	double frequency_penalty, presence_penalty;
	const char *schema_file, *grammar_file;
	bool chat;
	bool ignore_eos, special, tensors, tokens;
	repeated_text images; /* to read */
	const char *tiles, *picture;
	int join;
	int pooling, similarity; /* indices into the choices of the options */
	const char *head_path, *learn_path, *label_column;
	double classify_held_out;
	int64_t passes;

	int cut; /* a cut_units */
	int64_t piece_tokens, n_answer;
	const char *template_text, *system;
	bool raw, restart;
	repeated_text labels;

	const char *data_path, *output_path, *image_path, *train_ids;
	bool resume;
	int64_t steps, sequences, accumulate, warmup, eval_every, save_every, train_seed;
	double learning_rate, min_rate, weight_decay, clip, dropout, held_out;
	int64_t lora_rank;
	double lora_alpha;
	const char *lora_targets;

	const char *serve_host, *api_key_file, *cors, *served_name;
	int64_t serve_port, max_body_mib, max_connections, max_waiting, cache_tokens;
	double request_s, unload_s;
	int64_t most_loaded;
	repeated_text more_models, adapters; /* [NAME=]FILE, NAME=FILE[:SCALE] */

	int64_t bench_prompt, bench_decode, bench_depth, bench_repeats;
	bool no_alone, kernels;
	bool pure;
	int64_t threads;
	double budget_s;
	const char *trace_path;
	bool trace_kernels;
	int64_t timeline_token; /* 0: the one of median time */
	bool json, quiet;
} settings;

/* Sets every option to its default. */
evn_status settings_init(settings *s, evn_error *err);
/* Call this after all sources have been applied. Turns the items of the device list into rules (from the flag, else
 * the config, else EVENER_DEVICES) and checks what depends on several settings. */
evn_status settings_resolve(settings *s, evn_error *err);
void settings_free(settings *s);

/* Of [NAME=]FILE the FILE. A name has no slash. */
const char *model_entry_path(const char *text);

/* The options for the library. They borrow from s. Progress goes to the console. */
evn_options settings_engine_options(const settings *s);
evn_sample_options settings_sample_options(const settings *s);
/* The s->logit_bias.n biases, malloc'd. */
evn_status settings_biases(const settings *s, evn_logit_bias **out, evn_error *err);
/* The seed of the text with this number, so that texts with the same settings differ. -1 stays: another each time. */
int64_t seed_of_text(int64_t seed, uint64_t number);
/* Opens the model: reads it, or makes it as described. */
evn_status settings_open_model(const settings *s, evn_model **out, evn_error *err);

#endif
