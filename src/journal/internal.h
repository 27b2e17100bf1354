// SPDX-License-Identifier: MIT
// internal.h - what the files of the journal share.
//
// A modified buffer's way through the journal; it holds one pin for each arrow that it is on:
//
//   jrn_dirty ──▶ running->bufs ──jrn_commit──▶ txn->entries (in jrn->queue) ──▶ txn->ckpt ──▶ home
//                 running_tid     (copy taken)  committing_tid                   ckpt_tid
//
// It may be on all three at once, for three transactions. When a newer transaction commits it, it
// moves from the older one's ckpt list to the newer one's: that log copy supersedes the older.
//
// All memory is reachable from struct journal, so that jrn_destroy() can free it after fibres were
// abandoned in the middle of anything.
#pragma once

#include "journal/journal.h"
#include "ondisk/jbd2.h"
#include "ondisk/super.h"
#include "rt/rt.h"

// Journal block -> disk block: runs in order, and the journal block that each begins with.
struct log_map {
    struct jrn_run *runs;
    uint64_t *firsts;
    uint32_t run_count;
    uint64_t blocks;
    struct jrn_run *by_block;       // the same, sorted by disk block
};

// One piece of a larger transfer: consecutive blocks on the disk and in memory.
struct io_piece {
    struct shep_ref ref;
    uint64_t block, count;
    uint8_t *bytes;
    int rc;
};
// Pieces that are read or written by several fibres at once.
struct io_set {
    struct io_piece *pieces;
    uint32_t count, capacity, next;
    bool write;
};

// A block of the running or a queued transaction that must not be replayed from older ones.
struct revoke {
    struct hnode node;              // by block
};

struct txn {
    uint64_t tid;
    struct list link;               // in queue, later in committed
    // While it runs:
    struct list bufs;               // by jrn.txn_link, in the order of their first modification
    uint32_t buf_count;
    struct htable revokes;
    uint64_t forget_batch;          // serial of a checkpoint batch that writes a block freed here; 0 none
    // From the snapshot until it has committed:
    struct buf **entries;           // buf_count of them
    uint8_t *image;                 // log_blocks of them, exactly as the log will hold them
    struct io_set io;
    // From then on:
    uint32_t log_start, log_blocks; // commit block included; log_start counts once `placed`
    bool placed;
    struct list ckpt;               // by jrn.ckpt_link: not yet home
    struct list adopted;            // struct adopted: a predecessor's, not yet home
};

// The newest committed copy of a block, in a log that was taken over. Its life: in the cache's overlay and
// on its transaction's list, until it is home or a newer transaction commits the block. A free takes it
// from the overlay at once and from the list when the free has committed.
struct adopted {
    struct buf_overlay overlay;
    struct list link;               // in txn->adopted
    uint64_t tid;
    uint64_t forget_tid;            // not 0: freed by this transaction
    uint32_t at;                    // block of the journal
    uint32_t checksum;              // of its tag
    bool escaped;
};

// Committed blocks on their way home, copied and sorted by block.
struct ckpt_entry {
    struct buf *buf;                // or:
    struct adopted *adopted;
    uint64_t block, tid;
    bool failed;
};
struct ckpt_batch {
    uint64_t serial;
    struct ckpt_entry *entries;
    uint32_t count;
    uint8_t *image;
    struct io_set io;
    uint32_t *from_log;             // entries that are read from the log, in its order
    uint32_t from_log_count;
    uint8_t *log_bytes;
    struct io_set log_io;
};

struct recovery;

struct journal {
    struct rt *rt;
    struct shepherd *shep;
    struct buf_cache *cache;
    const struct ext4_geo *geo;
    bool read_only;
    bool needs_recovery;
    bool adopt;                     // jrn_config
    bool landed;
    uint64_t committed_hint;
    uint64_t recovered_tid;
    struct log_map map;

    struct jbd2_super super;        // as on the disk, or as it will be with the next super_write
    uint8_t *super_bytes;           // its block
    bool super_busy;                // being written
    bool super_stale;               // features changed: to be written before the next commit
    struct waitq super_turn;

    uint32_t head;                  // next block of the log to be written
    uint64_t used;                  // blocks from the tail to the head
    uint64_t queued;                // blocks that queued transactions will take and have no place yet
    uint32_t txn_blocks_max;        // what one transaction may take of the log

    struct txn *running;
    struct list queue;              // snapshots taken, oldest first; the first is being written
    struct list committed;          // oldest first: the first one is the tail of the log
    uint64_t committed_tid;
    bool writing;                   // a fibre is writing a transaction
    struct waitq commit_done;       // a transaction has committed, or the journal has aborted

    bool checkpointing;             // a fibre is in jrn_checkpoint
    bool home_written;              // since the last flush
    struct ckpt_batch batch;        // under way when its serial is not 0
    uint64_t batches;
    struct waitq ckpt_done;         // a batch or a checkpoint has ended

    struct recovery *recovery;      // while it runs
    bool is_adopted;
    struct adopted *adopted;        // all of them in one array, until the last has gone
    uint64_t adopted_count, adopted_left;

    int aborted;                    // negative errno, or 0
    bool abort_recorded;            // s_errno was written, or could not be
};

// --- journal.c ----------------------------------------------------------------------------------
// The log is empty and goes on with this number.
void journal_start(struct journal *jrn, uint64_t tid);
// A number of 32 bits in 64: the one nearest to what the predecessor knew.
uint64_t journal_tid(const struct journal *jrn, uint32_t sequence);

// --- log.c: where the log is, and moving many blocks ------------------------------------------
MUST_USE int log_map_init(struct log_map *map, const struct jrn_config *config, struct err *err);
void log_map_fini(struct log_map *map);
// The disk block of a journal block, and how many follow it on the disk without a gap.
uint64_t log_map_block(const struct log_map *map, uint32_t at, uint64_t *contiguous);
bool log_map_owns(const struct log_map *map, uint64_t block);
uint32_t log_size(const struct journal *jrn);
uint32_t log_next(const struct journal *jrn, uint32_t at, uint32_t count);  // wraps around
struct shep_ref log_ref(const struct journal *jrn, enum block_type type, uint32_t at);

// Adds blocks to the set; they join the last piece where they continue it on the disk and in memory.
void io_set_add(struct io_set *set, const struct shep_ref *ref, uint64_t block, uint64_t count, uint8_t *bytes);
void io_set_add_log(struct journal *jrn, struct io_set *set, uint32_t at, uint32_t count, uint8_t *bytes);
// All of it, in parallel; every piece has its rc afterwards. The first error, or 0.
YIELDS MUST_USE int io_set_run(struct journal *jrn, struct io_set *set, bool write);
void io_set_fini(struct io_set *set);

// --- super.c ------------------------------------------------------------------------------------
YIELDS MUST_USE int super_read(struct journal *jrn, struct err *err);
// The features that drover writes with; only while the log is empty.
void super_adopt_features(struct journal *jrn);
// Is the log already as drover writes it?
bool super_is_ours(const struct journal *jrn);
YIELDS MUST_USE int super_write(struct journal *jrn);
// The tail is now here; waits until the disk knows.
YIELDS MUST_USE int super_write_tail(struct journal *jrn);
YIELDS MUST_USE int super_write_empty(struct journal *jrn, uint64_t next_tid);
YIELDS void super_record_abort(struct journal *jrn);

// --- txn.c --------------------------------------------------------------------------------------
struct txn *txn_create(uint64_t tid);
void txn_destroy(struct txn *txn);
bool txn_is_empty(const struct txn *txn);
// Blocks of log that so many logged blocks and revokes take, commit block included.
uint64_t txn_log_blocks(const struct journal *jrn, uint64_t buffers, uint64_t revokes);
// Ends the running transaction: copies its buffers, queues it, opens the next. Never waits.
struct txn *txn_close(struct journal *jrn);
static inline struct txn *txn_first(const struct list *txns)
{
    return list_empty(txns) ? NULL : LIST_ENTRY(txns->next, struct txn, link);
}

// --- image.c: a transaction's blocks as the log holds them ------------------------------------
// Fills txn->image from its entries and revokes. The commit block comes last, see image_commit().
void image_build(struct journal *jrn, struct txn *txn);
void image_commit(struct journal *jrn, struct txn *txn);

// --- checkpoint.c -------------------------------------------------------------------------------
// Until at most `used_max` blocks of the log are in use. 0, -EAGAIN, or an error (then aborted).
YIELDS MUST_USE int ckpt_run(struct journal *jrn, uint64_t used_max);
void ckpt_batch_fini(struct ckpt_batch *batch);
bool ckpt_batch_has(const struct ckpt_batch *batch, uint64_t block);

// --- adopt.c ------------------------------------------------------------------------------------
// The log as it stands becomes ours, without a write. False: it must be replayed.
YIELDS MUST_USE bool adopt_run(struct journal *jrn);
void adopt_forget(struct journal *jrn, uint64_t block);         // freed by the running transaction
void adopt_superseded(struct journal *jrn, uint64_t block);     // a newer transaction has committed it
void adopt_let_go(struct journal *jrn, struct adopted *one);
void adopt_end(struct journal *jrn);                            // frees the array
// What was read from the log becomes the block's content. -EFSBADCRC (logged).
MUST_USE int adopt_restore(const struct journal *jrn, const struct adopted *one, void *bytes);

// --- recover.c ----------------------------------------------------------------------------------
struct recovery *recovery_create(struct journal *jrn, struct err *err);
void recovery_destroy(struct recovery *recovery);

// 0, or -EROFS after an abort.
static inline int jrn_usable(const struct journal *jrn)
{
    return jrn->aborted ? -EROFS : 0;
}
