/* test_draft.c - a draft model guesses for many requests at once: greedy and seeded texts are those without it, also
 * when the context of the draft model is full, and in any policy. An argument: the number of prompts. The draft model
 * is made of the first layers of the model. */
#include "engine/harness.h"

#include "base/base.h"
#include "engine/draft_model.h"
#include "evener/requests.h"
#include "evener/train.h"
#include "model/gguf_write.h"
#include "model/model.h"
#include "model/vocab.h"

#define CONTEXT 1024u
#define N_TOKENS 16u
#define MOST 50u
#define LAYERS 29u /* of 30: some guesses are right, some are not */

static const char *model_file;
static uint32_t n_prompts = 5;
static running model;
static evn_model *short_model;
static evn_engine *draft;

typedef struct {
	int32_t *ids, got[N_TOKENS], plain[N_TOKENS];
	size_t n_ids;
	uint32_t n_got, n_plain;
	evn_sample_options sampling;
	evn_request *request;
} text;

/* ---- the draft model ------------------------------------------------------------------------------------------- */

static bool is_kept(const char *name)
{
	unsigned layer;
	return sscanf(name, "blk.%u.", &layer) != 1 || layer < LAYERS;
}

static void copy_tensor(evn_gguf_writer *w, const evn_tensor *t)
{
	evn_error err = {0};
	uint8_t *scratch = malloc(t->size_bytes);
	const uint8_t *blocks;
	char name[128];
	snprintf(name, sizeof name, "%.*s", (int)t->name.length, t->name.text);
	assert_non_null(scratch);
	if (is_kept(name)) {
		require_ok(evn_tensor_bytes(t, 0, t->size_bytes, scratch, &blocks, &err));
		evn_gguf_put_tensor(w, name, t->quant, t->n_dims, t->shape, blocks);
	}
	free(scratch);
}

/* The first layers, and with `renamed` another text for one token. */
static evn_model *make_model(bool renamed)
{
	evn_error err = {0};
	evn_gguf_writer *w;
	evn_model *m;
	uint8_t *data;
	size_t size;
	const evn_gguf *g = evn_model_gguf(model.model);
	require_ok(evn_gguf_writer_create(&w, &err));
	for (uint32_t i = 0; i < evn_gguf_n_values(g); i++) {
		const evn_gguf_value *v = evn_gguf_value_at(g, i);
		if (evn_str_is(v->key, "llama.block_count"))
			evn_gguf_put_u32(w, "llama.block_count", LAYERS);
		else if (renamed && evn_str_is(v->key, "tokenizer.ggml.tokens")) {
			evn_vocab vocab;
			require_ok(evn_vocab_load(&vocab, g, &err));
			evn_str *texts = malloc(vocab.n * sizeof *texts);
			memcpy(texts, vocab.texts, vocab.n * sizeof *texts);
			texts[20000] = (evn_str){"abcxyz", 6};
			evn_gguf_put_strings(w, "tokenizer.ggml.tokens", texts, vocab.n);
			evn_vocab_clear(&vocab);
			free(texts);
		} else
			evn_gguf_put_value(w, v);
	}
	for (uint32_t i = 0; i < evn_gguf_n_tensors(g); i++)
		copy_tensor(w, evn_gguf_tensor_at(g, i));
	require_ok(evn_gguf_finish(w, &data, &size, &err));
	evn_gguf_writer_free(w);
	require_ok(evn_model_from_memory(&m, "short", data, size, &err));
	return m;
}

/* ---- texts ----------------------------------------------------------------------------------------------------- */

static void make_prompt(uint32_t i, char *out, size_t size)
{
	static const char *const forms[][2] = {{"Explain in two sentences what ", " is."},
										   {"Write a short story about ", "."},
										   {"List three facts: ", ", because"},
										   {"Question: who uses ", "?\nAnswer:"},
										   {"def count(", "):\n    return"}};
	static const char *const things[] = {"a bicycle", "the moon",  "bread",      "an engine", "the sea",
										 "music",     "a library", "the plough", "rain",      "a clock"};
	const size_t used = (size_t)snprintf(out, size, "%s%s%s", forms[i % 5][0], things[i / 5 % 10], forms[i % 5][1]);
	for (size_t at = used; i % 10 == 4 && at + used + 2 < size && at < 2200; at += used + 1) { /* a long one */
		out[at] = ' ';
		memcpy(out + at + 1, out, used);
		out[at + 1 + used] = 0;
	}
}

static bool on_token(void *user, const evn_request_token *t)
{
	text *x = user;
	assert_true(x->n_got < N_TOKENS);
	x->got[x->n_got++] = t->id;
	return true;
}

/* Two texts of each prompt: greedy, and seeded. */
static void make_texts(text *texts)
{
	for (uint32_t i = 0; i < 2 * n_prompts; i++) {
		char prompt[2600];
		evn_error err = {0};
		text *x = &texts[i];
		make_prompt(i / 2, prompt, sizeof prompt);
		require_ok(evn_tokenize(model.model, prompt, strlen(prompt), true, false, &x->ids, &x->n_ids, &err));
		x->sampling = evn_sample_defaults();
		x->sampling.temp = i % 2 ? 0.8f : 0;
		x->sampling.repeat_penalty = i % 8 == 3 ? 1.1f : 1;
		x->sampling.seed = i;
	}
}

static evn_scheduler_stats write_texts(text *texts, const evn_scheduler_options *o)
{
	evn_error err = {0};
	evn_scheduler *s;
	require_ok(evn_scheduler_create(&s, model.engine, o, &err));
	for (uint32_t i = 0; i < 2 * n_prompts; i++) {
		text *x = &texts[i];
		x->n_got = 0;
		const evn_request_options r = {.prompt = x->ids,
									   .n_prompt = x->n_ids,
									   .max_tokens = N_TOKENS,
									   .sampling = x->sampling,
									   .events = {.on_token = on_token, .user = x}};
		require_ok(evn_request_submit(&x->request, s, &r, &err));
	}
	for (uint32_t i = 0; i < 2 * n_prompts; i++) {
		const evn_request_result result = evn_request_wait(texts[i].request);
		if (result.end == EVN_END_FAILED)
			fail_msg("text %u: %s", i, result.error.text);
		evn_request_free(texts[i].request);
	}
	const evn_scheduler_stats stats = evn_scheduler_get_stats(s);
	evn_scheduler_free(s);
	return stats;
}

static void compare_texts(const text *texts, const char *policy)
{
	for (uint32_t i = 0; i < 2 * n_prompts; i++) {
		if (texts[i].n_got != texts[i].n_plain)
			fail_msg("%s, text %u: %u ids, plain %u", policy, i, texts[i].n_got, texts[i].n_plain);
		for (uint32_t k = 0; k < texts[i].n_got; k++)
			if (texts[i].got[k] != texts[i].plain[k])
				fail_msg("%s, text %u: id %u is %d, plain %d", policy, i, k, texts[i].got[k], texts[i].plain[k]);
	}
}

static void test_texts(void **state)
{
	(void)state;
	text *texts = calloc(2 * n_prompts, sizeof *texts);
	assert_non_null(texts);
	make_texts(texts);
	write_texts(texts, &(evn_scheduler_options){.speculate = EVN_SPECULATE_OFF});
	for (uint32_t i = 0; i < 2 * n_prompts; i++) {
		memcpy(texts[i].plain, texts[i].got, sizeof texts[i].got);
		texts[i].n_plain = texts[i].n_got;
	}
	/* few at a time: the drafts of many find no room in a step, or in the draft model's cache */
	evn_scheduler_stats s = write_texts(
		texts, &(evn_scheduler_options){.speculate = EVN_SPECULATE_DRAFT, .draft = draft, .max_running = 3});
	compare_texts(texts, "draft");
	print_message("%llu of %llu drafts were right\n", (unsigned long long)s.accepted, (unsigned long long)s.drafted);
	assert_true(s.accepted > s.tokens / 10 && s.accepted < s.drafted);
	write_texts(texts, &(evn_scheduler_options){.speculate = EVN_SPECULATE_DRAFT, .draft = draft});
	compare_texts(texts, "draft, all at once");
	write_texts(texts, &(evn_scheduler_options){.speculate = EVN_SPECULATE_AUTO, .draft = draft, .max_running = 1});
	compare_texts(texts, "auto");
	assert_int_equal(draft->pool.n_free, draft->pool.n_blocks); /* nothing is left of them */
	for (uint32_t i = 0; i < 2 * n_prompts; i++)
		free(texts[i].ids);
	free(texts);
}

/* ---- other models ---------------------------------------------------------------------------------------------- */

static void refuse(const evn_model *m, const char *say)
{
	evn_error err = {0};
	evn_engine *e;
	assert_int_equal(evn_engine_open_draft(&e, m, model.engine, &(evn_options){.context = 64}, &err),
					 EVN_ERR_UNSUPPORTED);
	assert_null(e);
	if (!strstr(err.text, say))
		fail_msg("%s: does not say \"%s\"", err.text, say);
}

static void test_other_vocabulary(void **state)
{
	(void)state;
	evn_error err = {0};
	evn_model *renamed = make_model(true), *small;
	refuse(renamed, "another vocabulary: token 20000 is 'abcxyz', expected '");
	require_ok(evn_model_create(&small,
								&(evn_model_spec){.architecture = "llama",
												  .vocab = 300,
												  .dim = 64,
												  .context = 64,
												  .n_layers = 1,
												  .n_heads = 1,
												  .ff_dim = 64},
								&err));
	refuse(small, "another vocabulary: 300 tokens, expected 49152");
	evn_model_close(small);
	evn_model_close(renamed);
}

static void test_place(void **state)
{
	(void)state;
	evn_error err = {0};
	evn_plan *plan;
	evn_engine_event event;
	const evn_device_rule pocl = {.match = "pocl", .share = EVN_SHARE_AUTO};
	require_ok(
		evn_plan_draft(&plan, short_model, &(evn_options){.devices = &pocl, .n_devices = 1, .context = 64}, &err));
	assert_int_equal(evn_plan_get(plan)->n_ranks, 1);
	evn_plan_free(plan);
	assert_int_equal(evn_engine_events(model.engine, &event, 1), 1);
	if (!strstr(event.text, "predicted to be fastest") || !strstr(event.text, "their steps alternate"))
		fail_msg("%s", event.text);
}

int main(int argc, char **argv)
{
	evn_error err = {0};
	model_file = getenv("EVENER_TEST_MODEL");
	if (!file_exists(model_file))
		return missing("EVENER_TEST_MODEL is not set");
	if (!driver_exists("pocl"))
		return missing("PoCL has no device here");
	if (argc > 1)
		n_prompts = (uint32_t)atoi(argv[1]) % (MOST + 1);
	const engine_setup setup = {.devices = "pocl", .context = CONTEXT, .batch = 256};
	model = start(model_file, &setup);
	evn_session_free(model.session);
	short_model = make_model(false);
	const evn_device_rule pocl = {.match = "pocl", .share = EVN_SHARE_AUTO};
	const evn_options o = {.devices = &pocl, .n_devices = 1, .context = CONTEXT, .activations = EVN_ACTIVATIONS_F32};
	require_ok(evn_engine_open_draft(&draft, short_model, model.engine, &o, &err));
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_place), cmocka_unit_test(test_texts),
									   cmocka_unit_test(test_other_vocabulary)};
	const int failed = cmocka_run_group_tests(tests, NULL, NULL);
	evn_engine_close(draft);
	evn_model_close(short_model);
	evn_engine_close(model.engine);
	evn_model_close(model.model);
	return failed;
}
