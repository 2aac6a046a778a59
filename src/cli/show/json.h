/* json.h - jansson with this program's conventions: bytes that are not UTF-8 become U+FFFD, numbers that JSON cannot
 * say become null, and running out of memory anywhere ends as NULL at the root. */
#ifndef EVN_CLI_JSON_H
#define EVN_CLI_JSON_H

#include "evener.h"
#include <jansson.h>

json_t *json_bytes(const char *text, size_t n);
json_t *json_text(const char *text); /* NULL is null */
json_t *json_number(double value);
json_t *json_ids(const int32_t *ids, size_t n);
/* Appends item (taken over); where that fails *array becomes NULL. */
void json_push(json_t **array, json_t *item);
/* Prints root (taken over) on stdout, the one object that --json promises. */
evn_status json_print(json_t *root, evn_error *err);

#endif
