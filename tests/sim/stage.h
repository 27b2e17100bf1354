// SPDX-License-Identifier: MIT
// stage.h - plays one script on a fresh volume, kills the server where it is told to, and tells all that
// an application could see afterwards.
#pragma once

#include "script.h"
#include "world.h"

// Where servers die. Points are counted from the operation under test on: passes of a probe and steps of
// the disk together, in the order in which they come.
enum death {
    DEATH_PLAIN,
    DEATH_ENTRY_LOST,       // at a REPLY: just before the P-Log's entry was there
    DEATH_ANSWER_LOST,      // at a REPLY: just before the record had its answer
};
#define NEVER UINT32_MAX
struct play_plan {
    uint32_t point;         // the server dies at this one; NEVER
    enum death death;
    uint32_t redo;          // its successor dies at this redo, or step of the disk, of its recovery; NEVER
    bool judged;            // e2fsck looks at the end
};

struct play {
    char *seen;             // all that can be seen, as text; owned
    uint32_t points;        // how many there were
    uint32_t redos;         // how many points the first recovery had (up to where it died)
    bool is_reply;          // the fatal point was one after an apply half that logged something
    uint64_t entries;       // of the P-Log that the first successor met
    bool failed;
    char story[768];
};

struct stage;
// Makes the volumes, of the kind numbered `kind`.
#define STAGE_KINDS 3u
struct stage *stage_open(const char *dir, uint32_t kind);
// `script` is borrowed for the call.
void stage_play(struct stage *stage, const struct script *script, const struct play_plan *plan, struct play *out);
