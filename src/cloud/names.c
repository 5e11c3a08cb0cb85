#include "cloud/names.h"

#include <errno.h>
#include <stdlib.h>

#include "cloud/devices.h"
#include "util/cleanup.h"
#include "util/crc32c.h"

/* A thousand devices with long names; the file is read and written as a whole. */
#define MAX_BYTES ((size_t)1 << 20)
#define NAME_MAX_BYTES 255

/* In front of the value in the store. */
enum how {
	RENAMED = '=',
	MUTED = '!', /* what follows is the name it had */
};

/* What the cloud has changed about one field device. */
struct change {
	char device[NAME_MAX_BYTES], name[NAME_MAX_BYTES];
	uint8_t device_size, name_size;
	bool is_muted;
	uint32_t was_called; /* CRC32C of the name before; 0: by no notice since we run */
};

/*
 * Sorted by device and by name, for a search each way. Changes are rare, and few: most installations
 * have none, and then nothing is looked up.
 */
struct fg_names {
	const struct fg_devices_config *config;
	struct fg_store *store; /* or NULL */
	struct change **by_device, **by_name;
	size_t n, n_muted;
};

static struct fg_span device_of(const struct change *c)
{
	return fg_span_of(c->device, c->device_size);
}

static struct fg_span name_of(const struct change *c)
{
	return fg_span_of(c->name, c->name_size);
}

static int compare(struct fg_span a, struct fg_span b)
{
	int r = memcmp(a.data, b.data, a.size < b.size ? a.size : b.size);

	return r != 0 ? r : (a.size > b.size) - (a.size < b.size);
}

/* Where @key is, or would be. */
static size_t place(struct change *const *sorted, size_t n,
		    struct fg_span (*key_of)(const struct change *c), struct fg_span key)
{
	size_t low = 0, high = n;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (compare(key_of(sorted[middle]), key) < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

static struct change *find(struct change *const *sorted, size_t n,
			   struct fg_span (*key_of)(const struct change *c), struct fg_span key)
{
	size_t i = place(sorted, n, key_of, key);

	return i < n && fg_span_equal(key_of(sorted[i]), key) ? sorted[i] : NULL;
}

static struct change *find_device(const struct fg_names *n, struct fg_span device)
{
	return n->n > 0 ? find(n->by_device, n->n, device_of, device) : NULL;
}

static struct change *find_name(const struct fg_names *n, struct fg_span name)
{
	return n->n > 0 ? find(n->by_name, n->n, name_of, name) : NULL;
}

static void insert(struct change **sorted, size_t n,
		   struct fg_span (*key_of)(const struct change *c), struct change *c)
{
	size_t i = place(sorted, n, key_of, key_of(c));

	memmove(sorted + i + 1, sorted + i, (n - i) * sizeof(struct change *));
	sorted[i] = c;
}

static void take_out(struct change **sorted, size_t n, const struct change *c)
{
	size_t i = 0;

	while (sorted[i] != c)
		i++;
	memmove(sorted + i, sorted + i + 1, (n - i - 1) * sizeof(struct change *));
}

static int grow(struct change ***sorted, size_t n)
{
	struct change **more = realloc(*sorted, (n + 1) * sizeof(struct change *));

	if (!more)
		return -ENOMEM;
	*sorted = more;
	return 0;
}

/* Have the change of @device say @name. */
static int put(struct fg_names *n, struct fg_span device, struct fg_span name, bool is_muted)
{
	struct change *c = find_device(n, device);

	if (!c) {
		if (grow(&n->by_device, n->n) < 0 || grow(&n->by_name, n->n) < 0)
			return -ENOMEM;
		c = calloc(1, sizeof(*c));
		if (!c)
			return -ENOMEM;
		memcpy(c->device, device.data, device.size);
		c->device_size = (uint8_t)device.size;
		insert(n->by_device, n->n, device_of, c);
	} else {
		take_out(n->by_name, n->n, c);
		n->n--;
	}
	memmove(c->name, name.data, name.size);
	c->name_size = (uint8_t)name.size;
	n->n_muted += (size_t)is_muted - (size_t)c->is_muted;
	c->is_muted = is_muted;
	insert(n->by_name, n->n, name_of, c);
	n->n++;
	return 0;
}

static int load(void *arg, struct fg_span key, struct fg_span value)
{
	struct fg_names *n = arg;
	struct fg_span name = fg_span_of(value.data + 1, value.size - 1);

	if (name.size == 0 || name.size > NAME_MAX_BYTES)
		return 0;
	return put(n, key, name, value.data[0] == MUTED);
}

static void names_freep(struct fg_names **n)
{
	fg_names_free(*n);
}

int fg_names_open(const struct fg_names_options *options, struct fg_names **ret,
		  struct fg_error *err)
{
	FG_CLEANUP(names_freep) struct fg_names *n = calloc(1, sizeof(*n));
	struct fg_store_options store = {
		.connector = options->connector,
		.path = options->path,
		.max_bytes = MAX_BYTES,
	};
	int r;

	if (!n)
		return -ENOMEM;
	n->config = options->config;
	if (options->path) {
		r = fg_store_open(&store, &n->store, err);
		if (r < 0)
			return r;
		r = fg_store_each(n->store, load, n);
		if (r < 0)
			return r;
	}

	*ret = n; /* the caller owns it now */
	n = NULL;
	return 0;
}

struct fg_names *fg_names_free(struct fg_names *n)
{
	if (!n)
		return NULL;
	fg_store_free(n->store);
	for (size_t i = 0; i < n->n; i++)
		free(n->by_device[i]);
	free(n->by_device);
	free(n->by_name);
	free(n);
	return NULL;
}

bool fg_names_to_cloud(const struct fg_names *n, struct fg_span device, struct fg_span *ret_name)
{
	const struct change *c;

	if (!fg_devices_map(n->config, device, ret_name))
		return false;
	c = find_device(n, device);
	if (!c)
		return true;
	*ret_name = name_of(c);
	return !c->is_muted;
}

/* Without what the cloud has changed. */
static bool configured_to_field(const struct fg_names *n, struct fg_span name,
				struct fg_span *ret_device)
{
	struct fg_span is_called;

	*ret_device = name;
	for (size_t i = 0; i < n->config->n_rename; i++)
		if (fg_span_is(name, n->config->rename[i].to))
			*ret_device = fg_span_str(n->config->rename[i].from);
	return fg_devices_map(n->config, *ret_device, &is_called) && fg_span_equal(is_called, name);
}

bool fg_names_to_field(const struct fg_names *n, struct fg_span name, struct fg_span *ret_device)
{
	const struct change *c = find_name(n, name);

	if (c) {
		*ret_device = device_of(c);
		return !c->is_muted;
	}
	/* What has got another name since is not called so any more. */
	return configured_to_field(n, name, ret_device) && !find_device(n, *ret_device);
}

static int change(struct fg_names *n, struct fg_span device, struct fg_span name, bool is_muted)
{
	char value[1 + NAME_MAX_BYTES];
	int r;

	if (!n->store)
		return -EINVAL;
	value[0] = is_muted ? MUTED : RENAMED;
	memcpy(value + 1, name.data, name.size);
	r = fg_store_set(n->store, device, fg_span_of(value, 1 + name.size));
	return r < 0 ? r : put(n, device, name, is_muted);
}

int fg_names_rename(struct fg_names *n, struct fg_span from, struct fg_span to)
{
	uint32_t was_called = fg_crc32c(0, from.data, from.size);
	struct change *known = find_name(n, to);
	struct fg_span device;
	char copy[NAME_MAX_BYTES];
	int r;

	if (to.size == 0 || to.size > NAME_MAX_BYTES || from.size == 0 ||
	    from.size > NAME_MAX_BYTES)
		return -EINVAL;
	/* The same notice again, since its acknowledgement was lost, or it could not be written. */
	if (known && known->was_called == was_called)
		device = device_of(known);
	else if (!fg_names_to_field(n, from, &device) ||
		 (known && !known->is_muted && !fg_span_equal(device, device_of(known))))
		return -EINVAL;
	/* Both may point into what is about to change. */
	memcpy(copy, device.data, device.size);
	device.data = copy;
	r = change(n, device, to, false);
	if (r == 0)
		find_device(n, device)->was_called = was_called;
	return r;
}

int fg_names_mute(struct fg_names *n, struct fg_span name, bool is_muted)
{
	const struct change *c = find_name(n, name);
	struct fg_span device;
	char copy[NAME_MAX_BYTES], name_copy[NAME_MAX_BYTES];

	if (name.size == 0 || name.size > NAME_MAX_BYTES)
		return -EINVAL;
	if (c)
		device = device_of(c);
	else if (!fg_names_to_field(n, name, &device))
		return -EINVAL;
	memcpy(copy, device.data, device.size);
	memcpy(name_copy, name.data, name.size);
	return change(n, fg_span_of(copy, device.size), fg_span_of(name_copy, name.size), is_muted);
}

bool fg_names_is_muted(const struct fg_names *n, struct fg_span name)
{
	const struct change *c = find_name(n, name);

	return c && c->is_muted;
}

size_t fg_names_count_muted(const struct fg_names *n)
{
	return n->n_muted;
}

struct fg_store *fg_names_store(const struct fg_names *n)
{
	return n->store;
}

void fg_names_tick(struct fg_names *n, int64_t now_ms)
{
	if (n->store)
		fg_store_tick(n->store, now_ms);
}
