// SPDX-License-Identifier: MIT
// fuzz.h - what the fuzz targets share.
//
// A target takes any bytes as one structure of the disk. It must neither crash nor read beyond them,
// and whatever it accepts must keep the promises of its header: what is accepted and then edited or
// written is accepted again. There is no prefix in an input: seeds are plain bytes of real volumes.
#pragma once

#include "base/check.h"
#include "base/types.h"
#include "ondisk/super.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

// The input in a buffer of exactly `room` bytes of its own (cut, or filled with zeros), so that the
// address sanitizer sees a read one byte beyond. free() it.
uint8_t *fuzz_bytes(const uint8_t *data, size_t size, size_t room);

// Volumes as targets see them: with and without checksums and 64-bit fields. Checksums are looked
// at only where a target says so; random bytes never pass them.
#define FUZZ_VOLUMES 4u
struct ext4_geo fuzz_volume(uint32_t variant);
