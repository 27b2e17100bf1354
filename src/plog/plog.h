// SPDX-License-Identifier: MIT
// plog.h - the P-Log: what was applied and is not yet durable, in memory that outlives the server.
//
// One log belongs to one worker. It is a ring of 128-byte slots in memory that the caller provides (part
// of the legacy); an entry takes one slot, and as many behind it as its name and data need. The
// ring holds numbers only, no pointers, so that a successor that maps it elsewhere can read it.
//
//      head                            tail
//   ....[entry|spill][entry][entry|spill|spill]............     head, tail: slots ever given back, ever used
//
// An entry is written by apply halves, which cannot fail or wait: room is promised beforehand
// (plog_reserve). It is given back when the transaction that holds its changes has committed
// (plog_trim), strictly from the head. A writer that dies in plog_append() leaves the entry behind
// `tail`, where nobody looks.
#pragma once

#include "base/types.h"

enum plog_op {
    PLOG_NONE,
    PLOG_CREATE,        // self, parent; name; mode: asked for << 16 | as it got it; flags: umask; uid, gid: as it got them
    PLOG_TMPFILE,       // as create, without a name
    PLOG_MKNOD,         // as create; off: device, major << 32 | minor
    PLOG_MKDIR,         // as create
    PLOG_SYMLINK,       // as create; data: the target
    PLOG_LINK,          // self, parent; name
    PLOG_UNLINK,        // self, parent; name
    PLOG_RMDIR,         // self, parent; name
    PLOG_RENAME,        // self, parent, dst_self (0: nothing there), dst_parent; name, data: new name;
                        // flags; off: the whiteout, ino << 32 | generation; uid, gid: its owner's
    PLOG_SETATTR,       // self; flags: what was set; data: struct plog_times; off: size; mode, uid, gid: all as
                        // they are afterwards
    PLOG_SETXATTR,      // self; name, data: the value; flags; mode: afterwards
    PLOG_REMOVEXATTR,   // self; name; mode
    PLOG_SETFLAGS,      // self; flags, len: project: afterwards
    PLOG_WRITE,         // self; off, len: the bytes are in the pages of (inode, generation); mode: afterwards;
                        // flags 1: times stay
    PLOG_FALLOCATE,     // self; off, len, mode: of fallocate(2). What of the range was done: less than was asked for
                        // when the disk ran full
    PLOG_ATIME,         // self
    PLOG_OP_COUNT
};

enum plog_target { PLOG_SELF, PLOG_PARENT, PLOG_DST_SELF, PLOG_DST_PARENT, PLOG_TARGETS };

struct plog_inode {
    uint32_t ino, generation;   // ino 0: no such target
};

// One slot. An entry's crc covers it from behind the crc to the end of its last spill byte.
struct plog_entry {
    uint32_t crc;
    uint16_t op;                // enum plog_op
    uint8_t bits;               // enum plog_bits
    uint8_t spare;
    uint64_t seq;               // order over all workers' logs
    uint64_t client, request;   // who asked; 0: the server itself
    int64_t result;             // what the client was or will be told
    uint64_t tid;               // the transaction that holds every inode target's change
    int64_t time_sec;
    uint32_t time_nsec;
    uint32_t mode;              // as the inode got it; of create and its like
    struct plog_inode target[PLOG_TARGETS];
    uint64_t off, len;
    uint32_t uid, gid;
    uint16_t name_len, data_len;    // bytes in the slots behind this one
    uint32_t flags;
};
static_assert(sizeof(struct plog_entry) == 128, "a slot");
static_assert(offsetof(struct plog_entry, target) == 64 && offsetof(struct plog_entry, flags) == 124, "layout");

enum plog_bits {
    // The transaction named by `tid` is not the whole story: file bytes, or the size they give the
    // file, follow later. Only the log's user can say when such an entry is durable.
    PLOG_DATA = 1 << 0,
    // The request is complete with this entry: its result is what the client is told. Of operations
    // that log several entries the last has it.
    PLOG_ANSWER = 1 << 1,
};

struct plog_times {
    int64_t atime_sec, mtime_sec, ctime_sec;
    uint32_t atime_nsec, mtime_nsec, ctime_nsec, spare;
};

// A successor applies entries again, in transactions of its own, and may die of it, too. Transactions are
// numbered on from the newest that the disk held, so the successor's have the numbers of those that
// the dead server lost: of its entries only `tid`s that were durable when it died mean anything. Hence:
//
//      seq <= durable           durable when recovery began
//      seq <= done              applied again; belongs to the last mark whose seq is not greater
//      seq <= until             still to be applied again
//      seq >  until             of the server that runs now: its own tid counts
//
// Two copies of this take turns, each with a checksum, so that a death in the middle of a change leaves the one before.
#define PLOG_MARKS 8u
struct plog_mark {
    uint64_t seq, tid;          // entries from seq on were applied again in transaction tid
};
struct plog_redo {
    uint64_t turn;              // the copy with the greater one counts
    uint64_t durable, done, until;  // until 0: nobody recovers, or it is over and trimmed
    uint64_t mark_count;
    struct plog_mark marks[PLOG_MARKS];
    uint32_t crc, spare;        // of all before
};

// The first PLOG_HEAD_SLOTS slots of the memory. head and tail change by single stores, each followed by that
// of its complement: a flipped bit in one of them is found and put right. When the log runs empty, both start at
// 0 again, tail first: nothing is logged when head >= tail.
#define PLOG_HEAD_SLOTS 4u
struct plog_head {
    uint32_t magic, version;
    uint64_t slot_count;
    uint32_t crc;               // of the three above
    uint32_t spare;
    uint64_t head, head_check;
    uint64_t tail, tail_check;
    uint64_t committed_tid;     // the newest that trim was told
    struct plog_redo redo[2];
};

// A worker's handle on its log: private memory.
struct plog {
    struct plog_head *head;
    struct plog_entry *slots;
    uint64_t slot_count;
    uint64_t *sequence;         // shared by all workers' logs
    uint64_t promised;          // slots that reservations have not used
    uint64_t given_back;        // slots that trim has given back
    uint32_t redo_at;           // the copy of head->redo that counts
    bool begun;                 // plog_redo_begin() has been here
    uint32_t mended;            // entries and head words that had a flipped bit, put right
};

enum plog_state {               // of an entry, as recovery finds it
    PLOG_DURABLE,               // its transaction has committed, and nothing follows later
    PLOG_DURABLE_BUT_DATA,      // the same, but bytes or size of the file may be missing on the disk
    PLOG_LIVE,                  // in the state gap with all its inodes
};

// What a walk hands out: an entry, checked, with its bytes in one piece. Valid during the call.
struct plog_view {
    const struct plog_entry *entry;
    const void *name, *data;
    uint64_t at;                // its slot, for plog_walk_from()
};

struct plog_room {
    uint32_t slots;             // promised and not yet used
};

#define PLOG_SLOTS_MIN 2048u    // holds any single entry

size_t plog_bytes(uint64_t slot_count);
// An empty log over `bytes` of `memory` (borrowed, 64-byte aligned). CHECKs that it holds
// PLOG_SLOTS_MIN. `sequence` is borrowed; it may be shared with other threads and processes.
void plog_init(struct plog *log, void *memory, size_t bytes, uint64_t *sequence);
// A predecessor's log. -EFSCORRUPTED when its head makes no sense (logged): nothing of it is to
// be believed. What it holds is judged entry by entry by plog_walk().
MUST_USE int plog_attach(struct plog *log, void *memory, size_t bytes, uint64_t *sequence);

// How many slots an entry with such a spill takes.
uint32_t plog_slots(size_t name_len, size_t data_len);
// Promises so many slots; false when the log has no room: commit, trim, try again.
MUST_USE bool plog_reserve(struct plog *log, struct plog_room *room, uint32_t slots);
void plog_unreserve(struct plog *log, struct plog_room *room);      // what is left; harmless twice

// Appends a copy of `entry` with entry->name_len bytes of `name` and entry->data_len of `data`, from
// promised room. seq and crc are filled in; returns the seq.
uint64_t plog_append(struct plog *log, struct plog_room *room, const struct plog_entry *entry, const void *name, const void *data);

// Everything up to `committed_tid` is on stable storage: gives back entries from the head until
// one is newer. A PLOG_DATA entry goes only when settled() says so (NULL: never).
struct plog_settle {
    bool (*settled)(void *arg, const struct plog_entry *entry);
    void *arg;
};
void plog_trim(struct plog *log, uint64_t committed_tid, const struct plog_settle *settle);

// Oldest first, until visit() returns nonzero, which is returned. Stops with -EFSCORRUPTED (logged)
// at the first entry whose checksum, size, operation or order is wrong: what is behind it cannot be
// trusted, what was before it was visited. One flipped bit of an entry is put right, in the ring too. visit() may
// wait, and trim.
MUST_USE int plog_walk(struct plog *log, int (*visit)(void *arg, const struct plog_view *view), void *arg);
MUST_USE int plog_walk_from(struct plog *log, uint64_t at, int (*visit)(void *arg, const struct plog_view *view), void *arg);

uint64_t plog_used(const struct plog *log);         // slots

// --- recovery ------------------------------------------------------------------------------------

// The entry's state on a disk whose newest committed transaction is `committed_tid`.
enum plog_state plog_state(const struct plog *log, const struct plog_entry *entry, uint64_t committed_tid);
// Recovery begins: what the log holds now is to be applied again, but what is durable with `committed_tid`, the
// newest transaction that the disk holds. To be called before the successor commits anything. Entries that are appended
// from here on say their own transaction. Once for each handle, which calls after the first do not change; a predecessor
// may have died in its recovery.
// -EFSCORRUPTED as plog_walk().
MUST_USE int plog_redo_begin(struct plog *log, uint64_t committed_tid);
// Apply: the entry numbered `seq` has been applied again, in the running transaction `tid`. In order of seq.
// There must be room for a mark: to be asked before the plan, since the plan may commit and so begin another transaction.
// Where there is none: commit, plog_trim().
bool plog_redo_has_room(const struct plog *log);
void plog_redone(struct plog *log, uint64_t seq, uint64_t tid);
uint64_t plog_redo_done(const struct plog *log);    // the number given to plog_redone() last, or 0
// A checksum (crc32c(~0u, bytes, len)) that does not fit because of one flipped bit, in the bytes or in itself: true
// when there is one, and it is put right in the bytes.
bool plog_mend(void *bytes, size_t len, uint32_t crc);
