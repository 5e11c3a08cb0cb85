#pragma once

/*
 * The little MQTT 3.1.1 that the load generator and the sink need, on raw sockets: written for the
 * benchmark alone, so that what measures shares no code with what is measured.
 */
#include <stddef.h>
#include <stdint.h>

#define WIRE_CONNACK 0x20
#define WIRE_PUBLISH 0x30
#define WIRE_PUBACK 0x40
#define WIRE_SUBACK 0x90

/*
 * What stands in each sample. Both numbers keep their width, so that a message is made by patching
 * digits: "n" is WIRE_N_BASE plus a number unique in the run, "t" is WIRE_T_BASE plus
 * CLOCK_MONOTONIC nanoseconds (16 digits, and an exact double, for the first 100 days after boot).
 */
#define WIRE_N_BASE 10000000u
#define WIRE_N_MAX 80000000u
#define WIRE_T_BASE 1000000000000000ull

/** CLOCK_MONOTONIC in nanoseconds. */
uint64_t wire_now_ns(void);

/**
 * Connect to 127.0.0.1:@port, retrying while the connection is refused, send CONNECT (clean
 * session) and read the CONNACK. Returns a blocking socket with TCP_NODELAY, or a negative errno.
 */
int wire_connect(uint16_t port, const char *client_id, uint64_t patience_ns);

/** Write all of it to a blocking socket. Returns 0 or a negative errno. */
int wire_write_all(int fd, const void *data, size_t size);

/** Put a Remaining Length (MQTT 3.1.1, 2.2.3). Returns its size, 1..4. */
size_t wire_put_length(uint8_t *at, size_t length);

/**
 * Look at the packet that starts at @data. Returns its whole size and sets *@ret_body to where its
 * variable header starts, 0 when more bytes are needed, -EPROTO when the length is malformed.
 */
int64_t wire_frame(const uint8_t *data, size_t size, size_t *ret_body);
