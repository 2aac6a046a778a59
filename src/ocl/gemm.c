/* gemm.c - matrix products by CLBlast, with the device's parameters and in the form that needs the fewest copies. */
#include "ocl/internal.h"

#include <clblast_c.h>
#include <stdlib.h>

#include "ocl/gemm_params.h"

/* CLBlast up to 1.6.0 has a data race in its program cache when two threads call it. A call only enqueues, so one
 * lock is cheap. The lock also guards the devices' parameters. On a driver that miscounts a kernel's users
 * (pocl_usecount.c) the lock is held until the product is computed, because no other queue may run the kernel
 * meanwhile. */
static pthread_mutex_t clblast_lock = PTHREAD_MUTEX_INITIALIZER;

/* CLBlast writes products of vectors element by element, and not every compiler makes vectors of them again: PoCL
 * reaches 25 GFLOP/s with vectors of 16, and 220 with this option. -w: PoCL prints the number of warnings to stderr.
 * The trailing space separates them from the options that CLBlast appends. */
static void set_build_options(void) { setenv("CLBLAST_BUILD_OPTIONS", "-DUSE_VECTOR_MAD=1 -w ", 0); }

void evn_gemm_prepare(void)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	pthread_once(&once, set_build_options);
}

/* ---- parameters ------------------------------------------------------------------------------------------------ */

static evn_status override(evn_device *d, const char *kernel, const evn_gemm_params *p, size_t first, size_t n,
						   evn_error *err)
{
	const char *names[EVN_GEMM_NAMES];
	size_t values[EVN_GEMM_NAMES];
	for (size_t i = 0; i < n; i++) {
		names[i] = evn_gemm_names[first + i].name;
		values[i] = evn_gemm_value(p, first + i);
	}
	CLBlastStatusCode code = CLBlastOverrideParameters(d->cl, kernel, CLBlastPrecisionSingle, n, names, values);
	if (code == CLBlastSuccess)
		return EVN_OK;
	return evn_fail(err, EVN_ERR_DEVICE, "CLBlastOverrideParameters(%s): status %d on %s", kernel, (int)code,
					d->name);
}

static evn_status use(evn_device *d, const evn_gemm_params *p, evn_error *err)
{
	d->gemm_known = true;
	d->gemm_kernel = p ? p->kernel : 0;
	if (!p)
		return EVN_OK;
	EVN_TRY(override(d, "Xgemm", p, 0, EVN_GEMM_NAMES - 1, err));
	return override(d, "GemmRoutine", p, EVN_GEMM_NAMES - 1, 1, err);
}

evn_status evn_gemm_use(evn_device *d, const evn_gemm_params *p, evn_error *err)
{
	pthread_mutex_lock(&clblast_lock);
	evn_status s = use(d, p, err);
	pthread_mutex_unlock(&clblast_lock);
	return s;
}

/* ---- products -------------------------------------------------------------------------------------------------- */

/* The arguments of a product in CLBlast's order. */
typedef struct {
	CLBlastLayout layout;
	CLBlastTranspose a_transposed, b_transposed;
	const evn_buf *a, *b;
	size_t m, n, k, a_offset, lda, b_offset, ldb;
} form;

static CLBlastTranspose transposed(bool yes) { return yes ? CLBlastTransposeYes : CLBlastTransposeNo; }

/* Kernel 1 reads and writes row-major matrices directly. Kernel 0 reads C and its first operand column-major. It is
 * therefore asked for the transposed product, so that B and C are used directly and only A, the small one, is
 * copied. */
static form form_for(const evn_device *d, const evn_product *p, const evn_buf *a, const evn_buf *b)
{
	CLBlastTranspose ta = transposed(p->a_transposed), tb = transposed(p->b_transposed);
	if (d->gemm_kernel == 1)
		return (form){CLBlastLayoutRowMajor, ta,    tb, a, b, p->m, p->n, p->k, (size_t)p->a_offset, p->lda,
					  (size_t)p->b_offset,   p->ldb};
	return (form){CLBlastLayoutColMajor, tb,    ta, b, a, p->n, p->m, p->k, (size_t)p->b_offset, p->ldb,
				  (size_t)p->a_offset,   p->lda};
}

/* Keeps one scratch buffer, because CLBlast would create one in every call. The driver keeps a released buffer until
 * the queued commands have used it. */
static CLBlastStatusCode make_gemm_scratch(evn_queue *q, const form *f, const evn_product *p)
{
	size_t need = 0;
	CLBlastStatusCode code =
		CLBlastSGemmTempBufferSize(f->layout, f->a_transposed, f->b_transposed, f->m, f->n, f->k, f->a_offset, f->lda,
								   f->b_offset, f->ldb, (size_t)p->c_offset, p->ldc, &q->cl, &need);
	if (code != CLBlastSuccess || need <= q->gemm_scratch_bytes)
		return code;
	if (q->gemm_scratch)
		clReleaseMemObject(q->gemm_scratch);
	cl_int error;
	q->gemm_scratch = clCreateBuffer(q->device->context->cl, CL_MEM_READ_WRITE, need, NULL, &error);
	q->gemm_scratch_bytes = q->gemm_scratch ? need : 0;
	return q->gemm_scratch ? CLBlastSuccess : (CLBlastStatusCode)error;
}

static evn_status run_clblast(evn_queue *q, const evn_product *p, const evn_buf *a, const evn_buf *b, evn_buf *c,
							  evn_error *err)
{
	evn_gemm_params kept;
	evn_device *d = q->device;
	if (!d->gemm_known)
		EVN_TRY(use(d, evn_gemm_params_of(d->system, d->index, &kept) ? &kept : NULL, err));
	form f = form_for(d, p, a, b);
	CLBlastStatusCode code = make_gemm_scratch(q, &f, p);
	if (code == CLBlastSuccess && q->gemm_scratch)
		code = CLBlastSgemmWithTempBuffer(f.layout, f.a_transposed, f.b_transposed, f.m, f.n, f.k, p->alpha, f.a->cl,
										  f.a_offset, f.lda, f.b->cl, f.b_offset, f.ldb, p->beta, c->cl,
										  (size_t)p->c_offset, p->ldc, &q->cl, NULL, q->gemm_scratch);
	else if (code == CLBlastSuccess)
		code = CLBlastSgemm(f.layout, f.a_transposed, f.b_transposed, f.m, f.n, f.k, p->alpha, f.a->cl, f.a_offset,
							f.lda, f.b->cl, f.b_offset, f.ldb, p->beta, c->cl, (size_t)p->c_offset, p->ldc, &q->cl,
							NULL);
	if (code == CLBlastSuccess)
		return EVN_OK;
	return evn_fail(err, EVN_ERR_DEVICE, "CLBlastSgemm(%u x %u x %u): status %d on %s", p->m, p->n, p->k, (int)code,
					d->name);
}

evn_status evn_multiply(evn_queue *q, const evn_product *p, const evn_buf *a, const evn_buf *b, evn_buf *c,
						evn_error *err)
{
	const bool alone = evn_usecount_needed(q->device);
	if (alone) /* before the lock, because queued commands may wait for other ranks */
		EVN_TRY(evn_queue_finish(q, err));
	pthread_mutex_lock(&clblast_lock);
	evn_status s = run_clblast(q, p, a, b, c, err);
	if (alone && s == EVN_OK)
		s = evn_queue_finish(q, err);
	pthread_mutex_unlock(&clblast_lock);
	return s;
}
