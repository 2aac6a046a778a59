/* gguf_write.c - see gguf_write.h. Three growing buffers become one file: metadata, tensor directory, data. */
#include "model/gguf_write.h"

#include <stdlib.h>
#include <string.h>

typedef struct {
	uint8_t *data;
	size_t size, capacity;
} bytes;

struct evn_gguf_writer {
	bytes values, directory, data;
	uint64_t n_values, n_tensors;
	uint64_t data_bytes; /* of all tensors, whether they are in `data` or only declared */
	bool failed;         /* out of memory; stays set */
};

evn_status evn_gguf_writer_create(evn_gguf_writer **out, evn_error *err)
{
	*out = calloc(1, sizeof **out);
	return *out ? EVN_OK : evn_fail_memory(err, "GGUF file", sizeof **out);
}

void evn_gguf_writer_free(evn_gguf_writer *w)
{
	if (!w)
		return;
	free(w->values.data);
	free(w->directory.data);
	free(w->data.data);
	free(w);
}

/* Makes room for n more bytes at the end. NULL if out of memory. */
static uint8_t *grow(evn_gguf_writer *w, bytes *b, uint64_t n)
{
	uint64_t needed;
	if (w->failed || !evn_add_u64(b->size, n, &needed) || needed > SIZE_MAX / 2) {
		w->failed = true;
		return NULL;
	}
	if (needed > b->capacity) {
		size_t capacity = (size_t)needed + (size_t)needed / 2 + 64;
		uint8_t *bigger = realloc(b->data, capacity);
		if (!bigger) {
			w->failed = true;
			return NULL;
		}
		b->data = bigger;
		b->capacity = capacity;
	}
	uint8_t *room = b->data + b->size;
	b->size = (size_t)needed;
	return room;
}

static void put(evn_gguf_writer *w, bytes *b, const void *data, uint64_t n)
{
	uint8_t *room = grow(w, b, n);
	if (room && n)
		memcpy(room, data, (size_t)n);
}

static void put_le(evn_gguf_writer *w, bytes *b, uint64_t value, size_t n)
{
	uint8_t little[8];
	for (size_t i = 0; i < n; i++)
		little[i] = (uint8_t)(value >> 8 * i);
	put(w, b, little, n);
}

static void put_str(evn_gguf_writer *w, bytes *b, evn_str s)
{
	put_le(w, b, s.length, 8);
	put(w, b, s.text, s.length);
}

static void put_key(evn_gguf_writer *w, evn_str key, evn_gguf_type type)
{
	put_str(w, &w->values, key);
	put_le(w, &w->values, type, 4);
	w->n_values++;
}

static evn_str str_of(const char *s) { return (evn_str){s, strlen(s)}; }

static void put_array(evn_gguf_writer *w, evn_str key, evn_gguf_type element, uint64_t n)
{
	put_key(w, key, EVN_GGUF_ARRAY);
	put_le(w, &w->values, element, 4);
	put_le(w, &w->values, n, 8);
}

void evn_gguf_put_string(evn_gguf_writer *w, const char *key, const char *value)
{
	put_key(w, str_of(key), EVN_GGUF_STRING);
	put_str(w, &w->values, str_of(value));
}

void evn_gguf_put_u32(evn_gguf_writer *w, const char *key, uint32_t value)
{
	put_key(w, str_of(key), EVN_GGUF_U32);
	put_le(w, &w->values, value, 4);
}

void evn_gguf_put_f32(evn_gguf_writer *w, const char *key, float value)
{
	uint32_t bits;
	memcpy(&bits, &value, sizeof bits);
	put_key(w, str_of(key), EVN_GGUF_F32);
	put_le(w, &w->values, bits, 4);
}

void evn_gguf_put_bool(evn_gguf_writer *w, const char *key, bool value)
{
	put_key(w, str_of(key), EVN_GGUF_BOOL);
	put_le(w, &w->values, value, 1);
}

void evn_gguf_put_strings(evn_gguf_writer *w, const char *key, const evn_str *values, uint64_t n)
{
	put_array(w, str_of(key), EVN_GGUF_STRING, n);
	for (uint64_t i = 0; i < n; i++)
		put_str(w, &w->values, values[i]);
}

void evn_gguf_put_i32s(evn_gguf_writer *w, const char *key, const int32_t *values, uint64_t n)
{
	put_array(w, str_of(key), EVN_GGUF_I32, n);
	for (uint64_t i = 0; i < n; i++)
		put_le(w, &w->values, (uint32_t)values[i], 4);
}

void evn_gguf_put_value(evn_gguf_writer *w, const evn_gguf_value *v)
{
	if (v->type == EVN_GGUF_ARRAY)
		put_array(w, v->key, v->element, v->count);
	else
		put_key(w, v->key, v->type);
	if (v->element != EVN_GGUF_STRING)
		put(w, &w->values, v->data, v->count * evn_gguf_type_bytes(v->element));
	for (uint64_t i = 0; v->element == EVN_GGUF_STRING && i < v->count; i++)
		put_str(w, &w->values, v->strings[i]);
}

static void pad(evn_gguf_writer *w, bytes *b)
{
	uint64_t n = evn_round_up(b->size, EVN_GGUF_ALIGNMENT) - b->size;
	uint8_t *room = grow(w, b, n);
	if (room)
		memset(room, 0, (size_t)n);
}

/* Returns the size of the blocks. */
static uint64_t declare(evn_gguf_writer *w, const char *name, const evn_quant *quant, uint32_t n_dims,
						const uint64_t *shape)
{
	uint64_t n = 1, size = 0, end = 0;
	put_str(w, &w->directory, str_of(name));
	put_le(w, &w->directory, n_dims, 4);
	for (uint32_t i = 0; i < n_dims; i++) {
		put_le(w, &w->directory, shape[i], 8);
		w->failed |= !evn_mul_u64(n, shape[i], &n);
	}
	put_le(w, &w->directory, quant->gguf_type, 4);
	put_le(w, &w->directory, w->data_bytes, 8);
	w->failed |= !evn_mul_u64(n / quant->block_len, quant->block_bytes, &size) ||
				 !evn_add_u64(w->data_bytes, size, &end) || end > INT64_MAX;
	if (!w->failed)
		w->data_bytes = evn_round_up(end, EVN_GGUF_ALIGNMENT);
	w->n_tensors++;
	return size;
}

void evn_gguf_put_tensor(evn_gguf_writer *w, const char *name, const evn_quant *quant, uint32_t n_dims,
						 const uint64_t *shape, const void *blocks)
{
	const uint64_t size = declare(w, name, quant, n_dims, shape);
	if (!w->failed)
		put(w, &w->data, blocks, size);
	pad(w, &w->data);
}

void evn_gguf_declare_tensor(evn_gguf_writer *w, const char *name, const evn_quant *quant, uint32_t n_dims,
							 const uint64_t *shape)
{
	declare(w, name, quant, n_dims, shape);
}

uint64_t evn_gguf_declared_bytes(const evn_gguf_writer *w) { return w->data_bytes; }

evn_status evn_gguf_finish(evn_gguf_writer *w, uint8_t **out, size_t *size, evn_error *err)
{
	bytes file = {0};
	put(w, &file, "GGUF", 4);
	put_le(w, &file, 3, 4);
	put_le(w, &file, w->n_tensors, 8);
	put_le(w, &file, w->n_values, 8);
	put(w, &file, w->values.data, w->values.size);
	put(w, &file, w->directory.data, w->directory.size);
	pad(w, &file);
	put(w, &file, w->data.data, w->data.size);
	if (w->failed) {
		free(file.data);
		return evn_fail_memory(err, "GGUF file", (uint64_t)w->data.size + w->values.size + w->directory.size);
	}
	*out = file.data;
	*size = file.size;
	return EVN_OK;
}
