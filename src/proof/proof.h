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
/* The same for the width that the device does not have now; 0 if x86's instructions make it needless to try. */
uint32_t evn_dots_of_other_width(evn_activation_type activations, evn_device *d);
/* True if all matrices of the model are integers and are multiplied with such an instruction. Then neither f32
 * activations nor GEMM can be faster. */
bool evn_dots_suffice(const evn_model *m, uint32_t dots);

/* The proofs that a device has given. A proof has a key: the kernel, the weight format, the dot kind, the heads. Keys
 * are the same for all models, so a second model is proved only where it differs. */
typedef struct {
	bool (*known)(void *user, const char *key);
	void (*proved)(void *user, const char *key);
	void *user;
	bool keeps_programs;    /* binaries of the programs are kept on disk */
	uint32_t part, n_parts; /* of the proofs only number part, part + n_parts, ...; n_parts 0: all */
} evn_proof_record;

/* What is proved. m NULL: models that are not files and hold F32, and products of Q4_0. */
typedef struct {
	const evn_model *m;
	uint32_t dots; /* bits 1 << evn_dot */
	evn_kv_cache kv_cache;
} evn_proof_subject;

/* Equal for models that need the same proofs. */
evn_status evn_proof_signature(uint64_t *out, const evn_proof_subject *s, evn_error *err);

/* Skips what the record knows. EVN_ERR_DEVICE names the first kernel that failed. */
evn_status evn_prove_kernels(evn_device *d, const evn_proof_subject *s, const evn_proof_record *r, evn_error *err);
/* The proofs of kernels that only a part of the device runs. */
evn_status evn_prove_part(evn_device *d, const evn_proof_subject *s, const evn_proof_record *r, evn_error *err);
/* The proofs of dequantising and multiplying by CLBlast. */
evn_status evn_prove_gemm(evn_device *d, const evn_proof_subject *s, const evn_proof_record *r, evn_error *err);

#endif
