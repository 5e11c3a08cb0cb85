#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "disk.h"
#include "ota_fixture.h"

static int setup(void **state)
{
	disk_reset();
	return ota_setup(state);
}

static int teardown(void **state)
{
	disk_release(100);
	disk_reset();
	disk_release(100);
	return ota_teardown(state);
}

static int write_one(struct fg_image_file *image, size_t size)
{
	static const char bytes[FG_IMAGE_PIECE_BYTES + 1];

	return fg_image_file_write(image, fg_image_file_bytes(image), fg_span_of(bytes, size));
}

/* -- from the first byte to the last -- */

static void assert_content(struct fg_image_file *image, uint64_t size)
{
	uint64_t at = 0;
	char piece[1000];
	ssize_t n;

	while ((n = fg_image_file_read(image, at, piece, sizeof(piece))) > 0)
		for (ssize_t i = 0; i < n; i++, at++)
			if (piece[i] != ota_byte(at))
				fail_msg("byte %llu is wrong", (unsigned long long)at);
	assert_int_equal(n, 0);
	assert_int_equal(at, size);
	assert_int_equal(fg_image_file_read(image, size + 5, piece, 1), 0);
}

static void an_image_arrives_is_checked_and_handed_out(void **state)
{
	struct ota_fixture *f = *state;
	struct fg_image_description d = ota_description(100001);
	struct fg_image_file *image;
	mode_t before = umask(077);
	struct stat st;

	image = ota_begin(f, &d);
	umask(before);
	assert_int_equal(fg_image_file_bytes(image), 0);
	assert_false(fg_image_file_is_finished(image));
	ota_fill(f, image, 100001, 1234);
	assert_int_equal(ota_seal(f, image), 0);
	assert_true(fg_image_file_is_finished(image));
	assert_content(image, 100001);
	assert_int_equal(stat(fg_image_file_path(image), &st), 0);
	assert_int_equal(st.st_mode & 07777, 0640);
	assert_int_equal(st.st_size, 100001);
	assert_null(fg_image_file_free(image));

	ota_reopen(f);
	image = ota_begin(f, &d);
	assert_true(fg_image_file_is_finished(image));
	assert_int_equal(fg_image_file_bytes(image), 100001);
	assert_int_equal(ota_seal(f, image), 0);
	assert_content(image, 100001);
	assert_null(fg_image_file_remove(image));
	assert_int_equal(ota_count(f, "") - ota_count(f, "."), 0);
	assert_null(fg_image_file_free(NULL));
	assert_null(fg_image_file_remove(NULL));
}

/* Its last slice is verified, and the disk is to make it durable. */
static void seal_up_to_the_disk(struct ota_fixture *f, struct fg_image_file *image)
{
	unsigned before = disk_count(DISK_FTRUNCATE), n_turns = 0;

	assert_int_equal(fg_image_file_seal(image), 0);
	for (; disk_count(DISK_FTRUNCATE) == before && n_turns < 1000; n_turns++)
		ev_run(f->loop, EVRUN_ONCE);
	assert_in_range(n_turns, 1, 999);
	assert_int_equal(f->n_finished, 0);
}

static void it_is_durable_before_it_is_called_finished(void **state)
{
	struct ota_fixture *f = *state;
	struct fg_image_description d = ota_description(10);
	struct fg_image_file *image = ota_begin(f, &d);

	ota_fill(f, image, 10, 10);
	disk_hold();
	seal_up_to_the_disk(f, image);
	ota_settle(f);
	assert_int_equal(f->n_finished, 0);
	assert_false(fg_image_file_is_finished(image));
	assert_int_equal(ota_count(f, ".image"), 0);
	disk_release(1);
	ota_wait_for(f, &f->n_finished, 1);
	assert_int_equal(ota_count(f, ".image"), 1);
	assert_int_equal(disk_count(DISK_FSYNC), 2); /* the description, the directory */
	fg_image_file_free(image);
}

static void each_operation_has_its_state(void **state)
{
	struct ota_fixture *f = *state;
	struct fg_image_description d = ota_description(10);
	struct fg_image_file *image = ota_begin(f, &d);
	char byte;

	/* PARTIAL */
	assert_int_equal(fg_image_file_read(image, 0, &byte, 1), -EINVAL);
	assert_int_equal(fg_image_file_write(image, 1, fg_span_str("x")), -EINVAL);
	assert_int_equal(write_one(image, FG_IMAGE_PIECE_BYTES + 1), -EINVAL);
	assert_int_equal(write_one(image, 11), -EMSGSIZE);
	ota_fill(f, image, 10, 10);
	assert_int_equal(write_one(image, 1), -EMSGSIZE);
	assert_int_equal(fg_image_file_rewind(image), 0);
	assert_int_equal(fg_image_file_bytes(image), 0);
	ota_fill(f, image, 10, 10);

	/* SEALING, FINISHING */
	disk_hold();
	seal_up_to_the_disk(f, image);
	assert_int_equal(fg_image_file_seal(image), -EINVAL);
	assert_int_equal(fg_image_file_rewind(image), -EINVAL);
	assert_int_equal(write_one(image, 0), -EINVAL);
	assert_int_equal(fg_image_file_read(image, 0, &byte, 1), -EINVAL);
	disk_release(1);
	ota_wait_for(f, &f->n_finished, 1);

	/* FINISHED */
	assert_int_equal(fg_image_file_rewind(image), -EINVAL);
	assert_int_equal(write_one(image, 0), -EINVAL);
	assert_int_equal(fg_image_file_read(image, 9, &byte, 1), 1);
	assert_int_equal(byte, ota_byte(9));
	assert_int_equal(ota_seal(f, image), 0);
	assert_true(fg_image_file_is_finished(image));
	fg_image_file_free(image);
}

static void sealing_turns_the_loop_between_the_slices(void **state)
{
	struct ota_fixture *f = *state;
	struct fg_image_description d = ota_description(10 * FG_IMAGE_PIECE_BYTES);
	struct fg_image_file *image = ota_begin(f, &d);
	unsigned n_turns = 0, before = disk_count(DISK_FTRUNCATE);
	char byte;

	ota_fill(f, image, 10 * FG_IMAGE_PIECE_BYTES, FG_IMAGE_PIECE_BYTES);
	assert_int_equal(fg_image_file_seal(image), 0);
	assert_int_equal(fg_image_file_seal(image), -EINVAL);
	assert_int_equal(fg_image_file_rewind(image), -EINVAL);
	assert_int_equal(write_one(image, 0), -EINVAL);
	assert_int_equal(fg_image_file_read(image, 0, &byte, 1), -EINVAL);
	for (; disk_count(DISK_FTRUNCATE) == before && n_turns < 1000; n_turns++)
		ev_run(f->loop, EVRUN_ONCE); /* until it is verified */
	assert_in_range(n_turns, 10, 999);
	ota_wait_for(f, &f->n_finished, 1);
	assert_int_equal(f->result, 0);
	assert_true(fg_image_file_is_finished(image));

	/* Has it kept? */
	assert_int_equal(fg_image_file_seal(image), 0);
	assert_int_equal(fg_image_file_read(image, 0, &byte, 1), -EINVAL);
	ota_wait_for(f, &f->n_finished, 2);
	assert_int_equal(f->result, 0);
	assert_int_equal(fg_image_file_read(image, 0, &byte, 1), 1);

	/* Released in between. */
	assert_int_equal(fg_image_file_seal(image), 0);
	ev_run(f->loop, EVRUN_ONCE);
	fg_image_file_free(image);
	ota_settle(f);
	assert_int_equal(f->n_finished, 2);
}

/* Its bytes are wrong, and the disk is still at work: whoever let go of it may be gone. */
static void a_released_image_tells_nobody_what_sealing_found(void **state)
{
	struct ota_fixture *f = *state;
	struct fg_image_description d = ota_description(FG_IMAGE_SYNC_EVERY_BYTES);
	struct fg_image_file *image;

	d.checksum = ota_sha256(1);
	image = ota_begin(f, &d);
	disk_hold();
	ota_fill(f, image, FG_IMAGE_SYNC_EVERY_BYTES, FG_IMAGE_PIECE_BYTES);
	while (disk_held() == 0)
		usleep(1000);
	assert_int_equal(fg_image_file_seal(image), 0);
	fg_image_file_remove(image);
	for (int i = 0; i < 100; i++)
		ev_run(f->loop, EVRUN_NOWAIT);
	assert_int_equal(f->n_finished, 0);
	disk_release(1);
	ota_settle(f);
	assert_int_equal(f->n_finished, 0);
	assert_int_equal(ota_count(f, ".part"), 0);
}

static void sealing_tells_what_is_wrong(void **state)
{
	struct ota_fixture *f = *state;
	struct fg_image_description d = ota_description(1000);
	struct fg_image_file *image = ota_begin(f, &d);

	ota_fill(f, image, 999, 999);
	assert_int_equal(fg_image_file_seal(image), 0);
	ota_wait_for(f, &f->n_finished, 1);
	assert_int_equal(f->result, -EMSGSIZE);
	assert_int_equal(write_one(image, 1), 0);
	assert_int_equal(fg_image_file_seal(image), 0);
	ota_wait_for(f, &f->n_finished, 2);
	assert_int_equal(f->result, -EBADMSG);
	assert_int_equal(fg_image_file_rewind(image), 0);
	ota_fill(f, image, 1000, 999);
	disk_fail(DISK_FTRUNCATE, 1, EIO);
	assert_int_equal(fg_image_file_seal(image), 0);
	ota_wait_for(f, &f->n_finished, 3);
	assert_int_equal(f->result, -EIO);
	disk_fail(DISK_RENAME, 1, EIO);
	assert_int_equal(fg_image_file_seal(image), 0);
	ota_wait_for(f, &f->n_finished, 4);
	assert_int_equal(f->result, -EIO);
	fg_image_file_free(image);
}

/* Who may write into the directory may not have the gateway write elsewhere. */
static void a_link_in_place_of_the_description_is_not_followed(void **state)
{
	struct ota_fixture *f = *state;
	struct fg_image_description d = ota_description(1000);
	struct fg_image_file *image = ota_begin(f, &d);
	char link[160], victim[160];
	struct stat st;
	FILE *file;

	snprintf(victim, sizeof(victim), "%s/victim", f->parent);
	file = fopen(victim, "w");
	assert_non_null(file);
	fputs("dear", file);
	assert_int_equal(fclose(file), 0);
	snprintf(link, sizeof(link), "%s", ota_path(f, ".part"));
	strcpy(strrchr(link, '.'), ".tmp");
	assert_int_equal(symlink(victim, link), 0);
	ota_fill(f, image, 1000, 1000);
	assert_int_equal(ota_seal(f, image), -ELOOP);
	assert_int_equal(stat(victim, &st), 0);
	assert_int_equal(st.st_size, 4);
	fg_image_file_remove(image);
}

static void wrong_size_and_wrong_checksum_are_found(void **state)
{
	struct ota_fixture *f = *state;
	struct fg_image_description d = ota_description(1000);
	struct fg_image_file *image = ota_begin(f, &d);

	assert_int_equal(ota_seal(f, image), -EMSGSIZE);
	ota_fill(f, image, 999, 999);
	assert_int_equal(ota_seal(f, image), -EMSGSIZE);
	assert_int_equal(write_one(image, 1), 0); /* a NUL: wrong */
	assert_int_equal(ota_seal(f, image), -EBADMSG);
	assert_int_equal(ota_seal(f, image), -EBADMSG); /* and again from the beginning */
	assert_int_equal(fg_image_file_rewind(image), 0);
	ota_fill(f, image, 1000, 100);
	assert_int_equal(ota_seal(f, image), 0);
	fg_image_file_free(image);
}

static void each_algorithm_verifies(void **state)
{
	struct ota_fixture *f = *state;

	for (unsigned i = 0; i < FG_CHECKSUM_ALGORITHMS; i++) {
		struct fg_image_description d = ota_description(5000);
		char text[FG_CHECKSUM_TEXT_SIZE], bytes[5000];
		struct fg_checksum *c = NULL;
		struct fg_image_file *image;

		for (size_t at = 0; at < sizeof(bytes); at++)
			bytes[at] = ota_byte(at);
		assert_int_equal(fg_checksum_new(i, &c), 0);
		fg_checksum_update(c, bytes, sizeof(bytes));
		fg_checksum_final(c, text);
		fg_checksum_free(c);
		d.algorithm = i;
		d.checksum = text;
		image = ota_begin(f, &d);
		ota_fill(f, image, 5000, 700);
		assert_int_equal(ota_seal(f, image), 0);
		fg_image_file_free(image);
	}
}

static void decay_of_a_finished_image_is_found(void **state)
{
	struct ota_fixture *f = *state;
	struct fg_image_description d = ota_description(1000);
	struct fg_image_file *image;
	int fd;

	ota_put(f, d.owner, 1000);
	fd = open(ota_path(f, ".image"), O_WRONLY);
	assert_int_equal(pwrite(fd, "?", 1, 500), 1);
	close(fd);
	image = ota_begin(f, &d);
	assert_true(fg_image_file_is_finished(image));
	assert_int_equal(ota_seal(f, image), -EBADMSG);
	fg_image_file_remove(image);

	ota_put(f, d.owner, 1000);
	assert_int_equal(truncate(ota_path(f, ".image"), 999), 0);
	image = ota_begin(f, &d);
	assert_false(fg_image_file_is_finished(image));
	assert_int_equal(fg_image_file_bytes(image), 0);
	fg_image_file_free(image);
}

/* -- going on -- */

/* Leave a partial image of 3.5 MiB of 5 MiB, of which some is safe. */
static uint64_t leave_partial(struct ota_fixture *f, const struct fg_image_description *d)
{
	struct fg_image_file *image = ota_begin(f, d);
	uint64_t safe;

	ota_fill(f, image, 3 * MIB + 512 * KIB, FG_IMAGE_PIECE_BYTES);
	fg_image_file_free(image);
	ota_reopen(f);
	image = ota_begin(f, d);
	safe = fg_image_file_bytes(image);
	fg_image_file_free(image);
	return safe;
}

static void a_restart_goes_on_with_what_is_safe(void **state)
{
	struct ota_fixture *f = *state;
	struct fg_image_description d = ota_description(5 * MIB);
	uint64_t safe = leave_partial(f, &d);
	struct fg_image_file *image;

	assert_true(safe >= MIB);
	assert_true(safe <= 3 * MIB + 512 * KIB);
	image = ota_begin(f, &d);
	assert_int_equal(fg_image_file_bytes(image), safe);
	ota_fill(f, image, 5 * MIB, FG_IMAGE_PIECE_BYTES);
	assert_int_equal(ota_seal(f, image), 0);
	assert_content(image, 5 * MIB);
	assert_int_equal(ota_count(f, ".part"), 0);
	fg_image_file_free(image);
}

static void another_image_of_the_owner_starts_anew(void **state)
{
	struct ota_fixture *f = *state;
	struct fg_image_description first = ota_description(5 * MIB), other;
	char checksum[FG_CHECKSUM_TEXT_SIZE];

	snprintf(checksum, sizeof(checksum), "%s", first.checksum);
	first.checksum = checksum;
	for (int i = 0; i < 5; i++) {
		struct fg_image_file *image;
		char changed[FG_CHECKSUM_TEXT_SIZE];

		other = first;
		snprintf(changed, sizeof(changed), "%s", checksum);
		changed[3] = changed[3] == '0' ? '1' : '0';
		switch (i) {
		case 0:
			other.title = "pumq";
			break;
		case 1:
			other.version = "1.2 ";
			break;
		case 2:
			other.size++;
			break;
		case 3:
			other.checksum = changed;
			break;
		default: /* the same letters, divided in another way */
			other.title = "pump1";
			other.version = ".2";
			break;
		}
		assert_true(leave_partial(f, &first) > 0);
		image = ota_begin(f, &other);
		assert_int_equal(fg_image_file_bytes(image), 0);
		assert_int_equal(ota_count(f, ".part"), 1);
		assert_int_equal(ota_count(f, ".info"), 0);
		fg_image_file_free(image);
		ota_settle(f);
	}
	/* A finished one goes as well. */
	ota_put(f, first.owner, 1000);
	other = ota_description(1001);
	fg_image_file_free(ota_begin(f, &other));
	assert_int_equal(ota_count(f, ".image"), 0);
}

static void owners_do_not_disturb_each_other(void **state)
{
	struct ota_fixture *f = *state;
	struct fg_image_description a = ota_description(5 * MIB), b = ota_description(5 * MIB);
	struct fg_image_file *first, *second, *third = NULL;

	b.owner = "tb/pump-1/sw";
	assert_true(leave_partial(f, &a) > 0);
	first = ota_begin(f, &b);
	assert_int_equal(fg_image_file_bytes(first), 0);
	second = ota_begin(f, &a);
	assert_true(fg_image_file_bytes(second) > 0);
	b.version = "9";
	assert_int_equal(ota_try(f, &b, &third), -EBUSY);
	fg_image_file_free(first);
	third = ota_begin(f, &b);
	fg_image_file_free(second);
	fg_image_file_free(third);
}

static void what_a_crash_left_half_written_is_not_gone_on_with(void **state)
{
	static const char *const endings[] = {".info", ".part"};
	struct ota_fixture *f = *state;
	struct fg_image_description d = ota_description(5 * MIB);

	for (int i = 0; i < 4; i++) {
		const char *ending = endings[i / 2];
		uint64_t safe = leave_partial(f, &d);
		struct fg_image_file *image;
		int fd;

		assert_true(safe > 0);
		if (i == 0) { /* a bit of the description */
			fd = open(ota_path(f, ending), O_WRONLY);
			assert_int_equal(pwrite(fd, "\377", 1, 26), 1);
			close(fd);
		} else {
			assert_int_equal(truncate(ota_path(f, ending), i == 1   ? 20
								       : i == 2 ? 0
										: (off_t)safe - 1),
					 0);
		}
		image = ota_begin(f, &d);
		assert_int_equal(fg_image_file_bytes(image), 0);
		fg_image_file_remove(image);
		ota_settle(f);
	}
}

static void litter_goes_at_the_start_and_files_of_others_stay(void **state)
{
	static const char *const litter[] = {
		"000000000000000000000000-111111111111111111111111.tmp",
		"000000000000000000000000-111111111111111111111111.info",
		"222222222222222222222222-111111111111111111111111.part",
	};
	static const char *const others[] = {
		"README",
		"000000000000000000000000-111111111111111111111111.part.bak",
		"00000000000000000000000G-111111111111111111111111.part",
		"000000000000000000000000_111111111111111111111111.part",
		"0000000000000000000000000-11111111111111111111111.part",
	};
	struct ota_fixture *f = *state;
	char path[256];

	for (size_t i = 0; i < 8; i++) {
		snprintf(path, sizeof(path), "%s/%s", f->directory,
			 i < 3 ? litter[i] : others[i - 3]);
		close(open(path, O_CREAT | O_WRONLY, 0600));
	}
	ota_reopen(f);
	for (size_t i = 0; i < 8; i++) {
		snprintf(path, sizeof(path), "%s/%s", f->directory,
			 i < 3 ? litter[i] : others[i - 3]);
		assert_int_equal(access(path, F_OK), i < 3 ? -1 : 0);
	}
}

static void without_a_checksum_nothing_is_gone_on_with(void **state)
{
	struct ota_fixture *f = *state;
	struct fg_image_description d = ota_description(5 * MIB);
	struct fg_image_file *image;

	d.checksum = NULL;
	assert_int_equal(leave_partial(f, &d), 0);
	image = ota_begin(f, &d);
	ota_fill(f, image, 5 * MIB, FG_IMAGE_PIECE_BYTES);
	assert_int_equal(ota_seal(f, image), 0);
	fg_image_file_free(image);
}

static void an_image_of_unknown_size_takes_no_more_room_than_it_needs(void **state)
{
	struct ota_fixture *f = *state;
	struct fg_image_description d = ota_description(3000);
	struct fg_image_file *image;
	struct stat st;

	d.size = 0;
	image = ota_begin(f, &d);
	assert_int_equal(ota_seal(f, image), -EMSGSIZE); /* nothing is no image */
	ota_fill(f, image, 3000, 1000);
	assert_int_equal(ota_seal(f, image), 0);
	assert_int_equal(stat(fg_image_file_path(image), &st), 0);
	assert_true(st.st_blocks * 512 < 64 * 1024);
	fg_image_file_free(image);
}

/* -- hostile texts -- */

static void no_text_of_a_cloud_reaches_the_file_system(void **state)
{
	static char longest[FG_IMAGE_MAX_TEXT_BYTES + 1], too_long[FG_IMAGE_MAX_TEXT_BYTES + 2];
	static const char *const texts[] = {
		"../../etc/passwd", "/etc/passwd", "..",       ".",   "",        "a/b",
		"a\nb\r\033[2J",    "%s%n",        "\xff\xfe", "CON", "x.image", longest,
	};
	struct ota_fixture *f = *state;

	memset(longest, '/', sizeof(longest) - 1);
	memset(too_long, '.', sizeof(too_long) - 1);
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		struct fg_image_description d = ota_description(2 * MIB);
		struct fg_image_file *image;

		d.owner = d.title = d.version = texts[i];
		image = ota_begin(f, &d);
		ota_fill(f, image, MIB + 1, FG_IMAGE_PIECE_BYTES);
		fg_image_file_free(image);
		ota_settle(f);
		image = ota_begin(f, &d);
		assert_true(fg_image_file_bytes(image) > 0);
		ota_fill(f, image, 2 * MIB, FG_IMAGE_PIECE_BYTES);
		assert_int_equal(ota_seal(f, image), 0);
		assert_true(strncmp(fg_image_file_path(image), f->directory,
				    strlen(f->directory)) == 0);
		assert_int_equal(strspn(fg_image_file_path(image) + strlen(f->directory) + 1,
					"0123456789abcdef-"),
				 FG_IMAGE_NAME_SIZE - 1);
		fg_image_file_remove(image);
	}
	assert_int_equal(ota_count(f, "") - ota_count(f, "."), 0);
	for (int i = 0; i < 3; i++) {
		struct fg_image_description d = ota_description(10);
		struct fg_image_file *image;

		*(i == 0 ? &d.owner : i == 1 ? &d.title : &d.version) = too_long;
		assert_int_equal(ota_try(f, &d, &image), -EINVAL);
	}
	for (int i = 0; i < 3; i++) {
		static const char *const checksums[] = {"", "../../../x", "abcd"};
		struct fg_image_description d = ota_description(10);
		struct fg_image_file *image;

		d.checksum = checksums[i];
		assert_int_equal(ota_try(f, &d, &image), -EINVAL);
	}
}

/* -- room -- */

static void an_image_larger_than_allowed_is_refused(void **state)
{
	struct ota_fixture *f = *state;
	struct fg_image_description d = ota_description(10);
	struct fg_image_file *image = NULL;

	d.size = 16 * MIB + 1;
	assert_int_equal(ota_try(f, &d, &image), -EFBIG);
	assert_int_equal(ota_count(f, ".part"), 0);
	d.size = 0;
	f->options.max_image_bytes = 100000;
	ota_reopen(f);
	image = ota_begin(f, &d);
	ota_fill(f, image, 100000, FG_IMAGE_PIECE_BYTES);
	assert_int_equal(write_one(image, 1), -EFBIG);
	assert_int_equal(fg_image_file_bytes(image), 100000);
	fg_image_file_free(image);
}

static void put_aged(struct ota_fixture *f, const char *owner, uint64_t size, time_t age)
{
	struct timespec times[2] = {{.tv_sec = 1000000 - age}, {.tv_sec = 1000000 - age}};
	struct fg_image_description d = ota_description(size);
	struct fg_image_file *image;

	ota_put(f, owner, size);
	d.owner = owner;
	image = ota_begin(f, &d);
	assert_int_equal(utimensat(AT_FDCWD, fg_image_file_path(image), times, 0), 0);
	fg_image_file_free(image);
}

static bool has_image(struct ota_fixture *f, const char *owner, uint64_t size)
{
	struct fg_image_description d = ota_description(size);
	struct fg_image_file *image;
	bool is_there;

	d.owner = owner;
	image = ota_begin(f, &d);
	is_there = fg_image_file_is_finished(image);
	if (is_there)
		fg_image_file_free(image);
	else
		fg_image_file_remove(image);
	return is_there;
}

static void the_oldest_finished_images_make_room_but_never_one_in_use(void **state)
{
	struct ota_fixture *f = *state;
	struct fg_image_description d = ota_description(4000), next = ota_description(4500);
	struct fg_image_file *used, *image = NULL;

	f->options.max_total_bytes = 10000;
	ota_reopen(f);
	put_aged(f, "oldest, used", 4000, 300);
	put_aged(f, "old", 2000, 200);
	put_aged(f, "young", 1000, 100);
	d.owner = "oldest, used";
	used = ota_begin(f, &d);
	image = ota_begin(f, &next);
	assert_true(has_image(f, "young", 1000));
	fg_image_file_remove(image);
	assert_false(has_image(f, "old", 2000));

	/* Nothing is thrown away for what will never fit. */
	next = ota_description(6001);
	assert_int_equal(ota_try(f, &next, &image), -EDQUOT);
	assert_true(has_image(f, "young", 1000));
	fg_image_file_free(used);
	next = ota_description(5500);
	image = ota_begin(f, &next);
	assert_false(has_image(f, "oldest, used", 4000));
	fg_image_file_free(image);
}

static void partial_images_nobody_uses_make_room_last(void **state)
{
	struct ota_fixture *f = *state;
	struct fg_image_description d = ota_description(5 * MIB), next = ota_description(4 * MIB);
	struct fg_image_file *image;

	f->options.max_total_bytes = 6 * MIB;
	ota_reopen(f);
	d.owner = "partial";
	image = ota_begin(f, &d);
	ota_fill(f, image, MIB, FG_IMAGE_PIECE_BYTES);
	fg_image_file_free(image);
	ota_settle(f);
	put_aged(f, "finished", 2 * MIB, 0);
	image = ota_begin(f, &next);
	assert_int_equal(ota_count(f, ".image"), 0);
	assert_int_equal(ota_count(f, ".part"), 2);
	fg_image_file_remove(image);
	next = ota_description(6 * MIB);
	image = ota_begin(f, &next);
	assert_int_equal(ota_count(f, ".part"), 1);
	fg_image_file_free(image);
}

static void there_are_never_more_files_than_allowed(void **state)
{
	struct ota_fixture *f = *state;
	char path[256];

	for (int i = 0; i < FG_IMAGE_MAX_FILES; i++) {
		snprintf(path, sizeof(path), "%s/%024x-111111111111111111111111.image",
			 f->directory, i);
		close(open(path, O_CREAT | O_WRONLY, 0600));
	}
	ota_put(f, "one more", 10);
	assert_int_equal(ota_count(f, ".image"), FG_IMAGE_MAX_FILES);
	assert_true(has_image(f, "one more", 10));
}

static void a_full_file_system_is_told_before_the_first_byte(void **state)
{
	struct ota_fixture *f = *state;
	struct fg_image_description d = ota_description(MIB);
	struct fg_image_file *image = NULL;

	put_aged(f, "old", 1000, 1);
	disk_fail(DISK_FALLOCATE, 1, ENOSPC);
	image = ota_begin(f, &d); /* the old one made room */
	assert_int_equal(ota_count(f, ".image"), 0);
	fg_image_file_remove(image);
	disk_fail(DISK_FALLOCATE, 1000, ENOSPC);
	assert_int_equal(ota_try(f, &d, &image), -ENOSPC);
	assert_int_equal(ota_count(f, ".part"), 0);

	/* A file system that cannot take room ahead takes it as it comes. */
	disk_fail(DISK_FALLOCATE, 1, EOPNOTSUPP);
	image = ota_begin(f, &d);
	fg_image_file_remove(image);

	disk_reset();
	f->options.keep_free_bytes = UINT64_C(1) << 60;
	ota_reopen(f);
	assert_int_equal(ota_try(f, &d, &image), -ENOSPC);
}

static void a_file_system_that_fills_up_leaves_what_is_there(void **state)
{
	struct ota_fixture *f = *state;
	struct fg_image_description d = ota_description(10000);
	struct fg_image_file *image = ota_begin(f, &d);

	ota_fill(f, image, 5000, 1000);
	disk_fail(DISK_PWRITE, 2, ENOSPC);
	assert_int_equal(write_one(image, 1000), -ENOSPC);
	assert_int_equal(write_one(image, 1000), -ENOSPC);
	assert_int_equal(fg_image_file_bytes(image), 5000);
	disk_fail(DISK_PWRITE, 1, EINTR);
	ota_fill(f, image, 10000, 1000);
	assert_int_equal(ota_seal(f, image), 0);
	assert_content(image, 10000);
	fg_image_file_free(image);
}

static void a_begun_image_survives_that_there_is_no_room_to_go_on(void **state)
{
	struct ota_fixture *f = *state;
	struct fg_image_description d = ota_description(5 * MIB);
	uint64_t safe = leave_partial(f, &d);
	struct fg_image_file *image = NULL;

	disk_fail(DISK_FALLOCATE, 1, ENOSPC);
	assert_int_equal(ota_try(f, &d, &image), -ENOSPC);
	image = ota_begin(f, &d);
	assert_int_equal(fg_image_file_bytes(image), safe);
	fg_image_file_free(image);
}

/* -- the disk at work -- */

static void a_disk_that_is_behind_holds_the_source(void **state)
{
	struct ota_fixture *f = *state;
	struct fg_image_description d = ota_description(12 * MIB);
	struct fg_image_file *image = ota_begin(f, &d);

	disk_hold();
	ota_fill(f, image, FG_IMAGE_MAX_UNSYNCED_BYTES, FG_IMAGE_PIECE_BYTES);
	assert_int_equal(write_one(image, 1), -EAGAIN);
	assert_int_equal(fg_image_file_bytes(image), FG_IMAGE_MAX_UNSYNCED_BYTES);
	ota_settle(f);
	assert_int_equal(f->n_writable, 0);
	disk_release(1);
	ota_wait_for(f, &f->n_writable, 1);
	disk_release(100);
	ota_fill(f, image, 12 * MIB, FG_IMAGE_PIECE_BYTES);
	assert_int_equal(ota_seal(f, image), 0);
	assert_content(image, 12 * MIB);
	fg_image_file_free(image);
}

static void a_disk_error_sticks_until_all_is_written_again(void **state)
{
	struct ota_fixture *f = *state;
	struct fg_image_description d = ota_description(2 * MIB);

	for (int i = 0; i < 5; i++) {
		static const enum disk_call calls[] = {DISK_FDATASYNC, DISK_FSYNC, DISK_RENAME,
						       DISK_FSYNC, DISK_RENAME};
		unsigned skip = i < 3 ? 0 : 1; /* the description, then the directory or image */
		struct fg_image_file *image = ota_begin(f, &d);

		disk_fail(calls[i], 1, EIO);
		ota_fill(f, image, MIB, FG_IMAGE_PIECE_BYTES);
		ota_settle(f);
		assert_int_equal(write_one(image, 1), -EIO);
		assert_int_equal(fg_image_file_rewind(image), 0);
		ota_fill(f, image, 2 * MIB, FG_IMAGE_PIECE_BYTES);
		ota_settle(f);
		disk_fail_after(calls[i], skip, EIO);
		assert_int_equal(ota_seal(f, image), -EIO);
		assert_false(fg_image_file_is_finished(image));
		assert_int_equal(ota_seal(f, image), -EIO);
		assert_int_equal(fg_image_file_rewind(image), 0);
		ota_fill(f, image, 2 * MIB, FG_IMAGE_PIECE_BYTES);
		assert_int_equal(ota_seal(f, image), 0);
		assert_content(image, 2 * MIB);
		fg_image_file_remove(image);
		ota_settle(f);
	}
}

static void an_error_of_a_sync_on_the_way_is_told_at_the_end(void **state)
{
	struct ota_fixture *f = *state;
	struct fg_image_description d = ota_description(MIB);
	struct fg_image_file *image = ota_begin(f, &d);

	disk_hold();
	disk_fail(DISK_FDATASYNC, 1, EIO);
	ota_fill(f, image, MIB, FG_IMAGE_PIECE_BYTES);
	seal_up_to_the_disk(f, image); /* while the first sync goes on */
	disk_release(100);
	ota_wait_for(f, &f->n_finished, 1);
	assert_int_equal(f->result, -EIO);
	assert_int_equal(ota_count(f, ".image"), 0);
	fg_image_file_free(image);
}

static void finishing_waits_for_the_sync_that_goes_on(void **state)
{
	struct ota_fixture *f = *state;
	struct fg_image_description d = ota_description(MIB);
	struct fg_image_file *image = ota_begin(f, &d);

	disk_hold();
	ota_fill(f, image, MIB, FG_IMAGE_PIECE_BYTES);
	seal_up_to_the_disk(f, image);
	disk_release(2);
	ota_wait_for(f, &f->n_finished, 1);
	assert_int_equal(f->result, 0);
	assert_int_equal(f->n_finished, 1);
	fg_image_file_free(image);
}

static void a_released_image_is_busy_until_the_disk_is_done(void **state)
{
	struct ota_fixture *f = *state;
	struct fg_image_description d = ota_description(2 * MIB);

	for (int is_removed = 0; is_removed < 2; is_removed++) {
		struct fg_image_file *image = ota_begin(f, &d);

		disk_reset();
		disk_hold();
		ota_fill(f, image, MIB, FG_IMAGE_PIECE_BYTES);
		if (is_removed)
			fg_image_file_remove(image);
		else
			fg_image_file_free(image);
		assert_int_equal(ota_try(f, &d, &image), -EBUSY);
		disk_release(1);
		ota_settle(f);
		disk_reset();
		image = ota_begin(f, &d);
		assert_int_equal(fg_image_file_bytes(image), is_removed ? 0 : MIB);
		fg_image_file_remove(image);
		ota_settle(f);
	}
}

static void what_the_disk_said_of_forgotten_bytes_is_forgotten(void **state)
{
	struct ota_fixture *f = *state;
	struct fg_image_description d = ota_description(3 * MIB);
	struct fg_image_file *image = ota_begin(f, &d);

	disk_hold();
	ota_fill(f, image, MIB, FG_IMAGE_PIECE_BYTES);
	assert_int_equal(fg_image_file_rewind(image), 0);
	ota_fill(f, image, 100000, FG_IMAGE_PIECE_BYTES);
	disk_release(1);
	ota_settle(f);
	assert_int_equal(ota_count(f, ".info"), 0);
	disk_release(100);
	ota_fill(f, image, 3 * MIB, FG_IMAGE_PIECE_BYTES);
	assert_int_equal(ota_seal(f, image), 0);
	assert_content(image, 3 * MIB);
	fg_image_file_free(image);
}

static void the_store_may_go_while_the_disk_is_at_work(void **state)
{
	struct ota_fixture *f = *state;
	struct fg_image_description d = ota_description(2 * MIB);
	struct fg_error err;

	/* … for which the loop still turns, or ends as well. */
	for (int i = 0; i < 2; i++) {
		struct fg_image_file *image;

		disk_reset();
		disk_hold();
		image = ota_begin(f, &d);
		ota_fill(f, image, MIB + fg_image_file_bytes(image), FG_IMAGE_PIECE_BYTES);
		fg_image_file_free(image);
		while (disk_held() == 0)
			usleep(1000);
		f->store = fg_image_store_free(f->store);
		if (i == 1)
			f->connector = fg_connector_free(f->connector);
		disk_release(1);
		if (i == 1)
			assert_int_equal(fg_connector_new(f->loop, &f->connector), 0);
		ota_settle(f);
		while (disk_count(DISK_FSYNC) < 2)
			usleep(1000);
		disk_reset();
		assert_int_equal(
			fg_image_store_open(f->loop, f->connector, &f->options, &f->store, &err),
			0);
	}
}

struct sleeper {
	struct fg_connector_job job;
	int fd; /* a read end: until it is closed */
	unsigned n_done;
};

static void sleeper_work(struct fg_connector_job *job)
{
	char byte;

	if (read(((struct sleeper *)job)->fd, &byte, 1) < 0)
		return;
}

static void sleeper_done(struct fg_connector_job *job)
{
	((struct sleeper *)job)->n_done++;
}

static void without_a_thread_it_waits_for_one(void **state)
{
	static struct sleeper sleepers[FG_CONNECTOR_MAX_JOBS];
	struct ota_fixture *f = *state;
	struct fg_image_description d = ota_description(8 * MIB);
	struct fg_image_file *image = ota_begin(f, &d);
	int pipe_fds[2];

	assert_int_equal(pipe(pipe_fds), 0);
	for (int i = 0; i < FG_CONNECTOR_MAX_JOBS; i++) {
		sleepers[i] = (struct sleeper){
			.job = {.work = sleeper_work,
				.done = sleeper_done,
				.orphaned = sleeper_done},
			.fd = pipe_fds[0],
		};
		assert_int_equal(fg_connector_run(f->connector, &sleepers[i].job), 0);
	}
	ota_fill(f, image, FG_IMAGE_MAX_UNSYNCED_BYTES, FG_IMAGE_PIECE_BYTES);
	assert_int_equal(write_one(image, 1), -EAGAIN);
	ota_settle(f);
	assert_int_equal(f->n_writable, 0);
	close(pipe_fds[1]);
	ota_wait_for(f, &f->n_writable, 1);
	ota_fill(f, image, 8 * MIB, FG_IMAGE_PIECE_BYTES);
	assert_int_equal(ota_seal(f, image), 0);
	fg_image_file_free(image);
	for (int i = 0; i < FG_CONNECTOR_MAX_JOBS; i++)
		ota_wait_for(f, &sleepers[i].n_done, 1);
	close(pipe_fds[0]);
}

static void a_store_that_cannot_be_opened_says_why(void **state)
{
	struct ota_fixture *f = *state;
	struct fg_image_store *store = NULL;
	struct fg_error err = {""};

	f->options.directory = "/dev/null/images";
	assert_int_equal(fg_image_store_open(f->loop, f->connector, &f->options, &store, &err),
			 -ENOTDIR);
	assert_non_null(strstr(err.text, "/dev/null/images"));
	assert_null(store);
	assert_null(fg_image_store_free(NULL));
	f->options.directory = f->directory;
}

/* -- power cuts -- */

#define CUT_IMAGE_BYTES (3 * MIB + 12345)

/* In a process of its own, whose power is cut at call @n. Returns its exit status. */
static int live_until(const struct ota_fixture *f, unsigned n)
{
	pid_t child = fork();
	int status = 0;

	if (child == 0) {
		struct fg_image_description d = ota_description(CUT_IMAGE_BYTES);
		struct ota_fixture own = *f;
		struct fg_image_file *image;
		struct fg_error err;

		own.loop = ev_loop_new(EVFLAG_AUTO);
		fg_connector_new(own.loop, &own.connector);
		disk_cut_power_at(n, f->directory);
		if (fg_image_store_open(own.loop, own.connector, &own.options, &own.store, &err) <
		    0)
			disk_exit(1);
		image = ota_begin(&own, &d);
		if (!fg_image_file_is_finished(image)) {
			ota_fill(&own, image, CUT_IMAGE_BYTES, FG_IMAGE_PIECE_BYTES);
			if (ota_seal(&own, image) != 0)
				disk_exit(2); /* what it went on with was not safe */
		}
		disk_exit(ota_seal(&own, image) == 0 ? 0 : 3);
	}
	assert_true(child > 0);
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFEXITED(status));
	return WEXITSTATUS(status);
}

static void every_power_cut_leaves_what_can_be_gone_on_with(void **state)
{
	struct ota_fixture *f = *state;
	unsigned n = 1, n_lives = 0;
	int status;

	/* Each life goes on with what the ones before left; now and then a new image. */
	for (;;) {
		status = live_until(f, n);
		if (status == 0)
			break;
		assert_int_equal(status, DISK_CUT_STATUS);
		assert_int_equal(live_until(f, n / 2 + 2) % DISK_CUT_STATUS, 0);
		n_lives++;
		n++;
		assert_true(n < 10000);
		if (n % 3 == 0) {
			struct fg_image_description d = ota_description(CUT_IMAGE_BYTES);

			fg_image_file_remove(ota_begin(f, &d));
			ota_settle(f);
		}
	}
	assert_true(n_lives > 20);
	ota_reopen(f);
	assert_true(has_image(f, "tb/pump-1/fw", CUT_IMAGE_BYTES));
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(an_image_arrives_is_checked_and_handed_out),
		TEST(it_is_durable_before_it_is_called_finished),
		TEST(each_operation_has_its_state),
		TEST(sealing_turns_the_loop_between_the_slices),
		TEST(a_released_image_tells_nobody_what_sealing_found),
		TEST(sealing_tells_what_is_wrong),
		TEST(a_link_in_place_of_the_description_is_not_followed),
		TEST(wrong_size_and_wrong_checksum_are_found),
		TEST(each_algorithm_verifies),
		TEST(decay_of_a_finished_image_is_found),
		TEST(a_restart_goes_on_with_what_is_safe),
		TEST(another_image_of_the_owner_starts_anew),
		TEST(owners_do_not_disturb_each_other),
		TEST(what_a_crash_left_half_written_is_not_gone_on_with),
		TEST(litter_goes_at_the_start_and_files_of_others_stay),
		TEST(without_a_checksum_nothing_is_gone_on_with),
		TEST(an_image_of_unknown_size_takes_no_more_room_than_it_needs),
		TEST(no_text_of_a_cloud_reaches_the_file_system),
		TEST(an_image_larger_than_allowed_is_refused),
		TEST(the_oldest_finished_images_make_room_but_never_one_in_use),
		TEST(partial_images_nobody_uses_make_room_last),
		TEST(there_are_never_more_files_than_allowed),
		TEST(a_full_file_system_is_told_before_the_first_byte),
		TEST(a_file_system_that_fills_up_leaves_what_is_there),
		TEST(a_begun_image_survives_that_there_is_no_room_to_go_on),
		TEST(a_disk_that_is_behind_holds_the_source),
		TEST(a_disk_error_sticks_until_all_is_written_again),
		TEST(an_error_of_a_sync_on_the_way_is_told_at_the_end),
		TEST(finishing_waits_for_the_sync_that_goes_on),
		TEST(a_released_image_is_busy_until_the_disk_is_done),
		TEST(what_the_disk_said_of_forgotten_bytes_is_forgotten),
		TEST(the_store_may_go_while_the_disk_is_at_work),
		TEST(without_a_thread_it_waits_for_one),
		TEST(a_store_that_cannot_be_opened_says_why),
		TEST(every_power_cut_leaves_what_can_be_gone_on_with),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
