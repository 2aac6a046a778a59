/* config.c - turns a config file into settings, in three passes: the YAML events (yaml_check), libcyaml against the
 * schema, and each value through the option table. Each pass reports an error as one line that begins with
 * file:line:column. */
#include "cli/config/config.h"
#include "cli/config/options.h"
#include "cli/config/yaml_check.h"
#include "cli/show/text.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* What libcyaml logs when it fails: one line with the reason, then a backtrace from the inside out. */
typedef struct {
	char reason[256];
	char path[YAML_MAX_KEY * 4]; /* "devices[0].share", from the backtrace */
	bool in_backtrace;
	unsigned frames;
} cyaml_trouble;

static void prepend(cyaml_trouble *t, const char *part)
{
	char rest[sizeof t->path];
	memcpy(rest, t->path, sizeof rest);
	const char *joint = !*rest || *rest == '[' ? "" : ".";
	int n = snprintf(t->path, sizeof t->path, "%s%s", part, joint);
	if (n > 0 && (size_t)n < sizeof t->path)
		snprintf(t->path + n, sizeof t->path - (size_t)n, "%.*s", (int)(sizeof rest - (size_t)n - 1), rest);
}

static EVN_PRINTF(3, 0) void read_cyaml_log(cyaml_log_t level, void *user, const char *fmt, va_list args)
{
	cyaml_trouble *t = user;
	char line[512], part[YAML_MAX_KEY + 2];
	unsigned index;
	if (level < CYAML_LOG_ERROR)
		return;
	vsnprintf(line, sizeof line, fmt, args);
	line[strcspn(line, "\n")] = 0;
	if (strcmp(line, "Load: Backtrace:") == 0) {
		t->in_backtrace = true;
	} else if (!t->in_backtrace) {
		const char *text = strncmp(line, "Load: ", 6) == 0 ? line + 6 : line;
		snprintf(t->reason, sizeof t->reason, "%.*s", (int)sizeof t->reason - 1, text);
	} else if (sscanf(line, " in mapping field '%64[^']'", part) == 1) {
		t->frames++;
		prepend(t, part);
	} else if (sscanf(line, " in sequence entry '%u'", &index) == 1 && index > 0) {
		t->frames++;
		snprintf(part, sizeof part, "[%u]", index - 1);
		prepend(t, part);
	}
}

static evn_status fail_at_entry(const yaml_entries *y, const yaml_entry *at, bool at_value, evn_error *err)
{
	size_t line = !at ? 1 : at_value ? at->value_line : at->key_line;
	size_t column = !at ? 1 : at_value ? at->value_column : at->key_column;
	return evn_fail_within(err, "%s:%zu:%zu", y->file, line, column);
}

/* The schema of the mapping at `path` ("" is the whole file). */
static const cyaml_schema_field_t *mapping_fields(const char *path)
{
	const cyaml_schema_field_t *top = config_schema.mapping.fields;
	char section[YAML_MAX_KEY + 1];
	snprintf(section, sizeof section, "%.*s", (int)strcspn(path, ".["), path);
	const cyaml_schema_field_t *field = *section ? config_field(top, section) : NULL;
	if (!field)
		return top;
	if (field->value.type == CYAML_SEQUENCE)
		return field->value.sequence.entry->mapping.fields;
	return field->value.mapping.fields;
}

static evn_status unknown_key(const yaml_entries *y, const char *within, const char *key, evn_error *err)
{
	const char *names[32] = {0};
	const cyaml_schema_field_t *f = mapping_fields(within);
	for (size_t i = 0; f->key && i + 1 < sizeof names / sizeof *names; f++, i++)
		names[i] = f->key;
	char path[YAML_MAX_KEY * 6];
	snprintf(path, sizeof path, "%s%s%s", within, *within ? "." : "", key);
	const char *nearest = text_nearest(key, names);
	evn_fail(err, EVN_ERR_USAGE, "unknown key '%s'%s%s%s", path, nearest ? "; did you mean '" : "",
			 nearest ? nearest : "", nearest ? "'?" : "");
	return fail_at_entry(y, yaml_find(y, path), false, err);
}

/* Names what the file has in place of the shape that the schema wants. */
static evn_status wrong_shape(const yaml_entries *y, const cyaml_trouble *t, evn_error *err)
{
	static const char *const shapes[][2] = {{"STRING", "one value"},
											{"MAPPING", "a mapping (key: value)"},
											{"SEQUENCE", "a list"},
											{"SCALAR", "one value"}};
	char wanted[32] = "", found[32] = "";
	sscanf(t->reason, "Expecting %31[A-Z], got event: %31[A-Z]", wanted, found);
	const char *wanted_words = t->reason, *found_words = "something else";
	for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
		if (strcmp(wanted, shapes[i][0]) == 0)
			wanted_words = shapes[i][1];
		if (*found && strncmp(found, shapes[i][0], strlen(shapes[i][0])) == 0)
			found_words = shapes[i][1];
	}
	const yaml_entry *at = yaml_find(y, t->path);
	if (at && at->value && !*at->value)
		found_words = "nothing";
	evn_fail(err, EVN_ERR_USAGE, "%s: expected %s, found %s", t->path, wanted_words, found_words);
	return fail_at_entry(y, at, true, err);
}

static evn_status cyaml_failed(const yaml_entries *y, cyaml_err_t code, cyaml_trouble *t, evn_error *err)
{
	const char *last = strrchr(t->reason, ' ');
	const option *list;
	last = last ? last + 1 : t->reason;
	switch (code) {
	case CYAML_ERR_OOM:
		return evn_fail_memory(err, y->file, 0);
	case CYAML_ERR_INVALID_KEY:
		return unknown_key(y, t->path, t->reason + strcspn(t->reason, ":") + 2, err);
	case CYAML_ERR_INVALID_VALUE:
		return wrong_shape(y, t, err);
	case CYAML_ERR_MAPPING_FIELD_MISSING:
		/* the backtrace begins with the last key that was there, so the mapping around it is at fault */
		t->path[strchr(t->path, ']') ? strcspn(t->path, "]") + 1 : 0] = 0;
		evn_fail(err, EVN_ERR_USAGE, "%s%skey '%s' is missing", t->path, *t->path ? ": " : "", last);
		return fail_at_entry(y, yaml_find(y, t->path), true, err);
	case CYAML_ERR_SEQUENCE_ENTRIES_MIN:
	case CYAML_ERR_SEQUENCE_ENTRIES_MAX:
		t->path[strcspn(t->path, "[")] = 0;
		list = option_by_key(t->path);
		evn_fail(err, EVN_ERR_USAGE, "%s: expected %d to %d entries", t->path, list ? 0 : 1,
				 list ? (int)list->max : EVN_MAX_RANKS);
		return fail_at_entry(y, yaml_find(y, t->path), true, err);
	default:
		evn_fail(err, EVN_ERR_USAGE, "%s%s%s", t->path, *t->path ? ": " : "",
				 *t->reason ? t->reason : cyaml_strerror(code));
		return fail_at_entry(y, yaml_find(y, t->path), true, err);
	}
}

/* This check comes first, so that a newer file is reported as newer and not as full of unknown keys. */
static evn_status check_version(const yaml_entries *y, evn_error *err)
{
	const yaml_entry *version = yaml_find(y, "version");
	if (!version)
		evn_fail(err, EVN_ERR_USAGE, "key 'version' is missing; this evener reads version: " CONFIG_VERSION);
	else if (!version->value || strcmp(version->value, CONFIG_VERSION) != 0)
		evn_fail(err, EVN_ERR_USAGE, "version: '%.60s' is unknown; this evener reads version: " CONFIG_VERSION,
				 version->value ? version->value : "a list or mapping");
	else
		return EVN_OK;
	return fail_at_entry(y, version, true, err);
}

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

static evn_status place_paths(settings *s, const char *file, evn_error *err)
{
	const char **const paths[] = {&s->model_path,   &s->data_path,     &s->output_path, &s->image_path,  &s->lora,
								  &s->api_key_file, &s->chat_template, &s->schema_file, &s->grammar_file};
	evn_status status = EVN_OK;
	for (size_t i = 0; i < sizeof paths / sizeof *paths && status == EVN_OK; i++)
		status = place(paths[i], &s->owned_paths[i], file, err);
	return status;
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
	return fail_at_entry(y, yaml_find(y, path), true, err);
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
	return fail_at_entry(y, yaml_find(y, path), true, err);
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
		return fail_at_entry(y, yaml_find(y, "devices"), true, err);
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

static cyaml_config_t cyaml_setup(cyaml_trouble *t)
{
	return (cyaml_config_t){
		.log_fn = read_cyaml_log,
		.log_ctx = t,
		.log_level = CYAML_LOG_ERROR,
		.mem_fn = cyaml_mem,
		.flags = CYAML_CFG_NO_ALIAS,
	};
}

static evn_status load_config_values(config *out, const yaml_entries *y, const char *data, size_t size,
									 evn_error *err)
{
	cyaml_trouble trouble = {0};
	cyaml_config_t setup = cyaml_setup(&trouble);
	cyaml_err_t code =
		cyaml_load_data((const uint8_t *)data, size, &setup, &config_schema, (cyaml_data_t **)&out->values, NULL);
	return code == CYAML_OK ? EVN_OK : cyaml_failed(y, code, &trouble, err);
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
	char *data = NULL;
	size_t size = 0;
	yaml_entries entries = {0};
	*out = (config){0};
	if (is_model(path)) /* before its size is */
		return evn_fail(err, EVN_ERR_USAGE, "%s: is a model, expected a config; models are given as -m %s", path,
						path);
	evn_status status = text_read(&data, &size, path, YAML_MAX_BYTES, err);
	if (status == EVN_OK)
		status = yaml_check(&entries, path, data, size, err);
	if (status == EVN_OK)
		status = check_version(&entries, err);
	if (status == EVN_OK)
		status = load_config_values(out, &entries, data, size, err);
	if (status == EVN_OK)
		status = apply_values(out->values, &entries, s, err);
	yaml_entries_free(&entries);
	free(data);
	return status;
}

void config_free(config *c)
{
	cyaml_trouble ignored = {0};
	cyaml_config_t setup = cyaml_setup(&ignored);
	cyaml_free(&setup, &config_schema, c->values, 0);
	c->values = NULL;
}
