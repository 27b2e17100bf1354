// SPDX-License-Identifier: MIT
// crash.h - the last words of a server: what it died of, where, and whose request it was.
//
// SIGSEGV, SIGBUS, SIGILL, SIGFPE and SIGABRT (failed CHECKs, damage that was found, memory that ran out) are
// caught on a stack of their own, so that a full stack is reported too. The report goes to the log, most
// important first, and the process dies of the same signal. Nothing is allocated, opened, locked or
// waited for; a second fault on the way kills at once, and what was written by then stays.
//
// Built with a sanitizer, signals are the sanitizer's, whose report says more; the request is blamed and
// named all the same.
#pragma once

#include <signal.h>

#include "base/types.h"
#include "rt/rt.h"

struct legacy;

#define CRASH_LINE_MAX 512u

// All borrowed for ever. The functions run in the signal handler.
struct crash_config {
    int log_fd;
    uint32_t generation;
    struct legacy *legacy;              // death, crashes and damage are counted there; `running` is read
    const struct rt *rt;
    void (*blame)(void *arg, uint64_t request);                 // one more death; may be NULL
    // One line without its end, NUL-terminated, "" when there is nothing to say. May be NULL.
    void (*describe)(void *arg, uint64_t request, char line[CRASH_LINE_MAX]);
    void (*describe_worker)(void *arg, char line[CRASH_LINE_MAX]);
    void *arg;
};

// For the thread that calls it, which must be the worker's. Once; before files can no longer be opened.
void crash_catch(const struct crash_config *config);
