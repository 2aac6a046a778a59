/* cmd_classify.c - evener classify: the class of each line of a text, each record of a CSV file or each image, by the
 * head of a model, or by one that it learns from records whose classes are known. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/base.h"
#include "cli/cli.h"
#include "cli/commands/findings.h"
#include "cli/commands/prompt.h"
#include "cli/commands/records.h"
#include "cli/show/console.h"
#include "cli/show/json.h"
#include "cli/show/table.h"
#include "evener/classify.h"

typedef struct {
	const settings *settings;
	evn_model *model;
	evn_embedder *embedder;
	evn_classifier *head;
	records records;
	texts texts;
	char *csv;
	const invocation *in;
	bool images;  /* the items are images */
	char **paths; /* of records that are images; (records.n) */
	tiles cut;
	size_t n;            /* texts, or images, each of which is tiles_count(cut) texts */
	double *p, *joined;  /* (texts, classes), (n, classes) */
	const char **files;  /* (n) of images */
	const char **labels; /* of what is learned: (n_labels), sorted; they are those of records */
	uint32_t *classes, n_labels;
} job;

static bool is_csv(const settings *s)
{
	const size_t n = s->prompt_file && !s->prompt ? strlen(s->prompt_file) : 0;
	return n > 4 && !strcmp(s->prompt_file + n - 4, ".csv");
}

/* ---- images ---------------------------------------------------------------------------------------------------- */

/* A path of a CSV file is relative to the file. */
static evn_status paths_of_records(job *j, const char ***out, evn_error *err)
{
	const char *file = j->settings->prompt_file, *slash = strrchr(file, '/');
	const int folder = slash ? (int)(slash - file + 1) : 0;
	j->paths = calloc(j->records.n, sizeof *j->paths);
	*out = malloc(j->records.n * sizeof **out);
	if (!j->paths || !*out)
		return evn_fail_memory(err, "the images", 0);
	for (size_t i = 0; i < j->records.n; i++) {
		const char *path = j->records.images[i];
		(*out)[i] = j->paths[i] = evn_format("%.*s%s", *path == '/' ? 0 : folder, file, path);
		if (!j->paths[i])
			return evn_fail_memory(err, "the images", 0);
	}
	return EVN_OK;
}

static evn_status read_images(job *j, evn_error *err)
{
	size_t n = j->records.n;
	j->texts.lines = NULL; /* those of the records were texts */
	j->texts.n = 0;
	EVN_TRY(j->records.images
				? paths_of_records(j, &j->files, err)
				: images_of_command(j->settings, j->in->arguments, j->in->n_arguments, &j->files, &n, err));
	if (j->settings->picture && n != 1 && !j->settings->learn_path)
		return evn_fail(err, EVN_ERR_USAGE, "--picture draws one image, and there are %zu", n);
	return images_take(&j->texts, j->model, j->files, n, j->cut, err);
}

/* Texts as ids, or images. */
static evn_status make_items(job *j, evn_error *err)
{
	evn_image_form form;
	EVN_TRY(evn_model_image_form(j->model, &form, err));
	j->images = j->settings->images.n || (form.size && j->records.images);
	if (!j->images && (j->settings->tiles || (j->settings->picture && !j->settings->learn_path)))
		return evn_fail(err, EVN_ERR_USAGE, "%s is for images", j->settings->tiles ? "--tiles" : "--picture");
	return j->images ? read_images(j, err) : texts_tokenize(&j->texts, j->model, err);
}

/* ---- texts ----------------------------------------------------------------------------------------------------- */

static evn_status read_texts(job *j, evn_error *err)
{
	size_t n;
	const settings *s = j->settings;
	EVN_TRY(tiles_parse(s->tiles, &j->cut, err));
	if (s->learn_path && (s->tiles || s->split == EVN_SPLIT_SEQUENCE))
		return evn_fail(err, EVN_ERR_USAGE, "--learn works without --tiles and --split sequence");
	if (s->images.n && s->prompt_file)
		return evn_fail(err, EVN_ERR_USAGE, "--image and --file exclude each other");
	if (s->images.n && !s->learn_path)
		return EVN_OK;
	if (!is_csv(s))
		return s->learn_path ? evn_fail(err, EVN_ERR_USAGE, "--learn needs records with classes: -f FILE.csv")
							 : texts_read_lines(&j->texts, err);
	EVN_TRY(prompt_read(s, false, &j->csv, &n, err));
	EVN_TRY(records_read(&j->records, j->csv, n, s->label_column, s->learn_path != NULL, s->prompt_file, err));
	j->texts.lines = j->records.texts;
	j->texts.n = j->records.n;
	return EVN_OK;
}

/* ---- learning -------------------------------------------------------------------------------------------------- */

static int by_name(const void *a, const void *b) { return strcmp(*(const char *const *)a, *(const char *const *)b); }

static int is_name(const void *name, const void *label) { return strcmp(name, *(const char *const *)label); }

/* The different classes of the records in the order of their names, and the class of each record. */
static evn_status number_classes(job *j, evn_error *err)
{
	const size_t n = j->records.n;
	j->labels = malloc(n * sizeof *j->labels);
	j->classes = malloc(n * sizeof *j->classes);
	if (!j->labels || !j->classes)
		return evn_fail_memory(err, "the classes", n * sizeof *j->labels);
	memcpy(j->labels, j->records.classes, n * sizeof *j->labels);
	qsort(j->labels, n, sizeof *j->labels, by_name);
	size_t n_labels = 0;
	for (size_t i = 0; i < n; i++)
		if (!n_labels || strcmp(j->labels[n_labels - 1], j->labels[i]) != 0)
			j->labels[n_labels++] = j->labels[i];
	if (n_labels > EVN_MOST_CLASSES)
		return evn_fail(err, EVN_ERR_LIMIT, "%s: %zu different classes, at most %u can be learned; is --label right?",
						j->settings->prompt_file, n_labels, EVN_MOST_CLASSES);
	j->n_labels = (uint32_t)n_labels;
	for (size_t i = 0; i < n; i++) {
		const char **found = bsearch(j->records.classes[i], j->labels, n_labels, sizeof *j->labels, is_name);
		j->classes[i] = (uint32_t)(found - j->labels);
	}
	return EVN_OK;
}

static evn_status print_confusion(const job *j, const uint32_t *confusion, evn_error *err)
{
	char align[EVN_MOST_CLASSES + 2];
	memset(align, 'r', j->n_labels + 1);
	align[0] = 'l';
	align[j->n_labels + 1] = '\0';
	table t = table_start(align);
	table_cell(&t, "right class");
	for (uint32_t i = 0; i < j->n_labels; i++)
		table_cell(&t, "as %s", j->labels[i]);
	for (uint32_t r = 0; r < j->n_labels; r++) {
		table_cell(&t, "%s", j->labels[r]);
		for (uint32_t c = 0; c < j->n_labels; c++)
			table_cell(&t, "%u", confusion[(size_t)r * j->n_labels + c]);
	}
	return table_print(&t, err);
}

static evn_status print_learned(const job *j, const evn_learned *l, const uint32_t *confusion, evn_error *err)
{
	if (j->settings->json) {
		json_t *labels = json_array(), *rows = json_array();
		for (uint32_t i = 0; i < j->n_labels; i++) {
			json_t *row = json_array();
			for (uint32_t c = 0; c < j->n_labels; c++)
				json_push(&row, json_integer(confusion[(size_t)i * j->n_labels + c]));
			json_push(&labels, json_string(j->labels[i]));
			json_push(&rows, row);
		}
		return json_print(
			json_pack("{s:s, s:o, s:I, s:I, s:o, s:o, s:o, s:o}", "head", j->settings->learn_path, "labels", labels,
					  "learned", (json_int_t)l->n_learned, "held_out", (json_int_t)l->n_held_out, "loss",
					  json_number(l->loss), "accuracy", json_number(l->accuracy), "held_out_accuracy",
					  l->n_held_out ? json_number(l->held_out_accuracy) : json_null(), "confusion", rows),
			err);
	}
	printf("learned    %zu records, loss %.4f, %.1f %% right\n", l->n_learned, l->loss, 100 * l->accuracy);
	if (l->n_held_out)
		printf("held out   %zu records, %.1f %% right:\n\n", l->n_held_out, 100 * l->held_out_accuracy);
	else
		printf("held out   none; of the learned records:\n\n");
	return print_confusion(j, confusion, err);
}

static evn_status learn(job *j, evn_error *err)
{
	const settings *s = j->settings;
	const evn_learn_options o = {
		.passes = (uint32_t)s->passes, .held_out = s->classify_held_out, .progress = console_progress};
	evn_learned learned;
	uint32_t *confusion = calloc((size_t)j->n_labels * j->n_labels, sizeof *confusion);
	evn_status status = confusion ? EVN_OK : evn_fail_memory(err, "the classes", 0);
	if (status == EVN_OK)
		status = evn_classifier_learn(&j->head, evn_embedder_engine(j->embedder), j->texts.items, j->classes,
									  j->texts.n, j->labels, j->n_labels, &o, &learned, confusion, err);
	console_progress_end();
	if (status == EVN_OK)
		status = evn_classifier_save(j->head, s->learn_path, err);
	if (status == EVN_OK && s->picture)
		status = findings_draw_confusion(s->picture, j->labels, j->n_labels, confusion, err);
	if (status == EVN_OK)
		status = print_learned(j, &learned, confusion, err);
	free(confusion);
	return status;
}

/* ---- classes --------------------------------------------------------------------------------------------------- */

static const double *row_of(const job *j, size_t i) { return j->joined + i * evn_classifier_count(j->head); }

static uint32_t likeliest(const job *j, size_t i)
{
	return findings_likeliest(row_of(j, i), evn_classifier_count(j->head));
}

static const char *label_of(const job *j, size_t i) { return evn_classifier_label(j->head, likeliest(j, i)); }

/* For each record whose class is known. */
static size_t count_right(const job *j)
{
	size_t n = 0;
	for (size_t i = 0; i < j->n && j->records.classes; i++)
		n += !strcmp(label_of(j, i), j->records.classes[i]);
	return n;
}

static json_t *probabilities(const double *p, uint32_t n)
{
	json_t *list = json_array();
	for (uint32_t c = 0; c < n; c++)
		json_push(&list, json_number(p[c]));
	return list;
}

static json_t *tiles_of(const job *j, size_t image)
{
	const uint32_t n = evn_classifier_count(j->head), n_tiles = tiles_count(j->cut);
	json_t *list = json_array();
	for (uint32_t t = 0; t < n_tiles; t++) {
		const double *p = j->p + (image * n_tiles + t) * n;
		json_push(&list,
				  json_pack("{s:I, s:I, s:s, s:o}", "row", (json_int_t)(t / j->cut.columns) + 1, "column",
							(json_int_t)(t % j->cut.columns) + 1, "label",
							evn_classifier_label(j->head, findings_likeliest(p, n)), "p", probabilities(p, n)));
	}
	return list;
}

static json_t *ranks_of(const job *j)
{
	const evn_score_info *info = evn_embedder_info(j->embedder);
	json_t *list = json_array();
	for (size_t i = 0; i < info->n_ranks; i++)
		json_push(&list, json_pack("{s:s, s:o, s:I}", "device", info->ranks[i].device, "share",
								   json_number(info->ranks[i].share), "tiles", (json_int_t)info->ranks[i].windows));
	return list;
}

static evn_status print_json(const job *j, evn_error *err)
{
	const uint32_t n = evn_classifier_count(j->head);
	json_t *labels = json_array(), *list = json_array();
	for (uint32_t i = 0; i < n; i++)
		json_push(&labels, json_string(evn_classifier_label(j->head, i)));
	for (size_t i = 0; i < j->n; i++) {
		json_t *item = json_pack("{s:s, s:o}", "label", label_of(j, i), "p", probabilities(row_of(j, i), n));
		if (j->images)
			json_object_set_new(item, "image", json_string(j->files[i]));
		if (j->settings->tiles)
			json_object_set_new(item, "tiles", tiles_of(j, i));
		json_push(&list, item);
	}
	json_t *accuracy = j->records.classes ? json_number((double)count_right(j) / (double)j->n) : json_null();
	json_t *all =
		json_pack("{s:o, s:o, s:o}", "labels", labels, j->images ? "images" : "texts", list, "accuracy", accuracy);
	if (j->settings->tiles) {
		const bool sequence = evn_embedder_info(j->embedder)->split == EVN_SPLIT_SEQUENCE;
		json_object_set_new(all, "split", json_string(sequence ? "sequence" : "tensor"));
		json_object_set_new(all, "ranks", ranks_of(j));
	}
	return json_print(all, err);
}

static void note_ranks(const job *j)
{
	const evn_score_info *info = evn_embedder_info(j->embedder);
	for (size_t i = 0; i < info->n_ranks && info->split == EVN_SPLIT_SEQUENCE; i++)
		console_note("%s (%s): %llu of %zu %s", info->ranks[i].device, info->ranks[i].name,
					 (unsigned long long)info->ranks[i].windows, j->texts.n,
					 j->settings->tiles ? "tiles"
					 : j->images        ? "images"
										: "texts");
}

/* The class, its probability and the text or image, with tabs between them; then those of its tiles. */
static void print_lines(const job *j)
{
	const uint32_t n = evn_classifier_count(j->head), n_tiles = tiles_count(j->cut);
	note_ranks(j);
	for (size_t i = 0; i < j->n; i++) {
		printf("%s\t%.4f\t%s\n", label_of(j, i), row_of(j, i)[likeliest(j, i)],
			   j->images ? j->files[i] : j->texts.lines[i]);
		for (size_t t = i * n_tiles; t < (i + 1) * n_tiles && n_tiles > 1; t++) {
			const double *p = j->p + t * n;
			const uint32_t best = findings_likeliest(p, n);
			printf("%s\t%.4f\t%s\n", evn_classifier_label(j->head, best), p[best], j->texts.lines[t]);
		}
	}
	if (j->records.classes)
		fprintf(stderr, "%zu of %zu records have the class of the file, %.1f %%\n", count_right(j), j->n,
				100.0 * (double)count_right(j) / (double)j->n);
}

static evn_status find_classes(job *j, evn_error *err)
{
	const uint32_t n = evn_classifier_count(j->head), n_tiles = tiles_count(j->cut);
	evn_embed_options o = evn_classify_options(j->head, evn_embedder_engine(j->embedder));
	o.progress = console_progress;
	j->n = j->texts.n / n_tiles;
	j->p = malloc(j->texts.n * n * sizeof *j->p);
	j->joined = malloc(j->n * n * sizeof *j->joined);
	if (!j->p || !j->joined)
		return evn_fail_memory(err, "the classes", j->texts.n * n * sizeof *j->p);
	EVN_TRY(evn_embedder_run(j->embedder, &o, j->texts.items, j->texts.n, err));
	console_progress_end();
	EVN_TRY(evn_classify_vectors(j->head, j->texts.items, j->texts.n, j->p, err));
	if (n_tiles == 1)
		memcpy(j->joined, j->p, j->n * n * sizeof *j->p);
	for (size_t i = 0; i < j->n && n_tiles > 1; i++)
		findings_join(j->head, j->p + i * n_tiles * n, n_tiles, j->settings->join, j->joined + i * n);
	return EVN_OK;
}

static evn_status classify(job *j, evn_error *err)
{
	const settings *s = j->settings;
	EVN_TRY(find_classes(j, err));
	if (s->picture)
		EVN_TRY(findings_draw(s->picture, j->files[0], j->cut, j->head, j->p, j->joined, err));
	if (s->json)
		return print_json(j, err);
	print_lines(j);
	return EVN_OK;
}

static evn_status run(job *j, evn_error *err)
{
	const settings *s = j->settings;
	const evn_options o = settings_engine_options(s);
	EVN_TRY(read_texts(j, err));
	EVN_TRY(settings_open_model(s, &j->model, err));
	if (!s->learn_path)
		EVN_TRY(evn_classifier_open(&j->head, j->model, s->head_path, err));
	EVN_TRY(make_items(j, err));
	if (s->learn_path)
		EVN_TRY(number_classes(j, err));
	EVN_TRY(evn_embedder_open(&j->embedder, j->model, &o, images_split(s), j->texts.n, err));
	console_progress_end();
	EVN_TRY(texts_make_vectors(&j->texts, evn_embedder_engine(j->embedder), err));
	return s->learn_path ? learn(j, err) : classify(j, err);
}

evn_status cmd_classify(const invocation *in, evn_error *err)
{
	job j = {.settings = &in->settings, .texts = {.settings = &in->settings}, .in = in};
	const evn_status status = run(&j, err);
	console_progress_end();
	texts_free(&j.texts);
	for (size_t i = 0; i < j.records.n && j.paths; i++)
		free(j.paths[i]);
	free(j.paths);
	records_free(&j.records);
	free(j.csv);
	free(j.labels);
	free(j.classes);
	free(j.p);
	free(j.joined);
	free(j.files);
	evn_classifier_free(j.head);
	evn_embedder_close(j.embedder);
	evn_model_close(j.model);
	return status;
}
