/* images.c - how a model reads images (see evener/embed.h). */
#include "engine/engine.h"
#include "evener/embed.h"

evn_status evn_model_image_form(const evn_model *m, evn_image_form *out, evn_error *err)
{
	evn_graph *g;
	*out = (evn_image_form){0};
	EVN_TRY(evn_graph_make(&g, m, err));
	const evn_patches *p = &g->patches;
	if (p->floats)
		*out = (evn_image_form){
			.size = p->across * p->side, .n_rows = evn_patch_rows(p), .edge = p->edge, .bicubic = p->bicubic};
	evn_graph_free(g);
	return EVN_OK;
}
