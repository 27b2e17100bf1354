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

// MD4 with half of the steps: three rounds of eight, each with an order of the words of its own.
static void half_md4(uint32_t state[4], const uint32_t in[8])
{
    static const struct {
        uint32_t (*mix)(uint32_t, uint32_t, uint32_t);
        uint32_t constant;
        uint8_t order[8], turn[4];
    } rounds[3] = {
        {choose, 0, {0, 1, 2, 3, 4, 5, 6, 7}, {3, 7, 11, 19}},
        {majority, 0x5a827999, {1, 3, 5, 7, 0, 2, 4, 6}, {3, 5, 9, 13}},
        {parity, 0x6ed9eba1, {3, 7, 2, 6, 1, 5, 0, 4}, {3, 9, 11, 15}},
    };
    uint32_t v[4] = {state[0], state[1], state[2], state[3]};

    for (uint32_t r = 0; r < 3; r++) {
        for (uint32_t step = 0; step < 8; step++) {
            // The word that is changed goes round: a, d, c, b.
            uint32_t a = (4 - step % 4) % 4, b = (a + 1) % 4, c = (a + 2) % 4, d = (a + 3) % 4;
            v[a] += rounds[r].mix(v[b], v[c], v[d]) + in[rounds[r].order[step]] + rounds[r].constant;
            v[a] = rotate(v[a], rounds[r].turn[step % 4]);
        }
    }
    for (uint32_t i = 0; i < 4; i++)
        state[i] += v[i];
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
