// SPDX-License-Identifier: MIT
// checkpoint.c - committed blocks go home, and the tail of the log follows.
//
// A buffer whose newest content is not committed stays: home must never be newer than the log.
// When the transaction that holds the newer content commits, the buffer moves to its list, so
// after a commit the oldest transactions can always be emptied.
//
// Order on the disk: home writes, flush, superblock with the new tail (FUA); only then is the
// space behind the tail used again. A transaction whose block could not be written is never released.
#include <string.h>

#include "base/check.h"
#include "base/log.h"
#include "journal/internal.h"

#define BATCH_MAX 1024u             // blocks copied at once: 4 MiB
#define HOME_TRIES 3
#define HOME_RETRY_NS 20000000ull

void ckpt_batch_fini(struct ckpt_batch *batch)
{
    io_set_fini(&batch->io);
    io_set_fini(&batch->log_io);
    free(batch->entries);
    free(batch->image);
    free(batch->from_log);
    free(batch->log_bytes);
    *batch = (struct ckpt_batch){0};
}

// Entries are sorted by block.
bool ckpt_batch_has(const struct ckpt_batch *batch, uint64_t block)
{
    uint32_t low = 0, high = batch->serial ? batch->count : 0;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (batch->entries[middle].block == block)
            return true;
        if (batch->entries[middle].block < block)
            low = middle + 1;
        else
            high = middle;
    }
    return false;
}

static void let_go(struct journal *jrn, struct buf *buf)
{
    list_remove(&buf->jrn.ckpt_link);
    buf->jrn.ckpt_tid = 0;
    buf_unpin(jrn->cache, buf);
}

// Adds what can be written home of one transaction's list; returns what was let go instead. Freed
// blocks are let go once the transaction that freed them has committed; until then they hold
// the log.
static uint32_t gather_from(struct journal *jrn, struct txn *txn)
{
    struct ckpt_batch *batch = &jrn->batch;
    uint32_t gone = 0;
    LIST_EACH_SAFE(link, &txn->ckpt) {
        struct buf *buf = LIST_ENTRY(link, struct buf, jrn.ckpt_link);
        if (batch->count == BATCH_MAX)
            break;
        if (buf->dropped && buf->jrn.forget_tid <= jrn->committed_tid) {
            let_go(jrn, buf);
            gone++;
        } else if (!buf->dropped && !buf->jrn.running_tid && !buf->jrn.committing_tid) {
            buf_check_now(jrn->cache, buf);
            batch->entries[batch->count++] = (struct ckpt_entry){
                .buf = buf, .block = buf->block, .tid = txn->tid,
            };
        }
    }
    return gone;
}

// The same for a predecessor's: what the log holds of them is committed, whatever is modified since.
static uint32_t gather_adopted(struct journal *jrn, struct txn *txn)
{
    struct ckpt_batch *batch = &jrn->batch;
    uint32_t gone = 0;
    LIST_EACH_SAFE(link, &txn->adopted) {
        struct adopted *one = LIST_ENTRY(link, struct adopted, link);
        if (batch->count == BATCH_MAX)
            break;
        if (!one->forget_tid) {
            batch->entries[batch->count++] = (struct ckpt_entry){
                .adopted = one, .block = one->overlay.node.key, .tid = txn->tid,
            };
        } else if (one->forget_tid <= jrn->committed_tid) {
            adopt_let_go(jrn, one);
            gone++;
        }
    }
    return gone;
}

static int compare_entries(const void *a, const void *b)
{
    const struct ckpt_entry *left = a, *right = b;
    return left->block < right->block ? -1 : left->block > right->block;
}

// What a checkpoint is to reach.
struct ckpt_goal {
    uint64_t used_max;              // blocks of the log
    uint64_t tid_last;              // newer transactions are not its business
};

// From the oldest transactions, as many as must go to reach the goal. Returns what was let go.
static uint32_t gather(struct journal *jrn, const struct ckpt_goal *goal)
{
    struct ckpt_batch *batch = &jrn->batch;
    uint64_t used_then = jrn->used;
    uint32_t gone = 0;
    *batch = (struct ckpt_batch){.entries = xmalloc(BATCH_MAX * sizeof(*batch->entries))};
    LIST_EACH(link, &jrn->committed) {
        struct txn *txn = LIST_ENTRY(link, struct txn, link);
        if (used_then <= goal->used_max || txn->tid > goal->tid_last || batch->count == BATCH_MAX)
            break;
        gone += gather_adopted(jrn, txn);
        gone += gather_from(jrn, txn);
        used_then -= txn->log_blocks;
    }
    qsort(batch->entries, batch->count, sizeof(*batch->entries), compare_entries);
    batch->serial = ++jrn->batches;
    return gone;
}

// Whoever has the content of an entry in memory. A buffer of a predecessor's block has it while it is in no
// transaction of ours.
static struct buf *buf_of(struct journal *jrn, const struct ckpt_entry *entry)
{
    struct buf *buf = entry->buf ? entry->buf : buf_peek(jrn->cache, entry->block);
    if (entry->buf || !buf || buf->jrn.running_tid || buf->jrn.committing_tid)
        return entry->buf;
    buf_check_now(jrn->cache, buf);
    return buf;
}

// The copies are made at once, so all of them are of one moment, and of committed content. What only the
// log has is left for read_from_log(); what type it is, nobody knows.
static void copy_batch(struct journal *jrn)
{
    struct ckpt_batch *batch = &jrn->batch;
    struct shep_ref unknown = {.type = BLOCK_DATA};
    batch->image = aligned_alloc(BLOCK_BYTES, (size_t)batch->count * BLOCK_BYTES);
    CHECK(batch->image != NULL);
    batch->from_log = xmalloc(batch->count * sizeof(*batch->from_log));
    for (uint32_t i = 0; i < batch->count; i++) {
        struct buf *buf = buf_of(jrn, &batch->entries[i]);
        uint8_t *copy = batch->image + (size_t)i * BLOCK_BYTES;
        if (buf)
            memcpy(copy, buf->bytes, BLOCK_BYTES);
        else
            batch->from_log[batch->from_log_count++] = i;
        io_set_add(&batch->io, buf ? &buf->ref : &unknown, batch->entries[i].block, 1, copy);
    }
}

static int compare_from_log(const void *a, const void *b, void *arg)
{
    const struct ckpt_entry *entries = arg;
    uint32_t left = entries[*(const uint32_t *)a].adopted->at, right = entries[*(const uint32_t *)b].adopted->at;
    return left < right ? -1 : left > right;
}

// The log's space is ours until the tail moves, so what is read is right even if a newer
// transaction commits such a block meanwhile.
static YIELDS int read_from_log(struct journal *jrn)
{
    struct ckpt_batch *batch = &jrn->batch;
    if (!batch->from_log_count)
        return 0;
    batch->log_bytes = xblocks(batch->from_log_count);
    qsort_r(batch->from_log, batch->from_log_count, sizeof(*batch->from_log), compare_from_log, batch->entries);
    for (uint32_t i = 0; i < batch->from_log_count; i++)
        io_set_add_log(jrn, &batch->log_io, batch->entries[batch->from_log[i]].adopted->at, 1,
                       batch->log_bytes + (size_t)i * BLOCK_BYTES);
    int rc = io_set_run(jrn, &batch->log_io, false);
    for (uint32_t i = 0; i < batch->from_log_count && rc == 0; i++) {
        uint32_t index = batch->from_log[i];
        uint8_t *bytes = batch->log_bytes + (size_t)i * BLOCK_BYTES;
        rc = adopt_restore(jrn, batch->entries[index].adopted, bytes);
        memcpy(batch->image + (size_t)index * BLOCK_BYTES, bytes, BLOCK_BYTES);
    }
    return rc;
}

// Every piece that failed is tried again, block by block, so that one bad block keeps no other.
static void retry_failed(struct ckpt_batch *batch, struct io_set *failed)
{
    *failed = (struct io_set){0};
    for (uint32_t i = 0; i < batch->io.count; i++) {
        const struct io_piece *piece = &batch->io.pieces[i];
        for (uint64_t block = 0; piece->rc < 0 && block < piece->count; block++) {
            struct io_piece one = *piece;
            failed->pieces = xrealloc(failed->pieces, (failed->count + 1) * sizeof(one));
            one.block += block;
            one.bytes += block * BLOCK_BYTES;
            one.count = 1;
            failed->pieces[failed->count++] = one;
        }
    }
    failed->capacity = failed->count;
}

static YIELDS int write_batch(struct journal *jrn)
{
    struct ckpt_batch *batch = &jrn->batch;
    rt_probe(jrn->rt, RT_PROBE_CHECKPOINT);
    jrn->home_written = true;
    int rc = io_set_run(jrn, &batch->io, true);
    for (int tries = 1; rc < 0 && tries < HOME_TRIES; tries++) {
        struct io_set failed;
        retry_failed(batch, &failed);
        io_set_fini(&batch->io);
        batch->io = failed;
        rt_sleep_until(jrn->rt, rt_now_ns(jrn->rt) + HOME_RETRY_NS);
        rc = io_set_run(jrn, &batch->io, true);
    }
    return rc;
}

static void mark_failed(struct ckpt_batch *batch, const struct io_piece *piece)
{
    uint64_t first = (uint64_t)(piece->bytes - batch->image) / BLOCK_BYTES;
    for (uint64_t i = 0; i < piece->count; i++)
        batch->entries[first + i].failed = true;
}

// What failed stays on its list; so does what a newer transaction has committed meanwhile.
static void let_go_of_written(struct journal *jrn)
{
    struct ckpt_batch *batch = &jrn->batch;
    for (uint32_t i = 0; i < batch->io.count; i++)
        if (batch->io.pieces[i].rc < 0)
            mark_failed(batch, &batch->io.pieces[i]);
    for (uint32_t i = 0; i < batch->count; i++) {
        struct ckpt_entry *entry = &batch->entries[i];
        if (entry->failed)
            continue;
        if (entry->buf && entry->buf->jrn.ckpt_tid == entry->tid)
            let_go(jrn, entry->buf);
        if (entry->adopted && !entry->adopted->forget_tid)
            adopt_let_go(jrn, entry->adopted);
    }
}

// One batch. 0; -EAGAIN when nothing could be written or let go.
static YIELDS int checkpoint_batch(struct journal *jrn, const struct ckpt_goal *goal)
{
    uint32_t gone = gather(jrn, goal);
    int rc = gone ? 0 : -EAGAIN;
    if (jrn->batch.count) {
        copy_batch(jrn);
        rc = read_from_log(jrn);
        if (rc == 0) {
            rc = write_batch(jrn);
            let_go_of_written(jrn);
        }
    }
    ckpt_batch_fini(&jrn->batch);
    waitq_wake_all(jrn->rt, &jrn->ckpt_done);
    return rc;
}

// Takes transactions without blocks off the tail. Returns the blocks of log that they took.
static uint64_t release_oldest(struct journal *jrn)
{
    uint64_t released = 0;
    struct txn *txn;
    while ((txn = txn_first(&jrn->committed)) && list_empty(&txn->ckpt) && list_empty(&txn->adopted)) {
        released += txn->log_blocks;
        list_remove(&txn->link);
        txn_destroy(txn);
    }
    if (!jrn->adopted_left)
        adopt_end(jrn);
    return released;
}

static YIELDS int move_tail(struct journal *jrn, uint64_t released)
{
    int rc = 0;
    if (jrn->home_written) {
        jrn->home_written = false;
        rc = shep_flush(jrn->shep);
    }
    if (rc == 0)
        rc = jrn_usable(jrn);
    if (rc == 0)
        rc = super_write_tail(jrn);
    if (rc == 0)
        jrn->used -= released;
    return rc;
}

static YIELDS int checkpoint_until(struct journal *jrn, const struct ckpt_goal *goal)
{
    for (;;) {
        uint64_t released = release_oldest(jrn);
        int rc = released ? move_tail(jrn, released) : 0;
        if (rc < 0 || jrn->used <= goal->used_max)
            return rc;
        const struct txn *oldest = txn_first(&jrn->committed);
        if (!oldest || oldest->tid > goal->tid_last)
            return -EAGAIN;
        rc = checkpoint_batch(jrn, goal);
        if (rc < 0)
            return rc;
    }
}

int ckpt_run(struct journal *jrn, uint64_t used_max)
{
    while (jrn->checkpointing)
        waitq_wait(jrn->rt, &jrn->ckpt_done);
    if (jrn->aborted)
        return -EROFS;
    jrn->checkpointing = true;
    struct ckpt_goal goal = {.used_max = used_max, .tid_last = jrn->committed_tid};
    int rc = checkpoint_until(jrn, &goal);
    jrn->checkpointing = false;
    if (rc < 0 && rc != -EAGAIN && !jrn->aborted)
        jrn_abort(jrn, rc, "a checkpoint failed");
    waitq_wake_all(jrn->rt, &jrn->ckpt_done);
    return rc;
}

int jrn_checkpoint(struct journal *jrn, uint64_t blocks)
{
    uint64_t room = log_size(jrn) - MIN(jrn->queued, log_size(jrn));
    uint64_t tid_last = jrn->committed_tid;
    int rc = ckpt_run(jrn, blocks < room ? room - blocks : 0);
    if (jrn->aborted)
        super_record_abort(jrn);
    // All that was committed is home: what is left in the log came later, or is being written.
    const struct txn *oldest = txn_first(&jrn->committed);
    if (rc == -EAGAIN && blocks == UINT64_MAX && (!oldest || oldest->tid > tid_last))
        return 0;
    return rc;
}
