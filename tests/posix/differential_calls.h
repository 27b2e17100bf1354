// SPDX-License-Identifier: MIT
// differential_calls.h - the table of what can be called.
#pragma once

#include "differential.h"

extern const struct kind kinds[];
extern const size_t kind_count;
