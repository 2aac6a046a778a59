/* messages.c - see messages.h. */
#include "chat/messages.h"

#include <stdlib.h>
#include <string.h>

evn_status evn_json_read(json_t **out, const char *what, const char *text, json_type type, evn_error *err)
{
	json_error_t trouble;
	*out = json_loads(text, 0, &trouble);
	if (!*out)
		return evn_fail(err, json_error_code(&trouble) == json_error_out_of_memory ? EVN_ERR_MEMORY : EVN_ERR_USAGE,
						"%s: not JSON: line %d, column %d: %s", what, trouble.line, trouble.column, trouble.text);
	if (json_typeof(*out) == type)
		return EVN_OK;
	json_decref(*out);
	*out = NULL;
	return evn_fail(err, EVN_ERR_USAGE, "%s: expected an %s", what, type == JSON_ARRAY ? "array" : "object");
}

static evn_status set(json_t *object, const char *key, json_t *value, evn_error *err)
{
	return json_object_set_new(object, key, value) == 0 ? EVN_OK : evn_fail_memory(err, "messages", 0);
}

/* The text of all parts, a JSON string. */
static evn_status join_parts(json_t **out, const json_t *parts, size_t place, evn_error *err)
{
	size_t bytes = 1, n = 0;
	for (size_t i = 0; i < json_array_size(parts); i++) {
		const json_t *part = json_array_get(parts, i), *type = json_object_get(part, "type");
		const json_t *text = json_object_get(part, "text");
		if (!json_is_string(type) || strcmp(json_string_value(type), "text") != 0 || !json_is_string(text))
			return evn_fail(
				err, EVN_ERR_USAGE,
				"messages[%zu]: part %zu of the content: expected {\"type\": \"text\", \"text\": \"...\"}", place, i);
		bytes += json_string_length(text) + 1;
	}
	char *joined = malloc(bytes);
	if (!joined)
		return evn_fail_memory(err, "messages", bytes);
	for (size_t i = 0; i < json_array_size(parts); i++) {
		const json_t *text = json_object_get(json_array_get(parts, i), "text");
		if (i > 0)
			joined[n++] = '\n';
		memcpy(joined + n, json_string_value(text), json_string_length(text));
		n += json_string_length(text);
	}
	*out = json_stringn(joined, n);
	free(joined);
	return *out ? EVN_OK : evn_fail_memory(err, "messages", bytes);
}

static evn_status check_content(json_t *message, size_t place, evn_error *err)
{
	json_t *content = json_object_get(message, "content"), *joined;
	if (json_is_string(content))
		return EVN_OK;
	if (!content || json_is_null(content))
		return set(message, "content", json_string(""), err);
	if (!json_is_array(content))
		return evn_fail(err, EVN_ERR_USAGE, "messages[%zu]: content: expected a string or an array of parts", place);
	EVN_TRY(join_parts(&joined, content, place, err));
	return set(message, "content", joined, err);
}

static evn_status parse_arguments(json_t *message, size_t *n_parsed, evn_error *err)
{
	json_t *calls = json_object_get(message, "tool_calls");
	for (size_t i = 0; i < json_array_size(calls); i++) {
		json_t *function = json_object_get(json_array_get(calls, i), "function");
		const json_t *arguments = json_object_get(function, "arguments");
		json_t *parsed = json_is_string(arguments) ? json_loads(json_string_value(arguments), 0, NULL) : NULL;
		if (!json_is_object(parsed)) {
			json_decref(parsed);
			continue;
		}
		EVN_TRY(set(function, "arguments", parsed, err));
		++*n_parsed;
	}
	return EVN_OK;
}

static evn_status check_message(json_t *message, size_t place, evn_error *err)
{
	const json_t *role = json_object_get(message, "role");
	if (!json_is_object(message))
		return evn_fail(err, EVN_ERR_USAGE, "messages[%zu]: expected an object", place);
	if (!json_is_string(role) || json_string_length(role) == 0)
		return evn_fail(err, EVN_ERR_USAGE, "messages[%zu]: no role", place);
	return check_content(message, place, err);
}

evn_status evn_messages_read(json_t **out, const char *text, bool keep_arguments, size_t *n_parsed, evn_error *err)
{
	*n_parsed = 0;
	EVN_TRY(evn_json_read(out, "messages", text, JSON_ARRAY, err));
	evn_status status = json_array_size(*out) > 0 ? EVN_OK : evn_fail(err, EVN_ERR_USAGE, "messages: there are none");
	for (size_t i = 0; i < json_array_size(*out) && status == EVN_OK; i++) {
		status = check_message(json_array_get(*out, i), i, err);
		if (status == EVN_OK && !keep_arguments)
			status = parse_arguments(json_array_get(*out, i), n_parsed, err);
	}
	if (status != EVN_OK) {
		json_decref(*out);
		*out = NULL;
	}
	return status;
}
