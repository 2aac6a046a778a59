// silu.cl - SwiGLU (Shazeer 2020).
#include "common.cl"

INLINE floats combine(floats gate, floats up) { return silu(gate) * up; }
