/* checkpoint.h - training's state on disk: a GGUF file that holds the model (or adapter) with everything else its
 * source held, whole tensors whatever the split, and beside them the optimizer's state and the losses so far. */
#ifndef EVN_CHECKPOINT_H
#define EVN_CHECKPOINT_H

#include "train/network.h"

/* What a checkpoint says beyond tensors of parameters. */
typedef struct {
	uint32_t step;      /* steps done */
	uint64_t data_hash; /* of the dataset, which gives the data's order together with the seed */
	uint64_t seed;
	const float *loss, *val_loss; /* (step); NAN where it was not computed */
} evn_progress;

/* A state file opened: a model or an adapter, fresh or in the midst of training. */
typedef struct {
	evn_gguf *gguf;
} evn_state;
/* Checks the checksum where there is one. */
evn_status evn_state_open(evn_state *out, const char *path, evn_error *err);
void evn_state_close(evn_state *s);
/* step 0 and no losses for a file that training did not write. The losses are malloc'd copies. */
evn_status evn_state_progress(const evn_state *s, evn_progress *out, float **loss, float **val_loss, evn_error *err);

/* Writes what `source` holds with the networks' parameters in place of its own; with progress also training's state
 * (else a finished model). The file is replaced atomically. No rank may be working. */
evn_status evn_checkpoint_write(const char *path, const evn_gguf *source, evn_network *const *networks,
								uint32_t n_ranks, const evn_progress *progress, evn_error *err);

/* A fresh adapter for base: A random by seed, B zeros, so that it changes nothing yet. */
evn_status evn_adapter_create(const char *path, const evn_model *base, const evn_trained *trained, uint64_t seed,
							  evn_error *err);

#endif
