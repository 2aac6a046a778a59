/* tools.h - calls of tools as a network; see EVN_GRAMMAR_TOOLS. */
#ifndef EVN_GRAMMAR_TOOLS_H
#define EVN_GRAMMAR_TOOLS_H

#include "grammar/net.h"

#define EVN_TOOLS_MOST 128

/* Fills in an empty network and finishes it. */
evn_status evn_tools_read(evn_net *n, const char *text, size_t length, evn_error *err);

#endif
