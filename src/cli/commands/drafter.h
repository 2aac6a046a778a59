/* drafter.h - the draft model of --draft, for commands that write texts. */
#ifndef EVN_CLI_DRAFTER_H
#define EVN_CLI_DRAFTER_H

#include "cli/config/settings.h"
#include "evener/requests.h"

typedef struct {
	evn_model *model; /* NULL: there is none, or it is not to be used */
	evn_engine *engine;
} drafter;

/* Reads the file; what is wrong with it is found before a device is touched. Close it even if this fails. */
evn_status drafter_open(drafter *d, const settings *s, const evn_model *of, evn_error *err);
/* Puts it on devices beside `of`, whose options are o. */
evn_status drafter_load(drafter *d, evn_engine *of, const evn_options *o, evn_error *err);
void drafter_close(drafter *d); /* behind the scheduler */

#endif
