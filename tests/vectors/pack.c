/*
 * gzip on both sides of the plugin, written apart from what plugins use.
 */
#include "play.h"

#include <stdlib.h>
#include <zlib.h>

#define GZIP_WINDOW 31

struct fg_span packed(struct fg_span plain)
{
	z_stream stream = {.next_in = (Bytef *)(uintptr_t)plain.data,
			   .avail_in = (unsigned)plain.size};
	Bytef *out = keep(malloc(BUFFER_SIZE));

	if (deflateInit2(&stream, 9, Z_DEFLATED, GZIP_WINDOW, 9, Z_DEFAULT_STRATEGY) != Z_OK)
		exit(2);
	stream.next_out = out;
	stream.avail_out = BUFFER_SIZE;
	if (deflate(&stream, Z_FINISH) != Z_STREAM_END)
		exit(2);
	deflateEnd(&stream);
	return (struct fg_span){(char *)out, stream.total_out};
}

bool unpacked(struct fg_span from, struct fg_span *ret)
{
	z_stream stream = {.next_in = (Bytef *)(uintptr_t)from.data,
			   .avail_in = (unsigned)from.size};
	Bytef *out = keep(malloc(BUFFER_SIZE));
	int r;

	if (inflateInit2(&stream, GZIP_WINDOW) != Z_OK)
		exit(2);
	stream.next_out = out;
	stream.avail_out = BUFFER_SIZE;
	r = inflate(&stream, Z_FINISH);
	inflateEnd(&stream);
	*ret = (struct fg_span){(char *)out, stream.total_out};
	return r == Z_STREAM_END && stream.avail_in == 0;
}
