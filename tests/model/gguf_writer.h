/* gguf_writer.h - builds GGUF files byte by byte in memory: good ones and every kind of bad one. */
#ifndef GGUF_WRITER_H
#define GGUF_WRITER_H

#include "model/gguf.h"

#include <stdlib.h>
#include <string.h>

typedef struct {
	uint8_t *data;
	size_t size, capacity;
} gguf_writer;

static inline void put_bytes(gguf_writer *w, const void *p, size_t n)
{
	if (w->size + n > w->capacity) {
		w->capacity = 2 * (w->size + n);
		w->data = realloc(w->data, w->capacity); /* a test may crash when memory is out */
	}
	if (n)
		memcpy(w->data + w->size, p, n);
	w->size += n;
}

static inline void put_le(gguf_writer *w, uint64_t v, size_t n)
{
	uint8_t bytes[8];
	for (size_t i = 0; i < n; i++)
		bytes[i] = (uint8_t)(v >> 8 * i);
	put_bytes(w, bytes, n);
}

static inline void put_text(gguf_writer *w, const char *s)
{
	put_le(w, strlen(s), 8);
	put_bytes(w, s, strlen(s));
}

static inline void put_header(gguf_writer *w, uint32_t version, uint64_t n_tensors, uint64_t n_values)
{
	put_bytes(w, "GGUF", 4);
	put_le(w, version, 4);
	put_le(w, n_tensors, 8);
	put_le(w, n_values, 8);
}

static inline void put_key(gguf_writer *w, const char *key, evn_gguf_type type)
{
	put_text(w, key);
	put_le(w, type, 4);
}

static inline void put_u32(gguf_writer *w, const char *key, uint32_t v)
{
	put_key(w, key, EVN_GGUF_U32);
	put_le(w, v, 4);
}

static inline void put_f32(gguf_writer *w, const char *key, float v)
{
	uint32_t bits;
	memcpy(&bits, &v, sizeof bits);
	put_key(w, key, EVN_GGUF_F32);
	put_le(w, bits, 4);
}

static inline void put_string(gguf_writer *w, const char *key, const char *v)
{
	put_key(w, key, EVN_GGUF_STRING);
	put_text(w, v);
}

static inline void put_array(gguf_writer *w, const char *key, evn_gguf_type element, uint64_t count)
{
	put_key(w, key, EVN_GGUF_ARRAY);
	put_le(w, element, 4);
	put_le(w, count, 8);
}

static inline void put_tensor(gguf_writer *w, const char *name, uint32_t type, uint32_t n_dims, const uint64_t *shape,
							  uint64_t offset)
{
	put_text(w, name);
	put_le(w, n_dims, 4);
	for (uint32_t d = 0; d < n_dims; d++)
		put_le(w, shape[d], 8);
	put_le(w, type, 4);
	put_le(w, offset, 8);
}

/* Zeros up to a multiple of `alignment`, then n bytes of data: 0, 1, 2, ... */
static inline void put_data(gguf_writer *w, size_t alignment, size_t n)
{
	while (w->size % alignment)
		put_le(w, 0, 1);
	for (size_t i = 0; i < n; i++)
		put_le(w, i & 0xff, 1);
}

static inline void gguf_writer_free(gguf_writer *w)
{
	free(w->data);
	*w = (gguf_writer){0};
}

#endif
