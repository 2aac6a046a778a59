// variants.h - the parts of a kernel that come in several files, and which of them is compiled where the host names none.
// A kernel file includes the part by its name: #include STORE. A file that needs another default defines it first.

#ifndef WEIGHTS
#define WEIGHTS "quant/q4_0.cl" // the format of the weights
#endif
#ifndef ROW
#define ROW "row_f32.cl" // products with a row of activations: row_f32.cl, row_q8.cl
#endif
#ifndef BLOCK
#define BLOCK "block_f32.cl" // products with a block of rows: block_f32.cl, block_q8.cl
#endif
#ifndef STORE
#define STORE "store_f32.cl" // the form in which the next product reads: store_f32.cl, store_q8.cl
#endif
#ifndef NORM
#define NORM "norm_rms.cl" // norm_rms.cl, norm_layer.cl, norm_none.cl
#endif
#ifndef KV_CACHE
#define KV_CACHE "kv/f32.cl" // the format of the KV cache
#endif
#ifndef MESSAGE
#define MESSAGE "message/f32.cl" // the format of messages between ranks
#endif
