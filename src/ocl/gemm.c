/* gemm.c - matrix products by CLBlast. */
#include "ocl/internal.h"

#include <clblast_c.h>

/* CLBlast up to 1.6.0 races in its program cache when two threads call it: calls only enqueue, so one lock is cheap.
 */
static pthread_mutex_t clblast_lock = PTHREAD_MUTEX_INITIALIZER;

evn_status evn_gemm(evn_queue *q, uint32_t m, uint32_t n, uint32_t k, const evn_buf *a, uint32_t lda,
					const evn_buf *b, uint32_t ldb, evn_buf *c, uint64_t c_offset, uint32_t ldc, evn_error *err)
{
	pthread_mutex_lock(&clblast_lock);
	CLBlastStatusCode code =
		CLBlastSgemm(CLBlastLayoutRowMajor, CLBlastTransposeNo, CLBlastTransposeNo, m, n, k, 1.0f, a->cl, 0, lda,
					 b->cl, 0, ldb, 0.0f, c->cl, (size_t)c_offset, ldc, &q->cl, NULL);
	pthread_mutex_unlock(&clblast_lock);
	if (code == CLBlastSuccess)
		return EVN_OK;
	return evn_fail(err, EVN_ERR_DEVICE, "CLBlastSgemm(%u x %u x %u): status %d on %s", m, n, k, (int)code,
					q->device->name);
}
