// SPDX-License-Identifier: MIT
// journal.c - the journal as a whole: open, close, destroy, abort, and what can be asked of it.
#include "journal/journal.h"

#include "base/check.h"
#include "base/log.h"
#include "journal/internal.h"

static struct journal *journal_create(const struct jrn_config *config)
{
    struct journal *jrn = xcalloc(1, sizeof(*jrn));
    *jrn = (struct journal){
        .rt = config->rt, .shep = config->shep, .cache = config->cache, .geo = config->geo,
        .read_only = config->read_only, .super_bytes = xblocks(1),
        .adopt = config->adopt, .landed = config->landed, .committed_hint = config->committed_hint,
    };
    list_init(&jrn->queue);
    list_init(&jrn->committed);
    waitq_init(&jrn->super_turn);
    waitq_init(&jrn->commit_done);
    waitq_init(&jrn->ckpt_done);
    jrn->running = txn_create(1);
    return jrn;
}

// 0 says "in no transaction" in a buffer, so a sequence that is 0 on the disk is 2^32 here at least.
uint64_t journal_tid(const struct journal *jrn, uint32_t sequence)
{
    uint64_t hint = jrn->committed_hint;
    int64_t tid = (int64_t)hint + (int32_t)(sequence - (uint32_t)hint);
    return (uint64_t)(tid > 0 ? tid : tid + (1ll << 32));
}

void journal_start(struct journal *jrn, uint64_t tid)
{
    jrn->running->tid = tid;
    jrn->committed_tid = jrn->recovered_tid;    // not the number that was skipped: a successor would miss it
    jrn->head = jrn->super.first;
    jrn->needs_recovery = false;
    if (!jrn->read_only)
        super_adopt_features(jrn);
    jrn->txn_blocks_max = log_size(jrn) / 4;
}

int jrn_open(const struct jrn_config *config, struct journal **out, struct err *err)
{
    struct journal *jrn = journal_create(config);
    int rc = log_map_init(&jrn->map, config, err);
    if (rc == 0)
        rc = super_read(jrn, err);
    if (rc < 0) {
        jrn_destroy(jrn);
        return rc;
    }
    if (jrn->super.error)
        log_warn("event=journal_error_recorded error=%u", jrn->super.error);
    jrn->needs_recovery = jrn->super.start != 0;
    // The kernel skips one number after an empty log; so do we, and never meet a stale block.
    if (!jrn->needs_recovery) {
        uint64_t next = journal_tid(jrn, jrn->super.sequence);
        jrn->recovered_tid = next - 1;
        journal_start(jrn, next + 1);
    }
    *out = jrn;
    return 0;
}

bool jrn_needs_recovery(const struct journal *jrn)
{
    return jrn->needs_recovery;
}

// A buffer whose newest content never reached the disk is worthless: nobody may find it again.
static void release_buf(struct journal *jrn, struct buf *buf)
{
    buf_ref(buf);
    buf->jrn.running_tid = buf->jrn.committing_tid = buf->jrn.ckpt_tid = 0;
    buf_drop(jrn->cache, buf);
    buf_unpin(jrn->cache, buf);
    buf_put(jrn->cache, buf);
}

static void release_txn(struct journal *jrn, struct txn *txn)
{
    struct list *link;
    while ((link = list_pop_front(&txn->bufs)))
        release_buf(jrn, LIST_ENTRY(link, struct buf, jrn.txn_link));
    for (uint32_t i = 0; txn->entries && i < txn->buf_count; i++)
        release_buf(jrn, txn->entries[i]);
    while ((link = list_pop_front(&txn->ckpt)))
        release_buf(jrn, LIST_ENTRY(link, struct buf, jrn.ckpt_link));
    LIST_EACH_SAFE(adopted, &txn->adopted)
        adopt_let_go(jrn, LIST_ENTRY(adopted, struct adopted, link));
    list_remove(&txn->link);
    txn_destroy(txn);
}

void jrn_destroy(struct journal *jrn)
{
    struct txn *txn;
    while ((txn = txn_first(&jrn->committed)) || (txn = txn_first(&jrn->queue)))
        release_txn(jrn, txn);
    release_txn(jrn, jrn->running);
    adopt_end(jrn);
    ckpt_batch_fini(&jrn->batch);
    if (jrn->recovery)
        recovery_destroy(jrn->recovery);
    log_map_fini(&jrn->map);
    free(jrn->super_bytes);
    free(jrn);
}

// Nobody else modifies anything any more, so a round leaves less to do than the one before.
static YIELDS int close_steps(struct journal *jrn)
{
    int rc;
    do {
        rc = jrn_commit(jrn);
        if (rc == 0)
            rc = jrn_checkpoint(jrn, UINT64_MAX);
    } while (rc == -EAGAIN || (rc == 0 && (!txn_is_empty(jrn->running) || jrn->used)));
    if (rc == 0 && (jrn->super.start || jrn->super_stale))
        rc = super_write_empty(jrn, jrn->running->tid);
    return rc;
}

int jrn_close(struct journal *jrn)
{
    int rc = 0;
    if (!jrn->read_only && !jrn->needs_recovery)
        rc = close_steps(jrn);
    // After an abort others may still be on their way out of here.
    if (jrn->aborted)
        rt_yield(jrn->rt);
    while (jrn->writing || jrn->checkpointing || jrn->super_busy)
        rt_yield(jrn->rt);
    super_record_abort(jrn);
    buf_cache_quiesce(jrn->cache);
    jrn_destroy(jrn);
    return rc;
}

void jrn_abort(struct journal *jrn, int error, const char *why)
{
    if (jrn->aborted)
        return;
    jrn->aborted = error < 0 ? error : -EIO;
    log_error("event=journal_aborted tid=%llu error=%d reason=\"%s\"",
              (unsigned long long)jrn->running->tid, -jrn->aborted, why);
    waitq_wake_all(jrn->rt, &jrn->commit_done);
    waitq_wake_all(jrn->rt, &jrn->ckpt_done);
}

uint64_t jrn_running_tid(const struct journal *jrn)
{
    return jrn->running->tid;
}

uint64_t jrn_committed_tid(const struct journal *jrn)
{
    return jrn->committed_tid;
}

uint64_t jrn_recovered_tid(const struct journal *jrn)
{
    return jrn->recovered_tid;
}

bool jrn_is_adopted(const struct journal *jrn)
{
    return jrn->is_adopted;
}

bool jrn_is_aborted(const struct journal *jrn)
{
    return jrn->aborted != 0;
}

bool jrn_running_empty(const struct journal *jrn)
{
    return txn_is_empty(jrn->running);
}

int jrn_recorded_error(const struct journal *jrn)
{
    return (int)jrn->super.error;
}

void jrn_clear_error(struct journal *jrn)
{
    jrn->super.error = 0;
    jrn->super_stale = true;
}

uint64_t jrn_size_blocks(const struct journal *jrn)
{
    return log_size(jrn);
}
