#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "config/config.h"

#define LINE_BYTES 1024 /* a longer line is cut */
#define MAX_LINES 1000  /* what comes after is counted */

struct line {
	char *text;
	size_t file_bytes; /* the start of `text` that is the file's name */
	unsigned line, column;
	size_t order; /* of being added */
};

struct fg_report {
	struct line *lines;
	size_t n_lines, n_room;
	size_t n_lost; /* not among `lines` */
	bool is_out_of_memory;
	bool is_sorted;
	char lost[96];
};

struct fg_report *fg_report_new(void)
{
	return calloc(1, sizeof(struct fg_report));
}

struct fg_report *fg_report_free(struct fg_report *report)
{
	if (!report)
		return NULL;
	for (size_t i = 0; i < report->n_lines; i++)
		free(report->lines[i].text);
	free(report->lines);
	free(report);
	return NULL;
}

static struct line *line_new(struct fg_report *report)
{
	if (report->n_lines == MAX_LINES)
		return NULL;
	if (report->n_lines == report->n_room) {
		size_t n_room = report->n_room ? 2 * report->n_room : 16;
		struct line *lines = realloc(report->lines, n_room * sizeof(*lines));

		if (!lines) {
			report->is_out_of_memory = true;
			return NULL;
		}
		report->lines = lines;
		report->n_room = n_room;
	}
	return &report->lines[report->n_lines];
}

/* @used is what snprintf() wanted to write: the length that is really there. */
static size_t written(int used, size_t room)
{
	if (used < 0)
		return 0;
	return (size_t)used < room ? (size_t)used : room - 1;
}

void fg_report_add(struct fg_report *report, const struct fg_place *place, const char *format, ...)
{
	const char *file = place && place->file ? place->file : "";
	char text[LINE_BYTES];
	struct line *line;
	size_t size = 0;
	va_list args;

	if (*file && place->line > 0)
		size = written(snprintf(text, sizeof(text), "%s:%u:%u: ", file, place->line,
					place->column),
			       sizeof(text));
	else if (*file)
		size = written(snprintf(text, sizeof(text), "%s: ", file), sizeof(text));
	va_start(args, format);
	size += written(vsnprintf(text + size, sizeof(text) - size, format, args),
			sizeof(text) - size);
	va_end(args);
	/* The text quotes files: a line break in there must not look like a line of ours. */
	for (size_t i = 0; i < size; i++)
		if ((unsigned char)text[i] < 0x20 || text[i] == 0x7f)
			text[i] = '?';

	line = line_new(report);
	if (line && !(line->text = malloc(size + 1)))
		report->is_out_of_memory = true;
	if (!line || !line->text) {
		report->n_lost++;
		return;
	}
	memcpy(line->text, text, size);
	line->text[size] = '\0';
	line->file_bytes = strlen(file) < size ? strlen(file) : size;
	line->line = place ? place->line : 0;
	line->column = place ? place->column : 0;
	line->order = report->n_lines++;
	report->is_sorted = false;
}

size_t fg_report_count(const struct fg_report *report)
{
	return report->n_lines + (report->n_lost > 0);
}

static int compare_lines(const void *left, const void *right)
{
	const struct line *a = left, *b = right;
	size_t common = a->file_bytes < b->file_bytes ? a->file_bytes : b->file_bytes;
	int r = memcmp(a->text, b->text, common);

	if (r != 0)
		return r;
	if (a->file_bytes != b->file_bytes)
		return a->file_bytes < b->file_bytes ? -1 : 1;
	if (a->line != b->line)
		return a->line < b->line ? -1 : 1;
	if (a->column != b->column)
		return a->column < b->column ? -1 : 1;
	return a->order < b->order ? -1 : 1;
}

const char *fg_report_line(struct fg_report *report, size_t i)
{
	if (i >= report->n_lines) {
		snprintf(report->lost, sizeof(report->lost), "%zu more mistakes are not shown%s",
			 report->n_lost, report->is_out_of_memory ? ": out of memory" : "");
		return report->lost;
	}
	if (!report->is_sorted)
		qsort(report->lines, report->n_lines, sizeof(*report->lines), compare_lines);
	report->is_sorted = true;
	return report->lines[i].text;
}
