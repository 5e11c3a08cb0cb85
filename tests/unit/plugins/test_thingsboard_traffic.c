/*
 * Random traffic against a small model of the server: what single cases cannot show. Each accepted
 * message arrives exactly once, in order, and only while its device is announced; limits of size are
 * kept; nothing waits for nothing.
 */
#include "scripted.h"

#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model/json.h"

#define MAX_WINDOW 512
#define BODY_SIZE 600

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
	bool is_unkind;  /* refusals, broken sessions, devices thrown out */
	bool is_limited; /* in data points */
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
	char (*refs)[16];                   /* the same */
	uint8_t *n_delivered;
	uint8_t *n_expected;
};

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
	p->kind = kind == 0   ? FG_PRESENCE
		  : kind == 1 ? FG_COMMAND_RESPONSE
		  : kind < 6  ? FG_ATTRIBUTES
			      : FG_TELEMETRY;
	p->in_publish = 0;
	random_body(body, p->id);
	if (p->kind == FG_PRESENCE)
		strcpy(body,
		       pick(2) ? "{\"state\":\"up\",\"type\":\"pump\"}" : "{\"state\":\"down\"}");
	if (p->kind == FG_COMMAND_RESPONSE)
		snprintf(body, BODY_SIZE, "{\"result\":{\"i\":%u}}", p->id);
	snprintf(t->refs[p->id], sizeof(t->refs[0]), "g/%u/x", p->id);
	t->states[at] = FG_OFFERED;
	t->messages[at] = message(p->id, p->kind, device_names[p->device], body);
	t->messages[at].ref = fg_span_str(t->refs[p->id]);
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

/* {"device":…,"id":…,"data":{"i":…}} */
static void check_response(struct traffic *t, struct json_object *root, const struct flight *f,
			   unsigned device)
{
	const struct parcel *p;
	struct json_object *part;

	assert_true(json_object_object_get_ex(root, "id", &part));
	p = parcel_with(t, (unsigned)json_object_get_int64(part));
	assert_true(json_object_object_get_ex(root, "data", &part));
	assert_int_equal(id_in(part), p->id);
	assert_int_equal(p->device, device);
	assert_int_equal(p->kind, FG_COMMAND_RESPONSE);
	assert_int_equal(p->in_publish, f->number);
	assert_int_equal(f->n_messages, 1);
	assert_true(t->is_announced[device]);
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
	if (published_to("v1/gateway/telemetry") || published_to("v1/gateway/attributes")) {
		check_data(t, root, f);
	} else {
		assert_true(json_object_object_get_ex(root, "device", &device));
		f->device = device_called(json_object_get_string(device));
		assert_true(f->n_messages <= 1);
		if (published_to("v1/gateway/disconnect"))
			t->is_announced[f->device] = false;
		else if (published_to("v1/gateway/rpc"))
			check_response(t, root, f, f->device);
		else if (published_to("v1/gateway/attributes/request"))
			assert_true(t->is_announced[f->device] && f->n_messages == 0);
		else
			assert_true(published_to("v1/gateway/connect"));
	}
	if (t->is_limited && f->n_messages > 1)
		assert_true(wire.out.n_points <= max_points);
	json_object_put(root);
	json_tokener_free(tokener);
}

/* Returns false when the plugin had nothing to publish. */
static bool publish_one(struct traffic *t, struct flight *f)
{
	int r;

	max_points = t->is_limited ? 1 + pick(40) : SIZE_MAX;
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

/* The server closes the session of one device, and says so. */
static void throw_out(struct traffic *t)
{
	unsigned device = pick(MAX_DEVICES);
	char notice[128], quoted[64];
	size_t n = fg_json_quote(fg_span_str(device_names[device]), quoted, sizeof(quoted));

	snprintf(notice, sizeof(notice), "{\"device\":%.*s,\"reason\":150}", (int)n, quoted);
	assert_int_equal(deliver(t->ctx, "v1/gateway/disconnect", notice), 0);
	t->is_announced[device] = false;
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
		if (t->is_unkind && pick(100) == 0)
			throw_out(t);
		if (pick(50) == 0)
			pass_second(t->ctx);
		/* What is offered and not published must be waiting for something. */
		for (unsigned i = 0; i < 16; i++)
			has_open = has_open || t->flights[i].number;
		n_idle = is_idle && !has_open ? n_idle + 1 : 0;
		assert_true(n_idle < 2000); /* a device that was thrown out takes ten seconds */
	}
}

static void random_traffic(unsigned seed, bool is_unkind, size_t limit, unsigned max_devices)
{
	const struct setting settings[] = {{"access_token", "A1", 0},
					   {"max_packet_size", NULL, (int64_t)limit},
					   {"max_devices", NULL, max_devices},
					   {"inactivity_timeout", NULL, 20000},
					   {0}};
	struct traffic *t = calloc(1, sizeof(*t));

	random_state = seed;
	t->n_total = 8000;
	t->bodies = calloc(t->n_total + 1, BODY_SIZE);
	t->n_delivered = calloc(t->n_total + 1, 1);
	t->n_expected = calloc(t->n_total + 1, 1);
	t->refs = calloc(t->n_total + 1, sizeof(t->refs[0]));
	t->limit = limit;
	t->is_limited = seed % 2;
	t->is_unkind = is_unkind;
	assert_int_equal(open_with(settings, &t->ctx), 0);
	begin_session(t->ctx, 0);
	run_traffic(t);
	for (unsigned i = 1; i <= t->n_total; i++)
		assert_int_equal(t->n_delivered[i], t->n_expected[i]);
	fg_plugin.close(t->ctx);
	free(t->bodies);
	free(t->refs);
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

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_accepted_sample_appears_exactly_once_and_in_order),
		cmocka_unit_test(refusals_and_broken_sessions_lose_and_repeat_nothing),
		cmocka_unit_test(a_table_smaller_than_the_number_of_devices_loses_nothing),
	};

	for (unsigned i = 0; i < MAX_DEVICES; i++)
		snprintf(device_names[i], sizeof(device_names[i]), "%s \"%u\"",
			 i % 2 ? "pump" : "fan in a hall", i);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
