// f16.cl - F16: halfs. A step is 32 values.
#include "common.cl"

#define STEP_LEN 32
#define STEP_BYTES 64
#define GROUP_LEN 32

INLINE floats tile_quant(const global uchar *b, uint g, uint k) { return load_halfs(b + 2 * EVN_TILE_ROWS * k); }
