// SPDX-License-Identifier: MIT
// inode_internal.h - what the files about inodes share among themselves.
#pragma once

#include "fs/inode.h"

struct inode_place {
    uint64_t block;                 // of the inode table
    uint32_t offset;                // in the block
};
struct inode_place inode_place(const struct fs *fs, uint32_t ino);
// Its slot lies in the part of the table that was never written.
bool inode_was_never_used(const struct fs *fs, uint32_t ino);

// As inode_get(), for mount: also inodes without links (orphans) and reserved ones.
YIELDS MUST_USE int inode_get_special(struct fs *fs, uint32_t ino, struct inode **out);
// Encodes one inode into its table block at once; it is not dirty any more.
void inode_encode_now(struct inode *inode);
// Takes it out of the table of inodes: its number may have a new owner.
void inode_unhash(struct inode *inode);
// What it holds may have been the last thing that kept it in memory.
void inode_settle(struct inode *inode);

// What is wrong with the fields of an inode in use, or NULL.
const char *inode_judge(const struct fs *fs, const struct ext4_inode *d);

// Does its i_block hold a map of blocks?
bool inode_has_map(const struct inode *inode);
// Removes the blocks from `first` on, in as many transactions as it takes; it is an orphan
// meanwhile. The caller has the gate alone, or is the only one who knows the inode.
YIELDS MUST_USE int inode_remove_blocks(struct inode *inode, uint64_t first);
// Deletes the inodes on fs->orphans that have no link; what fails stays for the next mount.
YIELDS void inode_delete_orphans(struct fs *fs);
