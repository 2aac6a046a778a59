#include "model/json_file.h"

#include <stdlib.h>
#include <unistd.h>

static evn_status read_object(json_t **out, const char *path, size_t limit, evn_error *err)
{
	char *text;
	size_t size;
	json_error_t problem;
	EVN_TRY(evn_read_file(&text, &size, path, limit, err));
	*out = json_loadb(text, size, JSON_REJECT_DUPLICATES, &problem);
	free(text);
	if (json_is_object(*out))
		return EVN_OK;
	const evn_status s = *out ? evn_fail(err, EVN_ERR_FORMAT, "%s: expected a JSON object", path)
							  : evn_fail(err, EVN_ERR_FORMAT, "%s: line %d: %s", path, problem.line, problem.text);
	json_decref(*out);
	*out = NULL;
	return s;
}

evn_status evn_json_open(json_t **out, const char *folder, const char *name, size_t limit, evn_error *err)
{
	char *path = evn_format("%s/%s", folder, name);
	*out = NULL;
	if (!path)
		return evn_fail_memory(err, folder, 0);
	const evn_status s = access(path, F_OK) == 0 ? read_object(out, path, limit, err) : EVN_OK;
	free(path);
	return s;
}
