/* gemm_params.h - the parameters of CLBlast's GEMM kernels: a set as text and back, which sets can be built, and the
 * set kept for a device.
 *
 * A set is chosen for a device by searching (src/engine/tune.c) and kept as one line of text in the cache folder,
 * keyed by device and driver. A CPU nobody has tuned gets a set that is good on CPUs; others get CLBlast's own. */
#ifndef EVN_OCL_GEMM_PARAMS_H
#define EVN_OCL_GEMM_PARAMS_H

#include "ocl/ocl.h"

/* Named as CLBlast names them. A work-group of mdimc x ndimc items computes a tile of mwg x nwg; vwm and vwn are the
 * widths of vectors. */
typedef struct {
	uint32_t kernel; /* 0: the outer loop over kwg; 1: two-dimensional tiles in registers, kreg deep */
	uint32_t mwg, nwg, kwg, kwi, kreg;
	uint32_t mdimc, ndimc, mdima, ndimb; /* the last two: how a work-group shares loading into local memory */
	uint32_t vwm, vwn, strm, strn;
	uint32_t sa, sb;        /* 1: through local memory */
	uint32_t indirect_from; /* cube root of m n k from which these kernels are used and not XgemmDirect */
} evn_gemm_params;

/* CLBlast's names of the fields; the last belongs to its kernel "GemmRoutine", the others to "Xgemm". */
#define EVN_GEMM_NAMES 17
typedef struct {
	const char *name;
	size_t field; /* offset */
} evn_gemm_name;
extern const evn_gemm_name evn_gemm_names[EVN_GEMM_NAMES];
uint32_t evn_gemm_value(const evn_gemm_params *p, size_t i);

#define EVN_GEMM_TEXT 256

/* "GEMMK=0 MWG=64 ...": every name once, in any order. False where something is missing, unknown, or cannot be built.
 */
bool evn_gemm_params_parse(evn_gemm_params *out, const char *text);
void evn_gemm_params_text(const evn_gemm_params *p, char out[EVN_GEMM_TEXT]);
/* Whether CLBlast's kernels can be built so: its own conditions, and a bound on what is unrolled. */
bool evn_gemm_params_valid(const evn_gemm_params *p);

/* What device i of the system is to use: what was kept, else what suits its type. False: CLBlast's own choice. What
 * was kept but cannot be read is told once and ignored. */
bool evn_gemm_params_of(const evn_system *s, size_t i, evn_gemm_params *out);
/* The same without what was kept. */
bool evn_gemm_params_initial(const evn_system *s, size_t i, evn_gemm_params *out);
evn_status evn_gemm_params_keep(const evn_system *s, size_t i, const evn_gemm_params *p, evn_error *err);

/* Makes d use the set from now on, in this process; without it, the first product makes d use what
 * evn_gemm_params_of says. NULL: CLBlast's own choice, which must be said before the first product. */
evn_status evn_gemm_use(evn_device *d, const evn_gemm_params *p, evn_error *err);

#endif
