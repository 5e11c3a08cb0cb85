#pragma once

/*
 * A segment whose header cannot be read, but whose records may: they are not used, since nothing proves
 * whose they are, but they tell what is lost with the file.
 */
#include "journal/segment.h"

/**
 * How many messages are in the file of @lane that begins with record @first_seq and has @size bytes, as
 * far as they can be read. Reads all of it. Returns 0 when it cannot be opened, too.
 */
uint64_t fg_headless_count(const struct fg_segments *lane, uint64_t first_seq, uint64_t size);
