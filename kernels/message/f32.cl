// f32.cl - messages between ranks as they are. A message is blocks of 32 columns.
#include "common.cl"

// The i-th sixteen columns.
INLINE float16 message_load(const global uchar *m, size_t i) { return vload16(i, (const global float *)m); }
