#include "cloud/pacing.h"

#include <string.h>

/* The set of the configuration: every publish counts in it. */
#define SET_ALL FG_SCOPES

static uint64_t whole(const struct fg_bucket *b)
{
	return (uint64_t)b->rate.capacity * b->rate.period_ms;
}

static uint64_t cost(const struct fg_bucket *b, uint64_t amount)
{
	return amount > UINT64_MAX / b->rate.period_ms ? UINT64_MAX : amount * b->rate.period_ms;
}

static int64_t wait_for(const struct fg_bucket *b, uint64_t amount)
{
	uint64_t full = whole(b), c = cost(b, amount);
	uint64_t target = c < full ? full - c : 0;

	if (amount == 0 || b->used <= target)
		return 0;
	return (int64_t)((b->used - target - 1) / b->rate.capacity + 1);
}

static void set_rates(struct fg_pacing *p, unsigned set, enum fg_limit what,
		      const struct fg_rate *rates, size_t n)
{
	struct fg_bucket fresh[FG_RATES_MAX];
	unsigned n_fresh = 0;

	for (size_t i = 0; i < n && n_fresh < FG_RATES_MAX; i++) {
		if (rates[i].capacity == 0 || rates[i].period_ms == 0)
			continue;
		fresh[n_fresh] = (struct fg_bucket){.rate = rates[i]};
		for (unsigned k = 0; k < p->n[set][what]; k++) {
			const struct fg_bucket *old = &p->buckets[set][what][k];

			if (old->rate.capacity == rates[i].capacity &&
			    old->rate.period_ms == rates[i].period_ms)
				fresh[n_fresh].used = old->used;
		}
		n_fresh++;
	}
	memcpy(p->buckets[set][what], fresh, n_fresh * sizeof(fresh[0]));
	p->n[set][what] = n_fresh;
}

void fg_pacing_init(struct fg_pacing *p, const struct fg_cloud_config *config)
{
	memset(p, 0, sizeof(*p));
	for (unsigned what = 0; what < FG_N_LIMITS; what++)
		set_rates(p, SET_ALL, what, config->rates[what], config->n_rates[what]);
}

void fg_pacing_limit(struct fg_pacing *p, unsigned scope, enum fg_limit what,
		     const struct fg_rate *rates, size_t n)
{
	if (scope < FG_SCOPES && what < FG_N_LIMITS)
		set_rates(p, scope, what, rates, n);
}

void fg_pacing_advance(struct fg_pacing *p, int64_t now_ms)
{
	uint64_t passed = now_ms > p->now_ms ? (uint64_t)now_ms - (uint64_t)p->now_ms : 0;

	p->now_ms = now_ms;
	if (passed == 0)
		return;
	for (unsigned set = 0; set < FG_PACING_SETS; set++)
		for (unsigned what = 0; what < FG_N_LIMITS; what++)
			for (unsigned i = 0; i < p->n[set][what]; i++) {
				struct fg_bucket *b = &p->buckets[set][what][i];

				if (passed > b->used / b->rate.capacity)
					b->used = 0;
				else
					b->used -= passed * b->rate.capacity;
			}
}

static int64_t wait_for_set(const struct fg_pacing *p, unsigned set,
			    const uint64_t amounts[FG_N_LIMITS])
{
	int64_t longest = 0;

	for (unsigned what = 0; what < FG_N_LIMITS; what++)
		for (unsigned i = 0; i < p->n[set][what]; i++) {
			int64_t ms = wait_for(&p->buckets[set][what][i], amounts[what]);

			if (ms > longest)
				longest = ms;
		}
	return longest;
}

static int64_t longer(int64_t a, int64_t b)
{
	return a > b ? a : b;
}

int64_t fg_pacing_wait(const struct fg_pacing *p, unsigned scope,
		       const uint64_t amounts[FG_N_LIMITS])
{
	return longer(wait_for_set(p, SET_ALL, amounts), wait_for_set(p, scope, amounts));
}

static uint64_t points_worth_while(const struct fg_bucket *b)
{
	uint64_t part = b->rate.capacity / 8;
	uint64_t in_a_second = (uint64_t)b->rate.capacity * 1000 / b->rate.period_ms;
	uint64_t n = part < in_a_second ? part : in_a_second;

	return n > 0 ? n : 1;
}

static int64_t wait_for_any_in(const struct fg_pacing *p, unsigned set)
{
	const uint64_t least[FG_N_LIMITS] = {[FG_LIMIT_MESSAGES] = 1, [FG_LIMIT_BYTES] = 1};
	int64_t longest = wait_for_set(p, set, least);

	for (unsigned i = 0; i < p->n[set][FG_LIMIT_POINTS]; i++) {
		const struct fg_bucket *b = &p->buckets[set][FG_LIMIT_POINTS][i];

		longest = longer(longest, wait_for(b, points_worth_while(b)));
	}
	return longest;
}

int64_t fg_pacing_wait_for_any(const struct fg_pacing *p)
{
	int64_t shortest = INT64_MAX;

	for (unsigned scope = 0; scope < FG_SCOPES; scope++) {
		int64_t ms = wait_for_any_in(p, scope);

		if (ms < shortest)
			shortest = ms;
	}
	return longer(shortest, wait_for_any_in(p, SET_ALL));
}

int64_t fg_pacing_wait_for_points(const struct fg_pacing *p)
{
	const uint64_t most[FG_N_LIMITS] = {[FG_LIMIT_POINTS] = UINT64_MAX};
	int64_t longest = 0;

	for (unsigned set = 0; set < FG_PACING_SETS; set++)
		longest = longer(longest, wait_for_set(p, set, most));
	return longest;
}

static size_t points_in(const struct fg_pacing *p, unsigned set)
{
	size_t least = SIZE_MAX;

	for (unsigned i = 0; i < p->n[set][FG_LIMIT_POINTS]; i++) {
		const struct fg_bucket *b = &p->buckets[set][FG_LIMIT_POINTS][i];
		uint64_t full = whole(b);
		size_t left = b->used < full ? (size_t)((full - b->used) / b->rate.period_ms) : 0;

		if (left < least)
			least = left;
	}
	return least;
}

size_t fg_pacing_max_points(const struct fg_pacing *p, unsigned scope)
{
	size_t all = points_in(p, SET_ALL), its_own = points_in(p, scope);
	size_t most = its_own < all ? its_own : all;

	return most > 0 ? most : 1;
}

static void take_from(struct fg_pacing *p, unsigned set, const uint64_t amounts[FG_N_LIMITS])
{
	for (unsigned what = 0; what < FG_N_LIMITS; what++)
		for (unsigned i = 0; i < p->n[set][what]; i++) {
			struct fg_bucket *b = &p->buckets[set][what][i];
			uint64_t c = cost(b, amounts[what]);

			b->used = c > UINT64_MAX - b->used ? UINT64_MAX : b->used + c;
		}
}

void fg_pacing_take(struct fg_pacing *p, unsigned scope, const uint64_t amounts[FG_N_LIMITS])
{
	take_from(p, SET_ALL, amounts);
	take_from(p, scope, amounts);
}
