// SPDX-License-Identifier: MIT
// recover.h - closing the state gap: what a dead server had told applications and not made durable.
//
// Runs after fs_mount() of a successor (the disk is as its journal has it) and before any door opens.
// Walks the P-Log, decides for every entry by the rules of aim.c (act, ignore, modify), runs the actions
// through ops, and at the end gives the dirty pages back to their files.
#pragma once

#include "base/err.h"
#include "base/types.h"

struct ops;
struct plog;
struct plog_entry;
struct rt;

// In the legacy: how far a recovery has come, and how often one died there.
struct recover_progress {
    uint64_t seq;                   // of the entry under way; 0: none
    uint64_t deaths;                // recoveries that died at that very entry (counted by the next)
};

struct recover_config {
    struct rt *rt;
    struct ops *ops;
    struct plog *log;
    uint64_t committed_tid;         // the newest transaction that the disk held (jrn_recovered_tid)
    volatile struct recover_progress *progress;     // may be NULL
    // Told of every entry with PLOG_ANSWER, whatever becomes of it: the request has been applied.
    void (*applied)(void *arg, const struct plog_entry *entry);
    void *arg;
};

struct recover_stats {
    uint64_t entries, act, ignore, modify;
    uint64_t pages;                 // given back to their files
    uint32_t mended;                // entries and descriptors with a flipped bit that was put right
};

#define RECOVER_DEATHS_MAX 2u

// 0; -EFSCORRUPTED when log or pages cannot be trusted, or an entry does not fit the volume, or
// RECOVER_DEATHS_MAX recoveries have died at one entry: `err` says which. What has been applied by
// then is in no committed transaction unless it is right; the caller ends, and its successor starts from the
// disk alone. Other errors are the disk's.
YIELDS MUST_USE int recover_run(const struct recover_config *config, struct recover_stats *out, struct err *err);
