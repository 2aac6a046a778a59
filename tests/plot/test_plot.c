/* test_plot.c - ticks by value, pictures by their pixels (read back from the PNG), and files that cannot be
 * written. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <math.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "plot/canvas.h"

static char folder[] = "/tmp/evener-plot-XXXXXX";

static const char *in_folder(const char *name)
{
	static char path[128];
	snprintf(path, sizeof path, "%s/%s", folder, name);
	return path;
}

static cairo_surface_t *read_png(const char *path)
{
	cairo_surface_t *s = cairo_image_surface_create_from_png(path);
	assert_int_equal(cairo_surface_status(s), CAIRO_STATUS_SUCCESS);
	assert_int_equal(cairo_image_surface_get_width(s), EVN_PLOT_WIDTH);
	assert_int_equal(cairo_image_surface_get_height(s), EVN_PLOT_HEIGHT);
	return s;
}

static uint32_t pixel(cairo_surface_t *s, double x, double y)
{
	uint32_t p;
	size_t stride = (size_t)cairo_image_surface_get_stride(s);
	memcpy(&p, cairo_image_surface_get_data(s) + (size_t)y * stride + (size_t)x * sizeof p, sizeof p);
	return p & 0xffffff;
}

static uint32_t scale_pixel(double place)
{
	evn_colour c = evn_scale_colour(place);
	return (uint32_t)lround(c.r * 255) << 16 | (uint32_t)lround(c.g * 255) << 8 | (uint32_t)lround(c.b * 255);
}

static void assert_labels(const evn_axis *a, const char *expected)
{
	char got[EVN_AXIS_TICKS * 17] = "";
	for (uint32_t i = 0; i < a->n_ticks; i++)
		snprintf(got + strlen(got), sizeof got - strlen(got), "%s%s", i ? " " : "", a->labels[i]);
	assert_string_equal(got, expected);
}

static void test_ticks(void **state)
{
	(void)state;
	evn_axis a = evn_axis_make(0, 10, false, false, 10);
	assert_labels(&a, "0 1 2 3 4 5 6 7 8 9 10");
	a = evn_axis_make(-0.37, 0.41, false, true, 8);
	assert_labels(&a, "-0.4 -0.3 -0.2 -0.1 0.0 0.1 0.2 0.3 0.4 0.5");
	a = evn_axis_make(1.93, 5.51, false, true, 8);
	assert_labels(&a, "1.5 2.0 2.5 3.0 3.5 4.0 4.5 5.0 5.5 6.0");
	a = evn_axis_make(0, 20067, false, false, 10);
	assert_labels(&a, "0 5k 10k 15k 20k");
	a = evn_axis_make(0, 3.2e6, false, false, 5);
	assert_labels(&a, "0 1M 2M 3M");
	a = evn_axis_make(7, 7, false, true, 8);
	assert_true(a.min < 7 && a.max > 7 && a.n_ticks >= 2);
	a = evn_axis_make(0, 0, false, true, 8);
	assert_true(a.min < 0 && a.max > 0);
}

static void test_log_ticks(void **state)
{
	(void)state;
	evn_axis a = evn_axis_make(1e-4, 1, true, true, 8);
	assert_labels(&a, "0.0001 0.001 0.01 0.1 1");
	a = evn_axis_make(3, 40, true, true, 8);
	assert_labels(&a, "2 5 10 20 50");
	assert_true(fabs(evn_axis_place(&a, 10) - 0.5) < 1e-12); /* the middle between 2 and 50 on a logarithmic scale */
	a = evn_axis_make(1e-30, 1e30, true, false, 8);
	assert_true(a.n_ticks >= 4 && a.n_ticks <= 10);
}

static void test_every_range_has_readable_ticks(void **state)
{
	(void)state;
	for (double low = -3e7; low < 3e7; low = low < -1e-3 ? low / 7 : low < 1e-3 ? 1.1e-3 : low * 7)
		for (double width = 1e-3; width < 1e8; width *= 3) {
			evn_axis a = evn_axis_make(low, low + width, false, true, 8);
			assert_true(a.min <= low + 1e-9 * width && a.max >= low + width * (1 - 1e-9));
			assert_in_range(a.n_ticks, 3, 11);
			double step = a.ticks[1] - a.ticks[0], first_digit = step / pow(10, floor(log10(step) + 1e-6));
			assert_true(fabs(first_digit - 1) < 1e-4 || fabs(first_digit - 2) < 1e-4 || fabs(first_digit - 5) < 1e-4);
		}
}

static void test_heat_map_cells_have_their_colours(void **state)
{
	(void)state;
	enum { ROWS = 3, COLUMNS = 4 };
	/* the middle of the range, both ends, and one cell without a value */
	static const float values[ROWS * COLUMNS] = {0, 1, 2, 3, 4, 5, 6, 7, NAN, 8, 9, 10};
	evn_heat_map m = {"cells", "column", "row", "value", ROWS, COLUMNS, values, NULL, NULL};
	evn_canvas c;
	evn_rect a;
	assert_int_equal(evn_canvas_create(&c, "cells.png", NULL), EVN_OK);
	evn_draw_heat_map(&c, &m, &a);
	evn_canvas_free(&c);
	assert_int_equal(evn_plot_heat_map(in_folder("cells.png"), &m, NULL), EVN_OK);
	cairo_surface_t *s = read_png(in_folder("cells.png"));
	assert_int_equal(pixel(s, 2, 2), 0xffffff);
	for (int r = 0; r < ROWS; r++)
		for (int k = 0; k < COLUMNS; k++) {
			float v = values[r * COLUMNS + k];
			/* all four corners, inside the cell and away from the number in its middle */
			for (int corner = 0; corner < 4; corner++) {
				double x = a.x + (k + (corner & 1 ? 0.97 : 0.03)) * a.width / COLUMNS;
				double y = a.y + (r + (corner & 2 ? 0.97 : 0.03)) * a.height / ROWS;
				assert_int_equal(pixel(s, x, y), isnan(v) ? 0xcccccc : scale_pixel((double)v / 10));
			}
		}
	cairo_surface_destroy(s);
}

static void test_heat_map_with_more_cells_than_pixels(void **state)
{
	(void)state;
	enum { ROWS = 3000, COLUMNS = 5000 };
	float *values = malloc(sizeof *values * ROWS * COLUMNS);
	assert_non_null(values);
	for (size_t i = 0; i < (size_t)ROWS * COLUMNS; i++)
		values[i] = i % COLUMNS < COLUMNS / 2 ? -1 : 1;
	evn_heat_map m = {NULL, NULL, NULL, NULL, ROWS, COLUMNS, values, NULL, NULL};
	assert_int_equal(evn_plot_heat_map(in_folder("many.png"), &m, NULL), EVN_OK);
	cairo_surface_t *s = read_png(in_folder("many.png"));
	assert_int_equal(pixel(s, 300, 300), scale_pixel(0));
	assert_int_equal(pixel(s, 900, 300), scale_pixel(1));
	cairo_surface_destroy(s);
	free(values);
}

static void test_line_chart_draws_its_series(void **state)
{
	(void)state;
	static const double x[] = {0, 100}, low[] = {0, 0}, high[] = {10, 10};
	const evn_plot_series series[] = {{"low", 2, x, low, false}, {"high", 2, x, high, false}};
	evn_line_chart chart = {"lines", "step", "loss (nats)", false, false, series, 2};
	assert_int_equal(evn_plot_line_chart(in_folder("lines.png"), &chart, NULL), EVN_OK);
	cairo_surface_t *s = read_png(in_folder("lines.png"));
	/* from top to bottom in the middle: the colour of the upper line comes first, and each series keeps its own */
	int first_high = -1, first_low = -1;
	for (int y = 60; y < EVN_PLOT_HEIGHT - 40; y++) {
		if (pixel(s, 610, y) == 0xd55e00 && first_high < 0)
			first_high = y;
		if (pixel(s, 610, y) == 0x0072b2 && first_low < 0)
			first_low = y;
	}
	assert_true(first_high > 60 && first_low > first_high + 400);
	cairo_surface_destroy(s);
}

static void test_gaps_are_not_drawn_over(void **state)
{
	(void)state;
	static const double x[] = {1, 2, 3, 4}, y[] = {5, NAN, -1, 5};
	const evn_plot_series series = {"gap", 4, x, y, false};
	evn_line_chart chart = {NULL, "x", "y", false, true, &series, 1}; /* -1 has no logarithm */
	assert_int_equal(evn_plot_line_chart(in_folder("gap.png"), &chart, NULL), EVN_OK);
	cairo_surface_t *s = read_png(in_folder("gap.png"));
	for (int row = 100; row < EVN_PLOT_HEIGHT - 80; row++)
		assert_int_not_equal(pixel(s, 632, row), 0x0072b2);
	cairo_surface_destroy(s);
}

static void test_tiles_have_frames_and_show_the_image(void **state)
{
	(void)state;
	static const uint8_t rgb[] = {255, 0, 0,
								  0,   0, 255}; /* a red pixel and a blue one: 576 pixels of the picture each */
	const evn_tile tiles[] = {{0, 0, 0.5, 1, 0, "red"}, {0.5, 0, 0.5, 1, 1, "blue"}};
	evn_tiled_image t = {.title = "two", .width = 2, .height = 1, .rgb = rgb, .tiles = tiles, .n = 2};
	assert_int_equal(evn_plot_tiles(in_folder("tiles.png"), &t, NULL), EVN_OK);
	cairo_surface_t *s = read_png(in_folder("tiles.png"));
	assert_int_equal(pixel(s, 24 + 288, 62 + 288), 0xff0000);
	assert_int_equal(pixel(s, 24 + 864, 62 + 288), 0x0000ff);
	assert_int_equal(pixel(s, 24 + 1, 62 + 288), 0x0072b2);
	assert_int_equal(pixel(s, 24 + 576 - 2, 62 + 288), 0x0072b2);
	assert_int_equal(pixel(s, 24 + 576 + 1, 62 + 288), 0xd55e00);
	assert_int_equal(pixel(s, 24 + 576, 62 + 576 + 8), 0xffffff);
	cairo_surface_destroy(s);
	t.width = 0;
	assert_int_equal(evn_plot_tiles(in_folder("no.png"), &t, NULL), EVN_ERR_USAGE);
}

static void test_svg_by_its_name(void **state)
{
	(void)state;
	const double x[] = {1, 2}, y[] = {3, 4};
	const evn_plot_series series = {.n = 2, .x = x, .y = y};
	const evn_line_chart chart = {.series = &series, .n_series = 1};
	char begin[64] = "";
	assert_int_equal(evn_plot_line_chart(in_folder("lines.svg"), &chart, NULL), EVN_OK);
	FILE *f = fopen(in_folder("lines.svg"), "r");
	assert_non_null(f);
	assert_true(fread(begin, 1, sizeof begin - 1, f) > 0);
	fclose(f);
	assert_non_null(strstr(begin, "<svg") ? begin : strstr(begin, "<?xml"));
}

static void test_wrong_use_is_told(void **state)
{
	(void)state;
	evn_error err;
	static const double nothing[] = {NAN};
	const evn_plot_series series = {"none", 1, nothing, nothing, false};
	evn_line_chart chart = {.series = &series, .n_series = 1};
	assert_int_equal(evn_plot_line_chart(in_folder("no.png"), &chart, &err), EVN_ERR_USAGE);
	assert_non_null(strstr(err.text, "without a point"));
	chart.n_series = EVN_PLOT_MAX_SERIES + 1;
	assert_int_equal(evn_plot_line_chart(in_folder("no.png"), &chart, &err), EVN_ERR_USAGE);
	assert_int_equal(evn_plot_heat_map(in_folder("no.png"), &(evn_heat_map){0}, &err), EVN_ERR_USAGE);
	static const float one[] = {1};
	evn_heat_map m = {"\xff\xfe", NULL, NULL, NULL, 1, 1, one, NULL, NULL};
	assert_int_equal(evn_plot_heat_map(in_folder("no.png"), &m, &err), EVN_ERR_USAGE); /* not UTF-8 */
	assert_int_equal(access(in_folder("no.png"), F_OK), -1);
}

static void test_unwritable_files_are_told(void **state)
{
	(void)state;
	evn_error err;
	static const float one[] = {1};
	evn_heat_map m = {.n_rows = 1, .n_columns = 1, .values = one};
	assert_int_equal(evn_plot_heat_map("/nonexistent/folder/p.png", &m, &err), EVN_ERR_FILE);
	assert_non_null(strstr(err.text, "/nonexistent/folder/p.png"));
	assert_int_equal(evn_plot_heat_map(folder, &m, &err), EVN_ERR_FILE);
	struct stat before, after;
	if (stat("/dev/full", &before) != 0)
		return;
	assert_int_equal(evn_plot_heat_map("/dev/full", &m, &err), EVN_ERR_FILE);
	assert_non_null(strstr(err.text, "No space left"));
	assert_int_equal(stat("/dev/full", &after), 0);
	assert_true(S_ISCHR(after.st_mode) && before.st_rdev == after.st_rdev);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_ticks),
		cmocka_unit_test(test_log_ticks),
		cmocka_unit_test(test_every_range_has_readable_ticks),
		cmocka_unit_test(test_heat_map_cells_have_their_colours),
		cmocka_unit_test(test_heat_map_with_more_cells_than_pixels),
		cmocka_unit_test(test_line_chart_draws_its_series),
		cmocka_unit_test(test_gaps_are_not_drawn_over),
		cmocka_unit_test(test_tiles_have_frames_and_show_the_image),
		cmocka_unit_test(test_svg_by_its_name),
		cmocka_unit_test(test_wrong_use_is_told),
		cmocka_unit_test(test_unwritable_files_are_told),
	};
	if (!mkdtemp(folder))
		return 1;
	int failed = cmocka_run_group_tests(tests, NULL, NULL);
	static const char *const files[] = {"cells.png", "many.png", "lines.png", "gap.png", "tiles.png", "lines.svg"};
	for (size_t i = 0; i < sizeof files / sizeof *files; i++)
		unlink(in_folder(files[i]));
	rmdir(folder);
	return failed;
}
