// SPDX-License-Identifier: MIT
// data_adopt_test.c - a server dies, the disk does not: its successor gives the pages back to their files.
//
// What the replay of the log would have done (names, sizes) the second body of each test does by hand.
#include "fs/data_rig.h"

#include <linux/falloc.h>

#include "fs/alloc_internal.h"
#include "fs/data_internal.h"

#define PAGES 12u
#define LEN (PAGES * BLOCK_BYTES - 1000)

struct gap {
    uint8_t bytes[PAGES * BLOCK_BYTES];
    uint32_t variant;
};

// Committed: the file with `len` bytes of another pattern.
static struct inode *durable_file(struct fs *fs, const char *name, size_t len)
{
    struct inode *file = file_make(fs, name);
    AUTO_FREE uint8_t *bytes = xmalloc(len + 1);
    fill_pattern(bytes, len, 0, 4321);
    if (len > 0)
        assert_int_equal(file_write(file, 0, bytes, len), 0);
    assert_int_equal(data_fsync(file, false), 0);
    return file;
}

static uint64_t adopt(struct fs_rig *rig)
{
    uint64_t pages;
    assert_int_equal(data_adopt_busy(rig->fs, &pages), 0);
    return pages;
}

static void run_gap(uint32_t variants, fs_rig_body *before, fs_rig_body *after, fs_rig_body *remounted, const struct fs_rig_options *options)
{
    struct gap *gap = xcalloc(1, sizeof *gap);
    fill_pattern(gap->bytes, sizeof gap->bytes, 0, 99);
    for (gap->variant = 0; gap->variant < variants; gap->variant++) {
        struct fs_rig rig;
        fs_rig_init(&rig, options);
        fs_rig_run_crashed(&rig, before, gap);
        fs_rig_run(&rig, after, gap);
        if (remounted)
            fs_rig_run(&rig, remounted, gap);
        fs_rig_fsck(&rig);
        fs_rig_fini(&rig);
    }
    free(gap);
}

static const struct fs_rig_options quick = {.fast_disk = true, .no_flusher = true};

// --- pages of the gap ------------------------------------------------------------------------------

// Variants: where the bytes are when the server dies.
enum { IN_MEMORY, PARTLY_WRITTEN, MAPPED, MAPPED_AND_CHANGED, VARIANTS };

static void write_gap(struct fs_rig *rig, void *arg)
{
    struct gap *gap = arg;
    struct inode *file = durable_file(rig->fs, "f", 3 * BLOCK_BYTES + 500);
    assert_int_equal(file_write(file, 0, gap->bytes, LEN - 5000), 0);
    if (gap->variant == PARTLY_WRITTEN)
        assert_int_equal(data_writeback(file, 2 * BLOCK_BYTES, 3 * BLOCK_BYTES), 0);
    else if (gap->variant != IN_MEMORY)
        assert_int_equal(data_writeback(file, 0, UINT64_MAX), 0);
    if (gap->variant != MAPPED)
        assert_int_equal(file_write(file, LEN - 9000, gap->bytes + LEN - 9000, 9000), 0);
    inode_put(file);
}

static size_t gap_len(const struct gap *gap)
{
    return gap->variant == MAPPED ? LEN - 5000 : LEN;
}

static void check_gap(struct fs_rig *rig, void *arg)
{
    struct gap *gap = arg;
    struct inode *file = file_open(rig->fs, "f");
    assert_int_equal(file->size, gap_len(gap));
    expect_bytes(file, 0, gap->bytes, gap_len(gap));
    inode_put(file);
}

static void take_gap(struct fs_rig *rig, void *arg)
{
    struct gap *gap = arg;
    struct inode *file = file_open(rig->fs, "f");
    assert_int_equal(file->size, 3 * BLOCK_BYTES + 500);
    file->size = gap_len(gap);
    assert_int_equal(adopt(rig), DIV_ROUND_UP(gap_len(gap), BLOCK_BYTES));
    assert_int_equal(file->pages.dirty_count, DIV_ROUND_UP(gap_len(gap), BLOCK_BYTES));
    assert_int_equal(file->delayed, DIV_ROUND_UP(gap_len(gap), BLOCK_BYTES) - 4);
    assert_int_equal(rig->fs->reserved_blocks, file->delayed);
    check_gap(rig, gap);
    assert_int_equal(file_write(file, 100, gap->bytes + 100, 10000), 0);
    assert_int_equal(data_fsync(file, false), 0);
    assert_int_equal(rig->fs->reserved_blocks, 0);
    inode_put(file);
}

static void bytes_of_the_gap_are_in_their_files_again(void **state)
{
    run_gap(VARIANTS, write_gap, take_gap, check_gap, &quick);
    run_gap(VARIANTS, write_gap, take_gap, check_gap, &(struct fs_rig_options){.fast_disk = true, .no_flusher = true, .mke2fs = "-O ^extent,^64bit"});
    run_gap(VARIANTS, write_gap, take_gap, check_gap, &(struct fs_rig_options){.fast_disk = true, .no_flusher = true, .journal_data = true});
}

// --- what has no place any more ----------------------------------------------------------------------

static void write_four(struct fs_rig *rig, void *arg)
{
    struct gap *gap = arg;
    static const char *const names[] = {"short", "gone", "again", "kept"};
    for (uint32_t i = 0; i < 4; i++) {
        struct inode *file = durable_file(rig->fs, names[i], 100);
        assert_int_equal(file_write(file, 0, gap->bytes, LEN), 0);
        inode_put(file);
    }
    struct inode *fresh = file_make(rig->fs, "never");      // its creation is not replayed
    assert_int_equal(file_write(fresh, 0, gap->bytes, LEN), 0);
    inode_put(fresh);
}

static void take_some(struct fs_rig *rig, void *arg)
{
    struct gap *gap = arg;
    struct inode *root = root_of(rig->fs), *brief = file_open(rig->fs, "short"), *again = file_open(rig->fs, "again"),
                 *kept = file_open(rig->fs, "kept"), *gone = file_open(rig->fs, "gone");
    again->d.generation++;
    again->pages.generation++;
    inode_gate_alone(again);
    data_forget(again);
    inode_gate_open(again);
    brief->size = 2 * BLOCK_BYTES + 10;
    kept->size = LEN;
    assert_int_equal(name_unlink(root, name_of("gone"), gone), 0);
    assert_int_equal(inode_delete(gone), 0);
    assert_int_equal(adopt(rig), 3 + PAGES);
    assert_int_equal(again->pages.page_count, 0);
    expect_bytes(brief, 0, gap->bytes, 2 * BLOCK_BYTES + 10);
    assert_int_equal(file_truncate(brief, 3 * BLOCK_BYTES), 0);
    expect_zeros(brief, 2 * BLOCK_BYTES + 10, BLOCK_BYTES - 10);
    expect_bytes(kept, 0, gap->bytes, LEN);
    assert_int_equal(page_pool_dirty(rig->pages), kept->pages.dirty_count + brief->pages.dirty_count);
    again->d.generation--;          // a test may not leave it so: nothing said that it changed
    again->pages.generation--;
    inode_put(brief);
    inode_put(again);
    inode_put(kept);
    inode_put(root);
}

static void pages_without_a_file_or_behind_its_end_are_dropped(void **state)
{
    run_gap(1, write_four, take_some, NULL, &quick);
}

// --- replay ------------------------------------------------------------------------------------------

static void write_zeroed(struct fs_rig *rig, void *arg)
{
    struct gap *gap = arg;
    struct inode *file = durable_file(rig->fs, "f", LEN);
    assert_int_equal(file_truncate(file, BLOCK_BYTES + 100), 0);
    assert_int_equal(file_write(file, BLOCK_BYTES + 50, gap->bytes, 2 * BLOCK_BYTES), 0);
    if (gap->variant)
        assert_int_equal(data_writeback(file, 0, UINT64_MAX), 0);
    inode_put(file);
}

static void check_zeroed(struct fs_rig *rig, void *arg)
{
    struct gap *gap = arg;
    struct inode *file = file_open(rig->fs, "f");
    AUTO_FREE uint8_t *old = xmalloc(LEN);
    fill_pattern(old, LEN, 0, 4321);
    assert_int_equal(file->size, 3 * BLOCK_BYTES + 50);
    expect_bytes(file, 0, old, BLOCK_BYTES + 50);
    expect_bytes(file, BLOCK_BYTES + 50, gap->bytes, 2 * BLOCK_BYTES);
    inode_put(file);
}

// The truncation is replayed: it zeroes part of the page; the write is replayed as a size.
static void replay_zeroed(struct fs_rig *rig, void *arg)
{
    struct inode *file = file_open(rig->fs, "f");
    assert_int_equal(file->size, LEN);
    assert_int_equal(file_truncate(file, BLOCK_BYTES + 100), 0);
    assert_int_equal(file->pages.dirty_count, 1);
    file->size = 3 * BLOCK_BYTES + 50;
    inode_put(file);
}

static void take_zeroed(struct fs_rig *rig, void *arg)
{
    replay_zeroed(rig, arg);
    assert_int_equal(adopt(rig), 3);
    check_zeroed(rig, arg);
    struct inode *file = file_open(rig->fs, "f");
    assert_int_equal(rig->fs->reserved_blocks, file->delayed);
    assert_int_equal(file->pages.page_count, 3);
    inode_put(file);
}

static void a_page_goes_over_what_the_replay_made(void **state)
{
    run_gap(2, write_zeroed, take_zeroed, check_zeroed, &quick);
}

// The successor dies, too, after a commit of its own that has a number of the dead one's; the third does it all
// again, or (the truncation has committed) only what is left.
static void replay_and_commit(struct fs_rig *rig, void *arg)
{
    replay_zeroed(rig, arg);
    assert_int_equal(fs_commit(rig->fs), 0);
}

static void take_after_two(struct fs_rig *rig, void *arg)
{
    struct inode *file = file_open(rig->fs, "f");
    assert_int_equal(file->size, BLOCK_BYTES + 100);
    file->size = 3 * BLOCK_BYTES + 50;
    assert_int_equal(adopt(rig), 3);
    check_zeroed(rig, arg);
    inode_put(file);
}

static void a_third_server_finds_what_the_first_had(void **state)
{
    struct gap *gap = xcalloc(1, sizeof *gap);
    fill_pattern(gap->bytes, sizeof gap->bytes, 0, 99);
    for (gap->variant = 0; gap->variant < 2; gap->variant++) {
        struct fs_rig rig;
        fs_rig_init(&rig, &quick);
        fs_rig_run_crashed(&rig, write_zeroed, gap);
        fs_rig_run_crashed(&rig, replay_and_commit, gap);
        fs_rig_run(&rig, take_after_two, gap);
        fs_rig_run(&rig, check_zeroed, gap);
        fs_rig_fsck(&rig);
        fs_rig_fini(&rig);
    }
    free(gap);
}

// --- room --------------------------------------------------------------------------------------------

static void fill_volume(struct fs_rig *rig, void *arg)
{
    struct gap *gap = arg;
    struct inode *big = durable_file(rig->fs, "big", 0), *file = durable_file(rig->fs, "f", 0);
    assert_int_equal(file_write(file, 0, gap->bytes, LEN), 0);
    int rc = 0;
    for (uint64_t at = 0; rc == 0; at++)
        rc = file_write(big, at * BLOCK_BYTES, gap->bytes, BLOCK_BYTES);
    assert_int_equal(rc, -ENOSPC);
    assert_int_equal(data_writeback(big, 0, UINT64_MAX), 0);
    inode_put(big);
    inode_put(file);
}

static void take_full(struct fs_rig *rig, void *arg)
{
    struct gap *gap = arg;
    struct inode *big = file_open(rig->fs, "big"), *file = file_open(rig->fs, "f");
    file->size = LEN;
    big->size = 1ull << 30;
    assert_true(adopt(rig) > PAGES);
    assert_int_equal(rig->fs->reserved_blocks, big->delayed + file->delayed);
    assert_int_equal(alloc_reserve(rig->fs, 1, false), -ENOSPC);
    expect_bytes(file, 0, gap->bytes, LEN);
    assert_int_equal(data_fsync(file, false), 0);
    assert_int_equal(data_fsync(big, false), 0);
    inode_put(big);
    inode_put(file);
}

static void what_a_full_volume_had_promised_stays_promised(void **state)
{
    run_gap(1, fill_volume, take_full, NULL, &(struct fs_rig_options){.blocks = 2560, .mke2fs = "-J size=4", .fast_disk = true, .no_flusher = true});
}

// As many busy pages as there can be; the replay needs some of its own all the same.
static void fill_pool(struct fs_rig *rig, void *arg)
{
    struct gap *gap = arg;
    struct inode *file = durable_file(rig->fs, "f", LEN);
    while (page_pool_room(rig->pages) > 0)
        assert_int_equal(file_write(file, (page_pool_dirty(rig->pages) + 20) * BLOCK_BYTES, gap->bytes, BLOCK_BYTES), 0);
    inode_put(file);
}

static void take_pool(struct fs_rig *rig, void *arg)
{
    struct inode *file = file_open(rig->fs, "f");
    for (uint32_t size = LEN - 100; size > BLOCK_BYTES; size -= 700)
        assert_int_equal(file_truncate(file, size), 0);
    file->size = 1 << 20;
    assert_int_equal(adopt(rig), page_pool_size(rig->pages) - page_pool_size(rig->pages) / 16);
    assert_int_equal(data_fsync(file, false), 0);
    assert_int_equal(page_pool_free(rig->pages), page_pool_size(rig->pages));
    inode_put(file);
}

static void a_pool_full_of_busy_pages_leaves_room_for_the_replay(void **state)
{
    run_gap(1, fill_pool, take_pool, NULL, &(struct fs_rig_options){.pages = 64, .fast_disk = true, .no_flusher = true});
}

// --- clean pages -------------------------------------------------------------------------------------

static void write_clean(struct fs_rig *rig, void *arg)
{
    struct gap *gap = arg;
    struct inode *kept = file_make(rig->fs, "kept"), *cut = file_make(rig->fs, "cut");
    assert_int_equal(file_write(kept, 0, gap->bytes, LEN), 0);
    assert_int_equal(file_write(cut, 0, gap->bytes, LEN), 0);
    assert_int_equal(fs_sync(rig->fs), 0);
    inode_put(kept);
    inode_put(cut);
}

static void take_clean(struct fs_rig *rig, void *arg)
{
    struct gap *gap = arg;
    struct inode *cut = file_open(rig->fs, "cut");
    assert_int_equal(file_truncate(cut, 0), 0);
    assert_int_equal(file_truncate(cut, LEN), 0);
    while (page_pool_adopt_some(rig->pages))
        ;
    assert_int_equal(adopt(rig), 0);
    expect_zeros(cut, 0, LEN);
    struct inode *kept = file_open(rig->fs, "kept");
    assert_int_equal(kept->pages.page_count, PAGES);
    expect_bytes(kept, 0, gap->bytes, LEN);
    inode_put(cut);
    inode_put(kept);
}

static void clean_pages_stay_warm_unless_their_file_was_changed_first(void **state)
{
    run_gap(1, write_clean, take_clean, NULL, &quick);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bytes_of_the_gap_are_in_their_files_again),
        cmocka_unit_test(pages_without_a_file_or_behind_its_end_are_dropped),
        cmocka_unit_test(a_page_goes_over_what_the_replay_made),
        cmocka_unit_test(a_third_server_finds_what_the_first_had),
        cmocka_unit_test(what_a_full_volume_had_promised_stays_promised),
        cmocka_unit_test(a_pool_full_of_busy_pages_leaves_room_for_the_replay),
        cmocka_unit_test(clean_pages_stay_warm_unless_their_file_was_changed_first),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
