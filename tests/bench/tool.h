#pragma once

/*
 * What the programs of the benchmark have in common as programs: the way they fail, and numbers on
 * their command line. Messages begin with the name of the program.
 */

/** Say what went wrong, @r a negative errno, and exit with 1. */
_Noreturn void tool_fail(const char *what, int r);

/** The number in @text, 0..@max; exits with 2 when it is none. */
unsigned tool_number(const char *text, unsigned max);
