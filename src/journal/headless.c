#include "journal/headless.h"

#include <errno.h>

#include "journal/reader.h"
#include "journal/record.h"

#define ID_OFFSET 40 /* format.h, section 1 */
#define ID_BYTES 16

/* Records prove by their checksum that the id was right. Returns 0 or a negative errno. */
static int take_id(struct fg_segments *l, uint64_t first_seq)
{
	char path[FG_SEGMENT_PATH_MAX];
	ssize_t n;
	int file;

	fg_segment_path(l->dir, first_seq, "", path);
	file = l->fs->open(l->fs->ctx, path, false);
	if (file < 0)
		return file;
	n = l->fs->read(l->fs->ctx, file, l->id, ID_BYTES, ID_OFFSET);
	l->fs->close(l->fs->ctx, file);
	l->seed = fg_record_seed(l->id);
	return n == ID_BYTES ? 0 : -EIO;
}

static uint64_t count(struct fg_segments *l)
{
	struct fg_read_result found;
	struct fg_record record;
	struct fg_reader reader;
	uint64_t n = 0;

	fg_reader_init(&reader, l);
	fg_reader_seek(&reader, l->items[0]->first_seq);
	while (fg_reader_next(&reader, true, &found) > FG_READ_END)
		n += found.data && fg_record_decode(found.data, found.size, &record) == 0 &&
		     fg_record_is_message(record.kind);
	fg_reader_free(&reader);
	return n;
}

uint64_t fg_headless_count(const struct fg_segments *lane, uint64_t first_seq, uint64_t size)
{
	struct fg_segments alone;
	uint64_t n = 0;

	fg_segments_init(&alone, lane->fs, lane->dir, lane->segment_bytes);
	if (take_id(&alone, first_seq) == 0 && fg_segments_reserve(&alone) == 0) {
		fg_segments_add(&alone, first_seq, FG_SEGMENT_HEADER_BYTES,
				size - size % FG_RECORD_ALIGN, size);
		alone.end_seq = first_seq + size / FG_RECORD_MIN_BYTES + 1;
		n = count(&alone);
	}
	fg_segments_free(&alone);
	return n;
}
