/* dot.h - the dot kinds: how a device multiplies four bytes by four at once. They are the variants of
 * kernels/dot4.cl. */
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
	EVN_DOT_COUNT
} evn_dot;

const char *evn_dot_name(evn_dot dot);    /* "vnni512" */
const char *evn_dot_defines(evn_dot dot); /* the compiler options for it; "" for the first two */
/* True if the smoke kernels have shown that the device can do it (src/find/smoke.c). */
bool evn_dot_possible(evn_dot dot, const evn_device *d);
/* The last kind that is possible, which is the fastest. The exception is EVN_DOT_PLAIN, which is slower than f32
 * activations. */
evn_dot evn_dot_best(const evn_device *d);

#endif
