/*
 * A life of a journal with the first allocation refused, then with the second, and so on until there
 * are no more: who asked for it gets an error and can ask again, nothing that was committed is lost,
 * and a sanitizer sees nothing leak. The linker leads the library's allocations here (--wrap).
 */
#include "support.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "util/span.h"

#define N_MAIN 60
#define N_ALARM 10
#define N_BEHIND 20 /* more than fit at once */
#define BEHIND_FROM 40

void *__real_malloc(size_t size);
void *__real_calloc(size_t n, size_t size);
void *__real_realloc(void *p, size_t size);
void *__real_mmap64(void *at, size_t size, int prot, int flags, int file, long offset);
int __real_pthread_create(pthread_t *thread, const pthread_attr_t *attributes,
			  void *(*run)(void *arg), void *arg);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_realloc(void *p, size_t size);
void *__wrap_mmap64(void *at, size_t size, int prot, int flags, int file, long offset);
int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attributes,
			  void *(*run)(void *arg), void *arg);
int __wrap_RAND_bytes(unsigned char *bytes, int n);

static struct {
	bool is_armed;
	uint64_t nth, n_calls; /* the one that is refused, and how many there have been */
	bool is_refused;
} memory;

static bool is_refused(void)
{
	if (!memory.is_armed || ++memory.n_calls != memory.nth)
		return false;
	memory.is_refused = true;
	return true;
}

void *__wrap_malloc(size_t size)
{
	return is_refused() ? NULL : __real_malloc(size);
}

void *__wrap_calloc(size_t n, size_t size)
{
	return is_refused() ? NULL : __real_calloc(n, size);
}

void *__wrap_realloc(void *p, size_t size)
{
	return is_refused() ? NULL : __real_realloc(p, size);
}

void *__wrap_mmap64(void *at, size_t size, int prot, int flags, int file, long offset)
{
	return is_refused() ? MAP_FAILED : __real_mmap64(at, size, prot, flags, file, offset);
}

int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attributes,
			  void *(*run)(void *arg), void *arg)
{
	return is_refused() ? EAGAIN : __real_pthread_create(thread, attributes, run, arg);
}

/* Without randomness a journal gets an id all the same. */
int __wrap_RAND_bytes(unsigned char *bytes, int n)
{
	if (is_refused())
		return 0;
	for (int i = 0; i < n; i++)
		bytes[i] = (unsigned char)(17 * i + 3);
	return 1;
}

/* Did it fail because memory was refused? It is not any more: try it again. */
static bool is_again(int r)
{
	if (r >= 0)
		return false;
	assert_true(memory.is_refused);
	memory.is_armed = false;
	return true;
}

struct life {
	struct bench b;
	struct fg_cursor *a, *c;
	struct fg_pass *pass;
	uint64_t main_seqs[N_MAIN];
	unsigned n_main;
};

static void begin(struct life *l, bool is_threaded)
{
	struct bench *b = &l->b;
	int r;

	b->options.is_threaded = is_threaded;
	b->err.text[0] = '\0';
	while (is_again(r = fg_journal_open(&b->options, &b->j, &b->err)))
		assert_true(b->err.text[0] != '\0');
	assert_int_equal(r, 0);
	while (is_again(fg_cursor_open(b->j, FG_LANE_MAIN, "a", 1000, &l->a)))
		;
	while (is_again(fg_cursor_open(b->j, FG_LANE_ALARM, "c", 1000, &l->c)))
		;
	while (is_again(fg_pass_open(l->a, &l->pass)))
		;
}

static void end(struct life *l)
{
	l->pass = fg_pass_close(l->pass);
	l->b.j = fg_journal_free(l->b.j);
}

static void append(struct life *l, enum fg_lane lane)
{
	struct fg_message msg = {.kind = FG_TELEMETRY, .device = fg_span_str("dev")};
	char body[700] = {0};
	uint64_t seq;

	msg.body = fg_span_of(body, sizeof(body));
	assert_int_equal(fg_journal_append(l->b.j, lane, &msg, &seq), 0);
	if (lane == FG_LANE_MAIN)
		l->main_seqs[l->n_main++] = seq;
}

static int count(void *arg, uint64_t number, const struct fg_quarantined *q)
{
	(void)number;
	(void)q;
	++*(unsigned *)arg;
	return 0;
}

static unsigned count_quarantined(struct life *l)
{
	unsigned n = 0;
	int r;

	l->b.err.text[0] = '\0';
	while (is_again(r = fg_journal_each_quarantined(l->b.fs, 0, count, &n, &l->b.err))) {
		assert_true(l->b.err.text[0] != '\0');
		n = 0;
	}
	assert_int_equal(r, 0);
	return n;
}

/* Read up to the end from where the pass is. Returns how many messages there were. */
static unsigned read_on(struct fg_pass *p)
{
	struct fg_message messages[16];
	unsigned n_read = 0;
	int n;

	while ((n = fg_pass_read(p, messages, 16, NULL, NULL)) != 0) {
		if (n == -EAGAIN || is_again(n))
			continue;
		n_read += (unsigned)n;
	}
	return n_read;
}

static void use(struct life *l)
{
	struct fg_quarantined q = {.reason = fg_span_str("no"), .body = fg_span_str("{}")};

	for (int i = 0; i < N_MAIN; i++) {
		append(l, FG_LANE_MAIN);
		if (i % 6 == 0)
			append(l, FG_LANE_ALARM);
		/* A batch that cannot be handed over is handed over with the next one. */
		if (i % 2 == 1) {
			bench_flush(&l->b);
			bench_flush(&l->b);
		}
	}
	assert_int_equal(fg_journal_quarantine(l->b.j, &q), 0);
	bench_flush(&l->b);
	bench_flush(&l->b);
	assert_int_equal(read_on(l->pass), N_MAIN);
	/* Each other record, so that ranges come to be; what is not remembered is sent again. */
	for (uint64_t seq = 2; seq < BEHIND_FROM; seq += 2)
		fg_cursor_settle(l->a, seq, seq);
	for (uint64_t key = 1; key <= N_BEHIND; key++)
		while (is_again(fg_cursor_leave_behind(l->a, key, BEHIND_FROM)))
			;
	assert_int_equal(count_quarantined(l), 1);
}

static bool wants(void *arg, const struct fg_message *m)
{
	(void)arg;
	return m->seq > 0;
}

/* All that is not settled is found again. */
static void check(struct life *l)
{
	struct fg_message message;
	bool is_there[4 * N_MAIN] = {false};
	struct fg_pass *p;
	uint64_t key, from;
	int n;

	for (size_t i = 0; i < N_BEHIND; i++) {
		assert_true(fg_cursor_each_left_behind(l->a, i, &key, &from));
		assert_int_equal(from, BEHIND_FROM);
	}
	while (is_again(fg_pass_open(l->a, &p)))
		;
	fg_pass_seek(p, 1);
	while ((n = fg_pass_read(p, &message, 1, wants, NULL)) != 0) {
		if (n == -EAGAIN || is_again(n))
			continue;
		assert_true(message.seq < 4 * N_MAIN);
		is_there[message.seq] = true;
	}
	fg_pass_close(p);
	for (unsigned i = 0; i < l->n_main; i++) {
		uint64_t seq = l->main_seqs[i];

		assert_true(is_there[seq] || (seq < BEHIND_FROM && seq % 2 == 0));
	}
	while (is_again(fg_pass_open(l->c, &p)))
		;
	assert_int_equal(read_on(p), N_ALARM);
	fg_pass_close(p);
	assert_int_equal(count_quarantined(l), 1);
	assert_int_equal(l->b.lost, 0);
}

static void refused_memory_is_an_error_and_no_loss(void **state)
{
	uint64_t calls = 1;

	(void)state;
	for (uint64_t nth = 1; nth <= calls; nth++) {
		struct life *l = calloc(1, sizeof(*l));

		assert_non_null(l);
		bench_new(&l->b);
		l->b.options.max_left_behind = N_BEHIND;
		memory.nth = nth;
		memory.n_calls = 0;
		memory.is_refused = false;
		memory.is_armed = true;
		begin(l, false);
		use(l);
		end(l);
		begin(l, nth % 2 == 0);
		check(l);
		end(l);
		calls = memory.is_armed ? memory.n_calls : nth + 1;
		memory.is_armed = false;
		bench_free(&l->b);
		free(l);
	}
	/* So many there are at least, or the linker has led them past. */
	assert_true(calls > 40);
}

static void journal_without_a_thread_does_not_open(void **state)
{
	struct bench b;
	bool is_refused;

	(void)state;
	bench_new(&b);
	b.options.is_threaded = true;
	memory.nth = 0;
	do {
		memory.nth++;
		memory.n_calls = 0;
		memory.is_refused = false;
		memory.is_armed = true;
		b.err.text[0] = '\0';
		is_refused = fg_journal_open(&b.options, &b.j, &b.err) < 0;
		memory.is_armed = false;
		if (is_refused)
			assert_true(b.err.text[0] != '\0');
		else
			b.j = fg_journal_free(b.j);
		/* An id is made without randomness, and so that one is no error. */
	} while (is_refused || memory.is_refused);
	/* Three lanes to look at, two batches for each, the writer and its thread. */
	assert_true(memory.nth > 1 + 3 + 2 * 3 + 2);
	bench_free(&b);
}

static void file_system_without_memory_is_an_error(void **state)
{
	struct fg_fs *fs;

	(void)state;
	memory.nth = 1;
	memory.n_calls = 0;
	memory.is_armed = true;
	assert_int_equal(fg_fs_posix_new("/tmp", &fs), -ENOMEM);
	memory.is_armed = false;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(refused_memory_is_an_error_and_no_loss),
		cmocka_unit_test(journal_without_a_thread_does_not_open),
		cmocka_unit_test(file_system_without_memory_is_an_error),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
