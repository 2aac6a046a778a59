/* cmd_inspect.c - evener inspect: what a model file holds. */
#include "cli/cli.h"
#include "cli/show/json.h"
#include "cli/show/table.h"
#include "cli/show/text.h"
#include "evener/inspect.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_TYPES = 64, VALUE_SIZE = 256 };

typedef struct {
	const char *type;
	uint32_t tensors;
	uint64_t bytes;
} type_sum;

static size_t sum_types(const evn_model *m, uint32_t n_tensors, type_sum *sums)
{
	size_t n = 0;
	for (uint32_t i = 0; i < n_tensors; i++) {
		evn_tensor_info t = evn_model_tensor(m, i);
		size_t k = 0;
		while (k < n && strcmp(sums[k].type, t.type) != 0)
			k++;
		if (k == MAX_TYPES)
			continue;
		if (k == n)
			sums[n++] = (type_sum){.type = t.type};
		sums[k].tensors++;
		sums[k].bytes += t.size_bytes;
	}
	return n;
}

static json_t *tensor_json(const evn_tensor_info *t)
{
	json_t *shape = json_array();
	for (uint32_t d = 0; d < t->n_dims; d++)
		json_push(&shape, json_integer((json_int_t)t->shape[d]));
	return json_pack("{s:o, s:s, s:o, s:I, s:I, s:I}", "name", json_text(t->name), "type", t->type, "shape", shape,
					 "part", (json_int_t)t->part, "offset_bytes", (json_int_t)t->offset_bytes, "size_bytes",
					 (json_int_t)t->size_bytes);
}

static json_t *metadata_json(const evn_model *m, uint32_t n)
{
	json_t *list = json_array();
	for (uint32_t i = 0; i < n; i++) {
		const char *key, *type;
		char value[VALUE_SIZE];
		evn_model_metadata(m, i, &key, &type, value, sizeof value);
		json_push(&list, json_pack("{s:o, s:o, s:o}", "key", json_text(key), "type", json_text(type), "value",
								   json_text(value)));
	}
	return list;
}

static json_t *unknown_json(const evn_model *m, uint32_t n)
{
	json_t *list = json_array();
	for (uint32_t i = 0; i < n; i++) {
		const char *key, *type;
		char value[VALUE_SIZE];
		evn_model_metadata(m, i, &key, &type, value, sizeof value);
		if (evn_model_key_is_unknown(m, i))
			json_push(&list, json_text(key));
	}
	return list;
}

static json_t *info_json(const evn_model_info *i)
{
	return json_pack("{s:o, s:o, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I}", "arch",
					 json_text(i->arch), "name", json_text(i->name), "n_layers", (json_int_t)i->n_layers, "dim",
					 (json_int_t)i->dim, "ff_dim", (json_int_t)i->ff_dim, "n_heads", (json_int_t)i->n_heads,
					 "n_kv_heads", (json_int_t)i->n_kv_heads, "head_dim", (json_int_t)i->head_dim, "vocab",
					 (json_int_t)i->vocab, "n_ctx_train", (json_int_t)i->n_ctx_train, "n_params",
					 (json_int_t)i->n_params, "file_bytes", (json_int_t)i->file_bytes, "tensor_bytes",
					 (json_int_t)i->tensor_bytes, "gguf_version", (json_int_t)i->gguf_version, "part",
					 (json_int_t)i->part, "n_parts", (json_int_t)i->n_parts);
}

static evn_status print_model_json(const evn_model *m, const evn_model_info *info, const char *problem,
								   bool with_tensors, evn_error *err)
{
	type_sum sums[MAX_TYPES];
	size_t n_types = sum_types(m, info->n_tensors, sums);
	json_t *root = info_json(info), *types = json_array(), *tensors = with_tensors ? json_array() : NULL;
	for (size_t i = 0; i < n_types; i++)
		json_push(&types, json_pack("{s:s, s:I, s:I}", "type", sums[i].type, "tensors", (json_int_t)sums[i].tensors,
									"bytes", (json_int_t)sums[i].bytes));
	for (uint32_t i = 0; with_tensors && i < info->n_tensors; i++) {
		evn_tensor_info t = evn_model_tensor(m, i);
		json_push(&tensors, tensor_json(&t));
	}
	json_t *more = json_pack("{s:o, s:o, s:o, s:o, s:o*}", "problem", json_text(problem), "unknown_keys",
							 unknown_json(m, info->n_metadata), "types", types, "metadata",
							 metadata_json(m, info->n_metadata), "tensors", tensors);
	if (!root || !more || json_object_update(root, more) != 0) {
		json_decref(root);
		root = NULL;
	}
	json_decref(more);
	return json_print(root, err);
}

static evn_status print_metadata(const evn_model *m, uint32_t n, evn_error *err)
{
	table t = table_start("lll");
	for (uint32_t i = 0; i < n; i++) {
		const char *key, *type;
		char value[VALUE_SIZE];
		evn_model_metadata(m, i, &key, &type, value, sizeof value);
		table_cell(&t, "  %s", key);
		table_cell(&t, "%s", type);
		table_cell(&t, "%s%s", value, evn_model_key_is_unknown(m, i) ? "  (unknown to evener)" : "");
	}
	return table_print(&t, err);
}

static evn_status print_tensors(const evn_model *m, const evn_model_info *info, evn_error *err)
{
	table out = table_start("llrrr");
	for (uint32_t i = 0; i < info->n_tensors; i++) {
		evn_tensor_info t = evn_model_tensor(m, i);
		char shape[96] = "";
		for (uint32_t d = 0; d < t.n_dims && d < 4; d++) {
			size_t used = strlen(shape);
			snprintf(shape + used, sizeof shape - used, "%s%llu", d ? " x " : "", (unsigned long long)t.shape[d]);
		}
		table_cell(&out, "  %s", t.name);
		table_cell(&out, "%s", t.type);
		table_cell(&out, "%s", shape);
		table_cell(&out, "%llu", (unsigned long long)t.size_bytes);
		if (info->n_parts > 1)
			table_cell(&out, "part %u at %llu", t.part, (unsigned long long)t.offset_bytes);
		else
			table_cell(&out, "at %llu", (unsigned long long)t.offset_bytes);
	}
	return table_print(&out, err);
}

static void print_info(const char *path, const evn_model_info *i)
{
	char bytes[32], name[256];
	snprintf(name, sizeof name, "%s", i->name ? i->name : "");
	text_printable(name);
	printf("%s: ", path);
	if (i->gguf_version)
		printf("GGUF v%u", i->gguf_version);
	else
		printf("safetensors");
	printf(", %s, %u tensors, %u metadata entries\n", text_bytes(i->file_bytes, bytes, sizeof bytes), i->n_tensors,
		   i->n_metadata);
	if (i->n_parts > 1)
		printf("part %u of %u of a model\n", i->part, i->n_parts);
	if (!i->arch && i->n_parts == 1) {
		printf("vocabulary only, %u tokens\n", i->vocab);
		return;
	}
	if (!i->arch)
		return;
	printf("%s%s%s, %.1f M parameters\n", i->arch, *name ? ", " : "", name, (double)i->n_params / 1e6);
	printf("layers %u, dim %u, feed-forward %u, heads %u over %u KV heads of size %u, vocabulary %u, context %u\n",
		   i->n_layers, i->dim, i->ff_dim, i->n_heads, i->n_kv_heads, i->head_dim, i->vocab, i->n_ctx_train);
}

static evn_status print_model_text(const evn_model *m, const char *path, const evn_model_info *info,
								   const char *problem, bool with_tensors, evn_error *err)
{
	type_sum sums[MAX_TYPES];
	size_t n_types = sum_types(m, info->n_tensors, sums);
	print_info(path, info);
	if (problem)
		printf("cannot be run: %s\n", problem);
	if (n_types > 0)
		puts("\ntensor types");
	for (size_t i = 0; i < n_types; i++) {
		char bytes[32];
		printf("  %-8s %4u tensors  %s\n", sums[i].type, sums[i].tensors,
			   text_bytes(sums[i].bytes, bytes, sizeof bytes));
	}
	puts("\nmetadata");
	evn_status status = print_metadata(m, info->n_metadata, err);
	if (status == EVN_OK && with_tensors) {
		puts("\ntensors: name, type, shape (contiguous first), bytes");
		status = print_tensors(m, info, err);
	}
	return status;
}

evn_status cmd_inspect(const invocation *in, evn_error *err)
{
	const settings *s = &in->settings;
	const char *path = in->n_arguments > 0 ? in->arguments[0] : s->model_path;
	evn_model *model = NULL;
	evn_status status = evn_model_open(&model, path, err);
	if (status == EVN_OK) {
		evn_model_info info = evn_model_get_info(model);
		evn_error why;
		const char *problem = evn_model_check(model, &why) == EVN_OK ? NULL : why.text;
		status = s->json ? print_model_json(model, &info, problem, s->tensors, err)
						 : print_model_text(model, path, &info, problem, s->tensors, err);
	}
	evn_model_close(model);
	return status;
}
