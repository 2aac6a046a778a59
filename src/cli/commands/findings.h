/* findings.h - what is found in the tiles of images: joined into what an image shows, and drawn. */
#ifndef EVN_CLI_FINDINGS_H
#define EVN_CLI_FINDINGS_H

#include "cli/commands/images.h"
#include "evener/classify.h"

enum { JOIN_MEAN, JOIN_MAX }; /* the choices of --join */

uint32_t findings_likeliest(const double *p, uint32_t n);

/* p (tiles, classes) as one row. JOIN_MEAN: exp of the mean of the logarithms, scaled to a sum of 1 where classes
 * exclude each other: every tile counts as evidence. JOIN_MAX: of each class the largest, so that what one tile shows
 * is found. */
void findings_join(const evn_classifier *c, const double *p, uint32_t n_tiles, int how, double *out);

/* Draws the image at `image` with its tiles; p (tiles, classes), all (classes). */
evn_status findings_draw(const char *path, const char *image, tiles cut, const evn_classifier *c, const double *p,
						 const double *all, evn_error *err);
/* Draws confusion (n, n), which counts [right class][likeliest class], in percent of each right class. */
evn_status findings_draw_confusion(const char *path, const char *const *labels, uint32_t n, const uint32_t *confusion,
								   evn_error *err);

#endif
