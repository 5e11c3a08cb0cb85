/*
 * What IoTDA orders and asks on the service $ota, and what the host says of an order. An order is one
 * of these; in v2 the URL is signed beforehand, there is no token, and often neither size nor sign:
 *
 *	"event_type":"firmware_upgrade", "software_upgrade", or these with _v2
 *	"paras":{"version":"2.0","url":"https://…","file_size":5000,"file_name":"a.bin",
 *		"access_token":"…","expires":86400,"sign":"…","task_id":"…"}
 *
 * A token or a signed URL is a secret: neither is ever told of.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "huawei.h"

#define MAX_VERSION 255
#define MAX_TITLE 255
#define MAX_URL 8192
#define MAX_TOKEN 4000
#define MAX_SIGN 128

/* result_code */
enum {
	CODE_OK = 0,
	CODE_BUSY = 1,
	CODE_LATEST = 3,
	CODE_NO_ROOM = 5,
	CODE_DOWNLOAD = 6,
	CODE_WRONG = 7,
	CODE_UNSUPPORTED = 8,
	CODE_REFUSED = 10,
	CODE_OTHER = 255,
};

/* Of 100: what comes behind the download has no size. */
#define PERCENT_FETCHED 80
#define PERCENT_CHECKED 85
#define PERCENT_HANDED 90
#define PERCENT_DONE 100

/* ------------------------------------------------------------------ reading an order */

/* An order as texts; the image points into it. */
struct order {
	char version[HW_RAW(MAX_VERSION)], title[HW_RAW(MAX_TITLE)], sign[HW_RAW(MAX_SIGN)];
	char url[MAX_URL], token[MAX_TOKEN], authorization[MAX_TOKEN + sizeof("Bearer ")];
	char task[HW_RAW(FG_IMAGE_ORDER_MAX)], number[FG_IMAGE_ORDER_MAX + 1];
};

enum found { ABSENT, FOUND, WRONG };

/* The text @name of at most @max bytes, to @out. */
static enum found read_text(struct fg_json_value paras, const char *name, char *out,
			    size_t out_size, size_t max, struct fg_span *ret)
{
	struct fg_json_value value;

	*ret = (struct fg_span){0};
	if (!fg_json_member(paras, fg_span_str(name), &value) || value.type == FG_JSON_NULL ||
	    fg_span_is(value.text, "\"\""))
		return ABSENT;
	if (!hw_string_read(value, out, out_size, ret) || ret->size > max) {
		*ret = (struct fg_span){0};
		return WRONG;
	}
	return FOUND;
}

/* A whole number below 2^53, or one in quotes; 0: not told. */
static enum found read_size(struct fg_json_value paras, uint64_t *ret)
{
	struct fg_json_value value;
	struct fg_span digits;

	*ret = 0;
	if (!fg_json_member(paras, fg_span_str("file_size"), &value) || value.type == FG_JSON_NULL)
		return ABSENT;
	digits = value.text;
	if (value.type == FG_JSON_STRING)
		digits = fg_span_of(digits.data + 1, digits.size - 2);
	else if (value.type != FG_JSON_INTEGER)
		return WRONG;
	if (digits.size == 0 || digits.size > 15)
		return WRONG;
	for (size_t i = 0; i < digits.size; i++) {
		if (digits.data[i] < '0' || digits.data[i] > '9')
			return WRONG;
		*ret = *ret * 10 + (uint64_t)(digits.data[i] - '0');
	}
	return FOUND;
}

static bool is_https(struct fg_span url)
{
	return url.size > 8 && strncasecmp(url.data, "https://", 8) == 0;
}

/*
 * What tells this order from the next one of the same image: when it was given and what it belongs to.
 * A repetition of it has the same.
 */
static struct fg_span order_number(const struct hw_event *event, struct order *order)
{
	struct fg_span task;

	read_text(event->paras, "task_id", order->task, sizeof(order->task), FG_IMAGE_ORDER_MAX,
		  &task);
	snprintf(order->number, sizeof(order->number), "%.*s/%.*s", FG_SPAN_ARGS(event->time),
		 FG_SPAN_ARGS(task));
	return fg_span_str(order->number);
}

/* All but version. Returns NULL, or what is wrong. */
static const char *read_order(const struct hw_event *event, struct order *order,
			      struct fg_image *ret)
{
	struct fg_json_value paras = event->paras;
	struct fg_span token;

	if (read_text(paras, "url", order->url, sizeof(order->url), MAX_URL, &ret->url) != FOUND)
		return "the order has no url, or one of more than 8192 bytes";
	if (read_text(paras, "access_token", order->token, sizeof(order->token), MAX_TOKEN,
		      &token) == WRONG)
		return "the order's access_token cannot be used";
	if (read_text(paras, "sign", order->sign, sizeof(order->sign), MAX_SIGN, &ret->checksum) ==
	    WRONG)
		return "the order's sign is no SHA-256 in hexadecimal";
	if (read_size(paras, &ret->size) == WRONG)
		return "the order's file_size is no number of bytes";
	read_text(paras, "file_name", order->title, sizeof(order->title), MAX_TITLE, &ret->title);
	if (token.size > 0 && !is_https(ret->url))
		return "the url is not https, and would show the access token to everybody";
	if (ret->checksum.size == 0 && !is_https(ret->url))
		return "the url is not https, and there is no sign: nothing would tell a forged "
		       "image";
	if (token.size > 0) {
		snprintf(order->authorization, sizeof(order->authorization), "Bearer %.*s",
			 FG_SPAN_ARGS(token));
		ret->authorization = fg_span_str(order->authorization);
	}
	if (ret->checksum.size > 0)
		ret->algorithm = fg_span_str("SHA256");
	ret->order = order_number(event, order);
	return NULL;
}

/* ------------------------------------------------------------------ orders */

static void end(struct hw *hw, struct hw_ota_job *job, uint8_t code, const char *why)
{
	job->has_ended = true;
	job->code = code;
	hw_ota_put(job->words, fg_span_str(why));
	hw_ota_say(hw, job);
}

/* It is said once more, or, when that makes no sense any longer, for the last time. */
void hw_ota_repeat(struct hw *hw, struct hw_ota_job *job)
{
	bool is_at_device = job->percent >= PERCENT_HANDED;
	const char *why = is_at_device ? "the device has it, and has not said within an hour "
					 "whether it is installed (images[].status)"
				       : "nothing has moved for 24 hours, and the device has not "
					 "got it";

	if (hw->uptime_s - job->moved_s <
	    (is_at_device ? HW_OTA_DEVICE_PATIENCE_S : HW_OTA_PATIENCE_S)) {
		hw_ota_say(hw, job);
		return;
	}
	/* The host says then, in image_progress(), that it has failed. */
	hw->host->image_abandon(hw->host_ctx, fg_span_of(job->device, job->device_size),
				(enum fg_image_kind)job->subject, why);
	if (!job->has_ended)
		end(hw, job, CODE_OTHER, why);
}

/* It is told of from the start, unless it is the one that is told of already. */
static void begin_job(struct hw *hw, struct hw_ota_job *job, struct fg_span version)
{
	if (!fg_span_is(version, job->version) || job->has_ended) {
		hw_ota_put(job->version, version);
		hw_ota_put(job->words, fg_span_str("ordered"));
		job->has_ended = false;
		job->code = CODE_OK;
		job->percent = 0;
	}
	job->moved_s = hw->uptime_s;
	hw_ota_say(hw, job);
}

/* Have the host begin; it may say at once how far it is. */
static void begin_image(struct hw *hw, struct hw_ota_job *job, const struct fg_image *image)
{
	uint64_t have;
	int r = hw->host->image_begin(hw->host_ctx, image, &have);

	if (r == -EEXIST)
		end(hw, job, CODE_LATEST, "the device has this version already");
	else if (r == -EAGAIN)
		end(hw, job, CODE_BUSY, "the gateway is busy with the image before");
	else if (r < 0 && !job->has_ended)
		end(hw, job, CODE_UNSUPPORTED, "this gateway has no such device for images");
}

static int take_order(struct hw *hw, const struct hw_event *event, enum fg_image_kind kind)
{
	struct fg_image image = {.kind = kind, .unless_there = true};
	struct hw_ota_job *job;
	struct order order;
	const char *fault;

	if (read_text(event->paras, "version", order.version, sizeof(order.version), MAX_VERSION,
		      &image.version) != FOUND ||
	    !hw_device_called(hw, event->device, &image.device))
		return -EPROTO;
	job = hw_ota_job(hw, image.device, (enum hw_ota_subject)kind);
	if (!job)
		return 0;
	begin_job(hw, job, image.version);
	fault = read_order(event, &order, &image);
	if (fault)
		end(hw, job, CODE_OTHER, fault);
	else
		begin_image(hw, job, &image);
	explicit_bzero(&order, sizeof(order));
	return 0;
}

static int take_question(struct hw *hw, const struct hw_event *event)
{
	struct hw_ota_job *job;
	struct fg_span device;

	if (!hw_device_called(hw, event->device, &device))
		return -EPROTO;
	job = hw_ota_job(hw, device, HW_OTA_VERSIONS);
	if (!job)
		return 0;
	if (hw_ota_has_versions(hw, device))
		hw_ota_say(hw, job);
	else
		hw_ota_wait(hw, job);
	return 0;
}

int hw_ota_event(struct hw *hw, const struct hw_event *event)
{
	static const struct {
		const char *type;
		enum fg_image_kind kind;
	} orders[] = {
		{"firmware_upgrade", FG_IMAGE_FIRMWARE},
		{"firmware_upgrade_v2", FG_IMAGE_FIRMWARE},
		{"software_upgrade", FG_IMAGE_SOFTWARE},
		{"software_upgrade_v2", FG_IMAGE_SOFTWARE},
	};

	if (!hw->host->image_begin)
		return 0;
	if (fg_span_is(event->type, "version_query"))
		return take_question(hw, event);
	for (size_t i = 0; i < sizeof(orders) / sizeof(orders[0]); i++)
		if (fg_span_is(event->type, orders[i].type))
			return take_order(hw, event, orders[i].kind);
	return -EPROTO;
}

/* ------------------------------------------------------------------ what the host says */

static uint8_t code_of(enum fg_image_fault fault)
{
	switch (fault) {
	case FG_IMAGE_FAULT_BUSY:
		return CODE_BUSY;
	case FG_IMAGE_FAULT_NO_ROOM:
		return CODE_NO_ROOM;
	case FG_IMAGE_FAULT_DOWNLOAD:
		return CODE_DOWNLOAD;
	case FG_IMAGE_FAULT_WRONG:
		return CODE_WRONG;
	case FG_IMAGE_FAULT_UNSUPPORTED:
		return CODE_UNSUPPORTED;
	case FG_IMAGE_FAULT_REFUSED:
		return CODE_REFUSED;
	case FG_IMAGE_FAULT_OTHER:
		break;
	}
	return CODE_OTHER;
}

static uint8_t percent_of(const struct fg_image_progress *p)
{
	switch (p->state) {
	case FG_IMAGE_DOWNLOADED:
		return PERCENT_FETCHED;
	case FG_IMAGE_VERIFIED:
		return PERCENT_CHECKED;
	case FG_IMAGE_UPDATING:
		return PERCENT_HANDED;
	case FG_IMAGE_UPDATED:
		return PERCENT_DONE;
	default:
		break;
	}
	if (p->size == 0)
		return 0;
	return p->have < p->size ? (uint8_t)(p->have * PERCENT_FETCHED / p->size) : PERCENT_FETCHED;
}

void hw_image_progress(void *ctx, const struct fg_image_progress *p)
{
	static const char *const words[] = {
		[FG_IMAGE_DOWNLOADING] = "downloading",
		[FG_IMAGE_DOWNLOADED] = "downloaded",
		[FG_IMAGE_VERIFIED] = "checked, waits for the device",
		[FG_IMAGE_UPDATING] = "handed to the device",
		[FG_IMAGE_UPDATED] = "the device says that it is installed",
		[FG_IMAGE_FAILED] = "", /* there is an error */
	};
	struct hw *hw = ctx;
	struct hw_ota_job *job;
	uint8_t percent = percent_of(p);
	bool is_same, is_old; /* the same image; nothing new of it */

	job = hw_ota_job(hw, p->device, (enum hw_ota_subject)p->kind);
	if (!job)
		return;
	is_same = fg_span_is(p->version, job->version);
	/* A server that knows no ranges begins anew after a cut; that is no step back. */
	if (is_same && !job->has_ended && percent < job->percent)
		percent = job->percent;
	is_old = is_same && !p->only_grown && percent == job->percent &&
		 fg_span_is(fg_span_str(words[p->state]), job->words);
	if (!is_old)
		job->moved_s = hw->uptime_s;
	if (is_same && p->only_grown && percent == job->percent)
		return;
	hw_ota_put(job->version, p->version);
	if (p->state == FG_IMAGE_FAILED) {
		end(hw, job, code_of(p->fault), p->error);
		return;
	}
	job->has_ended = p->state == FG_IMAGE_UPDATED;
	job->code = CODE_OK;
	job->percent = percent;
	hw_ota_put(job->words, fg_span_str(words[p->state]));
	hw_ota_say(hw, job);
}
