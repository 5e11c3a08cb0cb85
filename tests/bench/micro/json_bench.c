/*
 * The JSON module beside json-c on payloads as field devices send them.
 */
#include <json-c/json.h>
#include <stdlib.h>

#include "model/json.h"
#include "stopwatch.h"

static const char payload_100[] =
	"{\"temperature\":21.50,\"humidity\":48.2,\"pressure\":1013.25,\"battery\":3.61,"
	"\"state\":\"ok\",\"n\":123456}";

static struct {
	struct fg_span text;
	struct fg_json_value value;
	struct fg_json_path *path;
	struct json_tokener *tokener;
	char *out;
} bench;

static volatile size_t sink;

static void check(void *arg)
{
	struct fg_json_fault fault;

	(void)arg;
	if (fg_json_check(bench.text, &bench.value, &fault) < 0)
		abort();
}

static void walk(void *arg)
{
	struct fg_json_walk w;
	struct fg_json_member member;

	(void)arg;
	fg_json_walk_begin(&w, bench.value);
	while (fg_json_walk_next(&w, &member))
		sink += member.value.text.size;
}

static void find(void *arg)
{
	struct fg_json_value value;

	(void)arg;
	if (fg_json_path_find(bench.path, bench.value, &value))
		sink += value.text.size;
}

static void compact(void *arg)
{
	(void)arg;
	sink += fg_json_compact(bench.value, bench.out);
}

static void json_c_parse(void *arg)
{
	struct json_object *object;

	(void)arg;
	json_tokener_reset(bench.tokener);
	object = json_tokener_parse_ex(bench.tokener, bench.text.data, (int)bench.text.size);
	if (!object)
		abort();
	json_object_put(object);
}

static void measure(const char *name, struct fg_span text, unsigned n)
{
	static const struct {
		const char *what;
		void (*fn)(void *);
	} steps[] = {
		{"check", check},
		{"walk all members", walk},
		{"find $.state", find},
		{"compact", compact},
		{"json-c: parse and release", json_c_parse},
	};

	bench.text = text;
	bench.out = malloc(text.size);
	for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
		char label[100];

		snprintf(label, sizeof(label), "%s (%zu bytes): %s", name, text.size,
			 steps[i].what);
		stopwatch_measure(label, n, steps[i].fn, NULL);
	}
	free(bench.out);
}

int main(void)
{
	struct fg_json_fault fault;
	char *large = malloc(64 * 1024);
	size_t n = 0;

	if (!large || fg_json_path_new(fg_span_str("$.state"), &bench.path, &fault) < 0)
		return 1;
	bench.tokener = json_tokener_new();
	json_tokener_set_flags(bench.tokener, JSON_TOKENER_STRICT | JSON_TOKENER_VALIDATE_UTF8);
	measure("payload", fg_span_str(payload_100), 300000);

	large[n++] = '[';
	while (n + sizeof(payload_100) + 2 < 64 * 1024) {
		memcpy(large + n, payload_100, sizeof(payload_100) - 1);
		n += sizeof(payload_100) - 1;
		large[n++] = ',';
	}
	large[n - 1] = ']';
	measure("array of payloads", fg_span_of(large, n), 300);

	n = 0;
	large[n++] = '"';
	memset(large + n, 'x', 64 * 1024 - 2);
	large[64 * 1024 - 1] = '"';
	measure("one string", fg_span_of(large, 64 * 1024), 1000);
	json_tokener_free(bench.tokener);
	fg_json_path_free(bench.path);
	free(large);
	return 0;
}
