/*
 * What runs where: for each device the version of its firmware and that of its software, as it has told
 * or confirmed last. In the store, under the device's name: the one, a NUL, the other; either may be
 * empty.
 */
#include <errno.h>

#include "local/images_internal.h"
#include "model/json.h"
#include "util/log.h"

#define MAX_VERSION_BYTES 255
#define MAX_DEVICE_BYTES 255

/* By enum fg_image_kind. */
struct versions {
	struct fg_span of[2];
};

int fg_images_versions_open(struct fg_images *images, struct fg_error *err)
{
	struct fg_store_options store = {
		.connector = images->with.connector,
		.path = images->with.versions_path,
		.max_bytes = FG_IMAGES_VERSIONS_MAX_BYTES,
	};

	return images->rules.n > 0 ? fg_store_open(&store, &images->versions, err) : 0;
}

static struct versions read_versions(const struct fg_images *images, struct fg_span device)
{
	struct versions found = {{{0}}};
	struct fg_span value;
	const char *nul;

	if (!images->versions || device.size == 0 || device.size > MAX_DEVICE_BYTES ||
	    fg_store_get_newest(images->versions, device, &value) < 0)
		return found;
	nul = memchr(value.data, '\0', value.size);
	if (!nul)
		return found;
	found.of[FG_IMAGE_FIRMWARE] = fg_span_of(value.data, (size_t)(nul - value.data));
	found.of[FG_IMAGE_SOFTWARE] =
		fg_span_of(nul + 1, (size_t)(value.data + value.size - nul - 1));
	return found;
}

int fg_images_version(const struct fg_images *images, struct fg_span device,
		      enum fg_image_kind kind, struct fg_span *ret)
{
	struct versions found = read_versions(images, device);

	if (found.of[kind].size == 0)
		return -ENOENT;
	*ret = found.of[kind];
	return 0;
}

/* Returns whether it is another one than was known; one that cannot be remembered is so each time. */
static bool set_version(struct fg_images *images, struct fg_span device, enum fg_image_kind kind,
			struct fg_span version)
{
	struct versions found = read_versions(images, device);
	char value[2 * MAX_VERSION_BYTES + 1];
	size_t first;
	int r;

	if (!images->versions || version.size > MAX_VERSION_BYTES ||
	    fg_span_equal(found.of[kind], version))
		return false;
	found.of[kind] = version;
	first = found.of[FG_IMAGE_FIRMWARE].size;
	if (first > 0)
		memcpy(value, found.of[FG_IMAGE_FIRMWARE].data, first);
	value[first] = '\0';
	if (found.of[FG_IMAGE_SOFTWARE].size > 0)
		memcpy(value + first + 1, found.of[FG_IMAGE_SOFTWARE].data,
		       found.of[FG_IMAGE_SOFTWARE].size);
	r = fg_store_set(images->versions, device,
			 fg_span_of(value, first + 1 + found.of[FG_IMAGE_SOFTWARE].size));
	if (r < 0)
		fg_complain(&images->versions_complaint, images->now_ms, LOG_WARNING,
			    "images: the version that runs on device %.*s is not remembered: %s",
			    FG_SPAN_ARGS(device),
			    r == -EMSGSIZE ? "there are too many devices" : strerror(-r));
	return true;
}

void fg_images_installed(const struct fg_images_entry *e)
{
	set_version(e->images, fg_span_str(e->device), e->kind, fg_span_str(e->version));
}

/* A version in @value, a string or a number, to @out of MAX_VERSION_BYTES. Returns false when it is none. */
static bool read_version(struct fg_json_value value, char *out, struct fg_span *ret)
{
	*ret = value.text;
	if (value.type == FG_JSON_INTEGER || value.type == FG_JSON_REAL)
		return value.text.size <= MAX_VERSION_BYTES;
	if (value.type != FG_JSON_STRING || value.text.size - 2 > MAX_VERSION_BYTES)
		return false;
	*ret = fg_span_of(
		out, fg_json_unescape(fg_span_of(value.text.data + 1, value.text.size - 2), out));
	return ret->size > 0 && !memchr(out, '\0', ret->size);
}

/* A device says that it runs the version it was handed: so it has been installed. */
static void confirm(struct fg_images *images, struct fg_span device, enum fg_image_kind kind,
		    struct fg_span version)
{
	struct fg_images_entry *e = fg_images_find(images, device, kind);

	if (e && (e->state == FG_IMAGES_HANDING || e->state == FG_IMAGES_HANDED) &&
	    fg_span_is(version, e->version))
		fg_images_confirmed(e);
}

void fg_images_heard(struct fg_images *images, struct fg_span device, struct fg_span attributes,
		     bool is_retained)
{
	struct fg_json_value object = {.type = FG_JSON_OBJECT, .text = attributes}, value;
	char name[MAX_DEVICE_BYTES + 1], text[MAX_VERSION_BYTES];
	const struct fg_images_rule *rule;
	struct fg_span version, known;

	if (!images->versions || device.size == 0 || device.size > MAX_DEVICE_BYTES)
		return;
	memcpy(name, device.data, device.size);
	name[device.size] = '\0';
	rule = fg_images_rules_find(&images->rules, name);
	if (!rule)
		return;
	for (enum fg_image_kind kind = FG_IMAGE_FIRMWARE; kind <= FG_IMAGE_SOFTWARE; kind++) {
		const char *member = kind == FG_IMAGE_FIRMWARE ? rule->config->firmware_member
							       : rule->config->software_member;

		if (!fg_json_member(object, fg_span_str(member), &value) ||
		    !read_version(value, text, &version))
			continue;
		if (is_retained && fg_images_version(images, device, kind, &known) == 0)
			continue;
		if (set_version(images, device, kind, version))
			confirm(images, device, kind, version);
	}
}
