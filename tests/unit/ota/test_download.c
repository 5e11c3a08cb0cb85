#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "certs.h"
#include "disk.h"
#include "http_server.h"
#include "ota/download.h"
#include "ota_fixture.h"
#include "util/backoff.h"
#include "util/clock.h"

#define MAX_ANSWERS 8
#define SIZE (300 * KIB)

/* In place of the real ones, which take their time. */

static unsigned n_backoffs, n_slow_backoffs;

void fg_backoff_init(struct fg_backoff *b, uint64_t seed, int64_t max_ms)
{
	*b = (struct fg_backoff){.random = seed, .max_ms = max_ms};
}

void fg_backoff_connected(struct fg_backoff *b, int64_t now_ms)
{
	b->connected_at_ms = now_ms;
}

int64_t fg_backoff_next(struct fg_backoff *b, enum fg_backoff_class class, int64_t now_ms)
{
	assert_true(now_ms >= b->connected_at_ms);
	n_backoffs++;
	n_slow_backoffs += class == FG_BACKOFF_CREDENTIALS;
	return 20;
}

/* How the server answers one request. */
struct answer {
	unsigned status;     /* 0: 206 when a part is asked for, else 200 */
	const char *headers; /* "Name: value\r\n", instead of what fits */
	uint64_t cut_after;  /* bytes of the body, then the end; 0: all */
	bool ignores_range;
	bool is_chunked;
	bool is_of_other_file; /* all bytes are different */
	int64_t extra;         /* so many bytes more, or less, than the image has */
	bool waits;            /* for the test, in the middle of the body */
};

struct source {
	uint64_t size;
	struct answer answers[MAX_ANSWERS]; /* the last one stays */
	unsigned n_answers;
	atomic_uint n_requests;
	char ranges[MAX_ANSWERS][32];
	char authorization[64];
};

struct test {
	struct ota_fixture *f;
	struct fg_http *http;
	struct http_server *server;
	struct source source;
	struct fg_download_params params;
	struct fg_download *download;
	char url[64];
	char checksum[FG_CHECKSUM_TEXT_SIZE];

	unsigned n_progress, n_downloaded, n_done;
	uint64_t last_have, last_total, first_have;
	int error;
	char text[400];
	struct fg_image_file *image;
	bool frees_in_progress, frees_in_done;
};

static void say_body(struct exchange *x, const struct answer *a, uint64_t from, uint64_t to)
{
	uint64_t middle = from + (to - from) / 2;
	char block[4096];

	while (from < to && !x->closes) {
		size_t n = to - from < sizeof(block) ? (size_t)(to - from) : sizeof(block);

		if (a->waits && from < middle && from + n >= middle)
			exchange_wait(x);
		for (size_t i = 0; i < n; i++)
			block[i] = (char)(ota_byte(from + i) + a->is_of_other_file);
		if (a->is_chunked)
			exchange_say(x, "%zx\r\n", n);
		exchange_write(x, block, n);
		if (a->is_chunked)
			exchange_say(x, "\r\n");
		from += n;
	}
}

static void serve_image(struct exchange *x)
{
	struct source *s = x->arg;
	unsigned i = s->n_requests++, at = i < s->n_answers ? i : s->n_answers - 1;
	const struct answer *a = &s->answers[at];
	const char *range = exchange_header(x, "Range");
	uint64_t size = s->size + (uint64_t)a->extra, from = 0, to = size;
	bool is_part;

	if (i < MAX_ANSWERS)
		snprintf(s->ranges[i], sizeof(s->ranges[i]), "%s", range ? range : "none");
	if (range && !a->ignores_range)
		from = strtoull(range + strlen("bytes="), NULL, 10);
	if (exchange_header(x, "Authorization"))
		snprintf(s->authorization, sizeof(s->authorization), "%s",
			 exchange_header(x, "Authorization"));
	is_part = range && !a->ignores_range && a->status == 0;
	if (is_part && from >= size) {
		exchange_say(x, "HTTP/1.1 416 No\r\nContent-Range: bytes */%llu\r\n",
			     (unsigned long long)size);
		exchange_say(x, "Content-Length: 0\r\n\r\n");
		return;
	}
	exchange_say(x, "HTTP/1.1 %u Whatever\r\n", a->status ? a->status : is_part ? 206 : 200);
	if (a->headers)
		exchange_say(x, "%s", a->headers);
	else if (is_part)
		exchange_say(x, "Content-Range: bytes %llu-%llu/%llu\r\n", (unsigned long long)from,
			     (unsigned long long)size - 1, (unsigned long long)size);
	if (a->status && a->status != 206) {
		exchange_say(x, "Content-Length: 4\r\n\r\noops");
		return;
	}
	if (a->is_chunked)
		exchange_say(x, "Transfer-Encoding: chunked\r\n\r\n");
	else
		exchange_say(x, "Content-Length: %llu\r\n\r\n", (unsigned long long)(to - from));
	if (a->cut_after > 0 && from + a->cut_after < to) {
		to = from + a->cut_after;
		say_body(x, a, from, to);
		x->closes = true;
		return;
	}
	say_body(x, a, from, to);
	if (a->is_chunked)
		exchange_say(x, "0\r\n\r\n");
}

/* -- the download's callbacks -- */

static void progress(void *owner, enum fg_image_state state, uint64_t have, uint64_t total)
{
	struct test *t = owner;

	assert_int_equal(t->n_done, 0);
	if (t->n_progress++ == 0)
		t->first_have = have;
	assert_int_equal(t->n_downloaded, 0); /* it is the last */
	assert_true(state == FG_IMAGE_DOWNLOADING || state == FG_IMAGE_DOWNLOADED);
	t->n_downloaded += state == FG_IMAGE_DOWNLOADED;
	t->last_have = have;
	t->last_total = total;
	if (t->frees_in_progress)
		t->download = fg_download_free(t->download);
}

static void done(void *owner, int error, const char *text, struct fg_image_file *image)
{
	struct test *t = owner;

	t->n_done++;
	t->error = error;
	t->image = image;
	snprintf(t->text, sizeof(t->text), "%s", text);
	assert_true((error == 0) == (image != NULL));
	assert_true((error == 0) == (text[0] == '\0'));
	if (t->frees_in_done)
		t->download = fg_download_free(t->download);
}

static const struct fg_download_ops ops = {.progress = progress, .done = done};

/* -- the fixture -- */

/* What the server has, and what was announced. */
static void set_size(struct test *t, uint64_t size)
{
	t->source.size = size;
	t->params.image = ota_description(size);
	snprintf(t->checksum, sizeof(t->checksum), "%s", t->params.image.checksum);
	t->params.image.checksum = t->checksum;
}

static int setup(void **state)
{
	struct test *t = calloc(1, sizeof(*t));
	void *f = NULL;

	signal(SIGPIPE, SIG_IGN); /* as the daemon does */
	disk_reset();
	n_backoffs = n_slow_backoffs = 0;
	if (!t || ota_setup(&f) < 0)
		return -1;
	t->f = f;
	*state = t;
	t->source.n_answers = 1;
	t->server = http_server_start(
		&(struct http_server_options){.handler = serve_image, .arg = &t->source});
	snprintf(t->url, sizeof(t->url), "http://localhost:%u/s3cret", http_server_port(t->server));
	t->params.source.url = t->url;
	set_size(t, SIZE);
	t->params.seed = 1;
	return fg_http_new(t->f->loop, t->f->connector, &t->http);
}

static int teardown(void **state)
{
	struct test *t = *state;
	void *f = t->f;

	disk_release(100);
	disk_reset();
	disk_release(100);
	fg_download_free(t->download);
	fg_image_file_free(t->image);
	fg_http_free(t->http);
	http_server_stop(t->server);
	ota_teardown(&f);
	free(t);
	return 0;
}

static void start(struct test *t)
{
	struct fg_error err = {""};

	t->n_progress = t->n_downloaded = t->n_done = 0;
	if (fg_download_new(t->f->loop, t->http, t->f->store, &t->params, &ops, t, &t->download,
			    &err) < 0)
		fail_msg("%s", err.text);
	assert_int_equal(t->n_done, 0);
}

static void wait_done(struct test *t)
{
	ota_wait_for(t->f, &t->n_done, 1);
	assert_int_equal(t->n_done, 1);
	assert_null(strstr(t->text, "s3cret"));
}

static void release(struct test *t)
{
	t->download = fg_download_free(t->download);
	t->image = fg_image_file_free(t->image);
}

/* It is what it should be. */
static void assert_fetched(struct test *t)
{
	char piece[4096];
	uint64_t at = 0;
	ssize_t n;

	if (t->error)
		fail_msg("%s", t->text);
	assert_true(fg_image_file_is_finished(t->image));
	while ((n = fg_image_file_read(t->image, at, piece, sizeof(piece))) > 0)
		for (ssize_t i = 0; i < n; i++, at++)
			if (piece[i] != ota_byte(at))
				fail_msg("byte %llu is wrong", (unsigned long long)at);
	assert_int_equal(at, t->source.size);
	assert_int_equal(t->n_downloaded, 1);
	assert_int_equal(t->last_have, t->source.size);
	assert_int_equal(t->last_total, t->source.size);
}

static void fetch(struct test *t)
{
	start(t);
	wait_done(t);
}

static void turn(struct test *t, int ms)
{
	for (int64_t until = fg_clock_monotonic_ms() + ms; fg_clock_monotonic_ms() < until;)
		ota_settle(t->f);
}

/* -- it arrives -- */

static void an_image_is_fetched_checked_and_handed_out(void **state)
{
	static const char *const headers[] = {"Authorization: Bearer s3cret"};
	struct test *t = *state;
	char byte;

	t->params.source.headers = headers;
	t->params.source.n_headers = 1;
	fetch(t);
	assert_fetched(t);
	assert_int_equal(t->first_have, 0);
	assert_string_equal(t->source.ranges[0], "none");
	assert_string_equal(t->source.authorization, "Bearer s3cret");
	/* It is the callee's now, and works without the download. */
	t->download = fg_download_free(t->download);
	assert_int_equal(fg_image_file_seal(t->image), 0);
	for (int i = 0; i < 1000 && fg_image_file_read(t->image, 0, &byte, 1) == -EINVAL; i++)
		turn(t, 1);
	assert_int_equal(fg_image_file_read(t->image, 0, &byte, 1), 1); /* it is sealed */
}

static void what_is_there_already_is_not_fetched_again(void **state)
{
	struct test *t = *state;

	fetch(t);
	release(t);
	fetch(t);
	assert_fetched(t);
	assert_int_equal(t->source.n_requests, 1);
}

static void progress_is_told_once_a_second(void **state)
{
	struct test *t = *state;

	t->source.answers[0].waits = true;
	start(t);
	ota_wait_for(t->f, &t->n_progress, 2);
	assert_int_equal(t->n_downloaded, 0);
	assert_true(t->last_have > 0 && t->last_have < SIZE);
	assert_int_equal(t->last_total, SIZE);
	turn(t, 1200);
	assert_int_equal(t->n_progress, 2); /* nothing came */
	http_server_go(t->server);
	wait_done(t);
	assert_fetched(t);
}

static void a_size_that_was_not_announced_is_the_servers(void **state)
{
	struct test *t = *state;

	t->params.image.size = 0;
	fetch(t);
	assert_fetched(t);
	release(t);

	t->params.image.owner = "another";
	t->source.answers[0].is_chunked = true;
	fetch(t);
	assert_fetched(t);
}

/* -- it goes on -- */

static void a_cut_download_goes_on_where_it_was(void **state)
{
	struct test *t = *state;

	t->source.n_answers = 3;
	t->source.answers[0].cut_after = 100000;
	t->source.answers[1].cut_after = 100000;
	fetch(t);
	assert_fetched(t);
	assert_int_equal(t->source.n_requests, 3);
	assert_int_equal(n_backoffs, 2);
	assert_int_equal(n_slow_backoffs, 0);
	assert_string_equal(t->source.ranges[0], "none");
	assert_string_equal(t->source.ranges[1], "bytes=100000-");
	assert_string_equal(t->source.ranges[2], "bytes=200000-");
}

static void a_download_goes_on_after_a_restart(void **state)
{
	struct test *t = *state;
	struct fg_image_file *image;
	char range[32];

	set_size(t, 3 * MIB);
	image = ota_begin(t->f, &t->params.image);
	ota_fill(t->f, image, 2 * MIB, FG_IMAGE_PIECE_BYTES);
	fg_image_file_free(image);
	ota_reopen(t->f);
	fetch(t);
	assert_fetched(t);
	assert_true(t->first_have >= MIB);
	snprintf(range, sizeof(range), "bytes=%llu-", (unsigned long long)t->first_have);
	assert_string_equal(t->source.ranges[0], range);
}

static void a_server_that_knows_no_parts_sends_it_all_again(void **state)
{
	struct test *t = *state;

	t->source.n_answers = 2;
	t->source.answers[0].cut_after = 100000;
	t->source.answers[1].ignores_range = true;
	fetch(t);
	assert_fetched(t);
	assert_string_equal(t->source.ranges[1], "bytes=100000-");
}

static void a_server_that_sends_another_part_is_asked_for_all(void **state)
{
	static const struct answer wrong[] = {
		{.status = 206, .headers = "Content-Range: bytes 5-9/307200\r\n"},
		{.status = 206, .headers = ""},
		{.status = 206, .headers = "Content-Range: bytes x\r\n"},
		{.status = 416},
	};
	struct test *t = *state;

	for (size_t i = 0; i < 4; i++) {
		t->source.n_requests = 0;
		t->source.n_answers = 3;
		t->source.answers[0] = (struct answer){.cut_after = 100000};
		t->source.answers[1] = wrong[i];
		t->source.answers[2] = (struct answer){0};
		fetch(t);
		assert_fetched(t);
		assert_string_equal(t->source.ranges[1], "bytes=100000-");
		assert_string_equal(t->source.ranges[2], "none");
		t->image = fg_image_file_remove(t->image);
		release(t);
	}
}

static void a_server_with_nothing_left_says_that_all_is_there(void **state)
{
	struct test *t = *state;
	struct fg_image_file *image;

	set_size(t, 2 * MIB);
	t->params.image.size = 0; /* so nobody knows before the server says it */
	image = ota_begin(t->f, &t->params.image);
	ota_fill(t->f, image, 2 * MIB, FG_IMAGE_PIECE_BYTES);
	ota_settle(t->f);
	fg_image_file_free(image);
	ota_reopen(t->f);
	fetch(t);
	assert_fetched(t);
	if (t->first_have == 2 * MIB)
		assert_string_equal(t->source.ranges[0], "bytes=2097152-");
}

static void without_a_checksum_no_pieces_are_joined(void **state)
{
	struct test *t = *state;

	t->params.image.checksum = NULL;
	t->source.n_answers = 2;
	t->source.answers[0].cut_after = 100000;
	t->source.answers[0].is_of_other_file = true;
	fetch(t);
	assert_fetched(t);
	assert_string_equal(t->source.ranges[1], "none");
}

static void pieces_of_different_files_are_fetched_once_more_in_one_go(void **state)
{
	struct test *t = *state;

	t->source.n_answers = 3;
	t->source.answers[0] = (struct answer){.cut_after = 100000, .is_of_other_file = true};
	start(t);
	ota_wait_for(t->f, &t->n_downloaded, 1);
	t->n_downloaded = 0; /* it comes a second time */
	wait_done(t);
	assert_fetched(t);
	assert_int_equal(t->source.n_requests, 3);
	assert_string_equal(t->source.ranges[2], "none");
	t->image = fg_image_file_remove(t->image);
	release(t);

	/* But only once, in one go or not. */
	for (int is_cut_again = 0; is_cut_again < 2; is_cut_again++) {
		t->source.n_requests = 0;
		t->source.n_answers = 4;
		for (int i = 0; i < 4; i++)
			t->source.answers[i] = (struct answer){.is_of_other_file = true};
		t->source.answers[0].cut_after = 100000;
		t->source.answers[2].cut_after = is_cut_again ? 100000 : 0;
		start(t);
		ota_wait_for(t->f, &t->n_downloaded, 1);
		t->n_downloaded = 0;
		wait_done(t);
		assert_int_equal(t->error, -EBADMSG);
		assert_int_equal(t->source.n_requests, is_cut_again ? 4 : 3);
		release(t);
	}
}

static void a_finished_image_that_has_decayed_is_fetched_again(void **state)
{
	struct test *t = *state;
	FILE *file;

	fetch(t);
	file = fopen(fg_image_file_path(t->image), "r+");
	assert_non_null(file);
	fputs("?", file);
	fclose(file);
	release(t);
	start(t);
	ota_wait_for(t->f, &t->n_downloaded, 1);
	t->n_downloaded = 0;
	wait_done(t);
	assert_fetched(t);
	assert_int_equal(t->source.n_requests, 2);
}

/* -- it is wrong -- */

static void assert_nothing_left(struct test *t)
{
	ota_settle(t->f);
	assert_int_equal(ota_count(t->f, ".part") + ota_count(t->f, ".image"), 0);
}

static void another_size_than_announced_ends_it(void **state)
{
	static const struct {
		struct answer answer;
		const char *says;
	} cases[] = {
		{{.extra = 1}, "has 307201 bytes, but 307200"},
		{{.extra = -1}, "has 307199 bytes, but 307200"},
		{{.extra = 1, .is_chunked = true}, ""},
		{{.extra = 100000, .is_chunked = true}, ""},
	};
	struct test *t = *state;

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		t->source.answers[0] = cases[i].answer;
		fetch(t);
		assert_int_equal(t->error, -EMSGSIZE);
		assert_non_null(strstr(t->text, cases[i].says));
		assert_nothing_left(t);
		release(t);
	}
	/* Too short without saying so may be that it was cut; asked for the rest, it says so. */
	t->source.answers[0] = (struct answer){.extra = -1, .is_chunked = true};
	fetch(t);
	assert_int_equal(t->error, -EMSGSIZE);
	assert_non_null(strstr(t->text, "has 307199 bytes, but 307200"));
	assert_nothing_left(t);
}

static void a_server_that_begins_anew_each_time_is_given_up(void **state)
{
	static const struct answer endless[][2] = {
		{{.cut_after = 100000}, {.cut_after = 100000, .ignores_range = true}},
		{{.cut_after = 100000}, {.status = 416}},
	};
	struct test *t = *state;

	t->params.max_attempts = 2;
	for (size_t i = 0; i < 2; i++) {
		for (size_t at = 0; at < MAX_ANSWERS; at++)
			t->source.answers[at] = endless[i][at % 2];
		t->source.n_answers = MAX_ANSWERS;
		t->source.n_requests = 0;
		fetch(t);
		assert_int_equal(t->error, -EPROTO);
		assert_in_range(t->source.n_requests, 3, 6);
		release(t);
	}
}

static void a_part_of_something_of_another_size_ends_it(void **state)
{
	struct test *t = *state;

	t->source.n_answers = 2;
	t->source.answers[0].cut_after = 100000;
	t->source.answers[1].extra = 1000;
	fetch(t);
	assert_int_equal(t->error, -EMSGSIZE);
	assert_nothing_left(t);
}

static void a_wrong_checksum_ends_it(void **state)
{
	struct test *t = *state;

	t->source.answers[0].is_of_other_file = true;
	fetch(t);
	assert_int_equal(t->error, -EBADMSG);
	assert_int_equal(t->source.n_requests, 1);
	assert_non_null(strstr(t->text, "checksum"));
	assert_nothing_left(t);
}

static void an_image_larger_than_allowed_is_not_fetched(void **state)
{
	struct test *t = *state;

	t->f->options.max_image_bytes = SIZE - 1;
	ota_reopen(t->f);
	fetch(t);
	assert_int_equal(t->error, -EFBIG);
	assert_int_equal(t->source.n_requests, 0);
	release(t);

	t->params.image.size = 0;
	fetch(t);
	assert_int_equal(t->error, -EFBIG); /* the server says so */
	assert_non_null(strstr(t->text, "307200"));
	assert_nothing_left(t);
	release(t);

	t->source.answers[0].is_chunked = true;
	fetch(t);
	assert_true(t->error == -EMSGSIZE || t->error == -EFBIG);
	assert_nothing_left(t);
}

static void what_cannot_be_fetched_is_refused_at_once(void **state)
{
	static char long_title[FG_IMAGE_MAX_TEXT_BYTES + 2];
	struct test *t = *state;

	memset(long_title, 'x', sizeof(long_title) - 1);
	for (int i = 0; i < 4; i++) {
		struct fg_download_params params = t->params;
		struct fg_download *d = NULL;
		struct fg_error err = {""};

		if (i == 0)
			params.source.url = "ftp://localhost/s3cret";
		else if (i == 1)
			params.image.title = long_title;
		else if (i == 2)
			params.image.checksum = "../../etc/passwd";
		else
			params.source.url = "http://localhost/s3cret\n";
		assert_int_equal(fg_download_new(t->f->loop, t->http, t->f->store, &params, &ops, t,
						 &d, &err),
				 -EINVAL);
		assert_null(d);
		assert_true(err.text[0] != '\0');
		assert_null(strstr(err.text, "s3cret"));
	}
}

static void an_url_with_a_user_name_ends_it(void **state)
{
	struct test *t = *state;

	t->params.source.url = "http://user:s3cret@localhost/";
	fetch(t);
	assert_int_equal(t->error, -EINVAL);
}

/* -- it fails -- */

static void each_status_means_what_it_means(void **state)
{
	static const struct {
		unsigned status;
		int error;
		unsigned n_requests;
	} cases[] = {
		{401, -EACCES, 1}, {403, -EACCES, 1}, {404, -ENOENT, 1}, {410, -ENOENT, 1},
		{400, -EPROTO, 1}, {204, -EPROTO, 1}, {304, -EPROTO, 1}, {503, -EPROTO, 2},
		{500, -EPROTO, 2}, {429, -EPROTO, 2}, {408, -EPROTO, 2},
	};
	struct test *t = *state;

	t->params.max_attempts = 2;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		char number[16];

		t->source.n_requests = 0;
		t->source.answers[0].status = cases[i].status;
		fetch(t);
		snprintf(number, sizeof(number), "%u", cases[i].status);
		assert_int_equal(t->error, cases[i].error);
		assert_int_equal(t->source.n_requests, cases[i].n_requests);
		assert_non_null(strstr(t->text, number));
		assert_int_equal(t->n_downloaded, 0);
		release(t);
	}
}

static void a_server_may_say_when_to_come_again(void **state)
{
	struct test *t = *state;
	int64_t began_ms = fg_clock_monotonic_ms();

	t->source.n_answers = 2;
	t->source.answers[0] = (struct answer){.status = 503, .headers = "Retry-After: 2\r\n"};
	fetch(t);
	assert_fetched(t);
	assert_true(fg_clock_monotonic_ms() - began_ms >= 2000);
}

static void attempts_that_bring_nothing_are_counted(void **state)
{
	struct test *t = *state;

	t->params.max_attempts = 2;
	t->params.source.url = "http://localhost:1/";
	fetch(t);
	assert_int_equal(t->error, -ECONNREFUSED);
	assert_non_null(strstr(t->text, "given up after 2 attempts"));
	release(t);

	/* Two of them in a row, three in all. */
	t->params.source.url = t->url;
	t->source.n_answers = 5;
	t->source.answers[0].cut_after = 100;
	t->source.answers[1].cut_after = FG_DOWNLOAD_PROGRESS_BYTES;
	t->source.answers[2].cut_after = 100;
	t->source.answers[3].cut_after = FG_DOWNLOAD_PROGRESS_BYTES;
	fetch(t);
	assert_fetched(t);
	assert_int_equal(t->source.n_requests, 5);
}

static void what_came_before_it_was_given_up_is_there_the_next_time(void **state)
{
	struct test *t = *state;

	set_size(t, 3 * MIB);
	t->params.max_attempts = 1;
	t->source.n_answers = 3;
	t->source.answers[0].cut_after = 2 * MIB;
	t->source.answers[1].cut_after = 100;
	fetch(t);
	assert_int_equal(t->error, -ENOTCONN);
	release(t);
	ota_reopen(t->f);
	t->source.n_answers = 1;
	t->source.answers[0] = (struct answer){0};
	fetch(t);
	assert_fetched(t);
	assert_true(t->first_have >= MIB);
}

static void a_certificate_that_does_not_fit_is_tried_again_much_later(void **state)
{
	struct test *t = *state;
	struct certs certs;
	char url[64];

	certs_make(&certs);
	http_server_stop(t->server);
	t->server = http_server_start(&(struct http_server_options){
		.handler = serve_image,
		.arg = &t->source,
		.certificate = certs_path(&certs, "self-signed.pem"),
		.key = certs_path(&certs, "server.key"),
	});
	snprintf(url, sizeof(url), "https://localhost:%u/", http_server_port(t->server));
	t->params.source.url = url;
	t->params.max_attempts = 2;
	fetch(t);
	assert_int_equal(t->error, -EKEYREJECTED);
	assert_int_equal(n_backoffs, 1);
	assert_int_equal(n_slow_backoffs, 1); /* nobody mends a certificate within seconds */
	release(t);

	t->params.source.tls.is_insecure = true;
	fetch(t);
	assert_fetched(t);
	certs_remove(&certs);
}

/* -- the disk -- */

static void a_full_disk_ends_it_and_the_policy_says_what_stays(void **state)
{
	struct test *t = *state;

	for (int gives_up_room = 0; gives_up_room < 2; gives_up_room++) {
		t->params.gives_up_room = gives_up_room;
		disk_fail_after(DISK_PWRITE, 3, ENOSPC);
		fetch(t);
		assert_int_equal(t->error, -ENOSPC);
		assert_string_equal(t->text, strerror(ENOSPC));
		ota_settle(t->f);
		assert_int_equal(ota_count(t->f, ".part"), gives_up_room ? 0 : 1);
		release(t);
	}
	disk_fail(DISK_FALLOCATE, 1, ENOSPC);
	t->source.n_requests = 0;
	fetch(t);
	assert_int_equal(t->error, -ENOSPC);
	assert_int_equal(t->source.n_requests, 0);
}

static void a_disk_error_at_the_end_ends_it(void **state)
{
	struct test *t = *state;

	disk_fail(DISK_FDATASYNC, 1, EIO);
	fetch(t);
	assert_int_equal(t->error, -EIO);
	assert_int_equal(ota_count(t->f, ".image"), 0);
}

static void a_slow_disk_holds_the_server(void **state)
{
	struct test *t = *state;

	set_size(t, 9 * MIB);
	disk_hold();
	start(t);
	for (int i = 0; i < 100 && t->last_have < FG_IMAGE_MAX_UNSYNCED_BYTES; i++)
		turn(t, 50);
	turn(t, 1100);
	assert_in_range(t->last_have, FG_IMAGE_MAX_UNSYNCED_BYTES,
			FG_IMAGE_MAX_UNSYNCED_BYTES + FG_IMAGE_PIECE_BYTES);
	assert_int_equal(t->n_done, 0);
	disk_release(100);
	wait_done(t);
	assert_fetched(t);
}

static void an_image_of_the_owner_in_use_is_waited_for(void **state)
{
	struct test *t = *state;
	struct fg_image_description other = ota_description(10);
	struct fg_image_file *image = ota_begin(t->f, &other);

	t->params.max_attempts = 100;
	start(t);
	turn(t, 300);
	assert_int_equal(t->n_done + t->n_progress, 0);
	fg_image_file_free(image);
	wait_done(t);
	assert_fetched(t);
	release(t);

	image = ota_begin(t->f, &other);
	t->params.max_attempts = 1;
	fetch(t);
	assert_int_equal(t->error, -EBUSY);
	fg_image_file_free(image);
}

/* -- giving up -- */

static void it_can_be_released_in_each_state_and_callback(void **state)
{
	struct test *t = *state;

	/* WAITING, at the start */
	start(t);
	release(t);
	turn(t, 50);
	assert_int_equal(t->source.n_requests, 0);

	/* FETCHING */
	t->source.answers[0].waits = true;
	start(t);
	ota_wait_for(t->f, &t->n_progress, 2);
	release(t);
	http_server_go(t->server);
	turn(t, 50);
	t->source.answers[0].waits = false;

	/* SEALING, in its slices and at the disk */
	start(t);
	ota_wait_for(t->f, &t->n_downloaded, 1);
	release(t);
	turn(t, 50);
	disk_hold();
	start(t);
	ota_wait_for(t->f, &t->n_downloaded, 1);
	turn(t, 100);
	release(t);
	disk_release(100);
	turn(t, 50);
	assert_int_equal(t->n_done, 0);
	disk_reset();

	/* WAITING, for the next attempt */
	t->params.image.owner = "another";
	t->source.answers[0] = (struct answer){.status = 503};
	start(t);
	ota_wait_for(t->f, &t->n_progress, 1);
	turn(t, 50);
	release(t);
	t->source.answers[0] = (struct answer){0};

	/* in both callbacks */
	t->frees_in_progress = true;
	start(t);
	ota_wait_for(t->f, &t->n_progress, 1);
	turn(t, 100);
	assert_null(t->download);
	assert_int_equal(t->n_progress, 1);
	assert_int_equal(t->n_done, 0);
	t->frees_in_progress = false;
	t->frees_in_done = true;
	fetch(t);
	assert_null(t->download);
	assert_fetched(t);
	release(t);
	t->params.source.url = "http://user@localhost/";
	t->params.image.owner = "one more";
	fetch(t);
	assert_null(t->download);
	assert_null(fg_download_free(NULL));
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(an_image_is_fetched_checked_and_handed_out),
		TEST(what_is_there_already_is_not_fetched_again),
		TEST(progress_is_told_once_a_second),
		TEST(a_size_that_was_not_announced_is_the_servers),
		TEST(a_cut_download_goes_on_where_it_was),
		TEST(a_download_goes_on_after_a_restart),
		TEST(a_server_that_knows_no_parts_sends_it_all_again),
		TEST(a_server_that_sends_another_part_is_asked_for_all),
		TEST(a_server_with_nothing_left_says_that_all_is_there),
		TEST(without_a_checksum_no_pieces_are_joined),
		TEST(pieces_of_different_files_are_fetched_once_more_in_one_go),
		TEST(a_finished_image_that_has_decayed_is_fetched_again),
		TEST(another_size_than_announced_ends_it),
		TEST(a_server_that_begins_anew_each_time_is_given_up),
		TEST(a_part_of_something_of_another_size_ends_it),
		TEST(a_wrong_checksum_ends_it),
		TEST(an_image_larger_than_allowed_is_not_fetched),
		TEST(what_cannot_be_fetched_is_refused_at_once),
		TEST(an_url_with_a_user_name_ends_it),
		TEST(each_status_means_what_it_means),
		TEST(a_server_may_say_when_to_come_again),
		TEST(attempts_that_bring_nothing_are_counted),
		TEST(what_came_before_it_was_given_up_is_there_the_next_time),
		TEST(a_certificate_that_does_not_fit_is_tried_again_much_later),
		TEST(a_full_disk_ends_it_and_the_policy_says_what_stays),
		TEST(a_disk_error_at_the_end_ends_it),
		TEST(a_slow_disk_holds_the_server),
		TEST(an_image_of_the_owner_in_use_is_waited_for),
		TEST(it_can_be_released_in_each_state_and_callback),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
