// SPDX-License-Identifier: MIT
// dev_test.h - what the tests of this folder share: one fibre, blocks of one letter.
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>

#include "base/check.h"
#include "dev/dev.h"

// Writes one block full of `letter`. Nothing on the heap: a power cut may abandon the fibre here.
static inline int t_write(struct dev *dev, uint64_t nr, char letter, enum dev_flags flags)
{
    static _Alignas(BLOCK_BYTES) uint8_t letters[256][BLOCK_BYTES];
    uint8_t *block = letters[(uint8_t)letter];
    struct iovec iov = {memset(block, letter, BLOCK_BYTES), BLOCK_BYTES};
    return dev_write(dev, nr, &iov, 1, flags);
}

static inline int t_read(struct dev *dev, uint64_t nr, void *block)
{
    struct iovec iov = {block, BLOCK_BYTES};
    return dev_read(dev, nr, &iov, 1);
}

// '?' for a block of more than one letter.
static inline char t_letter_of(const void *block)
{
    const char *bytes = block;
    return memcmp(bytes, bytes + 1, BLOCK_BYTES - 1) == 0 ? bytes[0] : '?';
}

static inline char t_letter(struct dev *dev, uint64_t nr)
{
    AUTO_FREE uint8_t *block = xblocks(1);
    assert_int_equal(t_read(dev, nr, block), 0);
    return t_letter_of(block);
}
