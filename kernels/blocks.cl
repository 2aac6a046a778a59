// blocks.cl - the order in which blocks of EVN_BLOCK_TOKENS tokens are multiplied. Parameters: BLOCK, those of tile.cl.
//
// Work-groups are (block of a run, columns of y, run): the few blocks of a run follow each other over the same weights, which
// come from memory once for them all. Were they read for each block, the cores of a larger CPU would wait for its memory.
#include "common.cl"
#include BLOCK

INLINE size_t block_of_tokens(void) { return get_group_id(2) * get_num_groups(0) + get_group_id(0); }
