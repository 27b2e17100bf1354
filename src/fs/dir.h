// SPDX-License-Identifier: MIT
// dir.h - directories: names to inode numbers, linear or with a hash tree, read and written.
#pragma once

#include "fs/inode.h"
#include "fs/map.h"
#include "ondisk/dir.h"

#define DIR_NAME_MAX 255

struct dir_name {
    const char *bytes;              // no NUL, no '/'
    size_t len;
};

// What a name leads to. -ENOENT, -EFSCORRUPTED, -EFSBADCRC, -EIO. plan may be NULL.
struct dir_entry {
    uint32_t ino;
    uint8_t file_type;              // EXT4_FT_*
    struct buf *buf;                // where it stands (pinned by the plan), for the calls below
    uint32_t offset;
};
YIELDS MUST_USE int dir_lookup(struct plan *plan, struct inode *dir, struct dir_name name, struct dir_entry *out);

// Adding: the pass finds room, or decides which blocks to split and claims the new ones. -EEXIST is
// the caller's to find (dir_lookup); -ENOSPC also when a two-level tree is full (three with
// large_dir). Several adds to one directory in one plan are not supported.
struct dir_add {
    struct dir_name name;           // in; borrowed until apply
    void *steps;                    // private
};
YIELDS MUST_USE int dir_plan_add(struct plan *plan, struct inode *dir, struct dir_add *add);
void dir_apply_add(struct plan *plan, struct inode *dir, struct dir_add *add, uint32_t ino, uint8_t file_type);
void dir_add_fini(struct dir_add *add);

// Removing or redirecting an entry that dir_lookup() found in the same plan.
void dir_plan_change(struct plan *plan, struct inode *dir, const struct dir_entry *entry);      // credits
void dir_apply_remove(struct plan *plan, struct inode *dir, const struct dir_entry *entry);
void dir_apply_redirect(struct plan *plan, struct inode *dir, const struct dir_entry *entry, uint32_t ino, uint8_t file_type);
// When a plan adds to a directory and removes from it (rename within one): where the old entry is after
// the add, which may have parted its leaf. Asks the add and not the index: a damaged one may lead elsewhere.
void dir_apply_find(const struct dir_add *add, struct inode *dir, struct dir_name name, struct dir_entry *entry);

// A new directory: its first block with "." and "..". The pass claims, apply fills.
YIELDS MUST_USE int dir_plan_make(struct plan *plan, uint32_t parent_ino, uint64_t goal_hint, struct map_append *append);
void dir_apply_make(struct plan *plan, struct inode *dir, const struct map_append *append, uint32_t parent_ino);
// ".." of a directory that moves.
YIELDS MUST_USE int dir_plan_parent(struct plan *plan, struct inode *dir, uint32_t *parent_ino);
void dir_apply_parent(struct plan *plan, struct inode *dir, uint32_t parent_ino);

YIELDS MUST_USE int dir_is_empty(struct plan *plan, struct inode *dir, bool *empty);

// Reading. `cookie` 0 is the start; every entry carries the cookie to go on behind it, which stays
// good while the directory changes (hash order where the volume has dir_index, as ext4 does). Calls
// emit() until it returns false (full: that entry will come again) or the end; *eof then.
struct dir_emit {
    bool (*emit)(void *arg, struct dir_name name, uint32_t ino, uint8_t file_type, uint64_t next_cookie);
    void *arg;
};
YIELDS MUST_USE int dir_read(struct inode *dir, uint64_t cookie, const struct dir_emit *emit, bool *eof);

uint8_t dir_type_of_mode(uint16_t mode);
