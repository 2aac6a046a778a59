/* lora.c - applies an adapter of low-rank additions (Hu et al. 2021) to an open model. Each matrix W that it names
 * becomes W + scale alpha / rank B A, in f32. The code that runs the model does not see a difference, so adapters
 * work under any split. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "model/model.h"

#define SUFFIX_A ".lora_a"
#define SUFFIX_B ".lora_b"

#define EMBEDDING "token_embd.weight"

typedef struct {
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
	EVN_TRY(evn_gguf_open(&a->gguf, path, err));
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

/* W (rows, columns) += scale left right. The usual B is left (rows, rank) and A right (rank, columns). An embedding
 * is looked up, not multiplied: llama.cpp keeps its A as left (rows, rank) and its B as right transposed (columns,
 * rank). */
typedef struct {
	const evn_tensor *w, *left, *right;
	bool of_embedding;
} addition;

static const evn_tensor *find(const evn_gguf *g, evn_str name, size_t stem, const char *suffix)
{
	char *text = evn_format("%.*s%s", (int)stem, name.text, suffix);
	const evn_tensor *t = text ? evn_gguf_find_tensor(g, text) : NULL;
	free(text);
	return t;
}

static uint64_t rank_of(const addition *d) { return d->left->shape[0]; }

static bool has_shape(const evn_tensor *t, uint64_t columns, uint64_t rows)
{
	return t->n_dims == 2 && t->shape[0] == columns && t->shape[1] == rows;
}

static bool fits(const addition *d)
{
	const uint64_t columns = d->w->shape[0], rows = d->w->shape[1], rank = rank_of(d);
	return d->w->shape[2] == 1 && has_shape(d->left, rank, rows) &&
		   (d->of_embedding ? has_shape(d->right, rank, columns) : has_shape(d->right, columns, rank));
}

/* Finds the three matrices that belong to tensor i of the adapter. */
static evn_status match(const adapter *a, const evn_model *m, uint32_t i, addition *out, evn_error *err)
{
	const evn_str name = evn_gguf_tensor_at(a->gguf, i)->name;
	const evn_gguf *of = evn_model_gguf(m);
	size_t stem = stem_length(name, SUFFIX_A);
	if (!stem)
		stem = stem_length(name, SUFFIX_B);
	const bool of_embedding = stem == strlen(EMBEDDING) && !memcmp(name.text, EMBEDDING, stem);
	const evn_tensor *half_a = find(a->gguf, name, stem, SUFFIX_A), *half_b = find(a->gguf, name, stem, SUFFIX_B);
	*out = (addition){.w = find(of, name, stem ? stem : (size_t)name.length, ""),
					  .left = of_embedding ? half_a : half_b,
					  .right = of_embedding ? half_b : half_a,
					  .of_embedding = of_embedding};
	const char *problem = NULL;
	if (!stem)
		problem = out->w ? "would replace a tensor of the model, expected low-rank additions to matrices"
						 : "is no half of a low-rank addition (" SUFFIX_A ", " SUFFIX_B ")";
	else if (!out->w)
		problem = "belongs to no tensor of the model";
	else if (out->w->n_dims != 2)
		problem = "belongs to a norm or another vector of the model, expected a matrix";
	else if (!half_a || !half_b)
		problem = "lacks its other half";
	else if (!fits(out))
		problem = "does not have the shape that the model's matrix asks for";
	if (!problem)
		return EVN_OK;
	return evn_fail(err, EVN_ERR_FORMAT, "%s: tensor \"%.*s\" %s (%s)", evn_gguf_name(a->gguf),
					(int)(name.length < 80 ? name.length : 80), name.text, problem, evn_gguf_name(of));
}

/* sum (rows, columns) += by left right */
static void add_product(const addition *d, float by, const float *left, const float *right, float *sum)
{
	const uint64_t columns = d->w->shape[0], rows = d->w->shape[1], rank = rank_of(d);
	for (uint64_t r = 0; r < rows; r++, sum += columns, left += rank)
		for (uint64_t k = 0; k < rank; k++) {
			const float scaled = by * left[k], *from = right + k * columns;
			for (uint64_t c = 0; c < columns; c++)
				sum[c] += scaled * from[c];
		}
}

static evn_status read_right(const addition *d, float *out, evn_error *err)
{
	const uint64_t columns = d->w->shape[0], rank = rank_of(d);
	if (!d->of_embedding)
		return evn_tensor_rows(d->right, 0, rank, out, err);
	float *transposed = malloc(rank * columns * sizeof *transposed);
	if (!transposed)
		return evn_fail_memory(err, "adapter", rank * columns * sizeof *transposed);
	const evn_status s = evn_tensor_rows(d->right, 0, columns, transposed, err);
	for (uint64_t k = 0; k < rank && s == EVN_OK; k++)
		for (uint64_t c = 0; c < columns; c++)
			out[k * columns + c] = transposed[c * rank + k];
	free(transposed);
	return s;
}

static evn_status merge(evn_model *m, const adapter *ad, const addition *d, float scale, evn_error *err)
{
	const uint64_t columns = d->w->shape[0], rows = d->w->shape[1], rank = rank_of(d);
	const float by = scale * (ad->alpha != 0 ? ad->alpha / (float)rank : 1);
	float *sum = malloc(rows * columns * sizeof *sum), *halves = malloc((rows + columns) * rank * sizeof *halves);
	evn_status s =
		sum && halves ? EVN_OK : evn_fail_memory(err, "adapter", (rows * columns + (rows + columns) * rank) * 4);
	if (s == EVN_OK)
		s = evn_tensor_rows(d->w, 0, rows, sum, err);
	if (s == EVN_OK)
		s = evn_tensor_rows(d->left, 0, rows, halves, err);
	if (s == EVN_OK)
		s = read_right(d, halves + rows * rank, err);
	if (s == EVN_OK)
		add_product(d, by, halves, halves + rows * rank, sum);
	free(halves);
	if (s == EVN_OK && d->of_embedding)
		s = evn_model_untie(m, err);
	if (s == EVN_OK)
		s = evn_model_replace(m, d->w, sum, err);
	if (s != EVN_OK)
		free(sum);
	return s;
}

/* A hash of what the adapter does to a model. Adapters that were trained alike have equal headers, so the weights
 * count too: a part of each tensor. */
static evn_status hash_adapter(const adapter *a, float scale, uint64_t *hash, evn_error *err)
{
	*hash = evn_hash(evn_gguf_hash(a->gguf, EVN_HASH_START), &scale, sizeof scale);
	for (uint32_t i = 0; i < evn_gguf_n_tensors(a->gguf); i++)
		EVN_TRY(evn_tensor_hash(evn_gguf_tensor_at(a->gguf, i), EVN_SAMPLE_BYTES, hash, err));
	return EVN_OK;
}

static evn_status apply(adapter *a, evn_model *m, const char *path, float scale, evn_error *err)
{
	addition d;
	uint64_t hash;
	EVN_TRY(open_adapter(a, path, m, err));
	for (uint32_t i = 0; i < evn_gguf_n_tensors(a->gguf); i++) /* check all, before the first is changed */
		EVN_TRY(match(a, m, i, &d, err));
	EVN_TRY(hash_adapter(a, scale, &hash, err));
	EVN_TRY(evn_model_note_adapter(m, path, hash, err));
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
	return s;
}

evn_status evn_model_open_adapted(evn_model **out, const evn_model_files *files, evn_error *err)
{
	EVN_TRY(evn_model_open(out, files->path, err));
	for (uint32_t i = 0; i < files->n_adapters; i++)
		EVN_TRY(evn_model_apply_adapter(*out, files->adapters[i], 1, err));
	return EVN_OK;
}
