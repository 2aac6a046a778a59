/* selftest.h - known-answer tests: every kernel on one device against plain f64 loops on the host. The inputs are the
 * same in every run; the tolerances are bounds derived from what f32 and the OpenCL specification promise. */
#ifndef EVN_SELFTEST_H
#define EVN_SELFTEST_H

#include "evener/selftest.h"
#include "nn/ops_attention.h"

/* Subjects of cases with heads that are asked for: each kind of step. */
#define EVN_ATTENTION_TOKEN "attention of a token"
#define EVN_ATTENTION_PROMPT "attention of a prompt"
#define EVN_ATTENTION_SPLITS "attention in splits"

typedef struct {
	const char *only;       /* runs what has this in its name; NULL: everything */
	const char *subject;    /* runs what proves exactly this, as evn_case.subject; NULL: everything */
	const evn_quant *quant; /* and is of this weight format; NULL: of any or none */
	uint32_t items;         /* as in evn_ops_config; 0: as the device likes */
	bool tiny;              /* shapes small enough for an interpreter, no GEMM */
	bool few_formats;       /* one weight format of each kind: formats of a kind differ in how they are read alone */
	bool tiny_heads;        /* such shapes of attention alone, no fused blocks: Mesa 22.3's llvmpipe compiles each
							   variant for 10 s */
	uint32_t dots;          /* ways of multiplying, as bits 1 << evn_dot; 0: as many as tell something new */
	const evn_attention_config *heads; /* attention of such heads instead of many others */
} evn_selftest_options;

/* One call of fn (may be NULL) per kernel and variant. EVN_ERR_DEVICE names the first that failed, or says that
 * nothing is known of the subject asked for: what no case was run of must not be trusted. */
evn_status evn_selftest_run(evn_device *d, const evn_selftest_options *options, evn_selftest_fn fn, void *user,
							evn_error *err);
evn_status evn_selftest_device(evn_device *d, const char *only, evn_selftest_fn fn, void *user, evn_error *err);

/* Whether the device does a block with weights of this format in one kernel, in one of these ways of multiplying. */
bool evn_selftest_has_fused(const evn_device *d, const evn_quant *q, uint32_t dots);

#endif
