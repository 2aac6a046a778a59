/* cmd_config.c - evener config check|init|schema. */
#include "base/base.h"
#include "cli/cli.h"
#include "cli/config/config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static evn_status check_config(const char *path, evn_error *err)
{
	settings s = {0};
	config c = {0};
	evn_status status = settings_init(&s, err);
	if (status == EVN_OK)
		status = config_load(&c, path, &s, err);
	if (status == EVN_OK)
		printf("%s: ok\n", path);
	config_free(&c);
	settings_free(&s);
	return status;
}

static evn_status print_schema(evn_error *err)
{
	char *schema = NULL;
	evn_status status = config_json_schema(&schema, err);
	if (status == EVN_OK)
		puts(schema);
	free(schema);
	return status;
}

evn_status cmd_config(const invocation *in, evn_error *err)
{
	const char *verb = in->n_arguments > 0 ? in->arguments[0] : "";
	if (strcmp(verb, "check") == 0 && in->n_arguments == 2)
		return check_config(in->arguments[1], err);
	if (strcmp(verb, "schema") == 0 && in->n_arguments == 1)
		return print_schema(err);
	if (strcmp(verb, "init") == 0 && in->n_arguments == 1) {
		config_write_starter();
		return EVN_OK;
	}
	return evn_fail(err, EVN_ERR_USAGE, "config: expected one of: config check FILE, config init, config schema");
}
