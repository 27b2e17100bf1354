// SPDX-License-Identifier: MIT
// model.h - what a filesystem ought to be, so simple that it is plainly right.
//
// The oracle of the simulator. It shares no code with what it judges: names are linear lists,
// files are byte arrays, nothing is clever. Nodes have identities of the model's own (ids, in order of
// creation); the inode number that the server chose is only remembered, to be compared.
//
// One client's model holds what that client alone changes, so its operations have one order. The
// namespace after a crash must be the model after *some* prefix of the operations, none of those
// known durable missing. File bytes may each be of any version since the last fsync.
#pragma once

#include "base/types.h"

#define MODEL_NAME_MAX 256
#define MODEL_FILE_MAX (256u << 10)

enum mop_kind {
    MOP_CREATE, MOP_MKDIR, MOP_SYMLINK, MOP_MKNOD, MOP_TMPFILE, MOP_LINK, MOP_UNLINK, MOP_RMDIR,
    MOP_RENAME, MOP_SETATTR, MOP_SETXATTR, MOP_REMOVEXATTR, MOP_CONTENT,
};

struct mop {
    enum mop_kind kind;
    uint32_t node, parent, parent2;         // ids; node: the new one for makers
    char name[MODEL_NAME_MAX], name2[MODEL_NAME_MAX];
    uint32_t ino;                           // makers: chosen by the server
    uint32_t mode, uid, gid, flags;         // flags: of rename; of setattr: what is set (1 mode, 2 owner, 4 times)
    char value[256];                        // symlink target, attribute value
    uint32_t value_size;
};

struct mentry {
    char name[MODEL_NAME_MAX];
    uint32_t node;
};
struct mxattr {
    char name[32];
    char value[256];
    uint32_t size;
};
// What was seen of an inode after the last answer that changed it. Nobody else changes it, so a server's
// death must not either.
struct mseen {
    bool known;
    uint32_t generation;
    int64_t sec[4];                         // atime, mtime, ctime, btime
    uint32_t nsec[4];
};
struct mnode {
    bool exists;
    bool linkable;                          // of O_TMPFILE, and never had a name
    uint32_t ino, mode, uid, gid, nlink, parent;
    struct mseen seen;
    char target[256];
    struct mentry *entries;
    uint32_t entry_count;
    struct mxattr xattrs[6];
    uint32_t xattr_count;
};
struct model {
    struct mnode *nodes;                    // by id
    uint32_t node_count, node_capacity;
};

#define MODEL_OWN 0u                        // the client's own directory
#define MODEL_SHARED 1u                     // the directory that all clients use, each with its own names

void model_init(struct model *model, uint32_t own_ino, uint32_t shared_ino);
void model_fini(struct model *model);
void model_copy(struct model *to, const struct model *from);
void model_apply(struct model *model, const struct mop *op);

struct mentry *model_find(const struct model *model, uint32_t dir, const char *name);
struct mxattr *model_xattr(const struct model *model, uint32_t node, const char *name);
bool model_is_dir(const struct model *model, uint32_t node);
bool model_is_below(const struct model *model, uint32_t node, uint32_t ancestor);     // or the same

// A file's bytes: the newest version and all that a crash may bring back.
struct mversion {
    uint8_t *bytes;
    uint32_t size;
};
struct mcontent {
    struct mversion *versions;              // oldest first; the last is the present
    uint32_t count, capacity;
};
void content_init(struct mcontent *content);
void content_fini(struct mcontent *content);
const struct mversion *content_now(const struct mcontent *content);
// Each makes a new version. Holes read as zeros.
void content_write(struct mcontent *content, uint32_t off, const uint8_t *bytes, uint32_t len);
void content_resize(struct mcontent *content, uint32_t size);
void content_zero(struct mcontent *content, uint32_t off, uint32_t len, bool extend);
// What was newest at version `keep` (an index) is durable: older ones cannot come back.
void content_durable(struct mcontent *content, uint32_t keep);
// Could a crash have left these bytes?
bool content_allows(const struct mcontent *content, const uint8_t *bytes, uint32_t size);
