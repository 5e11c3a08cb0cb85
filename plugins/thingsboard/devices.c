#include "devices.h"

#include <errno.h>
#include <stdlib.h>

#include "model/json.h"
#include "util/cleanup.h"
#include "util/hash.h"
#include "util/random.h"

/* How many of the longest unused devices are asked whether they can make room. */
#define MAX_CANDIDATES 64

struct tb_devices {
	struct tb_device **buckets;
	uint32_t bucket_mask;
	uint64_t seed; /* so that nobody can choose names that collide */
	struct tb_device **slots;
	uint32_t n_slots, max;
	uint32_t *free_slots; /* below n_slots, of devices that were forgotten */
	uint32_t n_free;
	struct tb_device *oldest, *newest; /* by last use */
	struct {
		struct tb_device *first, *last;
	} lines[TB_N_LINES];
};

static void device_free(struct tb_device *device)
{
	if (device)
		free(device->type);
	free(device);
}

static void devices_freep(struct tb_devices **devices)
{
	tb_devices_free(*devices);
}

int tb_devices_new(uint32_t max, struct tb_devices **ret_devices)
{
	FG_CLEANUP(devices_freep) struct tb_devices *devices = NULL;
	uint32_t n_buckets = 16;

	while (n_buckets < max)
		n_buckets *= 2;
	devices = calloc(1, sizeof(*devices));
	if (!devices)
		return -ENOMEM;
	devices->max = max;
	devices->bucket_mask = n_buckets - 1;
	devices->seed = fg_random();
	devices->buckets = calloc(n_buckets, sizeof(struct tb_device *));
	devices->slots = calloc(max, sizeof(struct tb_device *));
	devices->free_slots = calloc(max, sizeof(uint32_t));
	if (!devices->buckets || !devices->slots || !devices->free_slots)
		return -ENOMEM;

	*ret_devices = devices;
	devices = NULL;
	return 0;
}

struct tb_devices *tb_devices_free(struct tb_devices *devices)
{
	if (!devices)
		return NULL;
	for (uint32_t i = 0; i < devices->n_slots; i++)
		device_free(devices->slots[i]);
	free(devices->slots);
	free(devices->free_slots);
	free(devices->buckets);
	free(devices);
	return NULL;
}

static void leave_order(struct tb_devices *devices, struct tb_device *device)
{
	if (device->older)
		device->older->newer = device->newer;
	else
		devices->oldest = device->newer;
	if (device->newer)
		device->newer->older = device->older;
	else
		devices->newest = device->older;
}

static void enter_order(struct tb_devices *devices, struct tb_device *device)
{
	device->older = devices->newest;
	device->newer = NULL;
	if (devices->newest)
		devices->newest->newer = device;
	else
		devices->oldest = device;
	devices->newest = device;
}

struct tb_device *tb_devices_find(struct tb_devices *devices, struct fg_span name)
{
	uint64_t hash = fg_hash(devices->seed, name);
	struct tb_device *device = devices->buckets[hash & devices->bucket_mask];

	while (device && (device->hash != hash || device->name_size != name.size ||
			  memcmp(device->name, name.data, name.size) != 0))
		device = device->hash_next;
	if (device && device != devices->newest) {
		leave_order(devices, device);
		enter_order(devices, device);
	}
	return device;
}

/* The device that can make room, or NULL. */
static struct tb_device *find_spare(const struct tb_devices *devices,
				    bool (*spare)(const void *arg, const struct tb_device *device),
				    const void *arg)
{
	struct tb_device *device = devices->oldest;

	for (unsigned n = 0; device && n < MAX_CANDIDATES; n++, device = device->newer)
		if (spare(arg, device))
			return device;
	return NULL;
}

void tb_devices_forget(struct tb_devices *devices, struct tb_device *device)
{
	struct tb_device **link = &devices->buckets[device->hash & devices->bucket_mask];

	while (*link != device)
		link = &(*link)->hash_next;
	*link = device->hash_next;
	leave_order(devices, device);
	for (enum tb_line line = 0; line < TB_N_LINES; line++)
		tb_line_leave(devices, line, device);
	devices->slots[device->slot] = NULL;
	devices->free_slots[devices->n_free++] = device->slot;
	device_free(device);
}

void tb_line_leave(struct tb_devices *devices, enum tb_line line, struct tb_device *device)
{
	struct tb_device *before = device->lines[line].before, *behind = device->lines[line].behind;

	if (!device->lines[line].is_in)
		return;
	if (before)
		before->lines[line].behind = behind;
	else
		devices->lines[line].first = behind;
	if (behind)
		behind->lines[line].before = before;
	else
		devices->lines[line].last = before;
	device->lines[line].is_in = false;
}

void tb_line_enter(struct tb_devices *devices, enum tb_line line, struct tb_device *device)
{
	struct tb_device *last;

	tb_line_leave(devices, line, device);
	last = devices->lines[line].last;
	device->lines[line].before = last;
	device->lines[line].behind = NULL;
	device->lines[line].is_in = true;
	if (last)
		last->lines[line].behind = device;
	else
		devices->lines[line].first = device;
	devices->lines[line].last = device;
}

struct tb_device *tb_line_first(const struct tb_devices *devices, enum tb_line line)
{
	return devices->lines[line].first;
}

int tb_devices_add(struct tb_devices *devices, struct fg_span name,
		   bool (*spare)(const void *arg, const struct tb_device *device), const void *arg,
		   struct tb_device **ret_device)
{
	struct tb_device *device, *leaving = NULL;

	if (devices->n_free == 0 && devices->n_slots == devices->max) {
		leaving = find_spare(devices, spare, arg);
		if (!leaving)
			return -EAGAIN;
	}
	device = calloc(1, sizeof(*device) + name.size);
	if (!device)
		return -ENOMEM;
	if (leaving)
		tb_devices_forget(devices, leaving);
	device->slot =
		devices->n_free > 0 ? devices->free_slots[--devices->n_free] : devices->n_slots++;
	memcpy(device->name, name.data, name.size);
	device->name_size = name.size;
	device->quoted_size = fg_json_quote(name, NULL, 0);
	device->hash = fg_hash(devices->seed, name);
	device->hash_next = devices->buckets[device->hash & devices->bucket_mask];
	devices->buckets[device->hash & devices->bucket_mask] = device;
	devices->slots[device->slot] = device;
	enter_order(devices, device);
	*ret_device = device;
	return 0;
}

struct tb_device *tb_devices_at(const struct tb_devices *devices, uint32_t slot)
{
	return slot < devices->n_slots ? devices->slots[slot] : NULL;
}

uint32_t tb_devices_slots(const struct tb_devices *devices)
{
	return devices->n_slots;
}

int tb_device_set_type(struct tb_device *device, struct fg_span type)
{
	char *copy = NULL;

	if (device->type && fg_span_is(type, device->type))
		return 0;
	if (type.size > 0) {
		copy = strndup(type.data, type.size);
		if (!copy)
			return -ENOMEM;
	}
	free(device->type);
	device->type = copy;
	return 0;
}
