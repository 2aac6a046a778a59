// variants.h - the parts of a kernel that come in several files, with the default of each. A kernel file includes a
// part by its name: #include STORE. The host can select another file. A file that needs another default defines it
// before its includes.

#ifndef WEIGHTS
#define WEIGHTS "quant/q4_0.cl" // the format of the weights
#endif
#ifndef ROW
#define ROW "row_f32.cl" // the product with one row of activations: row_f32.cl, row_q8.cl
#endif
#ifndef BLOCK
#define BLOCK "block_f32.cl" // the product with a block of rows: block_f32.cl, block_q8.cl
#endif
#ifndef STORE
#define STORE "store_f32.cl" // the activation format that is written: store_f32.cl, store_q8.cl
#endif
#ifndef GATE
#define GATE "gate/silu.cl" // how gate and up are combined: silu.cl, gelu.cl, clamped.cl
#endif
#ifndef NORM
#define NORM "norm_rms.cl" // the norm: norm_rms.cl, norm_layer.cl, norm_none.cl
#endif
#ifndef KV_CACHE
#define KV_CACHE "kv/f32.cl" // the format of the KV cache
#endif
#ifndef MESSAGE
#define MESSAGE "message/f32.cl" // the format of messages between ranks
#endif
