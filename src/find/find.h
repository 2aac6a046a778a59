/* find.h - lists the OpenCL devices and resolves device lists of users. No OpenCL type is visible here. A system is
 * the list of all devices found. A pick is one of these devices, or a part of one, that is to be opened. */
#ifndef EVN_FIND_H
#define EVN_FIND_H

#include "base/base.h"

typedef struct evn_system evn_system;

/* Lists every device of every platform. The first call in a process probes each driver in a child process (the
 * program evener-probe, with a time limit) and leaves out drivers that crash or hang. Later calls reuse that result.
 * The infos have no measured rates. */
evn_status evn_system_open(evn_system **out, evn_error *err);
void evn_system_close(evn_system *s);
/* Limits each CPU driver to a part of the cores if the device list names CPU devices of two drivers. Each driver is
 * limited by its own environment variable, unless the user has set that variable (share_cores.c). Call it before the
 * first evn_system_open of the process; a later call does nothing. */
void evn_share_cores(const char *const *items, size_t n);
size_t evn_system_count(const evn_system *s);
const evn_device_info *evn_system_info(const evn_system *s, size_t i);
size_t evn_system_problem_count(const evn_system *s);
evn_driver_problem evn_system_problem(const evn_system *s, size_t i);
/* The ordinal of the chip that device i runs on. Two drivers' devices on one chip have the same ordinal. */
int evn_system_chip(const evn_system *s, size_t i);
/* The ordinal of device i's platform. */
int evn_system_platform(const evn_system *s, size_t i);

/* A device to open: the whole device (n_units 0), or the sub-device of n_units compute units that begins at
 * first_unit. */
typedef struct {
	size_t device;
	uint32_t first_unit, n_units;
	size_t rule; /* the index of the list item that selected it */
} evn_pick;

/* Resolves ITEM = SELECTOR[/PARTS[@FIRST]] (grammar in docs/cli.md) and appends the picks at out[*n]. Devices that
 * are not usable are skipped; if the item names one by index or stable id, that is an error with its reason. No match
 * is EVN_ERR_USAGE and lists the devices. More than max picks in all is EVN_ERR_LIMIT. */
evn_status evn_system_select(const evn_system *s, const char *item, size_t rule, evn_pick *out, size_t *n, size_t max,
							 evn_error *err);
/* Writes device i as n equal sub-devices, each with its own cores. False if the device cannot be divided like
 * that. */
bool evn_system_divide(const evn_system *s, size_t i, uint32_t n, evn_pick *out);
/* The part of a cache key that depends on a pick: the device, the driver's version and the kernels
 * (evn_kernels_hash). */
uint64_t evn_pick_fingerprint(const evn_system *s, const evn_pick *p, uint64_t kernels);
/* Writes "0:0", or "0:0/1@1" for one compute unit that begins at unit 1. */
void evn_pick_name(const evn_system *s, const evn_pick *p, char *out, size_t size);

#endif
