/* simulated.h - evener plan --simulate: the speed of a model over a cluster that need not exist. */
#ifndef EVN_CLI_SIMULATED_H
#define EVN_CLI_SIMULATED_H

#include "cli/config/settings.h"

/* Prints the cuts of the model over the cluster of s->simulate, and draws them if s->image names a file. */
evn_status simulated_print(const settings *s, evn_error *err);

#endif
