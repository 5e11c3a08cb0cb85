/*
 * The commands of fieldgatectl that a running daemon has to do.
 */
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "control/client.h"
#include "control/commands.h"
#include "util/span.h"

/* Of messages in one request. */
#define MAX_NUMBERS 1000

static const struct option long_options[] = {
	{"json", no_argument, NULL, 'j'},
	{"state", required_argument, NULL, 's'},
	{"all", no_argument, NULL, 'a'},
	{"link", required_argument, NULL, 'l'},
	{NULL, 0, NULL, 0},
};

struct asking {
	const char *state;
	const char *link; /* or NULL */
	bool is_json, is_all;
	uint64_t n_done, n_kept;
	uint64_t next, last; /* where to go on (0: it is done), and with --all where to end */
};

static int read_options(int argc, char **argv, struct asking *a)
{
	int c;

	a->state = FG_CTL_STATE;
	optind = 1;
	while ((c = getopt_long(argc, argv, "", long_options, NULL)) != -1) {
		if (c == 'j')
			a->is_json = true;
		else if (c == 's')
			a->state = optarg;
		else if (c == 'a')
			a->is_all = true;
		else if (c == 'l')
			a->link = optarg;
		else
			return FG_EXIT_USAGE;
	}
	return 0;
}

static void print_raw(struct fg_json_value object)
{
	printf("%.*s\n", FG_SPAN_ARGS(object.text));
}

/* ---- status */

/* One line for each thing: what it is, its name, its state, then the rest: texts as JSON strings. */
static int print_status(void *arg, struct fg_json_value object)
{
	const struct asking *a = arg;
	struct fg_json_walk walk;
	struct fg_json_member m;
	char what[32], name[128], state[32];

	if (a->is_json) {
		print_raw(object);
		return 0;
	}
	fg_client_text(object, "what", what, sizeof(what));
	fg_client_text(object, "name", name, sizeof(name));
	fg_client_text(object, "state", state, sizeof(state));
	printf("%s%s%s:%s%s", what, name[0] ? " " : "", name, state[0] ? " " : "", state);
	fg_json_walk_begin(&walk, object);
	while (fg_json_walk_next(&walk, &m)) {
		if (fg_span_is(m.name, "what") || fg_span_is(m.name, "name") ||
		    fg_span_is(m.name, "state"))
			continue;
		if (m.value.type == FG_JSON_INTEGER || m.value.type == FG_JSON_STRING)
			printf(" %.*s=%.*s", FG_SPAN_ARGS(m.name), FG_SPAN_ARGS(m.value.text));
		else if (m.value.type == FG_JSON_TRUE && m.name.size > 3)
			printf(" %.*s", (int)m.name.size - 3, m.name.data + 3); /* is_… */
	}
	printf("\n");
	return 0;
}

int fg_ctl_status(int argc, char **argv)
{
	struct asking a = {.state = NULL};
	struct fg_error err = {0};
	int r = read_options(argc, argv, &a);

	if (r != 0)
		return fg_ctl_usage("status: wrong option");
	if (optind < argc)
		return fg_ctl_usage("status: what is \"%s\"?", argv[optind]);
	if (fg_client_ask(a.state, fg_span_str("{\"command\":\"status\"}"), print_status, &a,
			  &err) < 0)
		return fg_ctl_fail("%s", err.text);
	return fg_ctl_flush(FG_EXIT_OK);
}

/* ---- quarantine retry, quarantine drop */

static int print_result(void *arg, struct fg_json_value object)
{
	struct asking *a = arg;
	struct fg_json_value member;
	char result[32], error[512];

	if (fg_json_member(object, fg_span_str("next"), &member)) {
		a->next = fg_client_number(object, "next");
		a->last = fg_client_number(object, "last");
		return 0;
	}
	fg_client_text(object, "result", result, sizeof(result));
	*(strcmp(result, "kept") == 0 ? &a->n_kept : &a->n_done) += 1;
	if (a->is_json) {
		print_raw(object);
		return 0;
	}
	fg_client_text(object, "error", error, sizeof(error));
	printf("%" PRIu64 " %s%s%s\n", fg_client_number(object, "number"), result,
	       error[0] ? ": " : "", error);
	return 0;
}

static int ask(struct asking *a, const char *text)
{
	struct fg_error err = {0};

	if (fg_client_ask(a->state, fg_span_str(text), print_result, a, &err) < 0)
		return fg_ctl_fail("%s", err.text);
	return 0;
}

/* Ask for up to MAX_NUMBERS of them, from number @from on. Returns 0, or an exit status. */
static int ask_for_some(struct asking *a, const char *command, uint64_t from, int n, char **numbers)
{
	char *text = NULL;
	size_t size = 0;
	FILE *request = open_memstream(&text, &size);
	const char *comma = "";
	int r;

	if (!request)
		return fg_ctl_fail("out of memory");
	fprintf(request, "{\"command\":\"%s\",\"numbers\":[", command);
	for (int i = 0; i < n; i++) {
		uint64_t number = 0;

		fg_ctl_number(numbers[i], &number);
		if (number < from)
			continue;
		fprintf(request, "%s%" PRIu64, comma, number);
		comma = ",";
	}
	fprintf(request, "]}");
	fclose(request);
	r = text ? ask(a, text) : fg_ctl_fail("out of memory");
	free(text);
	return r;
}

/* The numbers on the command line, none of which is asked for when one is wrong. */
static int ask_for_numbers(struct asking *a, const char *command, int argc, char **argv)
{
	uint64_t number, from;
	int r = 0;

	for (int i = optind; i < argc; i++)
		if (!fg_ctl_number(argv[i], &number) || number == 0)
			return fg_ctl_usage("quarantine %s: \"%s\" is not the number of a message",
					    argv[0], argv[i]);
	for (int i = optind; i < argc && r == 0; i += MAX_NUMBERS) {
		int n = argc - i < MAX_NUMBERS ? argc - i : MAX_NUMBERS;

		do {
			from = a->next;
			a->next = 0;
			r = ask_for_some(a, command, from, n, argv + i);
		} while (r == 0 && a->next > 0);
	}
	return r;
}

static int ask_for_all(struct asking *a, const char *command)
{
	char link[160] = "", text[320];
	int r;

	if (a->link) {
		size_t n = fg_json_quote(fg_span_str(a->link), link, sizeof(link) - 1);

		if (n >= sizeof(link))
			return fg_ctl_usage("--link: the name is too long");
		link[n] = '\0';
	}
	a->last = UINT64_MAX;
	do {
		uint64_t from = a->next, last = a->last;

		a->next = 0;
		snprintf(text, sizeof(text),
			 "{\"command\":\"%s\",\"from\":%" PRIu64 ",\"last\":%" PRIu64 "%s%s}",
			 command, from, last, link[0] ? ",\"link\":" : "", link);
		r = ask(a, text);
	} while (r == 0 && a->next > 0);
	return r;
}

static int quarantine(int argc, char **argv, const char *command)
{
	struct asking a = {.state = NULL};
	int r = read_options(argc, argv, &a);

	if (r != 0)
		return fg_ctl_usage("quarantine %s: wrong option", argv[0]);
	if (a.is_all == (optind < argc))
		return fg_ctl_usage(
			"quarantine %s: which? Numbers as \"quarantine list\" tells them, or "
			"--all",
			argv[0]);
	if (a.link && !a.is_all)
		return fg_ctl_usage("quarantine %s: --link goes with --all", argv[0]);
	r = a.is_all ? ask_for_all(&a, command) : ask_for_numbers(&a, command, argc, argv);
	if (r != 0)
		return r;
	if (a.is_all && a.n_done + a.n_kept == 0 && !a.is_json)
		fprintf(stderr, "The quarantine %s%s.\n",
			a.link ? "has nothing of link " : "is empty", a.link ? a.link : "");
	else if (!a.is_json)
		printf("%" PRIu64 " %s, %" PRIu64 " kept\n", a.n_done,
		       strcmp(argv[0], "retry") == 0 ? "sent again" : "dropped", a.n_kept);
	return fg_ctl_flush(a.n_kept > 0 ? FG_EXIT_PROBLEMS : FG_EXIT_OK);
}

int fg_ctl_quarantine_retry(int argc, char **argv)
{
	return quarantine(argc, argv, "quarantine_retry");
}

int fg_ctl_quarantine_drop(int argc, char **argv)
{
	return quarantine(argc, argv, "quarantine_drop");
}
