#include "measure.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <time.h>

#include "util/span.h"

uint64_t measure_now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

void measure_fail(const char *what, int r)
{
	fprintf(stderr, "%s%s%s\n", what, r < 0 ? ": " : "", r < 0 ? strerror(-r) : "");
	exit(1);
}

static void put_digits(char *at, size_t width, uint64_t value)
{
	while (width-- > 0) {
		at[width] = (char)('0' + value % 10);
		value /= 10;
	}
}

struct fg_message measure_message(uint64_t i)
{
	static char body[MEASURE_BODY_BYTES], device[] = "sensor-0";

	if (body[0] == 0) {
		memset(body, 'x', sizeof(body));
		memcpy(body, "{\"n\":1000000000,\"note\":\"", 24);
		memcpy(body + sizeof(body) - 2, "\"}", 2);
	}
	put_digits(body + 6, 9, i);
	device[7] = (char)('0' + i % MEASURE_PRODUCERS);
	return (struct fg_message){
		.time_us = INT64_C(1700000000000000) + (int64_t)i,
		.kind = FG_TELEMETRY,
		.device = fg_span_of(device, sizeof(device) - 1),
		.body = fg_span_of(body, sizeof(body)),
	};
}

static uint64_t read_field(const char *path, const char *field)
{
	FILE *f = fopen(path, "re");
	size_t size = strlen(field);
	uint64_t value = 0;
	char line[256];

	if (!f)
		return 0;
	while (fgets(line, sizeof(line), f))
		if (strncmp(line, field, size) == 0)
			value = strtoull(line + size, NULL, 10);
	fclose(f);
	return value;
}

/* The seventh number: sectors of 512 bytes written (Documentation/block/stat.rst). */
static uint64_t device_written(const char *directory)
{
	uint64_t sectors = 0;
	struct stat st;
	char path[64];
	FILE *f;

	if (stat(directory, &st) < 0)
		return 0;
	snprintf(path, sizeof(path), "/sys/dev/block/%u:%u/stat", major(st.st_dev),
		 minor(st.st_dev));
	f = fopen(path, "re");
	if (!f)
		return 0;
	if (fscanf(f, "%*u %*u %*u %*u %*u %*u %" SCNu64, &sectors) != 1)
		sectors = 0;
	fclose(f);
	return sectors * 512;
}

struct measure_written measure_written(const char *directory)
{
	return (struct measure_written){
		.process = read_field("/proc/self/io", "write_bytes:"),
		.device = device_written(directory),
	};
}

uint64_t measure_memory_kib(const char *field)
{
	return read_field("/proc/self/status", field);
}

void measure_start(struct measure_run *run, uint64_t batch, const char *directory)
{
	*run = (struct measure_run){.batch = batch, .before = measure_written(directory)};
	run->start_ns = measure_now_ns();
}

bool measure_goes_on(const struct measure_run *run, double seconds, uint64_t max_bytes)
{
	return run->records * MEASURE_BODY_BYTES < max_bytes &&
	       (double)(measure_now_ns() - run->start_ns) < seconds * 1e9;
}

void measure_stop(struct measure_run *run, const char *directory)
{
	run->end_ns = measure_now_ns();
	run->after = measure_written(directory);
}

void measure_print(const struct measure_run *run)
{
	double seconds = (double)(run->end_ns - run->start_ns) / 1e9;
	double payload = (double)(run->records * MEASURE_BODY_BYTES);

	printf("\"batch\": %" PRIu64 ", \"records\": %" PRIu64 ", \"commits\": %" PRIu64
	       ", \"seconds\": %.3f, \"records_per_s\": %.1f, \"disk_bytes_per_payload_byte\": "
	       "%.4f, \"device_bytes_per_payload_byte\": %.4f",
	       run->batch, run->records, run->commits, seconds, (double)run->records / seconds,
	       (double)(run->after.process - run->before.process) / payload,
	       (double)(run->after.device - run->before.device) / payload);
}
