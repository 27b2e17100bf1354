// SPDX-License-Identifier: MIT
// indirect.c - the block map of ext2 and ext3, for files that were made without extents.
//
//   i_block[0..11]  data blocks          [12] ─▶ 1024 numbers ─▶ data
//   [13] ─▶ 1024 ─▶ 1024 ─▶ data         [14] ─▶ 1024 ─▶ 1024 ─▶ 1024 ─▶ data
//
// A zero anywhere on the way is a hole as large as what would hang there. The depth of a block follows
// from its number alone, so no walk can run in circles; every number that is followed must be a
// block that files may own. Indirect blocks have no checksum and no header to judge.
#include "fs/indirect_internal.h"

#include "base/check.h"
#include "fs/alloc.h"
#include "fs/map_internal.h"

static void place(uint64_t lblock, struct indirect_path *path)
{
    *path = (struct indirect_path){0};
    uint64_t rest = lblock, span = 1;
    if (rest < INDIRECT_DIRECT) {
        path->slot[0] = (uint32_t)rest;
        path->span[0] = 1;
        return;
    }
    rest -= INDIRECT_DIRECT;
    for (path->depth = 1; path->depth <= INDIRECT_LEVELS; path->depth++) {
        span *= INDIRECT_FANOUT;
        if (rest < span)
            break;
        rest -= span;
    }
    CHECK(path->depth <= INDIRECT_LEVELS);
    path->slot[0] = INDIRECT_DIRECT - 1 + path->depth;
    for (uint32_t at = 0; at <= path->depth; at++) {
        path->span[at] = span;
        span /= INDIRECT_FANOUT;
        if (at < path->depth) {
            path->slot[at + 1] = (uint32_t)(rest / span);
            rest %= span;
        }
    }
}

static uint32_t number_at(const struct indirect_path *path, uint32_t at)
{
    return le32(path->numbers[at][path->slot[at]]);
}

static struct shep_ref ref_of(const struct inode *inode)
{
    return (struct shep_ref){.type = BLOCK_INDIRECT, .owner = {.ino = inode->ino, .generation = inode->d.generation}};
}

void indirect_path_fini(struct plan *plan, struct inode *inode, struct indirect_path *path)
{
    for (uint32_t at = 1; !plan && at < path->found; at++)
        buf_put(inode->fs->bufs, path->buf[at]);
}

int indirect_find(struct plan *plan, struct inode *inode, uint64_t lblock, struct indirect_path *path)
{
    struct fs *fs = inode->fs;
    struct shep_ref ref = ref_of(inode);
    place(lblock, path);
    path->numbers[0] = (struct le32 *)(void *)inode->d.block;
    path->found = 1;
    for (uint32_t at = 0; at < path->depth; at++) {
        uint32_t block = number_at(path, at);
        struct buf *buf;
        if (block == 0)
            break;
        int rc = 0;
        if (!alloc_is_data_range(fs, block, 1))
            rc = map_corrupt(inode, block, "an indirect block is not in a data block");
        else if (plan)
            rc = plan_buf(plan, BLOCK_INDIRECT, &ref.owner, block, &buf);
        else
            rc = buf_get(fs->bufs, &ref, block, &buf);
        if (rc < 0) {
            indirect_path_fini(plan, inode, path);
            return rc;
        }
        path->buf[at + 1] = buf;
        path->numbers[at + 1] = (struct le32 *)(void *)buf->bytes;
        path->found++;
    }
    return 0;
}

void indirect_find_pinned(struct inode *inode, uint64_t lblock, struct indirect_path *path)
{
    struct buf_cache *bufs = inode->fs->bufs;
    place(lblock, path);
    path->numbers[0] = (struct le32 *)(void *)inode->d.block;
    for (path->found = 1; path->found <= path->depth; path->found++) {
        uint32_t block = number_at(path, path->found - 1);
        if (block == 0)
            return;
        struct buf *buf = buf_peek(bufs, block);
        CHECK(buf);
        path->buf[path->found] = buf;
        path->numbers[path->found] = (struct le32 *)(void *)buf->bytes;
    }
}

uint32_t indirect_slots_end(const struct indirect_path *path, uint32_t at)
{
    if (at > 0)
        return INDIRECT_FANOUT;
    return path->depth == 0 ? INDIRECT_DIRECT : path->slot[0] + 1;
}

uint32_t indirect_slots_first(const struct indirect_path *path, uint32_t at)
{
    return at == 0 && path->depth > 0 ? path->slot[0] : 0;
}

uint64_t indirect_array_first(const struct indirect_path *path, uint64_t lblock, uint32_t at)
{
    uint64_t base = path->depth == 0 ? 0 : INDIRECT_DIRECT, span = 1;
    for (uint32_t i = 1; i < path->depth; i++)
        base += (span *= INDIRECT_FANOUT);
    if (at == 0)
        return base;
    return lblock - (lblock - base) % (path->span[at] * INDIRECT_FANOUT);
}

// --- finding ----------------------------------------------------------------------------------

static int run_of(struct inode *inode, const struct indirect_path *path, uint64_t lblock, uint64_t max, struct map_run *out)
{
    uint32_t at = path->found - 1, slot = path->slot[at], end = indirect_slots_end(path, at);
    const struct le32 *numbers = path->numbers[at];
    uint32_t block = le32(numbers[slot]), n = 1;
    if (block == 0) {
        while (slot + n < end && le32(numbers[slot + n]) == 0)
            n++;
        uint64_t first = indirect_array_first(path, lblock, at) + (slot - indirect_slots_first(path, at)) * path->span[at];
        *out = (struct map_run){.state = MAP_HOLE, .lblock = lblock, .count = MIN(first + n * path->span[at] - lblock, max)};
        return 0;
    }
    while (slot + n < end && n < max && le32(numbers[slot + n]) == block + n)
        n++;
    *out = (struct map_run){.state = MAP_WRITTEN, .lblock = lblock, .count = n, .block = block};
    if (!alloc_is_data_range(inode->fs, block, n))
        return map_corrupt(inode, block, "a file holds blocks that no file may own");
    return 0;
}

int indirect_lookup(struct plan *plan, struct inode *inode, uint64_t lblock, uint64_t max, struct map_run *out)
{
    struct indirect_path path;
    int rc = indirect_find(plan, inode, lblock, &path);
    if (rc < 0)
        return rc;
    rc = run_of(inode, &path, lblock, max, out);
    indirect_path_fini(plan, inode, &path);
    return rc;
}

int indirect_next(struct plan *plan, struct inode *inode, uint64_t lblock, struct map_run *out)
{
    while (lblock <= INDIRECT_LBLOCK_MAX) {
        int rc = indirect_lookup(plan, inode, lblock, UINT64_MAX, out);
        if (rc < 0 || out->state != MAP_HOLE)
            return rc;
        lblock += out->count;
    }
    *out = (struct map_run){.state = MAP_HOLE, .lblock = lblock};
    return 0;
}

// As ext4: behind the last mapped block before it in its array, else behind the array itself.
int indirect_goal(struct plan *plan, struct inode *inode, uint64_t lblock, uint64_t *goal)
{
    struct indirect_path path;
    int rc = indirect_find(plan, inode, lblock, &path);
    if (rc < 0)
        return rc;
    uint32_t at = path.found - 1;
    *goal = path.buf[at] ? path.buf[at]->block : 0;
    for (uint32_t slot = path.slot[at]; slot-- > indirect_slots_first(&path, at);) {
        uint32_t block = le32(path.numbers[at][slot]);
        if (block == 0)
            continue;
        *goal = (uint64_t)block + (path.slot[at] - slot);
        break;
    }
    indirect_path_fini(plan, inode, &path);
    return 0;
}

// --- mapping ----------------------------------------------------------------------------------

int indirect_plan_set(struct plan *plan, struct inode *inode, uint64_t lblock, uint64_t count)
{
    uint64_t end = lblock + count;
    uint32_t missing = 0;
    if (inode->fs->geo.block_count > UINT32_MAX)
        return -EOPNOTSUPP;         // a new block might have a number of more than 32 bits
    (void)map_count_edit(plan);
    while (lblock < end) {
        struct indirect_path path;
        int rc = indirect_find(plan, inode, lblock, &path);
        if (rc < 0)
            return rc;
        plan_credits(plan, path.found - 1);
        // Arrays above the last are shared with the next round at most: counted twice, never too few.
        missing += path.depth + 1 - path.found;
        uint32_t at = path.depth;
        lblock = indirect_array_first(&path, lblock, at) + (indirect_slots_end(&path, at) - indirect_slots_first(&path, at));
    }
    return map_plan_spares(plan, inode, 0, missing);
}

static struct le32 *make_leaf(struct plan *plan, struct inode *inode, uint64_t lblock)
{
    struct fs *fs = inode->fs;
    struct indirect_path path;
    indirect_find_pinned(inode, lblock, &path);
    while (path.found <= path.depth) {
        struct shep_ref ref = ref_of(inode);
        struct buf *buf = buf_get_new(fs->bufs, &ref, map_take_spare(plan, inode));
        jrn_dirty(fs->jrn, buf);
        buf_put(fs->bufs, buf);     // the journal holds it
        path.numbers[path.found - 1][path.slot[path.found - 1]] = to_le32((uint32_t)buf->block);
        if (path.buf[path.found - 1])
            jrn_dirty(fs->jrn, path.buf[path.found - 1]);
        path.buf[path.found] = buf;
        path.numbers[path.found] = (struct le32 *)(void *)buf->bytes;
        path.found++;
    }
    if (path.buf[path.depth])
        jrn_dirty(fs->jrn, path.buf[path.depth]);
    return &path.numbers[path.depth][path.slot[path.depth]];
}

void indirect_apply_set(struct plan *plan, struct inode *inode, const struct map_run *run)
{
    CHECK(run->state == MAP_WRITTEN);
    for (uint64_t i = 0; i < run->count; i++)
        *make_leaf(plan, inode, run->lblock + i) = to_le32((uint32_t)(run->block + i));
    map_add_blocks(inode, run->count);
}
