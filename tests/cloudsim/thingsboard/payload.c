#include "cloud.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define MAX_KEY_BYTES 255
/* Older than this, a time in "milliseconds" was meant as seconds. */
#define YEAR_2001_MS 978307200000

struct json_object *tb_payload_parse(const char *data, size_t size)
{
	struct json_tokener *tokener = json_tokener_new_ex(128);
	struct json_object *root;

	if (!tokener)
		return NULL;
	json_tokener_set_flags(tokener, JSON_TOKENER_STRICT | JSON_TOKENER_VALIDATE_UTF8);
	root = json_tokener_parse_ex(tokener, data, (int)size);
	/* A number at the very end might go on: only the terminating byte settles it. */
	if (json_tokener_get_error(tokener) == json_tokener_continue)
		root = json_tokener_parse_ex(tokener, "", 1);
	else if (json_tokener_get_parse_end(tokener) != size) {
		json_object_put(root);
		root = NULL;
	}
	if (json_tokener_get_error(tokener) != json_tokener_success) {
		json_object_put(root);
		root = NULL;
	}
	json_tokener_free(tokener);
	return root;
}

static void check_value(struct tb_cloud *cloud, const char *key, struct json_object *value)
{
	const char *text, *dot, *exponent;

	if (key[0] == '\0' || strlen(key) > MAX_KEY_BYTES)
		tb_suspect(cloud, "a key that is empty or longer than 255 bytes");
	if (!value) {
		tb_suspect(cloud, "null: the key is skipped");
		return;
	}
	if (!json_object_is_type(value, json_type_double))
		return;
	text = json_object_get_string(value);
	if (isnan(json_object_get_double(value)) || strchr(text, 'N') || strchr(text, 'I')) {
		tb_suspect(cloud, "NaN or Infinity: stored as text");
		return;
	}
	dot = strchr(text, '.');
	exponent = strpbrk(text, "eE");
	if (exponent)
		tb_suspect(cloud,
			   "a number with an exponent: an integral one is stored as integer");
	else if (dot && strlen(dot + 1) > 16)
		tb_suspect(cloud, "a number with more than 16 decimals: stored as text");
}

void tb_payload_check_values(struct tb_cloud *cloud, struct json_object *values)
{
	if (json_object_object_length(values) == 0)
		tb_suspect(cloud, "no values: acknowledged and nothing stored");
	json_object_object_foreach(values, key, value) check_value(cloud, key, value);
}

enum tb_outcome tb_payload_check_sample(struct tb_cloud *cloud, struct json_object *sample)
{
	struct json_object *ts, *values;
	const char *text;
	char *end;
	double number;

	if (!json_object_is_type(sample, json_type_object))
		return TB_MALFORMED;
	if (!json_object_object_get_ex(sample, "ts", &ts) ||
	    !json_object_object_get_ex(sample, "values", &values)) {
		if (json_object_object_get_ex(sample, "ts", NULL) ||
		    json_object_object_get_ex(sample, "values", NULL))
			tb_suspect(cloud,
				   "ts without values, or values without ts: stored as keys");
		tb_payload_check_values(cloud, sample);
		return TB_TAKEN;
	}
	text = json_object_get_string(ts);
	if (!text || text[0] == '\0' || json_object_is_type(ts, json_type_object) ||
	    json_object_is_type(ts, json_type_boolean))
		return TB_SERVER_ERROR;
	number = strtod(text, &end);
	if (*end != '\0')
		return TB_SERVER_ERROR;
	if (number < (double)YEAR_2001_MS)
		tb_suspect(cloud, "a time before 2001: seconds instead of milliseconds");
	if (!json_object_is_type(ts, json_type_int))
		tb_suspect(cloud, "a time that is not an integer");
	if (!json_object_is_type(values, json_type_object))
		return TB_MALFORMED;
	tb_payload_check_values(cloud, values);
	return TB_TAKEN;
}
