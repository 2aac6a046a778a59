/* translate.h - models with an encoder and a decoder (T5): a text is read by the encoder as a whole, and the decoder
 * writes another one. */
#ifndef EVENER_TRANSLATE_H
#define EVENER_TRANSLATE_H

#include "evener.h"

#ifdef __cplusplus
extern "C" {
#endif

/* What the encoder is to read. The session then begins anew, at position 0. It must be called before evn_session_eval,
 * whose ids are those of the decoder. EVN_ERR_LIMIT if the text is longer than a step has rows; EVN_ERR_USAGE if the
 * model has no encoder beside a decoder. */
EVN_API evn_status evn_session_encode(evn_session *s, const int32_t *ids, size_t n, evn_error *err);
/* The id with which the decoder begins; -1: the model has no encoder beside a decoder. */
EVN_API int32_t evn_engine_decoder_start(const evn_engine *e);

#ifdef __cplusplus
}
#endif

#endif
