#include "journal/record.h"

#include <errno.h>

#include "util/bytes.h"
#include "util/crc32c.h"
#include "util/span.h"

#define RECORD_MAX ((size_t)1 << 30)
#define TIME_QUALITY_MASK 0x03
#define N_EXTENSIONS 4
#define QUARANTINE_FIXED_BYTES (1 + 2 + 2 + 1 + 1 + 4 + 8)

uint32_t fg_record_seed(const uint8_t id[16])
{
	return fg_crc32c(0, id, 16);
}

struct extension {
	uint8_t type;
	struct fg_span value; /* empty: it is not there */
};

static void list_extensions(const struct fg_record *r, struct extension ret[N_EXTENSIONS])
{
	ret[0] = (struct extension){FG_EXTENSION_REF, r->ref};
	ret[1] = (struct extension){FG_EXTENSION_UNSYNCHRONISED, r->unsynchronised};
	ret[2] = (struct extension){FG_EXTENSION_LINK, r->link};
	ret[3] = (struct extension){FG_EXTENSION_LANE, r->lane};
}

/* Bytes of the extensions, their count included; 0 when there are none. */
static size_t extensions_size(const struct fg_record *r)
{
	struct extension list[N_EXTENSIONS];
	size_t size = 0;

	list_extensions(r, list);
	for (int i = 0; i < N_EXTENSIONS; i++)
		size += list[i].value.size > 0 ? 2 + list[i].value.size : 0;
	return size > 0 ? size + 1 : 0;
}

static size_t size_before_body(const struct fg_record *r)
{
	return FG_RECORD_HEADER_BYTES + r->device.size + r->stream.size +
	       (r->content_type.size > 0 ? 1 + r->content_type.size : 0) + extensions_size(r);
}

int64_t fg_record_size(const struct fg_record *r)
{
	if (r->device.size > UINT8_MAX || r->stream.size > UINT8_MAX ||
	    r->content_type.size > UINT8_MAX || r->ref.size > UINT8_MAX ||
	    r->link.size > UINT8_MAX || r->body.size > RECORD_MAX - 4096)
		return -EMSGSIZE;
	return (int64_t)fg_record_align(size_before_body(r) + r->body.size);
}

/* A cursor table is made where it will stand: that is why memmove(). */
static uint8_t *put_span(uint8_t *at, struct fg_span s)
{
	if (s.size > 0)
		memmove(at, s.data, s.size);
	return at + s.size;
}

/* Returns where they end: @at when there are none. */
static uint8_t *put_extensions(uint8_t *at, const struct fg_record *r)
{
	struct extension list[N_EXTENSIONS];
	uint8_t *count = at;
	uint8_t n = 0;

	list_extensions(r, list);
	for (int i = 0; i < N_EXTENSIONS; i++) {
		if (list[i].value.size == 0)
			continue;
		at += n++ == 0 ? 1 : 0;
		*at++ = list[i].type;
		*at++ = (uint8_t)list[i].value.size;
		at = put_span(at, list[i].value);
	}
	if (n > 0)
		*count = n;
	return at;
}

/* All that stands before the body. Returns where the body starts. */
static uint8_t *put_head(const struct fg_record *r, uint8_t *out)
{
	uint8_t flags = r->time_quality & TIME_QUALITY_MASK;
	uint8_t *at = out + FG_RECORD_HEADER_BYTES;
	uint8_t *extensions;

	at = put_span(at, r->device);
	at = put_span(at, r->stream);
	if (r->content_type.size > 0) {
		flags |= FG_RECORD_FLAG_OPAQUE;
		*at++ = (uint8_t)r->content_type.size;
		at = put_span(at, r->content_type);
	}
	extensions = at;
	at = put_extensions(at, r);
	if (at > extensions)
		flags |= FG_RECORD_FLAG_EXTENSIONS;
	fg_put_le64(out + 8, r->seq);
	fg_put_le64(out + 16, (uint64_t)r->time_us);
	fg_put_le32(out + 24, r->batch_index);
	out[28] = r->kind;
	out[29] = flags;
	out[30] = (uint8_t)r->device.size;
	out[31] = (uint8_t)r->stream.size;
	return at;
}

/* The body is complete and ends at @end: size, CRC, padding. */
static size_t finish(uint8_t *out, const uint8_t *end, uint32_t seed)
{
	size_t size = (size_t)(end - out);
	size_t aligned = fg_record_align(size);

	fg_put_le32(out + 4, (uint32_t)size);
	fg_put_le32(out, fg_crc32c(seed, out + 4, size - 4));
	memset(out + size, 0, aligned - size);
	return aligned;
}

size_t fg_record_encode(const struct fg_record *r, uint32_t seed, uint8_t *out)
{
	return finish(out, put_span(put_head(r, out), r->body), seed);
}

uint32_t fg_record_claimed_size(const uint8_t *data)
{
	return fg_get_le32(data + 4);
}

uint64_t fg_record_claimed_seq(const uint8_t *data)
{
	return fg_get_le64(data + 8);
}

bool fg_record_check(const uint8_t *data, size_t available, uint64_t seq, uint32_t seed)
{
	size_t size;

	if (available < FG_RECORD_HEADER_BYTES)
		return false;
	size = fg_record_claimed_size(data);
	if (size < FG_RECORD_HEADER_BYTES || size > available || fg_record_claimed_seq(data) != seq)
		return false;
	return fg_crc32c(seed, data + 4, size - 4) == fg_get_le32(data);
}

/* Bytes that are taken apart from the front. */
struct taker {
	const uint8_t *at;
	size_t left;
};

static int take(struct taker *t, size_t size, struct fg_span *ret)
{
	if (size > t->left)
		return -EBADMSG;
	*ret = fg_span_of(t->at, size);
	t->at += size;
	t->left -= size;
	return 0;
}

static int take_short(struct taker *t, struct fg_span *ret)
{
	struct fg_span size;

	if (take(t, 1, &size) < 0)
		return -EBADMSG;
	return take(t, (uint8_t)size.data[0], ret);
}

static int take_long(struct taker *t, struct fg_span *ret)
{
	struct fg_span size;

	if (take(t, 2, &size) < 0)
		return -EBADMSG;
	return take(t, fg_get_le16(size.data), ret);
}

static int take_extensions(struct taker *t, struct fg_record *r)
{
	struct fg_span count, type, value;

	if (take(t, 1, &count) < 0)
		return -EBADMSG;
	for (unsigned i = 0; i < (uint8_t)count.data[0]; i++) {
		if (take(t, 1, &type) < 0 || take_short(t, &value) < 0)
			return -EBADMSG;
		if (type.data[0] == FG_EXTENSION_REF)
			r->ref = value;
		else if (type.data[0] == FG_EXTENSION_UNSYNCHRONISED &&
			 value.size == FG_UNSYNCHRONISED_BYTES)
			r->unsynchronised = value;
		else if (type.data[0] == FG_EXTENSION_LINK)
			r->link = value;
		else if (type.data[0] == FG_EXTENSION_LANE && value.size == 1)
			r->lane = value;
	}
	return 0;
}

int fg_record_decode(const uint8_t *data, size_t size, struct fg_record *ret)
{
	struct taker t = {data, size};
	struct fg_span head;

	*ret = (struct fg_record){0};
	if (take(&t, FG_RECORD_HEADER_BYTES, &head) < 0)
		return -EBADMSG;
	ret->seq = fg_get_le64(data + 8);
	ret->time_us = (int64_t)fg_get_le64(data + 16);
	ret->batch_index = fg_get_le32(data + 24);
	ret->kind = data[28];
	ret->time_quality = data[29] & TIME_QUALITY_MASK;
	if (take(&t, data[30], &ret->device) < 0 || take(&t, data[31], &ret->stream) < 0)
		return -EBADMSG;
	if ((data[29] & FG_RECORD_FLAG_OPAQUE) && take_short(&t, &ret->content_type) < 0)
		return -EBADMSG;
	if ((data[29] & FG_RECORD_FLAG_EXTENSIONS) && take_extensions(&t, ret) < 0)
		return -EBADMSG;
	return take(&t, t.left, &ret->body);
}

void fg_record_to_message(const struct fg_record *r, struct fg_message *ret)
{
	*ret = (struct fg_message){
		.seq = r->seq,
		.time_us = r->time_us,
		.kind = (enum fg_kind)r->kind,
		.time_quality = (enum fg_time_quality)r->time_quality,
		.device = r->device,
		.stream = r->stream,
		.content_type = r->content_type,
		.ref = r->ref,
		.link = r->link,
		.body = r->body,
	};
}

/* At most @max bytes of @s, without half a UTF-8 character at the end. */
static struct fg_span cut(struct fg_span s, size_t max)
{
	if (s.size <= max)
		return s;
	s.size = max;
	while (s.size > 0 && ((uint8_t)s.data[s.size] & 0xc0) == 0x80)
		s.size--;
	return s;
}

static struct fg_quarantined cut_texts(const struct fg_quarantined *q)
{
	struct fg_quarantined c = *q;

	c.link = cut(c.link, UINT8_MAX);
	c.reason = cut(c.reason, FG_QUARANTINE_REASON_MAX);
	c.topic = cut(c.topic, UINT16_MAX);
	c.device = cut(c.device, UINT8_MAX);
	c.stream = cut(c.stream, UINT8_MAX);
	c.content_type = cut(c.content_type, UINT8_MAX);
	c.ref = cut(c.ref, UINT8_MAX);
	return c;
}

/* What of it stands where it does in any record; the rest is in the body. */
static struct fg_record quarantine_record(const struct fg_quarantined *c)
{
	static const uint8_t alarm = FG_LANE_ALARM;

	return (struct fg_record){
		.time_us = c->time_us,
		.kind = FG_RECORD_KIND_QUARANTINE,
		.time_quality = c->time_quality,
		.device = c->device,
		.stream = c->stream,
		.content_type = c->content_type,
		.ref = c->ref,
		.lane = c->lane == FG_LANE_ALARM ? fg_span_of(&alarm, 1) : (struct fg_span){0},
		.unsynchronised = c->moment,
	};
}

static size_t quarantine_size_before_body(const struct fg_quarantined *c, const struct fg_record *r)
{
	return size_before_body(r) + QUARANTINE_FIXED_BYTES + c->link.size + c->reason.size +
	       c->topic.size;
}

size_t fg_quarantine_size(const struct fg_quarantined *q)
{
	struct fg_quarantined c = cut_texts(q);
	struct fg_record r = quarantine_record(&c);

	return fg_record_align(quarantine_size_before_body(&c, &r) + c.body.size);
}

size_t fg_quarantine_encode(const struct fg_quarantined *q, uint64_t seq, uint32_t batch_index,
			    uint32_t seed, uint8_t *out, size_t room)
{
	struct fg_quarantined c = cut_texts(q);
	struct fg_record r = quarantine_record(&c);
	uint64_t whole = c.whole_size > c.body.size ? c.whole_size : c.body.size;
	size_t before = quarantine_size_before_body(&c, &r);
	uint8_t *at;

	r.seq = seq;
	r.batch_index = batch_index;
	room &= ~(size_t)(FG_RECORD_ALIGN - 1);
	if (before > room)
		return 0;
	if (c.body.size > room - before)
		c.body.size = room - before;

	at = put_head(&r, out);
	*at++ = (uint8_t)c.link.size;
	at = put_span(at, c.link);
	fg_put_le16(at, (uint16_t)c.reason.size);
	at = put_span(at + 2, c.reason);
	fg_put_le16(at, (uint16_t)c.topic.size);
	at = put_span(at + 2, c.topic);
	*at++ = c.kind;
	*at++ = c.time_quality;
	fg_put_le32(at, c.attempts);
	fg_put_le64(at + 4, whole);
	return finish(out, put_span(at + 12, c.body), seed);
}

int fg_quarantine_decode(const struct fg_record *r, struct fg_quarantined *ret)
{
	struct taker t = {(const uint8_t *)r->body.data, r->body.size};
	struct fg_span fixed;

	*ret = (struct fg_quarantined){
		.time_us = r->time_us,
		.device = r->device,
		.stream = r->stream,
		.content_type = r->content_type,
		.ref = r->ref,
		.moment = r->unsynchronised,
		.lane = r->lane.size > 0 && r->lane.data[0] == FG_LANE_ALARM ? FG_LANE_ALARM
									     : FG_LANE_MAIN,
	};
	if (r->kind != FG_RECORD_KIND_QUARANTINE || take_short(&t, &ret->link) < 0 ||
	    take_long(&t, &ret->reason) < 0 || take_long(&t, &ret->topic) < 0 ||
	    take(&t, 14, &fixed) < 0)
		return -EBADMSG;
	ret->kind = (uint8_t)fixed.data[0];
	ret->time_quality = (uint8_t)fixed.data[1];
	ret->attempts = fg_get_le32(fixed.data + 2);
	ret->whole_size = fg_get_le64(fixed.data + 6);
	return take(&t, t.left, &ret->body);
}

void fg_settled_encode(uint64_t number, uint64_t seq, int64_t time_us, uint32_t batch_index,
		       uint32_t seed, uint8_t *out)
{
	uint8_t body[8];
	struct fg_record r = {
		.seq = seq,
		.time_us = time_us,
		.batch_index = batch_index,
		.kind = FG_RECORD_KIND_SETTLED,
		.time_quality = FG_TIME_GATEWAY,
		.body = fg_span_of(body, sizeof(body)),
	};

	fg_put_le64(body, number);
	fg_record_encode(&r, seed, out);
}

uint64_t fg_settled_decode(const struct fg_record *r)
{
	if (r->kind != FG_RECORD_KIND_SETTLED || r->body.size != 8)
		return 0;
	return fg_get_le64(r->body.data);
}
