/*
 * Input: one byte that says which topic, and the payload on it. It is read as what has come down in a
 * protobuf profile; and, if it is JSON, turned into what goes up. What is checked: nothing is read or
 * written outside its buffer, and what goes up is a message.
 */
#include <stdlib.h>

#include "../fuzz.h"
#include "thingsboard/protobuf.h"

#define PACKET_SIZE 2048

static int read_all(void *arg, struct fg_span json)
{
	volatile char sum = 0;

	(void)arg;
	for (size_t i = 0; i < json.size; i++)
		sum = (char)(sum + json.data[i]);
	return 0;
}

static void go_up(struct tb_protobuf *p, enum tb_topic topic, struct fg_span json)
{
	char *payload = malloc(PACKET_SIZE); /* an allocation: a sanitizer sees its end */
	size_t n = json.size < PACKET_SIZE ? json.size : PACKET_SIZE;
	struct tb_wire_field field;
	struct fg_span message;
	unsigned dropped = 0;
	int r;

	if (!payload)
		abort();
	memcpy(payload, json.data, n);
	if (tb_protobuf_up(p, topic, payload, &n, PACKET_SIZE, &dropped) == 0 &&
	    topic != TB_PROVISION_REQUEST && topic != TB_PROVISION_RESPONSE) {
		message = fg_span_of(payload, n);
		if (n > PACKET_SIZE)
			abort();
		while ((r = tb_wire_next(&message, &field)) > 0)
			;
		if (r < 0)
			abort();
	}
	free(payload);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct tb_protobuf p;
	struct fg_span payload;

	if (size < 1 || size > PACKET_SIZE || tb_protobuf_open(&p, PACKET_SIZE) < 0)
		return 0;
	payload = fg_span_of(data + 1, size - 1);
	tb_protobuf_down(&p, data[0] % TB_N_TOPICS, payload, read_all, NULL);
	go_up(&p, data[0] % TB_N_TOPICS, payload);
	tb_protobuf_close(&p);
	return 0;
}
