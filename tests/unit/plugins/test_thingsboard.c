/*
 * What single cases cannot show: random traffic against a small model of the server, no allocation
 * per message, every allocation failing in turn, a full table of devices. (What goes out for what
 * comes in is in tests/vectors/.)
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "fieldgate/plugin.h"
#include "util/span.h"

extern const struct fg_plugin fg_plugin;

#define MAX_WINDOW 512
#define MAX_DEVICES 200
#define PAYLOAD_SIZE (128 * 1024)
#define BODY_SIZE 600

/* ------------------------------------------------------------------ allocations */

static unsigned n_allocations;
static long fail_at = -1; /* this many allocations from now; -1: never */

void *__real_malloc(size_t size);
void *__real_calloc(size_t n, size_t size);
void *__real_realloc(void *memory, size_t size);
char *__real_strndup(const char *text, size_t n);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_realloc(void *memory, size_t size);
char *__wrap_strndup(const char *text, size_t n);

static bool may_allocate(void)
{
	n_allocations++;
	return fail_at < 0 || fail_at-- > 0;
}

void *__wrap_malloc(size_t size)
{
	return may_allocate() ? __real_malloc(size) : NULL;
}

void *__wrap_calloc(size_t n, size_t size)
{
	return may_allocate() ? __real_calloc(n, size) : NULL;
}

void *__wrap_realloc(void *memory, size_t size)
{
	return may_allocate() ? __real_realloc(memory, size) : NULL;
}

char *__wrap_strndup(const char *text, size_t n)
{
	return may_allocate() ? __real_strndup(text, n) : NULL;
}

/* ------------------------------------------------------------------ a ctx */

static unsigned n_warnings;

static void warn(void *host_ctx, const char *format, ...) __attribute__((format(printf, 2, 3)));

static void warn(void *host_ctx, const char *format, ...)
{
	char text[1024];
	va_list args;

	(void)host_ctx;
	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	n_warnings++;
}

static const struct fg_host host = {.size = sizeof(struct fg_host), .warn = warn};

struct setting {
	const char *name;
	const char *text;
	int64_t number;
};

static int open_with(const struct setting *settings, void **ret_ctx)
{
	struct fg_value values[32] = {0};
	struct fg_open with = {
		.values = values, .host = &host, .link_name = "x", .gateway_name = "y"};
	const struct fg_option *option = fg_plugin.options;
	char error[256];

	for (size_t i = 0; option[i].name; i++) {
		values[i].is_set = option[i].fallback;
		if (option[i].type == FG_OPTION_STRING)
			values[i].string = option[i].fallback;
		else if (option[i].type == FG_OPTION_INTEGER)
			values[i].number = atoll(option[i].fallback);
		for (const struct setting *s = settings; s->name; s++)
			if (strcmp(s->name, option[i].name) == 0)
				values[i] = (struct fg_value){
					.is_set = true, .string = s->text, .number = s->number};
	}
	return fg_plugin.open(&with, ret_ctx, error, sizeof(error));
}

static void begin_session(void *ctx, size_t max_packet_bytes)
{
	struct fg_connect_request request = {.session = "", .mqtt_version = 5};
	struct fg_connack connack = {.mqtt_version = 5, .max_packet_bytes = max_packet_bytes};
	struct fg_connect connect;

	assert_int_equal(fg_plugin.connect(ctx, &request, &connect), 0);
	fg_plugin.connected(ctx, "", &connack);
}

static struct fg_message message(uint64_t seq, enum fg_kind kind, const char *device,
				 const char *body)
{
	return (struct fg_message){
		.seq = seq,
		.time_us = (int64_t)seq * 1000,
		.kind = kind,
		.device = fg_span_str(device),
		.body = fg_span_str(body),
	};
}

struct wire {
	char topic[128];
	char payload[PAYLOAD_SIZE];
	struct fg_publish out;
	struct fg_batch batch;
};

static struct wire wire;

static int encode(void *ctx, const struct fg_message *messages, uint8_t *states, size_t count)
{
	wire.batch = (struct fg_batch){
		.messages = messages, .states = states, .count = count, .max_take = count};
	wire.out = (struct fg_publish){.topic = wire.topic,
				       .topic_size = sizeof(wire.topic),
				       .payload = wire.payload,
				       .payload_size = sizeof(wire.payload),
				       .qos = 1};
	return fg_plugin.encode(ctx, "", &wire.batch, &wire.out);
}

static enum fg_verdict settle(void *ctx, uint64_t tag, unsigned code, size_t n_messages)
{
	struct fg_settlement how = {.tag = tag, .reason_code = code, .n_messages = n_messages};

	return fg_plugin.settled(ctx, "", &how);
}

static void announce(void *ctx, const char *device)
{
	struct fg_message m = message(1, FG_PRESENCE, device, "{\"state\":\"up\"}");
	uint8_t state = FG_OFFERED;

	assert_int_equal(encode(ctx, &m, &state, 1), 1);
	assert_int_equal(state, FG_TAKEN);
	assert_int_equal(settle(ctx, wire.out.tag, 0, 1), FG_ACCEPTED);
}

static bool published_to(const char *topic)
{
	return strcmp(wire.topic, topic) == 0;
}

static const struct setting token_only[] = {{"access_token", "A1", 0}, {0}};

/* ------------------------------------------------------------------ random traffic */

static uint64_t random_state;

static unsigned pick(unsigned n)
{
	random_state = random_state * 6364136223846793005u + 1442695040888963407u;
	return (unsigned)(random_state >> 33) % n;
}

/* One message of the random traffic. */
struct parcel {
	uint8_t state;
	unsigned device;
	unsigned id;
	enum fg_kind kind;
	unsigned in_publish; /* number of the publish it travels in */
};

struct flight {
	uint64_t tag;
	unsigned number; /* 0: free */
	size_t n_messages;
	char topic[128];
	unsigned device; /* of a connect or disconnect */
};

struct traffic {
	void *ctx;
	size_t limit;
	bool is_unkind; /* refusals and broken sessions */
	unsigned n_total, n_made;

	struct parcel parcels[MAX_WINDOW];
	struct fg_message messages[MAX_WINDOW];
	uint8_t states[MAX_WINDOW];
	unsigned n_window;

	struct flight flights[16];
	unsigned n_publishes;

	/* the server */
	bool is_announced[MAX_DEVICES];
	unsigned newest_id[MAX_DEVICES][2]; /* telemetry, attributes */
	char (*bodies)[BODY_SIZE];          /* by id */
	uint8_t *n_delivered;
	uint8_t *n_expected;
};

static char device_names[MAX_DEVICES][32];

static void random_body(char *body, unsigned id)
{
	static const char *const extras[] = {
		"",
		",\"a\":1e5",
		",\"n\":NaN,\"x\":null",
		", \"geo\" : { \"lat\":47.5 , \"list\":[1,2,{\"q\":\"}]\"}]}",
		",\"s\":\"q\\\"uote \\\\ \\u00e9 \xc3\xa9\",\"f\":0.30000000000000004",
		",\"serial\":\"00012\",\"big\":123456789012345678901234567890",
		",\"\":1,\"ok\":true",
	};
	int n = snprintf(body, BODY_SIZE, " { \"i\" : %u%s", id,
			 extras[pick(sizeof(extras) / sizeof(extras[0]))]);
	unsigned pad = pick(4) ? 0 : pick(400);

	if (pad > 0)
		n += snprintf(body + n, BODY_SIZE - (size_t)n, ",\"pad\":\"%0*d\"", (int)pad, 0);
	snprintf(body + n, BODY_SIZE - (size_t)n, "}");
}

static void make_parcel(struct traffic *t)
{
	unsigned at = t->n_window++, kind = pick(20);
	struct parcel *p = &t->parcels[at];
	char *body = t->bodies[++t->n_made];

	p->id = t->n_made;
	p->device = pick(pick(2) ? MAX_DEVICES : 5);
	p->kind = kind == 0 ? FG_PRESENCE : kind < 5 ? FG_ATTRIBUTES : FG_TELEMETRY;
	p->in_publish = 0;
	random_body(body, p->id);
	if (p->kind == FG_PRESENCE)
		strcpy(body,
		       pick(2) ? "{\"state\":\"up\",\"type\":\"pump\"}" : "{\"state\":\"down\"}");
	t->states[at] = FG_OFFERED;
	t->messages[at] = message(p->id, p->kind, device_names[p->device], body);
	t->messages[at].time_us = (int64_t)(pick(3) ? p->id : p->id - pick(20) % p->id) * 1000;
	t->n_expected[p->id] = p->kind != FG_PRESENCE;
}

static void drop_parcel(struct traffic *t, unsigned at)
{
	size_t n = --t->n_window - at;

	memmove(&t->parcels[at], &t->parcels[at + 1], n * sizeof(t->parcels[0]));
	memmove(&t->messages[at], &t->messages[at + 1], n * sizeof(t->messages[0]));
	memmove(&t->states[at], &t->states[at + 1], n);
}

static unsigned device_called(const char *name)
{
	for (unsigned i = 0; i < MAX_DEVICES; i++)
		if (strcmp(device_names[i], name) == 0)
			return i;
	fail_msg("no device is called %s", name);
	return 0;
}

static const struct parcel *parcel_with(const struct traffic *t, unsigned id)
{
	for (unsigned i = 0; i < t->n_window; i++)
		if (t->parcels[i].id == id)
			return &t->parcels[i];
	fail_msg("no message has the id %u", id);
	return NULL;
}

static unsigned id_in(struct json_object *values)
{
	struct json_object *id;

	assert_true(json_object_object_get_ex(values, "i", &id));
	return (unsigned)json_object_get_int64(id);
}

/* The samples of one device, as sent. Returns how many. */
static unsigned check_samples(struct traffic *t, unsigned device, struct json_object *list,
			      unsigned publish)
{
	size_t n = json_object_array_length(list);
	int64_t last_ts = INT64_MIN;
	unsigned last_id = 0, newest = 0;

	assert_true(n > 0);
	for (size_t i = 0; i < n; i++) {
		struct json_object *sample = json_object_array_get_idx(list, i), *ts, *values;
		const struct parcel *p;

		assert_true(json_object_object_get_ex(sample, "ts", &ts));
		assert_true(json_object_object_get_ex(sample, "values", &values));
		p = parcel_with(t, id_in(values));
		assert_int_equal(p->device, device);
		assert_int_equal(p->kind, FG_TELEMETRY);
		assert_int_equal(p->in_publish, publish);
		assert_int_equal(t->messages[p - t->parcels].time_us / 1000,
				 json_object_get_int64(ts));
		assert_true(json_object_get_int64(ts) >= last_ts);
		if (json_object_get_int64(ts) == last_ts)
			assert_true(p->id > last_id);
		/* What an earlier publish carried is older. */
		if (!t->is_unkind)
			assert_true(p->id > t->newest_id[device][0]);
		last_ts = json_object_get_int64(ts);
		last_id = p->id;
		newest = p->id > newest ? p->id : newest;
	}
	t->newest_id[device][0] = newest;
	return (unsigned)n;
}

/* Merged attributes show the newest message's id; how many were merged they do not show. */
static unsigned check_attributes(struct traffic *t, unsigned device, struct json_object *values,
				 unsigned publish)
{
	const struct parcel *p = parcel_with(t, id_in(values));
	unsigned n = 0, newest = 0;

	assert_int_equal(p->device, device);
	for (unsigned i = 0; i < t->n_window; i++) {
		const struct parcel *other = &t->parcels[i];

		if (other->in_publish != publish || other->device != device)
			continue;
		assert_int_equal(other->kind, FG_ATTRIBUTES);
		newest = other->id > newest ? other->id : newest;
		n++;
		if (!t->is_unkind)
			assert_true(other->id > t->newest_id[device][1]);
	}
	assert_int_equal(p->id, newest);
	t->newest_id[device][1] = newest;
	return n;
}

static void check_data(struct traffic *t, struct json_object *root, const struct flight *f)
{
	bool is_telemetry = strcmp(f->topic, "v1/gateway/telemetry") == 0;
	size_t n = 0;

	assert_true(is_telemetry || strcmp(f->topic, "v1/gateway/attributes") == 0);
	json_object_object_foreach(root, name, part)
	{
		unsigned device = device_called(name);

		assert_true(t->is_announced[device]);
		n += is_telemetry ? check_samples(t, device, part, f->number)
				  : check_attributes(t, device, part, f->number);
	}
	assert_int_equal(n, f->n_messages);
}

static void check_publish(struct traffic *t, struct flight *f)
{
	struct json_tokener *tokener = json_tokener_new();
	struct json_object *root, *device;

	assert_true(2 + strlen(wire.topic) + 2 + 1 + wire.out.payload_len <= t->limit);
	assert_int_equal(wire.out.qos, 1);
	json_tokener_set_flags(tokener, JSON_TOKENER_STRICT);
	root = json_tokener_parse_ex(tokener, wire.payload, (int)wire.out.payload_len);
	assert_int_equal(json_tokener_get_error(tokener), json_tokener_success);
	assert_true(json_object_object_length(root) > 0);
	if (published_to("v1/gateway/connect") || published_to("v1/gateway/disconnect")) {
		assert_true(json_object_object_get_ex(root, "device", &device));
		f->device = device_called(json_object_get_string(device));
		assert_true(f->n_messages <= 1);
		if (published_to("v1/gateway/disconnect"))
			t->is_announced[f->device] = false;
	} else {
		check_data(t, root, f);
	}
	json_object_put(root);
	json_tokener_free(tokener);
}

/* Returns false when the plugin had nothing to publish. */
static bool publish_one(struct traffic *t, struct flight *f)
{
	int r;

	r = encode(t->ctx, t->messages, t->states, t->n_window);
	assert_true(r == 0 || r == 1);
	*f = (struct flight){.tag = wire.out.tag, .number = ++t->n_publishes};
	snprintf(f->topic, sizeof(f->topic), "%s", r == 1 ? wire.topic : "");
	for (unsigned i = 0; i < t->n_window;) {
		struct parcel *p = &t->parcels[i];

		if (t->states[i] == FG_TAKEN && p->in_publish == 0) {
			p->in_publish = f->number;
			f->n_messages++;
		}
		assert_true(t->states[i] != FG_REFUSED || t->is_unkind);
		if (t->states[i] == FG_NOTHING || t->states[i] == FG_REFUSED) {
			t->n_expected[p->id] = 0;
			drop_parcel(t, i);
		} else {
			i++;
		}
	}
	if (r == 1)
		check_publish(t, f);
	else
		assert_int_equal(f->n_messages, 0);
	if (r == 0)
		f->number = 0;
	return r == 1;
}

static void settle_flight(struct traffic *t, struct flight *f)
{
	static const unsigned codes[] = {0x97, 0x80, 0x83, 0x10};
	unsigned code = t->is_unkind && pick(10) == 0 ? codes[pick(4)] : 0;
	enum fg_verdict verdict;

	if (code < 0x80 && strcmp(f->topic, "v1/gateway/connect") == 0)
		t->is_announced[f->device] = true;
	verdict = settle(t->ctx, f->tag, code, f->n_messages);
	if (verdict == FG_POISON)
		assert_string_equal(f->topic, "v1/gateway/connect");
	else
		assert_int_equal(verdict, code < 0x80    ? FG_ACCEPTED
					  : code == 0x97 ? FG_LATER
							 : FG_RETRY);
	for (unsigned i = 0; i < t->n_window;) {
		if (t->parcels[i].in_publish != f->number) {
			i++;
		} else if (verdict == FG_ACCEPTED) {
			if (t->parcels[i].kind != FG_PRESENCE)
				t->n_delivered[t->parcels[i].id]++;
			drop_parcel(t, i);
		} else {
			t->parcels[i].in_publish = 0;
			t->states[i++] = FG_OFFERED;
		}
	}
	f->number = 0;
}

static void break_session(struct traffic *t)
{
	fg_plugin.disconnected(t->ctx, "");
	memset(t->flights, 0, sizeof(t->flights));
	memset(t->is_announced, 0, sizeof(t->is_announced));
	for (unsigned i = 0; i < t->n_window; i++) {
		t->parcels[i].in_publish = 0;
		t->states[i] = FG_OFFERED;
	}
	begin_session(t->ctx, 0);
}

static void run_traffic(struct traffic *t)
{
	unsigned n_idle = 0;

	while (t->n_made < t->n_total || t->n_window > 0) {
		struct flight *f = &t->flights[pick(16)];
		bool has_open = false, is_idle = true;

		while (t->n_window < MAX_WINDOW && t->n_made < t->n_total && pick(100) > 0)
			make_parcel(t);
		if (!f->number)
			is_idle = !publish_one(t, f);
		if (pick(2)) {
			f = &t->flights[pick(16)];
			if (f->number) {
				settle_flight(t, f);
				is_idle = false;
			}
		}
		if (t->is_unkind && pick(500) == 0)
			break_session(t);
		/* What is offered and not published must be waiting for something. */
		for (unsigned i = 0; i < 16; i++)
			has_open = has_open || t->flights[i].number;
		n_idle = is_idle && !has_open ? n_idle + 1 : 0;
		assert_true(n_idle < 100);
	}
}

static void random_traffic(unsigned seed, bool is_unkind, size_t limit, unsigned max_devices)
{
	const struct setting settings[] = {{"access_token", "A1", 0},
					   {"max_packet_size", NULL, (int64_t)limit},
					   {"max_devices", NULL, max_devices},
					   {0}};
	struct traffic *t = calloc(1, sizeof(*t));

	random_state = seed;
	t->n_total = 8000;
	t->bodies = calloc(t->n_total + 1, BODY_SIZE);
	t->n_delivered = calloc(t->n_total + 1, 1);
	t->n_expected = calloc(t->n_total + 1, 1);
	t->limit = limit;
	t->is_unkind = is_unkind;
	assert_int_equal(open_with(settings, &t->ctx), 0);
	begin_session(t->ctx, 0);
	run_traffic(t);
	for (unsigned i = 1; i <= t->n_total; i++)
		assert_int_equal(t->n_delivered[i], t->n_expected[i]);
	fg_plugin.close(t->ctx);
	free(t->bodies);
	free(t->n_delivered);
	free(t->n_expected);
	free(t);
}

static void every_accepted_sample_appears_exactly_once_and_in_order(void **state)
{
	(void)state;
	for (unsigned seed = 1; seed <= 4; seed++) {
		random_traffic(seed, false, 65536, 10000);
		random_traffic(seed, false, 1024 + seed * 100, 10000);
	}
}

static void refusals_and_broken_sessions_lose_and_repeat_nothing(void **state)
{
	(void)state;
	for (unsigned seed = 1; seed <= 4; seed++)
		random_traffic(seed, true, 4096, 10000);
}

static void a_table_smaller_than_the_number_of_devices_loses_nothing(void **state)
{
	(void)state;
	random_traffic(1, false, 65536, 1);
	random_traffic(2, false, 65536, 20);
	random_traffic(3, true, 2048, 20);
}

/* ------------------------------------------------------------------ single properties */

static void a_known_device_costs_no_allocation(void **state)
{
	struct fg_message messages[MAX_WINDOW];
	uint8_t states[MAX_WINDOW];
	void *ctx = NULL;
	unsigned before;

	(void)state;
	assert_int_equal(open_with(token_only, &ctx), 0);
	begin_session(ctx, 0);
	for (unsigned i = 0; i < MAX_DEVICES; i++)
		announce(ctx, device_names[i]);
	before = n_allocations;
	for (unsigned round = 0; round < 200; round++) {
		for (unsigned i = 0; i < MAX_WINDOW; i++) {
			messages[i] = message(2 + round * MAX_WINDOW + i,
					      i % 7 ? FG_TELEMETRY : FG_ATTRIBUTES,
					      device_names[(i * 31) % MAX_DEVICES],
					      "{\"t\":19.5,\"serial\":\"0001\",\"x\":1e5}");
			messages[i].time_us -= (i % 5) * 3000;
			states[i] = FG_OFFERED;
		}
		while (encode(ctx, messages, states, MAX_WINDOW) == 1)
			settle(ctx, wire.out.tag, 0, 1);
		for (unsigned i = 0; i < MAX_WINDOW; i++)
			assert_int_equal(states[i], FG_TAKEN);
	}
	assert_int_equal(n_allocations, before);
	fg_plugin.close(ctx);
}

static void every_failing_allocation_is_reported_and_leaves_nothing_behind(void **state)
{
	struct fg_message m =
		message(1, FG_PRESENCE, "pump 4", "{\"state\":\"up\",\"type\":\"p\"}");
	uint8_t offer;
	int r = -ENOMEM;

	(void)state;
	for (long n = 0; r != 1; n++) {
		void *ctx = NULL;

		assert_true(n < 20);
		offer = FG_OFFERED;
		fail_at = n;
		r = open_with(token_only, &ctx);
		if (r == 0) {
			r = encode(ctx, &m, &offer, 1);
			if (r < 0)
				assert_int_equal(offer, FG_OFFERED);
		}
		fail_at = -1;
		assert_true(r == 1 || r == -ENOMEM);
		fg_plugin.close(ctx);
	}
}

static void an_older_presence_message_is_out_of_date(void **state)
{
	struct fg_message m[] = {message(10, FG_TELEMETRY, "pump 4", "{\"p\":1}"),
				 message(9, FG_PRESENCE, "pump 4", "{\"state\":\"down\"}")};
	uint8_t states[2] = {0};
	void *ctx = NULL;

	(void)state;
	assert_int_equal(open_with(token_only, &ctx), 0);
	begin_session(ctx, 0);
	announce(ctx, "pump 4");
	assert_int_equal(encode(ctx, m, states, 1), 1);
	assert_int_equal(settle(ctx, wire.out.tag, 0, 1), FG_ACCEPTED);
	assert_int_equal(encode(ctx, m, states, 2), 0);
	assert_int_equal(states[1], FG_NOTHING);
	fg_plugin.close(ctx);
}

/* Offers one sample of @device until it is refused; returns how often the link had to wait. */
static unsigned pauses_until_given_up(void *ctx, const char *device)
{
	struct fg_message m = message(50, FG_TELEMETRY, device, "{\"p\":1}");
	uint8_t offer = FG_OFFERED;
	unsigned n = 0;

	while (encode(ctx, &m, &offer, 1) == 1) {
		assert_true(published_to("v1/gateway/connect"));
		assert_int_equal(offer, FG_OFFERED);
		assert_true(n < 100);
		if (settle(ctx, wire.out.tag, 0x97, 0) == FG_LATER)
			n++;
	}
	assert_int_equal(offer, FG_REFUSED);
	assert_non_null(strstr(wire.batch.reason, "0x97"));
	return n;
}

static void a_quota_of_devices_does_not_hold_the_link_for_ever(void **state)
{
	void *ctx = NULL;

	(void)state;
	assert_int_equal(open_with(token_only, &ctx), 0);
	begin_session(ctx, 0);
	announce(ctx, "pump 4");
	assert_int_equal(pauses_until_given_up(ctx, "new 1"), 4);
	assert_int_equal(pauses_until_given_up(ctx, "new 2"), 0);
	/* A new session is a new chance, but no new wait. */
	fg_plugin.disconnected(ctx, "");
	begin_session(ctx, 0);
	assert_int_equal(encode(ctx, NULL, NULL, 0), 1); /* pump 4 again */
	assert_int_equal(settle(ctx, wire.out.tag, 0, 0), FG_ACCEPTED);
	assert_int_equal(pauses_until_given_up(ctx, "new 1"), 0);
	fg_plugin.disconnected(ctx, "");
	begin_session(ctx, 0);
	assert_int_equal(encode(ctx, NULL, NULL, 0), 1);
	assert_int_equal(settle(ctx, wire.out.tag, 0, 0), FG_ACCEPTED);
	announce(ctx, "new 1");
	fg_plugin.close(ctx);
}

/* The server closes the connection after it has refused something for the rate. */
static void a_rate_limit_is_waited_for_as_long_as_it_takes(void **state)
{
	struct fg_message m = message(1, FG_TELEMETRY, "pump 4", "{\"p\":1}");
	uint8_t offer = FG_OFFERED;
	void *ctx = NULL;

	(void)state;
	assert_int_equal(open_with(token_only, &ctx), 0);
	for (unsigned i = 0; i < 1000; i++) {
		begin_session(ctx, 0);
		assert_int_equal(encode(ctx, &m, &offer, 1), 1);
		assert_int_equal(settle(ctx, wire.out.tag, 0x97, 0), FG_LATER);
		fg_plugin.disconnected(ctx, "");
	}
	begin_session(ctx, 0);
	assert_int_equal(encode(ctx, &m, &offer, 1), 1);
	assert_int_equal(settle(ctx, wire.out.tag, 0, 0), FG_ACCEPTED);
	/* What the server knows already is not a matter of how many it may know. */
	for (unsigned i = 0; i < 100; i++) {
		fg_plugin.disconnected(ctx, "");
		begin_session(ctx, 0);
		for (unsigned n = 0; n < 10; n++) {
			assert_int_equal(encode(ctx, &m, &offer, 1), 1);
			assert_int_equal(settle(ctx, wire.out.tag, 0x97, 0), FG_LATER);
		}
	}
	assert_int_equal(offer, FG_OFFERED);
	fg_plugin.close(ctx);
}

static void a_token_that_is_no_gateways_is_pointed_out(void **state)
{
	struct fg_message m = message(1, FG_TELEMETRY, "pump 4", "{\"p\":1}");
	uint8_t offer = FG_OFFERED;
	unsigned before = n_warnings;
	void *ctx = NULL;

	(void)state;
	assert_int_equal(open_with(token_only, &ctx), 0);
	begin_session(ctx, 0);
	assert_int_equal(encode(ctx, &m, &offer, 1), 1);
	fg_plugin.disconnected(ctx, "");
	assert_int_equal(n_warnings, before + 1);
	begin_session(ctx, 0);
	assert_int_equal(encode(ctx, NULL, NULL, 0), 1);
	assert_int_equal(settle(ctx, wire.out.tag, 0, 0), FG_ACCEPTED);
	fg_plugin.disconnected(ctx, "");
	begin_session(ctx, 0);
	assert_int_equal(encode(ctx, NULL, NULL, 0), 1);
	fg_plugin.disconnected(ctx, "");
	assert_int_equal(n_warnings, before + 1);
	fg_plugin.close(ctx);
}

static void a_late_acknowledgement_of_an_old_session_announces_nobody(void **state)
{
	struct fg_message m = message(1, FG_TELEMETRY, "pump 4", "{\"p\":1}");
	uint8_t offer = FG_OFFERED;
	void *ctx = NULL;
	uint64_t tag;

	(void)state;
	assert_int_equal(open_with(token_only, &ctx), 0);
	begin_session(ctx, 0);
	assert_int_equal(encode(ctx, &m, &offer, 1), 1);
	tag = wire.out.tag;
	fg_plugin.disconnected(ctx, "");
	begin_session(ctx, 0);
	settle(ctx, tag, 0, 0);
	assert_int_equal(encode(ctx, &m, &offer, 1), 1);
	assert_true(published_to("v1/gateway/connect"));
	settle(ctx, tag, 0, 0);
	assert_int_equal(encode(ctx, &m, &offer, 1), 0);
	fg_plugin.close(ctx);
}

static void announcements_and_data_take_turns_after_a_new_session(void **state)
{
	struct fg_message messages[8];
	uint8_t states[8];
	unsigned n_connects = 0, n_data = 0;
	void *ctx = NULL;

	(void)state;
	assert_int_equal(open_with(token_only, &ctx), 0);
	begin_session(ctx, 0);
	for (unsigned i = 0; i < 20; i++)
		announce(ctx, device_names[i]);
	fg_plugin.disconnected(ctx, "");
	begin_session(ctx, 0);
	for (unsigned round = 0; round < 40; round++) {
		for (unsigned i = 0; i < 8; i++) {
			messages[i] =
				message(100 + round, FG_TELEMETRY, device_names[0], "{\"p\":1}");
			states[i] = FG_OFFERED;
		}
		assert_int_equal(encode(ctx, messages, states, 8), 1);
		if (published_to("v1/gateway/connect"))
			n_connects++;
		else
			n_data++;
		settle(ctx, wire.out.tag, 0, 0);
	}
	assert_int_equal(n_connects, 20);
	assert_int_equal(n_data, 20);
	fg_plugin.close(ctx);
}

static void a_host_with_too_small_a_buffer_is_told_so(void **state)
{
	struct fg_message m = message(1, FG_TELEMETRY, "me", "{\"p\":1}");
	const struct setting settings[] = {{"access_token", "A1", 0}, {"mode", NULL, 1}, {0}};
	char small[8];
	uint8_t offer = FG_OFFERED;
	struct fg_batch batch = {.messages = &m, .states = &offer, .count = 1, .max_take = 1};
	struct fg_publish out = {
		.topic = small, .topic_size = 8, .payload = small, .payload_size = 8};
	void *ctx = NULL;

	(void)state;
	assert_int_equal(open_with(settings, &ctx), 0);
	begin_session(ctx, 0);
	assert_int_equal(fg_plugin.encode(ctx, "", &batch, &out), 0);
	assert_int_equal(offer, FG_REFUSED);
	offer = FG_OFFERED;
	out.payload = wire.payload;
	out.payload_size = sizeof(wire.payload);
	assert_int_equal(fg_plugin.encode(ctx, "", &batch, &out), -EINVAL);
	fg_plugin.close(ctx);
}

/* ------------------------------------------------------------------ cost */

/* Not a test: prints what one sample costs, in batches of 400 over 40 devices. */
static int measure(void)
{
	static const char body[] = "{\"temperature\":21.53,\"humidity\":48,\"pressure\":1013.25,"
				   "\"running\":true,\"state\":\"idle\",\"n\":123456789}";
	const unsigned n_rounds = 2000, n = 400;
	struct fg_message messages[400];
	uint8_t states[400];
	struct timespec start, end;
	void *ctx = NULL;
	double ns;

	if (open_with(token_only, &ctx) < 0)
		return 1;
	begin_session(ctx, 0);
	for (unsigned i = 0; i < 40; i++)
		announce(ctx, device_names[i]);
	for (unsigned i = 0; i < n; i++)
		messages[i] = message(2 + i, FG_TELEMETRY, device_names[i * 7 % 40], body);
	clock_gettime(CLOCK_MONOTONIC, &start);
	for (unsigned round = 0; round < n_rounds; round++) {
		memset(states, FG_OFFERED, sizeof(states));
		if (encode(ctx, messages, states, n) != 1)
			return 1;
		settle(ctx, wire.out.tag, 0, n);
	}
	clock_gettime(CLOCK_MONOTONIC, &end);
	ns = (double)(end.tv_sec - start.tv_sec) * 1e9 + (double)(end.tv_nsec - start.tv_nsec);
	printf("%zu-byte bodies, %u samples a publish: %.0f ns a sample\n", sizeof(body) - 1, n,
	       ns / n_rounds / n);
	fg_plugin.close(ctx);
	return 0;
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_accepted_sample_appears_exactly_once_and_in_order),
		cmocka_unit_test(refusals_and_broken_sessions_lose_and_repeat_nothing),
		cmocka_unit_test(a_table_smaller_than_the_number_of_devices_loses_nothing),
		cmocka_unit_test(a_known_device_costs_no_allocation),
		cmocka_unit_test(every_failing_allocation_is_reported_and_leaves_nothing_behind),
		cmocka_unit_test(an_older_presence_message_is_out_of_date),
		cmocka_unit_test(a_quota_of_devices_does_not_hold_the_link_for_ever),
		cmocka_unit_test(a_rate_limit_is_waited_for_as_long_as_it_takes),
		cmocka_unit_test(a_token_that_is_no_gateways_is_pointed_out),
		cmocka_unit_test(a_late_acknowledgement_of_an_old_session_announces_nobody),
		cmocka_unit_test(announcements_and_data_take_turns_after_a_new_session),
		cmocka_unit_test(a_host_with_too_small_a_buffer_is_told_so),
	};

	for (unsigned i = 0; i < MAX_DEVICES; i++)
		snprintf(device_names[i], sizeof(device_names[i]), "%s \"%u\"",
			 i % 2 ? "pump" : "fan in a hall", i);
	if (argc > 1 && strcmp(argv[1], "measure") == 0)
		return measure();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
