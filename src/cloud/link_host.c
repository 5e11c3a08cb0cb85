#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <syslog.h>

#include "cloud/http_call.h"
#include "cloud/link_internal.h"
#include "net/tick.h"
#include "util/clock.h"
#include "util/log.h"
#include "util/span.h"

#define HTTP_MAX_BYTES (256 * 1024)

/* ---- words */

__attribute__((format(printf, 2, 3))) static void host_warn(void *host_ctx, const char *format, ...)
{
	struct fg_link *link = host_ctx;
	char text[512];
	va_list args;
	size_t i = 0;

	while (i < FG_LINK_WARNINGS - 1 && link->warnings[i].format &&
	       link->warnings[i].format != format)
		i++;
	link->warnings[i].format = format;
	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	fg_complain(&link->warnings[i].complaint, fg_clock_monotonic_ms(), LOG_WARNING,
		    "link %s: %s", link->with.config->name, text);
}

__attribute__((format(printf, 4, 5))) static void
host_refuse(void *host_ctx, struct fg_batch *batch, size_t i, const char *format, ...)
{
	struct fg_link *link = host_ctx;
	char reason[512];
	va_list args;

	va_start(args, format);
	vsnprintf(reason, sizeof(reason), format, args);
	va_end(args);
	fg_outbox_refuse(link->outbox, batch, i, reason);
}

static void host_offer_left(void *host_ctx, const char *session)
{
	struct fg_link *link = host_ctx;

	if (link->outbox)
		fg_outbox_offer_left(link->outbox, session);
}

/* ---- sessions */

static int host_subscribe(void *host_ctx, const char *session, const char *filter, unsigned qos)
{
	struct fg_cloud_session *s = fg_link_session(host_ctx, session);

	return s ? fg_cloud_session_subscribe(s, filter, qos) : -ENOTCONN;
}

static void host_reconnect(void *host_ctx, const char *session, const char *why)
{
	struct fg_cloud_session *s = fg_link_session(host_ctx, session);

	if (s)
		fg_cloud_session_renew(s, why);
}

static void host_limit(void *host_ctx, unsigned scope, enum fg_limit what,
		       const struct fg_rate *rates, size_t n)
{
	struct fg_link *link = host_ctx;

	if (link->outbox && scope < FG_SCOPES && what < FG_N_LIMITS)
		fg_outbox_limit(link->outbox, scope, what, rates, n);
}

/* ---- the time */

static bool host_wants_time(void *host_ctx)
{
	const struct fg_link *link = host_ctx;

	return fg_timekeeper_wants_telling(link->with.timekeeper);
}

static int host_tell_time(void *host_ctx, int64_t offset_us)
{
	struct fg_link *link = host_ctx;
	int r = fg_timekeeper_tell(link->with.timekeeper, offset_us);

	if (r == 0)
		fg_complain(
			&link->time_complaint, fg_clock_monotonic_ms(), LOG_NOTICE,
			"link %s: the clock of this machine is not set; it is told to be %lld ms "
			"behind, and stamps follow that",
			link->with.config->name, (long long)(offset_us / 1000));
	else if (r == -ERANGE)
		fg_complain(&link->time_complaint, fg_clock_monotonic_ms(), LOG_WARNING,
			    "link %s: the cloud tells a time that cannot be, it is not believed",
			    link->with.config->name);
	return r;
}

/* ---- a timer */

static void host_wake(void *host_ctx, int64_t in_ms)
{
	struct fg_link *link = host_ctx;

	if (!link->with.loop)
		return; /* it is only checked */
	ev_timer_stop(link->with.loop, &link->wake);
	if (in_ms < 0)
		return;
	ev_timer_set(&link->wake, fg_tick_near(link->with.loop, (double)in_ms / 1000.), 0.);
	ev_timer_start(link->with.loop, &link->wake);
}

void fg_link_woken(struct ev_loop *loop, ev_timer *w, int events)
{
	struct fg_link *link = w->data;
	int64_t now_us;

	(void)loop;
	(void)events;
	fg_timekeeper_now(link->with.timekeeper, &now_us);
	if (link->with.plugin->woken)
		link->with.plugin->woken(link->ctx, now_us);
	fg_link_poke(link);
}

/* ---- what comes down */

/* The field device the cloud calls @name; the gateway itself for an empty one. */
static bool to_field(const struct fg_link *link, struct fg_span name, struct fg_span *ret)
{
	if (name.size == 0) {
		*ret = fg_span_str(link->with.gateway_name);
		return true;
	}
	*ret = name;
	return fg_names_to_field(link->names, name, ret);
}

/*
 * The cloud may command only devices it gets: whoever has been excluded or muted, or has another name
 * there, is out of its reach, though the desk would know it. The answer goes through the journal like
 * those of the desk.
 */
static int refuse_command(struct fg_link *link, const struct fg_command *command,
			  uint64_t *ret_ticket)
{
	struct fg_message answer = {
		.kind = FG_COMMAND_RESPONSE,
		.device = command->device,
		.ref = command->id,
		.link = fg_span_str(link->with.config->name),
		.body = fg_span_str("{\"error\":{\"code\":\"unknown_device\",\"text\":\"this cloud "
				    "has no device of this name\"}}"),
	};
	struct fg_span is_called;
	uint64_t seq;
	int r;

	fg_complain(&link->downlink_complaint, fg_clock_monotonic_ms(), LOG_WARNING,
		    "link %s: command for device %.*s, which this cloud does not get under that "
		    "name, is refused",
		    link->with.config->name, FG_SPAN_ARGS(command->device));
	/* Under a field device's own name, the answer would seem to come from what that is called. */
	if (command->is_one_way || fg_names_to_cloud(link->names, command->device, &is_called))
		return 0;
	answer.time_quality = fg_timekeeper_now(link->with.timekeeper, &answer.time_us);
	r = fg_journal_append(link->with.journal, FG_LANE_ALARM, &answer, &seq);
	if (r == 0)
		*ret_ticket = fg_journal_ticket(link->with.journal);
	return r == -ENOSPC ? -EAGAIN : r;
}

static int take_command(struct fg_link *link, const struct fg_command *command,
			uint64_t *ret_ticket)
{
	const struct fg_link_downlink *to = &link->with.downlink;
	struct fg_command copy = *command;

	if (!to_field(link, command->device, &copy.device))
		return refuse_command(link, command, ret_ticket);
	if (copy.timeout_ms <= 0)
		copy.timeout_ms = link->with.config->command_timeout_ms;
	return to->command ? to->command(to->arg, link->with.config->name, &copy, ret_ticket)
			   : -ENOSYS;
}

static int host_command(void *host_ctx, const struct fg_command *command)
{
	struct fg_link *link = host_ctx;
	uint64_t ticket = 0;
	int r = take_command(link, command, &ticket);

	link->commands++;
	if (r < 0)
		fg_complain(&link->downlink_complaint, fg_clock_monotonic_ms(), LOG_WARNING,
			    "link %s: command %.*s for device %.*s cannot be taken: %s",
			    link->with.config->name, FG_SPAN_ARGS(command->name),
			    FG_SPAN_ARGS(command->device),
			    r == -EAGAIN ? "the journal has no room" : strerror(-r));
	if (!link->common.receiving)
		return r == -EAGAIN ? r : 0;
	if (r == -EAGAIN)
		fg_cloud_session_give_back(link->common.receiving,
					   "a command came that the journal has no room for");
	else if (r == 0 && ticket > 0)
		fg_cloud_session_hold(link->common.receiving, ticket);
	return r == -EAGAIN ? r : 0;
}

static void host_config(void *host_ctx, struct fg_span device, struct fg_span set,
			struct fg_span unset)
{
	struct fg_link *link = host_ctx;
	const struct fg_link_downlink *to = &link->with.downlink;
	struct fg_span field;

	if (to->config && to_field(link, device, &field))
		to->config(to->arg, link->with.config->name, field, set, unset);
}

static void host_respond(void *host_ctx, struct fg_span ref, struct fg_span body)
{
	struct fg_link *link = host_ctx;
	const struct fg_link_downlink *to = &link->with.downlink;

	if (to->respond)
		to->respond(to->arg, ref, body);
}

/* ---- names */

/* A cloud may rename as often as it likes, but not fill the log with it. */
static int host_rename(void *host_ctx, struct fg_span from, struct fg_span to)
{
	struct fg_link *link = host_ctx;
	int r;

	if (!link->outbox)
		return -EINVAL; /* within open() */
	r = fg_names_rename(link->names, from, to);
	fg_complain(&link->names_complaint, fg_clock_monotonic_ms(),
		    r < 0 ? LOG_WARNING : LOG_NOTICE, "link %s: the cloud calls %.*s now %.*s%s%s",
		    link->with.config->name, FG_SPAN_ARGS(from), FG_SPAN_ARGS(to),
		    r < 0 ? ", which cannot be followed: " : "", r < 0 ? strerror(-r) : "");
	fg_link_names_changed(link);
	return r == 0 ? 0 : -EINVAL;
}

static int host_mute(void *host_ctx, struct fg_span device)
{
	struct fg_link *link = host_ctx;
	bool was_muted;
	int r;

	if (!link->outbox)
		return -EINVAL; /* within open() */
	/* Once more all the same: it may not be on disk yet. */
	was_muted = fg_names_is_muted(link->names, device);
	r = fg_names_mute(link->names, device, true);
	if (r == 0 && !was_muted)
		fg_complain(&link->mute_complaint, fg_clock_monotonic_ms(), LOG_NOTICE,
			    "link %s: the cloud has deleted %.*s, it gets nothing more of it",
			    link->with.config->name, FG_SPAN_ARGS(device));
	fg_link_names_changed(link);
	return r == 0 ? 0 : -EINVAL;
}

static int host_unmute(void *host_ctx, struct fg_span device)
{
	struct fg_link *link = host_ctx;
	int r;

	if (!link->outbox)
		return -EINVAL; /* within open() */
	if (!fg_names_is_muted(link->names, device))
		return 0;
	r = fg_names_mute(link->names, device, false);
	if (r == 0)
		fg_complain(&link->unmute_complaint, fg_clock_monotonic_ms(), LOG_NOTICE,
			    "link %s: the cloud has %.*s again, it gets what that says",
			    link->with.config->name, FG_SPAN_ARGS(device));
	return r == 0 ? 0 : -EINVAL;
}

/* ---- memory */

static int host_remember(void *host_ctx, const char *key, struct fg_span value)
{
	struct fg_link *link = host_ctx;
	int r = link->store ? fg_store_set(link->store, fg_span_str(key), value) : -EINVAL;

	return r == -ENOMEM ? -EMSGSIZE : r;
}

static int host_recall(void *host_ctx, const char *key, struct fg_span *ret)
{
	struct fg_link *link = host_ctx;

	return link->store ? fg_store_get(link->store, fg_span_str(key), ret) : -ENOENT;
}

void fg_link_stored(void *arg, struct fg_span key, int error)
{
	struct fg_link *link = arg;
	char name[FG_STORE_KEY_MAX + 1];

	memcpy(name, key.data, key.size);
	name[key.size] = '\0';
	if (error < 0)
		fg_error_log("link %s: what it must remember cannot be written: %s",
			     link->with.config->name, strerror(-error));
	if (link->with.plugin->remembered)
		link->with.plugin->remembered(link->ctx, name, error);
	fg_link_poke(link);
}

/* ---- HTTP */

static void http_done(void *owner, const struct fg_http_response *response)
{
	struct fg_link_http_call *call = owner;
	struct fg_link *link = call->link;
	struct fg_http_result result = {
		.tag = call->tag,
		.error = response->error,
		.status = response->status,
		.body = response->body,
	};
	struct fg_http_request *request = call->request;

	call->request = NULL; /* the plugin may make the next one right now */
	if (response->error < 0)
		fg_complain(&link->downlink_complaint, fg_clock_monotonic_ms(), LOG_WARNING,
			    "link %s: HTTP request failed: %s", link->with.config->name,
			    response->text);
	if (link->with.plugin->http_done)
		link->with.plugin->http_done(link->ctx, &result);
	fg_http_request_free(request);
	fg_link_poke(link);
}

static const struct fg_http_ops http_ops = {.done = http_done};

static int host_http(void *host_ctx, const struct fg_http_call *c)
{
	struct fg_link *link = host_ctx;
	struct fg_link_http_call *call = link->calls;
	struct fg_error err = {0};
	int r;

	if (!link->with.http)
		return -EINVAL;
	while (call < link->calls + FG_LINK_HTTP_CALLS && call->request)
		call++;
	if (call == link->calls + FG_LINK_HTTP_CALLS)
		return -EAGAIN;
	call->link = link;
	call->tag = c->tag;
	r = fg_http_call_start(link->with.http, &link->with.config->tls, NULL, c, HTTP_MAX_BYTES,
			       &http_ops, call, &call->request, &err);
	if (r == -EINVAL)
		host_warn(link, "HTTP request: %s", err.text);
	return r == 0 || r == -EINVAL ? r : -EAGAIN;
}

void fg_link_drop_calls(struct fg_link *link)
{
	for (size_t i = 0; i < FG_LINK_HTTP_CALLS; i++)
		link->calls[i].request = fg_http_request_free(link->calls[i].request);
}

/* ---- images */

static int host_image_begin(void *host_ctx, const struct fg_image *image, uint64_t *ret_have)
{
	struct fg_link *link = host_ctx;
	const struct fg_link_downlink *to = &link->with.downlink;
	struct fg_image copy = *image;
	int r;

	if (!to->image_begin || !to_field(link, image->device, &copy.device))
		return -EINVAL;
	link->n_image_calls++;
	r = to->image_begin(to->arg, link->with.config->name, &copy, ret_have);
	link->n_image_calls--;
	return r;
}

static int host_image_write(void *host_ctx, struct fg_span device, enum fg_image_kind kind,
			    uint64_t offset, struct fg_span data)
{
	struct fg_link *link = host_ctx;
	const struct fg_link_downlink *to = &link->with.downlink;
	struct fg_span field;
	int r;

	if (!to->image_write || !to_field(link, device, &field))
		return -ENOENT;
	link->n_image_calls++;
	r = to->image_write(to->arg, link->with.config->name, field, kind, offset, data);
	link->n_image_calls--;
	return r;
}

static bool host_image_lacks(void *host_ctx, struct fg_span device, enum fg_image_kind kind)
{
	struct fg_link *link = host_ctx;
	const struct fg_link_downlink *to = &link->with.downlink;
	struct fg_span field;

	return to->image_lacks && to_field(link, device, &field) &&
	       to->image_lacks(to->arg, link->with.config->name, field, kind);
}

static void host_image_abandon(void *host_ctx, struct fg_span device, enum fg_image_kind kind,
			       const char *why)
{
	struct fg_link *link = host_ctx;
	const struct fg_link_downlink *to = &link->with.downlink;
	struct fg_span field;

	if (!to->image_abandon || !to_field(link, device, &field))
		return;
	link->n_image_calls++;
	to->image_abandon(to->arg, link->with.config->name, field, kind, why);
	link->n_image_calls--;
}

static void host_image_tell(void *host_ctx)
{
	struct fg_link *link = host_ctx;
	const struct fg_link_downlink *to = &link->with.downlink;

	if (!to->image_tell)
		return;
	link->n_image_calls++;
	to->image_tell(to->arg, link->with.config->name);
	link->n_image_calls--;
}

static void host_image_told(void *host_ctx, struct fg_span device, enum fg_image_kind kind)
{
	struct fg_link *link = host_ctx;
	const struct fg_link_downlink *to = &link->with.downlink;
	struct fg_span field;

	if (to->image_told && to_field(link, device, &field))
		to->image_told(to->arg, link->with.config->name, field, kind);
}

static int host_image_version(void *host_ctx, struct fg_span device, enum fg_image_kind kind,
			      struct fg_span *ret)
{
	struct fg_link *link = host_ctx;
	const struct fg_link_downlink *to = &link->with.downlink;
	struct fg_span field;

	if (!to->image_version || !to_field(link, device, &field))
		return -ENOENT;
	return to->image_version(to->arg, field, kind, ret);
}

void fg_link_image_progress(struct fg_link *link, const struct fg_image_progress *progress)
{
	struct fg_image_progress copy = *progress;

	if (!link->with.plugin->image_progress)
		return;
	if (fg_span_is(progress->device, link->with.gateway_name))
		copy.device = (struct fg_span){.size = 0};
	else if (!fg_names_to_cloud(link->names, progress->device, &copy.device))
		return;
	link->with.plugin->image_progress(link->ctx, &copy);
	/* While it is at what made it call, an encode() in between could overwrite what it looks at:
	 * whoever called the plugin asks it when it is through. */
	if (link->n_image_calls > 0)
		fg_outbox_poke(link->outbox, NULL);
	else
		fg_link_poke(link);
}

const struct fg_host fg_link_host = {
	.size = sizeof(struct fg_host),
	.warn = host_warn,
	.subscribe = host_subscribe,
	.refuse = host_refuse,
	.offer_left = host_offer_left,
	.wake = host_wake,
	.wants_time = host_wants_time,
	.tell_time = host_tell_time,
	.reconnect = host_reconnect,
	.command = host_command,
	.config = host_config,
	.respond = host_respond,
	.rename = host_rename,
	.mute = host_mute,
	.unmute = host_unmute,
	.limit = host_limit,
	.remember = host_remember,
	.recall = host_recall,
	.http = host_http,
	.image_begin = host_image_begin,
	.image_write = host_image_write,
	.image_lacks = host_image_lacks,
	.image_abandon = host_image_abandon,
	.image_tell = host_image_tell,
	.image_told = host_image_told,
	.image_version = host_image_version,
};
