// width.cl - the parameters of kernels with scalars where the host sets none: one lane, and TOKENS rows of activations for
// which a weight is decoded once.
#ifndef LANES
#define LANES 1
#endif
#ifndef TOKENS
#define TOKENS 1
#endif
