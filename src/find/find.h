/* find.h - which devices there are, and which of them a list names, with no OpenCL type in sight. A system is every
 * device found; a pick is one of them, or a part of one, to be opened. */
#ifndef EVN_FIND_H
#define EVN_FIND_H

#include "base/base.h"

typedef struct evn_system evn_system;

/* Every device of every platform. The first call of a process probes each driver in a child process (helper
 * program evener-probe, time limit) and leaves out those that crash or hang; later calls reuse the result.
 * Rates in the infos are not filled here. */
evn_status evn_system_open(evn_system **out, evn_error *err);
void evn_system_close(evn_system *s);
/* Before the first evn_system_open of a process, for a list that is taken as it stands: where its items name CPU
 * devices of two drivers, each driver is kept to a part of the cores by its environment variable, unless the user has
 * set that (share_cores.c). Later it does nothing. */
void evn_share_cores(const char *const *items, size_t n);
size_t evn_system_count(const evn_system *s);
const evn_device_info *evn_system_info(const evn_system *s, size_t i);
size_t evn_system_problem_count(const evn_system *s);
evn_driver_problem evn_system_problem(const evn_system *s, size_t i);
/* Ordinal of the piece of silicon device i runs on: equal for two drivers' devices on one chip. */
int evn_system_chip(const evn_system *s, size_t i);
/* Ordinal of device i's platform. */
int evn_system_platform(const evn_system *s, size_t i);

/* A device to open: a whole device (n_units 0) or the sub-device of n_units compute units beginning at first_unit. */
typedef struct {
	size_t device;
	uint32_t first_unit, n_units;
	size_t rule; /* which item of the list asked for it */
} evn_pick;

/* Resolves ITEM = SELECTOR[/PARTS[@FIRST]] (grammar in docs/cli.md) to picks, appended at out[*n]; usable devices
 * only, but a device named by index or stable id that is not usable is an error with its reason. No match is
 * EVN_ERR_USAGE and lists what there is; more than max in all is EVN_ERR_LIMIT. */
evn_status evn_system_select(const evn_system *s, const char *item, size_t rule, evn_pick *out, size_t *n, size_t max,
							 evn_error *err);
/* Device i as n equal sub-devices with cores of their own; false where it cannot be had so. */
bool evn_system_divide(const evn_system *s, size_t i, uint32_t n, evn_pick *out);
/* Device, driver version and kernels (evn_kernels_hash): the part of cache keys that a pick owns. */
uint64_t evn_pick_fingerprint(const evn_system *s, const evn_pick *p, uint64_t kernels);
/* "0:0", or "0:0/1@1" for one unit beginning at unit 1. */
void evn_pick_name(const evn_system *s, const evn_pick *p, char *out, size_t size);

#endif
