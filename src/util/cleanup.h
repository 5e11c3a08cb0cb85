#pragma once

/*
 * FG_CLEANUP(fn) runs fn(&variable) when the variable goes out of scope. The helper is written out
 * beside the destructor it calls, so that grep finds it.
 */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define FG_CLEANUP(fn) __attribute__((cleanup(fn)))

static inline void fg_free_p(void *p)
{
	free(*(void **)p);
}

static inline void fg_close_p(const int *fd)
{
	if (*fd >= 0)
		close(*fd);
}

static inline void fg_fclose_p(FILE **f)
{
	if (*f)
		fclose(*f);
}
