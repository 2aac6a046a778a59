/* options.c - see options.h. Letters and defaults are those of llama.cpp where it has the option. */
#include "cli/config/options.h"
#include "cli/cli.h"
#include "cli/show/text.h"
#include "evener/translate.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const splits[] = {"auto", "tensor", "sequence", NULL};           /* in evn_split_mode's order */
static const char *const speculations[] = {"auto", "lookup", "draft", "off", NULL}; /* in evn_speculate's order */
static const char *const kv_caches[] = {"f32", "f16", "q8_0", "q4_0", NULL};        /* in evn_kv_cache's order */
static const char *const reduces[] = {"auto", "host", "events", "flags", NULL};     /* in evn_reduce's order */
static const char *const cluster_splits[] = {"auto", "tensor", "pipeline", NULL};   /* in evn_cluster_split's order */
static const char *const off_on[] = {"off", "on", NULL};
static const char *const message_types[] = {"f32", "f16", "bf16", "q8", NULL}; /* in evn_message_type's order */
static const char *const activation_types[] = {"auto", "f32", "q8", NULL};     /* in evn_activation_type's order */

static const char *const poolings[] = {"auto", "mean", "cls", "last", NULL}; /* in evn_pooling's order */
static const char *const joins[] = {"mean", "max", NULL};
static const char *const similarities[] = {"off", "matrix", "pairs", NULL};
static const char *const cuts[] = {"lines", "paragraphs", "sentences", "whole", NULL}; /* in cut_units's order */

#define MODEL_COMMANDS (CMD_MODEL | CMD_TOKENIZE | CMD_INSPECT | CMD_TUNE)
#define PROMPT_COMMANDS (CMD_RUN | CMD_LOGITS | CMD_SCORE | CMD_TOKENIZE | CMD_EMBED | CMD_CLASSIFY)
#define CHAT_COMMANDS (CMD_RUN | CMD_CHAT)
#define TALK_COMMANDS (CHAT_COMMANDS | CMD_BATCH)
#define SAMPLE_COMMANDS (CMD_RUN | CMD_CHAT | CMD_BATCH | CMD_SERVE)
#define TRACE_COMMANDS (CMD_RUN | CMD_CHAT | CMD_BATCH | CMD_SERVE)
#define JSON_COMMANDS (CMD_ALL & ~(CMD_CONFIG | CMD_SERVE | CMD_TIMELINE))
#define CONTEXT_MAX 16777216
#define SEED_MAX 9007199254740991.0 /* 2^53 - 1: the end of the range is kept as a double */

/* clang-format off */
#define FIELD(f) offsetof(settings, f)
const option options[] = {
	{"model", 'm', OPTION_TEXT, MODEL_COMMANDS, "model.path", FIELD(model_path), NULL, 0, 0, NULL,
	 "FILE", "model file (GGUF), or a folder with safetensors files"},
	{"lora", 0, OPTION_TEXT, CMD_ENGINE, "model.lora", FIELD(lora), NULL, 0, 0, NULL,
	 "FILE[:SCALE]", "add a LoRA adapter (GGUF) to the model's matrices, which become f32"},
	{"ctx-size", 'c', OPTION_INT, CMD_MODEL, "model.context", FIELD(context), "0", 0, CONTEXT_MAX, NULL,
	 "N", "most tokens of a text with its answer, or of a sequence in training; 0 = as many as the model was trained for, "
	 "or fewer that fit into memory (training: 128)"},
	{"batch-size", 'b', OPTION_INT, CMD_ENGINE, "compute.batch", FIELD(batch), "512", 1, 65536, NULL,
	 "N", "most prompt tokens computed at once"},

	{"devices", 'd', OPTION_TEXT, CMD_MODEL | CMD_SELFTEST | CMD_TUNE, "devices.match", FIELD(devices), NULL, 0, 0, NULL,
	 "LIST", "devices to use, SELECTOR[/PARTS],...: gpu, cpu, all, 0:1, pocl, part of a name; cpu/1+1 is two "
	 "sub-devices of one compute unit"},
	{"shares", 0, OPTION_SHARES, CMD_MODEL, "devices.share", FIELD(shares), NULL, 0, 0, NULL,
	 "3,1", "one weight for each rank; 3/30: 3, but 30 of the feed-forward units for prompts; default: as measured"},
	{"memory", 0, OPTION_MEMORY, CMD_MODEL, "devices.memory", FIELD(memory), NULL, 0, 0, NULL,
	 "90%,6GiB", "most memory to use, for each item of the device list, or one amount for all"},
	{"split", 0, OPTION_CHOICE, CMD_ENGINE, "split.mode", FIELD(split), "auto", 0, 0, splits,
	 "MODE", "how the work is split: tensor (every matrix over all devices), sequence (only for score, embed and classify: every "
	 "device holds the whole model and computes a part of the text, or whole lines, images or tiles), auto"},
	{"reduce", 0, OPTION_CHOICE, CMD_MODEL, "split.reduce", FIELD(reduce), "auto", 0, 0, reduces,
	 "METHOD", "reduction method: auto, host, events, flags"},
	{"messages", 0, OPTION_CHOICE, CMD_ENGINE, "split.messages", FIELD(messages), "f32", 0, 0, message_types,
	 "TYPE", "format of partial sums that devices exchange for long prompts: f32, f16, bf16, q8"},
	{"cluster-split", 0, OPTION_CHOICE, CMD_MODEL & ~CMD_BENCH, "cluster.split", FIELD(cluster_split), "auto", 0, 0,
	 cluster_splits, "MODE", "what several nodes share: tensor (every matrix), pipeline (each node has some layers), auto "
	 "(tensor)"},
	{"rebalance", 0, OPTION_CHOICE, CMD_RUN | CMD_CHAT | CMD_BATCH | CMD_SERVE, "split.rebalance", FIELD(rebalance), "off", 0,
	 0, off_on, "off|on", "let shares follow the devices' speeds while a text is written, unless shares are given"},
	{"activations", 0, OPTION_CHOICE, CMD_ENGINE, "compute.activations", FIELD(activations), "auto", 0, 0,
	 activation_types, "TYPE", "format of activations in products with integer weights: auto, f32, q8"},
	{"kv-cache", 0, OPTION_CHOICE, CMD_ENGINE, "compute.kv_cache", FIELD(kv_cache), "f32", 0, 0, kv_caches,
	 "TYPE", "format of the keys and values of past tokens: f32, f16, q8_0, q4_0"},
	{"speculate", 0, OPTION_CHOICE, SAMPLE_COMMANDS, "compute.speculate", FIELD(speculate), "auto", 0, 0, speculations,
	 "WHEN", "guess tokens and verify several in one step; auto: from repetitions in the text, or by the draft model, where "
	 "it is measured to be faster; lookup, draft: always by one of them; off: never"},
	{"draft", 0, OPTION_TEXT, CMD_RUN | CMD_CHAT | CMD_SERVE | CMD_PLAN, "model.draft", FIELD(draft_path), NULL, 0, 0, NULL,
	 "FILE", "a smaller model of the same vocabulary that guesses tokens; the text stays the same"},
	{"verify-every", 0, OPTION_INT, SAMPLE_COMMANDS, "compute.verify_every", FIELD(verify_every), "64", 0, 1000000, NULL,
	 "N", "in every Nth step compute a part of what each device did again on the host, and leave out a device that is wrong "
	 "twice; 0: never"},
	{"measure", 0, OPTION_FLAG, CMD_MODEL | CMD_DEVICES, NULL, FIELD(measure), NULL, 0, 0, NULL,
	 NULL, "measure the devices thoroughly now, which takes about a minute; a first plan comes from a short trial"},

	{"prompt", 'p', OPTION_TEXT, PROMPT_COMMANDS, "run.prompt", FIELD(prompt), NULL, 0, 0, NULL,
	 "TEXT", "the prompt or text; default: -f, else standard input if it is no terminal"},
	{"file", 'f', OPTION_TEXT, PROMPT_COMMANDS, NULL, FIELD(prompt_file), NULL, 0, 0, NULL,
	 "FILE", "read the prompt or text from a file"},
	{"encoder-ids", 0, OPTION_TEXT, CMD_LOGITS, NULL, FIELD(encoder_ids), NULL, 0, 0, NULL,
	 "1,2,3", "the ids that the encoder reads, where the model has one"},
	{"ids", 0, OPTION_TEXT, CMD_LOGITS | CMD_TOKENIZE, NULL, FIELD(ids), NULL, 0, 0, NULL,
	 "1,2,3", "token ids instead of a text"},
	{"random-ids", 0, OPTION_INT, CMD_LOGITS, "logits.random_ids", FIELD(n_random_ids), "0", 0, CONTEXT_MAX, NULL,
	 "N", "without ids or a prompt: N random ids of the vocabulary, drawn by --init-seed"},
	{"simulate", 0, OPTION_TEXT, CMD_PLAN, NULL, FIELD(simulate), NULL, 0, 0, NULL,
	 "CLUSTER", "predict the speed over the machines of a YAML file, which need not exist, and the best cut"},
	{"image", 0, OPTION_TEXT, CMD_LOGITS | CMD_SCORE | CMD_PLAN, NULL, FIELD(image), NULL, 0, 0, NULL,
	 "FILE", "also draw a picture (.svg, else PNG): the logits as a heat map, the surprise of each token along the text, "
	 "or with --simulate the speed by the number of nodes"},
	{"ctx", 0, OPTION_INT, CMD_SCORE, NULL, FIELD(window), "0", 0, CONTEXT_MAX, NULL,
	 "N", "windows of N tokens; the second half of each is scored, as llama-perplexity does; 0 = pieces of the context's "
	 "length; all tokens are scored except the first"},
	{"windows", 0, OPTION_INT, CMD_SCORE, NULL, FIELD(n_windows), "0", 0, INT32_MAX, NULL,
	 "N", "score at most the first N windows or pieces; 0 = all"},
	{"tokens", 0, OPTION_FLAG, CMD_SCORE, NULL, FIELD(tokens), NULL, 0, 0, NULL,
	 NULL, "also print the log-probability of each token"},
	{"image", 0, OPTION_REPEATED, CMD_EMBED | CMD_CLASSIFY, NULL, FIELD(images), NULL, 0, MAX_REPEATED, NULL,
	 "FILE", "images (PNG, JPEG) in place of texts, for a model that reads them; further files may follow as arguments"},
	{"tiles", 0, OPTION_TEXT, CMD_EMBED | CMD_CLASSIFY, NULL, FIELD(tiles), NULL, 0, 0, NULL,
	 "ROWSxCOLUMNS", "cut each image into tiles, which devices take as a whole by their shares where they have room for the whole model; "
	 "each becomes as large as the model reads"},
	{"join", 0, OPTION_CHOICE, CMD_CLASSIFY, NULL, FIELD(join), "mean", 0, 0, joins,
	 "HOW", "how the tiles' probabilities become those of the image: mean (of their logarithms), max (of each class the largest)"},
	{"picture", 0, OPTION_TEXT, CMD_CLASSIFY, NULL, FIELD(picture), NULL, 0, 0, NULL,
	 "FILE", "draw the image with its tiles and what was found in each, or with --learn which classes are taken for which (.svg, else PNG)"},
	{"pooling", 0, OPTION_CHOICE, CMD_EMBED, NULL, FIELD(pooling), "auto", 0, 0, poolings,
	 "ROWS", "which rows of a text become its vector: mean (of all), cls (the first), last; auto = as the model file says, "
	 "else mean for an encoder and last for a decoder"},
	{"similarity", 0, OPTION_CHOICE, CMD_EMBED, NULL, FIELD(similarity), "off", 0, 0, similarities,
	 "FORM", "print how alike the lines are in place of their vectors: matrix, or pairs, the most alike first"},
	{"head", 0, OPTION_TEXT, CMD_CLASSIFY, "classify.head", FIELD(head_path), NULL, 0, 0, NULL,
	 "FILE.gguf", "a head that --learn has written; default: the model's own"},
	{"learn", 0, OPTION_TEXT, CMD_CLASSIFY, NULL, FIELD(learn_path), NULL, 0, 0, NULL,
	 "FILE.gguf", "learn a head from the records of a CSV file, and write it"},
	{"label", 0, OPTION_TEXT, CMD_CLASSIFY, "classify.label", FIELD(label_column), NULL, 0, 0, NULL,
	 "NAME", "the column of a CSV file that has the classes; default: the last one with --learn, else none"},
	{"held-out", 0, OPTION_REAL, CMD_CLASSIFY, "classify.held_out", FIELD(classify_held_out), "0.2", 0, 0.9, NULL,
	 "PART", "the part of the records that is not learned, to see how well others are known"},
	{"passes", 0, OPTION_INT, CMD_CLASSIFY, "classify.passes", FIELD(passes), "300", 1, 100000, NULL,
	 "N", "passes over the records while learning"},
	{"special", 0, OPTION_FLAG, CMD_TOKENIZE, NULL, FIELD(special), NULL, 0, 0, NULL,
	 NULL, "add BOS where the model asks for it, and read and write special tokens"},
	{"chat", 0, OPTION_FLAG, CMD_RUN, "run.chat", FIELD(chat), NULL, 0, 0, NULL,
	 NULL, "the prompt is a question, which the model answers by its chat template"},
	{"system", 0, OPTION_TEXT, CHAT_COMMANDS, "chat.system", FIELD(chat_system), NULL, 0, 0, NULL,
	 "TEXT", "a system message before the conversation; run: with --chat"},
	{"chat-template", 0, OPTION_TEXT, TALK_COMMANDS | CMD_SERVE, "chat.template", FIELD(chat_template), NULL, 0, 0, NULL,
	 "FILE", "a chat template (Jinja2) in place of the model's own"},
	{"chat-variables", 0, OPTION_TEXT, TALK_COMMANDS | CMD_SERVE, "chat.variables", FIELD(chat_variables), NULL, 0, 0, NULL,
	 "JSON", "more variables of the chat template, such as {\"enable_thinking\": false}"},
	{"predict", 'n', OPTION_INT, CHAT_COMMANDS, "run.n", FIELD(n_predict), "-1", -1, INT32_MAX, NULL,
	 "N", "tokens to generate, in a chat for each answer; -1 = until end of generation or context"},
	{"stop", 0, OPTION_REPEATED, TALK_COMMANDS, "sample.stop", FIELD(stops), NULL, 0, 16, NULL,
	 "TEXT", "end the text before this one; may be given up to 16 times"},
	{"schema", 0, OPTION_TEXT, CMD_RUN, "run.schema", FIELD(schema_file), NULL, 0, 0, NULL,
	 "FILE", "write JSON that is valid by this JSON Schema"},
	{"grammar", 0, OPTION_TEXT, CMD_RUN, "run.grammar", FIELD(grammar_file), NULL, 0, 0, NULL,
	 "FILE", "write a text of this grammar, in llama.cpp's GBNF"},
	{"ignore-eos", 0, OPTION_FLAG, CMD_RUN, "run.ignore_eos", FIELD(ignore_eos), NULL, 0, 0, NULL,
	 NULL, "never draw an end-of-generation token, so that the text goes on"},
	{"beams", 0, OPTION_INT, CMD_RUN, "run.beams", FIELD(n_beams), "1", 1, EVN_MAX_BEAMS, NULL,
	 "N", "models with an encoder and a decoder: keep the best N texts at each step, and write the best of all; 1 = draw"},
	{"length-penalty", 0, OPTION_REAL, CMD_RUN, "run.length_penalty", FIELD(length_penalty), "1", -10, 10, NULL,
	 "X", "with beams: texts are compared by the sum of their log-probabilities divided by their length^X"},

	{"file", 'f', OPTION_TEXT, CMD_BATCH, NULL, FIELD(prompt_file), NULL, 0, 0, NULL,
	 "FILE", "the text, or objects, one on each line (.jsonl); default: standard input, as a text"},
	{"output", 'o', OPTION_TEXT, CMD_BATCH, NULL, FIELD(output_path), NULL, 0, 0, NULL,
	 "OUT", "the file for the answers: .jsonl a line for each piece, else the answers alone"},
	{"cut", 0, OPTION_CHOICE, CMD_BATCH, "batch.cut", FIELD(cut), "paragraphs", 0, 0, cuts,
	 "WHERE", "what a text is cut into: lines, paragraphs, sentences; whole: it is one piece"},
	{"piece-tokens", 0, OPTION_INT, CMD_BATCH, "batch.piece_tokens", FIELD(piece_tokens), "256", 0, CONTEXT_MAX, NULL,
	 "N", "pack lines, paragraphs or sentences into pieces of at most N tokens; 0 = each is a piece"},
	{"template", 0, OPTION_TEXT, CMD_BATCH, "batch.template", FIELD(template_text), NULL, 0, 0, NULL,
	 "TEXT", "the message made of a piece: {text} stands for the text or a field of the object, {{ for a brace; default: {text}"},
	{"system", 0, OPTION_TEXT, CMD_BATCH, "batch.system", FIELD(system), NULL, 0, 0, NULL,
	 "TEXT", "a system message before it"},
	{"raw", 0, OPTION_FLAG, CMD_BATCH, "batch.raw", FIELD(raw), NULL, 0, 0, NULL,
	 NULL, "continue the filled template as `run` continues a prompt, instead of answering it as a message"},
	{"label", 0, OPTION_REPEATED, CMD_BATCH, "batch.labels", FIELD(labels), NULL, 0, MAX_REPEATED, NULL,
	 "TEXT", "classify: the answer is the label that is most likely to follow; give all of them, 2 to 64"},
	{"schema", 0, OPTION_TEXT, CMD_BATCH, "batch.schema", FIELD(schema_file), NULL, 0, 0, NULL,
	 "FILE", "answers are JSON that is valid by this JSON Schema"},
	{"grammar", 0, OPTION_TEXT, CMD_BATCH, "batch.grammar", FIELD(grammar_file), NULL, 0, 0, NULL,
	 "FILE", "answers are texts of this grammar, in llama.cpp's GBNF"},
	{"predict", 'n', OPTION_INT, CMD_BATCH, "batch.n", FIELD(n_answer), "-1", -1, INT32_MAX, NULL,
	 "N", "most tokens of an answer; -1 = until it ends or the context is full"},
	{"cache-tokens", 0, OPTION_INT, CMD_BATCH, "batch.cache_tokens", FIELD(cache_tokens), "0", 0, CONTEXT_MAX, NULL,
	 "N", "tokens of all pieces that are computed at the same time; 0 = -c, the most that one piece has"},
	{"restart", 0, OPTION_FLAG, CMD_BATCH, NULL, FIELD(restart), NULL, 0, 0, NULL,
	 NULL, "forget what an unfinished run has left in OUT.part"},

	{"seed", 's', OPTION_INT, SAMPLE_COMMANDS, "sample.seed", FIELD(seed), "-1", -1, SEED_MAX, NULL,
	 "N", "random seed; -1 = another each time"},
	{"temp", 0, OPTION_REAL, SAMPLE_COMMANDS, "sample.temp", FIELD(temp), "0.8", 0, 1000, NULL,
	 "T", "temperature; 0 = always the most likely token"},
	{"top-k", 0, OPTION_INT, SAMPLE_COMMANDS, "sample.top_k", FIELD(top_k), "40", 0, INT32_MAX, NULL,
	 "N", "draw from the N most likely tokens; 0 = off"},
	{"top-p", 0, OPTION_REAL, SAMPLE_COMMANDS, "sample.top_p", FIELD(top_p), "0.95", 0, 1, NULL,
	 "P", "draw from the likeliest tokens that together reach this probability; 1 = off"},
	{"min-p", 0, OPTION_REAL, SAMPLE_COMMANDS, "sample.min_p", FIELD(min_p), "0.05", 0, 1, NULL,
	 "P", "do not draw tokens below this fraction of the likeliest one's probability; 0 = off"},
	{"repeat-penalty", 0, OPTION_REAL, SAMPLE_COMMANDS, "sample.repeat_penalty", FIELD(repeat_penalty), "1", 0.01, 1000, NULL,
	 "X", "make recent tokens less likely by this factor; 1 = off"},
	{"repeat-last-n", 0, OPTION_INT, SAMPLE_COMMANDS, "sample.repeat_last_n", FIELD(repeat_last_n), "64", 0, CONTEXT_MAX, NULL,
	 "N", "how many tokens back the repeat penalty looks"},
	{"frequency-penalty", 0, OPTION_REAL, SAMPLE_COMMANDS, "sample.frequency_penalty", FIELD(frequency_penalty), "0", -100, 100, NULL,
	 "X", "subtract X from the logit of a token for each time that it was drawn; 0 = off"},
	{"presence-penalty", 0, OPTION_REAL, SAMPLE_COMMANDS, "sample.presence_penalty", FIELD(presence_penalty), "0", -100, 100, NULL,
	 "X", "subtract X from the logit of a token that was drawn before; 0 = off"},
	{"logit-bias", 0, OPTION_REPEATED, CHAT_COMMANDS, "sample.logit_bias", FIELD(logit_bias), NULL, 0, MAX_REPEATED, NULL,
	 "ID:BIAS", "add BIAS to the logit of a token; may be given several times"},

	{"host", 0, OPTION_TEXT, CMD_SERVE, "serve.host", FIELD(serve_host), "127.0.0.1", 0, 0, NULL,
	 "HOST", "address or name to listen at; 127.0.0.1 is reached from this machine only"},
	{"port", 0, OPTION_INT, CMD_SERVE, "serve.port", FIELD(serve_port), "8080", 0, 65535, NULL,
	 "N", "port to listen at; 0 = any that is free"},
	{"api-key-file", 0, OPTION_TEXT, CMD_SERVE, "serve.api_key_file", FIELD(api_key_file), NULL, 0, 0, NULL,
	 "FILE", "a client must have one of the keys of this file, one a line; only its owner may read it (mode 600)"},
	{"cors", 0, OPTION_TEXT, CMD_SERVE, "serve.cors", FIELD(cors), NULL, 0, 0, NULL,
	 "ORIGIN", "web pages of this origin may use the server from a browser (https://chat.example); '*' = all"},
	{"served-name", 0, OPTION_TEXT, CMD_SERVE, "serve.name", FIELD(served_name), NULL, 0, 0, NULL,
	 "NAME", "the model's name for clients; default: general.name of its file, else the name of the file"},
	{"add-model", 0, OPTION_REPEATED, CMD_SERVE, "serve.models", FIELD(more_models), NULL, 0, 31, NULL,
	 "[NAME=]FILE", "serve this model, too; it is loaded when a request names it. May be given several times"},
	{"add-adapter", 0, OPTION_REPEATED, CMD_SERVE, "serve.adapters", FIELD(adapters), NULL, 0, 31, NULL,
	 "NAME=FILE[:SCALE]", "serve the model with this LoRA adapter (GGUF) as another model. May be given several times"},
	{"most-loaded", 0, OPTION_INT, CMD_SERVE, "serve.most_loaded", FIELD(most_loaded), "0", 0, 32, NULL,
	 "N", "models that are loaded at a time; 0 = as many as memory holds. One that nobody uses makes room"},
	{"unload-after", 0, OPTION_TIME, CMD_SERVE, "serve.unload_after", FIELD(unload_s), "0s", 0, 31536000, NULL,
	 "TIME", "unload a model that nobody has used for so long; 0s = only to make room"},
	{"max-body", 0, OPTION_INT, CMD_SERVE, "serve.max_body", FIELD(max_body_mib), "8", 1, 1024, NULL,
	 "MIB", "largest body of a request, in MiB"},
	{"max-connections", 0, OPTION_INT, CMD_SERVE, "serve.max_connections", FIELD(max_connections), "256", 1, 65536, NULL,
	 "N", "connections at a time; further ones wait to be accepted"},
	{"max-waiting", 0, OPTION_INT, CMD_SERVE, "serve.max_waiting", FIELD(max_waiting), "1024", 1, 1048576, NULL,
	 "N", "requests that wait to be computed; further ones are refused (429)"},
	{"cache-tokens", 0, OPTION_INT, CMD_SERVE, "serve.cache_tokens", FIELD(cache_tokens), "0", 0, CONTEXT_MAX, NULL,
	 "N", "tokens of all requests that the KV cache holds; 0 = as many as the context of one"},
	{"request-time", 0, OPTION_TIME, CMD_SERVE, "serve.request_time", FIELD(request_s), "30s", 0.1, 86400, NULL,
	 "30s", "a connection on which no whole request has come after this time is closed"},

	{"data", 0, OPTION_TEXT, CMD_TRAIN, "train.data", FIELD(data_path), NULL, 0, 0, NULL,
	 "FILE", "the text to learn"},
	{"ids", 0, OPTION_TEXT, CMD_TRAIN, "train.ids", FIELD(train_ids), NULL, 0, 0, NULL,
	 "1,2,3", "token ids to learn instead of a text, as one sequence; training ends when all are predicted"},
	{"output", 'o', OPTION_TEXT, CMD_TRAIN, "train.output", FIELD(output_path), NULL, 0, 0, NULL,
	 "FILE", "the model to write (GGUF); its state during training is at FILE.checkpoint"},
	{"image", 0, OPTION_TEXT, CMD_TRAIN, "train.image", FIELD(image_path), NULL, 0, 0, NULL,
	 "FILE", "draw the loss curve (PNG)"},
	{"resume", 0, OPTION_FLAG, CMD_TRAIN, NULL, FIELD(resume), NULL, 0, 0, NULL,
	 NULL, "continue from the checkpoint of an unfinished run"},
	{"steps", 0, OPTION_INT, CMD_TRAIN, "train.steps", FIELD(steps), "1000", 1, 100000000, NULL,
	 "N", "steps of the optimizer"},
	{"sequences", 0, OPTION_INT, CMD_TRAIN, "train.sequences", FIELD(sequences), "8", 1, 65536, NULL,
	 "N", "sequences computed at once, each of the context's length (-c)"},
	{"accumulate", 0, OPTION_INT, CMD_TRAIN, "train.accumulate", FIELD(accumulate), "1", 1, 65536, NULL,
	 "N", "how many such batches of sequences make one step"},
	{"learning-rate", 0, OPTION_REAL, CMD_TRAIN, "train.learning_rate", FIELD(learning_rate), "0.001", 0, 1e30, NULL,
	 "R", "learning rate after the warm-up"},
	{"min-rate", 0, OPTION_REAL, CMD_TRAIN, "train.min_rate", FIELD(min_rate), "0.0001", 0, 1e30, NULL,
	 "R", "learning rate at the end, after half a cosine"},
	{"warmup", 0, OPTION_INT, CMD_TRAIN, "train.warmup", FIELD(warmup), "50", 0, 100000000, NULL,
	 "N", "steps during which the learning rate rises"},
	{"weight-decay", 0, OPTION_REAL, CMD_TRAIN, "train.weight_decay", FIELD(weight_decay), "0.1", 0, 1000, NULL,
	 "D", "AdamW's decay of matrices"},
	{"clip", 0, OPTION_REAL, CMD_TRAIN, "train.clip", FIELD(clip), "1", 0, 1e30, NULL,
	 "C", "largest norm of a step's gradient; 0 = no limit"},
	{"dropout", 0, OPTION_REAL, CMD_TRAIN, "train.dropout", FIELD(dropout), "0", 0, 0.99, NULL,
	 "F", "fraction of the output of the embedding and of each block that is dropped at random while learning"},
	{"held-out", 0, OPTION_REAL, CMD_TRAIN, "train.held_out", FIELD(held_out), "0.1", 0, 0.9, NULL,
	 "F", "fraction of the text, at its end, that is tested and not learned"},
	{"eval-every", 0, OPTION_INT, CMD_TRAIN, "train.eval_every", FIELD(eval_every), "100", 0, 100000000, NULL,
	 "N", "steps between tests on the held-out text; 0 = at the end only"},
	{"save-every", 0, OPTION_INT, CMD_TRAIN, "train.save_every", FIELD(save_every), "100", 0, 100000000, NULL,
	 "N", "steps between checkpoints; 0 = only when interrupted"},
	{"seed", 's', OPTION_INT, CMD_TRAIN, "train.seed", FIELD(train_seed), "1", 0, SEED_MAX, NULL,
	 "N", "seed of the order in which the text is learned, and of dropout"},
	{"lora-rank", 0, OPTION_INT, CMD_TRAIN, "lora.rank", FIELD(lora_rank), "0", 0, 4096, NULL,
	 "N", "rank of the additions; 0 = train the model itself"},
	{"lora-alpha", 0, OPTION_REAL, CMD_TRAIN, "lora.alpha", FIELD(lora_alpha), "16", 0, 1e6, NULL,
	 "A", "the additions are scaled by A / rank"},
	{"lora-targets", 0, OPTION_TEXT, CMD_TRAIN, "lora.targets", FIELD(lora_targets),
	 "attn_q,attn_k,attn_v,attn_output,ffn_gate,ffn_up,ffn_down", 0, 0, NULL,
	 "LIST", "matrices that get additions"},

	{"prompt-tokens", 'p', OPTION_INT, CMD_BENCH, NULL, FIELD(bench_prompt), "512", 1, CONTEXT_MAX, NULL,
	 "N", "tokens of the prefill measurement"},
	{"decode-tokens", 'n', OPTION_INT, CMD_BENCH, NULL, FIELD(bench_decode), "64", 1, CONTEXT_MAX, NULL,
	 "N", "tokens of the decode measurement"},
	{"depth", 0, OPTION_INT, CMD_BENCH, NULL, FIELD(bench_depth), "0", 0, CONTEXT_MAX, NULL,
	 "N", "tokens in the context before each measurement"},
	{"no-alone", 0, OPTION_FLAG, CMD_BENCH, NULL, FIELD(no_alone), NULL, 0, 0, NULL,
	 NULL, "measure all devices together only, not each one alone"},
	{"kernels", 0, OPTION_FLAG, CMD_BENCH, NULL, FIELD(kernels), NULL, 0, 0, NULL,
	 NULL, "then time every kernel of a prompt and of decoding by the devices' clocks"},
	{"repeats", 'r', OPTION_INT, CMD_BENCH, NULL, FIELD(bench_repeats), "5", 1, 1000, NULL,
	 "N", "interleaved repetitions; medians are reported"},

	{"budget", 0, OPTION_TIME, CMD_TUNE, NULL, FIELD(budget_s), "120s", 1, 86400, NULL,
	 "120s", "how long to search for each device"},

	{"tensors", 0, OPTION_FLAG, CMD_INSPECT, NULL, FIELD(tensors), NULL, 0, 0, NULL,
	 NULL, "list every tensor"},

	{"pure", 0, OPTION_FLAG, CMD_QUANTIZE, NULL, FIELD(pure), NULL, 0, 0, NULL,
	 NULL, "no matrix gets more bits than the others, not even the output matrix"},
	{"threads", 't', OPTION_INT, CMD_QUANTIZE, NULL, FIELD(threads), "0", 0, 256, NULL,
	 "N", "threads that quantize; 0 = one for each processor"},

	{"architecture", 0, OPTION_TEXT, CMD_MODEL, "model.architecture", FIELD(architecture), NULL, 0, 0, NULL,
	 "NAME", "make a model with random weights instead of reading one: simple-lm, gpt2, llama"},
	{"vocab", 0, OPTION_INT, CMD_MODEL, "model.vocab", FIELD(vocab), "0", 0, CONTEXT_MAX, NULL,
	 "N", "vocabulary of a model to make; at least 257 if it has layers: the bytes and the end of text"},
	{"dim", 0, OPTION_INT, CMD_MODEL, "model.dim", FIELD(dim), "0", 0, CONTEXT_MAX, NULL,
	 "N", "width of a model to make"},
	{"layers", 0, OPTION_INT, CMD_MODEL, "model.layers", FIELD(layers), "0", 0, CONTEXT_MAX, NULL,
	 "N", "layers of a model to make; simple-lm has none"},
	{"heads", 0, OPTION_INT, CMD_MODEL, "model.heads", FIELD(heads), "0", 0, CONTEXT_MAX, NULL,
	 "N", "query heads of a model to make"},
	{"kv-heads", 0, OPTION_INT, CMD_MODEL, "model.kv_heads", FIELD(kv_heads), "0", 0, CONTEXT_MAX, NULL,
	 "N", "key and value heads of a model to make; 0 = as many as query heads"},
	{"ff", 0, OPTION_INT, CMD_MODEL, "model.ff", FIELD(ff), "0", 0, CONTEXT_MAX, NULL,
	 "N", "feed-forward units of a model to make; 0 = 4 times its width"},
	{"format", 0, OPTION_TEXT, CMD_PLAN, "model.format", FIELD(format), NULL, 0, 0, NULL,
	 "TYPE", "format of the weights of a model to make, such as Q4_0; only for --simulate, else they are F32"},
	{"init-seed", 0, OPTION_INT, CMD_MODEL, "model.seed", FIELD(init_seed), "0", 0, SEED_MAX, NULL,
	 "N", "seed of the random weights, and of --random-ids"},

	{"trace", 0, OPTION_TEXT, TRACE_COMMANDS, NULL, FIELD(trace_path), NULL, 0, 0, NULL,
	 "FILE.json", "write what each rank and request does when, for Perfetto (ui.perfetto.dev) and `evener timeline`; costs an "
	 "event for each all-reduce"},
	{"trace-kernels", 0, OPTION_FLAG, TRACE_COMMANDS, NULL, FIELD(trace_kernels), NULL, 0, 0, NULL,
	 NULL, "with --trace: also each kernel, which costs an event for each launch"},
	{"output", 'o', OPTION_TEXT, CMD_TIMELINE, NULL, FIELD(output_path), NULL, 0, 0, NULL,
	 "OUT", "the picture: .svg, else PNG"},
	{"token", 0, OPTION_INT, CMD_TIMELINE, NULL, FIELD(timeline_token), "0", 0, INT32_MAX, NULL,
	 "N", "draw the N-th step that decodes; 0 = the one of median time"},

	{"json", 0, OPTION_FLAG, JSON_COMMANDS, NULL, FIELD(json), NULL, 0, 0, NULL,
	 NULL, "print one JSON object (train: a line for each step)"},
	{"quiet", 'q', OPTION_FLAG, CMD_ALL, NULL, FIELD(quiet), NULL, 0, 0, NULL,
	 NULL, "no progress, plan or statistics on standard error"},
	{0},
};
/* clang-format on */

const option *option_by_key(const char *key)
{
	for (const option *o = options; o->name; o++)
		if (o->key && strcmp(o->key, key) == 0)
			return o;
	return NULL;
}

static evn_status add_text(const option *o, const char *text, repeated_text *list, evn_error *err)
{
	if (!*text)
		return evn_fail(err, EVN_ERR_USAGE, "must not be empty");
	if (list->n == (size_t)o->max)
		return evn_fail(err, EVN_ERR_USAGE, "given more than %.0f times", o->max);
	list->items[list->n++] = text;
	return EVN_OK;
}

evn_status option_set(const option *o, const char *text, settings *s, evn_error *err)
{
	void *field = (char *)s + o->field;
	switch (o->kind) {
	case OPTION_FLAG:
		return parse_bool(text, field, err);
	case OPTION_INT:
		return parse_int(text, (int64_t)o->min, (int64_t)o->max, field, err);
	case OPTION_REAL:
		return parse_real(text, o->min, o->max, field, err);
	case OPTION_TIME:
		return parse_time(text, o->min, o->max, field, err);
	case OPTION_CHOICE:
		return parse_choice(text, o->choices, field, err);
	case OPTION_SHARES:
		return parse_shares(text, field, err);
	case OPTION_MEMORY:
		return parse_memory_list(text, field, err);
	case OPTION_TEXT:
		if (!*text && strcmp(o->name, "prompt") != 0)
			return evn_fail(err, EVN_ERR_USAGE, "must not be empty");
		*(const char **)field = text;
		return EVN_OK;
	case OPTION_REPEATED:
		return add_text(o, text, field, err);
	}
	return evn_fail(err, EVN_ERR_USAGE, "cannot be set");
}

enum { MAX_OPTIONS = sizeof options / sizeof *options, LONG_BASE = 256, HELP = LONG_BASE + MAX_OPTIONS };

/* The options of one command, as getopt_long wants them: val is LONG_BASE + index in `options`. */
typedef struct {
	struct option longs[MAX_OPTIONS + 2];
	char shorts[2 * MAX_OPTIONS + 4];
	const char *names[MAX_OPTIONS + 2];
} getopt_tables;

static void make_tables(getopt_tables *t, unsigned bit)
{
	size_t n = 0, letters = 0;
	t->shorts[letters++] = ':';
	t->shorts[letters++] = 'h';
	for (int i = 0; options[i].name; i++) {
		const option *o = &options[i];
		if (!(o->commands & bit))
			continue;
		int takes_value = o->kind == OPTION_FLAG ? no_argument : required_argument;
		t->names[n] = o->name;
		t->longs[n++] = (struct option){o->name, takes_value, NULL, LONG_BASE + i};
		if (o->letter)
			t->shorts[letters++] = o->letter;
		if (o->letter && takes_value)
			t->shorts[letters++] = ':';
	}
	t->names[n] = "help";
	t->longs[n] = (struct option){"help", no_argument, NULL, HELP};
}

static const option *option_of(int value, unsigned bit)
{
	if (value >= LONG_BASE)
		return &options[value - LONG_BASE];
	for (const option *o = options; o->name; o++)
		if (o->letter == value && (o->commands & bit))
			return o;
	return NULL;
}

/* Names what getopt_long did not accept. optopt is the option's val for ':' and for a value where none is taken, the
 * letter for an unknown letter, and 0 for an unknown or ambiguous long name. */
static evn_status refuse(int what, char **argv, const getopt_tables *t, unsigned bit, evn_error *err)
{
	const char *word = argv[optind - 1];
	const option *o = optopt == 0 || optopt == HELP ? NULL : option_of(optopt, bit);
	if (what == ':')
		return evn_fail(err, EVN_ERR_USAGE, "%s: option %s needs a value", argv[0], word);
	if (optopt == HELP || (o && o->kind == OPTION_FLAG && optopt >= LONG_BASE))
		return evn_fail(err, EVN_ERR_USAGE, "%s: option %.*s takes no value", argv[0], (int)strcspn(word, "="), word);
	if (optopt)
		return evn_fail(err, EVN_ERR_USAGE, "%s: unknown option -%c", argv[0], optopt);
	char name[64];
	snprintf(name, sizeof name, "%.*s", (int)strcspn(word + 2, "="), word + 2);
	const char *nearest = text_nearest(name, t->names);
	return evn_fail(err, EVN_ERR_USAGE, "%s: unknown option --%s%s%s%s", argv[0], name,
					nearest ? "; did you mean --" : "", nearest ? nearest : "", nearest ? "?" : "");
}

evn_status command_line_read(command_line *out, int argc, char **argv, unsigned bit, evn_error *err)
{
	getopt_tables tables = {0};
	make_tables(&tables, bit);
	*out = (command_line){0};
	opterr = 0;
	optind = 0; /* glibc: start again from the beginning */
	int got;
	while ((got = getopt_long(argc, argv, tables.shorts, tables.longs, NULL)) != -1) {
		if (got == 'h' || got == HELP) {
			out->help = true;
			continue;
		}
		if (got == '?' || got == ':')
			return refuse(got, argv, &tables, bit, err);
		if (out->n_flags == sizeof out->flags / sizeof *out->flags)
			return evn_fail(err, EVN_ERR_USAGE, "%s: too many options", argv[0]);
		out->flags[out->n_flags].option = option_of(got, bit);
		out->flags[out->n_flags++].value = optarg ? optarg : "true";
	}
	out->arguments = (const char *const *)argv + optind;
	out->n_arguments = (size_t)(argc - optind);
	return EVN_OK;
}

evn_status command_line_apply(const command_line *line, settings *s, evn_error *err)
{
	const char *configured = s->prompt, *path = s->model_path, *architecture = s->architecture;
	const char *data = s->data_path, *train_ids = s->train_ids;
	for (size_t i = 0; i < line->n_flags; i++) /* the config's: flags win */
		if (line->flags[i].option->kind == OPTION_REPEATED)
			((repeated_text *)((char *)s + line->flags[i].option->field))->n = 0;
	for (size_t i = 0; i < line->n_flags; i++) {
		evn_status status = option_set(line->flags[i].option, line->flags[i].value, s, err);
		if (status != EVN_OK)
			return evn_fail_within(err, "--%s", line->flags[i].option->name);
	}
	if (s->model_path != path && s->architecture == architecture)
		s->architecture = NULL; /* the config's: the flag wins */
	else if (s->architecture != architecture && s->model_path == path)
		s->model_path = NULL;
	if (s->prompt_file && s->prompt != configured)
		return evn_fail(err, EVN_ERR_USAGE, "--prompt and --file exclude each other");
	if (s->ids && (s->prompt_file || s->prompt != configured))
		return evn_fail(err, EVN_ERR_USAGE, "--ids and %s exclude each other",
						s->prompt_file ? "--file" : "--prompt");
	if (s->data_path != data && s->train_ids != train_ids)
		return evn_fail(err, EVN_ERR_USAGE, "--ids and --data exclude each other");
	if (s->data_path != data)
		s->train_ids = NULL; /* the config's: the flag wins */
	else if (s->train_ids != train_ids)
		s->data_path = NULL;
	if (s->prompt_file)
		s->prompt = NULL; /* the config's: the flag wins */
	return EVN_OK;
}
