// SPDX-License-Identifier: MIT
// group.c - block groups in memory: descriptors for the life of the mount, bitmaps on demand.
//
// A group's maps are made from its bitmaps when it is first asked and believed only if checksum,
// free count and fixed metadata agree; otherwise the group is bad: nothing is allocated in it or
// freed into it, and the rest of the volume goes on. While the maps exist the bitmap buffers are
// referenced, so what was verified is what is changed.
#include <string.h>

#include "base/bitmap.h"
#include "base/check.h"
#include "base/log.h"
#include "fs/alloc_internal.h"
#include "fs/fs_internal.h"

#define BITMAP_BITS (8u * BLOCK_BYTES)
// Groups whose maps are in memory at once, before those that are idle give theirs up: 16 to 32 MiB.
#define LOADED_GROUPS_MAX 2048u

static struct buf *desc_buf(const struct fs *fs, uint32_t g)
{
    return fs->desc_bufs[g / fs->geo.desc_per_block];
}

static uint8_t *desc_bytes(const struct fs *fs, uint32_t g)
{
    return desc_buf(fs, g)->bytes + (size_t)(g % fs->geo.desc_per_block) * fs->geo.desc_size;
}

// --- bitmaps that nobody has written yet ------------------------------------------------------

static bool is_uninit(const struct fs *fs, uint32_t g, uint16_t flag)
{
    return (fs->geo.has_gdt_csum || fs->geo.has_metadata_csum) && (fs->groups[g].desc.flags & flag);
}

static void set_if_inside(const struct fs *fs, uint32_t g, uint8_t *bitmap, uint64_t block, uint64_t count)
{
    uint64_t start = group_first_block(&fs->geo, g), end = start + group_blocks(&fs->geo, g);
    uint64_t first = MAX(block, start), last = MIN(block + count, end);
    if (first < last)
        bitmap_set_range(bitmap, (uint32_t)(first - start), (uint32_t)(last - first));
}

void group_make_block_bitmap(const struct fs *fs, uint32_t g, uint8_t *bitmap)
{
    const struct ext4_group *desc = &fs->groups[g].desc;
    uint32_t blocks = group_blocks(&fs->geo, g);
    memset(bitmap, 0, BLOCK_BYTES);
    set_if_inside(fs, g, bitmap, group_first_block(&fs->geo, g), group_overhead(&fs->geo, g));
    set_if_inside(fs, g, bitmap, desc->block_bitmap, 1);
    set_if_inside(fs, g, bitmap, desc->inode_bitmap, 1);
    set_if_inside(fs, g, bitmap, desc->inode_table, fs->geo.itable_blocks);
    if (blocks < BITMAP_BITS)
        bitmap_set_range(bitmap, blocks, BITMAP_BITS - blocks);
}

void group_make_inode_bitmap(const struct fs *fs, uint8_t *bitmap)
{
    memset(bitmap, 0, BLOCK_BYTES);
    bitmap_set_range(bitmap, fs->geo.inodes_per_group, BITMAP_BITS - fs->geo.inodes_per_group);
}

// --- loading ----------------------------------------------------------------------------------

void group_mark_bad(struct fs *fs, uint32_t g, bool inodes, const char *why)
{
    struct fs_group *group = &fs->groups[g];
    bool *bad = inodes ? &group->inodes_bad : &group->bad;
    if (*bad)
        return;
    *bad = true;
    fs_note_error(fs);
    uint64_t *total = inodes ? &fs->free_inodes : &fs->free_blocks;
    *total -= inodes ? group->desc.free_inodes : group->desc.free_blocks;
    log_error("event=group_bad group=%u bitmap=%s block=%llu why=\"%s\"", g, inodes ? "inodes" : "blocks",
              (unsigned long long)(inodes ? group->desc.inode_bitmap : group->desc.block_bitmap), why);
}

// What is wrong with a block bitmap, or NULL.
static const char *judge_blocks(const struct fs *fs, uint32_t g, const uint8_t *bitmap, bool made)
{
    const struct ext4_group *desc = &fs->groups[g].desc;
    uint64_t start = group_first_block(&fs->geo, g);
    uint32_t blocks = group_blocks(&fs->geo, g);
    if (!made && fs->geo.has_metadata_csum && block_bitmap_csum(&fs->geo, bitmap) != desc->block_bitmap_csum)
        return "wrong checksum";
    if (bitmap_count_clear(bitmap, blocks) != desc->free_blocks)
        return "its count of free blocks is not the descriptor's";
    for (uint32_t i = zone_at_or_after(fs, start); i < fs->zone_count; i++) {
        uint64_t first = MAX(fs->zones[i].first, start), end = MIN(fs->zones[i].last + 1, start + blocks);
        if (first >= end)
            break;
        if (!bitmap_all_set(bitmap, (uint32_t)(first - start), (uint32_t)(end - first)))
            return "fixed metadata is marked free";
    }
    return NULL;
}

static const char *judge_inodes(const struct fs *fs, uint32_t g, const uint8_t *bitmap, bool made)
{
    const struct ext4_group *desc = &fs->groups[g].desc;
    uint32_t count = fs->geo.inodes_per_group;
    if (!made && fs->geo.has_metadata_csum && inode_bitmap_csum(&fs->geo, bitmap) != desc->inode_bitmap_csum)
        return "wrong checksum";
    if (bitmap_count_clear(bitmap, count) != desc->free_inodes)
        return "its count of free inodes is not the descriptor's";
    uint32_t used = count - MIN(count, desc->itable_unused);
    if ((fs->geo.has_gdt_csum || fs->geo.has_metadata_csum) && !bitmap_all_clear(bitmap, used, count - used))
        return "inodes in the unused part of the table are marked used";
    return NULL;
}

static YIELDS int read_bitmap(struct fs *fs, uint32_t g, bool inodes, struct buf **out, bool *made)
{
    const struct ext4_group *desc = &fs->groups[g].desc;
    uint64_t block = inodes ? desc->inode_bitmap : desc->block_bitmap;
    struct shep_ref ref = {.type = inodes ? BLOCK_INODE_BITMAP : BLOCK_BLOCK_BITMAP};
    *made = is_uninit(fs, g, inodes ? EXT4_BG_INODE_UNINIT : EXT4_BG_BLOCK_UNINIT);
    if (!*made)
        return buf_get(fs->bufs, &ref, block, out);
    *out = buf_get_new(fs->bufs, &ref, block);
    if (inodes)
        group_make_inode_bitmap(fs, (*out)->bytes);
    else
        group_make_block_bitmap(fs, g, (*out)->bytes);
    return 0;
}

// A group that nobody needs gives up its maps, if there is one near the rotor.
static bool unload_one(struct fs *fs)
{
    for (uint32_t tries = 0; tries < 16; tries++) {
        fs->unload_rotor = (fs->unload_rotor + 1) % fs->geo.group_count;
        struct fs_group *group = &fs->groups[fs->unload_rotor];
        if (!group->busy && !group->inode_busy)
            continue;
        bool held = group->holds > 0 || group->inodes_claimed > 0 || group->desc_dirty ||
                    (group->block_bitmap && group->block_bitmap->refs > 1) ||
                    (group->inode_bitmap && group->inode_bitmap->refs > 1);
        if (!held) {
            group_unload(fs, fs->unload_rotor);
            return true;
        }
    }
    return false;
}

// Before a group gets (another half of) its maps.
static void make_room(struct fs *fs, const struct fs_group *group)
{
    while (fs->loaded_groups >= fs->loaded_groups_max && unload_one(fs))
        ;
    if (!group->busy && !group->inode_busy)
        fs->loaded_groups++;
}

static uint8_t *copy_map(const uint8_t *bitmap)
{
    uint8_t *map = xmalloc(BLOCK_BYTES);
    memcpy(map, bitmap, BLOCK_BYTES);
    return map;
}

int group_load_blocks(struct fs *fs, uint32_t g)
{
    struct fs_group *group = &fs->groups[g];
    struct buf *buf;
    bool made;
    if (group->bad)
        return -EFSCORRUPTED;
    if (group->busy)
        return 0;
    int rc = read_bitmap(fs, g, false, &buf, &made);
    if (rc < 0) {
        group_mark_bad(fs, g, false, "it cannot be read");
        return rc;
    }
    const char *why = group->bad || group->busy ? NULL : judge_blocks(fs, g, buf->bytes, made);
    if (why)
        group_mark_bad(fs, g, false, why);
    if (group->bad || group->busy) {    // damaged, or another fibre was faster
        buf_put(fs->bufs, buf);
        return group->bad ? -EFSCORRUPTED : 0;
    }
    uint32_t blocks = group_blocks(&fs->geo, g);
    make_room(fs, group);
    group->block_bitmap = buf;
    group->busy = copy_map(buf->bytes);
    group->padded = bitmap_all_set(buf->bytes, blocks, BITMAP_BITS - blocks);
    if (blocks < BITMAP_BITS)
        bitmap_set_range(group->busy, blocks, BITMAP_BITS - blocks);
    group->free_claimable = group->desc.free_blocks;
    group->run_max = blocks;
    return 0;
}

int group_load_inodes(struct fs *fs, uint32_t g)
{
    struct fs_group *group = &fs->groups[g];
    struct buf *buf;
    bool made;
    if (group->inodes_bad)
        return -EFSCORRUPTED;
    if (group->inode_busy)
        return 0;
    int rc = read_bitmap(fs, g, true, &buf, &made);
    if (rc < 0) {
        group_mark_bad(fs, g, true, "it cannot be read");
        return rc;
    }
    const char *why = group->inodes_bad || group->inode_busy ? NULL : judge_inodes(fs, g, buf->bytes, made);
    if (why)
        group_mark_bad(fs, g, true, why);
    if (group->inodes_bad || group->inode_busy) {
        buf_put(fs->bufs, buf);
        return group->inodes_bad ? -EFSCORRUPTED : 0;
    }
    make_room(fs, group);
    group->inode_bitmap = buf;
    group->inode_busy = copy_map(buf->bytes);
    group->inodes_padded = bitmap_all_set(buf->bytes, fs->geo.inodes_per_group, BITMAP_BITS - fs->geo.inodes_per_group);
    return 0;
}

void group_unload(struct fs *fs, uint32_t g)
{
    struct fs_group *group = &fs->groups[g];
    if (group->busy || group->inode_busy)
        fs->loaded_groups--;
    buf_put(fs->bufs, group->block_bitmap);
    buf_put(fs->bufs, group->inode_bitmap);
    free(group->busy);
    free(group->promised);
    free(group->inode_busy);
    group->block_bitmap = group->inode_bitmap = NULL;
    group->busy = group->promised = group->inode_busy = NULL;
}

// --- plan and apply -----------------------------------------------------------------------------

void group_pin_blocks(struct plan *plan, uint32_t g)
{
    struct fs_group *group = &plan->fs->groups[g];
    if (group->block_serial == plan->serial)
        return;
    group->block_serial = plan->serial;
    guard_check_group(plan->fs, group);
    plan_hold_buf(plan, buf_ref(group->block_bitmap));
    plan_credits(plan, 2);
}

void group_pin_inodes(struct plan *plan, uint32_t g)
{
    struct fs_group *group = &plan->fs->groups[g];
    if (group->inode_serial == plan->serial)
        return;
    group->inode_serial = plan->serial;
    guard_check_group(plan->fs, group);
    plan_hold_buf(plan, buf_ref(group->inode_bitmap));
    plan_credits(plan, 2);
}

static void dirty_desc(struct fs *fs, uint32_t g)
{
    struct fs_group *group = &fs->groups[g];
    jrn_join(fs->jrn, desc_buf(fs, g));
    guard_open_group(fs, group);
    if (group->desc_dirty)
        return;
    group->desc_dirty = true;
    list_push_back(&fs->dirty_groups, &group->dirty_link);
}

void group_dirty_blocks(struct fs *fs, uint32_t g)
{
    fs->groups[g].blocks_dirty = true;
    jrn_dirty(fs->jrn, fs->groups[g].block_bitmap);
    dirty_desc(fs, g);
}

void group_dirty_inodes(struct fs *fs, uint32_t g)
{
    fs->groups[g].inodes_dirty = true;
    jrn_dirty(fs->jrn, fs->groups[g].inode_bitmap);
    dirty_desc(fs, g);
}

// --- mount, commit, unmount ---------------------------------------------------------------------

// A bitmap and the count beside it are changed together: if they differ now, one of them was changed
// by nobody who may.
static void guard_counts(const struct fs *fs, uint32_t g)
{
    const struct fs_group *group = &fs->groups[g];
    guard_check_group(fs, group);
    uint32_t blocks = group_blocks(&fs->geo, g);
    if (group->block_bitmap && !group->bad && bitmap_count_clear(group->block_bitmap->bytes, blocks) != group->desc.free_blocks)
        damage_found("what=group group=%u why=\"its block bitmap does not have the descriptor's count of free blocks\"", g);
    if (group->inode_bitmap && !group->inodes_bad &&
        bitmap_count_clear(group->inode_bitmap->bytes, fs->geo.inodes_per_group) != group->desc.free_inodes)
        damage_found("what=group group=%u why=\"its inode bitmap does not have the descriptor's count of free inodes\"", g);
    if (group->block_bitmap && group->padded && !bitmap_all_set(group->block_bitmap->bytes, blocks, BITMAP_BITS - blocks))
        damage_found("what=group group=%u why=\"its block bitmap is not all ones behind the last block\"", g);
    uint32_t inodes = fs->geo.inodes_per_group;
    if (group->inode_bitmap && group->inodes_padded && !bitmap_all_set(group->inode_bitmap->bytes, inodes, BITMAP_BITS - inodes))
        damage_found("what=group group=%u why=\"its inode bitmap is not all ones behind the last inode\"", g);
}

void alloc_encode(struct fs *fs)
{
    struct list *link;
    while ((link = list_pop_front(&fs->dirty_groups))) {
        struct fs_group *group = LIST_ENTRY(link, struct fs_group, dirty_link);
        uint32_t g = (uint32_t)(group - fs->groups);
        guard_counts(fs, g);
        if (group->blocks_dirty && fs->geo.has_metadata_csum)
            group->desc.block_bitmap_csum = block_bitmap_csum(&fs->geo, group->block_bitmap->bytes);
        if (group->inodes_dirty && fs->geo.has_metadata_csum)
            group->desc.inode_bitmap_csum = inode_bitmap_csum(&fs->geo, group->inode_bitmap->bytes);
        group->desc_dirty = group->blocks_dirty = group->inodes_dirty = false;
        guard_seal_group(group);        // with the checksums of its bitmaps
        buf_check_now(fs->bufs, desc_buf(fs, g));
        buf_open(fs->bufs, desc_buf(fs, g));
        group_encode(&fs->geo, g, &group->desc, desc_bytes(fs, g));
    }
}

static YIELDS int load_descriptor_block(struct fs *fs, uint32_t index, struct err *err)
{
    struct shep_ref ref = {.type = BLOCK_GROUP_DESC};
    uint64_t block = group_desc_block(&fs->geo, index);
    int rc = buf_get(fs->bufs, &ref, block, &fs->desc_bufs[index]);
    if (rc < 0)
        return err_set(err, -rc, "block %llu of the group descriptors cannot be read (run e2fsck)",
                       (unsigned long long)block);
    uint32_t first = index * fs->geo.desc_per_block;
    uint32_t end = MIN(first + fs->geo.desc_per_block, fs->geo.group_count);
    for (uint32_t g = first; g < end; g++) {
        const char *why = "damaged";
        rc = group_decode(&fs->geo, g, desc_bytes(fs, g), &fs->groups[g].desc, &why);
        if (rc < 0) {
            log_error("event=group_descriptor_bad group=%u block=%llu why=\"%s\"", g, (unsigned long long)block, why);
            return err_set(err, -rc, "the descriptor of block group %u is damaged: %s (run e2fsck)", g, why);
        }
        list_init(&fs->groups[g].dirty_link);
        list_init(&fs->groups[g].open_link);
        guard_seal_group(&fs->groups[g]);
        fs->free_blocks += fs->groups[g].desc.free_blocks;
        fs->free_inodes += fs->groups[g].desc.free_inodes;
        fs->used_dirs += fs->groups[g].desc.used_dirs;
    }
    return 0;
}

int alloc_load(struct fs *fs, struct err *err)
{
    struct shep_ref ref = {.type = BLOCK_GROUP_DESC};
    fs->groups = xcalloc(fs->geo.group_count, sizeof *fs->groups);
    fs->desc_bufs = xcalloc(fs->geo.gdt_blocks, sizeof *fs->desc_bufs);
    fs->loaded_groups_max = LOADED_GROUPS_MAX;
    if (!(fs->geo.incompat & EXT4_INCOMPAT_META_BG))
        buf_prefetch(fs->bufs, &ref, group_desc_block(&fs->geo, 0), fs->geo.gdt_blocks);
    for (uint32_t index = 0; index < fs->geo.gdt_blocks; index++) {
        int rc = load_descriptor_block(fs, index, err);
        if (rc < 0)
            return rc;
    }
    zones_build(fs);
    return 0;
}

void alloc_unload(struct fs *fs)
{
    struct list *link;
    for (uint32_t g = 0; fs->groups && g < fs->geo.group_count; g++)
        group_unload(fs, g);
    for (uint32_t index = 0; fs->desc_bufs && index < fs->geo.gdt_blocks; index++)
        buf_put(fs->bufs, fs->desc_bufs[index]);
    while ((link = list_pop_front(&fs->pending_frees)))
        alloc_free_pending(link);
    free(fs->groups);
    free(fs->desc_bufs);
    free(fs->zones);
    fs->groups = NULL;
    fs->desc_bufs = NULL;
    fs->zones = NULL;
}
