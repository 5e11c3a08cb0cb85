/*
 * The jobs of ota.h: what is to be told, told once more, and told for good.
 *
 *	"event_type":"upgrade_progress_report",
 *	"paras":{"result_code":0,"progress":80,"version":"2.0","description":"downloaded"}
 *	"event_type":"version_report","paras":{"sw_version":"1.0","fw_version":"1.9"}
 *
 * The last report of an image has progress 100 or a result_code; IoTDA forgets the order then. Once it
 * has acknowledged it, the host forgets that there is something to tell.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/packet.h"
#include "huawei.h"
#include "model/utf8.h"

/* IoTDA waits 3 min for versions, and 30 min for a word about an image. */
#define WAIT_S 170
#define AGAIN_S 300

/* So many are looked up in a second: the host may have to search for each. */
#define MAX_LOOKS 16

/* What is refused so often is not told. */
#define MAX_REFUSALS 3

static struct fg_span device_of(const struct hw_ota_job *job)
{
	return fg_span_of(job->device, job->device_size);
}

/* ------------------------------------------------------------------ the table */

static void enter(struct hw *hw, struct hw_ota_job *job, enum hw_ota_state state)
{
	hw->ota.n_untold -= job->state == HW_OTA_UNTOLD;
	hw->ota.n_untold += state == HW_OTA_UNTOLD;
	job->state = state;
	job->since_s = job->looked_s = hw->uptime_s;
}

static void forget(struct hw *hw, struct hw_ota_job *job)
{
	struct hw_ota_job **at = &hw->ota.jobs;

	enter(hw, job, HW_OTA_SENT);
	while (*at != job)
		at = &(*at)->next;
	*at = job->next;
	if (--hw->ota.n_jobs <= HW_MAX_OTA_JOBS / 2)
		hw->ota.has_warned_full = false; /* the next flood is another one */
	free(job);
}

static struct hw_ota_job *new_job(struct hw *hw, struct fg_span device, enum hw_ota_subject subject)
{
	struct hw_ota *ota = &hw->ota;
	struct hw_ota_job **at = &ota->jobs, *job;

	if (ota->n_jobs >= HW_MAX_OTA_JOBS) {
		if (!ota->has_warned_full)
			hw->host->warn(hw->host_ctx,
				       "more than %d versions and upgrades are under way: of those "
				       "beyond, IoTDA is told nothing",
				       HW_MAX_OTA_JOBS);
		ota->has_warned_full = true;
		return NULL;
	}
	job = calloc(1, sizeof(*job) + device.size);
	if (!job)
		return NULL;
	job->subject = subject;
	job->state = HW_OTA_SENT; /* until the caller says otherwise */
	job->moved_s = hw->uptime_s;
	job->device_size = (uint8_t)device.size;
	if (device.size > 0)
		memcpy(job->device, device.data, device.size);
	while (*at)
		at = &(*at)->next;
	*at = job;
	ota->n_jobs++;
	return job;
}

/* A sub-device may have been renamed to what cannot be an id. The only device may have any name. */
static bool can_be_told_of(const struct hw *hw, struct fg_span device)
{
	if (device.size > 0 && hw->with.mode == HW_MODE_GATEWAY)
		return !hw_device_name_fault(hw, device);
	return device.size <= UINT8_MAX;
}

struct hw_ota_job *hw_ota_job(struct hw *hw, struct fg_span device, enum hw_ota_subject subject)
{
	struct hw_ota_job *job = hw->ota.jobs;

	if (!can_be_told_of(hw, device))
		return NULL;
	while (job && (job->subject != subject || !fg_span_equal(device_of(job), device)))
		job = job->next;
	if (job)
		return job;
	job = new_job(hw, device, subject);
	if (job)
		enter(hw, job, HW_OTA_UNTOLD);
	return job;
}

void hw_ota_forget(struct hw *hw, struct fg_span device)
{
	struct hw_ota_job *job, *next;

	for (job = hw->ota.jobs; job; job = next) {
		next = job->next;
		if (fg_span_equal(device_of(job), device))
			forget(hw, job);
	}
}

void hw_ota_put(char out[HW_OTA_TEXT_SIZE], struct fg_span text)
{
	size_t size = text.size < HW_OTA_TEXT_SIZE ? text.size : HW_OTA_TEXT_SIZE - 1;

	/* What is cut ends with a whole character. */
	while (!fg_utf8_ok(fg_span_of(text.data, size)))
		size--;
	if (size > 0)
		memcpy(out, text.data, size);
	out[size] = '\0';
}

void hw_ota_say(struct hw *hw, struct hw_ota_job *job)
{
	if (job->state == HW_OTA_SENT)
		job->has_more = true;
	else
		enter(hw, job, HW_OTA_UNTOLD);
}

void hw_ota_wait(struct hw *hw, struct hw_ota_job *job)
{
	if (job->state == HW_OTA_UNTOLD || job->state == HW_OTA_WAITING)
		enter(hw, job, HW_OTA_WAITING);
}

void hw_ota_close(struct hw_ota *ota)
{
	struct hw_ota_job *next;

	for (; ota->jobs; ota->jobs = next) {
		next = ota->jobs->next;
		free(ota->jobs);
	}
}

/* ------------------------------------------------------------------ versions */

/* Returns 0, or -ENOENT when nobody knows and there is no word for that. */
static int version_of(struct hw *hw, struct fg_span device, enum fg_image_kind kind,
		      struct fg_span *ret)
{
	int r = -ENOENT;

	if (hw->host->image_version)
		r = hw->host->image_version(hw->host_ctx, device, kind, ret);
	/* The gateway's own data come from a device of that name, too. */
	if (r < 0 && hw->host->image_version && device.size == 0)
		r = hw->host->image_version(hw->host_ctx, fg_span_str(hw->with.device_id), kind,
					    ret);
	if (r < 0 && hw->with.unknown_version) {
		*ret = fg_span_str(hw->with.unknown_version);
		r = 0;
	}
	return r < 0 ? -ENOENT : 0;
}

bool hw_ota_has_versions(struct hw *hw, struct fg_span device)
{
	struct fg_span version;

	return version_of(hw, device, FG_IMAGE_FIRMWARE, &version) == 0 ||
	       version_of(hw, device, FG_IMAGE_SOFTWARE, &version) == 0;
}

static void put_versions(struct hw *hw, struct fg_span device, struct fg_text *text)
{
	static const struct {
		enum fg_image_kind kind;
		const char *name;
	} members[] = {
		{FG_IMAGE_SOFTWARE, "\"sw_version\":"},
		{FG_IMAGE_FIRMWARE, "\"fw_version\":"},
	};
	struct fg_span version;
	const char *before = "";

	fg_put(text, "{");
	for (size_t i = 0; i < 2; i++) {
		if (version_of(hw, device, members[i].kind, &version) < 0)
			continue;
		fg_put(text, before);
		fg_put(text, members[i].name);
		fg_put_quoted(text, version);
		before = ",";
	}
	fg_put(text, "}");
}

/* ------------------------------------------------------------------ telling */

static void put_progress(const struct hw_ota_job *job, struct fg_text *text)
{
	fg_put(text, "{\"result_code\":");
	fg_put_number(text, job->code);
	fg_put(text, ",\"progress\":");
	fg_put_number(text, job->percent);
	fg_put(text, ",\"version\":");
	fg_put_quoted(text, fg_span_str(job->version));
	fg_put(text, ",\"description\":");
	fg_put_quoted(text, fg_span_str(job->words));
	fg_put(text, "}");
}

/* Returns 1, 0 when it does not fit into a packet, or -EINVAL. */
static int publish(struct hw_call *call, struct hw_ota_job *job)
{
	struct hw *hw = call->hw;
	bool is_version = job->subject == HW_OTA_VERSIONS;
	char device[HW_DEVICE_ID_MAX + 1] = "";
	struct fg_text id = fg_text_begin(device, sizeof(device) - 1), text;
	struct hw_event_head head = {
		.service = HW_SERVICE_OTA,
		.type = is_version ? "version_report" : "upgrade_progress_report",
	};
	int r;

	if (job->device_size > 0 && hw->with.mode == HW_MODE_GATEWAY) {
		hw_put_device_id(hw, &id, device_of(job));
		head.device = device;
	}
	r = hw_event_begin(call, &head, &text);
	if (r < 0)
		return r;
	if (is_version)
		put_versions(hw, device_of(job), &text);
	else
		put_progress(job, &text);
	r = hw_event_end(call, &text);
	if (r <= 0)
		return r;
	job->serial = ++hw->ota.last_serial;
	job->has_more = false;
	call->out->tag = HW_TAG_OTA | (uint64_t)job->serial << HW_TAG_BITS;
	enter(hw, job, HW_OTA_SENT);
	return 1;
}

/* What IoTDA calls the sub-device is not known yet. */
static bool is_nameless(const struct hw *hw, const struct hw_ota_job *job)
{
	return job->device_size > 0 && hw_is_awaited(hw, device_of(job));
}

int hw_publish_ota(struct hw_call *call)
{
	struct hw *hw = call->hw;
	struct hw_ota_job *job = hw->ota.jobs, *next;
	int r = 0;

	if (hw->ota.n_untold == 0)
		return 0;
	for (; r == 0 && job; job = next) {
		next = job->next;
		if (job->state != HW_OTA_UNTOLD || is_nameless(hw, job))
			continue;
		r = publish(call, job);
		if (r == 0)
			forget(hw, job); /* larger than any packet */
	}
	return r;
}

/* IoTDA has it, or will never take it. */
static void told(struct hw *hw, struct hw_ota_job *job)
{
	job->n_refused = 0;
	if (job->has_more) {
		enter(hw, job, HW_OTA_UNTOLD);
		return;
	}
	if (job->subject != HW_OTA_VERSIONS && !job->has_ended) {
		enter(hw, job, HW_OTA_TOLD);
		return;
	}
	if (job->subject != HW_OTA_VERSIONS && hw->host->image_told)
		hw->host->image_told(hw->host_ctx, device_of(job),
				     (enum fg_image_kind)job->subject);
	forget(hw, job);
}

enum fg_verdict hw_ota_settled(struct hw *hw, const struct fg_settlement *how)
{
	struct hw_ota_job *job = hw->ota.jobs;

	while (job && (job->state != HW_OTA_SENT || job->serial != how->tag >> HW_TAG_BITS))
		job = job->next;
	if (!job || how->reason_code < FG_REASON_UNSPECIFIED) {
		if (job)
			told(hw, job);
		return FG_ACCEPTED;
	}
	if (how->reason_code != FG_REASON_QUOTA_EXCEEDED && ++job->n_refused >= MAX_REFUSALS) {
		hw->host->warn(hw->host_ctx,
			       "IoTDA refuses what it is told of an upgrade (reason code 0x%02x): "
			       "it is not told again",
			       how->reason_code);
		told(hw, job);
		return FG_ACCEPTED;
	}
	enter(hw, job, HW_OTA_UNTOLD);
	return FG_LATER;
}

/* ------------------------------------------------------------------ time */

/* Nobody has said what it runs: IoTDA will not wait any longer. */
static void give_up(struct hw *hw, struct hw_ota_job *job)
{
	struct fg_span name = device_of(job);

	hw->host->warn(
		hw->host_ctx,
		"IoTDA has asked which versions %s%.*s runs, and was not answered: it has told "
		"none (images[].versions), and unknown_version is not set",
		name.size > 0 ? "device " : "the gateway", FG_SPAN_ARGS(name));
	forget(hw, job);
}

/* Is it known by now? Those who wait take turns. */
static bool is_known_now(struct hw *hw, struct hw_ota_job *job, unsigned *looks)
{
	if (*looks == 0 || hw->uptime_s - job->looked_s <= hw->ota.n_jobs / MAX_LOOKS)
		return false;
	--*looks;
	job->looked_s = hw->uptime_s;
	return hw_ota_has_versions(hw, device_of(job));
}

void hw_ota_tick(struct hw *hw)
{
	struct hw_ota_job *job, *next;
	unsigned looks = MAX_LOOKS;

	for (job = hw->ota.jobs; job; job = next) {
		uint32_t age_s = hw->uptime_s - job->since_s;

		next = job->next;
		if (job->state == HW_OTA_WAITING && is_known_now(hw, job, &looks))
			enter(hw, job, HW_OTA_UNTOLD);
		else if (job->state == HW_OTA_TOLD && age_s >= AGAIN_S)
			hw_ota_repeat(hw, job);
		else if (job->state == HW_OTA_WAITING && age_s >= WAIT_S)
			give_up(hw, job);
	}
}

/* ------------------------------------------------------------------ sessions */

void hw_ota_connected(struct hw *hw)
{
	if (hw->host->image_tell)
		hw->host->image_tell(hw->host_ctx);
}

void hw_ota_disconnected(struct hw *hw)
{
	for (struct hw_ota_job *job = hw->ota.jobs; job; job = job->next)
		if (job->state != HW_OTA_WAITING)
			enter(hw, job, HW_OTA_UNTOLD);
}
