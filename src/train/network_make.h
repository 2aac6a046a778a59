/* network_make.h - the two halves of making a network: parameters (network_load.c) and buffers (network_make.c). */
#ifndef EVN_NETWORK_MAKE_H
#define EVN_NETWORK_MAKE_H

#include "train/network.h"

/* Strides, activations, scratch; after the layers are known. */
evn_status evn_network_make_buffers(evn_network *n, evn_error *err);

#endif
