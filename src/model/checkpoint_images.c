/* checkpoint_images.c - models of images: the names of their tensors, which become those of llama.cpp's files of
 * image encoders, and how an image is made ready (preprocessor_config.json). */
#include "model/checkpoint_parts.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FILE_NAME "preprocessor_config.json"
#define FILE_BYTES ((size_t)1 << 20)
#define MOST_SIDE 65536

/* ---- tensors ----------------------------------------------------------------------------------------------------
 */

typedef struct {
	const char *hf, *gguf;
} names;

static const names whole[] = {
	{"embeddings.cls_token", "v.class_embd"},
	{"embeddings.position_embeddings", "v.position_embd.weight"},
};

static const names ends[] = {
	{"embeddings.patch_embeddings.projection.", "v.patch_embd"},
	{"layernorm.", "v.post_ln"},
	{"classifier.", "cls.output"},
};

static const names parts[] = {
	{"attention.attention.query.", "attn_q"},
	{"attention.attention.key.", "attn_k"},
	{"attention.attention.value.", "attn_v"},
	{"attention.output.dense.", "attn_out"},
	{"layernorm_before.", "ln1"},
	{"layernorm_after.", "ln2"},
	{"intermediate.dense.", "ffn_up"},
	{"output.dense.", "ffn_down"},
};

static bool find(const names *rows, size_t n, const char *own, const char *number, char out[64])
{
	for (size_t i = 0; i < n; i++) {
		const size_t length = strlen(rows[i].hf);
		if (strncmp(own, rows[i].hf, length) != 0 ||
			(strcmp(own + length, "weight") != 0 && strcmp(own + length, "bias") != 0))
			continue;
		snprintf(out, 64, "%s%s.%s", number, rows[i].gguf, own + length);
		return true;
	}
	return false;
}

void evn_checkpoint_image_name(const char *own, char out[64])
{
	unsigned layer = 0;
	int at = 0;
	char number[20];
	snprintf(out, 64, "%s", own);
	for (size_t i = 0; i < sizeof whole / sizeof *whole; i++)
		if (!strcmp(own, whole[i].hf)) {
			snprintf(out, 64, "%s", whole[i].gguf);
			return;
		}
	if (find(ends, sizeof ends / sizeof *ends, own, "", out))
		return;
	if (sscanf(own, "encoder.layer.%u.%n", &layer, &at) != 1 || !at)
		return;
	snprintf(number, sizeof number, "v.blk.%u.", layer % 100000);
	find(parts, sizeof parts / sizeof *parts, own + at, number, out);
}

/* A convolution over patches is a matrix with a column for each of their floats; tables have a dimension of 1. */
void evn_checkpoint_flatten(evn_planned *t)
{
	if (!strcmp(t->name, "v.patch_embd.weight") && t->n_dims == 4) {
		t->shape[0] *= t->shape[1] * t->shape[2]; /* the file holds the elements, so this cannot overflow */
		t->shape[1] = t->shape[3];
		t->shape[2] = t->shape[3] = 1;
		t->n_dims = 2;
	}
	while (t->n_dims > 1 && t->shape[t->n_dims - 1] == 1)
		t->n_dims--;
}

/* ---- keys -------------------------------------------------------------------------------------------------------
 */

static evn_status wrong(const evn_checkpoint *c, const char *file, const char *key, const char *expected)
{
	return evn_fail(c->err, EVN_ERR_FORMAT, "%s/%s: \"%s\": expected %s", c->folder, file, key, expected);
}

/* Three numbers, or one for all colours. */
static evn_status put_colours(const evn_checkpoint *c, const json_t *p, const char *key, const char *suffix,
							  double usual)
{
	const json_t *list = json_object_get(p, key);
	float values[3];
	for (size_t i = 0; i < 3; i++) {
		const json_t *v = json_is_array(list) ? json_array_get(list, i) : list;
		values[i] = (float)(list && !json_is_null(list) ? json_number_value(v) : usual);
		if ((list && !json_is_null(list) && !json_is_number(v)) || (!strcmp(key, "image_std") && !(values[i] > 0)))
			return wrong(c, FILE_NAME, key, "three numbers, those of image_std above 0");
	}
	const evn_arch_key k = evn_key_of(c, suffix);
	evn_gguf_put_value(c->w, &(evn_gguf_value){.key = {k.text, strlen(k.text)},
											   .type = EVN_GGUF_ARRAY,
											   .element = EVN_GGUF_F32,
											   .count = 3,
											   .data = (const uint8_t *)values});
	return EVN_OK;
}

/* A size is a number, or {height, width}, which must be equal, or {shortest_edge}. 0: there is none. */
static evn_status read_side(const evn_checkpoint *c, const json_t *size, const char *key, uint32_t *side, bool *edge)
{
	const json_t *height = size, *width = size;
	*edge = json_object_get(size, "shortest_edge") != NULL;
	*side = 0;
	if (!size || json_is_null(size))
		return EVN_OK;
	if (json_is_object(size)) {
		height = json_object_get(size, *edge ? "shortest_edge" : "height");
		width = json_object_get(size, *edge ? "shortest_edge" : "width");
	}
	if (!json_is_integer(height) || !json_is_integer(width) || json_integer_value(height) < 1 ||
		json_integer_value(height) > MOST_SIDE || json_integer_value(height) != json_integer_value(width))
		return wrong(c, FILE_NAME, key, "a number of pixels: N, {height: N, width: N} or {shortest_edge: N}");
	*side = (uint32_t)json_integer_value(height);
	return EVN_OK;
}

/* Either the whole image becomes a square of the model's size, or its shorter side becomes `edge` long and the middle
 * is taken. */
static evn_status put_resizing(const evn_checkpoint *c, const json_t *p, uint32_t model_size)
{
	uint32_t size, crop;
	bool edge, ignored;
	const bool crops = json_is_true(json_object_get(p, "do_center_crop"));
	EVN_TRY(read_side(c, json_object_get(p, "size"), "size", &size, &edge));
	EVN_TRY(read_side(c, json_object_get(p, "crop_size"), "crop_size", &crop, &ignored));
	const uint32_t made = crops ? crop : size;
	if (json_is_false(json_object_get(p, "do_resize")) || (edge && !crops) || (made && made != model_size))
		return evn_fail(c->err, EVN_ERR_FORMAT,
						"%s/" FILE_NAME ": makes images of another size than %u x %u, which the model reads",
						c->folder, model_size, model_size);
	if (crops && size)
		evn_gguf_put_u32(c->w, evn_key_of(c, "image_edge").text, size);
	return EVN_OK;
}

static evn_status put_preprocessing(const evn_checkpoint *c, const json_t *p, uint32_t model_size)
{
	const json_t *resample = json_object_get(p, "resample"), *factor = json_object_get(p, "rescale_factor");
	const bool normalises = !json_is_false(json_object_get(p, "do_normalize"));
	if (json_is_false(json_object_get(p, "do_rescale")) ||
		(json_is_number(factor) && (float)json_number_value(factor) != 1.0f / 255))
		return wrong(c, FILE_NAME, "rescale_factor", "1/255");
	if (resample &&
		(!json_is_integer(resample) || json_integer_value(resample) < 2 || json_integer_value(resample) > 3))
		return wrong(c, FILE_NAME, "resample", "2 (bilinear) or 3 (bicubic)");
	EVN_TRY(put_colours(c, normalises ? p : NULL, "image_mean", "image_mean", normalises ? 0.5 : 0));
	EVN_TRY(put_colours(c, normalises ? p : NULL, "image_std", "image_std", normalises ? 0.5 : 1));
	evn_gguf_put_u32(c->w, evn_key_of(c, "image_resample").text,
					 resample ? (uint32_t)json_integer_value(resample) : 2);
	return put_resizing(c, p, model_size);
}

evn_status evn_checkpoint_image_config(const evn_checkpoint *c)
{
	uint32_t size = 224, patch = 16, colours = 3;
	json_t *p = NULL;
	EVN_TRY(evn_config_u32(c, "image_size", &size));
	EVN_TRY(evn_config_u32(c, "patch_size", &patch));
	EVN_TRY(evn_config_u32(c, "num_channels", &colours));
	if (colours != 3)
		return wrong(c, "config.json", "num_channels", "3");
	if (!size || !patch || size > MOST_SIDE || size % patch)
		return wrong(c, "config.json", "image_size", "a multiple of patch_size");
	if (json_is_false(json_object_get(c->config, "qkv_bias")))
		return wrong(c, "config.json", "qkv_bias", "true");
	const uint32_t across = size / patch;
	evn_gguf_put_u32(c->w, evn_key_of(c, "image_size").text, size);
	evn_gguf_put_u32(c->w, evn_key_of(c, "patch_size").text, patch);
	evn_gguf_put_u32(c->w, evn_key_of(c, "context_length").text, across * across + 1);
	evn_gguf_put_u32(c->w, evn_key_of(c, "pooling_type").text, 2); /* the first row */
	EVN_TRY(evn_json_open(&p, c->folder, FILE_NAME, FILE_BYTES, c->err));
	const evn_status s = put_preprocessing(c, p, size);
	json_decref(p);
	return s;
}
