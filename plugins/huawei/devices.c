#include "devices.h"

#include <errno.h>
#include <stdlib.h>

#include "util/hash.h"
#include "util/random.h"

int hw_devices_open(struct hw_devices *devices, uint32_t max, bool adds)
{
	uint32_t n_buckets = 16;

	while (n_buckets < max)
		n_buckets *= 2;
	*devices = (struct hw_devices){
		.max = max,
		.bucket_mask = n_buckets - 1,
		.seed = fg_random(),
		.adds = adds,
	};
	devices->all = calloc(max, sizeof(*devices->all));
	devices->buckets = calloc(n_buckets, sizeof(*devices->buckets));
	devices->id_buckets = calloc(n_buckets, sizeof(*devices->id_buckets));
	return devices->all && devices->buckets && devices->id_buckets ? 0 : -ENOMEM;
}

void hw_devices_close(struct hw_devices *devices)
{
	for (uint32_t i = 0; i < devices->n; i++)
		free(devices->all[i].id);
	free(devices->all);
	free(devices->buckets);
	free(devices->id_buckets);
	*devices = (struct hw_devices){0};
}

/* ------------------------------------------------------------------ by name */

struct hw_device *hw_devices_find(const struct hw_devices *devices, struct fg_span name)
{
	struct hw_device *device;

	if (!devices->all)
		return NULL;
	for (uint32_t at = devices->buckets[fg_hash(devices->seed, name) & devices->bucket_mask];
	     at; at = device->hash_next) {
		device = &devices->all[at - 1];
		if (fg_span_equal(hw_device_name(device), name))
			return device;
	}
	return NULL;
}

struct hw_device *hw_devices_get(struct hw_devices *devices, struct fg_span name)
{
	struct hw_device *device = hw_devices_find(devices, name);
	uint32_t *bucket;

	if (device || devices->n == devices->max)
		return device;
	bucket = &devices->buckets[fg_hash(devices->seed, name) & devices->bucket_mask];
	device = &devices->all[devices->n++];
	memcpy(device->name, name.data, name.size);
	device->name_size = (uint8_t)name.size;
	device->hash_next = *bucket;
	*bucket = devices->n;
	devices->n_standing[HW_UNHEARD]++;
	return device;
}

/* ------------------------------------------------------------------ queues */

static struct hw_device *at_place(const struct hw_devices *devices, uint32_t place)
{
	return place ? &devices->all[place - 1] : NULL;
}

static void take_out(struct hw_devices *devices, struct hw_device *device)
{
	struct hw_queue *queue = &devices->queues[device->queue];
	struct hw_device *before = at_place(devices, device->before);
	struct hw_device *after = at_place(devices, device->after);

	*(before ? &before->after : &queue->first) = device->after;
	*(after ? &after->before : &queue->last) = device->before;
	queue->n--;
}

static void put_last(struct hw_devices *devices, struct hw_device *device)
{
	struct hw_queue *queue = &devices->queues[device->queue];
	struct hw_device *last = at_place(devices, queue->last);
	uint32_t place = (uint32_t)(device - devices->all) + 1;

	device->before = queue->last;
	device->after = 0;
	*(last ? &last->after : &queue->first) = place;
	queue->last = place;
	queue->n++;
}

static enum hw_queue_name queue_of(const struct hw_devices *devices, const struct hw_device *device)
{
	bool may_be_told =
		device->standing == HW_KNOWN || (device->standing == HW_UNHEARD && !devices->adds);

	if (device->standing == HW_WANTED)
		return HW_QUEUE_WANTED;
	return may_be_told && device->is != device->told ? HW_QUEUE_UNTOLD : HW_QUEUE_NONE;
}

/* Something about @device has changed: see that it stands in the right queue. */
static void queue_up(struct hw_devices *devices, struct hw_device *device)
{
	enum hw_queue_name queue = queue_of(devices, device);

	if (queue == device->queue)
		return;
	if (device->queue != HW_QUEUE_NONE)
		take_out(devices, device);
	device->queue = (uint8_t)queue;
	if (queue != HW_QUEUE_NONE)
		put_last(devices, device);
}

struct hw_device *hw_devices_untold(const struct hw_devices *devices)
{
	return at_place(devices, devices->queues[HW_QUEUE_UNTOLD].first);
}

struct hw_device *hw_devices_wanted(const struct hw_devices *devices)
{
	return at_place(devices, devices->queues[HW_QUEUE_WANTED].first);
}

/* ------------------------------------------------------------------ by id */

static uint32_t *id_bucket(const struct hw_devices *devices, struct fg_span id)
{
	return &devices->id_buckets[fg_hash(devices->seed, id) & devices->bucket_mask];
}

struct hw_device *hw_devices_find_id(const struct hw_devices *devices, struct fg_span id)
{
	struct hw_device *device;

	if (!devices->all)
		return NULL;
	for (uint32_t at = *id_bucket(devices, id); at; at = device->id_next) {
		device = &devices->all[at - 1];
		if (fg_span_is(id, device->id))
			return device;
	}
	return NULL;
}

/* What was told was told of another one. */
static void forget_told(struct hw_devices *devices, struct hw_device *device)
{
	device->told = HW_STATUS_NONE;
	queue_up(devices, device);
}

static void forget_id(struct hw_devices *devices, struct hw_device *device)
{
	uint32_t *at;

	if (!device->id)
		return;
	at = id_bucket(devices, fg_span_str(device->id));
	while (&devices->all[*at - 1] != device)
		at = &devices->all[*at - 1].id_next;
	*at = device->id_next;
	devices->n_ids--;
	free(device->id);
	device->id = NULL;
	forget_told(devices, device);
}

int hw_device_set_id(struct hw_devices *devices, struct hw_device *device, struct fg_span id)
{
	uint32_t *bucket;
	char *copy;

	if (id.size == 0) {
		forget_id(devices, device);
		return 0;
	}
	if (device->id && fg_span_is(id, device->id))
		return 0;
	copy = malloc(id.size + 1);
	if (!copy)
		return -ENOMEM;
	memcpy(copy, id.data, id.size);
	copy[id.size] = 0;
	forget_id(devices, device);
	forget_told(devices, device);
	device->id = copy;
	devices->n_ids++;
	bucket = id_bucket(devices, id);
	device->id_next = *bucket;
	*bucket = (uint32_t)(device - devices->all) + 1;
	return 0;
}

/* ------------------------------------------------------------------ standing and status */

void hw_device_enter(struct hw_devices *devices, struct hw_device *device,
		     enum hw_standing standing)
{
	devices->n_standing[device->standing]--;
	/* IoTDA keeps nothing of what it is told of a device that it does not have. */
	if (standing == HW_DELETED || standing == HW_ASKED ||
	    (standing == HW_KNOWN && device->standing != HW_KNOWN))
		device->told = HW_STATUS_NONE;
	if (standing == HW_KNOWN)
		device->n_failures = 0;
	device->standing = (uint8_t)standing;
	devices->n_standing[standing]++;
	queue_up(devices, device);
}

void hw_device_is(struct hw_devices *devices, struct hw_device *device, enum hw_status status,
		  uint64_t seq)
{
	if (seq < device->seq)
		return;
	device->is = (uint8_t)status;
	device->seq = seq;
	queue_up(devices, device);
}

void hw_device_told(struct hw_devices *devices, struct hw_device *device)
{
	device->told = device->is;
	queue_up(devices, device);
}

/* Did a request to add it end without a word about it? */
static bool is_unanswered(const struct hw_device *device)
{
	return device->standing == HW_ASKED ||
	       (device->standing == HW_FAILED && !device->error_code[0]);
}

void hw_devices_forget_session(struct hw_devices *devices)
{
	for (uint32_t i = 0; i < devices->n; i++) {
		struct hw_device *device = &devices->all[i];

		device->is_stranger = false;
		forget_told(devices, device);
		if (!is_unanswered(device))
			continue;
		if (!device->error_code[0])
			device->n_failures = 0;
		hw_device_enter(devices, device, HW_WANTED);
	}
}
