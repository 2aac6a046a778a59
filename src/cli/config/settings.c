/* settings.c - see settings.h. */
#include "cli/config/settings.h"
#include "base/base.h"
#include "cli/cluster.h"
#include "cli/config/options.h"
#include "evener/requests.h"
#include "evener/simulate.h"
#include "cli/show/console.h"
#include "evener/train.h"

#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SEED_MASK (((uint64_t)1 << 53) - 1) /* what a JSON number holds */

evn_status settings_init(settings *s, evn_error *err)
{
	*s = (settings){0};
	for (const option *o = options; o->name; o++)
		if (o->initial) {
			evn_status status = option_set(o, o->initial, s, err);
			if (status != EVN_OK)
				return evn_fail_within(err, "default of --%s", o->name);
		}
	return EVN_OK;
}

void settings_free(settings *s)
{
	free(s->owned_list);
	for (size_t i = 0; i < sizeof s->owned_paths / sizeof *s->owned_paths; i++)
		free(s->owned_paths[i]);
	for (size_t i = 0; i < MAX_REPEATED; i++) {
		free(s->owned_models[i]);
		free(s->owned_adapters[i]);
	}
	*s = (settings){0};
}

/* Turns "pocl, intel" into one rule for each item. */
static evn_status split_list(settings *s, const char *list, const char *source, evn_error *err)
{
	s->n_rules = 0;
	s->owned_list = evn_format("%s", list);
	if (!s->owned_list)
		return evn_fail_memory(err, "the device list", 0);
	for (char *rest = s->owned_list, *item; (item = strsep(&rest, ","));) {
		item += strspn(item, " ");
		for (size_t n = strlen(item); n > 0 && item[n - 1] == ' '; n--)
			item[n - 1] = 0;
		if (!*item)
			return evn_fail(err, EVN_ERR_USAGE, "%s: empty item in the device list '%s'", source, list);
		if (s->n_rules == EVN_MAX_RANKS)
			return evn_fail(err, EVN_ERR_USAGE, "%s: more than %d items in the device list '%s'", source,
							EVN_MAX_RANKS, list);
		s->rules[s->n_rules++] = (evn_device_rule){.match = item, .share = EVN_SHARE_AUTO};
	}
	return EVN_OK;
}

static evn_status apply_memory(settings *s, evn_error *err)
{
	if (s->memory.n == 0)
		return EVN_OK;
	if (s->n_rules == 0)
		return evn_fail(err, EVN_ERR_USAGE, "--memory needs a device list (-d)");
	if (s->memory.n != 1 && s->memory.n != s->n_rules)
		return evn_fail(err, EVN_ERR_USAGE, "--memory: %zu amounts for a device list of %zu items", s->memory.n,
						s->n_rules);
	for (size_t i = 0; i < s->n_rules; i++) {
		memory_limit limit = s->memory.values[s->memory.n == 1 ? 0 : i];
		s->rules[i].memory_bytes = limit.bytes;
		s->rules[i].memory_fraction = limit.fraction;
	}
	return EVN_OK;
}

static evn_status parse_bias(const char *text, evn_logit_bias *out, evn_error *err)
{
	const char *colon = strchr(text, ':');
	char id_text[32];
	int64_t id = 0;
	double bias = 0;
	if (!colon || colon - text >= (ptrdiff_t)sizeof id_text)
		return evn_fail(err, EVN_ERR_USAGE, "--logit-bias: '%.60s': expected ID:BIAS, such as 15:-2.5", text);
	snprintf(id_text, sizeof id_text, "%.*s", (int)(colon - text), text);
	evn_status status = parse_int(id_text, 0, INT32_MAX, &id, err);
	if (status == EVN_OK)
		status = parse_real(colon + 1, -1e6, 1e6, &bias, err);
	*out = (evn_logit_bias){(int32_t)id, (float)bias};
	return status == EVN_OK ? EVN_OK : evn_fail_within(err, "--logit-bias: %.60s", text);
}

static evn_status check_biases(const settings *s, evn_error *err)
{
	evn_logit_bias bias;
	evn_status status = EVN_OK;
	for (size_t i = 0; i < s->logit_bias.n && status == EVN_OK; i++)
		status = parse_bias(s->logit_bias.items[i], &bias, err);
	return status;
}

evn_status settings_resolve(settings *s, evn_error *err)
{
	const char *variable = getenv("EVENER_DEVICES");
	evn_status status = EVN_OK;
	if (s->model_path && s->architecture)
		return evn_fail(err, EVN_ERR_USAGE, "a model is read (model.path) or made (model.architecture), not both");
	if (s->speculate == EVN_SPECULATE_DRAFT && !s->draft_path)
		return evn_fail(err, EVN_ERR_USAGE, "--speculate draft needs a draft model (--draft FILE)");
	if (s->devices)
		status = split_list(s, s->devices, "--devices", err);
	else if (s->n_rules == 0 && variable && *variable)
		status = split_list(s, variable, "EVENER_DEVICES", err);
	if (status == EVN_OK)
		status = apply_memory(s, err);
	if (status == EVN_OK)
		status = check_biases(s, err);
	if (status != EVN_OK)
		return status;
	bool all_zero = s->n_rules > 0 && s->shares.n == 0;
	for (size_t i = 0; i < s->n_rules; i++)
		all_zero = all_zero && s->rules[i].share == 0.0;
	if (all_zero)
		return evn_fail(err, EVN_ERR_USAGE, "devices: all shares are zero, so no device would hold the model");
	return EVN_OK;
}

const char *model_entry_path(const char *text)
{
	const char *equals = strchr(text, '='), *slash = strchr(text, '/');
	return equals && equals > text && (!slash || equals < slash) ? equals + 1 : text;
}

evn_options settings_engine_options(const settings *s)
{
	return (evn_options){
		.devices = s->n_rules ? s->rules : NULL,
		.n_devices = s->n_rules,
		.shares = s->shares.n ? s->shares.values : NULL,
		.n_shares = s->shares.n,
		.prompt_shares = s->shares.n ? s->shares.prompts : NULL,
		.context = (uint32_t)s->context,
		.batch = (uint32_t)s->batch,
		.reduce = (evn_reduce)s->reduce,
		.activations = (evn_activation_type)s->activations,
		.kv_cache = (evn_kv_cache)s->kv_cache,
		.messages = (evn_message_type)s->messages,
		.verify_every = (uint32_t)s->verify_every,
		.cluster = cluster_joined(),
		.cluster_split = s->cluster_split,
		.measure = s->measure,
		.progress = console_progress,
	};
}

static evn_status apply_lora(const settings *s, evn_model *m, evn_error *err)
{
	const char *colon = strrchr(s->lora, ':');
	double scale = 1;
	/* the text after the last colon is a scale only if it is a number */
	bool scaled = colon && parse_real(colon + 1, -1e6, 1e6, &scale, NULL) == EVN_OK;
	char *path = evn_format("%.*s", scaled ? (int)(colon - s->lora) : (int)strlen(s->lora), s->lora);
	evn_status status =
		path ? evn_model_apply_adapter(m, path, scale, err) : evn_fail_memory(err, "the adapter's path", 0);
	free(path);
	return status;
}

static evn_status read_model(const settings *s, evn_model **out, evn_error *err)
{
	evn_status status = evn_model_open(out, s->model_path, err);
	if (status == EVN_OK && s->lora)
		status = apply_lora(s, *out, err);
	if (status != EVN_OK) {
		evn_model_close(*out);
		*out = NULL;
	}
	return status;
}

evn_status settings_open_model(const settings *s, evn_model **out, evn_error *err)
{
	*out = NULL;
	if (!s->architecture)
		return read_model(s, out, err);
	const evn_model_spec spec = {
		.architecture = s->architecture,
		.vocab = (uint32_t)s->vocab,
		.dim = (uint32_t)s->dim,
		.context = (uint32_t)s->context,
		.n_layers = (uint32_t)s->layers,
		.n_heads = (uint32_t)s->heads,
		.n_kv_heads = (uint32_t)s->kv_heads,
		.ff_dim = (uint32_t)s->ff,
		.seed = (uint64_t)s->init_seed,
	};
	if (s->simulate)
		return evn_model_outline(out, &spec, s->format ? s->format : "F32", err);
	return evn_model_create(out, &spec, err);
}

evn_sample_options settings_sample_options(const settings *s)
{
	return (evn_sample_options){
		.temp = (float)s->temp,
		.top_k = (int32_t)s->top_k,
		.top_p = (float)s->top_p,
		.min_p = (float)s->min_p,
		.repeat_penalty = (float)s->repeat_penalty,
		.repeat_last_n = (int32_t)s->repeat_last_n,
		.frequency_penalty = (float)s->frequency_penalty,
		.presence_penalty = (float)s->presence_penalty,
		.seed = s->seed,
	};
}

evn_status settings_biases(const settings *s, evn_logit_bias **out, evn_error *err)
{
	evn_logit_bias *list = *out = calloc(s->logit_bias.n + 1, sizeof *list);
	evn_status status = list ? EVN_OK : evn_fail_memory(err, "biases", 0);
	for (size_t i = 0; i < s->logit_bias.n && status == EVN_OK; i++)
		status = parse_bias(s->logit_bias.items[i], &list[i], err);
	return status;
}

int64_t seed_of_text(int64_t seed, uint64_t number)
{
	return seed < 0 ? seed : (int64_t)(((uint64_t)seed + number) & SEED_MASK);
}
