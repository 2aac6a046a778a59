/* test_vocabulary.c - the rules of BPE and SentencePiece on vocabularies that are small enough to follow
 * by hand, and files whose tokenizer keys are wrong. */
#include "model/pretokenizer.h"
#include "model/tiny_tokenizer.h"

#include <math.h>

static void comes_back(const fixture *f, const char *text, size_t n)
{
	int32_t *ids;
	size_t n_ids, n_back;
	char *back;
	assert_int_equal(evn_tokenizer_encode(f->tokenizer, text, n, false, false, &ids, &n_ids, NULL, NULL), EVN_OK);
	assert_int_equal(evn_tokenizer_decode(f->tokenizer, ids, n_ids, false, &back, &n_back, NULL), EVN_OK);
	assert_int_equal(n_back, n);
	assert_memory_equal(back, text, n);
	free(back);
	free(ids);
}

/* Every pair of bytes and some longer runs, most of them not UTF-8. */
static void any_bytes_come_back(const fixture *f)
{
	char text[64];
	uint32_t random = 1;
	for (unsigned pair = 0; pair < 65536; pair++) {
		text[0] = (char)(pair >> 8);
		text[1] = (char)pair;
		comes_back(f, text, 2);
	}
	for (int run = 0; run < 2000; run++) {
		size_t n = (size_t)run % sizeof text;
		for (size_t i = 0; i < n; i++)
			text[i] = (char)((random = random * 1664525u + 1013904223u) >> 24);
		comes_back(f, text, n);
	}
}

static const tiny_token spm_tokens[] = {
	{"<unk>", UNKNOWN, 0}, {"<s>", CONTROL, 0}, {"</s>", CONTROL, 0}, {"a", NORMAL, -1},
	{"b", NORMAL, -1},     {MARK, NORMAL, -1},  {"aa", NORMAL, -2},   {MARK "a", NORMAL, -3},
	{"ab", NORMAL, -3},    {"[x]", USER, 0},    {"[x]b", USER, 0},    {"<|end|>", NORMAL, 0},
	{"", NORMAL, 0},       {"a", NORMAL, -9},   {"ba", NORMAL, -3},   {NULL, 0, 0},
};
static const tiny_vocab spm = {.model = "llama",
							   .tokens = spm_tokens,
							   .all_bytes = true,
							   .keys = {"tokenizer.ggml.unknown_token_id=256", "tokenizer.ggml.bos_token_id=257",
										"tokenizer.ggml.eos_token_id=258"}};

static void spm_merges_by_score_then_from_the_left(void **state)
{
	(void)state;
	fixture f = open_tiny(&spm);
	encodes(&f, "", 0, "");
	encodes(&f, "a", 0, "263");
	encodes(&f, "aa", 0, "261 262");       /* "aa" before "_a" */
	encodes(&f, "aaaa", 0, "261 262 262"); /* and not a aa a */
	encodes(&f, "ab", 0, "263 260");       /* equal scores: "_a" is further left than "ab" */
	encodes(&f, "bab", 0, "261 270 260");  /* "ba" before "ab", though its id is higher */
	encodes(&f, "a ab b", 0, "263 263 260 261 260");
	encodes(&f, "\xc3\xa9", 0, "261 195 169"); /* the bytes of a text that is no token */
	any_bytes_come_back(&f);
	close_file(&f);
}

static void spm_special_tokens(void **state)
{
	(void)state;
	fixture f = open_tiny(&spm);
	encodes(&f, "a", ADD, "257 263");
	encodes(&f, "", ADD, "257");
	encodes(&f, "<s>a", PARSE, "257 263");
	encodes(&f, "a</s>a", ADD | PARSE, "257 263 258 263");
	encodes(&f, "a<|end|>", PARSE, "263 267");        /* a control token because of its text */
	encodes(&f, "b[x]bab", 0, "261 260 266 263 260"); /* user-defined ones always, the longest first */
	encodes(&f, "[x][x]", 0, "265 265");
	assert_true(evn_tokenizer_ends_generation(f.tokenizer, 258));
	assert_true(evn_tokenizer_ends_generation(f.tokenizer, 267));
	assert_false(evn_tokenizer_ends_generation(f.tokenizer, 257));
	assert_false(evn_tokenizer_ends_generation(f.tokenizer, -1));
	assert_false(evn_tokenizer_ends_generation(f.tokenizer, 271));
	close_file(&f);
}

static void spm_flags(void **state)
{
	(void)state;
	tiny_vocab v = spm;
	v.keys[3] = "tokenizer.ggml.add_bos_token=false";
	v.keys[4] = "tokenizer.ggml.add_eos_token=true";
	v.keys[5] = "tokenizer.ggml.add_space_prefix=false";
	fixture f = open_tiny(&v);
	encodes(&f, "aab", ADD, "262 260 258");
	comes_back(&f, " a", 2);
	close_file(&f);
	v = spm;
	v.all_bytes = false;
	v.keys[0] = "tokenizer.ggml.unknown_token_id=0";
	v.keys[1] = v.keys[2] = NULL; /* ids 1 and 2 by default */
	f = open_tiny(&v);
	encodes(&f, "az", ADD, "1 7 0");
	assert_true(evn_tokenizer_ends_generation(f.tokenizer, 2));
	close_file(&f);
}

static void spm_decodes(void **state)
{
	(void)state;
	fixture f = open_tiny(&spm);
	char *text;
	size_t n;
	const int32_t ids[] = {257, 261, 263, 65, 0, 258, 271};
	assert_int_equal(evn_tokenizer_decode(f.tokenizer, ids, 6, false, &text, &n, NULL), EVN_OK);
	assert_int_equal(n, 4);
	assert_memory_equal(text, " aA\0", 5);
	free(text);
	assert_int_equal(evn_tokenizer_decode(f.tokenizer, ids, 3, true, &text, &n, NULL), EVN_OK);
	assert_string_equal(text, "<s>  a");
	free(text);
	evn_error err = {0};
	assert_int_equal(evn_tokenizer_decode(f.tokenizer, ids, 7, false, &text, &n, &err), EVN_ERR_USAGE);
	assert_non_null(strstr(err.text, "token id 271 at place 6"));
	assert_null(text);
	close_file(&f);
}

static const tiny_token bpe_tokens[] = {
	{"bc", NORMAL, 0},
	{"ab", NORMAL, 0},
	{"abc", NORMAL, 0},
	{"\xc4\xa0"
	 "a",
	 NORMAL, 0},
	{"12", NORMAL, 0},
	{"aa", NORMAL, 0},
	{"<|im_end|>", CONTROL, 0},
	{"xyz", NORMAL, 0},
	{NULL, 0, 0},
};
static const char *const bpe_merges[] = {"b c", "a b", "\xc4\xa0 a", "1 2", "a a", NULL};
static const tiny_vocab bpe = {
	.model = "gpt2", .pre = "gpt-2", .tokens = bpe_tokens, .all_bytes = true, .merges = bpe_merges};

/* Gemma 4's: spaces are marks and do not end words, runs of newlines are words. */
static void bpe_of_characters(void **state)
{
	static const tiny_token tokens[] = {
		{"a", NORMAL, 0},      {"b", NORMAL, 0},        {MARK, NORMAL, 0},   {"ab", NORMAL, 0},
		{MARK "a", NORMAL, 0}, {"\n", NORMAL, 0},       {"\n\n", NORMAL, 0}, {"b" MARK, NORMAL, 0},
		{"<bos>", CONTROL, 0}, {"<turn|>", CONTROL, 0}, {NULL, 0, 0},
	};
	static const char *const merges[] = {MARK " a", "a b", "b " MARK, NULL};
	fixture f = open_tiny(&(tiny_vocab){.model = "gemma4",
										.tokens = tokens,
										.all_bytes = true,
										.merges = merges,
										.keys = {"tokenizer.ggml.bos_token_id=264"}});
	(void)state;
	encodes(&f, "ab", 0, "259");
	encodes(&f, " ab", 0, "260 257"); /* the mark merges first */
	encodes(&f, "ab a", 0, "259 260");
	encodes(&f, "bb ", 0, "257 263"); /* a space does not end a word */
	encodes(&f, "a\n\nb", 0, "256 262 257");
	encodes(&f, "\n\n\n", 0, "261 261 261"); /* no token, and no merge makes two of them */
	encodes(&f, "a\xc3\xa9\xff", 0, "256 195 169 255");
	encodes(&f, "a<turn|>", ADD | PARSE, "264 256 265"); /* BOS by habit */
	assert_true(evn_tokenizer_ends_generation(f.tokenizer, 265));
	any_bytes_come_back(&f);
	close_file(&f);
}

static void bpe_merges_by_rank_within_words(void **state)
{
	(void)state;
	fixture f = open_tiny(&bpe);
	encodes(&f, "ab", 0, "257");
	encodes(&f, "abc", 0, "97 256"); /* "b c" has the lower rank, and no merge makes "abc" */
	encodes(&f, "aaa", 0, "261 97");
	encodes(&f, "a a", 0, "97 259");
	encodes(&f, "12", 0, "260");
	encodes(&f, "a<|im_end|>", PARSE, "97 262");
	encodes(&f, "xyz", ADD, "120 121 122");
	assert_true(evn_tokenizer_ends_generation(f.tokenizer, 262));
	any_bytes_come_back(&f);
	close_file(&f);
}

static void bpe_families(void **state)
{
	(void)state;
	tiny_vocab v = bpe;
	v.pre = "smollm"; /* digits apart */
	fixture f = open_tiny(&v);
	encodes(&f, "12", 0, "49 50");
	close_file(&f);
	v.pre = "llama-bpe"; /* words that are tokens are taken whole; BOS if there is one */
	v.keys[0] = "tokenizer.ggml.bos_token_id=7";
	f = open_tiny(&v);
	encodes(&f, "abc xyz", ADD, "7 258 32 120 121 122");
	close_file(&f);
	v.pre = NULL;
	v.keys[0] = NULL;
	f = open_tiny(&v);
	encodes(&f, "abc", ADD, "97 256");
	close_file(&f);
}

/* Words by the pattern of o200k, found by hand. */
static void words_of_gpt4o(void **state)
{
	(void)state;
	static const char text[] = "HelloWorld's IT'S 12345 //\n";
	static const uint32_t ends[] = {5, 12, 17, 18, 21, 23, 27};
	const evn_str name = {"gpt-4o", 6};
	evn_pretokenizer *p;
	evn_words words = {0};
	assert_int_equal(evn_pretokenizer_create(&p, name, "test", NULL), EVN_OK);
	assert_int_equal(evn_pretokenizer_split(p, text, sizeof text - 1, &words, NULL), EVN_OK);
	assert_int_equal(words.n, sizeof ends / sizeof *ends);
	assert_memory_equal(words.ends, ends, sizeof ends);
	evn_words_clear(&words);
	evn_pretokenizer_free(p);
}

static void bpe_bytes_without_token(void **state)
{
	(void)state;
	tiny_vocab v = bpe;
	const tiny_token tokens[] = {{"a", NORMAL, 0},        {"\xc3\xaf", NORMAL, 0}, /* bytes ef bf bd */
								 {"\xc2\xbf", NORMAL, 0}, {"\xc2\xbd", NORMAL, 0},
								 {"\xc3\xbf", USER, 0},   {NULL, 0, 0}}; /* the character U+00FF, not the byte ff */
	v.all_bytes = false;
	v.tokens = tokens;
	v.merges = (const char *const[]){NULL};
	fixture f = open_tiny(&v);
	encodes(&f,
			"a\xff"
			"a",
			0, "0 1 2 3 0"); /* U+FFFD */
	encodes(&f, "\xc3\xbf", 0, "4");
	static const char text[] = "a\x13 a\xc3\xa9";
	int32_t *ids;
	size_t n, n_lost;
	encodes(&f, text, 0, "0 0"); /* dropped and counted */
	assert_int_equal(evn_tokenizer_encode(f.tokenizer, text, sizeof text - 1, false, false, &ids, &n, &n_lost, NULL),
					 EVN_OK);
	assert_int_equal(n_lost, 4);
	free(ids);
	close_file(&f);
}

static char warnings[512];
static unsigned n_warnings;

static void take_warning(void *user, evn_log_level level, const char *line)
{
	(void)user;
	if (level == EVN_LOG_WARN && n_warnings++ == 0)
		snprintf(warnings, sizeof warnings, "%s", line);
}

/* The vocabulary of bpe with these merges instead. */
static void merges_to(const char *const *merges, const char *text, const char *expected, const char *warning)
{
	tiny_vocab v = bpe;
	v.merges = merges;
	n_warnings = 0;
	evn_set_log(take_warning, NULL);
	fixture f = open_tiny(&v);
	evn_set_log(NULL, NULL);
	encodes(&f, text, 0, expected);
	any_bytes_come_back(&f);
	close_file(&f);
	assert_int_equal(n_warnings, warning ? 1 : 0);
	if (warning && !strstr(warnings, warning))
		fail_msg("\"%s\" does not say \"%s\"", warnings, warning);
}

#define MERGES(...) ((const char *const[]){__VA_ARGS__, NULL})

/* The ids that llama.cpp gives, except where it drops bytes that are not spelled in ASCII. */
static void bpe_merges_without_tokens(void **state)
{
	(void)state;
	const char *g = "\xc4\xa0 a"; /* a token, " a" */
	merges_to(MERGES("b c", g), "abc a", "97 256 259", NULL);
	/* merges that never apply */
	merges_to(MERGES("b c", "abc"), "abc", "97 256", "1 of 2 merges");
	merges_to(MERGES("b c", ""), "abc", "97 256", "the first is 1, \"\"");
	merges_to(MERGES("zz b", "b c"), "abc", "97 256", "the first is 0, \"zz b\"");
	merges_to(MERGES("b zz", " b c", "b c x", "b c"), "abc", "97 256", "3 of 4 merges");
	/* no token comes of it, and none of what it takes away */
	merges_to(MERGES("a b", "b b"), "abbb", "257 98 98", "1 of 2 merges");
	merges_to(MERGES("c b", "b c"), "cbc", "99 98 99", "1 of 2 merges");
	/* a chain through texts that are no tokens */
	merges_to(MERGES("x y", "xy z"), "xyz", "263", "2 of 2 merges");
	merges_to(MERGES("xy z", "x y"), "xyzxy", "263 120 121", "2 of 2 merges");
	merges_to(MERGES("\xc4\xa0 b"), " b", "32 98", "1 of 1 merges");
}

/* A merge may have a byte that is no token by itself. */
static void bpe_merges_of_bytes_without_token(void **state)
{
	(void)state;
	const tiny_token tokens[] = {{"a", NORMAL, 0}, {"ab", NORMAL, 0}, {NULL, 0, 0}};
	tiny_vocab v = bpe;
	v.all_bytes = false;
	v.tokens = tokens;
	v.merges = MERGES("a b");
	fixture f = open_tiny(&v);
	encodes(&f, "abaab", 0, "1 0 1");
	encodes(&f, "bab", 0, "1");
	close_file(&f);
}

/* The texts of the tokens that end a generation, of a file with these tokens and this key. */
static void ends_with(const tiny_token *tokens, const char *key, const char *expected)
{
	char got[256] = "";
	fixture f = open_tiny(&(tiny_vocab){
		.model = "gpt2", .pre = "gpt-2", .tokens = tokens, .merges = (const char *const[]){NULL}, .keys = {key}});
	for (int32_t id = 0; tokens[id].text; id++)
		if (evn_tokenizer_ends_generation(f.tokenizer, id))
			snprintf(got + strlen(got), sizeof got - strlen(got), *got ? " %s" : "%s", tokens[id].text);
	assert_string_equal(got, expected);
	close_file(&f);
}

#define LIST(...)                                                                                                    \
	(const tiny_token[])                                                                                             \
	{                                                                                                                \
		__VA_ARGS__, { NULL, 0, 0 }                                                                                  \
	}
#define OF(type, text)                                                                                               \
	{                                                                                                                \
		text, type, 0                                                                                                \
	}

static void tokens_that_end_a_generation(void **state)
{
	(void)state;
	ends_with(LIST(OF(CONTROL, "<|flush|>"), OF(CONTROL, "<eos>"), OF(CONTROL, "<|im_start|>"),
				   OF(CONTROL, "<turn|>"), OF(CONTROL, "[e~["), OF(CONTROL, "<|tool_response>"),
				   OF(CONTROL, "<|calls|>")),
			  NULL, "<|flush|> <eos> <turn|> [e~[ <|tool_response> <|calls|>");
	/* a known end does so even if the file calls it normal */
	ends_with(LIST(OF(NORMAL, "<EOT>"), OF(NORMAL, "a"), OF(NORMAL, "</s>"), OF(NORMAL, "<|end_of_text|>")), NULL,
			  "<EOT> </s> <|end_of_text|>");
	/* padding */
	ends_with(LIST(OF(NORMAL, "<PAD>"), OF(NORMAL, "PAD")), NULL, "");
	ends_with(LIST(OF(CONTROL, "<PAD>")), NULL, "<PAD>");
	ends_with(LIST(OF(NORMAL, "<PAD>"), OF(NORMAL, "[PAD]")), NULL, "[PAD]");
	ends_with(LIST(OF(CONTROL, "<|fim_pad|>"), OF(NORMAL, "[PAD]")), NULL, "<|fim_pad|>");
	ends_with(LIST(OF(NORMAL, "[PAD]"), OF(CONTROL, "<padding>")), "tokenizer.ggml.fim_pad_token_id=1", "<padding>");
	/* tokens that end a part of a message, or that are text in another family */
	ends_with(LIST(OF(CONTROL, "<|end|>"), OF(CONTROL, "<|call|>")), NULL, "<|end|> <|call|>");
	ends_with(LIST(OF(CONTROL, "<|end|>"), OF(CONTROL, "<|call|>"), OF(CONTROL, "<|return|>")), NULL,
			  "<|call|> <|return|>");
	ends_with(LIST(OF(CONTROL, "<|end|>"), OF(CONTROL, "<|calls|>"), OF(CONTROL, "<|flush|>")), NULL,
			  "<|calls|> <|flush|>");
	ends_with(LIST(OF(CONTROL, "<|end|>"), OF(CONTROL, "<|calls|>"), OF(CONTROL, "<|flush|>")),
			  "tokenizer.ggml.eos_token_id=0", "<|end|> <|calls|> <|flush|>");
	ends_with(LIST(OF(NORMAL, "</s>"), OF(CONTROL, "<|tool_response>")), NULL, "<|tool_response>");
	/* by id */
	ends_with(LIST(OF(NORMAL, "stop"), OF(CONTROL, "<|eom_id|>")), "tokenizer.ggml.eot_token_id=0",
			  "stop <|eom_id|>");
	/* fill-in tokens do not end a text */
	ends_with(LIST(OF(CONTROL, "<|fim_prefix|>"), OF(CONTROL, "<|code_suffix|>"), OF(CONTROL, "<MID>")), NULL, "");
}

static void refuses(gguf_writer file, evn_status status, const char *words)
{
	fixture f;
	evn_error err = {0};
	assert_int_equal(open_file(&f, file, &err), status);
	if (!strstr(err.text, "tiny.gguf") || !strstr(err.text, words))
		fail_msg("\"%s\" does not say \"%s\"", err.text, words);
	close_file(&f);
}

/* The tokens of v, and one more. */
static gguf_writer with_token(const tiny_vocab *v, tiny_token more)
{
	tiny_token tokens[32];
	size_t n = 0;
	for (; v->tokens[n].text; n++)
		tokens[n] = v->tokens[n];
	tokens[n] = more;
	tokens[n + 1] = (tiny_token){0};
	tiny_vocab changed = *v;
	changed.tokens = tokens;
	return tiny_file(&changed);
}

static gguf_writer with_key(const tiny_vocab *v, const char *key)
{
	tiny_vocab changed = *v;
	changed.keys[0] = key;
	return tiny_file(&changed);
}

static void refuses_bad_keys(void **state)
{
	(void)state;
	char longest[4098];
	memset(longest, 'a', sizeof longest - 1);
	longest[sizeof longest - 1] = '\0';
	tiny_vocab v = spm;
	v.model = NULL;
	refuses(tiny_file(&v), EVN_ERR_FORMAT, "tokenizer.ggml.model");
	v.model = "rwkv";
	refuses(tiny_file(&v), EVN_ERR_UNSUPPORTED, "\"rwkv\"");
	v = bpe;
	v.pre = "gpt";
	refuses(tiny_file(&v), EVN_ERR_UNSUPPORTED, "pre-tokenizer \"gpt\"");
	v.pre = "mpt olmo";
	refuses(tiny_file(&v), EVN_ERR_UNSUPPORTED, "pre-tokenizer \"mpt olmo\"");
	v = bpe;
	v.merges = NULL;
	refuses(tiny_file(&v), EVN_ERR_FORMAT, "no tokenizer.ggml.merges");
	refuses(with_token(&bpe, (tiny_token){longest, NORMAL, 0}), EVN_ERR_LIMIT, "token 264");
	refuses(with_token(&spm, (tiny_token){"<0x-1>", BYTE, 0}), EVN_ERR_FORMAT, "token 271 \"<0x-1>\"");
	refuses(with_token(&spm, (tiny_token){"", BYTE, 0}), EVN_ERR_FORMAT, "token 271");
	refuses(with_token(&spm, (tiny_token){"c", NORMAL, NAN}), EVN_ERR_FORMAT, "scores[271]");
	refuses(with_key(&spm, "tokenizer.ggml.bos_token_id=271"), EVN_ERR_FORMAT, "bos_token_id");
	refuses(with_key(&spm, "tokenizer.ggml.eot_token_id=4294967295"), EVN_ERR_FORMAT, "eot_token_id");
	refuses(with_key(&spm, "tokenizer.ggml.add_bos_token=1"), EVN_ERR_FORMAT, "add_bos_token");
	refuses(with_key(&spm, "tokenizer.ggml.eos_token_id=true"), EVN_ERR_FORMAT, "eos_token_id");
	refuses(with_key(&bpe, "tokenizer.ggml.add_eos_token=true"), EVN_ERR_FORMAT,
			"no \"tokenizer.ggml.eos_token_id\"");
}

/* A file with only these arrays; element types and counts as given. */
static gguf_writer with_arrays(evn_gguf_type tokens, uint64_t n, evn_gguf_type types, uint64_t n_types,
							   evn_gguf_type scores, uint64_t n_scores)
{
	gguf_writer w = {0};
	put_header(&w, 3, 0, 4);
	put_string(&w, "tokenizer.ggml.model", "llama");
	put_array(&w, "tokenizer.ggml.tokens", tokens, n);
	for (uint64_t i = 0; i < n; i++)
		put_le(&w, 0, tokens == EVN_GGUF_STRING ? 8 : 4);
	put_array(&w, "tokenizer.ggml.token_type", types, n_types);
	for (uint64_t i = 0; i < n_types; i++)
		put_le(&w, 1, 4);
	put_array(&w, "tokenizer.ggml.scores", scores, n_scores);
	for (uint64_t i = 0; i < n_scores; i++)
		put_le(&w, 0, 4);
	return w;
}

static void refuses_arrays_that_do_not_fit(void **state)
{
	(void)state;
	const evn_gguf_type s = EVN_GGUF_STRING, i = EVN_GGUF_I32, f = EVN_GGUF_F32;
	fixture good;
	assert_int_equal(open_file(&good, with_arrays(s, 3, i, 3, f, 3), NULL), EVN_OK);
	close_file(&good);
	refuses(with_arrays(s, 0, i, 0, f, 0), EVN_ERR_FORMAT, "tokenizer.ggml.tokens");
	refuses(with_arrays(i, 3, i, 3, f, 3), EVN_ERR_FORMAT, "tokenizer.ggml.tokens");
	refuses(with_arrays(s, 3, f, 3, f, 3), EVN_ERR_FORMAT, "tokenizer.ggml.token_type");
	refuses(with_arrays(s, 3, i, 2, f, 3), EVN_ERR_FORMAT, "token_type has 2 entries for 3 tokens");
	refuses(with_arrays(s, 3, i, 4, f, 3), EVN_ERR_FORMAT, "token_type has 4 entries for 3 tokens");
	refuses(with_arrays(s, 3, i, 3, i, 3), EVN_ERR_FORMAT, "tokenizer.ggml.scores");
	refuses(with_arrays(s, 3, i, 3, f, 2), EVN_ERR_FORMAT, "scores has 2 entries for 3 tokens");
}

/* Changes each byte of a file in turn. Whatever loads must encode and decode without an access outside. */
static void survives_changed_bytes(void **state)
{
	(void)state;
	static const char text[] = "abc a\xc3\xa9 12 <|im_end|>\xff";
	const tiny_vocab *vocabs[] = {&spm, &bpe};
	size_t n_loaded = 0, n_tried = 0;
	for (int v = 0; v < 2; v++) {
		gguf_writer file = tiny_file(vocabs[v]);
		for (size_t at = 24; at < file.size; at += 3) {
			fixture f;
			gguf_writer changed = {0};
			put_bytes(&changed, file.data, file.size);
			changed.data[at] ^= (uint8_t)(1u << at % 8);
			n_tried++;
			if (open_file(&f, changed, NULL) == EVN_OK) {
				int32_t *ids = NULL;
				size_t n = 0, n_back;
				char *back = NULL;
				n_loaded++;
				evn_tokenizer_encode(f.tokenizer, text, sizeof text - 1, true, true, &ids, &n, NULL, NULL);
				assert_int_equal(evn_tokenizer_decode(f.tokenizer, ids, n, true, &back, &n_back, NULL), EVN_OK);
				free(back);
				free(ids);
			}
			close_file(&f);
		}
		gguf_writer_free(&file);
	}
	assert_true(n_loaded > 100 && n_tried - n_loaded > 100);
}

static void long_runs_stay_fast(void **state)
{
	(void)state;
	const size_t n = 1u << 20; /* quadratic work on these would take an hour */
	char *text = malloc(n);
	const tiny_vocab *vocabs[] = {&spm, &bpe};
	for (int v = 0; v < 2; v++) {
		fixture f = open_tiny(vocabs[v]);
		for (const char *c = "a \n1\xff"; *c; c++) {
			memset(text, *c, n);
			comes_back(&f, text, n);
		}
		close_file(&f);
	}
	tiny_vocab deepseek = bpe; /* the pattern \s+$ before text that does not end in spaces */
	deepseek.pre = "deepseek-llm";
	fixture f = open_tiny(&deepseek);
	memset(text, ' ', n - 3);
	memcpy(text + n - 3, "\xe4\xb8\xad", 3);
	comes_back(&f, text, n);
	close_file(&f);
	free(text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(spm_merges_by_score_then_from_the_left),
		cmocka_unit_test(spm_special_tokens),
		cmocka_unit_test(spm_flags),
		cmocka_unit_test(spm_decodes),
		cmocka_unit_test(bpe_merges_by_rank_within_words),
		cmocka_unit_test(bpe_of_characters),
		cmocka_unit_test(bpe_families),
		cmocka_unit_test(words_of_gpt4o),
		cmocka_unit_test(bpe_bytes_without_token),
		cmocka_unit_test(bpe_merges_without_tokens),
		cmocka_unit_test(bpe_merges_of_bytes_without_token),
		cmocka_unit_test(tokens_that_end_a_generation),
		cmocka_unit_test(refuses_bad_keys),
		cmocka_unit_test(refuses_arrays_that_do_not_fit),
		cmocka_unit_test(survives_changed_bytes),
		cmocka_unit_test(long_runs_stay_fast),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
