// SPDX-License-Identifier: MIT
// alloc.c - blocks: promises, claims, their use, and freeing.
//
// Three counts answer "is there room?": free_blocks (what the descriptors say), reserved_blocks
// (promised to dirty pages) and claimed_blocks (chosen by plans, promised ones not counted twice).
// A block is promised only while free_blocks covers all three, the metadata pool and root's share,
// so a promise is always kept. free_blocks also counts blocks whose freeing has not committed:
// they can be promised, but must wait for the commit before they are chosen (I5).
#include "fs/alloc.h"

#include <inttypes.h>

#include "base/bitmap.h"
#include "base/check.h"
#include "base/log.h"
#include "fs/alloc_internal.h"
#include "fs/fs_internal.h"

struct pending_free {
    struct list link;
    uint64_t tid, block;
    uint32_t count;
};

// A range cut at group borders, one part a turn.
struct part {
    uint32_t group, first, count;
};

static bool next_part(const struct fs *fs, uint64_t *block, uint64_t *count, struct part *part)
{
    if (*count == 0)
        return false;
    part->group = block_group(&fs->geo, *block);
    part->first = (uint32_t)(*block - group_first_block(&fs->geo, part->group));
    part->count = (uint32_t)MIN(*count, (uint64_t)(group_blocks(&fs->geo, part->group) - part->first));
    *block += part->count;
    *count -= part->count;
    return true;
}

// --- promises ---------------------------------------------------------------------------------

uint64_t alloc_metadata_pool(const struct fs *fs)
{
    return MIN(fs->geo.block_count / 50, (uint64_t)4096);
}

uint64_t alloc_available(const struct fs *fs, bool privileged, bool draws_reserve)
{
    uint64_t taken = fs->claimed_blocks + fs->reserved_blocks;
    if (!draws_reserve)
        taken += alloc_metadata_pool(fs) + (privileged ? 0 : fs->geo.reserved_blocks);
    return fs->free_blocks > taken ? fs->free_blocks - taken : 0;
}

int alloc_reserve(struct fs *fs, uint64_t blocks, bool privileged)
{
    if (alloc_available(fs, privileged, false) < blocks)
        return -ENOSPC;
    fs->reserved_blocks += blocks;
    return 0;
}

void alloc_reserve_again(struct fs *fs, uint64_t blocks)
{
    fs->reserved_blocks += blocks;
}

void alloc_unreserve(struct fs *fs, uint64_t blocks)
{
    CHECK(fs->reserved_blocks >= blocks);
    fs->reserved_blocks -= blocks;
}

int alloc_wait_for_frees(struct fs *fs)
{
    if (fs->trims > 0) {
        waitq_wait(fs->rt, &fs->trim_turn);
        return -EAGAIN;
    }
    if (fs->pending_blocks == 0)
        return -ENOSPC;
    int rc = fs_commit(fs);
    return rc < 0 ? rc : -EAGAIN;
}

// --- the busy map -------------------------------------------------------------------------------

static uint32_t count_promised(const struct fs_group *group, uint32_t first, uint32_t count)
{
    uint32_t promised = 0;
    if (group->promised_count == 0)
        return 0;
    for (uint32_t bit = first; bit < first + count; bit++)
        promised += bitmap_test(group->promised, bit);
    return promised;
}

static void mark_promised(struct fs_group *group, uint32_t first, uint32_t count)
{
    if (!group->promised)
        group->promised = xcalloc(1, BLOCK_BYTES);
    bitmap_set_range(group->promised, first, count);
    group->promised_count += count;
}

// How many of the range were claimed without a promise; the promised ones are forgotten.
static uint32_t take_unpromised(struct fs_group *group, uint32_t first, uint32_t count)
{
    uint32_t promised = count_promised(group, first, count);
    if (promised > 0) {
        bitmap_clear_range(group->promised, first, count);
        group->promised_count -= promised;
        if (group->promised_count == 0) {
            free(group->promised);
            group->promised = NULL;
        }
    }
    return count - promised;
}

static void make_busy(struct fs *fs, const struct part *part, bool promised)
{
    struct fs_group *group = &fs->groups[part->group];
    bitmap_set_range(group->busy, part->first, part->count);
    group->free_claimable -= part->count;
    group->holds += part->count;
    if (promised)
        mark_promised(group, part->first, part->count);
    else
        fs->claimed_blocks += part->count;
}

static void make_idle(struct fs *fs, const struct part *part)
{
    struct fs_group *group = &fs->groups[part->group];
    CHECK(group->busy != NULL);
    CHECK(group->holds >= part->count);
    bitmap_clear_range(group->busy, part->first, part->count);
    group->free_claimable += part->count;
    group->holds -= part->count;
    group->run_max = group_blocks(&fs->geo, part->group);
}

void alloc_release(struct fs *fs, uint64_t block, uint32_t count)
{
    uint64_t rest = count;
    struct part part;
    while (next_part(fs, &block, &rest, &part)) {
        fs->claimed_blocks -= take_unpromised(&fs->groups[part.group], part.first, part.count);
        make_idle(fs, &part);
    }
}

// --- claims of a plan -----------------------------------------------------------------------------

void alloc_push_claim(struct plan *plan, const struct claim *claim)
{
    if (plan->claim_count == plan->claim_capacity) {
        plan->claim_capacity = plan->claim_capacity ? 2 * plan->claim_capacity : 8;
        plan->claims = xrealloc(plan->claims, plan->claim_capacity * sizeof *plan->claims);
    }
    plan->claims[plan->claim_count++] = *claim;
}

void alloc_drop_claims(struct plan *plan)
{
    for (uint32_t i = 0; i < plan->claim_count; i++) {
        const struct claim *claim = &plan->claims[i];
        if (claim->kind == CLAIM_INODE)
            alloc_unclaim_inode(plan->fs, (uint32_t)claim->first);
        else
            alloc_release(plan->fs, claim->first, claim->count);
    }
    plan->claim_count = 0;
}

// Takes [first, first+count) out of the plan's claims, wherever they are.
static void forget_claim(struct plan *plan, uint64_t first, uint64_t count)
{
    uint64_t end = first + count;
    for (uint32_t i = 0; i < plan->claim_count;) {
        struct claim *claim = &plan->claims[i];
        uint64_t claim_end = claim->first + claim->count;
        if (claim->kind != CLAIM_BLOCKS || claim->first >= end || claim_end <= first) {
            i++;
            continue;
        }
        struct claim tail = {CLAIM_BLOCKS, end, claim_end > end ? (uint32_t)(claim_end - end) : 0};
        claim->count = claim->first < first ? (uint32_t)(first - claim->first) : 0;
        if (claim->count > 0)
            i++;
        else
            *claim = plan->claims[--plan->claim_count];
        if (tail.count > 0)
            alloc_push_claim(plan, &tail);
    }
}

void alloc_keep(struct plan *plan, uint64_t block, uint32_t count)
{
    forget_claim(plan, block, count);
}

int alloc_plan_use(struct plan *plan, uint64_t block, uint32_t count)
{
    uint64_t rest = count;
    struct part part;
    while (next_part(plan->fs, &block, &rest, &part)) {
        int rc = group_load_blocks(plan->fs, part.group);
        if (rc < 0)
            return rc;
        group_pin_blocks(plan, part.group);
    }
    return 0;
}

void alloc_apply_use(struct plan *plan, uint64_t block, uint32_t count, uint32_t promised)
{
    struct fs *fs = plan->fs;
    uint64_t rest = count;
    struct part part;
    forget_claim(plan, block, count);
    alloc_unreserve(fs, promised);
    while (next_part(fs, &block, &rest, &part)) {
        struct fs_group *group = &fs->groups[part.group];
        uint8_t *bitmap = group->block_bitmap->bytes;
        CHECK(bitmap_all_set(group->busy, part.first, part.count));
        CHECK(bitmap_all_clear(bitmap, part.first, part.count));
        CHECK(group->holds >= part.count);
        fs->claimed_blocks -= take_unpromised(group, part.first, part.count);
        group->holds -= part.count;
        group_dirty_blocks(fs, part.group);
        bitmap_set_range(bitmap, part.first, part.count);
        group->desc.free_blocks -= part.count;
        group->desc.flags &= (uint16_t)~EXT4_BG_BLOCK_UNINIT;
        if (!group->bad)            // else the total has lost the whole group already
            fs->free_blocks -= part.count;
    }
}

// --- the search -----------------------------------------------------------------------------------

// Groups whose bitmaps one search looks through for a run that is long enough, and for any run.
#define SEARCH_GROUPS_GOOD 16u
#define SEARCH_GROUPS_ANY 32u

struct search {
    struct fs *fs;
    uint32_t want;
    uint32_t group, first, len;     // the best run so far; len 0: none
    uint32_t scanned;
};

// First fit for `want`, else the longest. Returns the longest run of the range, cut at `want`.
static uint32_t scan_range(struct search *search, uint32_t g, uint32_t from, uint32_t end)
{
    const uint8_t *busy = search->fs->groups[g].busy;
    uint32_t longest = 0;
    for (uint32_t bit = from; longest < search->want;) {
        bit = bitmap_next_clear(busy, bit, end);
        if (bit >= end)
            break;
        uint32_t stop = bitmap_next_set(busy, bit, MIN(end, bit + search->want));
        longest = MAX(longest, stop - bit);
        if (stop - bit > search->len) {
            search->group = g;
            search->first = bit;
            search->len = stop - bit;
        }
        bit = stop;
    }
    return longest;
}

static void scan_group(struct search *search, uint32_t g, uint32_t from)
{
    uint32_t blocks = group_blocks(&search->fs->geo, g);
    uint32_t longest = scan_range(search, g, from, blocks);
    if (longest < search->want)
        longest = MAX(longest, scan_range(search, g, 0, MIN(from, blocks)));
    if (longest < search->want)
        search->fs->groups[g].run_max = longest;
    search->scanned++;
}

static uint32_t free_in_group(const struct fs *fs, uint32_t g)
{
    const struct fs_group *group = &fs->groups[g];
    return group->bad ? 0 : group->busy ? group->free_claimable : group->desc.free_blocks;
}

static bool may_improve(const struct search *search, uint32_t g, uint32_t free_min)
{
    const struct fs_group *group = &search->fs->groups[g];
    uint32_t free = free_in_group(search->fs, g);
    return free >= free_min && free > search->len && (!group->busy || group->run_max > search->len);
}

// Looks through the groups from `start` on that have at least `free_min` free blocks.
static YIELDS void search_groups(struct search *search, uint32_t start, uint32_t free_min, uint32_t scan_max)
{
    struct fs *fs = search->fs;
    for (uint32_t i = 0; i < fs->geo.group_count && search->len < search->want; i++) {
        uint32_t g = (uint32_t)(((uint64_t)start + i) % fs->geo.group_count);
        if (!may_improve(search, g, free_min) || group_load_blocks(fs, g) < 0)
            continue;
        scan_group(search, g, 0);
        if (search->len > 0 && search->scanned >= scan_max)
            return;
    }
}

// Fills search->group, first, len; len 0 when no group has a block.
static YIELDS void search_near(struct search *search, uint64_t goal)
{
    struct fs *fs = search->fs;
    uint32_t g = block_group(&fs->geo, goal);
    uint32_t from = (uint32_t)(goal - group_first_block(&fs->geo, g));
    if (free_in_group(fs, g) > 0 && group_load_blocks(fs, g) == 0) {
        const struct fs_group *group = &fs->groups[g];
        if (!bitmap_test(group->busy, from)) {      // right behind its neighbour: any length is good
            uint32_t end = MIN(group_blocks(&fs->geo, g), from + search->want);
            search->group = g;
            search->first = from;
            search->len = bitmap_next_set(group->busy, from, end) - from;
            return;
        }
        scan_group(search, g, from);
    }
    uint32_t next = (g + 1) % fs->geo.group_count;
    search_groups(search, next, search->want, SEARCH_GROUPS_GOOD);
    if (search->len == 0 || (search->len < search->want && search->scanned < SEARCH_GROUPS_ANY))
        search_groups(search, next, 1, SEARCH_GROUPS_ANY);
}

static bool plan_holds(const struct plan *plan, const struct buf *buf)
{
    for (uint32_t i = 0; i < plan->buf_count; i++)
        if (plan->bufs[i] == buf)
            return true;
    return false;
}

// A free block that the journal or this very plan has as metadata: the bitmap lies, and what the
// block is now must not meet what it is to become. (Others may look at a block that was freed while
// they waited; their next pass will not.)
static bool is_in_use(const struct plan *plan, const struct part *part)
{
    uint64_t first = group_first_block(&plan->fs->geo, part->group) + part->first;
    for (uint64_t block = first; block < first + part->count; block++) {
        const struct buf *buf = buf_peek(plan->fs->bufs, block);
        if (buf && (buf->pins > 0 || (buf->refs > 0 && plan_holds(plan, buf))))
            return true;
    }
    return false;
}

static uint32_t wanted(const struct plan *plan, uint32_t want, bool from_reservation)
{
    want = MIN(want, plan->fs->geo.blocks_per_group);
    if (from_reservation)
        return want;
    return (uint32_t)MIN((uint64_t)want, alloc_available(plan->fs, plan->privileged, plan->draws_reserve));
}

int alloc_claim_run(struct plan *plan, uint64_t goal, uint32_t want, bool from_reservation, uint64_t *block, uint32_t *got)
{
    struct fs *fs = plan->fs;
    want = wanted(plan, want, from_reservation);
    if (want == 0)
        return -ENOSPC;
    struct search search = {.fs = fs, .want = want};
    search_near(&search, goal < fs->geo.block_count ? goal : 0);
    if (search.len == 0)
        return alloc_wait_for_frees(fs);
    int rc = group_load_blocks(fs, search.group);
    if (rc < 0)
        return rc;
    struct part part = {search.group, search.first, search.len};
    if (!bitmap_all_clear(fs->groups[part.group].busy, part.first, part.count))
        return -EAGAIN;             // somebody took it while another group was read
    if (!plan_has_waited(plan) && is_in_use(plan, &part)) {
        group_mark_bad(fs, part.group, false, "a block in use is marked free");
        return -EAGAIN;
    }
    make_busy(fs, &part, from_reservation);
    group_pin_blocks(plan, part.group);
    *block = group_first_block(&fs->geo, part.group) + part.first;
    *got = part.count;
    alloc_push_claim(plan, &(struct claim){CLAIM_BLOCKS, *block, *got});
    return 0;
}

int alloc_claim_block(struct plan *plan, uint64_t goal, uint64_t *block)
{
    uint32_t got;
    return alloc_claim_run(plan, goal, 1, false, block, &got);
}

// --- freeing --------------------------------------------------------------------------------------

static int refuse_free(struct fs *fs, uint64_t block, uint64_t count, const char *why)
{
    log_error("event=bad_free block=%" PRIu64 " count=%" PRIu64 " why=\"%s\"", block, count, why);
    fs_abort(fs, -EFSCORRUPTED, why);
    return -EFSCORRUPTED;
}

int alloc_plan_free(struct plan *plan, uint64_t block, uint64_t count)
{
    struct fs *fs = plan->fs;
    struct part part;
    if (!alloc_is_data_range(fs, block, count))
        return plan_has_waited(plan) ? -EAGAIN : refuse_free(fs, block, count, "freeing blocks that no file can own");
    for (uint64_t at = block, rest = count; next_part(fs, &at, &rest, &part);) {
        int rc = group_load_blocks(fs, part.group);
        if (fs->groups[part.group].bad)
            continue;               // its blocks are lost until e2fsck, as in the kernel
        if (rc < 0)
            return rc;
        if (!bitmap_all_set(fs->groups[part.group].block_bitmap->bytes, part.first, part.count))
            return plan_has_waited(plan) ? -EAGAIN : refuse_free(fs, block, count, "freeing a block that is free");
        group_pin_blocks(plan, part.group);
    }
    return 0;
}

static void remember_free(struct fs *fs, uint64_t block, uint32_t count)
{
    uint64_t tid = jrn_running_tid(fs->jrn);
    fs->pending_blocks += count;
    if (!list_empty(&fs->pending_frees)) {
        struct pending_free *last = LIST_ENTRY(fs->pending_frees.prev, struct pending_free, link);
        bool same_group = block_group(&fs->geo, last->block) == block_group(&fs->geo, block);
        if (last->tid == tid && same_group && last->block + last->count == block) {
            last->count += count;
            return;
        }
        if (last->tid == tid && same_group && block + count == last->block) {
            last->block = block;
            last->count += count;
            return;
        }
    }
    struct pending_free *pending = xmalloc(sizeof *pending);
    *pending = (struct pending_free){.tid = tid, .block = block, .count = count};
    list_push_back(&fs->pending_frees, &pending->link);
}

void alloc_apply_free(struct plan *plan, uint64_t block, uint64_t count, bool revoke)
{
    struct fs *fs = plan->fs;
    struct part part;
    for (uint64_t at = block; revoke && at < block + count; at++)
        jrn_forget(fs->jrn, at);
    for (uint64_t at = block, rest = count; next_part(fs, &at, &rest, &part);) {
        struct fs_group *group = &fs->groups[part.group];
        if (group->bad)
            continue;
        // A damaged map can name one block twice within one plan: seen only now.
        if (!bitmap_all_set(group->block_bitmap->bytes, part.first, part.count)) {
            (void)refuse_free(fs, block, count, "one change frees a block twice");
            return;
        }
        group_dirty_blocks(fs, part.group);
        bitmap_clear_range(group->block_bitmap->bytes, part.first, part.count);
        group->desc.free_blocks += part.count;
        group->holds += part.count;
        fs->free_blocks += part.count;
        remember_free(fs, group_first_block(&fs->geo, part.group) + part.first, part.count);
    }
}

void alloc_committed(struct fs *fs, uint64_t tid)
{
    while (!list_empty(&fs->pending_frees)) {
        struct pending_free *pending = LIST_ENTRY(fs->pending_frees.next, struct pending_free, link);
        if (pending->tid > tid)
            return;
        uint64_t block = pending->block, rest = pending->count;
        struct part part;
        while (next_part(fs, &block, &rest, &part))
            make_idle(fs, &part);
        fs->pending_blocks -= pending->count;
        list_remove(&pending->link);
        free(pending);
    }
}

void alloc_free_pending(struct list *link)
{
    free(LIST_ENTRY(link, struct pending_free, link));
}
