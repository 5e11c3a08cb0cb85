#pragma once

/*
 * One record of the journal to bytes and back (format.h, sections 2 and 4). Nothing here allocates
 * or does I/O, and decoding trusts no byte.
 */
#include "fieldgate/plugin.h"
#include "journal/format.h"
#include "journal/journal.h"

/* The most a record needs beyond its parts: header, size bytes, extensions, padding. */
#define FG_RECORD_OVERHEAD_MAX 88
#define FG_UNSYNCHRONISED_BYTES 24
#define FG_QUARANTINE_REASON_MAX 1024

/** The fields of a record. Spans point into the record's bytes, or to what shall be encoded. */
struct fg_record {
	uint64_t seq;
	int64_t time_us;
	uint32_t batch_index;
	uint8_t kind; /* enum fg_kind or FG_RECORD_KIND_* */
	uint8_t time_quality;
	struct fg_span device;
	struct fg_span stream;
	struct fg_span content_type; /* not empty: the body is opaque */
	struct fg_span ref;
	struct fg_span link; /* the only one it is for, or empty */
	struct fg_span lane; /* of a quarantined message: one byte, or empty */
	struct fg_span
		unsynchronised; /* boot id, monotonic time: FG_UNSYNCHRONISED_BYTES, or empty */
	struct fg_span body;
};

/** Is @kind that of a message, as in enum fg_kind? */
static inline bool fg_record_is_message(unsigned kind)
{
	return kind >= FG_TELEMETRY && kind <= FG_REQUEST;
}

/** @size rounded up to where the next record may start. */
static inline size_t fg_record_align(size_t size)
{
	return (size + FG_RECORD_ALIGN - 1) & ~(size_t)(FG_RECORD_ALIGN - 1);
}

/** What the CRC of each record of the journal with @id starts from. */
uint32_t fg_record_seed(const uint8_t id[16]);

/**
 * The bytes @r takes, padding included.
 * Returns -EMSGSIZE when a part is longer than its size field can tell or the whole beyond 1 GiB.
 */
int64_t fg_record_size(const struct fg_record *r);

/**
 * Write @r, whose size fg_record_size() has told, to @out. Returns that size, padding included.
 */
size_t fg_record_encode(const struct fg_record *r, uint32_t seed, uint8_t *out);

/** The size a record's header claims, without padding; to be checked before it is believed. */
uint32_t fg_record_claimed_size(const uint8_t *data);
uint64_t fg_record_claimed_seq(const uint8_t *data);

/**
 * Is there a record with sequence number @seq at @data, of which @available bytes may be looked at?
 * Returns true when size, sequence number and CRC are right.
 */
bool fg_record_check(const uint8_t *data, size_t available, uint64_t seq, uint32_t seed);

/**
 * Take a checked record apart. @size is without padding. Returns 0, or -EBADMSG when parts do not
 * add up (then *@ret still has seq, time, batch index and kind).
 */
int fg_record_decode(const uint8_t *data, size_t size, struct fg_record *ret);

/** A record of a message or a note as a message. */
void fg_record_to_message(const struct fg_record *r, struct fg_message *ret);

/**
 * Encode @q as a record of at most @room bytes (padding included): texts that are too long are cut
 * at a character's edge, and then the body. Returns the size, padding included, or 0 when not even
 * the texts fit.
 */
size_t fg_quarantine_encode(const struct fg_quarantined *q, uint64_t seq, uint32_t batch_index,
			    uint32_t seed, uint8_t *out, size_t room);

/** Bytes fg_quarantine_encode() takes when it need not cut the body. */
size_t fg_quarantine_size(const struct fg_quarantined *q);

/** A record of kind 129 taken apart. Returns 0 or -EBADMSG. */
int fg_quarantine_decode(const struct fg_record *r, struct fg_quarantined *ret);

/** Bytes of a record of kind 130, padding included. */
#define FG_SETTLED_BYTES (FG_RECORD_HEADER_BYTES + 8)

/** Encode that quarantined message @number is settled, FG_SETTLED_BYTES at @out. */
void fg_settled_encode(uint64_t number, uint64_t seq, int64_t time_us, uint32_t batch_index,
		       uint32_t seed, uint8_t *out);

/** The number in a record of kind 130, or 0: it is none. */
uint64_t fg_settled_decode(const struct fg_record *r);
