/* saved.c - conversations in files. The checksum is over the rest of the object, written compactly with sorted keys.
 */
#include "cli/chat/conversation.h"
#include "base/base.h"
#include "cli/show/json.h"
#include "cli/show/text.h"
#include "evener/inspect.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

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
	return status;
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

evn_status conversation_load(conversation *c, const char *path, bool *same_model, evn_error *err)
{
	uint64_t model;
	json_t *object = NULL;
	evn_status status = evn_model_identity(c->loaded->model, &model, err);
	if (status == EVN_OK)
		status = read_object(&object, path, err);
	if (status == EVN_OK)
		status = check_object(object, path, err);
	if (status == EVN_OK)
		status = conversation_reset(c, err);
	if (status == EVN_OK) {
		json_t *own = hexadecimal(model);
		*same_model = json_equal(own, json_object_get(object, "model"));
		json_decref(own);
		json_decref(c->messages);
		c->messages = json_incref(json_object_get(object, "messages"));
	}
	json_decref(object);
	return status;
}
