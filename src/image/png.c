/* png.c - PNG files by libpng. */
#include <png.h>
#include <stdlib.h>

#include "image/image.h"

static evn_status read_pixels(evn_image *out, png_image *png, const char *name, evn_error *err)
{
	EVN_TRY(evn_image_create(out, name, png->width, png->height, err));
	const size_t n = (size_t)png->width * png->height;
	uint8_t *rgba = malloc(4 * n);
	if (!rgba)
		return evn_fail_memory(err, name, 4 * n);
	png->format = PNG_FORMAT_RGBA;
	png->flags |= PNG_IMAGE_FLAG_16BIT_sRGB;
	const bool ok = png_image_finish_read(png, NULL, rgba, 0, NULL);
	for (size_t i = 0; i < n && ok; i++)
		for (size_t c = 0; c < 3; c++)
			out->rgb[3 * i + c] = rgba[4 * i + c];
	free(rgba);
	return ok ? EVN_OK : evn_fail(err, EVN_ERR_FORMAT, "%s: a damaged PNG file: %s", name, png->message);
}

evn_status evn_png_read(evn_image *out, const char *name, const char *bytes, size_t n, evn_error *err)
{
	png_image png = {.version = PNG_IMAGE_VERSION};
	if (!png_image_begin_read_from_memory(&png, bytes, n))
		return evn_fail(err, EVN_ERR_FORMAT, "%s: a damaged PNG file: %s", name, png.message);
	const evn_status s = read_pixels(out, &png, name, err);
	png_image_free(&png);
	return s;
}
