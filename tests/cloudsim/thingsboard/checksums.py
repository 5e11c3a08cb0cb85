"""The checksums ThingsBoard knows, printed as it prints them."""
import hashlib
import struct
import zlib

M32, M64 = 0xFFFFFFFF, 0xFFFFFFFFFFFFFFFF


def rotate(x, n, bits):
    return (x << n | x >> (bits - n)) & ((1 << bits) - 1)


def murmur3_32(data, seed=0):
    """MurmurHash3_x86_32, least significant byte first."""
    def mixed(k):
        return rotate(k * 0xCC9E2D51 & M32, 15, 32) * 0x1B873593 & M32

    h = seed
    whole = len(data) // 4
    for k in struct.unpack_from("<%dI" % whole, data):
        h = (rotate(h ^ mixed(k), 13, 32) * 5 + 0xE6546B64) & M32
    tail = data[4 * whole:]
    if tail:
        h ^= mixed(int.from_bytes(tail, "little"))
    h ^= len(data)
    h = (h ^ h >> 16) * 0x85EBCA6B & M32
    h = (h ^ h >> 13) * 0xC2B2AE35 & M32
    return struct.pack("<I", h ^ h >> 16)


def murmur3_128(data, seed=0):
    """MurmurHash3_x64_128, both halves least significant byte first."""
    c1, c2 = 0x87C37B91114253D5, 0x4CF5AD432745937F

    def mixed1(k):
        return rotate(k * c1 & M64, 31, 64) * c2 & M64

    def mixed2(k):
        return rotate(k * c2 & M64, 33, 64) * c1 & M64

    def final(h):
        h = (h ^ h >> 33) * 0xFF51AFD7ED558CCD & M64
        h = (h ^ h >> 33) * 0xC4CEB9FE1A85EC53 & M64
        return h ^ h >> 33

    h1 = h2 = seed
    whole = len(data) // 16
    words = struct.unpack_from("<%dQ" % (2 * whole), data)
    for i in range(0, len(words), 2):
        h1 = ((rotate(h1 ^ mixed1(words[i]), 27, 64) + h2) * 5 + 0x52DCE729) & M64
        h2 = ((rotate(h2 ^ mixed2(words[i + 1]), 31, 64) + h1) * 5 + 0x38495AB5) & M64
    tail = data[16 * whole:]
    h2 ^= mixed2(int.from_bytes(tail[8:], "little"))
    h1 ^= mixed1(int.from_bytes(tail[:8], "little"))
    h1 ^= len(data)
    h2 ^= len(data)
    h1 = (h1 + h2) & M64
    h2 = (h2 + h1) & M64
    h1, h2 = final(h1), final(h2)
    h1 = (h1 + h2) & M64
    h2 = (h2 + h1) & M64
    return struct.pack("<QQ", h1, h2)


ALGORITHMS = {
    "MD5": lambda data: hashlib.md5(data).digest(),
    "SHA256": lambda data: hashlib.sha256(data).digest(),
    "SHA384": lambda data: hashlib.sha384(data).digest(),
    "SHA512": lambda data: hashlib.sha512(data).digest(),
    "CRC32": lambda data: struct.pack("<I", zlib.crc32(data)),
    "MURMUR3_32": murmur3_32,
    "MURMUR3_128": murmur3_128,
}


def checksum(algorithm, data):
    """Lower-case hex."""
    return ALGORITHMS[algorithm](data).hex()
