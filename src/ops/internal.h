// SPDX-License-Identifier: MIT
// internal.h - what the files of ops share: the frame of an operation, its checks, its log entry.
//
// Every operation has one shape:
//
//   struct thing t = {.parent = parent, .name = name};
//   int rc = op_begin(&t.op, ops, OP_CHANGES, name.len);    // YIELDS: room in the P-Log
//   if (rc == 0)
//       rc = op_plan(&t.op, thing_pass, &t);                // YIELDS: every error is found here
//   if (rc == 0)
//       thing_apply(&t);                                    // cannot fail, wait or do I/O
//   return op_end(&t.op, rc);
#pragma once

#include "base/htable.h"
#include "fs/dir.h"
#include "fs/fs.h"
#include "fs/inode.h"
#include "fs/orphan.h"
#include "fs/plan.h"
#include "fs/xattr.h"
#include "ops/ops.h"
#include "plog/plog.h"

// Whose request an operation is (ops_tag).
struct op_tag {
    uint64_t client, request;
    struct ops_answer *answer;
    int64_t before;                 // what earlier parts of the request have done: their result counts too
};

struct ops {
    struct rt *rt;
    struct fs *fs;
    struct plog *log;               // or NULL
    uint64_t log_trimmed_tid;       // the committed transaction that the log was last trimmed for
    struct waitq log_room;          // fibres that wait for others to give back promised room
    struct htable known;            // what the kernel was told of, by inode number (known.c)
    bool (*is_known)(void *arg, uint32_t ino);      // ops_config
    void *is_known_arg;
    struct list asks;               // orphans of which is_known() is to be asked (known.c)
    bool asking, closed;            // the fibre that asks runs; ops_close() was called: it frees us
    struct op_tag tag;              // of the call that comes next
    const struct plog_view *redo;   // the call that comes next applies this entry again
    struct redo_state *redone;      // while a recovery runs (redo.c)
};

// --- the frame (op.c) -------------------------------------------------------------------------

struct op {
    struct ops *ops;
    struct fs *fs;
    struct plan plan;
    struct plog_room room;
    struct op_tag tag;
    const struct plog_view *redo;   // the entry that this operation applies again, or NULL
    struct ext4_time now;           // drawn by the pass, so that apply and log say the same
    bool sync;                      // something changed that is to be on the disk before the answer
    struct inode *gone;             // lost its last link and nobody knows it: op_end() sees to it
};
enum op_kind {
    OP_READS,                       // logs nothing
    OP_CHANGES,                     // promises the log one entry with `spill` bytes behind it
};
// Takes the tag of ops_tag(), or the entry of ops_redo(). -EIO after a shutdown. op_end() must follow,
// whatever it returns.
YIELDS MUST_USE int op_begin(struct op *op, struct ops *ops, enum op_kind kind, size_t spill);
// plan_run() of what will be applied.
YIELDS MUST_USE int op_plan(struct op *op, int (*pass)(struct plan *plan, void *arg), void *arg);
// Everything is ready, the apply half comes next: for operations whose plan is run by fs.
void op_ready(const struct op *op);
// What time it is; in a redo, what time it was.
struct ext4_time op_now(const struct op *op);
// For an operation that takes several op_begin(): its tag, to be given to the last of them.
struct op_tag op_take_tag(struct ops *ops);
// Ends the plan, gives back what was promised, commits if op->sync asks for it, and answers `rc` as
// a client may see it.
YIELDS MUST_USE int op_end(struct op *op, int rc);
// Room for one entry more, of an operation that logs several. Not while a gate is held.
YIELDS MUST_USE int op_promise(struct op *op, size_t spill);
// Apply: appends to the P-Log and fills the answer of the tag. Fills in time, transaction and who asked; the rest is
// the caller's. A redo appends nothing: what it would log must be what was logged.
void op_log(struct op *op, const struct plog_entry *entry, struct ops_name name, const void *data);
// Apply: the inode was changed. One with the flags S or D (of a directory) makes the operation wait
// for the commit, as ext4 does.
void op_dirty(struct op *op, struct inode *inode);
struct plog_inode op_target(const struct inode *inode);
void op_trim_log(struct ops *ops);
// The doors know no -EFSBADCRC: ext4 tells programs EUCLEAN for all damage.
int op_answer(int rc);

// --- inodes and names (check.c) --------------------------------------------------------------

// An inode that a client names by number is had by plan_inode(): free, deleted and the filesystem's
// own inodes are -ESTALE there. These also look at its type.
YIELDS MUST_USE int op_dir(struct plan *plan, uint32_t ino, struct inode **out);        // or -ENOTDIR
YIELDS MUST_USE int op_file(struct plan *plan, uint32_t ino, struct inode **out);       // or -EISDIR, -EINVAL
// The entry and the inode that it leads to. An entry without an inode is damage.
YIELDS MUST_USE int op_child(struct plan *plan, struct inode *dir, struct ops_name name, struct dir_entry *entry, struct inode **out);
// "..", only to look at it: nothing is counted as to be changed.
YIELDS MUST_USE int op_parent_of(struct plan *plan, struct inode *dir, uint32_t *parent_ino);
MUST_USE int op_check_name(struct ops_name name);
bool op_name_is_dots(struct ops_name name);             // "." or ".."
// What the kernel's VFS asks of the flags of a directory and of what is in it.
MUST_USE int op_may_create(const struct inode *dir);
MUST_USE int op_may_delete(const struct inode *dir, const struct inode *victim, bool as_dir);
MUST_USE int op_may_change(const struct inode *inode);  // -EPERM on immutable and append-only
// May the caller use the blocks that the volume keeps for root?
bool op_is_privileged(const struct fs *fs, const struct ops_caller *caller);

static inline struct dir_name op_dir_name(struct ops_name name)
{
    return (struct dir_name){.bytes = name.bytes, .len = name.len};
}
static inline bool op_is_immutable(const struct inode *inode) { return inode->d.flags & EXT4_IMMUTABLE_FL; }
static inline bool op_is_append(const struct inode *inode) { return inode->d.flags & EXT4_APPEND_FL; }

// --- links, times, modes (attr.c, known.c) --------------------------------------------------

bool op_dir_is_full_of_links(const struct inode *dir);  // no room for one more subdirectory
void op_inc_dir_links(struct inode *dir);
void op_dec_dir_links(struct inode *dir);
// Apply: the last link went away (nlink is 0): an orphan now, and deleted at once when nobody knows it.
void op_orphan(struct op *op, struct inode *inode);

enum { OP_ATIME = 1, OP_MTIME = 2, OP_CTIME = 4 };
void op_stamp(struct inode *inode, struct ext4_time time, unsigned which);
// The mode after a change by somebody who may not keep set-id bits. keeps_plain_sgid: where nobody
// executes by group, the set-group-id bit gives nothing away to members of the group.
uint16_t op_kill_suidgid(uint16_t mode, bool keeps_plain_sgid);
void op_fill_attr(const struct inode *inode, struct ops_attr *out);
uint64_t op_size_max(const struct inode *inode);        // of the file, as its map can hold

// After a successful read: the access time, if it is due. Never an error, never a wait for the log.
YIELDS void op_accessed(struct ops *ops, uint32_t ino);
YIELDS MUST_USE int op_accessed_again(struct ops *ops, uint32_t ino);       // ops_redo()

// --- what the kernel knows (known.c) --------------------------------------------------------------

struct known {
    struct hnode node;
    uint64_t count;
    bool regular;                   // a file with content
    bool linkable;                  // made by ops_tmpfile(): may get a name
    bool complete;                  // made by this server: no predecessor told anybody of it
};
void known_add(struct ops *ops, struct inode *inode);
struct known *known_find(const struct ops *ops, uint32_t ino);

// --- redo (redo.c) ----------------------------------------------------------------------------
// Apply: what the operation would log, in place of logging it.
void op_redone(struct op *op, const struct plog_entry *entry, const void *name, const void *data);
