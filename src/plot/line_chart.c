/* line_chart.c - draws several series over one pair of axes, with a legend above them. */
#include <math.h>

#include "plot/canvas.h"

#define LEFT 100.0
#define RIGHT 36.0
#define BOTTOM 76.0
#define TOP 62.0
#define LEGEND_HEIGHT 28.0
#define FEW_POINTS 40 /* a series with fewer points has a dot at each */

typedef struct {
	const evn_canvas *c;
	const evn_line_chart *chart;
	evn_axis x, y;
	evn_rect area;
} drawing;

static bool shown(const evn_line_chart *chart, const evn_plot_series *s, size_t i)
{
	return isfinite(s->x[i]) && isfinite(s->y[i]) && (!chart->x_log || s->x[i] > 0) && (!chart->y_log || s->y[i] > 0);
}

static bool find_ranges(const evn_line_chart *chart, double x[2], double y[2])
{
	x[0] = y[0] = INFINITY;
	x[1] = y[1] = -INFINITY;
	for (size_t k = 0; k < chart->n_series; k++)
		for (size_t i = 0; i < chart->series[k].n; i++) {
			const evn_plot_series *s = &chart->series[k];
			if (!shown(chart, s, i))
				continue;
			x[0] = fmin(x[0], s->x[i]);
			x[1] = fmax(x[1], s->x[i]);
			y[0] = fmin(y[0], s->y[i]);
			y[1] = fmax(y[1], s->y[i]);
		}
	return x[0] <= x[1];
}

static bool has_legend(const evn_line_chart *chart)
{
	for (size_t k = 0; k < chart->n_series; k++)
		if (chart->series[k].name)
			return true;
	return false;
}

static void draw_axes(const drawing *d)
{
	const evn_rect a = d->area;
	for (uint32_t i = 0; i < d->x.n_ticks; i++) {
		double x = a.x + a.width * evn_axis_place(&d->x, d->x.ticks[i]);
		evn_set_colour(d->c, evn_grid);
		evn_draw_line(d->c, x, a.y, x, a.y + a.height);
		evn_set_colour(d->c, evn_ink);
		evn_draw_line(d->c, x, a.y + a.height, x, a.y + a.height + EVN_TICK_LENGTH);
		evn_draw_text(d->c, d->x.labels[i], EVN_TEXT_SIZE, x, a.y + a.height + 12, 0.5, 0);
	}
	for (uint32_t i = 0; i < d->y.n_ticks; i++) {
		double y = a.y + a.height * (1 - evn_axis_place(&d->y, d->y.ticks[i]));
		evn_set_colour(d->c, evn_grid);
		evn_draw_line(d->c, a.x, y, a.x + a.width, y);
		evn_set_colour(d->c, evn_ink);
		evn_draw_line(d->c, a.x - EVN_TICK_LENGTH, y, a.x, y);
		evn_draw_text(d->c, d->y.labels[i], EVN_TEXT_SIZE, a.x - 12, y, 1, 0.5);
	}
	evn_draw_frame(d->c, a);
	evn_draw_title(d->c, d->chart->title, a);
	evn_draw_text(d->c, d->chart->x_label, EVN_TEXT_SIZE, a.x + a.width / 2, EVN_PLOT_HEIGHT - 18, 0.5, 1);
	if (d->chart->y_label)
		evn_draw_text_upwards(d->c, d->chart->y_label, EVN_TEXT_SIZE, 24, a.y + a.height / 2);
}

static void use_pen(const drawing *d, size_t k)
{
	const evn_plot_series *s = &d->chart->series[k];
	evn_colour colour = evn_series_colours[k];
	cairo_set_source_rgba(d->c->cr, colour.r, colour.g, colour.b, s->faint ? 0.35 : 1);
	cairo_set_line_width(d->c->cr, s->faint ? 1 : 2.2);
}

static void draw_series(const drawing *d, size_t k)
{
	const evn_plot_series *s = &d->chart->series[k];
	cairo_t *cr = d->c->cr;
	bool joined = false;
	use_pen(d, k);
	for (int dots = 0; dots <= (s->n <= FEW_POINTS); dots++)
		for (size_t i = 0; i < s->n; i++) {
			bool here = shown(d->chart, s, i);
			double x = here ? d->area.x + d->area.width * evn_axis_place(&d->x, s->x[i]) : 0;
			double y = here ? d->area.y + d->area.height * (1 - evn_axis_place(&d->y, s->y[i])) : 0;
			if (here && dots) {
				cairo_arc(cr, x, y, s->faint ? 2 : 4, 0, 2 * acos(-1));
				cairo_fill(cr);
			} else if (here) {
				(joined ? cairo_line_to : cairo_move_to)(cr, x, y);
			}
			joined = here;
			if (!dots && i + 1 == s->n)
				cairo_stroke(cr);
		}
}

static void draw_legend(const drawing *d)
{
	double x = d->area.x, y = d->area.y - 16;
	for (size_t k = 0; k < d->chart->n_series; k++) {
		const char *name = d->chart->series[k].name;
		if (!name)
			continue;
		use_pen(d, k);
		cairo_set_line_width(d->c->cr, 3);
		evn_draw_line(d->c, x, y, x + 30, y);
		evn_set_colour(d->c, evn_ink);
		evn_draw_text(d->c, name, EVN_TEXT_SIZE, x + 38, y, 0, 0.5);
		x += 38 + evn_text_width(d->c, name, EVN_TEXT_SIZE) + 30;
	}
}

static void draw_chart(drawing *d)
{
	d->area = (evn_rect){LEFT, TOP, EVN_PLOT_WIDTH - LEFT - RIGHT, EVN_PLOT_HEIGHT - TOP - BOTTOM};
	if (has_legend(d->chart)) {
		d->area.y += LEGEND_HEIGHT;
		d->area.height -= LEGEND_HEIGHT;
	}
	cairo_set_line_width(d->c->cr, 1);
	draw_axes(d);
	for (int faint = 1; faint >= 0; faint--) /* pale lines are drawn first, so they lie below */
		for (size_t k = 0; k < d->chart->n_series; k++)
			if (d->chart->series[k].faint == (faint != 0))
				draw_series(d, k);
	draw_legend(d);
}

evn_status evn_plot_line_chart(const char *path, const evn_line_chart *chart, evn_error *err)
{
	evn_canvas c;
	double x[2], y[2];
	if (chart->n_series == 0 || chart->n_series > EVN_PLOT_MAX_SERIES)
		return evn_fail(err, EVN_ERR_USAGE, "a line chart of %zu series: expected 1 to %d", chart->n_series,
						EVN_PLOT_MAX_SERIES);
	if (!find_ranges(chart, x, y))
		return evn_fail(err, EVN_ERR_USAGE, "a line chart without a point that can be drawn");
	evn_status s = evn_canvas_create(&c, path, err);
	if (s == EVN_OK) {
		drawing d = {.c = &c,
					 .chart = chart,
					 .x = evn_axis_make(x[0], x[1], chart->x_log, false, 10),
					 .y = evn_axis_make(y[0], y[1], chart->y_log, true, 8)};
		draw_chart(&d);
		s = evn_canvas_save(&c, path, err);
	}
	evn_canvas_free(&c);
	return s;
}
