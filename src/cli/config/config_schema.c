/* config_schema.c - the keys of a config, as libcyaml needs them. The types, ranges, defaults and descriptions of the
 * values are in the option table under the same key. */
#include "cli/config/config.h"

#include <string.h>

#define OPTIONAL (CYAML_FLAG_OPTIONAL | CYAML_FLAG_POINTER)
#define TEXT(type, member) CYAML_FIELD_STRING_PTR(#member, OPTIONAL, type, member, 0, CYAML_UNLIMITED)
#define SECTION(member) CYAML_FIELD_MAPPING(#member, CYAML_FLAG_OPTIONAL, config_values, member, member##_fields)

static const cyaml_schema_field_t model_fields[] = {
	TEXT(config_model, path),         TEXT(config_model, draft),
	TEXT(config_model, lora),         TEXT(config_model, context),
	TEXT(config_model, architecture), TEXT(config_model, format),
	TEXT(config_model, vocab),        TEXT(config_model, dim),
	TEXT(config_model, layers),       TEXT(config_model, heads),
	TEXT(config_model, kv_heads),     TEXT(config_model, ff),
	TEXT(config_model, seed),         CYAML_FIELD_END,
};

static const cyaml_schema_field_t device_fields[] = {
	CYAML_FIELD_STRING_PTR("match", CYAML_FLAG_POINTER, config_device, match, 0, CYAML_UNLIMITED),
	TEXT(config_device, share),
	TEXT(config_device, memory),
	CYAML_FIELD_END,
};

static const cyaml_schema_field_t split_fields[] = {
	TEXT(config_split, mode), TEXT(config_split, reduce), TEXT(config_split, messages), TEXT(config_split, rebalance),
	CYAML_FIELD_END,
};

static const cyaml_schema_field_t cluster_fields[] = {
	TEXT(config_cluster, split),
	CYAML_FIELD_END,
};

static const cyaml_schema_field_t compute_fields[] = {
	TEXT(config_compute, activations), TEXT(config_compute, batch),        TEXT(config_compute, kv_cache),
	TEXT(config_compute, speculate),   TEXT(config_compute, verify_every), CYAML_FIELD_END,
};

static const cyaml_schema_value_t text_schema = {CYAML_VALUE_STRING(CYAML_FLAG_POINTER, char, 0, CYAML_UNLIMITED)};

/* The member n_NAME counts them. */
#define TEXTS(type, member, most)                                                                                    \
	CYAML_FIELD_SEQUENCE_COUNT(#member, OPTIONAL, type, member, n_##member, &text_schema, 0, most)

static const cyaml_schema_field_t sample_fields[] = {
	TEXT(config_sample, temp),
	TEXT(config_sample, top_k),
	TEXT(config_sample, top_p),
	TEXT(config_sample, min_p),
	TEXT(config_sample, repeat_penalty),
	TEXT(config_sample, repeat_last_n),
	TEXT(config_sample, frequency_penalty),
	TEXT(config_sample, presence_penalty),
	TEXT(config_sample, seed),
	TEXTS(config_sample, stop, 16),
	TEXTS(config_sample, logit_bias, MAX_REPEATED),
	CYAML_FIELD_END,
};

static const cyaml_schema_field_t run_fields[] = {
	TEXT(config_run, prompt),
	TEXT(config_run, n),
	TEXT(config_run, ignore_eos),
	TEXT(config_run, beams),
	TEXT(config_run, length_penalty),
	TEXT(config_run, chat),
	TEXT(config_run, schema),
	TEXT(config_run, grammar),
	CYAML_FIELD_END,
};

static const cyaml_schema_field_t chat_fields[] = {
	TEXT(config_chat, system),
	TEXT(config_chat, template),
	TEXT(config_chat, variables),
	CYAML_FIELD_END,
};

static const cyaml_schema_field_t serve_fields[] = {
	TEXT(config_serve, host),
	TEXT(config_serve, port),
	TEXT(config_serve, api_key_file),
	TEXT(config_serve, cors),
	TEXT(config_serve, name),
	TEXT(config_serve, max_body),
	TEXT(config_serve, max_connections),
	TEXT(config_serve, max_waiting),
	TEXT(config_serve, cache_tokens),
	TEXT(config_serve, request_time),
	TEXTS(config_serve, models, 31),
	TEXTS(config_serve, adapters, 31),
	TEXT(config_serve, most_loaded),
	TEXT(config_serve, unload_after),
	CYAML_FIELD_END,
};

static const cyaml_schema_field_t batch_fields[] = {
	TEXT(config_batch, cut),
	TEXT(config_batch, piece_tokens),
	TEXT(config_batch, template),
	TEXT(config_batch, system),
	TEXT(config_batch, raw),
	TEXTS(config_batch, labels, MAX_REPEATED),
	TEXT(config_batch, schema),
	TEXT(config_batch, grammar),
	TEXT(config_batch, cache_tokens),
	TEXT(config_batch, n),
	CYAML_FIELD_END,
};

static const cyaml_schema_field_t logits_fields[] = {
	TEXT(config_logits, random_ids),
	CYAML_FIELD_END,
};

static const cyaml_schema_field_t classify_fields[] = {
	TEXT(config_classify, head),
	TEXT(config_classify, label),
	TEXT(config_classify, held_out),
	TEXT(config_classify, passes),
	CYAML_FIELD_END,
};

static const cyaml_schema_field_t train_fields[] = {
	TEXT(config_train, data),       TEXT(config_train, ids),           TEXT(config_train, output),
	TEXT(config_train, image),      TEXT(config_train, steps),         TEXT(config_train, sequences),
	TEXT(config_train, accumulate), TEXT(config_train, learning_rate), TEXT(config_train, min_rate),
	TEXT(config_train, warmup),     TEXT(config_train, weight_decay),  TEXT(config_train, clip),
	TEXT(config_train, dropout),    TEXT(config_train, held_out),      TEXT(config_train, eval_every),
	TEXT(config_train, save_every), TEXT(config_train, seed),          CYAML_FIELD_END,
};

static const cyaml_schema_field_t lora_fields[] = {
	TEXT(config_lora, rank),
	TEXT(config_lora, alpha),
	TEXT(config_lora, targets),
	CYAML_FIELD_END,
};

static const cyaml_schema_value_t device_schema = {
	CYAML_VALUE_MAPPING(CYAML_FLAG_DEFAULT, config_device, device_fields)};

static const cyaml_schema_field_t config_fields[] = {
	CYAML_FIELD_STRING_PTR("version", CYAML_FLAG_POINTER, config_values, version, 0, CYAML_UNLIMITED),
	SECTION(model),
	CYAML_FIELD_SEQUENCE_COUNT("devices", OPTIONAL, config_values, devices, n_devices, &device_schema, 1,
							   EVN_MAX_RANKS),
	SECTION(split),
	SECTION(cluster),
	SECTION(compute),
	SECTION(sample),
	SECTION(run),
	SECTION(chat),
	SECTION(serve),
	SECTION(batch),
	SECTION(logits),
	SECTION(classify),
	SECTION(train),
	SECTION(lora),
	CYAML_FIELD_END,
};

const cyaml_schema_value_t config_schema = {CYAML_VALUE_MAPPING(CYAML_FLAG_POINTER, config_values, config_fields)};

const char *config_section_help(const char *section)
{
	static const char *const help[][2] = {
		{"version", "version of this file's format"},
		{"model",
		 "the model: a file (a relative path is relative to this one), or an architecture with random weights"},
		{"devices",
		 "which devices may take part; each device that matches becomes a rank; default: every usable device "
		 "with measured shares, without those that would slow the others down"},
		{"split", "how the work is divided and how partial sums are reduced"},
		{"cluster", "how the nodes of a job that MPI has started share the model"},
		{"compute", "how the devices compute"},
		{"sample", "how the next token is drawn"},
		{"train", "what `evener train` learns, how, and where the result goes; paths are relative to this file"},
		{"lora", "fine-tuning by low-rank additions; the model stays as it is"},
		{"run", "what `evener run` does unless flags say otherwise"},
		{"serve", "how `evener serve` is reached, and its limits; paths are relative to this file"},
		{"chat", "how messages become a prompt, in `evener chat` and `evener run --chat`"},
		{"batch", "what `evener batch` makes of its input unless flags say otherwise"},
		{"logits", "what `evener logits` does unless flags say otherwise"},
		{"classify", "how `evener classify` finds classes and learns them; paths are relative to this file"},
	};
	for (size_t i = 0; i < sizeof help / sizeof *help; i++)
		if (strcmp(help[i][0], section) == 0)
			return help[i][1];
	return "";
}

const cyaml_schema_field_t *config_field(const cyaml_schema_field_t *fields, const char *key)
{
	for (const cyaml_schema_field_t *f = fields; f->key; f++)
		if (strcmp(f->key, key) == 0)
			return f;
	return NULL;
}
