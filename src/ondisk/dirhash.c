// SPDX-License-Identifier: MIT
// dirhash.c - from a name to its place in a hash tree: ext4's three hashes, signed and unsigned.
//
// "Signed" is an accident that became format: the first kernels hashed plain chars, whose sign
// differs between machines, so the superblock says which of the two a volume was made with.
#include "ondisk/dir.h"

#include <string.h>

// A character as the volume's machine would have widened it.
static uint32_t widen(const char *name, size_t at, bool is_unsigned)
{
    return is_unsigned ? (uint32_t)(uint8_t)name[at] : (uint32_t)(int32_t)(int8_t)name[at];
}

static uint32_t legacy_hash(const char *name, size_t len, bool is_unsigned)
{
    uint32_t before = 0x37abe8f9, hash = 0x12a3fe2d;
    for (size_t i = 0; i < len; i++) {
        uint32_t next = before + (hash ^ widen(name, i, is_unsigned) * 7152373u);
        if (next & 0x80000000u)
            next -= 0x7fffffffu;
        before = hash;
        hash = next;
    }
    return hash << 1;
}

// The next `words` words of input: four characters each, and where the name ends its length
// repeated in every byte.
static void name_words(const char *name, size_t len, bool is_unsigned, uint32_t *out, uint32_t words)
{
    uint32_t pad = (uint32_t)len | (uint32_t)len << 8;
    pad |= pad << 16;

    size_t used = len < words * 4 ? len : words * 4;
    uint32_t done = 0;
    uint32_t value = pad;
    for (size_t i = 0; i < used; i++) {
        value = widen(name, i, is_unsigned) + (value << 8);
        if (i % 4 == 3) {
            out[done++] = value;
            value = pad;
        }
    }
    // The word in progress is written even when it holds nothing but padding.
    for (; done < words; value = pad)
        out[done++] = value;
}

static uint32_t rotate(uint32_t value, uint32_t by)
{
    return value << by | value >> (32 - by);
}

static uint32_t choose(uint32_t x, uint32_t y, uint32_t z)
{
    return z ^ (x & (y ^ z));
}
static uint32_t majority(uint32_t x, uint32_t y, uint32_t z)
{
    return (x & y) + ((x ^ y) & z);
}
static uint32_t parity(uint32_t x, uint32_t y, uint32_t z)
{
    return x ^ y ^ z;
}

// One step: `a` takes in a word and is turned.
#define STEP(mix, a, b, c, d, word, by) ((a) = rotate((a) + mix((b), (c), (d)) + (word), (by)))

// MD4 with half of the steps: three rounds of eight, each with an order of the words of its own. Written out, since
// every lookup hashes its name and every split those of a block.
static void half_md4(uint32_t state[4], const uint32_t in[8])
{
    const uint32_t root2 = 0x5a827999, root3 = 0x6ed9eba1;
    uint32_t a = state[0], b = state[1], c = state[2], d = state[3];

    STEP(choose, a, b, c, d, in[0], 3);
    STEP(choose, d, a, b, c, in[1], 7);
    STEP(choose, c, d, a, b, in[2], 11);
    STEP(choose, b, c, d, a, in[3], 19);
    STEP(choose, a, b, c, d, in[4], 3);
    STEP(choose, d, a, b, c, in[5], 7);
    STEP(choose, c, d, a, b, in[6], 11);
    STEP(choose, b, c, d, a, in[7], 19);

    STEP(majority, a, b, c, d, in[1] + root2, 3);
    STEP(majority, d, a, b, c, in[3] + root2, 5);
    STEP(majority, c, d, a, b, in[5] + root2, 9);
    STEP(majority, b, c, d, a, in[7] + root2, 13);
    STEP(majority, a, b, c, d, in[0] + root2, 3);
    STEP(majority, d, a, b, c, in[2] + root2, 5);
    STEP(majority, c, d, a, b, in[4] + root2, 9);
    STEP(majority, b, c, d, a, in[6] + root2, 13);

    STEP(parity, a, b, c, d, in[3] + root3, 3);
    STEP(parity, d, a, b, c, in[7] + root3, 9);
    STEP(parity, c, d, a, b, in[2] + root3, 11);
    STEP(parity, b, c, d, a, in[6] + root3, 15);
    STEP(parity, a, b, c, d, in[1] + root3, 3);
    STEP(parity, d, a, b, c, in[5] + root3, 9);
    STEP(parity, c, d, a, b, in[0] + root3, 11);
    STEP(parity, b, c, d, a, in[4] + root3, 15);

    state[0] += a;
    state[1] += b;
    state[2] += c;
    state[3] += d;
}

// Sixteen rounds of the Tiny Encryption Algorithm; the name is the key.
static void tea(uint32_t state[4], const uint32_t key[4])
{
    uint32_t sum = 0, x = state[0], y = state[1];
    for (uint32_t round = 0; round < 16; round++) {
        sum += 0x9e3779b9;
        x += ((y << 4) + key[0]) ^ (y + sum) ^ ((y >> 5) + key[1]);
        y += ((x << 4) + key[2]) ^ (x + sum) ^ ((x >> 5) + key[3]);
    }
    state[0] += x;
    state[1] += y;
}

static void start_state(const uint32_t seed[4], uint32_t state[4])
{
    static const uint32_t built_in[4] = {0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476};
    bool seeded = seed && (seed[0] | seed[1] | seed[2] | seed[3]);
    memcpy(state, seeded ? seed : built_in, sizeof(built_in));
}

int dx_hash_name(uint8_t version, const uint32_t seed[4], const char *name, size_t len, struct dx_hash *out)
{
    bool is_unsigned = version >= DX_HASH_LEGACY_UNSIGNED;
    uint32_t state[4], words[8];

    start_state(seed, state);
    switch (version) {
    case DX_HASH_LEGACY:
    case DX_HASH_LEGACY_UNSIGNED:
        *out = (struct dx_hash){.major = legacy_hash(name, len, is_unsigned)};
        break;
    case DX_HASH_HALF_MD4:
    case DX_HASH_HALF_MD4_UNSIGNED:
        for (size_t at = 0; at < len; at += 32) {
            name_words(name + at, len - at, is_unsigned, words, 8);
            half_md4(state, words);
        }
        *out = (struct dx_hash){.major = state[1], .minor = state[2]};
        break;
    case DX_HASH_TEA:
    case DX_HASH_TEA_UNSIGNED:
        for (size_t at = 0; at < len; at += 16) {
            name_words(name + at, len - at, is_unsigned, words, 4);
            tea(state, words);
        }
        *out = (struct dx_hash){.major = state[0], .minor = state[1]};
        break;
    default:
        return -EINVAL;
    }
    out->major &= ~1u;
    if (out->major == DX_HASH_EOF)
        out->major = DX_HASH_EOF - 2;
    return 0;
}
