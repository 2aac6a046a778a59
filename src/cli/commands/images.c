#include "cli/commands/images.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/base.h"

#define MOST_TILES 64u /* in each direction */

evn_status tiles_parse(const char *text, tiles *out, evn_error *err)
{
	int end = 0;
	*out = (tiles){1, 1};
	if (!text)
		return EVN_OK;
	const bool ok = strspn(text, "0123456789x") == strlen(text) && strlen(text) < 8 &&
					sscanf(text, "%ux%u%n", &out->rows, &out->columns, &end) == 2 && !text[end];
	if (ok && out->rows >= 1 && out->columns >= 1 && out->rows <= MOST_TILES && out->columns <= MOST_TILES)
		return EVN_OK;
	return evn_fail(err, EVN_ERR_USAGE, "--tiles: '%.40s', expected rows and columns of 1 to %u, such as 2x3", text,
					MOST_TILES);
}

evn_image_part tiles_part(tiles t, uint32_t width, uint32_t height, uint32_t i)
{
	const uint64_t row = i / t.columns, column = i % t.columns;
	const uint32_t x = (uint32_t)(column * width / t.columns), y = (uint32_t)(row * height / t.rows);
	return (evn_image_part){x, y, (uint32_t)((column + 1) * width / t.columns) - x,
							(uint32_t)((row + 1) * height / t.rows) - y};
}

evn_split_mode images_split(const settings *s)
{
	return s->split == EVN_SPLIT_AUTO && !s->tiles ? EVN_SPLIT_TENSOR : (evn_split_mode)s->split;
}

bool images_is_config(const char *argument)
{
	const char *end = strrchr(argument, '.');
	return end && (!strcmp(end, ".yaml") || !strcmp(end, ".yml"));
}

evn_status images_of_command(const settings *s, const char *const *arguments, size_t n_arguments, const char ***out,
							 size_t *n, evn_error *err)
{
	const char **paths = *out = malloc((s->images.n + n_arguments + 1) * sizeof *paths);
	if (!paths)
		return evn_fail_memory(err, "the images", 0);
	*n = 0;
	for (size_t i = 0; i < s->images.n; i++)
		paths[(*n)++] = s->images.items[i];
	for (size_t i = 0; i < n_arguments; i++)
		if (i > 0 || !images_is_config(arguments[i]))
			paths[(*n)++] = arguments[i];
	return EVN_OK;
}

/* The part of a whole image that the model sees: its middle where the shorter side becomes `edge` pixels. */
static evn_status make_ready(const evn_image *image, evn_image_part part, const evn_image_form *f, uint8_t *rgb,
							 evn_error *err)
{
	const uint32_t shorter = part.width < part.height ? part.width : part.height;
	const uint64_t width = f->edge ? (uint64_t)part.width * f->edge / shorter : f->size;
	const uint64_t height = f->edge ? (uint64_t)part.height * f->edge / shorter : f->size;
	evn_image resized;
	if (width > EVN_IMAGE_MOST_PIXELS || height > EVN_IMAGE_MOST_PIXELS)
		return evn_fail(err, EVN_ERR_LIMIT, "%u x %u pixels become more than %u", part.width, part.height,
						EVN_IMAGE_MOST_PIXELS);
	EVN_TRY(evn_image_resize(&resized, image, part, (uint32_t)width, (uint32_t)height, f->bicubic, err));
	const size_t left = (width - f->size) / 2, top = (height - f->size) / 2;
	for (size_t y = 0; y < f->size; y++)
		memcpy(rgb + y * f->size * 3, resized.rgb + ((top + y) * width + left) * 3, (size_t)f->size * 3);
	evn_image_free(&resized);
	return EVN_OK;
}

static evn_status take_file(texts *t, const char *path, const evn_image *image, const evn_image_form *f, tiles cut,
							evn_error *err)
{
	const uint32_t n = tiles_count(cut);
	if (image->width < cut.columns || image->height < cut.rows)
		return evn_fail(err, EVN_ERR_USAGE, "%s: %u x %u pixels cannot be cut into %u x %u tiles", path, image->width,
						image->height, cut.columns, cut.rows);
	for (uint32_t i = 0; i < n; i++, t->n++) {
		uint8_t *rgb = t->rgb + t->n * f->size * f->size * 3;
		const evn_image_part part = tiles_part(cut, image->width, image->height, i);
		if (make_ready(image, part, f, rgb, err) != EVN_OK)
			return evn_fail_within(err, "%s", path);
		t->items[t->n] = (evn_embed_text){.rgb = rgb, .n_ids = f->n_rows};
		t->lines[t->n] =
			n > 1 ? evn_format("%s[%u,%u]", path, i / cut.columns + 1, i % cut.columns + 1) : evn_format("%s", path);
		if (!t->lines[t->n])
			return evn_fail_memory(err, path, 0);
	}
	return EVN_OK;
}

static evn_status make_room(texts *t, const evn_image_form *f, size_t n, evn_error *err)
{
	const size_t bytes = (size_t)f->size * f->size * 3;
	t->lines = n < SIZE_MAX / bytes ? calloc(n, sizeof *t->lines) : NULL;
	t->items = calloc(n, sizeof *t->items);
	t->rgb = t->lines ? malloc(n * bytes) : NULL;
	t->owns_lines = true;
	return t->lines && t->items && t->rgb ? EVN_OK : evn_fail_memory(err, "the images", n * bytes);
}

evn_status images_take(texts *t, const evn_model *m, const char *const *paths, size_t n, tiles cut, evn_error *err)
{
	evn_image_form form;
	EVN_TRY(evn_model_image_form(m, &form, err));
	if (!form.size)
		return evn_fail(err, EVN_ERR_USAGE, "--image: %s reads texts, not images", t->settings->model_path);
	if (!n)
		return evn_fail(err, EVN_ERR_USAGE, "%s reads images; give --image FILE", t->settings->model_path);
	EVN_TRY(make_room(t, &form, n * tiles_count(cut), err));
	t->dim = evn_model_get_info(m).dim;
	for (size_t i = 0; i < n; i++) {
		evn_image image;
		EVN_TRY(evn_image_read(&image, paths[i], err));
		const evn_status s = take_file(t, paths[i], &image, &form, cut, err);
		evn_image_free(&image);
		EVN_TRY(s);
	}
	return EVN_OK;
}
