/* manual.h - the manual pages and the shell completions, made from the tables of commands and options when evener is
 * built, so that they say what the program does. Not part of the program. */
#ifndef EVN_MANUAL_H
#define EVN_MANUAL_H

#include "cli/cli.h"
#include "cli/config/options.h"

#include <stdio.h>

void manual_page_program(FILE *out);                   /* evener.1 */
void manual_page_command(FILE *out, const command *c); /* evener-NAME.1 */
void completions_bash(FILE *out);
void completions_zsh(FILE *out);
void completions_fish(FILE *out);

#endif
