/* yaml_check.h - a first pass over the YAML events of a config. It refuses what a config does not need (duplicate
 * keys, anchors, aliases, tags, several documents, too much depth or size). It remembers the place of every entry, so
 * that later messages can say file:line:column. */
#ifndef EVN_CLI_YAML_CHECK_H
#define EVN_CLI_YAML_CHECK_H

#include "evener.h"

#define YAML_MAX_BYTES (1u << 20)
#define YAML_MAX_DEPTH 16
#define YAML_MAX_ENTRIES 4096
#define YAML_MAX_KEY 64

typedef struct {
	char *path;                                            /* "sample.temp", "devices[0].match" */
	char *value;                                           /* the value of a scalar, else NULL */
	size_t key_line, key_column, value_line, value_column; /* from 1 */
} yaml_entry;

typedef struct {
	const char *file; /* as given, for messages */
	yaml_entry *entries;
	size_t n;
} yaml_entries;

evn_status yaml_check(yaml_entries *out, const char *file, const char *data, size_t size, evn_error *err);
const yaml_entry *yaml_find(const yaml_entries *y, const char *path); /* NULL if there is none */
void yaml_entries_free(yaml_entries *y);

#endif
