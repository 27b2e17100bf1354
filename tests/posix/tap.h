// SPDX-License-Identifier: MIT
// tap.h - tests that run in a directory of their own, each in a process of its own.
#pragma once

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct posix_test {
    const char *name;           // the sentence that it proves
    void (*run)(void);          // in an empty directory, as root; leaves by return, EXPECT or SKIP
    unsigned seconds;           // 0: 60
};

// The first failed expectation ends the test's process.
#define EXPECT(cond)                                                                              \
    do {                                                                                          \
        if (!(cond)) {                                                                            \
            printf("# %s:%d: %s (errno %d %s)\n", __FILE__, __LINE__, #cond, errno, strerror(errno)); \
            fflush(stdout);                                                                       \
            _exit(1);                                                                             \
        }                                                                                         \
    } while (0)
#define EXPECT_ERRNO(call, wanted)                                                                \
    do {                                                                                          \
        errno = 0;                                                                                \
        long long got_ = (long long)(call);                                                       \
        if (got_ != -1 || errno != (wanted)) {                                                    \
            printf("# %s:%d: %s gave %lld, errno %d %s, wanted errno %s\n", __FILE__, __LINE__, #call, got_, errno, \
                   strerror(errno), #wanted);                                                     \
            fflush(stdout);                                                                       \
            _exit(1);                                                                             \
        }                                                                                         \
    } while (0)
#define SKIP(why) do { printf("# skip: %s\n", why); fflush(stdout); _exit(77); } while (0)

// Runs them all below `top`; TAP on standard output. Returns the number that failed.
int tap_run(const char *top, const struct posix_test *tests, size_t count, const char *only);
// fn() in a child with these ids and no capabilities; its exit status (0 when it returned).
int as_user(unsigned uid, unsigned gid, void (*fn)(void));
