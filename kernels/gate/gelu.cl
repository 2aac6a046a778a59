// gelu.cl - GeGLU (Shazeer 2020), with the tanh form of GELU.
#include "common.cl"

INLINE floats combine(floats gate, floats up) { return gelu_tanh(gate) * up; }
