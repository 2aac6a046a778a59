/* mask.h - which words of a vocabulary may come next in a grammar. */
#ifndef EVN_GRAMMAR_MASK_H
#define EVN_GRAMMAR_MASK_H

#include "grammar/machine.h"
#include "grammar/words.h"

typedef struct evn_masker evn_masker; /* what the walks over the words of one vocabulary with one machine need */

evn_status evn_masker_create(evn_masker **out, evn_machine *m, const evn_words *w, evn_error *err);
void evn_masker_free(evn_masker *k);
/* The mask of a configuration (w->n_mask): bit id % 64 of part id / 64. Computed once, kept by the machine and valid
 * until evn_machine_trim. NULL: no memory. */
const uint64_t *evn_masker_get(evn_masker *k, uint32_t config);

#endif
