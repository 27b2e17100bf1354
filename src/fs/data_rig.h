// SPDX-License-Identifier: MIT
// data_rig.h - for the tests of content: files in the root directory, written and read without ops.
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/check.h"
#include "fs/alloc.h"
#include "fs/data.h"
#include "fs/fs_rig.h"
#include "fs/name_rig.h"
#include "fs/orphan.h"
#include "rt/prng.h"

static inline struct inode *root_of(struct fs *fs)
{
    struct inode *root;
    assert_int_equal(inode_get(fs, EXT4_ROOT_INO, &root), 0);
    return root;
}

// A new regular file in the root. Referenced.
static inline struct inode *file_make(struct fs *fs, const char *name)
{
    struct inode *root = root_of(fs), *file = name_make(root, name, 0100644);
    inode_put(root);
    return file;
}

static inline struct inode *file_open(struct fs *fs, const char *name)
{
    struct inode *root = root_of(fs), *file;
    struct dir_entry entry;
    assert_int_equal(dir_lookup(NULL, root, name_of(name), &entry), 0);
    assert_int_equal(inode_get(fs, entry.ino, &file), 0);
    inode_put(root);
    return file;
}

struct file_write {
    struct inode *inode;
    struct data_write write;
};

static inline int file_write_pass(struct plan *plan, void *arg)
{
    struct file_write *w = arg;
    plan_will_dirty_inode(plan, w->inode);
    return data_plan_write(plan, w->inode, &w->write);
}

static inline int file_write(struct inode *inode, uint64_t off, const void *bytes, size_t len)
{
    struct file_write w = {.inode = inode, .write = {.off = off, .bytes = bytes, .len = len}};
    struct plan plan;
    inode_gate_share(inode);
    plan_init(&plan, inode->fs);
    int rc = plan_run(&plan, file_write_pass, &w);
    if (rc == 0) {
        data_apply_write(&plan, inode, &w.write);
        inode->d.mtime = fs_now(inode->fs);
        inode_dirty(inode, false);
    }
    plan_end(&plan);
    data_write_fini(&w.write);
    inode_gate_unshare(inode);
    return rc;
}

static inline int file_truncate(struct inode *inode, uint64_t size)
{
    inode_gate_alone(inode);
    int rc = data_truncate(inode, size, NULL, NULL);
    inode_gate_open(inode);
    return rc;
}

static inline int file_fallocate(struct inode *inode, int mode, uint64_t off, uint64_t len)
{
    inode_gate_alone(inode);
    int rc = data_fallocate(inode, mode, off, len, NULL, NULL);
    inode_gate_open(inode);
    return rc;
}

// `len` bytes that tell from which file and place they are.
static inline void fill_pattern(uint8_t *out, size_t len, uint64_t off, uint64_t seed)
{
    struct prng chance;
    prng_seed(&chance, seed ^ off);
    for (size_t i = 0; i < len; i++)
        out[i] = (uint8_t)(prng_next(&chance) | 1);     // never zero: a hole shows
}

// Reads [off, off+len) and compares; cut at the size, as the caller expects `expected` bytes.
static inline void expect_bytes(struct inode *inode, uint64_t off, const uint8_t *bytes, size_t len)
{
    AUTO_FREE uint8_t *out = xblocks(DIV_ROUND_UP(len, BLOCK_BYTES) + 1);
    assert_int_equal(data_read(inode, off, len, out), len);
    for (size_t i = 0; i < len; i++)
        if (out[i] != bytes[i])
            fail_msg("ino %u: byte %llu is %02x, not %02x", inode->ino, (unsigned long long)(off + i), out[i], bytes[i]);
}

static inline void expect_zeros(struct inode *inode, uint64_t off, size_t len)
{
    AUTO_FREE uint8_t *zeros = xcalloc(1, len);
    expect_bytes(inode, off, zeros, len);
}
