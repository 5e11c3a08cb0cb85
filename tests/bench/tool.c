#include "tool.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

_Noreturn void tool_fail(const char *what, int r)
{
	fprintf(stderr, "%s: %s: %s\n", program_invocation_short_name, what, strerror(-r));
	exit(1);
}

unsigned tool_number(const char *text, unsigned max)
{
	char *end;
	unsigned long value = strtoul(text, &end, 10);

	if (*text == '\0' || *end != '\0' || value > max) {
		fprintf(stderr, "%s: \"%s\" is not a number up to %u\n",
			program_invocation_short_name, text, max);
		exit(2);
	}
	return (unsigned)value;
}
