#pragma once

/*
 * The part of image_file.c that waits for the disk, on a thread of the connector: what has arrived
 * is synced, then the description that says so is put in place, then, at the end, the image gets
 * its last name; then the directory is synced.
 */
#include "net/connector.h"
#include "ota/image_info.h"

/** What the thread is given; it changes only the result. */
struct fg_image_work {
	struct fg_connector_job job;
	int fd, dir_fd;
	char name[FG_IMAGE_NAME_SIZE];
	uint64_t bytes; /* that are on disk afterwards */
	uint8_t info[FG_IMAGE_INFO_MAX_BYTES];
	size_t info_size;
	bool is_last; /* make it an .image */
	int result;   /* 0 or a negative errno */
};

/** job.work() of a struct fg_image_work. */
void fg_image_work(struct fg_connector_job *job);
