/* models.c - GET /health, /v1/models, /v1/models/ID and /openapi.json. */
#include "serve/endpoints.h"
#include "serve/server.h"
#include "serve/static_files.h"

#include <string.h>

bool endpoint_health(exchange *x)
{
	const bool ready = atomic_load(&x->server->ready);
	if (ready && evn_engine_works(x->server->model.engine)) {
		reply_json(&x->reply, 200, json_pack("{s:s}", "status", "ok"));
		return true;
	}
	problem p = {0};
	problem_set(&p, 503, NULL, NULL, ready ? "every device has failed" : "the model is being loaded");
	reply_problem(&x->reply, &p);
	return true;
}

/* "meta" is as llama-server has it. */
static json_t *describe_model(const server *s)
{
	evn_model_info info = evn_model_get_info(s->model.model);
	json_t *meta = json_pack("{s:I, s:I, s:I, s:I, s:I}", "n_vocab", (json_int_t)info.vocab, "n_ctx_train",
							 (json_int_t)info.n_ctx_train, "n_embd", (json_int_t)info.dim, "n_params",
							 (json_int_t)info.n_params, "size", (json_int_t)info.tensor_bytes);
	return json_pack("{s:s, s:s, s:I, s:s, s:I, s:o}", "id", s->model_name, "object", "model", "created",
					 (json_int_t)s->created, "owned_by", "evener", "max_model_len",
					 (json_int_t)evn_engine_context(s->model.engine), "meta", meta);
}

bool endpoint_models(exchange *x)
{
	reply_json(&x->reply, 200, json_pack("{s:s, s:[o]}", "object", "list", "data", describe_model(x->server)));
	return true;
}

bool endpoint_model(exchange *x)
{
	if (strcmp(x->rest, x->server->model_name) == 0) {
		reply_json(&x->reply, 200, describe_model(x->server));
		return true;
	}
	problem p = {0};
	problem_set(&p, 404, "model_not_found", "model", "model: expected '%.100s', found '%.100s'",
				x->server->model_name, x->rest);
	reply_problem(&x->reply, &p);
	return true;
}

bool endpoint_openapi(exchange *x)
{
	x->reply.status = 200;
	reply_copy(&x->reply, "application/json", static_openapi_json, static_openapi_json_bytes);
	return true;
}
