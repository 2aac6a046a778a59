/* mix.h - the types of model files: the format of most matrices, and those of matrices that lose more with few bits.
 */
#ifndef EVN_MIX_H
#define EVN_MIX_H

#include "model/model.h"

typedef struct {
	const char *name;
	uint32_t file_type; /* general.file_type */
	const char *most;   /* the format of most matrices */
} evn_mix;

/* NULL if there is none of this name; upper and lower case are equal. */
const evn_mix *evn_mix_find(const char *name);
/* The format that tensor t of the model gets. pure: of two-dimensional ones that of most. */
const evn_quant *evn_mix_format(const evn_mix *mix, const evn_model *m, const evn_tensor *t, bool pure);

#endif
