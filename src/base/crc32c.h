// SPDX-License-Identifier: MIT
// crc32c.h - CRC-32C (Castagnoli) as ext4 and jbd2 chain it: no inversion before or after.
#pragma once

#include "base/types.h"

// Continues `crc` (start with ~0u) over `len` bytes. ~crc32c(~0u, "123456789", 9) is 0xe3069283.
MUST_USE uint32_t crc32c(uint32_t crc, const void *bytes, size_t len);
// *crc is to be crc32c(init, bytes, len). Where one bit of the bytes or of *crc itself is wrong, puts it
// right; true when they agree afterwards (also when they did before). Time is linear in `len`.
MUST_USE bool crc32c_mend(void *bytes, size_t len, uint32_t init, uint32_t *crc);
