/* file.c - maps files, reads them whole, replaces them atomically; finds the cache folder. */
#include "base/base.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

/* Opens regular files only. A FIFO or a device could block or never end. */
static evn_status open_regular(int *fd, uint64_t *size, const char *path, evn_error *err)
{
	*fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (*fd < 0)
		return evn_fail(err, EVN_ERR_FILE, "%s: %s", path, strerror(errno));
	struct stat st;
	const char *problem = NULL;
	if (fstat(*fd, &st) != 0)
		problem = strerror(errno);
	else if (S_ISDIR(st.st_mode))
		problem = "is a folder, not a file";
	else if (!S_ISREG(st.st_mode))
		problem = "is not a regular file";
	else if (st.st_size <= 0)
		problem = "is empty";
	if (problem) {
		close(*fd);
		return evn_fail(err, EVN_ERR_FILE, "%s: %s", path, problem);
	}
	*size = (uint64_t)st.st_size;
	return EVN_OK;
}

evn_status evn_map_file(evn_mapping *out, const char *path, evn_error *err)
{
	int fd;
	uint64_t size = 0;
	EVN_TRY(open_regular(&fd, &size, path, err));
	void *data = size > SIZE_MAX ? MAP_FAILED : mmap(NULL, (size_t)size, PROT_READ, MAP_PRIVATE, fd, 0);
	int why = errno;
	close(fd); /* the mapping keeps the file open */
	if (data == MAP_FAILED)
		return evn_fail(err, EVN_ERR_FILE, "%s: could not map %llu bytes: %s", path, (unsigned long long)size,
						strerror(why));
	*out = (evn_mapping){.data = data, .size = size};
	return EVN_OK;
}

void evn_unmap_file(evn_mapping *m)
{
	if (m->data)
		munmap((void *)(uintptr_t)m->data, (size_t)m->size);
	*m = (evn_mapping){0};
}

evn_status evn_read_file(char **out, size_t *size, const char *path, size_t limit, evn_error *err)
{
	int fd;
	uint64_t file_size = 0;
	EVN_TRY(open_regular(&fd, &file_size, path, err));
	char *text = NULL;
	evn_status s = EVN_OK;
	if (file_size > limit)
		s = evn_fail(err, EVN_ERR_LIMIT, "%s: %llu bytes, at most %zu are read", path, (unsigned long long)file_size,
					 limit);
	else if (!(text = malloc((size_t)file_size + 1)))
		s = evn_fail_memory(err, path, file_size + 1);
	size_t got = 0;
	while (s == EVN_OK && got < file_size) {
		ssize_t n = read(fd, text + got, (size_t)file_size - got);
		if (n > 0)
			got += (size_t)n;
		else if (n == 0)
			break; /* the file became shorter meanwhile: take what is there */
		else if (errno != EINTR)
			s = evn_fail(err, EVN_ERR_FILE, "%s: %s", path, strerror(errno));
	}
	close(fd);
	if (s != EVN_OK) {
		free(text);
		return s;
	}
	text[got] = '\0';
	*out = text;
	*size = got;
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

static bool replace(const char *path, const char *data, size_t size)
{
	char *temporary = NULL;
	int fd = create_beside(path, &temporary);
	bool ok = fd >= 0 && write_all(fd, data, size) && fsync(fd) == 0 && rename(temporary, path) == 0;
	int why = errno;
	if (fd >= 0)
		close(fd);
	if (fd >= 0 && !ok)
		unlink(temporary);
	free(temporary);
	errno = why;
	return ok;
}

static bool write_into(const char *path, const char *data, size_t size)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	bool ok = fd >= 0 && write_all(fd, data, size);
	int why = errno;
	if (fd >= 0)
		close(fd);
	errno = why;
	return ok;
}

evn_status evn_write_file(const char *path, const void *data, size_t size, evn_error *err)
{
	struct stat st;
	bool is_stream = stat(path, &st) == 0 && !S_ISREG(st.st_mode) && !S_ISDIR(st.st_mode);
	char *target = realpath(path, NULL); /* replaces the target of a link, not the link */
	bool ok = is_stream ? write_into(path, data, size) : replace(target ? target : path, data, size);
	int why = errno;
	free(target);
	return ok ? EVN_OK : evn_fail(err, EVN_ERR_FILE, "%s: could not write %zu bytes: %s", path, size, strerror(why));
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
