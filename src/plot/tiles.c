/* tiles.c - draws an image with the tiles that it was cut into, and what was found in each. */
#include <cairo.h>
#include <math.h>
#include <stdlib.h>

#include "plot/canvas.h"

#define LEFT 24.0
#define TOP 62.0
#define BOTTOM 24.0
#define LEGEND_GAP 24.0
#define LEGEND_MOST 260.0 /* a longer name is cut */
#define SWATCH 18.0
#define FRAME 4.0

static void use_kind(const evn_canvas *c, uint32_t kind)
{
	evn_set_colour(c, kind < EVN_PLOT_MAX_SERIES ? evn_series_colours[kind] : evn_no_value);
}

static double legend_width(const evn_canvas *c, const evn_tiled_image *t)
{
	double widest = 0;
	for (uint32_t i = 0; i < t->n_kinds; i++)
		widest = fmax(widest, evn_text_width(c, t->kinds[i], EVN_TEXT_SIZE));
	return t->n_kinds ? SWATCH + 8 + fmin(widest, LEGEND_MOST) : 0;
}

static void draw_legend(const evn_canvas *c, const evn_tiled_image *t, double x)
{
	for (uint32_t i = 0; i < t->n_kinds; i++) {
		const double y = TOP + i * 1.7 * EVN_TEXT_SIZE;
		use_kind(c, i);
		cairo_rectangle(c->cr, x, y, SWATCH, SWATCH);
		cairo_fill(c->cr);
		cairo_save(c->cr);
		cairo_rectangle(c->cr, x + SWATCH + 8, y - 4, LEGEND_MOST, 2 * EVN_TEXT_SIZE);
		cairo_clip(c->cr);
		evn_set_colour(c, evn_ink);
		evn_draw_text(c, t->kinds[i], EVN_TEXT_SIZE, x + SWATCH + 8, y + SWATCH / 2, 0, 0.5);
		cairo_restore(c->cr);
	}
}

static evn_status draw_pixels(const evn_canvas *c, const evn_tiled_image *t, evn_rect a, evn_error *err)
{
	cairo_surface_t *s = cairo_image_surface_create(CAIRO_FORMAT_RGB24, (int)t->width, (int)t->height);
	uint8_t *data = cairo_image_surface_get_data(s);
	if (!data) {
		cairo_surface_destroy(s);
		return evn_fail(err, EVN_ERR_LIMIT, "the picture cannot be drawn: an image of %u x %u pixels", t->width,
						t->height);
	}
	const size_t stride = (size_t)cairo_image_surface_get_stride(s);
	cairo_surface_flush(s);
	for (uint32_t y = 0; y < t->height; y++)
		for (uint32_t x = 0; x < t->width; x++) {
			const uint8_t *p = t->rgb + ((size_t)y * t->width + x) * 3;
			*(uint32_t *)(void *)(data + y * stride + (size_t)x * 4) =
				(uint32_t)p[0] << 16 | (uint32_t)p[1] << 8 | (uint32_t)p[2];
		}
	cairo_surface_mark_dirty(s);
	cairo_save(c->cr);
	cairo_translate(c->cr, a.x, a.y);
	cairo_scale(c->cr, a.width / t->width, a.height / t->height);
	cairo_set_source_surface(c->cr, s, 0, 0);
	cairo_pattern_set_filter(cairo_get_source(c->cr), CAIRO_FILTER_NEAREST);
	cairo_rectangle(c->cr, 0, 0, t->width, t->height);
	cairo_fill(c->cr);
	cairo_restore(c->cr);
	cairo_surface_destroy(s);
	return EVN_OK;
}

/* A frame in the colour of what was found, and its name on white in the upper left corner. */
static void draw_tile(const evn_canvas *c, const evn_tile *t, evn_rect a)
{
	const evn_rect r = {a.x + t->x * a.width, a.y + t->y * a.height, t->width * a.width, t->height * a.height};
	const double width = fmin(evn_text_width(c, t->label, EVN_TEXT_SIZE) + 10, fmax(0, r.width - 2 * FRAME));
	cairo_save(c->cr);
	cairo_rectangle(c->cr, r.x, r.y, r.width, r.height);
	cairo_clip(c->cr);
	use_kind(c, t->kind);
	cairo_set_line_width(c->cr, 2 * FRAME); /* one half of it is inside */
	cairo_rectangle(c->cr, r.x, r.y, r.width, r.height);
	cairo_stroke(c->cr);
	cairo_rectangle(c->cr, r.x + FRAME, r.y + FRAME, width, 1.6 * EVN_TEXT_SIZE);
	cairo_set_source_rgba(c->cr, 1, 1, 1, 0.85);
	cairo_fill_preserve(c->cr);
	cairo_clip(c->cr);
	evn_set_colour(c, evn_ink);
	evn_draw_text(c, t->label, EVN_TEXT_SIZE, r.x + FRAME + 5, r.y + FRAME + 0.8 * EVN_TEXT_SIZE, 0, 0.5);
	cairo_restore(c->cr);
}

evn_status evn_plot_tiles(const char *path, const evn_tiled_image *t, evn_error *err)
{
	evn_canvas c;
	if (!t->width || !t->height)
		return evn_fail(err, EVN_ERR_USAGE, "the picture cannot be drawn: the image has no pixels");
	evn_status s = evn_canvas_create(&c, path, err);
	if (s == EVN_OK) {
		const double legend = legend_width(&c, t), right = legend > 0 ? legend + LEGEND_GAP + LEFT : LEFT;
		const double width = EVN_PLOT_WIDTH - LEFT - right, height = EVN_PLOT_HEIGHT - TOP - BOTTOM;
		const double scale = fmin(width / t->width, height / t->height);
		const evn_rect area = {LEFT, TOP, scale * t->width, scale * t->height};
		s = draw_pixels(&c, t, area, err);
		for (uint32_t i = 0; i < t->n && s == EVN_OK; i++)
			draw_tile(&c, &t->tiles[i], area);
		draw_legend(&c, t, area.x + area.width + LEGEND_GAP);
		evn_set_colour(&c, evn_ink);
		evn_draw_text(&c, t->title, EVN_TITLE_SIZE, LEFT, TOP / 2, 0, 0.5);
	}
	if (s == EVN_OK)
		s = evn_canvas_save(&c, path, err);
	evn_canvas_free(&c);
	return s;
}
