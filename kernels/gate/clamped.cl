// clamped.cl - the SwiGLU of gpt-oss: both inputs are clamped, the gate's logistic function is steeper, and up is shifted
// by 1.
#include "common.cl"

#define LIMIT ((floats)7.0f)

INLINE floats combine(floats gate, floats up)
{
	floats g = min(gate, LIMIT), u = clamp(up, -LIMIT, LIMIT);
	return g / (1.0f + exp(-1.702f * g)) * (u + 1.0f);
}
