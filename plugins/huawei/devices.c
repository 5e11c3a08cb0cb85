#include "devices.h"

#include <errno.h>
#include <stdlib.h>

static uint32_t hash_of(struct fg_span name)
{
	uint32_t hash = 2166136261u; /* FNV-1a */

	for (size_t i = 0; i < name.size; i++)
		hash = (hash ^ (unsigned char)name.data[i]) * 16777619u;
	return hash;
}

int hw_devices_open(struct hw_devices *devices, uint32_t max)
{
	uint32_t n_buckets = 16;

	while (n_buckets < max)
		n_buckets *= 2;
	*devices = (struct hw_devices){.max = max, .bucket_mask = n_buckets - 1};
	devices->all = calloc(max, sizeof(*devices->all));
	devices->buckets = calloc(n_buckets, sizeof(*devices->buckets));
	return devices->all && devices->buckets ? 0 : -ENOMEM;
}

void hw_devices_close(struct hw_devices *devices)
{
	free(devices->all);
	free(devices->buckets);
	*devices = (struct hw_devices){0};
}

struct hw_device *hw_devices_get(struct hw_devices *devices, struct fg_span name)
{
	uint32_t *bucket = &devices->buckets[hash_of(name) & devices->bucket_mask];
	struct hw_device *device;

	for (uint32_t at = *bucket; at; at = device->hash_next) {
		device = &devices->all[at - 1];
		if (fg_span_equal(hw_device_name(device), name))
			return device;
	}
	if (devices->n == devices->max)
		return NULL;
	device = &devices->all[devices->n++];
	memcpy(device->name, name.data, name.size);
	device->name_size = (uint8_t)name.size;
	device->hash_next = *bucket;
	*bucket = devices->n;
	return device;
}

static bool is_untold(const struct hw_device *device)
{
	return device->is != device->told;
}

void hw_device_is(struct hw_devices *devices, struct hw_device *device, enum hw_status status,
		  uint64_t seq)
{
	if (seq < device->seq)
		return;
	devices->n_untold -= is_untold(device);
	device->is = (uint8_t)status;
	device->seq = seq;
	devices->n_untold += is_untold(device);
}

void hw_device_told(struct hw_devices *devices, struct hw_device *device)
{
	devices->n_untold -= is_untold(device);
	device->told = device->is;
}

struct hw_device *hw_devices_untold(struct hw_devices *devices)
{
	if (devices->n_untold == 0)
		return NULL;
	for (;; devices->next_untold++) {
		if (devices->next_untold >= devices->n)
			devices->next_untold = 0;
		if (is_untold(&devices->all[devices->next_untold]))
			return &devices->all[devices->next_untold];
	}
}

void hw_devices_forget_told(struct hw_devices *devices)
{
	devices->n_untold = 0;
	for (uint32_t i = 0; i < devices->n; i++) {
		devices->all[i].told = HW_STATUS_NONE;
		devices->n_untold += is_untold(&devices->all[i]);
	}
}
