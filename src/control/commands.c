#include "control/commands.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void say(const char *format, va_list args) __attribute__((format(printf, 1, 0)));

static void say(const char *format, va_list args)
{
	fflush(stdout);
	fputs("fieldgatectl: ", stderr);
	vfprintf(stderr, format, args);
	fputc('\n', stderr);
}

int fg_ctl_fail(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	say(format, args);
	va_end(args);
	return FG_EXIT_PROBLEMS;
}

int fg_ctl_usage(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	say(format, args);
	va_end(args);
	fputs("Try \"fieldgatectl --help\".\n", stderr);
	return FG_EXIT_USAGE;
}

bool fg_ctl_number(const char *text, uint64_t *ret)
{
	unsigned long long value;
	char *end;

	if (text[0] < '0' || text[0] > '9')
		return false;
	errno = 0;
	value = strtoull(text, &end, 10);
	if (errno != 0 || *end != '\0')
		return false;
	*ret = value;
	return true;
}

int fg_ctl_locate(const char *option, int argc, char **argv, int n_after, int *at,
		  struct fg_located *ret)
{
	struct fg_error err = {0};

	if (!option)
		option = *at + n_after < argc ? argv[(*at)++] : FG_CTL_STATE;
	if (fg_locate(option, ret, &err) < 0)
		return fg_ctl_fail("%s", err.text);
	return 0;
}

const char *fg_ctl_file_fault(const struct fg_scan_file *f, char *out)
{
	switch (f->state) {
	case FG_SCAN_FILE_UNREADABLE:
		snprintf(out, 256, "not read: %s", f->why);
		return out;
	case FG_SCAN_FILE_LATER:
		snprintf(out, 256,
			 "not read: written by a later version (format %u, features 0x%" PRIx32
			 "), and the daemon of this version leaves such a journal alone",
			 f->version, f->incompatible);
		return out;
	case FG_SCAN_FILE_FOREIGN:
		snprintf(out, 256, "not read: it belongs to another journal");
		return out;
	case FG_SCAN_FILE_GOOD:
	case FG_SCAN_FILE_SET_ASIDE:
		break;
	}
	return NULL;
}

bool fg_ctl_tell_file_faults(const char *lane, const struct fg_scan *s)
{
	const struct fg_scan_file *files;
	bool has_any = false;
	size_t n;

	files = fg_scan_files(s, &n);
	for (size_t i = 0; i < n; i++) {
		char text[256];
		const char *fault = fg_ctl_file_fault(&files[i], text);

		if (!fault)
			continue;
		has_any = true;
		fg_ctl_fail("%s: %s: %s", lane, files[i].name, fault);
	}
	return has_any;
}

int fg_ctl_flush(int status)
{
	if (fflush(stdout) == 0 && !ferror(stdout))
		return status;
	return fg_ctl_fail("cannot write the output: %s", strerror(errno));
}
