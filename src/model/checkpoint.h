/* checkpoint.h - a folder with a model as Hugging Face's transformers saves it: config.json, safetensors files,
 * tokenizer.json. It is opened as if it were a GGUF file: names, keys, shapes and the order of rows are those that
 * llama.cpp's converter would write, and the weights stay where they are. */
#ifndef EVN_CHECKPOINT_H
#define EVN_CHECKPOINT_H

#include "model/gguf.h"

bool evn_is_folder(const char *path);
evn_status evn_checkpoint_open(evn_gguf **out, const char *folder, evn_error *err);

#endif
