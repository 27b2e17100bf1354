// SPDX-License-Identifier: MIT
// inode_delete.c - the end of an inode: its last user leaves, its blocks are freed, then its number.
//
//   links gone ──▶ orphan, in use ──inode_forget()──▶ doomed ──deleter fibre──▶ deleting ──▶ gone
//                        ▲                                                          │
//                        └──────────── a link or a lookup came back ────────────────┘
//
// From the first transaction to the last but one the inode is on the orphan list, so that a crash
// in between is finished by the next mount. A few deleter fibres work through the doomed, not one for
// each: a removed tree must not cost a stack for every file.
#include "base/check.h"
#include "base/log.h"
#include "fs/alloc.h"
#include "fs/data.h"
#include "fs/fs_internal.h"
#include "fs/inode_internal.h"
#include "fs/map.h"
#include "fs/orphan.h"
#include "fs/xattr.h"

#define DELETERS_MAX 4u

// --- blocks --------------------------------------------------------------------------------------

struct removal {
    struct inode *inode;
    struct map_remove remove;
};

static YIELDS int removal_plan(struct plan *plan, void *arg)
{
    struct removal *removal = arg;
    plan_will_dirty_inode(plan, removal->inode);
    return map_plan_remove(plan, removal->inode, &removal->remove);
}

static YIELDS int remove_some(struct inode *inode, uint64_t first, uint64_t last, uint64_t *from)
{
    struct removal removal = {.inode = inode, .remove = {.first = first, .last = last}};
    struct plan plan;
    plan_init(&plan, inode->fs);
    plan.draws_reserve = true;      // freeing must be possible on a full volume
    int rc = plan_run(&plan, removal_plan, &removal);
    if (rc == 0) {
        map_apply_remove(&plan, inode, &removal.remove);
        inode_dirty(inode, true);
    }
    *from = removal.remove.from;
    plan_end(&plan);
    map_remove_fini(&removal.remove);
    return rc;
}

int inode_remove_blocks(struct inode *inode, uint64_t first)
{
    uint64_t last = map_lblock_max(inode), from = last + 1;
    while (from > first) {
        int rc = remove_some(inode, first, last, &from);
        if (rc < 0)
            return rc;
        last = from - 1;
    }
    return 0;
}

// --- the last transaction ----------------------------------------------------------------------------

static YIELDS int final_plan(struct plan *plan, void *arg)
{
    struct inode *inode = arg;
    plan_will_dirty_inode(plan, inode);
    orphan_plan(plan);
    int rc = xattr_plan_free(plan, inode);
    return rc < 0 ? rc : alloc_plan_free_inode(plan, inode->ino);
}

static void final_apply(struct plan *plan, struct inode *inode)
{
    xattr_apply_free(plan, inode);
    orphan_apply_remove(plan, inode);
    inode->d.dtime = (uint32_t)fs_now(inode->fs).sec;
    inode->d.size = inode->size = 0;
    inode_dirty(inode, true);
    inode_encode_now(inode);        // at once: the number may have its next owner before the commit
    alloc_apply_free_inode(plan, inode->ino, inode_is_dir(inode));
    inode_unhash(inode);
}

static YIELDS int delete_number(struct inode *inode)
{
    struct plan plan;
    plan_init(&plan, inode->fs);
    plan.draws_reserve = true;
    int rc = plan_run(&plan, final_plan, inode);
    if (rc == 0)
        final_apply(&plan, inode);
    plan_end(&plan);
    return rc;
}

// --- deletion ------------------------------------------------------------------------------------------

static bool is_unwanted(const struct inode *inode)
{
    return inode->d.nlink == 0 && inode->lookups == 0;
}

// Nobody new can have it from here on; waits until those who have it let go. False: it lives on.
static YIELDS bool take_alone(struct inode *inode)
{
    if (inode->deleting || !is_unwanted(inode))
        return false;
    inode->deleting = true;
    // What is left is the caller's reference and the orphan list's.
    while (inode->refs > 1u + orphan_is(inode))
        waitq_wait(inode->fs->rt, &inode->gate_wait);
    inode->deleting = is_unwanted(inode);
    return inode->deleting;
}

static YIELDS int orphan_add_plan(struct plan *plan, void *arg)
{
    plan_will_dirty_inode(plan, arg);
    orphan_plan(plan);
    return 0;
}

static YIELDS int make_orphan(struct inode *inode)
{
    struct plan plan;
    plan_init(&plan, inode->fs);
    int rc = plan_run(&plan, orphan_add_plan, inode);
    if (rc == 0)
        orphan_apply_add(&plan, inode);
    plan_end(&plan);
    return rc;
}

static YIELDS int delete_alone(struct inode *inode)
{
    int rc = fs_writable(inode->fs);
    if (rc == 0 && !orphan_is(inode))
        rc = make_orphan(inode);
    if (rc < 0)
        return rc;
    data_forget(inode);
    if (inode_has_map(inode))
        rc = inode_remove_blocks(inode, 0);
    return rc < 0 ? rc : delete_number(inode);
}

int inode_delete(struct inode *inode)
{
    if (!take_alone(inode)) {
        inode_put(inode);
        return 0;
    }
    uint32_t ino = inode->ino;
    int rc = delete_alone(inode);
    inode->deleting = false;
    inode_put(inode);
    if (rc < 0)
        log_error("event=inode_not_deleted ino=%u error=%d next=\"the next mount or e2fsck\"", ino, rc);
    return rc;
}

// --- the doomed ----------------------------------------------------------------------------------------

static void deleter(void *arg)
{
    struct fs *fs = arg;
    struct list *link;
    while ((link = list_pop_front(&fs->doomed))) {
        struct inode *inode = inode_ref(LIST_ENTRY(link, struct inode, lru));
        inode->doomed = false;
        int rc = inode_delete(inode);
        if (rc < 0)
            log_debug("event=deleter_goes_on error=%d", rc);    // what went wrong has been logged
        waitq_wake_all(fs->rt, &fs->deleters_done);
    }
    fs->deleters--;
    waitq_wake_all(fs->rt, &fs->deleters_done);
}

static void doom(struct inode *inode)
{
    struct fs *fs = inode->fs;
    list_remove(&inode->lru);
    inode->doomed = true;
    list_push_back(&fs->doomed, &inode->lru);
    if (fs->deleters >= DELETERS_MAX)
        return;
    fs->deleters++;
    rt_spawn(fs->rt, "deleter", deleter, fs);
}

void inode_forget(struct inode *inode, uint64_t count)
{
    inode->lookups -= MIN(inode->lookups, count);
    if (is_unwanted(inode) && !inode->doomed && !inode->deleting && !inode->gone && fs_writable(inode->fs) == 0)
        doom(inode);
    inode_settle(inode);
}

void inode_delete_orphans(struct fs *fs)
{
    while (fs->deleters > 0)
        waitq_wait(fs->rt, &fs->deleters_done);
    LIST_EACH_SAFE(link, &fs->orphans) {
        struct inode *inode = LIST_ENTRY(link, struct inode, orphan_link);
        if (inode->d.nlink == 0 && !inode->deleting) {
            inode->lookups = 0;     // whoever looked it up is gone
            inode_forget(inode, 0);
        }
    }
    while (fs->deleters > 0)
        waitq_wait(fs->rt, &fs->deleters_done);
}
