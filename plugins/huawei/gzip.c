#include "gzip.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <zlib.h>

/* A window of 32 KiB; and 16 more: with gzip's header and checksum around it (zlib.h). */
#define WINDOW_BITS (15 + 16)
#define MEMORY_LEVEL 8

/*
 * JSON that says the same again and again becomes a tenth with any level; the higher ones hold the loop
 * up three times as long for a little more.
 */
#define LEVEL Z_BEST_SPEED

struct hw_gzip {
	z_stream stream;
};

static void *get_memory(void *opaque, unsigned n, unsigned size)
{
	(void)opaque;
	return calloc(n, size);
}

static void give_memory(void *opaque, void *memory)
{
	(void)opaque;
	free(memory);
}

int hw_gzip_open(struct hw_gzip **ret)
{
	struct hw_gzip *gzip = calloc(1, sizeof(*gzip));

	if (!gzip)
		return -ENOMEM;
	gzip->stream = (z_stream){.zalloc = get_memory, .zfree = give_memory};
	if (deflateInit2(&gzip->stream, LEVEL, Z_DEFLATED, WINDOW_BITS, MEMORY_LEVEL,
			 Z_DEFAULT_STRATEGY) != Z_OK) {
		free(gzip);
		return -ENOMEM;
	}
	*ret = gzip;
	return 0;
}

void hw_gzip_close(struct hw_gzip *gzip)
{
	if (!gzip)
		return;
	deflateEnd(&gzip->stream);
	free(gzip);
}

/* zlib does not write to what it reads, but has no word for that without a macro of its own. */
static Bytef *bytes_of(struct fg_span span)
{
	return (Bytef *)(uintptr_t)span.data;
}

size_t hw_gzip_pack(struct hw_gzip *gzip, struct fg_span plain, char *out, size_t out_size)
{
	z_stream *stream = &gzip->stream;

	if (plain.size > UINT_MAX || out_size > UINT_MAX || deflateReset(stream) != Z_OK)
		return 0;
	stream->next_in = bytes_of(plain);
	stream->avail_in = (unsigned)plain.size;
	stream->next_out = (Bytef *)out;
	stream->avail_out = (unsigned)out_size;
	return deflate(stream, Z_FINISH) == Z_STREAM_END ? out_size - stream->avail_out : 0;
}

int hw_gzip_unpack(struct fg_span packed, char *out, size_t out_size, size_t *ret_size)
{
	z_stream stream = {.zalloc = get_memory, .zfree = give_memory};
	int r;

	if (packed.size > UINT_MAX || out_size > UINT_MAX)
		return -EMSGSIZE;
	if (inflateInit2(&stream, WINDOW_BITS) != Z_OK)
		return -ENOMEM;
	stream.next_in = bytes_of(packed);
	stream.avail_in = (unsigned)packed.size;
	stream.next_out = (Bytef *)out;
	stream.avail_out = (unsigned)out_size;
	r = inflate(&stream, Z_FINISH);
	inflateEnd(&stream);
	if (r == Z_STREAM_END && stream.avail_in == 0) {
		*ret_size = out_size - stream.avail_out;
		return 0;
	}
	if (r == Z_MEM_ERROR)
		return -ENOMEM;
	return r == Z_BUF_ERROR && stream.avail_out == 0 ? -EMSGSIZE : -EPROTO;
}
