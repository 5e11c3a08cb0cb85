#pragma once

/*
 * Asks a cloud's interface for applications (struct fg_rest): the plugin says which requests, this
 * makes them. Turns the loop until an answer is there, so that what happens at the field broker
 * meanwhile is seen. For fieldgatectl.
 */
#include "config/account.h"
#include "fieldgate/plugin.h"
#include "net/http_client.h"
#include "util/error.h"

struct fg_rest_client;

/** How a question ended. */
struct fg_rest_outcome {
	bool is_done;
	bool is_unreachable; /* no answer of HTTP came: `text` says why */
	enum fg_rest_fault fault;
	char text[512];
	int64_t took_us;
	int64_t time_us; /* READING: the cloud's stamp */
	char *answer;    /* COMMAND: owned, NUL-terminated; NULL: none */
};

/**
 * @rest, @account, @link (see struct fg_rest_open) and @http are borrowed and outlive it. On success
 * the caller owns *@ret. Returns 0, -ENOMEM or -EINVAL with a sentence.
 */
int fg_rest_client_new(struct ev_loop *loop, struct fg_http *http, const struct fg_rest *rest,
		       const struct fg_account *account, const struct fg_value *link,
		       struct fg_rest_client **ret, struct fg_error *err);
struct fg_rest_client *fg_rest_client_free(struct fg_rest_client *c);

/** Ask until it is answered, at most for @timeout_ms; @question's now_us is set here. What is in
 * *@ret is released by fg_rest_outcome_release(). */
void fg_rest_client_ask(struct fg_rest_client *c, struct fg_rest_question *question,
			int64_t timeout_ms, struct fg_rest_outcome *ret);
void fg_rest_outcome_release(struct fg_rest_outcome *o);
