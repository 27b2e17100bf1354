// SPDX-License-Identifier: MIT
// volume.c - what is asked of the volume as a whole: FITRIM, and the shutdown of tests.
//
// Neither is logged: a discarded block was free before, and a shutdown is the end of the log's use.
#include "ops/internal.h"

#include "fs/alloc.h"

int ops_trim(struct ops *ops, uint64_t off, uint64_t len, uint64_t min_len, uint64_t *trimmed)
{
    const struct ext4_geo *geo = &ops->fs->geo;
    uint64_t first = off >> BLOCK_SHIFT, min = min_len >> BLOCK_SHIFT, blocks = 0;

    *trimmed = 0;
    if (ops->fs->shut_down)
        return -EIO;
    if (min > geo->blocks_per_group || first >= geo->block_count || len < BLOCK_BYTES)
        return -EINVAL;
    int rc = fs_writable(ops->fs);
    if (rc < 0)
        return rc;
    uint64_t count = MIN(len >> BLOCK_SHIFT, geo->block_count - first);
    rc = alloc_trim(ops->fs, first, count, MAX(min, (uint64_t)1), &blocks);
    *trimmed = blocks << BLOCK_SHIFT;
    return op_answer(rc);
}

enum { SHUTDOWN_SYNC, SHUTDOWN_LOG_FLUSH, SHUTDOWN_NOW };

int ops_shutdown(struct ops *ops, uint32_t how)
{
    struct fs *fs = ops->fs;

    if (how > SHUTDOWN_NOW)
        return -EINVAL;
    if (fs->shut_down)
        return 0;
    int rc = how == SHUTDOWN_SYNC ? fs_sync(fs) : how == SHUTDOWN_LOG_FLUSH ? fs_commit(fs) : 0;
    fs->shut_down = true;
    fs_abort(fs, -EIO, "shutdown was asked for");
    return op_answer(rc);
}
