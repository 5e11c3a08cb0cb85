/*
 * Replays files through a fuzzer's entry point, so that a seed corpus and every past finding run
 * with each test run, with any compiler. Arguments: files and directories.
 */
#include <dirent.h>
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "fuzz.h"

static unsigned n_replayed;

static int replay_file(const char *path)
{
	FILE *f = fopen(path, "rb");
	uint8_t *data;
	size_t size;
	struct stat st;

	if (!f || fstat(fileno(f), &st) < 0) {
		fprintf(stderr, "%s: %s\n", path, strerror(errno));
		return -1;
	}
	/* An exact allocation, so that a sanitizer sees every byte read beyond the end. */
	data = malloc(st.st_size > 0 ? (size_t)st.st_size : 1);
	if (!data)
		return -1;
	size = fread(data, 1, (size_t)st.st_size, f);
	fclose(f);
	LLVMFuzzerTestOneInput(data, size);
	free(data);
	n_replayed++;
	return 0;
}

static int replay(const char *path)
{
	struct dirent *entry;
	char below[4096];
	int r = 0;
	DIR *dir = opendir(path);

	if (!dir)
		return errno == ENOTDIR ? replay_file(path) : (perror(path), -1);
	while (r == 0 && (entry = readdir(dir))) {
		if (entry->d_name[0] == '.')
			continue;
		snprintf(below, sizeof(below), "%s/%s", path, entry->d_name);
		r = replay(below);
	}
	closedir(dir);
	return r;
}

int main(int argc, char **argv)
{
	for (int i = 1; i < argc; i++)
		if (replay(argv[i]) < 0)
			return 1;
	printf("%u inputs replayed\n", n_replayed);
	return n_replayed > 0 ? 0 : 1;
}
