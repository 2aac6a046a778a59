/* plot.h - draws pictures as PNG files, or as SVG where the path ends in .svg, in one style: light background,
 * colours that colour-blind readers can tell apart, axes with ticks at 1, 2 or 5 times a power of ten.
 *
 * Texts are UTF-8. An axis label says what is shown and in which unit: "speed (tokens/s)". Any text may be NULL. A
 * file is replaced atomically. If a picture cannot be written, the old file stays. */
#ifndef EVN_PLOT_H
#define EVN_PLOT_H

#include "base/base.h"

#define EVN_PLOT_WIDTH 1200 /* pixels of every picture */
#define EVN_PLOT_HEIGHT 750
#define EVN_PLOT_MAX_SERIES 7    /* of a line chart: the number of distinct colours */
#define EVN_PLOT_MAX_CELLS 16384 /* of a heat map in each direction */

/* A matrix as colours, with a bar that shows which colour is which value. The values are written into the cells if
 * they fit. */
typedef struct {
	const char *title, *x_label, *y_label;
	const char *value_label; /* beside the colour bar */
	uint32_t n_rows, n_columns;
	const float *values;                                /* (n_rows, n_columns), row 0 at the top; not finite: grey */
	const char *const *row_names, *const *column_names; /* NULL: counted from 0 */
} evn_heat_map;

evn_status evn_plot_heat_map(const char *path, const evn_heat_map *m, evn_error *err);

typedef struct {
	const char *name; /* in the legend */
	size_t n;
	const double *x, *y; /* if one is not finite, or not positive on a logarithmic axis, the line has a gap */
	bool faint;          /* thin and pale: raw data behind their mean */
} evn_plot_series;

typedef struct {
	const char *title, *x_label, *y_label;
	bool x_log, y_log;
	const evn_plot_series *series;
	size_t n_series;
} evn_line_chart;

/* EVN_ERR_USAGE if no point can be drawn. */
evn_status evn_plot_line_chart(const char *path, const evn_line_chart *chart, evn_error *err);

/* What several rows did in a stretch of time, coloured by kind, with a legend. */
typedef struct {
	uint32_t row, kind;
	double began, ended;
} evn_timeline_span;

#define EVN_TIMELINE_KINDS 8

typedef struct {
	const char *title, *x_label;
	const char *const *row_names;
	uint32_t n_rows;
	const char *const *kinds; /* NULL: the kind is not in the legend */
	uint32_t n_kinds;         /* at most EVN_TIMELINE_KINDS: those of the line chart's colours, then grey */
	const evn_timeline_span *spans;
	size_t n_spans;
	double began, ended;
	const char *zoom_title; /* NULL: there is no second panel, which shows a part of the time */
	double zoom_began, zoom_ended;
} evn_timeline;

/* EVN_ERR_USAGE if there are no rows or no time. */
evn_status evn_plot_timeline(const char *path, const evn_timeline *t, evn_error *err);

/* An image with tiles, each with a frame in the colour of its kind and a label. */
typedef struct {
	double x, y, width, height; /* parts of the image's width and height */
	uint32_t kind;
	const char *label;
} evn_tile;

typedef struct {
	const char *title;
	uint32_t width, height; /* of the image: 1 to 32767 */
	const uint8_t *rgb;     /* (height, width, 3) */
	const evn_tile *tiles;
	uint32_t n;
	const char *const *kinds; /* for the legend; those beyond the line chart's colours are grey */
	uint32_t n_kinds;
} evn_tiled_image;

evn_status evn_plot_tiles(const char *path, const evn_tiled_image *t, evn_error *err);

#endif
