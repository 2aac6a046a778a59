/* fuzz_config.c - configuration files of any bytes. */
#include "fuzz.h"

#include "cli/config/config.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	config c = {0};
	settings s;
	evn_error err = {0};
	MUST(settings_init(&s, NULL) == EVN_OK);
	if (config_load(&c, fuzz_file("evener.yaml", data, size), &s, &err) == EVN_OK)
		fuzz_valid++;
	else
		MUST(err.text[0] && !strchr(err.text, '\n'));
	config_free(&c);
	settings_free(&s);
	return 0;
}
