/*
 * Messages coming down. IoTDA wants no answer to one, so each becomes a one-way command for its device,
 * and is on disk before it is acknowledged, as all commands are (but see early.h):
 *
 *	{"object_device_id":"p1_pump-01","name":"recipe","id":"17","content":"…"}
 *
 * is the command `recipe` with the content as its parameters. Whatever else an application sends is a
 * command `message` for the connected device, with that as its parameters: JSON as it is, other text as
 * a JSON string, other bytes as {"base64":"…"}.
 *
 * What IoTDA delivers again is known to the host by the message's id; of one without an id nothing can
 * tell that it is the same.
 */
#include <inttypes.h>
#include <openssl/evp.h>
#include <stdio.h>

#include "huawei.h"
#include "model/utf8.h"
#include "util/cleanup.h"
#include "util/hash.h"

#define NAME_MESSAGE "message"

/* IoTDA keeps messages for a device that is away for so long. */
#define KEPT_MS (INT64_C(24) * 3600 * 1000)

#define MAX_NAME 255 /* of fg_command.name */
#define MAX_ID 255   /* that is looked at; IoTDA's have 100 characters at most */
#define KEY_SIZE 65  /* of fg_command.key, and a NUL */

/* The inside of a JSON string that says @size bytes, at most. */
#define RAW(size) ((size)*6)

/* The content by which IoTDA asks for another bootstrap. */
#define BOOTSTRAP_TRIGGER "\"BootstrapRequestTrigger\""

/* ------------------------------------------------------------------ telling messages apart */

/* An id that cannot stand in a key is told from others by its hash. Returns false without one. */
static bool put_hash(struct fg_span id, char *out)
{
	unsigned char digest[EVP_MAX_MD_SIZE];
	size_t n = 0;

	if (!EVP_Q_digest(NULL, "SHA256", NULL, id.data, id.size, digest, &n) || n < 24)
		return false;
	for (size_t i = 0; i < 24; i++)
		snprintf(out + 2 * i, 3, "%02x", digest[i]);
	return true;
}

/* What a message is known by: "m/17". What was kept (early.h) may be taken twice, and is the same then. */
static void put_key(struct hw *hw, struct fg_span id, const struct fg_delivery *delivery, char *out)
{
	int n;

	if (id.size > 0 && id.size <= HW_REQUEST_ID_MAX && hw_is_plain(id)) {
		snprintf(out, KEY_SIZE, "m/%.*s", FG_SPAN_ARGS(id));
		return;
	}
	if (id.size > 0 && put_hash(id, out + snprintf(out, KEY_SIZE, "m/#")))
		return;
	n = snprintf(out, KEY_SIZE, "m//%" PRId64 "-", delivery->now_us);
	if (hw->early.kept_s > 0)
		snprintf(out + n, KEY_SIZE - (size_t)n, "#%016" PRIx64,
			 fg_hash(0, delivery->payload));
	else
		snprintf(out + n, KEY_SIZE - (size_t)n, "%" PRIu32, hw->n_unnamed_messages++);
}

/* ------------------------------------------------------------------ handing over */

/* Returns what the host's command() does. */
static int hand_over(struct hw *hw, struct fg_command *command, struct fg_span id,
		     const struct fg_delivery *delivery)
{
	char key[KEY_SIZE];

	put_key(hw, id, delivery, key);
	command->id = command->key = fg_span_str(key);
	command->timeout_ms = KEPT_MS;
	command->is_one_way = true;
	return hw->host->command(hw->host_ctx, command);
}

static void warn_of_device(const struct hw *hw, struct fg_json_value object)
{
	char raw[RAW(HW_DEVICE_ID_MAX)];
	struct fg_json_value value;
	struct fg_span id;

	if (!fg_json_member(object, fg_span_str("object_device_id"), &value) ||
	    !hw_string_read(value, raw, sizeof(raw), &id) || !hw_is_id(id.data, id.size))
		id = fg_span_str("?");
	hw->host->warn(hw->host_ctx,
		       "IoTDA has sent a message for a device that is not here, \"%.*s\": it is "
		       "dropped",
		       FG_SPAN_ARGS(id));
}

static int take_message(struct hw *hw, struct fg_json_value object, struct fg_json_value content,
			const struct fg_delivery *delivery)
{
	char device[HW_DEVICE_ID_MAX], raw_name[RAW(MAX_NAME)], raw_id[RAW(MAX_ID)];
	struct fg_command command = {.params = content.text};
	struct fg_json_value value;
	struct fg_span id = {0};

	if (!hw_read_device(hw, object, device, &command.device)) {
		warn_of_device(hw, object);
		return 0;
	}
	if ((hw->with.mode == HW_MODE_DEVICE || command.device.size == 0) &&
	    fg_span_is(content.text, BOOTSTRAP_TRIGGER)) {
		hw_bootstrap_again(hw);
		return 0;
	}
	if (!fg_json_member(object, fg_span_str("name"), &value) ||
	    !hw_string_read(value, raw_name, sizeof(raw_name), &command.name) ||
	    command.name.size > MAX_NAME)
		command.name = fg_span_str(NAME_MESSAGE);
	if (fg_json_member(object, fg_span_str("id"), &value))
		hw_string_read(value, raw_id, sizeof(raw_id), &id);
	return hand_over(hw, &command, id, delivery);
}

/* Any bytes as a JSON value, in memory that is the caller's; NULL without memory for it. */
static char *json_of(struct fg_span bytes, struct fg_span *ret)
{
	bool is_text = fg_utf8_ok(bytes);
	/* In base64 four letters for three bytes, and a NUL that is overwritten. */
	size_t room = is_text ? fg_json_quote(bytes, NULL, 0)
			      : sizeof("{\"base64\":\"\"}") + (bytes.size + 2) / 3 * 4;
	char *json = malloc(room);
	struct fg_text text;

	if (!json)
		return NULL;
	text = fg_text_begin(json, room);
	if (is_text) {
		fg_put_quoted(&text, bytes);
	} else {
		fg_put(&text, "{\"base64\":\"");
		text.at += EVP_EncodeBlock((unsigned char *)text.at,
					   (const unsigned char *)bytes.data, (int)bytes.size);
		fg_put(&text, "\"}");
	}
	*ret = fg_span_of(json, fg_text_size(&text));
	return json;
}

int hw_message_received(struct hw *hw, const struct fg_delivery *delivery)
{
	struct fg_command command = {.device = fg_span_str(hw->with.device),
				     .name = fg_span_str(NAME_MESSAGE)};
	FG_CLEANUP(fg_free_p) char *json = NULL;
	struct fg_json_value value, content;
	struct fg_json_fault fault;

	if (fg_json_check(delivery->payload, &value, &fault) == 0 && fg_is_finite(value)) {
		if (value.type == FG_JSON_OBJECT &&
		    fg_json_member(value, fg_span_str("content"), &content))
			return take_message(hw, value, content, delivery);
		command.params = value.text;
	} else {
		if (delivery->payload.size <= HW_MAX_CONTENT)
			json = json_of(delivery->payload, &command.params);
		if (!json) {
			hw->host->warn(hw->host_ctx,
				       "IoTDA has sent a message of %zu bytes that are no JSON, "
				       "which is too large: it is dropped",
				       delivery->payload.size);
			return 0;
		}
	}
	return hand_over(hw, &command, (struct fg_span){0}, delivery);
}
