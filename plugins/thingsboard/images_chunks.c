/*
 * Images of the connected device itself, in chunks: v2/fw/request/R/chunk/C with the size of a chunk
 * as its payload is answered on v2/fw/response/R/chunk/C with the bytes. The last one is shorter.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "thingsboard.h"

static struct tb_image *image_of(struct tb *tb, enum fg_image_kind kind)
{
	return &tb->images.own[kind];
}

static void rest(struct tb_image *image)
{
	free(image->memory);
	*image = (struct tb_image){.state = TB_IMAGE_IDLE};
}

/* ------------------------------------------------------------------ assigned and withdrawn */

/* Copy @from with all its texts. */
static int keep(struct tb_image *image, const struct fg_image *from)
{
	const struct fg_span *texts[] = {&from->device, &from->title,     &from->version,
					 &from->tag,    &from->algorithm, &from->checksum,
					 &from->url};
	struct fg_span *copies[] = {&image->is.device, &image->is.title,     &image->is.version,
				    &image->is.tag,    &image->is.algorithm, &image->is.checksum,
				    &image->is.url};
	size_t size = 1;
	char *at;

	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
		size += texts[i]->size;
	at = malloc(size);
	if (!at)
		return -ENOMEM;
	rest(image);
	image->memory = at;
	image->is = *from;
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		if (texts[i]->size > 0)
			memcpy(at, texts[i]->data, texts[i]->size);
		*copies[i] = fg_span_of(at, texts[i]->size);
		at += texts[i]->size;
	}
	return 0;
}

static bool is_same(const struct fg_image *a, const struct fg_image *b)
{
	return fg_span_equal(a->title, b->title) && fg_span_equal(a->version, b->version) &&
	       a->size == b->size && fg_span_equal(a->algorithm, b->algorithm) &&
	       fg_span_equal(a->checksum, b->checksum);
}

static void pause(struct tb *tb, struct tb_image *image)
{
	image->state = TB_IMAGE_LATER;
	image->deadline_s = tb->uptime_s + TB_CHUNK_PAUSE_S;
}

/*
 * Have the host begin, or take it up again; then the first chunk that is missing is next. The host may
 * say at once that it has failed, or want to know what there is to publish: nothing yet.
 */
static void begin(struct tb *tb, struct tb_image *image)
{
	int r;

	pause(tb, image);
	r = tb->host->image_begin(tb->host_ctx, &image->is, &image->have);
	image->is_begun = r == 0;
	if (image->state != TB_IMAGE_LATER || r == -EAGAIN)
		return;
	if (r < 0 || image->have >= image->is.size) {
		rest(image);
		return;
	}
	image->chunk = image->have / tb->with.chunk_bytes;
	image->state = TB_IMAGE_NEXT;
}

static void assigned_to_self(struct tb *tb, const struct fg_image *assigned)
{
	struct tb_image *image = image_of(tb, assigned->kind);

	if (image->state != TB_IMAGE_IDLE && is_same(&image->is, assigned)) {
		if (image->state == TB_IMAGE_LOST)
			begin(tb, image);
		return;
	}
	if (keep(image, assigned) == 0)
		begin(tb, image);
}

void tb_image_assigned(struct tb *tb, const struct fg_image *image)
{
	bool is_own = !tb->devices || image->device.size == 0;
	struct fg_image_progress refusal = {
		.device = image->device,
		.kind = image->kind,
		.title = image->title,
		.version = image->version,
		.state = FG_IMAGE_FAILED,
		.error = "ThingsBoard hands an image out to a sub-device by URL only: give the "
			 "package one",
	};
	uint64_t have;

	if (is_own && image->url.size == 0) {
		assigned_to_self(tb, image);
		return;
	}
	if (is_own)
		rest(image_of(tb, image->kind));
	if (image->url.size > 0)
		tb->host->image_begin(tb->host_ctx, image, &have);
	else
		tb_image_tell(tb, &refusal);
}

void tb_image_withdrawn(struct tb *tb, struct fg_span device, enum fg_image_kind kind)
{
	if (!tb->devices || device.size == 0)
		rest(image_of(tb, kind));
	tb->host->image_abandon(tb->host_ctx, device, kind, NULL);
}

void tb_image_moved(struct tb *tb, const struct fg_image_progress *p)
{
	/* Its texts stay: this may come from within a call that was handed them. */
	if (p->state != FG_IMAGE_DOWNLOADING)
		image_of(tb, p->kind)->state = TB_IMAGE_IDLE;
}

/* It cannot be had, for the reason @why. */
static void give_up(struct tb *tb, struct tb_image *image, const char *why)
{
	image->state = TB_IMAGE_IDLE;
	tb->host->image_abandon(tb->host_ctx, image->is.device, image->is.kind, why);
}

static void give_up_asking(struct tb *tb, struct tb_image *image, const char *does_not)
{
	char why[128];

	snprintf(why, sizeof(why), "ThingsBoard %s send chunk %" PRIu64 ", asked %u times",
		 does_not, image->chunk, image->n_attempts);
	give_up(tb, image, why);
}

/* ------------------------------------------------------------------ asking */

static void subscribe(struct tb *tb)
{
	static const char *const filters[] = {
		"v2/fw/response/+/chunk/+",
		"v2/sw/response/+/chunk/+",
		"v2/fw/error",
	};

	tb->images.is_subscribed = true;
	for (size_t i = 0; i < sizeof(filters) / sizeof(filters[0]); i++)
		tb->host->subscribe(tb->host_ctx, "", filters[i], 1);
}

/* Returns 1, 0 or -EINVAL. */
static int ask(struct tb_call *call, struct tb_image *image)
{
	struct tb *tb = call->tb;
	char topic[TB_TOPIC_SIZE];
	struct fg_text text;
	int r;

	if (!tb->images.is_subscribed)
		subscribe(tb);
	if (image->request == 0)
		image->request = ++tb->images.last_request;
	snprintf(topic, sizeof(topic), "v2/%s/request/%" PRIu32 "/chunk/%" PRIu64,
		 tb_image_prefix(image->is.kind), image->request, image->chunk);
	r = tb_set_topic(call->out, topic);
	if (r < 0)
		return r;
	text = fg_text_begin(call->out->payload, tb_payload_limit(tb, call->out, topic));
	fg_put_number(&text, tb->with.chunk_bytes);
	r = tb_publish_end(call->out, &text, TB_SCOPE_OWN);
	if (r <= 0)
		return r;
	image->state = TB_IMAGE_ASKED;
	image->deadline_s = tb->uptime_s + TB_CHUNK_TIMEOUT_S;
	call->out->tag = tb_tag_make(TB_TAG_IMAGE, ++tb->serial, 1 + image->is.kind);
	return r;
}

int tb_chunks_publish(struct tb_call *call)
{
	struct tb *tb = call->tb;
	int r = 0;

	if (tb->images.wants_fetch) {
		r = tb_attributes_fetch_images(call);
		tb->images.wants_fetch = r == 0;
	}
	for (enum fg_image_kind kind = FG_IMAGE_FIRMWARE; r == 0 && kind <= FG_IMAGE_SOFTWARE;
	     kind++)
		if (image_of(tb, kind)->state == TB_IMAGE_NEXT)
			r = ask(call, image_of(tb, kind));
	return r;
}

enum fg_verdict tb_chunk_settled(struct tb *tb, uint32_t slot, enum fg_verdict verdict)
{
	struct tb_image *image = &tb->images.own[(slot - 1) % 2];

	if (verdict == FG_ACCEPTED || image->state != TB_IMAGE_ASKED)
		return verdict;
	if (verdict != FG_LATER)
		image->n_attempts++;
	if (verdict == FG_POISON || image->n_attempts >= TB_CHUNK_ATTEMPTS)
		give_up_asking(tb, image, "refuses to");
	else
		pause(tb, image);
	return verdict;
}

/* ------------------------------------------------------------------ answers */

/* "v2/fw/response/7/chunk/12" */
static bool parse(const char *topic, enum fg_image_kind *ret_kind, uint32_t *ret_request,
		  uint64_t *ret_chunk)
{
	char prefix[3] = "";
	int end = 0;

	if (sscanf(topic, "v2/%2[fsw]/response/%9" SCNu32 "/chunk/%15" SCNu64 "%n", prefix,
		   ret_request, ret_chunk, &end) != 3 ||
	    topic[end])
		return false;
	*ret_kind = strcmp(prefix, "sw") == 0 ? FG_IMAGE_SOFTWARE : FG_IMAGE_FIRMWARE;
	return strcmp(prefix, tb_image_prefix(*ret_kind)) == 0;
}

/* The bytes from `have` on. Those of a chunk that begins earlier are skipped. */
static int write_chunk(struct tb *tb, struct tb_image *image, struct fg_span data)
{
	uint64_t offset = image->chunk * tb->with.chunk_bytes;
	size_t skip = (size_t)(image->have - offset);
	uint64_t left = image->is.size - offset;
	size_t wanted = left < tb->with.chunk_bytes ? (size_t)left : tb->with.chunk_bytes;

	if (data.size != wanted)
		return -EPROTO;
	return tb->host->image_write(tb->host_ctx, image->is.device, image->is.kind, image->have,
				     fg_span_of(data.data + skip, data.size - skip));
}

static void take_chunk(struct tb *tb, struct tb_image *image, struct fg_span data)
{
	uint64_t chunk = image->chunk;
	int r = write_chunk(tb, image, data);
	char why[128];

	if (image->state != TB_IMAGE_ASKED)
		return; /* it has failed, or that was all: the host has told */
	if (r == -EAGAIN || r == -ERANGE) {
		image->is_begun = r == -EAGAIN; /* else the host knows better how far it is */
		pause(tb, image);
	} else if (r == -EPROTO) {
		snprintf(why, sizeof(why),
			 "ThingsBoard sends %zu bytes as chunk %" PRIu64
			 ": not what the announced size makes of it",
			 data.size, chunk);
		give_up(tb, image, why);
	} else if (r < 0) {
		rest(image);
	} else {
		image->have = (chunk + 1) * tb->with.chunk_bytes;
		image->chunk++;
		image->n_attempts = 0;
		image->state = TB_IMAGE_NEXT;
		if (image->have >= image->is.size)
			rest(image);
	}
}

/* PAYLOAD_TOO_LARGE, NOT_FOUND, FAILURE; it does not say to what. The connection is closed next. */
static void take_error(struct tb *tb, struct fg_span text)
{
	char why[128];

	snprintf(why, sizeof(why), "ThingsBoard does not send it: %.*s",
		 (int)(text.size < 64 ? text.size : 64), text.data);
	for (enum fg_image_kind kind = FG_IMAGE_FIRMWARE; kind <= FG_IMAGE_SOFTWARE; kind++)
		if (image_of(tb, kind)->state == TB_IMAGE_ASKED)
			give_up(tb, image_of(tb, kind), why);
}

bool tb_chunks_received(struct tb *tb, const struct fg_delivery *delivery)
{
	enum fg_image_kind kind;
	uint32_t request;
	uint64_t chunk;
	struct tb_image *image;

	if (strcmp(delivery->topic, "v2/fw/error") == 0 ||
	    strcmp(delivery->topic, "v2/sw/error") == 0) {
		if (tb->host->image_begin)
			take_error(tb, delivery->payload);
		return true;
	}
	if (!parse(delivery->topic, &kind, &request, &chunk))
		return false;
	image = image_of(tb, kind);
	if (image->state == TB_IMAGE_ASKED && image->request == request && image->chunk == chunk)
		take_chunk(tb, image, delivery->payload);
	return true; /* else it comes late, and was asked for again */
}

/* ------------------------------------------------------------------ time and sessions */

static void no_answer(struct tb *tb, struct tb_image *image)
{
	if (++image->n_attempts < TB_CHUNK_ATTEMPTS)
		image->state = TB_IMAGE_NEXT;
	else
		give_up_asking(tb, image, "does not");
}

void tb_chunks_tick(struct tb *tb)
{
	for (enum fg_image_kind kind = FG_IMAGE_FIRMWARE; kind <= FG_IMAGE_SOFTWARE; kind++) {
		struct tb_image *image = image_of(tb, kind);

		if (tb->uptime_s < image->deadline_s)
			continue;
		if (image->state == TB_IMAGE_ASKED)
			no_answer(tb, image);
		else if (image->state == TB_IMAGE_LATER && image->is_begun)
			image->state = TB_IMAGE_NEXT;
		else if (image->state == TB_IMAGE_LATER)
			begin(tb, image);
	}
}

/* Is ThingsBoard to be asked whether it is assigned? */
static bool is_in_doubt(const struct tb *tb, enum fg_image_kind kind)
{
	const struct tb_image *image = &tb->images.own[kind];

	if (image->state == TB_IMAGE_IDLE)
		return tb->host->image_lacks &&
		       tb->host->image_lacks(tb->host_ctx, fg_span_str(tb->with.device), kind);
	return image->state == TB_IMAGE_LOST;
}

void tb_chunks_begin(struct tb *tb)
{
	/* They may be among the attributes that are fetched anyway. */
	bool comes_anyway = tb->wants_own_fetch && (!tb->shared_keys || tb->with.fetches_images);

	for (enum fg_image_kind kind = FG_IMAGE_FIRMWARE; kind <= FG_IMAGE_SOFTWARE; kind++)
		if (!comes_anyway && is_in_doubt(tb, kind))
			tb->images.wants_fetch = true;
}

void tb_chunks_forget(struct tb *tb)
{
	for (size_t i = 0; i < 2; i++) {
		struct tb_image *image = &tb->images.own[i];

		if (image->state == TB_IMAGE_IDLE)
			continue;
		image->state = TB_IMAGE_LOST;
		image->request = 0;
		image->n_attempts = 0;
	}
	tb->images.last_request = 0;
	tb->images.is_subscribed = false;
	tb->images.wants_fetch = false;
}
