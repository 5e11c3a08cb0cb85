#pragma once

/* clang-format off */
/*
 * The journal on disk. This page is the specification: a reader can be written from it alone
 * (tests/journal_reader.py is one).
 *
 * A journal is a directory with one directory for each lane ("main", "quarantine"). A lane is a
 * list of segment files and nothing else; files with other names are ignored and left alone. All
 * numbers are little-endian. CRC means CRC32C (Castagnoli, as in RFC 3720) of the bytes named.
 *
 * 1. Segment file
 *
 * Name: sixteen lower-case hexadecimal digits and ".seg": the sequence number of its first record,
 * which also stands in its header. Made under the name "next.tmp", filled with a header,
 * preallocated with zeros, synced, renamed, and the directory synced: a file called *.seg always
 * had a whole header. Set aside for a human, and not part of the journal any more:
 * "<name>.damaged", perhaps with a number behind. That is a file whose header could not be read, or
 * one that all readers have passed and that had damaged records in it; of the latter each lane
 * keeps eight.
 *
 *   offset size
 *        0    8  magic "FGJRNL\r\n"
 *        8    4  CRC of bytes 12..4095
 *       12    2  format version: 1
 *       14    2  header size: 4096; the first record starts here
 *       16    4  compatible feature bits: a reader may ignore those it does not know
 *       20    4  incompatible feature bits: who knows not all of them leaves the journal alone
 *       24    8  sequence number of the first record
 *       32    8  UTC microseconds when the segment was made
 *       40   16  journal id: random, the same in all segments of a lane; of another id: ignored
 *       56    4  size of the cursor table that follows at 64, in bytes
 *       60    4  zero
 *       64    …  cursor table as of the making of the segment (section 3), zeros up to 4096
 *
 * 2. Record
 *
 * Starts at a multiple of 8 bytes. Sequence numbers within a segment rise by exactly 1.
 *
 *   offset size
 *        0    4  CRC of the journal id (16 bytes), followed by bytes 4..size-1
 *        4    4  size: header and parts, without the padding that follows it (0..7 zero bytes)
 *        8    8  sequence number
 *       16    8  time, UTC microseconds, signed
 *       24    4  batch index: how many records before this one were written in the same commit
 *       28    1  kind: 1 telemetry, 2 attributes, 3 presence, 4 command response, 5 event,
 *                 128 cursor table (body: section 3), 129 quarantined message (body: section 4)
 *       29    1  bits 0..1: time quality (0 device, 1 gateway, 2 gateway not synchronised)
 *                 bit 2: the body is opaque and a content type is present; else it is a JSON object
 *                 bit 3: extensions are present; other bits zero
 *       30    1  size of the device name in bytes (0 for kind 128)
 *       31    1  size of the stream name in bytes
 *       32    …  device name, stream name,
 *                 content type when bit 2 is set: one byte size, then its bytes,
 *                 extensions when bit 3 is set: one byte n, then n times {one byte type, one byte
 *                 size, the bytes}, unknown types to be skipped:
 *                   1 ref: which command a response answers
 *                   2 unsynchronised time: 16 bytes boot id, 8 bytes monotonic microseconds
 *                 body: all that remains up to size
 *
 * A size of 0, a size below 32 or beyond the segment, a wrong sequence number or a wrong CRC is not
 * a record. (The id in the CRC keeps what only looks like a record, in the body of a message or in
 * a recycled block, from being taken for one when the next record behind a damage is searched for.)
 * A record whose kind is unknown, or whose parts do not add up though its CRC is right, is passed
 * over.
 *
 * The batch index tells synced records from others without a second write: a commit begins only
 * after the one before it has been synced, so a valid record with sequence number s and batch index
 * b proves that everything up to s-b-1 was on disk when it was written. What does not read as a
 * record and
 *   - is followed, at a multiple of 8 in the same segment, by a valid record that proves it was
 *     synced is damage: counted as lost, the file set aside once all have read past it;
 *   - else, in the newest segment, is the torn tail of the last commit: nobody was told it is
 *     there, and recovery cuts the file (ftruncate) at the end of the last good record.
 *
 * The end of a segment is the record before the next segment's first one; in the newest segment,
 * zeros, or the end of the file. A record whose sequence number is not below the next segment's
 * first one is not part of the journal (a commit that failed and was written again in a new
 * segment). Sequence numbers between the last record of a segment and the first of the next belong
 * to records that are lost, or were never written.
 *
 * 3. Cursor table
 *
 *   2 bytes number of entries, then for each:
 *     1 byte size of the link's name, its bytes
 *     8 bytes low watermark: every record up to and including it is acknowledged by this link
 *     2 bytes number of ranges, each 8 bytes first and 8 bytes last record acknowledged above it
 *   8 bytes the journal's clock in milliseconds, 8 bytes UTC microseconds at that moment, 8 bytes the
 *     journal's clock when the newest message in front of the table was appended; all three may be
 *     missing. What follows is to be ignored.
 *
 * The cursor of a link is the one in the newest table: that of the newest valid record of kind 128
 * in the newest segment or, when there is none, the one in that segment's header.
 *
 * The journal's clock tells how old a segment is, without ever looking at a clock that may step. It
 * starts at 0 with the journal and advances with the monotonic clock while a daemon runs. A daemon
 * that starts takes it up where the newest table left it, and adds the time it was away: UTC now
 * less UTC in that table, when that is between 0 and 30 days; what is negative or longer is taken
 * for a clock that was set, and counts as nothing. A commit of records that comes a minute or more
 * (of this clock) after the newest table brings a table of its own, so that no record is younger
 * than the table in front of it by more. When the newest message of a segment was appended is told
 * by the header of the next segment and, in the newest one, by the newest table; or, when messages
 * follow that, it is taken for a minute younger than the table.
 *
 * 4. Quarantined message: a record's body of kind 129, device name possibly empty
 *
 *   1 byte size, name of the link that refused it (empty: the gateway itself)
 *   2 bytes size, reason, UTF-8 text
 *   2 bytes size, MQTT topic it came with, or empty
 *   1 byte kind of the message (0: none, it never became one), 1 byte time quality as above
 *   4 bytes number of attempts made
 *   8 bytes size of the message when it was whole; larger than what remains: it was cut
 *   the message's body, up to the end of the record
 */
/* clang-format on */
#include <stdint.h>

#define FG_SEGMENT_MAGIC "FGJRNL\r\n"
#define FG_SEGMENT_VERSION 1
#define FG_SEGMENT_HEADER_BYTES 4096
#define FG_RECORD_HEADER_BYTES 32
#define FG_RECORD_ALIGN 8
#define FG_RECORD_KIND_CURSORS 128
#define FG_RECORD_KIND_QUARANTINE 129
#define FG_RECORD_FLAG_OPAQUE 0x04
#define FG_RECORD_FLAG_EXTENSIONS 0x08
#define FG_EXTENSION_REF 1
#define FG_EXTENSION_UNSYNCHRONISED 2
