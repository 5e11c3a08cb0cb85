#include "journal/settled.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

int fg_settled_new(struct fg_settled *s, uint64_t first)
{
	*s = (struct fg_settled){.first = first, .next = UINT64_MAX};
	s->bits = calloc(1, FG_SETTLED_WINDOW / 8);
	return s->bits ? 0 : -ENOMEM;
}

void fg_settled_free(struct fg_settled *s)
{
	free(s->bits);
	s->bits = NULL;
}

void fg_settled_take(struct fg_settled *s, uint64_t seq, const uint8_t *data, size_t size)
{
	struct fg_record record;
	uint64_t number, bit;

	if (seq >= s->first && seq - s->first >= FG_SETTLED_WINDOW && seq < s->next)
		s->next = seq;
	if (fg_record_decode(data, size, &record) < 0)
		return;
	number = fg_settled_decode(&record);
	if (number < s->first || number >= seq)
		return;
	bit = number - s->first;
	if (bit < FG_SETTLED_WINDOW)
		s->bits[bit / 8] |= (uint8_t)(1 << bit % 8);
}

bool fg_settled_is_open(const struct fg_settled *s, uint64_t number)
{
	uint64_t bit = number - s->first;

	return number >= s->first && bit < FG_SETTLED_WINDOW && !(s->bits[bit / 8] & 1 << bit % 8);
}

bool fg_settled_go_on(struct fg_settled *s)
{
	if (s->next == UINT64_MAX)
		return false;
	s->first = s->next;
	s->next = UINT64_MAX;
	memset(s->bits, 0, FG_SETTLED_WINDOW / 8);
	return true;
}
