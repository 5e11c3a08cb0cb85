#include "cloud.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_NAME_BYTES 255
#define EXPIRY_CHECK_MS 20

static struct json_object *header_new(const char *what, const struct tb_session *s,
				      const char *name)
{
	struct json_object *header = json_object_new_object();

	json_object_object_add(header, "event", json_object_new_string(what));
	json_object_object_add(header, "session", json_object_new_int64(s->number));
	json_object_object_add(header, "device", json_object_new_string(name));
	return header;
}

static bool is_a_name(const char *name)
{
	return name[0] != '\0' && name[strspn(name, " \t\r\n")] != '\0' &&
	       strlen(name) <= MAX_NAME_BYTES && !strstr(name, "{{") && !strchr(name, '<');
}

static enum tb_outcome create(struct tb_cloud *cloud, const char *name, const char *type,
			      bool is_implicit)
{
	struct json_object *line;

	if (json_object_object_get_ex(cloud->known, name, NULL))
		return TB_TAKEN;
	if (cloud->faults.refuse_new_devices)
		return TB_DEVICE_REFUSED;
	json_object_object_add(cloud->known, name, json_object_new_string(type));
	line = tb_event("device", NULL);
	json_object_object_add(line, "device", json_object_new_string(name));
	json_object_object_add(line, "type", json_object_new_string(type));
	json_object_object_add(line, "implicit", json_object_new_boolean(is_implicit));
	tb_record(cloud, line);
	return TB_TAKEN;
}

enum tb_outcome tb_subdevice_touch(struct tb_cloud *cloud, struct tb_session *s, const char *name,
				   const char *type, bool is_connect)
{
	struct tb_session *other;
	struct json_object *last, *header;
	enum tb_outcome outcome;
	bool is_deaf;

	if (!is_a_name(name))
		return TB_DEVICE_REFUSED;
	if (json_object_object_get_ex(s->subs, name, &last)) {
		if (!is_connect)
			json_object_set_int64(last, tb_monotonic_ms());
		return TB_TAKEN;
	}
	outcome = create(cloud, name, type, !is_connect);
	if (outcome != TB_TAKEN)
		return outcome;

	for (other = cloud->sessions; other; other = other->next)
		if (other != s)
			tb_subdevice_close(cloud, other, name, "taken over");
	json_object_object_add(s->subs, name, json_object_new_int64(tb_monotonic_ms()));

	/* Opening the session costs a token of its own: without it the device hears nothing. */
	is_deaf = is_connect && !tb_limits_take(cloud->limits, s, true, 0);
	header = header_new("sub_open", s, name);
	json_object_object_add(header, "type", json_object_new_string(type));
	json_object_object_add(header, "deaf", json_object_new_boolean(is_deaf));
	tb_core_tell(cloud, header, NULL, 0);
	return TB_TAKEN;
}

void tb_subdevice_close(struct tb_cloud *cloud, struct tb_session *s, const char *name,
			const char *why)
{
	struct json_object *header;
	char *copy;

	if (!json_object_object_get_ex(s->subs, name, NULL))
		return;
	copy = strdup(name); /* it may be the key itself */
	if (!copy)
		return;
	json_object_object_del(s->subs, copy);
	if (why) {
		header = header_new("sub_close", s, copy);
		json_object_object_add(header, "why", json_object_new_string(why));
		tb_core_tell(cloud, header, NULL, 0);
	}
	free(copy);
}

static void record_forgotten(struct tb_cloud *cloud, const char *name)
{
	struct json_object *line = tb_event("forgotten", NULL);

	json_object_object_add(line, "device", json_object_new_string(name));
	tb_record(cloud, line);
	json_object_object_del(cloud->known, name);
}

void tb_subdevice_forget(struct tb_cloud *cloud, const char *name)
{
	struct tb_session *s;

	for (s = cloud->sessions; s; s = s->next)
		tb_subdevice_close(cloud, s, name, NULL);
	record_forgotten(cloud, name);
}

void tb_subdevice_rename(struct tb_cloud *cloud, const char *name, const char *to)
{
	const char *type = tb_member(cloud->known, name);
	char *copy = strdup(type ? type : "default");

	record_forgotten(cloud, name);
	if (copy)
		(void)create(cloud, to, copy, false);
	free(copy);
}

void tb_subdevice_expire(struct tb_cloud *cloud)
{
	int64_t now = tb_monotonic_ms();
	struct json_object_iter at;
	struct tb_session *s;
	const char *expired;

	if (now - cloud->expiry_checked_ms < EXPIRY_CHECK_MS)
		return;
	cloud->expiry_checked_ms = now;
	for (s = cloud->sessions; s; s = s->next) {
		/* Deleting ends the walk, so start over after each. */
		do {
			expired = NULL;
			json_object_object_foreachC(s->subs, at)
			{
				if (now - json_object_get_int64(at.val) >= cloud->inactivity_ms) {
					expired = at.key;
					break;
				}
			}
			if (expired)
				tb_subdevice_close(cloud, s, expired, "expired");
		} while (expired);
	}
}

void tb_subdevice_recall(struct tb_cloud *cloud, const char *path)
{
	FILE *f = fopen(path, "r");
	struct json_object *line;
	const char *name;
	char *text = NULL;
	size_t size = 0;

	if (!f)
		return;
	while (getline(&text, &size, f) > 0) {
		bool is_device = strncmp(text, "{\"event\":\"device\"", 17) == 0;

		if (!is_device && strncmp(text, "{\"event\":\"forgotten\"", 20) != 0)
			continue;
		line = json_tokener_parse(text);
		name = tb_member(line, "device");
		if (name && is_device)
			json_object_object_add(cloud->known, name,
					       json_object_new_string(tb_member(line, "type")));
		else if (name)
			json_object_object_del(cloud->known, name);
		json_object_put(line);
	}
	free(text);
	fclose(f);
}
