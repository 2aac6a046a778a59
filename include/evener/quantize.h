/* quantize.h - writes a model with its weights in another format. */
#ifndef EVENER_QUANTIZE_H
#define EVENER_QUANTIZE_H

#include "evener.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct {
	const char *type;         /* "Q8_0", "Q4_K_M", ...; see evn_quantize_type */
	bool pure;                /* every matrix in the format of most; none in a wider one */
	uint32_t threads;         /* 0: as many as there are processors */
	evn_progress_fn progress; /* in bytes of the model; may be NULL */
	void *user;
} evn_quantize_options;

/* Writes the model as a GGUF file at path, in one part. An existing file is replaced atomically; it may be the
 * model's own. Norms, biases and other small tensors stay as they are. */
EVN_API evn_status evn_quantize_model(const evn_model *m, const char *path, const evn_quantize_options *o,
									  evn_error *err);
/* The name of type i; NULL behind the last. Those that llama.cpp has give each tensor the same format there. */
EVN_API const char *evn_quantize_type(size_t i);

#ifdef __cplusplus
}
#endif
#endif
