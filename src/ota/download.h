#pragma once

/*
 * Fetches an image from a URL into the store: goes on after failures where it stood (Range), with
 * back-off, for as long as some of the attempts bring it further; checks size and checksum; makes it
 * durable. Everything belongs to the loop's thread; nothing here blocks it.
 *
 * Size and checksum of the description are what the cloud announced. Without a checksum each
 * attempt starts from the first byte, and only the server's certificate tells that it is the right
 * one. No log line is written here, and no sentence quotes the URL or a header.
 *
 *                       | WAITING   | FETCHING          | SEALING
 * ----------------------+-----------+-------------------+--------------------------
 * start, timer          | FETCHING, | -                 | -
 *                       | or when   |                   |
 *                       | all is    |                   |
 *                       | there     |                   |
 *                       | SEALING   |                   |
 * image of the owner is | WAITING   | -                 | -
 *   in use              |           |                   |
 * 206 of the rest       | -         | stay              | -
 * 200 (Range ignored)   | -         | stay, from byte 0 | -
 *                       |           |  max_attempts times|
 *                       |           |  at most, then ENDED|
 * other size than       | -         | ENDED (-EMSGSIZE) | -
 *   announced           |           |                   |
 * all bytes came        | -         | SEALING           | -
 * cut, timeout, 408,    | -         | WAITING; ENDED at | -
 *   425, 429, 5xx, TLS  |           |  the last attempt |
 * 416, a wrong 206      | -         | WAITING, from     | -
 *                       |           |  byte 0           |
 * 401, 403              | -         | ENDED (-EACCES)   | -
 * 404, 410              | -         | ENDED (-ENOENT)   | -
 * other status          | -         | ENDED (-EPROTO)   | -
 * disk full, disk error | ENDED     | ENDED             | ENDED
 * checksum is right,    | -         | -                 | ENDED (0)
 *   image is durable    |           |                   |
 * checksum is wrong     | -         | -                 | WAITING, from byte 0, if
 *                       |           |                   |  parts of it were fetched
 *                       |           |                   |  at different times;
 *                       |           |                   |  else ENDED (-EBADMSG)
 * free()                | gone      | gone              | gone
 *
 * What is there when it ends in an error stays for the next time, but what is wrong (-EBADMSG,
 * -EMSGSIZE, -EFBIG) is removed, and with `gives_up_room` also what met a full disk.
 */
#include "net/http_client.h"
#include "ota/image_file.h"

#define FG_DOWNLOAD_ATTEMPTS 10            /* in a row that bring nothing */
#define FG_DOWNLOAD_PROGRESS_BYTES 65536   /* what an attempt must bring to be none of them */
#define FG_DOWNLOAD_MAX_RETRY_AFTER_S 3600 /* a server that wants longer is asked earlier */
#define FG_DOWNLOAD_REDIRECTS 5

struct fg_download;

struct fg_download_params {
	/* url, headers, tls, proxy and timeouts are used; the rest is for the download to say */
	struct fg_http_params source;
	struct fg_image_description image;
	uint64_t max_bytes;    /* of the image; 0: what the store allows */
	unsigned max_attempts; /* in a row that bring nothing; 0: FG_DOWNLOAD_ATTEMPTS */
	bool gives_up_room;    /* remove what is there when the disk is full */
	uint64_t seed;         /* of the back-off's jitter */
};

/** In both the download may be released. */
struct fg_download_ops {
	/**
	 * FG_IMAGE_DOWNLOADING: when fetching begins and once a second while bytes come;
	 * FG_IMAGE_DOWNLOADED: all is there and will be checked. @total: 0 when it is not known. May
	 * be NULL.
	 */
	void (*progress)(void *owner, enum fg_image_state state, uint64_t have, uint64_t total);

	/**
	 * The end, exactly once: @error 0 and the finished @image, which the callee owns now (and
	 * may fg_image_file_adopt()); or a negative errno with a sentence, and NULL. Never inside
	 * fg_download_new().
	 */
	void (*done)(void *owner, int error, const char *text, struct fg_image_file *image);
};

/**
 * Start. @params is copied; @http and @store outlive the download. On success the caller owns *@ret.
 * Returns 0, -ENOMEM, or -EINVAL with a sentence (source or description).
 */
int fg_download_new(struct ev_loop *loop, struct fg_http *http, struct fg_image_store *store,
		    const struct fg_download_params *params, const struct fg_download_ops *ops,
		    void *owner, struct fg_download **ret, struct fg_error *err);

/** Give up, if it is not over, and release; what is there stays. Takes NULL, returns NULL. */
struct fg_download *fg_download_free(struct fg_download *d);

/** The same, and what is there goes too. */
struct fg_download *fg_download_remove(struct fg_download *d);
