/* checkpoint.c - see checkpoint.h. */
#include "train/checkpoint.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model/gguf_write.h"

#define STEP_KEY "train.step"
#define SEED_KEY "train.seed"
#define DATA_KEY "train.data"
#define CHECKSUM_KEY "train.checksum"
#define LOSS_TENSOR "train.loss"
#define VAL_LOSS_TENSOR "train.val_loss"
#define JOINED_BYTES ((uint64_t)8 << 20) /* of a tensor whose parts several nodes have, at once */

static const char *const prefixes[EVN_PARAM__COUNT] = {
	[EVN_PARAM_VALUE] = "", [EVN_PARAM_M] = "adam_m.", [EVN_PARAM_V] = "adam_v."};

static bool begins(evn_str s, const char *with)
{
	return s.length >= strlen(with) && memcmp(s.text, with, strlen(with)) == 0;
}

/* Entries that are not copied: those that training writes itself, and those of a file that is one of several. */
static bool is_ours(evn_str name)
{
	return begins(name, "split.") || begins(name, "train.") || begins(name, prefixes[EVN_PARAM_M]) ||
		   begins(name, prefixes[EVN_PARAM_V]);
}

/* ---- reading --------------------------------------------------------------------------------------------------- */

static evn_status checksum(const evn_gguf *g, uint64_t *h, evn_error *err)
{
	*h = EVN_HASH_START;
	for (uint32_t i = 0; i < evn_gguf_n_tensors(g); i++) {
		const evn_tensor *t = evn_gguf_tensor_at(g, i);
		*h = evn_hash(*h, t->name.text, t->name.length);
		EVN_TRY(evn_tensor_hash(t, t->size_bytes, h, err));
	}
	return EVN_OK;
}

/* Reads a 64-bit number that is stored as 16 hexadecimal digits. */
static evn_status read_hash(const evn_gguf *g, const char *key, uint64_t *out, evn_error *err)
{
	evn_str text = {"", 0};
	char digits[17] = "";
	EVN_TRY(evn_gguf_string(g, key, &text, err));
	*out = 0;
	if (text.length != 16)
		return text.length ? evn_fail(err, EVN_ERR_FORMAT, "%s: \"%s\" is not a number of 16 hexadecimal digits",
									  evn_gguf_name(g), key)
						   : EVN_OK;
	memcpy(digits, text.text, 16);
	*out = strtoull(digits, NULL, 16);
	return EVN_OK;
}

static evn_status check(const evn_gguf *g, evn_error *err)
{
	uint64_t expected, found;
	EVN_TRY(read_hash(g, CHECKSUM_KEY, &expected, err));
	if (!evn_gguf_find(g, CHECKSUM_KEY))
		return EVN_OK;
	EVN_TRY(checksum(g, &found, err));
	if (found == expected)
		return EVN_OK;
	return evn_fail(err, EVN_ERR_FORMAT,
					"%s: the tensors do not have the checksum that the file gives: it is damaged", evn_gguf_name(g));
}

evn_status evn_state_open(evn_state *out, const char *path, evn_error *err)
{
	*out = (evn_state){0};
	evn_status s = evn_gguf_open(&out->gguf, path, err);
	if (s == EVN_OK)
		s = evn_gguf_join(out->gguf, err);
	if (s == EVN_OK)
		s = check(out->gguf, err);
	if (s != EVN_OK)
		evn_state_close(out);
	return s;
}

void evn_state_close(evn_state *s)
{
	evn_gguf_free(s->gguf);
	*s = (evn_state){0};
}

static evn_status read_losses(const evn_gguf *g, const char *name, uint32_t step, float **out, evn_error *err)
{
	const evn_tensor *t = evn_gguf_find_tensor(g, name);
	if (!t || t->n_dims != 1 || t->shape[0] != step)
		return evn_fail(err, EVN_ERR_FORMAT, "%s: tensor \"%s\" of %u losses is missing or has another size",
						evn_gguf_name(g), name, step);
	*out = malloc(step * sizeof **out);
	if (!*out)
		return evn_fail_memory(err, name, step * sizeof **out);
	return evn_tensor_rows(t, 0, 1, *out, err);
}

evn_status evn_state_progress(const evn_state *s, evn_progress *out, float **loss, float **val_loss, evn_error *err)
{
	*out = (evn_progress){0};
	*loss = *val_loss = NULL;
	EVN_TRY(evn_gguf_u32(s->gguf, STEP_KEY, &out->step, err));
	EVN_TRY(read_hash(s->gguf, DATA_KEY, &out->data_hash, err));
	EVN_TRY(read_hash(s->gguf, SEED_KEY, &out->seed, err));
	if (!out->step)
		return EVN_OK;
	EVN_TRY(read_losses(s->gguf, LOSS_TENSOR, out->step, loss, err));
	return read_losses(s->gguf, VAL_LOSS_TENSOR, out->step, val_loss, err);
}

/* ---- writing --------------------------------------------------------------------------------------------------- */

typedef struct {
	evn_gguf_writer *w;
	const evn_networks *networks;
	uint64_t checksum;
	evn_error *err;
} writing;

static const evn_network *first_of(const evn_networks *n) { return n->of[n->begin]; }

/* Of nodes: each has zeros where it has nothing, and what they have does not overlap, so node 0 joins the bits. */
static evn_status join_nodes(evn_nodes *nodes, uint8_t *whole, uint64_t bytes, evn_error *err)
{
	const uint32_t n = evn_nodes_count(nodes), own = evn_nodes_index(nodes);
	uint64_t begins[EVN_MAX_NODES + 1];
	uint8_t *parts = calloc(n, JOINED_BYTES);
	evn_status s = parts ? EVN_OK : evn_fail_memory(err, "parameters of nodes", (uint64_t)n * JOINED_BYTES);
	for (uint64_t at = 0, length; at < bytes && s == EVN_OK; at += length) {
		length = bytes - at < JOINED_BYTES ? bytes - at : JOINED_BYTES;
		for (uint32_t i = 0; i <= n; i++)
			begins[i] = i * length;
		memcpy(parts + begins[own], whole + at, length);
		s = evn_nodes_gather(nodes, parts, begins, NULL, err);
		for (uint64_t i = length; i < n * length && own == 0; i++)
			whole[at + i % length] |= parts[i];
	}
	free(parts);
	return s;
}

/* Tensors of a parameter: that of pieces [begin, end). */
typedef struct {
	uint32_t param, begin, end;
	evn_param_part part;
} collected;

static evn_status collect(const evn_networks *n, const collected *c, float **whole, evn_error *err)
{
	const evn_piece *piece = &first_of(n)->params[c->param]->pieces[c->begin];
	const uint64_t bytes = (uint64_t)piece->rows * piece->cols * sizeof(float);
	*whole = calloc(1, bytes);
	if (!*whole)
		return evn_fail_memory(err, piece->name, bytes);
	for (uint32_t r = n->begin; r < n->end; r++)
		for (uint32_t at = c->begin; at < c->end; at++) {
			const evn_param *p = n->of[r]->params[c->param];
			EVN_TRY(evn_piece_download(p, &p->pieces[at], n->of[r]->q, c->part, *whole, err));
		}
	return n->nodes ? join_nodes(n->nodes, (uint8_t *)*whole, bytes, err) : EVN_OK;
}

/* Calls `each` with every tensor of every parameter. */
static evn_status for_tensors(const evn_networks *networks, evn_param_part part,
							  evn_status (*each)(void *user, const collected *c), void *user)
{
	const evn_network *n = first_of(networks);
	for (uint32_t i = 0; i < n->n_params; i++)
		for (uint32_t k = 0, end; k < n->params[i]->n_pieces; k = end) {
			for (end = k + 1; end < n->params[i]->n_pieces && evn_piece_continues(n->params[i], end);)
				end++;
			EVN_TRY(each(user, &(collected){i, k, end, part}));
		}
	return EVN_OK;
}

static void put_tensor(writing *w, const char *name, const evn_quant *quant, uint32_t n_dims, const uint64_t *shape,
					   const void *data, uint64_t size_bytes)
{
	w->checksum = evn_hash(w->checksum, name, strlen(name));
	w->checksum = evn_hash(w->checksum, data, size_bytes);
	evn_gguf_put_tensor(w->w, name, quant, n_dims, shape, data);
}

/* Writes a tensor, joined from its pieces and their owners. */
static evn_status put_pieces(void *user, const collected *c)
{
	writing *w = user;
	const evn_param *first = first_of(w->networks)->params[c->param];
	const evn_piece *piece = &first->pieces[c->begin];
	const uint64_t matrix[2] = {piece->cols, piece->rows}, vector[1] = {piece->rows};
	char name[96];
	float *whole = NULL;
	snprintf(name, sizeof name, "%s%s", prefixes[c->part], piece->name);
	const evn_status s = collect(w->networks, c, &whole, w->err);
	if (s == EVN_OK)
		put_tensor(w, name, evn_quant_by_name("F32"), first->vector ? 1 : 2, first->vector ? vector : matrix, whole,
				   (uint64_t)piece->rows * piece->cols * sizeof(float));
	free(whole);
	return s;
}

static evn_status put_params(writing *w, evn_param_part part)
{
	return for_tensors(w->networks, part, put_pieces, w);
}

static bool is_trained(const evn_network *n, evn_str name)
{
	for (uint32_t i = 0; i < n->n_params; i++)
		for (uint32_t k = 0; k < n->params[i]->n_pieces; k++)
			if (evn_str_is(name, n->params[i]->pieces[k].name))
				return true;
	return false;
}

/* A tensor of another file as it is. */
static evn_status put_copy(writing *w, const evn_tensor *t)
{
	char name[128];
	const uint8_t *blocks;
	uint8_t *scratch = malloc(t->size_bytes);
	if (!scratch)
		return evn_fail_memory(w->err, "tensor", t->size_bytes);
	snprintf(name, sizeof name, "%.*s", (int)t->name.length, t->name.text);
	const evn_status s = evn_tensor_bytes(t, 0, t->size_bytes, scratch, &blocks, w->err);
	if (s == EVN_OK)
		put_tensor(w, name, t->quant, t->n_dims, t->shape, blocks, t->size_bytes);
	free(scratch);
	return s;
}

static evn_status put_source(writing *w, const evn_gguf *source)
{
	for (uint32_t i = 0; i < evn_gguf_n_values(source); i++)
		if (!is_ours(evn_gguf_value_at(source, i)->key))
			evn_gguf_put_value(w->w, evn_gguf_value_at(source, i));
	for (uint32_t i = 0; i < evn_gguf_n_tensors(source); i++) {
		const evn_tensor *t = evn_gguf_tensor_at(source, i);
		if (!is_ours(t->name) && !is_trained(first_of(w->networks), t->name))
			EVN_TRY(put_copy(w, t));
	}
	return put_params(w, EVN_PARAM_VALUE);
}

static void put_hash(writing *w, const char *key, uint64_t value)
{
	char digits[17];
	snprintf(digits, sizeof digits, "%016" PRIx64, value);
	evn_gguf_put_string(w->w, key, digits);
}

static evn_status put_progress(writing *w, const evn_progress *p)
{
	EVN_TRY(put_params(w, EVN_PARAM_M));
	EVN_TRY(put_params(w, EVN_PARAM_V));
	const uint64_t shape[1] = {p->step}, bytes = p->step * sizeof(float);
	if (p->step) {
		put_tensor(w, LOSS_TENSOR, evn_quant_by_name("F32"), 1, shape, p->loss, bytes);
		put_tensor(w, VAL_LOSS_TENSOR, evn_quant_by_name("F32"), 1, shape, p->val_loss, bytes);
	}
	evn_gguf_put_u32(w->w, STEP_KEY, p->step);
	put_hash(w, SEED_KEY, p->seed);
	put_hash(w, DATA_KEY, p->data_hash);
	put_hash(w, CHECKSUM_KEY, w->checksum);
	return EVN_OK;
}

static evn_status save(evn_gguf_writer *w, const char *path, evn_error *err)
{
	uint8_t *file;
	size_t size;
	EVN_TRY(evn_gguf_finish(w, &file, &size, err));
	evn_status s = evn_write_file(path, file, size, err);
	free(file);
	return s;
}

evn_status evn_checkpoint_write(const char *path, const evn_gguf *source, const evn_networks *networks,
								const evn_progress *progress, evn_error *err)
{
	writing w = {.networks = networks, .checksum = EVN_HASH_START, .err = err};
	EVN_TRY(evn_gguf_writer_create(&w.w, err));
	evn_status s = put_source(&w, source);
	if (s == EVN_OK && progress)
		s = put_progress(&w, progress);
	if (s == EVN_OK)
		s = save(w.w, path, err);
	evn_gguf_writer_free(w.w);
	return s;
}

typedef struct {
	const evn_networks *networks;
	evn_error *err;
} giving;

static evn_status give_pieces(void *user, const collected *c)
{
	const giving *g = user;
	float *whole = NULL;
	const evn_status s = collect(g->networks, c, &whole, g->err);
	free(whole);
	return s;
}

evn_status evn_checkpoint_give(const evn_networks *networks, bool with_state, evn_error *err)
{
	giving g = {networks, err};
	EVN_TRY(for_tensors(networks, EVN_PARAM_VALUE, give_pieces, &g));
	if (with_state)
		EVN_TRY(for_tensors(networks, EVN_PARAM_M, give_pieces, &g));
	return with_state ? for_tensors(networks, EVN_PARAM_V, give_pieces, &g) : EVN_OK;
}

/* ---- adapters -------------------------------------------------------------------------------------------------- */

typedef struct {
	evn_gguf_writer *w;
	evn_random random;
	uint32_t rank;
	evn_error *err;
} adapter;

/* One half of an addition: random like the default of nn.Linear, with deviation 1 / sqrt(3 columns), or zeros. */
static evn_status put_half(adapter *a, const char *tensor, const char *suffix, uint64_t columns, uint64_t rows,
						   bool random)
{
	const uint64_t shape[2] = {columns, rows}, n = columns * rows;
	float *values = calloc(n, sizeof *values);
	char name[128];
	if (!values)
		return evn_fail_memory(a->err, tensor, n * sizeof *values);
	for (uint64_t i = 0; i < n && random; i++)
		values[i] = (float)(evn_random_normal(&a->random) / sqrt(3.0 * (double)columns));
	snprintf(name, sizeof name, "%s%s", tensor, suffix);
	evn_gguf_put_tensor(a->w, name, evn_quant_by_name("F32"), 2, shape, values);
	free(values);
	return EVN_OK;
}

static evn_status put_additions(adapter *a, const evn_model *base, uint32_t targets)
{
	for (uint32_t layer = 0; layer < evn_model_hparams(base)->n_layers; layer++)
		for (uint32_t i = 0; i < EVN_TARGETS; i++) {
			char part[32], name[64];
			const evn_tensor *t;
			if (!(targets >> i & 1))
				continue;
			snprintf(part, sizeof part, "%s.weight", evn_target_names[i]);
			snprintf(name, sizeof name, "blk.%u.%s", layer, part);
			EVN_TRY(evn_model_get(base, name, &t, a->err));
			EVN_TRY(put_half(a, name, ".lora_a", t->shape[0], a->rank, true));
			EVN_TRY(put_half(a, name, ".lora_b", a->rank, t->shape[1], false));
		}
	return EVN_OK;
}

evn_status evn_adapter_create(const char *path, const evn_model *base, const evn_trained *trained, uint64_t seed,
							  evn_error *err)
{
	adapter a = {.random = {.state = seed}, .rank = trained->lora_rank, .err = err};
	const evn_str arch = evn_model_hparams(base)->arch;
	char arch_name[64];
	snprintf(arch_name, sizeof arch_name, "%.*s", (int)arch.length, arch.text);
	EVN_TRY(evn_gguf_writer_create(&a.w, err));
	evn_gguf_put_string(a.w, "general.type", "adapter");
	evn_gguf_put_string(a.w, "general.architecture", arch_name);
	evn_gguf_put_string(a.w, "adapter.type", "lora");
	evn_gguf_put_f32(a.w, "adapter.lora.alpha", trained->lora_alpha);
	evn_status s = put_additions(&a, base, trained->lora_targets);
	if (s == EVN_OK)
		s = save(a.w, path, err);
	evn_gguf_writer_free(a.w);
	return s;
}
