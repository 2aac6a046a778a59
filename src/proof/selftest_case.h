/* selftest_case.h - what the known-answer cases share: inputs, expected values with a bound for each, and the
 * comparison. Everything that a case allocates with these functions is freed when it ends. */
#ifndef EVN_SELFTEST_CASE_H
#define EVN_SELFTEST_CASE_H

#include "nn/ops.h"
#include "nn/ops_attention.h"
#include "proof/selftest.h"

#define EVN_UNIT 0x1p-24 /* largest relative error of one f32 rounding */
/* OpenCL's limits in the full profile, as relative errors. An ulp is at most two units. */
#define EVN_DIVIDE_ERROR (5 * EVN_UNIT) /* 2.5 ulp */
#define EVN_SQRT_ERROR (6 * EVN_UNIT)   /* 3 ulp */
#define EVN_EXP_ERROR (6 * EVN_UNIT)    /* 3 ulp */

/* The relative error of a value after n roundings (Higham 2002, lemma 3.1). */
static inline double evn_roundings(double n) { return n * EVN_UNIT / (1 - n * EVN_UNIT); }

typedef struct {
	float *values; /* random in [-1, 1) unless the case changes them */
	evn_buf *buf;
	uint64_t n, room;     /* the floats that are compared; the floats of the buffer */
	double *want, *bound; /* |got - want| <= bound; the uploaded values and 0 unless the case changes them */
} evn_case_array;

#define EVN_CASE_ALLOCATIONS 64

typedef struct {
	evn_queue *q;
	evn_selftest_options options;
	evn_selftest_fn fn;
	void *user;
	uint32_t n_run, n_failed;
	char first_failure[600];
	/* the state of the running case */
	uint64_t random;
	void *memory[EVN_CASE_ALLOCATIONS];
	evn_buf *bufs[EVN_CASE_ALLOCATIONS];
	uint32_t n_memory, n_bufs;
	double max_error, tolerance, ratio; /* of the value that used most of its bound */
	char reason[1024];
} evn_cases;

typedef evn_status (*evn_case_fn)(evn_cases *c, const void *shape, evn_error *err);
typedef struct {
	evn_case_fn run;
	const void *shape;
	const char *subject;    /* what the case proves: a kernel, or a kind of step */
	const evn_quant *quant; /* the format of its weights; NULL if it has no single one */
} evn_case;
/* Runs one case, reports it and frees its memory. The case fails if a call fails. Its name is made of the subject,
 * the format and the details. */
void evn_case_run(evn_cases *c, const evn_case *what, const char *details, ...) EVN_PRINTF(3, 4);

/* Whether cases with activations of this format run: all do unless options.dots says which dot kinds read them. */
bool evn_case_has_format(const evn_cases *c, evn_act_format format);

uint32_t evn_case_bits(evn_cases *c);
float evn_case_random(evn_cases *c);                                                  /* [-1, 1) */
evn_status evn_case_memory(evn_cases *c, void **out, uint64_t bytes, evn_error *err); /* zeros */

/* Makes n floats on the host and a buffer for them. The case may change the values and must then upload them. */
evn_status evn_case_array_make(evn_cases *c, evn_case_array *out, uint64_t n, evn_error *err);
/* Makes an activation matrix (n_rows, stride). Its buffer has whole blocks of EVN_BLOCK_TOKENS rows, because products
 * may read and write the rows after the last one. Those rows are not compared. */
evn_status evn_case_rows_make(evn_cases *c, evn_case_array *out, uint32_t n_rows, uint32_t stride, evn_error *err);
/* The same for a matrix that the kernel changes. */
evn_status evn_case_rows_output(evn_cases *c, evn_case_array *out, uint32_t n_rows, uint32_t stride, evn_error *err);
evn_status evn_case_upload(evn_cases *c, evn_case_array *a, evn_error *err);
/* Makes an array and uploads it. */
evn_status evn_case_input(evn_cases *c, evn_case_array *out, uint64_t n, evn_error *err);
/* Makes an array that the kernel changes. All of it is compared, which also shows whether values stay that must not
 * change. */
evn_status evn_case_output(evn_cases *c, evn_case_array *out, uint64_t n, evn_error *err);
/* Compares one value with the expected one. Errors are reported as fractions of `scale`. */
void evn_case_compare(evn_cases *c, const char *what, uint64_t index, double got, double want, double bound,
					  double scale);
evn_status evn_case_check(evn_cases *c, const evn_case_array *a, const char *what, evn_error *err);
/* The same for a kernel that wrote rows of 8-bit blocks (kernels/q8.cl) to a's buffer. Their rounding is added to the
 * bounds. Their scales and sums are checked too. */
evn_status evn_case_check_q8(evn_cases *c, const evn_case_array *a, const char *what, evn_error *err);
/* Checks an array in either format. */
evn_status evn_case_check_format(evn_cases *c, const evn_case_array *a, evn_act_format format, const char *what,
								 evn_error *err);
/* Sets a's values to those of the 8-bit rows in buf. */
evn_status evn_case_read_q8(evn_cases *c, evn_case_array *a, const evn_buf *buf, evn_error *err);

void evn_selftest_matrices(evn_cases *c);
void evn_selftest_rows(evn_cases *c);
void evn_selftest_sums(evn_cases *c);
void evn_selftest_heads(evn_cases *c);
void evn_selftest_sequences(evn_cases *c);
void evn_selftest_fused(evn_cases *c);
void evn_selftest_gpt2(evn_cases *c);
void evn_selftest_top(evn_cases *c);
void evn_selftest_experts(evn_cases *c);
void evn_selftest_delta(evn_cases *c);
void evn_selftest_layers(evn_cases *c);
void evn_selftest_latent(evn_cases *c);

#endif
