#pragma once

/*
 * One level of an object changed: members set, and others taken out. Values stay the text they are.
 */
#include "model/json.h"

/**
 * Write @object (a checked object, or text.size 0: none yet) with the members of @set (an object, or
 * none) in the place of those of the same name, and without those whose names are in @unset (an array
 * of strings, or none), as compact JSON. Of a name that is both set and unset, set counts; of one that
 * is there twice, the last. Returns the size it needs; nothing is written beyond @out_size (compare,
 * as with snprintf; no NUL is added). @out is none of the texts. Allocates nothing.
 */
size_t fg_json_merge(struct fg_json_value object, struct fg_json_value set,
		     struct fg_json_value unset, char *out, size_t out_size);
