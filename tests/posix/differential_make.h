// SPDX-License-Identifier: MIT
// differential_make.h - what the kinds of calls are written with.
#pragma once

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>

#include "differential_calls.h"

#define COUNT(a) (sizeof(a) / sizeof(*(a)))
#define PICK(array, die) ((array)[(die) % COUNT(array)])
// Makes the call; what it returned and its text are in the answer.
#define MAKE(expression, ...)                                                                     \
    do {                                                                                          \
        snprintf(answer->text, TEXT_ROOM, __VA_ARGS__);                                           \
        errno = 0;                                                                                \
        answer->ret = (long)(expression);                                                         \
        answer->err = answer->ret < 0 ? errno : 0;                                                \
    } while (0)
#define KIND(name) static void do_##name(const struct call *call, struct side *side, struct answer *answer)
#define SHARED_KIND(name) void do_##name(const struct call *call, struct side *side, struct answer *answer)

static inline int at(const struct call *call, const struct side *side, int i)
{
    return call->dir_slot[i] < 0 ? AT_FDCWD : side->fds[call->dir_slot[i]];
}

static inline int fd_of(const struct call *call, const struct side *side, int i)
{
    return side->fds[call->slot[i]];
}

static inline void fill(uint8_t *bytes, size_t len, uint32_t seed)
{
    for (size_t i = 0; i < len; i++)
        bytes[i] = (uint8_t)((seed = seed * 1103515245 + 12345) >> 16);
}

// differential_xattr.c
SHARED_KIND(setxattr);
SHARED_KIND(getxattr);
SHARED_KIND(listxattr);
SHARED_KIND(removexattr);
