/* source.c - makes the text of a program from kernel files. The files are embedded, so a driver cannot find them by
 * its include path. #include is therefore resolved here: each file appears once, after the files that it includes. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/constants.h"
#include "ocl/internal.h"
#include "ocl/kernel_sources.h"

#define SOURCE_LIMIT ((size_t)1 << 20)
#define MOST_FILES 64
#define PATH_BYTES 64

/* ---- specs ----------------------------------------------------------------------------------------------------- */

static EVN_PRINTF(4, 0) void append(evn_spec *s, char *to, size_t size, const char *format, va_list args)
{
	const size_t used = strlen(to);
	const int length = vsnprintf(to + used, size - used, format, args);
	s->too_long |= length < 0 || (size_t)length >= size - used;
}

static EVN_PRINTF(2, 3) void add_source(evn_spec *s, const char *format, ...)
{
	va_list args;
	va_start(args, format);
	append(s, s->sources, sizeof s->sources, format, args);
	va_end(args);
}

static EVN_PRINTF(2, 3) void add_define(evn_spec *s, const char *format, ...)
{
	va_list args;
	va_start(args, format);
	append(s, s->defines, sizeof s->defines, format, args);
	va_end(args);
}

evn_spec evn_spec_of(const char *file)
{
	evn_spec s = {0};
	add_source(&s, "%s", file);
	return s;
}

void evn_spec_part(evn_spec *s, const char *part, const char *file, ...)
{
	va_list args;
	add_source(s, " %s=", part);
	va_start(args, file);
	append(s, s->sources, sizeof s->sources, file, args);
	va_end(args);
}

void evn_spec_define(evn_spec *s, const char *name, uint32_t value) { add_define(s, " -D%s=%u", name, value); }

void evn_spec_lanes(evn_spec *s, uint32_t lanes)
{
	if (lanes != EVN_TILE_ROWS)
		evn_spec_define(s, "LANES", lanes);
}

void evn_spec_option(evn_spec *s, const char *option) { add_define(s, *option ? " %s" : "%s", option); }

/* ---- files ----------------------------------------------------------------------------------------------------- */

static const evn_kernel_source *embedded(const char *path)
{
	for (size_t i = 0; i < evn_kernel_source_count; i++)
		if (!strcmp(evn_kernel_sources[i].path, path))
			return &evn_kernel_sources[i];
	return NULL;
}

/* The malloc'd text of one kernel file. If EVENER_KERNEL_DIR is set the file comes from there, so that kernels can
 * change without a rebuild. */
static evn_status load(const char *path, const char *from, char **out, evn_error *err)
{
	const char *dir = evn_env_get()->kernel_dir;
	if (dir) {
		size_t size;
		char *full = evn_format("%s/%s", dir, path);
		if (!full)
			return evn_fail_memory(err, dir, strlen(path));
		evn_error why;
		evn_status s = evn_read_file(out, &size, full, SOURCE_LIMIT, &why);
		free(full);
		return s == EVN_OK ? s : evn_fail(err, s, "%s, which kernels/%s includes", why.text, from);
	}
	const evn_kernel_source *file = embedded(path);
	if (!file)
		return evn_fail(err, EVN_ERR_BUILD, "kernels/%s: no such kernel file; kernels/%s includes it", path, from);
	*out = evn_strdup(file->text);
	return *out ? EVN_OK : evn_fail_memory(err, path, file->size);
}

uint64_t evn_sources_hash(uint64_t h)
{
	for (size_t i = 0; i < evn_kernel_source_count; i++) {
		char *text = NULL; /* the text as it would be compiled; empty if the file cannot be read */
		load(evn_kernel_sources[i].path, "", &text, NULL);
		h = evn_hash_str(h, text ? text : "");
		free(text);
	}
	return h;
}

/* ---- resolving ------------------------------------------------------------------------------------------------- */

typedef struct {
	char path[PATH_BYTES];
	bool open; /* the files that it includes are being added; an include of it now is a circle */
} source_file;

typedef struct {
	const char *sources;
	FILE *out; /* writes to text */
	char *text;
	size_t size;
	source_file files[MOST_FILES];
	size_t n_files;
	uint32_t parts_used; /* one bit for each part of the sources that a file has included */
} resolver;

/* One part of a spec's sources. The pointers are into the spec's text. */
typedef struct {
	const char *name, *file;
	int name_length, file_length;
} source_part;

/* Reads the part after *at and moves *at to its end. False if there is none. */
static bool next_part(const char **at, source_part *out)
{
	const char *p = *at + strcspn(*at, " ");
	p += strspn(p, " ");
	*out = (source_part){.name = p, .name_length = (int)strcspn(p, "= ")};
	*at = p + strcspn(p, " ");
	out->file = p + out->name_length + (p[out->name_length] == '=');
	out->file_length = (int)(*at - out->file);
	return *p;
}

static void mark_part(resolver *r, const char *name, int length)
{
	source_part part;
	const char *at = r->sources;
	for (uint32_t bit = 1; next_part(&at, &part); bit <<= 1)
		if (part.name_length == length && !strncmp(part.name, name, (size_t)length))
			r->parts_used |= bit;
}

/* Finds the file that `name` is defined as in the text so far. The first definition counts: later ones are inside
 * #ifndef. */
static evn_status find_part(resolver *r, const char *from, const char *name, int length, char path[PATH_BYTES],
							evn_error *err)
{
	char wanted[PATH_BYTES + 16];
	snprintf(wanted, sizeof wanted, "\n#define %.*s \"", length < PATH_BYTES ? length : PATH_BYTES, name);
	if (fflush(r->out))
		return evn_fail_memory(err, from, r->size);
	const char *found = strstr(r->text, wanted);
	if (!found)
		return evn_fail(err, EVN_ERR_BUILD, "kernels/%s: #include %.*s, but no file has that definition", from,
						length, name);
	found += strlen(wanted);
	snprintf(path, PATH_BYTES, "%.*s", (int)strcspn(found, "\"\n"), found);
	mark_part(r, name, length);
	return EVN_OK;
}

/* The file that a line includes. path is "" if the line includes none. */
static evn_status included(resolver *r, const char *from, const char *line, char path[PATH_BYTES], evn_error *err)
{
	static const char word[] = "#include";
	path[0] = 0;
	if (strncmp(line, word, sizeof word - 1))
		return EVN_OK;
	line += sizeof word - 1;
	line += strspn(line, " \t");
	if (*line != '"') /* <...> is for C compilers only */
		return *line == '<' ? EVN_OK : find_part(r, from, line, (int)strcspn(line, " \t\r\n"), path, err);
	snprintf(path, PATH_BYTES, "%.*s", (int)strcspn(line + 1, "\"\n"), line + 1);
	return EVN_OK;
}

static evn_status add_file(resolver *r, const char *path, const char *from, evn_error *err);

/* Adds the lines of a file and replaces each include by its file. #line makes build logs name the files and lines of
 * kernels/. */
static evn_status add_lines(resolver *r, const char *path, const char *text, evn_error *err)
{
	unsigned number = 1;
	fprintf(r->out, "#line 1 \"%s\"\n", path);
	for (const char *line = text; *line; number++) {
		const size_t length = strcspn(line, "\n"), with_end = length + (line[length] == '\n');
		char file[PATH_BYTES];
		EVN_TRY(included(r, path, line, file, err));
		if (*file) {
			EVN_TRY(add_file(r, file, path, err));
			fprintf(r->out, "#line %u \"%s\"\n", number + 1, path);
		} else {
			fprintf(r->out, "%.*s\n", (int)length, line);
		}
		line += with_end;
	}
	return EVN_OK;
}

/* Adds the file and the files that it includes, unless it is there already. */
static evn_status add_file(resolver *r, const char *path, const char *from, evn_error *err)
{
	for (size_t i = 0; i < r->n_files; i++)
		if (!strcmp(r->files[i].path, path))
			return !r->files[i].open
					   ? EVN_OK
					   : evn_fail(err, EVN_ERR_BUILD, "kernels/%s includes kernels/%s, which includes it in turn",
								  from, path);
	if (r->n_files == MOST_FILES)
		return evn_fail(err, EVN_ERR_BUILD, "kernels/%s: more than %d files in one program", path, MOST_FILES);
	source_file *file = &r->files[r->n_files++];
	snprintf(file->path, sizeof file->path, "%s", path);
	file->open = true;
	char *text;
	EVN_TRY(load(path, from, &text, err));
	evn_status s = add_lines(r, path, text, err);
	free(text);
	file->open = false;
	return s;
}

static evn_status resolve(resolver *r, evn_error *err)
{
	char first[PATH_BYTES];
	source_part part;
	const char *at = r->sources;
	fprintf(r->out, "\n");
	while (next_part(&at, &part))
		fprintf(r->out, "#define %.*s \"%.*s\"\n", part.name_length, part.name, part.file_length, part.file);
	snprintf(first, sizeof first, "%.*s", (int)strcspn(r->sources, " "), r->sources);
	EVN_TRY(add_file(r, first, first, err));
	at = r->sources;
	for (uint32_t bit = 1; next_part(&at, &part); bit <<= 1)
		if (!(r->parts_used & bit))
			return evn_fail(err, EVN_ERR_BUILD, "kernels/%s: no file of the program includes %.*s", first,
							part.name_length, part.name);
	return EVN_OK;
}

evn_status evn_source_resolve(char **text, const char *sources, evn_error *err)
{
	resolver r = {.sources = sources};
	*text = NULL;
	r.out = open_memstream(&r.text, &r.size);
	if (!r.out)
		return evn_fail_memory(err, sources, 0);
	evn_status s = resolve(&r, err);
	const bool written = !ferror(r.out) && !fclose(r.out);
	if (s == EVN_OK && !written)
		s = evn_fail_memory(err, sources, r.size);
	if (s == EVN_OK)
		*text = r.text;
	else
		free(r.text);
	return s;
}
