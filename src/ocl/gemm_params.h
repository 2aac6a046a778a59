/* gemm_params.h - the parameters of CLBlast's GEMM kernels: reading and writing a set as text, checking whether it
 * can be built, and the set that is stored for a device.
 *
 * The search in src/engine/tune.c chooses a set for a device. The set is stored as one line of text in the cache
 * folder; its key is the device and the driver. A CPU without a stored set uses a set that is good on CPUs. Other
 * devices use CLBlast's own. */
#ifndef EVN_OCL_GEMM_PARAMS_H
#define EVN_OCL_GEMM_PARAMS_H

#include "ocl/ocl.h"

/* The names are CLBlast's. A work-group of mdimc x ndimc items computes a tile of mwg x nwg. vwm and vwn are vector
 * widths. */
typedef struct {
	uint32_t kernel; /* 0: the outer loop over kwg; 1: two-dimensional register tiles, kreg deep */
	uint32_t mwg, nwg, kwg, kwi, kreg;
	uint32_t mdimc, ndimc, mdima, ndimb; /* mdima and ndimb: how a work-group shares loading into local memory */
	uint32_t vwm, vwn, strm, strn;
	uint32_t sa, sb;        /* 1: load through local memory */
	uint32_t indirect_from; /* the cube root of m n k from which these kernels are used instead of XgemmDirect */
} evn_gemm_params;

/* CLBlast's names of the fields. The last one belongs to its kernel "GemmRoutine", the others to "Xgemm". */
#define EVN_GEMM_NAMES 17
typedef struct {
	const char *name;
	size_t field; /* offset in evn_gemm_params */
} evn_gemm_name;
extern const evn_gemm_name evn_gemm_names[EVN_GEMM_NAMES];
uint32_t evn_gemm_value(const evn_gemm_params *p, size_t i);

#define EVN_GEMM_TEXT 256

/* The text is "GEMMK=0 MWG=64 ...": every name once, in any order. False if a name is missing or unknown, or if the
 * set cannot be built. */
bool evn_gemm_params_parse(evn_gemm_params *out, const char *text);
void evn_gemm_params_text(const evn_gemm_params *p, char out[EVN_GEMM_TEXT]);
/* True if CLBlast's kernels can be built with the set: its own conditions, and a bound on the unrolled code. */
bool evn_gemm_params_valid(const evn_gemm_params *p);

/* The set for device i of the system: the stored one, otherwise the one for its type. False: use CLBlast's own. A
 * stored set that cannot be read is ignored with one warning. */
bool evn_gemm_params_of(const evn_system *s, size_t i, evn_gemm_params *out);
/* The set for device i, without looking for a stored one. */
bool evn_gemm_params_initial(const evn_system *s, size_t i, evn_gemm_params *out);
evn_status evn_gemm_params_keep(const evn_system *s, size_t i, const evn_gemm_params *p, evn_error *err);

/* Makes d use the set from now on, in this process. Without this call, the first product makes d use the result of
 * evn_gemm_params_of. NULL selects CLBlast's own set; that must happen before the first product. */
evn_status evn_gemm_use(evn_device *d, const evn_gemm_params *p, evn_error *err);

#endif
