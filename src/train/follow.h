/* follow.h - training over several nodes. Node 0 has the files, draws the batches and writes checkpoints. It tells
 * the others what to compute; they have a copy of the state in memory, and the base model of an adapter from their
 * own file. In one process these functions return at once. */
#ifndef EVN_TRAIN_FOLLOW_H
#define EVN_TRAIN_FOLLOW_H

#include "train/trainer.h"

/* `opened`: whether node 0 could open its files. Sends the state and the shape of the passes to the other nodes. */
evn_status evn_lead_state(evn_trainer *t, evn_cluster *c, evn_status opened, evn_error *err);
/* `split`: whether this node could split the model. All nodes take node 0's split. They compute activations again if
 * one of them does. */
evn_status evn_follow_split(evn_trainer *t, evn_status split, evn_error *err);
/* `loaded`: whether this node could load its part. Afterwards the other nodes wait for commands. */
evn_status evn_follow_trainer_loaded(evn_trainer *t, evn_status loaded, evn_error *err);

/* Node 0, before it does the same itself. */
evn_status evn_lead_passes(evn_trainer *t, evn_error *err);
evn_status evn_lead_update(evn_trainer *t, evn_error *err);
evn_status evn_lead_collection(evn_trainer *t, bool with_state, evn_error *err);
void evn_lead_training_end(evn_trainer *t);

#endif
