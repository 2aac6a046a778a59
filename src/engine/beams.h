/* beams.h - beam search: at each step every text that is kept is continued by its likeliest ids, and the best of all
 * continuations are kept. Texts that begin alike share whole cache blocks; the last block is copied on the devices.
 */
#ifndef EVN_BEAMS_H
#define EVN_BEAMS_H

#include "engine/engine.h"
#include "evener/translate.h"

/* evn_translate with o->n_beams > 1. */
evn_status evn_beams_search(evn_engine *e, const int32_t *text, size_t n_text, const evn_translate_options *o,
							evn_rank_stats *ranks, evn_error *err);

#endif
