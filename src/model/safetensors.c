/* safetensors.c - see safetensors.h. A file is the length of its directory in 8 bytes, the directory as JSON, and the
 * data. Tensors fill the data without gaps and do not overlap. */
#include "model/safetensors.h"
#include "base/table.h"
#include "model/gguf.h"
#include "model/json_file.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_HEADER_BYTES 100000000u /* the format's own limit */
#define MAX_TENSORS (1u << 20)
#define MAX_FILES 4096u
#define INDEX_BYTES ((size_t)64 << 20)

typedef struct {
	char *path;
	evn_source *source;
	json_t *header; /* tensors' names point into it */
	uint64_t data;  /* where the data begins */
} file;

struct evn_safetensors {
	file *files;
	uint32_t n_files;
	evn_safetensor *tensors;
	uint32_t n_tensors, capacity;
	evn_table by_name;
};

static const struct {
	const char *name;
	uint32_t bytes;
} types[] = {
	{"F32", 4}, {"F16", 2}, {"BF16", 2}, {"F64", 8}, {"I64", 8},  {"I32", 4},     {"I16", 2},     {"I8", 1},
	{"U64", 8}, {"U32", 4}, {"U16", 2},  {"U8", 1},  {"BOOL", 1}, {"F8_E4M3", 1}, {"F8_E5M2", 1}, {"F8_E8M0", 1},
};

/* ---- one file ---------------------------------------------------------------------------------------------------
 */

static evn_status read_header(file *f, evn_error *err)
{
	uint8_t length[8];
	json_error_t problem;
	const uint64_t size = evn_source_size(f->source);
	if (size < 10)
		return evn_fail(err, EVN_ERR_FORMAT, "%s: %" PRIu64 " bytes are too few for a safetensors file", f->path,
						size);
	EVN_TRY(evn_source_read(f->source, 0, length, 8, err));
	const uint64_t n = evn_load_le(length, 8);
	if (n < 2 || n > MAX_HEADER_BYTES || n > size - 8)
		return evn_fail(err, EVN_ERR_FORMAT,
						"%s: its directory has %" PRIu64 " bytes, expected 2 to %u in a file of %" PRIu64, f->path, n,
						MAX_HEADER_BYTES, size);
	char *text = malloc((size_t)n);
	if (!text)
		return evn_fail_memory(err, f->path, n);
	const evn_status s = evn_source_read(f->source, 8, text, (size_t)n, err);
	if (s == EVN_OK)
		f->header = json_loadb(text, (size_t)n, JSON_REJECT_DUPLICATES, &problem);
	free(text);
	if (s != EVN_OK)
		return s;
	if (!json_is_object(f->header))
		return evn_fail(err, EVN_ERR_FORMAT, "%s: its directory is no JSON object: %s", f->path,
						f->header ? "another value" : problem.text);
	f->data = 8 + n;
	return EVN_OK;
}

static evn_status wrong(const file *f, const char *name, const char *what, evn_error *err)
{
	return evn_fail(err, EVN_ERR_FORMAT, "%s: tensor \"%.80s\" %s", f->path, name, what);
}

static bool number(const json_t *v, uint64_t *out)
{
	if (!json_is_integer(v) || json_integer_value(v) < 0)
		return false;
	*out = (uint64_t)json_integer_value(v);
	return true;
}

/* Reads the shape, and the number of elements. A tensor of more than four dimensions keeps its name only. */
static evn_status read_shape(const file *f, const json_t *shape, evn_safetensor *t, uint64_t *elements,
							 evn_error *err)
{
	const size_t n = json_array_size(shape);
	if (!json_is_array(shape))
		return wrong(f, t->name, "has no shape", err);
	*elements = 1;
	for (size_t d = 0; d < 4; d++)
		t->shape[d] = 1;
	for (size_t d = 0; d < n; d++) {
		uint64_t length;
		if (!number(json_array_get(shape, d), &length) || !evn_mul_u64(*elements, length, elements) ||
			*elements > INT64_MAX)
			return wrong(f, t->name, "has a shape that 63 bits cannot count", err);
		if (n <= 4)
			t->shape[n - 1 - d] = length;
	}
	t->n_dims = n ? (uint32_t)n : 1;
	return EVN_OK;
}

static evn_status read_tensor(const file *f, const json_t *entry, evn_safetensor *t, evn_error *err)
{
	const json_t *offsets = json_object_get(entry, "data_offsets");
	uint64_t begin = 0, end = 0, elements, bytes = 0;
	const uint64_t data_bytes = evn_source_size(f->source) - f->data;
	t->type = json_string_value(json_object_get(entry, "dtype"));
	size_t k = 0;
	while (t->type && k < sizeof types / sizeof *types && strcmp(types[k].name, t->type) != 0)
		k++;
	if (!t->type || k == sizeof types / sizeof *types)
		return evn_fail(err, EVN_ERR_FORMAT,
						"%s: tensor \"%.80s\" has type \"%.40s\", which safetensors does not have", f->path, t->name,
						t->type ? t->type : "");
	EVN_TRY(read_shape(f, json_object_get(entry, "shape"), t, &elements, err));
	if (json_array_size(offsets) != 2 || !number(json_array_get(offsets, 0), &begin) ||
		!number(json_array_get(offsets, 1), &end) || begin > end || end > data_bytes)
		return evn_fail(err, EVN_ERR_FORMAT,
						"%s: tensor \"%.80s\" is at bytes %" PRIu64 " to %" PRIu64 " of the data, which has %" PRIu64,
						f->path, t->name, begin, end, data_bytes);
	if (!evn_mul_u64(elements, types[k].bytes, &bytes) || bytes != end - begin)
		return evn_fail(err, EVN_ERR_FORMAT,
						"%s: tensor \"%.80s\" has %" PRIu64 " bytes, its shape and type need %" PRIu64, f->path,
						t->name, end - begin, bytes);
	if (k < 3 && t->n_dims <= 4 && elements)
		t->quant = evn_quant_by_name(types[k].name);
	t->offset_bytes = f->data + begin;
	t->size_bytes = end - begin;
	t->source = f->source;
	return EVN_OK;
}

static int by_offset(const void *a, const void *b)
{
	const evn_safetensor *x = a, *y = b;
	const uint64_t u = x->offset_bytes, v = y->offset_bytes;
	return u != v ? (u > v) - (u < v) : (x->size_bytes > y->size_bytes) - (x->size_bytes < y->size_bytes);
}

/* Sorts the file's tensors by their place. */
static evn_status check_places(const file *f, evn_safetensor *tensors, uint32_t n, evn_error *err)
{
	uint64_t at = f->data;
	if (n)
		qsort(tensors, n, sizeof *tensors, by_offset);
	for (uint32_t i = 0; i < n; i++) {
		if (tensors[i].offset_bytes != at)
			return evn_fail(err, EVN_ERR_FORMAT,
							"%s: tensor \"%.80s\" begins at byte %" PRIu64 ", expected %" PRIu64
							": tensors may have no gaps and no overlaps",
							f->path, tensors[i].name, tensors[i].offset_bytes, at);
		at += tensors[i].size_bytes;
	}
	if (at != evn_source_size(f->source))
		return evn_fail(err, EVN_ERR_FORMAT, "%s: the file has %" PRIu64 " bytes, its tensors end at %" PRIu64,
						f->path, evn_source_size(f->source), at);
	return EVN_OK;
}

static evn_status reserve(evn_safetensors *s, size_t more, evn_error *err)
{
	if (more > MAX_TENSORS || s->n_tensors + more > MAX_TENSORS)
		return evn_fail(err, EVN_ERR_LIMIT, "%s: more than %u tensors", s->files[0].path, MAX_TENSORS);
	const uint32_t capacity = s->n_tensors + (uint32_t)more + 1;
	evn_safetensor *tensors = realloc(s->tensors, capacity * sizeof *tensors);
	if (!tensors)
		return evn_fail_memory(err, s->files[0].path, capacity * sizeof *tensors);
	s->tensors = tensors;
	return EVN_OK;
}

/* Opens the file, which is the last of s->files, and adds its tensors. */
static evn_status add_file(evn_safetensors *s, evn_error *err)
{
	const uint32_t no = s->n_files - 1, first = s->n_tensors;
	file *f = &s->files[no];
	const char *name;
	json_t *entry;
	EVN_TRY(evn_source_open(&f->source, f->path, err));
	EVN_TRY(read_header(f, err));
	EVN_TRY(reserve(s, json_object_size(f->header), err));
	json_object_foreach(f->header, name, entry)
	{
		if (!strcmp(name, "__metadata__"))
			continue;
		evn_safetensor *t = &s->tensors[s->n_tensors++];
		*t = (evn_safetensor){.name = name, .file = no};
		EVN_TRY(read_tensor(f, entry, t, err));
	}
	return check_places(f, s->tensors + first, s->n_tensors - first, err);
}

/* ---- the folder -------------------------------------------------------------------------------------------------
 */

static evn_status open_file(evn_safetensors *s, const char *folder, const char *name, evn_error *err)
{
	if (s->n_files == MAX_FILES)
		return evn_fail(err, EVN_ERR_LIMIT, "%s: more than %u files", folder, MAX_FILES);
	file *more = realloc(s->files, (s->n_files + 1u) * sizeof *more);
	if (!more)
		return evn_fail_memory(err, folder, (s->n_files + 1u) * sizeof *more);
	s->files = more;
	more[s->n_files] = (file){.path = evn_format("%s/%s", folder, name)};
	if (!more[s->n_files++].path)
		return evn_fail_memory(err, folder, strlen(folder));
	return add_file(s, err);
}

static evn_key name_of(const void *tensors, uint32_t i)
{
	const char *name = ((const evn_safetensor *)tensors)[i].name;
	return (evn_key){name, strlen(name)};
}

static evn_status index_names(evn_safetensors *s, const char *folder, evn_error *err)
{
	EVN_TRY(evn_table_create(&s->by_name, s->n_tensors, name_of, s->tensors, folder, err));
	for (uint32_t i = 0; i < s->n_tensors; i++)
		if (!evn_table_add(&s->by_name, i))
			return evn_fail(err, EVN_ERR_FORMAT, "%s: tensor \"%.80s\" is in %s and in another file", folder,
							s->tensors[i].name, s->files[s->tensors[i].file].path);
	return EVN_OK;
}

/* Opens every file that the index names, each once. A name that leads out of the folder is refused. */
static evn_status open_indexed(evn_safetensors *s, const char *folder, const json_t *map, evn_error *err)
{
	const char *tensor;
	json_t *value;
	json_t *seen = json_object();
	evn_status status = seen ? EVN_OK : evn_fail_memory(err, folder, 0);
	json_object_foreach((json_t *)(uintptr_t)map, tensor, value)
	{
		const char *name = json_string_value(value);
		if (status != EVN_OK || (name && json_object_get(seen, name)))
			continue;
		if (!name || strchr(name, '/') || !*name)
			status = evn_fail(err, EVN_ERR_FORMAT,
							  "%s/%s: tensor \"%.80s\" is in \"%.80s\", expected a file of the folder", folder,
							  "model.safetensors.index.json", tensor, name ? name : "");
		else if (json_object_set_new(seen, name, json_true()) != 0)
			status = evn_fail_memory(err, folder, 0);
		else
			status = open_file(s, folder, name, err);
	}
	json_decref(seen);
	return status;
}

static evn_status check_index(const evn_safetensors *s, const char *folder, const json_t *map, evn_error *err)
{
	const char *tensor;
	json_t *value;
	json_object_foreach((json_t *)(uintptr_t)map, tensor, value)
	{
		const uint32_t i = evn_table_find(&s->by_name, tensor, strlen(tensor));
		const char *path = i == EVN_NOT_FOUND ? NULL : s->files[s->tensors[i].file].path;
		if (!path || strcmp(path + strlen(folder) + 1, json_string_value(value)) != 0)
			return evn_fail(err, EVN_ERR_FORMAT, "%s/%.80s: tensor \"%.80s\" is missing, which the index names",
							folder, json_string_value(value), tensor);
	}
	return EVN_OK;
}

static evn_status open_folder(evn_safetensors *s, const char *folder, evn_error *err)
{
	json_t *index = NULL;
	EVN_TRY(evn_json_open(&index, folder, "model.safetensors.index.json", INDEX_BYTES, err));
	const json_t *map = json_object_get(index, "weight_map");
	evn_status status = EVN_OK;
	if (!index)
		status = open_file(s, folder, "model.safetensors", err);
	else if (!json_object_size(map))
		status = evn_fail(err, EVN_ERR_FORMAT, "%s/model.safetensors.index.json: no \"weight_map\"", folder);
	else
		status = open_indexed(s, folder, map, err);
	if (status == EVN_OK)
		status = index_names(s, folder, err);
	if (status == EVN_OK && index)
		status = check_index(s, folder, map, err);
	json_decref(index);
	return status;
}

evn_status evn_safetensors_open(evn_safetensors **out, const char *folder, evn_error *err)
{
	evn_safetensors *s = calloc(1, sizeof *s);
	if (!s)
		return evn_fail_memory(err, folder, sizeof *s);
	const evn_status status = open_folder(s, folder, err);
	if (status == EVN_OK)
		*out = s;
	else
		evn_safetensors_close(s);
	return status;
}

void evn_safetensors_close(evn_safetensors *s)
{
	if (!s)
		return;
	for (uint32_t i = 0; i < s->n_files; i++) {
		evn_source_close(s->files[i].source);
		json_decref(s->files[i].header);
		free(s->files[i].path);
	}
	evn_table_clear(&s->by_name);
	free(s->files);
	free(s->tensors);
	free(s);
}

uint32_t evn_safetensors_count(const evn_safetensors *s) { return s->n_tensors; }
const evn_safetensor *evn_safetensors_at(const evn_safetensors *s, uint32_t i) { return &s->tensors[i]; }

uint64_t evn_safetensors_size(const evn_safetensors *s)
{
	uint64_t size = 0;
	for (uint32_t i = 0; i < s->n_files; i++)
		size += evn_source_size(s->files[i].source);
	return size;
}
