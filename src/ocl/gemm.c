/* gemm.c - matrix products by CLBlast. */
#include "ocl/internal.h"

#include <clblast_c.h>

/* CLBlast up to 1.6.0 races in its program cache when two threads call it: calls only enqueue, so one lock is cheap.
 */
static pthread_mutex_t clblast_lock = PTHREAD_MUTEX_INITIALIZER;

static CLBlastTranspose transposed(bool yes) { return yes ? CLBlastTransposeYes : CLBlastTransposeNo; }

evn_status evn_multiply(evn_queue *q, const evn_product *p, const evn_buf *a, const evn_buf *b, evn_buf *c,
						evn_error *err)
{
	pthread_mutex_lock(&clblast_lock);
	CLBlastStatusCode code =
		CLBlastSgemm(CLBlastLayoutRowMajor, transposed(p->a_transposed), transposed(p->b_transposed), p->m, p->n,
					 p->k, p->alpha, a->cl, (size_t)p->a_offset, p->lda, b->cl, (size_t)p->b_offset, p->ldb, p->beta,
					 c->cl, (size_t)p->c_offset, p->ldc, &q->cl, NULL);
	pthread_mutex_unlock(&clblast_lock);
	if (code == CLBlastSuccess)
		return EVN_OK;
	return evn_fail(err, EVN_ERR_DEVICE, "CLBlastSgemm(%u x %u x %u): status %d on %s", p->m, p->n, p->k, (int)code,
					q->device->name);
}

evn_status evn_gemm(evn_queue *q, uint32_t m, uint32_t n, uint32_t k, const evn_buf *a, uint32_t lda,
					const evn_buf *b, uint32_t ldb, evn_buf *c, uint64_t c_offset, uint32_t ldc, evn_error *err)
{
	evn_product p = {.m = m, .n = n, .k = k, .lda = lda, .ldb = ldb, .ldc = ldc, .c_offset = c_offset, .alpha = 1};
	return evn_multiply(q, &p, a, b, c, err);
}
