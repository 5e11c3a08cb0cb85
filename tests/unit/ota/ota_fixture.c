#include "ota_fixture.h"

#include <dirent.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define PATIENCE_S 60.

static void writable(void *owner)
{
	struct ota_fixture *f = owner;

	f->n_writable++;
}

static void finished(void *owner, int result)
{
	struct ota_fixture *f = owner;

	f->n_finished++;
	f->result = result;
}

static const struct fg_image_file_ops ops = {.writable = writable, .finished = finished};

int ota_setup(void **state)
{
	struct ota_fixture *f = calloc(1, sizeof(*f));
	struct fg_error err = {""};

	if (!f)
		return -1;
	snprintf(f->parent, sizeof(f->parent), "/tmp/fieldgate-ota-XXXXXX");
	if (!mkdtemp(f->parent))
		return -1;
	snprintf(f->directory, sizeof(f->directory), "%s/images", f->parent);
	f->loop = ev_loop_new(EVFLAG_AUTO);
	f->options = (struct fg_image_store_options){
		.directory = f->directory,
		.max_image_bytes = 16 * MIB,
		.max_total_bytes = 64 * MIB,
	};
	*state = f;
	if (fg_connector_new(f->loop, &f->connector) < 0)
		return -1;
	return fg_image_store_open(f->loop, f->connector, &f->options, &f->store, &err);
}

static void remove_files(const char *path)
{
	DIR *dir = opendir(path);
	struct dirent *found;

	while (dir && (found = readdir(dir))) {
		char file[512];

		snprintf(file, sizeof(file), "%s/%s", path, found->d_name);
		if (found->d_name[0] != '.')
			unlink(file);
	}
	if (dir)
		closedir(dir);
	rmdir(path);
}

int ota_teardown(void **state)
{
	struct ota_fixture *f = *state;

	ota_settle(f);
	fg_image_store_free(f->store);
	fg_connector_free(f->connector);
	ev_loop_destroy(f->loop);
	remove_files(f->directory);
	remove_files(f->parent);
	free(f);
	return 0;
}

void ota_reopen(struct ota_fixture *f)
{
	struct fg_error err = {""};

	ota_settle(f);
	f->store = fg_image_store_free(f->store);
	if (fg_image_store_open(f->loop, f->connector, &f->options, &f->store, &err) < 0)
		fail_msg("%s", err.text);
}

char ota_byte(uint64_t at)
{
	return (char)(at * 7 + at / 256 + at / 65536);
}

const char *ota_sha256(uint64_t size)
{
	static char text[FG_CHECKSUM_TEXT_SIZE];
	struct fg_checksum *c = NULL;
	char block[4096];

	assert_int_equal(fg_checksum_new(FG_CHECKSUM_SHA256, &c), 0);
	for (uint64_t at = 0; at < size;) {
		size_t n = 0;

		while (n < sizeof(block) && at < size)
			block[n++] = ota_byte(at++);
		fg_checksum_update(c, block, n);
	}
	fg_checksum_final(c, text);
	fg_checksum_free(c);
	return text;
}

struct fg_image_description ota_description(uint64_t size)
{
	return (struct fg_image_description){
		.owner = "tb/pump-1/fw",
		.title = "pump",
		.version = "1.2",
		.size = size,
		.checksum = ota_sha256(size),
		.algorithm = FG_CHECKSUM_SHA256,
	};
}

int ota_try(struct ota_fixture *f, const struct fg_image_description *d, struct fg_image_file **ret)
{
	struct fg_error err = {""};
	int r;

	*ret = NULL;
	r = fg_image_file_begin(f->store, d, &ops, f, ret, &err);
	if (r < 0) {
		assert_null(*ret);
		assert_true(err.text[0] != '\0');
	}
	return r;
}

struct fg_image_file *ota_begin(struct ota_fixture *f, const struct fg_image_description *d)
{
	struct fg_image_file *image = NULL;
	struct fg_error err = {""};

	if (fg_image_file_begin(f->store, d, &ops, f, &image, &err) < 0)
		fail_msg("%s", err.text);
	return image;
}

void ota_fill(struct ota_fixture *f, struct fg_image_file *image, uint64_t size, size_t piece)
{
	char bytes[FG_IMAGE_PIECE_BYTES];

	while (fg_image_file_bytes(image) < size) {
		uint64_t at = fg_image_file_bytes(image);
		size_t n = size - at < piece ? (size_t)(size - at) : piece;
		int r;

		for (size_t i = 0; i < n; i++)
			bytes[i] = ota_byte(at + i);
		r = fg_image_file_write(image, at, fg_span_of(bytes, n));
		if (r == -EAGAIN)
			ota_wait_for(f, &f->n_writable, f->n_writable + 1);
		else
			assert_int_equal(r, 0);
	}
}

int ota_seal(struct ota_fixture *f, struct fg_image_file *image)
{
	unsigned n = f->n_finished;

	assert_int_equal(fg_image_file_seal(image), 0);
	ota_wait_for(f, &f->n_finished, n + 1);
	return f->result;
}

void ota_put(struct ota_fixture *f, const char *owner, uint64_t size)
{
	struct fg_image_description d = ota_description(size);
	struct fg_image_file *image;

	d.owner = owner;
	image = ota_begin(f, &d);
	ota_fill(f, image, size, FG_IMAGE_PIECE_BYTES);
	assert_int_equal(ota_seal(f, image), 0);
	fg_image_file_free(image);
}

static void time_is_up(struct ev_loop *loop, ev_timer *w, int events)
{
	(void)w;
	(void)events;
	ev_break(loop, EVBREAK_ALL);
}

void ota_wait_for(struct ota_fixture *f, const unsigned *value, unsigned n)
{
	ev_timer limit;

	ev_now_update(f->loop);
	ev_timer_init(&limit, time_is_up, PATIENCE_S, 0.);
	ev_timer_start(f->loop, &limit);
	while (*value < n && ev_is_active(&limit))
		ev_run(f->loop, EVRUN_ONCE);
	ev_timer_stop(f->loop, &limit);
	assert_true(*value >= n);
}

struct idle {
	struct fg_connector_job job;
	unsigned n_done;
};

static void idle_work(struct fg_connector_job *job)
{
	(void)job;
}

static void idle_done(struct fg_connector_job *job)
{
	((struct idle *)job)->n_done++;
}

/*
 * Threads of images are at work as long as their owners cannot begin again. That is not visible for
 * those released, so turn the loop until nothing has happened for a while.
 */
void ota_settle(struct ota_fixture *f)
{
	struct idle idle = {.job = {.work = idle_work, .done = idle_done, .orphaned = idle_done}};
	ev_timer pause;

	if (fg_connector_run(f->connector, &idle.job) == 0)
		ota_wait_for(f, &idle.n_done, 1);
	ev_now_update(f->loop);
	ev_timer_init(&pause, time_is_up, 0.02, 0.);
	ev_timer_start(f->loop, &pause);
	ev_run(f->loop, 0);
	ev_timer_stop(f->loop, &pause);
}

unsigned ota_count(const struct ota_fixture *f, const char *ending)
{
	DIR *dir = opendir(f->directory);
	struct dirent *found;
	unsigned n = 0;

	while (dir && (found = readdir(dir))) {
		size_t size = strlen(found->d_name), tail = strlen(ending);

		n += size >= tail && strcmp(found->d_name + size - tail, ending) == 0;
	}
	closedir(dir);
	return n;
}

const char *ota_path(const struct ota_fixture *f, const char *ending)
{
	static char path[512];
	DIR *dir = opendir(f->directory);
	struct dirent *found;

	path[0] = '\0';
	while (dir && (found = readdir(dir)))
		if (strstr(found->d_name, ending))
			snprintf(path, sizeof(path), "%s/%s", f->directory, found->d_name);
	closedir(dir);
	assert_true(path[0] != '\0');
	return path;
}
