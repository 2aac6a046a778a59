/* journal.c - see journal.h. */
#include "cli/batch/journal.h"
#include "base/base.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#define FORMAT 1
#define HEAD_BYTES 512
#define HEAD_BEGIN "{\"evener_batch\":"

typedef struct {
	off_t offset; /* of the record in the file */
	size_t bytes; /* 0: there is none */
} place;

struct journal {
	char *path;
	int fd;
	journal_head head;
	place *places; /* (n_pieces) */
	size_t n_done;
	off_t end;
};

static evn_status failed(const journal *j, evn_error *err)
{
	return evn_fail(err, EVN_ERR_FILE, "%s: %s", j->path, strerror(errno));
}

static evn_status write_at_end(journal *j, const char *data, size_t n, evn_error *err)
{
	while (n > 0) {
		ssize_t written = pwrite(j->fd, data, n, j->end);
		if (written < 0 && errno == EINTR)
			continue;
		if (written <= 0)
			return failed(j, err);
		data += written;
		n -= (size_t)written;
		j->end += written;
	}
	return EVN_OK;
}

/* ---- the head -------------------------------------------------------------------------------------------------- */

/* Hashes are written as text: JSON's numbers may be read as doubles. */
static evn_status begin_file(journal *j, evn_error *err)
{
	char line[HEAD_BYTES];
	const journal_head *h = &j->head;
	int n =
		snprintf(line, sizeof line,
				 HEAD_BEGIN "%d,\"model\":\"%016" PRIx64 "\",\"settings\":\"%016" PRIx64 "\",\"input\":\"%016" PRIx64
							"\",\"pieces\":%zu,\"seed\":%" PRId64 ",\"began\":%" PRId64 "}\n",
				 FORMAT, h->model, h->settings, h->input, h->n_pieces, h->seed, h->began);
	j->end = 0;
	if (ftruncate(j->fd, 0) != 0)
		return failed(j, err);
	EVN_TRY(write_at_end(j, line, (size_t)n, err));
	return journal_sync(j, err);
}

static bool read_head(journal_head *h, const char *line, size_t n)
{
	int format = 0;
	const char *model = "", *settings = "", *input = "";
	json_int_t pieces = 0, seed = 0, began = 0;
	json_t *root = json_loadb(line, n, JSON_REJECT_DUPLICATES, NULL);
	bool ok = root && json_unpack(root, "{s:i, s:s, s:s, s:s, s:I, s:I, s:I}", "evener_batch", &format, "model",
								  &model, "settings", &settings, "input", &input, "pieces", &pieces, "seed", &seed,
								  "began", &began) == 0;
	if (ok)
		*h = (journal_head){.model = strtoull(model, NULL, 16),
							.settings = strtoull(settings, NULL, 16),
							.input = strtoull(input, NULL, 16),
							.n_pieces = (size_t)pieces,
							.seed = seed,
							.began = began};
	json_decref(root);
	return ok && format == FORMAT && pieces >= 0;
}

static evn_status check_head(const journal *j, const journal_head *found, evn_error *err)
{
	const journal_head *h = &j->head;
	bool same_seed = h->seed < 0 || h->seed == found->seed;
	const char *what = h->model != found->model                                           ? "another model"
					   : h->input != found->input                                         ? "another input"
					   : h->settings != found->settings || h->n_pieces != found->n_pieces ? "other settings"
					   : !same_seed                                                       ? "another seed"
																						  : NULL;
	if (!what)
		return EVN_OK;
	return evn_fail(err, EVN_ERR_USAGE,
					"%s: belongs to an unfinished run with %s; finish that one, or begin anew with --restart",
					j->path, what);
}

/* ---- the lines ------------------------------------------------------------------------------------------------- */

/* Notes where the record of a line is. False if the line is not one of a journal. */
static bool note_line(journal *j, const char *file, const char *line, size_t n)
{
	char *record = NULL;
	unsigned long long piece = *line >= '0' && *line <= '9' ? strtoull(line, &record, 10) : 0;
	if (!record || *record != '\t' || piece >= j->head.n_pieces)
		return false;
	size_t bytes = n - (size_t)(++record - line);
	json_t *root = json_loadb(record, bytes, 0, NULL);
	if (!json_is_object(root)) {
		json_decref(root);
		return false;
	}
	json_decref(root);
	j->n_done += j->places[piece].bytes == 0;
	j->places[piece] = (place){record - file, bytes};
	return true;
}

/* Reads the lines of a file. What follows the last good one is cut off. */
static evn_status continue_file(journal *j, const char *file, size_t size, evn_error *err)
{
	const char *line = file, *end;
	while (line < file + size && (end = memchr(line, '\n', (size_t)(file + size - line)))) {
		if (line > file && !note_line(j, file, line, (size_t)(end - line)))
			break;
		line = end + 1;
	}
	j->end = line - file;
	if ((size_t)j->end < size)
		evn_log(EVN_LOG_WARN, "%s: its last %zu bytes are damaged; pieces in them are computed again", j->path,
				size - (size_t)j->end);
	return ftruncate(j->fd, j->end) == 0 ? EVN_OK : failed(j, err);
}

static evn_status read_whole(const journal *j, char **file, size_t *size, evn_error *err)
{
	struct stat info;
	if (fstat(j->fd, &info) != 0)
		return failed(j, err);
	*file = malloc((size_t)info.st_size + 1);
	if (!*file)
		return evn_fail_memory(err, j->path, (uint64_t)info.st_size);
	*size = 0;
	while (*size < (size_t)info.st_size) {
		ssize_t got = pread(j->fd, *file + *size, (size_t)info.st_size - *size, (off_t)*size);
		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return failed(j, err);
		if (got == 0)
			break;
		*size += (size_t)got;
	}
	(*file)[*size] = 0;
	return EVN_OK;
}

/* A file that ends in its first line, or with it, is of a run that ended before any piece did, such as one that found
 * no device: there is nothing in it to go on with. */
static evn_status read_file(journal *j, const char *file, size_t size, bool restart, evn_error *err)
{
	journal_head found;
	const char *end = memchr(file, '\n', size);
	size_t known = sizeof HEAD_BEGIN - 1;
	bool is_journal = memcmp(file, HEAD_BEGIN, size < known ? size : known) == 0;
	if (is_journal && (restart || !end))
		return begin_file(j, err);
	if (!is_journal || !read_head(&found, file, (size_t)(end - file)))
		return evn_fail(
			err, EVN_ERR_FORMAT,
			"%s: is not the journal of a batch, which would be kept here; remove it or name another output", j->path);
	if (end + 1 == file + size)
		return begin_file(j, err);
	EVN_TRY(check_head(j, &found, err));
	j->head = found;
	return continue_file(j, file, size, err);
}

static evn_status open_file(journal *j, bool restart, evn_error *err)
{
	char *file = NULL;
	size_t size = 0;
	j->fd = open(j->path, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
	if (j->fd < 0)
		return failed(j, err);
	if (flock(j->fd, LOCK_EX | LOCK_NB) != 0)
		return errno == EWOULDBLOCK ? evn_fail(err, EVN_ERR_FILE, "%s: another process is at work on it", j->path)
									: failed(j, err);
	evn_status status = read_whole(j, &file, &size, err);
	if (status == EVN_OK)
		status = read_file(j, file, size, restart, err);
	free(file);
	return status;
}

evn_status journal_open(journal **out, const char *path, const journal_head *head, bool restart, evn_error *err)
{
	journal *j = calloc(1, sizeof *j);
	*out = NULL;
	if (!j)
		return evn_fail_memory(err, path, sizeof *j);
	*j = (journal){
		.fd = -1, .head = *head, .path = evn_strdup(path), .places = calloc(head->n_pieces + 1, sizeof *j->places)};
	evn_status status = j->path && j->places ? open_file(j, restart, err) : evn_fail_memory(err, path, 0);
	if (status == EVN_OK)
		*out = j;
	else
		journal_close(j);
	return status;
}

void journal_close(journal *j)
{
	if (!j)
		return;
	if (j->fd >= 0)
		close(j->fd);
	free(j->path);
	free(j->places);
	free(j);
}

void journal_remove(journal *j)
{
	unlink(j->path);
	journal_close(j);
}

const journal_head *journal_get_head(const journal *j) { return &j->head; }

bool journal_has(const journal *j, size_t piece) { return j->places[piece].bytes > 0; }

size_t journal_count(const journal *j) { return j->n_done; }

evn_status journal_add(journal *j, size_t piece, const char *record, evn_error *err)
{
	char *line = evn_format("%zu\t%s\n", piece, record);
	if (!line)
		return evn_fail_memory(err, "a record", 0);
	size_t n = strlen(line), bytes = strlen(record);
	off_t offset = j->end + (off_t)(n - bytes - 1);
	evn_status status = write_at_end(j, line, n, err);
	free(line);
	if (status != EVN_OK)
		return status;
	j->places[piece] = (place){offset, bytes};
	j->n_done++;
	return EVN_OK;
}

evn_status journal_sync(journal *j, evn_error *err) { return fsync(j->fd) == 0 ? EVN_OK : failed(j, err); }

evn_status journal_read(const journal *j, size_t piece, char **record, size_t *bytes, evn_error *err)
{
	const place *p = &j->places[piece];
	*bytes = p->bytes;
	*record = malloc(p->bytes + 1);
	if (!*record)
		return evn_fail_memory(err, "a record", p->bytes);
	ssize_t got = pread(j->fd, *record, p->bytes, p->offset);
	if (got != (ssize_t)p->bytes) {
		free(*record);
		*record = NULL;
		return got < 0 ? failed(j, err) : evn_fail(err, EVN_ERR_FILE, "%s: became shorter", j->path);
	}
	(*record)[p->bytes] = 0;
	return EVN_OK;
}
