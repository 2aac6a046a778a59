/* image.h - images: PNG and JPEG files as pixels, parts of them, and resizing. */
#ifndef EVN_IMAGE_H
#define EVN_IMAGE_H

#include "base/base.h"

#define EVN_IMAGE_MOST_PIXELS (100u << 20)

typedef struct {
	uint32_t width, height;
	uint8_t *rgb; /* (height, width, 3) */
} evn_image;

/* Reads a PNG or JPEG file; which of them it is, its first bytes say. Transparency is dropped, as Pillow's convert
 * does it. A file that is cut is an error. */
evn_status evn_image_read(evn_image *out, const char *path, evn_error *err);
void evn_image_free(evn_image *i);

typedef struct {
	uint32_t x, y, width, height;
} evn_image_part;

/* The part as an image of width x height pixels, resized as Pillow resizes it when it is cut out: by a triangle or a
 * cubic (a = -1/2) that is widened when the image shrinks, along rows and then along columns, rounded to 8 bits after
 * each. (Newer versions of Pillow take the columns first where that is less work; values then differ, mostly by 1
 * places.) */
evn_status evn_image_resize(evn_image *out, const evn_image *from, evn_image_part part, uint32_t width,
							uint32_t height, bool cubic, evn_error *err);

/* For the readers of files (png.c, jpeg.c). */
evn_status evn_image_create(evn_image *out, const char *name, uint64_t width, uint64_t height, evn_error *err);
evn_status evn_png_read(evn_image *out, const char *name, const char *bytes, size_t n, evn_error *err);
evn_status evn_jpeg_read(evn_image *out, const char *name, const char *bytes, size_t n, evn_error *err);

#endif
