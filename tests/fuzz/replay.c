/* replay.c - runs a fuzzer over the files of folders: what was once found stays mended, and the seeds pass.
 *   fuzz_NAME FOLDER... */
#include "fuzz.h"

#include <dirent.h>
#include <sys/stat.h>

static unsigned replay_file(const char *path)
{
	struct stat st;
	FILE *f = stat(path, &st) == 0 && S_ISREG(st.st_mode) ? fopen(path, "rb") : NULL;
	if (!f)
		return 0;
	uint8_t *data = malloc((size_t)st.st_size + 1);
	MUST(data && fread(data, 1, (size_t)st.st_size, f) == (size_t)st.st_size);
	fclose(f);
	LLVMFuzzerTestOneInput(data, (size_t)st.st_size);
	free(data);
	return 1;
}

int main(int argc, char **argv)
{
	unsigned n = 0;
	for (int i = 1; i < argc; i++) {
		struct dirent **files;
		const int n_files = scandir(argv[i], &files, NULL, alphasort);
		for (int k = 0; k < n_files; k++) {
			char path[512];
			snprintf(path, sizeof path, "%s/%s", argv[i], files[k]->d_name);
			n += replay_file(path);
			free(files[k]);
		}
		if (n_files >= 0)
			free(files);
	}
	printf("%u inputs, %u valid\n", n, fuzz_valid);
	return n && fuzz_valid ? 0 : 1;
}
