#pragma once

/*
 * What the files of images share: images.c fetches, images_delivery.c hands over and hears the
 * device, images_entry.c makes entries, and remembers them, images_tell.c tells clouds how far they
 * are, images_versions.c knows what runs where.
 */
#include "local/images.h"
#include "local/images_rules.h"
#include "net/store.h"
#include "ota/download.h"
#include "util/complaint.h"

/* The numbers are those of the file. */
enum fg_images_state {
	FG_IMAGES_QUEUED = 1,
	FG_IMAGES_READY = 2,
	FG_IMAGES_HANDED = 3,
	FG_IMAGES_UPDATED = 4,
	FG_IMAGES_FAILED = 5, /* and its cloud has not been told */
	/* never in the file */
	FG_IMAGES_FETCHING,
	FG_IMAGES_SEALING,
	FG_IMAGES_HANDING,
};

/* One image of one kind for one device. */
struct fg_images_entry {
	struct fg_images *images;
	struct fg_images_entry *next; /* the newer one */
	const struct fg_images_rule *rule;
	enum fg_images_state state;
	enum fg_image_kind kind;

	/* In `memory`, each NUL-terminated; "" where nothing was told. */
	const char *device, *link, *title, *version, *checksum, *url, *authorization;
	const char *owner;                    /* device and kind, as the store of images knows it */
	uint64_t size;                        /* bytes; 0: not told */
	enum fg_checksum_algorithm algorithm; /* with a checksum */

	char order[FG_IMAGE_ORDER_MAX + 1]; /* the last one for it; "": the cloud has none */

	struct fg_download *download; /* FETCHING from a URL, … */
	uint64_t have, total;         /* … so far, of so much; 0: not known */
	int64_t told_ms;              /* when its cloud was told last that it goes on */
	struct fg_image_file *file;   /* from FETCHING on, while it is needed */
	uint64_t tag;                 /* of the PUBLISH under way; 0: none */
	uint64_t next_chunk;          /* HANDING; the announcement comes before 0 … */
	bool is_announced;            /* … and has been taken */
	bool is_redirected;           /* next_chunk was asked for while `tag` is under way */
	bool has_reported;
	bool is_told;              /* the cloud knows how it ended */
	int64_t retry_ms;          /* monotonic: not handed over before */
	int64_t heard_ms;          /* HANDED: when the device was at it last; 0: before a restart */
	char failure[256];         /* FAILED: why, … */
	enum fg_image_fault fault; /* … for clouds with codes */
	char memory[];
};

struct fg_images {
	struct fg_images_options with;
	struct fg_images_rules rules;
	struct fg_store *store;
	struct fg_store *versions;             /* NULL without rules */
	struct fg_images_entry *first, **last; /* the oldest first */
	size_t n;
	unsigned n_downloads;
	uint64_t last_tag;
	int64_t now_ms; /* at the last tick */
	char *chunk;    /* rules.max_chunk_bytes */
	struct fg_complaint report_complaint, waiting_complaint, versions_complaint;
};

/* ---- images.c */

/** The entry of @device and @kind, or NULL. */
struct fg_images_entry *fg_images_find(const struct fg_images *images, struct fg_span device,
				       enum fg_image_kind kind);

/** Enter @state, remember it, and tell the cloud what that means to it. */
void fg_images_enter(struct fg_images_entry *e, enum fg_images_state state);

/** The end: FAILED, for the reason given. What was fetched is removed. */
void fg_images_fail(struct fg_images_entry *e, enum fg_image_fault fault, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

/* ---- images_tell.c */

/** Tell the cloud once more where it stands. */
void fg_images_tell(const struct fg_images_entry *e);

/** The device is still at it; told now and then. */
void fg_images_tell_busy(struct fg_images_entry *e);

/** So much of it has been downloaded; told now and then. */
void fg_images_tell_download(struct fg_images_entry *e, enum fg_image_state state, uint64_t have,
			     uint64_t total);

/** @image does not become an entry. */
void fg_images_tell_refusal(struct fg_images *images, const char *link,
			    const struct fg_image *image, enum fg_image_fault fault,
			    const char *why);

/* ---- images_versions.c */

/** @e is what runs on its device now. */
void fg_images_installed(const struct fg_images_entry *e);

/** Open what is remembered. Returns 0 or a negative errno with a sentence. */
int fg_images_versions_open(struct fg_images *images, struct fg_error *err);

/* ---- images_delivery.c */

/** Hand @e over, as far as that is possible now. */
void fg_images_deliver(struct fg_images_entry *e);

/** The device is done with @e: its other image may have waited. */
void fg_images_deliver_other(struct fg_images_entry *e);

/** The device runs it: UPDATED. */
void fg_images_confirmed(struct fg_images_entry *e);

/** Does the device fetch it itself, from the URL the cloud gave? Then there is no file. */
bool fg_images_passes_url(const struct fg_images_entry *e);

/** Is the file needed once the device has been handed it? */
bool fg_images_keeps_file(const struct fg_images_entry *e);

/* ---- images_entry.c */

/**
 * A new entry, in no list yet, in QUEUED. Returns 0, -ENOMEM, or -EINVAL with a sentence.
 */
int fg_images_entry_new(struct fg_images *images, const char *link, const struct fg_image *image,
			struct fg_images_entry **ret, struct fg_error *err);
/** Take it out of the list, if it is in it, and release. The file stays. Takes NULL. */
struct fg_images_entry *fg_images_entry_free(struct fg_images_entry *e);

void fg_images_entry_add(struct fg_images_entry *e);

/** What the store of images is to know of it; borrows from @e. */
struct fg_image_description fg_images_entry_description(const struct fg_images_entry *e);

/**
 * Is it @image, from @link? Where there is a checksum it does not matter where it is fetched from, else
 * not what stands behind the '?' of the URL: what is signed for a time is another each time.
 */
bool fg_images_entry_is(const struct fg_images_entry *e, const char *link,
			const struct fg_image *image);

/** Is it ordered anew by @image, which it is? */
bool fg_images_entry_is_new_order(const struct fg_images_entry *e, const struct fg_image *image);
void fg_images_entry_take_order(struct fg_images_entry *e, const struct fg_image *image);

/** Is it fetched from where @image says, and with the same authorization? */
bool fg_images_entry_has_source(const struct fg_images_entry *e, const struct fg_image *image);

/** Write down where it stands, or, when that is nowhere, that it is forgotten. */
void fg_images_entry_remember(const struct fg_images_entry *e);
void fg_images_entry_forget(const struct fg_images_entry *e);

/** Remove what lies in the store of images and is not open. */
void fg_images_entry_remove_files(const struct fg_images_entry *e);

/** fg_store_options.stored: where an image stands is on disk. One that is needed no more goes only now: with
 * the state before, a restart would find it gone and fetch and hand it over again. */
void fg_images_entry_stored(void *arg, struct fg_span key, int error);

/** Make entries of all that is remembered. Returns 0 or -ENOMEM. */
int fg_images_entry_recall(struct fg_images *images);
