/* json.h - jansson with the conventions of this program. Bytes that are not UTF-8 become U+FFFD. Numbers that JSON
 * cannot express become null. If memory runs out anywhere, the root is NULL. */
#ifndef EVN_CLI_JSON_H
#define EVN_CLI_JSON_H

#include "evener.h"
#include <jansson.h>

json_t *json_bytes(const char *text, size_t n);
json_t *json_text(const char *text); /* NULL becomes null */
json_t *json_number(double value);
json_t *json_ids(const int32_t *ids, size_t n);
json_t *json_measured(const evn_measured *m); /* null if nothing was measured */
/* Appends item and owns it. On failure *array becomes NULL. */
void json_push(json_t **array, json_t *item);
/* Prints root and owns it: the one object on stdout that --json promises. */
evn_status json_print(json_t *root, evn_error *err);

#endif
