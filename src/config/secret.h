#pragma once

/*
 * Secrets: {file: PATH}, {credential: NAME}, {env: NAME}, or the text itself. No message ever
 * quotes what stands there, since it may be the secret although it was meant to be something else.
 */
#include "config/keys.h"

#define FG_SECRET_MAX_BYTES 65536

/** Read the secret at @node. Same returns and ownership as fg_key_text(). */
int fg_secret_read(const struct fg_reader *r, const struct fg_yaml_node *node,
		   const struct fg_trail *trail, char **ret);
