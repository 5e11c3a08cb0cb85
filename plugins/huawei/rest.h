#pragma once

/*
 * IoTDA's application API, as far as a tool needs it that looks at a gateway from there: get a token
 * from IAM, find a device, read what it reported last from its shadow, send it a command.
 */
#include "fieldgate/plugin.h"

/** For struct fg_plugin. */
extern const struct fg_rest hw_rest;
