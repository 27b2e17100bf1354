// SPDX-License-Identifier: MIT
// fault.h - a filter that spoils the requests its rules name: the faults of real disks, on demand.
//
// Rules are tried in the order they were added and the first that matches fires; no other does for
// that request. A filter without rules is transparent. There is no chance in here: a test draws
// its rules from its own seed.
#pragma once

#include "dev/dev.h"
#include "rt/rt.h"

enum fault_op {                 // a set
    FAULT_ON_READ = 1 << 0,
    FAULT_ON_WRITE = 1 << 1,
    FAULT_ON_FLUSH = 1 << 2,
};

enum fault_kind {
    FAULT_FAIL,                 // the request answers `error`; nothing of it is done
    FAULT_CORRUPT,              // success, but one byte of each block in range is inverted: on a
                                // read in what the caller gets, on a write in what is stored
    FAULT_LOST,                 // write, flush: success, but the blocks in range are not written
    FAULT_TORN,                 // write: success, but of each block in range only the first half is
                                // written
    FAULT_DELAY,                // the request waits `delay_ns` first and is then served as usual
};

struct fault_rule {
    enum fault_op ops;
    enum fault_kind kind;
    uint64_t block_first, block_count;  // a request matches when it touches one of these; count 0:
                                        // the whole device. Not looked at for a flush.
    uint64_t skip;              // so many matching requests pass unharmed first
    uint64_t shots;             // so many are spoilt after them; 0: all
    int error;                  // FAULT_FAIL: a negative errno; 0 is -EIO
    uint32_t byte;              // FAULT_CORRUPT: which of each block
    uint64_t delay_ns;          // FAULT_DELAY
};

// `below` is borrowed and outlives the filter.
struct dev *dev_fault_create(struct rt *rt, struct dev *below);

// Adds a rule behind the others. Returns its id, above 0, which is never used again; -EINVAL for a
// rule that makes no sense (a torn read, a flush that is corrupted, a byte outside the block).
MUST_USE int dev_fault_add(struct dev *fault, const struct fault_rule *rule);
// Requests under way are not recalled. Harmless for an id that was removed before.
void dev_fault_remove(struct dev *fault, int id);
void dev_fault_clear(struct dev *fault);
// How many requests the rule has spoilt. It can still be asked when its shots are used up; 0 after
// it was removed.
uint64_t dev_fault_fired(const struct dev *fault, int id);
