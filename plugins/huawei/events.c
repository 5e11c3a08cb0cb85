/*
 * Events on their way up and down, whatever they are about. The files that know what one means stand
 * in a table, by the service it belongs to.
 */
#include <errno.h>
#include <inttypes.h>

#include "huawei.h"

/* Of a service, a type and an id of an event. */
#define MAX_NAME 64

/* Each returns 0, or -EPROTO when the event makes no sense. */
static const struct {
	const char *service;
	int (*receive)(struct hw *hw, const struct hw_event *event);
} handlers[] = {
	{HW_SERVICE_MANAGER, hw_manager_event},
	{HW_SERVICE_OTA, hw_ota_event},
	{HW_SERVICE_TIME_SYNC, hw_time_sync_event},
};

/* ------------------------------------------------------------------ down */

/* One entry of "services" as texts. */
struct entry {
	char service[HW_RAW(MAX_NAME)], type[HW_RAW(MAX_NAME)], id[HW_RAW(MAX_NAME)];
	char time[HW_RAW(MAX_NAME)];
};

/* The member @name, to @out. One that says nothing is empty where it @may_be_absent. */
static bool read_text(struct fg_json_value object, const char *name, bool may_be_absent, char *out,
		      size_t out_size, struct fg_span *ret)
{
	struct fg_json_value value;

	if (!hw_member(object, name, &value))
		return may_be_absent;
	return hw_string_read(value, out, out_size, ret) && ret->size <= MAX_NAME;
}

static bool read_entry(struct fg_json_value object, struct entry *texts, struct hw_event *ret)
{
	struct fg_json_value paras;

	/* A question may do without. */
	ret->paras = (struct fg_json_value){.type = FG_JSON_OBJECT, .text = fg_span_str("{}")};
	if (object.type != FG_JSON_OBJECT ||
	    !read_text(object, "service_id", false, texts->service, sizeof(texts->service),
		       &ret->service) ||
	    !read_text(object, "event_type", false, texts->type, sizeof(texts->type), &ret->type) ||
	    !read_text(object, "event_id", true, texts->id, sizeof(texts->id), &ret->id))
		return false;
	if (!read_text(object, "event_time", true, texts->time, sizeof(texts->time), &ret->time))
		ret->time.size = 0;
	if (fg_json_member(object, fg_span_str("paras"), &paras) && paras.type != FG_JSON_NULL)
		ret->paras = paras;
	if (*ret->service.data == '$')
		ret->service = fg_span_of(ret->service.data + 1, ret->service.size - 1);
	return ret->paras.type == FG_JSON_OBJECT;
}

static int hand_over(struct hw *hw, const struct hw_event *event)
{
	for (size_t i = 0; i < sizeof(handlers) / sizeof(handlers[0]); i++)
		if (fg_span_is(event->service, handlers[i].service))
			return handlers[i].receive(hw, event);
	hw->n_unknown_events++;
	hw->host->warn(hw->host_ctx,
		       "IoTDA has sent an event of \"%.*s\", which is not made use of "
		       "(%" PRIu64 " such events so far)",
		       FG_SPAN_ARGS(hw_is_id(event->service.data, event->service.size)
					    ? event->service
					    : fg_span_str("?")),
		       hw->n_unknown_events);
	return 0;
}

int hw_event_received(struct hw *hw, const struct fg_delivery *delivery)
{
	struct fg_json_value object, services, device;
	char raw[HW_RAW(HW_DEVICE_ID_MAX)];
	struct fg_span object_device = {0};
	struct fg_json_member member;
	struct fg_json_fault fault;
	struct fg_json_walk walk;
	struct hw_event event;
	struct entry texts;
	int r = 0;

	if (fg_json_check(delivery->payload, &object, &fault) < 0 ||
	    object.type != FG_JSON_OBJECT ||
	    !fg_json_member(object, fg_span_str("services"), &services) ||
	    services.type != FG_JSON_ARRAY)
		return -EPROTO;
	if (hw_member(object, "object_device_id", &device) &&
	    (!hw_string_read(device, raw, sizeof(raw), &object_device) ||
	     !hw_is_id(object_device.data, object_device.size)))
		return -EPROTO;
	if (fg_span_is(object_device, hw->with.device_id))
		object_device.size = 0;
	fg_json_walk_begin(&walk, services);
	while (fg_json_walk_next(&walk, &member)) {
		event = (struct hw_event){.device = object_device, .now_us = delivery->now_us};
		if (!read_entry(member.value, &texts, &event) || hand_over(hw, &event) < 0)
			r = -EPROTO;
	}
	return r;
}

/* ------------------------------------------------------------------ up */

int hw_event_begin(const struct hw_call *call, const struct hw_event_head *head,
		   struct fg_text *ret)
{
	int r = hw_publish_begin(call->hw, call->out, "events/up", HW_MAX_REPORT, ret);

	if (r < 0)
		return r;
	fg_put(ret, "{");
	if (head->device) {
		fg_put(ret, "\"object_device_id\":\"");
		fg_put(ret, head->device);
		fg_put(ret, "\",");
	}
	fg_put(ret, "\"services\":[{\"service_id\":\"$");
	fg_put(ret, head->service);
	fg_put(ret, "\",\"event_type\":\"");
	fg_put(ret, head->type);
	fg_put(ret, "\",\"event_time\":\"");
	hw_put_time(ret, call->batch->now_us, call->hw->with.has_milliseconds);
	if (head->id) {
		fg_put(ret, "\",\"event_id\":\"");
		fg_put(ret, head->id);
	}
	fg_put(ret, "\",\"paras\":");
	return 0;
}

int hw_event_end(const struct hw_call *call, struct fg_text *text)
{
	fg_put(text, HW_EVENT_TAIL);
	call->out->payload_len = fg_text_size(text);
	return !text->is_full;
}
