/* gbnf.h - grammars in llama.cpp's form of BNF: "root ::= ..." and so on. */
#ifndef EVN_GRAMMAR_GBNF_H
#define EVN_GRAMMAR_GBNF_H

#include "grammar/net.h"

#define EVN_GBNF_MAX_NAME 64
#define EVN_GBNF_MAX_DEPTH 64 /* of parentheses */

/* Fills in an empty network and finishes it. */
evn_status evn_gbnf_read(evn_net *n, const char *text, size_t length, evn_error *err);

#endif
