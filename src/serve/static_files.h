/* static_files.h - the files of src/serve/static, which the build puts into the program. */
#ifndef EVN_SERVE_STATIC_FILES_H
#define EVN_SERVE_STATIC_FILES_H

#include <stddef.h>

extern const unsigned char static_page_html[];
extern const size_t static_page_html_bytes;
extern const unsigned char static_openapi_json[];
extern const size_t static_openapi_json_bytes;

#endif
