/* config.h - the YAML config: its schema, and reading a config into settings. docs/cli.md describes the file. */
#ifndef EVN_CLI_CONFIG_H
#define EVN_CLI_CONFIG_H

#include "cli/config/settings.h"
#include <cyaml/cyaml.h>

/* Every value is kept as the text of the file. The option table reads it as it reads flags. */
typedef struct {
	char *path, *draft, *lora, *context, *architecture, *format, *vocab, *dim, *layers, *heads, *kv_heads, *ff, *seed;
} config_model;

typedef struct {
	char *match, *share, *memory;
} config_device;

typedef struct {
	char *mode, *reduce, *messages, *rebalance;
} config_split;

typedef struct {
	char *split;
} config_cluster;

typedef struct {
	char *activations, *batch, *kv_cache, *speculate, *verify_every;
} config_compute;

typedef struct {
	char *temp, *top_k, *top_p, *min_p, *repeat_penalty, *repeat_last_n, *frequency_penalty, *presence_penalty, *seed;
	char **stop, **logit_bias;
	uint32_t n_stop, n_logit_bias;
} config_sample;

typedef struct {
	char *prompt, *n, *ignore_eos, *chat, *schema, *grammar, *beams, *length_penalty;
} config_run;

typedef struct {
	char *system, *template, *variables;
} config_chat;

typedef struct {
	char *host, *port, *api_key_file, *cors, *name, *max_body, *max_connections;
	char *max_waiting, *cache_tokens, *request_time, *most_loaded, *unload_after;
	char **models, **adapters;
	uint32_t n_models, n_adapters;
} config_serve;

typedef struct {
	char *cut, *piece_tokens, *template, *system, *raw, *n, *cache_tokens, *schema, *grammar;
	char **labels;
	uint32_t n_labels;
} config_batch;

typedef struct {
	char *random_ids;
} config_logits;

typedef struct {
	char *head, *label, *held_out, *passes;
} config_classify;

typedef struct {
	char *data, *ids, *output, *image, *steps, *sequences, *accumulate, *learning_rate, *min_rate, *warmup,
		*weight_decay;
	char *clip, *dropout, *held_out, *eval_every, *save_every, *seed;
} config_train;

typedef struct {
	char *rank, *alpha, *targets;
} config_lora;

typedef struct {
	char *version;
	config_model model;
	config_device *devices;
	uint32_t n_devices;
	config_split split;
	config_cluster cluster;
	config_compute compute;
	config_sample sample;
	config_run run;
	config_chat chat;
	config_serve serve;
	config_batch batch;
	config_logits logits;
	config_classify classify;
	config_train train;
	config_lora lora;
} config_values;

typedef struct {
	config_values *values; /* settings borrow from these */
} config;

/* Reads the file at path and puts its values into s. Every error of the file is one line that begins with
 * file:line:column. */
evn_status config_load(config *out, const char *path, settings *s, evn_error *err);
void config_free(config *c);

extern const cyaml_schema_value_t config_schema;      /* of config_values */
const char *config_section_help(const char *section); /* one line for each top-level key */
/* The schema's field with this key, or NULL. */
const cyaml_schema_field_t *config_field(const cyaml_schema_field_t *fields, const char *key);

/* The JSON Schema of a config, malloc'd; and a commented config with every key at its default, to stdout. */
evn_status config_json_schema(char **out, evn_error *err);
void config_write_starter(void);

#endif
