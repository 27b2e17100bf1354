// SPDX-License-Identifier: MIT
// htree.h - internal to the directory files: blocks of a directory, and the way down its hash tree.
#pragma once

#include "fs/dir.h"

// --- blocks (dir.c) -----------------------------------------------------------------------------
uint64_t dir_block_count(const struct inode *dir);
// Removed, and only kept because somebody has it open: it has no names, not even "." and "..".
static inline bool dir_is_gone(const struct inode *dir) { return dir->d.nlink == 0 && dir->size == 0; }
// Pinned by the plan. A hole gives 0 and *out NULL, and *hole (may be NULL) says how many blocks of it.
YIELDS MUST_USE int dir_block_get(struct plan *plan, struct inode *dir, uint64_t lblock, struct buf **out, uint64_t *hole);
// The same where a hole is damage.
YIELDS MUST_USE int dir_block_need(struct plan *plan, struct inode *dir, uint64_t lblock, struct buf **out);
// Logs and returns -EFSCORRUPTED; -EAGAIN where the pass has waited, so that nothing is proved yet.
MUST_USE int dir_damaged(const struct plan *plan, const struct inode *dir, uint64_t lblock, const char *why);
// May entries be looked for, and put, in this block? Index blocks read as leaves without checksums only.
bool dir_block_is_leaf(const struct inode *dir, const struct buf *buf);
// "." and ".." at the start of block 0, in a leaf or a root.
MUST_USE int dir_dots(const struct plan *plan, const struct inode *dir, const struct buf *first, uint32_t *self_ino, uint32_t *parent_ino);
#define DIR_DOTDOT_AT 12u

// --- the tree (htree.c) ---------------------------------------------------------------------------
#define HTREE_FRAMES_MAX 3u             // a root and two levels of nodes
#define HTREE_UNKNOWN 1                 // a root by rules that we do not know: read the directory linearly

struct htree_frame {
    struct buf *buf;
    struct dx_view view;
    uint32_t lblock;
    uint32_t at;                        // entry that the way down took
};
struct htree {
    struct htree_frame frames[HTREE_FRAMES_MAX];
    uint32_t last;                      // index of the lowest frame, whose entries lead to leaves
    uint8_t hash_version;
    uint64_t continued;                 // leaves passed by htree_continue()
};

bool dir_is_indexed(const struct inode *dir);
// The root alone, in frames[0]. 0, HTREE_UNKNOWN, or an error.
YIELDS MUST_USE int htree_open(struct plan *plan, struct inode *dir, struct htree *tree);
// Goes down from the opened root to where names of that hash stand.
YIELDS MUST_USE int htree_descend(struct plan *plan, struct inode *dir, uint32_t major, struct htree *tree);
MUST_USE int htree_hash(const struct inode *dir, const struct htree *tree, struct dir_name name, struct dx_hash *out);
uint32_t htree_leaf_lblock(const struct htree *tree);
// The leaf where the path ends. An index block in its place is damage.
YIELDS MUST_USE int htree_leaf(struct plan *plan, struct inode *dir, const struct htree *tree, struct buf **out);
// What hashes the index sends to that leaf: lo <= hash < hi, hash without, lo and hi with the low
// bit, which says that the names of this hash began in the leaf before.
struct htree_range {
    uint32_t lo;
    uint64_t hi;                        // HTREE_END: no leaf follows
};
#define HTREE_END (1ull << 32)
struct htree_range htree_range(const struct htree *tree);
// Moves the path to the next leaf if that one goes on with the hash (low bit). *more false: it does not.
YIELDS MUST_USE int htree_continue(struct plan *plan, struct inode *dir, struct htree *tree, bool *more);

// --- splitting (htree_split.c) ----------------------------------------------------------------------
// The names of a full leaf, in the order of their hashes, and where they part.
struct leaf_name {
    uint32_t hash;
    uint16_t offset, size;
};
struct leaf_split {
    uint8_t *bytes;                     // the leaf as it was, BLOCK_BYTES
    struct leaf_name *names;
    uint32_t count;
    uint32_t at;                        // names[at] is the first to move
    uint32_t hash;                      // of the index entry: names[at].hash and the low bit
    bool new_goes_right;
};
// Names from offset `from` on. Those outside `range` are damage.
struct leaf_split_spec {
    uint32_t from;
    uint64_t lblock;
    struct htree_range range;
    struct dx_hash new_hash;
};
MUST_USE int leaf_split_plan(const struct plan *plan, const struct inode *dir, const struct htree *tree, const struct buf *leaf, const struct leaf_split_spec *spec, struct leaf_split *out);
void leaf_split_apply(const struct inode *dir, const struct leaf_split *split, struct buf *left, struct buf *right);
void leaf_split_fini(struct leaf_split *split);

// How many index blocks must be added before the lowest node has room. -ENOSPC: the tree is full.
MUST_USE int htree_growth(const struct inode *dir, const struct htree *tree, uint32_t *blocks);
// A new, zeroed block at the end of the directory.
struct htree_new {
    struct buf *buf;
    uint32_t lblock;
};
// Makes that room with as many blocks as htree_growth() said, and moves the path along.
void htree_grow(struct inode *dir, struct htree *tree, const struct htree_new *blocks);
