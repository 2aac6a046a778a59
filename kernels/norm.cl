// norm.cl - what the norms share. norm_rms.cl, norm_layer.cl and norm_none.cl each define norm_row, which writes the
// normalised row in the format that the next product reads. Parameters: STORE, NORM_ITEMS. With vectors one work-item
// computes a row. With scalars a work-group does; an item has the same columns in every pass.
#include "common.cl"
#include "lanes/sum_items.cl"
#include STORE

#ifndef NORM_ITEMS
#define NORM_ITEMS 1 // work-items of a group; with scalars a multiple of 32 and a power of two
#endif
#define NORM_PART ((NORM_ITEMS + 3) / 4) // float4s of local memory: a float for each item

// The output of a norm: rows of y with row.x columns, of which row.y are true. w and bias have as many columns.
#define NORMED global float *y, const global float *w, const global float *bias, uint2 row, float eps
#define NORMED_ARGS y, w, bias, row, eps
