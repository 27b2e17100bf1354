// SPDX-License-Identifier: MIT
// prng.h - chance from a seed: xoshiro256**, started by splitmix64. Not for secrets.
//
// Workers draw from their own (rt_random). Whoever needs chance without a worker, such as the
// simulated power cut, carries one of these; the same seed gives the same draws for ever.
#pragma once

#include "base/types.h"

struct prng {
    uint64_t s[4];
};

static inline void prng_seed(struct prng *prng, uint64_t seed)
{
    // Splitmix64 spreads neighbouring seeds (7, 8, 9) over the whole state.
    for (int i = 0; i < 4; i++) {
        uint64_t z = seed += 0x9e3779b97f4a7c15ull;
        z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
        z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
        prng->s[i] = z ^ (z >> 31);
    }
}

static inline uint64_t prng_rotl_(uint64_t x, int bits)
{
    return (x << bits) | (x >> (64 - bits));
}

static inline uint64_t prng_next(struct prng *prng)
{
    uint64_t *s = prng->s;
    uint64_t result = prng_rotl_(s[1] * 5, 7) * 9;
    uint64_t t = s[1] << 17;
    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= t;
    s[3] = prng_rotl_(s[3], 45);
    return result;
}

// A number in [0, limit); `limit` is not 0. The bias is below limit / 2^64.
static inline uint64_t prng_below(struct prng *prng, uint64_t limit)
{
    return (uint64_t)(((unsigned __int128)prng_next(prng) * limit) >> 64);
}
