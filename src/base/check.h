// SPDX-License-Identifier: MIT
// check.h - assertions that stay in release builds.
//
// CHECK states what *drover* promised; it never judges bytes from a disk, a network, a client or
// a configuration file (those are verified and answered with an error). A failed CHECK ends the
// process: the guardian starts a successor, which recovers. DCHECK is for walks that are too
// slow for release; debug builds and the simulator run them.
#pragma once

#include "base/types.h"

// Prints one line to the log and aborts.
NO_RETURN void check_failed(const char *cond, const char *file, int line, const char *func);

// Memory holds what nobody has written there. Prints the line (key=value) and aborts: the successor starts
// from what is known to be good.
NO_RETURN PRINTF_LIKE(1, 2) void damage_found(const char *format, ...);

// Why this process ends, kept for its crash report. CHECK_PASSED until then.
enum check_kind { CHECK_PASSED, CHECK_FAILED, CHECK_DAMAGE, CHECK_NO_MEMORY };
struct check_story {
    enum check_kind kind;
    char text[400];
};
const struct check_story *check_story(void);

#define CHECK(cond)                                                                               \
    do {                                                                                          \
        if (__builtin_expect(!(cond), 0))                                                         \
            check_failed(#cond, __FILE__, __LINE__, __func__);                                    \
    } while (0)

#ifdef DROVER_DEBUG
#define DCHECK(cond) CHECK(cond)
#else
#define DCHECK(cond) do { if (0) { (void)(cond); } } while (0)
#endif

// Memory for bookkeeping: drover does not limp on without it. Never returns NULL.
MUST_USE void *xmalloc(size_t size);
MUST_USE void *xcalloc(size_t count, size_t size);
MUST_USE void *xrealloc(void *ptr, size_t size);
MUST_USE char *xstrdup(const char *text);
// Zeroed, aligned to BLOCK_BYTES; free with free().
MUST_USE void *xblocks(size_t block_count);
