/* consumer.c - includes every public header and calls the library, as another program would. */
#include <evener/inspect.h>
#include <evener/score.h>
#include <evener/selftest.h>
#include <evener/train.h>
#include <evener/tune.h>

#include <stdio.h>

int main(void)
{
	evn_model *m = NULL;
	evn_error err;
	if (evn_model_create(&m, &(evn_model_spec){.architecture = "simple-lm", .vocab = 4, .dim = 4}, &err) != EVN_OK) {
		fprintf(stderr, "%s\n", err.text);
		return 1;
	}
	evn_model_close(m);
	puts(evn_version());
	return 0;
}
