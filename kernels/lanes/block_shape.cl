// block_shape.cl - the shape of a block of products in local memory, and what each item of its work-group computes.
#include "lanes/width.cl"
#include "lanes/units.cl"

#define BLOCK_ROWS EVN_LANE_BLOCK_ROWS
#define BLOCK_TILES (BLOCK_ROWS / EVN_TILE_ROWS)
#define BLOCK_TOKENS EVN_LANE_BLOCK_TOKENS
#define ITEM_ROWS 4
#define ITEM_TOKENS 8
#define BLOCK_ITEMS EVN_LANE_ITEMS // BLOCK_ROWS * BLOCK_TOKENS / (ITEM_ROWS * ITEM_TOKENS)
#define IN_BLOCKS __attribute__((reqd_work_group_size(BLOCK_ITEMS, 1, 1)))
// The first row and token of an item's sums.
#define ITEM ((uint)get_local_id(0))
#define ITEM_ROW (ITEM % (BLOCK_ROWS / ITEM_ROWS) * ITEM_ROWS)
#define ITEM_TOKEN (ITEM / (BLOCK_ROWS / ITEM_ROWS) * ITEM_TOKENS)
// The tile of the block of which an item decodes row TILE_ROW. Two items decode a row, each half of its columns.
#define DECODED_TILE (ITEM / (2 * EVN_TILE_ROWS))
#define DECODED_HALF (ITEM / EVN_TILE_ROWS % 2)
