// SPDX-License-Identifier: MIT
// data.h - file content: pages, delayed allocation, write-back, and the calls that shape files.
//
// Life of a written byte: data_apply_write() copies it into a dirty page for which a block is
// promised. Write-back claims blocks near their neighbours, writes the pages, and only then - when the
// data is on the disk - maps them and moves d.size, in one plan. So a transaction never names a
// block whose data is not written: that is ordered mode, without lists in the journal.
// With journal=data the pages are logged as buffers instead.
#pragma once

#include "fs/inode.h"
#include "fs/map.h"

// Reads [off, off+len) cut at the file's size into `out` (BLOCK_BYTES aligned, len rounded up to
// whole blocks must fit when off is aligned). Returns bytes read; -EIO, -EFSCORRUPTED. Shares the
// gate by itself.
YIELDS MUST_USE ssize_t data_read(struct inode *inode, uint64_t off, size_t len, void *out);

// A write in two halves; the caller holds the gate shared. The pass reads in the pages that are only
// partly written over, promises blocks (-ENOSPC, -EDQUOT never), and makes sure that the pages can
// be had; apply adds and fills them. -EFBIG past what the mapping can hold. The struct starts
// zeroed but for the first three members; a pass that is run again gives back the promises of
// the one before, data_write_fini() those that apply did not take.
struct data_write {
    uint64_t off;
    const void *bytes;              // len of them
    size_t len;
    struct fs *fs;                  // private, as the rest
    bool *takes;                    // of each page: a promised block
    uint32_t page_count;
    uint32_t promised;
};
YIELDS MUST_USE int data_plan_write(struct plan *plan, struct inode *inode, struct data_write *write);
void data_apply_write(struct plan *plan, struct inode *inode, struct data_write *write);   // data, size; times are ops'
void data_write_fini(struct data_write *write);

// Writes back the dirty pages of [off, off+len) and waits for all of them, also those that were
// under way. The first error, which it also keeps in inode->write_error for the next fsync.
// Shares the gate by itself, as fsync does.
YIELDS MUST_USE int data_writeback(struct inode *inode, uint64_t off, uint64_t len);
// fsync: write-back, then commit or wait for the transaction that holds the inode's changes (for
// fdatasync: those it must not lose), or flush the disk when none is left. Returns and clears
// inode->write_error.
YIELDS MUST_USE int data_fsync(struct inode *inode, bool datasync);

// New size. Shrinking frees blocks (an orphan meanwhile, when it takes several transactions) and
// zeros the rest of the last block; growing only moves the size. Caller holds the gate alone.
// `update`: called in the first apply half, with the size set, for times, mode and log record.
YIELDS MUST_USE int data_truncate(struct inode *inode, uint64_t size, void (*update)(struct plan *plan, struct inode *inode, void *arg), void *arg);
// fallocate(2): mode 0, KEEP_SIZE, PUNCH_HOLE|KEEP_SIZE, ZERO_RANGE[|KEEP_SIZE]; COLLAPSE_RANGE and
// INSERT_RANGE on extents. Gate alone. `update`: called once, in the apply half of the last transaction; when it
// fails in the middle, after all in one of its own, with what was done of the range.
struct data_done {
    uint64_t off, end;              // bytes
};
YIELDS MUST_USE int data_fallocate(struct inode *inode, int mode, uint64_t off, uint64_t len, void (*update)(struct plan *plan, struct inode *inode, const struct data_done *done, void *arg), void *arg);
// SEEK_DATA, SEEK_HOLE: the offset, or -ENXIO. Shares the gate by itself.
YIELDS MUST_USE int64_t data_seek(struct inode *inode, uint64_t off, int whence);

// Drops every page without writing it: the inode is being deleted. The caller holds the gate alone.
void data_forget(struct inode *inode);
// The size that applications see becomes the disk's, where no dirty page is left that would take it along.
YIELDS MUST_USE int data_settle_size(struct inode *inode);
// Of all inodes, the oldest dirty data first: until no more than `dirty_max` pages are dirty (0: every
// page that was dirty at the call is written). Errors stay with the inodes; the first is returned.
// The caller holds no gate.
YIELDS MUST_USE int data_writeback_some(struct fs *fs, uint64_t dirty_max);
// Recovery's last step: a predecessor's busy pages go back to their files, as dirty ones, in place of what the
// replay made there. Those of files that are gone, or that lie behind the end, are dropped. *pages: how many were given
// back. The caller holds no gate.
YIELDS MUST_USE int data_adopt_busy(struct fs *fs, uint64_t *pages);
