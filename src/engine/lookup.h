/* lookup.h - guesses what comes next in a text from the text so far: what followed when its last ids stood there
 * before. Host arithmetic, no device.
 *
 * Each guess is compared with the id that comes, also when nobody computes a draft from it. So a text tells for
 * nothing how often its guesses are right. Longer repetitions are right more often; each class of lengths has its own
 * figure. */
#ifndef EVN_LOOKUP_H
#define EVN_LOOKUP_H

#include "base/base.h"

typedef struct evn_lookup evn_lookup;

evn_status evn_lookup_create(evn_lookup **out, evn_error *err);
void evn_lookup_free(evn_lookup *l);

/* The text has grown to n ids. Those that were there before have not changed. */
evn_status evn_lookup_read(evn_lookup *l, const int32_t *ids, uint32_t n, evn_error *err);

/* Writes guesses of what follows the n ids behind them, at most `most`, and for each the chance that it and all
 * before it are right. Returns how many. `ids` has room for them. */
uint32_t evn_lookup_draft(const evn_lookup *l, int32_t *ids, uint32_t n, uint32_t most, float *chances);

#endif
