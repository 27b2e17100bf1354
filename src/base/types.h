// SPDX-License-Identifier: MIT
// types.h - the few words that every file of drover uses.
#pragma once

#include <assert.h>
#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <unistd.h>

#define MUST_USE __attribute__((warn_unused_result))
#define NO_RETURN __attribute__((noreturn))
#define PRINTF_LIKE(fmt, args) __attribute__((format(printf, fmt, args)))
#define PACKED __attribute__((packed))

// Marks a function that may suspend the running fibre. Across a call to it everything that
// is not pinned may have changed. The mark is for readers; the compiler sees nothing.
#define YIELDS

#define ARRAY_LEN(a) (sizeof(a) / sizeof((a)[0]))
#define CONTAINER_OF(ptr, type, member) ((type *)((char *)(ptr) - offsetof(type, member)))

#define MIN(a, b) ({ __auto_type min_a_ = (a); __auto_type min_b_ = (b); min_a_ < min_b_ ? min_a_ : min_b_; })
#define MAX(a, b) ({ __auto_type max_a_ = (a); __auto_type max_b_ = (b); max_a_ > max_b_ ? max_a_ : max_b_; })
#define DIV_ROUND_UP(n, d) (((n) + (d) - 1) / (d))
#define ROUND_UP(n, unit) (DIV_ROUND_UP(n, unit) * (unit))

// The errors of a damaged volume, by the names that the kernel's ext4 gives them.
#define EFSCORRUPTED EUCLEAN    // structure is wrong
#define EFSBADCRC EBADMSG       // checksum is wrong; the doors report it as EUCLEAN

// drover knows one block size. A block is also the unit of the page cache. (<linux/fs.h> has a macro
// BLOCK_SIZE that means 1024; hence the name.)
#define BLOCK_BYTES 4096u
#define BLOCK_SHIFT 12

static inline void auto_free_(void *slot)
{
    free(*(void **)slot);
}
static inline void auto_fd_(int *fd)
{
    if (*fd >= 0)
        close(*fd);
}
#define AUTO_FREE __attribute__((cleanup(auto_free_)))
#define AUTO_FD __attribute__((cleanup(auto_fd_)))
