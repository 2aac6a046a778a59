/* test_gguf.c - the parser on good files, on one bad file of every class, and on every truncation and byte flip of a
 * header. Under sanitizers these sweeps also prove that no byte outside the file is touched. */
#include "model/gguf_writer.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <cmocka.h>

/* A key of every kind, two tensors (36 bytes of Q4_0 data, 12 of F32); `alignment` 0: the default, not stated. */
static gguf_writer small_file(uint32_t version, uint32_t alignment)
{
	gguf_writer w = {0};
	put_header(&w, version, 2, alignment ? 7 : 6);
	put_string(&w, "general.architecture", "llama");
	put_u32(&w, "test.number", 7);
	put_key(&w, "test.flag", EVN_GGUF_BOOL);
	put_le(&w, 1, 1);
	put_array(&w, "test.words", EVN_GGUF_STRING, 2);
	put_text(&w, "one");
	put_text(&w, "");
	put_array(&w, "test.flags", EVN_GGUF_BOOL, 2);
	put_le(&w, 0x0100, 2);
	put_array(&w, "test.ids", EVN_GGUF_I32, 3);
	for (uint32_t i = 0; i < 3; i++)
		put_le(&w, i - 1, 4);
	if (alignment)
		put_u32(&w, "general.alignment", alignment);
	const size_t step = alignment ? alignment : 32;
	put_tensor(&w, "blocks", 2, 2, (uint64_t[]){32, 2}, 0);
	put_tensor(&w, "floats", 0, 1, (uint64_t[]){3}, evn_round_up(36, step));
	put_data(&w, step, evn_round_up(36, step) + 12);
	return w;
}

/* Gives the parser memory of exactly `size` bytes, so that a sanitizer sees any access beyond it. */
static evn_status parse_exactly(const uint8_t *data, size_t size, evn_gguf **out, uint8_t **copy, evn_error *err)
{
	*copy = malloc(size ? size : 1);
	memcpy(*copy, data, size);
	evn_status s = evn_gguf_parse(out, "test.gguf", *copy, size, err);
	if (s != EVN_OK) {
		free(*copy);
		*copy = NULL;
	}
	return s;
}

/* Reads everything that the parser handed out. */
static void walk(const evn_gguf *g)
{
	char text[256];
	for (uint32_t i = 0; i < evn_gguf_n_values(g); i++)
		evn_gguf_describe(evn_gguf_value_at(g, i), text, sizeof text);
	for (uint32_t i = 0; i < evn_gguf_n_tensors(g); i++) {
		const evn_tensor *t = evn_gguf_tensor_at(g, i);
		uint32_t sum = 0;
		for (uint64_t b = 0; b < t->size_bytes; b++)
			sum += t->data[b];
		assert_true(sum <= 255 * t->size_bytes);
	}
}

/* ---- good files ------------------------------------------------------------------------------------------------ */

static void check_small_file(uint32_t version, uint32_t alignment)
{
	gguf_writer w = small_file(version, alignment);
	evn_error err = {0};
	evn_gguf *g = NULL;
	uint8_t *copy;
	if (parse_exactly(w.data, w.size, &g, &copy, &err) != EVN_OK)
		fail_msg("%s", err.text);
	assert_int_equal(evn_gguf_version(g), version);
	uint32_t number = 0;
	bool flag = false;
	evn_str arch = {0};
	assert_int_equal(evn_gguf_u32(g, "test.number", &number, NULL), EVN_OK);
	assert_int_equal(evn_gguf_bool(g, "test.flag", &flag, NULL), EVN_OK);
	assert_int_equal(evn_gguf_string(g, "general.architecture", &arch, NULL), EVN_OK);
	assert_int_equal(number, 7);
	assert_true(flag);
	assert_true(evn_str_is(arch, "llama"));
	const evn_gguf_value *words;
	assert_int_equal(evn_gguf_array(g, "test.words", EVN_GGUF_STRING, &words, NULL), EVN_OK);
	assert_int_equal(words->count, 2);
	assert_true(evn_str_is(words->strings[0], "one"));
	assert_true(evn_str_is(words->strings[1], ""));

	const evn_tensor *blocks = evn_gguf_find_tensor(g, "blocks"), *floats = evn_gguf_find_tensor(g, "floats");
	assert_string_equal(blocks->quant->name, "Q4_0");
	assert_int_equal(blocks->shape[0], 32);
	assert_int_equal(blocks->shape[1], 2);
	assert_int_equal(blocks->shape[3], 1);
	assert_int_equal(blocks->size_bytes, 36);
	assert_int_equal(floats->size_bytes, 12);
	assert_ptr_equal(floats->data, copy + w.size - 12);
	assert_int_equal(floats->offset_bytes, w.size - 12);
	assert_int_equal(blocks->data[5], 5);
	assert_null(evn_gguf_find_tensor(g, "block"));
	assert_null(evn_gguf_find(g, "test.numbers"));
	assert_true(evn_gguf_header_bytes(g) <= blocks->offset_bytes);
	walk(g);
	evn_gguf_free(g);
	free(copy);
	gguf_writer_free(&w);
}

static void both_versions_are_read(void **state)
{
	(void)state;
	check_small_file(2, 0);
	check_small_file(3, 0);
}

static void the_alignment_is_followed(void **state)
{
	(void)state;
	check_small_file(3, 8);
	check_small_file(3, 4096);
}

static void a_vocabulary_alone_is_a_file(void **state)
{
	(void)state;
	gguf_writer w = {0};
	put_header(&w, 3, 0, 1);
	put_array(&w, "tokenizer.ggml.tokens", EVN_GGUF_STRING, 0);
	evn_gguf *g = NULL;
	uint8_t *copy;
	evn_error err = {0};
	assert_int_equal(parse_exactly(w.data, w.size, &g, &copy, &err), EVN_OK);
	assert_int_equal(evn_gguf_n_tensors(g), 0);
	assert_null(evn_gguf_find_tensor(g, "token_embd.weight"));
	assert_int_equal(evn_gguf_find(g, "tokenizer.ggml.tokens")->count, 0);
	evn_gguf_free(g);
	free(copy);
	gguf_writer_free(&w);
}

static void every_name_is_found_among_many(void **state)
{
	(void)state;
	enum { KEYS = 5000 };
	gguf_writer w = {0};
	put_header(&w, 3, 0, KEYS);
	char key[32];
	for (uint32_t i = 0; i < KEYS; i++) {
		snprintf(key, sizeof key, "k.%u", i * 7919 % KEYS);
		put_u32(&w, key, i);
	}
	evn_gguf *g = NULL;
	assert_int_equal(evn_gguf_parse(&g, "test.gguf", w.data, w.size, NULL), EVN_OK);
	for (uint32_t i = 0; i < KEYS; i++) {
		snprintf(key, sizeof key, "k.%u", i * 7919 % KEYS);
		uint32_t v = UINT32_MAX;
		assert_int_equal(evn_gguf_u32(g, key, &v, NULL), EVN_OK);
		assert_int_equal(v, i);
	}
	evn_gguf_free(g);
	gguf_writer_free(&w);
}

/* ---- typed reads ----------------------------------------------------------------------------------------------- */

typedef enum { AS_U32, AS_F32, AS_BOOL, AS_STRING, AS_UNIFORM } read_as;

static const double nothing = -77; /* a value that no read gives */

static evn_status read_value(const evn_gguf *g, read_as as, double *out, evn_error *err)
{
	uint32_t u = 0;
	float f = 0;
	bool b = false;
	evn_str s;
	evn_status status = as == AS_U32       ? evn_gguf_u32(g, "v", &u, err)
						: as == AS_F32     ? evn_gguf_f32(g, "v", &f, err)
						: as == AS_BOOL    ? evn_gguf_bool(g, "v", &b, err)
						: as == AS_UNIFORM ? evn_gguf_uniform_u32(g, "v", &u, err)
										   : evn_gguf_string(g, "v", &s, err);
	*out = (double)u + (double)f + b;
	return status;
}

static const struct {
	evn_gguf_type type; /* of the value in the file, in the bytes of `bits` */
	uint64_t bits;
	read_as as;
	double value; /* the value that is read, or `nothing`: an error with `text` */
	const char *text;
} reads[] = {
	{EVN_GGUF_U8, 200, AS_U32, 200, NULL},
	{EVN_GGUF_U32, 0xffffffff, AS_U32, 4294967295.0, NULL},
	{EVN_GGUF_U64, 12, AS_U32, 12, NULL},
	{EVN_GGUF_F32, 0x3fc00000, AS_F32, 1.5, NULL},
	{EVN_GGUF_F64, 0x3ff8000000000000, AS_F32, 1.5, NULL},
	{EVN_GGUF_I32, 0xfffffffe, AS_F32, -2, NULL},
	{EVN_GGUF_BOOL, 1, AS_BOOL, 1, NULL},
	{EVN_GGUF_U32, 5, AS_UNIFORM, 5, NULL},
	{EVN_GGUF_I8, 0xff, AS_U32, nothing, "\"v\" is -1, which no u32 holds"},
	{EVN_GGUF_U64, 1ull << 32, AS_U32, nothing, "\"v\" is 4294967296, which no u32 holds"},
	{EVN_GGUF_F32, 0, AS_U32, nothing, "\"v\" is of type f32, expected u32"},
	{EVN_GGUF_BOOL, 1, AS_U32, nothing, "\"v\" is of type bool, expected u32"},
	{EVN_GGUF_U8, 1, AS_BOOL, nothing, "\"v\" is of type u8, expected bool"},
	{EVN_GGUF_U32, 1, AS_STRING, nothing, "\"v\" is of type u32, expected string"},
	{EVN_GGUF_F32, 0x7fc00000, AS_F32, nothing, "\"v\" is nan, expected a finite f32"},
	{EVN_GGUF_F32, 0xff800000, AS_F32, nothing, "\"v\" is -inf, expected a finite f32"},
	{EVN_GGUF_F64, 0x7fe0000000000000, AS_F32, nothing, "expected a finite f32"},
};

static size_t type_size(evn_gguf_type t)
{
	static const size_t sizes[EVN_GGUF__COUNT] = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};
	return sizes[t];
}

static void values_are_converted_where_they_fit(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof reads / sizeof *reads; i++) {
		gguf_writer w = {0};
		put_header(&w, 3, 0, 1);
		put_key(&w, "v", reads[i].type);
		put_le(&w, reads[i].bits, type_size(reads[i].type));
		evn_gguf *g = NULL;
		evn_error err = {0};
		assert_int_equal(evn_gguf_parse(&g, "test.gguf", w.data, w.size, &err), EVN_OK);
		double value;
		evn_status s = read_value(g, reads[i].as, &value, &err);
		if (!reads[i].text && (s != EVN_OK || value != reads[i].value))
			fail_msg("read %zu gave %g (%s), expected %g", i, value, err.text, reads[i].value);
		if (reads[i].text &&
			(s != EVN_ERR_FORMAT || !strstr(err.text, reads[i].text) || !strstr(err.text, "at byte 37")))
			fail_msg("read %zu gave \"%s\", expected \"%s\"", i, err.text, reads[i].text);
		evn_gguf_free(g);
		gguf_writer_free(&w);
	}
}

static void arrays_are_read_as_what_they_are(void **state)
{
	(void)state;
	gguf_writer w = small_file(3, 0);
	evn_gguf *g = NULL;
	evn_error err = {0};
	uint32_t u = 9;
	const evn_gguf_value *v;
	assert_int_equal(evn_gguf_parse(&g, "test.gguf", w.data, w.size, &err), EVN_OK);
	assert_int_equal(evn_gguf_array(g, "absent", EVN_GGUF_STRING, &v, &err), EVN_OK);
	assert_null(v);
	assert_int_equal(evn_gguf_array(g, "test.ids", EVN_GGUF_STRING, &v, &err), EVN_ERR_FORMAT);
	assert_non_null(strstr(err.text, "\"test.ids\" is of type i32[], expected string[]"));
	assert_int_equal(evn_gguf_array(g, "test.number", EVN_GGUF_U32, &v, &err), EVN_ERR_FORMAT);
	assert_int_equal(evn_gguf_u32(g, "test.ids", &u, &err), EVN_ERR_FORMAT);
	assert_int_equal(evn_gguf_uniform_u32(g, "test.ids", &u, &err), EVN_ERR_FORMAT); /* -1 is no u32 */
	assert_int_equal(evn_gguf_uniform_u32(g, "test.words", &u, &err), EVN_ERR_FORMAT);
	assert_int_equal(evn_gguf_layer_u32(g, "test.words", 0, &u, &err), EVN_ERR_FORMAT);
	assert_int_equal(evn_gguf_layer_u32(g, "test.ids", 1000, &u, &err), EVN_ERR_FORMAT);
	assert_non_null(strstr(err.text, "expected one for layer 1000 too"));
	assert_int_equal(evn_gguf_u32(g, "absent", &u, &err), EVN_OK);
	assert_int_equal(evn_gguf_layer_u32(g, "absent", 3, &u, &err), EVN_OK);
	assert_int_equal(u, 9);
	evn_gguf_free(g);
	gguf_writer_free(&w);
}

static void values_are_described_safely(void **state)
{
	(void)state;
	gguf_writer w = {0};
	put_header(&w, 3, 0, 4);
	put_string(&w, "a", "x\x1b[2J\n\xc3\xa9\xff\xc3");
	put_array(&w, "b", EVN_GGUF_U8, 10);
	put_le(&w, 0x0706050403020100, 8);
	put_le(&w, 0x0908, 2);
	put_array(&w, "c", EVN_GGUF_BOOL, 1);
	put_le(&w, 1, 1);
	put_f32(&w, "d", -0.5f);
	static const char *const expected[] = {"\"x\\x1b[2J\\n\xc3\xa9\\xff\\xc3\"", "[0, 1, 2, 3, 4, 5, 6, 7, ...] (10)",
										   "[true] (1)", "-0.5"};
	evn_gguf *g = NULL;
	assert_int_equal(evn_gguf_parse(&g, "test.gguf", w.data, w.size, NULL), EVN_OK);
	for (uint32_t i = 0; i < 4; i++) {
		char text[64];
		evn_gguf_describe(evn_gguf_value_at(g, i), text, sizeof text);
		assert_string_equal(text, expected[i]);
		for (size_t size = 0; size < 40; size++) { /* never beyond the buffer, and no half character */
			char *exact = malloc(size ? size : 1);
			evn_gguf_describe(evn_gguf_value_at(g, i), exact, size);
			assert_true(size == 0 || strlen(exact) < size);
			assert_true(size == 0 || exact[strlen(exact) - (strlen(exact) > 0)] != '\xc3');
			free(exact);
		}
	}
	assert_string_equal(evn_gguf_value_type(evn_gguf_value_at(g, 1)), "u8[]");
	evn_gguf_free(g);
	gguf_writer_free(&w);
}

/* ---- bad files: one place of the small file overwritten -------------------------------------------------------- */

/* The place: `delta` bytes from the beginning of the text `anchor` in the file ("GGUF" is byte 0). */
static const struct {
	const char *class_name, *anchor;
	int delta;
	size_t width;
	uint64_t value;
	evn_status status;
	const char *text;
} hostile[] = {
	{"magic", "GGUF", 0, 1, 'g', EVN_ERR_FORMAT, "magic number is 67 47 55 46, expected \"GGUF\" at byte 0"},
	{"version 0", "GGUF", 4, 4, 0, EVN_ERR_UNSUPPORTED, "GGUF version is 0"},
	{"version 1", "GGUF", 4, 4, 1, EVN_ERR_UNSUPPORTED, "GGUF version is 1"},
	{"version 4", "GGUF", 4, 4, 4, EVN_ERR_UNSUPPORTED, "GGUF version is 4"},
	{"big-endian", "GGUF", 4, 4, 0x03000000, EVN_ERR_UNSUPPORTED, "big-endian"},
	{"tensor count wraps", "GGUF", 8, 8, UINT64_MAX, EVN_ERR_FORMAT, "tensor count is 18446744073709551615"},
	{"tensor count wraps when multiplied", "GGUF", 8, 8, UINT64_MAX / 88, EVN_ERR_FORMAT, "the tensor count"},
	{"one tensor too many", "GGUF", 8, 8, 3, EVN_ERR_FORMAT, "the name of tensor 2"},
	{"key count wraps", "GGUF", 16, 8, UINT64_MAX, EVN_ERR_FORMAT, "metadata count is 18446744073709551615"},
	{"one key too many", "GGUF", 16, 8, 8, EVN_ERR_FORMAT, "the name of tensor 0"},
	{"key length wraps", "test.number", -8, 8, UINT64_MAX, EVN_ERR_FORMAT, "the key of metadata entry 1"},
	{"key longer than the file", "test.number", -8, 8, 1 << 20, EVN_ERR_FORMAT, "file ends inside the key"},
	{"empty key", "test.number", -8, 8, 0, EVN_ERR_FORMAT, "is 0 bytes long"},
	{"key with a NUL", "test.number", 3, 1, 0, EVN_ERR_FORMAT, "holds byte 0x00"},
	{"key with a terminal escape", "test.number", 3, 1, 0x1b, EVN_ERR_FORMAT, "holds byte 0x1b"},
	{"value of an unknown type", "test.number", 11, 4, 13, EVN_ERR_FORMAT, "\"test.number\" is type 13"},
	{"value type wraps", "test.number", 11, 4, UINT32_MAX, EVN_ERR_FORMAT, "is type 4294967295"},
	{"bool of 2", "test.flag", 13, 1, 2, EVN_ERR_FORMAT, "\"test.flag\" is 2, expected a bool"},
	{"array of bools with a 7", "test.flags", 26, 2, 0x0701, EVN_ERR_FORMAT, "\"test.flags\" is 7, expected a bool"},
	{"string length wraps", "llama", -8, 8, UINT64_MAX - 7, EVN_ERR_FORMAT,
	 "file ends inside \"general.architecture\""},
	{"string beyond the end", "llama", -8, 8, 1 << 16, EVN_ERR_FORMAT, "file ends inside \"general.architecture\""},
	{"array element of an unknown type", "test.ids", 12, 4, 99, EVN_ERR_FORMAT, "\"test.ids\" is type 99"},
	{"array of arrays", "test.ids", 12, 4, 9, EVN_ERR_UNSUPPORTED, "array of arrays"},
	{"array count wraps when multiplied", "test.ids", 16, 8, 1ull << 62, EVN_ERR_FORMAT,
	 "file ends inside \"test.ids\""},
	{"array beyond the end", "test.ids", 16, 8, 1 << 20, EVN_ERR_FORMAT, "file ends inside \"test.ids\""},
	{"i32 array read as u64", "test.ids", 12, 4, 10, EVN_ERR_FORMAT, "the key of metadata entry 6"},
	{"i32 array read as strings", "test.ids", 12, 4, 8, EVN_ERR_FORMAT, "file ends inside \"test.ids\""},
	{"string count wraps", "test.words", 18, 8, UINT64_MAX, EVN_ERR_FORMAT, "claims 18446744073709551615 strings"},
	{"string count wraps when multiplied", "test.words", 18, 8, 1ull << 60, EVN_ERR_FORMAT, "claims"},
	{"alignment 0", "general.alignment", 21, 4, 0, EVN_ERR_FORMAT, "general.alignment is 0, expected a power of two"},
	{"alignment 48", "general.alignment", 21, 4, 48, EVN_ERR_FORMAT, "general.alignment is 48"},
	{"alignment 4", "general.alignment", 21, 4, 4, EVN_ERR_FORMAT, "general.alignment is 4,"},
	{"alignment 2^31", "general.alignment", 21, 4, 1u << 31, EVN_ERR_FORMAT, "general.alignment is 2147483648"},
	{"alignment as a float", "general.alignment", 17, 4, EVN_GGUF_F32, EVN_ERR_FORMAT,
	 "is of type f32, expected u32"},
	{"alignment larger than the gaps", "general.alignment", 21, 4, 4096, EVN_ERR_FORMAT, "not a multiple of 4096"},
	{"empty tensor name", "blocks", -8, 8, 0, EVN_ERR_FORMAT, "the name of tensor 0 is 0 bytes long"},
	{"tensor name of 65 bytes", "blocks", -8, 8, 65, EVN_ERR_FORMAT, "is 65 bytes long, expected 1 to 64"},
	{"no dimensions", "blocks", 6, 4, 0, EVN_ERR_FORMAT, "tensor \"blocks\" has 0 dimensions, expected 1 to 4"},
	{"nine dimensions", "blocks", 6, 4, 9, EVN_ERR_FORMAT, "has 9 dimensions"},
	{"dimension of 0", "blocks", 18, 8, 0, EVN_ERR_FORMAT, "has 0 elements in dimension 1"},
	{"dimension wraps", "blocks", 18, 8, 1ull << 59, EVN_ERR_FORMAT, "more elements than 64 bits can count"},
	{"elements above 2^63", "floats", 10, 8, UINT64_MAX, EVN_ERR_FORMAT, "more elements than 64 bits can count"},
	{"bytes wrap", "floats", 10, 8, 1ull << 62, EVN_ERR_FORMAT, "more elements than 64 bits can count"},
	{"row of half a block", "blocks", 10, 8, 16, EVN_ERR_FORMAT, "rows of 16 elements, Q4_0 needs a multiple of 32"},
	{"unknown tensor type", "blocks", 26, 4, 77, EVN_ERR_UNSUPPORTED, "\"blocks\" has type 77 (unknown)"},
	{"tensor type that is not read", "blocks", 26, 4, 29, EVN_ERR_UNSUPPORTED, "has type 29 (IQ1_M)"},
	{"removed tensor type", "blocks", 26, 4, 4, EVN_ERR_UNSUPPORTED, "has type 4 (unknown)"},
	{"offset wraps", "floats", 22, 8, UINT64_MAX - 31, EVN_ERR_FORMAT, "tensor \"floats\" needs 12 bytes"},
	{"offset beyond the end", "floats", 22, 8, 1 << 20, EVN_ERR_FORMAT, "tensor \"floats\" needs 12 bytes"},
	{"offset off the grid", "floats", 22, 8, 60, EVN_ERR_FORMAT, "begins at data offset 60, not a multiple of 32"},
	{"tensors that overlap", "floats", 22, 8, 32, EVN_ERR_FORMAT, "tensors \"blocks\" and \"floats\" overlap"},
	{"tensors in one place", "floats", 22, 8, 0, EVN_ERR_FORMAT, "overlap"},
	{"one row too many", "blocks", 18, 8, 1000, EVN_ERR_FORMAT, "tensor \"blocks\" needs 18000 bytes"},
};

static size_t find_anchor(const gguf_writer *w, const char *anchor)
{
	const size_t n = strlen(anchor);
	for (size_t i = 0; i + n <= w->size; i++)
		if (!memcmp(w->data + i, anchor, n))
			return i;
	fail_msg("%s is not in the file", anchor);
	return 0;
}

static void expect_error(const gguf_writer *w, const char *class_name, evn_status status, const char *text)
{
	evn_gguf *g = NULL;
	uint8_t *copy;
	evn_error err = {0};
	evn_status s = parse_exactly(w->data, w->size, &g, &copy, &err);
	if (s != status)
		fail_msg("%s: %s (%s), expected %s", class_name, evn_status_name(s), err.text, evn_status_name(status));
	if (s == EVN_OK) {
		evn_gguf_free(g);
		free(copy);
		return;
	}
	if (!strstr(err.text, text) || strncmp(err.text, "test.gguf: ", 11) || !strstr(err.text, "at byte "))
		fail_msg("%s: \"%s\", expected \"%s\"", class_name, err.text, text);
}

static void every_class_of_bad_file_is_refused(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof hostile / sizeof *hostile; i++) {
		gguf_writer w = small_file(3, 32);
		size_t at = (size_t)((long)find_anchor(&w, hostile[i].anchor) + hostile[i].delta);
		for (size_t b = 0; b < hostile[i].width; b++)
			w.data[at + b] = (uint8_t)(hostile[i].value >> 8 * b);
		expect_error(&w, hostile[i].class_name, hostile[i].status, hostile[i].text);
		gguf_writer_free(&w);
	}
}

static void duplicates_are_refused(void **state)
{
	(void)state;
	gguf_writer w = {0};
	put_header(&w, 3, 0, 3);
	put_u32(&w, "twice", 1);
	put_u32(&w, "once", 2);
	put_u32(&w, "twice", 1);
	expect_error(&w, "key", EVN_ERR_FORMAT, "metadata key \"twice\" appears twice");
	gguf_writer_free(&w);
	put_header(&w, 3, 2, 0);
	put_tensor(&w, "same", 0, 1, (uint64_t[]){8}, 0);
	put_tensor(&w, "same", 0, 1, (uint64_t[]){8}, 32);
	put_data(&w, 32, 64);
	expect_error(&w, "tensor", EVN_ERR_FORMAT, "tensor name \"same\" appears twice");
	gguf_writer_free(&w);
}

static void stated_limits_hold(void **state)
{
	(void)state;
	gguf_writer w = {0};
	put_header(&w, 3, 0, 65537);
	put_data(&w, 1, 65537 * 14);
	expect_error(&w, "too many keys", EVN_ERR_LIMIT, "the metadata count is 65537, evener reads at most 65536");
	gguf_writer_free(&w);
}

/* ---- sweeps ---------------------------------------------------------------------------------------------------- */

static void every_truncation_is_refused(void **state)
{
	(void)state;
	gguf_writer w = small_file(3, 32);
	for (size_t size = 0; size < w.size; size++) {
		evn_gguf *g = NULL;
		uint8_t *copy;
		evn_error err = {0};
		evn_status s = parse_exactly(w.data, size, &g, &copy, &err);
		if (s != EVN_ERR_FORMAT || !strstr(err.text, "at byte "))
			fail_msg("%zu of %zu bytes: %s (%s)", size, w.size, evn_status_name(s), err.text);
	}
	gguf_writer_free(&w);
}

/* A flipped byte may give another good file, but never a crash. An accepted file can be read. */
static void every_flip_of_a_header_byte_is_survived(void **state)
{
	(void)state;
	gguf_writer w = small_file(3, 32);
	const size_t header = w.size - 76;
	size_t refused = 0;
	for (size_t i = 0; i < header; i++)
		for (int flip = 1; flip < 256; flip++) {
			evn_gguf *g = NULL;
			uint8_t *copy;
			evn_error err = {0};
			w.data[i] ^= (uint8_t)flip;
			if (parse_exactly(w.data, w.size, &g, &copy, &err) == EVN_OK) {
				walk(g);
				evn_gguf_free(g);
				free(copy);
			} else {
				assert_int_equal(strncmp(err.text, "test.gguf: ", 11), 0);
				refused++;
			}
			w.data[i] ^= (uint8_t)flip;
		}
	assert_true(refused > header * 255 / 3); /* most bytes are lengths, types and counts */
	gguf_writer_free(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(both_versions_are_read),
		cmocka_unit_test(the_alignment_is_followed),
		cmocka_unit_test(a_vocabulary_alone_is_a_file),
		cmocka_unit_test(every_name_is_found_among_many),
		cmocka_unit_test(values_are_converted_where_they_fit),
		cmocka_unit_test(arrays_are_read_as_what_they_are),
		cmocka_unit_test(values_are_described_safely),
		cmocka_unit_test(every_class_of_bad_file_is_refused),
		cmocka_unit_test(duplicates_are_refused),
		cmocka_unit_test(stated_limits_hold),
		cmocka_unit_test(every_truncation_is_refused),
		cmocka_unit_test(every_flip_of_a_header_byte_is_survived),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
