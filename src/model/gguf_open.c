/* gguf_open.c - GGUF files on disk. The directory is read once, weights when they are needed. A model may be in
 * several files. */
#include "model/gguf_internal.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FIRST_BYTES ((uint64_t)1 << 20) /* read first; most directories are shorter */
#define MOST_BYTES ((uint64_t)1 << 30)
#define PIECE_BYTES ((uint64_t)1 << 20) /* of weights that are read at once */

/* ---- one file ---------------------------------------------------------------------------------------------------
 */

/* Reads more and more bytes until the directory is complete. */
static evn_status read_directory(evn_gguf **out, const evn_source *source, const char *path, uint8_t **header,
								 evn_error *err)
{
	const uint64_t size = evn_source_size(source);
	evn_gguf_bytes bytes = {.size = size, .incomplete = true};
	for (uint64_t n = FIRST_BYTES; bytes.incomplete; n *= 2) {
		bytes.available = n < size ? n : size;
		bytes.incomplete = false;
		if (bytes.available > MOST_BYTES)
			return evn_fail(err, EVN_ERR_LIMIT, "%s: more than %" PRIu64 " bytes before the weights", path,
							MOST_BYTES);
		uint8_t *more = realloc(*header, (size_t)bytes.available);
		if (!more)
			return evn_fail_memory(err, path, bytes.available);
		bytes.data = *header = more;
		EVN_TRY(evn_source_read(source, 0, more, (size_t)bytes.available, err));
		const evn_status s = evn_gguf_parse_bytes(out, path, &bytes, err);
		if (s != EVN_OK && !bytes.incomplete)
			return s;
	}
	return EVN_OK;
}

evn_status evn_gguf_open(evn_gguf **out, const char *path, evn_error *err)
{
	evn_source *source;
	uint8_t *header = NULL;
	EVN_TRY(evn_source_open(&source, path, err));
	const evn_status s = read_directory(out, source, path, &header, err);
	if (s != EVN_OK) {
		evn_source_close(source);
		free(header);
		return s;
	}
	evn_gguf *g = *out;
	g->source = source;
	g->header = header;
	for (uint32_t i = 0; i < g->n_tensors; i++) {
		g->tensors[i].data = NULL;
		g->tensors[i].source = source;
	}
	return EVN_OK;
}

uint64_t evn_gguf_size(const evn_gguf *g)
{
	uint64_t size = g->size_bytes;
	for (uint32_t i = 0; i < g->n_parts; i++)
		size += g->parts[i]->size_bytes;
	return size;
}

uint64_t evn_gguf_hash(const evn_gguf *g, uint64_t h)
{
	h = evn_hash(h, &g->size_bytes, sizeof g->size_bytes);
	h = evn_hash(h, g->start, (size_t)g->header_bytes);
	for (uint32_t i = 0; i < g->n_parts; i++)
		h = evn_gguf_hash(g->parts[i], h);
	return h;
}

/* ---- several files ----------------------------------------------------------------------------------------------
 */

evn_status evn_gguf_part(const evn_gguf *g, uint32_t *part, uint32_t *n_parts, evn_error *err)
{
	uint32_t count = 1, no = 0;
	EVN_TRY(evn_gguf_u32(g, "split.count", &count, err));
	EVN_TRY(evn_gguf_u32(g, "split.no", &no, err));
	if (count > UINT16_MAX || no >= (count ? count : 1))
		return evn_fail(err, EVN_ERR_FORMAT, "%s: \"split.no\" is %" PRIu32 " and \"split.count\" %" PRIu32, g->name,
						no, count);
	*part = no + 1;
	*n_parts = count ? count : 1;
	return EVN_OK;
}

/* The path of part i (from 1 on), made from the path of g, which is another part. Parts are named
 * NAME-00001-of-00003.gguf. The path is malloc'd. */
static evn_status path_of(const evn_gguf *g, uint32_t own, uint32_t i, uint32_t n, char **out, evn_error *err)
{
	char ending[48];
	const size_t length = strlen(g->name);
	const size_t n_ending = (size_t)snprintf(ending, sizeof ending, "-%05" PRIu32 "-of-%05" PRIu32 ".gguf", own, n);
	if (length <= n_ending || strcmp(g->name + length - n_ending, ending) != 0)
		return evn_fail(err, EVN_ERR_FORMAT,
						"%s: the file is part %" PRIu32 " of %" PRIu32
						" of a model, and its name does not end with %s, so the other parts cannot be found",
						g->name, own, n, ending);
	*out = evn_format("%.*s-%05" PRIu32 "-of-%05" PRIu32 ".gguf", (int)(length - n_ending), g->name, i, n);
	return *out ? EVN_OK : evn_fail_memory(err, g->name, length);
}

/* Opens part i of n of the model whose first part is g. */
static evn_status open_part(const evn_gguf *g, uint32_t i, uint32_t n, evn_gguf **out, evn_error *err)
{
	char *path;
	uint32_t part, n_parts;
	EVN_TRY(path_of(g, 1, i, n, &path, err));
	evn_status s = evn_gguf_open(out, path, err);
	free(path);
	if (s != EVN_OK) {
		evn_fail_within(err, "part %" PRIu32 " of %" PRIu32, i, n);
		return s;
	}
	s = evn_gguf_part(*out, &part, &n_parts, err);
	if (s == EVN_OK && (part != i || n_parts != n))
		s = evn_fail(err, EVN_ERR_FORMAT,
					 "%s: the file is part %" PRIu32 " of %" PRIu32 ", expected part %" PRIu32 " of %" PRIu32,
					 (*out)->name, part, n_parts, i, n);
	if (s != EVN_OK) {
		evn_gguf_free(*out);
		*out = NULL;
	}
	return s;
}

static evn_status open_parts(const evn_gguf *g, uint32_t n, evn_gguf **parts, evn_error *err)
{
	uint64_t n_tensors = g->n_tensors;
	uint32_t stated = 0;
	for (uint32_t i = 2; i <= n; i++) {
		EVN_TRY(open_part(g, i, n, &parts[i - 2], err));
		n_tensors += parts[i - 2]->n_tensors;
	}
	EVN_TRY(evn_gguf_u32(g, "split.tensors.count", &stated, err));
	if (n_tensors > UINT32_MAX / 2 || (stated && n_tensors != stated))
		return evn_fail(err, EVN_ERR_FORMAT,
						"%s: its %" PRIu32 " parts hold %" PRIu64 " tensors, expected %" PRIu32
						": some belong to another model",
						g->name, n, n_tensors, stated);
	return EVN_OK;
}

/* Collects the tensors of all files, in the order of the parts. */
static evn_status gather(evn_gguf *all, const evn_gguf *g, uint32_t n, evn_error *err)
{
	const evn_tensor *twice;
	uint64_t n_tensors = g->n_tensors;
	for (uint32_t i = 0; i + 1 < n; i++)
		n_tensors += all->parts[i]->n_tensors;
	all->tensors = malloc((n_tensors + 1) * sizeof *all->tensors);
	if (!all->tensors)
		return evn_fail_memory(err, g->name, n_tensors * sizeof *all->tensors);
	for (uint32_t i = 0; i < n; i++) {
		const evn_gguf *from = i ? all->parts[i - 1] : g;
		for (uint32_t k = 0; k < from->n_tensors; k++) {
			evn_tensor *t = &all->tensors[all->n_tensors++];
			*t = from->tensors[k];
			t->part = i;
		}
	}
	EVN_TRY(evn_gguf_index_tensors(all, &twice, err));
	if (!twice)
		return EVN_OK;
	return evn_fail(err, EVN_ERR_FORMAT, "%s: tensor \"%.*s\" is in part %" PRIu32 " and in another one", g->name,
					(int)twice->name.length, twice->name.text, twice->part + 1);
}

/* Joins the parts in `all`, and gives g the joined tables. */
static evn_status join(evn_gguf *all, const evn_gguf *g, uint32_t n, evn_error *err)
{
	all->parts = calloc(n, sizeof(evn_gguf *));
	if (!all->parts)
		return evn_fail_memory(err, g->name, n * sizeof(evn_gguf *));
	all->n_parts = n - 1;
	EVN_TRY(open_parts(g, n, all->parts, err));
	return gather(all, g, n, err);
}

/* Exchanges the tables of g and `all`; g's old ones are then freed with `all`. */
static void take(evn_gguf *g, evn_gguf *all)
{
	evn_tensor *tensors = g->tensors;
	const evn_table tensors_by_name = g->tensors_by_name;
	g->tensors = all->tensors;
	g->tensors_by_name = all->tensors_by_name;
	g->n_tensors = all->n_tensors;
	g->parts = all->parts;
	g->n_parts = all->n_parts;
	all->tensors = tensors;
	all->tensors_by_name = tensors_by_name;
	all->parts = NULL;
	all->n_parts = 0;
}

evn_status evn_gguf_join(evn_gguf *g, evn_error *err)
{
	uint32_t part, n;
	char *first;
	EVN_TRY(evn_gguf_part(g, &part, &n, err));
	if (n == 1)
		return EVN_OK;
	if (part > 1) {
		EVN_TRY(path_of(g, part, 1, n, &first, err));
		const evn_status s =
			evn_fail(err, EVN_ERR_UNSUPPORTED,
					 "%s: the file is part %" PRIu32 " of %" PRIu32 " of a model, open the first: %s", g->name, part,
					 n, first);
		free(first);
		return s;
	}
	evn_gguf *all = calloc(1, sizeof *all);
	if (!all || !(all->name = evn_strdup(g->name))) {
		free(all);
		return evn_fail_memory(err, g->name, sizeof *all);
	}
	const evn_status s = join(all, g, n, err);
	if (s == EVN_OK)
		take(g, all);
	evn_gguf_free(all);
	return s;
}

/* ---- weights ----------------------------------------------------------------------------------------------------
 */

evn_status evn_tensor_bytes(const evn_tensor *t, uint64_t offset, uint64_t n, uint8_t *scratch, const uint8_t **out,
							evn_error *err)
{
	*out = t->data ? t->data + offset : scratch;
	if (t->data)
		return EVN_OK;
	if (t->transposed || t->pair_heads || t->pieces)
		return evn_tensor_reorder(t, offset, n, scratch, err);
	return evn_source_read(t->source, t->offset_bytes + offset, scratch, (size_t)n, err);
}

/* Makes room for n bytes if the tensor is not in memory. */
static evn_status make_scratch(const evn_tensor *t, uint64_t n, uint8_t **out, evn_error *err)
{
	*out = NULL;
	if (t->data)
		return EVN_OK;
	*out = malloc((size_t)n);
	return *out ? EVN_OK : evn_fail_memory(err, "weights", n);
}

evn_status evn_tensor_rows(const evn_tensor *t, uint64_t first, uint64_t n, float *out, evn_error *err)
{
	const uint64_t cols = t->shape[0], row_bytes = cols / t->quant->block_len * t->quant->block_bytes;
	const uint64_t fit = PIECE_BYTES / row_bytes ? PIECE_BYTES / row_bytes : 1, most = n < fit ? n : fit;
	uint8_t *scratch;
	EVN_TRY(make_scratch(t, most * row_bytes, &scratch, err));
	evn_status s = EVN_OK;
	for (uint64_t done = 0; done < n && s == EVN_OK; done += most) {
		const uint64_t rows = n - done < most ? n - done : most;
		const uint8_t *blocks;
		s = evn_tensor_bytes(t, (first + done) * row_bytes, rows * row_bytes, scratch, &blocks, err);
		if (s == EVN_OK)
			evn_dequantize(t->quant, blocks, out + done * cols, rows * cols);
	}
	free(scratch);
	return s;
}

evn_status evn_tensor_hash(const evn_tensor *t, uint64_t n, uint64_t *h, evn_error *err)
{
	const uint64_t all = n < t->size_bytes ? n : t->size_bytes, most = all < PIECE_BYTES ? all : PIECE_BYTES;
	uint8_t *scratch;
	EVN_TRY(make_scratch(t, most, &scratch, err));
	evn_status s = EVN_OK;
	for (uint64_t done = 0; done < all && s == EVN_OK; done += most) {
		const uint64_t bytes = all - done < most ? all - done : most;
		const uint8_t *blocks;
		s = evn_tensor_bytes(t, done, bytes, scratch, &blocks, err);
		if (s == EVN_OK)
			*h = evn_hash(*h, blocks, (size_t)bytes);
	}
	free(scratch);
	return s;
}
