// SPDX-License-Identifier: MIT
// writeback_test.c - what happens between a write and the disk: full volumes, faults, cuts, crowds.
#include "fs/data_rig.h"

#include <linux/falloc.h>

#include "dev/fault.h"
#include "fs/data_internal.h"

static void with_rig(const struct fs_rig_options *options, fs_rig_body *first, fs_rig_body *second, void *arg)
{
    struct fs_rig rig;
    fs_rig_init(&rig, options);
    fs_rig_run(&rig, first, arg);
    if (second)
        fs_rig_run(&rig, second, arg);
    fs_rig_fsck(&rig);
    fs_rig_fini(&rig);
}

// --- far offsets -------------------------------------------------------------------------------

#define FAR_END ((MAP_LBLOCK_MAX + 1) << BLOCK_SHIFT)

static void far_write(struct fs_rig *rig, void *arg)
{
    struct inode *file = file_make(rig->fs, "far");
    uint8_t bytes[10000];
    fill_pattern(bytes, sizeof bytes, 0, 5);
    assert_int_equal(file_write(file, FAR_END - 10000, bytes, 10000), 0);
    assert_int_equal(file_write(file, FAR_END - 9999, bytes, 10000), -EFBIG);
    assert_int_equal(file_write(file, FAR_END, bytes, 1), -EFBIG);
    assert_int_equal(file_truncate(file, FAR_END + 1), -EFBIG);
    assert_int_equal(file->size, FAR_END);
    expect_bytes(file, FAR_END - 10000, bytes, 10000);
    assert_int_equal(data_seek(file, 0, SEEK_DATA), (FAR_END - 10000) & ~4095ull);
    inode_put(file);
}

static void far_check(struct fs_rig *rig, void *arg)
{
    struct inode *file = file_open(rig->fs, "far");
    uint8_t bytes[10000];
    fill_pattern(bytes, sizeof bytes, 0, 5);
    assert_int_equal(file->size, FAR_END);
    expect_bytes(file, FAR_END - 10000, bytes, 10000);
    expect_zeros(file, FAR_END / 2, 5000);
    inode_put(file);
}

static void a_file_reaches_to_16_tib_and_no_further(void **state)
{
    with_rig(&(struct fs_rig_options){.fast_disk = true}, far_write, far_check, NULL);
}

// --- a full volume -----------------------------------------------------------------------------

struct fill {
    struct prng chance;
    uint64_t accepted;
    uint64_t offs[4096];
};

static void fill_body(struct fs_rig *rig, void *arg)
{
    struct fill *fill = arg;
    struct inode *file = file_make(rig->fs, "full");
    AUTO_FREE uint8_t *bytes = xmalloc(5000);
    int rc = 0;
    prng_seed(&fill->chance, 3);
    while (fill->accepted < ARRAY_LEN(fill->offs)) {
        // Single blocks with gaps: the tree needs blocks of its own too.
        uint64_t off = (fill->accepted * 3 + prng_below(&fill->chance, 2)) << BLOCK_SHIFT;
        fill_pattern(bytes, 5000, off, 1);
        rc = file_write(file, off, bytes, 4000);
        if (rc < 0)
            break;
        fill->offs[fill->accepted++] = off;
    }
    assert_int_equal(rc, -ENOSPC);
    assert_true(fill->accepted > 500);
    assert_int_equal(file_write(file, 0, bytes, 0), 0);
    assert_int_equal(data_fsync(file, false), 0);
    assert_int_equal(fs_sync(rig->fs), 0);
    assert_int_equal(rig->fs->reserved_blocks, 0);
    assert_int_equal(rig->fs->claimed_blocks, 0);

    // What was freed can be used at once, by way of a commit.
    assert_int_equal(file_truncate(file, fill->offs[fill->accepted / 2]), 0);
    fill->accepted /= 2;
    struct inode *other = file_make(rig->fs, "next");
    for (uint32_t i = 0; i < fill->accepted / 2; i++)
        assert_int_equal(file_write(other, (uint64_t)i << BLOCK_SHIFT, bytes, 4096), 0);
    assert_int_equal(data_fsync(other, false), 0);
    inode_put(other);
    inode_put(file);
}

static void fill_check(struct fs_rig *rig, void *arg)
{
    struct fill *fill = arg;
    struct inode *file = file_open(rig->fs, "full");
    AUTO_FREE uint8_t *bytes = xmalloc(5000);
    for (uint64_t i = 0; i < fill->accepted; i++) {
        fill_pattern(bytes, 5000, fill->offs[i], 1);
        expect_bytes(file, fill->offs[i], bytes, 4000);
    }
    inode_put(file);
}

static void every_byte_that_a_full_volume_accepted_reaches_the_disk(void **state)
{
    struct fill *fill = xcalloc(1, sizeof *fill);
    with_rig(&(struct fs_rig_options){.blocks = 4096, .mke2fs = "-J size=4 -m 0", .pages = 8192}, fill_body, fill_check, fill);
    *fill = (struct fill){0};
    with_rig(&(struct fs_rig_options){.blocks = 4096, .mke2fs = "-J size=4 -O ^extent,^64bit", .pages = 128}, fill_body, fill_check, fill);
    free(fill);
}

// --- many runs at once -------------------------------------------------------------------------

// The first run makes the arrays, and what was one hole is then several: the fourth lies over a border.
static void far_batch(struct fs_rig *rig, void *arg)
{
    struct inode *file = file_make(rig->fs, "old");
    const uint64_t off = (12 + 1024 + 100) * BLOCK_BYTES;
    const size_t len = 1100 * BLOCK_BYTES;
    AUTO_FREE uint8_t *bytes = xmalloc(len);
    fill_pattern(bytes, len, off, 3);
    for (size_t at = 0; at < len; at += 50 * BLOCK_BYTES)
        assert_int_equal(file_write(file, off + at, bytes + at, 50 * BLOCK_BYTES), 0);
    assert_int_equal(data_fsync(file, false), 0);
    inode_gate_alone(file);
    data_forget(file);
    inode_gate_open(file);
    expect_bytes(file, off, bytes, len);
    inode_put(file);
}

static void runs_of_one_batch_share_the_arrays_of_an_indirect_file(void **state)
{
    with_rig(&(struct fs_rig_options){.mke2fs = "-O ^extent,^64bit", .fast_disk = true, .no_flusher = true}, far_batch, NULL, NULL);
}

// --- damage ------------------------------------------------------------------------------------

static int write_back(void *arg)
{
    return data_writeback(arg, 0, UINT64_MAX);
}

// Two files whose roots lead to one leaf write to the same hole, one of them more than the other.
static void shared_leaf(struct fs_rig *rig, void *arg)
{
    struct inode *a = file_make(rig->fs, "a"), *b = file_make(rig->fs, "b");
    uint8_t bytes[2 * BLOCK_BYTES] = {1};
    for (uint64_t lblock = 0; lblock < 20; lblock += 2)
        assert_int_equal(file_write(a, lblock << BLOCK_SHIFT, bytes, 1), 0);
    assert_int_equal(data_fsync(a, false), 0);
    b->d = a->d;
    b->size = a->size;
    assert_int_equal(file_write(a, 100 << BLOCK_SHIFT, bytes, BLOCK_BYTES), 0);
    assert_int_equal(file_write(b, 100 << BLOCK_SHIFT, bytes, 2 * BLOCK_BYTES), 0);

    struct rt_group group;
    rt_group_init(&group, rig->rt);
    rt_group_go(&group, "a", write_back, a);
    rt_group_go(&group, "b", write_back, b);
    int rc = rt_group_wait(&group);
    assert_true(rc == 0 || rc == -EFSCORRUPTED);            // 0: one had mapped before the other looked
    assert_int_equal(data_fsync(a, false) + data_fsync(b, false), rc);      // one is told, one is safe
    *(uint32_t *)arg += rc < 0;
    assert_int_equal(rig->fs->reserved_blocks, 0);
    assert_int_equal(rig->fs->claimed_blocks, 0);
    inode_put(a);
    inode_put(b);
}

static void of_two_files_with_one_leaf_the_second_to_map_is_refused(void **state)
{
    uint32_t refused = 0;
    for (uint64_t seed = 1; seed <= 6; seed++) {
        struct fs_rig rig;
        fs_rig_init(&rig, &(struct fs_rig_options){.seed = seed, .fast_disk = true, .no_flusher = true});
        fs_rig_run_killed(&rig, shared_leaf, &refused);
        fs_rig_fini(&rig);
    }
    assert_true(refused > 0);
}

// --- disks that fail ---------------------------------------------------------------------------

// On the rig's volume all metadata and the journal stand before this block.
#define DATA_FIRST 2040u

static int break_writes(struct fs_rig *rig, uint64_t block, uint64_t count)
{
    int id = dev_fault_add(rig->dev, &(struct fault_rule){.ops = FAULT_ON_WRITE, .kind = FAULT_FAIL,
                                                          .block_first = block, .block_count = count});
    assert_true(id > 0);
    return id;
}

static void failing_in_place(struct fs_rig *rig, void *arg)
{
    struct inode *file = file_make(rig->fs, "a");
    AUTO_FREE uint8_t *bytes = xmalloc(20000);
    struct map_run run;
    fill_pattern(bytes, 20000, 0, 1);
    assert_int_equal(file_write(file, 0, bytes, 20000), 0);
    assert_int_equal(data_fsync(file, false), 0);
    assert_int_equal(map_lookup(NULL, file, 1, 1, &run), 0);

    int id = break_writes(rig, run.block, 1);
    assert_int_equal(file_write(file, 4096, bytes, 4096), 0);
    assert_int_equal(data_fsync(file, false), -EIO);
    assert_int_equal(data_fsync(file, false), 0);           // said once, and not tried for ever
    assert_int_equal(file->pages.dirty_count, 0);
    dev_fault_remove(rig->dev, id);
    assert_int_equal(file_write(file, 4096, bytes, 4096), 0);
    assert_int_equal(data_fsync(file, true), 0);
    expect_bytes(file, 4096, bytes, 4096);
    inode_put(file);
}

// Write-back in the background has met it; who asks for all to be on the disk must hear of it.
static void failing_behind_sync(struct fs_rig *rig, void *arg)
{
    struct inode *file = file_make(rig->fs, "a");
    assert_int_equal(file_write(file, 0, "some bytes", 10), 0);
    int id = break_writes(rig, DATA_FIRST, rig->fs->geo.block_count - DATA_FIRST);
    assert_int_equal(data_writeback(file, 0, 4096), -EIO);
    dev_fault_remove(rig->dev, id);
    assert_int_equal(fs_write_all(rig->fs), 0);     // which nobody hears of
    assert_int_equal(fs_sync(rig->fs), -EIO);
    assert_int_equal(fs_sync(rig->fs), 0);
    assert_int_equal(data_fsync(file, false), -EIO);
    inode_put(file);
}

static void a_failed_write_is_reported_by_one_sync_too(void **state)
{
    with_rig(&(struct fs_rig_options){.fast_disk = true, .no_flusher = true}, failing_behind_sync, NULL, NULL);
}

static void a_failed_write_in_place_is_reported_by_one_fsync(void **state)
{
    with_rig(&(struct fs_rig_options){.fast_disk = true, .no_flusher = true}, failing_in_place, NULL, NULL);
}

static void failing_delayed(struct fs_rig *rig, void *arg)
{
    struct inode *file = file_make(rig->fs, "a");
    AUTO_FREE uint8_t *bytes = xmalloc(20000);
    uint64_t free_before = rig->fs->free_blocks;
    fill_pattern(bytes, 20000, 0, 1);
    int id = break_writes(rig, DATA_FIRST, rig->fs->geo.block_count - DATA_FIRST);
    assert_int_equal(file_write(file, 0, bytes, 20000), 0);
    assert_int_equal(rig->fs->reserved_blocks, 5);
    assert_int_equal(data_writeback(file, 0, 20000), -EIO);
    assert_int_equal(data_fsync(file, false), -EIO);
    assert_int_equal(data_fsync(file, false), 0);
    assert_int_equal(rig->fs->reserved_blocks, 0);
    assert_int_equal(rig->fs->claimed_blocks, 0);
    assert_int_equal(rig->fs->free_blocks, free_before);
    assert_int_equal(file->d.size, 0);                      // no size without the bytes
    dev_fault_remove(rig->dev, id);

    assert_int_equal(file_write(file, 0, bytes, 20000), 0);
    assert_int_equal(data_fsync(file, false), 0);
    assert_int_equal(file->d.size, 20000);
    inode_put(file);
}

static void a_failed_delayed_write_gives_its_blocks_back(void **state)
{
    with_rig(&(struct fs_rig_options){.fast_disk = true, .no_flusher = true}, failing_delayed, NULL, NULL);
}

static void failing_read(struct fs_rig *rig, void *arg)
{
    struct inode *file = file_open(rig->fs, "a");
    AUTO_FREE uint8_t *out = xblocks(8);
    struct map_run run;
    assert_int_equal(map_lookup(NULL, file, 2, 1, &run), 0);
    int id = dev_fault_add(rig->dev, &(struct fault_rule){.ops = FAULT_ON_READ, .block_first = run.block, .block_count = 1});
    assert_true(id > 0);
    assert_int_equal(data_read(file, 0, 20000, out), -EIO);
    assert_int_equal(data_read(file, 0, 8192, out), 8192);
    // Part of a page needs the rest of it.
    assert_int_equal(file_write(file, 9000, "x", 1), -EIO);
    assert_int_equal(file_write(file, 3, "x", 1), 0);
    assert_int_equal(file_truncate(file, 9000), -EIO);
    assert_int_equal(file->size, 20000);
    dev_fault_remove(rig->dev, id);
    inode_put(file);
}

static void a_failed_read_fails_what_needs_it_and_nothing_else(void **state)
{
    with_rig(&(struct fs_rig_options){.fast_disk = true, .no_flusher = true}, failing_delayed, failing_read, NULL);
}

// --- behind the end ----------------------------------------------------------------------------

// A crash can leave a block with bytes that the size does not cover.
static struct inode *file_with_tail(struct fs *fs, const char *name)
{
    struct inode *file = file_make(fs, name);
    AUTO_FREE uint8_t *bytes = xmalloc(8192);
    fill_pattern(bytes, 8192, 0, 1);
    assert_int_equal(file_write(file, 0, bytes, 8192), 0);
    assert_int_equal(data_fsync(file, false), 0);
    inode_gate_alone(file);
    data_forget(file);
    inode_gate_open(file);
    file->size = file->d.size = 4196;
    file->sealed = false;           // behind the guard's back
    return file;
}

static void tail_body(struct fs_rig *rig, void *arg)
{
    struct inode *a = file_with_tail(rig->fs, "a"), *b = file_with_tail(rig->fs, "b"), *c = file_with_tail(rig->fs, "c");
    assert_int_equal(file_truncate(a, 8192), 0);
    expect_zeros(a, 4196, 8192 - 4196);
    assert_int_equal(file_write(b, 20000, "b", 1), 0);
    expect_zeros(b, 4196, 20000 - 4196);
    assert_int_equal(file_fallocate(c, 0, 0, 12288), 0);
    expect_zeros(c, 4196, 12288 - 4196);
    inode_put(a);
    inode_put(b);
    inode_put(c);
}

static void tail_check(struct fs_rig *rig, void *arg)
{
    struct inode *a = file_open(rig->fs, "a"), *b = file_open(rig->fs, "b"), *c = file_open(rig->fs, "c");
    expect_zeros(a, 4196, 8192 - 4196);
    expect_zeros(b, 4196, 20000 - 4196);
    expect_zeros(c, 4196, 12288 - 4196);
    inode_put(a);
    inode_put(b);
    inode_put(c);
}

static void bytes_behind_the_end_never_come_to_light(void **state)
{
    with_rig(&(struct fs_rig_options){.fast_disk = true}, tail_body, tail_check, NULL);
}

// --- power cuts --------------------------------------------------------------------------------

#define CUT_SIZE 100000u
#define CUT_SHORT 30000u

struct cut {
    uint8_t bytes[CUT_SIZE];
    int durable;                    // how far fsync has confirmed
};

static void cut_body(struct fs_rig *rig, void *arg)
{
    struct cut *cut = arg;
    struct inode *file = file_make(rig->fs, "f");
    assert_int_equal(file_write(file, 0, cut->bytes, 50000), 0);
    assert_int_equal(data_fsync(file, false), 0);
    cut->durable = 1;
    assert_int_equal(file_write(file, 50000, cut->bytes + 50000, 50000), 0);
    assert_int_equal(file_fallocate(file, FALLOC_FL_KEEP_SIZE, 200000, 300000), 0);
    assert_int_equal(file_fallocate(file, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 60000, 20000), 0);
    assert_int_equal(data_fsync(file, true), 0);
    cut->durable = 2;
    assert_int_equal(file_truncate(file, CUT_SHORT), 0);
    assert_int_equal(file_truncate(file, CUT_SIZE), 0);
    assert_int_equal(data_fsync(file, false), 0);
    cut->durable = 3;
    inode_put(file);
}

static bool byte_may_be(const struct cut *cut, uint64_t i, uint8_t byte)
{
    bool zero_ok = cut->durable == 0 || i >= CUT_SHORT, value_ok = cut->durable < 3 || i < CUT_SHORT;
    if (cut->durable == 1 && i < 50000 && byte == 0)
        return false;               // nothing that was durable is zeroed before step 3 begins
    if (cut->durable >= 2 && i >= 60000 && i < 80000)
        return byte == 0;
    return (zero_ok && byte == 0) || (value_ok && byte == cut->bytes[i]);
}

// Every byte is what the file had at some time, or zero; nothing that fsync confirmed is lost; nothing
// of what the disk held before is seen.
static void cut_check(struct fs_rig *rig, void *arg)
{
    struct cut *cut = arg;
    struct inode *root = root_of(rig->fs);
    struct dir_entry entry;
    int rc = dir_lookup(NULL, root, name_of("f"), &entry);
    inode_put(root);
    if (rc != 0 && !(rc == -ENOENT && cut->durable == 0))
        fail_msg("after step %d the name answers %d", cut->durable, rc);
    if (rc < 0)
        return;
    struct inode *file = file_open(rig->fs, "f");
    if (cut->durable == 1)
        assert_true(file->size >= 50000);
    if (cut->durable == 2)
        assert_true(file->size == CUT_SIZE || file->size == CUT_SHORT);
    if (cut->durable == 3)
        assert_int_equal(file->size, CUT_SIZE);
    AUTO_FREE uint8_t *out = xblocks(64);
    assert_int_equal(data_read(file, 0, file->size, out), file->size);
    for (uint64_t i = 0; i < file->size; i++)
        if (!byte_may_be(cut, i, out[i]))
            fail_msg("after step %d byte %llu is %02x", cut->durable, (unsigned long long)i, out[i]);
    inode_put(file);
}

static void run_cuts(struct fs_rig_options options, struct cut *cut)
{
    bool was_cut = true;
    for (uint64_t nth = 1; was_cut; nth++) {
        struct fs_rig rig;
        options.seed = nth;
        cut->durable = 0;
        fs_rig_init(&rig, &options);
        was_cut = fs_rig_run_cut(&rig, nth, cut_body, cut);
        fs_rig_run(&rig, cut_check, cut);
        fs_rig_fsck(&rig);
        fs_rig_fini(&rig);
    }
    assert_int_equal(cut->durable, 3);
}

static void a_power_cut_loses_nothing_that_fsync_confirmed_and_shows_nothing_old(void **state)
{
    struct cut *cut = xcalloc(1, sizeof *cut);
    fill_pattern(cut->bytes, CUT_SIZE, 0, 77);
    run_cuts((struct fs_rig_options){.blocks = 2560, .mke2fs = "-J size=4", .garbage = true, .fast_disk = true}, cut);
    run_cuts((struct fs_rig_options){.blocks = 2560, .mke2fs = "-J size=4", .garbage = true, .fast_disk = true, .journal_data = true}, cut);
    free(cut);
}

// --- crowds ------------------------------------------------------------------------------------

#define CROWD 6u
#define REGION 150000u

struct crowd {
    struct fs *fs;
    struct inode *inode;
    bool shapes;                    // the regions are punched and allocated too
};

struct worker {
    struct crowd *crowd;
    uint32_t number;
};

static void worker_step(struct worker *worker, struct prng *chance, uint8_t *model)
{
    struct inode *inode = worker->crowd->inode;
    uint64_t base = (uint64_t)worker->number * REGION, off = prng_below(chance, REGION - 20000);
    size_t len = 1 + prng_below(chance, 20000);
    switch (prng_below(chance, 8)) {
    case 0:
        if (!worker->crowd->shapes)
            break;
        assert_int_equal(file_fallocate(inode, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, base + off, len), 0);
        memset(model + off, 0, len);
        break;
    case 1:
        if (worker->crowd->shapes)
            assert_int_equal(file_fallocate(inode, FALLOC_FL_KEEP_SIZE, base + off, len), 0);
        break;
    case 2:
        assert_int_equal(data_fsync(inode, false), 0);
        break;
    case 3: case 4:
        expect_bytes(inode, base + off, model + off, len);
        break;
    default:
        fill_pattern(model + off, len, off, prng_next(chance));
        assert_int_equal(file_write(inode, base + off, model + off, len), 0);
    }
}

static int worker_run(void *arg)
{
    struct worker *worker = arg;
    struct prng chance;
    AUTO_FREE uint8_t *model = xcalloc(1, REGION);
    prng_seed(&chance, 1000 + worker->number);
    for (uint32_t i = 0; i < 120; i++)
        worker_step(worker, &chance, model);
    expect_bytes(worker->crowd->inode, (uint64_t)worker->number * REGION, model, REGION);
    return 0;
}

static void crowd_body(struct fs_rig *rig, void *arg)
{
    struct crowd crowds[2] = {{rig->fs, file_make(rig->fs, "a"), true}, {rig->fs, file_make(rig->fs, "b"), false}};
    struct worker workers[2 * CROWD];
    struct rt_group group;
    rt_group_init(&group, rig->rt);
    for (uint32_t i = 0; i < 2; i++)
        assert_int_equal(file_truncate(crowds[i].inode, CROWD * REGION), 0);
    for (uint32_t i = 0; i < ARRAY_LEN(workers); i++) {
        workers[i] = (struct worker){&crowds[i % 2], i / 2};
        rt_group_go(&group, "worker", worker_run, &workers[i]);
    }
    assert_int_equal(rt_group_wait(&group), 0);
    inode_put(crowds[0].inode);
    inode_put(crowds[1].inode);
}

static void many_fibres_share_files_and_too_few_pages(void **state)
{
    for (uint64_t seed = 1; seed <= 3; seed++)
        with_rig(&(struct fs_rig_options){.seed = seed, .pages = 40 + 20 * seed, .mke2fs = "-J size=4"}, crowd_body, NULL, NULL);
    with_rig(&(struct fs_rig_options){.seed = 9, .pages = 100, .journal_data = true}, crowd_body, NULL, NULL);
}

// --- settling ----------------------------------------------------------------------------------

#define STREAM_PAGES 2000u

static void stream_body(struct fs_rig *rig, void *arg)
{
    struct inode *file = file_make(rig->fs, "stream");
    uint8_t bytes[3 * BLOCK_BYTES];
    uint64_t commits = rig->fs->stats.commits;
    for (uint64_t at = 0; at < STREAM_PAGES; at += 3) {
        fill_pattern(bytes, sizeof bytes, at, 8);
        assert_int_equal(file_write(file, at << BLOCK_SHIFT, bytes, sizeof bytes), 0);
        assert_true(page_pool_free(rig->pages) >= page_pool_size(rig->pages) / 16);
    }
    // Once for half of the pool, whatever the pool and whoever commits.
    assert_in_range(rig->fs->stats.commits - commits, 1, 2 * STREAM_PAGES / page_pool_size(rig->pages) + 2);
    for (uint64_t at = 0; at < STREAM_PAGES; at += 3) {
        fill_pattern(bytes, sizeof bytes, at, 8);
        expect_bytes(file, at << BLOCK_SHIFT, bytes, sizeof bytes);
    }
    inode_put(file);
}

static void a_stream_through_few_pages_commits_once_for_half_of_them(void **state)
{
    for (uint64_t pages = 16; pages <= 256; pages *= 4)
        for (uint32_t way = 0; way < 4; way++)
            with_rig(&(struct fs_rig_options){.seed = pages, .pages = pages, .fast_disk = true, .no_flusher = way & 1, .journal_data = way & 2},
                     stream_body, NULL, NULL);
}

// Pages of its file wait for the commit, so the file waits too; afterwards it may go.
static void patient_body(struct fs_rig *rig, void *arg)
{
    struct inode *file = file_make(rig->fs, "a");
    uint32_t ino = file->ino;
    rig->fs->inode_limit = 0;
    assert_int_equal(file_write(file, 0, "some bytes", 10), 0);
    assert_int_equal(data_writeback(file, 0, 4096), 0);
    inode_encode_all(rig->fs);
    assert_int_equal(page_pool_settling(rig->pages), 1);
    assert_int_equal(file->pages.settle_count, 1);
    inode_put(file);
    file = inode_peek(rig->fs, ino);
    assert_non_null(file);
    inode_put(file);
    inode_cache_trim(rig->fs);
    assert_int_equal(fs_commit(rig->fs), 0);
    assert_int_equal(page_pool_settling(rig->pages), 0);
    assert_null(inode_peek(rig->fs, ino));
}

static void a_file_stays_in_memory_until_its_pages_have_settled(void **state)
{
    with_rig(&(struct fs_rig_options){.fast_disk = true, .no_flusher = true}, patient_body, NULL, NULL);
}

// Written in place, and no transaction will ever commit for it.
static void in_place_body(struct fs_rig *rig, void *arg)
{
    struct inode *file = file_make(rig->fs, "a");
    assert_int_equal(file_write(file, 0, "some bytes", 10), 0);
    assert_int_equal(data_fsync(file, false), 0);
    struct page *page = page_find(rig->pages, &file->pages, 0);
    data_page_dirty(file, page, false);
    assert_int_equal(data_writeback(file, 0, 4096), 0);
    assert_true(jrn_running_empty(rig->fs->jrn));
    assert_int_equal(page_pool_settling(rig->pages), 1);
    uint64_t commits = rig->fs->stats.commits;
    assert_int_equal(fs_commit(rig->fs), 0);
    assert_int_equal(page_pool_settling(rig->pages), 0);
    assert_int_equal(rig->fs->stats.commits, commits);
    inode_put(file);
}

static void what_no_transaction_holds_settles_without_one(void **state)
{
    with_rig(&(struct fs_rig_options){.fast_disk = true, .no_flusher = true}, in_place_body, NULL, NULL);
}

// Nothing will ever commit again: whoever wants pages is told so.
static void aborted_body(struct fs_rig *rig, void *arg)
{
    struct inode *file = file_make(rig->fs, "a");
    uint8_t bytes[4 * BLOCK_BYTES] = {7};
    for (uint64_t at = 0; at < 28; at += 4)
        assert_int_equal(file_write(file, at << BLOCK_SHIFT, bytes, sizeof bytes), 0);
    assert_int_equal(data_writeback(file, 0, UINT64_MAX), 0);
    fs_abort(rig->fs, -EIO, "a test");
    assert_int_equal(file_write(file, 40 << BLOCK_SHIFT, bytes, sizeof bytes), -EROFS);
    assert_int_equal(file_truncate(file, 100), -EROFS);
    inode_put(file);
}

static void an_aborted_volume_keeps_nobody_waiting_for_pages(void **state)
{
    struct fs_rig rig;
    fs_rig_init(&rig, &(struct fs_rig_options){.pages = 32, .fast_disk = true, .no_flusher = true});
    fs_rig_run_killed(&rig, aborted_body, NULL);
    fs_rig_fini(&rig);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_file_reaches_to_16_tib_and_no_further),
        cmocka_unit_test(every_byte_that_a_full_volume_accepted_reaches_the_disk),
        cmocka_unit_test(runs_of_one_batch_share_the_arrays_of_an_indirect_file),
        cmocka_unit_test(of_two_files_with_one_leaf_the_second_to_map_is_refused),
        cmocka_unit_test(a_failed_write_in_place_is_reported_by_one_fsync),
        cmocka_unit_test(a_failed_write_is_reported_by_one_sync_too),
        cmocka_unit_test(a_failed_delayed_write_gives_its_blocks_back),
        cmocka_unit_test(a_failed_read_fails_what_needs_it_and_nothing_else),
        cmocka_unit_test(bytes_behind_the_end_never_come_to_light),
        cmocka_unit_test(a_power_cut_loses_nothing_that_fsync_confirmed_and_shows_nothing_old),
        cmocka_unit_test(many_fibres_share_files_and_too_few_pages),
        cmocka_unit_test(a_stream_through_few_pages_commits_once_for_half_of_them),
        cmocka_unit_test(a_file_stays_in_memory_until_its_pages_have_settled),
        cmocka_unit_test(what_no_transaction_holds_settles_without_one),
        cmocka_unit_test(an_aborted_volume_keeps_nobody_waiting_for_pages),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
