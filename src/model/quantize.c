/* quantize.c - writes a model again in other formats. Threads of the host quantise pieces of a tensor, which are then
 * written in order, so that memory holds a few pieces of any model. */
#include "evener/quantize.h"
#include "model/gguf_write.h"
#include "model/mix.h"

#include <inttypes.h>
#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PIECE_VALUES (1u << 18)
#define PIECES 8u /* of each thread before they are written */
#define MAX_THREADS 256u

/* Rows [first, first + n_rows) of a tensor, quantised by several threads. */
typedef struct {
	const evn_model *model;
	const evn_tensor *tensor;
	const evn_quant *to;
	uint64_t first, n_rows, piece_rows;
	uint8_t *out;
	atomic_uint_fast64_t next; /* row of the next piece */
	pthread_mutex_t lock;      /* guards error */
	evn_error error;           /* the first one */
} batch;

static uint64_t row_bytes(const evn_quant *q, uint64_t columns) { return columns / q->block_len * q->block_bytes; }

static evn_status check_finite(const batch *b, uint64_t row, const float *values, uint64_t n, evn_error *err)
{
	for (uint64_t i = 0; i < n; i++)
		if (!isfinite(values[i]))
			return evn_fail(err, EVN_ERR_FORMAT,
							"%s: tensor \"%.*s\" holds %g in row %" PRIu64 ", which %s cannot express",
							evn_gguf_name(evn_model_gguf(b->model)), (int)b->tensor->name.length,
							b->tensor->name.text, (double)values[i], row + i / b->tensor->shape[0], b->to->name);
	return EVN_OK;
}

static evn_status quantise_pieces(batch *b, float *values, evn_error *err)
{
	const uint64_t columns = b->tensor->shape[0];
	for (;;) {
		const uint64_t at = atomic_fetch_add(&b->next, b->piece_rows);
		if (at >= b->n_rows)
			return EVN_OK;
		const uint64_t n = b->n_rows - at < b->piece_rows ? b->n_rows - at : b->piece_rows;
		EVN_TRY(evn_tensor_rows(b->tensor, b->first + at, n, values, err));
		if (b->to->block_len > 1)
			EVN_TRY(check_finite(b, b->first + at, values, n * columns, err));
		evn_quantize(b->to, values, b->out + at * row_bytes(b->to, columns), n * columns);
	}
}

static void *work(void *user)
{
	batch *b = user;
	evn_error error = {0};
	float *values = malloc((size_t)(b->piece_rows * b->tensor->shape[0]) * sizeof *values);
	if (!values)
		evn_fail_memory(&error, "weights", b->piece_rows * b->tensor->shape[0] * sizeof *values);
	else
		quantise_pieces(b, values, &error);
	free(values);
	if (error.code != EVN_OK) {
		pthread_mutex_lock(&b->lock);
		if (b->error.code == EVN_OK)
			b->error = error;
		pthread_mutex_unlock(&b->lock);
		atomic_store(&b->next, b->n_rows); /* the others stop */
	}
	return NULL;
}

/* The caller works too, so a thread that cannot be started costs time only. */
static evn_status run_batch(batch *b, uint32_t threads, evn_error *err)
{
	pthread_t ids[MAX_THREADS];
	uint32_t n = 0;
	atomic_store(&b->next, 0);
	while (n + 1 < threads && n * b->piece_rows < b->n_rows && pthread_create(&ids[n], NULL, work, b) == 0)
		n++;
	work(b);
	while (n > 0)
		pthread_join(ids[--n], NULL);
	return b->error.code == EVN_OK ? EVN_OK : evn_fail(err, b->error.code, "%s", b->error.text);
}

/* ---- the file ---------------------------------------------------------------------------------------------------
 */

typedef struct {
	const evn_model *m;
	const evn_quantize_options *o;
	const evn_mix *mix;
	evn_new_file *file;
	uint32_t threads;
	uint64_t done, total; /* bytes of the model */
	evn_error *err;
} job;

static evn_status advance(job *j, uint64_t bytes)
{
	j->done += bytes;
	if (!j->o->progress || j->o->progress(j->o->user, "quantizing", j->done, j->total))
		return EVN_OK;
	return evn_fail(j->err, EVN_ERR_CANCELLED, "interrupted");
}

static void write_padding(job *j, uint64_t size)
{
	static const uint8_t zeros[EVN_GGUF_ALIGNMENT];
	evn_new_file_write(j->file, zeros, (size_t)(evn_round_up(size, EVN_GGUF_ALIGNMENT) - size));
}

static evn_status copy_tensor(job *j, const evn_tensor *t)
{
	const uint64_t most = (uint64_t)PIECE_VALUES * sizeof(float);
	uint8_t *scratch = malloc((size_t)most);
	evn_status s = scratch ? EVN_OK : evn_fail_memory(j->err, "weights", most);
	for (uint64_t at = 0; at < t->size_bytes && s == EVN_OK; at += most) {
		const uint64_t n = t->size_bytes - at < most ? t->size_bytes - at : most;
		const uint8_t *bytes;
		s = evn_tensor_bytes(t, at, n, scratch, &bytes, j->err);
		if (s != EVN_OK)
			break;
		evn_new_file_write(j->file, bytes, (size_t)n);
		s = advance(j, n);
	}
	free(scratch);
	return s;
}

static evn_status write_quantised(job *j, batch *b, uint64_t rows)
{
	const uint64_t columns = b->tensor->shape[0], most = b->n_rows;
	for (; b->first < rows; b->first += most) {
		b->n_rows = rows - b->first < most ? rows - b->first : most;
		EVN_TRY(run_batch(b, j->threads, j->err));
		evn_new_file_write(j->file, b->out, (size_t)(b->n_rows * row_bytes(b->to, columns)));
		EVN_TRY(advance(j, b->n_rows * row_bytes(b->tensor->quant, columns)));
	}
	return EVN_OK;
}

static evn_status quantise_tensor(job *j, const evn_tensor *t, const evn_quant *to)
{
	const uint64_t columns = t->shape[0], rows = t->shape[1] * t->shape[2] * t->shape[3];
	batch b = {.model = j->m, .tensor = t, .to = to, .lock = PTHREAD_MUTEX_INITIALIZER};
	b.piece_rows = PIECE_VALUES / columns ? PIECE_VALUES / columns : 1;
	b.n_rows = (uint64_t)j->threads * PIECES * b.piece_rows;
	if (b.n_rows > rows)
		b.n_rows = rows;
	const uint64_t bytes = b.n_rows * row_bytes(to, columns);
	b.out = malloc((size_t)bytes);
	if (!b.out)
		return evn_fail_memory(j->err, "weights", bytes);
	const evn_status s = write_quantised(j, &b, rows);
	free(b.out);
	pthread_mutex_destroy(&b.lock);
	return s;
}

/* Keys that say how the weights are stored; the new file has its own, or needs none. */
static bool is_about_storage(evn_str key)
{
	static const char *const keys[] = {"general.alignment", "general.file_type", "general.quantization_version",
									   "split.no",          "split.count",       "split.tensors.count"};
	for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
		if (evn_str_is(key, keys[i]))
			return true;
	return false;
}

static void put_directory(const job *j, evn_gguf_writer *w)
{
	const evn_gguf *g = evn_model_gguf(j->m);
	for (uint32_t i = 0; i < evn_gguf_n_values(g); i++)
		if (!is_about_storage(evn_gguf_value_at(g, i)->key))
			evn_gguf_put_value(w, evn_gguf_value_at(g, i));
	evn_gguf_put_u32(w, "general.file_type", j->mix->file_type);
	evn_gguf_put_u32(w, "general.quantization_version", 2);
	for (uint32_t i = 0; i < evn_gguf_n_tensors(g); i++) {
		const evn_tensor *t = evn_gguf_tensor_at(g, i);
		char name[72];
		snprintf(name, sizeof name, "%.*s", (int)t->name.length, t->name.text);
		evn_gguf_declare_tensor(w, name, evn_mix_format(j->mix, j->m, t, j->o->pure), t->n_dims, t->shape);
	}
}

static evn_status write_directory(job *j)
{
	evn_gguf_writer *w;
	uint8_t *bytes;
	size_t n;
	EVN_TRY(evn_gguf_writer_create(&w, j->err));
	put_directory(j, w);
	const evn_status s = evn_gguf_finish(w, &bytes, &n, j->err);
	evn_gguf_writer_free(w);
	if (s != EVN_OK)
		return s;
	evn_new_file_write(j->file, bytes, n);
	free(bytes);
	return EVN_OK;
}

static evn_status write_tensors(job *j)
{
	const evn_gguf *g = evn_model_gguf(j->m);
	for (uint32_t i = 0; i < evn_gguf_n_tensors(g); i++) {
		const evn_tensor *t = evn_gguf_tensor_at(g, i);
		const evn_quant *to = evn_mix_format(j->mix, j->m, t, j->o->pure);
		EVN_TRY(to == t->quant ? copy_tensor(j, t) : quantise_tensor(j, t, to));
		write_padding(j, t->shape[1] * t->shape[2] * t->shape[3] * row_bytes(to, t->shape[0]));
	}
	return EVN_OK;
}

static evn_status unknown_type(const char *type, evn_error *err)
{
	char names[256] = "";
	for (size_t i = 0, n = 0; evn_quantize_type(i) && n < sizeof names; i++)
		n += (size_t)snprintf(names + n, sizeof names - n, "%s%s", i ? ", " : "", evn_quantize_type(i));
	return evn_fail(err, EVN_ERR_USAGE, "type \"%.40s\" is not one that evener writes: %s", type, names);
}

/* A file that is not a whole model would give one that is not, either. */
static evn_status check_model(const job *j)
{
	const evn_gguf *g = evn_model_gguf(j->m);
	const char *const *adapters;
	uint32_t part, n_parts;
	if (evn_model_adapters(j->m, &adapters))
		return evn_fail(j->err, EVN_ERR_UNSUPPORTED, "%s: an adapter has been applied, a file would be without it",
						evn_gguf_name(g));
	EVN_TRY(evn_gguf_part(g, &part, &n_parts, j->err));
	if (n_parts > 1 || evn_gguf_n_tensors(g) == 0) {
		const evn_hparams *h;
		EVN_TRY(evn_model_require_hparams(j->m, &h, j->err));
	}
	for (uint32_t i = 0; i < evn_gguf_n_tensors(g); i++)
		if (!evn_mix_format(j->mix, j->m, evn_gguf_tensor_at(g, i), j->o->pure)->encode)
			return evn_fail(j->err, EVN_ERR_UNSUPPORTED, "%s: evener reads %s but does not write it",
							evn_gguf_name(g), j->mix->most);
	return EVN_OK;
}

evn_status evn_quantize_model(const evn_model *m, const char *path, const evn_quantize_options *o, evn_error *err)
{
	const long processors = sysconf(_SC_NPROCESSORS_ONLN);
	job j = {.m = m, .o = o, .mix = evn_mix_find(o->type), .threads = o->threads, .err = err};
	if (!j.mix)
		return unknown_type(o->type, err);
	if (!j.threads)
		j.threads = processors > 0 ? (uint32_t)processors : 1;
	if (j.threads > MAX_THREADS)
		j.threads = MAX_THREADS;
	for (uint32_t i = 0; i < evn_gguf_n_tensors(evn_model_gguf(m)); i++)
		j.total += evn_gguf_tensor_at(evn_model_gguf(m), i)->size_bytes;
	EVN_TRY(check_model(&j));
	EVN_TRY(evn_new_file_open(&j.file, path, err));
	evn_status s = write_directory(&j);
	if (s == EVN_OK)
		s = write_tensors(&j);
	const evn_status closed = evn_new_file_close(j.file, s == EVN_OK, s == EVN_OK ? err : NULL);
	return s == EVN_OK ? closed : s;
}
