#pragma once

/*
 * Comparing a report with what a test expects: the lines in order, joined by line breaks.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "config/config.h"
#include "util/cleanup.h"

static inline void expect_report(struct fg_report *report, const char *what, const char *expected)
{
	static char found[65536];
	size_t used = 0;

	found[0] = '\0';
	for (size_t i = 0; i < fg_report_count(report) && used < sizeof(found); i++)
		used += (size_t)snprintf(found + used, sizeof(found) - used, "%s%s",
					 i > 0 ? "\n" : "", fg_report_line(report, i));
	if (strcmp(found, expected) != 0)
		fail_msg("%s\n--- expected\n%s\n--- found\n%s", what, expected, found);
}
