// values_e2m1.cl - the values of a float of 4 bits, doubled: a sign and one of 0 1 2 3 4 6 8 12.
#define ZERO 12
#define VALUES_0 0x0f0e0d0cu
#define VALUES_4 0x18141210u
#define VALUES_8 0x090a0b0cu
#define VALUES_12 0x00040608u
#include "quant/look_up.cl"
