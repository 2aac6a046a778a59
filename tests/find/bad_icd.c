/* bad_icd.c - a driver that crashes when the loader asks for its platforms, or with -DHANG never returns. */
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int clIcdGetPlatformIDsKHR(unsigned n, void *platforms, unsigned *n_out);
int clGetPlatformInfo(void *platform, unsigned what, size_t size, void *value, size_t *size_out);
void *clGetExtensionFunctionAddress(const char *name);

int clIcdGetPlatformIDsKHR(unsigned n, void *platforms, unsigned *n_out)
{
	(void)n, (void)platforms, (void)n_out;
#ifdef HANG
	for (;;)
		pause();
#else
	raise(SIGSEGV);
	return 0;
#endif
}

int clGetPlatformInfo(void *platform, unsigned what, size_t size, void *value, size_t *size_out)
{
	(void)platform, (void)what, (void)size, (void)value, (void)size_out;
	return -30;
}

void *clGetExtensionFunctionAddress(const char *name)
{
	(void)name;
	return NULL; /* the loader then looks for the symbols themselves */
}
