// SPDX-License-Identifier: MIT
// plan.c - the loop that makes a pass true: run again until nothing was waited for.
//
// Pins of the pass before are kept while the next one runs and are put only then, so whatever a
// pass waited for is in memory when the next one asks for it, and the loop ends. Claims are given
// back between passes: what was chosen on the strength of an older world is chosen again.
#include "fs/plan.h"

#include <string.h>

#include "base/check.h"
#include "base/log.h"
#include "fs/alloc_internal.h"
#include "fs/fs_internal.h"
#include "fs/inode.h"

// Far beyond what contention can cause: a pass that needs more never ends.
#define PLAN_ROUNDS_MAX 10000u
#define DELETERS_WAIT_NS 2000000000u

static void clear(struct plan *plan, struct fs *fs)
{
    memset(plan, 0, offsetof(struct plan, spares));
    plan->fs = fs;
    plan->spares.serial = 0;
}

void plan_init(struct plan *plan, struct fs *fs)
{
    clear(plan, fs);
    plan->serial = ++fs->plan_serial;
    plan->waits = rt_waits(fs->rt);
}

struct pins {
    struct buf **bufs;
    struct inode **inodes;
    uint32_t buf_count, inode_count;
};

static void put_pins(struct fs *fs, const struct pins *pins)
{
    for (uint32_t i = 0; i < pins->buf_count; i++)
        buf_put(fs->bufs, pins->bufs[i]);
    for (uint32_t i = 0; i < pins->inode_count; i++)
        inode_put(pins->inodes[i]);
}

static void put_own_pins(struct plan *plan)
{
    put_pins(plan->fs, &(struct pins){plan->bufs, plan->inodes, plan->buf_count, plan->inode_count});
    if (plan->bufs != plan->few_bufs)
        free(plan->bufs);
    if (plan->inodes != plan->few_inodes)
        free(plan->inodes);
}

void plan_end(struct plan *plan)
{
    struct fs *fs = plan->fs;
    alloc_drop_claims(plan);
    put_own_pins(plan);
    free(plan->claims);
    guard_plan_ended(fs);
    fs_flusher_hint(fs);
    clear(plan, fs);
}

// Moves the pins of the last pass out of the plan, so that it starts with none of its own.
static struct pins take_pins(struct plan *plan)
{
    struct pins pins = {plan->bufs, plan->inodes, plan->buf_count, plan->inode_count};
    if (plan->bufs == plan->few_bufs) {
        pins.bufs = xmalloc(sizeof plan->few_bufs);
        memcpy(pins.bufs, plan->few_bufs, plan->buf_count * sizeof *plan->bufs);
    }
    if (plan->inodes == plan->few_inodes) {
        pins.inodes = xmalloc(sizeof plan->few_inodes);
        memcpy(pins.inodes, plan->few_inodes, plan->inode_count * sizeof *plan->inodes);
    }
    plan->bufs = NULL;
    plan->buf_count = plan->buf_capacity = 0;
    plan->inodes = NULL;
    plan->inode_count = plan->inode_capacity = 0;
    return pins;
}

static void put_taken_pins(struct fs *fs, const struct pins *pins)
{
    put_pins(fs, pins);
    free(pins->bufs);
    free(pins->inodes);
}

static int one_pass(struct plan *plan, int (*pass)(struct plan *plan, void *arg), void *arg)
{
    alloc_drop_claims(plan);
    plan->credits = 0;
    plan->serial = ++plan->fs->plan_serial;
    plan->waits = rt_waits(plan->fs->rt);
    if (!plan->bufs && !plan->inodes)
        return pass(plan, arg);
    struct pins older = take_pins(plan);
    int rc = pass(plan, arg);
    put_taken_pins(plan->fs, &older);
    return rc;
}

// What a pass calls damaged may be so on the disk, or in our memory alone: then it is not the caller who is
// to hear of it.
static void look_at_memory(const struct plan *plan, int rc)
{
    if (rc != -EFSCORRUPTED && rc != -EFSBADCRC)
        return;
    for (uint32_t i = 0; i < plan->buf_count; i++)
        buf_check_now(plan->fs->bufs, plan->bufs[i]);
    for (uint32_t i = 0; i < plan->inode_count; i++)
        guard_check_now(plan->inodes[i]);
}

// Damage and dead disks do not get better by asking again.
static bool is_final(int rc)
{
    return rc == -EIO || rc == -EFSCORRUPTED || rc == -EFSBADCRC || rc == -EROFS;
}

// 0: apply may follow; 1: waited, the pass must run again.
static int reserve(struct plan *plan)
{
    struct fs *fs = plan->fs;
    if (plan->credits == 0)
        return 0;
    int rc = fs_writable(fs);
    if (rc < 0)
        return rc;
    rc = jrn_reserve(fs->jrn, plan->credits);
    if (rc != -EAGAIN)
        return rc;
    alloc_drop_claims(plan);        // a commit may wait for blocks; nobody else should for ours
    rc = fs_make_room(fs, plan->credits);
    return rc < 0 ? rc : 1;
}

// No room, but files are being deleted: what they give back may be enough. Nobody waits long, for
// the deleter may wait for an inode that our caller has.
static YIELDS bool wait_for_deleters(struct plan *plan, uint64_t deadline_ns)
{
    struct fs *fs = plan->fs;
    if (fs->deleters == 0 || plan->draws_reserve || rt_now_ns(fs->rt) >= deadline_ns)
        return false;
    alloc_drop_claims(plan);
    struct pins pins = take_pins(plan);
    put_taken_pins(fs, &pins);
    (void)waitq_wait_until(fs->rt, &fs->deleters_done, deadline_ns);
    return true;
}

int plan_run(struct plan *plan, int (*pass)(struct plan *plan, void *arg), void *arg)
{
    struct rt *rt = plan->fs->rt;
    uint64_t started = rt_now_ns(rt);
    for (uint32_t round = 0;; round++) {
        if (round == PLAN_ROUNDS_MAX)
            log_error("event=plan_never_ends rounds=%u credits=%u bufs=%u", round, plan->credits,
                      plan->buf_count);
        CHECK(round < PLAN_ROUNDS_MAX);

        uint64_t waits = rt_waits(rt);
        int rc = one_pass(plan, pass, arg);
        if (is_final(rc)) {
            look_at_memory(plan, rc);
            return rc;
        }
        bool waited = rt_waits(rt) != waits;
        if (rc == -EAGAIN && !waited)
            rt_yield(rt);
        if (rc == -EAGAIN || waited)
            continue;
        if (rc == -ENOSPC && wait_for_deleters(plan, started + DELETERS_WAIT_NS))
            continue;
        if (rc < 0)
            return rc;
        int reserved = reserve(plan);
        if (reserved <= 0)
            return reserved < 0 ? reserved : rc;
        if (rt_waits(rt) == waits)
            rt_yield(rt);
    }
}

bool plan_has_waited(const struct plan *plan)
{
    return rt_waits(plan->fs->rt) != plan->waits;
}

// Twice as many pointers; the first ones stood in the plan itself.
static void *more_room(void *pins, const void *few, uint32_t *capacity)
{
    size_t size = *capacity * sizeof(void *);
    *capacity *= 2;
    if (pins != few)
        return xrealloc(pins, 2 * size);
    void *more = xmalloc(2 * size);
    memcpy(more, few, size);
    return more;
}

void plan_hold_buf(struct plan *plan, struct buf *buf)
{
    buf_check(plan->fs->bufs, buf);
    if (!plan->bufs) {
        plan->bufs = plan->few_bufs;
        plan->buf_capacity = PLAN_FEW_BUFS;
    } else if (plan->buf_count == plan->buf_capacity) {
        plan->bufs = more_room(plan->bufs, plan->few_bufs, &plan->buf_capacity);
    }
    plan->bufs[plan->buf_count++] = buf;
}

void plan_hold_inode(struct plan *plan, struct inode *inode)
{
    if (!plan->inodes) {
        plan->inodes = plan->few_inodes;
        plan->inode_capacity = PLAN_FEW_INODES;
    } else if (plan->inode_count == plan->inode_capacity) {
        plan->inodes = more_room(plan->inodes, plan->few_inodes, &plan->inode_capacity);
    }
    plan->inodes[plan->inode_count++] = inode;
}

// Has this pass claimed the block as free? Then nothing can stand in it.
static bool is_claimed(const struct plan *plan, uint64_t block)
{
    for (uint32_t i = 0; i < plan->claim_count; i++) {
        const struct claim *claim = &plan->claims[i];
        if (claim->kind == CLAIM_BLOCKS && block >= claim->first && block - claim->first < claim->count)
            return true;
    }
    return false;
}

int plan_buf(struct plan *plan, enum block_type type, const struct block_owner *owner, uint64_t block, struct buf **out)
{
    struct shep_ref ref = {.type = type};
    if (owner)
        ref.owner = *owner;
    int rc = buf_get(plan->fs->bufs, &ref, block, out);
    if (rc < 0)
        return rc;
    plan_hold_buf(plan, *out);
    if (!is_claimed(plan, block))
        return 0;
    if (plan_has_waited(plan))
        return -EAGAIN;
    log_error("event=block_in_use_is_free block=%llu type=%s", (unsigned long long)block, block_type_name(type));
    fs_note_error(plan->fs);
    return -EFSCORRUPTED;
}

int plan_inode(struct plan *plan, uint32_t ino, struct inode **out)
{
    int rc = inode_get(plan->fs, ino, out);
    if (rc == 0)
        plan_hold_inode(plan, *out);
    return rc;
}

void plan_will_dirty_inode(struct plan *plan, struct inode *inode)
{
    // Its table block stays referenced while the inode is in memory: only the credit is needed.
    plan_hold_inode(plan, inode_ref(inode));
    plan->credits++;
}

void plan_credits(struct plan *plan, uint32_t blocks)
{
    plan->credits += blocks;
}
