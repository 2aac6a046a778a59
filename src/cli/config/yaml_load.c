/* yaml_load.c - see yaml_load.h. libcyaml says what is wrong in a log; the messages here are made from that. */
#include "cli/config/yaml_load.h"
#include "base/base.h"
#include "cli/show/text.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

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

evn_status yaml_fail_at(const yaml_entries *y, const yaml_entry *at, bool at_value, evn_error *err)
{
	size_t line = !at ? 1 : at_value ? at->value_line : at->key_line;
	size_t column = !at ? 1 : at_value ? at->value_column : at->key_column;
	return evn_fail_within(err, "%s:%zu:%zu", y->file, line, column);
}

typedef struct {
	const yaml_entries *y;
	const cyaml_schema_value_t *schema;
	cyaml_trouble trouble;
	evn_error *err;
} loading;

static const cyaml_schema_field_t *find_field(const cyaml_schema_field_t *fields, const char *key, size_t n)
{
	for (const cyaml_schema_field_t *f = fields; f->key; f++)
		if (strlen(f->key) == n && strncmp(f->key, key, n) == 0)
			return f;
	return NULL;
}

/* The schema of the value at `path`, "nodes[0].devices"; of a list's entry if the path ends with an index. As much of
 * the path as the schema has. */
static const cyaml_schema_value_t *schema_at(const cyaml_schema_value_t *at, const char *path)
{
	while (*path) {
		const size_t n = strcspn(path, ".[");
		const cyaml_schema_field_t *f =
			at->type == CYAML_MAPPING && n ? find_field(at->mapping.fields, path, n) : NULL;
		if (!f && n)
			return at;
		at = f ? &f->value : at;
		path += n;
		if (*path == '[') {
			at = at->type == CYAML_SEQUENCE ? at->sequence.entry : at;
			path += strcspn(path, "]");
			path += *path == ']';
		}
		path += *path == '.';
	}
	return at;
}

static evn_status unknown_key(const loading *l, const char *key)
{
	const char *names[32] = {0}, *within = l->trouble.path;
	const cyaml_schema_value_t *at = schema_at(l->schema, within);
	const cyaml_schema_field_t *f = at->type == CYAML_MAPPING ? at->mapping.fields : NULL;
	for (size_t i = 0; f && f->key && i + 1 < sizeof names / sizeof *names; f++, i++)
		names[i] = f->key;
	char path[YAML_MAX_KEY * 6];
	snprintf(path, sizeof path, "%s%s%s", within, *within ? "." : "", key);
	const char *nearest = text_nearest(key, names);
	evn_fail(l->err, EVN_ERR_USAGE, "unknown key '%s'%s%s%s", path, nearest ? "; did you mean '" : "",
			 nearest ? nearest : "", nearest ? "'?" : "");
	return yaml_fail_at(l->y, yaml_find(l->y, path), false, l->err);
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
	return yaml_fail_at(y, at, true, err);
}

/* The backtrace begins with the last key that was there, so the mapping around it is at fault. */
static evn_status missing_key(loading *l, const char *key)
{
	char *path = l->trouble.path, *dot = strrchr(path, '.');
	const size_t n = strlen(path);
	if (!n || path[n - 1] != ']')
		*(dot ? dot : path) = 0;
	evn_fail(l->err, EVN_ERR_USAGE, "%s%skey '%s' is missing", path, *path ? ": " : "", key);
	return yaml_fail_at(l->y, yaml_find(l->y, path), true, l->err);
}

static evn_status wrong_length(loading *l)
{
	char *path = l->trouble.path;
	const size_t n = strlen(path);
	if (n && path[n - 1] == ']')
		*strrchr(path, '[') = 0;
	const cyaml_schema_value_t *list = schema_at(l->schema, path);
	evn_fail(l->err, EVN_ERR_USAGE, "%s: expected %u to %u entries", path, list->sequence.min, list->sequence.max);
	return yaml_fail_at(l->y, yaml_find(l->y, path), true, l->err);
}

static evn_status cyaml_failed(loading *l, cyaml_err_t code)
{
	const cyaml_trouble *t = &l->trouble;
	const char *last = strrchr(t->reason, ' ');
	last = last ? last + 1 : t->reason;
	switch (code) {
	case CYAML_ERR_OOM:
		return evn_fail_memory(l->err, l->y->file, 0);
	case CYAML_ERR_INVALID_KEY:
		return unknown_key(l, t->reason + strcspn(t->reason, ":") + 2);
	case CYAML_ERR_INVALID_VALUE:
		return wrong_shape(l->y, t, l->err);
	case CYAML_ERR_MAPPING_FIELD_MISSING:
		return missing_key(l, last);
	case CYAML_ERR_SEQUENCE_ENTRIES_MIN:
	case CYAML_ERR_SEQUENCE_ENTRIES_MAX:
		return wrong_length(l);
	default:
		evn_fail(l->err, EVN_ERR_USAGE, "%s%s%s", t->path, *t->path ? ": " : "",
				 *t->reason ? t->reason : cyaml_strerror(code));
		return yaml_fail_at(l->y, yaml_find(l->y, t->path), true, l->err);
	}
}

/* This check comes first, so that a newer file is reported as newer and not as full of unknown keys. */
static evn_status check_version(const yaml_entries *y, evn_error *err)
{
	const yaml_entry *version = yaml_find(y, "version");
	if (!version)
		evn_fail(err, EVN_ERR_USAGE, "key 'version' is missing; this evener reads version: " YAML_VERSION);
	else if (!version->value || strcmp(version->value, YAML_VERSION) != 0)
		evn_fail(err, EVN_ERR_USAGE, "version: '%.60s' is unknown; this evener reads version: " YAML_VERSION,
				 version->value ? version->value : "a list or mapping");
	else
		return EVN_OK;
	return yaml_fail_at(y, version, true, err);
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

static evn_status load_values(void **out, loading *l, const char *data, size_t size)
{
	cyaml_config_t setup = cyaml_setup(&l->trouble);
	cyaml_err_t code = cyaml_load_data((const uint8_t *)data, size, &setup, l->schema, (cyaml_data_t **)out, NULL);
	return code == CYAML_OK ? EVN_OK : cyaml_failed(l, code);
}

evn_status yaml_load(void **out, yaml_entries *y, const char *path, const cyaml_schema_value_t *schema,
					 evn_error *err)
{
	char *data = NULL;
	size_t size = 0;
	loading l = {.y = y, .schema = schema, .err = err};
	*out = NULL;
	*y = (yaml_entries){0};
	evn_status status = text_read(&data, &size, path, YAML_MAX_BYTES, err);
	if (status == EVN_OK)
		status = yaml_check(y, path, data, size, err);
	if (status == EVN_OK)
		status = check_version(y, err);
	if (status == EVN_OK)
		status = load_values(out, &l, data, size);
	free(data);
	return status;
}

void yaml_free(void *values, const cyaml_schema_value_t *schema)
{
	cyaml_trouble ignored = {0};
	cyaml_config_t setup = cyaml_setup(&ignored);
	cyaml_free(&setup, schema, values, 0);
}
