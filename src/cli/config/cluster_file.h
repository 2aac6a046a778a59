/* cluster_file.h - the YAML file of `evener plan --simulate`: a cluster that need not exist. docs/cluster.md
 * describes the file. */
#ifndef EVN_CLI_CLUSTER_FILE_H
#define EVN_CLI_CLUSTER_FILE_H

#include "evener/simulate.h"

typedef struct {
	struct cluster_values *values; /* names of the cluster point into these */
	evn_sim_cluster cluster;
} cluster_file;

/* Every error of the file is one line that begins with file:line:column. */
evn_status cluster_file_load(cluster_file *out, const char *path, evn_error *err);
void cluster_file_free(cluster_file *f);

#endif
