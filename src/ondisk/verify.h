// SPDX-License-Identifier: MIT
// verify.h - is a metadata block what its reader expects? One answer for every block type.
#pragma once

#include "ondisk/block_type.h"
#include "ondisk/super.h"

// What can be said of a block from its bytes, its type and its owner. 0; -EFSBADCRC; or
// -EFSCORRUPTED; *why is then a phrase for the log. Blocks whose checksum stands elsewhere
// (bitmaps: group descriptor; inodes: each its own) are judged by their reader.
MUST_USE int block_verify(const struct ext4_geo *geo, enum block_type type, const struct block_owner *owner, uint64_t block, const void *bytes, const char **why);
// Recomputes the checksum inside a block that is about to be written to the journal.
void block_seal(const struct ext4_geo *geo, enum block_type type, const struct block_owner *owner, uint64_t block, void *bytes);
