/*
 * Which sub-devices IoTDA has. After each connect it is asked, and it tells when one is added or deleted
 * there:
 *
 *	up    sub_device_sync_request                          {"version":8}
 *	down  add_sub_device_notify, delete_sub_device_notify  {"devices":[…],"version":9}
 *
 * The version is that of the list kept here, which lives as long as the process: after a start all is
 * asked for. What those say that are not on the list waits for the answer, for HW_ANSWER_S at most. It may
 * come in parts, of which none says that it is the last: they are waited for until none has come for a
 * moment. Who is on the list by then waits for nothing.
 *
 * waits for \ event | a notice         | PUBACK        | refused | deadline             | session ends
 * ------------------+------------------+---------------+---------+----------------------+-------------
 * nothing           | -                | -             | -       | -                    | -
 * the answer        | the rest: MORE_S | in HW_ANSWER_S| nothing | nothing; warned (1)  | nothing
 * the rest          | the rest: MORE_S | -             | nothing | nothing              | nothing
 *
 * (1) Where a version was named, silence means that nothing has changed.
 *
 * Who was deleted while nobody was here to be told is on no list, and would be taken for a new device. So
 * the version outlives the process, as all that is needed to ask who that was: after a start, when the
 * list has come and has a later version, what has changed since the one kept is asked for, too, and
 * waited for until the deadline by those who are not on the list. Only then the list's own version is kept.
 * Who is killed before asks the same again, and what was deleted is deleted once more. A deletion that is
 * older than the list counts for who is not on it.
 *
 * kept version \ event | the list has a later one | each second, unless something is waited for
 * ---------------------+--------------------------+----------------------------------------------
 * none                 | -                        | the list's is kept; also while it is waited for
 * of this list         | -                        | the list's is kept
 * of the last run      | changes are asked for    | the list's is kept
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "huawei.h"

#define SYNC "sub_device_sync_request"

#define STORE_KEY "list"

/* The next part of a list comes within one second at least. */
#define MORE_S 2u

/* ------------------------------------------------------------------ the version that is kept */

/* "8 gw1": the version, and whose list it is of. */
void hw_topology_open(struct hw *hw)
{
	struct hw_topology *t = &hw->topology;
	char text[24 + HW_DEVICE_ID_MAX], *end;
	struct fg_span stored;

	if (!hw->devices.all || !hw->with.syncs ||
	    hw->host->recall(hw->host_ctx, STORE_KEY, &stored) < 0 || stored.size >= sizeof(text))
		return;
	memcpy(text, stored.data, stored.size);
	text[stored.size] = 0;
	t->kept_version = strtoull(text, &end, 10);
	t->is_kept_old =
		t->kept_version > 0 && *end == ' ' && strcmp(end + 1, hw->with.device_id) == 0;
	if (!t->is_kept_old)
		t->kept_version = 0;
}

/*
 * Keep the version of the list, unless who was deleted before it has yet to be told. Not where a notice is
 * received, so that it is acknowledged also when there is no room for this: who has an older version is told
 * more, and not less.
 */
static void keep_version(struct hw *hw)
{
	struct hw_topology *t = &hw->topology;
	char text[24 + HW_DEVICE_ID_MAX];
	int n;

	if (!t->is_on || !hw->with.syncs || !t->is_synced || t->version == 0 ||
	    (t->kept_version > 0 && t->is_waiting))
		return;
	t->is_kept_old = false;
	if (t->version == t->kept_version)
		return;
	t->kept_version = t->version;
	n = snprintf(text, sizeof(text), "%" PRIu64 " %s", t->version, hw->with.device_id);
	if (hw->host->remember(hw->host_ctx, STORE_KEY, fg_span_of(text, (size_t)n)) < 0)
		hw->host->warn(hw->host_ctx,
			       "the version of IoTDA's list of sub-devices cannot be kept on disk: "
			       "one that is deleted there while fieldgate is not running is not "
			       "noticed");
}

/* Is what has changed since the last run of interest? */
static void look_for_changes(struct hw *hw)
{
	struct hw_topology *t = &hw->topology;

	if (!t->is_kept_old || !t->is_waiting || t->awaits_changes || t->version <= t->kept_version)
		return;
	t->awaits_changes = true;
	t->is_changes_due = true;
}

/* ------------------------------------------------------------------ asking for the list */

void hw_topology_begin(struct hw *hw, bool is_roomy)
{
	struct hw_topology *t = &hw->topology;

	t->is_on = hw->devices.all && is_roomy;
	t->is_sync_due = t->is_on && hw->with.syncs;
	t->is_synced = false;
	t->is_waiting = t->is_sync_due;
	t->has_deadline = false;
	t->has_begun = false;
	t->has_asked_again = false;
	t->awaits_changes = false;
	t->is_changes_due = false;
	look_for_changes(hw);
	hw_adding_begin(hw);
}

void hw_topology_end(struct hw *hw)
{
	hw->topology.is_on = false;
	hw->topology.is_sync_due = false;
	hw->topology.is_changes_due = false;
	hw->topology.is_waiting = false;
	hw->topology.has_deadline = false;
	hw_adding_begin(hw);
	hw_deletions_forget(hw);
}

static int ask(struct hw_call *call, uint64_t version, enum hw_tag tag)
{
	static const struct hw_event_head head = {.service = HW_SERVICE_MANAGER, .type = SYNC};
	struct fg_text text;
	int r;

	r = hw_event_begin(call, &head, &text);
	if (r < 0)
		return r;
	fg_put(&text, "{\"version\":");
	fg_put_number(&text, (int64_t)version);
	fg_put(&text, "}");
	call->out->tag = tag;
	return hw_event_end(call, &text);
}

int hw_publish_sync(struct hw_call *call)
{
	struct hw_topology *t = &call->hw->topology;

	if (t->is_sync_due) {
		t->is_sync_due = false;
		return ask(call, t->version, HW_TAG_SYNC);
	}
	if (t->is_changes_due) {
		t->is_changes_due = false;
		return ask(call, t->kept_version, HW_TAG_CHANGES);
	}
	return 0;
}

void hw_sync_settled(struct hw *hw, bool is_accepted)
{
	struct hw_topology *t = &hw->topology;

	if (!is_accepted) {
		t->has_deadline = false;
		t->is_waiting = false;
		hw_offer_left(hw);
	} else if (!t->has_begun) {
		t->has_deadline = t->is_waiting;
		t->deadline_s = hw->uptime_s + HW_ANSWER_S;
	}
}

/* Some of the list has come. Of what has changed nobody knows whether any comes: that has all the time. */
static void wait_for_more(struct hw *hw)
{
	struct hw_topology *t = &hw->topology;

	if (!t->has_begun)
		t->latest_s = hw->uptime_s + HW_ANSWER_S;
	t->has_begun = true;
	t->has_deadline = t->is_waiting;
	t->deadline_s = t->latest_s;
	if (!t->awaits_changes && hw->uptime_s + MORE_S < t->latest_s)
		t->deadline_s = hw->uptime_s + MORE_S;
}

static void stop_waiting(struct hw *hw)
{
	struct hw_topology *t = &hw->topology;

	t->has_deadline = false;
	t->is_waiting = false;
	t->is_synced |= t->version > 0;
	if (!t->is_synced)
		hw->host->warn(hw->host_ctx,
			       "IoTDA has not said within %u s which sub-devices it has: their ids "
			       "are made by the rule of product_id",
			       HW_ANSWER_S);
	hw_offer_left(hw);
}

void hw_topology_has_grown(struct hw *hw)
{
	struct hw_topology *t = &hw->topology;

	/* A list that had nobody on it may have no version. */
	if (t->is_synced && t->version == 0 && hw->with.syncs && !t->has_asked_again)
		t->is_sync_due = t->has_asked_again = true;
}

void hw_topology_tick(struct hw *hw)
{
	struct hw_topology *t = &hw->topology;

	if (t->has_deadline && hw->uptime_s >= t->deadline_s)
		stop_waiting(hw);
	keep_version(hw);
	if (t->has_shown && hw->uptime_s >= t->shown_until_s)
		hw_tell_silent(hw);
	hw_adding_tick(hw);
}

/* ------------------------------------------------------------------ who may speak */

static bool is_known(const struct hw_device *device)
{
	return device && device->standing == HW_KNOWN;
}

bool hw_is_awaited(const struct hw *hw, struct fg_span name)
{
	return hw->topology.is_waiting && !is_known(hw_devices_find(&hw->devices, name));
}

enum hw_gate hw_gate(struct hw *hw, struct hw_device *device)
{
	const struct hw_topology *t = &hw->topology;

	if (t->is_waiting && !is_known(device))
		return HW_GATE_WAIT;
	if (!device)
		return HW_GATE_OPEN;
	if (device->is_stranger)
		return HW_GATE_SHUT;
	/* IoTDA would not keep what it says before it is added, and that goes by MQTT only. */
	if (device->standing == HW_UNHEARD && hw->with.adds && hw->carrier == FG_CARRIER_HTTP)
		return HW_GATE_ASIDE;
	if (device->standing == HW_UNHEARD && hw->with.adds && t->is_on)
		hw_device_enter(&hw->devices, device, HW_WANTED);
	switch ((enum hw_standing)device->standing) {
	case HW_WANTED:
	case HW_ASKED:
		return hw_adding_gate(hw, device);
	case HW_FAILED:
	case HW_DELETED:
		return HW_GATE_SHUT;
	case HW_UNHEARD:
	case HW_KNOWN:
	case HW_N_STANDINGS:
		break;
	}
	return HW_GATE_OPEN;
}

void hw_refuse_shut(struct hw_call *call, size_t i, const struct hw_device *device)
{
	if (device->is_stranger)
		hw_refuse(call, i, "IoTDA does not have it as a sub-device of this gateway");
	else if (device->standing == HW_DELETED)
		hw_refuse(call, i, "the sub-device was deleted in IoTDA");
	else if (device->standing == HW_UNHEARD)
		hw_refuse(call, i,
			  "IoTDA does not have the sub-device yet, and adds it by MQTT only; as "
			  "many messages as can wait for that do already");
	else if (device->error_code[0])
		hw_refuse(call, i, "IoTDA does not take it as a sub-device (%s): it is asked again",
			  device->error_code);
	else
		hw_refuse(call, i,
			  "IoTDA does not answer the request to add the sub-device: it is "
			  "asked again");
}

/* ------------------------------------------------------------------ what IoTDA says */

static bool read_id_text(struct fg_json_value value, char *out, struct fg_span *ret)
{
	char raw[HW_RAW(HW_DEVICE_ID_MAX)];
	struct fg_span id;

	if (!hw_string_read(value, raw, sizeof(raw), &id) || !hw_is_id(id.data, id.size))
		return false;
	memcpy(out, id.data, id.size);
	*ret = fg_span_of(out, id.size);
	return true;
}

bool hw_read_id(struct fg_json_value object, const char *name, char *out, struct fg_span *ret)
{
	struct fg_json_value value;

	return object.type == FG_JSON_OBJECT && fg_json_member(object, fg_span_str(name), &value) &&
	       read_id_text(value, out, ret);
}

int hw_each(struct hw *hw, struct fg_json_value paras, const char *name,
	    int (*take)(struct hw *hw, struct fg_json_value entry))
{
	struct fg_json_value list;
	struct fg_json_member member;
	struct fg_json_walk walk;
	int r = 0;

	if (!fg_json_member(paras, fg_span_str(name), &list))
		return 0;
	if (list.type != FG_JSON_ARRAY)
		return -EPROTO;
	fg_json_walk_begin(&walk, list);
	while (fg_json_walk_next(&walk, &member))
		if (take(hw, member.value) < 0)
			r = -EPROTO;
	return r;
}

/* What was called @id is no more: that is another one's now. */
static void dispossess(struct hw *hw, struct fg_span id, const struct hw_device *heir)
{
	struct hw_device *device;
	struct fg_span name;

	if (!hw_device_called(hw, id, &name))
		return;
	device = hw_devices_find(&hw->devices, name);
	if (!device || device == heir)
		return;
	hw_device_set_id(&hw->devices, device, (struct fg_span){0});
	hw_device_enter(&hw->devices, device, HW_DELETED);
}

static bool is_shown_online(struct fg_json_value entry)
{
	struct fg_json_value status;

	return fg_json_member(entry, fg_span_str("status"), &status) &&
	       fg_span_is(status.text, "\"ONLINE\"");
}

int hw_device_named(struct hw *hw, struct fg_json_value entry)
{
	char id_text[HW_DEVICE_ID_MAX], name_text[HW_DEVICE_ID_MAX];
	struct fg_span id, name;
	struct hw_device *device;
	bool is_by_rule;

	if (!hw_read_id(entry, "device_id", id_text, &id) ||
	    !hw_read_id(entry, "node_id", name_text, &name) || fg_span_is(id, hw->with.device_id))
		return -EPROTO;
	hw->host->unmute(hw->host_ctx, name);
	device = hw_devices_get(&hw->devices, name);
	if (!device) {
		hw_warn_full(hw);
		return 0;
	}
	is_by_rule = hw_is_by_rule(hw, id, name);
	dispossess(hw, id, device);
	if (hw_device_set_id(&hw->devices, device, is_by_rule ? (struct fg_span){0} : id) < 0) {
		hw->host->warn(hw->host_ctx, "out of memory for the id of a sub-device: it is "
					     "asked for with the next session");
		hw->topology.version = 0;
		return 0;
	}
	hw_device_enter(&hw->devices, device, HW_KNOWN);
	if (hw->with.reports_status && is_shown_online(entry))
		hw_shown_online(hw, device);
	return 0;
}

bool hw_read_entry(struct fg_json_value entry, char *out, struct fg_span *ret)
{
	if (entry.type == FG_JSON_OBJECT)
		return hw_read_id(entry, "device_id", out, ret);
	return read_id_text(entry, out, ret);
}

/*
 * The name here of what is called @id, as @entry of a notice has it: by its node id where the id is not
 * known, as after a restart. Who has got another id meanwhile is another one.
 */
static bool is_named_here(struct hw *hw, struct fg_json_value entry, struct fg_span id,
			  char *name_text, struct fg_span *ret)
{
	struct hw_device *device;

	if (hw_device_called(hw, id, ret))
		return ret->size > 0;
	if (!hw_read_id(entry, "node_id", name_text, ret))
		return false;
	device = hw_devices_find(&hw->devices, *ret);
	return !device || device->standing != HW_KNOWN;
}

int hw_device_deleted(struct hw *hw, struct fg_json_value entry)
{
	char id_text[HW_DEVICE_ID_MAX], name_text[HW_DEVICE_ID_MAX];
	struct hw_device *device;
	struct fg_span id, name;

	if (!hw_read_entry(entry, id_text, &id))
		return -EPROTO;
	if (!is_named_here(hw, entry, id, name_text, &name))
		return 0;
	hw_ota_forget(hw, name);
	device = hw_devices_find(&hw->devices, name);
	if (!hw->with.recreates)
		hw->host->mute(hw->host_ctx, name);
	else
		hw->host->warn(
			hw->host_ctx,
			"sub-device \"%.*s\" was deleted in IoTDA: it is added again when it "
			"says something",
			FG_SPAN_ARGS(name));
	if (!device)
		return 0;
	hw_device_set_id(&hw->devices, device, (struct fg_span){0});
	if (!hw->with.recreates)
		hw_device_enter(&hw->devices, device, HW_DELETED);
	else if (device->standing != HW_WANTED && device->standing != HW_ASKED)
		hw_device_enter(&hw->devices, device, HW_UNHEARD);
	return 0;
}

/* The member "version"; 0: there is none. */
static uint64_t read_version(struct fg_json_value paras)
{
	struct fg_json_value value;
	uint64_t version = 0;

	if (!fg_json_member(paras, fg_span_str("version"), &value) ||
	    value.type != FG_JSON_INTEGER || value.text.size > 18)
		return 0;
	for (size_t i = 0; i < value.text.size; i++) {
		if (value.text.data[i] < '0' || value.text.data[i] > '9')
			return 0;
		version = version * 10 + (uint64_t)(value.text.data[i] - '0');
	}
	return version;
}

/* One was deleted, and that is older than the list. */
static int deleted_before(struct hw *hw, struct fg_json_value entry)
{
	char id_text[HW_DEVICE_ID_MAX], name_text[HW_DEVICE_ID_MAX];
	struct fg_span id, name;

	if (!hw_read_entry(entry, id_text, &id))
		return -EPROTO;
	if (!is_named_here(hw, entry, id, name_text, &name) ||
	    is_known(hw_devices_find(&hw->devices, name)))
		return 0;
	return hw_device_deleted(hw, entry);
}

/*
 * A notice may come again, also in a later session, when the list has gone on. The answer to our own
 * question is the truth, whatever its version. What comes without it, before the question or instead of an
 * answer, is true, too, but its version is not that of our list: the rest would never be asked for.
 */
static int take_notice(struct hw *hw, struct fg_json_value paras,
		       int (*take)(struct hw *hw, struct fg_json_value entry))
{
	struct hw_topology *t = &hw->topology;
	uint64_t version = read_version(paras);
	struct fg_json_value list;

	if (!fg_json_member(paras, fg_span_str("devices"), &list) || list.type != FG_JSON_ARRAY)
		return -EPROTO;
	if (t->is_synced && version > 0 && version < t->version)
		return take == hw_device_deleted ? hw_each(hw, paras, "devices", deleted_before)
						 : 0;
	if (t->is_synced || !hw->with.syncs || (t->is_waiting && !t->is_sync_due)) {
		if (version > 0)
			t->version = version;
		t->is_synced = true;
		look_for_changes(hw);
		wait_for_more(hw);
	}
	return hw_each(hw, paras, "devices", take);
}

static int take_event(struct hw *hw, const struct hw_event *event)
{
	struct hw_topology *t = &hw->topology;

	if (fg_span_is(event->type, "sub_device_update_status_response"))
		hw_status_response(hw, event->paras);
	else if (!hw->devices.all)
		return 0;
	else if (fg_span_is(event->type, "add_sub_device_notify"))
		return take_notice(hw, event->paras, hw_device_named);
	else if (fg_span_is(event->type, "delete_sub_device_notify"))
		return take_notice(hw, event->paras, hw_device_deleted);
	else if (fg_span_is(event->type, "add_sub_device_response"))
		return hw_add_response(hw, event);
	else if (fg_span_is(event->type, "delete_sub_device_response"))
		return hw_delete_response(hw, event);
	else
		hw->host->warn(hw->host_ctx,
			       "IoTDA has sent an event about sub-devices which is not made use of "
			       "(%" PRIu64 " such events so far)",
			       ++t->n_unknown_events);
	return 0;
}

int hw_manager_event(struct hw *hw, const struct hw_event *event)
{
	int r = take_event(hw, event);

	hw_offer_left(hw);
	return r;
}
