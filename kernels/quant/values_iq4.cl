// values_iq4.cl - what IQ4_NL and IQ4_XS share: a nibble is the index of one of 16 values from -127 to 113, which are
// closer together near zero.
#define ZERO 128
#define VALUES_0 0x3f2d1801u
#define VALUES_4 0x766a5d4fu
#define VALUES_8 0xa6998d81u
#define VALUES_12 0xf1d9c5b5u
#include "quant/look_up.cl"
