/* heat_map.c - draws a matrix as colours. From left to right: label and names of the rows, the cells, the colour bar
 * with its ticks and label. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "plot/canvas.h"

#define NAME_PIXELS 150.0 /* the longest name of a row or column; a longer one is cut */
#define GAP 10.0
#define BAR_WIDTH 26.0
#define BAR_SPACE 120.0 /* right of the cells: bar, ticks and label */
#define TOP 62.0

static const char *name_of(const char *const *names, uint32_t i, char number[16])
{
	if (names)
		return names[i] ? names[i] : "";
	snprintf(number, 16, "%u", i);
	return number;
}

/* The width of the widest of the first names, at most NAME_PIXELS. Measuring all names would take too long. */
static double names_width(const evn_canvas *c, const char *const *names, uint32_t n)
{
	double widest = 0;
	char number[16];
	for (uint32_t i = names ? 0 : n - 1; i < n && i < (names ? 512 : n); i++)
		widest = fmax(widest, evn_text_width(c, name_of(names, i, number), EVN_TEXT_SIZE));
	return fmin(widest, NAME_PIXELS);
}

/* Cuts a name that is wider than NAME_PIXELS. */
static void draw_name(const evn_canvas *c, const char *name, double x, double y, bool upwards)
{
	double width = fmin(evn_text_width(c, name, EVN_TEXT_SIZE), NAME_PIXELS);
	cairo_save(c->cr);
	cairo_translate(c->cr, x, y);
	if (upwards)
		cairo_rotate(c->cr, -acos(-1) / 2);
	cairo_rectangle(c->cr, -width, -EVN_TEXT_SIZE, width, 2 * EVN_TEXT_SIZE);
	cairo_clip(c->cr);
	evn_draw_text(c, name, EVN_TEXT_SIZE, -width, 0, 0, 0.5);
	cairo_restore(c->cr);
}

static uint32_t every(uint32_t n, double pixels, double needed)
{
	double step = evn_nice_step(fmax(1, n * needed / pixels));
	return (uint32_t)step;
}

static void draw_row_names(const evn_canvas *c, const evn_heat_map *m, evn_rect a)
{
	char number[16];
	uint32_t step = every(m->n_rows, a.height, 1.4 * EVN_TEXT_SIZE);
	for (uint32_t i = 0; i < m->n_rows; i += step) {
		double y = a.y + (i + 0.5) * a.height / m->n_rows;
		evn_draw_line(c, a.x - EVN_TICK_LENGTH, y, a.x, y);
		draw_name(c, name_of(m->row_names, i, number), a.x - GAP, y, false);
	}
}

/* Names are horizontal if they fit side by side; otherwise they read upwards. */
static void draw_column_names(const evn_canvas *c, const evn_heat_map *m, evn_rect a, bool upwards, double needed)
{
	char number[16];
	double bottom = a.y + a.height;
	uint32_t step = every(m->n_columns, a.width, needed);
	for (uint32_t i = 0; i < m->n_columns; i += step) {
		double x = a.x + (i + 0.5) * a.width / m->n_columns;
		const char *name = name_of(m->column_names, i, number);
		evn_draw_line(c, x, bottom, x, bottom + EVN_TICK_LENGTH);
		if (upwards)
			draw_name(c, name, x, bottom + GAP, true);
		else
			evn_draw_text(c, name, EVN_TEXT_SIZE, x, bottom + GAP, 0.5, 0);
	}
}

static void range_of(const evn_heat_map *m, double *low, double *high)
{
	*low = INFINITY;
	*high = -INFINITY;
	for (size_t i = 0; i < (size_t)m->n_rows * m->n_columns; i++)
		if (isfinite(m->values[i])) {
			*low = fmin(*low, (double)m->values[i]);
			*high = fmax(*high, (double)m->values[i]);
		}
	if (*low > *high)
		*low = *high = 0;
}

static evn_colour cell_colour(const evn_axis *scale, float value)
{
	return isfinite(value) ? evn_scale_colour(evn_axis_place(scale, (double)value)) : evn_no_value;
}

static uint32_t pixel_of(evn_colour c)
{
	return (uint32_t)lround(c.r * 255) << 16 | (uint32_t)lround(c.g * 255) << 8 | (uint32_t)lround(c.b * 255);
}

/* Each cell is one pixel, and the image is stretched over the area. Cells smaller than a pixel are averaged; larger
 * ones have sharp edges. */
static void draw_cells(const evn_canvas *c, const evn_heat_map *m, const evn_axis *scale, evn_rect a)
{
	cairo_surface_t *cells = cairo_image_surface_create(CAIRO_FORMAT_RGB24, (int)m->n_columns, (int)m->n_rows);
	unsigned char *data = cairo_image_surface_get_data(cells);
	for (uint32_t r = 0; data && r < m->n_rows; r++)
		for (uint32_t k = 0; k < m->n_columns; k++) {
			uint32_t pixel = pixel_of(cell_colour(scale, m->values[(size_t)r * m->n_columns + k]));
			memcpy(data + (size_t)r * (size_t)cairo_image_surface_get_stride(cells) + k * sizeof pixel, &pixel,
				   sizeof pixel);
		}
	cairo_surface_mark_dirty(cells);
	bool large = a.width >= m->n_columns && a.height >= m->n_rows;
	cairo_save(c->cr);
	cairo_rectangle(c->cr, a.x, a.y, a.width, a.height);
	cairo_clip(c->cr);
	cairo_translate(c->cr, a.x, a.y);
	cairo_scale(c->cr, a.width / m->n_columns, a.height / m->n_rows);
	cairo_set_source_surface(c->cr, cells, 0, 0);
	cairo_pattern_set_filter(cairo_get_source(c->cr), large ? CAIRO_FILTER_NEAREST : CAIRO_FILTER_GOOD);
	cairo_pattern_set_extend(cairo_get_source(c->cr), CAIRO_EXTEND_PAD);
	cairo_paint(c->cr);
	cairo_restore(c->cr);
	cairo_surface_destroy(cells);
}

/* White lines separate neighbours of the same colour. */
static void draw_borders(const evn_canvas *c, const evn_heat_map *m, evn_rect a)
{
	const double least = 12; /* pixels of a cell */
	evn_set_colour(c, (evn_colour){1, 1, 1});
	cairo_set_line_width(c->cr, 1);
	for (uint32_t i = 1; a.width / m->n_columns >= least && i < m->n_columns; i++)
		evn_draw_line(c, a.x + i * a.width / m->n_columns, a.y, a.x + i * a.width / m->n_columns, a.y + a.height);
	for (uint32_t i = 1; a.height / m->n_rows >= least && i < m->n_rows; i++)
		evn_draw_line(c, a.x, a.y + i * a.height / m->n_rows, a.x + a.width, a.y + i * a.height / m->n_rows);
}

static void draw_values(const evn_canvas *c, const evn_heat_map *m, const evn_axis *scale, evn_rect a)
{
	static const evn_colour white = {1, 1, 1};
	const double w = a.width / m->n_columns, h = a.height / m->n_rows, size = EVN_TEXT_SIZE - 2;
	if (w < evn_text_width(c, "-00.00", size) || h < 1.4 * size)
		return;
	for (uint32_t r = 0; r < m->n_rows; r++)
		for (uint32_t k = 0; k < m->n_columns; k++) {
			float value = m->values[(size_t)r * m->n_columns + k];
			evn_colour under = cell_colour(scale, value);
			char text[32];
			snprintf(text, sizeof text, fabsf(value) < 100 ? "%.2f" : "%.3g", (double)value);
			evn_set_colour(c, 0.3 * under.r + 0.6 * under.g + 0.1 * under.b < 0.55 ? white : evn_ink);
			evn_draw_text(c, text, size, a.x + (k + 0.5) * w, a.y + (r + 0.5) * h, 0.5, 0.5);
		}
	evn_set_colour(c, evn_ink);
}

static void draw_color_bar(const evn_canvas *c, const evn_heat_map *m, const evn_axis *scale, evn_rect a)
{
	evn_rect bar = {a.x + a.width + 28, a.y, BAR_WIDTH, a.height};
	cairo_set_line_width(c->cr, 1);
	for (int i = 0; i < (int)bar.height; i++) {
		evn_set_colour(c, evn_scale_colour(1 - (i + 0.5) / bar.height));
		cairo_rectangle(c->cr, bar.x, bar.y + i, bar.width, 1);
		cairo_fill(c->cr);
	}
	evn_draw_frame(c, bar);
	for (uint32_t i = 0; i < scale->n_ticks; i++) {
		double y = bar.y + bar.height * (1 - evn_axis_place(scale, scale->ticks[i]));
		evn_draw_line(c, bar.x + bar.width, y, bar.x + bar.width + EVN_TICK_LENGTH, y);
		evn_draw_text(c, scale->labels[i], EVN_TEXT_SIZE, bar.x + bar.width + GAP, y, 0, 0.5);
	}
	evn_draw_text(c, m->value_label, EVN_TEXT_SIZE, bar.x + bar.width, bar.y - 16, 0.5, 1);
}

void evn_draw_heat_map(const evn_canvas *c, const evn_heat_map *m, evn_rect *area)
{
	double low, high, columns_width = names_width(c, m->column_names, m->n_columns);
	range_of(m, &low, &high);
	evn_axis scale = evn_axis_make(low, high, false, false, 8);
	evn_rect a = {.x = floor(names_width(c, m->row_names, m->n_rows) + 2 * GAP + (m->y_label ? 34 : 12)), .y = TOP};
	a.width = EVN_PLOT_WIDTH - BAR_SPACE - a.x;
	bool upwards = m->column_names && m->n_columns * (columns_width + GAP) > a.width;
	a.height =
		floor(EVN_PLOT_HEIGHT - a.y - (upwards ? columns_width : EVN_TEXT_SIZE) - GAP - (m->x_label ? 44 : 16));
	draw_cells(c, m, &scale, a);
	draw_borders(c, m, a);
	draw_values(c, m, &scale, a);
	evn_draw_frame(c, a);
	draw_row_names(c, m, a);
	draw_column_names(c, m, a, upwards, upwards ? 1.3 * EVN_TEXT_SIZE : columns_width + GAP);
	draw_color_bar(c, m, &scale, a);
	evn_draw_title(c, m->title, a);
	evn_draw_text(c, m->x_label, EVN_TEXT_SIZE, a.x + a.width / 2, EVN_PLOT_HEIGHT - 16, 0.5, 1);
	if (m->y_label)
		evn_draw_text_upwards(c, m->y_label, EVN_TEXT_SIZE, 24, a.y + a.height / 2);
	*area = a;
}

evn_status evn_plot_heat_map(const char *path, const evn_heat_map *m, evn_error *err)
{
	evn_canvas c;
	evn_rect area;
	if (m->n_rows == 0 || m->n_columns == 0 || m->n_rows > EVN_PLOT_MAX_CELLS || m->n_columns > EVN_PLOT_MAX_CELLS)
		return evn_fail(err, EVN_ERR_USAGE, "a heat map of %u rows and %u columns: expected 1 to %d of each",
						m->n_rows, m->n_columns, EVN_PLOT_MAX_CELLS);
	evn_status s = evn_canvas_create(&c, path, err);
	if (s == EVN_OK) {
		evn_draw_heat_map(&c, m, &area);
		s = evn_canvas_save(&c, path, err);
	}
	evn_canvas_free(&c);
	return s;
}
