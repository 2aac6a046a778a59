/* top.h - the largest logits of a row. Sampling often needs no others, and a device with its own memory finds them
 * faster than it sends a whole row to the host.
 *
 * An entry is a logit and its id in one number (kernels/top.cl has the same). Entries in ascending order are tokens
 * in the order in which sampling prefers them: larger logits first, equal ones by their ids. Logits that are no
 * numbers, or infinite, come before all others. A list is n_top entries in order, the last of them EVN_TOP_NONE where
 * there are fewer. */
#ifndef EVN_TOP_H
#define EVN_TOP_H

#include <math.h>
#include <string.h>

#include "kernels/constants.h"
#include "nn/ops.h"

#define EVN_TOP_NONE UINT64_MAX

/* Larger logits have smaller keys. 0 and -0 are equal and have the same key. */
static inline uint32_t evn_logit_key(float logit)
{
	uint32_t bits;
	logit += 0.0f; /* -0 becomes 0 */
	memcpy(&bits, &logit, sizeof bits);
	return bits ^ (((bits >> 31) - 1) & 0x7fffffffu);
}

static inline float evn_key_logit(uint32_t key)
{
	const uint32_t bits = key ^ (((key >> 31) - 1) & 0x7fffffffu);
	float logit;
	memcpy(&logit, &bits, sizeof logit);
	return logit;
}

static inline uint64_t evn_top_entry(float logit, uint32_t id)
{
	return (uint64_t)(logit < INFINITY ? evn_logit_key(logit) : 0) << 32 | id;
}
static inline uint32_t evn_top_key(uint64_t entry) { return (uint32_t)(entry >> 32); } /* 0: not a finite number */
static inline int32_t evn_top_id(uint64_t entry) { return (int32_t)(uint32_t)entry; }

/* The lists of one row of a vocabulary over all ranks, and the first one of a rank whose rows begin at `begin`: a
 * list for each slice of EVN_TOP_SLICE. Not all need be used. */
static inline uint32_t evn_top_lists(uint32_t vocab, uint32_t n_ranks) { return vocab / EVN_TOP_SLICE + n_ranks; }
static inline uint32_t evn_top_first_list(uint32_t begin, uint32_t rank) { return begin / EVN_TOP_SLICE + rank; }

/* The largest of n logits, times scale, as one list. The first has this id. */
typedef struct {
	uint32_t n, first_id;
	float scale;
} evn_top_row;
void evn_top_of(uint64_t *list, uint32_t n_top, const float *logits, const evn_top_row *row);
/* The n_top first of all lists, in order. Returns their number without EVN_TOP_NONE. */
uint32_t evn_top_merge(uint64_t *out, const uint64_t *lists, uint32_t n_lists, uint32_t n_top);

/* Whether the rank should find its largest logits on the device: it has its own memory, and local memory for a slice.
 */
bool evn_top_on_device(const evn_device *d);
/* Lists of n_rows rows of logits (.., stride): to (n_rows, slices, n_top) entries. */
evn_status evn_op_top(evn_ops *ops, evn_buf *to, uint32_t n_top, const evn_buf *logits, uint32_t stride,
					  const evn_top_row *row, uint32_t n_rows, evn_error *err);
static inline uint32_t evn_top_slices(uint32_t n) { return (n + EVN_TOP_SLICE - 1) / EVN_TOP_SLICE; }

#endif
