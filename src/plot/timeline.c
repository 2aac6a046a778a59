/* timeline.c - draws what several rows did in a stretch of time: bars coloured by kind, and below them a part of the
 * time, larger. */
#include <math.h>

#include "plot/canvas.h"

#define LEFT 24.0
#define NAME_MOST 320.0 /* a longer name of a row is cut */
#define RIGHT 36.0
#define TOP 84.0
#define AXIS_SPACE 64.0 /* below a panel: ticks and a label */
#define ZOOM_TITLE 30.0
#define BAR_MOST 64.0
#define BAR_PART 0.72 /* of the height of a row */

typedef struct {
	const evn_canvas *c;
	const evn_timeline *t;
	evn_rect area;
	evn_axis time;
} panel;

static void use_kind(const evn_canvas *c, uint32_t kind)
{
	evn_set_colour(c, kind < EVN_PLOT_MAX_SERIES ? evn_series_colours[kind] : evn_no_value);
}

static double names_width(const evn_canvas *c, const evn_timeline *t)
{
	double widest = 0;
	for (uint32_t i = 0; i < t->n_rows; i++)
		widest = fmax(widest, evn_text_width(c, t->row_names[i], EVN_TEXT_SIZE));
	return fmin(widest, NAME_MOST);
}

static void draw_axis(const panel *p)
{
	const evn_rect a = p->area;
	cairo_set_line_width(p->c->cr, 1);
	for (uint32_t i = 0; i < p->time.n_ticks; i++) {
		const double x = a.x + a.width * evn_axis_place(&p->time, p->time.ticks[i]);
		evn_set_colour(p->c, evn_grid);
		evn_draw_line(p->c, x, a.y, x, a.y + a.height);
		evn_set_colour(p->c, evn_ink);
		evn_draw_line(p->c, x, a.y + a.height, x, a.y + a.height + EVN_TICK_LENGTH);
		evn_draw_text(p->c, p->time.labels[i], EVN_TEXT_SIZE, x, a.y + a.height + 12, 0.5, 0);
	}
	evn_draw_text(p->c, p->t->x_label, EVN_TEXT_SIZE, a.x + a.width / 2, a.y + a.height + 38, 0.5, 0);
}

static void draw_names(const panel *p)
{
	const double height = p->area.height / p->t->n_rows;
	evn_set_colour(p->c, evn_ink);
	for (uint32_t i = 0; i < p->t->n_rows; i++) {
		cairo_save(p->c->cr);
		cairo_rectangle(p->c->cr, LEFT, p->area.y, p->area.x - LEFT - 8, p->area.height);
		cairo_clip(p->c->cr);
		evn_draw_text(p->c, p->t->row_names[i], EVN_TEXT_SIZE, LEFT, p->area.y + (i + 0.5) * height, 0, 0.5);
		cairo_restore(p->c->cr);
	}
}

static void draw_spans(const panel *p)
{
	const evn_rect a = p->area;
	const double height = a.height / p->t->n_rows;
	cairo_save(p->c->cr);
	cairo_rectangle(p->c->cr, a.x, a.y, a.width, a.height);
	cairo_clip(p->c->cr);
	for (size_t i = 0; i < p->t->n_spans; i++) {
		const evn_timeline_span *s = &p->t->spans[i];
		if (s->row >= p->t->n_rows || s->ended < p->time.min || s->began > p->time.max)
			continue;
		const double x0 = a.x + a.width * evn_axis_place(&p->time, s->began);
		const double x1 = a.x + a.width * evn_axis_place(&p->time, s->ended);
		use_kind(p->c, s->kind);
		cairo_rectangle(p->c->cr, x0, a.y + (s->row + (1 - BAR_PART) / 2) * height, x1 - x0, BAR_PART * height);
		cairo_fill(p->c->cr);
	}
	cairo_restore(p->c->cr);
}

static void draw_panel(const evn_canvas *c, const evn_timeline *t, evn_rect area, double began, double ended)
{
	const panel p = {.c = c, .t = t, .area = area, .time = evn_axis_make(began, ended, false, false, 10)};
	draw_axis(&p);
	draw_names(&p);
	draw_spans(&p);
	evn_draw_frame(c, area);
}

static void draw_legend(const evn_canvas *c, const evn_timeline *t)
{
	double x = LEFT;
	const double y = TOP - 26;
	for (uint32_t k = 0; k < t->n_kinds; k++) {
		if (!t->kinds[k])
			continue;
		use_kind(c, k);
		cairo_rectangle(c->cr, x, y - 8, 24, 16);
		cairo_fill(c->cr);
		evn_set_colour(c, evn_ink);
		evn_draw_text(c, t->kinds[k], EVN_TEXT_SIZE, x + 32, y, 0, 0.5);
		x += 32 + evn_text_width(c, t->kinds[k], EVN_TEXT_SIZE) + 28;
	}
}

/* Where the time was too short for a line of the zoom's ends to be seen, they would only hide bars. */
static void mark_zoom(const evn_canvas *c, const evn_timeline *t, evn_rect a)
{
	const double scale = a.width / (t->ended - t->began);
	evn_set_colour(c, evn_ink);
	cairo_set_line_width(c->cr, 1.5);
	cairo_rectangle(c->cr, a.x + (t->zoom_began - t->began) * scale, a.y + 1, (t->zoom_ended - t->zoom_began) * scale,
					a.height - 2);
	cairo_stroke(c->cr);
}

static void draw(const evn_canvas *c, const evn_timeline *t)
{
	const double left = LEFT + names_width(c, t) + 16;
	const double panels = t->zoom_title ? 2 : 1;
	const double room = EVN_PLOT_HEIGHT - TOP - panels * AXIS_SPACE - (panels - 1) * ZOOM_TITLE;
	const double height = fmin(room / panels, BAR_MOST / BAR_PART * t->n_rows);
	evn_rect area = {left, TOP, EVN_PLOT_WIDTH - left - RIGHT, height};
	evn_draw_title(c, t->title, (evn_rect){LEFT, TOP, area.width, height});
	draw_legend(c, t);
	draw_panel(c, t, area, t->began, t->ended);
	if (!t->zoom_title)
		return;
	mark_zoom(c, t, area);
	area.y += height + AXIS_SPACE + ZOOM_TITLE;
	evn_set_colour(c, evn_ink);
	evn_draw_text(c, t->zoom_title, EVN_TEXT_SIZE, LEFT, area.y - 16, 0, 0.5);
	draw_panel(c, t, area, t->zoom_began, t->zoom_ended);
}

evn_status evn_plot_timeline(const char *path, const evn_timeline *t, evn_error *err)
{
	evn_canvas c;
	if (!t->n_rows || t->n_kinds > EVN_TIMELINE_KINDS || !(t->ended > t->began) ||
		(t->zoom_title && !(t->zoom_ended > t->zoom_began)))
		return evn_fail(err, EVN_ERR_USAGE,
						"a timeline of %u rows and %u kinds: expected rows, at most %d kinds and "
						"times that end after they begin",
						t->n_rows, t->n_kinds, EVN_TIMELINE_KINDS);
	evn_status s = evn_canvas_create(&c, path, err);
	if (s == EVN_OK) {
		draw(&c, t);
		s = evn_canvas_save(&c, path, err);
	}
	evn_canvas_free(&c);
	return s;
}
