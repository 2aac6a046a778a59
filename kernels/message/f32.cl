// f32.cl - messages between ranks as f32. A message is made of blocks of 32 columns.
#include "common.cl"

// The i-th 16 columns.
INLINE float16 message_load(const global uchar *m, size_t i) { return vload16(i, (const global float *)m); }
