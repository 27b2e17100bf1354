// SPDX-License-Identifier: MIT
// ops.h - what a client can ask of the volume: one function an operation, plan then apply.
//
// The doors decode a request, call one of these on a fibre, and encode the answer. Inodes are
// named by number here: a door never holds an inode. Every function returns 0 (or a count) or a negative
// errno as ext4 would give it. Permissions of the FUSE door are the kernel's work
// (default_permissions); ops checks what depends on the volume alone: immutable and append-only
// inodes, link limits, directory emptiness, read-only.
#pragma once

#include "base/err.h"
#include "base/types.h"

struct fs;
struct ops;
struct plog;
struct rt;

#define OPS_ROOT 2u

struct ops_config {
    struct rt *rt;
    struct fs *fs;                  // borrowed
    struct plog *plog;              // borrowed; where changes are logged. NULL: nowhere
    // Does the kernel (or whoever sits behind the door) still know the inode? Asked only for inodes without
    // links of which a predecessor may have told it. Yields. NULL: nobody can say, so they are kept until
    // unmount.
    bool (*is_known)(void *arg, uint32_t ino);
    void *arg;
};
struct ops *ops_open(const struct ops_config *config);
// After a take-over, when the door is open, in fibres of their own: what the predecessor left dirty is written and
// committed, so that the log runs empty, and orphans that nobody knows any more are deleted.
void ops_bury_unknown(struct ops *ops);
// Before fs_unmount(), which deletes the orphans that are then known to nobody.
YIELDS void ops_close(struct ops *ops);

// What a request came to, in memory that outlives the server (the door's record of it). Filled by the
// apply half at the moment of the P-Log's entry, `seq` last: not 0 means that the request was applied and
// must not be executed again, whoever asks.
struct ops_answer {
    uint64_t seq;                   // of its entry in the P-Log
    int64_t result;                 // 0, or bytes
    uint32_t ino, generation;       // of the inode that it made or changed
};
// The operation called next (without a wait in between) is this client's request of this number: its
// entry in the P-Log says so, and *answer (borrowed until the operation returns; may be NULL) is filled.
// Without a tag there is neither.
void ops_tag(struct ops *ops, uint64_t client, uint64_t request, struct ops_answer *answer);

struct ops_caller {
    uint32_t uid, gid, pid;
    uint32_t umask;                 // of the creating process; used where there is no default ACL
};

struct ops_name {
    const char *bytes;
    size_t len;
};

struct ops_time {
    int64_t sec;
    uint32_t nsec;
};

struct ops_attr {
    uint32_t ino, generation;
    uint64_t size, blocks;          // blocks of 512 bytes, promised ones included
    struct ops_time atime, mtime, ctime, btime;
    uint32_t mode, nlink, uid, gid, rdev_major, rdev_minor;
    uint32_t flags;                 // EXT4_*_FL, user visible
#define OPS_FL_IMMUTABLE 0x10u
};

// --- names ------------------------------------------------------------------------------------
// Those that fill `out` count one lookup of the inode, which ops_forget() takes back.
YIELDS MUST_USE int ops_lookup(struct ops *ops, uint32_t parent, struct ops_name name, struct ops_attr *out);
YIELDS MUST_USE int ops_lookup_ino(struct ops *ops, uint32_t ino, struct ops_attr *out);        // "." of a file handle
// The inode that a request had made (struct ops_answer) which a predecessor did not live to answer; also one without
// name. -ESTALE when it is gone or another.
YIELDS MUST_USE int ops_lookup_made(struct ops *ops, uint32_t ino, uint32_t generation, struct ops_attr *out);
YIELDS MUST_USE int ops_lookup_parent(struct ops *ops, uint32_t ino, struct ops_attr *out);     // ".."
void ops_forget(struct ops *ops, uint32_t ino, uint64_t count);
// Every regular file with lookups that were not taken back. orphan: it has no name. `each` must not
// wait nor call ops. After a take-over those that only the predecessor told of are missing.
void ops_each_known_file(struct ops *ops, void (*each)(void *arg, uint32_t ino, bool orphan), void *arg);
YIELDS MUST_USE int ops_create(struct ops *ops, const struct ops_caller *caller, uint32_t parent, struct ops_name name, uint16_t mode, bool exclusive, struct ops_attr *out, bool *created);
YIELDS MUST_USE int ops_tmpfile(struct ops *ops, const struct ops_caller *caller, uint32_t parent, uint16_t mode, struct ops_attr *out);
YIELDS MUST_USE int ops_mknod(struct ops *ops, const struct ops_caller *caller, uint32_t parent, struct ops_name name, uint16_t mode, uint32_t major, uint32_t minor, struct ops_attr *out);
YIELDS MUST_USE int ops_mkdir(struct ops *ops, const struct ops_caller *caller, uint32_t parent, struct ops_name name, uint16_t mode, struct ops_attr *out);
YIELDS MUST_USE int ops_symlink(struct ops *ops, const struct ops_caller *caller, uint32_t parent, struct ops_name name, struct ops_name target, struct ops_attr *out);
YIELDS MUST_USE int ops_link(struct ops *ops, uint32_t ino, uint32_t parent, struct ops_name name, struct ops_attr *out);
YIELDS MUST_USE int ops_unlink(struct ops *ops, uint32_t parent, struct ops_name name);
YIELDS MUST_USE int ops_rmdir(struct ops *ops, uint32_t parent, struct ops_name name);
// flags: RENAME_NOREPLACE, RENAME_EXCHANGE, RENAME_WHITEOUT
YIELDS MUST_USE int ops_rename(struct ops *ops, const struct ops_caller *caller, uint32_t from, struct ops_name from_name, uint32_t to, struct ops_name to_name, uint32_t flags);
YIELDS MUST_USE ssize_t ops_readlink(struct ops *ops, uint32_t ino, char *out, size_t size);

// Emits until `emit` returns false or the end. attr is NULL unless with_attrs (readdirplus): then a
// lookup of it is counted for every entry with attr that emit() accepted, but not for "." and "..".
// An inode that cannot be read costs its own attr only (NULL). emit() must not wait.
struct ops_dirent {
    struct ops_name name;
    uint32_t ino;
    uint32_t type;                  // DT_*
    uint64_t next_cookie;
    const struct ops_attr *attr;
};
YIELDS MUST_USE int ops_readdir(struct ops *ops, uint32_t ino, uint64_t cookie, bool with_attrs, bool (*emit)(void *arg, const struct ops_dirent *entry), void *arg);

// --- attributes ---------------------------------------------------------------------------------
YIELDS MUST_USE int ops_getattr(struct ops *ops, uint32_t ino, struct ops_attr *out);
enum ops_set {
    OPS_SET_MODE = 1 << 0, OPS_SET_UID = 1 << 1, OPS_SET_GID = 1 << 2, OPS_SET_SIZE = 1 << 3,
    OPS_SET_ATIME = 1 << 4, OPS_SET_MTIME = 1 << 5, OPS_SET_CTIME = 1 << 6,
    OPS_SET_ATIME_NOW = 1 << 7, OPS_SET_MTIME_NOW = 1 << 8,
    OPS_KILL_SUIDGID = 1 << 9,      // a write or truncation by somebody without CAP_FSETID
    OPS_TOUCH = 1 << 10,            // nothing but ctime moves
};
struct ops_setattr {
    uint32_t set;                   // enum ops_set
    uint32_t mode, uid, gid;
    uint64_t size;
    struct ops_time atime, mtime, ctime;
};
YIELDS MUST_USE int ops_setattr(struct ops *ops, const struct ops_caller *caller, uint32_t ino, const struct ops_setattr *set, struct ops_attr *out);
struct ops_statfs {
    uint64_t blocks, blocks_free, blocks_available, inodes, inodes_free;
};
YIELDS MUST_USE int ops_statfs(struct ops *ops, struct ops_statfs *out);
YIELDS MUST_USE ssize_t ops_getxattr(struct ops *ops, uint32_t ino, const char *name, void *out, size_t size);
YIELDS MUST_USE ssize_t ops_listxattr(struct ops *ops, uint32_t ino, char *out, size_t size);
YIELDS MUST_USE int ops_setxattr(struct ops *ops, uint32_t ino, const char *name, const void *value, size_t size, int flags, bool kill_sgid);
YIELDS MUST_USE int ops_removexattr(struct ops *ops, uint32_t ino, const char *name);
// FS_IOC_GETFLAGS/SETFLAGS and FS_IOC_FSGETXATTR/FSSETXATTR.
YIELDS MUST_USE int ops_get_flags(struct ops *ops, uint32_t ino, uint32_t *flags, uint32_t *project);
YIELDS MUST_USE int ops_set_flags(struct ops *ops, uint32_t ino, uint32_t flags, const uint32_t *project);

// --- content ------------------------------------------------------------------------------------
// `out` is BLOCK_BYTES aligned and has room for len rounded up to whole blocks.
YIELDS MUST_USE ssize_t ops_read(struct ops *ops, uint32_t ino, uint64_t off, size_t len, void *out);
// keep_times: the kernel's write-back cache writes; it sends the times by itself. append: at the end.
struct ops_write {
    uint64_t off;
    const void *bytes;
    size_t len;
    bool keep_times, kill_suidgid, append, privileged;
    uint32_t gid;                   // the writer's, for kill_suidgid
};
YIELDS MUST_USE ssize_t ops_write(struct ops *ops, uint32_t ino, const struct ops_write *write);
YIELDS MUST_USE int ops_fsync(struct ops *ops, uint32_t ino, bool datasync);
YIELDS MUST_USE int ops_sync(struct ops *ops);
YIELDS MUST_USE int ops_fallocate(struct ops *ops, uint32_t ino, int mode, uint64_t off, uint64_t len);
YIELDS MUST_USE int64_t ops_lseek(struct ops *ops, uint32_t ino, uint64_t off, int whence);
YIELDS MUST_USE ssize_t ops_copy_range(struct ops *ops, uint32_t from, uint64_t from_off, uint32_t to, uint64_t to_off, uint64_t len);
YIELDS MUST_USE int ops_trim(struct ops *ops, uint64_t off, uint64_t len, uint64_t min_len, uint64_t *trimmed);
// EXT4_IOC_SHUTDOWN: 0 = sync first, 1 = log flush, 2 = nothing; afterwards all answers EIO.
YIELDS MUST_USE int ops_shutdown(struct ops *ops, uint32_t how);

// --- recovery (recover/) --------------------------------------------------------------------------
// Between ops_redo_begin() and ops_redo_end() nothing but these is called.
struct plog_view;
void ops_redo_begin(struct ops *ops);
// Applies a logged operation again, through the same plan and apply, with what the entry pins: inode number,
// generation, times, owner, mode. Writes: size, times and mode only; their bytes are pages of the legacy.
// Nothing is appended to the log: the apply half calls plog_redone(). What it would have logged is compared with what
// was: 0 means that they are equal and that the entry has been applied. -ESTALE, -EEXIST, -ENOENT, ...: the
// volume is not what the entry expects, -EUCLEAN: or not what it says it became; -EIO, -EFSCORRUPTED of the disk.
YIELDS MUST_USE int ops_redo(struct ops *ops, const struct plog_view *view);
// An entry whose transaction is durable but whose bytes may not be (PLOG_DURABLE_BUT_DATA): sets what
// applications see as the file's size, in memory alone. 0 also when the inode is gone.
YIELDS MUST_USE int ops_redo_size(struct ops *ops, uint32_t ino, uint32_t generation, uint64_t size);
// Who has the number that a redo is to use?
enum ops_holder { OPS_HOLDER_NONE, OPS_HOLDER_ORPHAN, OPS_HOLDER_ALIVE };
enum ops_holder ops_redo_holder(struct ops *ops, uint32_t ino);
// An orphan of the past still has it: deletes that.
YIELDS MUST_USE int ops_redo_bury(struct ops *ops, uint32_t ino);
// Commits and trims when the log has no room for marks (always: at once).
YIELDS MUST_USE int ops_redo_room(struct ops *ops, bool always);
// The dirty pages go back to their files.
YIELDS MUST_USE int ops_redo_pages(struct ops *ops, uint64_t *pages);
// Recovery is over, with `rc`, which is returned. When it succeeded: also commits what an operation on a
// synchronous inode had promised, and trims the log.
YIELDS MUST_USE int ops_redo_end(struct ops *ops, int rc);
