// SPDX-License-Identifier: MIT
// alloc_inode.c - inode numbers: which group, which number, and the unused tail of the table.
//
// Directories are spread over the volume (top-level ones to the emptiest groups, others near
// their parent while its group has room to grow), files stay with their directory. Within a group
// the lowest free number is taken, so that the never used tail of the inode table stays one piece:
// its blocks may hold anything, and one that becomes used is written whole, from zeros.
#include "base/bitmap.h"
#include "base/check.h"
#include "base/log.h"
#include "fs/alloc_internal.h"
#include "fs/fs_internal.h"
#include "fs/inode.h"
#include "fs/inode_internal.h"

// --- where -----------------------------------------------------------------------------------

static uint32_t free_inodes_in_group(const struct fs *fs, uint32_t g)
{
    const struct fs_group *group = &fs->groups[g];
    if (group->inodes_bad || group->desc.free_inodes <= group->inodes_claimed)
        return 0;
    return group->desc.free_inodes - group->inodes_claimed;
}

struct inode_goal {
    uint32_t inodes_min, blocks_min, dirs_max;
};

static bool group_suits(const struct fs *fs, uint32_t g, const struct inode_goal *goal)
{
    const struct fs_group *group = &fs->groups[g];
    return free_inodes_in_group(fs, g) >= MAX(1u, goal->inodes_min) && !group->bad &&
           group->desc.free_blocks >= goal->blocks_min && group->desc.used_dirs <= goal->dirs_max;
}

static struct inode_goal average_goal(const struct fs *fs)
{
    return (struct inode_goal){
        .inodes_min = (uint32_t)(fs->free_inodes / fs->geo.group_count),
        .blocks_min = (uint32_t)(fs->free_blocks / fs->geo.group_count),
        .dirs_max = UINT32_MAX,
    };
}

// A top-level directory: of the groups with at least average room the one with fewest directories.
static uint32_t top_level_group(const struct fs *fs)
{
    struct inode_goal goal = average_goal(fs);
    uint32_t best = fs->dir_rotor % fs->geo.group_count, dirs = UINT32_MAX;
    for (uint32_t i = 0; i < fs->geo.group_count; i++) {
        uint32_t g = (uint32_t)(((uint64_t)fs->dir_rotor + i) % fs->geo.group_count);
        if (fs->groups[g].desc.used_dirs < dirs && group_suits(fs, g, &goal)) {
            best = g;
            dirs = fs->groups[g].desc.used_dirs;
        }
    }
    return best;
}

// Another directory: the first group from its parent's on that is neither full of directories nor
// much fuller than the average. ext4's own bounds.
static uint32_t directory_group(const struct fs *fs, uint32_t parent_group)
{
    struct inode_goal goal = average_goal(fs);
    uint32_t inodes_slack = fs->geo.inodes_per_group / 4, blocks_slack = fs->geo.blocks_per_group / 4;
    goal.inodes_min -= MIN(goal.inodes_min, inodes_slack);
    goal.blocks_min -= MIN(goal.blocks_min, blocks_slack);
    goal.dirs_max = (uint32_t)(fs->used_dirs / fs->geo.group_count) + fs->geo.inodes_per_group / 16;
    for (uint32_t i = 0; i < fs->geo.group_count; i++) {
        uint32_t g = (uint32_t)(((uint64_t)parent_group + i) % fs->geo.group_count);
        if (group_suits(fs, g, &goal))
            return g;
    }
    return parent_group;
}

static uint32_t first_group(const struct fs *fs, const struct inode *parent, uint16_t mode)
{
    uint32_t parent_group = parent ? inode_group(&fs->geo, parent->ino) : 0;
    if ((mode & 0170000) != 0040000)
        return parent_group;
    bool top = !parent || parent->ino == EXT4_ROOT_INO || (parent->d.flags & EXT4_TOPDIR_FL);
    return top ? top_level_group(fs) : directory_group(fs, parent_group);
}

// --- claims ------------------------------------------------------------------------------------

// The kernel makes a group's block bitmap real when it makes its inodes real; e2fsck expects that.
static YIELDS int pin_group(struct plan *plan, uint32_t g)
{
    struct fs *fs = plan->fs;
    group_pin_inodes(plan, g);
    if (!(fs->groups[g].desc.flags & EXT4_BG_BLOCK_UNINIT) || fs->groups[g].bad)
        return 0;
    int rc = group_load_blocks(fs, g);
    if (rc == 0)
        group_pin_blocks(plan, g);
    return rc == -EFSCORRUPTED || rc == -EFSBADCRC ? 0 : rc;
}

static YIELDS int claim_number(struct plan *plan, uint32_t g, uint32_t index)
{
    struct fs *fs = plan->fs;
    uint32_t ino = g * fs->geo.inodes_per_group + index + 1;
    bitmap_set(fs->groups[g].inode_busy, index);
    fs->groups[g].inodes_claimed++;
    fs->claimed_inodes++;
    alloc_push_claim(plan, &(struct claim){CLAIM_INODE, ino, 1});
    return pin_group(plan, g);
}

static uint32_t lowest_index(const struct fs *fs, uint32_t g)
{
    uint32_t from = g == 0 ? fs->geo.first_ino - 1 : 0;
    return bitmap_next_clear(fs->groups[g].inode_busy, from, fs->geo.inodes_per_group);
}

int alloc_claim_inode(struct plan *plan, const struct inode *parent, uint16_t mode, uint32_t *ino)
{
    struct fs *fs = plan->fs;
    if (fs->free_inodes <= fs->claimed_inodes)
        return -ENOSPC;
    uint32_t start = first_group(fs, parent, mode);
    for (uint32_t i = 0; i < fs->geo.group_count; i++) {
        uint32_t g = (uint32_t)(((uint64_t)start + i) % fs->geo.group_count);
        if (free_inodes_in_group(fs, g) == 0 || group_load_inodes(fs, g) < 0)
            continue;
        uint32_t index = lowest_index(fs, g);
        if (index >= fs->geo.inodes_per_group)
            continue;
        *ino = g * fs->geo.inodes_per_group + index + 1;
        if (!htable_find(&fs->inodes, *ino))
            return claim_number(plan, g, index);
        group_mark_bad(fs, g, true, "an inode in use is marked free");
    }
    return -ENOSPC;
}

int alloc_claim_this_inode(struct plan *plan, uint32_t ino)
{
    struct fs *fs = plan->fs;
    if (ino < fs->geo.first_ino || ino > fs->geo.inode_count)
        return -ESTALE;
    uint32_t g = inode_group(&fs->geo, ino), index = (ino - 1) % fs->geo.inodes_per_group;
    int rc = group_load_inodes(fs, g);
    if (rc < 0)
        return rc;
    if (bitmap_test(fs->groups[g].inode_busy, index) || htable_find(&fs->inodes, ino))
        return -EEXIST;
    return claim_number(plan, g, index);
}

void alloc_unclaim_inode(struct fs *fs, uint32_t ino)
{
    struct fs_group *group = &fs->groups[inode_group(&fs->geo, ino)];
    CHECK(group->inodes_claimed > 0);
    bitmap_clear(group->inode_busy, (ino - 1) % fs->geo.inodes_per_group);
    group->inodes_claimed--;
    fs->claimed_inodes--;
}

static void forget_claim(struct plan *plan, uint32_t ino)
{
    for (uint32_t i = 0; i < plan->claim_count; i++) {
        if (plan->claims[i].kind == CLAIM_INODE && plan->claims[i].first == ino) {
            plan->claims[i] = plan->claims[--plan->claim_count];
            return;
        }
    }
    CHECK(!"an inode number is used only by the plan that claimed it");
}

// --- the table's unused tail ---------------------------------------------------------------------

static bool has_unused_tail(const struct fs *fs)
{
    return fs->geo.has_gdt_csum || fs->geo.has_metadata_csum;
}

// How many inodes of the group's table were ever used; behind them the table holds anything.
static uint32_t used_inodes(const struct fs *fs, uint32_t g)
{
    uint32_t count = fs->geo.inodes_per_group;
    return has_unused_tail(fs) ? count - MIN(count, fs->groups[g].desc.itable_unused) : count;
}

bool inode_was_never_used(const struct fs *fs, uint32_t ino)
{
    uint32_t g = inode_group(&fs->geo, ino);
    bool uninit = has_unused_tail(fs) && (fs->groups[g].desc.flags & EXT4_BG_INODE_UNINIT);
    return uninit || (ino - 1) % fs->geo.inodes_per_group >= used_inodes(fs, g);
}

struct inode_place inode_place(const struct fs *fs, uint32_t ino)
{
    uint32_t index = (ino - 1) % fs->geo.inodes_per_group;
    return (struct inode_place){
        .block = fs->groups[inode_group(&fs->geo, ino)].desc.inode_table + index / fs->geo.inodes_per_block,
        .offset = index % fs->geo.inodes_per_block * fs->geo.inode_size,
    };
}

// The first block of the group's table that holds no inode ever used.
static uint32_t first_virgin_block(const struct fs *fs, uint32_t g)
{
    if (has_unused_tail(fs) && (fs->groups[g].desc.flags & EXT4_BG_INODE_UNINIT))
        return 0;
    return DIV_ROUND_UP(used_inodes(fs, g), fs->geo.inodes_per_block);
}

static struct buf *zeroed_table_block(struct fs *fs, uint64_t block)
{
    struct buf *buf = buf_peek(fs->bufs, block);
    struct shep_ref ref = {.type = BLOCK_INODE_TABLE};
    return buf ? buf_ref(buf) : buf_get_new(fs->bufs, &ref, block);
}

// Blocks that lie between the used part and the new inode's become part of the used part with it.
int inode_plan_new(struct plan *plan, uint32_t ino)
{
    struct fs *fs = plan->fs;
    uint32_t g = inode_group(&fs->geo, ino);
    uint64_t table = fs->groups[g].desc.inode_table, own = inode_place(fs, ino).block;
    uint32_t virgin = first_virgin_block(fs, g);
    plan_credits(plan, 1);
    if (own < table + virgin) {
        struct buf *buf;
        return plan_buf(plan, BLOCK_INODE_TABLE, NULL, own, &buf);
    }
    for (uint64_t block = table + virgin; block <= own; block++)
        plan_hold_buf(plan, zeroed_table_block(fs, block));
    plan_credits(plan, (uint32_t)(own - (table + virgin)));
    return 0;
}

static void use_table_up_to(struct fs *fs, uint32_t g, uint32_t index)
{
    struct ext4_group *desc = &fs->groups[g].desc;
    uint32_t virgin = first_virgin_block(fs, g), own = index / fs->geo.inodes_per_block;
    if (!has_unused_tail(fs))
        return;
    for (uint32_t i = virgin; i <= own; i++) {
        struct buf *buf = buf_peek(fs->bufs, desc->inode_table + i);
        CHECK(buf != NULL);         // inode_plan_new() has pinned it
        jrn_join(fs->jrn, buf);
    }
    uint32_t used = (desc->flags & EXT4_BG_INODE_UNINIT) ? 0 : used_inodes(fs, g);
    desc->itable_unused = fs->geo.inodes_per_group - MAX(used, index + 1);
}

// --- apply -----------------------------------------------------------------------------------------

static void make_block_bitmap_real(struct fs *fs, uint32_t g)
{
    struct fs_group *group = &fs->groups[g];
    if (!(group->desc.flags & EXT4_BG_BLOCK_UNINIT) || group->bad)
        return;
    group->desc.flags &= (uint16_t)~EXT4_BG_BLOCK_UNINIT;
    group_dirty_blocks(fs, g);
}

void alloc_apply_use_inode(struct plan *plan, uint32_t ino, bool is_dir)
{
    struct fs *fs = plan->fs;
    uint32_t g = inode_group(&fs->geo, ino), index = (ino - 1) % fs->geo.inodes_per_group;
    struct fs_group *group = &fs->groups[g];
    forget_claim(plan, ino);
    CHECK(!bitmap_test(group->inode_bitmap->bytes, index));
    group->inodes_claimed--;
    fs->claimed_inodes--;
    group_dirty_inodes(fs, g);
    bitmap_set(group->inode_bitmap->bytes, index);
    use_table_up_to(fs, g, index);
    if (has_unused_tail(fs)) {
        make_block_bitmap_real(fs, g);
        group->desc.flags &= (uint16_t)~EXT4_BG_INODE_UNINIT;
    }
    group->desc.free_inodes--;
    fs->free_inodes--;
    if (is_dir) {
        group->desc.used_dirs++;
        fs->used_dirs++;
        fs->dir_rotor = g + 1;
    }
}

int alloc_plan_free_inode(struct plan *plan, uint32_t ino)
{
    struct fs *fs = plan->fs;
    uint32_t g = inode_group(&fs->geo, ino);
    int rc = group_load_inodes(fs, g);
    if (fs->groups[g].inodes_bad)
        return 0;                   // the number is lost until e2fsck
    if (rc < 0)
        return rc;
    if (!bitmap_test(fs->groups[g].inode_bitmap->bytes, (ino - 1) % fs->geo.inodes_per_group)) {
        if (plan_has_waited(plan))
            return -EAGAIN;
        log_error("event=bad_free_inode ino=%u why=\"it is free\"", ino);
        fs_abort(fs, -EFSCORRUPTED, "freeing an inode that is free");
        return -EFSCORRUPTED;
    }
    group_pin_inodes(plan, g);
    return 0;
}

void alloc_apply_free_inode(struct plan *plan, uint32_t ino, bool is_dir)
{
    struct fs *fs = plan->fs;
    uint32_t g = inode_group(&fs->geo, ino), index = (ino - 1) % fs->geo.inodes_per_group;
    struct fs_group *group = &fs->groups[g];
    if (group->inodes_bad)
        return;
    CHECK(bitmap_test(group->inode_bitmap->bytes, index));
    group_dirty_inodes(fs, g);
    bitmap_clear(group->inode_bitmap->bytes, index);
    bitmap_clear(group->inode_busy, index);
    group->desc.free_inodes++;
    fs->free_inodes++;
    if (!is_dir)
        return;
    group->desc.used_dirs -= group->desc.used_dirs > 0;     // a damaged descriptor may have said none
    fs->used_dirs -= fs->used_dirs > 0;
}
