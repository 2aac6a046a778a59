/* fuzz.h - what the fuzzers share. A fuzzer defines LLVMFuzzerTestOneInput: libFuzzer calls it with bytes that it
 * invents (scripts/fuzz), replay.c with files. It aborts where a promise of the library is broken. */
#ifndef EVN_FUZZ_H
#define EVN_FUZZ_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Inputs that were valid. A replay expects one at least, so that searches begin behind the first checks. */
__attribute__((weak)) unsigned fuzz_valid;

#define MUST(condition)                                                                                              \
	do {                                                                                                             \
		if (!(condition)) {                                                                                          \
			fprintf(stderr, "%s:%d: not true: %s\n", __FILE__, __LINE__, #condition);                                \
			abort();                                                                                                 \
		}                                                                                                            \
	} while (0)

/* A folder of this process, in memory where the system has such. It stays. */
static inline const char *fuzz_folder(void)
{
	static char folder[64];
	if (!folder[0]) {
		snprintf(folder, sizeof folder, "%s/evener-fuzz-XXXXXX", access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
		MUST(mkdtemp(folder) != NULL);
	}
	return folder;
}

/* Writes a file of the folder and returns its path, valid until the next call. */
static inline const char *fuzz_file(const char *name, const void *data, size_t size)
{
	static char path[128];
	snprintf(path, sizeof path, "%s/%s", fuzz_folder(), name);
	FILE *f = fopen(path, "wb");
	MUST(f && fwrite(data, 1, size, f) == size);
	MUST(fclose(f) == 0);
	return path;
}

#endif
