// SPDX-License-Identifier: MIT
// scan.c - recovery's first pass: which transactions of the log are committed?
//
// A transaction counts when its commit block is right. The log ends at the first place where the
// next block of the next transaction is not found; the power may have failed while it was
// written. What tells a torn end from damage in the middle:
//
//   commit block wrong, nothing valid behind it     torn: the log ends before this transaction
//   commit block wrong, next transaction follows    damage
//   commit block right, other checksums wrong       damage: it was written after the rest was
//                                                   stable, and parts of it may already be home.
//                                                   Unless it is older than its predecessor: then
//                                                   it is a left-over, and the log ends.
//
// With asynchronous commits (a mount option of the kernel) a commit block proves nothing about the
// rest, so there the third case is torn too when nothing valid follows.
#include <string.h>

#include "base/check.h"
#include "base/log.h"
#include "journal/recovery.h"

// Where the scan is.
struct scan {
    struct recovery *rec;
    const struct jbd2_super *super;
    uint32_t at;                    // next block of the log
    uint32_t visited;               // no block belongs to two transactions
    uint32_t sequence;              // of the transaction being looked at
    uint32_t tags_committed, revokes_committed;
    struct rec_txn txn;             // the one being looked at
    uint32_t v1_sum;                // JBD2_COMPAT_CHECKSUM
    uint64_t commit_sec;            // of the last commit
    const char *fault;              // what is wrong with this transaction
    uint8_t block[BLOCK_BYTES];
};

static bool has_v1_csum(const struct scan *scan)
{
    return scan->super->compat & JBD2_COMPAT_CHECKSUM;
}

static uint32_t take_block(struct scan *scan)
{
    uint32_t at = scan->at;
    scan->at = log_next(scan->rec->jrn, at, 1);
    scan->visited++;
    scan->txn.blocks++;
    return at;
}

static void note_fault(struct scan *scan, const char *fault)
{
    if (!scan->fault)
        scan->fault = fault;
}

static void add_tag(struct recovery *rec, const struct rec_tag *tag)
{
    if (rec->tag_count == rec->tag_capacity) {
        rec->tag_capacity = rec->tag_capacity ? 2 * rec->tag_capacity : 256;
        rec->tags = xrealloc(rec->tags, rec->tag_capacity * sizeof(*rec->tags));
    }
    rec->tags[rec->tag_count++] = *tag;
}

static void add_revoke(struct recovery *rec, const struct rec_revoke *revoke)
{
    if (rec->revoke_count == rec->revoke_capacity) {
        rec->revoke_capacity = rec->revoke_capacity ? 2 * rec->revoke_capacity : 16;
        rec->revokes = xrealloc(rec->revokes, rec->revoke_capacity * sizeof(*rec->revokes));
    }
    rec->revokes[rec->revoke_count++] = *revoke;
}

static void add_txn(struct recovery *rec, const struct rec_txn *txn)
{
    if (rec->txn_count == rec->txn_capacity) {
        rec->txn_capacity = rec->txn_capacity ? 2 * rec->txn_capacity : 64;
        rec->txns = xrealloc(rec->txns, rec->txn_capacity * sizeof(*rec->txns));
    }
    rec->txns[rec->txn_count++] = *txn;
}

// One logged block. Without checksums, or when it will stay in the log, there is no reason to read it yet.
static YIELDS int scan_data(struct scan *scan, const struct jbd2_tag_info *info)
{
    struct rec_tag tag = {
        .block = info->block, .at = take_block(scan), .txn = scan->rec->txn_count,
        .checksum = info->checksum, .escaped = info->flags & JBD2_TAG_ESCAPE,
    };
    if (!scan->rec->lazy && (scan->super->has_csum || has_v1_csum(scan))) {
        const uint8_t *bytes;
        int rc = rec_read(scan->rec, tag.at, &bytes);
        if (rc < 0)
            return rc;
        tag.bad = !jbd2_data_csum_is_right(scan->super, scan->sequence, info, bytes);
        if (has_v1_csum(scan))
            scan->v1_sum = jbd2_v1_sum(scan->v1_sum, bytes);
    }
    add_tag(scan->rec, &tag);
    return 0;
}

// 0, or 1 at the end of the log: tags that run into what the log began with were never written so.
static YIELDS int scan_descriptor(struct scan *scan)
{
    if (!jbd2_tail_is_right(scan->super, scan->block))
        note_fault(scan, "checksum of a descriptor block is wrong");
    if (has_v1_csum(scan))
        scan->v1_sum = jbd2_v1_sum(scan->v1_sum, scan->block);
    struct jbd2_tag_walk walk = jbd2_tags_start(scan->block);
    struct jbd2_tag_info info;
    while (jbd2_tags_next(scan->super, &walk, &info)) {
        if (scan->visited >= log_size(scan->rec->jrn))
            return 1;
        int rc = scan_data(scan, &info);
        if (rc < 0)
            return rc;
    }
    return 0;
}

static void scan_revoke(struct scan *scan, uint32_t at)
{
    if (!jbd2_tail_is_right(scan->super, scan->block))
        note_fault(scan, "checksum of a revoke block is wrong");
    add_revoke(scan->rec, &(struct rec_revoke){.at = at, .txn = scan->rec->txn_count});
}

// Does a block of the following transaction stand where it would?
static YIELDS int next_follows(struct scan *scan, bool *follows)
{
    const uint8_t *next;
    *follows = false;
    if (scan->visited >= log_size(scan->rec->jrn))
        return 0;
    int rc = rec_read(scan->rec, scan->at, &next);
    if (rc < 0)
        return rc;
    switch (jbd2_block_type_of(next, scan->sequence + 1)) {
    case JBD2_DESCRIPTOR:
    case JBD2_REVOKE:
        *follows = jbd2_tail_is_right(scan->super, next);
        break;
    case JBD2_COMMIT:
        *follows = jbd2_commit_is_right(scan->super, next);
        break;
    }
    return 0;
}

static int damaged(struct scan *scan, const char *what)
{
    log_error("event=journal_damaged sequence=%u reason=\"%s\"", scan->sequence, what);
    return err_set(scan->rec->err, EFSBADCRC, "the journal is damaged in transaction %u: %s (run e2fsck)",
                   scan->sequence, what);
}

// 1: the log ends before this transaction.
static int torn(struct scan *scan, const char *what)
{
    scan->rec->torn = true;
    log_warn("event=journal_torn sequence=%u reason=\"%s\"", scan->sequence, what);
    return 1;
}

static void accept(struct scan *scan, uint64_t commit_sec)
{
    add_txn(scan->rec, &scan->txn);
    scan->txn = (struct rec_txn){.start = scan->at};
    scan->tags_committed = scan->rec->tag_count;
    scan->revokes_committed = scan->rec->revoke_count;
    scan->commit_sec = commit_sec;
    scan->sequence++;
    scan->v1_sum = ~0u;
}

static YIELDS int scan_commit(struct scan *scan)
{
    uint64_t sec = be64(((const struct jbd2_commit_header *)scan->block)->commit_sec);
    bool right = jbd2_commit_is_right(scan->super, scan->block) &&
                 (!has_v1_csum(scan) || jbd2_v1_commit_is_right(scan->block, scan->v1_sum));
    if (right && !scan->fault) {
        accept(scan, sec);
        return 0;
    }
    const char *what = right ? scan->fault : "checksum of the commit block is wrong";
    if (right && sec < scan->commit_sec)
        return torn(scan, what);
    bool follows;
    int rc = next_follows(scan, &follows);
    if (rc < 0)
        return rc;
    bool proves_rest = right && !(scan->super->incompat & JBD2_INCOMPAT_ASYNC_COMMIT);
    return follows || proves_rest ? damaged(scan, what) : torn(scan, what);
}

// One control block. 0 to go on, 1 at the end of the log.
static YIELDS int scan_step(struct scan *scan)
{
    const uint8_t *bytes;
    if (scan->visited >= log_size(scan->rec->jrn))
        return 1;
    int rc = rec_read(scan->rec, scan->at, &bytes);
    if (rc < 0)
        return rc;
    memcpy(scan->block, bytes, BLOCK_BYTES);
    uint32_t at = take_block(scan);
    switch (jbd2_block_type_of(scan->block, scan->sequence)) {
    case JBD2_DESCRIPTOR:
        return scan_descriptor(scan);
    case JBD2_REVOKE:
        scan_revoke(scan, at);
        return 0;
    case JBD2_COMMIT:
        return scan_commit(scan);
    default:
        return 1;
    }
}

int rec_scan(struct recovery *rec)
{
    const struct jbd2_super *super = &rec->jrn->super;
    struct scan *scan = xmalloc(sizeof(*scan));
    *scan = (struct scan){
        .rec = rec, .super = super, .at = super->start, .sequence = super->sequence, .v1_sum = ~0u,
        .txn.start = super->start,
    };
    int rc;
    do
        rc = scan_step(scan);
    while (rc == 0);
    rec->tag_count = scan->tags_committed;
    rec->revoke_count = scan->revokes_committed;
    free(scan);
    return rc < 0 ? rc : 0;
}
