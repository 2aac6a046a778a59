/* inspect.h - tensors and metadata of a model file. */
#ifndef EVENER_INSPECT_H
#define EVENER_INSPECT_H

#include "evener.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct {
	const char *name, *type; /* type: "Q4_1", "F32", ... */
	uint32_t n_dims;
	uint64_t shape[4]; /* GGUF order: shape[0] is the contiguous dimension */
	uint64_t offset_bytes, size_bytes;
	uint32_t part; /* the file that it is in, from 1 on */
} evn_tensor_info;

EVN_API evn_tensor_info evn_model_tensor(const evn_model *m, uint32_t i);
/* Metadata entry i: its key, and its value as text (of arrays the first elements and a count). */
EVN_API void evn_model_metadata(const evn_model *m, uint32_t i, const char **key, const char **type, char *value,
								size_t value_size);

/* Whether evener can run the model; if not, err says why: the architecture, keys or tensors that it does not know. */
EVN_API evn_status evn_model_check(const evn_model *m, evn_error *err);
/* Metadata entry i belongs to the architecture, and evener neither reads it nor knows it to be harmless. Call it
 * after evn_model_check. */
EVN_API bool evn_model_key_is_unknown(const evn_model *m, uint32_t i);

/* A key of the model's content, the same in every process: metadata, and the beginning of every tensor, of the
 * model and of its adapters.
 * Models of the same shape differ in each tensor. */
EVN_API evn_status evn_model_identity(const evn_model *m, uint64_t *key, evn_error *err);

#ifdef __cplusplus
}
#endif
#endif
