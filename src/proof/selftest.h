/* selftest.h - known-answer tests: they compare every kernel on one device with plain f64 loops on the host. The
 * inputs are the same in every run. The tolerances are bounds that follow from the guarantees of f32 and of the
 * OpenCL specification. */
#ifndef EVN_SELFTEST_H
#define EVN_SELFTEST_H

#include "evener/selftest.h"
#include "nn/ops.h"
#include "nn/ops_attention.h"

/* The subjects of cases with given heads: one for each kind of step. */
#define EVN_ATTENTION_TOKEN "attention of a token"
#define EVN_ATTENTION_PROMPT "attention of a prompt"
#define EVN_ATTENTION_SPLITS "attention in splits"

/* Norms of queries and keys over the heads of all ranks. */
#define EVN_NORMS_OF_ALL "norms of all heads"
/* The choice of experts and of their rows; products with the matrices of experts. */
#define EVN_ROUTER "router"
#define EVN_EXPERTS "experts"
/* A gated DeltaNet; gates of heads. */
#define EVN_DELTA "delta net"
#define EVN_HEAD_GATES "head gates"
#define EVN_LAYER_INPUTS "layer inputs"
#define EVN_LATENT "latent attention"
/* The subject of an activation. */
const char *evn_activation_name(evn_activation a);
/* A LayerNorm that takes the place of its row. */
#define EVN_LAYERNORM_REPLACES "layernorm in place"
/* The sum over ranks with a norm of its own. */
#define EVN_ADD_POST_NORM "add_norm of a normed sum"

typedef struct {
	const char *only;       /* runs the cases with this in their names; NULL: all */
	const char *subject;    /* runs the cases with exactly this subject (evn_case.subject); NULL: all */
	const evn_quant *quant; /* runs the cases of this weight format; NULL: all */
	uint32_t lanes;         /* the width that the device has meanwhile (evn_device_set_lanes); 0: its own */
	bool tiny;              /* shapes small enough for an interpreter, no GEMM */
	bool few_formats;       /* one weight format of each kind: within a kind only reading differs */
	/* small shapes for attention, no fused blocks: the llvmpipe of Mesa 22.3 compiles each variant for 10 s */
	bool tiny_heads;
	bool one_gate; /* gate and up with SiLU only: a gate differs by one small file, and compilers may take a minute */
	/* F16, Q4_1 with the device's own dot kind, attention in two shapes: where a compiler takes minutes for each */
	bool few_variants;
	bool keeps_programs; /* binaries of the programs are kept on disk: they will be used again */
	/* dot kinds of one width, as bits 1 << evn_dot; the device has that width meanwhile; 0: all kinds that differ */
	uint32_t dots;
	const evn_attention_config *heads; /* attention with these heads only */
	uint32_t state, taps;              /* a DeltaNet with states of this size, with so many taps; 0: built-in sizes */
	evn_nonlinearity gate;             /* how gate and up are combined */
} evn_selftest_options;

/* Runs the cases. fn (may be NULL) is called once for each case. EVN_ERR_DEVICE names the first case that failed. It
 * is also returned if there is no case of the given subject, because a kernel without a case must not be trusted. */
evn_status evn_selftest_run(evn_device *d, const evn_selftest_options *options, evn_selftest_fn fn, void *user,
							evn_error *err);
evn_status evn_selftest_device(evn_device *d, const char *only, evn_selftest_fn fn, void *user, evn_error *err);

/* True if the device can compute a block with weights of this format in one kernel, with one of these dot kinds. */
bool evn_selftest_has_fused(const evn_device *d, const evn_quant *q, uint32_t dots);

#endif
