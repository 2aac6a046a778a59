/* run.h - computes the pieces that the journal does not have. A window of them is with the scheduler at any time, so
 * that they share its steps; their records go to the journal in the order in which they end. */
#ifndef EVN_CLI_BATCH_RUN_H
#define EVN_CLI_BATCH_RUN_H

#include "cli/batch/job.h"
#include "cli/batch/journal.h"

/* The shop without lock, queue and scheduler, which this function makes. EVN_ERR_CANCELLED after Ctrl-C: what is in
 * the journal stays there. */
evn_status run_pieces(workshop *shop, evn_engine *engine, journal *j, evn_scheduler_stats *stats, evn_error *err);

#endif
