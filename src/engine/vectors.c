/* vectors.c - the vectors of texts. A step takes as many whole texts as fit; their rows are pooled by the device that
 * has them all. */
#include "evener/embed.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "engine/engine.h"
#include "engine/prefix.h"

/* The values of "<arch>.pooling_type". */
enum { FILE_NONE, FILE_MEAN, FILE_FIRST, FILE_LAST, FILE_RANK };

typedef struct {
	evn_engine *e;
	const evn_embed_options *o;
	evn_pooling pooling;
	const evn_embed_text *texts;
	size_t n, done;
	uint64_t n_tokens, tokens_done;
} job;

/* What a step reads and writes. If a device hangs it may still come back to it, so it is then never freed. */
typedef struct {
	uint32_t n_texts, n_rows, stride;
	float *x, *scratch; /* (n_rows, stride), (stride) */
	float *out;         /* (n_texts, dim) */
	evn_span *spans;    /* (n_texts), as are the next two */
	evn_slot *slots;
	uint32_t *out_rows;
} rows;

uint32_t evn_embed_longest(const evn_engine *e)
{
	const evn_limits *l = &e->prepared.limits;
	return l->n_batch < l->n_ctx ? l->n_batch : l->n_ctx;
}

bool evn_engine_encodes(const evn_engine *e) { return e->prepared.graph->encodes; }

static evn_status find_pooling(const evn_engine *e, evn_pooling *pooling, evn_error *err)
{
	const evn_gguf *file = evn_model_gguf(e->model);
	const evn_str arch = evn_model_hparams(e->model)->arch;
	char key[96];
	uint32_t type = FILE_NONE;
	if (*pooling != EVN_POOL_AUTO)
		return EVN_OK;
	snprintf(key, sizeof key, "%.*s.pooling_type", (int)arch.length, arch.text);
	EVN_TRY(evn_gguf_u32(file, key, &type, err));
	if (type > FILE_RANK)
		return evn_fail(
			err, EVN_ERR_UNSUPPORTED,
			"%s: \"%s\" is %u, expected 0 to 4 (no pooling, the mean, the first row, the last row, the row "
			"that the head for classes reads)",
			evn_gguf_name(file), key, type);
	const bool encodes = evn_engine_encodes(e);
	const evn_pooling usual = encodes ? EVN_POOL_MEAN : EVN_POOL_LAST;
	const evn_pooling of_head = encodes ? EVN_POOL_FIRST : EVN_POOL_LAST;
	const evn_pooling of_type[] = {usual, EVN_POOL_MEAN, EVN_POOL_FIRST, EVN_POOL_LAST, of_head};
	*pooling = of_type[type];
	return EVN_OK;
}

static uint32_t rows_of(const job *j, size_t text)
{
	const evn_embed_text *t = &j->texts[text];
	return t->rgb ? evn_patch_rows(&j->e->prepared.graph->patches) : t->n_ids;
}

static evn_status check_image(const job *j, size_t image, evn_error *err)
{
	const uint32_t longest = evn_embed_longest(j->e), n = rows_of(j, image);
	if (!j->e->prepared.graph->patches.floats)
		return evn_fail(err, EVN_ERR_USAGE, "%s: the model reads texts, not images",
						evn_gguf_name(evn_model_gguf(j->e->model)));
	if (n > longest)
		return evn_fail(err, EVN_ERR_LIMIT, "image %zu has %u rows, at most %u fit into a step (-c)", image + 1, n,
						longest);
	return EVN_OK;
}

static evn_status check_texts(const evn_engine *e, job *j, evn_error *err)
{
	const uint32_t longest = evn_embed_longest(e), vocab = evn_model_hparams(e->model)->vocab;
	for (size_t i = 0; i < j->n; i++) {
		const evn_embed_text *t = &j->texts[i];
		if (t->rgb) {
			EVN_TRY(check_image(j, i, err));
			j->n_tokens += rows_of(j, i);
			continue;
		}
		if (e->prepared.graph->patches.floats)
			return evn_fail(err, EVN_ERR_USAGE, "%s: the model reads images, not texts",
							evn_gguf_name(evn_model_gguf(e->model)));
		if (t->n_ids == 0)
			return evn_fail(err, EVN_ERR_USAGE, "text %zu has no tokens", i + 1);
		if (t->n_ids > longest)
			return evn_fail(err, EVN_ERR_LIMIT, "text %zu has %u tokens, at most %u fit into a step", i + 1, t->n_ids,
							longest);
		for (uint32_t k = 0; k < t->n_ids; k++)
			if (t->ids[k] < 0 || (uint32_t)t->ids[k] >= vocab)
				return evn_fail(err, EVN_ERR_USAGE, "text %zu: token id %d, the vocabulary has 0 to %u", i + 1,
								t->ids[k], vocab - 1);
		j->n_tokens += t->n_ids;
	}
	return EVN_OK;
}

/* ---- a step ---------------------------------------------------------------------------------------------------- */

/* Blocks that a scheduler keeps only because their text may come again are free for texts. */
static bool has_blocks(evn_engine *e, uint32_t n)
{
	return e->pool.n_free >= n || (e->prefixes && evn_prefixes_make_room(e->prefixes, n));
}

/* Takes the next texts, as many as the step and the cache have room for. */
static void take_texts(const job *j, rows *r)
{
	uint32_t n_blocks = 0;
	for (size_t i = j->done; i < j->n; i++) {
		const uint32_t n = rows_of(j, i);
		n_blocks += evn_blocks_for(n);
		if (r->n_rows + n > j->e->prepared.limits.n_batch || !has_blocks(j->e, n_blocks))
			return;
		r->n_rows += n;
		r->n_texts++;
	}
}

static evn_status make_rows(const job *j, rows *r, evn_error *err)
{
	const uint32_t dim = evn_model_hparams(j->e->model)->dim;
	take_texts(j, r);
	if (!r->n_texts)
		return evn_fail(err, EVN_ERR_LIMIT, "KV cache: a text of %u tokens does not fit beside what is held",
						rows_of(j, j->done));
	r->stride = j->e->embedding.stride;
	r->x = calloc((uint64_t)r->n_rows * r->stride, sizeof *r->x);
	r->scratch = malloc(r->stride * sizeof *r->scratch);
	r->out = malloc((uint64_t)r->n_texts * dim * sizeof *r->out);
	r->spans = calloc(r->n_texts, sizeof *r->spans);
	r->slots = calloc(r->n_texts, sizeof *r->slots);
	r->out_rows = calloc(r->n_texts, sizeof *r->out_rows);
	return r->x && r->scratch && r->out && r->spans && r->slots && r->out_rows
			   ? EVN_OK
			   : evn_fail_memory(err, "rows of texts", (uint64_t)r->n_rows * r->stride * sizeof *r->x);
}

static void free_rows(rows *r)
{
	free(r->x);
	free(r->scratch);
	free(r->out);
	free(r->spans);
	free(r->slots);
	free(r->out_rows);
}

static evn_status fill_rows(const job *j, rows *r, evn_error *err)
{
	uint32_t at = 0;
	for (uint32_t i = 0; i < r->n_texts; i++) {
		const evn_embed_text *t = &j->texts[j->done + i];
		const uint32_t n = rows_of(j, j->done + i);
		float *x = r->x + (uint64_t)at * r->stride;
		r->spans[i] = (evn_span){.slot = &r->slots[i], .first_row = at, .n_rows = n, .phase = EVN_PROMPT};
		r->out_rows[i] = j->pooling == EVN_POOL_LAST ? at + n - 1 : at;
		EVN_TRY(t->rgb ? evn_embed_image(&j->e->embedding, t->rgb, x, r->stride, r->scratch, err)
					   : evn_embed(&j->e->embedding, t->ids, n, 0, x, r->stride, r->scratch, err));
		EVN_TRY(evn_slot_extend(&r->slots[i], &j->e->pool, n, err));
		at += n;
	}
	return EVN_OK;
}

static evn_status keep_vectors(const job *j, const rows *r, evn_error *err)
{
	const uint32_t dim = evn_model_hparams(j->e->model)->dim;
	for (uint32_t i = 0; i < r->n_texts; i++) {
		const float *v = r->out + (uint64_t)i * dim;
		float *to = j->texts[j->done + i].vector;
		double squares = 0;
		for (uint32_t k = 0; k < dim; k++)
			squares += (double)v[k] * (double)v[k];
		if (!isfinite(squares))
			return evn_fail(err, EVN_ERR_DEVICE, "text %zu: its vector has entries that are not numbers",
							j->done + i + 1);
		const double scale = j->o->unscaled || squares == 0 ? 1 : 1 / sqrt(squares);
		for (uint32_t k = 0; k < dim; k++)
			to[k] = (float)(v[k] * scale);
	}
	return EVN_OK;
}

static bool go_on(void *user)
{
	const job *j = user;
	return !j->o->progress || j->o->progress(j->o->user, "texts", j->tokens_done, j->n_tokens);
}

static evn_status compute(job *j, rows *r, evn_error *err)
{
	EVN_TRY(make_rows(j, r, err));
	const bool means = j->pooling == EVN_POOL_MEAN;
	const evn_batch batch = {.n_rows = r->n_rows,
							 .n_spans = r->n_texts,
							 .spans = r->spans,
							 .x = r->x,
							 .output = means ? EVN_OUT_POOLED : EVN_OUT_HIDDEN,
							 .n_out = means ? 0 : r->n_texts,
							 .out_rows = r->out_rows,
							 .out = r->out};
	evn_status s = fill_rows(j, r, err);
	if (s == EVN_OK)
		s = evn_engine_step(j->e, &batch, &(evn_step_watch){go_on, j}, err);
	for (uint32_t i = 0; i < r->n_texts; i++)
		evn_slot_free(&r->slots[i], &j->e->pool);
	return s == EVN_OK ? keep_vectors(j, r, err) : s;
}

/* One step. If a device fails, the others go on, and the texts are computed again. */
static evn_status step(job *j, evn_error *err)
{
	rows r = {0};
	const uint32_t n_abandoned = j->e->n_abandoned;
	evn_status s = compute(j, &r, err);
	if (s == EVN_OK) {
		j->done += r.n_texts;
		j->tokens_done += r.n_rows;
	} else if (s != EVN_ERR_CANCELLED && evn_engine_recover(j->e, err)) {
		s = EVN_OK;
	}
	if (j->e->n_abandoned == n_abandoned)
		free_rows(&r);
	return s;
}

evn_status evn_embed_texts(evn_engine *e, const evn_embed_options *o, const evn_embed_text *texts, size_t n,
						   evn_error *err)
{
	job j = {.e = e, .o = o, .pooling = o->pooling, .texts = texts, .n = n};
	evn_status s = EVN_OK;
	EVN_TRY(find_pooling(e, &j.pooling, err));
	EVN_TRY(check_texts(e, &j, err));
	while (j.done < n && s == EVN_OK) {
		pthread_mutex_lock(&e->lock);
		s = step(&j, err);
		pthread_mutex_unlock(&e->lock);
	}
	if (s == EVN_OK && o->progress)
		o->progress(o->user, "texts", j.n_tokens, j.n_tokens);
	return s;
}

evn_status evn_engine_check_decoder(const evn_engine *e, evn_error *err)
{
	if (!evn_engine_encodes(e))
		return EVN_OK;
	return evn_fail(err, EVN_ERR_USAGE, "%s: an encoder has no next token; `evener embed` gives vectors of texts",
					evn_gguf_name(evn_model_gguf(e->model)));
}
