#pragma once

/*
 * One case being played, and the small things the files of the runner share.
 */
#include "fieldgate/plugin.h"
#include "model/json.h"

#define MAX_MESSAGES 8192
#define MAX_PUBLISHES 256
#define MAX_OPTIONS 64
#define BUFFER_SIZE (1024 * 1024)

struct sent {
	uint64_t tag;
	bool is_settled;
	size_t n_taken;
	uint32_t *taken; /* places in the pool */
};

struct play {
	const struct fg_plugin *plugin;
	void *ctx;
	unsigned mqtt_version;
	int64_t now_us;
	bool has_no_time;
	enum fg_carrier carrier;
	int64_t wake_ms; /* what is left of what the plugin asked for; negative: nothing */

	struct fg_message messages[MAX_MESSAGES];
	uint8_t states[MAX_MESSAGES];
	char reasons[MAX_MESSAGES][160];
	size_t n_messages;
	size_t n_hidden; /* of announcements made for the case; not numbered */

	struct sent sent[MAX_PUBLISHES];
	size_t n_sent;
	uint64_t n_dropped;

	char warnings[4096];
	unsigned n_warnings;

	void *garbage[MAX_MESSAGES * 4]; /* freed when the case ends */
	size_t n_garbage;

	char failure[8192];
};

extern struct play play;

/** Note why the case fails. Returns false. */
bool fail(const char *format, ...) __attribute__((format(printf, 1, 2)));

/** Memory that lives as long as the case. */
void *keep(void *memory);

bool get(struct fg_json_value object, const char *name, struct fg_json_value *ret);

/** The text of a JSON string, NUL-terminated; NULL for null and what is no string. */
char *text_of(struct fg_json_value value);
char *get_text(struct fg_json_value object, const char *name);
long long number_of(struct fg_json_value value);
long long get_number(struct fg_json_value object, const char *name, long long fallback);
bool is_text(const char *a, const char *b);

/** Without white space outside strings. Written apart from fg_json_compact(): the plugin may use
 * that. */
struct fg_span compact(struct fg_span text);

/**
 * Is @is what the case says it @should be? $1 to $9 in @should stand for what is not known before: up
 * to the next quote, and the same text each time in a case.
 */
bool same_json(const char *what, struct fg_span is, struct fg_span should);

/** Is @is what member @name of @wanted says, or is neither there? */
bool same_text(const char *what, const char *is, struct fg_json_value wanted, const char *name);

/* ------------------------------------------------------------------ http.c */

/** Are the headers @is, NULL-terminated or NULL, what @wanted says, if it does? */
bool same_headers(const char *const *is, struct fg_json_value wanted);

/** The step is one of a session by HTTP; sets *@ret to whether it passes. */
bool http_step(struct fg_json_value step, bool *ret);

/* ------------------------------------------------------------------ pack.c */

/** @plain in gzip; it lives as long as the case. */
struct fg_span packed(struct fg_span plain);

/** The other way round. Returns false when @from is no gzip. */
bool unpacked(struct fg_span from, struct fg_span *ret);

/* ------------------------------------------------------------------ host.c */

extern const struct fg_host scripted_host;

/** Forget the calls and names of the last case; what is remembered, too. */
void host_begin(void);

/**
 * The step that says what the plugin must have called, if @step is one. Sets *@ret to whether it
 * has.
 */
bool host_step(struct fg_json_value step, bool *ret);

/** What this cloud calls @device by now; NULL: it gets nothing of it. */
const char *host_name_of(const char *device);

/** The first call no step has asked for, or NULL. */
const char *host_unread_call(void);
