/* checkpoint.h - the state of training on disk. It is a GGUF file with the model (or adapter) in whole tensors,
 * whatever the split, and all other entries of its source. The optimizer's state and the losses so far are added. */
#ifndef EVN_CHECKPOINT_H
#define EVN_CHECKPOINT_H

#include "train/network.h"

/* The content of a checkpoint besides the parameters. */
typedef struct {
	uint32_t step;      /* steps that are done */
	uint64_t data_hash; /* hash of the dataset; it and the seed give the order of the data */
	uint64_t seed;
	const float *loss, *val_loss; /* (step); NAN if it was not computed */
} evn_progress;

/* An open state file: a model or an adapter, new or in the middle of training. */
typedef struct {
	evn_gguf *gguf;
} evn_state;
/* Verifies the checksum if there is one. */
evn_status evn_state_open(evn_state *out, const char *path, evn_error *err);
void evn_state_close(evn_state *s);
/* Step 0 and no losses if training did not write the file. The losses are malloc'd copies. */
evn_status evn_state_progress(const evn_state *s, evn_progress *out, float **loss, float **val_loss, evn_error *err);

/* The networks of this process's ranks, [begin, end) of `of`. Other nodes have the others. */
typedef struct {
	evn_network *const *of;
	uint32_t begin, end;
	evn_nodes *nodes; /* NULL: there are no others */
} evn_networks;

/* Writes the entries of `source`, with the networks' parameters in place of its own. With progress, the state of
 * training is written too; otherwise the file is a finished model. The file is replaced atomically. No rank may be
 * working. Over nodes, node 0 calls it, and the others evn_checkpoint_give. */
evn_status evn_checkpoint_write(const char *path, const evn_gguf *source, const evn_networks *networks,
								const evn_progress *progress, evn_error *err);
/* Sends this node's parameters to node 0, with the optimizer's state if that is written. */
evn_status evn_checkpoint_give(const evn_networks *networks, bool with_state, evn_error *err);

/* A new adapter for base: A is random by seed. B is zero, so the adapter changes nothing at first. */
evn_status evn_adapter_create(const char *path, const evn_model *base, const evn_trained *trained, uint64_t seed,
							  evn_error *err);

#endif
