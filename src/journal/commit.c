// SPDX-License-Identifier: MIT
// commit.c - from the copy to stable storage: log blocks, flush, commit block.
//
// The flush before the commit block makes two things durable together: the log blocks, and all data
// that had been written to its place before. Transactions are written one at a time, in the order in
// which they were closed; the fibre that closed one writes it.
#include "base/check.h"
#include "base/log.h"
#include "journal/internal.h"

// Reserved plans fit by construction (txn.c); this is for what nobody reserved.
static YIELDS int make_space(struct journal *jrn, const struct txn *txn)
{
    if (jrn->used + txn->log_blocks <= log_size(jrn))
        return 0;
    int rc = -EAGAIN;
    if (txn->log_blocks <= log_size(jrn))
        rc = ckpt_run(jrn, log_size(jrn) - txn->log_blocks);
    if (rc == -EAGAIN) {
        jrn_abort(jrn, -ENOSPC, "a transaction is larger than what is free of the log");
        return -ENOSPC;
    }
    return rc;
}

static void place(struct journal *jrn, struct txn *txn)
{
    txn->log_start = jrn->head;
    txn->placed = true;
    jrn->head = log_next(jrn, jrn->head, txn->log_blocks);
    jrn->queued -= txn->log_blocks;
    jrn->used += txn->log_blocks;
}

static YIELDS int write_log_blocks(struct journal *jrn, struct txn *txn)
{
    io_set_add_log(jrn, &txn->io, txn->log_start, txn->log_blocks - 1, txn->image);
    int rc = io_set_run(jrn, &txn->io, true);
    io_set_fini(&txn->io);
    return rc;
}

static YIELDS int write_commit_block(struct journal *jrn, struct txn *txn)
{
    uint32_t at = log_next(jrn, txn->log_start, txn->log_blocks - 1);
    struct shep_ref ref = log_ref(jrn, BLOCK_JOURNAL, at);
    struct shep_result result;
    struct iovec iov = {
        .iov_base = txn->image + (size_t)(txn->log_blocks - 1) * BLOCK_BYTES, .iov_len = BLOCK_BYTES,
    };
    image_commit(jrn, txn);
    return shep_write(jrn->shep, &ref, log_map_block(&jrn->map, at, NULL), &iov, 1, SHEP_FUA, &result);
}

// The steps that lead to a committed transaction on the disk. After an abort by another fibre the
// commit block must not be written: what the abort found may be what this transaction holds.
static YIELDS int write_steps(struct journal *jrn, struct txn *txn)
{
    int rc = make_space(jrn, txn);
    if (rc < 0)
        return rc;
    place(jrn, txn);
    if (!jrn->super.start)
        rc = super_write_tail(jrn);
    else if (jrn->super_stale)
        rc = super_write(jrn);
    if (rc == 0)
        rc = write_log_blocks(jrn, txn);
    if (rc == 0)
        rc = shep_flush(jrn->shep);
    if (rc == 0)
        rc = jrn_usable(jrn);
    return rc < 0 ? rc : write_commit_block(jrn, txn);
}

// Each buffer waits for checkpoint now. Those that an older transaction waited for need not be
// written for its sake any more.
static void file_for_checkpoint(struct journal *jrn, struct txn *txn)
{
    for (uint32_t i = 0; i < txn->buf_count; i++) {
        struct buf *buf = txn->entries[i];
        bool waited = buf->jrn.ckpt_tid != 0;
        if (buf->jrn.committing_tid == txn->tid)
            buf->jrn.committing_tid = 0;
        list_remove(&buf->jrn.ckpt_link);
        list_push_back(&txn->ckpt, &buf->jrn.ckpt_link);
        buf->jrn.ckpt_tid = txn->tid;
        adopt_superseded(jrn, buf->block);
        if (waited)
            buf_unpin(jrn->cache, buf);
    }
}

static void finish(struct journal *jrn, struct txn *txn)
{
    file_for_checkpoint(jrn, txn);
    free(txn->entries);
    free(txn->image);
    txn->entries = NULL;
    txn->image = NULL;
    list_remove(&txn->link);
    list_push_back(&jrn->committed, &txn->link);
    jrn->committed_tid = txn->tid;
}

static YIELDS int write_txn(struct journal *jrn, struct txn *txn)
{
    rt_probe(jrn->rt, RT_PROBE_COMMIT);
    int rc = write_steps(jrn, txn);
    if (rc < 0 && !jrn->aborted)
        jrn_abort(jrn, rc, "a transaction could not be written");
    if (rc < 0)
        return rc;
    // A block that was freed here may have a new owner as soon as this has committed; an old
    // content of it that is on its way home must have landed by then.
    while (txn->forget_batch && jrn->batch.serial == txn->forget_batch)
        waitq_wait(jrn->rt, &jrn->ckpt_done);
    if (jrn->aborted)
        return -EROFS;
    finish(jrn, txn);
    return 0;
}

int jrn_commit(struct journal *jrn)
{
    if (jrn->aborted) {
        super_record_abort(jrn);
        return -EROFS;
    }
    if (txn_is_empty(jrn->running))
        return list_empty(&jrn->queue) ? 0 : jrn_wait(jrn, jrn->running->tid - 1);

    struct txn *txn = txn_close(jrn);
    while (!jrn->aborted && (jrn->writing || txn_first(&jrn->queue) != txn))
        waitq_wait(jrn->rt, &jrn->commit_done);
    if (jrn->aborted)
        return -EROFS;
    jrn->writing = true;
    int rc = write_txn(jrn, txn);
    jrn->writing = false;
    waitq_wake_all(jrn->rt, &jrn->commit_done);
    if (jrn->aborted)
        super_record_abort(jrn);
    return rc;
}

int jrn_wait(struct journal *jrn, uint64_t tid)
{
    while (jrn->committed_tid < tid) {
        if (jrn->aborted)
            return -EROFS;
        waitq_wait(jrn->rt, &jrn->commit_done);
    }
    return 0;
}
