/* proof.h - the known answers that a device must give before a model is measured or run on it: those of the kernels
 * that the model runs there, in its own formats and with heads of its own size, and no others. */
#ifndef EVN_PROOF_H
#define EVN_PROOF_H

#include "model/model.h"
#include "nn/dot.h"

/* Ways of multiplying, as bits 1 << evn_dot, of which measuring chooses for products with integer weights. Where a
 * device has an instruction for four bytes by four, f32 activations are not tried: a product by one takes a quarter
 * of the instructions and of the bytes of x, and nothing was ever faster without. */
uint32_t evn_dots_possible(evn_activation_type activations, const evn_device *d);
/* Whether all matrices of the model are integers multiplied so: f32 activations and GEMM have nothing to win. */
bool evn_dots_suffice(const evn_model *m, uint32_t dots);

/* m NULL: for models that are no files, which hold F32, and for products of Q4_0. EVN_ERR_DEVICE names the first
 * kernel that failed. */
evn_status evn_prove_kernels(evn_device *d, const evn_model *m, uint32_t dots, evn_error *err);
/* Those that a part of the device runs and the whole does not. */
evn_status evn_prove_part(evn_device *d, const evn_model *m, uint32_t dots, evn_error *err);
/* Those of dequantise + CLBlast. */
evn_status evn_prove_gemm(evn_device *d, const evn_model *m, evn_error *err);

#endif
