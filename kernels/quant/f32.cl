// f32.cl - F32. A step is 32 values.
#include "common.cl"

#define STEP_LEN 32
#define STEP_BYTES 128
#define GROUP_LEN 32

INLINE float16 tile_quant(const global uchar *b, uint g, uint k) { return vload16(k, (const global float *)b); }
