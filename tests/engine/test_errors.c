/* test_errors.c - what an engine refuses to open, and the one line that it reports. The broken models are tiny
 * ones of EVENER_TEST_CASES (decoder_cases.py) with some bytes changed.
 *   test_errors [vendors]   only what needs devices of two platforms */
#include "engine/harness.h"

#include <math.h>

static char llama_file[512], qwen2_file[512], gpt2_file[512], patched_file[64];

/* ---- a model with some bytes changed --------------------------------------------------------------------------- */

static uint8_t *read_file(const char *path, size_t *size)
{
	FILE *f = fopen(path, "rb");
	assert_non_null(f);
	struct stat st;
	assert_int_equal(fstat(fileno(f), &st), 0);
	*size = (size_t)st.st_size;
	uint8_t *bytes = malloc(*size);
	assert_non_null(bytes);
	assert_int_equal(fread(bytes, 1, *size, f), *size);
	fclose(f);
	return bytes;
}

static void write_patched(const uint8_t *bytes, size_t size)
{
	FILE *f = fopen(patched_file, "wb");
	assert_non_null(f);
	assert_int_equal(fwrite(bytes, 1, size, f), size);
	assert_int_equal(fclose(f), 0);
}

/* Replaces every `from` by `to`, which has the same length. */
static void patch_text(const char *path, const char *from, const char *to)
{
	size_t size, n = 0, length = strlen(from);
	uint8_t *bytes = read_file(path, &size);
	assert_int_equal(strlen(to), length);
	for (uint8_t *at = bytes; (at = memmem(at, size - (size_t)(at - bytes), from, length)); at += length, n++)
		memcpy(at, to, length);
	assert_true(n > 0);
	write_patched(bytes, size);
	free(bytes);
}

/* Swaps the two dimensions of a tensor: the same number of bytes, another shape. */
static void swap_dimensions(const char *path, const char *tensor)
{
	size_t size;
	uint8_t *bytes = read_file(path, &size), first[8];
	uint8_t *at = memmem(bytes, size, tensor, strlen(tensor));
	assert_non_null(at);
	at += strlen(tensor) + sizeof(uint32_t);
	memcpy(first, at, 8);
	memcpy(at, at + 8, 8);
	memcpy(at + 8, first, 8);
	write_patched(bytes, size);
	free(bytes);
}

/* ---- one clear line -------------------------------------------------------------------------------------------- */

/* Opening the engine fails with this status and a line that contains the parts. */
static void assert_refused(const char *path, const engine_setup *w, evn_status status, const char *part,
						   const char *other)
{
	evn_error err = {0};
	evn_model *m;
	evn_engine *e = (evn_engine *)&err;
	require_ok(evn_model_open(&m, path, &err));
	evn_status got = open_engine(&e, m, w, &err);
	print_message("%s: %s\n", evn_status_name(got), err.text);
	assert_int_equal(got, status);
	assert_int_equal(err.code, status);
	assert_null(e);
	assert_null(strchr(err.text, '\n'));
	if (!strstr(err.text, part) || !strstr(err.text, other))
		fail_msg("\"%s\" and \"%s\" expected in: %s", part, other, err.text);
	evn_model_close(m);
}

static const engine_setup one = {.devices = "pocl", .context = 64};
static const engine_setup two = {.devices = "pocl,pocl", .context = 64};

static void test_architecture(void **at)
{
	(void)at;
	patch_text(llama_file, "llama", "lamma");
	assert_refused(
		patched_file, &one, EVN_ERR_UNSUPPORTED, "architecture \"lamma\"",
		"llama, gpt-oss, qwen2, qwen2moe, qwen3, qwen3moe, qwen2vl, qwen3vl, mistral3, phi3, smollm3, granite, "
		"olmo2, gemma2, gemma3, gemma4, gpt2, simple-lm, bert, nomic-bert, qwen35, qwen35moe, deepseek2, t5");
}

static void test_missing_tensors(void **at)
{
	static const char *const pairs[][2] = {
		{"blk.1.ffn_down.weight", "blk.1.ffn_dowm.weight"},   {"blk.0.attn_q.weight", "blk.0.attn_p.weight"},
		{"blk.1.attn_norm.weight", "blk.1.attn_morn.weight"}, {"blk.0.ffn_norm.weight", "blk.0.ffn_morn.weight"},
		{"output_norm.weight", "output_morn.weight"},
	};
	(void)at;
	for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++) {
		patch_text(llama_file, pairs[i][0], pairs[i][1]);
		assert_refused(patched_file, &two, EVN_ERR_FORMAT, pairs[i][0], "is missing");
	}
	patch_text(qwen2_file, "blk.1.attn_v.bias", "blk.1.attn_w.bias");
	assert_refused(patched_file, &two, EVN_ERR_FORMAT, "blk.1.attn_v.bias", "missing");
}

static void test_gpt2(void **at)
{
	static const char *const pairs[][2] = {{"blk.1.attn_qkv.bias", "blk.1.attn_qkv.bios"},
										   {"blk.0.ffn_down.bias", "blk.0.ffn_down.bios"},
										   {"blk.0.attn_norm.bias", "blk.0.attn_norm.bios"},
										   {"output_norm.bias", "output_norm.bios"}};
	engine_setup w = one;
	(void)at;
	for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++) {
		patch_text(gpt2_file, pairs[i][0], pairs[i][1]);
		assert_refused(patched_file, &two, EVN_ERR_FORMAT, pairs[i][0], "is missing");
	}
	swap_dimensions(gpt2_file, "blk.0.attn_qkv.weight");
	assert_refused(patched_file, &one, EVN_ERR_FORMAT, "\"blk.0.attn_qkv.weight\" is [270, 90", "expected [90, 270]");
	w.context = 257;
	assert_refused(gpt2_file, &w, EVN_ERR_LIMIT, "257 tokens", "learned 256 positions");
}

/* A file with zero layers can be read, but no Llama model has so few. */
static void test_no_layers(void **at)
{
	static const char key[] = "llama.block_count";
	(void)at;
	size_t size;
	uint8_t *bytes = read_file(llama_file, &size);
	uint8_t *value = memmem(bytes, size, key, strlen(key));
	assert_non_null(value);
	memset(value + strlen(key) + sizeof(uint32_t), 0, sizeof(uint32_t)); /* after the type of the value */
	write_patched(bytes, size);
	free(bytes);
	assert_refused(patched_file, &one, EVN_ERR_FORMAT, "a llama model of 0 layers", "");
}

static void test_wrong_shapes(void **at)
{
	(void)at;
	swap_dimensions(llama_file, "blk.0.ffn_gate.weight");
	assert_refused(patched_file, &two, EVN_ERR_FORMAT, "\"blk.0.ffn_gate.weight\" is [100, 72", "expected [72, 100]");
	swap_dimensions(llama_file, "blk.1.ffn_down.weight");
	assert_refused(patched_file, &one, EVN_ERR_FORMAT, "\"blk.1.ffn_down.weight\" is [72, 100", "expected [100, 72]");
}

static void test_memory(void **at)
{
	engine_setup w = two;
	(void)at;
	w.memory_bytes = 1u << 20;
	assert_refused(llama_file, &w, EVN_ERR_LIMIT, "not enough device memory", "MiB");
	w = one;
	w.context = UINT32_MAX - 1;
	assert_refused(llama_file, &w, EVN_ERR_LIMIT, "not enough device memory", "GiB");
	w.context = 32768;
	w.memory_bytes = 60u << 20; /* the scratch memory fits, the cache beside it does not */
	assert_refused(llama_file, &w, EVN_ERR_LIMIT, "not enough device memory", "missing");
}

static void test_shares(void **at)
{
	engine_setup w = two;
	(void)at;
	w.shares = (double[]){0, 0};
	w.n_shares = 2;
	assert_refused(llama_file, &w, EVN_ERR_USAGE, "share", "0");
	w.n_shares = 1;
	assert_refused(llama_file, &w, EVN_ERR_USAGE, "shares: 1 given for 2 devices", "");
	w.shares = (double[]){1, 2, 3};
	w.n_shares = 3;
	assert_refused(llama_file, &w, EVN_ERR_USAGE, "shares: 3 given for 2 devices", "");
	w.shares = (double[]){1, NAN};
	w.n_shares = 2;
	assert_refused(llama_file, &w, EVN_ERR_USAGE, "share", "nan");
	w.shares = (double[]){1, INFINITY};
	assert_refused(llama_file, &w, EVN_ERR_USAGE, "share", "inf");
}

static void test_devices(void **at)
{
	engine_setup w = one;
	(void)at;
	w.devices = "no such device";
	assert_refused(llama_file, &w, EVN_ERR_USAGE, "no such device", "pocl");
	w.devices = "pocl/1+999";
	assert_refused(llama_file, &w, EVN_ERR_USAGE, "999", "");
	w.devices = "pocl,pocl,pocl,pocl,pocl,pocl,pocl,pocl/1+1";
	assert_refused(llama_file, &w, EVN_ERR_LIMIT, "8", "");
}

static bool stop_at(void *user, const char *what, uint64_t done, uint64_t total)
{
	(void)done, (void)total;
	return strncmp(what, user, strlen(user)) != 0;
}

/* Stops at the first call, which for such a small model is also the last. */
static void test_stopped(void **at)
{
	engine_setup w = two;
	(void)at;
	w.progress = stop_at;
	w.progress_user = (char[]){"loading"};
	assert_refused(llama_file, &w, EVN_ERR_CANCELLED, "stopped", "loading");
}

/* A failed open leaves nothing behind: the same process can continue. */
static void test_and_then_all_is_well(void **at)
{
	evn_error err = {0};
	(void)at;
	running r = start(llama_file, &two);
	require_ok(evn_session_eval(r.session, (int32_t[]){1, 2, 3}, 3, NULL, &err));
	assert_true(isfinite(evn_session_logits(r.session)[0]));
	stop(&r);
	evn_engine_close(NULL);
	evn_session_free(NULL);
	evn_model_close(NULL);
	evn_plan_free(NULL);
}

static void test_events_over_two_platforms(void **at)
{
	engine_setup w = {.devices = "pocl,intel", .context = 64, .reduce = EVN_REDUCE_EVENTS};
	(void)at;
	assert_refused(llama_file, &w, EVN_ERR_USAGE, "reduce: events", "platform");
}

static int make_name(void **at)
{
	(void)at;
	snprintf(patched_file, sizeof patched_file, "/tmp/evener-test-errors-XXXXXX");
	int fd = mkstemp(patched_file);
	return fd < 0 ? -1 : close(fd);
}

static int remove_patched(void **at)
{
	(void)at;
	return unlink(patched_file);
}

int main(int argc, char **argv)
{
	const char *folder = getenv("EVENER_TEST_CASES");
	bool vendors = argc > 1 && !strcmp(argv[1], "vendors");
	snprintf(llama_file, sizeof llama_file, "%s/f32-odd-sizes.gguf", folder ? folder : ".");
	snprintf(qwen2_file, sizeof qwen2_file, "%s/q4_1-qwen2.gguf", folder ? folder : ".");
	snprintf(gpt2_file, sizeof gpt2_file, "%s/gpt2-f32-odd-sizes.gguf", folder ? folder : ".");
	if (!file_exists(llama_file) || !file_exists(qwen2_file) || !file_exists(gpt2_file))
		return missing("EVENER_TEST_CASES names no folder of tiny models");
	if (!driver_exists("pocl") || (vendors && !driver_exists("intel")))
		return missing("a driver is not installed");
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_architecture), cmocka_unit_test(test_missing_tensors),
		cmocka_unit_test(test_gpt2),         cmocka_unit_test(test_no_layers),
		cmocka_unit_test(test_wrong_shapes), cmocka_unit_test(test_memory),
		cmocka_unit_test(test_shares),       cmocka_unit_test(test_devices),
		cmocka_unit_test(test_stopped),      cmocka_unit_test(test_and_then_all_is_well),
	};
	const struct CMUnitTest of_vendors[] = {cmocka_unit_test(test_events_over_two_platforms)};
	return vendors ? cmocka_run_group_tests(of_vendors, make_name, remove_patched)
				   : cmocka_run_group_tests(tests, make_name, remove_patched);
}
