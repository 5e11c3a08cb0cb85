#include "ota/image_file.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/stat.h>

#include "ota/image_work.h"
#include "util/cleanup.h"

/* An image of unknown size takes room in steps of this. */
#define RESERVE_STEP_BYTES (16 * 1024 * 1024)

/* When all threads of the connector are at work. */
#define THREAD_RETRY_S 0.1

enum image_state {
	IMAGE_PARTIAL,
	IMAGE_FINISHING,
	IMAGE_FINISHED,
};

struct fg_image_file {
	struct fg_image_use use; /* its store: NULL when that has gone, or never knew us */
	struct fg_image_description description; /* strings are ours */
	const struct fg_image_file_ops *ops;
	void *owner;
	enum image_state state;
	char path[PATH_MAX];
	int fd;
	uint64_t bytes;  /* here */
	uint64_t synced; /* … and safely on disk */
	int error;       /* of a sync that failed: nothing can be relied on; 0: none */

	struct fg_image_work work;
	bool is_working;   /* at the thread */
	bool is_released;  /* by its owner; goes when the thread is done */
	bool is_to_remove; /* then, too */
	bool is_rewound;   /* while the thread was at work: what it wrote of us is wrong */
	bool is_awaited;   /* writable() is due */
	bool is_sealing;
	ev_timer slice; /* the next piece to verify */
	ev_timer retry; /* for a thread */

	struct fg_checksum *checksum; /* while it is being verified */
	uint64_t verified;            /* bytes */
};

static void image_sync(struct fg_image_file *image);
static void image_slice(struct ev_loop *loop, ev_timer *w, int events);
static int image_start_work(struct fg_image_file *image, bool is_last);

/* The end of the memory; the thread is not at work. */
static void image_destroy(struct fg_image_file *image)
{
	if (image->use.store) {
		if (image->is_to_remove)
			fg_image_store_remove(image->use.store, image->use.name, NULL);
		fg_image_store_leave(&image->use);
	}
	fg_checksum_free(image->checksum);
	if (image->fd >= 0)
		close(image->fd);
	fg_image_info_clear(&image->description);
	free(image);
}

/* -- the thread is done -- */

static struct fg_image_file *image_of(struct fg_connector_job *job)
{
	return (struct fg_image_file *)((char *)job - offsetof(struct fg_image_file, work.job));
}

static void image_orphaned(struct fg_connector_job *job)
{
	struct fg_image_file *image = image_of(job);

	close(image->work.dir_fd);
	image_destroy(image);
}

/* Tell it; the image may be gone afterwards. */
static void image_finished(struct fg_image_file *image, int result)
{
	if (image->ops->finished)
		image->ops->finished(image->owner, result);
}

static void image_worked(struct fg_connector_job *job)
{
	struct fg_image_file *image = image_of(job);
	struct fg_image_work *w = &image->work;

	close(w->dir_fd);
	image->is_working = false;
	if (image->is_released) {
		image_destroy(image);
		return;
	}
	if (image->is_rewound)
		fg_image_store_remove(image->use.store, image->use.name, ".part");
	else if (w->result == 0)
		image->synced = w->bytes;
	else
		image->error = w->result;
	image->is_rewound = false;
	if (w->is_last || (image->state == IMAGE_FINISHING && image->error)) {
		image->state = w->result < 0 ? IMAGE_PARTIAL : IMAGE_FINISHED;
		image_finished(image, w->result);
		return;
	}
	if (image->state == IMAGE_FINISHING) {
		image_start_work(image, true);
		return;
	}
	image_sync(image); /* the next, when it is time already */
	if (image->is_awaited) {
		image->is_awaited = false;
		if (image->ops->writable)
			image->ops->writable(image->owner); /* it may be gone now */
	}
}

/* -- giving it to the thread -- */

/* Returns 0, or -EAGAIN: no thread now, the timer tries again. */
static int image_start_work(struct fg_image_file *image, bool is_last)
{
	struct fg_image_work *w = &image->work;
	int r;

	w->job = (struct fg_connector_job){
		.work = fg_image_work,
		.done = image_worked,
		.orphaned = image_orphaned,
	};
	memcpy(w->name, image->use.name, sizeof(w->name));
	w->fd = image->fd;
	w->bytes = image->bytes;
	w->info_size = fg_image_info_encode(&image->description, image->bytes, w->info);
	w->is_last = is_last;
	/* A descriptor of its own: the store may be gone before the thread is done. */
	w->dir_fd = fcntl(fg_image_store_fd(image->use.store), F_DUPFD_CLOEXEC, 0);
	r = w->dir_fd < 0 ? -errno
			  : fg_connector_run(fg_image_store_connector(image->use.store), &w->job);
	if (r == 0) {
		image->is_working = true;
		ev_timer_stop(fg_image_store_loop(image->use.store), &image->retry);
		return 0;
	}
	if (w->dir_fd >= 0)
		close(w->dir_fd);
	if (!ev_is_active(&image->retry)) {
		ev_timer_set(&image->retry, THREAD_RETRY_S, 0.);
		ev_timer_start(fg_image_store_loop(image->use.store), &image->retry);
	}
	return -EAGAIN;
}

/* Sync what came, when it is enough. */
static void image_sync(struct fg_image_file *image)
{
	if (image->is_working || image->error || image->state != IMAGE_PARTIAL ||
	    image->bytes - image->synced < FG_IMAGE_SYNC_EVERY_BYTES)
		return;
	image_start_work(image, false);
}

static void image_retry(struct ev_loop *loop, ev_timer *w, int events)
{
	struct fg_image_file *image = w->data;

	(void)loop;
	(void)events;
	if (image->is_working)
		return;
	if (image->state == IMAGE_FINISHING)
		image_start_work(image, true);
	else
		image_sync(image);
}

/* -- what the header offers -- */

/* How much of a partial image is safe, or 0. */
static uint64_t safe_bytes(struct fg_image_file *image)
{
	char name[FG_IMAGE_NAME_SIZE + 8];
	uint8_t info[FG_IMAGE_INFO_MAX_BYTES + 1];
	FG_CLEANUP(fg_close_p) int fd = -1;
	uint64_t synced = 0;
	struct stat st;
	ssize_t n;

	if (!image->description.checksum)
		return 0;
	snprintf(name, sizeof(name), "%s.info", image->use.name);
	fd = openat(fg_image_store_fd(image->use.store), name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return 0;
	n = read(fd, info, sizeof(info));
	if (n < 0 || fg_image_info_decode(info, (size_t)n, &image->description, &synced) < 0)
		return 0;
	if (fstat(image->fd, &st) < 0 || synced > (uint64_t)st.st_size)
		return 0;
	if (image->description.size > 0 && synced > image->description.size)
		return 0;
	return synced;
}

/* True: the finished image is there, and open. */
static bool open_finished(struct fg_image_file *image)
{
	char name[FG_IMAGE_NAME_SIZE + 8];
	struct stat st;

	snprintf(name, sizeof(name), "%s.image", image->use.name);
	image->fd = openat(fg_image_store_fd(image->use.store), name,
			   O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	if (image->fd < 0)
		return false;
	if (fstat(image->fd, &st) == 0 && S_ISREG(st.st_mode) &&
	    (image->description.size == 0 || image->description.size == (uint64_t)st.st_size)) {
		image->state = IMAGE_FINISHED;
		image->bytes = image->synced = (uint64_t)st.st_size;
		image->use.reserved_bytes = image->bytes;
		return true;
	}
	close(image->fd);
	image->fd = -1;
	fg_image_store_remove(image->use.store, image->use.name, NULL);
	return false;
}

static int open_partial(struct fg_image_file *image)
{
	char name[FG_IMAGE_NAME_SIZE + 8];

	snprintf(name, sizeof(name), "%s.part", image->use.name);
	image->fd = openat(fg_image_store_fd(image->use.store), name,
			   O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0640);
	if (image->fd < 0)
		return -errno;
	/* Whatever the umask: a program that installs it may run in our group. */
	if (fchmod(image->fd, 0640) < 0)
		return -errno;
	image->bytes = image->synced = safe_bytes(image);
	if (ftruncate(image->fd, (off_t)image->bytes) < 0)
		return -errno;
	return fg_image_store_reserve(image->use.store, &image->use, image->fd,
				      image->description.size);
}

static const char *begin_sentence(int error)
{
	switch (-error) {
	case EFBIG:
		return "the image is larger than allowed";
	case EDQUOT:
		return "the images in use leave no room for another one";
	case ENOSPC:
		return "no space on the file system";
	default:
		return strerror(-error);
	}
}

int fg_image_file_begin(struct fg_image_store *store,
			const struct fg_image_description *description,
			const struct fg_image_file_ops *ops, void *owner,
			struct fg_image_file **ret, struct fg_error *err)
{
	struct fg_image_file *image;
	int r;

	r = fg_image_info_check(description, err);
	if (r < 0)
		return r;
	image = calloc(1, sizeof(*image));
	if (!image)
		return fg_error_set(err, -ENOMEM, "out of memory");
	image->fd = -1;
	image->ops = ops;
	image->owner = owner;
	ev_init(&image->retry, image_retry);
	image->retry.data = image;
	ev_init(&image->slice, image_slice);
	image->slice.data = image;
	r = fg_image_info_copy(description, &image->description);
	if (r == 0)
		r = fg_image_info_name(&image->description, image->use.name);
	if (r == 0 && fg_image_store_enter(store, &image->use) < 0) {
		image_destroy(image);
		return fg_error_set(err, -EBUSY, "another image of the same owner is in use");
	}
	if (r < 0) {
		image_destroy(image);
		return fg_error_set(err, r, "%s", strerror(-r));
	}
	fg_image_store_remove_others(store, image->use.name);
	snprintf(image->path, sizeof(image->path), "%s/%s.image", fg_image_store_directory(store),
		 image->use.name);
	if (!open_finished(image))
		r = open_partial(image);
	if (r < 0) {
		/* A new one leaves nothing behind; of one that was begun before nothing is lost. */
		image->is_to_remove = image->bytes == 0;
		image_destroy(image);
		return fg_error_set(err, r, "%s", begin_sentence(r));
	}

	*ret = image; /* the caller owns it now */
	return 0;
}

void fg_image_file_adopt(struct fg_image_file *image, const struct fg_image_file_ops *ops,
			 void *owner)
{
	image->ops = ops;
	image->owner = owner;
}

static void image_release(struct fg_image_file *image)
{
	image->is_released = true;
	/* Nothing is verified any more while the thread is at work: there is nobody to tell. */
	if (image->use.store) {
		ev_timer_stop(fg_image_store_loop(image->use.store), &image->retry);
		ev_timer_stop(fg_image_store_loop(image->use.store), &image->slice);
	}
	if (!image->is_working)
		image_destroy(image);
}

struct fg_image_file *fg_image_file_free(struct fg_image_file *image)
{
	if (image)
		image_release(image);
	return NULL;
}

struct fg_image_file *fg_image_file_remove(struct fg_image_file *image)
{
	if (!image)
		return NULL;
	image->is_to_remove = true;
	image_release(image);
	return NULL;
}

bool fg_image_file_is_finished(const struct fg_image_file *image)
{
	return image->state == IMAGE_FINISHED;
}

uint64_t fg_image_file_bytes(const struct fg_image_file *image)
{
	return image->bytes;
}

static int write_piece(struct fg_image_file *image, struct fg_span piece)
{
	size_t at = 0;

	while (at < piece.size) {
		ssize_t n = pwrite(image->fd, piece.data + at, piece.size - at,
				   (off_t)(image->bytes + at));

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		at += (size_t)n;
	}
	return 0;
}

int fg_image_file_write(struct fg_image_file *image, uint64_t offset, struct fg_span piece)
{
	uint64_t end = image->bytes + piece.size, step;
	int r;

	if (image->state != IMAGE_PARTIAL || image->is_sealing || offset != image->bytes ||
	    piece.size > FG_IMAGE_PIECE_BYTES)
		return -EINVAL;
	if (image->error)
		return image->error;
	if (image->description.size > 0 && end > image->description.size)
		return -EMSGSIZE;
	if (image->bytes - image->synced >= FG_IMAGE_MAX_UNSYNCED_BYTES) {
		image->is_awaited = true;
		return -EAGAIN;
	}
	if (end > image->use.reserved_bytes) {
		step = image->use.reserved_bytes + RESERVE_STEP_BYTES;
		if (step > fg_image_store_max_image_bytes(image->use.store))
			step = fg_image_store_max_image_bytes(image->use.store);
		r = fg_image_store_reserve(image->use.store, &image->use, image->fd,
					   end > step ? end : step);
		if (r < 0)
			return r;
	}
	r = write_piece(image, piece);
	if (r < 0)
		return r;
	image->bytes = end;
	image->verified = 0;
	image->checksum = fg_checksum_free(image->checksum);
	image_sync(image);
	return 0;
}

int fg_image_file_rewind(struct fg_image_file *image)
{
	if (image->is_sealing || image->state != IMAGE_PARTIAL)
		return -EINVAL;
	/* First nothing may say that something is there. */
	image->is_rewound = image->is_working;
	fg_image_store_remove(image->use.store, image->use.name, ".part");
	image->state = IMAGE_PARTIAL;
	image->bytes = image->synced = image->verified = 0;
	image->error = 0; /* what could not be synced is gone */
	image->checksum = fg_checksum_free(image->checksum);
	if (ftruncate(image->fd, 0) < 0)
		return -errno;
	return fg_image_store_reserve(image->use.store, &image->use, image->fd,
				      image->use.reserved_bytes);
}

/* Hash the next piece. Returns 1 when there is more, 0 at the end, or a negative errno. */
static int hash_piece(struct fg_image_file *image)
{
	uint8_t piece[FG_IMAGE_PIECE_BYTES];
	uint64_t left = image->bytes - image->verified;
	size_t want = left < sizeof(piece) ? (size_t)left : sizeof(piece);
	ssize_t n;

	do
		n = pread(image->fd, piece, want, (off_t)image->verified);
	while (n < 0 && errno == EINTR);
	if (n <= 0)
		return n < 0 ? -errno : -EIO;
	fg_checksum_update(image->checksum, piece, (size_t)n);
	image->verified += (uint64_t)n;
	return image->verified < image->bytes;
}

/* Returns 1 when there is more to verify, 0 when size and checksum are right, or a negative errno. */
static int verify_piece(struct fg_image_file *image)
{
	char text[FG_CHECKSUM_TEXT_SIZE];
	int r = 0;

	if (image->bytes == 0 ||
	    (image->description.size > 0 && image->bytes != image->description.size))
		return -EMSGSIZE;
	if (!image->description.checksum)
		return 0;
	if (!image->checksum) {
		image->verified = 0;
		r = fg_checksum_new(image->description.algorithm, &image->checksum);
	}
	if (r == 0)
		r = hash_piece(image);
	if (r != 0)
		return r;
	fg_checksum_final(image->checksum, text);
	return fg_checksum_equal(text, image->description.checksum) ? 0 : -EBADMSG;
}

/* What is right becomes durable. Returns 0, or the disk's last error. */
static int image_finish(struct fg_image_file *image)
{
	if (image->error)
		return image->error;
	/* Give back what was taken beyond its end. */
	if (ftruncate(image->fd, (off_t)image->bytes) < 0)
		return -errno;
	image->use.reserved_bytes = image->bytes;
	image->state = IMAGE_FINISHING;
	if (!image->is_working)
		image_start_work(image, true);
	return 0;
}

static void image_next_slice(struct fg_image_file *image)
{
	ev_timer_set(&image->slice, 0., 0.);
	ev_timer_start(fg_image_store_loop(image->use.store), &image->slice);
}

static void image_slice(struct ev_loop *loop, ev_timer *w, int events)
{
	struct fg_image_file *image = w->data;
	int r = verify_piece(image);

	(void)loop;
	(void)events;
	if (r == 1) {
		image_next_slice(image);
		return;
	}
	image->checksum = fg_checksum_free(image->checksum);
	image->is_sealing = false;
	if (r == 0 && image->state == IMAGE_PARTIAL) {
		r = image_finish(image);
		if (r == 0)
			return;
	}
	image_finished(image, r);
}

int fg_image_file_seal(struct fg_image_file *image)
{
	if (image->state == IMAGE_FINISHING || image->is_sealing)
		return -EINVAL;
	image->is_sealing = true;
	image_next_slice(image);
	return 0;
}

ssize_t fg_image_file_read(const struct fg_image_file *image, uint64_t offset, void *data,
			   size_t size)
{
	ssize_t n;

	if (image->state != IMAGE_FINISHED || image->is_sealing)
		return -EINVAL;
	if (offset >= image->bytes)
		return 0;
	do
		n = pread(image->fd, data, size, (off_t)offset);
	while (n < 0 && errno == EINTR);
	return n < 0 ? -errno : n;
}

const char *fg_image_file_path(const struct fg_image_file *image)
{
	return image->path;
}
