/* proof.h - the known-answer tests that a device must pass before a model is measured or run on it. They cover
 * exactly the kernels that the model runs there, with its weight formats and its head sizes. */
#ifndef EVN_PROOF_H
#define EVN_PROOF_H

#include "model/model.h"
#include "nn/dot.h"

/* The dot kinds among which measuring chooses for products with integer weights, as bits 1 << evn_dot. If the device
 * has an instruction that multiplies four bytes by four, f32 activations are not tried: a product with the
 * instruction needs a quarter of the instructions and of the bytes of x, and f32 has never been faster. */
uint32_t evn_dots_possible(evn_activation_type activations, const evn_device *d);
/* True if all matrices of the model are integers and are multiplied with such an instruction. Then neither f32
 * activations nor GEMM can be faster. */
bool evn_dots_suffice(const evn_model *m, uint32_t dots);

/* m is NULL for models that are not files, which hold F32, and for products of Q4_0. EVN_ERR_DEVICE names the first
 * kernel that failed. */
evn_status evn_prove_kernels(evn_device *d, const evn_model *m, uint32_t dots, evn_error *err);
/* Proves the kernels that a sub-device runs and the whole device does not. */
evn_status evn_prove_part(evn_device *d, const evn_model *m, uint32_t dots, evn_error *err);
/* Proves the kernels of a product by GEMM: dequantise, then CLBlast. */
evn_status evn_prove_gemm(evn_device *d, const evn_model *m, evn_error *err);

#endif
