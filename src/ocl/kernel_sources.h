/* kernel_sources.h - the files of kernels/, embedded at build time. */
#ifndef EVN_KERNEL_SOURCES_H
#define EVN_KERNEL_SOURCES_H

#include <stddef.h>

typedef struct {
	const char *path; /* relative to kernels/, "quant/q4_1.cl" */
	const char *text; /* NUL-terminated */
	size_t size;
} evn_kernel_source;

extern const evn_kernel_source evn_kernel_sources[];
extern const size_t evn_kernel_source_count;

#endif
