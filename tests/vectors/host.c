/*
 * The host as the plugin sees it. Each call becomes a line of JSON, and a step that says what must
 * have been called next is compared with it.
 */
#include "play.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "util/span.h"

#define MAX_CALLS 256
#define MAX_NAMES 16
#define MAX_STORED 8

struct call {
	const char *name;
	struct fg_span text;
};

/* What is remembered, as of the plugin and as of the disk. */
struct stored {
	char key[33];
	struct fg_span value, on_disk;
};

static struct {
	struct call calls[MAX_CALLS];
	size_t n_calls, n_read;
	struct call filters[MAX_CALLS];
	size_t n_filters;
	struct {
		const char *from, *to; /* `to` NULL: muted */
	} names[MAX_NAMES];
	size_t n_names;
	struct stored stored[MAX_STORED];
	size_t n_stored;
	/* of the commands, for their answers */
	struct {
		const char *device, *id, *key;
	} commands[MAX_CALLS];
	size_t n_commands;
	uint64_t image_have; /* what image_begin() says */
	int image_error;     /* … and returns */
	struct {
		const char *device, *version;
		enum fg_image_kind kind;
	} versions[MAX_NAMES]; /* what image_version() says */
	size_t n_versions;
} script;

void host_begin(void)
{
	memset(&script, 0, sizeof(script));
}

static char *text(struct fg_span span)
{
	char *copy = keep(malloc(span.size + 1));

	memcpy(copy, span.size > 0 ? span.data : "", span.size);
	copy[span.size] = 0;
	return copy;
}

/* ------------------------------------------------------------------ calls */

static void note(const char *name, const char *format, ...) __attribute__((format(printf, 2, 3)));

static void note(const char *name, const char *format, ...)
{
	char *line = keep(malloc(BUFFER_SIZE));
	va_list args;

	va_start(args, format);
	vsnprintf(line, BUFFER_SIZE, format, args);
	va_end(args);
	if (script.n_calls == MAX_CALLS) {
		fail("too many calls; ");
		return;
	}
	script.calls[script.n_calls++] = (struct call){name, compact(fg_span_str(line))};
}

static char *quoted(struct fg_span span)
{
	size_t n = fg_json_quote(span, NULL, 0);
	char *line = keep(malloc(n + 1));

	fg_json_quote(span, line, n);
	line[n] = 0;
	return line;
}

static void host_warn(void *host_ctx, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

static void host_warn(void *host_ctx, const char *format, ...)
{
	size_t used = strlen(play.warnings);
	va_list args;

	(void)host_ctx;
	va_start(args, format);
	vsnprintf(play.warnings + used, sizeof(play.warnings) - used, format, args);
	va_end(args);
	play.n_warnings++;
}

static int host_subscribe(void *host_ctx, const char *session, const char *filter, unsigned qos)
{
	(void)host_ctx;
	(void)session;
	if (qos != 1)
		fail("SUBSCRIBE for %s with QoS %u; ", filter, qos);
	script.filters[script.n_filters++ % MAX_CALLS].text = fg_span_str(keep(strdup(filter)));
	return 0;
}

static void host_refuse(void *host_ctx, struct fg_batch *batch, size_t i, const char *format, ...)
	__attribute__((format(printf, 4, 5)));

static void host_refuse(void *host_ctx, struct fg_batch *batch, size_t i, const char *format, ...)
{
	va_list args;

	(void)host_ctx;
	batch->states[i] = FG_REFUSED;
	va_start(args, format);
	vsnprintf(play.reasons[i], sizeof(play.reasons[i]), format, args);
	va_end(args);
}

static void host_wake(void *host_ctx, int64_t in_ms)
{
	(void)host_ctx;
	play.wake_ms = in_ms;
}

static void host_reconnect(void *host_ctx, const char *session, const char *why)
{
	(void)host_ctx;
	(void)session;
	(void)why;
	note("reconnect", "true");
}

static int host_command(void *host_ctx, const struct fg_command *command)
{
	char timeout[64] = "";

	(void)host_ctx;
	if (command->id.size == 0 || command->id.size > FG_COMMAND_ID_MAX ||
	    command->key.size > 64 || command->name.size == 0 || command->name.size > 255)
		fail("a command that breaks the contract; ");
	if (command->timeout_ms > 0)
		snprintf(timeout, sizeof(timeout), ",\"timeout_ms\":%lld",
			 (long long)command->timeout_ms);
	script.commands[script.n_commands % MAX_CALLS].device = text(command->device);
	script.commands[script.n_commands % MAX_CALLS].id = text(command->id);
	script.commands[script.n_commands++ % MAX_CALLS].key = text(command->key);
	note("command", "{\"device\":%s,\"method\":%s%s%s%s%s}", quoted(command->device),
	     quoted(command->name), command->params.size > 0 ? ",\"params\":" : "",
	     text(command->params), timeout, command->is_one_way ? ",\"one_way\":true" : "");
	return 0;
}

static void host_config(void *host_ctx, struct fg_span device, struct fg_span set,
			struct fg_span unset)
{
	(void)host_ctx;
	note("config", "{\"device\":%s,\"set\":%s,\"unset\":%s}", quoted(device),
	     set.size > 0 ? text(set) : "{}", unset.size > 0 ? text(unset) : "[]");
}

static void host_respond(void *host_ctx, struct fg_span ref, struct fg_span body)
{
	(void)host_ctx;
	note("respond", "{\"ref\":%s,\"body\":%s}", quoted(ref), text(body));
}

static int host_rename(void *host_ctx, struct fg_span from, struct fg_span to)
{
	(void)host_ctx;
	if (to.size == 0 || script.n_names == MAX_NAMES)
		return -EINVAL;
	note("renamed", "{\"from\":%s,\"to\":%s}", quoted(from), quoted(to));
	script.names[script.n_names].from = text(from);
	script.names[script.n_names++].to = text(to);
	return 0;
}

static int host_mute(void *host_ctx, struct fg_span device)
{
	(void)host_ctx;
	if (script.n_names == MAX_NAMES)
		return -EINVAL;
	note("muted", "%s", quoted(device));
	script.names[script.n_names++].from = text(device);
	return 0;
}

static int host_unmute(void *host_ctx, struct fg_span device)
{
	size_t i = 0;

	(void)host_ctx;
	while (i < script.n_names &&
	       (script.names[i].to || !fg_span_is(device, script.names[i].from)))
		i++;
	if (i == script.n_names)
		return 0;
	note("unmuted", "%s", quoted(device));
	script.names[i] = script.names[--script.n_names];
	return 0;
}

static bool host_wants_time(void *host_ctx)
{
	(void)host_ctx;
	return play.has_no_time;
}

static int host_tell_time(void *host_ctx, int64_t offset_us)
{
	(void)host_ctx;
	note("time", "%lld", (long long)offset_us);
	return 0;
}

static void host_limit(void *host_ctx, unsigned scope, enum fg_limit what,
		       const struct fg_rate *rates, size_t n)
{
	static const char *const names[] = {"messages", "points", "bytes"};
	char list[512] = "[";
	size_t used = 1;

	(void)host_ctx;
	for (size_t i = 0; i < n; i++)
		used += (size_t)snprintf(list + used, sizeof(list) - used, "%s[%u,%u]",
					 i > 0 ? "," : "", rates[i].capacity, rates[i].period_ms);
	note("limit", "{\"scope\":%u,\"what\":\"%s\",\"rates\":%s]}", scope, names[what], list);
}

static struct stored *stored(const char *key)
{
	for (size_t i = 0; i < script.n_stored; i++)
		if (strcmp(script.stored[i].key, key) == 0)
			return &script.stored[i];
	return NULL;
}

static int host_remember(void *host_ctx, const char *key, struct fg_span value)
{
	struct stored *s = stored(key);

	(void)host_ctx;
	if (!s && script.n_stored < MAX_STORED) {
		s = &script.stored[script.n_stored++];
		snprintf(s->key, sizeof(s->key), "%s", key);
	}
	if (!s)
		return -EINVAL;
	s->value = fg_span_of(text(value), value.size);
	note("remember", "{\"key\":\"%s\",\"value\":%s}", key,
	     value.size > 0 && strchr("{[", *value.data) ? text(value) : quoted(value));
	return 0;
}

static int host_recall(void *host_ctx, const char *key, struct fg_span *ret)
{
	const struct stored *s = stored(key);

	(void)host_ctx;
	if (!s || s->on_disk.size == 0)
		return -ENOENT;
	*ret = s->on_disk;
	return 0;
}

/* ------------------------------------------------------------------ images */

static const char *const image_kinds[] = {
	[FG_IMAGE_FIRMWARE] = "firmware", [FG_IMAGE_SOFTWARE] = "software"};

static int host_image_begin(void *host_ctx, const struct fg_image *image, uint64_t *ret_have)
{
	char size[64] = "", url[1024] = "", more[1024] = "";

	(void)host_ctx;
	if (image->size > 0)
		snprintf(size, sizeof(size), ",\"size\":%llu", (unsigned long long)image->size);
	if (image->url.size > 0)
		snprintf(url, sizeof(url), ",\"url\":%s", quoted(image->url));
	if (image->authorization.size > 0)
		snprintf(more, sizeof(more), ",\"authorization\":%s", quoted(image->authorization));
	if (image->order.size > 0)
		snprintf(more + strlen(more), sizeof(more) - strlen(more),
			 ",\"checksum\":%s,\"order\":%s", quoted(image->checksum),
			 quoted(image->order));
	note("image", "{\"kind\":\"%s\",\"device\":%s,\"title\":%s,\"version\":%s%s%s%s}",
	     image_kinds[image->kind], quoted(image->device), quoted(image->title),
	     quoted(image->version), size, url, more);
	*ret_have = script.image_have;
	return script.image_error;
}

static int host_image_write(void *host_ctx, struct fg_span device, enum fg_image_kind kind,
			    uint64_t offset, struct fg_span data)
{
	(void)host_ctx;
	(void)device;
	(void)kind;
	note("image_bytes", "{\"offset\":%llu,\"size\":%zu}", (unsigned long long)offset,
	     data.size);
	return 0;
}

static void host_image_abandon(void *host_ctx, struct fg_span device, enum fg_image_kind kind,
			       const char *why)
{
	(void)host_ctx;
	note("image_abandoned", "{\"kind\":\"%s\",\"device\":%s,\"why\":%s}", image_kinds[kind],
	     quoted(device), why ? quoted(fg_span_str(why)) : "null");
}

static void host_image_told(void *host_ctx, struct fg_span device, enum fg_image_kind kind)
{
	(void)host_ctx;
	note("image_told", "{\"kind\":\"%s\",\"device\":%s}", image_kinds[kind], quoted(device));
}

static int host_image_version(void *host_ctx, struct fg_span device, enum fg_image_kind kind,
			      struct fg_span *ret)
{
	(void)host_ctx;
	for (size_t i = 0; i < script.n_versions; i++) {
		if (script.versions[i].kind != kind ||
		    !fg_span_is(device, script.versions[i].device))
			continue;
		*ret = fg_span_str(script.versions[i].version);
		return 0;
	}
	return -ENOENT;
}

static void host_offer_left(void *host_ctx, const char *session)
{
	(void)host_ctx;
	(void)session;
	for (size_t i = 0; i < play.n_messages; i++)
		if (play.states[i] == FG_LEFT)
			play.states[i] = FG_OFFERED;
}

const struct fg_host scripted_host = {
	.size = sizeof(struct fg_host),
	.warn = host_warn,
	.subscribe = host_subscribe,
	.refuse = host_refuse,
	.offer_left = host_offer_left,
	.wake = host_wake,
	.reconnect = host_reconnect,
	.command = host_command,
	.config = host_config,
	.respond = host_respond,
	.rename = host_rename,
	.mute = host_mute,
	.unmute = host_unmute,
	.limit = host_limit,
	.wants_time = host_wants_time,
	.tell_time = host_tell_time,
	.remember = host_remember,
	.recall = host_recall,
	.image_begin = host_image_begin,
	.image_write = host_image_write,
	.image_abandon = host_image_abandon,
	.image_told = host_image_told,
	.image_version = host_image_version,
};

/* ------------------------------------------------------------------ steps */

const char *host_name_of(const char *device)
{
	for (size_t i = 0; device && i < script.n_names; i++)
		if (strcmp(script.names[i].from, device) == 0)
			device = script.names[i].to;
	return device;
}

const char *host_unread_call(void)
{
	return script.n_read < script.n_calls ? script.calls[script.n_read].name : NULL;
}

static bool check_call(const char *name, struct fg_json_value wanted)
{
	const struct call *call = &script.calls[script.n_read];

	if (script.n_read == script.n_calls)
		return fail("%s was not called; ", name);
	script.n_read++;
	if (strcmp(call->name, name) != 0)
		return fail("%s was called: %.*s; ", call->name, FG_SPAN_ARGS(call->text));
	return same_json(name, call->text, compact(wanted.text));
}

static bool check_filters(struct fg_json_value list)
{
	struct fg_json_member member;
	struct fg_json_walk walk;
	size_t n = 0;

	fg_json_walk_begin(&walk, list);
	for (; fg_json_walk_next(&walk, &member); n++)
		if (n >= script.n_filters ||
		    !fg_span_is(script.filters[n].text, text_of(member.value)))
			return fail("SUBSCRIBE %zu is for %.*s; ", n + 1,
				    FG_SPAN_ARGS(script.filters[n].text));
	if (n < script.n_filters)
		return fail("SUBSCRIBE for %.*s, too; ", FG_SPAN_ARGS(script.filters[n].text));
	script.n_filters = 0;
	return true;
}

/* The final answer to a command, as the host offers it. */
static bool answer(struct fg_json_value step, struct fg_json_value body)
{
	size_t at = (size_t)get_number(step, "to", (long long)script.n_commands) - 1;
	struct fg_message *m = &play.messages[play.n_messages];

	if (at >= script.n_commands || play.n_messages == MAX_MESSAGES)
		return fail("there is no such command; ");
	*m = (struct fg_message){
		.seq = play.n_messages + 1,
		.time_us = play.now_us,
		.kind = FG_COMMAND_RESPONSE,
		.time_quality = FG_TIME_GATEWAY,
		.device = fg_span_str(host_name_of(script.commands[at].device)),
		.ref = fg_span_str(script.commands[at].id),
		.body = body.text,
	};
	if (m->device.size == 0)
		m->device = fg_span_str("plant7");
	play.states[play.n_messages++] = FG_OFFERED;
	return true;
}

/* Are the last two commands the same one to the plugin? */
static bool check_keys(bool should_be_same)
{
	size_t n = script.n_commands;
	bool is_same;

	if (n < 2)
		return fail("there are no two commands; ");
	is_same = strcmp(script.commands[n - 1].key, script.commands[n - 2].key) == 0;
	return is_same == should_be_same ||
	       fail("the keys are %s and %s; ", script.commands[n - 2].key,
		    script.commands[n - 1].key);
}

/* It is on disk, or could not be written. */
static bool on_disk(struct fg_json_value step, struct fg_json_value name)
{
	struct stored *s = stored(text_of(name));
	int error = (int)get_number(step, "error", 0);

	if (!s)
		return fail("nothing was to be remembered; ");
	if (error == 0)
		s->on_disk = s->value;
	if (play.plugin->remembered)
		play.plugin->remembered(play.ctx, s->key, error);
	return true;
}

/* From now on the host knows that a device runs it. */
static bool set_version(struct fg_json_value what)
{
	if (script.n_versions == MAX_NAMES)
		return fail("too many versions; ");
	script.versions[script.n_versions].device = get_text(what, "device");
	script.versions[script.n_versions].version = get_text(what, "version");
	script.versions[script.n_versions++].kind = strcmp(get_text(what, "kind"), "software") == 0
							    ? FG_IMAGE_SOFTWARE
							    : FG_IMAGE_FIRMWARE;
	return true;
}

bool host_step(struct fg_json_value step, bool *ret)
{
	static const char *const names[] = {
		"command", "time",        "config",          "respond",   "renamed",
		"muted",   "unmuted",     "limit",           "remember",  "reconnect",
		"image",   "image_bytes", "image_abandoned", "image_told"};
	struct fg_json_value v;

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		if (!get(step, names[i], &v))
			continue;
		*ret = check_call(names[i], v);
		return true;
	}
	if (get(step, "subscribed", &v))
		*ret = check_filters(v);
	else if (get(step, "answer", &v))
		*ret = answer(step, v);
	else if (get(step, "same_command", &v))
		*ret = check_keys(v.type == FG_JSON_TRUE);
	else if (get(step, "on_disk", &v))
		*ret = on_disk(step, v);
	else if (get(step, "image_have", &v))
		*ret = (script.image_have = (uint64_t)number_of(v), true);
	else if (get(step, "image_error", &v))
		*ret = (script.image_error = (int)number_of(v), true);
	else if (get(step, "runs", &v))
		*ret = set_version(v);
	else
		return false;
	return true;
}
