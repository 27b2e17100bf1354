// SPDX-License-Identifier: MIT
// fallocate.h - the state of one fallocate(2), shared by the files that carry it out.
#pragma once

#include "fs/data_internal.h"

struct falloc {
    struct inode *inode;
    uint64_t off, end;              // bytes
    struct data_done asked, done;   // done: by the steps so far, if the rest is never done
    void (*update)(struct plan *plan, struct inode *inode, const struct data_done *done, void *arg);
    void *arg;
    bool begun, updated;            // the first apply is done; the caller's part is
    struct data_edges edges;
    // Allocating and zeroing:
    uint64_t block, block_end;      // still to do
    uint64_t whole_first, whole_end;// blocks that are zeroed as a whole
    uint64_t size_end;              // what the size becomes at last; 0: it stays
    bool zeroes, sets, claims;
    struct map_run run;
    // Removing and moving:
    struct map_remove remove;
    struct map_shift shift;
};

// The caller's part of the last apply half.
void falloc_update(struct plan *plan, struct falloc *f, const struct data_done *done);
YIELDS MUST_USE int falloc_step(struct falloc *f, int (*pass)(struct plan *plan, void *arg), void (*apply)(struct plan *plan, struct falloc *f));
// Zeroes f->edges and unmaps blocks [first, last], none when first > last.
YIELDS MUST_USE int falloc_punch(struct falloc *f, uint64_t first, uint64_t last);
YIELDS MUST_USE int falloc_collapse(struct falloc *f);
YIELDS MUST_USE int falloc_insert(struct falloc *f);
