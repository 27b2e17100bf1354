// SPDX-License-Identifier: MIT
// fallocate_test.c - sizes, blocks and errors of truncate(2) and fallocate(2), as ext4 has them.
#include "fs/data_rig.h"

#include <linux/falloc.h>

#define PUNCH (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE)

static void with_rig(const struct fs_rig_options *options, fs_rig_body *first, fs_rig_body *second)
{
    struct fs_rig rig;
    fs_rig_init(&rig, options);
    fs_rig_run(&rig, first, NULL);
    if (second)
        fs_rig_run(&rig, second, NULL);
    fs_rig_fsck(&rig);
    fs_rig_fini(&rig);
}

static void write_some(struct inode *file, uint64_t off, size_t len)
{
    AUTO_FREE uint8_t *bytes = xmalloc(len);
    memset(bytes, 'x', len);
    assert_int_equal(file_write(file, off, bytes, len), 0);
}

struct told {
    uint32_t count;
    uint64_t size;
};

static void tell(struct plan *plan, struct inode *inode, void *arg)
{
    struct told *told = arg;
    told->count++;
    told->size = inode->size;
}

static void tell_done(struct plan *plan, struct inode *inode, const struct data_done *done, void *arg)
{
    assert_true(done->end > done->off);
    tell(plan, inode, arg);
}

// --- preallocation -----------------------------------------------------------------------------

static void keep_size_body(struct fs_rig *rig, void *arg)
{
    struct inode *file = file_make(rig->fs, "a");
    uint64_t free_before = rig->fs->free_blocks;
    write_some(file, 0, 5000);
    assert_int_equal(file_fallocate(file, FALLOC_FL_KEEP_SIZE, 0, 1 << 20), 0);
    assert_int_equal(file->size, 5000);
    assert_int_equal(file->d.blocks, 256 * 8);
    assert_int_equal(rig->fs->reserved_blocks, 0);      // what was promised has its blocks now
    assert_int_equal(file_truncate(file, 5000), 0);     // the same size: gives up what is behind it
    assert_int_equal(file->d.blocks, 2 * 8);
    assert_int_equal(file_fallocate(file, 0, 100000, 100000), 0);
    assert_int_equal(file->size, 200000);
    assert_int_equal(data_seek(file, 8192, SEEK_DATA), -ENXIO);        // allocated, but nothing there
    write_some(file, 150000, 1);
    assert_int_equal(data_seek(file, 8192, SEEK_DATA), 150000 & ~4095);
    assert_int_equal(data_seek(file, 150000, SEEK_HOLE), (150000 & ~4095) + 4096);
    assert_int_equal(file_truncate(file, 0), 0);
    assert_int_equal(file->d.blocks, 0);
    assert_int_equal(rig->fs->free_blocks, free_before);
    inode_put(file);
}

static void preallocated_blocks_are_holes_until_written_and_go_with_truncate(void **state)
{
    with_rig(&(struct fs_rig_options){.fast_disk = true}, keep_size_body, NULL);
}

static void full_body(struct fs_rig *rig, void *arg)
{
    struct inode *file = file_make(rig->fs, "a");
    assert_int_equal(file_fallocate(file, 0, 0, 1ull << 40), -ENOSPC);
    assert_true(file->size > 0);                        // what it got stays, as in ext4
    assert_int_equal(file->size, file->d.blocks * 512);
    assert_int_equal(file_truncate(file, 0), 0);
    inode_put(file);
}

static void a_full_volume_keeps_what_was_allocated(void **state)
{
    with_rig(&(struct fs_rig_options){.fast_disk = true, .blocks = 8192}, full_body, NULL);
}

// --- sizes on the disk -------------------------------------------------------------------------

static void punched_tail_body(struct fs_rig *rig, void *arg)
{
    struct inode *a = file_make(rig->fs, "a"), *b = file_make(rig->fs, "b");
    write_some(a, 0, 100000);
    assert_int_equal(file_fallocate(a, PUNCH, 50000, 100000), 0);      // nothing was written back yet
    write_some(b, 0, 100000);
    assert_int_equal(file_fallocate(b, FALLOC_FL_ZERO_RANGE, 50000, 60000), 0);
    inode_put(a);
    inode_put(b);
}

static void punched_tail_check(struct fs_rig *rig, void *arg)
{
    struct inode *a = file_open(rig->fs, "a"), *b = file_open(rig->fs, "b");
    assert_int_equal(a->size, 100000);
    assert_int_equal(a->d.blocks, 13 * 8);
    expect_zeros(a, 50000, 50000);
    assert_int_equal(b->size, 110000);
    expect_zeros(b, 50000, 60000);
    inode_put(a);
    inode_put(b);
}

static void a_punched_tail_does_not_cost_the_size(void **state)
{
    with_rig(&(struct fs_rig_options){.fast_disk = true, .no_flusher = true}, punched_tail_body, punched_tail_check);
}

static void told_body(struct fs_rig *rig, void *arg)
{
    struct inode *file = file_make(rig->fs, "a");
    struct told told = {0};
    write_some(file, 0, 300000);
    assert_int_equal(data_fsync(file, false), 0);
    inode_gate_alone(file);
    assert_int_equal(data_truncate(file, 100000, tell, &told), 0);
    assert_int_equal(told.count, 1);
    assert_int_equal(told.size, 100000);
    assert_int_equal(data_truncate(file, 400000, tell, &told), 0);
    assert_int_equal(told.size, 400000);
    assert_int_equal(data_fallocate(file, FALLOC_FL_COLLAPSE_RANGE, 4096, 8192, tell_done, &told), 0);
    assert_int_equal(told.size, 400000 - 8192);
    assert_int_equal(data_fallocate(file, FALLOC_FL_INSERT_RANGE, 4096, 8192, tell_done, &told), 0);
    assert_int_equal(told.size, 400000);
    assert_int_equal(data_fallocate(file, PUNCH, 0, 50000, tell_done, &told), 0);
    assert_int_equal(data_fallocate(file, PUNCH, 500000, 50000, tell_done, &told), 0);
    assert_int_equal(told.count, 6);
    assert_false(orphan_is(file));
    inode_gate_open(file);
    inode_put(file);
}

static void the_caller_takes_part_once_with_the_size_set(void **state)
{
    with_rig(&(struct fs_rig_options){.fast_disk = true}, told_body, NULL);
}

// --- errors ------------------------------------------------------------------------------------

static void errors_body(struct fs_rig *rig, void *arg)
{
    struct inode *file = file_make(rig->fs, "a");
    const uint64_t limit = (MAP_LBLOCK_MAX + 1) << BLOCK_SHIFT;
    write_some(file, 0, 40960);
    assert_int_equal(file_fallocate(file, 0, 0, 0), -EINVAL);
    assert_int_equal(file_fallocate(file, 0, limit, 1), -EFBIG);
    assert_int_equal(file_fallocate(file, FALLOC_FL_PUNCH_HOLE, 0, 4096), -EOPNOTSUPP);
    assert_int_equal(file_fallocate(file, FALLOC_FL_COLLAPSE_RANGE, 1, 4096), -EINVAL);
    assert_int_equal(file_fallocate(file, FALLOC_FL_COLLAPSE_RANGE, 0, 40960), -EINVAL);
    assert_int_equal(file_fallocate(file, FALLOC_FL_INSERT_RANGE, 40960, 4096), -EINVAL);
    assert_int_equal(file_fallocate(file, FALLOC_FL_INSERT_RANGE, 0, limit - 4096), -EFBIG);
    assert_int_equal(data_seek(file, 40960, SEEK_HOLE), -ENXIO);
    assert_int_equal(data_seek(file, 40959, SEEK_HOLE), 40960);
    inode_put(file);
}

static void impossible_ranges_are_refused_as_ext4_does(void **state)
{
    with_rig(&(struct fs_rig_options){.fast_disk = true}, errors_body, NULL);
}

// --- truncation over several transactions --------------------------------------------------------

static void long_make(struct fs_rig *rig, void *arg)
{
    struct inode *file = file_make(rig->fs, "long");
    for (uint64_t i = 0; i < 1500; i++)
        write_some(file, 2 * i << BLOCK_SHIFT, 4096);
    assert_int_equal(data_fsync(file, false), 0);
    inode_put(file);
}

static void long_truncate(struct fs_rig *rig, void *arg)
{
    struct inode *file = file_open(rig->fs, "long");
    assert_int_equal(file_truncate(file, 5000), 0);
    assert_false(orphan_is(file));
    assert_int_equal(fs_commit(rig->fs), 0);
    inode_put(file);
}

static void long_check(struct fs_rig *rig, void *arg)
{
    struct inode *file = file_open(rig->fs, "long");
    if (file->size == 5000)
        assert_int_equal(file->d.blocks, 8);            // the mount has finished it
    else
        assert_int_equal(file->size, (2 * 1499 + 1) << BLOCK_SHIFT);
    inode_put(file);
}

static void a_cut_truncation_is_finished_by_the_next_mount(void **state)
{
    bool was_cut = true;
    for (uint64_t nth = 1; was_cut; nth += 13) {
        struct fs_rig rig;
        fs_rig_init(&rig, &(struct fs_rig_options){.fast_disk = true, .blocks = 8192, .mke2fs = "-J size=4", .seed = nth});
        fs_rig_run(&rig, long_make, NULL);
        was_cut = fs_rig_run_cut(&rig, nth, long_truncate, NULL);
        fs_rig_run(&rig, long_check, NULL);
        fs_rig_fsck(&rig);
        fs_rig_fini(&rig);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(preallocated_blocks_are_holes_until_written_and_go_with_truncate),
        cmocka_unit_test(a_full_volume_keeps_what_was_allocated),
        cmocka_unit_test(a_punched_tail_does_not_cost_the_size),
        cmocka_unit_test(the_caller_takes_part_once_with_the_size_set),
        cmocka_unit_test(impossible_ranges_are_refused_as_ext4_does),
        cmocka_unit_test(a_cut_truncation_is_finished_by_the_next_mount),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
