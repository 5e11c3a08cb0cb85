/*
 * What the journal is measured by: a loop of pwrite() and fdatasync() with as many bytes as its
 * records take, and nothing else. Prints one JSON object.
 */
#include "measure.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "journal/record.h"

#define SEGMENT_BYTES ((size_t)16 << 20) /* as the daemon has them by default */

static struct {
	const char *directory;
	uint64_t batch, max_bytes;
	double seconds;
	bool is_rewriting;
} options = {.batch = 200, .max_bytes = 256 << 20, .seconds = 2};

static void write_whole(int fd, const uint8_t *data, size_t size, uint64_t offset)
{
	while (size > 0) {
		ssize_t n = pwrite(fd, data, size, (off_t)offset);

		if (n < 0)
			measure_fail("pwrite", -errno);
		data += n;
		size -= (size_t)n;
		offset += (uint64_t)n;
	}
}

/*
 * The files the bare loop writes to, as large as the journal's segments (one large file would be
 * slower), made and synced before. Space from fallocate() is what the journal uses; each first
 * write to it also changes the file system's map of the file. With --rewriting the blocks have been
 * written before, which spares that.
 */
static void make_files(int *fds, size_t n)
{
	static uint8_t zeros[1 << 20];
	char path[4096];

	for (size_t i = 0; i < n; i++) {
		snprintf(path, sizeof(path), "%s/bare-%zu", options.directory, i);
		fds[i] = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
		if (fds[i] < 0 || fallocate(fds[i], 0, 0, (off_t)SEGMENT_BYTES) < 0)
			measure_fail(path, -errno);
		for (uint64_t at = 0; options.is_rewriting && at < SEGMENT_BYTES;
		     at += sizeof(zeros))
			write_whole(fds[i], zeros, sizeof(zeros), at);
		if (fsync(fds[i]) < 0)
			measure_fail(path, -errno);
	}
}

static void run(void)
{
	struct fg_message msg = measure_message(0);
	size_t record = fg_record_align(FG_RECORD_HEADER_BYTES + msg.device.size + msg.body.size);
	size_t size = record * options.batch;
	size_t n_files =
		options.max_bytes / MEASURE_BODY_BYTES * record / (SEGMENT_BYTES - size) + 2;
	uint8_t *data = calloc(options.batch, record);
	int *fds = calloc(n_files, sizeof(*fds));
	struct measure_run run;
	uint64_t offset = 0;
	size_t file = 0;

	if (!data || !fds)
		measure_fail("calloc", -errno);
	make_files(fds, n_files);
	measure_start(&run, options.batch, options.directory);
	while (measure_goes_on(&run, options.seconds, options.max_bytes)) {
		for (uint64_t i = 0; i < options.batch; i++) {
			msg = measure_message(run.records + i);
			memcpy(data + i * record + FG_RECORD_HEADER_BYTES, msg.body.data,
			       msg.body.size);
		}
		if (offset + size > SEGMENT_BYTES) {
			file++;
			offset = 0;
		}
		write_whole(fds[file], data, size, offset);
		if (fdatasync(fds[file]) < 0)
			measure_fail("fdatasync", -errno);
		offset += size;
		run.records += options.batch;
		run.commits++;
	}
	measure_stop(&run, options.directory);
	printf("{\"way\": \"%s\", ", options.is_rewriting ? "bare_rewriting" : "bare");
	measure_print(&run);
	printf("}\n");
	for (size_t i = 0; i < n_files; i++)
		close(fds[i]);
	free(fds);
	free(data);
}

int main(int argc, char **argv)
{
	static const struct option longs[] = {
		{"batch", required_argument, NULL, 'b'},
		{"bytes", required_argument, NULL, 'B'},
		{"seconds", required_argument, NULL, 's'},
		{"rewriting", no_argument, NULL, 'r'},
		{0},
	};
	int c;

	while ((c = getopt_long(argc, argv, "", longs, NULL)) != -1) {
		if (c == 'b')
			options.batch = strtoull(optarg, NULL, 10);
		else if (c == 'B')
			options.max_bytes = strtoull(optarg, NULL, 10);
		else if (c == 's')
			options.seconds = strtod(optarg, NULL);
		else if (c == 'r')
			options.is_rewriting = true;
		else
			return 2;
	}
	if (argc - optind != 1 || options.batch == 0 || options.batch > MEASURE_BATCH_MAX) {
		fprintf(stderr, "usage: bench-bare [--batch N] [--bytes N] [--seconds S] "
				"[--rewriting] DIRECTORY\n");
		return 2;
	}
	options.directory = argv[optind];
	run();
	return 0;
}
