/* distances.h - biases of scores by the distance of key and query (Raffel et al. 2020). */
#ifndef EVN_DISTANCES_H
#define EVN_DISTANCES_H

#include "model/model.h"
#include "plan/plan.h"

/* The bucket of a distance, key - query, among n. both_ways: half of them are for keys behind the query; otherwise
 * such keys are not seen. */
uint32_t evn_distance_bucket(int distance, uint32_t n, bool both_ways);

/* Writes EVN_BIASES for each of these heads, as kernels/constants.h says. table: (buckets, heads). */
evn_status evn_distance_biases(const evn_tensor *table, bool both_ways, evn_range heads, float *out, evn_error *err);

#endif
