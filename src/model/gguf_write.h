/* gguf_write.h - builds a GGUF file (v3) in memory. Metadata and tensors stay in the order in which they are added.
 * Adding needs no checks: evn_gguf_finish reports the first error. */
#ifndef EVN_GGUF_WRITE_H
#define EVN_GGUF_WRITE_H

#include "model/gguf.h"

#define EVN_GGUF_ALIGNMENT 32u /* of tensor data: the default of readers if the file names none */

typedef struct evn_gguf_writer evn_gguf_writer;

evn_status evn_gguf_writer_create(evn_gguf_writer **out, evn_error *err);
void evn_gguf_writer_free(evn_gguf_writer *w);

void evn_gguf_put_string(evn_gguf_writer *w, const char *key, const char *value);
void evn_gguf_put_u32(evn_gguf_writer *w, const char *key, uint32_t value);
void evn_gguf_put_f32(evn_gguf_writer *w, const char *key, float value);
void evn_gguf_put_bool(evn_gguf_writer *w, const char *key, bool value);
void evn_gguf_put_strings(evn_gguf_writer *w, const char *key, const evn_str *values, uint64_t n);
void evn_gguf_put_i32s(evn_gguf_writer *w, const char *key, const int32_t *values, uint64_t n);
/* Adds any value as another file holds it. */
void evn_gguf_put_value(evn_gguf_writer *w, const evn_gguf_value *value);
/* size_bytes is the size of shape[0] * .. * shape[n_dims - 1] elements in blocks. The data is copied. */
void evn_gguf_put_tensor(evn_gguf_writer *w, const char *name, const evn_quant *quant, uint32_t n_dims,
						 const uint64_t *shape, const void *blocks);
/* The same without the data, which the caller writes: each tensor's blocks, padded with zeros to a multiple of
 * EVN_GGUF_ALIGNMENT, in the order of the calls, behind the bytes of evn_gguf_finish. A file has only such tensors,
 * or none. */
void evn_gguf_declare_tensor(evn_gguf_writer *w, const char *name, const evn_quant *quant, uint32_t n_dims,
							 const uint64_t *shape);
uint64_t evn_gguf_declared_bytes(const evn_gguf_writer *w); /* of the data, padding included */

/* Returns the whole file, malloc'd. After that the writer can only be freed. */
evn_status evn_gguf_finish(evn_gguf_writer *w, uint8_t **out, size_t *size, evn_error *err);

#endif
