/* gguf_internal.h - what the parser of one file and the reader of several files share. */
#ifndef EVN_GGUF_INTERNAL_H
#define EVN_GGUF_INTERNAL_H

#include <stdatomic.h>

#include "base/table.h"
#include "model/gguf.h"

struct evn_gguf {
	char *name;
	uint32_t version, n_values, n_tensors;
	const uint8_t *start;
	uint64_t header_bytes, size_bytes;
	evn_gguf_value *values;
	atomic_bool *asked; /* (n_values); any thread may set them */
	evn_tensor *tensors;
	evn_table values_by_key, tensors_by_name;
	/* of a file, not of memory: */
	uint8_t *header; /* where start points */
	evn_source *source;
	/* of a checkpoint folder: */
	void *owned; /* what its tensors read */
	void (*release)(void *owned);
	struct evn_gguf **parts; /* the other parts of a model, whose tensors are among those above */
	uint32_t n_parts;
};

/* The first bytes of a file. If the directory is longer, *incomplete is set, and the result is EVN_ERR_FORMAT without
 * a message. */
typedef struct {
	const uint8_t *data;
	uint64_t available, size; /* bytes at data; of the file */
	bool incomplete;
} evn_gguf_bytes;

/* Like evn_gguf_parse. Tensors have no data if not all bytes are available. */
evn_status evn_gguf_parse_bytes(evn_gguf **out, const char *name, evn_gguf_bytes *bytes, evn_error *err);
/* Rebuilds the index of the tensors' names. If two names are equal, *twice is the second tensor, otherwise NULL. */
evn_status evn_gguf_index_tensors(evn_gguf *g, const evn_tensor **twice, evn_error *err);

/* Reads bytes [offset, offset + n) of a tensor whose file has its elements in another order. */
evn_status evn_tensor_reorder(const evn_tensor *t, uint64_t offset, uint64_t n, uint8_t *out, evn_error *err);

#endif
