// SPDX-License-Identifier: MIT
// shepherd.h - reliable block I/O: each type of block is read and written by its own policy.
//
// The shepherd stands between the caches and the devices. A caller names the *type* of block it
// touches and whose block it is; that type's policy decides how hard to try, where copies live and
// whether what was read is sane. One shepherd belongs to one worker, so nothing here locks.
#pragma once

#include <sys/uio.h>

#include "base/types.h"
#include "ondisk/block_type.h"

struct dev;
struct ext4_geo;
struct rt;
struct shepherd;

// What a block is: travels with every request from the code that knows (fs, journal) downwards.
struct shep_ref {
    enum block_type type;
    struct block_owner owner;
};

enum shep_flags {
    SHEP_FUA = 1 << 0,          // on stable storage when the write returns
};

// Map blocks that a policy changed while it wrote (checksums, mirrors, remaps). They come back to
// the journal as a result and join the running transaction, chained to the one being
// checkpointed. The plain policy changes none.
struct shep_result {
    uint32_t map_count;
    uint64_t maps[8];
};

// `dev` is borrowed. Until a geometry is known nothing but sizes can be judged.
struct shepherd *shep_create(struct rt *rt, struct dev *dev);
void shep_destroy(struct shepherd *shep);
// Borrowed for the shepherd's life; reads after it are verified (ondisk/verify.h).
void shep_set_geometry(struct shepherd *shep, const struct ext4_geo *geo);

// Fills `out` with one metadata block. 0; or -EIO when no copy could be read; or -EFSCORRUPTED or
// -EFSBADCRC when copies were read but none is sane (logged here, once). `out` is undefined then.
YIELDS MUST_USE int shep_read(struct shepherd *shep, const struct shep_ref *ref, uint64_t block, void *out);
// Judges a block that was read as another type from another place (the journal's copy of it), as shep_read()
// judges what it reads: 0, -EFSCORRUPTED, -EFSBADCRC (logged).
MUST_USE int shep_judge(struct shepherd *shep, const struct shep_ref *ref, uint64_t block, void *bytes);
// Several consecutive blocks of file data or journal, unverified.
YIELDS MUST_USE int shep_read_run(struct shepherd *shep, const struct shep_ref *ref, uint64_t block, const struct iovec *iov, int iovcnt);
// Writes consecutive blocks. `result` may be NULL only for block types whose policy has no maps.
YIELDS MUST_USE int shep_write(struct shepherd *shep, const struct shep_ref *ref, uint64_t block, const struct iovec *iov, int iovcnt, enum shep_flags flags, struct shep_result *result);
YIELDS MUST_USE int shep_flush(struct shepherd *shep);
YIELDS MUST_USE int shep_discard(struct shepherd *shep, uint64_t block, uint64_t count);
uint64_t shep_block_count(const struct shepherd *shep);

struct shep_stats {
    uint64_t reads, writes, flushes, read_errors, write_errors, corruptions;
};
struct shep_stats shep_stats(const struct shepherd *shep);
