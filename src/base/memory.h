/* memory.h - how much memory this process can still get. */
#ifndef EVN_BASE_MEMORY_H
#define EVN_BASE_MEMORY_H

#include <stdbool.h>
#include <stdint.h>

/* The bytes of the host's memory that are free or can be freed, and not more than the limits of the control groups
 * that this process is in (containers, systemd units) leave. UINT64_MAX if the system does not say. `root` is put
 * before the paths of /proc and /sys; "" but in tests. */
uint64_t evn_free_memory(const char *root);

#endif
