/* editor.c - see editor.h. libedit edits; the history is in the user's state folder. */
#include "cli/chat/editor.h"
#include "base/base.h"
#include "cli/interrupt.h"

#include <errno.h>
#include <histedit.h>
#include <langinfo.h>
#include <locale.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <wchar.h>

#define HISTORY_LINES 1000
#define WAIT_MS 200

struct editor {
	EditLine *line; /* NULL: plain lines */
	History *history;
	const char *prompt;
	char *history_path; /* NULL: the history is not kept */
	char *plain;
	size_t plain_room;
	char *text; /* the last line without its newline */
};

static char *get_prompt(EditLine *line)
{
	editor *e;
	el_get(line, EL_CLIENTDATA, &e);
	return (char *)e->prompt;
}

/* libedit needs to know that the terminal speaks UTF-8. */
static void set_locale(void)
{
	if (!setlocale(LC_CTYPE, "") || strcmp(nl_langinfo(CODESET), "UTF-8") != 0)
		setlocale(LC_CTYPE, "C.UTF-8");
}

static bool make_folders(char *path)
{
	for (char *slash = strchr(path + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
		*slash = '\0';
		bool there = mkdir(path, 0700) == 0 || errno == EEXIST;
		*slash = '/';
		if (!there)
			return false;
	}
	return true;
}

/* $XDG_STATE_HOME/evener/chat_history, else ~/.local/state/evener/chat_history. */
static char *find_history(void)
{
	const char *state = getenv("XDG_STATE_HOME"), *home = getenv("HOME");
	char *path = state && *state == '/' ? evn_format("%s/evener/chat_history", state)
				 : home && *home == '/' ? evn_format("%s/.local/state/evener/chat_history", home)
										: NULL;
	if (path && make_folders(path))
		return path;
	free(path);
	return NULL;
}

/* A signal may come just before the wait, or to another thread. So every wait is short. */
static int read_character(EditLine *line, wchar_t *c)
{
	mbstate_t state = {0};
	struct pollfd input = {.fd = STDIN_FILENO, .events = POLLIN};
	(void)line;
	for (;;) {
		char byte;
		int ready = poll(&input, 1, WAIT_MS);
		if (interrupted() || (ready < 0 && errno != EINTR))
			return -1;
		if (ready <= 0)
			continue;
		ssize_t n = read(STDIN_FILENO, &byte, 1);
		if (n <= 0 && !(n < 0 && errno == EINTR))
			return (int)n;
		size_t got = n > 0 ? mbrtowc(c, &byte, 1, &state) : (size_t)-2;
		if (got == (size_t)-1)
			*c = L'?'; /* not UTF-8 */
		if (got != (size_t)-2)
			return 1;
	}
}

static evn_status open_terminal(editor *e, evn_error *err)
{
	HistEvent event;
	set_locale();
	e->line = el_init("evener", stdin, stdout, stderr);
	e->history = history_init();
	if (!e->line || !e->history)
		return evn_fail(err, EVN_ERR_FILE, "the terminal cannot be edited on (TERM is %s)",
						getenv("TERM") ? getenv("TERM") : "not set");
	history(e->history, &event, H_SETSIZE, HISTORY_LINES);
	history(e->history, &event, H_SETUNIQUE, 1);
	e->history_path = find_history();
	if (e->history_path)
		history(e->history, &event, H_LOAD, e->history_path);
	el_set(e->line, EL_CLIENTDATA, e);
	el_set(e->line, EL_PROMPT, get_prompt);
	el_set(e->line, EL_GETCFN, read_character);
	el_set(e->line, EL_EDITOR, "emacs");
	el_set(e->line, EL_HIST, history, e->history);
	el_set(e->line, EL_BIND, "^R", "em-inc-search-prev", NULL);
	el_source(e->line, NULL); /* ~/.editrc */
	return EVN_OK;
}

evn_status editor_open(editor **out, bool terminal, evn_error *err)
{
	editor *e = calloc(1, sizeof *e);
	*out = e;
	if (!e)
		return evn_fail_memory(err, "the editor", sizeof *e);
	return terminal ? open_terminal(e, err) : EVN_OK;
}

/* Beside the file first, so that a full disk does not cost the old history. libedit gives it mode 0600. */
static void save_history(editor *e)
{
	HistEvent event;
	char *fresh = evn_format("%s.%ld", e->history_path, (long)getpid());
	if (fresh && (history(e->history, &event, H_SAVE, fresh) < 0 || rename(fresh, e->history_path) != 0))
		remove(fresh);
	free(fresh);
}

void editor_close(editor *e)
{
	if (!e)
		return;
	if (e->history && e->history_path)
		save_history(e);
	if (e->line)
		el_end(e->line);
	if (e->history)
		history_end(e->history);
	free(e->history_path);
	free(e->plain);
	free(e->text);
	free(e);
}

static line_result read_plain(editor *e, const char **line, size_t *n)
{
	errno = 0;
	ssize_t got = getline(&e->plain, &e->plain_room, stdin);
	if (got < 0)
		return interrupted() ? LINE_INTERRUPTED : LINE_END;
	*n = (size_t)got - (e->plain[got - 1] == '\n');
	e->plain[*n] = '\0';
	*line = e->plain;
	return LINE_READ;
}

line_result editor_read(editor *e, const char *prompt, const char **line, size_t *n)
{
	int count = 0;
	if (!e->line)
		return read_plain(e, line, n);
	e->prompt = prompt;
	const char *got = el_gets(e->line, &count);
	if (interrupted())
		return LINE_INTERRUPTED;
	if (!got || count <= 0)
		return LINE_END;
	free(e->text);
	e->text = evn_strdup(got);
	if (!e->text)
		return LINE_END;
	*n = strcspn(e->text, "\n");
	e->text[*n] = '\0';
	*line = e->text;
	return LINE_READ;
}

void editor_remember(editor *e, const char *text)
{
	HistEvent event;
	if (e->history && *text)
		history(e->history, &event, H_ENTER, text);
}
