#pragma once

/*
 * Schemas out of a file that protoc has compiled, a FileDescriptorSet
 * (google/protobuf/descriptor.proto): `protoc --include_imports --descriptor_set_out=FILE …`.
 * What such a file may need is bounded, and it is read once, when the ctx is opened.
 */
#include "schema.h"

#define TB_MAX_TYPES 512
#define TB_MAX_FIELDS 4096

struct tb_descriptors;

/**
 * On success the caller owns *@ret. Returns 0, -ENOMEM, or -EINVAL with a static sentence in
 * *@ret_fault: it is no such file, or has what no JSON of ThingsBoard's can fill (groups, maps, bytes).
 */
int tb_descriptors_new(struct fg_span file, struct tb_descriptors **ret, const char **ret_fault);
struct tb_descriptors *tb_descriptors_free(struct tb_descriptors *d);

/** Where field @name of @schema is a text, that text is JSON. */
void tb_descriptors_hold_json(struct tb_descriptors *d, const struct tb_schema *schema,
			      const char *name);

/** The message called @name, with its package or without. NULL: there is none. Lives as long as @d. */
const struct tb_schema *tb_descriptors_find(const struct tb_descriptors *d, const char *name);
