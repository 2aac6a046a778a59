/* file.c - reads files in pieces and whole, replaces them atomically; finds the cache folder. */
#include "base/base.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Opens regular files only. A FIFO or a device could block or never end. */
static evn_status open_regular(int *fd, struct stat *st, const char *path, evn_error *err)
{
	*fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (*fd < 0)
		return evn_fail(err, EVN_ERR_FILE, "%s: %s", path, strerror(errno));
	const char *problem = NULL;
	if (fstat(*fd, st) != 0)
		problem = strerror(errno);
	else if (S_ISDIR(st->st_mode))
		problem = "is a folder, not a file";
	else if (!S_ISREG(st->st_mode))
		problem = "is not a regular file";
	else if (st->st_size <= 0)
		problem = "is empty";
	if (problem) {
		close(*fd);
		return evn_fail(err, EVN_ERR_FILE, "%s: %s", path, problem);
	}
	return EVN_OK;
}

struct evn_source {
	char *path;
	int fd;
	struct stat opened; /* the state of the file when it was opened */
};

evn_status evn_source_open(evn_source **out, const char *path, evn_error *err)
{
	evn_source *s = calloc(1, sizeof *s);
	char *copy = evn_strdup(path);
	if (!s || !copy) {
		free(s);
		free(copy);
		return evn_fail_memory(err, path, sizeof *s);
	}
	evn_status status = open_regular(&s->fd, &s->opened, path, err);
	if (status != EVN_OK) {
		free(s);
		free(copy);
		return status;
	}
	s->path = copy;
	*out = s;
	return EVN_OK;
}

void evn_source_close(evn_source *s)
{
	if (!s)
		return;
	close(s->fd);
	free(s->path);
	free(s);
}

uint64_t evn_source_size(const evn_source *s) { return (uint64_t)s->opened.st_size; }

/* A writer sets the file's time before it changes the bytes. Bytes that were read before this check are therefore the
 * old ones. */
static evn_status check_unchanged(const evn_source *s, evn_error *err)
{
	struct stat now;
	if (fstat(s->fd, &now) != 0)
		return evn_fail(err, EVN_ERR_FILE, "%s: %s", s->path, strerror(errno));
	if (now.st_size != s->opened.st_size)
		return evn_fail(err, EVN_ERR_FILE,
						"%s: the file has %lld bytes, expected the %lld that it had when it was opened", s->path,
						(long long)now.st_size, (long long)s->opened.st_size);
	if (now.st_mtim.tv_sec != s->opened.st_mtim.tv_sec || now.st_mtim.tv_nsec != s->opened.st_mtim.tv_nsec)
		return evn_fail(err, EVN_ERR_FILE, "%s: the file has been written to since it was opened", s->path);
	return EVN_OK;
}

/* Bytes of a file at an offset; fewer than n only at its end. -1: errno says why. */
static ssize_t read_at(int fd, void *to, size_t n, uint64_t offset)
{
	size_t got = 0;
	while (got < n) {
		ssize_t more = pread(fd, (char *)to + got, n - got, (off_t)(offset + got));
		if (more == 0)
			break;
		if (more > 0)
			got += (size_t)more;
		else if (errno != EINTR)
			return -1;
	}
	return (ssize_t)got;
}

evn_status evn_source_read(const evn_source *s, uint64_t offset, void *to, size_t n, evn_error *err)
{
	const ssize_t got = read_at(s->fd, to, n, offset);
	if (got < 0)
		return evn_fail(err, EVN_ERR_FILE, "%s: %s", s->path, strerror(errno));
	EVN_TRY(check_unchanged(s, err));
	if ((size_t)got < n)
		return evn_fail(err, EVN_ERR_FILE, "%s: %zu bytes expected at byte %llu, %zd found", s->path, n,
						(unsigned long long)offset, got);
	return EVN_OK;
}

evn_status evn_read_file(char **out, size_t *size, const char *path, size_t limit, evn_error *err)
{
	int fd;
	struct stat st;
	EVN_TRY(open_regular(&fd, &st, path, err));
	const uint64_t file_size = (uint64_t)st.st_size;
	char *text = NULL;
	evn_status s = EVN_OK;
	if (file_size > limit)
		s = evn_fail(err, EVN_ERR_LIMIT, "%s: %llu bytes, at most %zu are read", path, (unsigned long long)file_size,
					 limit);
	else if (!(text = malloc((size_t)file_size + 1)))
		s = evn_fail_memory(err, path, file_size + 1);
	ssize_t got = 0; /* fewer if the file became shorter meanwhile */
	if (s == EVN_OK && (got = read_at(fd, text, (size_t)file_size, 0)) < 0)
		s = evn_fail(err, EVN_ERR_FILE, "%s: %s", path, strerror(errno));
	close(fd);
	if (s != EVN_OK) {
		free(text);
		return s;
	}
	text[got] = '\0';
	*out = text;
	*size = (size_t)got;
	return EVN_OK;
}

static bool write_all(int fd, const char *data, size_t size)
{
	while (size) {
		ssize_t n = write(fd, data, size);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return false;
		data += n;
		size -= (size_t)n;
	}
	return true;
}

/* Creates a file with a name that no other file has, with the permissions of the user's umask. */
static int create_beside(const char *path, char **name)
{
	static atomic_uint count;
	for (int tries = 0; tries < 100; tries++) {
		*name = evn_format("%s.%ld-%u.tmp", path, (long)getpid(), atomic_fetch_add(&count, 1));
		int fd = *name ? open(*name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666) : -1;
		if (fd >= 0 || !*name || errno != EEXIST)
			return fd;
		free(*name);
	}
	*name = NULL;
	errno = EEXIST;
	return -1;
}

struct evn_new_file {
	char *path, *target, *temporary; /* target: where a link leads */
	int fd, why;                     /* why: errno of the first failure; 0: none */
	uint64_t size;
};

static void note_failure(evn_new_file *f, bool ok)
{
	if (!ok && !f->why)
		f->why = errno;
}

static evn_status end_new_file(evn_new_file *f, evn_error *err)
{
	evn_status status = EVN_OK;
	if (f->why)
		status = evn_fail(err, EVN_ERR_FILE, "%s: could not write %llu bytes: %s", f->path,
						  (unsigned long long)f->size, strerror(f->why));
	free(f->path);
	free(f->target);
	free(f->temporary);
	free(f);
	return status;
}

evn_status evn_new_file_open(evn_new_file **out, const char *path, evn_error *err)
{
	evn_new_file *f = *out = calloc(1, sizeof *f);
	if (!f || !(f->path = evn_strdup(path))) {
		free(f);
		*out = NULL;
		return evn_fail_memory(err, path, sizeof *f);
	}
	f->target = realpath(path, NULL);
	f->fd = create_beside(f->target ? f->target : path, &f->temporary);
	note_failure(f, f->fd >= 0);
	if (!f->why)
		return EVN_OK;
	*out = NULL;
	return end_new_file(f, err);
}

void evn_new_file_write(evn_new_file *f, const void *data, size_t size)
{
	f->size += size;
	if (!f->why)
		note_failure(f, write_all(f->fd, data, size));
}

evn_status evn_new_file_close(evn_new_file *f, bool keep, evn_error *err)
{
	if (keep && !f->why)
		note_failure(f, fsync(f->fd) == 0 && rename(f->temporary, f->target ? f->target : f->path) == 0);
	close(f->fd);
	if (!keep || f->why)
		unlink(f->temporary);
	return end_new_file(f, err);
}

static evn_status replace(const char *path, const void *data, size_t size, evn_error *err)
{
	evn_new_file *f;
	EVN_TRY(evn_new_file_open(&f, path, err));
	evn_new_file_write(f, data, size);
	return evn_new_file_close(f, true, err);
}

static evn_status write_into(const char *path, const void *data, size_t size, evn_error *err)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	bool ok = fd >= 0 && write_all(fd, data, size);
	int why = errno;
	if (fd >= 0)
		close(fd);
	return ok ? EVN_OK : evn_fail(err, EVN_ERR_FILE, "%s: could not write %zu bytes: %s", path, size, strerror(why));
}

evn_status evn_write_file(const char *path, const void *data, size_t size, evn_error *err)
{
	struct stat st;
	bool is_stream = stat(path, &st) == 0 && !S_ISREG(st.st_mode) && !S_ISDIR(st.st_mode);
	return is_stream ? write_into(path, data, size, err) : replace(path, data, size, err);
}

static bool make_folders(char *path)
{
	for (char *slash = strchr(path + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
		*slash = '\0';
		bool ok = mkdir(path, 0700) == 0 || errno == EEXIST;
		*slash = '/';
		if (!ok)
			return false;
	}
	return true;
}

/* The reason why files of a folder must not be believed; NULL: none. */
static const char *why_not_trusted(const char *folder)
{
	struct stat st;
	if (stat(folder, &st) != 0)
		return strerror(errno);
	if (st.st_uid != geteuid() && st.st_uid != 0)
		return "it belongs to another user";
	return st.st_mode & (S_IWGRP | S_IWOTH) ? "others may write to it (chmod go-w)" : NULL;
}

/* The folders of path from the first on that is `own` characters long. What is read from a cache decides which device
 * is used and what it runs. */
static bool check_folders(char *path, size_t own)
{
	static atomic_flag said = ATOMIC_FLAG_INIT;
	for (char *slash = strchr(path + own, '/'); slash; slash = strchr(slash + 1, '/')) {
		*slash = '\0';
		const char *why = why_not_trusted(path);
		if (why && !atomic_flag_test_and_set(&said))
			evn_log(EVN_LOG_WARN, "cache folder %s is not used: %s", path, why);
		*slash = '/';
		if (why)
			return false;
	}
	return true;
}

char *evn_cache_path(const char *name)
{
	const char *own = getenv("EVENER_CACHE_DIR"), *xdg = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
	char *path = own && *own     ? evn_format("%s/%s", own, name)
				 : xdg && *xdg   ? evn_format("%s/evener/%s", xdg, name)
				 : home && *home ? evn_format("%s/.cache/evener/%s", home, name)
								 : NULL;
	if (path && !(make_folders(path) && check_folders(path, strlen(path) - strlen(name) - 1))) {
		free(path);
		path = NULL;
	}
	return path;
}
