/* answer.h - the text of an answer on stdout as it comes. On a terminal reasoning is dimmed; elsewhere it is left
 * out. */
#ifndef EVN_CLI_ANSWER_H
#define EVN_CLI_ANSWER_H

#include "evener/chat.h"

evn_status answer_print(evn_answer_piece piece, evn_error *err);
void answer_print_end(void); /* on a terminal the answer ends with a newline */

#endif
