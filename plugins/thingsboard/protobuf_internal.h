#pragma once

/*
 * What protobuf.c (up) and protobuf_down.c agree on.
 */
#include "protobuf.h"

/* KeyValueProto: what its field `type` says the value is, and the numbers of its fields. */
enum kind { KIND_BOOLEAN, KIND_LONG, KIND_DOUBLE, KIND_STRING, KIND_JSON };

enum { KV_KEY = 1, KV_TYPE, KV_BOOLEAN, KV_LONG, KV_DOUBLE, KV_STRING, KV_JSON };

/** Provisioning is JSON whatever the profile says, and the rest carries no messages. */
bool tb_protobuf_carries(enum tb_topic topic);
