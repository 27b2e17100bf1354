// SPDX-License-Identifier: MIT
// deathwatch.h - who owns the mount, and how the next one learns that the owner is dead.
//
// One 32-bit word in the legacy, a robust futex as <linux/futex.h> describes it. Its life:
//
//        0                         no server has been yet
//        │ claim
//        ▼
//     tid | WAITERS ◀──────────┐   a server owns the mount; standbys sleep in the futex
//        │                     │
//        │ the kernel, when    │ claim, by the one that wakes first (compare and swap)
//        │ that thread ends,   │
//        │ or the guardian,    │
//        │ when it is gone     │
//        ▼                     │
//     OWNER_DIED | WAITERS ────┘
//
// The kernel walks a thread's robust list when the thread has left user space for good (exit, any fatal
// signal, exec) and has no system call under way, and before it takes down its memory: so from then on
// the dead server stores nothing and calls nothing, however long its gigabytes take to be freed. What it
// had handed to the disk is the fence's matter (rt_fence).
//
// WAITERS is always set, so the kernel always wakes; a wake-up that nobody needs costs nothing.
#pragma once

#include "base/types.h"

#define DEATHWATCH_FOREVER UINT64_MAX

// The calling thread's death is to be told through *word, from when it owns it: before that, nothing
// happens. Once per thread. It replaces the C library's list: no robust mutexes of pthreads afterwards.
// What the kernel reads lies in memory that is read-only from here on: a wild store does not reach it.
MUST_USE int deathwatch_register(uint32_t *word);
// The calling thread becomes the owner. -EBUSY: another one is.
MUST_USE int deathwatch_claim(uint32_t *word);
// Sleeps until there is no owner to be seen. 0, or -ETIMEDOUT. Somebody else may claim first.
MUST_USE int deathwatch_wait(uint32_t *word, uint64_t timeout_ns);

// The guardian's backstop, for a list that could not be walked: thread `dead` is known to be gone. If the
// word still says that it owns, or names neither it nor any of `alive`, it is freed and all who sleep are woken.
// True when that was needed.
bool deathwatch_bury(uint32_t *word, int dead, const int *alive, size_t alive_count);
