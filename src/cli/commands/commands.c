/* commands.c - the table of commands. Help texts, manual pages and shell completions are made from it. */
#include "cli/cli.h"

#include <stddef.h>

const command commands[] = {
	{"devices", CMD_DEVICES, "", 0,
	 "list every OpenCL device: identity, features, measured rates, and why it is not usable", NULL, cmd_devices},
	{"plan", CMD_PLAN, "CONFIG | -m MODEL", 1, "show the ranks, their shares and the predicted speed", NULL,
	 cmd_plan},
	{"run", CMD_RUN, "CONFIG | -m MODEL", 1, "generate text: tokens to standard output as they come",
	 "BOS is added where the model asks for it, and special tokens in the prompt are recognised.\n"
	 "A prompt from a file or from standard input loses one newline at its end.",
	 cmd_run},
	{"serve", CMD_SERVE, "CONFIG | -m MODEL", 1, "answer over HTTP, in the shape of OpenAI's API",
	 "Prints its address on standard output as soon as it listens, which is before the model is loaded.\n"
	 "docs/serve.md has the endpoints and the limits. There is no TLS; leave that to a proxy.",
	 cmd_serve},
	{"batch", CMD_BATCH, "CONFIG | -m MODEL", 1, "answer each piece of a text, or each object of a .jsonl file",
	 "A text (-f FILE) is cut at lines, paragraphs or sentences; a .jsonl file has an object on each line.\n"
	 "Each piece fills the template and is answered on its own; all share the steps of the model. OUT.jsonl\n"
	 "gets a line for each piece, another OUT the answers with the text's own white space between them.\n"
	 "Finished pieces are kept in OUT.part: after Ctrl-C or a crash the same command continues.",
	 cmd_batch},
	{"chat", CMD_CHAT, "CONFIG | -m MODEL", 1, "talk with a model, on a terminal or through a pipe",
	 "The model's chat template makes prompts of the messages. /help lists the commands: /system, /reset,\n"
	 "/save, /load, /stats, /regen, /exit. Ctrl-C stops an answer. In a pipe each line is a message; answers\n"
	 "go to standard output, with --json one object for each.",
	 cmd_chat},
	{"logits", CMD_LOGITS, "CONFIG | -m MODEL", 1, "print raw logits, one line for each token; draw them",
	 "The picture has a row for each token (at most the last 128) and a column for each vocabulary entry,\n"
	 "or for the 40 entries that are likeliest after any of the tokens.",
	 cmd_logits},
	{"score", CMD_SCORE, "CONFIG | -m MODEL", 1, "perplexity of a text, and the log-probability of each token",
	 "A text is scored in pieces of the context's length (-c). Each is computed without the text before\n"
	 "it. With --ctx N the text is scored in windows of N tokens, and only their second halves count, as\n"
	 "in llama-perplexity. Special tokens in the text are plain text. With several devices either the\n"
	 "matrices are split, or each device holds the whole model and takes pieces, whichever is predicted to\n"
	 "be faster (--split).",
	 cmd_score},
	{"embed", CMD_EMBED, "CONFIG | -m MODEL", 1, "print a vector for each line of a text, or how alike the lines are",
	 "Each line is a text. Its vector has length 1. --similarity pairs ranks all pairs of lines by the cosine\n"
	 "of their vectors, the most alike first. Special tokens in the lines are plain text.",
	 cmd_embed},
	{"classify", CMD_CLASSIFY, "CONFIG | -m MODEL", 1,
	 "print the class of each line of a text or each record of a CSV file",
	 "A model with a head for classes (BERT for sequence classification, rerankers) has its own classes.\n"
	 "Other models learn a head: --learn HEAD.gguf -f RECORDS.csv, where a column of the file has the\n"
	 "classes; then --head HEAD.gguf finds those of other records. A record becomes the text \"name: value;\n"
	 "name: value\". A file that does not end with .csv has a text on each line. Printed are the class, its\n"
	 "probability and the text.",
	 cmd_classify},
	{"train", CMD_TRAIN, "CONFIG | -m MODEL", 1, "train a model on a text, or fine-tune one with LoRA",
	 "With an architecture and sizes (model.architecture, ...) a new model with random weights learns the\n"
	 "text byte by byte. With a model, that model learns the text. With --lora-rank the model stays as it\n"
	 "is and gets low-rank additions, which are written as an adapter. The state is saved to\n"
	 "OUTPUT.checkpoint every few steps and when interrupted; --resume continues from there, on any split.",
	 cmd_train},
	{"bench", CMD_BENCH, "CONFIG | -m MODEL", 1, "measure prefill and decode, each device alone and all together",
	 "efficiency = together / sum of each device alone; bandwidth = weight bytes decoded per second / sum of the\n"
	 "devices' measured GB/s.",
	 cmd_bench},
	{"tune", CMD_TUNE, "[CONFIG | -m MODEL]", 1, "search the fastest GEMM parameters for each device",
	 "CLBlast computes large products of prompts. Its kernels have parameters that suit one device and\n"
	 "not another. Each set of parameters is tried on the model's matrices in a process of its own. Sets\n"
	 "that crash or hang a driver are skipped. The best set is kept in the cache. The rates of the devices\n"
	 "are then measured again when they are next needed.",
	 cmd_tune},
	{"timeline", CMD_TIMELINE, "FILE.json", 1,
	 "draw one token of a trace that --trace has written, a row for each rank",
	 "The picture has the whole step, and below it one layer. What each rank did is printed in milliseconds.",
	 cmd_timeline},
	{"inspect", CMD_INSPECT, "MODEL", 1, "show what a model file holds", NULL, cmd_inspect},
	{"quantize", CMD_QUANTIZE, "MODEL OUT TYPE", 3, "write a model with its weights in another format",
	 "TYPE is F32, F16, BF16, Q8_0, Q6_K, Q5_K_M, Q5_K_S, Q5_1, Q5_0, Q4_K_M, Q4_K_S, Q4_1, Q4_0, IQ4_NL,\n"
	 "IQ4_XS, Q3_K_L, Q3_K_M, Q3_K_S, Q2_K, Q2_K_S, MXFP4_MOE or NVFP4. As in llama.cpp, some matrices get more bits "
	 "than "
	 "TYPE\n"
	 "says (--pure: none), and where the rows of a matrix do not divide into blocks, a wider format is used.",
	 cmd_quantize},
	{"tokenize", CMD_TOKENIZE, "-m MODEL", 0, "turn text into token ids; with --ids back into text",
	 "Special tokens are added and recognised only with --special.", cmd_tokenize},
	{"selftest", CMD_SELFTEST, "", 0, "check every kernel on every device against known answers", NULL, cmd_selftest},
	{"config", CMD_CONFIG, "check FILE | init | schema", 2,
	 "check a config, print a commented one to start from, or the JSON Schema", NULL, cmd_config},
	{0},
};
