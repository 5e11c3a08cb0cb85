/*
 * Drives the journal as the daemon does: its options, a writer thread, an event that wakes the
 * loop. Each command does one run and prints one JSON object; bench.py calls them in turn, and
 * baseline_bare.c and baseline_sqlite.c between them.
 */
#include "measure.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <unistd.h>

#include "journal/journal.h"
#include "util/clock.h"

/* As the daemon has them by default. */
#define BATCH_BYTES ((size_t)4 << 20)
#define SEGMENT_BYTES ((size_t)16 << 20)
#define MAX_UNSAVED 10000
#define READ_RECORDS 512

#define CURSORS_MAX 8
#define FILL_BATCH 2000

static struct {
	const char *directory;
	uint64_t batch, max_bytes, n_records, n_cursors, alarm_every;
	double seconds;
	bool is_cold, is_trickling;
} options = {.batch = 200, .max_bytes = 256 << 20, .n_records = 2000000, .seconds = 2};

/* ---- the journal, and waiting for it */

static struct {
	struct fg_fs *fs;
	struct fg_journal *journal;
	/* The main lane's, and behind them the alarm lane's. */
	struct fg_cursor *cursors[2 * CURSORS_MAX];
	struct fg_pass *passes[2 * CURSORS_MAX];
	uint64_t sent[2 * CURSORS_MAX]; /* read up to here */
	int event_fd;
	int64_t last_tick_ms;
	uint64_t n_read;
} with;

static struct fg_message messages[READ_RECORDS];

static void notify(void *arg)
{
	uint64_t one = 1;

	(void)arg;
	if (write(with.event_fd, &one, sizeof(one)) != sizeof(one))
		measure_fail("eventfd", -errno);
}

static void lost(void *arg, const char *link, uint64_t records, uint64_t seq, const char *why)
{
	(void)arg;
	fprintf(stderr, "cursor %s lost %" PRIu64 " records up to %" PRIu64 ": %s\n", link, records,
		seq, why);
	exit(1);
}

static void trouble(void *arg, int error, const char *what)
{
	(void)arg;
	if (error < 0)
		measure_fail(what, error);
}

static void prepare(void)
{
	int r = fg_fs_posix_new(options.directory, &with.fs);

	if (r < 0)
		measure_fail(options.directory, r);
	with.event_fd = eventfd(0, EFD_CLOEXEC);
	if (with.event_fd < 0)
		measure_fail("eventfd", -errno);
}

static void open_journal(void)
{
	struct fg_journal_options o = {
		.fs = with.fs,
		.segment_bytes = SEGMENT_BYTES,
		.batch_bytes = BATCH_BYTES,
		.max_bytes = UINT64_C(1) << 50, /* nothing shall go but what was read */
		.max_quarantine_bytes = 64 << 20,
		.is_threaded = true,
		.notify = notify,
		.lost = lost,
		.trouble = trouble,
	};
	struct fg_error err = {0};
	int r = fg_journal_open(&o, &with.journal, &err);

	if (r < 0)
		measure_fail(err.text, r);
}

static void open_cursor(uint64_t number, enum fg_lane lane, uint64_t at)
{
	char name[32];
	int r;

	snprintf(name, sizeof(name), "cloud-%" PRIu64, number);
	r = fg_cursor_open(with.journal, lane, name, MAX_UNSAVED, &with.cursors[at]);
	if (r == 0)
		r = fg_pass_open(with.cursors[at], &with.passes[at]);
	if (r < 0)
		measure_fail("fg_cursor_open", r);
}

static void open_cursors(uint64_t n)
{
	for (uint64_t i = 0; i < n; i++) {
		open_cursor(i, FG_LANE_MAIN, i);
		open_cursor(i, FG_LANE_ALARM, CURSORS_MAX + i);
	}
}

static void append(uint64_t first, uint64_t n)
{
	uint64_t seq;

	for (uint64_t i = first; i < first + n; i++) {
		bool is_alarm = options.alarm_every > 0 && i % options.alarm_every == 0;
		struct fg_message msg = measure_message(i);
		int r = fg_journal_append(with.journal, is_alarm ? FG_LANE_ALARM : FG_LANE_MAIN,
					  &msg, &seq);

		if (r < 0)
			measure_fail("fg_journal_append", r);
	}
}

static void wait_event(void)
{
	uint64_t n;
	int64_t now_ms;

	if (read(with.event_fd, &n, sizeof(n)) != sizeof(n))
		measure_fail("eventfd", -errno);
	now_ms = fg_clock_monotonic_ms();
	fg_journal_collect(with.journal, now_ms);
	if (now_ms - with.last_tick_ms >= 1000) {
		with.last_tick_ms = now_ms;
		fg_journal_tick(with.journal, now_ms);
	}
}

static void wait_committed(uint64_t ticket)
{
	while (fg_journal_committed(with.journal) < ticket)
		wait_event();
}

static void commit(void)
{
	fg_journal_flush(with.journal, fg_clock_monotonic_ms());
	wait_committed(fg_journal_ticket(with.journal));
}

/* Read up to @max records with cursor @i_cursor, as a link does, each a look at its body. Returns how many
 * there were. */
static uint64_t read_on(uint64_t i_cursor, uint64_t max, bool is_acked)
{
	uint64_t n_all = 0;

	while (n_all < max) {
		size_t want = max - n_all < READ_RECORDS ? max - n_all : READ_RECORDS;
		int n = fg_pass_read(with.passes[i_cursor], messages, want, NULL, NULL);

		if (n == -EAGAIN)
			continue;
		if (n < 0)
			measure_fail("fg_pass_read", n);
		if (n == 0)
			break;
		for (int i = 0; i < n; i++)
			if (messages[i].body.size != MEASURE_BODY_BYTES ||
			    messages[i].body.data[0] != '{')
				measure_fail("a record is not what was written", 0);
		if (is_acked)
			fg_cursor_settle(with.cursors[i_cursor], messages[0].seq,
					 messages[n - 1].seq);
		with.sent[i_cursor] = messages[n - 1].seq;
		n_all += (uint64_t)n;
	}
	return n_all;
}

/* What was sent is acknowledged record by record, of any two the later one first. */
static void trickle(uint64_t i_cursor)
{
	struct fg_cursor *c = with.cursors[i_cursor];

	for (uint64_t seq = fg_cursor_watermark(c) + 1; seq <= with.sent[i_cursor]; seq += 2) {
		if (seq < with.sent[i_cursor])
			fg_cursor_settle(c, seq + 1, seq + 1);
		fg_cursor_settle(c, seq, seq);
	}
}

/* Each link takes what has come, in both lanes; and acknowledges it at once, or what it took before.
 */
static void let_links_read(void)
{
	for (uint64_t i = 0; i < 2 * CURSORS_MAX; i++) {
		if (!with.cursors[i])
			continue;
		if (options.is_trickling)
			trickle(i);
		with.n_read += read_on(i, UINT64_MAX, !options.is_trickling);
	}
}

static void close_journal(void)
{
	for (uint64_t i = 0; i < 2 * CURSORS_MAX; i++)
		with.passes[i] = fg_pass_close(with.passes[i]);
	with.journal = fg_journal_free(with.journal);
}

/* ---- appending */

static void print_appended(const char *way, const struct measure_run *run)
{
	struct fg_journal_stats stats;

	fg_journal_get_stats(with.journal, &stats);
	printf("{\"way\": \"%s\", \"cursors\": %" PRIu64 ", ", way, options.n_cursors);
	measure_print(run);
	printf(", \"journal_bytes_per_payload_byte\": %.4f, \"journal_commits\": %" PRIu64
	       ", \"cursor_saves\": %" PRIu64 "}\n",
	       (double)stats.bytes_written / (double)(run->records * MEASURE_BODY_BYTES),
	       stats.commits, stats.cursor_saves);
}

/* A batch, its commit, the next batch; cursors, if any, read each batch. */
static void run_waiting(void)
{
	struct measure_run run;

	prepare();
	open_journal();
	open_cursors(options.n_cursors);
	measure_start(&run, options.batch, options.directory);
	while (measure_goes_on(&run, options.seconds, options.max_bytes)) {
		append(run.records, options.batch);
		commit();
		run.records += options.batch;
		run.commits++;
		let_links_read();
	}
	measure_stop(&run, options.directory);
	if (with.n_read != run.records * options.n_cursors)
		measure_fail("cursors have not read all", 0);
	print_appended(options.n_cursors > 0 ? "journal_with_cursors" : "journal_waiting", &run);
	close_journal();
}

/* The next batch gathers while a commit runs, and goes when it is whole. */
static void run_pipelined(void)
{
	struct measure_run run;

	prepare();
	open_journal();
	measure_start(&run, options.batch, options.directory);
	while (measure_goes_on(&run, options.seconds, options.max_bytes)) {
		uint64_t ticket;

		append(run.records, options.batch);
		run.records += options.batch;
		run.commits++;
		ticket = fg_journal_ticket(with.journal);
		fg_journal_flush(with.journal, fg_clock_monotonic_ms());
		while (fg_journal_gathers(with.journal, ticket))
			wait_event();
	}
	wait_committed(fg_journal_ticket(with.journal));
	measure_stop(&run, options.directory);
	print_appended("journal_pipelined", &run);
	close_journal();
}

/* ---- a backlog */

/*
 * At least max_bytes of journal, all of it waiting for one cursor, and then gone without a word, as
 * if killed, with the newest segment nearly full: the most that a start can find to look through.
 */
static void run_fill(void)
{
	struct fg_journal_stats stats = {0};
	uint64_t n_records = 0, bytes = 0, n_in_segment = 0;
	uint64_t start_ns = measure_now_ns();

	prepare();
	open_journal();
	open_cursors(1);
	while (bytes < options.max_bytes || n_in_segment < SEGMENT_BYTES / (FILL_BATCH * 256)) {
		append(n_records, FILL_BATCH);
		commit();
		n_records += FILL_BATCH;
		fg_journal_get_stats(with.journal, &stats);
		/* It grows by a segment's space at once, and shrinks by what the last one had left.
		 */
		n_in_segment =
			stats.bytes_on_disk > bytes + SEGMENT_BYTES / 2 ? 1 : n_in_segment + 1;
		bytes = stats.bytes_on_disk;
	}
	printf("{\"records\": %" PRIu64 ", \"bytes\": %" PRIu64 ", \"seconds\": %.3f}\n", n_records,
	       bytes, (double)(measure_now_ns() - start_ns) / 1e9);
	fflush(stdout);
	_exit(0);
}

/* Call @each for each segment of the main lane. Returns the bytes of all together. */
static uint64_t each_segment(uint64_t (*each)(int fd))
{
	uint64_t bytes = 0;
	struct dirent *entry;
	char path[4096];
	DIR *dir;

	snprintf(path, sizeof(path), "%s/main", options.directory);
	dir = opendir(path);
	if (!dir)
		measure_fail(path, -errno);
	while ((entry = readdir(dir))) {
		int fd;

		if (!strstr(entry->d_name, ".seg"))
			continue;
		fd = openat(dirfd(dir), entry->d_name, O_RDONLY | O_CLOEXEC);
		if (fd < 0)
			measure_fail(entry->d_name, -errno);
		bytes += each(fd);
		close(fd);
	}
	closedir(dir);
	return bytes;
}

static uint64_t read_plainly(int fd)
{
	static uint8_t buffer[128 << 10];
	uint64_t bytes = 0;
	ssize_t n;

	while ((n = read(fd, buffer, sizeof(buffer))) > 0)
		bytes += (uint64_t)n;
	return bytes;
}

static uint64_t forget(int fd)
{
	off_t size = lseek(fd, 0, SEEK_END);

	/* Only clean pages can be dropped. */
	if (fdatasync(fd) < 0 || posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED) != 0)
		measure_fail("posix_fadvise", -errno);
	return (uint64_t)size;
}

static double cpu_s(void)
{
	struct rusage usage;

	getrusage(RUSAGE_SELF, &usage);
	return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
	       (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

static void run_read(void)
{
	uint64_t start_ns, n;
	double plain_bytes, plain_s, seconds, cpu;

	plain_bytes = (double)each_segment(read_plainly);
	start_ns = measure_now_ns();
	plain_bytes = (double)each_segment(read_plainly);
	plain_s = (double)(measure_now_ns() - start_ns) / 1e9;

	prepare();
	open_journal();
	open_cursors(1);
	cpu = cpu_s();
	start_ns = measure_now_ns();
	n = read_on(0, options.n_records, false);
	seconds = (double)(measure_now_ns() - start_ns) / 1e9;
	cpu = cpu_s() - cpu;
	printf("{\"records\": %" PRIu64 ", \"seconds\": %.3f, \"records_per_s\": %.0f, "
	       "\"cpu_us_per_record\": %.4f, \"plain_read_mib_per_s\": %.0f}\n",
	       n, seconds, (double)n / seconds, cpu * 1e6 / (double)n,
	       plain_bytes / plain_s / 1048576);
	close_journal();
}

static void run_open(void)
{
	struct fg_journal_stats stats;
	uint64_t bytes, start_ns;
	double seconds;

	bytes = each_segment(options.is_cold ? forget : read_plainly);
	prepare();
	start_ns = measure_now_ns();
	open_journal();
	seconds = (double)(measure_now_ns() - start_ns) / 1e9;
	fg_journal_get_stats(with.journal, &stats);
	printf("{\"cold\": %s, \"bytes\": %" PRIu64 ", \"records\": %" PRIu64
	       ", \"seconds\": %.4f}\n",
	       options.is_cold ? "true" : "false", bytes, stats.synced_seq - stats.first_seq + 1,
	       seconds);
	close_journal();
}

/* Let VmHWM start anew from what is used now (proc(5), clear_refs). */
static void reset_peak(void)
{
	int fd = open("/proc/self/clear_refs", O_WRONLY | O_CLOEXEC);

	if (fd < 0 || write(fd, "5", 1) != 1)
		measure_fail("/proc/self/clear_refs", -errno);
	close(fd);
}

/* Open, then append and read, settling what was read, until the backlog is gone. */
static void run_work(void)
{
	uint64_t before, opened, tenth = 0, after, peak, n_read = 0, n_appended = 0, n;
	struct fg_journal_stats stats;

	prepare();
	memset(messages, 0xff, sizeof(messages)); /* not the journal's */
	measure_message(0);
	printf("{");
	reset_peak();
	before = measure_memory_kib("VmRSS:");
	open_journal();
	opened = measure_memory_kib("VmRSS:");
	fg_journal_get_stats(with.journal, &stats);
	open_cursors(1);
	do {
		append(n_appended, options.batch);
		n_appended += options.batch;
		commit();
		n = read_on(0, 16 * (uint64_t)READ_RECORDS, true);
		n_read += n;
		if (tenth == 0 && n_read > stats.synced_seq / 10)
			tenth = measure_memory_kib("VmRSS:");
	} while (n == 16 * (uint64_t)READ_RECORDS);
	after = measure_memory_kib("VmRSS:");
	peak = measure_memory_kib("VmHWM:");
	printf("\"backlog_bytes\": %" PRIu64 ", \"read\": %" PRIu64 ", \"appended\": %" PRIu64
	       ", \"before_kib\": %" PRIu64 ", \"opened_kib\": %" PRIu64
	       ", \"after_a_tenth_kib\": %" PRIu64 ", \"after_kib\": %" PRIu64
	       ", \"peak_kib\": %" PRIu64 ", \"grown_by_kib\": %" PRIu64 "}\n",
	       stats.bytes_on_disk, n_read, n_appended, before, opened, tenth, after, peak,
	       peak - before);
	close_journal();
}

/* ---- main */

static uint64_t number(const char *text)
{
	char *end;
	unsigned long long value = strtoull(text, &end, 10);

	if (end == text || *end)
		measure_fail("a number is not a number", 0);
	return value;
}

static void parse(int argc, char **argv)
{
	static const struct option longs[] = {
		{"batch", required_argument, NULL, 'b'},
		{"bytes", required_argument, NULL, 'B'},
		{"records", required_argument, NULL, 'n'},
		{"cursors", required_argument, NULL, 'c'},
		{"alarm-every", required_argument, NULL, 'a'},
		{"seconds", required_argument, NULL, 's'},
		{"trickle", no_argument, NULL, 't'},
		{"cold", no_argument, NULL, 'C'},
		{0},
	};
	int c;

	while ((c = getopt_long(argc, argv, "", longs, NULL)) != -1) {
		if (c == 'b')
			options.batch = number(optarg);
		else if (c == 'B')
			options.max_bytes = number(optarg);
		else if (c == 'n')
			options.n_records = number(optarg);
		else if (c == 'c')
			options.n_cursors = number(optarg);
		else if (c == 'a')
			options.alarm_every = number(optarg);
		else if (c == 't')
			options.is_trickling = true;
		else if (c == 's')
			options.seconds = strtod(optarg, NULL);
		else if (c == 'C')
			options.is_cold = true;
		else
			exit(2);
	}
	if (argc - optind != 2 || options.n_cursors > CURSORS_MAX || options.batch == 0 ||
	    options.batch > MEASURE_BATCH_MAX) {
		fprintf(stderr, "usage: bench-journal [OPTION...] "
				"waiting|pipelined|fill|read|open|work "
				"DIRECTORY\n");
		exit(2);
	}
	options.directory = argv[optind + 1];
}

int main(int argc, char **argv)
{
	const char *command;

	parse(argc, argv);
	command = argv[optind];
	if (strcmp(command, "waiting") == 0)
		run_waiting();
	else if (strcmp(command, "pipelined") == 0)
		run_pipelined();
	else if (strcmp(command, "fill") == 0)
		run_fill();
	else if (strcmp(command, "read") == 0)
		run_read();
	else if (strcmp(command, "open") == 0)
		run_open();
	else if (strcmp(command, "work") == 0)
		run_work();
	else
		measure_fail("unknown command", 0);
	fg_fs_posix_free(with.fs);
	return 0;
}
