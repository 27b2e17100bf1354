// SPDX-License-Identifier: MIT
// adopt.c - taking over the log of a predecessor that died while the power stayed on.
//
// Replaying would write the whole log home before the first request is served. Instead the log
// stays as it is and becomes ours: a lazy scan finds the newest copy of each block, the cache's overlay reads
// it from there, and its transactions checkpoint later like our own.
//
//   on the disk   | tail: adopted ... adopted C | left-over of C+1, without its commit block | ...
//                                               ^ head: our first transaction, C+1 again
//
// Nothing is written, so the next crash, of the process or of the power, finds a log like any other.
// Why the left-over can do no harm is told in README.md.
#include <string.h>

#include "base/byteorder.h"
#include "base/check.h"
#include "base/log.h"
#include "journal/recovery.h"

int adopt_restore(const struct journal *jrn, const struct adopted *one, void *bytes)
{
    struct jbd2_tag_info tag = {.checksum = one->checksum};
    if (!jbd2_data_csum_is_right(&jrn->super, (uint32_t)one->tid, &tag, bytes)) {
        log_error("event=journal_damaged sequence=%u at=%u block=%llu reason=\"with a wrong checksum\"",
                  (uint32_t)one->tid, one->at, (unsigned long long)one->overlay.node.key);
        return -EFSBADCRC;
    }
    struct be32 magic = to_be32(JBD2_MAGIC);
    if (one->escaped)
        memcpy(bytes, &magic, sizeof(magic));
    return 0;
}

static int restore(void *arg, const struct buf_overlay *entry, void *bytes)
{
    return adopt_restore(arg, CONTAINER_OF(entry, struct adopted, overlay), bytes);
}

// --- later: what becomes of an entry ------------------------------------------------------------

void adopt_let_go(struct journal *jrn, struct adopted *one)
{
    if (!list_linked(&one->link))
        return;
    buf_overlay_remove(jrn->cache, &one->overlay);
    list_remove(&one->link);
    jrn->adopted_left--;
}

static struct adopted *find(struct journal *jrn, uint64_t block)
{
    struct buf_overlay *entry = jrn->adopted_left ? buf_overlay_find(jrn->cache, block) : NULL;
    return entry ? CONTAINER_OF(entry, struct adopted, overlay) : NULL;
}

// It keeps its transaction in the log: should the free never commit, the block is still wanted (I5).
void adopt_forget(struct journal *jrn, uint64_t block)
{
    struct adopted *one = find(jrn, block);
    if (!one)
        return;
    one->forget_tid = jrn->running->tid;
    buf_overlay_remove(jrn->cache, &one->overlay);
}

void adopt_superseded(struct journal *jrn, uint64_t block)
{
    struct adopted *one = find(jrn, block);
    if (one)
        adopt_let_go(jrn, one);
}

void adopt_end(struct journal *jrn)
{
    free(jrn->adopted);
    jrn->adopted = NULL;
    jrn->adopted_count = 0;
}

// --- taking over --------------------------------------------------------------------------------

static void add_block(struct journal *jrn, struct txn *txn, const struct rec_tag *tag)
{
    struct adopted *one = &jrn->adopted[jrn->adopted_count++];
    *one = (struct adopted){
        .overlay.from = log_map_block(&jrn->map, tag->at, NULL), .tid = txn->tid, .at = tag->at,
        .checksum = tag->checksum, .escaped = tag->escaped,
    };
    list_init(&one->link);
    list_push_back(&txn->adopted, &one->link);
    buf_overlay_add(jrn->cache, &one->overlay, tag->block);
    jrn->adopted_left++;
}

// Tags stand in the order of the log.
static void add_blocks(struct journal *jrn, const struct recovery *rec)
{
    struct txn *txn = txn_first(&jrn->committed);
    uint32_t number = 0;
    jrn->adopted = xmalloc((rec->targets.count + 1) * sizeof(*jrn->adopted));
    for (uint32_t i = 0; i < rec->tag_count; i++) {
        for (; number < rec->tags[i].txn; number++)
            txn = LIST_ENTRY(txn->link.next, struct txn, link);
        if (rec_is_wanted(rec, i))
            add_block(jrn, txn, &rec->tags[i]);
    }
}

static void add_txns(struct journal *jrn, const struct recovery *rec)
{
    uint64_t tid = journal_tid(jrn, jrn->super.sequence);
    for (uint32_t i = 0; i < rec->txn_count; i++) {
        struct txn *txn = txn_create(tid + i);
        txn->log_start = rec->txns[i].start;
        txn->log_blocks = rec->txns[i].blocks;
        txn->placed = true;
        list_push_back(&jrn->committed, &txn->link);
        jrn->used += txn->log_blocks;
        jrn->head = log_next(jrn, txn->log_start, txn->log_blocks);
    }
    jrn->recovered_tid = jrn->committed_tid = tid + rec->txn_count - 1;
    jrn->running->tid = jrn->committed_tid + 1;
    jrn->txn_blocks_max = log_size(jrn) / 4;
}

static void take_over(struct journal *jrn, const struct recovery *rec)
{
    struct buf_overlay_source source = {
        .ref = log_ref(jrn, BLOCK_JOURNAL, 0), .restore = restore, .arg = jrn,
    };
    buf_overlay_open(jrn->cache, &source);
    add_txns(jrn, rec);
    add_blocks(jrn, rec);
    jrn->needs_recovery = false;
    jrn->is_adopted = true;
    log_info("event=journal_adopted tid=%llu transactions=%u blocks=%llu log_blocks=%llu",
             (unsigned long long)jrn->recovered_tid, rec->txn_count,
             (unsigned long long)jrn->adopted_count, (unsigned long long)jrn->used);
}

// The flush: the last commit block may have reached the disk and not yet its platters when the predecessor
// died; from now on it is relied upon. Not so when its write is known to have succeeded, to the predecessor
// or to the fence: it was a FUA write.
static YIELDS int judge(struct journal *jrn, struct recovery *rec)
{
    int rc = rec_scan(rec);
    if (rc == 0)
        rc = rec_revoke_pass(rec);
    uint64_t newest = journal_tid(jrn, jrn->super.sequence) + rec->txn_count - 1;
    return rc < 0 || jrn->landed || newest == jrn->committed_hint ? rc : shep_flush(jrn->shep);
}

// A log that is damaged, torn, foreign, or empty is left to the replay, which says what is wrong.
bool adopt_run(struct journal *jrn)
{
    if (jrn->read_only || jrn->super.error || !super_is_ours(jrn))
        return false;
    struct err detail = {0};
    struct recovery *rec = jrn->recovery = recovery_create(jrn, &detail);
    rec->lazy = true;
    int rc = judge(jrn, rec);
    bool taken = rc == 0 && rec->txn_count > 0 && !rec->torn;
    if (taken)
        take_over(jrn, rec);
    else if (rc < 0)
        log_warn("event=journal_not_adopted error=%d reason=\"%s\"", -rc, detail.text);
    recovery_destroy(rec);
    jrn->recovery = NULL;
    return taken;
}
