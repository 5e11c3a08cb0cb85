#include "control/roundtrip_hops.h"

#include <inttypes.h>
#include <stdarg.h>
#include <string.h>

#include "control/output.h"
#include "util/span.h"

#define TEXT_BYTES 1024

static const struct {
	const char *word; /* in JSON */
	const char *text;
	const char *leg;
} names[FG_N_HOPS] = {
	[FG_HOP_GATEWAY] = {"gateway", "gateway", "start"},
	[FG_HOP_LOGIN] = {"login", "cloud login", "start"},
	[FG_HOP_BROKER] = {"broker", "field broker", "start"},
	[FG_HOP_PUBLISH] = {"publish", "published", "up"},
	[FG_HOP_ON_DISK] = {"on_disk", "on disk", "up"},
	[FG_HOP_IN_CLOUD] = {"in_cloud", "in the cloud", "up"},
	[FG_HOP_COMMAND] = {"command", "at the device", "down"},
	[FG_HOP_ANSWER] = {"answer", "device's answer", "down"},
	[FG_HOP_REST_ANSWER] = {"rest_answer", "back in the cloud", "down"},
};

static const struct {
	const char *word;
	const char *text;
} states[] = {
	[FG_HOP_NOT_TRIED] = {"not_tried", "-"},
	[FG_HOP_OK] = {"ok", "ok"},
	[FG_HOP_FAILED] = {"failed", "FAILED"},
	[FG_HOP_UNSEEN] = {"unseen", "unseen"},
};

static bool is_down(enum fg_hop hop)
{
	return hop >= FG_HOP_COMMAND;
}

void fg_hops_begin(struct fg_hops *h, FILE *file, bool is_json, bool has_command)
{
	*h = (struct fg_hops){.file = file, .is_json = is_json, .has_command = has_command};
}

static void print_line(struct fg_hops *h, enum fg_hop hop, const char *text, const char *advice)
{
	char took[32] = "";
	struct fg_line l;

	if (h->took_us[hop] >= 0)
		snprintf(took, sizeof(took), "%" PRId64 ".%02" PRId64 " ms", h->took_us[hop] / 1000,
			 h->took_us[hop] % 1000 / 10);
	fg_line_begin(&l, h->file, true);
	fg_line_add(&l, "  %-6s  %12s  %-17s  ", states[h->states[hop]].text, took,
		    names[hop].text);
	fg_line_add_text(&l, fg_span_str(text));
	fg_line_end(&l);
	if (!advice)
		return;
	fg_line_begin(&l, h->file, true);
	fg_line_add(&l, "  %20s    -> ", "");
	fg_line_add_text(&l, fg_span_str(advice));
	fg_line_end(&l);
}

static void print_object(struct fg_hops *h, enum fg_hop hop, const char *text, const char *advice)
{
	struct fg_object o;

	fg_object_begin(&o, h->file);
	fg_object_add_string(&o, "type", "hop");
	fg_object_add_string(&o, "leg", names[hop].leg);
	fg_object_add_string(&o, "hop", names[hop].word);
	fg_object_add_string(&o, "state", states[h->states[hop]].word);
	if (h->took_us[hop] >= 0)
		fg_object_add_int(&o, "took_us", h->took_us[hop]);
	if (*text)
		fg_object_add_string(&o, "text", text);
	if (advice)
		fg_object_add_string(&o, "advice", advice);
	fg_object_end(&o);
}

static void take(struct fg_hops *h, enum fg_hop hop, enum fg_hop_state state, int64_t took_us,
		 const char *text, const char *advice)
{
	h->states[hop] = state;
	h->took_us[hop] = took_us;
	if (h->is_json)
		print_object(h, hop, text, advice);
	else
		print_line(h, hop, text, advice);
	fflush(h->file); /* whoever waits wants to see what for */
}

void fg_hops_say(struct fg_hops *h, const char *format, ...)
{
	char text[TEXT_BYTES];
	struct fg_line l;
	va_list args;

	if (h->is_json)
		return;
	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	fg_line_begin(&l, h->file, true);
	fg_line_add_text(&l, fg_span_str(text));
	fg_line_end(&l);
	fflush(h->file);
}

void fg_hops_ok(struct fg_hops *h, enum fg_hop hop, int64_t took_us, const char *format, ...)
{
	char text[TEXT_BYTES];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	take(h, hop, FG_HOP_OK, took_us, text, NULL);
}

void fg_hops_failed(struct fg_hops *h, enum fg_hop hop, int64_t took_us, const char *advice,
		    const char *format, ...)
{
	char text[TEXT_BYTES];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	take(h, hop, FG_HOP_FAILED, took_us, text, advice);
}

void fg_hops_unseen(struct fg_hops *h, enum fg_hop hop, const char *format, ...)
{
	char text[TEXT_BYTES];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	take(h, hop, FG_HOP_UNSEEN, -1, text, NULL);
}

/* How long the hops from @first to @last took in all, or -1 when one of them failed. */
static int64_t sum(const struct fg_hops *h, enum fg_hop first, enum fg_hop last)
{
	int64_t all_us = 0;

	for (enum fg_hop hop = first; hop <= last; hop++) {
		if (h->states[hop] == FG_HOP_FAILED || h->states[hop] == FG_HOP_NOT_TRIED)
			return -1;
		if (h->took_us[hop] > 0)
			all_us += h->took_us[hop];
	}
	return all_us;
}

static void print_summary(const struct fg_hops *h, int failed, int64_t up_us, int64_t down_us)
{
	struct fg_object o;

	if (h->is_json) {
		fg_object_begin(&o, h->file);
		fg_object_add_string(&o, "type", "result");
		fg_object_add_bool(&o, "is_ok", failed < 0);
		if (failed >= 0)
			fg_object_add_string(&o, "failed", names[failed].word);
		if (up_us >= 0)
			fg_object_add_int(&o, "up_us", up_us);
		if (down_us >= 0)
			fg_object_add_int(&o, "down_us", down_us);
		fg_object_end(&o);
	} else if (failed >= 0) {
		fprintf(h->file, "FAILED at: %s\n", names[failed].text);
	} else if (h->has_command) {
		fprintf(h->file,
			"in order: up in %" PRId64 " ms, down and back in %" PRId64 " ms\n",
			up_us / 1000, down_us / 1000);
	} else {
		fprintf(h->file,
			"in order: up in %" PRId64 " ms; the way down was not asked for "
			"(--method)\n",
			up_us / 1000);
	}
}

bool fg_hops_end(struct fg_hops *h)
{
	int failed = -1;

	for (int hop = 0; hop < FG_N_HOPS; hop++) {
		if (failed < 0 && h->states[hop] == FG_HOP_FAILED)
			failed = hop;
		if (h->states[hop] == FG_HOP_NOT_TRIED &&
		    (h->has_command || !is_down((enum fg_hop)hop)))
			take(h, (enum fg_hop)hop, FG_HOP_NOT_TRIED, -1, "not tried", NULL);
	}
	print_summary(h, failed, sum(h, FG_HOP_PUBLISH, FG_HOP_IN_CLOUD),
		      sum(h, FG_HOP_COMMAND, FG_HOP_REST_ANSWER));
	return failed < 0;
}
