// SPDX-License-Identifier: MIT
// aim.c - the rules of recovery. This comment is the specification; the tables below are the rules.
//
// 1. WHEN IS A TARGET LIVE
// Ananke gives every entry a bit for each of its targets (fd, self, parent, dst_self, dst_parent) which says that the
// target's change is still in the state gap. Here the bits follow from numbers:
//   * inode targets: an apply half belongs to one jbd2 transaction as a whole, transactions are durable in
//     order, so all inode targets of an entry are live together, and all entries behind a live one are live. One
//     comparison decides: transaction of the entry > newest committed one. fsync, sync, the background commit, the fsync of
//     somebody else: all are that commit. There are no half durable entries to take apart.
//   * fd: of FUSE clients open files live in the kernel (flags, offsets, locks, directory positions) and survive us;
//     clients by shared memory keep theirs in the legacy. Nothing of them is in the log, so no entry waits for a
//     close, and read, lseek, open, close, flock are never replayed.
//   * the bytes of a write: pages of the legacy, given back when all entries are done (data_adopt_busy).
// So the states are three (enum plog_state): DURABLE, DURABLE_BUT_DATA, LIVE.
//
// 2. WHY NO PRECONDITION CAN BE GONE
// Replay starts from exactly the state between the last durable and the first live operation, and applies all live
// ones in their order, with number, generation, time, owner and mode pinned. So each finds what it found then. What
// happened to its targets *later* is either live, and is replayed later, or cannot have happened (a later operation is
// not durable while an earlier one is live). Names are (inode of the parent, name), never paths.
//
//   entry            and later in the gap ...                       action, and why it is right
//   -----            ----------------------                         ---------------------------
//   any              nothing of it is live                          IGNORE
//   create, mknod,   name renamed, unlinked, replaced               ACT, then the later entry ACTs on what this one made
//   mkdir, symlink,  parent renamed                                 ACT: the parent is found by number
//   tmpfile, link    parent removed (it was emptied first)          ACT: it is removed again later, in order
//                    inode unlinked and still open                  ACT, and an orphan later: the fd in the kernel finds it
//                    inode unlinked, deleted, number used again     ACT, orphan; BURY before the entry that uses the number
//   create ...       number belonged to a durable orphan            BURY it, then ACT: the deleter had been faster than
//                                                                   the commit (deletions are not logged: nobody can see them)
//                    number belongs to an inode with a name         DISTRUST
//   write            truncated later                                ACT (size, times), the later entry cuts it again
//                    file renamed, unlinked, permission taken away  ACT: by number; permission was judged then, not now
//                    file unlinked, deleted                         ACT on the orphan; its pages are dropped at the end
//                    durable, its bytes or its size are not         SIZE: what was seen is the greater of the disk's size
//                                                                   and what the writes and truncations up to here say
//   setattr(size),   file written again later                       ACT; pages of the gap come last and win, and they are
//   fallocate                                                       as the last operation of the gap left them
//                    of several transactions, durable in part       setattr: logged in the first, the orphan list does the rest
//                                                                   (mount). fallocate: logged in the last, so ACT repeats
//                                                                   what is there already, which changes nothing
//   setattr,         mode, owner, time changed again later          ACT: to what it became then; the later entry follows
//   setxattr, ...    ACL of a directory changed, children made      ACT in order: each child inherits what it inherited
//   unlink, rmdir    name made anew later                           ACT; the other inode comes with its own entry
//                    victim open                                    ACT: an orphan, which is kept
//   rename           a directory on either side moved or removed    ACT: by numbers
//                    victim was made in the gap                     ACT: it was made by its entry
//                    whiteout's number held                         as create
//   read with atime  anything                                       ACT: sets the time that it had set
//   fsync, sync,     were in flight                                 never logged: RESEND executes them
//   read, lookup ...
//
// 3. WHAT CANNOT BE BELIEVED
// A redo runs all the checks of the original and compares what it would log with what was logged. If the volume is not
// as the entry expects (-ENOENT, -EEXIST, -ESTALE, -EPERM, -ENOSPC, ...), or becomes something else, then
// log, volume or we are wrong: DISTRUST. Nothing is repaired by guesswork; the successor starts from the disk alone.
// Moving a file's blocks (collapse, insert) cannot be repeated: durable before it is answered, so a
// live entry of it is DISTRUST.
#include "recover/aim.h"

#include <errno.h>
#include <linux/falloc.h>

#include "base/types.h"

#define MOVES (FALLOC_FL_COLLAPSE_RANGE | FALLOC_FL_INSERT_RANGE)

// Before anything is done: by the entry's state.
#define ALL_OR_NOTHING .on = {[PLOG_DURABLE] = AIM_IGNORE, [PLOG_DURABLE_BUT_DATA] = AIM_DISTRUST, [PLOG_LIVE] = AIM_ACT}
#define BYTES_FOLLOW .on = {[PLOG_DURABLE] = AIM_DISTRUST, [PLOG_DURABLE_BUT_DATA] = AIM_SIZE, [PLOG_LIVE] = AIM_ACT}

static const struct aim_rule rules[PLOG_OP_COUNT] = {
    [PLOG_NONE] = {"none", .on = {AIM_DISTRUST, AIM_DISTRUST, AIM_DISTRUST}},
    [PLOG_CREATE] = {"create", ALL_OR_NOTHING, .makes_self = true},
    [PLOG_TMPFILE] = {"tmpfile", ALL_OR_NOTHING, .makes_self = true},
    [PLOG_MKNOD] = {"mknod", ALL_OR_NOTHING, .makes_self = true},
    [PLOG_MKDIR] = {"mkdir", ALL_OR_NOTHING, .makes_self = true},
    [PLOG_SYMLINK] = {"symlink", ALL_OR_NOTHING, .makes_self = true},
    [PLOG_LINK] = {"link", ALL_OR_NOTHING},
    [PLOG_UNLINK] = {"unlink", ALL_OR_NOTHING},
    [PLOG_RMDIR] = {"rmdir", ALL_OR_NOTHING},
    [PLOG_RENAME] = {"rename", ALL_OR_NOTHING, .makes_whiteout = true},
    [PLOG_SETATTR] = {"setattr", ALL_OR_NOTHING, .size = AIM_SIZE_IS},
    [PLOG_SETXATTR] = {"setxattr", ALL_OR_NOTHING},
    [PLOG_REMOVEXATTR] = {"removexattr", ALL_OR_NOTHING},
    [PLOG_SETFLAGS] = {"setflags", ALL_OR_NOTHING},
    [PLOG_WRITE] = {"write", BYTES_FOLLOW, .size = AIM_SIZE_GROWS},
    [PLOG_FALLOCATE] = {"fallocate", ALL_OR_NOTHING, .size = AIM_SIZE_ALLOCATES},
    [PLOG_ATIME] = {"atime", ALL_OR_NOTHING},
};

// Before a new inode is made again: by who has its number.
static const enum aim_action number_rules[] = {
    [OPS_HOLDER_NONE] = AIM_ACT,
    [OPS_HOLDER_ORPHAN] = AIM_BURY,
    [OPS_HOLDER_ALIVE] = AIM_DISTRUST,
};

// Errors that say nothing about the log.
static const int outer_errors[] = {-EIO, -EROFS, -ENOMEM};

const struct aim_rule *aim_rule_of(const struct plog_entry *entry)
{
    return &rules[entry->op < PLOG_OP_COUNT ? entry->op : PLOG_NONE];
}

enum aim_action aim_decide(const struct plog_entry *entry, enum plog_state state)
{
    if (state == PLOG_LIVE && entry->op == PLOG_FALLOCATE && (entry->mode & MOVES))
        return AIM_DISTRUST;
    return aim_rule_of(entry)->on[state];
}

uint32_t aim_number(const struct plog_entry *entry)
{
    const struct aim_rule *rule = aim_rule_of(entry);

    if (rule->makes_self)
        return entry->target[PLOG_SELF].ino;
    return rule->makes_whiteout ? (uint32_t)(entry->off >> 32) : 0;
}

enum aim_action aim_decide_number(enum ops_holder holder)
{
    return number_rules[holder];
}

static uint64_t allocated_size(const struct plog_entry *entry, uint64_t size)
{
    if (entry->mode & FALLOC_FL_COLLAPSE_RANGE)
        return size - MIN(size, entry->len);
    if (entry->mode & FALLOC_FL_INSERT_RANGE)
        return size + entry->len;
    if (entry->mode & FALLOC_FL_KEEP_SIZE)
        return size;
    return MAX(size, entry->off + entry->len);
}

uint64_t aim_size(const struct plog_entry *entry, uint64_t size)
{
    switch (aim_rule_of(entry)->size) {
    case AIM_SIZE_STAYS:
        return size;
    case AIM_SIZE_GROWS:
        return MAX(size, entry->off + entry->len);
    case AIM_SIZE_IS:
        return entry->flags & OPS_SET_SIZE ? entry->off : size;
    case AIM_SIZE_ALLOCATES:
        return allocated_size(entry, size);
    }
    return size;
}

enum aim_action aim_decide_error(int rc)
{
    for (size_t i = 0; i < ARRAY_LEN(outer_errors); i++)
        if (outer_errors[i] == rc)
            return AIM_IGNORE;
    return AIM_DISTRUST;
}
