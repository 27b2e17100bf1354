// SPDX-License-Identifier: MIT
// image_rig.h - volumes for the tests of this folder: made by mke2fs and debugfs, read here.
//
// Reading follows only what a fresh volume needs (extents), straight from the bytes of the image.
#pragma once

#include "base/types.h"
#include "ondisk/inode.h"
#include "ondisk/super.h"

#define IMAGE_BLOCKS 4096u

struct image {
    char dir[40];                   // temporary; the volume is in it as "image"
    uint8_t *bytes;
    struct ext4_geo geo;
};

// Runs mke2fs with the options, then the commands in debugfs (NULL: none). Skips the test when
// e2fsprogs is not there or does not know an option.
struct image image_make(const char *mke2fs_options, const char *debugfs_commands);
void image_fini(struct image *image);
// Runs a shell command in image->dir, and reads the volume again. Returns the exit status.
int image_shell(struct image *image, const char *command);
// Writes image->bytes to the file.
void image_store(const struct image *image);

struct ext4_inode image_inode(const struct image *image, uint32_t ino);     // inode_fini() it
// Where block `lblock` of the file is, 0 for a hole; and its bytes.
uint64_t image_map(const struct image *image, const struct ext4_inode *inode, uint32_t lblock);
uint8_t *image_block(const struct image *image, uint64_t block);
// The number of the first inode whose directory entry in `dir_ino` has that name; fails without.
uint32_t image_lookup(const struct image *image, uint32_t dir_ino, const char *name);

// For tests that try many cases: the same numbers on every run.
uint32_t test_random(uint64_t *state);
