/* gguf.c - the GGUF parser: a cursor over memory that keeps its first error, two lists, and hash tables of their
 * names.
 *
 * Layout: magic, version, counts; keys with typed values; tensor descriptions; padding to general.alignment; data. */
#include "model/gguf_internal.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_VALUES (1u << 16)
#define MAX_TENSORS (1u << 20)
#define MAX_KEY_BYTES 65535u /* the format's own limits */
#define MAX_TENSOR_NAME_BYTES 64u
#define MIN_ALIGNMENT 8u
#define MAX_ALIGNMENT (1u << 20)
#define DEFAULT_ALIGNMENT 32u
#define MIN_VALUE_BYTES 14u  /* key length 8, key 1, type 4, value 1 */
#define MIN_TENSOR_BYTES 33u /* name length 8, name 1, n_dims 4, one dimension 8, type 4, offset 8 */

/* ---- the cursor ------------------------------------------------------------------------------------------------ */

typedef struct {
	const char *name;
	const uint8_t *start, *p;
	evn_gguf_bytes *bytes;
	evn_status status; /* the first error stays; later reads give zeros */
	evn_error *err;
} cursor;

static uint64_t position(const cursor *c) { return (uint64_t)(c->p - c->start); }
static uint64_t remaining(const cursor *c) { return c->bytes->size - position(c); } /* of the file */

/* True if n more bytes are available. It is no error of the file if it has more bytes than are available. */
static bool at_hand(cursor *c, uint64_t n)
{
	if (n <= c->bytes->available - position(c))
		return true;
	if (c->status == EVN_OK && n <= remaining(c)) {
		c->bytes->incomplete = true;
		c->status = EVN_ERR_FORMAT;
	}
	return false;
}

static void fail_at(cursor *c, evn_status code, uint64_t at, const char *fmt, ...) EVN_PRINTF(4, 5);

static void fail_at(cursor *c, evn_status code, uint64_t at, const char *fmt, ...)
{
	if (c->status != EVN_OK)
		return;
	char text[768];
	va_list args;
	va_start(args, fmt);
	vsnprintf(text, sizeof text, fmt, args);
	va_end(args);
	c->status = evn_fail(c->err, code, "%s: %s at byte %" PRIu64, c->name, text, at);
}

static const uint8_t *take(cursor *c, uint64_t n, const char *field)
{
	if (!at_hand(c, n))
		fail_at(c, EVN_ERR_FORMAT, position(c), "file ends inside %s: %" PRIu64 " bytes expected, %" PRIu64 " left",
				field, n, remaining(c));
	if (c->status != EVN_OK)
		return NULL;
	const uint8_t *at = c->p;
	c->p += n;
	return at;
}

static uint32_t take_u32(cursor *c, const char *field)
{
	const uint8_t *p = take(c, 4, field);
	return p ? (uint32_t)evn_load_le(p, 4) : 0;
}

static uint64_t take_u64(cursor *c, const char *field)
{
	const uint8_t *p = take(c, 8, field);
	return p ? evn_load_le(p, 8) : 0;
}

static evn_str take_string(cursor *c, const char *field)
{
	uint64_t length = take_u64(c, field);
	const uint8_t *text = take(c, length, field);
	return text ? (evn_str){(const char *)text, length} : (evn_str){"", 0};
}

/* A key or tensor name: 1 to max printable ASCII bytes, so that it is safe in messages and in C strings. */
static evn_str take_name(cursor *c, uint64_t max, const char *field)
{
	uint64_t at = position(c);
	evn_str s = take_string(c, field);
	if (c->status == EVN_OK && (s.length == 0 || s.length > max))
		fail_at(c, EVN_ERR_FORMAT, at, "%s is %" PRIu64 " bytes long, expected 1 to %" PRIu64, field, s.length, max);
	for (uint64_t i = 0; i < s.length && c->status == EVN_OK; i++)
		if (s.text[i] <= ' ' || s.text[i] > '~')
			fail_at(c, EVN_ERR_FORMAT, at + 8 + i, "%s holds byte 0x%02x, expected printable ASCII", field,
					(unsigned)(uint8_t)s.text[i]);
	return s;
}

/* ---- values ---------------------------------------------------------------------------------------------------- */

size_t evn_gguf_type_bytes(evn_gguf_type t)
{
	static const uint8_t bytes[EVN_GGUF__COUNT] = {
		[EVN_GGUF_U8] = 1,  [EVN_GGUF_I8] = 1,  [EVN_GGUF_BOOL] = 1, [EVN_GGUF_U16] = 2,
		[EVN_GGUF_I16] = 2, [EVN_GGUF_U32] = 4, [EVN_GGUF_I32] = 4,  [EVN_GGUF_F32] = 4,
		[EVN_GGUF_U64] = 8, [EVN_GGUF_I64] = 8, [EVN_GGUF_F64] = 8,
	};
	return bytes[t];
}

static evn_gguf_type take_type(cursor *c, const char *field)
{
	uint64_t at = position(c);
	uint32_t type = take_u32(c, field);
	if (type >= EVN_GGUF__COUNT)
		fail_at(c, EVN_ERR_FORMAT, at, "%s is type %" PRIu32 ", expected 0 to %d", field, type, EVN_GGUF__COUNT - 1);
	return type < EVN_GGUF__COUNT ? (evn_gguf_type)type : EVN_GGUF_U8;
}

static void take_strings(cursor *c, evn_gguf_value *v, const char *field)
{
	if (v->count > remaining(c) / 8) { /* each string has a length of 8 bytes, so this bounds the allocation too */
		fail_at(c, EVN_ERR_FORMAT, position(c), "%s claims %" PRIu64 " strings, %" PRIu64 " bytes left", field,
				v->count, remaining(c));
		return;
	}
	if (!at_hand(c, v->count * 8))
		return;
	evn_str *strings = malloc((size_t)(v->count ? v->count : 1) * sizeof *strings);
	v->strings = strings;
	if (!strings) {
		c->status = evn_fail_memory(c->err, field, v->count * sizeof *strings);
		return;
	}
	for (uint64_t i = 0; i < v->count; i++) /* every entry is set, even after an error */
		strings[i] = take_string(c, field);
}

static void take_elements(cursor *c, evn_gguf_value *v, const char *field)
{
	uint64_t bytes, at = position(c);
	v->data = c->p;
	if (v->element == EVN_GGUF_STRING) {
		take_strings(c, v, field);
		return;
	}
	if (!evn_mul_u64(v->count, evn_gguf_type_bytes(v->element), &bytes))
		bytes = UINT64_MAX;
	const uint8_t *data = take(c, bytes, field);
	for (uint64_t i = 0; data && v->element == EVN_GGUF_BOOL && i < v->count; i++)
		if (data[i] > 1) {
			fail_at(c, EVN_ERR_FORMAT, at + i, "%s is %d, expected a bool of 0 or 1", field, data[i]);
			return;
		}
}

static void take_value(cursor *c, evn_gguf_value *v, uint32_t i)
{
	char field[128];
	snprintf(field, sizeof field, "the key of metadata entry %" PRIu32, i);
	v->key = take_name(c, MAX_KEY_BYTES, field);
	snprintf(field, sizeof field, "\"%.*s\"", (int)(v->key.length < 100 ? v->key.length : 100), v->key.text);
	v->type = v->element = take_type(c, field);
	v->count = 1;
	if (v->type == EVN_GGUF_ARRAY) {
		uint64_t at = position(c);
		v->element = take_type(c, field);
		v->count = take_u64(c, field);
		if (v->element == EVN_GGUF_ARRAY)
			fail_at(c, EVN_ERR_UNSUPPORTED, at, "%s is an array of arrays, which evener does not read", field);
	}
	if (c->status == EVN_OK)
		take_elements(c, v, field);
}

/* ---- the index by name ----------------------------------------------------------------------------------------- */

static evn_key value_key(const void *values, uint32_t i)
{
	const evn_str *key = &((const evn_gguf_value *)values)[i].key;
	return (evn_key){key->text, (size_t)key->length};
}

static evn_key tensor_name(const void *tensors, uint32_t i)
{
	const evn_str *name = &((const evn_tensor *)tensors)[i].name;
	return (evn_key){name->text, (size_t)name->length};
}

static void make_index(cursor *c, evn_table *index, evn_key_fn key, const void *entries, uint32_t n, const char *what)
{
	if (c->status == EVN_OK)
		c->status = evn_table_create(index, n, key, entries, c->name, c->err);
	for (uint32_t i = 0; i < n && c->status == EVN_OK; i++) {
		const evn_key name = key(entries, i);
		if (!evn_table_add(index, i))
			fail_at(c, EVN_ERR_FORMAT, (uint64_t)((const uint8_t *)name.data - c->start), "%s \"%.*s\" appears twice",
					what, (int)(name.size < 100 ? name.size : 100), (const char *)name.data);
	}
}

evn_status evn_gguf_index_tensors(evn_gguf *g, const evn_tensor **twice, evn_error *err)
{
	*twice = NULL;
	evn_table_clear(&g->tensors_by_name);
	EVN_TRY(evn_table_create(&g->tensors_by_name, g->n_tensors, tensor_name, g->tensors, g->name, err));
	for (uint32_t i = 0; i < g->n_tensors && !*twice; i++)
		if (!evn_table_add(&g->tensors_by_name, i))
			*twice = &g->tensors[i];
	return EVN_OK;
}

/* ---- tensors --------------------------------------------------------------------------------------------------- */

/* Names of the types that evener does not read, for the message only. */
static const char *foreign_type_name(uint32_t type)
{
	static const char *const names[] = {
		[9] = "Q8_1",   [15] = "Q8_K",  [16] = "IQ2_XXS", [17] = "IQ2_XS", [18] = "IQ3_XXS", [19] = "IQ1_S",
		[21] = "IQ3_S", [22] = "IQ2_S", [24] = "I8",      [25] = "I16",    [26] = "I32",     [27] = "I64",
		[28] = "F64",   [29] = "IQ1_M", [34] = "TQ1_0",   [35] = "TQ2_0",  [39] = "MXFP4",   [40] = "NVFP4",
	};
	return type < sizeof names / sizeof *names && names[type] ? names[type] : "unknown";
}

static void take_shape(cursor *c, evn_tensor *t, const char *field)
{
	uint64_t at = position(c);
	t->n_dims = take_u32(c, field);
	if (c->status == EVN_OK && (t->n_dims < 1 || t->n_dims > 4))
		fail_at(c, EVN_ERR_FORMAT, at, "%s has %" PRIu32 " dimensions, expected 1 to 4", field, t->n_dims);
	for (uint32_t d = 0; d < 4; d++) {
		at = position(c);
		t->shape[d] = c->status == EVN_OK && d < t->n_dims ? take_u64(c, field) : 1;
		if (t->shape[d] == 0)
			fail_at(c, EVN_ERR_FORMAT, at, "%s has 0 elements in dimension %" PRIu32, field, d);
	}
}

/* Computes size_bytes from shape and format. The product of the dimensions must fit 63 bits, as ggml counts them. */
static void size_tensor(cursor *c, evn_tensor *t, uint64_t at, const char *field)
{
	uint64_t elements = t->shape[0];
	bool fits = true;
	for (uint32_t d = 1; d < t->n_dims; d++)
		fits = fits && evn_mul_u64(elements, t->shape[d], &elements);
	if (!fits || elements > INT64_MAX ||
		!evn_mul_u64(elements / t->quant->block_len, t->quant->block_bytes, &t->size_bytes))
		fail_at(c, EVN_ERR_FORMAT, at, "%s has more elements than 64 bits can count", field);
	else if (t->shape[0] % t->quant->block_len)
		fail_at(c, EVN_ERR_FORMAT, at, "%s has rows of %" PRIu64 " elements, %s needs a multiple of %" PRIu32, field,
				t->shape[0], t->quant->name, t->quant->block_len);
}

static void take_tensor(cursor *c, evn_tensor *t, uint32_t i, uint64_t alignment)
{
	char field[128];
	snprintf(field, sizeof field, "the name of tensor %" PRIu32, i);
	t->name = take_name(c, MAX_TENSOR_NAME_BYTES, field);
	snprintf(field, sizeof field, "tensor \"%.*s\"", (int)t->name.length, t->name.text);
	uint64_t shape_at = position(c);
	take_shape(c, t, field);
	uint64_t type_at = position(c);
	uint32_t type = take_u32(c, field);
	t->quant = evn_quant_find(type);
	if (!t->quant)
		fail_at(c, EVN_ERR_UNSUPPORTED, type_at, "%s has type %" PRIu32 " (%s), which evener does not read", field,
				type, foreign_type_name(type));
	uint64_t offset_at = position(c);
	t->offset_bytes = take_u64(c, field); /* relative to the data until place_tensors */
	if (t->offset_bytes % alignment)
		fail_at(c, EVN_ERR_FORMAT, offset_at, "%s begins at data offset %" PRIu64 ", not a multiple of %" PRIu64,
				field, t->offset_bytes, alignment);
	if (c->status == EVN_OK)
		size_tensor(c, t, shape_at, field);
}

static int compare_offsets(const void *a, const void *b)
{
	uint64_t x = (*(const evn_tensor *const *)a)->offset_bytes, y = (*(const evn_tensor *const *)b)->offset_bytes;
	return (x > y) - (x < y);
}

/* Two tensors may not overlap: otherwise a small file could claim any size. */
static void check_overlaps(cursor *c, const evn_gguf *g)
{
	if (c->status != EVN_OK || g->n_tensors < 2)
		return;
	const evn_tensor **order = malloc(g->n_tensors * sizeof *order);
	if (!order) {
		c->status = evn_fail_memory(c->err, c->name, g->n_tensors * sizeof *order);
		return;
	}
	for (uint32_t i = 0; i < g->n_tensors; i++)
		order[i] = &g->tensors[i];
	qsort(order, g->n_tensors, sizeof *order, compare_offsets);
	for (uint32_t i = 1; i < g->n_tensors; i++) {
		const evn_tensor *a = order[i - 1], *b = order[i];
		if (a->offset_bytes + a->size_bytes > b->offset_bytes)
			fail_at(c, EVN_ERR_FORMAT, b->offset_bytes, "tensors \"%.*s\" and \"%.*s\" overlap", (int)a->name.length,
					a->name.text, (int)b->name.length, b->name.text);
	}
	free((void *)order);
}

/* Turns offsets in the data into offsets in the file, and checks them against its end. */
static void place_tensors(cursor *c, evn_gguf *g, uint64_t alignment)
{
	const uint64_t size = c->bytes->size, data = evn_round_up(position(c), alignment);
	g->header_bytes = position(c);
	for (uint32_t i = 0; i < g->n_tensors && c->status == EVN_OK; i++) {
		evn_tensor *t = &g->tensors[i];
		uint64_t end;
		if (!evn_add_u64(t->offset_bytes, data, &t->offset_bytes) ||
			!evn_add_u64(t->offset_bytes, t->size_bytes, &end) || end > size)
			fail_at(c, EVN_ERR_FORMAT, t->offset_bytes,
					"tensor \"%.*s\" needs %" PRIu64 " bytes, the file ends at byte %" PRIu64 ": data missing",
					(int)t->name.length, t->name.text, t->size_bytes, size);
		else
			t->data = c->bytes->available == size ? c->start + t->offset_bytes : NULL;
	}
	check_overlaps(c, g);
}

/* ---- the file -------------------------------------------------------------------------------------------------- */

static void take_magic(cursor *c, evn_gguf *g)
{
	const uint8_t *magic = take(c, 4, "the magic number");
	if (magic && memcmp(magic, "GGUF", 4)) {
		fail_at(c, EVN_ERR_FORMAT, 0, "magic number is %02x %02x %02x %02x, expected \"GGUF\"", magic[0], magic[1],
				magic[2], magic[3]);
		return;
	}
	g->version = take_u32(c, "the version");
	if (c->status == EVN_OK && g->version && !(g->version & 0xffffu))
		fail_at(c, EVN_ERR_UNSUPPORTED, 4, "the file is big-endian, expected little-endian GGUF");
	else if (g->version != 2 && g->version != 3)
		fail_at(c, EVN_ERR_UNSUPPORTED, 4, "GGUF version is %" PRIu32 ", evener reads 2 and 3", g->version);
}

/* A count of entries of at least min_bytes each. It is bounded by the rest of the file and by our own limit. */
static uint32_t take_count(cursor *c, uint64_t min_bytes, uint32_t limit, const char *field)
{
	uint64_t at = position(c), n = take_u64(c, field);
	if (c->status == EVN_OK && n > remaining(c) / min_bytes)
		fail_at(c, EVN_ERR_FORMAT, at, "%s is %" PRIu64 ", more than the file's remaining %" PRIu64 " bytes can hold",
				field, n, remaining(c));
	else if (n > limit)
		fail_at(c, EVN_ERR_LIMIT, at, "%s is %" PRIu64 ", evener reads at most %" PRIu32, field, n, limit);
	return c->status == EVN_OK ? (uint32_t)n : 0;
}

static uint64_t read_alignment(cursor *c, const evn_gguf *g)
{
	uint32_t alignment = DEFAULT_ALIGNMENT;
	if (c->status == EVN_OK)
		c->status = evn_gguf_u32(g, "general.alignment", &alignment, c->err);
	if (alignment < MIN_ALIGNMENT || alignment > MAX_ALIGNMENT || alignment & (alignment - 1)) {
		fail_at(c, EVN_ERR_FORMAT, evn_gguf_position(g, evn_gguf_find(g, "general.alignment")),
				"general.alignment is %" PRIu32 ", expected a power of two from %u to %u", alignment, MIN_ALIGNMENT,
				MAX_ALIGNMENT);
		return DEFAULT_ALIGNMENT;
	}
	return alignment;
}

static void parse(cursor *c, evn_gguf *g)
{
	take_magic(c, g);
	uint32_t n_tensors = take_count(c, MIN_TENSOR_BYTES, MAX_TENSORS, "the tensor count");
	uint32_t n_values = take_count(c, MIN_VALUE_BYTES, MAX_VALUES, "the metadata count");
	if (c->status != EVN_OK)
		return;
	g->values = calloc(n_values + 1u, sizeof *g->values);
	g->asked = calloc(n_values + 1u, sizeof *g->asked);
	g->tensors = calloc(n_tensors + 1u, sizeof *g->tensors);
	if (!g->values || !g->asked || !g->tensors) {
		c->status =
			evn_fail_memory(c->err, c->name, n_values * sizeof *g->values + n_tensors * (uint64_t)sizeof *g->tensors);
		return;
	}
	for (; g->n_values < n_values && c->status == EVN_OK; g->n_values++)
		take_value(c, &g->values[g->n_values], g->n_values);
	make_index(c, &g->values_by_key, value_key, g->values, g->n_values, "metadata key");
	uint64_t alignment = read_alignment(c, g);
	for (; g->n_tensors < n_tensors && c->status == EVN_OK; g->n_tensors++)
		take_tensor(c, &g->tensors[g->n_tensors], g->n_tensors, alignment);
	make_index(c, &g->tensors_by_name, tensor_name, g->tensors, g->n_tensors, "tensor name");
	place_tensors(c, g, alignment);
}

evn_status evn_gguf_parse_bytes(evn_gguf **out, const char *name, evn_gguf_bytes *bytes, evn_error *err)
{
	evn_gguf *g = calloc(1, sizeof *g);
	if (!g || !(g->name = evn_strdup(name))) {
		evn_gguf_free(g);
		return evn_fail_memory(err, name, sizeof *g);
	}
	g->start = bytes->data;
	g->size_bytes = bytes->size;
	cursor c = {.name = g->name, .start = bytes->data, .p = bytes->data, .bytes = bytes, .err = err};
	parse(&c, g);
	if (c.status != EVN_OK) {
		evn_gguf_free(g);
		return c.status;
	}
	*out = g;
	return EVN_OK;
}

evn_status evn_gguf_parse(evn_gguf **out, const char *name, const uint8_t *data, uint64_t size, evn_error *err)
{
	return evn_gguf_parse_bytes(out, name, &(evn_gguf_bytes){data, size, size, false}, err);
}

void evn_gguf_free(evn_gguf *g)
{
	if (!g)
		return;
	for (uint32_t i = 0; g->values && i < g->n_values; i++)
		free((void *)(uintptr_t)g->values[i].strings);
	free(g->values);
	free(g->asked);
	free(g->tensors);
	evn_table_clear(&g->values_by_key);
	evn_table_clear(&g->tensors_by_name);
	for (uint32_t i = 0; i < g->n_parts; i++)
		evn_gguf_free(g->parts[i]);
	free(g->parts);
	if (g->release)
		g->release(g->owned);
	evn_source_close(g->source);
	free(g->header);
	free(g->name);
	free(g);
}

const char *evn_gguf_name(const evn_gguf *g) { return g->name; }
uint32_t evn_gguf_version(const evn_gguf *g) { return g->version; }
uint64_t evn_gguf_header_bytes(const evn_gguf *g) { return g->header_bytes; }
uint64_t evn_gguf_position(const evn_gguf *g, const evn_gguf_value *v) { return (uint64_t)(v->data - g->start); }

uint32_t evn_gguf_n_values(const evn_gguf *g) { return g->n_values; }

const evn_gguf_value *evn_gguf_value_at(const evn_gguf *g, uint32_t i)
{
	return i < g->n_values ? &g->values[i] : NULL;
}

const evn_gguf_value *evn_gguf_find(const evn_gguf *g, const char *key)
{
	const uint32_t i = evn_table_find(&g->values_by_key, key, strlen(key));
	if (i < g->n_values)
		atomic_store_explicit(&g->asked[i], true, memory_order_relaxed);
	return evn_gguf_value_at(g, i);
}

bool evn_gguf_was_asked(const evn_gguf *g, uint32_t i)
{
	return atomic_load_explicit(&g->asked[i], memory_order_relaxed);
}

uint32_t evn_gguf_n_tensors(const evn_gguf *g) { return g->n_tensors; }

const evn_tensor *evn_gguf_tensor_at(const evn_gguf *g, uint32_t i)
{
	return i < g->n_tensors ? &g->tensors[i] : NULL;
}

const evn_tensor *evn_gguf_find_tensor(const evn_gguf *g, const char *name)
{
	return evn_gguf_tensor_at(g, evn_table_find(&g->tensors_by_name, name, strlen(name)));
}

void evn_gguf_replace(evn_gguf *g, const evn_tensor *t, const float *values)
{
	evn_tensor *mine = &g->tensors[t - g->tensors];
	mine->quant = evn_quant_by_name("F32");
	mine->size_bytes = mine->shape[0] * mine->shape[1] * mine->shape[2] * mine->shape[3] * sizeof *values;
	mine->data = (const uint8_t *)values;
	mine->source = NULL;
	mine->transposed = false;
	mine->pair_heads = 0;
	mine->pieces = NULL;
}
