#include "known.h"

#include <errno.h>
#include <stdlib.h>

#include "text.h"
#include "util/hash.h"
#include "util/random.h"

#define N_BUCKETS 4096 /* a power of two */
#define MIN_CAPACITY 64

/* A property in `values`: this, its name as it stands in JSON, its value. */
struct property {
	uint64_t seq;
	uint32_t name_size, value_size;
};

/* One service of one device. */
struct service {
	struct service *next; /* in its bucket */
	uint64_t hash;
	uint64_t seq; /* of its latest message, … */
	int64_t time_us;
	char *values; /* properties, one behind the other */
	size_t used, capacity;
	size_t device_size, name_size;
	char names[]; /* device, name */
};

struct hw_known {
	uint64_t seed;    /* so that nobody can choose names that collide */
	size_t size, max; /* of all services */
	bool is_full;
	struct service *buckets[N_BUCKETS];
};

int hw_known_open(size_t max, struct hw_known **ret)
{
	struct hw_known *known = calloc(1, sizeof(*known));

	if (!known)
		return -ENOMEM;
	known->max = max;
	known->seed = fg_random();
	*ret = known;
	return 0;
}

void hw_known_close(struct hw_known *known)
{
	struct service *next;

	if (!known)
		return;
	for (size_t i = 0; i < N_BUCKETS; i++)
		for (struct service *s = known->buckets[i]; s; s = next) {
			next = s->next;
			free(s->values);
			free(s);
		}
	free(known);
}

bool hw_known_is_full(const struct hw_known *known)
{
	return known->is_full;
}

/* ------------------------------------------------------------------ services */

static struct fg_span device_of(const struct service *s)
{
	return fg_span_of(s->names, s->device_size);
}

static struct fg_span name_of(const struct service *s)
{
	return fg_span_of(s->names + s->device_size, s->name_size);
}

static struct service *find(const struct hw_known *known, struct fg_span device,
			    struct fg_span service, uint64_t hash)
{
	struct service *s = known->buckets[hash % N_BUCKETS];

	while (s && (s->hash != hash || !fg_span_equal(device_of(s), device) ||
		     !fg_span_equal(name_of(s), service)))
		s = s->next;
	return s;
}

/* May @size bytes more be kept? */
static bool has_room(struct hw_known *known, size_t size)
{
	known->is_full |= size > known->max - known->size;
	return size <= known->max - known->size;
}

/* NULL when there is no room. */
static struct service *add(struct hw_known *known, struct fg_span device, struct fg_span service,
			   uint64_t hash)
{
	struct service **bucket = &known->buckets[hash % N_BUCKETS];
	size_t size = sizeof(struct service) + device.size + service.size;
	struct service *s = has_room(known, size) ? malloc(size) : NULL;

	if (!s)
		return NULL;
	*s = (struct service){
		.next = *bucket,
		.hash = hash,
		.device_size = device.size,
		.name_size = service.size,
	};
	memcpy(s->names, device.data, device.size);
	memcpy(s->names + device.size, service.data, service.size);
	*bucket = s;
	known->size += size;
	return s;
}

/* ------------------------------------------------------------------ properties */

static struct property property_at(const struct service *s, size_t at)
{
	struct property p;

	memcpy(&p, s->values + at, sizeof(p));
	return p;
}

static size_t size_of(struct property p)
{
	return sizeof(p) + p.name_size + p.value_size;
}

static struct fg_span property_name(const struct service *s, size_t at)
{
	return fg_span_of(s->values + at + sizeof(struct property), property_at(s, at).name_size);
}

/* Where the property called @name is. Messages have their members in one order, as a rule: the search begins
 * at @from. */
static bool find_property(const struct service *s, struct fg_span name, size_t from, size_t *ret)
{
	for (size_t at = from; at < s->used; at += size_of(property_at(s, at))) {
		*ret = at;
		if (fg_span_equal(property_name(s, at), name))
			return true;
	}
	for (size_t at = 0; at < from; at += size_of(property_at(s, at))) {
		*ret = at;
		if (fg_span_equal(property_name(s, at), name))
			return true;
	}
	return false;
}

/* Have room for @size bytes of properties. */
static bool reserve(struct hw_known *known, struct service *s, size_t size)
{
	size_t capacity = s->capacity ? s->capacity : MIN_CAPACITY;
	char *values;

	if (size <= s->capacity)
		return true;
	while (capacity < size)
		capacity *= 2;
	if (!has_room(known, capacity - s->capacity))
		return false;
	values = realloc(s->values, capacity);
	if (!values)
		return false;
	known->size += capacity - s->capacity;
	s->values = values;
	s->capacity = capacity;
	return true;
}

/* The property at @at, of @old bytes, none at the end, becomes @member. What there is no room for is not
 * known: its former value neither. Returns where the next one is. */
static size_t replace(struct hw_known *known, struct service *s, size_t at, size_t old,
		      uint64_t seq, const struct fg_json_member *member)
{
	struct property p = {.seq = seq,
			     .name_size = (uint32_t)member->name.size,
			     .value_size = (uint32_t)member->value.text.size};
	size_t size = sizeof(p) + member->name.size + member->value.text.size;
	size_t used = s->used - old + size;
	bool fits = used <= HW_KNOWN_SERVICE_MAX;

	known->is_full |= !fits;
	if (!fits || !reserve(known, s, used)) {
		used = s->used - old;
		size = 0;
	}
	if (size != old && at + old < s->used)
		memmove(s->values + at + size, s->values + at + old, s->used - at - old);
	s->used = used;
	if (size == 0)
		return at;
	memcpy(s->values + at, &p, sizeof(p));
	memcpy(s->values + at + sizeof(p), member->name.data, p.name_size);
	memcpy(s->values + at + sizeof(p) + p.name_size, member->value.text.data, p.value_size);
	return at + size;
}

void hw_known_note(struct hw_known *known, struct fg_span device, struct fg_span service,
		   uint64_t seq, int64_t time_us, struct fg_json_value properties)
{
	uint64_t hash = fg_hash(fg_hash(known->seed, device), service);
	struct service *s = find(known, device, service, hash);
	struct fg_json_member member;
	struct fg_json_walk walk;
	size_t next = 0, at;

	if (!s)
		s = add(known, device, service, hash);
	if (!s)
		return;
	if (seq == 0 || seq >= s->seq)
		s->time_us = time_us;
	if (seq > s->seq)
		s->seq = seq;
	fg_json_walk_begin(&walk, properties);
	while (fg_json_walk_next(&walk, &member)) {
		if (!fg_is_finite(member.value))
			continue;
		if (!find_property(s, member.name, next, &at))
			next = replace(known, s, s->used, 0, seq, &member);
		else if (seq == 0 || seq >= property_at(s, at).seq)
			next = replace(known, s, at, size_of(property_at(s, at)),
				       seq > 0 ? seq : property_at(s, at).seq, &member);
	}
}

/* ------------------------------------------------------------------ what is known */

static void put_service(const struct service *s, bool has_milliseconds, struct fg_text *text)
{
	struct fg_text before;

	fg_put(text, "{\"service_id\":");
	fg_put_quoted(text, name_of(s));
	fg_put(text, ",\"properties\":{");
	for (size_t at = 0; at < s->used; at += size_of(property_at(s, at))) {
		struct fg_span name = property_name(s, at);

		fg_put(text, at > 0 ? ",\"" : "\"");
		fg_put_span(text, name);
		fg_put(text, "\":");
		fg_put_json(text, fg_span_of(name.data + name.size, property_at(s, at).value_size));
	}
	fg_put(text, "}");
	before = *text;
	fg_put(text, ",\"event_time\":\"");
	if (hw_put_time(text, s->time_us, has_milliseconds))
		fg_put(text, "\"");
	else
		*text = before;
	fg_put(text, "}");
}

void hw_known_put(const struct hw_known *known, struct fg_span device, struct fg_span service,
		  bool has_milliseconds, struct fg_text *text)
{
	const char *start = text->at;
	struct fg_text before;

	for (size_t i = 0; i < N_BUCKETS; i++)
		for (const struct service *s = known->buckets[i]; s; s = s->next) {
			if (!fg_span_equal(device_of(s), device) || s->used == 0 ||
			    (service.size > 0 && !fg_span_equal(name_of(s), service)))
				continue;
			before = *text;
			if (text->at > start)
				fg_put(text, ",");
			put_service(s, has_milliseconds, text);
			if (text->is_full)
				*text = before;
		}
}
