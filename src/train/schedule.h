/* schedule.h - the learning rate, and the other parameters of AdamW. */
#ifndef EVN_SCHEDULE_H
#define EVN_SCHEDULE_H

#include "evener/train.h"
#include "train/backward.h"

/* For the step after `step` steps. A linear warm-up, then half a cosine down to the lowest rate. */
evn_adamw evn_adamw_at(const evn_train_options *o, uint32_t step);

#endif
