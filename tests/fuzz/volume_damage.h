// SPDX-License-Identifier: MIT
// volume_damage.h - random damage to a volume, from a seed.
#pragma once

#include "rt/prng.h"
#include "volume_image.h"

// Changes `count` places of the volume's metadata. `seal`: checksums are then made right again, so that
// the damage gets past them.
struct damage {
    uint32_t count;
    bool seal;
    bool tell;                      // each change on standard error, for whoever replays the seed
};
// Returns a mask of the kinds of pieces that were hit.
uint32_t volume_damage(const struct volume *volume, struct prng *chance, const struct damage *damage);
