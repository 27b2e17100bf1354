// SPDX-License-Identifier: MIT
// aim.h - the rules of recovery: act, ignore or modify (aim.c is the specification).
#pragma once

#include "ops/ops.h"
#include "plog/plog.h"

enum aim_action {
    AIM_IGNORE,                 // the disk has it
    AIM_SIZE,                   // modify: only the file's size, and only in memory
    AIM_ACT,                    // applied again
    AIM_BURY,                   // modify: first an orphan is deleted that has the number; then act
    AIM_DISTRUST,               // log and volume contradict each other: nothing of the log may be believed
};

enum aim_size_rule {
    AIM_SIZE_STAYS,
    AIM_SIZE_GROWS,             // to off + len, if that is more
    AIM_SIZE_IS,                // off, when OPS_SET_SIZE is among the flags
    AIM_SIZE_ALLOCATES,         // by fallocate(2)'s mode
};

struct aim_rule {
    const char *name;
    enum aim_action on[3];      // by enum plog_state
    bool makes_self;            // SELF is a new inode: its number must be free
    bool makes_whiteout;        // `off` names a new inode, if any
    enum aim_size_rule size;
};

const struct aim_rule *aim_rule_of(const struct plog_entry *entry);
// By the entry's state alone.
enum aim_action aim_decide(const struct plog_entry *entry, enum plog_state state);
// The number that must be free before the entry is applied again; 0: none.
uint32_t aim_number(const struct plog_entry *entry);
// By who has that number.
enum aim_action aim_decide_number(enum ops_holder holder);
// A file's size, folded over the entries that tell of it.
uint64_t aim_size(const struct plog_entry *entry, uint64_t size);
// What a redo that failed means: AIM_DISTRUST, or AIM_IGNORE when it tells of the disk or of memory and not of the log.
enum aim_action aim_decide_error(int rc);
