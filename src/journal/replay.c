// SPDX-License-Identifier: MIT
// replay.c - recovery's second and third pass: what is revoked, and writing the rest home.
//
// Only the newest committed content of each block is written, once; older content in the log would
// be written over anyway. Everything is judged before the first write, so a damaged log changes
// nothing on the disk.
#include <string.h>

#include "base/check.h"
#include "base/log.h"
#include "journal/recovery.h"

#define REPLAY_BATCH 1024u

static struct rec_target *find_target(const struct recovery *rec, uint64_t block)
{
    struct hnode *node = htable_find(&rec->targets, block);
    return node ? CONTAINER_OF(node, struct rec_target, node) : NULL;
}

// Tags stand in the order of the log, so a later one is newer.
static void collect_targets(struct recovery *rec)
{
    uint32_t count = 0;
    rec->target_pool = xcalloc(rec->tag_count + 1ull, sizeof(*rec->target_pool));
    for (uint32_t i = 0; i < rec->tag_count; i++) {
        struct rec_target *target = find_target(rec, rec->tags[i].block);
        if (!target) {
            target = &rec->target_pool[count++];
            htable_insert(&rec->targets, &target->node, rec->tags[i].block);
        }
        target->tag = i;
    }
}

// A revoke kills the content of its own transaction and of all before it.
static YIELDS int apply_revokes(struct recovery *rec, const struct rec_revoke *revoke)
{
    const struct jbd2_super *super = &rec->jrn->super;
    const uint8_t *bytes;
    uint32_t count;
    int rc = rec_read(rec, revoke->at, &bytes);
    if (rc < 0)
        return rc;
    if (!jbd2_revoke_count(super, bytes, &count)) {
        log_error("event=journal_damaged at=%u reason=\"impossible count of revokes\"", revoke->at);
        return err_set(rec->err, EFSCORRUPTED, "the journal is damaged: block %u has an impossible count of revokes (run e2fsck)", revoke->at);
    }
    for (uint32_t i = 0; i < count; i++) {
        struct rec_target *target = find_target(rec, jbd2_revoke_at(super, bytes, i));
        if (target)
            target->revoked_until = revoke->txn + 1;
    }
    return 0;
}

static int judge_tag(struct recovery *rec, const struct rec_tag *tag)
{
    uint64_t end = MIN(shep_block_count(rec->jrn->shep), rec->jrn->geo->block_count);
    const char *why = NULL;
    int error = EFSCORRUPTED;
    if (tag->block >= end) {
        why = "outside the volume";
    } else if (log_map_owns(&rec->jrn->map, tag->block)) {
        why = "inside the journal";
    } else if (tag->bad) {
        why = "with a wrong checksum";
        error = EFSBADCRC;
    }
    if (!why)
        return 0;
    log_error("event=journal_damaged sequence=%u at=%u block=%llu reason=\"%s\"",
              rec->jrn->super.sequence + tag->txn, tag->at, (unsigned long long)tag->block, why);
    return err_set(rec->err, error, "the journal is damaged: transaction %u holds block %llu, %s (run e2fsck)",
                   rec->jrn->super.sequence + tag->txn, (unsigned long long)tag->block, why);
}

int rec_revoke_pass(struct recovery *rec)
{
    int rc = 0;
    collect_targets(rec);
    for (uint32_t i = 0; i < rec->revoke_count && rc == 0; i++)
        rc = apply_revokes(rec, &rec->revokes[i]);
    for (uint32_t i = 0; i < rec->tag_count && rc == 0; i++)
        if (rec->tags[i].txn >= find_target(rec, rec->tags[i].block)->revoked_until)
            rc = judge_tag(rec, &rec->tags[i]);
    return rc;
}

bool rec_is_wanted(const struct recovery *rec, uint32_t tag)
{
    const struct rec_target *target = find_target(rec, rec->tags[tag].block);
    return target->tag == tag && rec->tags[tag].txn >= target->revoked_until;
}

// A block of one batch: filled in the order of the log, written in the order of the disk.
struct replay_block {
    const struct rec_tag *tag;
    uint32_t slot;
};

static int compare_home(const void *a, const void *b)
{
    const struct replay_block *left = a, *right = b;
    return left->tag->block < right->tag->block ? -1 : left->tag->block > right->tag->block;
}

static int compare_log(const void *a, const void *b)
{
    const struct replay_block *left = a, *right = b;
    return left->tag < right->tag ? -1 : left->tag > right->tag;
}

static YIELDS int fill(struct recovery *rec, const struct replay_block *one)
{
    uint8_t *copy = rec->image + (size_t)one->slot * BLOCK_BYTES;
    const uint8_t *bytes;
    int rc = rec_read(rec, one->tag->at, &bytes);
    if (rc < 0)
        return rc;
    memcpy(copy, bytes, BLOCK_BYTES);
    struct be32 magic = to_be32(JBD2_MAGIC);
    if (one->tag->escaped)
        memcpy(copy, &magic, sizeof(magic));
    return 0;
}

// What type a replayed block has, the log does not say: it goes home as plain data.
static YIELDS int replay_batch(struct recovery *rec, uint32_t count)
{
    struct replay_block *blocks = rec->batch;
    struct shep_ref ref = {.type = BLOCK_DATA};
    io_set_fini(&rec->io);
    qsort(blocks, count, sizeof(*blocks), compare_home);
    for (uint32_t i = 0; i < count; i++) {
        blocks[i].slot = i;
        io_set_add(&rec->io, &ref, blocks[i].tag->block, 1, rec->image + (size_t)i * BLOCK_BYTES);
    }
    qsort(blocks, count, sizeof(*blocks), compare_log);
    for (uint32_t i = 0; i < count; i++) {
        int rc = fill(rec, &blocks[i]);
        if (rc < 0)
            return rc;
    }
    int rc = io_set_run(rec->jrn, &rec->io, true);
    if (rc == -EROFS)
        return err_set(rec->err, EROFS, "the journal must be replayed, but the device is read-only");
    if (rc < 0)
        return err_set(rec->err, -rc, "a block of the journal could not be written to its place");
    rec->replayed += count;
    return 0;
}

int rec_replay(struct recovery *rec)
{
    uint32_t batch_max = MIN(rec->tag_count, REPLAY_BATCH), count = 0;
    int rc = 0;
    rec->image = xblocks(batch_max + 1);
    rec->batch = xmalloc((batch_max + 1) * sizeof(*rec->batch));
    for (uint32_t i = 0; i < rec->tag_count && rc == 0; i++) {
        if (rec_is_wanted(rec, i))
            rec->batch[count++] = (struct replay_block){.tag = &rec->tags[i]};
        if (count && (count == batch_max || i + 1 == rec->tag_count)) {
            rc = replay_batch(rec, count);
            count = 0;
        }
    }
    return rc;
}
