/* canvas.h - the surface for drawing pictures, and what all pictures share: colours, texts, saving. */
#ifndef EVN_PLOT_CANVAS_H
#define EVN_PLOT_CANVAS_H

#include <cairo.h>

#include "plot/axis.h"
#include "plot/plot.h"

typedef struct {
	cairo_surface_t *surface;
	cairo_t *cr;
	struct evn_file_bytes *svg; /* what is drawn, as a file; NULL: the picture becomes a PNG file */
} evn_canvas;

typedef struct {
	double x, y, width, height; /* pixels, y from the top */
} evn_rect;

typedef struct {
	double r, g, b; /* 0..1 */
} evn_colour;

#define EVN_TEXT_SIZE 15.0
#define EVN_TITLE_SIZE 20.0
#define EVN_TICK_LENGTH 6.0

extern const evn_colour evn_ink, evn_grid, evn_no_value;
extern const evn_colour evn_series_colours[EVN_PLOT_MAX_SERIES];
evn_colour evn_scale_colour(double place); /* colour of the bar at this place; 0 is the bottom, 1 the top */

/* A white canvas of the size of every picture, for a file at `path`. Drawing calls need no checks: the first error
 * stays until evn_canvas_save, which ends the drawing. */
evn_status evn_canvas_create(evn_canvas *out, const char *path, evn_error *err);
evn_status evn_canvas_save(const evn_canvas *c, const char *path, evn_error *err);
void evn_canvas_free(evn_canvas *c);

void evn_set_colour(const evn_canvas *c, evn_colour colour);
/* x, y are at this place of the text: 0 its left or upper end, 0.5 its middle, 1 its right or lower end. NULL draws
 * nothing. */
void evn_draw_text(const evn_canvas *c, const char *text, double size, double x, double y, double across,
				   double down);
/* The text reads upwards and is centred on x, y. */
void evn_draw_text_upwards(const evn_canvas *c, const char *text, double size, double x, double y);
double evn_text_width(const evn_canvas *c, const char *text, double size);
void evn_draw_line(const evn_canvas *c, double x0, double y0, double x1, double y1);
void evn_draw_frame(const evn_canvas *c, evn_rect area);
void evn_draw_title(const evn_canvas *c, const char *title, evn_rect area);

/* Draw everything and do not save; *area is where the cells or the lines are. */
void evn_draw_heat_map(const evn_canvas *c, const evn_heat_map *m, evn_rect *area);

#endif
