#pragma once

/*
 * ThingsBoard's REST interface, as far as a tool needs it that looks at a gateway from there: log
 * in as a user, find a device by its name, read a time series, call a method (two-way RPC).
 */
#include "fieldgate/plugin.h"

/** For struct fg_plugin. */
extern const struct fg_rest tb_rest;
