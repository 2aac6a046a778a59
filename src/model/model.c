/* model.c - an open model: the file or files, what was parsed from them, and C strings of names for callers. */
#include "model/model.h"
#include "model/checkpoint.h"
#include "evener/inspect.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct evn_model {
	uint8_t *memory; /* the whole file; NULL if it is on disk */
	size_t memory_bytes;
	evn_gguf *gguf;
	char *strings; /* all names below, NUL-terminated, one after the other */
	const char **keys, **tensor_names;
	const char *arch, *name;
	evn_hparams hparams;
	evn_error hparams_error; /* why there are none; code EVN_OK if there are */
	pthread_mutex_t lock;    /* guards tokenizer */
	evn_tokenizer *tokenizer;
	evn_tensor *head; /* the original embedding, if it is the output matrix too and has been replaced */
	float **replaced; /* (n_replaced) weights that replace those of the file */
	size_t n_replaced;
	char *adapters[EVN_MAX_ADAPTERS]; /* files */
	uint32_t n_adapters;
	uint64_t adapters_hash;
};

static const char *copy_string(char **at, evn_str s)
{
	char *copy = *at;
	memcpy(copy, s.text, (size_t)s.length);
	copy[s.length] = '\0';
	*at += s.length + 1;
	return copy;
}

/* The string of a key. It has no bytes if the key is absent or of another type. */
static evn_str optional_string(const evn_gguf *g, const char *key)
{
	evn_str s = {"", 0};
	evn_gguf_string(g, key, &s, NULL);
	return s;
}

static evn_status copy_names(evn_model *m, evn_error *err)
{
	const evn_gguf *g = m->gguf;
	const uint32_t n_values = evn_gguf_n_values(g), n_tensors = evn_gguf_n_tensors(g);
	evn_str arch = optional_string(g, "general.architecture"), name = optional_string(g, "general.name");
	uint64_t bytes = arch.length + 1 + name.length + 1; /* all of this is in the file, so it cannot overflow */
	for (uint32_t i = 0; i < n_values; i++)
		bytes += evn_gguf_value_at(g, i)->key.length + 1;
	for (uint32_t i = 0; i < n_tensors; i++)
		bytes += evn_gguf_tensor_at(g, i)->name.length + 1;
	char *at = m->strings = malloc((size_t)bytes);
	m->keys = malloc((n_values + 1u) * sizeof *m->keys);
	m->tensor_names = malloc((n_tensors + 1u) * sizeof *m->tensor_names);
	if (!at || !m->keys || !m->tensor_names)
		return evn_fail_memory(err, evn_gguf_name(g), bytes);
	m->arch = arch.length ? copy_string(&at, arch) : NULL;
	m->name = name.length ? copy_string(&at, name) : NULL;
	for (uint32_t i = 0; i < n_values; i++)
		m->keys[i] = copy_string(&at, evn_gguf_value_at(g, i)->key);
	for (uint32_t i = 0; i < n_tensors; i++)
		m->tensor_names[i] = copy_string(&at, evn_gguf_tensor_at(g, i)->name);
	return EVN_OK;
}

/* Opens the file called name if data is NULL. */
static evn_status open_model(evn_model **out, const char *name, uint8_t *data, size_t size, evn_error *err)
{
	evn_model *m = calloc(1, sizeof *m);
	if (!m) {
		free(data);
		return evn_fail_memory(err, name, sizeof *m);
	}
	pthread_mutex_init(&m->lock, NULL);
	m->memory = data;
	m->memory_bytes = size;
	evn_status s = data                  ? evn_gguf_parse(&m->gguf, name, data, size, err)
				   : evn_is_folder(name) ? evn_checkpoint_open(&m->gguf, name, err)
										 : evn_gguf_open(&m->gguf, name, err);
	/* Errors from here on are reported when the hyper-parameters are needed. */
	if (s == EVN_OK && evn_gguf_join(m->gguf, &m->hparams_error) == EVN_OK)
		evn_hparams_read(&m->hparams, m->gguf, &m->hparams_error);
	if (s == EVN_OK)
		s = copy_names(m, err);
	if (s != EVN_OK) {
		evn_model_close(m);
		return s;
	}
	*out = m;
	return EVN_OK;
}

evn_status evn_model_open(evn_model **out, const char *path, evn_error *err)
{
	return open_model(out, path, NULL, 0, err);
}

evn_status evn_model_from_memory(evn_model **out, const char *name, uint8_t *data, size_t size, evn_error *err)
{
	return open_model(out, name, data, size, err);
}

const char *evn_model_path(const evn_model *m) { return m->memory ? NULL : evn_gguf_name(m->gguf); }

uint32_t evn_model_adapters(const evn_model *m, const char *const **paths)
{
	*paths = (const char *const *)m->adapters;
	return m->n_adapters;
}

evn_status evn_model_note_adapter(evn_model *m, const char *path, uint64_t hash, evn_error *err)
{
	if (m->n_adapters == EVN_MAX_ADAPTERS)
		return evn_fail(err, EVN_ERR_LIMIT, "%s: %s has %d adapters already, which is the most", path,
						evn_gguf_name(m->gguf), EVN_MAX_ADAPTERS);
	char *copy = evn_strdup(path);
	if (!copy)
		return evn_fail_memory(err, path, strlen(path));
	m->adapters[m->n_adapters++] = copy;
	m->adapters_hash = evn_hash(m->adapters_hash, &hash, sizeof hash);
	return EVN_OK;
}

evn_status evn_model_save(const evn_model *m, const char *path, evn_error *err)
{
	if (m->n_adapters)
		return evn_fail(err, EVN_ERR_UNSUPPORTED, "%s: an adapter has been applied to %s, a file would be without it",
						path, evn_gguf_name(m->gguf));
	if (!m->memory)
		return evn_fail(err, EVN_ERR_UNSUPPORTED, "%s: the model is a file already: %s", path,
						evn_gguf_name(m->gguf));
	return evn_write_file(path, m->memory, m->memory_bytes, err);
}

evn_status evn_model_replace(evn_model *m, const evn_tensor *t, float *values, evn_error *err)
{
	float **more = realloc(m->replaced, (m->n_replaced + 1) * sizeof *more);
	if (!more)
		return evn_fail_memory(err, evn_gguf_name(m->gguf), (m->n_replaced + 1) * sizeof *more);
	m->replaced = more;
	m->replaced[m->n_replaced++] = values;
	evn_gguf_replace(m->gguf, t, values);
	return EVN_OK;
}

evn_status evn_model_untie(evn_model *m, evn_error *err)
{
	if (m->head || evn_model_find(m, "output.weight"))
		return EVN_OK;
	m->head = malloc(sizeof *m->head);
	if (!m->head)
		return evn_fail_memory(err, evn_gguf_name(m->gguf), sizeof *m->head);
	*m->head = *evn_model_find(m, "token_embd.weight");
	return EVN_OK;
}

const evn_tensor *evn_model_head(const evn_model *m)
{
	const evn_tensor *own = evn_model_find(m, "output.weight");
	const evn_tensor *tokens = own ? own : m->head ? m->head : evn_model_find(m, "token_embd.weight");
	return tokens ? tokens : evn_model_find(m, EVN_PLACES); /* nothing reads such a head */
}

void evn_model_close(evn_model *m)
{
	if (!m)
		return;
	for (size_t i = 0; i < m->n_replaced; i++)
		free(m->replaced[i]);
	free(m->replaced);
	free(m->head);
	for (uint32_t i = 0; i < m->n_adapters; i++)
		free(m->adapters[i]);
	evn_tokenizer_free(m->tokenizer);
	evn_hparams_clear(&m->hparams);
	pthread_mutex_destroy(&m->lock);
	free(m->keys);
	free(m->tensor_names);
	free(m->strings);
	evn_gguf_free(m->gguf);
	free(m->memory);
	free(m);
}

evn_model_info evn_model_get_info(const evn_model *m)
{
	const evn_hparams *h = &m->hparams;
	uint32_t part = 1, n_parts = 1;
	evn_gguf_part(m->gguf, &part, &n_parts, NULL);
	evn_model_info info = {
		.arch = m->arch,
		.name = m->name,
		.n_layers = h->n_layers,
		.dim = h->dim,
		.ff_dim = h->ff_dim,
		.n_heads = h->n_heads,
		.n_kv_heads = h->n_kv_heads,
		.head_dim = h->head_dim,
		.vocab = h->vocab,
		.n_ctx_train = h->n_ctx_train,
		.file_bytes = evn_gguf_size(m->gguf),
		.part = part,
		.n_parts = n_parts,
		.gguf_version = evn_gguf_version(m->gguf),
		.n_tensors = evn_gguf_n_tensors(m->gguf),
		.n_metadata = evn_gguf_n_values(m->gguf),
	};
	for (uint32_t i = 0; i < info.n_tensors; i++) { /* tensors do not overlap, so the files bound the sums */
		const evn_tensor *t = evn_gguf_tensor_at(m->gguf, i);
		info.n_params += t->shape[0] * t->shape[1] * t->shape[2] * t->shape[3];
		info.tensor_bytes += t->size_bytes;
	}
	return info;
}

evn_tensor_info evn_model_tensor(const evn_model *m, uint32_t i)
{
	const evn_tensor *t = evn_gguf_tensor_at(m->gguf, i);
	evn_tensor_info info = {0};
	if (!t)
		return info;
	info.name = m->tensor_names[i];
	info.type = t->quant->name;
	info.n_dims = t->n_dims;
	memcpy(info.shape, t->shape, sizeof info.shape);
	info.part = t->part + 1;
	info.offset_bytes = t->offset_bytes;
	info.size_bytes = t->size_bytes;
	return info;
}

void evn_model_metadata(const evn_model *m, uint32_t i, const char **key, const char **type, char *value,
						size_t value_size)
{
	const evn_gguf_value *v = evn_gguf_value_at(m->gguf, i);
	*key = v ? m->keys[i] : NULL;
	*type = v ? evn_gguf_value_type(v) : NULL;
	if (v)
		evn_gguf_describe(v, value, value_size);
}

const evn_hparams *evn_model_hparams(const evn_model *m)
{
	return m->hparams_error.code == EVN_OK ? &m->hparams : NULL;
}

evn_status evn_model_require_hparams(const evn_model *m, const evn_hparams **out, evn_error *err)
{
	if (m->hparams_error.code != EVN_OK)
		return evn_fail(err, m->hparams_error.code, "%s", m->hparams_error.text);
	*out = &m->hparams;
	return EVN_OK;
}

const evn_tokenizer *evn_model_tokenizer(const evn_model *m, evn_error *err)
{
	evn_model *owner = (evn_model *)(uintptr_t)m; /* this is a cache: callers see the same model before and after */
	pthread_mutex_lock(&owner->lock);
	if (!owner->tokenizer && evn_tokenizer_create(&owner->tokenizer, m->gguf, err) != EVN_OK)
		owner->tokenizer = NULL;
	const evn_tokenizer *t = owner->tokenizer;
	pthread_mutex_unlock(&owner->lock);
	return t;
}

const evn_gguf *evn_model_gguf(const evn_model *m) { return m->gguf; }

const evn_tensor *evn_model_find(const evn_model *m, const char *name) { return evn_gguf_find_tensor(m->gguf, name); }

static evn_status fail_missing(const evn_model *m, const char *name, evn_error *err)
{
	return evn_fail(err, EVN_ERR_FORMAT, "%s: tensor \"%s\" is missing", evn_gguf_name(m->gguf), name);
}

evn_status evn_model_get(const evn_model *m, const char *name, const evn_tensor **out, evn_error *err)
{
	*out = evn_model_find(m, name);
	return *out ? EVN_OK : fail_missing(m, name, err);
}

static evn_status check_stack(const evn_model *m, const evn_tensor *t, const uint64_t shape[3], evn_error *err)
{
	if (t->shape[0] == shape[0] && t->shape[1] == shape[1] && t->shape[2] == shape[2] && t->shape[3] == 1)
		return EVN_OK;
	char matrices[32] = "";
	if (shape[2] > 1)
		snprintf(matrices, sizeof matrices, ", %" PRIu64, shape[2]);
	return evn_fail(err, EVN_ERR_FORMAT,
					"%s: tensor \"%.*s\" is [%" PRIu64 ", %" PRIu64 ", %" PRIu64 ", %" PRIu64 "], expected [%" PRIu64
					", %" PRIu64 "%s]",
					evn_gguf_name(m->gguf), (int)t->name.length, t->name.text, t->shape[0], t->shape[1], t->shape[2],
					t->shape[3], shape[0], shape[1], matrices);
}

evn_status evn_model_check_shape(const evn_model *m, const evn_tensor *t, uint64_t cols, uint64_t rows,
								 evn_error *err)
{
	return check_stack(m, t, (uint64_t[]){cols, rows ? rows : 1, 1}, err);
}

evn_status evn_model_need_stack(const evn_model *m, const char *name, const uint64_t shape[3], const evn_tensor **out,
								evn_error *err)
{
	*out = evn_model_find(m, name);
	return *out ? check_stack(m, *out, shape, err) : fail_missing(m, name, err);
}

evn_status evn_model_need(const evn_model *m, const char *name, uint64_t cols, uint64_t rows, const evn_tensor **out,
						  evn_error *err)
{
	*out = evn_model_find(m, name);
	return *out ? evn_model_check_shape(m, *out, cols, rows, err) : fail_missing(m, name, err);
}

evn_status evn_model_identity(const evn_model *m, uint64_t *key, evn_error *err)
{
	*key = evn_gguf_hash(m->gguf, EVN_HASH_START);
	if (m->n_adapters)
		*key = evn_hash(*key, &m->adapters_hash, sizeof m->adapters_hash);
	for (uint32_t i = 0; i < evn_gguf_n_tensors(m->gguf); i++)
		EVN_TRY(evn_tensor_hash(evn_gguf_tensor_at(m->gguf, i), EVN_SAMPLE_BYTES, key, err));
	return EVN_OK;
}
