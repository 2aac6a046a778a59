/* gguf.h - parses a GGUF file (v2, v3), in memory or on disk. Nothing in it is trusted: every length, count, type and
 * offset is checked against the file before use. An error names the file, the field and the byte. */
#ifndef EVN_GGUF_H
#define EVN_GGUF_H

#include "model/quant.h"

typedef enum {
	EVN_GGUF_U8,
	EVN_GGUF_I8,
	EVN_GGUF_U16,
	EVN_GGUF_I16,
	EVN_GGUF_U32,
	EVN_GGUF_I32,
	EVN_GGUF_F32,
	EVN_GGUF_BOOL,
	EVN_GGUF_STRING,
	EVN_GGUF_ARRAY,
	EVN_GGUF_U64,
	EVN_GGUF_I64,
	EVN_GGUF_F64,
	EVN_GGUF__COUNT
} evn_gguf_type;

/* Not NUL-terminated; points into the file's directory. */
typedef struct {
	const char *text;
	uint64_t length;
} evn_str;

typedef struct {
	evn_str key;
	evn_gguf_type type;     /* EVN_GGUF_ARRAY: an array of `element` */
	evn_gguf_type element;  /* the type itself if it is no array */
	uint64_t count;         /* number of elements; 1 if it is no array */
	const uint8_t *data;    /* first element; scalars are little-endian and unaligned */
	const evn_str *strings; /* `count` strings, if element is EVN_GGUF_STRING */
} evn_gguf_value;

/* A part of a file. */
typedef struct {
	const evn_source *source;
	uint64_t offset_bytes;
} evn_file_part;

typedef struct {
	evn_str name;
	const evn_quant *quant;
	uint32_t n_dims;
	uint64_t shape[4];     /* shape[0] is contiguous (columns), shape[1] are rows; unused ones are 1 */
	uint64_t offset_bytes; /* from the start of its file */
	uint64_t size_bytes;
	const uint8_t *data;      /* NULL: the bytes are in the file, and evn_tensor_bytes reads them */
	const evn_source *source; /* the file; NULL if data is not NULL */
	uint32_t part;            /* of the model, from 0 on */
	/* How the file has the elements (checkpoint.h): columns as rows; rows of each of so many heads as two halves, of
	 * which the elements alternate here (0: not so). */
	bool transposed;
	uint32_t pair_heads;
	const evn_file_part *pieces; /* (n_pieces) of equal size, in place of the one at offset_bytes; NULL: one */
	uint32_t n_pieces;
} evn_tensor;

typedef struct evn_gguf evn_gguf;

/* data must outlive *out. `name` is the file's path, for messages. */
evn_status evn_gguf_parse(evn_gguf **out, const char *name, const uint8_t *data, uint64_t size, evn_error *err);
/* Opens the file at path and reads its directory, which is everything before the weights. */
evn_status evn_gguf_open(evn_gguf **out, const char *path, evn_error *err);
/* Opens the other parts of a model in several files and adds their tensors. g, from evn_gguf_open, must be the first
 * part. If it is not, or if a part is missing or belongs to another model, the error says so and g is unchanged. */
evn_status evn_gguf_join(evn_gguf *g, evn_error *err);
void evn_gguf_free(evn_gguf *g);
const char *evn_gguf_name(const evn_gguf *g);
uint32_t evn_gguf_version(const evn_gguf *g);
uint64_t evn_gguf_header_bytes(const evn_gguf *g); /* the bytes before the weights */
uint64_t evn_gguf_size(const evn_gguf *g);         /* of the file, or of all joined parts */
/* A hash of the directory and of the sizes, over all joined parts. */
uint64_t evn_gguf_hash(const evn_gguf *g, uint64_t h);
/* The part that a file says to be, from 1 on, and the number of parts. 1 of 1 is a whole model. */
evn_status evn_gguf_part(const evn_gguf *g, uint32_t *part, uint32_t *n_parts, evn_error *err);

uint32_t evn_gguf_n_values(const evn_gguf *g);
const evn_gguf_value *evn_gguf_value_at(const evn_gguf *g, uint32_t i);
const evn_gguf_value *evn_gguf_find(const evn_gguf *g, const char *key); /* NULL if absent */
/* True if evn_gguf_find or a typed read has asked for entry i. An entry that nothing asks for is unknown to
 * evener. */
bool evn_gguf_was_asked(const evn_gguf *g, uint32_t i);
uint32_t evn_gguf_n_tensors(const evn_gguf *g);
const evn_tensor *evn_gguf_tensor_at(const evn_gguf *g, uint32_t i);
const evn_tensor *evn_gguf_find_tensor(const evn_gguf *g, const char *name);
/* Gives t, a tensor of g, these f32 values in place of those in the file. They must outlive g. */
void evn_gguf_replace(evn_gguf *g, const evn_tensor *t, const float *values);
/* Reads bytes [offset, offset + n) of the tensor's blocks. *out points into memory, or to scratch, which must have
 * room for n bytes. */
evn_status evn_tensor_bytes(const evn_tensor *t, uint64_t offset, uint64_t n, uint8_t *scratch, const uint8_t **out,
							evn_error *err);
/* out (n, cols) = rows [first, first + n) in f32. A one-dimensional tensor is one row. */
evn_status evn_tensor_rows(const evn_tensor *t, uint64_t first, uint64_t n, float *out, evn_error *err);
#define EVN_SAMPLE_BYTES 4096u /* of each tensor tell models with equal headers apart */
/* The hash of its first n bytes, or of all bytes if there are fewer. */
evn_status evn_tensor_hash(const evn_tensor *t, uint64_t n, uint64_t *h, evn_error *err);

/* Typed reads. If the key is absent, *out keeps its value (the default) and the result is EVN_OK. A wrong type, or a
 * value outside the range of the target, is EVN_ERR_FORMAT, and the message names both types. Any integer type is
 * accepted if the value fits. */
evn_status evn_gguf_u32(const evn_gguf *g, const char *key, uint32_t *out, evn_error *err);
evn_status evn_gguf_f32(const evn_gguf *g, const char *key, float *out, evn_error *err);
evn_status evn_gguf_bool(const evn_gguf *g, const char *key, bool *out, evn_error *err);
evn_status evn_gguf_string(const evn_gguf *g, const char *key, evn_str *out, evn_error *err);
/* An array with elements of type `element`; *out is NULL if absent. */
evn_status evn_gguf_array(const evn_gguf *g, const char *key, evn_gguf_type element, const evn_gguf_value **out,
						  evn_error *err);
/* As evn_gguf_u32, or an array with one entry for each layer, all equal. EVN_ERR_UNSUPPORTED if they differ. */
evn_status evn_gguf_uniform_u32(const evn_gguf *g, const char *key, uint32_t *out, evn_error *err);

/* As evn_gguf_u32, or the entry of this layer in an array. */
evn_status evn_gguf_layer_u32(const evn_gguf *g, const char *key, uint32_t layer, uint32_t *out, evn_error *err);

/* The value of a number or a bool that is no array. */
bool evn_gguf_number(const evn_gguf_value *v, double *out);

bool evn_str_is(evn_str s, const char *text);
size_t evn_gguf_type_bytes(evn_gguf_type t);                            /* 0 for strings and arrays */
const char *evn_gguf_value_type(const evn_gguf_value *v);               /* "u32", "string[]" */
uint64_t evn_gguf_position(const evn_gguf *g, const evn_gguf_value *v); /* byte of its first element in the file */
/* Writes the value as text: arrays shortened to their first elements and a count, control bytes escaped. */
void evn_gguf_describe(const evn_gguf_value *v, char *out, size_t size);

static inline uint64_t evn_load_le(const uint8_t *p, size_t n) /* n <= 8 bytes, little-endian */
{
	uint64_t v = 0;
	for (size_t i = 0; i < n; i++)
		v |= (uint64_t)p[i] << 8 * i;
	return v;
}

#endif
