#include "engine/head.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model/gguf_write.h"

#define MADE_FOR "evener.head.made_for" /* names of keys in a file of its own */

evn_status evn_head_create(evn_classifier **out, const evn_model *m, uint32_t n, evn_error *err)
{
	evn_classifier *c = *out = calloc(1, sizeof *c);
	if (!c)
		return evn_fail_memory(err, "classes", sizeof *c);
	c->model = m;
	c->dim = evn_model_hparams(m)->dim;
	c->n = n;
	c->weights = calloc((size_t)n * c->dim, sizeof *c->weights);
	c->bias = calloc(n, sizeof *c->bias);
	c->labels = calloc(n, sizeof *c->labels);
	return c->weights && c->bias && c->labels ? EVN_OK : evn_fail_memory(err, "classes", (uint64_t)n * c->dim * 4);
}

void evn_classifier_free(evn_classifier *c)
{
	if (!c)
		return;
	for (uint32_t i = 0; i < c->n && c->labels; i++)
		free(c->labels[i]);
	free(c->labels);
	free(c->dense);
	free(c->dense_bias);
	free(c->weights);
	free(c->bias);
	free(c);
}

uint32_t evn_classifier_count(const evn_classifier *c) { return c->n; }
bool evn_classifier_exclusive(const evn_classifier *c) { return c->n > 1 && !c->multi_label; }
const char *evn_classifier_label(const evn_classifier *c, uint32_t i) { return c->labels[i]; }

/* ---- arithmetic ------------------------------------------------------------------------------------------------ */

static double row(const float *weights, const double *x, uint32_t n)
{
	double sum = 0;
	for (uint32_t i = 0; i < n; i++)
		sum += (double)weights[i] * x[i];
	return sum;
}

void evn_head_logits(const evn_classifier *c, const float *vector, double *scratch, double *logits)
{
	double *x = scratch, *in = scratch + c->dim;
	for (uint32_t i = 0; i < c->dim; i++)
		in[i] = x[i] = (double)vector[i];
	for (uint32_t i = 0; i < c->dim && c->dense; i++)
		x[i] = tanh(row(c->dense + (size_t)i * c->dim, in, c->dim) + (double)c->dense_bias[i]);
	for (uint32_t i = 0; i < c->n; i++)
		logits[i] = row(c->weights + (size_t)i * c->dim, x, c->dim) + (double)c->bias[i];
}

void evn_head_softmax(double *p, uint32_t n)
{
	double most = p[0], sum = 0;
	for (uint32_t i = 1; i < n; i++)
		most = fmax(most, p[i]);
	for (uint32_t i = 0; i < n; i++)
		sum += p[i] = exp(p[i] - most);
	for (uint32_t i = 0; i < n; i++)
		p[i] /= sum;
}

void evn_head_probabilities(const evn_classifier *c, double *p)
{
	if (evn_classifier_exclusive(c)) {
		evn_head_softmax(p, c->n);
		return;
	}
	for (uint32_t i = 0; i < c->n; i++)
		p[i] = 1 / (1 + exp(-p[i]));
}

uint32_t evn_head_likeliest(const double *p, uint32_t n)
{
	uint32_t best = 0;
	for (uint32_t i = 1; i < n; i++)
		best = p[i] > p[best] ? i : best;
	return best;
}

/* ---- files ----------------------------------------------------------------------------------------------------- */

static evn_status wrong_shape(const evn_gguf *g, const evn_tensor *t, uint64_t rows, uint64_t cols, evn_error *err)
{
	return evn_fail(err, EVN_ERR_FORMAT, "%s: \"%.*s\" has %llu rows of %llu, expected %llu of %llu",
					evn_gguf_name(g), (int)t->name.length, t->name.text, (unsigned long long)t->shape[1],
					(unsigned long long)t->shape[0], (unsigned long long)rows, (unsigned long long)cols);
}

/* (rows, cols) of a tensor that must be there, unless it is a bias: that is 0 then. */
static evn_status read(float *out, const evn_gguf *g, const char *name, uint64_t rows, uint64_t cols, bool bias,
					   evn_error *err)
{
	const evn_tensor *t = evn_gguf_find_tensor(g, name);
	if (!t && bias)
		return EVN_OK;
	if (!t)
		return evn_fail(err, EVN_ERR_FORMAT, "%s: no tensor \"%s\"", evn_gguf_name(g), name);
	if (t->shape[0] != cols || t->shape[1] != rows || t->shape[2] != 1 || t->shape[3] != 1)
		return wrong_shape(g, t, rows, cols, err);
	EVN_TRY(evn_tensor_rows(t, 0, rows, out, err));
	for (uint64_t i = 0; i < rows * cols; i++)
		if (!isfinite(out[i]))
			return evn_fail(err, EVN_ERR_FORMAT, "%s: \"%s\" has entries that are not numbers", evn_gguf_name(g),
							name);
	return EVN_OK;
}

static evn_status read_dense(evn_classifier *c, const evn_gguf *g, evn_error *err)
{
	if (!evn_gguf_find_tensor(g, "cls.weight"))
		return EVN_OK;
	c->dense = malloc((size_t)c->dim * c->dim * sizeof *c->dense);
	c->dense_bias = calloc(c->dim, sizeof *c->dense_bias);
	if (!c->dense || !c->dense_bias)
		return evn_fail_memory(err, "classes", (uint64_t)c->dim * c->dim * sizeof *c->dense);
	EVN_TRY(read(c->dense, g, "cls.weight", c->dim, c->dim, false, err));
	return read(c->dense_bias, g, "cls.bias", 1, c->dim, true, err);
}

static evn_str arch_of(const evn_model *m) { return evn_model_hparams(m)->arch; }

static void key_of(const evn_model *m, const char *suffix, char out[96])
{
	snprintf(out, 96, "%.*s.%s", (int)arch_of(m).length, arch_of(m).text, suffix);
}

/* Classes without names are called by their numbers. */
static evn_status read_labels(evn_classifier *c, const evn_gguf *g, evn_error *err)
{
	char key[96];
	const evn_gguf_value *names = NULL;
	key_of(c->model, "classifier.output_labels", key);
	EVN_TRY(evn_gguf_array(g, key, EVN_GGUF_STRING, &names, err));
	if (names && names->count != c->n)
		return evn_fail(err, EVN_ERR_FORMAT, "%s: \"%s\" has %llu names, expected one for each of %u classes",
						evn_gguf_name(g), key, (unsigned long long)names->count, c->n);
	for (uint32_t i = 0; i < c->n; i++) {
		c->labels[i] =
			names ? evn_format("%.*s", (int)names->strings[i].length, names->strings[i].text) : evn_format("%u", i);
		if (!c->labels[i])
			return evn_fail_memory(err, "classes", 0);
	}
	return EVN_OK;
}

static evn_status read_head(evn_classifier **out, const evn_model *m, const evn_gguf *g, evn_error *err)
{
	const evn_tensor *last = evn_gguf_find_tensor(g, "cls.output.weight");
	if (!last)
		return evn_fail(err, EVN_ERR_UNSUPPORTED,
						"%s: the model has no head for classes (no tensor \"cls.output.weight\"); `evener classify "
						"--learn` makes one from labelled texts",
						evn_gguf_name(g));
	if (last->shape[1] < 1 || last->shape[1] > EVN_MOST_CLASSES)
		return evn_fail(err, EVN_ERR_LIMIT, "%s: %llu classes, expected 1 to %u", evn_gguf_name(g),
						(unsigned long long)last->shape[1], EVN_MOST_CLASSES);
	EVN_TRY(evn_head_create(out, m, (uint32_t)last->shape[1], err));
	evn_classifier *c = *out;
	EVN_TRY(read(c->weights, g, "cls.output.weight", c->n, c->dim, false, err));
	EVN_TRY(read(c->bias, g, "cls.output.bias", 1, c->n, true, err));
	EVN_TRY(read_dense(c, g, err));
	char key[96];
	key_of(m, "classifier.multi_label", key);
	EVN_TRY(evn_gguf_bool(g, key, &c->multi_label, err));
	return read_labels(c, g, err);
}

/* What a head was learned on, as far as it can be told from a file in another format. */
static void describe_model(const evn_model *m, char out[128])
{
	const evn_hparams *h = evn_model_hparams(m);
	snprintf(out, 128, "%.*s of %u blocks of %u, %u tokens", (int)h->arch.length, h->arch.text, h->n_layers, h->dim,
			 h->vocab);
}

static evn_status read_own_file(evn_classifier **out, const evn_model *m, const char *path, evn_error *err)
{
	evn_gguf *g = NULL;
	evn_str made_for = {0};
	char expected[128], key[96];
	uint32_t pooling = EVN_POOL_AUTO;
	describe_model(m, expected);
	key_of(m, "pooling_type", key);
	EVN_TRY(evn_gguf_open(&g, path, err));
	evn_status s = evn_gguf_string(g, MADE_FOR, &made_for, err);
	if (s == EVN_OK && !evn_str_is(made_for, expected))
		s = evn_fail(err, EVN_ERR_FORMAT, "%s: the head was learned on %.*s, the model is %s", path,
					 made_for.text ? (int)made_for.length : 7, made_for.text ? made_for.text : "nothing", expected);
	if (s == EVN_OK)
		s = evn_gguf_u32(g, key, &pooling, err);
	if (s == EVN_OK && pooling > EVN_POOL_LAST)
		s = evn_fail(err, EVN_ERR_FORMAT, "%s: \"%s\" is %u, expected 0 to 3", path, key, pooling);
	if (s == EVN_OK)
		s = read_head(out, m, g, err);
	if (s == EVN_OK)
		(*out)->pooling = (evn_pooling)pooling;
	evn_gguf_free(g);
	return s;
}

evn_status evn_classifier_open(evn_classifier **out, const evn_model *m, const char *path, evn_error *err)
{
	const evn_hparams *h;
	*out = NULL;
	EVN_TRY(evn_model_require_hparams(m, &h, err));
	evn_status s = path ? read_own_file(out, m, path, err) : read_head(out, m, evn_model_gguf(m), err);
	if (s == EVN_OK) {
		(*out)->of_model = !path;
		return EVN_OK;
	}
	evn_classifier_free(*out);
	*out = NULL;
	return s;
}

evn_status evn_classifier_save(const evn_classifier *c, const char *path, evn_error *err)
{
	evn_gguf_writer *w = NULL;
	char made_for[128], key[96], arch[64];
	uint8_t *bytes = NULL;
	size_t size = 0;
	evn_str *names = calloc(c->n, sizeof *names);
	if (!names)
		return evn_fail_memory(err, "classes", c->n * sizeof *names);
	for (uint32_t i = 0; i < c->n; i++)
		names[i] = (evn_str){c->labels[i], strlen(c->labels[i])};
	describe_model(c->model, made_for);
	snprintf(arch, sizeof arch, "%.*s", (int)arch_of(c->model).length, arch_of(c->model).text);
	evn_status s = evn_gguf_writer_create(&w, err);
	if (s == EVN_OK) {
		const evn_quant *f32 = evn_quant_by_name("F32");
		evn_gguf_put_string(w, "general.architecture", arch);
		evn_gguf_put_string(w, MADE_FOR, made_for);
		key_of(c->model, "pooling_type", key);
		evn_gguf_put_u32(w, key, c->pooling);
		key_of(c->model, "classifier.output_labels", key);
		evn_gguf_put_strings(w, key, names, c->n);
		evn_gguf_put_tensor(w, "cls.output.weight", f32, 2, (uint64_t[]){c->dim, c->n}, c->weights);
		evn_gguf_put_tensor(w, "cls.output.bias", f32, 1, (uint64_t[]){c->n}, c->bias);
		s = evn_gguf_finish(w, &bytes, &size, err);
	}
	if (s == EVN_OK)
		s = evn_write_file(path, bytes, size, err);
	free(bytes);
	free(names);
	evn_gguf_writer_free(w);
	return s;
}
