/* check.h - a product of a running step, computed again on the host. The weights come from the model file, so that
 * what the device holds is checked too. */
#ifndef EVN_CHECK_H
#define EVN_CHECK_H

#include "nn/tap.h"

/* Computes n rows of the product, drawn by `seed`, in f64 from the input that the tap has copied, and compares them.
 * EVN_ERR_DEVICE names the first one that differs by more than roundings explain. Nothing is compared if the tap took
 * nothing, or if the input is not finite. */
evn_status evn_check_product(const evn_tap *t, const evn_view *v, uint64_t seed, uint32_t n, evn_error *err);

#endif
