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
    PLOG_CREATE,        // self, parent; name; mode, umask, uid, gid
    PLOG_TMPFILE,       // self, parent; mode, umask, uid, gid
    PLOG_MKNOD,         // as create; off: device, major << 32 | minor
    PLOG_MKDIR,         // as create
    PLOG_SYMLINK,       // as create; data: the target
    PLOG_LINK,          // self, parent; name
    PLOG_UNLINK,        // self, parent; name
    PLOG_RMDIR,         // self, parent; name
    PLOG_RENAME,        // self, parent, dst_self (0: nothing there), dst_parent; name, data: new name;
                        // flags; off: the whiteout, ino << 32 | generation
    PLOG_SETATTR,       // self; flags: what was set; data: struct plog_times; off: size; mode, uid, gid
    PLOG_SETXATTR,      // self; name, data: the value; flags
    PLOG_REMOVEXATTR,   // self; name
    PLOG_SETFLAGS,      // self; flags, len: project
    PLOG_WRITE,         // self; off, len: the bytes are in the pages of (inode, generation)
    PLOG_FALLOCATE,     // self; off, len, mode
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
};

struct plog_times {
    int64_t atime_sec, mtime_sec, ctime_sec;
    uint32_t atime_nsec, mtime_nsec, ctime_nsec, spare;
};

// The first slot of the memory. head and tail change by single stores.
struct plog_head {
    uint32_t magic, version;
    uint64_t slot_count;
    uint32_t crc;               // of the three above
    uint32_t spare;
    uint64_t head, tail;
    uint64_t committed_tid;     // the newest that trim was told
};

// A worker's handle on its log: private memory.
struct plog {
    struct plog_head *head;
    struct plog_entry *slots;
    uint64_t slot_count;
    uint64_t *sequence;         // shared by all workers' logs
    uint64_t promised;          // slots that reservations have not used
};

// What a walk hands out: an entry, checked, with its bytes in one piece. Valid during the call.
struct plog_view {
    const struct plog_entry *entry;
    const void *name, *data;
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
// trusted, what was before it was visited.
MUST_USE int plog_walk(const struct plog *log, int (*visit)(void *arg, const struct plog_view *view), void *arg);

uint64_t plog_used(const struct plog *log);         // slots
