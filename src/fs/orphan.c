// SPDX-License-Identifier: MIT
// orphan.c - the list of inodes that a crash must not forget, in memory and on the disk.
//
//   superblock.s_last_orphan ──▶ inode.i_dtime ──▶ inode.i_dtime ──▶ 0
//   fs->orphans (newest first)   the same inodes in the same order, referenced
//
// Volumes with an orphan file may hold their orphans there instead. drover reads that file, moves
// its entries to the list at mount, and never writes new ones: ext4 reads both.
#include "fs/orphan.h"

#include <inttypes.h>

#include "base/bitmap.h"
#include "base/check.h"
#include "base/log.h"
#include "fs/alloc_internal.h"
#include "fs/fs_internal.h"
#include "fs/inode_internal.h"
#include "fs/map.h"
#include "ondisk/orphan_file.h"

static struct inode *orphan_of(struct list *link)
{
    return LIST_ENTRY(link, struct inode, orphan_link);
}

void orphan_plan(struct plan *plan)
{
    plan_credits(plan, 3);          // the superblock, the inode itself, the one before it
}

bool orphan_is(const struct inode *inode)
{
    return list_linked(&inode->orphan_link);
}

void orphan_apply_add(struct plan *plan, struct inode *inode)
{
    struct fs *fs = plan->fs;
    if (orphan_is(inode))
        return;
    inode->d.dtime = list_empty(&fs->orphans) ? 0 : orphan_of(fs->orphans.next)->ino;
    list_push_front(&fs->orphans, &inode_ref(inode)->orphan_link);
    inode_dirty(inode, true);
    fs_dirty_super(fs);
}

void orphan_apply_remove(struct plan *plan, struct inode *inode)
{
    struct fs *fs = plan->fs;
    if (!orphan_is(inode))
        return;
    if (inode->orphan_link.prev == &fs->orphans) {
        fs_dirty_super(fs);         // the head: the superblock names the next one
    } else {
        struct inode *before = orphan_of(inode->orphan_link.prev);
        before->d.dtime = inode->d.dtime;
        inode_dirty(before, true);
    }
    list_remove(&inode->orphan_link);
    inode->d.dtime = 0;
    inode_dirty(inode, true);
    inode_put(inode);
}

// --- loading the list ------------------------------------------------------------------------------------

// An inode that may be an orphan: an ordinary number, in use, readable. Referenced.
static YIELDS int load_one(struct fs *fs, uint32_t ino, struct inode **out)
{
    if (ino < fs->geo.first_ino || ino > fs->geo.inode_count)
        return -EFSCORRUPTED;
    uint32_t g = inode_group(&fs->geo, ino);
    int rc = group_load_inodes(fs, g);
    if (rc < 0)
        return rc;
    if (!bitmap_test(fs->groups[g].inode_busy, (ino - 1) % fs->geo.inodes_per_group))
        return -EFSCORRUPTED;
    rc = inode_get_special(fs, ino, out);
    return rc == -ESTALE ? -EFSCORRUPTED : rc;
}

static YIELDS int credits_only(struct plan *plan, void *arg)
{
    orphan_plan(plan);
    return 0;
}

// The list ends here from now on, on the disk too.
static YIELDS int cut_list(struct fs *fs)
{
    struct plan plan;
    plan_init(&plan, fs);
    int rc = plan_run(&plan, credits_only, NULL);
    if (rc == 0 && list_empty(&fs->orphans)) {
        fs_dirty_super(fs);
    } else if (rc == 0) {
        struct inode *last = orphan_of(fs->orphans.prev);
        last->d.dtime = 0;
        inode_dirty(last, true);
    }
    plan_end(&plan);
    return rc;
}

static YIELDS int load_list(struct fs *fs)
{
    struct inode *inode;
    for (uint32_t ino = fs->geo.last_orphan; ino; ino = inode->d.dtime) {
        int rc = load_one(fs, ino, &inode);
        if (rc == 0 && orphan_is(inode)) {
            inode_put(inode);       // a ring
            rc = -EFSCORRUPTED;
        }
        if (rc < 0) {
            log_error("event=orphan_list_cut ino=%u error=%d", ino, rc);
            fs_note_error(fs);
            return cut_list(fs);
        }
        list_push_back(&fs->orphans, &inode->orphan_link);
    }
    return 0;
}

// --- the orphan file -------------------------------------------------------------------------------------

#define MOVES_MAX 16u

// Up to MOVES_MAX entries of one block on their way to the list.
struct moves {
    struct inode *file;
    uint64_t lblock;
    struct buf *buf;
    uint32_t slots[MOVES_MAX];
    struct inode *inodes[MOVES_MAX];    // NULL: not an orphan at all, only to be erased
    uint32_t count;
};

static YIELDS int read_orphan_block(struct plan *plan, struct inode *file, uint64_t lblock, struct buf **out)
{
    struct map_run run;
    int rc = map_lookup(plan, file, lblock, 1, &run);
    if (rc < 0)
        return rc;
    if (run.state != MAP_WRITTEN)
        return -EFSCORRUPTED;
    struct block_owner owner = {.ino = file->ino, .generation = file->d.generation, .lblock = lblock};
    return plan_buf(plan, BLOCK_ORPHAN_FILE, &owner, run.block, out);
}

static YIELDS int moves_plan(struct plan *plan, void *arg)
{
    struct moves *moves = arg;
    int rc = read_orphan_block(plan, moves->file, moves->lblock, &moves->buf);
    if (rc < 0)
        return rc;
    const struct ext4_orphan_block *block = (const void *)moves->buf->bytes;
    moves->count = 0;
    plan_credits(plan, 1);
    for (uint32_t slot = 0; slot < ORPHANS_PER_BLOCK && moves->count < MOVES_MAX; slot++) {
        struct inode *inode = NULL;
        uint32_t ino = le32(block->inos[slot]);
        if (ino == 0)
            continue;
        if (load_one(plan->fs, ino, &inode) == 0) {
            plan_hold_inode(plan, inode);
            plan_will_dirty_inode(plan, inode);
            orphan_plan(plan);
        } else {
            log_error("event=orphan_file_entry_bad ino=%u slot=%u", ino, slot);
            fs_note_error(plan->fs);
        }
        moves->slots[moves->count] = slot;
        moves->inodes[moves->count++] = inode;
    }
    return 0;
}

static void moves_apply(struct plan *plan, struct moves *moves)
{
    struct ext4_orphan_block *block = (void *)moves->buf->bytes;
    if (moves->count > 0)
        jrn_dirty(plan->fs->jrn, moves->buf);
    for (uint32_t i = 0; i < moves->count; i++) {
        block->inos[moves->slots[i]] = to_le32(0);
        if (moves->inodes[i])
            orphan_apply_add(plan, moves->inodes[i]);
    }
}

static YIELDS int empty_block(struct fs *fs, struct inode *file, uint64_t lblock)
{
    struct moves moves = {.file = file, .lblock = lblock};
    do {
        struct plan plan;
        plan_init(&plan, fs);
        int rc = plan_run(&plan, moves_plan, &moves);
        if (rc == 0)
            moves_apply(&plan, &moves);
        plan_end(&plan);
        if (rc < 0)
            return rc;
    } while (moves.count > 0);
    return 0;
}

static YIELDS int say_file_is_empty(struct fs *fs)
{
    struct plan plan;
    plan_init(&plan, fs);
    int rc = plan_run(&plan, credits_only, NULL);
    if (rc == 0) {
        struct ext4_super_raw *raw = fs_super_raw(fs);
        fs->geo.ro_compat &= ~(uint32_t)EXT4_RO_ORPHAN_PRESENT;
        guard_seal_geo(fs);
        raw->feature_ro_compat = to_le32(fs->geo.ro_compat);
        jrn_dirty(fs->jrn, fs->super);
        fs_dirty_super(fs);
    }
    plan_end(&plan);
    return rc;
}

static YIELDS int empty_orphan_file(struct fs *fs, struct err *err)
{
    struct inode *file;
    int rc = inode_get_special(fs, fs->geo.orphan_file_ino, &file);
    if (rc < 0)
        return err_set(err, -rc, "inode %u, the orphan file, cannot be read (run e2fsck)", fs->geo.orphan_file_ino);
    file->special = true;
    for (uint64_t lblock = 0; rc == 0 && lblock < file->d.size / BLOCK_BYTES; lblock++)
        rc = empty_block(fs, file, lblock);
    inode_put(file);
    if (rc < 0)
        return err_set(err, -rc, "the orphan file is damaged (run e2fsck)");
    return say_file_is_empty(fs);
}

// --- finishing what was begun -------------------------------------------------------------------------------

static uint32_t count_orphans(const struct fs *fs)
{
    uint32_t count = 0;
    LIST_EACH(link, (struct list *)&fs->orphans)
        count++;
    return count;
}

static YIELDS int orphan_remove_plan(struct plan *plan, void *arg)
{
    plan_will_dirty_inode(plan, arg);
    orphan_plan(plan);
    return 0;
}

// A truncation that a crash has interrupted: the size is right, blocks behind it may be left.
static YIELDS int finish_truncation(struct inode *inode)
{
    int rc = 0;
    if (inode_has_map(inode))
        rc = inode_remove_blocks(inode, DIV_ROUND_UP(inode->d.size, BLOCK_BYTES));
    if (rc < 0)
        return rc;
    struct plan plan;
    plan_init(&plan, inode->fs);
    rc = plan_run(&plan, orphan_remove_plan, inode);
    if (rc == 0)
        orphan_apply_remove(&plan, inode);
    plan_end(&plan);
    return rc;
}

static YIELDS void finish_truncations(struct fs *fs)
{
    uint32_t count = 0, done = 0;
    AUTO_FREE struct inode **inodes = xcalloc(count_orphans(fs) + 1, sizeof *inodes);
    LIST_EACH(link, &fs->orphans) {
        if (orphan_of(link)->d.nlink > 0)
            inodes[count++] = inode_ref(orphan_of(link));
    }
    for (uint32_t i = 0; i < count; i++) {
        int rc = finish_truncation(inodes[i]);
        if (rc < 0)
            log_error("event=truncation_not_finished ino=%u error=%d", inodes[i]->ino, rc);
        done += rc == 0;
        inode_put(inodes[i]);
    }
    if (count > 0)
        log_info("event=truncations_finished count=%u of=%u", done, count);
}

int orphan_recover(struct fs *fs, bool keep, struct err *err)
{
    if (fs->read_only)
        return 0;
    if ((fs->geo.state & EXT4_STATE_ERROR) && !keep) {
        // As the kernel: with errors on the volume the list is not to be trusted. But programs that a
        // predecessor served may have such files open, and what is on the list is checked one by one.
        if (fs->geo.last_orphan)
            log_warn("event=orphan_list_dropped why=\"the volume has errors\"");
        return fs->geo.last_orphan ? cut_list(fs) : 0;
    }
    int rc = load_list(fs);
    if (rc == 0 && (fs->geo.ro_compat & EXT4_RO_ORPHAN_PRESENT))
        rc = empty_orphan_file(fs, err);
    if (rc < 0)
        return err_set(err, -rc, "the list of deleted files cannot be read (run e2fsck)");
    finish_truncations(fs);
    uint32_t count = count_orphans(fs);
    if (!keep)
        inode_delete_orphans(fs);
    if (count > 0)
        log_info("event=orphans found=%u left=%u", count, count_orphans(fs));
    return 0;
}
