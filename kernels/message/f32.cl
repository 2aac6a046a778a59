// f32.cl - messages between ranks as f32. A message is made of blocks of 32 columns.
#include "common.cl"

// The i-th LANES columns.
INLINE floats message_load(const global uchar *m, size_t i) { return load_columns((const global float *)m, i); }
