// SPDX-License-Identifier: MIT
// sys_mount.h - <sys/mount.h>, which brings a BLOCK_BYTES of its own (1024), without that.
#pragma once

#include <assert.h>

#include "base/types.h"
#pragma push_macro("BLOCK_BYTES")
#undef BLOCK_BYTES
#include <sys/mount.h>
#pragma pop_macro("BLOCK_BYTES")
static_assert(BLOCK_BYTES == 4096, "the block size is drover's");
