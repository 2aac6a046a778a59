// units.cl - the order in which columns are added, with scalars. It decides the bits of a sum, so it is the same in all
// kernels: slices take the units of columns in turn, and the sums of the slices are added in their order.
#include "tile.cl"

#define SLICES (EVN_LANE_ITEMS / EVN_TILE_ROWS)
#define UNITS (STEP_GROUPS / UNIT_GROUPS) // of a step
