/*
 * Input: an .info file. What is checked: only the image's own file is accepted, and it is as we
 * would write it. The CRC hides all behind it from a fuzzer, so it is also tried put right.
 */
#include <stdlib.h>
#include <string.h>

#include "../fuzz.h"
#include "ota/image_info.h"
#include "util/bytes.h"
#include "util/crc32c.h"

static const struct fg_image_description image = {
	.owner = "tb/pump-1/fw",
	.title = "pump",
	.version = "1.2",
	.size = 5000,
	.checksum = "0123abcd",
	.algorithm = FG_CHECKSUM_CRC32,
};

static void decode(const uint8_t *data, size_t size)
{
	uint8_t written[FG_IMAGE_INFO_MAX_BYTES];
	uint64_t synced = 0;
	size_t n;

	if (fg_image_info_decode(data, size, &image, &synced) < 0)
		return;
	/* Compatible feature bits may be others than ours. */
	n = fg_image_info_encode(&image, synced, written);
	REQUIRE(n == size);
	REQUIRE(memcmp(data + 24, written + 24, size - 24) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t *copy;

	decode(data, size);
	if (size < 12)
		return 0;
	copy = malloc(size);
	if (!copy)
		return 0;
	memcpy(copy, data, size);
	fg_put_le32(copy + 8, fg_crc32c(0, copy + 12, size - 12));
	decode(copy, size);
	free(copy);
	return 0;
}
