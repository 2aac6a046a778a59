/* dot.h - the dot kinds: how a device multiplies four bytes by four at once. They are the variants of
 * kernels/dot4.cl. A kind belongs to a width (evn_device_lanes), so a choice of kinds is also a choice of widths. */
#ifndef EVN_DOT_H
#define EVN_DOT_H

#include "ocl/ocl.h"

typedef enum {
	EVN_DOT_NONE,  /* activations stay f32 */
	EVN_DOT_PLAIN, /* products of single bytes: correct everywhere, fast nowhere */
	EVN_DOT_KHR,
	EVN_DOT_AVX2, /* from here on, x86 instructions */
	EVN_DOT_VNNI256,
	EVN_DOT_VNNI512,
	EVN_DOT_LANES_NONE, /* from here on, for 1 lane: as above */
	EVN_DOT_LANES_PLAIN,
	EVN_DOT_LANES_KHR,
	EVN_DOT_SDOT4,
	EVN_DOT_SUDOT4,
	EVN_DOT_DP4A,
	EVN_DOT_COUNT
} evn_dot;

const char *evn_dot_name(evn_dot dot); /* "vnni512" */
uint32_t evn_dot_lanes(evn_dot dot);   /* the width that a device must have for it: 16 or 1 */
bool evn_dot_reads_bytes(evn_dot dot); /* activations have 8 bits */
bool evn_dot_is_plain(evn_dot dot);    /* single bytes are multiplied */
bool evn_dot_is_x86(evn_dot dot);      /* x86 instructions */
evn_dot evn_dot_f32(uint32_t lanes);   /* the kind of that width with f32 activations */
void evn_spec_dot(evn_spec *s, evn_dot dot, const evn_device *d); /* adds the compiler options for it */
/* Sets of kinds are bits 1 << evn_dot. */
uint32_t evn_dots_of_format(bool bytes); /* all kinds with 8-bit activations, or with f32 activations */
uint32_t
evn_dots_for_floats(uint32_t dots); /* the f32 kinds of the widths in the set: float weights have only these */
/* True if the device has that width and the smoke kernels have shown that it can do it (src/find/smoke.c). */
bool evn_dot_possible(evn_dot dot, const evn_device *d);
/* The last kind that is possible, which is the fastest. The exceptions are the plain kinds, which are slower than f32
 * activations. */
evn_dot evn_dot_best(const evn_device *d);

#endif
