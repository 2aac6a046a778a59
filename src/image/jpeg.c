/* jpeg.c - JPEG files by libjpeg. Its errors jump here, instead of ending the program. */
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>

#include <jpeglib.h>

#include <jerror.h>

#include "image/image.h"

typedef struct {
	struct jpeg_decompress_struct jpeg;
	struct jpeg_error_mgr errors;
	jmp_buf failed;
	char message[JMSG_LENGTH_MAX];
	evn_image *out;
	const char *name;
	evn_error *err;
	evn_status status;
} reader;

static void fail(j_common_ptr jpeg)
{
	reader *r = jpeg->client_data;
	jpeg->err->format_message(jpeg, r->message);
	longjmp(r->failed, 1);
}

/* A file that is cut is a mere warning for libjpeg, which makes the rest grey. */
static void warn(j_common_ptr jpeg, int level)
{
	if (level < 0 && jpeg->err->msg_code == JWRN_JPEG_EOF)
		fail(jpeg);
}

static void decode(reader *r)
{
	struct jpeg_decompress_struct *jpeg = &r->jpeg;
	jpeg_read_header(jpeg, TRUE);
	jpeg->out_color_space = JCS_RGB;
	r->status = evn_image_create(r->out, r->name, jpeg->image_width, jpeg->image_height, r->err);
	if (r->status != EVN_OK)
		return;
	jpeg_start_decompress(jpeg);
	while (jpeg->output_scanline < jpeg->output_height) {
		JSAMPROW row = r->out->rgb + (size_t)jpeg->output_scanline * r->out->width * 3;
		jpeg_read_scanlines(jpeg, &row, 1);
	}
	jpeg_finish_decompress(jpeg);
}

evn_status evn_jpeg_read(evn_image *out, const char *name, const char *bytes, size_t n, evn_error *err)
{
	reader *r = calloc(1, sizeof *r);
	if (!r)
		return evn_fail_memory(err, name, sizeof *r);
	r->out = out;
	r->name = name;
	r->err = err;
	r->jpeg.err = jpeg_std_error(&r->errors);
	r->jpeg.client_data = r;
	r->errors.error_exit = fail;
	r->errors.emit_message = warn;
	if (setjmp(r->failed)) {
		r->status = evn_fail(err, EVN_ERR_FORMAT, "%s: a damaged JPEG file: %s", name, r->message);
	} else {
		jpeg_create_decompress(&r->jpeg);
		jpeg_mem_src(&r->jpeg, (const unsigned char *)bytes, (unsigned long)n);
		decode(r);
	}
	jpeg_destroy_decompress(&r->jpeg);
	const evn_status s = r->status;
	free(r);
	return s;
}
