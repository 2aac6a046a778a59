/* resize.c - resizing with antialiasing in the integers of Pillow: models were trained on such images. */
#include <math.h>
#include <stdlib.h>

#include "image/image.h"

#define FRACTION_BITS 22 /* of weights: 32 bits without 8 of a value and 2 of what a cubic goes beyond */

/* Each value is a weighted sum of `most` values at most. */
typedef struct {
	uint32_t n, most;
	uint32_t *first, *count; /* (n) the values that are summed */
	int32_t *weights;        /* (n, most) */
} sums;

static double triangle(double x) { return fabs(x) < 1 ? 1 - fabs(x) : 0; }

static double cubic_of(double x)
{
	const double a = -0.5, d = fabs(x);
	if (d < 1)
		return ((a + 2) * d - (a + 3)) * d * d + 1;
	return d < 2 ? (((d - 5) * d + 8) * d - 4) * a : 0;
}

static void free_sums(sums *s)
{
	free(s->first);
	free(s->count);
	free(s->weights);
}

/* The sums of value i of n, of which there were n_from. */
static void fill(const sums *s, uint32_t i, uint32_t n_from, bool cubic, double *w)
{
	const double scale = (double)n_from / s->n, wide = scale > 1 ? scale : 1;
	const double reach = (cubic ? 2 : 1) * wide, centre = (i + 0.5) * scale;
	const double begin = centre - reach + 0.5, end = centre + reach + 0.5;
	const uint32_t first = begin > 0 ? (uint32_t)begin : 0, last = end < n_from ? (uint32_t)end : n_from;
	double all = 0;
	s->first[i] = first;
	s->count[i] = last - first;
	for (uint32_t k = 0; k < last - first; k++) {
		const double x = (k + first - centre + 0.5) / wide;
		all += w[k] = cubic ? cubic_of(x) : triangle(x);
	}
	for (uint32_t k = 0; k < last - first; k++)
		s->weights[(size_t)i * s->most + k] = (int32_t)lround(w[k] / all * (1 << FRACTION_BITS));
}

static evn_status make_sums(sums *s, uint32_t n, uint32_t n_from, bool cubic, evn_error *err)
{
	const double scale = (double)n_from / n;
	*s = (sums){.n = n, .most = 2 * (uint32_t)ceil((cubic ? 2 : 1) * (scale > 1 ? scale : 1)) + 1};
	s->first = malloc(n * sizeof *s->first);
	s->count = malloc(n * sizeof *s->count);
	s->weights = malloc((size_t)n * s->most * sizeof *s->weights);
	double *w = malloc(s->most * sizeof *w);
	const bool ok = s->first && s->count && s->weights && w;
	for (uint32_t i = 0; i < n && ok; i++)
		fill(s, i, n_from, cubic, w);
	free(w);
	return ok ? EVN_OK : evn_fail_memory(err, "resizing", (uint64_t)n * s->most * sizeof *s->weights);
}

static uint8_t sum(const sums *s, uint32_t i, const uint8_t *values, size_t stride)
{
	const int32_t *w = s->weights + (size_t)i * s->most;
	int32_t all = 1 << (FRACTION_BITS - 1);
	for (uint32_t k = 0; k < s->count[i]; k++)
		all += w[k] * values[(s->first[i] + k) * stride];
	all >>= FRACTION_BITS;
	return (uint8_t)(all < 0 ? 0 : all > 255 ? 255 : all);
}

static void sum_all(evn_image *out, evn_image *narrow, const evn_image *from, evn_image_part part,
					const sums *columns, const sums *rows)
{
	const size_t width = columns->n;
	for (size_t y = 0; y < part.height; y++) {
		const uint8_t *row = from->rgb + ((part.y + y) * from->width + part.x) * 3;
		for (uint32_t x = 0; x < columns->n; x++)
			for (size_t c = 0; c < 3; c++)
				narrow->rgb[(y * width + x) * 3 + c] = sum(columns, x, row + c, 3);
	}
	for (uint32_t y = 0; y < rows->n; y++)
		for (size_t i = 0; i < width * 3; i++)
			out->rgb[y * width * 3 + i] = sum(rows, y, narrow->rgb + i, width * 3);
}

evn_status evn_image_resize(evn_image *out, const evn_image *from, evn_image_part part, uint32_t width,
							uint32_t height, bool cubic, evn_error *err)
{
	sums columns = {0}, rows = {0};
	evn_image narrow = {0};
	*out = (evn_image){0};
	evn_status s = make_sums(&columns, width, part.width, cubic, err);
	if (s == EVN_OK)
		s = make_sums(&rows, height, part.height, cubic, err);
	if (s == EVN_OK)
		s = evn_image_create(&narrow, "resizing", width, part.height, err);
	if (s == EVN_OK)
		s = evn_image_create(out, "resizing", width, height, err);
	if (s == EVN_OK)
		sum_all(out, &narrow, from, part, &columns, &rows);
	evn_image_free(&narrow);
	free_sums(&columns);
	free_sums(&rows);
	return s;
}
