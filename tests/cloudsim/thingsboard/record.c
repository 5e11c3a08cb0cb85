#include "cloud.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int64_t clock_ms(clockid_t clock)
{
	struct timespec ts;

	clock_gettime(clock, &ts);
	return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

int64_t tb_now_ms(void)
{
	return clock_ms(CLOCK_REALTIME);
}

int64_t tb_monotonic_ms(void)
{
	return clock_ms(CLOCK_MONOTONIC);
}

const char *tb_member(struct json_object *object, const char *name)
{
	return json_object_get_string(json_object_object_get(object, name));
}

bool tb_same(const char *a, const char *b)
{
	return strcmp(a ? a : "", b ? b : "") == 0;
}

void tb_record(struct tb_cloud *cloud, struct json_object *line)
{
	const char *text;
	char *whole;
	size_t size;
	ssize_t n;

	text = json_object_to_json_string_length(
		line, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE, &size);
	whole = malloc(size + 1);
	if (whole) {
		memcpy(whole, text, size);
		whole[size] = '\n';
		n = write(cloud->record_fd, whole, size + 1);
		if (n != (ssize_t)size + 1)
			mosquitto_log_printf(MOSQ_LOG_ERR,
					     "cloudsim: the record cannot be written: %s",
					     strerror(errno));
		free(whole);
	}
	json_object_put(line);
}

struct json_object *tb_event(const char *name, const struct tb_session *s)
{
	struct json_object *line = json_object_new_object();

	json_object_object_add(line, "event", json_object_new_string(name));
	if (s) {
		json_object_object_add(line, "client", json_object_new_string(s->client_id));
		json_object_object_add(line, "device",
				       json_object_new_string(tb_member(s->device, "name")));
	}
	return line;
}

void tb_suspect(struct tb_cloud *cloud, const char *why)
{
	struct json_object *line = tb_event("suspect", NULL);

	cloud->n_suspect++;
	json_object_object_add(line, "n", json_object_new_int64(cloud->n_publishes));
	json_object_object_add(line, "why", json_object_new_string(why));
	tb_record(cloud, line);
}

struct json_object *tb_printable(const char *data, size_t size, size_t max)
{
	struct json_object *text;
	char *copy;
	size_t i;

	if (size > max)
		size = max;
	copy = malloc(size + 1);
	if (!copy)
		return NULL;
	for (i = 0; i < size; i++)
		copy[i] = (unsigned char)data[i] < 0x20 || (unsigned char)data[i] > 0x7e ? '?'
											 : data[i];
	text = json_object_new_string_len(copy, (int)size);
	free(copy);
	return text;
}

struct json_object *tb_hex(const void *data, size_t size)
{
	static const char digits[] = "0123456789abcdef";
	const unsigned char *bytes = data;
	struct json_object *text;
	char *copy = malloc(2 * size + 1);
	size_t i;

	if (!copy)
		return NULL;
	for (i = 0; i < size; i++) {
		copy[2 * i] = digits[bytes[i] >> 4];
		copy[2 * i + 1] = digits[bytes[i] & 15];
	}
	text = json_object_new_string_len(copy, (int)(2 * size));
	free(copy);
	return text;
}
