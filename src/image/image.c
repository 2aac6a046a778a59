#include "image/image.h"

#include <stdlib.h>
#include <string.h>

#define MOST_BYTES ((size_t)512 << 20)

evn_status evn_image_create(evn_image *out, const char *name, uint64_t width, uint64_t height, evn_error *err)
{
	*out = (evn_image){0};
	if (!width || !height || width > EVN_IMAGE_MOST_PIXELS || height > EVN_IMAGE_MOST_PIXELS / width)
		return evn_fail(err, EVN_ERR_LIMIT, "%s: %llu x %llu pixels, expected 1 to %u in all", name,
						(unsigned long long)width, (unsigned long long)height, EVN_IMAGE_MOST_PIXELS);
	out->rgb = malloc(3 * width * height);
	if (!out->rgb)
		return evn_fail_memory(err, name, 3 * width * height);
	out->width = (uint32_t)width;
	out->height = (uint32_t)height;
	return EVN_OK;
}

void evn_image_free(evn_image *i)
{
	free(i->rgb);
	*i = (evn_image){0};
}

evn_status evn_image_read(evn_image *out, const char *path, evn_error *err)
{
	static const char png[] = "\x89PNG\r\n\x1a\n", jpeg[] = "\xff\xd8\xff";
	char *bytes;
	size_t n;
	*out = (evn_image){0};
	EVN_TRY(evn_read_file(&bytes, &n, path, MOST_BYTES, err));
	evn_status s;
	if (n >= 8 && !memcmp(bytes, png, 8))
		s = evn_png_read(out, path, bytes, n, err);
	else if (n >= 3 && !memcmp(bytes, jpeg, 3))
		s = evn_jpeg_read(out, path, bytes, n, err);
	else
		s = evn_fail(err, EVN_ERR_FORMAT, "%s: not an image, expected a PNG or JPEG file", path);
	free(bytes);
	if (s != EVN_OK)
		evn_image_free(out);
	return s;
}
