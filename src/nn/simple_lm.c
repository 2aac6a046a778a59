/* simple_lm.c - the least language model: an embedding and a linear layer. What it says next depends on the last
 * token alone. */
#include "nn/arch.h"

static const char *const proofs[] = {NULL};

const evn_arch evn_arch_simple_lm = {.name = "simple-lm", .proofs = proofs, .norm = EVN_NORM_NONE};
