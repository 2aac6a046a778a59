/* test_matrix_views.c - views of a matrix whose rows are in several buffers, as on devices that allow only small
 * ones. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "nn/matrix.h"

static char tiles[3];

static evn_matrix_part part(uint32_t i, uint32_t first_row, uint32_t rows)
{
	return (evn_matrix_part){.quant = evn_quant_by_name("Q8_0"),
							 .rows = rows,
							 .n_steps = 4,
							 .tile_steps = 4,
							 .y_offset = first_row,
							 .first_row = first_row,
							 .tiles = (evn_buf *)&tiles[i]};
}

/* Gate and up of 64 rows each: the first buffer ends within gate, the second within up. */
static evn_matrix gate_up(void)
{
	return (evn_matrix){
		.parts = {part(0, 0, 48), part(1, 48, 48), part(2, 96, 32)}, .n_parts = 3, .rows = 128, .columns = 128};
}

static void assert_part(const evn_matrix_part *p, uint32_t i, uint32_t first_row, uint32_t begin, uint32_t rows,
						uint32_t y_offset)
{
	assert_ptr_equal(p->tiles, &tiles[i]);
	assert_int_equal(p->first_row, first_row);
	assert_int_equal(p->begin, begin);
	assert_int_equal(p->rows, rows);
	assert_int_equal(p->y_offset, y_offset);
}

static void test_rows_of_several_buffers(void **state)
{
	(void)state;
	const evn_matrix m = gate_up();
	const uint32_t offsets[] = {0, 64};
	const evn_range rows[] = {{16, 64}, {16, 50}};
	evn_matrix view;
	uint32_t view_offsets[2];
	evn_matrix_view_output(&view, &m, offsets, 2, rows, view_offsets);
	assert_int_equal(view.n_parts, 4);
	assert_int_equal(view.rows, 48 + 48);
	assert_int_equal(view_offsets[0], 0);
	assert_int_equal(view_offsets[1], 48);
	assert_part(&view.parts[0], 0, 16, 4, 32, 0);
	assert_part(&view.parts[1], 1, 48, 0, 16, 32);
	assert_part(&view.parts[2], 1, 80, 8, 16, 48);
	assert_part(&view.parts[3], 2, 96, 0, 32, 64);
}

/* All rows: neighbours in one buffer are one part again. */
static void test_all_rows(void **state)
{
	(void)state;
	const evn_matrix m = gate_up();
	const uint32_t offsets[] = {0, 64};
	const evn_range rows[] = {{0, 64}, {0, 64}};
	evn_matrix view;
	uint32_t view_offsets[2];
	evn_matrix_view_output(&view, &m, offsets, 2, rows, view_offsets);
	assert_int_equal(view.n_parts, 3);
	for (uint32_t i = 0; i < 3; i++)
		assert_part(&view.parts[i], i, m.parts[i].first_row, 0, m.parts[i].rows, m.parts[i].y_offset);
}

static void test_columns_of_several_buffers(void **state)
{
	(void)state;
	const evn_matrix m = gate_up();
	evn_matrix view;
	evn_matrix_view_input(&view, &m, (evn_range){40, 96});
	assert_int_equal(view.n_parts, 3);
	assert_int_equal(view.x_shift, 8);
	assert_int_equal(view.columns, 64);
	for (uint32_t i = 0; i < 3; i++) {
		assert_int_equal(view.parts[i].begin, 1);
		assert_int_equal(view.parts[i].n_steps, 2);
		assert_int_equal(view.parts[i].y_offset, m.parts[i].y_offset);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_rows_of_several_buffers),
									   cmocka_unit_test(test_all_rows),
									   cmocka_unit_test(test_columns_of_several_buffers)};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
