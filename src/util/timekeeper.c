#include "util/timekeeper.h"

#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/timex.h>
#include <time.h>
#include <unistd.h>

#include "util/bytes.h"
#include "util/cleanup.h"
#include "util/clock.h"
#include "util/crc32c.h"
#include "util/durable.h"

#define SECOND_US INT64_C(1000000)
#define MINUTE_US (60 * SECOND_US)
#define DAY_US (24 * 60 * MINUTE_US)
/* Between two looks the wall clock may be slewed, by 500 ppm at most; beyond this it was set. */
#define STEP_US SECOND_US
/* A hardware clock may run on local time, and drift; one that lost its battery is years off. */
#define RTC_TOLERANCE_US DAY_US
/* How long a boot without a known time is first expected to last; doubled when that is over. */
#define FIRST_LENGTH_US (10 * MINUTE_US)
#define LENGTH_MARGIN_US MINUTE_US
/* After a step or a failure the file is written again no sooner than this. */
#define SAVE_INTERVAL_US MINUTE_US
/* How long a boot lasted that is not in the file any more. */
#define FORGOTTEN_LENGTH_US (30 * DAY_US)
/* A cloud that says it is later than this, from FG_TIME_FLOOR_US on, is wrong. */
#define TOLD_SPAN_US (50 * 366 * DAY_US)
/* Far from overflow in all that is computed here, and 30 000 years. */
#define TIME_MAX_US (INT64_C(1) << 60)

#define MAX_BOOTS 32
#define FILE_MAGIC "FGCLOCK1"
#define FILE_HEAD_BYTES 12
#define BOOT_BYTES 40
/* In the file: what is known of a boot's time. */
#define UNKNOWN 0
#define KNOWN 1
#define KNOWN_TOLD 2
#define FILE_MAX_BYTES (FILE_HEAD_BYTES + MAX_BOOTS * BOOT_BYTES + 4)

struct boot {
	uint8_t id[16];
	bool is_known;
	bool is_told;      /* known by what somebody said, not by the wall clock */
	int64_t start_us;  /* known: UTC when the machine's running time was 0 */
	int64_t length_us; /* known: how long it surely ran. Else it did not run longer */
	/* computed */
	int64_t best_us;  /* start_us, or an estimate */
	int64_t limit_us; /* UTC: no message of this boot is younger */
};

struct fg_timekeeper {
	struct fg_timekeeper_options with;
	char *path;
	struct boot boots[MAX_BOOTS + 1]; /* oldest first; the last is this one */
	size_t n_boots;
	int64_t wall_offset_us; /* wall clock less running time, when last looked at */
	int64_t told_us;        /* what the wall clock lacks, as somebody said; else 0 */
	int64_t begin_us;       /* running time when this object was made */
	bool has_evidence;      /* found once in this boot */
	bool must_save;
	int64_t saved_at_us; /* running time of the last attempt */
	struct fg_clock_news news;
};

/* ---- the system's clocks */

static int64_t microseconds(clockid_t clock)
{
	struct timespec now;

	clock_gettime(clock, &now);
	return (int64_t)now.tv_sec * SECOND_US + now.tv_nsec / 1000;
}

static void read_system(void *arg, int64_t *ret_utc_us, int64_t *ret_boottime_us)
{
	(void)arg;
	*ret_boottime_us = microseconds(CLOCK_BOOTTIME);
	*ret_utc_us = fg_clock_utc_us();
}

static bool is_rtc_agreeing(int64_t utc_us)
{
	bool agrees = false;
	glob_t found = {0};

	if (glob("/sys/class/rtc/rtc*/since_epoch", GLOB_NOSORT, NULL, &found) == 0)
		for (size_t i = 0; i < found.gl_pathc && !agrees; i++) {
			FG_CLEANUP(fg_fclose_p) FILE *f = fopen(found.gl_pathv[i], "re");
			long long s;

			if (!f || fscanf(f, "%19lld", &s) != 1 ||
			    s < FG_TIME_FLOOR_US / SECOND_US || s > TIME_MAX_US / SECOND_US)
				continue;
			agrees = llabs(s * SECOND_US - utc_us) < RTC_TOLERANCE_US;
		}
	globfree(&found);
	return agrees;
}

static bool exists(const char *path)
{
	return access(path, F_OK) == 0;
}

static void look_at_system(void *arg, int64_t utc_us, struct fg_clock_evidence *ret)
{
	struct timex t = {0};
	int state = adjtimex(&t);

	(void)arg;
	*ret = (struct fg_clock_evidence){
		.is_kernel_synchronised = state >= 0 && !(t.status & STA_UNSYNC),
		.is_marked = exists("/run/systemd/timesync/synchronized"),
		.is_rtc_agreeing = is_rtc_agreeing(utc_us),
		.is_service_working =
			exists("/run/systemd/timesync") ||
			(state >= 0 && (exists("/run/chrony/chronyd.pid") ||
					exists("/run/chronyd.pid") || exists("/run/ntpd.pid"))),
	};
}

static bool parse_id(const char *text, uint8_t ret[16])
{
	unsigned digits = 0;

	memset(ret, 0, 16);
	for (; *text && *text != '\n' && digits < 32; text++) {
		int value;

		if (*text == '-')
			continue;
		if (*text >= '0' && *text <= '9')
			value = *text - '0';
		else if (*text >= 'a' && *text <= 'f')
			value = *text - 'a' + 10;
		else
			return false;
		ret[digits / 2] = (uint8_t)(ret[digits / 2] << 4 | value);
		digits++;
	}
	return digits == 32;
}

void fg_timekeeper_boot_id(uint8_t ret[16])
{
	FG_CLEANUP(fg_fclose_p) FILE *f = NULL;
	const char *given = getenv("FIELDGATE_BOOT_ID");
	char text[64];

	if (given && parse_id(given, ret))
		return;
	f = fopen("/proc/sys/kernel/random/boot_id", "re");
	if (f && fgets(text, sizeof(text), f) && parse_id(text, ret))
		return;
	if (getrandom(ret, 16, GRND_NONBLOCK) != 16) {
		fg_put_le64(ret, (uint64_t)microseconds(CLOCK_BOOTTIME));
		fg_put_le64(ret + 8, (uint64_t)getpid());
	}
}

/* ---- estimates */

static struct boot *this_boot(struct fg_timekeeper *t)
{
	return &t->boots[t->n_boots - 1];
}

static int64_t larger(int64_t a, int64_t b)
{
	return a > b ? a : b;
}

static int64_t smaller(int64_t a, int64_t b)
{
	return a < b ? a : b;
}

/* As the header says: forwards for the earliest a boot can have begun, then backwards. */
static void estimate(struct fg_timekeeper *t)
{
	int64_t end_us = FG_TIME_FLOOR_US;
	int64_t next_us = TIME_MAX_US;

	for (size_t i = 0; i < t->n_boots; i++) {
		struct boot *b = &t->boots[i];

		b->best_us = b->is_known ? b->start_us : end_us;
		if (!b->is_known && b == this_boot(t))
			b->best_us = larger(t->wall_offset_us, end_us);
		end_us = smaller(b->best_us + b->length_us, TIME_MAX_US);
	}
	for (size_t i = t->n_boots; i-- > 0;) {
		struct boot *b = &t->boots[i];

		if (!b->is_known && b != this_boot(t))
			b->best_us = larger(b->best_us, next_us - b->length_us);
		b->limit_us = next_us;
		next_us = smaller(next_us, b->best_us);
	}
}

/* ---- the file */

static void save(struct fg_timekeeper *t, int64_t boottime_us)
{
	uint8_t data[FILE_MAX_BYTES];
	uint8_t *at = data + FILE_HEAD_BYTES;
	struct fg_span file;

	t->saved_at_us = boottime_us;
	t->must_save = false;
	if (!t->path)
		return;
	memcpy(data, FILE_MAGIC, 8);
	fg_put_le32(data + 8, (uint32_t)t->n_boots);
	for (size_t i = 0; i < t->n_boots; i++, at += BOOT_BYTES) {
		const struct boot *b = &t->boots[i];

		memcpy(at, b->id, 16);
		fg_put_le64(at + 16, b->is_told ? KNOWN_TOLD : b->is_known ? KNOWN : UNKNOWN);
		fg_put_le64(at + 24, (uint64_t)b->start_us);
		fg_put_le64(at + 32, (uint64_t)b->length_us);
	}
	fg_put_le32(at, fg_crc32c(0, data, (size_t)(at - data)));
	file = fg_span_of(data, (size_t)(at + 4 - data));
	t->news.save_error = fg_durable_replace(t->path, 0600, &file, 1);
	t->must_save = t->news.save_error < 0;
}

static bool is_in_range(const struct boot *b)
{
	return b->start_us > -TIME_MAX_US && b->start_us < TIME_MAX_US && b->length_us >= 0 &&
	       b->length_us < TIME_MAX_US;
}

static void load(struct fg_timekeeper *t)
{
	FG_CLEANUP(fg_fclose_p) FILE *f = t->path ? fopen(t->path, "re") : NULL;
	uint8_t data[FILE_MAX_BYTES];
	size_t size = f ? fread(data, 1, sizeof(data), f) : 0;
	size_t n;

	if (size < FILE_HEAD_BYTES + 4 || memcmp(data, FILE_MAGIC, 8) != 0)
		return;
	n = fg_get_le32(data + 8);
	if (n > MAX_BOOTS || size != FILE_HEAD_BYTES + n * BOOT_BYTES + 4 ||
	    fg_crc32c(0, data, size - 4) != fg_get_le32(data + size - 4))
		return;
	for (size_t i = 0; i < n; i++) {
		const uint8_t *at = data + FILE_HEAD_BYTES + i * BOOT_BYTES;
		uint64_t known = fg_get_le64(at + 16);
		struct boot b = {
			.is_known = known == KNOWN || known == KNOWN_TOLD,
			.is_told = known == KNOWN_TOLD,
			.start_us = (int64_t)fg_get_le64(at + 24),
			.length_us = (int64_t)fg_get_le64(at + 32),
		};

		memcpy(b.id, at, 16);
		if (is_in_range(&b))
			t->boots[t->n_boots++] = b;
	}
}

/* ---- knowing */

static void learn(struct fg_timekeeper *t, int64_t boottime_us)
{
	struct boot *b = this_boot(t);

	b->is_known = true;
	b->start_us = t->wall_offset_us + t->told_us;
	b->length_us = boottime_us;
	t->news.is_learnt = true;
	/* On disk before anybody is told: a crash must not make an estimate of what was known. */
	save(t, boottime_us);
	estimate(t);
}

static void note_step(struct fg_timekeeper *t, int64_t step_us, bool is_distrusted)
{
	t->news.is_stepped = true;
	t->news.is_distrusted = is_distrusted;
	t->news.step_us = step_us;
	t->must_save = true;
}

static bool is_believable(struct fg_timekeeper *t, int64_t utc_us)
{
	struct fg_clock_evidence e = {0};

	t->with.look(t->with.arg, utc_us, &e);
	return e.is_kernel_synchronised || e.is_marked || e.is_rtc_agreeing ||
	       !e.is_service_working;
}

/* The wall clock has been set, or is kept by a time service now: it counts, and no longer what was told. */
static void follow_wall_again(struct fg_timekeeper *t, bool is_step)
{
	if (!is_step && llabs(t->told_us) > STEP_US)
		note_step(t, -t->told_us, false);
	this_boot(t)->is_told = false;
	t->told_us = 0;
	t->must_save = true;
}

static bool is_kept(struct fg_timekeeper *t, int64_t utc_us)
{
	struct fg_clock_evidence e = {0};

	t->with.look(t->with.arg, utc_us, &e);
	return e.is_kernel_synchronised || e.is_marked;
}

/* Take note of where the clocks are. @looks: look for evidence too, which costs a few system calls.
 */
static void follow(struct fg_timekeeper *t, int64_t utc_us, int64_t boottime_us, bool looks)
{
	int64_t step_us = utc_us - boottime_us - t->wall_offset_us;
	bool is_step = llabs(step_us) > STEP_US;
	bool is_plausible = utc_us >= FG_TIME_FLOOR_US;
	struct boot *b = this_boot(t);

	t->wall_offset_us = utc_us - boottime_us;
	if (is_step)
		note_step(t, step_us, b->is_known && !is_plausible);
	if (!is_plausible)
		return;
	if (b->is_told && (is_step || (looks && is_kept(t, utc_us))))
		follow_wall_again(t, is_step);
	if (b->is_known)
		b->start_us = t->wall_offset_us + t->told_us;
	else if (is_step || (looks && is_believable(t, utc_us)))
		learn(t, boottime_us);
	if (is_step)
		estimate(t);
}

static void clocks(struct fg_timekeeper *t, int64_t *ret_utc_us, int64_t *ret_boottime_us)
{
	t->with.read(t->with.arg, ret_utc_us, ret_boottime_us);
}

/* ---- life */

/* Find this boot in the file, or add it; it is the last in either case. */
static void enter_boot(struct fg_timekeeper *t)
{
	struct boot now = {0};

	memcpy(now.id, t->with.boot_id, 16);
	for (size_t i = 0; i < t->n_boots; i++)
		if (memcmp(t->boots[i].id, now.id, 16) == 0) {
			now = t->boots[i];
			t->n_boots--;
			memmove(&t->boots[i], &t->boots[i + 1],
				(t->n_boots - i) * sizeof(t->boots[0]));
			break;
		}
	if (t->n_boots == MAX_BOOTS) {
		t->n_boots--;
		memmove(&t->boots[0], &t->boots[1], t->n_boots * sizeof(t->boots[0]));
	}
	t->boots[t->n_boots++] = now;
}

/* A boot without a known time: the file says ahead how long it may last. */
static void extend(struct fg_timekeeper *t, int64_t boottime_us)
{
	struct boot *b = this_boot(t);

	if (b->is_known || b->length_us > boottime_us + LENGTH_MARGIN_US)
		return;
	b->length_us = 2 * boottime_us + FIRST_LENGTH_US;
	t->must_save = true;
}

static void timekeeper_freep(struct fg_timekeeper **t)
{
	if (!*t)
		return;
	free((*t)->path);
	free(*t);
}

int fg_timekeeper_new(const struct fg_timekeeper_options *options, struct fg_timekeeper **ret)
{
	FG_CLEANUP(timekeeper_freep) struct fg_timekeeper *t = calloc(1, sizeof(*t));
	int64_t utc_us;

	if (!t)
		return -ENOMEM;
	t->with = *options;
	if (!options->read) {
		t->with.read = read_system;
		t->with.look = look_at_system;
	}
	if (options->path) {
		t->path = strdup(options->path);
		if (!t->path)
			return -ENOMEM;
	}
	load(t);
	enter_boot(t);
	clocks(t, &utc_us, &t->begin_us);
	t->wall_offset_us = utc_us - t->begin_us;
	if (this_boot(t)->is_told)
		t->told_us = this_boot(t)->start_us - t->wall_offset_us;
	follow(t, utc_us, t->begin_us, true);
	extend(t, t->begin_us);
	if (t->must_save)
		save(t, t->begin_us);
	estimate(t);

	*ret = t; /* the caller owns it now */
	t = NULL;
	return 0;
}

struct fg_timekeeper *fg_timekeeper_free(struct fg_timekeeper *t)
{
	int64_t utc_us, boottime_us;

	if (!t)
		return NULL;
	clocks(t, &utc_us, &boottime_us);
	follow(t, utc_us, boottime_us, false);
	/* The process ends, not the boot: the next start of the process goes on from here. */
	this_boot(t)->length_us = boottime_us;
	save(t, boottime_us);
	timekeeper_freep(&t);
	return NULL;
}

/* ---- asking */

enum fg_time_quality fg_timekeeper_now(struct fg_timekeeper *t, int64_t *ret_utc_us)
{
	int64_t utc_us, boottime_us;

	if (!t) {
		*ret_utc_us = fg_clock_utc_us();
		return FG_TIME_GATEWAY;
	}
	clocks(t, &utc_us, &boottime_us);
	follow(t, utc_us, boottime_us, false);
	*ret_utc_us = this_boot(t)->is_known ? this_boot(t)->start_us + boottime_us : utc_us;
	return this_boot(t)->is_known ? FG_TIME_GATEWAY : FG_TIME_UNSYNCHRONISED;
}

void fg_timekeeper_tick(struct fg_timekeeper *t, struct fg_clock_news *ret)
{
	int64_t utc_us, boottime_us;

	clocks(t, &utc_us, &boottime_us);
	follow(t, utc_us, boottime_us, true);
	extend(t, boottime_us);
	if (t->must_save && boottime_us - t->saved_at_us >= SAVE_INTERVAL_US) {
		if (this_boot(t)->is_known)
			this_boot(t)->length_us = boottime_us;
		save(t, boottime_us);
	}
	*ret = t->news;
	t->news = (struct fg_clock_news){0};
}

bool fg_timekeeper_wants_telling(const struct fg_timekeeper *t)
{
	return t && (!fg_timekeeper_is_known(t) || t->boots[t->n_boots - 1].is_told);
}

int fg_timekeeper_tell(struct fg_timekeeper *t, int64_t offset_us)
{
	int64_t utc_us, boottime_us, start_us;
	struct boot *b;

	if (!t)
		return -EALREADY;
	clocks(t, &utc_us, &boottime_us);
	follow(t, utc_us, boottime_us, true);
	if (!fg_timekeeper_wants_telling(t))
		return -EALREADY;
	b = this_boot(t);
	if (offset_us < -TIME_MAX_US || offset_us > TIME_MAX_US)
		return -ERANGE;
	start_us = (b->is_told ? b->start_us : t->wall_offset_us) + offset_us;
	if (start_us + boottime_us < FG_TIME_FLOOR_US ||
	    start_us + boottime_us > FG_TIME_FLOOR_US + TOLD_SPAN_US)
		return -ERANGE;
	t->told_us = start_us - t->wall_offset_us;
	if (!b->is_known) {
		b->is_told = true;
		learn(t, boottime_us);
		return 0;
	}
	b->start_us = start_us;
	if (llabs(offset_us) > STEP_US)
		note_step(t, offset_us, false);
	t->must_save = true;
	estimate(t);
	return 0;
}

bool fg_timekeeper_is_known(const struct fg_timekeeper *t)
{
	return t->boots[t->n_boots - 1].is_known;
}

bool fg_timekeeper_is_waiting(struct fg_timekeeper *t)
{
	int64_t utc_us, boottime_us;

	if (!t || fg_timekeeper_is_known(t))
		return false;
	clocks(t, &utc_us, &boottime_us);
	return boottime_us - t->begin_us < t->with.wait_us;
}

void fg_timekeeper_moment(const struct fg_timekeeper *t, uint8_t *out)
{
	int64_t utc_us, boottime_us;

	t->with.read(t->with.arg, &utc_us, &boottime_us);
	memcpy(out, t->boots[t->n_boots - 1].id, 16);
	fg_put_le64(out + 16, (uint64_t)boottime_us);
}

enum fg_time_quality fg_timekeeper_repair(const struct fg_timekeeper *t, const uint8_t *moment,
					  int64_t *time_us)
{
	uint64_t raw = fg_get_le64(moment + 16);
	int64_t boottime_us = raw < (uint64_t)TIME_MAX_US ? (int64_t)raw : TIME_MAX_US;

	for (size_t i = 0; i < t->n_boots; i++) {
		const struct boot *b = &t->boots[i];

		if (memcmp(b->id, moment, 16) != 0)
			continue;
		*time_us = b->best_us + boottime_us;
		if (b->is_known) {
			/* That of this boot follows the wall clock closer than estimates do. */
			*time_us = b->start_us + boottime_us;
			return FG_TIME_GATEWAY;
		}
		*time_us = smaller(*time_us, b->limit_us);
		return FG_TIME_UNSYNCHRONISED;
	}
	/* Of a boot that is not in the file any more: before all that are. */
	if (*time_us < FG_TIME_FLOOR_US)
		*time_us = t->boots[0].best_us - FORGOTTEN_LENGTH_US +
			   smaller(boottime_us, FORGOTTEN_LENGTH_US);
	return FG_TIME_UNSYNCHRONISED;
}
