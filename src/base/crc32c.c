// SPDX-License-Identifier: MIT
// crc32c.c - isa-l does the work (docs/performance.md has the figures behind the choice).
#include "base/crc32c.h"

#include <isa-l/crc.h>

uint32_t crc32c(uint32_t crc, const void *bytes, size_t len)
{
    // isa-l takes an int length and, by an oversight of its interface, a non-const pointer.
    return crc32_iscsi((unsigned char *)(uintptr_t)bytes, (int)len, crc);
}
