#pragma once

/*
 * Images of cloud "tb" for four sorts of devices, and ways to bring one of them to each state.
 */
#include "images_fixture.h"

#define SIZE 10000u
#define N_STATES 8

extern const enum fg_images_state all_states[N_STATES];

/** Pumps want chunks, fans files, valves URLs of the gateway, horns those of the cloud; all but fans report. */
int images_states_setup(void **state);

/** Firmware "A" in @version, of SIZE bytes, fetched by the plugin. */
struct fg_image image_of(const char *device, const char *version);

int begin_image(const struct fg_image *image, uint64_t *ret_have);
/** Begin; waits while the disk is busy with the one before. Returns how much is there. */
uint64_t begin(const char *device, const char *version);
int write_at(const char *device, uint64_t offset, size_t size);

/** Fails the test when there is none. */
enum fg_images_state state_of(const char *device);

/** Bring firmware 2 of pump-1 there, by way of the plugin. */
void bring_to(enum fg_images_state state);
/** The same with a new fixture, and with nothing told or published since. */
void afresh(enum fg_images_state state);
