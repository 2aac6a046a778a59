/* unicode.c - see unicode.h. The members are those of PCRE2's property, then what PCRE2 10.42 (Unicode 14.0) lacks:
 * the code points assigned since. With a newer PCRE2 they are there twice. */
#include "model/unicode.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* clang-format off */
#define SPACE \
	"\\t-\\r \\x{85}\\x{a0}\\x{1680}\\x{2000}-\\x{200a}\\x{2028}\\x{2029}\\x{202f}\\x{205f}\\x{3000}"
#define NEW_LU \
	"\\x{1c89}\\x{a7cb}-\\x{a7cc}\\x{a7da}\\x{a7dc}\\x{10d50}-\\x{10d65}"
#define NEW_LL \
	"\\x{1c8a}\\x{a7cd}\\x{a7db}\\x{10d70}-\\x{10d85}\\x{1df25}-\\x{1df2a}"
#define NEW_LM \
	"\\x{10d4e}\\x{10d6f}\\x{16d40}-\\x{16d42}\\x{16d6b}-\\x{16d6c}\\x{1e030}-\\x{1e06d}\\x{1e4eb}"
#define NEW_LO \
	"\\x{105c0}-\\x{105f3}\\x{10d4a}-\\x{10d4d}\\x{10d4f}\\x{10ec2}-\\x{10ec4}\\x{1123f}-\\x{11240}" \
	"\\x{11380}-\\x{11389}\\x{1138b}\\x{1138e}\\x{11390}-\\x{113b5}\\x{113b7}\\x{113d1}\\x{113d3}" \
	"\\x{11bc0}-\\x{11be0}\\x{11f02}\\x{11f04}-\\x{11f10}\\x{11f12}-\\x{11f33}\\x{1342f}" \
	"\\x{13441}-\\x{13446}\\x{13460}-\\x{143fa}\\x{16100}-\\x{1611d}\\x{16d43}-\\x{16d6a}\\x{18cff}" \
	"\\x{1b132}\\x{1b155}\\x{1e4d0}-\\x{1e4ea}\\x{1e5d0}-\\x{1e5ed}\\x{1e5f0}\\x{2b739}" \
	"\\x{2ebf0}-\\x{2ee5d}\\x{31350}-\\x{323af}"
#define NEW_M \
	"\\x{897}\\x{cf3}\\x{ece}\\x{10d69}-\\x{10d6d}\\x{10efc}-\\x{10eff}\\x{11241}\\x{113b8}-\\x{113c0}" \
	"\\x{113c2}\\x{113c5}\\x{113c7}-\\x{113ca}\\x{113cc}-\\x{113d0}\\x{113d2}\\x{113e1}-\\x{113e2}" \
	"\\x{11f00}-\\x{11f01}\\x{11f03}\\x{11f34}-\\x{11f3a}\\x{11f3e}-\\x{11f42}\\x{11f5a}\\x{13440}" \
	"\\x{13447}-\\x{13455}\\x{1611e}-\\x{1612f}\\x{1e08f}\\x{1e4ec}-\\x{1e4ef}\\x{1e5ee}-\\x{1e5ef}"
#define NEW_N \
	"\\x{10d40}-\\x{10d49}\\x{116d0}-\\x{116e3}\\x{11bf0}-\\x{11bf9}\\x{11f50}-\\x{11f59}" \
	"\\x{16130}-\\x{16139}\\x{16d70}-\\x{16d79}\\x{1ccf0}-\\x{1ccf9}\\x{1d2c0}-\\x{1d2d3}" \
	"\\x{1e4f0}-\\x{1e4f9}\\x{1e5f1}-\\x{1e5fa}"
#define NEW_P \
	"\\x{1b4e}-\\x{1b4f}\\x{1b7f}\\x{10d6e}\\x{113d4}-\\x{113d5}\\x{113d7}-\\x{113d8}" \
	"\\x{11b00}-\\x{11b09}\\x{11be1}\\x{11f43}-\\x{11f4f}\\x{16d6d}-\\x{16d6f}\\x{1e5ff}"
/* clang-format on */

static const struct {
	const char *name;    /* as a pattern writes it */
	const char *members; /* between brackets */
	bool without;        /* all other code points */
} classes[] = {
	{"\\s", SPACE, false},
	{"\\S", SPACE, true},
	{"\\p{L}", "\\p{L}" NEW_LU NEW_LL NEW_LM NEW_LO, false},
	{"\\p{Lu}", "\\p{Lu}" NEW_LU, false},
	{"\\p{Ll}", "\\p{Ll}" NEW_LL, false},
	{"\\p{Lt}", "\\p{Lt}", false},
	{"\\p{Lm}", "\\p{Lm}" NEW_LM, false},
	{"\\p{Lo}", "\\p{Lo}" NEW_LO, false},
	{"\\p{M}", "\\p{M}" NEW_M, false},
	{"\\p{N}", "\\p{N}" NEW_N, false},
	{"\\p{P}", "\\p{P}" NEW_P, false},
};

/* Writes the class or the escaped character at `at`; returns what follows it. */
static const char *expand_escape(FILE *out, const char *at, bool in_brackets)
{
	for (size_t i = 0; i < sizeof classes / sizeof *classes; i++) {
		size_t length = strlen(classes[i].name);
		if (strncmp(at, classes[i].name, length) != 0 || (in_brackets && classes[i].without))
			continue;
		fprintf(out, in_brackets ? "%s" : classes[i].without ? "[^%s]" : "[%s]", classes[i].members);
		return at + length;
	}
	bool is_class = strchr("bBdDhHNpPRsSvVwWX", at[1]) != NULL; /* one that depends on PCRE2's tables, or the end */
	if (is_class)
		return NULL;
	fprintf(out, "%.2s", at);
	return at + 2;
}

static evn_status expand(FILE *out, const char *pattern, evn_error *err)
{
	bool in_brackets = false;
	for (const char *at = pattern; *at;) {
		if (*at == '\\') {
			at = expand_escape(out, at, in_brackets);
			if (!at)
				return evn_fail(err, EVN_ERR_UNSUPPORTED, "the pattern %s has a class that is not defined here",
								pattern);
			continue;
		}
		in_brackets = in_brackets ? *at != ']' : *at == '[';
		fputc(*at++, out);
	}
	return EVN_OK;
}

evn_status evn_unicode_pattern(char **out, const char *pattern, evn_error *err)
{
	size_t size;
	*out = NULL;
	FILE *text = open_memstream(out, &size);
	if (!text)
		return evn_fail_memory(err, "tokenizer", strlen(pattern));
	evn_status status = expand(text, pattern, err);
	if (fclose(text) != 0 && status == EVN_OK)
		status = evn_fail_memory(err, "tokenizer", strlen(pattern));
	if (status != EVN_OK) {
		free(*out);
		*out = NULL;
	}
	return status;
}
