/* cluster.h - the program as one of several processes that a launcher (mpirun, srun) has started. Node 0 runs the
 * command; the others follow it. */
#ifndef EVN_CLI_CLUSTER_H
#define EVN_CLI_CLUSTER_H

#include "cli/cli.h"
#include "evener/cluster.h"

/* Joins the other processes, if there are any and the command uses devices. Another command is an error. */
evn_status cluster_begin(const command *c, evn_error *err);
/* The cluster for settings_engine_options; NULL: this process is alone. */
evn_cluster *cluster_joined(void);
/* Runs the command on node 0; elsewhere follows it. */
evn_status cluster_run(const command *c, const invocation *in, evn_error *err);
/* At the end. If only this node knows of the failure, prints it and ends all nodes; otherwise waits for the others.
 * False: somebody else prints the error. */
bool cluster_end(evn_status status, const evn_error *err, int exit_code);

#endif
