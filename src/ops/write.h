// SPDX-License-Identifier: MIT
// write.h - what writing and copying have in common.
#pragma once

#include "ops/internal.h"

// Bytes of one plan.
#define OPS_WRITE_STEP ((size_t)1 << 20)
