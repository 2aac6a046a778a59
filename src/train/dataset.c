/* dataset.c - see dataset.h. */
#include "train/dataset.h"
#include "evener/score.h"

#include <stdlib.h>
#include <string.h>

#define TEXT_LIMIT ((size_t)1 << 30)

static evn_status check_length(const evn_dataset *d, const char *path, evn_error *err)
{
	uint64_t least = (uint64_t)d->n_ctx + 1;
	if (d->n_train < least)
		return evn_fail(err, EVN_ERR_USAGE,
						"%s: %llu tokens to learn from, a window of context %u needs %llu at least", path,
						(unsigned long long)d->n_train, d->n_ctx, (unsigned long long)least);
	if (d->n > d->n_train && d->n - d->n_train < least)
		return evn_fail(err, EVN_ERR_USAGE,
						"%s: %llu tokens are held out, a window of context %u needs %llu at least (or hold out none)",
						path, (unsigned long long)(d->n - d->n_train), d->n_ctx, (unsigned long long)least);
	return EVN_OK;
}

static evn_status fill(evn_dataset *d, const evn_model *m, const char *path, double held_out, evn_error *err)
{
	char *text;
	size_t size, n = 0;
	EVN_TRY(evn_read_file(&text, &size, path, TEXT_LIMIT, err));
	evn_status s = evn_tokenize_whole(m, path, text, size, &d->ids, &n, err);
	d->n = n;
	free(text);
	EVN_TRY(s);
	d->n_train = d->n - (uint64_t)((double)d->n * held_out);
	d->hash = evn_hash(evn_hash(EVN_HASH_START, d->ids, d->n * sizeof *d->ids), &d->n_train, sizeof d->n_train);
	return check_length(d, path, err);
}

evn_status evn_dataset_open(evn_dataset *out, const evn_model *m, const char *path, uint32_t n_ctx, double held_out,
							evn_error *err)
{
	*out = (evn_dataset){.n_ctx = n_ctx};
	evn_status s = fill(out, m, path, held_out, err);
	if (s != EVN_OK)
		evn_dataset_free(out);
	return s;
}

evn_status evn_dataset_of_ids(evn_dataset *out, const int32_t *ids, size_t n, uint32_t vocab, evn_error *err)
{
	*out = (evn_dataset){0};
	if (n < 2 || n > UINT32_MAX)
		return evn_fail(err, EVN_ERR_USAGE, "a sequence of %zu tokens: learning needs 2 at least", n);
	for (size_t i = 0; i < n; i++)
		if (ids[i] < 0 || (uint32_t)ids[i] >= vocab)
			return evn_fail(err, EVN_ERR_USAGE, "token id %d: the vocabulary has 0 to %u", ids[i], vocab - 1);
	out->ids = malloc(n * sizeof *ids);
	if (!out->ids)
		return evn_fail_memory(err, "tokens", n * sizeof *ids);
	memcpy(out->ids, ids, n * sizeof *ids);
	out->n = out->n_train = n;
	out->n_ctx = (uint32_t)n - 1;
	out->hash = evn_hash(EVN_HASH_START, ids, n * sizeof *ids);
	return EVN_OK;
}

void evn_dataset_free(evn_dataset *d)
{
	free(d->ids);
	*d = (evn_dataset){0};
}

static void window(const evn_dataset *d, uint64_t begin, uint32_t *ids, uint32_t *targets)
{
	for (uint32_t t = 0; t < d->n_ctx; t++) {
		ids[t] = (uint32_t)d->ids[begin + t];
		targets[t] = (uint32_t)d->ids[begin + t + 1];
	}
}

void evn_dataset_draw(const evn_dataset *d, uint64_t seed, uint32_t step, uint32_t index, uint32_t *ids,
					  uint32_t *targets)
{
	const uint64_t key[] = {seed, step, index};
	evn_random r = {.state = evn_hash(EVN_HASH_START, key, sizeof key)};
	window(d, evn_random_bits(&r) % (d->n_train - d->n_ctx), ids, targets);
}

uint64_t evn_dataset_held_out(const evn_dataset *d)
{
	return d->n > d->n_train ? (d->n - d->n_train - 1) / d->n_ctx : 0;
}

void evn_dataset_held_out_window(const evn_dataset *d, uint64_t index, uint32_t *ids, uint32_t *targets)
{
	window(d, d->n_train + index * d->n_ctx, ids, targets);
}
