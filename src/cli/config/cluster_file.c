#include "cli/config/cluster_file.h"
#include "base/base.h"
#include "cli/config/parse.h"
#include "cli/config/yaml_load.h"

#include <stdio.h>
#include <string.h>

/* Every value is kept as the text of the file. */
typedef struct {
	char *name, *count, *memory, *gbs, *gflops, *block_us, *row_us;
} device_values;

typedef struct {
	char *latency_us, *gbs;
} reduce_values;

typedef struct {
	char *name, *count;
	reduce_values reduce;
	device_values *devices;
	uint32_t n_devices;
} node_values;

typedef struct {
	char **between, *latency_us, *gbit_s, *message_us;
	uint32_t n_between;
} link_values;

struct cluster_values {
	char *version, *texts;
	link_values *link;
	node_values *nodes;
	link_values *links;
	uint32_t n_nodes, n_links;
};

/* ---- the schema ------------------------------------------------------------------------------------------------ */

#define OPTIONAL (CYAML_FLAG_OPTIONAL | CYAML_FLAG_POINTER)
#define NEEDED(type, member) CYAML_FIELD_STRING_PTR(#member, CYAML_FLAG_POINTER, type, member, 0, CYAML_UNLIMITED)
#define TEXT(type, member) CYAML_FIELD_STRING_PTR(#member, OPTIONAL, type, member, 0, CYAML_UNLIMITED)

static const cyaml_schema_value_t text_schema = {CYAML_VALUE_STRING(CYAML_FLAG_POINTER, char, 0, CYAML_UNLIMITED)};

static const cyaml_schema_field_t device_fields[] = {
	NEEDED(device_values, name),   TEXT(device_values, count),
	NEEDED(device_values, memory), NEEDED(device_values, gbs),
	NEEDED(device_values, gflops), TEXT(device_values, block_us),
	TEXT(device_values, row_us),   CYAML_FIELD_END,
};
static const cyaml_schema_value_t device_schema = {
	CYAML_VALUE_MAPPING(CYAML_FLAG_DEFAULT, device_values, device_fields)};

static const cyaml_schema_field_t reduce_fields[] = {
	TEXT(reduce_values, latency_us),
	TEXT(reduce_values, gbs),
	CYAML_FIELD_END,
};

static const cyaml_schema_field_t node_fields[] = {
	NEEDED(node_values, name),
	TEXT(node_values, count),
	CYAML_FIELD_MAPPING("reduce", CYAML_FLAG_OPTIONAL, node_values, reduce, reduce_fields),
	CYAML_FIELD_SEQUENCE_COUNT("devices", CYAML_FLAG_POINTER, node_values, devices, n_devices, &device_schema, 1,
							   EVN_SIM_DEVICES),
	CYAML_FIELD_END,
};
static const cyaml_schema_value_t node_schema = {CYAML_VALUE_MAPPING(CYAML_FLAG_DEFAULT, node_values, node_fields)};

#define LINK_FIELDS NEEDED(link_values, latency_us), NEEDED(link_values, gbit_s), TEXT(link_values, message_us)
static const cyaml_schema_field_t link_fields[] = {LINK_FIELDS, CYAML_FIELD_END};
static const cyaml_schema_field_t pair_fields[] = {
	CYAML_FIELD_SEQUENCE_COUNT("between", CYAML_FLAG_POINTER, link_values, between, n_between, &text_schema, 2, 2),
	LINK_FIELDS,
	CYAML_FIELD_END,
};
static const cyaml_schema_value_t pair_schema = {CYAML_VALUE_MAPPING(CYAML_FLAG_DEFAULT, link_values, pair_fields)};

static const cyaml_schema_field_t cluster_fields[] = {
	CYAML_FIELD_STRING_PTR("version", CYAML_FLAG_POINTER, struct cluster_values, version, 0, CYAML_UNLIMITED),
	TEXT(struct cluster_values, texts),
	CYAML_FIELD_MAPPING_PTR("link", OPTIONAL, struct cluster_values, link, link_fields),
	CYAML_FIELD_SEQUENCE_COUNT("links", OPTIONAL, struct cluster_values, links, n_links, &pair_schema, 1,
							   EVN_SIM_NODES *EVN_SIM_NODES),
	CYAML_FIELD_SEQUENCE_COUNT("nodes", CYAML_FLAG_POINTER, struct cluster_values, nodes, n_nodes, &node_schema, 1,
							   EVN_SIM_NODES),
	CYAML_FIELD_END,
};
static const cyaml_schema_value_t cluster_schema = {
	CYAML_VALUE_MAPPING(CYAML_FLAG_POINTER, struct cluster_values, cluster_fields)};

/* ---- values ---------------------------------------------------------------------------------------------------- */

typedef struct {
	const yaml_entries *y;
	evn_sim_cluster *out;
	evn_error *err;
} reading;

/* Puts the key and its place before the error. within: "nodes[0].", or "". */
static evn_status fail_at(const reading *r, const char *within, const char *key)
{
	char path[160];
	snprintf(path, sizeof path, "%s%s", within, key);
	evn_fail_within(r->err, "%s", path);
	return yaml_fail_at(r->y, yaml_find(r->y, path), true, r->err);
}

typedef struct {
	const char *key, *text; /* NULL: the value stays what it is */
	double *out, least;
} number;

#define MOST 1e12

static evn_status read_numbers(const reading *r, const char *within, const number *numbers, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (numbers[i].text && parse_real(numbers[i].text, numbers[i].least, MOST, numbers[i].out, r->err) != EVN_OK)
			return fail_at(r, within, numbers[i].key);
	return EVN_OK;
}
#define COUNT_OF(array) (sizeof(array) / sizeof *(array))
#define ABOVE_0 1e-9

static evn_status read_count(const reading *r, const char *within, const char *key, const char *text, uint32_t *out)
{
	int64_t value = 1;
	if (text && parse_int(text, 1, EVN_SIM_RANKS, &value, r->err) != EVN_OK)
		return fail_at(r, within, key);
	*out = (uint32_t)value;
	return EVN_OK;
}

static evn_status read_device(const reading *r, const device_values *v, const char *within, evn_sim_device *out)
{
	memory_limit memory;
	const number numbers[] = {{"gbs", v->gbs, &out->gbs, ABOVE_0},
							  {"gflops", v->gflops, &out->gflops, ABOVE_0},
							  {"block_us", v->block_us, &out->block_us, 0},
							  {"row_us", v->row_us, &out->row_us, 0}};
	*out = (evn_sim_device){.name = v->name};
	EVN_TRY(read_count(r, within, "count", v->count, &out->count));
	if (parse_memory(v->memory, &memory, r->err) != EVN_OK)
		return fail_at(r, within, "memory");
	if (!memory.bytes) {
		evn_fail(r->err, EVN_ERR_USAGE, "'%.60s' is no size, such as 16GiB", v->memory);
		return fail_at(r, within, "memory");
	}
	out->memory_bytes = memory.bytes;
	return read_numbers(r, within, numbers, COUNT_OF(numbers));
}

static evn_status read_node(const reading *r, const node_values *v, uint32_t i)
{
	evn_sim_node *out = &r->out->nodes[i];
	char within[64];
	const number numbers[] = {{"reduce.latency_us", v->reduce.latency_us, &out->reduce_us, 0},
							  {"reduce.gbs", v->reduce.gbs, &out->reduce_gbs, ABOVE_0}};
	*out = (evn_sim_node){.name = v->name, .n_devices = v->n_devices};
	snprintf(within, sizeof within, "nodes[%u].", i);
	for (uint32_t k = 0; k < i; k++)
		if (strcmp(r->out->nodes[k].name, v->name) == 0) {
			evn_fail(r->err, EVN_ERR_USAGE, "'%.60s' is the name of nodes[%u], too", v->name, k);
			return fail_at(r, within, "name");
		}
	EVN_TRY(read_count(r, within, "count", v->count, &out->count));
	EVN_TRY(read_numbers(r, within, numbers, COUNT_OF(numbers)));
	for (uint32_t j = 0; j < v->n_devices; j++) {
		char of_device[96];
		snprintf(of_device, sizeof of_device, "%sdevices[%u].", within, j);
		EVN_TRY(read_device(r, &v->devices[j], of_device, &out->devices[j]));
	}
	return EVN_OK;
}

static evn_status read_link(const reading *r, const link_values *v, const char *within, evn_sim_link *out)
{
	const number numbers[] = {{"latency_us", v->latency_us, &out->latency_us, 0},
							  {"gbit_s", v->gbit_s, &out->gbit_s, ABOVE_0},
							  {"message_us", v->message_us, &out->message_us, 0}};
	*out = (evn_sim_link){.message_us = 1};
	return read_numbers(r, within, numbers, COUNT_OF(numbers));
}

static evn_status find_node(const reading *r, const char *within, const link_values *v, uint32_t end, uint32_t *out)
{
	char key[32];
	for (*out = 0; *out < r->out->n_nodes; ++*out)
		if (strcmp(r->out->nodes[*out].name, v->between[end]) == 0)
			return EVN_OK;
	snprintf(key, sizeof key, "between[%u]", end);
	evn_fail(r->err, EVN_ERR_USAGE, "there are no nodes '%.60s'", v->between[end]);
	return fail_at(r, within, key);
}

static evn_status read_pair(const reading *r, const link_values *v, uint32_t i)
{
	char within[32];
	uint32_t a, b;
	evn_sim_link link;
	snprintf(within, sizeof within, "links[%u].", i);
	EVN_TRY(find_node(r, within, v, 0, &a));
	EVN_TRY(find_node(r, within, v, 1, &b));
	EVN_TRY(read_link(r, v, within, &link));
	r->out->links[a][b] = r->out->links[b][a] = link;
	return EVN_OK;
}

/* Every pair of nodes that there is must have a link. */
static evn_status check_links(const reading *r)
{
	const evn_sim_cluster *c = r->out;
	for (uint32_t i = 0; i < c->n_nodes; i++)
		for (uint32_t k = 0; k <= i; k++)
			if (c->links[i][k].gbit_s <= 0 && (i != k || c->nodes[i].count > 1)) {
				evn_fail(r->err, EVN_ERR_USAGE,
						 "no link between nodes '%.60s' and '%.60s': give 'link', or a pair of 'links'",
						 c->nodes[k].name, c->nodes[i].name);
				return yaml_fail_at(r->y, yaml_find(r->y, "nodes"), false, r->err);
			}
	return EVN_OK;
}

static evn_status read_cluster(const reading *r, const struct cluster_values *v)
{
	evn_sim_link link = {0};
	r->out->n_nodes = v->n_nodes;
	EVN_TRY(read_count(r, "", "texts", v->texts, &r->out->texts));
	for (uint32_t i = 0; i < v->n_nodes; i++)
		EVN_TRY(read_node(r, &v->nodes[i], i));
	if (v->link)
		EVN_TRY(read_link(r, v->link, "link.", &link));
	for (uint32_t i = 0; i < v->n_nodes; i++)
		for (uint32_t k = 0; k < v->n_nodes; k++)
			r->out->links[i][k] = link;
	for (uint32_t i = 0; i < v->n_links; i++)
		EVN_TRY(read_pair(r, &v->links[i], i));
	return check_links(r);
}

evn_status cluster_file_load(cluster_file *out, const char *path, evn_error *err)
{
	yaml_entries entries;
	void *values;
	*out = (cluster_file){0};
	evn_status s = yaml_load(&values, &entries, path, &cluster_schema, err);
	out->values = values;
	if (s == EVN_OK)
		s = read_cluster(&(reading){&entries, &out->cluster, err}, out->values);
	yaml_entries_free(&entries);
	return s;
}

void cluster_file_free(cluster_file *f)
{
	yaml_free(f->values, &cluster_schema);
	*f = (cluster_file){0};
}
