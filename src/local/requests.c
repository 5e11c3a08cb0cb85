#include "local/requests.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "util/cleanup.h"
#include "util/random.h"
#include "util/span.h"

struct open_request {
	uint64_t number; /* 0: free */
	const char *broker;
	int64_t deadline_ms;
	uint16_t topic_size, correlation_size;
	uint8_t device_size;
	char device[UINT8_MAX];
	char text[FG_REQUEST_TEXT_MAX + 1]; /* topic, NUL, correlation data */
};

/*
 * A reference is the number of the request and what tells this run of the daemon from others: an
 * answer to what was asked before a restart finds nothing.
 */
struct fg_requests {
	struct fg_requests_options with;
	uint32_t run;
	uint64_t n_asked;
	struct open_request *slots; /* request n stands at n % FG_REQUESTS_MAX, or is over */
	unsigned n_open;
};

static struct open_request *find(const struct fg_requests *r, struct fg_span ref)
{
	char text[FG_REQUEST_REF_MAX];
	struct open_request *o;
	uint64_t number;
	uint32_t run;
	int end = 0;

	if (ref.size >= sizeof(text))
		return NULL;
	memcpy(text, ref.data, ref.size);
	text[ref.size] = '\0';
	if (sscanf(text, "%8" SCNx32 "-%" SCNu64 "%n", &run, &number, &end) != 2 ||
	    (size_t)end != ref.size || run != r->run)
		return NULL;
	o = &r->slots[number % FG_REQUESTS_MAX];
	return o->number == number && number != 0 ? o : NULL;
}

static void close_request(struct fg_requests *r, struct open_request *o)
{
	o->number = 0;
	r->n_open--;
}

static void publish(struct fg_requests *r, const struct open_request *o, struct fg_span body)
{
	struct fg_mqtt_publish p = {
		.topic = o->text,
		.payload = body,
		.qos = 1,
		.correlation = fg_span_of(o->text + o->topic_size + 1, o->correlation_size),
	};

	r->with.publish(r->with.arg, o->broker, &p);
}

static bool has_too_many(const struct fg_requests *r, struct fg_span device)
{
	unsigned n = 0;

	for (size_t i = 0; i < FG_REQUESTS_MAX && r->n_open >= FG_REQUESTS_OF_DEVICE; i++) {
		const struct open_request *o = &r->slots[i];

		n += o->number != 0 && fg_span_equal(fg_span_of(o->device, o->device_size), device);
	}
	return n >= FG_REQUESTS_OF_DEVICE;
}

int fg_requests_open(struct fg_requests *r, const struct fg_request *request, int64_t now_ms,
		     char *ref)
{
	struct open_request *o;

	if (request->response_topic.size == 0 || request->device.size > UINT8_MAX ||
	    request->response_topic.size + request->correlation.size > FG_REQUEST_TEXT_MAX ||
	    memchr(request->response_topic.data, '\0', request->response_topic.size))
		return -EINVAL;
	if (r->n_open == FG_REQUESTS_MAX || has_too_many(r, request->device))
		return -EBUSY;
	do
		o = &r->slots[++r->n_asked % FG_REQUESTS_MAX];
	while (o->number != 0);
	*o = (struct open_request){
		.number = r->n_asked,
		.broker = request->broker,
		.deadline_ms = now_ms + request->timeout_ms,
		.topic_size = (uint16_t)request->response_topic.size,
		.correlation_size = (uint16_t)request->correlation.size,
		.device_size = (uint8_t)request->device.size,
	};
	if (request->device.size > 0)
		memcpy(o->device, request->device.data, request->device.size);
	memcpy(o->text, request->response_topic.data, o->topic_size);
	if (o->correlation_size > 0)
		memcpy(o->text + o->topic_size + 1, request->correlation.data, o->correlation_size);
	r->n_open++;
	snprintf(ref, FG_REQUEST_REF_MAX, "%08" PRIx32 "-%" PRIu64, r->run, o->number);
	return 0;
}

void fg_requests_cancel(struct fg_requests *r, const char *ref)
{
	struct open_request *o = find(r, fg_span_str(ref));

	if (o)
		close_request(r, o);
}

bool fg_requests_is_open(const struct fg_requests *r, struct fg_span ref)
{
	return find(r, ref) != NULL;
}

void fg_requests_answer(struct fg_requests *r, struct fg_span ref, struct fg_span body)
{
	struct open_request *o = find(r, ref);

	if (!o)
		return;
	publish(r, o, body);
	close_request(r, o);
}

void fg_requests_tick(struct fg_requests *r, int64_t now_ms)
{
	static const char body[] = "{\"error\":{\"code\":\"timeout\",\"text\":\"the cloud has not "
				   "answered in time\"}}";

	for (size_t i = 0; i < FG_REQUESTS_MAX && r->n_open > 0; i++) {
		struct open_request *o = &r->slots[i];

		if (o->number == 0 || now_ms < o->deadline_ms)
			continue;
		publish(r, o, fg_span_str(body));
		close_request(r, o);
	}
}

/* ---- life */

int fg_requests_new(const struct fg_requests_options *options, struct fg_requests **ret)
{
	struct fg_requests *r = calloc(1, sizeof(*r));

	if (!r)
		return -ENOMEM;
	r->with = *options;
	r->run = (uint32_t)fg_random();
	/* Pages nobody asks for are never touched. */
	r->slots = calloc(FG_REQUESTS_MAX, sizeof(r->slots[0]));
	if (!r->slots) {
		free(r);
		return -ENOMEM;
	}
	*ret = r;
	return 0;
}

struct fg_requests *fg_requests_free(struct fg_requests *r)
{
	if (!r)
		return NULL;
	free(r->slots);
	free(r);
	return NULL;
}
