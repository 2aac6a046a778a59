/* arch.h - the architectures evener runs: one row each. */
#ifndef EVN_ARCH_H
#define EVN_ARCH_H

#include "model/model.h"

typedef struct {
	const char *name; /* general.architecture */
	bool rope_neox; /* rotates pairs (i, i + rope_dim/2); llama files hold their q and k rows permuted for (2i, 2i+1)
					 */
	bool qk_norm;   /* RMS norm of each query and key head before the rotation */
} evn_arch;

/* EVN_ERR_UNSUPPORTED lists what there is. */
evn_status evn_arch_find(const evn_model *m, const evn_arch **out, evn_error *err);

#endif
