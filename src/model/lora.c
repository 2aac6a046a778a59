/* lora.c - applies an adapter of low-rank additions (Hu et al. 2021) to an open model. Each matrix W that it names
 * becomes W + scale alpha / rank B A, in f32. The code that runs the model does not see a difference, so adapters
 * work under any split. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "model/model.h"

#define SUFFIX_A ".lora_a"
#define SUFFIX_B ".lora_b"

typedef struct {
	evn_mapping file;
	evn_gguf *gguf;
	float alpha;
} adapter;

static evn_status need_string(const adapter *a, const char *key, const char *expected, size_t length, evn_error *err)
{
	evn_str found = {"", 0};
	EVN_TRY(evn_gguf_string(a->gguf, key, &found, err));
	if (found.length == length && memcmp(found.text, expected, length) == 0)
		return EVN_OK;
	return evn_fail(err, EVN_ERR_UNSUPPORTED, "%s: \"%s\" is \"%.*s\", an adapter for this model has \"%.*s\"",
					evn_gguf_name(a->gguf), key, (int)(found.length < 40 ? found.length : 40), found.text,
					(int)length, expected);
}

static evn_status open_adapter(adapter *a, const char *path, const evn_model *m, evn_error *err)
{
	const evn_hparams *h;
	EVN_TRY(evn_model_require_hparams(m, &h, err));
	EVN_TRY(evn_map_file(&a->file, path, err));
	EVN_TRY(evn_gguf_parse(&a->gguf, path, a->file.data, a->file.size, err));
	EVN_TRY(need_string(a, "general.type", "adapter", strlen("adapter"), err));
	EVN_TRY(need_string(a, "adapter.type", "lora", strlen("lora"), err));
	EVN_TRY(need_string(a, "general.architecture", h->arch.text, (size_t)h->arch.length, err));
	EVN_TRY(evn_gguf_f32(a->gguf, "adapter.lora.alpha", &a->alpha, err));
	if (evn_gguf_n_tensors(a->gguf) == 0)
		return evn_fail(err, EVN_ERR_FORMAT, "%s: the adapter holds no tensors", path);
	return EVN_OK;
}

/* The length of the name without the suffix; 0 if it does not end so. */
static size_t stem_length(evn_str name, const char *suffix)
{
	size_t n = strlen(suffix);
	bool ends = name.length > n && memcmp(name.text + name.length - n, suffix, n) == 0;
	return ends ? (size_t)name.length - n : 0;
}

typedef struct {
	const evn_tensor *w, *a, *b;
} addition;

static const evn_tensor *find(const evn_gguf *g, evn_str name, size_t stem, const char *suffix)
{
	char *text = evn_format("%.*s%s", (int)stem, name.text, suffix);
	const evn_tensor *t = text ? evn_gguf_find_tensor(g, text) : NULL;
	free(text);
	return t;
}

/* Finds the three matrices that belong to tensor i of the adapter. */
static evn_status match(const adapter *a, const evn_model *m, uint32_t i, addition *out, evn_error *err)
{
	evn_str name = evn_gguf_tensor_at(a->gguf, i)->name;
	size_t stem = stem_length(name, SUFFIX_A);
	if (!stem)
		stem = stem_length(name, SUFFIX_B);
	*out = (addition){find(evn_model_gguf(m), name, stem, ""), find(a->gguf, name, stem, SUFFIX_A),
					  find(a->gguf, name, stem, SUFFIX_B)};
	const char *problem = NULL;
	if (!stem || !out->w || out->w->n_dims != 2)
		problem = "belongs to no matrix of the model";
	else if (!out->a || !out->b)
		problem = "lacks its other half";
	else if (out->a->n_dims != 2 || out->b->n_dims != 2 || out->a->shape[0] != out->w->shape[0] ||
			 out->b->shape[1] != out->w->shape[1] || out->a->shape[1] != out->b->shape[0])
		problem = "does not have the shape that the model's matrix asks for";
	if (!problem)
		return EVN_OK;
	return evn_fail(err, EVN_ERR_FORMAT, "%s: tensor \"%.*s\" %s (%s)", evn_gguf_name(a->gguf),
					(int)(name.length < 80 ? name.length : 80), name.text, problem, evn_gguf_name(evn_model_gguf(m)));
}

/* sum[columns] = row r of W + scale B A. a is (rank, columns); row has room for one row of B. */
static void add_row(const addition *d, uint64_t r, float scale, const float *a, float *row, float *sum)
{
	const uint64_t columns = d->w->shape[0], rank = d->a->shape[1];
	evn_tensor_row(d->w, r, sum);
	evn_tensor_row(d->b, r, row);
	for (uint64_t k = 0; k < rank; k++) {
		const float by = scale * row[k], *from = a + k * columns;
		for (uint64_t c = 0; c < columns; c++)
			sum[c] += by * from[c];
	}
}

static evn_status merge(evn_model *m, const adapter *ad, const addition *d, float scale, evn_error *err)
{
	const uint64_t columns = d->w->shape[0], rows = d->w->shape[1], rank = d->a->shape[1];
	const float by = scale * (ad->alpha != 0 ? ad->alpha / (float)rank : 1);
	float *sum = malloc(rows * columns * sizeof *sum), *a = malloc((rank * columns + rank) * sizeof *a);
	evn_status s = sum && a ? EVN_OK : evn_fail_memory(err, "adapter", (rows + rank) * columns * sizeof *sum);
	for (uint64_t k = 0; k < rank && s == EVN_OK; k++)
		evn_tensor_row(d->a, k, a + k * columns);
	for (uint64_t r = 0; r < rows && s == EVN_OK; r++)
		add_row(d, r, by, a, a + rank * columns, sum + r * columns);
	free(a);
	if (s == EVN_OK)
		s = evn_model_replace(m, d->w, sum, err);
	if (s != EVN_OK)
		free(sum);
	return s;
}

static evn_status apply(adapter *a, evn_model *m, const char *path, float scale, evn_error *err)
{
	addition d;
	EVN_TRY(open_adapter(a, path, m, err));
	for (uint32_t i = 0; i < evn_gguf_n_tensors(a->gguf); i++) /* check all, before the first is changed */
		EVN_TRY(match(a, m, i, &d, err));
	EVN_TRY(evn_model_note_adapter(
		m, path, evn_hash(EVN_HASH_START, a->file.data, (size_t)evn_gguf_header_bytes(a->gguf)), err));
	for (uint32_t i = 0; i < evn_gguf_n_tensors(a->gguf); i++) {
		if (!stem_length(evn_gguf_tensor_at(a->gguf, i)->name, SUFFIX_A))
			continue;
		EVN_TRY(match(a, m, i, &d, err));
		EVN_TRY(merge(m, a, &d, scale, err));
	}
	return EVN_OK;
}

evn_status evn_model_apply_adapter(evn_model *m, const char *path, double scale, evn_error *err)
{
	adapter a = {0};
	if (!isfinite(scale))
		return evn_fail(err, EVN_ERR_USAGE, "%s: scale %g is not a number", path, scale);
	evn_status s = apply(&a, m, path, (float)scale, err);
	evn_gguf_free(a.gguf);
	evn_unmap_file(&a.file);
	return s;
}

evn_status evn_model_open_adapted(evn_model **out, const evn_model_files *files, evn_error *err)
{
	EVN_TRY(evn_model_open(out, files->path, err));
	for (uint32_t i = 0; i < files->n_adapters; i++)
		EVN_TRY(evn_model_apply_adapter(*out, files->adapters[i], 1, err));
	return EVN_OK;
}
