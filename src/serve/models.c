/* models.c - GET /health, /v1/models, /v1/models/ID and /openapi.json. */
#include "serve/endpoints.h"
#include "serve/server.h"
#include "serve/static_files.h"

#include <string.h>

/* Of the models that are loaded. */
static bool all_work(server *s)
{
	bool work = true;
	for (size_t i = 0; i < s->catalog.n; i++) {
		served_model *m = catalog_look(s, i);
		work &= !m || evn_engine_works(m->m.engine);
		catalog_look_away(s, m);
	}
	return work;
}

bool endpoint_health(exchange *x)
{
	const bool ready = atomic_load(&x->server->ready);
	if (ready && all_work(x->server)) {
		reply_json(&x->reply, 200, json_pack("{s:s}", "status", "ok"));
		return true;
	}
	problem p = {0};
	problem_set(&p, 503, NULL, NULL, ready ? "every device has failed" : "the model is being loaded");
	reply_problem(&x->reply, &p);
	return true;
}

/* "meta" and "status" are as llama-server has them. The context is known of a model that is loaded. */
static json_t *describe_model(server *s, size_t i)
{
	const served_model *m = &s->catalog.models[i];
	const evn_model_info info = m->entry.info;
	served_model *loaded = catalog_look(s, i);
	json_t *meta = json_pack("{s:I, s:I, s:I, s:I, s:I}", "n_vocab", (json_int_t)info.vocab, "n_ctx_train",
							 (json_int_t)info.n_ctx_train, "n_embd", (json_int_t)info.dim, "n_params",
							 (json_int_t)info.n_params, "size", (json_int_t)info.tensor_bytes);
	json_t *root = json_pack("{s:s, s:s, s:I, s:s, s:{s:s}, s:o}", "id", m->name, "object", "model", "created",
							 (json_int_t)s->created, "owned_by", "evener", "status", "value",
							 loaded ? "loaded" : "unloaded", "meta", meta);
	if (root && loaded)
		json_object_set_new(root, "max_model_len", json_integer((json_int_t)evn_engine_context(loaded->m.engine)));
	catalog_look_away(s, loaded);
	return root;
}

bool endpoint_models(exchange *x)
{
	json_t *list = json_array();
	for (size_t i = 0; list && i < x->server->catalog.n; i++)
		if (json_array_append_new(list, describe_model(x->server, i)) != 0) {
			json_decref(list);
			list = NULL;
		}
	reply_json(&x->reply, 200, json_pack("{s:s, s:o}", "object", "list", "data", list));
	return true;
}

bool endpoint_model(exchange *x)
{
	problem p = {0};
	for (size_t i = 0; i < x->server->catalog.n; i++)
		if (strcmp(x->rest, x->server->catalog.models[i].name) == 0) {
			reply_json(&x->reply, 200, describe_model(x->server, i));
			return true;
		}
	catalog_check(x, x->rest, &p);
	reply_problem(&x->reply, &p);
	return true;
}

bool endpoint_openapi(exchange *x)
{
	x->reply.status = 200;
	reply_copy(&x->reply, "application/json", static_openapi_json, static_openapi_json_bytes);
	return true;
}
