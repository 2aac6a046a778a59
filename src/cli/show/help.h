/* help.h - help texts, made from the tables of commands and options. */
#ifndef EVN_CLI_HELP_H
#define EVN_CLI_HELP_H

#include "cli/cli.h"

void help_program(void);
void help_command(const command *c);

#endif
