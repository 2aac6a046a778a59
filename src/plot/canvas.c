/* canvas.c - see canvas.h. The lines use the palette of Okabe and Ito, the values viridis. Both keep their order of
 * brightness and remain distinct for colour-blind readers. */
#include "plot/canvas.h"

#include <cairo-svg.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define RGB(hex)                                                                                                     \
	{                                                                                                                \
		((hex) >> 16 & 255) / 255.0, ((hex) >> 8 & 255) / 255.0, ((hex)&255) / 255.0                                 \
	}

const evn_colour evn_ink = RGB(0x262626), evn_grid = RGB(0xe4e4e4), evn_no_value = RGB(0xcccccc);
const evn_colour evn_series_colours[EVN_PLOT_MAX_SERIES] = {
	RGB(0x0072b2), RGB(0xd55e00), RGB(0x009e73), RGB(0xcc79a7), RGB(0xe69f00), RGB(0x56b4e9), RGB(0x000000)};
static const evn_colour viridis[] = {RGB(0x440154), RGB(0x472d7b), RGB(0x3b528b), RGB(0x2c728e), RGB(0x21918c),
									 RGB(0x28ae80), RGB(0x5ec962), RGB(0xaddc30), RGB(0xfde725)};

evn_colour evn_scale_colour(double place)
{
	const size_t last = sizeof viridis / sizeof *viridis - 1;
	double at = fmin(fmax(place, 0), 1) * (double)last, within;
	size_t i = (size_t)at < last ? (size_t)at : last - 1;
	within = at - (double)i;
	const evn_colour a = viridis[i], b = viridis[i + 1];
	return (evn_colour){a.r + within * (b.r - a.r), a.g + within * (b.g - a.g), a.b + within * (b.b - a.b)};
}

static evn_status check_cairo(cairo_status_t s, evn_error *err)
{
	if (s == CAIRO_STATUS_SUCCESS)
		return EVN_OK;
	evn_status code = s == CAIRO_STATUS_NO_MEMORY ? EVN_ERR_MEMORY : EVN_ERR_USAGE;
	return evn_fail(err, code, "the picture cannot be drawn: %s", cairo_status_to_string(s));
}

typedef struct evn_file_bytes {
	char *data;
	size_t size, capacity;
} file_bytes;

static cairo_status_t append(void *closure, const unsigned char *data, unsigned n)
{
	file_bytes *p = closure;
	if (p->size + n > p->capacity) {
		size_t capacity = 2 * (p->size + n);
		char *bigger = realloc(p->data, capacity);
		if (!bigger)
			return CAIRO_STATUS_NO_MEMORY;
		p->data = bigger;
		p->capacity = capacity;
	}
	memcpy(p->data + p->size, data, n);
	p->size += n;
	return CAIRO_STATUS_SUCCESS;
}

static bool is_svg(const char *path)
{
	const size_t n = strlen(path);
	return n >= 4 && strcmp(path + n - 4, ".svg") == 0;
}

evn_status evn_canvas_create(evn_canvas *out, const char *path, evn_error *err)
{
	*out = (evn_canvas){0};
	if (is_svg(path)) {
		out->svg = calloc(1, sizeof *out->svg);
		if (!out->svg)
			return evn_fail_memory(err, "the picture", sizeof *out->svg);
	}
	out->surface = out->svg ? cairo_svg_surface_create_for_stream(append, out->svg, EVN_PLOT_WIDTH, EVN_PLOT_HEIGHT)
							: cairo_image_surface_create(CAIRO_FORMAT_RGB24, EVN_PLOT_WIDTH, EVN_PLOT_HEIGHT);
	out->cr = cairo_create(out->surface);
	cairo_select_font_face(out->cr, "sans-serif", CAIRO_FONT_SLANT_NORMAL, CAIRO_FONT_WEIGHT_NORMAL);
	cairo_set_source_rgb(out->cr, 1, 1, 1);
	cairo_paint(out->cr);
	return check_cairo(cairo_status(out->cr), err);
}

void evn_canvas_free(evn_canvas *c)
{
	cairo_destroy(c->cr);
	cairo_surface_destroy(c->surface);
	if (c->svg)
		free(c->svg->data);
	free(c->svg);
	*c = (evn_canvas){0};
}

static evn_status save_svg(const evn_canvas *c, const char *path, evn_error *err)
{
	cairo_surface_finish(c->surface);
	EVN_TRY(check_cairo(cairo_surface_status(c->surface), err));
	return evn_write_file(path, c->svg->data, c->svg->size, err);
}

static evn_status save_png(const evn_canvas *c, const char *path, evn_error *err)
{
	file_bytes png = {0};
	evn_status s = check_cairo(cairo_surface_write_to_png_stream(c->surface, append, &png), err);
	if (s == EVN_OK)
		s = evn_write_file(path, png.data, png.size, err);
	free(png.data);
	return s;
}

evn_status evn_canvas_save(const evn_canvas *c, const char *path, evn_error *err)
{
	EVN_TRY(check_cairo(cairo_status(c->cr), err));
	return c->svg ? save_svg(c, path, err) : save_png(c, path, err);
}

void evn_set_colour(const evn_canvas *c, evn_colour colour)
{
	cairo_set_source_rgb(c->cr, colour.r, colour.g, colour.b);
}

double evn_text_width(const evn_canvas *c, const char *text, double size)
{
	cairo_text_extents_t e;
	cairo_set_font_size(c->cr, size);
	cairo_text_extents(c->cr, text, &e);
	return e.x_advance;
}

/* All lines of text have the height of a capital letter above the base line, whatever letters they have. */
void evn_draw_text(const evn_canvas *c, const char *text, double size, double x, double y, double across, double down)
{
	if (!text)
		return;
	double width = evn_text_width(c, text, size), height = 0.72 * size;
	cairo_move_to(c->cr, x - across * width, y + (1 - down) * height);
	cairo_show_text(c->cr, text);
	cairo_new_path(c->cr);
}

void evn_draw_text_upwards(const evn_canvas *c, const char *text, double size, double x, double y)
{
	cairo_save(c->cr);
	cairo_translate(c->cr, x, y);
	cairo_rotate(c->cr, -acos(-1) / 2);
	evn_draw_text(c, text, size, 0, 0, 0.5, 0.5);
	cairo_restore(c->cr);
}

void evn_draw_line(const evn_canvas *c, double x0, double y0, double x1, double y1)
{
	cairo_move_to(c->cr, x0, y0);
	cairo_line_to(c->cr, x1, y1);
	cairo_stroke(c->cr);
}

void evn_draw_frame(const evn_canvas *c, evn_rect a)
{
	evn_set_colour(c, evn_ink);
	cairo_set_line_width(c->cr, 1);
	cairo_rectangle(c->cr, a.x - 0.5, a.y - 0.5, a.width + 1, a.height + 1);
	cairo_stroke(c->cr);
}

void evn_draw_title(const evn_canvas *c, const char *title, evn_rect area)
{
	evn_set_colour(c, evn_ink);
	evn_draw_text(c, title, EVN_TITLE_SIZE, area.x, 22, 0, 0);
}
