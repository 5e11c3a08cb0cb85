#pragma once

/*
 * Payloads in gzip (RFC 1952), marked by "?encoding=gzip" behind the topic. What goes up is packed with
 * memory that is got once; what comes down is rare, and its memory is got for each.
 */
#include "util/span.h"

#define HW_GZIP_MARK "?encoding=gzip"

struct hw_gzip;

/** On success the caller owns *@ret. Returns 0 or -ENOMEM. */
int hw_gzip_open(struct hw_gzip **ret);
void hw_gzip_close(struct hw_gzip *gzip);

/** Pack @plain into @out. Returns how many bytes that are; 0 when they are more than @out_size. */
size_t hw_gzip_pack(struct hw_gzip *gzip, struct fg_span plain, char *out, size_t out_size);

/**
 * Unpack @packed into @out, however much it would become. Returns 0, -EMSGSIZE (more than @out_size),
 * -EPROTO (no gzip, cut off, or with something behind it) or -ENOMEM.
 */
int hw_gzip_unpack(struct fg_span packed, char *out, size_t out_size, size_t *ret_size);
