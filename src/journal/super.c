// SPDX-License-Identifier: MIT
// super.c - the journal's superblock: read and judged once, written when the tail moves.
//
// Every write is forced to stable storage (FUA): space behind the new tail is reused at once, and a
// commit counts only if the tail that leads to it is on the disk. Writes take turns; each takes
// the newest values, which are true at any time.
#include <string.h>

#include "base/check.h"
#include "base/log.h"
#include "journal/internal.h"

int super_read(struct journal *jrn, struct err *err)
{
    struct shep_ref ref = log_ref(jrn, BLOCK_JOURNAL_SUPER, 0);
    if (!jrn->map.blocks)
        return err_set(err, EFSCORRUPTED, "the journal's file is empty (run e2fsck)");
    int rc = shep_read(jrn->shep, &ref, log_map_block(&jrn->map, 0, NULL), jrn->super_bytes);
    if (rc < 0)
        return err_set(err, -rc, "the journal's superblock cannot be read");
    const char *why = "";
    rc = jbd2_super_decode(jrn->super_bytes, jrn->map.blocks, &jrn->super, &why);
    if (rc < 0) {
        log_error("event=journal_refused block=%llu error=%d reason=\"%s\"",
                  (unsigned long long)log_map_block(&jrn->map, 0, NULL), -rc, why);
        return err_set(err, -rc, "the journal cannot be used: %s%s", why,
                       rc == -EOPNOTSUPP ? "" : " (run e2fsck)");
    }
    // Kept for the kernel, which may have been told so by mke2fs, also while no fast commit is there.
    const struct jbd2_super_raw *raw = (const struct jbd2_super_raw *)jrn->super_bytes;
    if (be32(raw->header.type) == JBD2_SUPER_V2)
        jrn->super.fc_blocks = be32(raw->num_fc_blocks);
    return 0;
}

// A superblock of version 1 has no place for features. Its log is empty, so it becomes version 2.
static void upgrade_v1(struct journal *jrn)
{
    struct jbd2_super_raw *raw = (struct jbd2_super_raw *)jrn->super_bytes;
    if (be32(raw->header.type) != JBD2_SUPER_V1)
        return;
    jbd2_super_encode(&jrn->super, jrn->super_bytes);
    size_t v1_size = offsetof(struct jbd2_super_raw, feature_compat);
    memset(jrn->super_bytes + v1_size, 0, BLOCK_BYTES - v1_size);
    jbd2_header_set(raw, JBD2_SUPER_V2, 0);
    raw->nr_users = to_be32(1);
    const char *why;
    CHECK(jbd2_super_decode(raw, jrn->map.blocks, &jrn->super, &why) == 0);
}

// As the kernel does at mount: 64-bit block numbers and checksums follow the volume; checksums of the
// first version, asynchronous commits and fast commits are not ours. A journal that has csum_v2
// keeps it: whoever made it may not know v3.
static uint32_t our_compat(const struct journal *jrn)
{
    return jrn->super.compat & ~(uint32_t)JBD2_COMPAT_CHECKSUM;
}

static uint32_t our_incompat(const struct journal *jrn)
{
    uint32_t incompat = jrn->super.incompat & ~(uint32_t)(JBD2_INCOMPAT_ASYNC_COMMIT | JBD2_INCOMPAT_FAST_COMMIT);
    if (jrn->geo->has_64bit)
        incompat |= JBD2_INCOMPAT_64BIT;
    if (jrn->geo->has_metadata_csum && !(incompat & (JBD2_INCOMPAT_CSUM_V2 | JBD2_INCOMPAT_CSUM_V3)))
        incompat |= JBD2_INCOMPAT_CSUM_V3;
    return incompat;
}

bool super_is_ours(const struct journal *jrn)
{
    const struct jbd2_super_raw *raw = (const struct jbd2_super_raw *)jrn->super_bytes;
    const struct jbd2_super *super = &jrn->super;
    return be32(raw->header.type) == JBD2_SUPER_V2 && super->compat == our_compat(jrn) &&
           super->incompat == our_incompat(jrn) && super->log_end == super->max_len;
}

void super_adopt_features(struct journal *jrn)
{
    struct jbd2_super *super = &jrn->super;
    upgrade_v1(jrn);
    uint32_t compat = our_compat(jrn), incompat = our_incompat(jrn);
    jrn->super_stale = compat != super->compat || incompat != super->incompat;
    super->compat = compat;
    super->incompat = incompat;
    super->has_64bit = incompat & JBD2_INCOMPAT_64BIT;
    super->has_csum_v3 = incompat & JBD2_INCOMPAT_CSUM_V3;
    super->has_csum = incompat & (JBD2_INCOMPAT_CSUM_V2 | JBD2_INCOMPAT_CSUM_V3);
    super->has_revoke = incompat & JBD2_INCOMPAT_REVOKE;
    super->log_end = super->max_len;
}

int super_write(struct journal *jrn)
{
    while (jrn->super_busy)
        waitq_wait(jrn->rt, &jrn->super_turn);
    jrn->super_busy = true;
    jrn->super_stale = false;
    jbd2_super_encode(&jrn->super, jrn->super_bytes);

    struct shep_ref ref = log_ref(jrn, BLOCK_JOURNAL_SUPER, 0);
    struct iovec iov = {.iov_base = jrn->super_bytes, .iov_len = BLOCK_BYTES};
    struct shep_result result;
    int rc = shep_write(jrn->shep, &ref, log_map_block(&jrn->map, 0, NULL), &iov, 1, SHEP_FUA, &result);
    jrn->super_busy = false;
    waitq_wake_one(jrn->rt, &jrn->super_turn);
    return rc;
}

// The oldest transaction that recovery still needs; with none, the next that will be written.
static void set_tail(struct journal *jrn)
{
    const struct txn *oldest = txn_first(&jrn->committed);
    if (!oldest)
        oldest = txn_first(&jrn->queue);
    uint64_t tid = oldest ? oldest->tid : jrn->running->tid;
    jrn->super.start = oldest && oldest->placed ? oldest->log_start : jrn->head;
    jrn->super.sequence = (uint32_t)tid;
    jrn->super.head = 0;
}

int super_write_tail(struct journal *jrn)
{
    set_tail(jrn);
    return super_write(jrn);
}

int super_write_empty(struct journal *jrn, uint64_t next_tid)
{
    jrn->super.start = 0;
    jrn->super.sequence = (uint32_t)next_tid;
    jrn->super.head = 0;
    return super_write(jrn);
}

// The next mount learns from it that the volume may have errors. Once: a disk that refuses
// this too has said enough.
void super_record_abort(struct journal *jrn)
{
    if (jrn->abort_recorded || jrn->read_only || !jrn->aborted)
        return;
    jrn->abort_recorded = true;
    jrn->super.error = (uint32_t)-jrn->aborted;
    if (super_write(jrn) < 0)
        log_error("event=journal_error_not_recorded error=%d", -jrn->aborted);
}
