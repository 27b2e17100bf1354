// SPDX-License-Identifier: MIT
// crc32c.c - isa-l does the work (docs/performance.md has the figures behind the choice).
#include "base/crc32c.h"

#include <isa-l/crc.h>

#define POLYNOMIAL 0x82f63b78u      // Castagnoli's, lowest bit first

uint32_t crc32c(uint32_t crc, const void *bytes, size_t len)
{
    // isa-l takes an int length and, by an oversight of its interface, a non-const pointer.
    return crc32_iscsi((unsigned char *)(uintptr_t)bytes, (int)len, crc);
}

// A wrong bit changes the checksum by a pattern that depends on nothing but its distance from the end: the
// last bit's is the polynomial itself, and each one before it is a step of the register away.
bool crc32c_mend(void *bytes, size_t len, uint32_t init, uint32_t *crc)
{
    uint32_t wrong = crc32c(init, bytes, len) ^ *crc, pattern = POLYNOMIAL;
    if ((wrong & (wrong - 1)) == 0) {       // none, or one of the checksum itself
        *crc ^= wrong;
        return true;
    }
    for (size_t bit = 8 * len; bit-- > 0;) {
        if (pattern == wrong) {
            ((uint8_t *)bytes)[bit >> 3] ^= (uint8_t)(1u << (bit & 7));
            return true;
        }
        pattern = (pattern >> 1) ^ (pattern & 1 ? POLYNOMIAL : 0);
    }
    return false;
}
