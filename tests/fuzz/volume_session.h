// SPDX-License-Identifier: MIT
// volume_session.h - what clients do to a volume that may be damaged: look at all of it, change it.
//
// Any answer is fine; the point is that there is one. Everything is bounded, because a damaged
// volume can claim to be endless.
#pragma once

#include "../sim/world.h"
#include "rt/prng.h"

#define SESSION_DATA 0xd5u          // the bytes of every write

struct session_name {
    uint32_t parent, ino;
    uint8_t len;
    char bytes[255];
};

struct session {
    struct world *world;
    struct prng *chance;
    bool tell;                      // every change and its answer on standard error
    uint32_t inos[192];             // found by the walk
    uint32_t ino_count;
    uint32_t files[96];             // those of the inodes that are regular files
    uint32_t file_count;
    uint32_t favourites[2];
    struct session_name names[384];
    uint32_t name_count;
    uint64_t asked, refused;        // changes
};

// On a fibre, while the world is mounted.
YIELDS void session_walk(struct session *session);
YIELDS void session_change(struct session *session, uint32_t count);
