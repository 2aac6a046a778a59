/* saved.c - conversations in files: FILE has the messages, FILE.keys the keys and values. The checksum is over the
 * rest of the object, written compactly with sorted keys. */
#include "cli/chat/conversation.h"
#include "base/base.h"
#include "cli/show/console.h"
#include "cli/show/json.h"
#include "cli/show/text.h"
#include "evener/inspect.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define FORMAT "evener conversation 1"
#define MAX_BYTES (256u << 20)

static json_t *hexadecimal(uint64_t key)
{
	char text[32];
	snprintf(text, sizeof text, "%016" PRIx64, key);
	return json_string(text);
}

static evn_status checksum(const json_t *object, json_t **out, evn_error *err)
{
	char *text = json_dumps(object, JSON_COMPACT | JSON_SORT_KEYS);
	*out = text ? hexadecimal(evn_hash_str(EVN_HASH_START, text)) : NULL;
	free(text);
	return *out ? EVN_OK : evn_fail_memory(err, "the conversation", 0);
}

static evn_status write_object(const json_t *object, const char *path, evn_error *err)
{
	char *text = json_dumps(object, JSON_INDENT(1));
	if (!text)
		return evn_fail_memory(err, "the conversation", 0);
	evn_status status = evn_write_file(path, text, strlen(text), err);
	free(text);
	return status;
}

static char *keys_path(const char *path) { return evn_format("%s.keys", path); }

/* Without ids, if the cache has forgotten them all, or if several nodes have them, there is no such file. */
static evn_status save_keys(const conversation *c, const char *path, evn_error *err)
{
	size_t n = 0;
	char *keys = keys_path(path);
	evn_status status = keys ? EVN_OK : evn_fail_memory(err, "the conversation", 0);
	if (status == EVN_OK)
		status = evn_scheduler_save(c->loaded->scheduler, c->ids, c->n_ids, keys, &n, err);
	if (status == EVN_ERR_UNSUPPORTED)
		status = EVN_OK;
	if (status == EVN_OK && n == 0)
		remove(keys);
	free(keys);
	return status;
}

evn_status conversation_save(const conversation *c, const char *path, evn_error *err)
{
	uint64_t model;
	json_t *sum = NULL;
	evn_status status = evn_model_identity(c->loaded->model, &model, err);
	if (status != EVN_OK)
		return status;
	json_t *object =
		json_pack("{s:s, s:o, s:o, s:O, s:o}", "format", FORMAT, "model", hexadecimal(model), "model_name",
				  json_text(c->loaded->info.name), "messages", c->messages, "ids", json_ids(c->ids, c->n_ids));
	status = object ? checksum(object, &sum, err) : evn_fail_memory(err, "the conversation", 0);
	if (status == EVN_OK && json_object_set_new(object, "checksum", sum) != 0)
		status = evn_fail_memory(err, "the conversation", 0);
	if (status == EVN_OK)
		status = write_object(object, path, err);
	json_decref(object);
	return status == EVN_OK ? save_keys(c, path, err) : status;
}

/* Removes the checksum from the object and compares it with that of the rest. */
static evn_status check_sum(json_t *object, const char *path, evn_error *err)
{
	json_t *found = json_incref(json_object_get(object, "checksum")), *expected = NULL;
	json_object_del(object, "checksum");
	evn_status status = checksum(object, &expected, err);
	if (status == EVN_OK && !json_equal(found, expected))
		status =
			evn_fail(err, EVN_ERR_FORMAT, "%s: the file was changed or is damaged: its checksum is %s, expected %s",
					 path, json_is_string(found) ? json_string_value(found) : "missing", json_string_value(expected));
	json_decref(found);
	json_decref(expected);
	return status;
}

static evn_status check_object(json_t *object, const char *path, evn_error *err)
{
	const char *format = json_string_value(json_object_get(object, "format"));
	const json_t *messages = json_object_get(object, "messages");
	if (!format || strcmp(format, FORMAT) != 0)
		return evn_fail(err, EVN_ERR_FORMAT, "%s: not a conversation: expected an object with the format \"%s\"",
						path, FORMAT);
	evn_status status = check_sum(object, path, err);
	bool good = json_is_array(messages);
	for (size_t i = 0; good && i < json_array_size(messages); i++) {
		const json_t *message = json_array_get(messages, i);
		good =
			json_is_string(json_object_get(message, "role")) && json_is_string(json_object_get(message, "content"));
	}
	if (status == EVN_OK && !good)
		status = evn_fail(err, EVN_ERR_FORMAT, "%s: messages: expected objects with a role and a content", path);
	return status;
}

static evn_status read_object(json_t **out, const char *path, evn_error *err)
{
	json_error_t trouble;
	char *text;
	size_t n;
	evn_status status = text_read(&text, &n, path, MAX_BYTES, err);
	if (status != EVN_OK)
		return status;
	*out = json_loadb(text, n, 0, &trouble);
	free(text);
	return *out ? EVN_OK
				: evn_fail(err, EVN_ERR_FORMAT, "%s: line %d: not JSON: %s", path, trouble.line, trouble.text);
}

/* The keys and values save time only, so the conversation goes on without them. */
static void load_keys(conversation *c, const char *path)
{
	evn_error why = {0};
	size_t n;
	char *keys = keys_path(path);
	if (keys && access(keys, F_OK) == 0 && evn_scheduler_load(c->loaded->scheduler, keys, &n, &why) != EVN_OK)
		console_note("%s; the next turn computes them again", why.text);
	free(keys);
}

evn_status conversation_load(conversation *c, const char *path, bool *same_model, evn_error *err)
{
	uint64_t model;
	json_t *object = NULL;
	evn_status status = evn_model_identity(c->loaded->model, &model, err);
	if (status == EVN_OK)
		status = read_object(&object, path, err);
	if (status == EVN_OK)
		status = check_object(object, path, err);
	if (status == EVN_OK) {
		conversation_reset(c);
		json_t *own = hexadecimal(model);
		*same_model = json_equal(own, json_object_get(object, "model"));
		json_decref(own);
		json_decref(c->messages);
		c->messages = json_incref(json_object_get(object, "messages"));
		c->n_ids = 0;
		load_keys(c, path);
	}
	json_decref(object);
	return status;
}
