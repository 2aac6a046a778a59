// f32.cl - F32. A step is 32 values.
#include "common.cl"

#define STEP_LEN 32
#define STEP_BYTES 128
#define GROUP_LEN 32

INLINE floats tile_quant(const global uchar *b, uint g, uint k) { return as_floats(load_words(b, k)); }
