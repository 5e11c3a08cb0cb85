#!/usr/bin/python3
"""Write checksums.inc: known answers for test_checksum.c, from implementations that are not ours."""
import hashlib
import struct
import zlib

M32, M64 = 0xFFFFFFFF, 0xFFFFFFFFFFFFFFFF


def murmur3_32(data):
    h = 0
    padded = data + b"\0" * (-len(data) % 4)
    for i in range(0, len(padded), 4):
        k = int.from_bytes(padded[i:i + 4], "little")
        k = k * 0xCC9E2D51 & M32
        k = (k << 15 | k >> 17) & M32
        h ^= k * 0x1B873593 & M32
        if i + 4 <= len(data):
            h = (h << 13 | h >> 19) & M32
            h = (h * 5 + 0xE6546B64) & M32
    h ^= len(data)
    for shift, factor in ((16, 0x85EBCA6B), (13, 0xC2B2AE35)):
        h = (h ^ h >> shift) * factor & M32
    return struct.pack("<I", h ^ h >> 16)


def murmur3_128(data):
    h = [0, 0]
    c = (0x87C37B91114253D5, 0x4CF5AD432745937F)
    padded = data + b"\0" * (-len(data) % 16)
    for i in range(0, len(padded), 16):
        k = struct.unpack("<QQ", padded[i:i + 16])
        is_whole = i + 16 <= len(data)
        for half, (turn_k, turn_h, add) in enumerate(((31, 27, 0x52DCE729), (33, 31, 0x38495AB5))):
            x = k[half] * c[half] & M64
            x = (x << turn_k | x >> 64 - turn_k) & M64
            h[half] ^= x * c[1 - half] & M64
            if is_whole:
                x = (h[half] << turn_h | h[half] >> 64 - turn_h) & M64
                h[half] = ((x + h[1 - half]) * 5 + add) & M64

    def mix(x):
        for factor in (0xFF51AFD7ED558CCD, 0xC4CEB9FE1A85EC53):
            x = (x ^ x >> 33) * factor & M64
        return x ^ x >> 33

    def add_up():
        h[0] = (h[0] + h[1]) & M64
        h[1] = (h[1] + h[0]) & M64

    h = [x ^ len(data) for x in h]
    add_up()
    h = [mix(x) for x in h]
    add_up()
    return struct.pack("<QQ", *h)


ALGORITHMS = {
    "MD5": lambda d: hashlib.md5(d).digest(),
    "SHA256": lambda d: hashlib.sha256(d).digest(),
    "SHA384": lambda d: hashlib.sha384(d).digest(),
    "SHA512": lambda d: hashlib.sha512(d).digest(),
    "CRC32": lambda d: struct.pack("<I", zlib.crc32(d)),
    "MURMUR3_32": murmur3_32,
    "MURMUR3_128": murmur3_128,
}

# Answers everybody knows, so that the two implementations above are not only compared with ours.
assert murmur3_32(b"test").hex() == struct.pack("<I", 0xBA6BD213).hex()
assert murmur3_32(b"The quick brown fox jumps over the lazy dog") == struct.pack("<I", 0x2E4FF723)
assert murmur3_128(b"The quick brown fox jumps over the lazy dog").hex() == "6c1b07bc7bbc4be347939ac4a93c437a"


def pattern(size):
    return bytes((i * 7 + i // 256) % 256 for i in range(size))


print("/* Made by make_checksums.py. Byte i of the data is (i * 7 + i / 256) % 256. */")
for algorithm, digest in ALGORITHMS.items():
    for size in [*range(18), 31, 32, 33, 63, 64, 65, 127, 128, 129, 1000, 70000]:
        print(f'{{"{algorithm}", {size}, "{digest(pattern(size)).hex()}"}},')
