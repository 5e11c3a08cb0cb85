#pragma once

/*
 * The HTTP client without a network: it notes the request its owner makes, and the test says what comes
 * back. There is one at a time; a second one fails the test.
 */
#include "net/http_client.h"

struct fake_http {
	struct fg_http_request *request; /* NULL: there is none */
	unsigned n_made;
	int new_result;
	enum fg_http_method method; /* of the newest, and so on */
	unsigned timeout_ms;
	char url[128], headers[256], body[256];
	size_t body_size;
	const struct fg_http_ops *ops;
	void *owner;
};

extern struct fake_http fake_http;

void fake_http_reset(void);
/** The answer has come. @retry_after_s negative: it says nothing of that. */
void fake_http_answer(unsigned status, const char *body, int64_t retry_after_s);
/** No answer will come: a negative errno. */
void fake_http_fail(int error);
