/* config.c - turns a config file into settings, in three passes: the YAML events (yaml_check), libcyaml against the
 * schema, and each value through the option table. Each pass reports an error as one line that begins with
 * file:line:column. */
#include "cli/config/config.h"
#include "base/base.h"
#include "cli/config/options.h"
#include "cli/config/yaml_load.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* A path in the file is relative to the file. */
static evn_status place(const char **path, char **owned, const char *file, evn_error *err)
{
	const char *slash = strrchr(file, '/');
	if (!*path || **path == '/' || !slash)
		return EVN_OK;
	*owned = evn_format("%.*s%s", (int)(slash + 1 - file), file, *path);
	*path = *owned;
	return *owned ? EVN_OK : evn_fail_memory(err, "a path", 0);
}

/* The same for a list of NAME=FILE. */
static evn_status place_models(repeated_text *list, char **owned, const char *file, evn_error *err)
{
	const char *slash = strrchr(file, '/');
	for (size_t i = 0; slash && i < list->n; i++) {
		const char *text = list->items[i], *path = model_entry_path(text);
		if (*path == '/')
			continue;
		owned[i] = evn_format("%.*s%.*s%s", (int)(path - text), text, (int)(slash + 1 - file), file, path);
		if (!owned[i])
			return evn_fail_memory(err, "a path", 0);
		list->items[i] = owned[i];
	}
	return EVN_OK;
}

static evn_status place_paths(settings *s, const char *file, evn_error *err)
{
	const char **const paths[] = {&s->model_path,   &s->data_path,    &s->output_path,   &s->image_path,
								  &s->lora,         &s->api_key_file, &s->chat_template, &s->schema_file,
								  &s->grammar_file, &s->draft_path,   &s->head_path};
	evn_status status = EVN_OK;
	for (size_t i = 0; i < sizeof paths / sizeof *paths && status == EVN_OK; i++)
		status = place(paths[i], &s->owned_paths[i], file, err);
	if (status == EVN_OK)
		status = place_models(&s->more_models, s->owned_models, file, err);
	return status == EVN_OK ? place_models(&s->adapters, s->owned_adapters, file, err) : status;
}

static char *text_at(const void *base, const cyaml_schema_field_t *f)
{
	char *text;
	memcpy(&text, (const char *)base + f->data_offset, sizeof text);
	return text;
}

/* The value of a key, or one of the values of a list. */
static evn_status apply_value(const option *o, const char *text, const char *path, const yaml_entries *y, settings *s,
							  evn_error *err)
{
	if (option_set(o, text, s, err) == EVN_OK)
		return EVN_OK;
	evn_fail_within(err, "%s", path);
	return yaml_fail_at(y, yaml_find(y, path), true, err);
}

static evn_status apply_list(const void *base, const cyaml_schema_field_t *f, const char *key, const yaml_entries *y,
							 settings *s, evn_error *err)
{
	const option *o = option_by_key(key);
	char **texts, path[2 * YAML_MAX_KEY + 32];
	uint32_t n;
	memcpy(&texts, (const char *)base + f->data_offset, sizeof texts);
	memcpy(&n, (const char *)base + f->count_offset, sizeof n);
	evn_status status = EVN_OK;
	for (uint32_t i = 0; o && texts && i < n && status == EVN_OK; i++) {
		snprintf(path, sizeof path, "%s[%u]", key, i);
		status = apply_value(o, texts[i], path, y, s, err);
	}
	return status;
}

static evn_status apply_section(const config_values *v, const cyaml_schema_field_t *section, const yaml_entries *y,
								settings *s, evn_error *err)
{
	const void *base = (const char *)v + section->data_offset;
	evn_status status = EVN_OK;
	for (const cyaml_schema_field_t *f = section->value.mapping.fields; f->key && status == EVN_OK; f++) {
		char path[2 * YAML_MAX_KEY + 2];
		snprintf(path, sizeof path, "%s.%s", section->key, f->key);
		const option *o = option_by_key(path);
		if (o && o->kind == OPTION_REPEATED)
			status = apply_list(base, f, path, y, s, err);
		else if (o && f->value.type == CYAML_STRING && text_at(base, f))
			status = apply_value(o, text_at(base, f), path, y, s, err);
	}
	return status;
}

static evn_status device_failed(const yaml_entries *y, size_t i, const char *key, evn_error *err)
{
	char path[64];
	snprintf(path, sizeof path, "devices[%zu].%s", i, key);
	evn_fail_within(err, "%s", path);
	return yaml_fail_at(y, yaml_find(y, path), true, err);
}

static evn_status apply_devices(const config_values *v, const yaml_entries *y, settings *s, evn_error *err)
{
	double sum = 0;
	for (size_t i = 0; i < v->n_devices; i++) {
		const config_device *d = &v->devices[i];
		memory_limit memory = {0};
		double share = EVN_SHARE_AUTO;
		s->prompt_shares[i] = EVN_SHARE_AUTO;
		if (!*d->match || strchr(d->match, ',')) {
			evn_fail(err, EVN_ERR_USAGE, "'%.60s': expected one item such as gpu, 0:1 or cpu/1+1", d->match);
			return device_failed(y, i, "match", err);
		}
		if (d->share && parse_share(d->share, &share, &s->prompt_shares[i], err) != EVN_OK)
			return device_failed(y, i, "share", err);
		if (d->memory && parse_memory(d->memory, &memory, err) != EVN_OK)
			return device_failed(y, i, "memory", err);
		s->rules[i] = (evn_device_rule){d->match, share, memory.bytes, memory.fraction, &s->prompt_shares[i]};
		sum += share == EVN_SHARE_AUTO ? 1 : share;
	}
	s->n_rules = v->n_devices;
	if (v->n_devices > 0 && !(sum > 0)) {
		evn_fail(err, EVN_ERR_USAGE, "devices: all shares are zero, so no device would hold the model");
		return yaml_fail_at(y, yaml_find(y, "devices"), true, err);
	}
	return EVN_OK;
}

static evn_status apply_values(const config_values *v, const yaml_entries *y, settings *s, evn_error *err)
{
	for (const cyaml_schema_field_t *f = config_schema.mapping.fields; f->key; f++) {
		evn_status status = f->value.type == CYAML_MAPPING ? apply_section(v, f, y, s, err) : EVN_OK;
		if (status != EVN_OK)
			return status;
	}
	evn_status status = apply_devices(v, y, s, err);
	return status == EVN_OK ? place_paths(s, y->file, err) : status;
}

static bool is_model(const char *path)
{
	char magic[4];
	struct stat info;
	bool is_regular = stat(path, &info) == 0 && S_ISREG(info.st_mode); /* what is read from a pipe is gone */
	FILE *f = is_regular ? fopen(path, "rb") : NULL;
	bool is = f && fread(magic, 1, sizeof magic, f) == sizeof magic && memcmp(magic, "GGUF", 4) == 0;
	if (f)
		fclose(f);
	return is;
}

evn_status config_load(config *out, const char *path, settings *s, evn_error *err)
{
	yaml_entries entries;
	*out = (config){0};
	if (is_model(path)) /* before its size is */
		return evn_fail(err, EVN_ERR_USAGE, "%s: is a model, expected a config; models are given as -m %s", path,
						path);
	evn_status status = yaml_load((void **)&out->values, &entries, path, &config_schema, err);
	if (status == EVN_OK)
		status = apply_values(out->values, &entries, s, err);
	yaml_entries_free(&entries);
	return status;
}

void config_free(config *c)
{
	yaml_free(c->values, &config_schema);
	c->values = NULL;
}
