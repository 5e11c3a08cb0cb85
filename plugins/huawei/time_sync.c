/*
 * The time, for a machine that has no clock to be believed in:
 *
 *	time_sync_request   {"device_send_time":D}
 *	time_sync_response  {"device_send_time":D,"server_recv_time":R,"server_send_time":S}
 *
 * all in milliseconds since 1970, D and the time A of the answer's arrival by our clock. If both ways took
 * the same time, ours is behind by ((R - D) + (S - A)) / 2; it is wrong by half the time under way at most.
 *
 * state \ event | session is up | due         | answer             | session ends
 * --------------+---------------+-------------+--------------------+-------------
 * off           | on, due (1)   |      -      | ignored            |      -
 * on            |       -       | asks (2)    | due in six hours   | off
 *
 * (1) When the host has no time of its own, and the option is set.
 * (2) Due again in half a minute, three times in all; off when nobody answers, or the host has its own
 *     time by now.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "huawei.h"

#define ANSWER_WITHIN_S 30u
#define AGAIN_S (6 * 3600u) /* a clock that nobody sets drifts by seconds a day */
#define MAX_ATTEMPTS 3

/* What was under way for longer tells too little. */
#define MAX_ROUND_TRIP_MS 10000

/* Of a number: milliseconds have 13 digits until the year 2286. */
#define MAX_DIGITS 13

void hw_time_sync_begin(struct hw *hw)
{
	struct hw_time_sync *sync = &hw->time_sync;

	*sync = (struct hw_time_sync){0};
	if (hw->with.syncs_time && hw->host->wants_time(hw->host_ctx))
		*sync = (struct hw_time_sync){.is_on = true, .due_s = hw->uptime_s};
}

void hw_time_sync_end(struct hw *hw)
{
	hw->time_sync.is_on = false;
}

int hw_publish_time_sync(struct hw_call *call)
{
	static const struct hw_event_head head = {.service = HW_SERVICE_TIME_SYNC,
						  .type = "time_sync_request"};
	struct hw *hw = call->hw;
	struct hw_time_sync *sync = &hw->time_sync;
	struct fg_text text;
	int r;

	if (!sync->is_on || hw->uptime_s < sync->due_s)
		return 0;
	sync->due_s = hw->uptime_s + ANSWER_WITHIN_S;
	sync->is_on = sync->n_attempts++ < MAX_ATTEMPTS && hw->host->wants_time(hw->host_ctx);
	if (!sync->is_on)
		return 0;
	sync->is_asked = true;
	sync->asked_ms = call->batch->now_us / 1000;
	r = hw_event_begin(call, &head, &text);
	if (r < 0)
		return r;
	fg_put(&text, "{\"device_send_time\":");
	fg_put_number(&text, sync->asked_ms);
	fg_put(&text, "}");
	return hw_event_end(call, &text);
}

/* The member @name, milliseconds. */
static bool read_ms(struct fg_json_value paras, const char *name, int64_t *ret)
{
	struct fg_json_value value;
	char digits[MAX_DIGITS + 1] = "";

	if (!fg_json_member(paras, fg_span_str(name), &value) || value.type != FG_JSON_INTEGER ||
	    value.text.size > MAX_DIGITS)
		return false;
	memcpy(digits, value.text.data, value.text.size);
	*ret = strtoll(digits, NULL, 10);
	return true;
}

int hw_time_sync_event(struct hw *hw, const struct hw_event *event)
{
	struct hw_time_sync *sync = &hw->time_sync;
	int64_t asked_ms, received_ms, sent_ms, now_ms = event->now_us / 1000;

	if (!fg_span_is(event->type, "time_sync_response") ||
	    !read_ms(event->paras, "device_send_time", &asked_ms) ||
	    !read_ms(event->paras, "server_recv_time", &received_ms) ||
	    !read_ms(event->paras, "server_send_time", &sent_ms) || sent_ms < received_ms)
		return -EPROTO;
	/* It answers another question; or it was under way for too long, or our clock was set meanwhile. */
	if (!sync->is_asked || asked_ms != sync->asked_ms || now_ms < asked_ms ||
	    now_ms - asked_ms > MAX_ROUND_TRIP_MS)
		return 0;
	sync->is_asked = false;
	hw->host->tell_time(hw->host_ctx,
			    ((received_ms - asked_ms) + (sent_ms - now_ms)) * 1000 / 2);
	sync->n_attempts = 0;
	sync->due_s = hw->uptime_s + AGAIN_S;
	return 0;
}
