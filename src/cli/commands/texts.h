/* texts.h - the texts of a command: the lines of a file, as ids, and the vectors that they get. Images take the place
 * of texts (images.h). */
#ifndef EVN_CLI_TEXTS_H
#define EVN_CLI_TEXTS_H

#include "cli/config/settings.h"
#include "evener/embed.h"

typedef struct {
	const settings *settings;
	char *bytes, **lines; /* lines: n beginnings in bytes, each ended by NUL; or the caller's texts */
	bool owns_lines;      /* each of them is malloc'd */
	size_t n;
	evn_embed_text *items;
	uint8_t *rgb;   /* of images; or NULL */
	float *vectors; /* (n, dim) */
	uint32_t dim;
} texts;

/* Each line of -p, -f or standard input is a text. */
evn_status texts_read_lines(texts *t, evn_error *err);
/* Before a device is touched, so that what is wrong with the texts is found at once. */
evn_status texts_tokenize(texts *t, const evn_model *m, evn_error *err);
/* Gives every item a vector to be written. */
evn_status texts_make_vectors(texts *t, const evn_engine *e, evn_error *err);
const char *texts_name(const settings *s); /* where they come from */
void texts_free(texts *t);

#endif
