/* json_file.h - the JSON files of a checkpoint folder. */
#ifndef EVN_JSON_FILE_H
#define EVN_JSON_FILE_H

#include <jansson.h>

#include "base/base.h"

/* Reads folder/name, which must be an object. *out is NULL if there is no such file. */
evn_status evn_json_open(json_t **out, const char *folder, const char *name, size_t limit, evn_error *err);

#endif
