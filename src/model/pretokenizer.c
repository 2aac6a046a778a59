/* pretokenizer.c - the table of tokenizer families, and the splitting. The patterns of a family apply one after the
 * other, each to the words that the patterns before it left. The text between two matches is a word too. The patterns
 * are the models' own, their classes those of unicode.h. llama.cpp's words differ in three cases: where a range of
 * DeepSeek's holds white space (U+2000-U+3000), where it approximates tekken, and at code points newer than Unicode
 * 15. */
#define PCRE2_CODE_UNIT_WIDTH 8
#include "model/pretokenizer.h"
#include "model/unicode.h"
#include "base/utf8.h"

#include <pcre2.h>
#include <stdlib.h>
#include <string.h>

#define MAX_PATTERNS 6
#define MATCH_LIMIT 100000000u /* steps of one match: a word of some 10 MB, but not endless */
#define DEPTH_LIMIT 100000u
#define HEAP_LIMIT_KIB 65536u
#define JIT_STACK_BYTES (1u << 20)

#define CONTRACTIONS "(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])"
#define SYMBOLS_AND_SPACE "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
#define GPT2 "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+"
#define LLAMA3 CONTRACTIONS "|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}" SYMBOLS_AND_SPACE
#define QWEN2 CONTRACTIONS "|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}" SYMBOLS_AND_SPACE
#define QWEN35                                                                                                       \
	CONTRACTIONS "|[^\\r\\n\\p{L}\\p{N}]?[\\p{L}\\p{M}]+|\\p{N}| ?[^\\s\\p{L}\\p{M}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+"  \
				 "|\\s+(?!\\S)|\\s+"
/* A word is some capitals and then small letters. It has at least one of the latter, or at least one of the former. */
#define CAPITALS "[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]"
#define SMALL "[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]"
#define SYMBOLS_WITH_SLASHES "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
#define TEKKEN CAPITALS "*" SMALL "+|" CAPITALS "+" SMALL "*|\\p{N}" SYMBOLS_WITH_SLASHES
#define GPT4O                                                                                                        \
	CAPITALS "*" SMALL "+" CONTRACTIONS "?|" CAPITALS "+" SMALL "*" CONTRACTIONS "?|\\p{N}{1,3}" SYMBOLS_WITH_SLASHES
/* Cased letters, as the deepseek-llm tokenizer lists them. */
#define DEEPSEEK_LETTERS                                                                                                                                                                                                \
	"[A-Za-zµÀ-ÖØ-öø-ƺƼ-ƿǄ-ʓʕ-ʯͰ-ͳͶͷͻ-ͽͿΆΈ-ΊΌΎ-ΡΣ-ϵϷ-ҁҊ-ԯԱ-ՖႠ-ჅᎠ-Ᏽᏸ-ᏽᲐ-ᲺᲽ-Ჿᴀ-ᴫᵫ-ᵷᵹ-"                                                                    \
	"ᶚḀ-"                                                                                                                                                                                                           \
	"ἕἘ-"                                                                                                                                                                                                           \
	"Ἕἠ-"                                                                                                                                                                                                           \
	"ὅὈ-"                                                                                                                                                                                                           \
	"Ὅὐ-"                                                                                                                                                                                                           \
	"ὗὙὛὝὟ-ώᾀ-ᾴᾶ-ᾼιῂ-ῄῆ-ῌῐ-ΐῖ-Ίῠ-Ῥῲ-ῴῶ-ῼℂℇℊ-ℓℕℙ-ℝℤΩℨK-ℭℯ-ℴℹℼ-ℿⅅ-ⅉⅎↃↄⰀ-ⱻⱾ-ⳤⳫ-ⳮⳲⳳꙀ-ꙭꚀ-ꚛꜢ-ꝯꝱ-" \
	"ꞇꞋ-"                                                                                                                                                                                                           \
	"ꞎꭰ-"                                                                                                                                                                                                           \
	"ꮿﬀ-"                                                                                                                                                                                                           \
	"ﬆﬓ-"                                                                                                                                                                                                           \
	"ﬗＡ-"                                                                                                                                                                                                           \
	"Ｚａ-ｚ𐐀-𐑏𐒰-𐓓𐓘-𐓻𐲀-𐲲𐳀-𐳲𑢠-𑣟𞤀-𞥃]"
#define CJK "[一-龥ࠀ-一가-퟿]+"

typedef struct {
	const char *names; /* values of tokenizer.ggml.pre, with a space before and after each */
	const char *patterns[MAX_PATTERNS + 1];
	bool ignores_merges, adds_bos;
} family;

static const family families[] = {
	{" llama-bpe llama3 llama-v3 falcon3 falcon-h1 pixtral midm-2.0 lfm2 jina-v5-nano ", {LLAMA3}, true, true},
	{" dbrx smaug-bpe chatglm-bpe ", {LLAMA3}, false, false},
	{" glm4 glm5 ", {LLAMA3}, true, false},
	{" qwen2 deepseek-r1-qwen kormo f2llmv2 megrez stablelm2 hunyuan solar-open grok-2 ", {QWEN2}, false, false},
	{" qwen35 ", {QWEN35}, false, false},
	{" tekken ", {TEKKEN}, true, true},
	{" gpt-4o ", {GPT4O}, false, false},
	{" gpt-2 phi-2 jina-es jina-de jina-v2-es jina-v2-de gigachat a.x-4.0 mellum modern-bert mpt olmo jais trillion"
	 " granite-docling exaone4 ",
	 {GPT2},
	 false,
	 false},
	{" starcoder refact command-r smollm codeshell exaone minerva-7b mellum2 ", {"\\p{N}", GPT2}, false, false},
	{" falcon ", {"[\\p{P}\\$\\+<=>\\^~\\|`]+", GPT2, "[0-9][0-9][0-9]"}, false, false},
	/* This has a look-behind that the original lacks: from any other place \s+$ cannot be the leftmost match. Without
	 * JIT, PCRE2 would try each place of a long run of spaces and scan to its end. */
	{" deepseek-llm ",
	 {"[\\r\\n]", "\\s?" DEEPSEEK_LETTERS "+", "\\s?[!-/:-~！-／：-～‘-‟　-。]+", "(?<!\\s)\\s+$", CJK, "\\p{N}+"},
	 false,
	 false},
	{" deepseek-coder ", {"[\\r\\n]", "\\s?\\p{L}+", "\\s?\\p{P}+", CJK, "\\p{N}"}, false, false},
	{" gemma4 ", {"[^\\n]+|\\n+"}, false, true},
	{" default ", {"[\\p{P}\\$\\+<=>\\^~\\|]+", GPT2, "\\p{N}+", "[0-9][0-9][0-9]"}, false, false},
};

struct evn_pretokenizer {
	const family *family;
	pcre2_code *patterns[MAX_PATTERNS];
	size_t n_patterns;
};

static const family *find_family(evn_str name)
{
	char padded[64];
	if (name.length == 0)
		return find_family((evn_str){"default", 7});
	if (name.length + 3 > sizeof padded || memchr(name.text, ' ', (size_t)name.length) ||
		memchr(name.text, '\0', (size_t)name.length))
		return NULL;
	padded[0] = ' ';
	memcpy(padded + 1, name.text, (size_t)name.length);
	memcpy(padded + 1 + name.length, " ", 2);
	for (size_t i = 0; i < sizeof families / sizeof *families; i++)
		if (strstr(families[i].names, padded))
			return &families[i];
	return NULL;
}

static evn_status compile(evn_pretokenizer *p, const char *pattern, evn_error *err)
{
	int code;
	PCRE2_SIZE at;
	char *spelled;
	EVN_TRY(evn_unicode_pattern(&spelled, pattern, err));
	pcre2_code *compiled = pcre2_compile((PCRE2_SPTR)spelled, PCRE2_ZERO_TERMINATED,
										 PCRE2_UTF | PCRE2_UCP | PCRE2_DOLLAR_ENDONLY, &code, &at, NULL);
	free(spelled);
	if (!compiled)
		return evn_fail(err, EVN_ERR_UNSUPPORTED, "this PCRE2 refuses the pre-tokenizer pattern %s at %zu (error %d)",
						pattern, (size_t)at, code);
	p->patterns[p->n_patterns++] = compiled;
	/* PCRE2 has no JIT for some processors. Matching then gives the same result more slowly. */
	if (pcre2_jit_compile(compiled, PCRE2_JIT_COMPLETE) != 0)
		evn_log(EVN_LOG_DEBUG, "tokenizer: PCRE2 has no JIT here");
	return EVN_OK;
}

evn_status evn_pretokenizer_create(evn_pretokenizer **out, evn_str name, const char *file, evn_error *err)
{
	const family *f = find_family(name);
	*out = NULL;
	if (!f)
		return evn_fail(err, EVN_ERR_UNSUPPORTED, "%s: pre-tokenizer \"%.*s\" (tokenizer.ggml.pre) is not known",
						file, (int)(name.length < 64 ? name.length : 64), name.text);
	if (name.length == 0)
		evn_log(EVN_LOG_WARN, "%s: no tokenizer.ggml.pre, so text may be split into other words than in training",
				file);
	evn_pretokenizer *p = calloc(1, sizeof *p);
	if (!p)
		return evn_fail_memory(err, "tokenizer", sizeof *p);
	p->family = f;
	for (size_t i = 0; f->patterns[i]; i++) {
		evn_status status = compile(p, f->patterns[i], err);
		if (status != EVN_OK) {
			evn_pretokenizer_free(p);
			return status;
		}
	}
	*out = p;
	return EVN_OK;
}

void evn_pretokenizer_free(evn_pretokenizer *p)
{
	if (!p)
		return;
	for (size_t i = 0; i < p->n_patterns; i++)
		pcre2_code_free(p->patterns[i]);
	free(p);
}

bool evn_pretokenizer_ignores_merges(const evn_pretokenizer *p) { return p->family->ignores_merges; }

bool evn_pretokenizer_adds_bos(const evn_pretokenizer *p) { return p->family->adds_bos; }

void evn_words_clear(evn_words *w)
{
	free(w->ends);
	*w = (evn_words){0};
}

static evn_status add_word(evn_words *w, size_t end, evn_error *err)
{
	if (w->n == w->capacity) {
		size_t capacity = w->capacity ? 2 * w->capacity : 64;
		uint32_t *ends = realloc(w->ends, capacity * sizeof *ends);
		if (!ends)
			return evn_fail_memory(err, "tokenizer", capacity * sizeof *ends);
		w->ends = ends;
		w->capacity = capacity;
	}
	w->ends[w->n++] = (uint32_t)end;
	return EVN_OK;
}

/* What PCRE2 needs to match. Each call of split has its own set, so that threads can share a tokenizer. */
typedef struct {
	pcre2_match_data *data;
	pcre2_match_context *context;
	pcre2_jit_stack *stack;
} matcher;

static void matcher_clear(matcher *m)
{
	pcre2_match_data_free(m->data);
	pcre2_match_context_free(m->context);
	pcre2_jit_stack_free(m->stack);
}

static evn_status matcher_create(matcher *m, evn_error *err)
{
	*m = (matcher){pcre2_match_data_create(1, NULL), pcre2_match_context_create(NULL),
				   pcre2_jit_stack_create(JIT_STACK_BYTES / 32, JIT_STACK_BYTES, NULL)};
	if (!m->data || !m->context) {
		matcher_clear(m);
		return evn_fail_memory(err, "tokenizer", sizeof *m);
	}
	pcre2_set_match_limit(m->context, MATCH_LIMIT);
	pcre2_set_depth_limit(m->context, DEPTH_LIMIT);
	pcre2_set_heap_limit(m->context, HEAP_LIMIT_KIB);
	if (m->stack) /* NULL without JIT */
		pcre2_jit_stack_assign(m->context, NULL, m->stack);
	return EVN_OK;
}

/* Splits text[begin, end), which is valid UTF-8. */
static evn_status cut(const pcre2_code *pattern, const matcher *m, const char *text, size_t begin, size_t end,
					  evn_words *out, evn_error *err)
{
	size_t at = begin;
	while (at < end) {
		int code = pcre2_match(pattern, (PCRE2_SPTR)text + begin, end - begin, at - begin,
							   PCRE2_NO_UTF_CHECK | PCRE2_NOTEMPTY, m->data, m->context);
		if (code == PCRE2_ERROR_NOMATCH)
			break;
		if (code < 0)
			return evn_fail(err, EVN_ERR_LIMIT, "pre-tokenizer: PCRE2 gave up at byte %zu of the text (error %d)", at,
							code);
		const PCRE2_SIZE *match = pcre2_get_ovector_pointer(m->data);
		if (begin + match[0] > at)
			EVN_TRY(add_word(out, begin + match[0], err));
		EVN_TRY(add_word(out, begin + match[1], err));
		at = begin + match[1];
	}
	return at < end ? add_word(out, end, err) : EVN_OK;
}

static evn_status cut_words(const pcre2_code *pattern, const matcher *m, const char *text, const evn_words *words,
							evn_words *out, evn_error *err)
{
	size_t begin = 0;
	out->n = 0;
	for (size_t i = 0; i < words->n; i++) {
		size_t end = words->ends[i];
		bool broken = end == begin + 1 && (uint8_t)text[begin] >= 0x80;
		EVN_TRY(broken ? add_word(out, end, err) : cut(pattern, m, text, begin, end, out, err));
		begin = end;
	}
	return EVN_OK;
}

/* Splits the text into runs of valid UTF-8 and single other bytes. */
static evn_status cut_valid(const char *text, size_t n, evn_words *out, evn_error *err)
{
	size_t begin = 0, at = 0, whole;
	out->n = 0;
	while (at < n) {
		size_t length = evn_utf8_prefix(text + at, n - at, &whole);
		if (length > 0 && length == whole) {
			at += length;
			continue;
		}
		if (at > begin)
			EVN_TRY(add_word(out, at, err));
		begin = ++at;
		EVN_TRY(add_word(out, at, err));
	}
	return at > begin ? add_word(out, at, err) : EVN_OK;
}

evn_status evn_pretokenizer_split(const evn_pretokenizer *p, const char *text, size_t n, evn_words *out,
								  evn_error *err)
{
	matcher m;
	evn_words words = {0};
	EVN_TRY(matcher_create(&m, err));
	evn_status status = cut_valid(text, n, out, err);
	for (size_t i = 0; i < p->n_patterns && status == EVN_OK; i++) {
		evn_words before = *out;
		*out = words;
		words = before;
		status = cut_words(p->patterns[i], &m, text, &words, out, err);
	}
	evn_words_clear(&words);
	matcher_clear(&m);
	return status;
}
