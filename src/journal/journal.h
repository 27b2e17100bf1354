// SPDX-License-Identifier: MIT
// journal.h - jbd2: metadata reaches its place only after a committed transaction holds it.
//
// One transaction is running and takes modified buffers; at most one is being committed; any
// number are committed and wait for checkpoint (their blocks to be written home). Since an apply
// half never waits, every moment between two fibres is a transaction boundary: a commit copies all
// blocks of the running transaction at once and opens the next, so nobody ever waits for a
// "handle" to stop and no frozen copies are needed.
//
//   plan:   jrn_reserve()               room for so many more blocks, or -EAGAIN: commit first
//   apply:  jrn_dirty(), jrn_forget()   cannot fail
//   commit: jrn_commit()                 snapshot (no waiting), write, flush, commit block (FUA)
//
// Format: kernel Documentation/filesystems/ext4/journal.rst (ondisk/jbd2.h).
#pragma once

#include "base/err.h"
#include "cache/buf.h"

struct ext4_geo;
struct journal;

// The journal's blocks on the disk, in order of their place in the journal.
struct jrn_run {
    uint64_t block, count;
};

struct jrn_config {
    struct rt *rt;
    struct shepherd *shep;
    struct buf_cache *cache;
    const struct ext4_geo *geo;
    const struct jrn_run *runs;     // copied
    uint32_t run_count;
    bool read_only;
    bool adopt;                     // only our predecessor died, not the power: its log may stay as it is
    bool landed;                    // all that it had under way succeeded: a commit block (FUA) that is there is stable
    uint64_t committed_hint;        // a transaction that it knew to be committed, in 64 bits; 0: none. The numbers go on from there
};

// Reads and verifies the journal's superblock. Unknown incompatible features are refused with a
// sentence. Does not yet replay.
YIELDS MUST_USE int jrn_open(const struct jrn_config *config, struct journal **out, struct err *err);
bool jrn_needs_recovery(const struct journal *jrn);
// Replays what is committed to its home (two passes over the log after a scan: revokes, blocks),
// flushes, and marks the log empty. Replaying twice is harmless. `replayed` (may be NULL): blocks.
// Afterwards every buffer that was read before is stale: call it before anything else is cached.
// With config.adopt nothing is written home where that can be avoided: the log stays, the cache reads the
// newest copies from it (overlay), and they go home with later checkpoints. A logged block that
// turns out to be damaged is then found when it is wanted: -EFSBADCRC from its read, an abort from its checkpoint.
YIELDS MUST_USE int jrn_recover(struct journal *jrn, uint64_t *replayed, struct err *err);
bool jrn_is_adopted(const struct journal *jrn);         // jrn_recover() has left the log as it was
// Ends it: commits, checkpoints all, marks the log empty. After an abort: only frees.
YIELDS MUST_USE int jrn_close(struct journal *jrn);
// Frees it without any I/O: for the simulator's power cut and after an error.
void jrn_destroy(struct journal *jrn);

// Transactions are numbered; a tid is newer when larger (64 bits here, the low 32 on disk).
uint64_t jrn_running_tid(const struct journal *jrn);
uint64_t jrn_committed_tid(const struct journal *jrn);
// The newest transaction that the disk held when the journal was opened (and is on stable storage now), in
// the same numbers as committed_hint. Known after jrn_recover(). The running one may have a number that a dead
// server used for one that never committed.
uint64_t jrn_recovered_tid(const struct journal *jrn);
bool jrn_is_aborted(const struct journal *jrn);
// The errno (positive) that an abort of an earlier life left in the journal's superblock, or 0: the
// volume may have errors and should be marked so. jrn_clear_error() takes it off with the
// next write of that superblock.
int jrn_recorded_error(const struct journal *jrn);
void jrn_clear_error(struct journal *jrn);
bool jrn_running_empty(const struct journal *jrn);      // nothing to commit

// May `credits` more blocks join the running transaction? 0, -EAGAIN (jrn_commit and
// jrn_checkpoint first), -EROFS (aborted or read-only), -ENOSPC (can never fit).
MUST_USE int jrn_reserve(struct journal *jrn, uint32_t credits);
// The buffer was or will be modified in this apply half; commits with the running transaction.
// Its block checksum is sealed at commit (ondisk/verify.h), not by the caller.
void jrn_dirty(struct journal *jrn, struct buf *buf);
// The same of a block whose bytes are made only when the transaction is closed (tables of inodes, group
// descriptors, the superblock): until then it stays sealed, and whoever makes them calls buf_open().
void jrn_join(struct journal *jrn, struct buf *buf);
// A metadata block (or a logged data block) was freed: it leaves the running transaction and the
// checkpoint lists and is revoked, so that recovery does not write over its next owner.
void jrn_forget(struct journal *jrn, uint64_t block);

// Commits what is running at the call (the copy is taken before the first wait) and returns when
// it is on stable storage, together with every data block written before. 0 at once when there is
// nothing. Waits its turn behind a commit under way.
YIELDS MUST_USE int jrn_commit(struct journal *jrn);
// Returns when `tid` is committed by whoever commits it; does not start one. -EROFS after abort.
YIELDS MUST_USE int jrn_wait(struct journal *jrn, uint64_t tid);
// Writes committed blocks home and moves the tail until at least `blocks` of the log are free
// (UINT64_MAX: all that is committed). Buffers that the running transaction has modified again
// keep their place; when that prevents progress, returns -EAGAIN: commit, then call again.
YIELDS MUST_USE int jrn_checkpoint(struct journal *jrn, uint64_t blocks);
uint64_t jrn_free_blocks(const struct journal *jrn);
uint64_t jrn_size_blocks(const struct journal *jrn);
// No more writes, ever; loudly. Idempotent.
void jrn_abort(struct journal *jrn, int error, const char *why);
