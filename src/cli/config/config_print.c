/* config_print.c - prints the JSON Schema of the config for editors, and a commented config to start from. Both are
 * made from the libcyaml schema and the option table, so they always match the reader. */
#include "base/base.h"
#include "cli/config/config.h"
#include "cli/config/options.h"
#include "cli/config/yaml_load.h"
#include "cli/show/json.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static json_t *whole(double value) { return json_integer((json_int_t)value); }

static json_t *choices_schema(const option *o)
{
	json_t *names = json_array();
	for (size_t i = 0; o->choices[i]; i++)
		json_push(&names, json_string(o->choices[i]));
	return json_pack("{s:o, s:s}", "enum", names, "default", o->initial);
}

static json_t *value_schema(const option *o)
{
	switch (o->kind) {
	case OPTION_FLAG:
		return json_pack("{s:s, s:b}", "type", "boolean", "default", 0);
	case OPTION_INT:
		return json_pack("{s:s, s:o, s:o, s:o}", "type", "integer", "minimum", whole(o->min), "maximum",
						 whole(o->max), "default", whole(strtod(o->initial, NULL)));
	case OPTION_REAL:
		return json_pack("{s:s, s:f, s:f, s:f}", "type", "number", "minimum", o->min, "maximum", o->max, "default",
						 strtod(o->initial, NULL));
	case OPTION_TIME:
		return json_pack("{s:s, s:s, s:s}", "type", "string", "pattern", "^[0-9.]+ *(s|min|h)?$", "default",
						 o->initial);
	case OPTION_CHOICE:
		return choices_schema(o);
	case OPTION_SHARES:
		return json_pack("{s:[{s:s}, {s:s, s:i}], s:s}", "oneOf", "const", "auto", "type", "number", "minimum", 0,
						 "default", "auto");
	case OPTION_MEMORY:
		return json_pack("{s:s, s:s, s:s}", "type", "string", "pattern", "^[0-9.]+ *(%|[kKMGT]?B|[KMGT]iB)$",
						 "default", "90%");
	case OPTION_REPEATED:
		return json_pack("{s:s, s:{s:s}, s:i}", "type", "array", "items", "type", "string", "maxItems", (int)o->max);
	case OPTION_TEXT:
		return json_pack("{s:s}", "type", "string");
	}
	return NULL;
}

static json_t *described(json_t *schema, const char *text)
{
	if (schema && json_object_set_new(schema, "description", json_string(text)) == 0)
		return schema;
	json_decref(schema);
	return NULL;
}

static json_t *mapping_schema(const cyaml_schema_field_t *fields, const char *section);

static json_t *field_schema(const cyaml_schema_field_t *f, const char *section)
{
	char key[64];
	snprintf(key, sizeof key, "%s.%s", section, f->key);
	const option *o = option_by_key(key);
	if (o)
		return described(value_schema(o), o->help);
	json_t *schema = NULL;
	if (f->value.type == CYAML_MAPPING)
		schema = mapping_schema(f->value.mapping.fields, f->key);
	else if (f->value.type == CYAML_SEQUENCE)
		schema = json_pack("{s:s, s:o, s:i, s:i}", "type", "array", "items",
						   mapping_schema(f->value.sequence.entry->mapping.fields, f->key), "minItems",
						   (int)f->value.sequence.min, "maxItems", (int)f->value.sequence.max);
	else
		schema = json_pack("{s:i}", "const", atoi(YAML_VERSION));
	return described(schema, config_section_help(f->key));
}

static json_t *mapping_schema(const cyaml_schema_field_t *fields, const char *section)
{
	json_t *properties = json_object(), *required = json_array();
	for (const cyaml_schema_field_t *f = fields; f->key; f++) {
		if (properties && json_object_set_new(properties, f->key, field_schema(f, section)) != 0) {
			json_decref(properties);
			properties = NULL;
		}
		if (!(f->value.flags & CYAML_FLAG_OPTIONAL))
			json_push(&required, json_string(f->key));
	}
	return json_pack("{s:s, s:b, s:o, s:o}", "type", "object", "additionalProperties", 0, "required", required,
					 "properties", properties);
}

evn_status config_json_schema(char **out, evn_error *err)
{
	json_t *schema = mapping_schema(config_schema.mapping.fields, "");
	if (schema &&
		(json_object_set_new(schema, "$schema", json_string("https://json-schema.org/draft/2020-12/schema")) != 0 ||
		 json_object_set_new(schema, "title", json_string("evener config")) != 0)) {
		json_decref(schema);
		schema = NULL;
	}
	*out = schema ? json_dumps(schema, JSON_INDENT(2) | JSON_REAL_PRECISION(9)) : NULL;
	json_decref(schema);
	return *out ? EVN_OK : evn_fail_memory(err, "the JSON Schema", 0);
}

/* The value of a key in the starter; NULL: it has none, and its line is a comment. */
static const char *starter_value(const char *section, const cyaml_schema_field_t *f, const option **o)
{
	char key[64];
	snprintf(key, sizeof key, "%s.%s", section, f->key);
	*o = option_by_key(key);
	if (strcmp(key, "model.path") == 0)
		return "model.gguf";
	return !*o ? NULL : (*o)->initial ? (*o)->initial : (*o)->kind == OPTION_FLAG ? "false" : NULL;
}

static void write_section(const cyaml_schema_field_t *section)
{
	const option *o;
	bool any = false;
	for (const cyaml_schema_field_t *f = section->value.mapping.fields; f->key; f++)
		any |= starter_value(section->key, f, &o) != NULL;
	printf("\n# %s\n%s%s:\n", config_section_help(section->key), any ? "" : "#", section->key);
	for (const cyaml_schema_field_t *f = section->value.mapping.fields; f->key; f++) {
		const char *value = starter_value(section->key, f, &o);
		if (!o)
			continue;
		const char *empty = o->kind == OPTION_REPEATED ? "[]" : "\"\"";
		printf("%s  %s: %s  # %s\n", value ? "" : "#", f->key, value ? value : empty, o->help);
	}
}

static void write_devices(const cyaml_schema_field_t *section)
{
	printf("\n# %s\n#%s:\n", config_section_help(section->key), section->key);
	printf("#  - {match: gpu, share: auto, memory: 90%%}\n#  - {match: \"cpu/1+1\", share: 2.5, memory: 6GiB}\n");
}

void config_write_starter(void)
{
	printf("# A config of evener: `evener run FILE`, `evener plan FILE`, ... Every key is also a flag, and the flag\n"
		   "# wins. A key that is left out has the value shown here.\n");
	for (const cyaml_schema_field_t *f = config_schema.mapping.fields; f->key; f++) {
		if (f->value.type == CYAML_MAPPING)
			write_section(f);
		else if (f->value.type == CYAML_SEQUENCE)
			write_devices(f);
		else
			printf("%s: " YAML_VERSION "  # %s\n", f->key, config_section_help(f->key));
	}
}
