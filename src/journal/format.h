#pragma once

/* clang-format off */
/*
 * The journal on disk. This page is the specification: a reader can be written from it alone
 * (tests/journal_reader.py is one).
 *
 * A journal is a directory with one directory for each lane ("main", "alarm", "quarantine"), made
 * when the lane has its first record. A lane is a list of segment files and nothing else; files with
 * other names are ignored and left alone. Each lane has sequence numbers and a journal id of its own;
 * main and alarm have cursors (section 3) of their own, too. All numbers are little-endian. CRC means
 * CRC32C (Castagnoli, as in RFC 3720) of the bytes named.
 *
 * A commit may write to several lanes. It then syncs quarantine, alarm, main, in this order: what a
 * cursor table counts as settled because it went into quarantine is there before the table is. A
 * record that settles a quarantined message goes into a commit after the one with what the message
 * was appended again as, and so is never there without that.
 *
 * 1. Segment file
 *
 * Name: sixteen lower-case hexadecimal digits and ".seg": the sequence number of its first record,
 * which also stands in its header. Made under the name "next.tmp", filled with a header,
 * preallocated with zeros, synced, renamed, and the directory synced: a file called *.seg always
 * had a whole header. One whose name and header tell different numbers counts as one whose header
 * could not be read. Set aside for a human, and not part of the journal any more:
 * "<name>.damaged", perhaps with a number behind. That is a file whose header could not be read, or
 * one that all readers have passed and that had damaged records in it; of the latter each lane
 * keeps eight.
 *
 * "<sixteen digits>.passed", empty: all records below this number were settled by all cursors, and
 * their segments have gone to make room on a full disk, where no cursor table could say so. The one
 * with the highest number counts; it goes when the next segment is made, whose table says it.
 *
 *   offset size
 *        0    8  magic "FGJRNL\r\n"
 *        8    4  CRC of bytes 12..(header size - 1)
 *       12    2  format version: 1
 *       14    2  header size: 4096 or a multiple, up to 61440; the first record starts here
 *       16    4  compatible feature bits: a reader may ignore those it does not know
 *       20    4  incompatible feature bits: who knows not all of them leaves the journal alone
 *       24    8  sequence number of the first record
 *       32    8  UTC microseconds when the segment was made
 *       40   16  journal id: random, the same in all segments of a lane. The lane's is the one that
 *                more than half of its segments have, else that of the newest; others are ignored
 *       56    4  size of the cursor table that follows at 64, in bytes
 *       60    4  zero
 *       64    …  cursor table as of the making of the segment (section 3), zeros up to the header's
 *                size
 *
 * Every later version keeps bytes 0..23 and that CRC, so that this one can tell it from damage.
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
 *       24    4  batch index: how many records before this one the same commit wrote to this lane
 *       28    1  kind: 1 telemetry, 2 attributes, 3 presence, 4 command response, 5 event,
 *                 6 request, 128 cursor table (body: section 3), 129 quarantined message, 130 quarantined
 *                 message settled (bodies: section 4), 192..255 notes (section 5)
 *       29    1  bits 0..1: time quality (0 device, 1 gateway, 2 gateway not synchronised)
 *                 bit 2: the body is opaque and a content type is present; else it is a JSON object
 *                 bit 3: extensions are present; other bits zero
 *       30    1  size of the device name in bytes (0 for kinds 128 and 130)
 *       31    1  size of the stream name in bytes
 *       32    …  device name, stream name,
 *                 content type when bit 2 is set: one byte size, then its bytes,
 *                 extensions when bit 3 is set: one byte n, then n times {one byte type, one byte
 *                 size, the bytes}, unknown types to be skipped:
 *                   1 ref: which command a response answers
 *                   2 unsynchronised time: 16 bytes boot id, 8 bytes monotonic microseconds
 *                   3 link: the only one the record is for; the others pass it over
 *                   4 lane a quarantined message was in or meant for: 1 byte, 0 main, 1 alarm
 *                 body: all that remains up to size
 *
 * No record takes less than 40 bytes, padding included. A size of 0, a size below 32 or beyond the segment, a wrong sequence number or a wrong CRC is not
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
 *     there, and recovery cuts the file (ftruncate) at the end of the last good record in front of
 *     the first such place. (What the disk refuses to read is left as it is and counts as damage.)
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
 *     1 byte size of the link's name, its bytes (1 to 63 without a zero, or the entry says nothing;
 *       of a name that comes twice the last counts)
 *     8 bytes low watermark: every record up to and including it is settled for this link: its cloud
 *       has it, or nobody will send it any more
 *     2 bytes number of ranges, 2 bytes number of sessions that were left behind
 *     for each range 8 bytes first and 8 bytes last record that is settled, above the watermark
 *     for each session 8 bytes key and 8 bytes sequence number: of a link with many sessions, the
 *       records of this one are not settled from there on, whatever the above says. Which records are
 *       of which session is the link's business; key 0 stands for records whose order matters. A key
 *       whose highest bit is set is that of one record alone, which is not settled either: its other
 *       bits are the record's number, and the same as the sequence number. Of a key that comes twice
 *       the lower number counts
 *   8 bytes the journal's clock in milliseconds, 8 bytes UTC microseconds at that moment, 8 bytes the
 *     journal's clock when the newest message in front of the table was appended; all three may be
 *     missing. What follows is to be ignored: zeros that fill the page of 4 KiB, so that the next
 *     commit does not write it once more.
 *
 * Ranges are written sorted and apart, but nobody relies on it. One that ends in front of where it
 * starts, or at or below the watermark, says nothing. A writer may leave ranges out, which has
 * records sent again; it may not leave out a session unless the watermark is below it and there are
 * no ranges. Sequence numbers above the newest record say nothing either.
 *
 * The cursor of a link is the one in the newest table: that of the newest valid record of kind 128
 * in the newest segment or, when there is none, the one in that segment's header.
 *
 * The journal's clock tells how old a segment is, without ever looking at a clock that may step. It
 * is one for all lanes. It starts at 0 with the journal and advances with the monotonic clock while a
 * daemon runs. A daemon that starts takes it up where it has got to in any table, and adds the time
 * it was away: UTC now less UTC in that table, when that is between 0 and 30 days; what is negative or
 * longer is taken for a clock that was set, and counts as nothing. A commit of records to a lane that
 * comes a minute or more (of this clock) after that lane's newest table brings a table of its own,
 * so that no record is younger than the table in front of it by more. When the newest message of a segment was appended is told
 * by the header of the next segment and, in the newest one, by the newest table; or, when messages
 * follow that, it is taken for a minute younger than the table.
 *
 * 4. Quarantine
 *
 * The sequence number of a record of kind 129 is the quarantined message's number. Device (possibly
 * empty), stream, content type, time and the extensions ref, unsynchronised time and lane (not
 * there: main) are the message's, and stand where they do in any record. Whether the body is opaque
 * is told by its content type, too. The record's body:
 *
 *   1 byte size, name of the link that refused it (empty: the gateway itself)
 *   2 bytes size, reason, UTF-8 text
 *   2 bytes size, MQTT topic it came with, or empty
 *   1 byte kind of the message (0: none, it never became one), 1 byte time quality as above
 *   4 bytes number of attempts made
 *   8 bytes size of the message when it was whole; larger than what remains: it was cut
 *   the message's body, up to the end of the record
 *
 * A record of kind 130 says that a quarantined message is done with: it was appended again, or
 * dropped. Body: 8 bytes number of the message, which is lower than the record's own. A message for
 * which there is one is not in quarantine any more.
 *
 * 5. Notes
 *
 * Records of kinds 192..255 are notes of a part of the gateway to itself: never sent to a cloud. They
 * have the fields of any record; the device name may be empty. Which kinds there are:
 *
 *   192 command: one that a cloud has sent, as it came
 *   193 command state: what has become of it since
 *
 * Their bodies are the command desk's own JSON. Who does not know a kind passes it over.
 */
/* clang-format on */
#include <stdint.h>

#define FG_SEGMENT_MAGIC "FGJRNL\r\n"
#define FG_SEGMENT_VERSION 1
#define FG_SEGMENT_HEADER_BYTES 4096 /* at least, and the step it grows in */
#define FG_SEGMENT_HEADER_MAX (15 * FG_SEGMENT_HEADER_BYTES)
#define FG_SEGMENT_TABLE_AT 64
#define FG_SEGMENT_TABLE_MAX (FG_SEGMENT_HEADER_MAX - FG_SEGMENT_TABLE_AT)
#define FG_RECORD_HEADER_BYTES 32
#define FG_RECORD_ALIGN 8
#define FG_RECORD_KIND_CURSORS 128
#define FG_RECORD_KIND_QUARANTINE 129
#define FG_RECORD_KIND_SETTLED 130
#define FG_RECORD_KIND_COMMAND 192
#define FG_RECORD_KIND_COMMAND_STATE 193
#define FG_RECORD_FLAG_OPAQUE 0x04
#define FG_RECORD_FLAG_EXTENSIONS 0x08
#define FG_EXTENSION_REF 1
#define FG_EXTENSION_UNSYNCHRONISED 2
#define FG_EXTENSION_LINK 3
#define FG_EXTENSION_LANE 4
