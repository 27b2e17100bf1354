// SPDX-License-Identifier: MIT
// crc32c.h - CRC-32C (Castagnoli) as ext4 and jbd2 chain it: no inversion before or after.
#pragma once

#include "base/types.h"

// Continues `crc` (start with ~0u) over `len` bytes. ~crc32c(~0u, "123456789", 9) is 0xe3069283.
MUST_USE uint32_t crc32c(uint32_t crc, const void *bytes, size_t len);
