/* yaml_load.h - reads a YAML file in two passes: its events (yaml_check.h), and libcyaml against a schema. Each pass
 * reports an error as one line that begins with file:line:column. */
#ifndef EVN_CLI_YAML_LOAD_H
#define EVN_CLI_YAML_LOAD_H

#include "cli/config/yaml_check.h"
#include <cyaml/cyaml.h>

#define YAML_VERSION "1" /* every file begins with version: 1 */

/* *out: the values, for yaml_free, also if this fails. y: the places of all entries, for yaml_entries_free. */
evn_status yaml_load(void **out, yaml_entries *y, const char *path, const cyaml_schema_value_t *schema,
					 evn_error *err);
void yaml_free(void *values, const cyaml_schema_value_t *schema);
/* Puts the place of an entry (NULL: of the file) before the error. */
evn_status yaml_fail_at(const yaml_entries *y, const yaml_entry *at, bool at_value, evn_error *err);

#endif
