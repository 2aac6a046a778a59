/* launched.c - whether a launcher has started this process with others. Its variables tell before MPI begins. */
#include <stdlib.h>

#include "node/node.h"

/* Of Open MPI, of MPICH and others with Hydra, and of Slurm's srun. */
static const char *const sizes[] = {"OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "SLURM_STEP_NUM_TASKS"};

uint32_t evn_nodes_launched(void)
{
	for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
		const char *value = getenv(sizes[i]);
		const long n = value ? strtol(value, NULL, 10) : 0;
		if (n > 1)
			return (uint32_t)n;
	}
	return 1;
}
