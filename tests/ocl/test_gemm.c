/* test_gemm.c - matrix products by CLBlast with our own parameters. The parameters reach CLBlast, the results are
 * right on every driver, and the parameters are stored. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ocl/gemm_params.h"
#include "ocl/internal.h"

#include <clblast_c.h>

#define TALL                                                                                                         \
	"GEMMK=0 KREG=1 KWG=32 KWI=2 MDIMA=2 MDIMC=2 MWG=64 NDIMB=2 NDIMC=2 NWG=16 SA=0 SB=0 STRM=0 STRN=0 VWM=8 "       \
	"VWN=4 XGEMM_MIN_INDIRECT_SIZE=1"
#define REGISTERS                                                                                                    \
	"GEMMK=1 KREG=4 KWG=1 KWI=1 MDIMA=2 MDIMC=2 MWG=32 NDIMB=4 NDIMC=4 NWG=32 SA=0 SB=0 STRM=0 STRN=0 VWM=16 "       \
	"VWN=4 XGEMM_MIN_INDIRECT_SIZE=1"

static evn_system *sys;

static void ok(evn_status s, const evn_error *err)
{
	if (s != EVN_OK)
		fail_msg("%s", err->text);
}

static evn_gemm_params parsed(const char *text)
{
	evn_gemm_params p;
	assert_true(evn_gemm_params_parse(&p, text));
	return p;
}

/* ---- sets as text ---------------------------------------------------------------------------------------------- */

/* A compiler that warns of CLBlast's kernels would write to the user's stderr. */
static void test_no_warnings_of_compilers(void **state)
{
	(void)state;
	evn_gemm_prepare();
	assert_non_null(strstr(getenv("CLBLAST_BUILD_OPTIONS"), "-w "));
}

static void test_text_and_back(void **state)
{
	(void)state;
	char text[EVN_GEMM_TEXT];
	evn_gemm_params p = parsed(TALL);
	assert_int_equal(p.mwg, 64);
	assert_int_equal(p.vwn, 4);
	assert_int_equal(p.indirect_from, 1);
	evn_gemm_params_text(&p, text);
	assert_string_equal(text, TALL);
	p = parsed("  " REGISTERS "\n");
	evn_gemm_params_text(&p, text);
	assert_string_equal(text, REGISTERS);
}

/* The text with one word replaced by another. */
static bool accepted_with(const char *word, const char *instead)
{
	char text[2 * EVN_GEMM_TEXT];
	const char *at = strstr(TALL, word);
	assert_non_null(at);
	snprintf(text, sizeof text, "%.*s%s%s", (int)(at - TALL), TALL, instead, at + strlen(word));
	evn_gemm_params p;
	return evn_gemm_params_parse(&p, text);
}

static void test_what_is_refused(void **state)
{
	(void)state;
	evn_gemm_params p;
	assert_false(evn_gemm_params_parse(&p, ""));
	assert_false(evn_gemm_params_parse(&p, "MWG"));
	assert_true(accepted_with("MWG=64", "MWG=128"));
	static const char *const wrong[] = {
		"",       "MWG=",         "MWG=-64",  "MWG=6x4",          "MWG=65536", "MWG=0", "MWG=24", "MWG=64 MWG=64",
		"MGW=64", "MWG=64 NEW=1", "MWG=4096", "MWG=064000000000", "MWG",       "=64"};
	for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
		if (accepted_with("MWG=64", wrong[i]))
			fail_msg("accepted: '%s'", wrong[i]);
	assert_false(accepted_with("GEMMK=0", "GEMMK=2"));
	assert_false(accepted_with("VWM=8", "VWM=3"));
	assert_false(accepted_with("NDIMC=2", "NDIMC=0"));
	assert_false(accepted_with("KREG=1", "KREG=0"));
	assert_false(accepted_with("XGEMM_MIN_INDIRECT_SIZE=1", "XGEMM_MIN_INDIRECT_SIZE=0"));
}

/* ---- products -------------------------------------------------------------------------------------------------- */

static uint32_t side(bool transposed, uint32_t rows, uint32_t columns) { return transposed ? rows : columns; }

static float value_at(uint64_t i, uint32_t period) { return (float)((int)(i * 7 % period) - (int)period / 2) / 8; }

enum { A_PERIOD = 61, B_PERIOD = 53, C_PERIOD = 43 };

static evn_buf *filled(evn_queue *q, uint64_t n, uint32_t period)
{
	evn_error err = {0};
	evn_buf *b;
	float *host = malloc(n * sizeof *host);
	assert_non_null(host);
	for (uint64_t i = 0; i < n; i++)
		host[i] = value_at(i, period);
	ok(evn_buf_create(&b, evn_queue_device(q), n * sizeof *host, EVN_BUF_DEVICE, "matrix", &err), &err);
	ok(evn_write(q, b, 0, host, n * sizeof *host, &err), &err);
	free(host);
	return b;
}

/* The bound of an entry: k products in f32 in any order, and the two products with alpha and beta. Values beside C
 * must stay. */
static void check(const evn_product *p, const float *c, uint64_t n_c)
{
	for (uint64_t i = 0; i < n_c; i++) {
		uint64_t row = i < p->c_offset ? UINT32_MAX : (i - p->c_offset) / p->ldc, column = (i - p->c_offset) % p->ldc;
		double was = value_at(i, C_PERIOD), sum = 0, magnitude = 0;
		if (i < p->c_offset || row >= p->m || column >= p->n) {
			assert_true(c[i] == (float)was);
			continue;
		}
		for (uint32_t k = 0; k < p->k; k++) {
			uint64_t a = p->a_offset + (p->a_transposed ? k * (uint64_t)p->lda + row : row * p->lda + k);
			uint64_t b = p->b_offset + (p->b_transposed ? column * p->ldb + k : k * (uint64_t)p->ldb + column);
			double term = (double)value_at(a, A_PERIOD) * value_at(b, B_PERIOD);
			sum += term;
			magnitude += fabs(term);
		}
		double right = p->alpha * sum + p->beta * was;
		double bound = (p->k + 3) * (double)FLT_EPSILON * (fabs(p->alpha) * magnitude + fabs(p->beta * was));
		if (!(fabs(c[i] - right) <= bound))
			fail_msg("%ux%ux%u: entry (%llu, %llu) is %.9g, right is %.9g", p->m, p->n, p->k, (unsigned long long)row,
					 (unsigned long long)column, (double)c[i], right);
	}
}

static void multiply_and_check(evn_queue *q, const evn_product *p)
{
	evn_error err = {0};
	uint64_t n_a = p->a_offset + (uint64_t)p->lda * (p->a_transposed ? p->k : p->m);
	uint64_t n_b = p->b_offset + (uint64_t)p->ldb * (p->b_transposed ? p->n : p->k);
	uint64_t n_c = p->c_offset + (uint64_t)p->ldc * p->m;
	evn_buf *a = filled(q, n_a, A_PERIOD), *b = filled(q, n_b, B_PERIOD), *c = filled(q, n_c, C_PERIOD);
	float *host = malloc(n_c * sizeof *host);
	assert_non_null(host);
	ok(evn_multiply(q, p, a, b, c, &err), &err);
	ok(evn_read(q, c, 0, host, n_c * sizeof *host, &err), &err);
	check(p, host, n_c);
	free(host);
	evn_buf_free(a);
	evn_buf_free(b);
	evn_buf_free(c);
}

/* First as prompts use it, then odd sizes, rows with gaps, offsets and every transposition. */
static void products(evn_queue *q)
{
	multiply_and_check(q, &(evn_product){.m = 64, .n = 128, .k = 96, .lda = 96, .ldb = 128, .ldc = 128, .alpha = 1});
	multiply_and_check(
		q, &(evn_product){.m = 5, .n = 32, .k = 64, .lda = 96, .ldb = 32, .ldc = 96, .c_offset = 32, .alpha = 1});
	for (int i = 0; i < 4; i++) {
		evn_product p = {.m = 37, .n = 19, .k = 71, .alpha = 0.5f, .beta = i % 2 ? -2 : 0};
		p.a_transposed = i & 1;
		p.b_transposed = i & 2;
		p.lda = side(p.a_transposed, p.m, p.k) + 3;
		p.ldb = side(p.b_transposed, p.k, p.n) + 1;
		p.ldc = p.n + 5;
		p.a_offset = 7;
		p.b_offset = 11;
		p.c_offset = 3;
		multiply_and_check(q, &p);
	}
}

/* False for drivers that are too slow for this, or that are not used for products. */
static bool serves(size_t i)
{
	const evn_device_info *info = evn_system_info(sys, i);
	return info->usable && strcmp(info->platform, "rusticl") != 0;
}

static void on_every_driver(const char *text)
{
	size_t n = 0;
	for (size_t i = 0; i < evn_system_count(sys); i++) {
		evn_error err = {0};
		evn_device *d;
		evn_queue *q;
		if (!serves(i))
			continue;
		ok(evn_devices_open(sys, &(evn_pick){.device = i}, 1, &d, &err), &err);
		ok(evn_queue_create(&q, d, &err), &err);
		if (text) {
			evn_gemm_params p = parsed(text);
			ok(evn_gemm_use(d, &p, &err), &err);
		}
		products(q);
		evn_queue_free(q);
		evn_device_close(d);
		n++;
	}
	if (!n)
		skip();
}

static void test_products_as_they_come(void **state)
{
	(void)state;
	on_every_driver(NULL);
}

static void test_products_of_kernel_1(void **state)
{
	(void)state;
	on_every_driver(REGISTERS);
}

/* CLBlast reports how much it must copy. That follows from the sides of the tile alone. */
static size_t copied_bytes(evn_queue *q, size_t m, size_t n, size_t k)
{
	size_t bytes = 1;
	assert_int_equal(CLBlastSGemmTempBufferSize(CLBlastLayoutRowMajor, CLBlastTransposeNo, CLBlastTransposeNo, m, n,
												k, 0, k, 0, n, 0, n, &q->cl, &bytes),
					 CLBlastSuccess);
	return bytes;
}

static void test_parameters_reach_clblast(void **state)
{
	(void)state;
	evn_error err = {0};
	evn_device *d;
	evn_queue *q;
	size_t i = 0;
	while (i < evn_system_count(sys) && !serves(i))
		i++;
	if (i == evn_system_count(sys))
		skip();
	ok(evn_devices_open(sys, &(evn_pick){.device = i}, 1, &d, &err), &err);
	ok(evn_queue_create(&q, d, &err), &err);
	evn_gemm_params p = parsed(REGISTERS);
	ok(evn_gemm_use(d, &p, &err), &err);
	assert_int_equal(copied_bytes(q, 64, 96, 32), 0);
	assert_int_equal(copied_bytes(q, 65, 96, 32), 4 * (96 * 32 + 96 * 96)); /* A and C padded to 96 rows */
	p.indirect_from = 64;
	ok(evn_gemm_use(d, &p, &err), &err);
	assert_int_equal(copied_bytes(q, 65, 96, 32), 0); /* 65 * 96 * 32 < 64^3: the direct kernel */
	p = parsed(TALL);
	ok(evn_gemm_use(d, &p, &err), &err);
	assert_int_equal(copied_bytes(q, 65, 96, 32), 4 * (128 * 32 + 128 * 96)); /* mwg 64; A and C transposed */
	evn_queue_free(q);
	evn_device_close(d);
}

/* ---- what is kept ---------------------------------------------------------------------------------------------- */

static size_t warnings;

static void count_warnings(void *user, evn_log_level level, const char *line)
{
	(void)user;
	if (level == EVN_LOG_WARN && strstr(line, "GEMM parameters"))
		warnings++;
}

static char folder[] = "/tmp/evener-gemm-XXXXXX";

static void test_kept_and_damaged(void **state)
{
	(void)state;
	evn_error err = {0};
	evn_gemm_params kept = parsed(REGISTERS), got, initial;
	if (!evn_system_count(sys))
		skip();
	bool has_initial = evn_gemm_params_initial(sys, 0, &initial);
	assert_int_equal(evn_gemm_params_of(sys, 0, &got), has_initial);
	ok(evn_gemm_params_keep(sys, 0, &kept, &err), &err);
	assert_true(evn_gemm_params_of(sys, 0, &got));
	assert_memory_equal(&got, &kept, sizeof kept);
	char command[256];
	snprintf(command, sizeof command, "for f in %s/profiles/gemm-*.txt; do printf 'GEMMK=0 MWG=?' > $f; done",
			 folder);
	assert_int_equal(system(command), 0);
	evn_set_log(count_warnings, NULL);
	for (int i = 0; i < 3; i++) {
		assert_int_equal(evn_gemm_params_of(sys, 0, &got), has_initial);
		if (has_initial)
			assert_memory_equal(&got, &initial, sizeof got);
	}
	evn_set_log(NULL, NULL);
	assert_int_equal(warnings, 1);
	ok(evn_gemm_params_keep(sys, 0, &kept, &err), &err); /* and can be set again */
	assert_true(evn_gemm_params_of(sys, 0, &got));
	assert_memory_equal(&got, &kept, sizeof kept);
	snprintf(command, sizeof command, "rm -r %s/profiles", folder);
	assert_int_equal(system(command), 0);
}

static int set_up(void **state)
{
	(void)state;
	if (!mkdtemp(folder))
		return -1;
	setenv("EVENER_CACHE_DIR", folder, 1);
	return evn_system_enumerate(&sys, NULL) == EVN_OK ? 0 : -1;
}

static int tear_down(void **state)
{
	(void)state;
	char command[64];
	evn_system_close(sys);
	snprintf(command, sizeof command, "rm -r %s", folder);
	return system(command);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_no_warnings_of_compilers), cmocka_unit_test(test_text_and_back),
		cmocka_unit_test(test_what_is_refused),          cmocka_unit_test(test_kept_and_damaged),
		cmocka_unit_test(test_parameters_reach_clblast), cmocka_unit_test(test_products_as_they_come),
		cmocka_unit_test(test_products_of_kernel_1),
	};
	return cmocka_run_group_tests(tests, set_up, tear_down);
}
