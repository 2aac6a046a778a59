/* encode.h - one block of each weight format from f32 values, which must be finite. The formats of 32 with a plain
 * scale, MXFP4 and NVFP4 have ggml's bits. Where a format leaves a choice, the scale and minimum with the least
 * squared error are searched. */
#ifndef EVN_ENCODE_H
#define EVN_ENCODE_H

#include <stdint.h>

void evn_encode_f32(const float *x, uint8_t *block);
void evn_encode_f16(const float *x, uint8_t *block);
void evn_encode_bf16(const float *x, uint8_t *block);
void evn_encode_q4_0(const float *x, uint8_t *block);
void evn_encode_q4_1(const float *x, uint8_t *block);
void evn_encode_q5_0(const float *x, uint8_t *block);
void evn_encode_q5_1(const float *x, uint8_t *block);
void evn_encode_q8_0(const float *x, uint8_t *block);
void evn_encode_iq4_nl(const float *x, uint8_t *block);
void evn_encode_mxfp4(const float *x, uint8_t *block);
void evn_encode_nvfp4(const float *x, uint8_t *block);
void evn_encode_q2_k(const float *x, uint8_t *block);
void evn_encode_q3_k(const float *x, uint8_t *block);
void evn_encode_q4_k(const float *x, uint8_t *block);
void evn_encode_q5_k(const float *x, uint8_t *block);
void evn_encode_q6_k(const float *x, uint8_t *block);
void evn_encode_iq4_xs(const float *x, uint8_t *block);

#endif
