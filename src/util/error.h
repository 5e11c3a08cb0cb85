#pragma once

/*
 * The sentence that goes with a negative errno. A function that can fail in more ways than a number
 * can tell takes a struct fg_error *; NULL is allowed and loses the sentence.
 */
struct fg_error {
	char text[512];
};

/** Store the sentence (cut at 511 bytes) and return @code, so that it can end a function. */
int fg_error_set(struct fg_error *err, int code, const char *format, ...)
	__attribute__((format(printf, 3, 4)));
