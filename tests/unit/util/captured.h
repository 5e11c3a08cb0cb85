#pragma once

/*
 * What the log writes to stderr while a test runs, as text.
 */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

struct captured {
	int saved_fd;
	FILE *file;
	char text[8192];
};

static inline void captured_begin(struct captured *c)
{
	c->file = tmpfile();
	c->saved_fd = dup(STDERR_FILENO);
	dup2(fileno(c->file), STDERR_FILENO);
}

static inline void captured_end(struct captured *c)
{
	size_t n;

	dup2(c->saved_fd, STDERR_FILENO);
	close(c->saved_fd);
	rewind(c->file);
	n = fread(c->text, 1, sizeof(c->text) - 1, c->file);
	c->text[n] = '\0';
	fclose(c->file);
}

static inline unsigned captured_lines(const struct captured *c)
{
	unsigned n = 0;

	for (const char *p = c->text; *p; p++)
		n += *p == '\n';
	return n;
}
