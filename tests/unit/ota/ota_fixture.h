#pragma once

/*
 * A loop and a store in a temporary directory, and images whose bytes are easily told.
 */
#include "ota/image_file.h"

#define KIB 1024u
#define MIB (1024u * 1024u)

struct ota_fixture {
	char parent[64];
	char directory[80]; /* the store's, in the parent */
	struct ev_loop *loop;
	struct fg_connector *connector;
	struct fg_image_store_options options;
	struct fg_image_store *store;

	/* called back */
	unsigned n_writable, n_finished;
	int result;
};

int ota_setup(void **state);
int ota_teardown(void **state);

/** Close the store and open it again, as after a restart. */
void ota_reopen(struct ota_fixture *f);

char ota_byte(uint64_t at);
/** The SHA256 of the first @size bytes; static buffer. */
const char *ota_sha256(uint64_t size);
/** An image of owner "tb/pump-1/fw" with its SHA256. */
struct fg_image_description ota_description(uint64_t size);

/** Begin; fails the test when it does not work. */
struct fg_image_file *ota_begin(struct ota_fixture *f, const struct fg_image_description *d);
int ota_try(struct ota_fixture *f, const struct fg_image_description *d,
	    struct fg_image_file **ret);
/** Write until @size bytes are there, in pieces of @piece; turns the loop when the disk is behind. */
void ota_fill(struct ota_fixture *f, struct fg_image_file *image, uint64_t size, size_t piece);
/** Seal; returns what finished() was told. */
int ota_seal(struct ota_fixture *f, struct fg_image_file *image);
/** An image that is whole and closed. */
void ota_put(struct ota_fixture *f, const char *owner, uint64_t size);

/** Turn the loop until *@value is @n, or fail. */
void ota_wait_for(struct ota_fixture *f, const unsigned *value, unsigned n);
/** Turn the loop until no thread of an image is at work. */
void ota_settle(struct ota_fixture *f);

/** How many files in the store's directory end in @ending. */
unsigned ota_count(const struct ota_fixture *f, const char *ending);
/** The path of the only file with @ending; static buffer. */
const char *ota_path(const struct ota_fixture *f, const char *ending);
