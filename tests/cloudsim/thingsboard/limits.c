#include "cloud.h"

#include <stdlib.h>
#include <string.h>

#define MAX_PACKET 65536
#define MAX_RULES 4 /* of one text such as "20:1,600:60"; what comes after is not enforced */

/* "capacity:seconds": a bucket that starts full and refills evenly. */
struct bucket {
	double capacity, per_ms, tokens;
	int64_t refilled_ms;
};

struct rule_set {
	struct bucket buckets[MAX_RULES];
	int n_buckets;
};

/* One device's own traffic, or the sum of the sub-devices of one gateway. */
struct account {
	struct account *next;
	char *device;
	bool is_gateway_api;
	struct rule_set messages, telemetry_messages, points;
};

struct tb_limits {
	struct json_object *body; /* NULL: nothing is limited */
	struct account *accounts;
	struct bucket simple;
};

int tb_limits_new(struct tb_limits **ret_limits)
{
	struct tb_limits *limits = calloc(1, sizeof(*limits));

	if (!limits)
		return -1;
	*ret_limits = limits;
	return 0;
}

static void forget_accounts(struct tb_limits *limits)
{
	struct account *account;

	while ((account = limits->accounts)) {
		limits->accounts = account->next;
		free(account->device);
		free(account);
	}
}

void tb_limits_free(struct tb_limits *limits)
{
	if (!limits)
		return;
	forget_accounts(limits);
	json_object_put(limits->body);
	free(limits);
}

void tb_limits_set(struct tb_limits *limits, struct json_object *body)
{
	forget_accounts(limits);
	json_object_put(limits->body);
	limits->body = json_object_get(body);
}

static void bucket_fill(struct bucket *bucket, double capacity, double seconds)
{
	bucket->capacity = bucket->tokens = capacity;
	bucket->per_ms = capacity / seconds / 1000;
	bucket->refilled_ms = tb_monotonic_ms();
}

static bool bucket_has(struct bucket *bucket, double n)
{
	int64_t now = tb_monotonic_ms();

	bucket->tokens += (double)(now - bucket->refilled_ms) * bucket->per_ms;
	bucket->refilled_ms = now;
	if (bucket->tokens > bucket->capacity)
		bucket->tokens = bucket->capacity;
	return bucket->tokens >= n;
}

static void rules_parse(struct rule_set *rules, const char *text)
{
	double capacity, seconds;
	char *end;

	while (text && *text && rules->n_buckets < MAX_RULES) {
		capacity = strtod(text, &end);
		if (*end != ':')
			return;
		seconds = strtod(end + 1, &end);
		if (capacity > 0 && seconds > 0)
			bucket_fill(&rules->buckets[rules->n_buckets++], capacity, seconds);
		text = *end == ',' ? end + 1 : end;
	}
}

static bool rules_have(struct rule_set *rules, double n)
{
	int i;

	for (i = 0; i < rules->n_buckets; i++)
		if (!bucket_has(&rules->buckets[i], n))
			return false;
	return true;
}

static void rules_take(struct rule_set *rules, double n)
{
	int i;

	for (i = 0; i < rules->n_buckets; i++)
		rules->buckets[i].tokens -= n;
}

static struct account *account_of(struct tb_limits *limits, const char *device, bool is_gateway_api)
{
	struct json_object *texts;
	struct account *account;

	for (account = limits->accounts; account; account = account->next)
		if (account->is_gateway_api == is_gateway_api && tb_same(account->device, device))
			return account;
	account = calloc(1, sizeof(*account));
	if (!account)
		return NULL;
	account->device = strdup(device);
	account->is_gateway_api = is_gateway_api;
	texts = json_object_object_get(limits->body,
				       is_gateway_api ? "gatewayRateLimits" : "rateLimits");
	rules_parse(&account->messages, tb_member(texts, "messages"));
	rules_parse(&account->telemetry_messages, tb_member(texts, "telemetryMessages"));
	rules_parse(&account->points, tb_member(texts, "telemetryDataPoints"));
	account->next = limits->accounts;
	limits->accounts = account;
	return account;
}

bool tb_limits_take(struct tb_limits *limits, struct tb_session *s, bool is_gateway_api,
		    int64_t n_points)
{
	struct account *account;
	struct rule_set *messages;

	if (!limits->body)
		return true;
	account = account_of(limits, tb_member(s->device, "name"), is_gateway_api);
	if (!account)
		return true;
	messages = n_points > 0 ? &account->telemetry_messages : &account->messages;
	if (!rules_have(messages, 1) || !rules_have(&account->points, (double)n_points))
		return false;
	rules_take(messages, 1);
	rules_take(&account->points, (double)n_points);
	return true;
}

size_t tb_limits_max_packet(const struct tb_limits *limits)
{
	int64_t told =
		json_object_get_int64(json_object_object_get(limits->body, "maxPayloadSize"));

	return told > 0 ? (size_t)told : MAX_PACKET;
}

void tb_limits_set_simple(struct tb_limits *limits, double messages_per_s)
{
	bucket_fill(&limits->simple, messages_per_s, 1);
}

bool tb_limits_take_simple(struct tb_cloud *cloud)
{
	struct bucket *bucket = &cloud->limits->simple;

	if (bucket->capacity <= 0)
		return true;
	if (!bucket_has(bucket, 1))
		return false;
	bucket->tokens -= 1;
	return true;
}
