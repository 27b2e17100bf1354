// SPDX-License-Identifier: MIT
// internal.h - the shepherd's own state, for the files of this folder.
#pragma once

#include "shepherd/policy.h"

struct shepherd {
    struct rt *rt;
    struct dev *dev;                    // borrowed
    const struct ext4_geo *geo;         // borrowed; NULL until the superblock was read
    const struct shep_policy *table[BLOCK_TYPE_COUNT];
    struct shep_stats stats;
};
