/* yaml_check.c - see yaml_check.h. Recursive descent over libyaml's events, at most YAML_MAX_DEPTH deep. */
#include "cli/config/yaml_check.h"
#include "base/base.h"

#include <stdlib.h>
#include <string.h>
#include <yaml.h>

typedef struct {
	yaml_parser_t parser;
	const char *data;
	size_t size;
	yaml_entries *out;
	evn_error *err;
} checker;

#define FAIL_AT(c, mark, ...) fail_at_mark(c, (mark).line + 1, (mark).column + 1, evn_format(__VA_ARGS__))

static evn_status fail_at_mark(checker *c, size_t line, size_t column, char *text)
{
	evn_status status =
		evn_fail(c->err, EVN_ERR_USAGE, "%s:%zu:%zu: %s", c->out->file, line, column, text ? text : "out of memory");
	free(text);
	return status;
}

/* libyaml's reader, which decodes bytes, reports only an offset. */
static yaml_mark_t mark_of_byte(const checker *c, size_t offset)
{
	yaml_mark_t mark = {0};
	for (size_t i = 0; i < offset && i < c->size; i++) {
		mark.column = c->data[i] == '\n' ? 0 : mark.column + 1;
		mark.line += c->data[i] == '\n';
	}
	return mark;
}

static evn_status next_event(checker *c, yaml_event_t *event)
{
	if (yaml_parser_parse(&c->parser, event))
		return EVN_OK;
	const yaml_parser_t *p = &c->parser;
	if (p->error == YAML_MEMORY_ERROR)
		return evn_fail_memory(c->err, c->out->file, 0);
	if (p->error == YAML_READER_ERROR)
		return FAIL_AT(c, mark_of_byte(c, p->problem_offset), "%s", p->problem);
	return FAIL_AT(c, p->problem_mark, "%s%s%s", p->context ? p->context : "", p->context ? ", " : "",
				   p->problem ? p->problem : "not YAML");
}

/* Refuses what no node of a config may have. */
static evn_status check_plain(checker *c, const yaml_event_t *event, size_t depth)
{
	const yaml_char_t *anchor = NULL, *tag = NULL;
	switch (event->type) {
	case YAML_ALIAS_EVENT:
		return FAIL_AT(c, event->start_mark, "alias *%.*s: aliases are not allowed in a config", YAML_MAX_KEY,
					   (const char *)event->data.alias.anchor);
	case YAML_SCALAR_EVENT:
		anchor = event->data.scalar.anchor;
		tag = event->data.scalar.tag;
		if (strlen((const char *)event->data.scalar.value) != event->data.scalar.length)
			return FAIL_AT(c, event->start_mark, "a value must not hold a NUL character");
		break;
	case YAML_SEQUENCE_START_EVENT:
		anchor = event->data.sequence_start.anchor;
		tag = event->data.sequence_start.tag;
		break;
	case YAML_MAPPING_START_EVENT:
		anchor = event->data.mapping_start.anchor;
		tag = event->data.mapping_start.tag;
		break;
	default:
		break;
	}
	if (anchor)
		return FAIL_AT(c, event->start_mark, "anchor &%.*s: anchors are not allowed in a config", YAML_MAX_KEY,
					   (const char *)anchor);
	if (tag)
		return FAIL_AT(c, event->start_mark, "tag %.*s: tags are not allowed in a config", YAML_MAX_KEY,
					   (const char *)tag);
	if (depth > YAML_MAX_DEPTH)
		return FAIL_AT(c, event->start_mark, "nested more than %d levels deep", YAML_MAX_DEPTH);
	return EVN_OK;
}

/* Owns path. */
static evn_status add_entry(checker *c, char *path, yaml_mark_t key, const yaml_event_t *value)
{
	yaml_entries *y = c->out;
	if (!path)
		return evn_fail_memory(c->err, y->file, 0);
	const yaml_entry *first = yaml_find(y, path);
	evn_status status = EVN_OK;
	if (first)
		status = FAIL_AT(c, key, "duplicate key '%s', first on line %zu", path, first->key_line);
	else if (y->n == YAML_MAX_ENTRIES)
		status = FAIL_AT(c, key, "more than %d entries", YAML_MAX_ENTRIES);
	if (status != EVN_OK) {
		free(path);
		return status;
	}
	yaml_entry *entry = &y->entries[y->n++];
	*entry = (yaml_entry){
		path, NULL, key.line + 1, key.column + 1, value->start_mark.line + 1, value->start_mark.column + 1};
	if (value->type == YAML_SCALAR_EVENT &&
		!(entry->value = evn_format("%s", (const char *)value->data.scalar.value)))
		return evn_fail_memory(c->err, y->file, 0);
	return EVN_OK;
}

static evn_status check_content(checker *c, const yaml_event_t *start, const char *path, size_t depth);

/* Remembers the value of an entry under `path` (which it owns) and checks it. */
static evn_status check_value(checker *c, char *path, yaml_mark_t key, const yaml_event_t *value, size_t depth)
{
	size_t place = c->out->n;
	evn_status status = check_plain(c, value, depth);
	if (status != EVN_OK) {
		free(path);
		return status;
	}
	status = add_entry(c, path, key, value);
	if (status == EVN_OK)
		status = check_content(c, value, c->out->entries[place].path, depth);
	return status;
}

static evn_status check_pair(checker *c, const yaml_event_t *key, const char *path, size_t depth)
{
	evn_status status = check_plain(c, key, depth);
	if (status != EVN_OK)
		return status;
	if (key->type != YAML_SCALAR_EVENT)
		return FAIL_AT(c, key->start_mark, "a key must be a name");
	const char *name = (const char *)key->data.scalar.value;
	if (key->data.scalar.length > YAML_MAX_KEY)
		return FAIL_AT(c, key->start_mark, "unknown key '%.*s...'", YAML_MAX_KEY, name);
	yaml_event_t value;
	status = next_event(c, &value);
	if (status != EVN_OK)
		return status;
	status = check_value(c, evn_format("%s%s%s", path, *path ? "." : "", name), key->start_mark, &value, depth + 1);
	yaml_event_delete(&value);
	return status;
}

/* Checks the events from the start of a mapping or sequence to its end. A scalar has none. */
static evn_status check_content(checker *c, const yaml_event_t *start, const char *path, size_t depth)
{
	bool mapping = start->type == YAML_MAPPING_START_EVENT;
	if (!mapping && start->type != YAML_SEQUENCE_START_EVENT)
		return EVN_OK;
	evn_status status = EVN_OK;
	bool ended = false;
	for (size_t i = 0; status == EVN_OK && !ended; i++) {
		yaml_event_t event;
		status = next_event(c, &event);
		if (status != EVN_OK)
			break;
		ended = event.type == YAML_MAPPING_END_EVENT || event.type == YAML_SEQUENCE_END_EVENT;
		if (!ended && mapping)
			status = check_pair(c, &event, path, depth);
		else if (!ended)
			status = check_value(c, evn_format("%s[%zu]", path, i), event.start_mark, &event, depth + 1);
		yaml_event_delete(&event);
	}
	return status;
}

static evn_status check_document(checker *c)
{
	bool has_root = false;
	for (bool ended = false; !ended;) {
		yaml_event_t event;
		evn_status status = next_event(c, &event);
		if (status != EVN_OK)
			return status;
		ended = event.type == YAML_STREAM_END_EVENT;
		if (event.type == YAML_DOCUMENT_START_EVENT && has_root)
			status = FAIL_AT(c, event.start_mark, "a second document: a config has only one");
		else if (event.type == YAML_MAPPING_START_EVENT) {
			has_root = true;
			status = check_plain(c, &event, 1);
			if (status == EVN_OK)
				status = check_content(c, &event, "", 1);
		} else if (event.type == YAML_SCALAR_EVENT || event.type == YAML_SEQUENCE_START_EVENT ||
				   event.type == YAML_ALIAS_EVENT)
			status = FAIL_AT(c, event.start_mark, "expected a mapping (key: value), beginning with version: 1");
		yaml_event_delete(&event);
		if (status != EVN_OK)
			return status;
	}
	if (!has_root)
		return evn_fail(c->err, EVN_ERR_USAGE,
						"%s:1:1: empty; expected a mapping (key: value), beginning with version: 1", c->out->file);
	return EVN_OK;
}

evn_status yaml_check(yaml_entries *out, const char *file, const char *data, size_t size, evn_error *err)
{
	checker c = {.data = data, .size = size, .out = out, .err = err};
	*out = (yaml_entries){.file = file, .entries = calloc(YAML_MAX_ENTRIES, sizeof *out->entries)};
	if (!out->entries || !yaml_parser_initialize(&c.parser)) {
		yaml_entries_free(out);
		return evn_fail_memory(err, file, 0);
	}
	yaml_parser_set_input_string(&c.parser, (const unsigned char *)data, size);
	evn_status status = check_document(&c);
	yaml_parser_delete(&c.parser);
	if (status != EVN_OK)
		yaml_entries_free(out);
	return status;
}

const yaml_entry *yaml_find(const yaml_entries *y, const char *path)
{
	for (size_t i = 0; i < y->n; i++)
		if (strcmp(y->entries[i].path, path) == 0)
			return &y->entries[i];
	return NULL;
}

void yaml_entries_free(yaml_entries *y)
{
	for (size_t i = 0; i < y->n; i++) {
		free(y->entries[i].path);
		free(y->entries[i].value);
	}
	free(y->entries);
	*y = (yaml_entries){0};
}
