/* safetensors.h - the weights of a checkpoint folder: model.safetensors, or the files that
 * model.safetensors.index.json names. Nothing in them is trusted: the directory's size, every type, shape and offset
 * is checked before use. */
#ifndef EVN_SAFETENSORS_H
#define EVN_SAFETENSORS_H

#include "model/quant.h"

typedef struct {
	const char *name;
	const char *type;       /* "BF16", "F32", "I64", ... */
	const evn_quant *quant; /* NULL: of a type or with dimensions that evener does not read */
	uint32_t n_dims;
	uint64_t shape[4]; /* in GGUF's order: shape[0] is contiguous; unused ones are 1 */
	uint64_t offset_bytes, size_bytes;
	const evn_source *source; /* the file */
	uint32_t file;            /* its number, from 0 on */
} evn_safetensor;

typedef struct evn_safetensors evn_safetensors;

evn_status evn_safetensors_open(evn_safetensors **out, const char *folder, evn_error *err);
void evn_safetensors_close(evn_safetensors *s);
uint32_t evn_safetensors_count(const evn_safetensors *s);
const evn_safetensor *evn_safetensors_at(const evn_safetensors *s, uint32_t i);
uint64_t evn_safetensors_size(const evn_safetensors *s); /* of all files */

#endif
