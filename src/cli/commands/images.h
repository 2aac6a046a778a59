/* images.h - the images of a command: files, cut into tiles and made ready for the model. */
#ifndef EVN_CLI_IMAGES_H
#define EVN_CLI_IMAGES_H

#include "cli/commands/texts.h"
#include "image/image.h"

typedef struct {
	uint32_t rows, columns;
} tiles;

/* "2x3": two rows of three; NULL: the whole image is one. */
evn_status tiles_parse(const char *text, tiles *out, evn_error *err);
static inline uint32_t tiles_count(tiles t) { return t.rows * t.columns; }
evn_image_part tiles_part(tiles t, uint32_t width, uint32_t height, uint32_t i);

/* The images of --image, and of the arguments that are no config. *out (malloc'd) borrows them. */
evn_status images_of_command(const settings *s, const char *const *arguments, size_t n_arguments, const char ***out,
							 size_t *n, evn_error *err);
/* Whole tiles are given to ranks where that is predicted to be faster; otherwise matrices are split unless the user
 * says otherwise. */
evn_split_mode images_split(const settings *s);
/* True for an argument that names a config, where --image is given. */
bool images_is_config(const char *argument);

/* The items of t: the tiles of each file, one file after the other, as the model reads them. Lines are the files'
 * paths, with [row,column] of a tile. EVN_ERR_USAGE if the model reads texts. */
evn_status images_take(texts *t, const evn_model *m, const char *const *paths, size_t n, tiles cut, evn_error *err);

#endif
