// bf16.cl - BF16: the upper 16 bits of an f32. A step is 32 values.
#include "common.cl"

#define STEP_LEN 32
#define STEP_BYTES 64
#define GROUP_LEN 32

INLINE floats tile_quant(const global uchar *b, uint g, uint k)
{
	return as_floats(load_shorts(b, k) << (words)16);
}
