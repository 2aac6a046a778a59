#include "cli/commands/findings.h"

#include <math.h>
#include <stdlib.h>

#include "base/base.h"
#include "plot/plot.h"

#define LEAST 1e-300 /* a probability whose logarithm is finite */

uint32_t findings_likeliest(const double *p, uint32_t n)
{
	uint32_t best = 0;
	for (uint32_t i = 1; i < n; i++)
		best = p[i] > p[best] ? i : best;
	return best;
}

void findings_join(const evn_classifier *c, const double *p, uint32_t n_tiles, int how, double *out)
{
	const uint32_t n = evn_classifier_count(c);
	double most = -INFINITY, sum = 0;
	for (uint32_t k = 0; k < n; k++) {
		double of_logs = 0, largest = 0;
		for (uint32_t i = 0; i < n_tiles; i++) {
			of_logs += log(fmax(p[(size_t)i * n + k], LEAST)) / n_tiles;
			largest = fmax(largest, p[(size_t)i * n + k]);
		}
		out[k] = how == JOIN_MAX ? largest : of_logs;
		most = fmax(most, out[k]);
	}
	if (how == JOIN_MAX)
		return;
	const bool exclusive = evn_classifier_exclusive(c);
	for (uint32_t k = 0; k < n; k++)
		sum += out[k] = exp(out[k] - (exclusive ? most : 0));
	for (uint32_t k = 0; k < n && exclusive; k++)
		out[k] /= sum;
}

/* ---- the picture ------------------------------------------------------------------------------------------------
 */

typedef struct {
	evn_tile *tiles;
	const char **kinds;    /* the labels that were found */
	char **labels, *title; /* labels: of the tiles */
	uint32_t n;
	uint32_t *kind_of;      /* of each class, from 1 on; 0: not found */
	evn_image image, shown; /* shown: not larger than the picture */
} drawing;

static void free_drawing(drawing *d)
{
	for (uint32_t i = 0; i < d->n && d->labels; i++)
		free(d->labels[i]);
	free(d->title);
	free(d->tiles);
	free(d->kinds);
	free(d->labels);
	free(d->kind_of);
	evn_image_free(&d->image);
	evn_image_free(&d->shown);
}

static evn_status make_drawing(drawing *d, const char *image, uint32_t n, uint32_t n_classes, evn_error *err)
{
	d->n = n;
	d->tiles = calloc(n, sizeof *d->tiles);
	d->labels = calloc(n, sizeof *d->labels);
	d->kinds = calloc(n_classes, sizeof *d->kinds);
	d->kind_of = calloc(n_classes, sizeof *d->kind_of);
	if (!d->tiles || !d->labels || !d->kinds || !d->kind_of)
		return evn_fail_memory(err, "the picture", n * sizeof *d->labels);
	EVN_TRY(evn_image_read(&d->image, image, err));
	const uint32_t width = d->image.width, height = d->image.height;
	const double scale =
		fmin(1, fmin((double)EVN_PLOT_WIDTH / width, (double)EVN_PLOT_HEIGHT / height)); /* it is never enlarged */
	const uint32_t w = (uint32_t)fmax(1, scale * width), h = (uint32_t)fmax(1, scale * height);
	return evn_image_resize(&d->shown, &d->image, (evn_image_part){0, 0, width, height}, w, h, false, err);
}

static evn_status add_tile(drawing *d, evn_tiled_image *t, uint32_t i, tiles cut, const evn_classifier *c,
						   const double *row, evn_error *err)
{
	const uint32_t k = findings_likeliest(row, evn_classifier_count(c));
	const evn_image_part part = tiles_part(cut, d->image.width, d->image.height, i);
	const double width = d->image.width, height = d->image.height;
	if (!d->kind_of[k]) {
		d->kinds[t->n_kinds++] = evn_classifier_label(c, k);
		d->kind_of[k] = t->n_kinds;
	}
	d->labels[i] = evn_format("%s %.2f", evn_classifier_label(c, k), row[k]);
	if (!d->labels[i])
		return evn_fail_memory(err, "the picture", 0);
	d->tiles[i] = (evn_tile){part.x / width,       part.y / height,   part.width / width,
							 part.height / height, d->kind_of[k] - 1, d->labels[i]};
	return EVN_OK;
}

evn_status findings_draw(const char *path, const char *image, tiles cut, const evn_classifier *c, const double *p,
						 const double *all, evn_error *err)
{
	const uint32_t n = tiles_count(cut), n_classes = evn_classifier_count(c);
	const uint32_t best = findings_likeliest(all, n_classes);
	drawing d = {0};
	evn_status s = make_drawing(&d, image, n, n_classes, err);
	evn_tiled_image t = {.width = d.shown.width,
						 .height = d.shown.height,
						 .rgb = d.shown.rgb,
						 .tiles = d.tiles,
						 .n = n,
						 .kinds = d.kinds};
	for (uint32_t i = 0; i < n && s == EVN_OK; i++)
		s = add_tile(&d, &t, i, cut, c, p + (size_t)i * n_classes, err);
	t.title = d.title = evn_format("%s: %s %.2f", image, evn_classifier_label(c, best), all[best]);
	if (s == EVN_OK)
		s = evn_plot_tiles(path, &t, err);
	free_drawing(&d);
	return s;
}

evn_status findings_draw_confusion(const char *path, const char *const *labels, uint32_t n, const uint32_t *confusion,
								   evn_error *err)
{
	uint64_t all = 0, right = 0;
	float *parts = malloc((size_t)n * n * sizeof *parts);
	for (uint32_t r = 0; r < n && parts; r++) {
		uint64_t of_class = 0;
		for (uint32_t c = 0; c < n; c++)
			of_class += confusion[(size_t)r * n + c];
		for (uint32_t c = 0; c < n; c++) /* a class of which none was held out is grey */
			parts[(size_t)r * n + c] = 100.0f * (float)confusion[(size_t)r * n + c] / (float)of_class;
		all += of_class;
		right += confusion[(size_t)r * n + r];
	}
	char *title = evn_format("%llu of %llu right, %.1f %%", (unsigned long long)right, (unsigned long long)all,
							 all ? 100.0 * (double)right / (double)all : 0);
	const evn_heat_map map = {.title = title,
							  .x_label = "likeliest class",
							  .y_label = "right class",
							  .value_label = "% of the class",
							  .n_rows = n,
							  .n_columns = n,
							  .values = parts,
							  .row_names = labels,
							  .column_names = labels};
	const evn_status s = parts && title ? evn_plot_heat_map(path, &map, err)
										: evn_fail_memory(err, "the picture", (uint64_t)n * n * 4);
	free(parts);
	free(title);
	return s;
}
