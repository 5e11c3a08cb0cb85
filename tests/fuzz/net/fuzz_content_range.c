/*
 * Input: the value of a Content-Range header. What is checked: what is accepted makes sense, and
 * says the same when it is written again.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../fuzz.h"
#include "net/content_range.h"

static void write_again(const struct fg_content_range *range, char *out, size_t size)
{
	char part[48] = "*", total[24] = "*";

	if (range->first >= 0)
		snprintf(part, sizeof(part), "%lld-%lld", (long long)range->first,
			 (long long)range->last);
	if (range->total >= 0)
		snprintf(total, sizeof(total), "%lld", (long long)range->total);
	snprintf(out, size, "bytes %s/%s", part, total);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fg_content_range range, again;
	char *text = malloc(size + 1), written[96];

	if (!text)
		return 0;
	if (size > 0)
		memcpy(text, data, size);
	text[size] = '\0';
	if (fg_content_range_parse(text, &range) == 0) {
		REQUIRE((range.first < 0) == (range.last < 0));
		REQUIRE(range.first >= 0 || range.total >= 0);
		REQUIRE(range.first <= range.last);
		REQUIRE(range.total < 0 || range.last < range.total);
		write_again(&range, written, sizeof(written));
		REQUIRE(fg_content_range_parse(written, &again) == 0);
		REQUIRE(range.first == again.first && range.last == again.last &&
			range.total == again.total);
	}
	free(text);
	return 0;
}
