// SPDX-License-Identifier: MIT
// stage_internal.h - what the two files of the stage share: stage.c plays, stage_see.c writes down what can be seen.
#pragma once

#include <stdio.h>
#include <string.h>

#include "stage.h"

#define SLOT_NS 100000000000ull
#define HEAD_BYTES 512u             // of the P-Log, restored when an entry is lost

struct stage {
    const char *dir;
    struct sim_disk *empty, *old;
    struct legacy_sim legacy;       // for every play, one after the other: nothing of it needs clearing
    struct rt *rt;                  // the same
    struct world_config config;
};

struct object {
    uint32_t ino, generation;
    uint32_t held;                  // lookups that the kernel has not given back
    bool linkable;                  // of O_TMPFILE, and never had a name: the kernel knows
};

struct machine {
    struct stage *stage;
    const struct script *script;
    const struct play_plan *plan;
    struct play *out;
    struct rt *rt;
    struct sim_disk *disk;
    struct world world;
    struct legacy_sim legacy;
    struct prng chance;

    uint32_t at;                    // step under way
    bool begun;                     // it was asked for and not yet answered
    uint64_t request;
    struct ops_answer answer;
    int64_t results[SCRIPT_STEPS];
    struct object objects[LABELS];
    bool over;                      // all is told

    uint32_t boot;
    uint32_t points, redos;
    bool counting;
    uint8_t head_before[HEAD_BYTES];        // the P-Log's, at the last APPLY
    uint64_t used_before, committed_before;
    size_t seen_len, seen_room;
};

static inline void fail(struct machine *m, const char *what, int rc)
{
    if (!m->out->failed)
        snprintf(m->out->story, sizeof(m->out->story), "%s: %s", what, rc ? strerror(-rc) : "");
    m->out->failed = true;
}

static inline struct ops_name name_of(const char *text)
{
    return (struct ops_name){.bytes = text ? text : "", .len = text ? strlen(text) : 0};
}

// Results, tree, held inodes.
YIELDS void see_all(struct machine *m);
// Everything is given back, and written: what is left in use?
YIELDS void see_space(struct machine *m);
