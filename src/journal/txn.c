// SPDX-License-Identifier: MIT
// txn.c - the running transaction: what joins it, what leaves it, and the moment it is copied.
//
// Nothing here waits and nothing fails, but for jrn_reserve(), which only compares numbers.
#include "base/check.h"
#include "journal/internal.h"

struct txn *txn_create(uint64_t tid)
{
    struct txn *txn = xcalloc(1, sizeof(*txn));
    txn->tid = tid;
    list_init(&txn->link);
    list_init(&txn->bufs);
    list_init(&txn->ckpt);
    list_init(&txn->adopted);
    htable_init(&txn->revokes);
    return txn;
}

void txn_destroy(struct txn *txn)
{
    HTABLE_EACH(node, &txn->revokes)
        free(CONTAINER_OF(node, struct revoke, node));
    htable_fini(&txn->revokes);
    io_set_fini(&txn->io);
    free(txn->entries);
    free(txn->image);
    free(txn);
}

bool txn_is_empty(const struct txn *txn)
{
    return !txn->buf_count && !txn->revokes.count;
}

uint64_t txn_log_blocks(const struct journal *jrn, uint64_t buffers, uint64_t revokes)
{
    return DIV_ROUND_UP(revokes, jbd2_revokes_max(&jrn->super)) +
           DIV_ROUND_UP(buffers, jbd2_tags_max(&jrn->super)) + buffers + 1;
}

uint64_t jrn_free_blocks(const struct journal *jrn)
{
    uint64_t taken = jrn->used + jrn->queued;
    return taken < log_size(jrn) ? log_size(jrn) - taken : 0;
}

// fs_commit() encodes blocks that no plan has counted one by one (the superblock, descriptors of
// groups), and revokes come in numbers that no plan counts at all. The slack is theirs.
int jrn_reserve(struct journal *jrn, uint32_t credits)
{
    if (jrn->aborted || jrn->read_only || jrn->needs_recovery)
        return -EROFS;
    uint32_t slack = jrn->txn_blocks_max / 8;
    if (txn_log_blocks(jrn, credits, 0) + slack > jrn->txn_blocks_max)
        return -ENOSPC;
    const struct txn *txn = jrn->running;
    uint64_t need = txn_log_blocks(jrn, (uint64_t)txn->buf_count + credits, txn->revokes.count) + slack;
    if (need > jrn->txn_blocks_max || need > jrn_free_blocks(jrn))
        return -EAGAIN;
    return 0;
}

static void revoke_cancel(struct txn *txn, uint64_t block)
{
    struct hnode *node = htable_find(&txn->revokes, block);
    if (!node)
        return;
    htable_remove(&txn->revokes, node);
    free(CONTAINER_OF(node, struct revoke, node));
}

static void revoke_add(struct txn *txn, uint64_t block)
{
    if (htable_find(&txn->revokes, block))
        return;
    struct revoke *revoke = xcalloc(1, sizeof(*revoke));
    htable_insert(&txn->revokes, &revoke->node, block);
}

// A revoke counts for the transaction that carries it too, so a block that is freed and used again
// in one transaction must not be revoked by it.
void jrn_dirty(struct journal *jrn, struct buf *buf)
{
    buf_open(jrn->cache, buf);
    jrn_join(jrn, buf);
}

void jrn_join(struct journal *jrn, struct buf *buf)
{
    struct txn *txn = jrn->running;
    CHECK(!buf->dropped);
    CHECK(buf->refs > 0 || buf->pins > 0);
    revoke_cancel(txn, buf->block);
    if (buf->jrn.running_tid)
        return;
    buf->jrn.running_tid = txn->tid;
    list_push_back(&txn->bufs, &buf->jrn.txn_link);
    txn->buf_count++;
    buf_pin(buf);
}

static void leave_running(struct journal *jrn, struct buf *buf)
{
    list_remove(&buf->jrn.txn_link);
    buf->jrn.running_tid = 0;
    jrn->running->buf_count--;
    buf_unpin(jrn->cache, buf);
}

// An older transaction that holds the block committed and not yet home keeps it on its list, so
// that it stays in the log until this one commits: should this one never commit, the block is
// still wanted. After that it is let go without being written (checkpoint.c).
void jrn_forget(struct journal *jrn, uint64_t block)
{
    struct buf *buf = buf_peek(jrn->cache, block);
    if (buf) {
        buf->jrn.forget_tid = jrn->running->tid;
        buf_ref(buf);
        if (buf->jrn.running_tid)
            leave_running(jrn, buf);
        buf_drop(jrn->cache, buf);
        buf_put(jrn->cache, buf);
    }
    buf_forget(jrn->cache, block);
    adopt_forget(jrn, block);
    revoke_add(jrn->running, block);
    if (ckpt_batch_has(&jrn->batch, block))
        jrn->running->forget_batch = jrn->batch.serial;
}

// The pin that a buffer had for the running transaction is now the queued one's.
static void take_entries(struct txn *txn)
{
    uint32_t count = 0;
    struct list *link;
    txn->entries = xmalloc((txn->buf_count + 1) * sizeof(*txn->entries));
    while ((link = list_pop_front(&txn->bufs))) {
        struct buf *buf = LIST_ENTRY(link, struct buf, jrn.txn_link);
        buf->jrn.running_tid = 0;
        buf->jrn.committing_tid = txn->tid;
        txn->entries[count++] = buf;
    }
    CHECK(count == txn->buf_count);
}

struct txn *txn_close(struct journal *jrn)
{
    struct txn *txn = jrn->running;
    if (txn->revokes.count && !jrn->super.has_revoke) {
        jrn->super.incompat |= JBD2_INCOMPAT_REVOKE;
        jrn->super.has_revoke = jrn->super_stale = true;
    }
    take_entries(txn);
    image_build(jrn, txn);
    jrn->queued += txn->log_blocks;
    list_push_back(&jrn->queue, &txn->link);
    jrn->running = txn_create(txn->tid + 1);
    return txn;
}
