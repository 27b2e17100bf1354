// SPDX-License-Identifier: MIT
// fs_test.c - mount, allocator, inodes and orphans against images of the real mke2fs and e2fsck.
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/bitmap.h"
#include "base/check.h"
#include "dev/fault.h"
#include "fs/alloc_internal.h"
#include "fs/data.h"
#include "fs/fs_internal.h"
#include "fs/fs_rig.h"
#include "fs/inode.h"
#include "fs/inode_internal.h"
#include "fs/map.h"
#include "fs/orphan.h"
#include "rt/prng.h"

// --- helpers: the smallest operations that need no directory --------------------------------------

struct make {
    uint16_t mode;
    uint32_t ino, want;             // want: this number, or 0
    struct inode *root, *inode;
};

static int make_plan(struct plan *plan, void *arg)
{
    struct make *make = arg;
    int rc = plan_inode(plan, EXT4_ROOT_INO, &make->root);
    if (rc < 0)
        return rc;
    make->ino = make->want;
    rc = make->want ? alloc_claim_this_inode(plan, make->want)
                    : alloc_claim_inode(plan, make->root, make->mode, &make->ino);
    if (rc < 0)
        return rc;
    orphan_plan(plan);
    return inode_plan_new(plan, make->ino);
}

// An inode without a name, on the orphan list: what O_TMPFILE makes. Referenced.
static int make_orphan_file(struct fs *fs, struct make *make)
{
    struct plan plan;
    plan_init(&plan, fs);
    int rc = plan_run(&plan, make_plan, make);
    if (rc == 0) {
        bool is_dir = (make->mode & 0170000) == 0040000;
        alloc_apply_use_inode(&plan, make->ino, is_dir);
        make->inode = inode_apply_new(&plan, &(struct inode_new){
            .ino = make->ino, .mode = make->mode, .uid = 1000, .gid = 1000, .generation = make->ino * 7 + 1});
        orphan_apply_add(&plan, make->inode);
    }
    plan_end(&plan);
    return rc;
}

struct grow {
    struct inode *inode;
    uint64_t lblock, goal, block;
    uint32_t want, got;
};

static int grow_plan(struct plan *plan, void *arg)
{
    struct grow *grow = arg;
    int rc = alloc_claim_run(plan, grow->goal, grow->want, false, &grow->block, &grow->got);
    if (rc < 0)
        return rc;
    plan_will_dirty_inode(plan, grow->inode);
    return map_plan_set(plan, grow->inode, grow->lblock, grow->got);
}

// Maps one run of blocks (their content is whatever the disk holds).
static int grow_file(struct fs *fs, struct grow *grow)
{
    struct plan plan;
    plan_init(&plan, fs);
    plan.privileged = true;
    int rc = plan_run(&plan, grow_plan, grow);
    if (rc == 0) {
        struct map_run run = {.state = MAP_WRITTEN, .lblock = grow->lblock, .count = grow->got, .block = grow->block};
        alloc_apply_use(&plan, grow->block, grow->got, 0);
        map_apply_set(&plan, grow->inode, &run);
        grow->inode->size = MAX(grow->inode->size, (grow->lblock + grow->got) * BLOCK_BYTES);
        grow->inode->d.size = grow->inode->size;
        inode_dirty(grow->inode, true);
    }
    plan_end(&plan);
    return rc;
}

static void wait_for_deletion(struct fs *fs)
{
    while (fs->deleters > 0)
        waitq_wait(fs->rt, &fs->deleters_done);
}

// Gives up the reference; the inode is deleted since it has no link.
static void drop_file(struct inode *inode)
{
    inode_forget(inode, 0);
    inode_put(inode);
}

struct numbers {
    uint64_t free_blocks, free_inodes, used_dirs;
};

static struct numbers numbers_of(const struct fs *fs)
{
    return (struct numbers){fs->free_blocks, fs->free_inodes, fs->used_dirs};
}

static void assert_same_numbers(const struct fs *fs, const struct numbers *before)
{
    assert_int_equal(fs->free_blocks, before->free_blocks);
    assert_int_equal(fs->free_inodes, before->free_inodes);
    assert_int_equal(fs->used_dirs, before->used_dirs);
}

static struct inode *must_make(struct fs *fs, uint16_t mode)
{
    struct make make = {.mode = mode};
    assert_int_equal(make_orphan_file(fs, &make), 0);
    return make.inode;
}

// Appends `blocks` blocks in runs of at most `run`, leaving holes of `hole` blocks between them.
static void must_grow(struct inode *inode, uint32_t blocks, uint32_t run, uint32_t hole)
{
    struct grow grow = {.inode = inode};
    for (uint32_t done = 0; done < blocks; done += grow.got) {
        grow.want = MIN(run, blocks - done);
        assert_int_equal(grow_file(inode->fs, &grow), 0);
        grow.lblock += grow.got + hole;
        grow.goal = grow.block + grow.got;
    }
}

// --- mount -----------------------------------------------------------------------------------------

static void body_nothing(struct fs_rig *rig, void *arg)
{
    assert_int_equal(fs_writable(rig->fs), 0);
}

// A little of everything: files of several shapes come, go, and one is left to the unmount.
static void body_work(struct fs_rig *rig, void *arg)
{
    struct fs *fs = rig->fs;
    struct numbers before = numbers_of(fs);
    struct inode *inodes[8];
    static const uint16_t modes[8] = {0100644, 0040755, 0100600, 0010644, 0020600, 0100644, 0140755, 0040700};
    for (size_t i = 0; i < ARRAY_LEN(modes); i++) {
        inodes[i] = must_make(fs, modes[i]);
        if (modes[i] == 0100644)
            must_grow(inodes[i], 700, i == 0 ? 300 : 3, i == 0 ? 0 : 2);
        else if (modes[i] == 0100600)
            must_grow(inodes[i], 1, 1, 0);
    }
    assert_int_equal(fs_commit(fs), 0);
    for (size_t i = 0; i < ARRAY_LEN(modes); i++)
        drop_file(inodes[i]);
    wait_for_deletion(fs);
    assert_true(list_empty(&fs->orphans));
    assert_same_numbers(fs, &before);
    struct inode *last = must_make(fs, 0100644);
    must_grow(last, 40, 8, 0);
    inode_put(last);
}

static const char *const feature_sets[] = {
    "", "-O ^metadata_csum,uninit_bg", "-O ^metadata_csum,^uninit_bg", "-O ^extent,^64bit,^flex_bg,^metadata_csum",
    "-O ^extent,^64bit,^flex_bg,^metadata_csum,^huge_file,^dir_nlink,^extra_isize,^uninit_bg -I 128",
    "-O ^64bit", "-O ^flex_bg", "-O sparse_super2", "-I 128", "-O orphan_file", "-O metadata_csum_seed",
    "-O ^resize_inode,meta_bg", "-g 2048", "-g 2048 -O ^flex_bg", "-O ^dir_index", "-J size=8", "-m 0",
    "-O large_dir,^huge_file", "-O ^sparse_super,^flex_bg,^resize_inode -g 4096", "-N 128", "-O project",
};

static void volumes_of_many_feature_sets_stay_clean_through_work(void **state)
{
    for (size_t i = 0; i < ARRAY_LEN(feature_sets); i++) {
        struct fs_rig rig;
        print_message("feature set: %s\n", feature_sets[i]);
        fs_rig_init(&rig, &(struct fs_rig_options){.mke2fs = feature_sets[i], .fast_disk = true});
        fs_rig_run(&rig, body_work, NULL);
        fs_rig_fsck(&rig);
        fs_rig_run(&rig, body_work, NULL);
        fs_rig_fsck(&rig);
        fs_rig_fini(&rig);
    }
}

static void junk_in_unused_inode_tables_never_becomes_an_inode(void **state)
{
    static const char *const sets[] = {"-g 2048", "-O ^metadata_csum,uninit_bg -g 2048"};
    for (size_t i = 0; i < ARRAY_LEN(sets); i++) {
        struct fs_rig rig;
        fs_rig_init(&rig, &(struct fs_rig_options){.mke2fs = sets[i], .fast_disk = true, .garbage = true});
        fs_rig_run(&rig, body_work, NULL);
        fs_rig_fsck(&rig);
        fs_rig_fini(&rig);
    }
}

static void what_is_not_supported_is_refused_by_name(void **state)
{
    static const struct { const char *mke2fs, *word; } refused[] = {
        {"-O casefold", "casefold"}, {"-O encrypt", "encrypt"}, {"-O inline_data", "inline_data"},
        {"-O mmp", "mmp"}, {"-O bigalloc", "bigalloc"}, {"-O ^has_journal", "has_journal"}, {"-O ea_inode", "ea_inode"},
        {"-O verity", "verity"},
    };
    for (size_t i = 0; i < ARRAY_LEN(refused); i++) {
        struct fs_rig rig;
        fs_rig_init(&rig, &(struct fs_rig_options){.mke2fs = refused[i].mke2fs, .fast_disk = true});
        assert_int_equal(fs_rig_refused(&rig), -EOPNOTSUPP);
        assert_non_null(strstr(rig.err.text, refused[i].word));
        fs_rig_fsck(&rig);
        fs_rig_fini(&rig);
    }
}

static void poke(struct fs_rig *rig, uint64_t block, uint32_t byte)
{
    uint8_t bytes[BLOCK_BYTES];
    memcpy(bytes, sim_disk_peek(rig->disk, block), BLOCK_BYTES);
    bytes[byte] ^= 0xff;
    sim_disk_poke(rig->disk, block, bytes);
}

static void a_damaged_group_descriptor_refuses_the_mount_with_its_number(void **state)
{
    struct fs_rig rig;
    fs_rig_init(&rig, &(struct fs_rig_options){.mke2fs = "-g 2048", .fast_disk = true});
    poke(&rig, 1, 3 * 64 + 12);
    assert_int_equal(fs_rig_refused(&rig), -EFSBADCRC);
    assert_non_null(strstr(rig.err.text, "block group 3"));
    fs_rig_fini(&rig);
}

static void body_leave_uncommitted(struct fs_rig *rig, void *arg)
{
    struct inode *inode = must_make(rig->fs, 0100644);
    must_grow(inode, 300, 7, 1);
    assert_int_equal(fs_commit(rig->fs), 0);
    must_grow(must_make(rig->fs, 0100600), 10, 1, 0);
}

static void body_read_only(struct fs_rig *rig, void *arg)
{
    assert_int_equal(fs_writable(rig->fs), -EROFS);
    struct make make = {.mode = 0100644};
    assert_int_equal(make_orphan_file(rig->fs, &make), -EROFS);
}

static void a_read_only_mount_replays_the_journal_and_writes_nothing_else(void **state)
{
    struct fs_rig rig;
    fs_rig_init(&rig, &(struct fs_rig_options){.fast_disk = true});
    fs_rig_run_killed(&rig, body_leave_uncommitted, NULL);
    rig.options.read_only = true;
    fs_rig_run(&rig, body_read_only, NULL);
    uint64_t steps = fs_rig_steps(&rig);
    fs_rig_run(&rig, body_read_only, NULL);
    assert_int_equal(fs_rig_steps(&rig), steps);
    rig.options.read_only = false;
    fs_rig_run(&rig, NULL, NULL);
    fs_rig_fsck(&rig);
    fs_rig_fini(&rig);
}

static void a_dirty_journal_on_a_read_only_disk_is_refused(void **state)
{
    struct fs_rig rig;
    fs_rig_init(&rig, &(struct fs_rig_options){.fast_disk = true});
    fs_rig_run_killed(&rig, body_leave_uncommitted, NULL);
    rig.options.read_only = rig.options.disk_read_only = true;
    assert_int_equal(fs_rig_refused(&rig), -EROFS);
    assert_non_null(strstr(rig.err.text, "replayed"));
    fs_rig_fini(&rig);
}

// --- orphans ---------------------------------------------------------------------------------------

static void body_note_numbers(struct fs_rig *rig, void *arg)
{
    *(struct numbers *)arg = numbers_of(rig->fs);
}

static void body_compare_numbers(struct fs_rig *rig, void *arg)
{
    assert_true(list_empty(&rig->fs->orphans));
    assert_same_numbers(rig->fs, arg);
}

static void body_make_many_orphans(struct fs_rig *rig, void *arg)
{
    for (int i = 0; i < 60; i++) {
        struct inode *inode = must_make(rig->fs, i % 7 == 3 ? 0040755 : 0100644);
        if (i % 7 != 3)
            must_grow(inode, (uint32_t)i, 5, (uint32_t)i % 3);
        if (i % 4 == 1)
            drop_file(inode);       // leaves the middle of the list
    }
    wait_for_deletion(rig->fs);
    assert_int_equal(fs_commit(rig->fs), 0);
}

static void orphans_of_a_killed_server_are_deleted_by_the_next_mount(void **state)
{
    for (int i = 0; i < 2; i++) {
        struct fs_rig rig;
        struct numbers before;
        fs_rig_init(&rig, &(struct fs_rig_options){.mke2fs = i ? "-O orphan_file" : "", .fast_disk = true});
        fs_rig_run(&rig, body_note_numbers, &before);
        fs_rig_run_killed(&rig, body_make_many_orphans, NULL);
        fs_rig_run(&rig, body_compare_numbers, &before);
        fs_rig_fsck(&rig);
        fs_rig_fini(&rig);
    }
}

static void body_orphans_kept(struct fs_rig *rig, void *arg)
{
    struct fs *fs = rig->fs;
    uint32_t count = 0;
    LIST_EACH(link, &fs->orphans)
        count++;
    assert_int_equal(count, 45);
    struct inode *inode = inode_ref(LIST_ENTRY(fs->orphans.next, struct inode, orphan_link));
    inode_forget(inode, 1);
    inode_put(inode);
    wait_for_deletion(fs);
    count = 0;
    LIST_EACH(link, &fs->orphans)
        count++;
    assert_int_equal(count, 44);
}

static void kept_orphans_live_until_they_are_forgotten_or_unmounted(void **state)
{
    struct fs_rig rig;
    struct numbers before;
    fs_rig_init(&rig, &(struct fs_rig_options){.fast_disk = true});
    fs_rig_run(&rig, body_note_numbers, &before);
    fs_rig_run_killed(&rig, body_make_many_orphans, NULL);
    rig.options.keep_orphans = true;
    fs_rig_run(&rig, body_orphans_kept, NULL);
    fs_rig_run(&rig, body_compare_numbers, &before);
    fs_rig_fsck(&rig);
    fs_rig_fini(&rig);
}

// A ring in the list: the second newest points to itself.
static void body_make_ring(struct fs_rig *rig, void *arg)
{
    must_make(rig->fs, 0100644);
    struct inode *inode = must_make(rig->fs, 0100644);
    inode->d.dtime = inode->ino;
    inode->sealed = false;          // behind the guard's back
    assert_int_equal(fs_commit(rig->fs), 0);
}

static void an_orphan_list_that_runs_in_a_ring_is_cut(void **state)
{
    struct fs_rig rig;
    fs_rig_init(&rig, &(struct fs_rig_options){.fast_disk = true});
    fs_rig_run_killed(&rig, body_make_ring, NULL);
    fs_rig_run(&rig, NULL, NULL);
    fs_rig_run(&rig, NULL, NULL);
    fs_rig_fini(&rig);
}

struct file_move {
    struct inode *inode, *file;
    struct buf *buf;
};

static int file_move_plan(struct plan *plan, void *arg)
{
    struct file_move *move = arg;
    struct map_run run;
    int rc = map_lookup(plan, move->file, 0, 1, &run);
    if (rc < 0)
        return rc;
    orphan_plan(plan);
    plan_will_dirty_inode(plan, move->inode);
    plan_credits(plan, 1);
    struct block_owner owner = {.ino = move->file->ino, .generation = move->file->d.generation};
    return plan_buf(plan, BLOCK_ORPHAN_FILE, &owner, run.block, &move->buf);
}

// As a kernel would have it: the orphan stands in the orphan file and not on the list.
static void body_use_orphan_file(struct fs_rig *rig, void *arg)
{
    struct fs *fs = rig->fs;
    buf_cache_set_guard(fs->bufs, false);       // this server never makes such inodes, and its guard knows
    for (uint32_t i = 0; i < 40; i++) {
        struct file_move move = {.inode = must_make(fs, 0100644)};
        struct plan plan;
        must_grow(move.inode, 9, 2, 1);
        assert_int_equal(inode_get_special(fs, fs->geo.orphan_file_ino, &move.file), 0);
        plan_init(&plan, fs);
        assert_int_equal(plan_run(&plan, file_move_plan, &move), 0);
        orphan_apply_remove(&plan, move.inode);
        struct le32 number = to_le32(move.inode->ino);
        memcpy(move.buf->bytes + 4 * (3 + 5 * i), &number, 4);
        jrn_dirty(fs->jrn, move.buf);
        struct ext4_super_raw *raw = fs_super_raw(fs);
        raw->feature_ro_compat = to_le32(le32(raw->feature_ro_compat) | EXT4_RO_ORPHAN_PRESENT);
        buf_open(fs->bufs, fs->super);
        fs_dirty_super(fs);
        plan_end(&plan);
        inode_put(move.file);
    }
    assert_int_equal(fs_commit(fs), 0);
}

static void orphans_in_an_orphan_file_are_deleted_too(void **state)
{
    struct fs_rig rig;
    struct numbers before;
    fs_rig_init(&rig, &(struct fs_rig_options){.mke2fs = "-O orphan_file", .fast_disk = true});
    fs_rig_run(&rig, body_note_numbers, &before);
    fs_rig_run_killed(&rig, body_use_orphan_file, NULL);
    fs_rig_run(&rig, body_compare_numbers, &before);
    fs_rig_fsck(&rig);
    fs_rig_fini(&rig);
}

#define FIRST_FILE 12u              // what debugfs makes first: 11 is lost+found

static int shrink_plan(struct plan *plan, void *arg)
{
    plan_will_dirty_inode(plan, arg);
    orphan_plan(plan);
    return 0;
}

// A truncation of which only the first transaction was made.
static void body_half_truncation(struct fs_rig *rig, void *arg)
{
    struct inode *inode;
    struct plan plan;
    assert_int_equal(inode_get(rig->fs, FIRST_FILE, &inode), 0);
    assert_true(inode->d.blocks > 80);
    plan_init(&plan, rig->fs);
    assert_int_equal(plan_run(&plan, shrink_plan, inode), 0);
    inode->d.size = inode->size = 5000;
    orphan_apply_add(&plan, inode);
    inode_dirty(inode, true);
    plan_end(&plan);
    assert_int_equal(fs_commit(rig->fs), 0);
}

static void body_check_truncation(struct fs_rig *rig, void *arg)
{
    struct inode *inode;
    assert_true(list_empty(&rig->fs->orphans));
    assert_int_equal(inode_get(rig->fs, FIRST_FILE, &inode), 0);
    assert_int_equal(inode->size, 5000);
    assert_int_equal(inode->d.blocks, 16);
    inode_put(inode);
}

static void an_interrupted_truncation_is_finished_by_the_next_mount(void **state)
{
    static const char *const sets[] = {"", "-O ^extent,^64bit,^flex_bg,^metadata_csum"};
    for (size_t i = 0; i < ARRAY_LEN(sets); i++) {
        struct fs_rig rig;
        fs_rig_init(&rig, &(struct fs_rig_options){.mke2fs = sets[i], .fast_disk = true,
                                                   .debugfs = "write /bin/bash big"});
        fs_rig_run_killed(&rig, body_half_truncation, NULL);
        fs_rig_run(&rig, body_check_truncation, NULL);
        fs_rig_fsck(&rig);
        fs_rig_fini(&rig);
    }
}

// --- room ------------------------------------------------------------------------------------------

static void body_promises(struct fs_rig *rig, void *arg)
{
    struct fs *fs = rig->fs;
    uint64_t room = alloc_available(fs, false, false), root_room = alloc_available(fs, true, false);
    assert_true(root_room == room + fs->geo.reserved_blocks);
    assert_int_equal(alloc_reserve(fs, room + 1, false), -ENOSPC);
    assert_int_equal(alloc_reserve(fs, room, false), 0);
    assert_int_equal(alloc_reserve(fs, 1, false), -ENOSPC);
    assert_int_equal(alloc_reserve(fs, root_room - room, true), 0);
    assert_int_equal(alloc_reserve(fs, 1, true), -ENOSPC);

    struct fs_statfs stat;
    fs_statfs(fs, &stat);
    assert_int_equal(stat.blocks_available, 0);
    assert_int_equal(stat.blocks_free, alloc_metadata_pool(fs));

    // Every promise can be kept, and what they keep back nobody else gets.
    struct inode *inode = must_make(fs, 0100644);
    struct grow grow = {.inode = inode, .want = 1};
    assert_int_equal(grow_file(fs, &grow), -ENOSPC);
    struct plan plan;
    plan_init(&plan, fs);
    for (uint64_t left = root_room, block; left > 0;) {
        uint32_t got;
        int rc = alloc_claim_run(&plan, 0, (uint32_t)MIN(left, (uint64_t)1000), true, &block, &got);
        if (rc == -EAGAIN)
            continue;
        assert_int_equal(rc, 0);
        assert_true(alloc_is_data_range(fs, block, got));
        left -= got;
    }
    plan_end(&plan);                // unused claims go back
    alloc_unreserve(fs, root_room);
    assert_int_equal(fs->claimed_blocks, 0);
    assert_int_equal(alloc_available(fs, false, false), room);
    inode_put(inode);
}

static void promises_are_exact_and_kept(void **state)
{
    struct fs_rig rig;
    fs_rig_init(&rig, &(struct fs_rig_options){.fast_disk = true, .mke2fs = "-g 2048"});
    fs_rig_run(&rig, body_promises, NULL);
    fs_rig_fsck(&rig);
    fs_rig_fini(&rig);
}

// Fills the volume with one file; returns how many blocks it got.
static uint64_t fill(struct inode *inode)
{
    struct grow grow = {.inode = inode};
    uint32_t want = 5000;
    while (want > 0) {
        grow.want = want;
        int rc = grow_file(inode->fs, &grow);
        if (rc == 0) {
            grow.lblock += grow.got;
            grow.goal = grow.block + grow.got;
        } else {
            assert_int_equal(rc, -ENOSPC);
            want /= 2;              // its map needs blocks too
        }
    }
    return grow.lblock;
}

static void body_fill(struct fs_rig *rig, void *arg)
{
    struct fs *fs = rig->fs;
    struct inode *first = must_make(fs, 0100644);
    uint64_t blocks = fill(first);
    assert_true(blocks > 10000);
    assert_in_range(alloc_available(fs, true, false), 0, 2);
    drop_file(first);
    // Its blocks are being freed, and free only after a commit: the next writer waits for both.
    struct inode *second = must_make(fs, 0100644);
    uint64_t again = fill(second);
    assert_in_range(again, blocks - 16, blocks + 16);    // the map may take a few more or less
    drop_file(second);
}

static void a_full_volume_takes_as_much_again_after_a_deletion(void **state)
{
    static const char *const sets[] = {"-g 2048", "-O ^extent,^64bit,^flex_bg,^metadata_csum"};
    for (size_t i = 0; i < ARRAY_LEN(sets); i++) {
        struct fs_rig rig;
        fs_rig_init(&rig, &(struct fs_rig_options){.fast_disk = true, .mke2fs = sets[i]});
        fs_rig_run(&rig, body_fill, NULL);
        fs_rig_fsck(&rig);
        fs_rig_fini(&rig);
    }
}

static void body_inodes_run_out(struct fs_rig *rig, void *arg)
{
    struct fs *fs = rig->fs;
    struct make make = {.mode = 0100644};
    struct inode *inodes[512];
    uint32_t count = 0;
    while (count < ARRAY_LEN(inodes) && make_orphan_file(fs, &make) == 0)
        inodes[count++] = make.inode;
    assert_in_range(count, 50, ARRAY_LEN(inodes) - 1);
    assert_int_equal(make_orphan_file(fs, &make), -ENOSPC);
    assert_int_equal(fs->free_inodes, 0);
    uint32_t freed = inodes[count / 2]->ino;
    drop_file(inodes[count / 2]);
    wait_for_deletion(fs);
    make.want = freed;              // as a replayed operation asks for it
    assert_int_equal(make_orphan_file(fs, &make), 0);
    inode_put(make.inode);
    make.want = inodes[0]->ino;
    assert_int_equal(make_orphan_file(fs, &make), -EEXIST);
    for (uint32_t i = 0; i < count; i++)
        if (i != count / 2)
            inode_put(inodes[i]);
}

static void inode_numbers_run_out_and_come_back(void **state)
{
    struct fs_rig rig;
    fs_rig_init(&rig, &(struct fs_rig_options){.fast_disk = true, .mke2fs = "-N 128"});
    fs_rig_run(&rig, body_inodes_run_out, NULL);
    fs_rig_fsck(&rig);
    fs_rig_fini(&rig);
}

// --- the allocator against a model ---------------------------------------------------------------------

struct owned {
    struct inode *inode;
    struct grow last;
};

static void body_random(struct fs_rig *rig, void *arg)
{
    struct fs *fs = rig->fs;
    struct numbers before = numbers_of(fs);
    struct prng chance;
    struct owned files[24] = {0};
    AUTO_FREE uint8_t *model = xcalloc(1, rig->options.blocks / 8 + 1);
    prng_seed(&chance, rig->options.seed);
    for (int step = 0; step < 3000; step++) {
        struct owned *file = &files[prng_below(&chance, ARRAY_LEN(files))];
        if (!file->inode) {
            file->inode = must_make(fs, 0100644);
            file->last = (struct grow){.inode = file->inode};
        }
        if (prng_below(&chance, 40) == 0) {
            drop_file(file->inode);
            *file = (struct owned){0};
            continue;
        }
        if (prng_below(&chance, 100) == 0)
            assert_int_equal(fs_commit(fs), 0);
        file->last.want = 1 + (uint32_t)prng_below(&chance, prng_below(&chance, 8) ? 12 : 900);
        if (prng_below(&chance, 6) == 0)
            file->last.goal = prng_below(&chance, rig->options.blocks);
        int rc = grow_file(fs, &file->last);
        if (rc == -ENOSPC)
            continue;
        assert_int_equal(rc, 0);
        assert_true(alloc_is_data_range(fs, file->last.block, file->last.got));
        file->last.goal = file->last.block + file->last.got;
        file->last.lblock += file->last.got + prng_below(&chance, 3);
    }
    // No two files share a block.
    for (size_t i = 0; i < ARRAY_LEN(files); i++) {
        struct map_run run = {0};
        for (uint64_t at = 0; files[i].inode; at = run.lblock + run.count) {
            assert_int_equal(map_next(NULL, files[i].inode, at, &run), 0);
            if (run.count == 0)
                break;
            assert_true(bitmap_all_clear(model, (uint32_t)run.block, (uint32_t)run.count));
            bitmap_set_range(model, (uint32_t)run.block, (uint32_t)run.count);
        }
        if (files[i].inode)
            drop_file(files[i].inode);
    }
    wait_for_deletion(fs);
    assert_same_numbers(fs, &before);
    assert_int_equal(fs->claimed_blocks, 0);
    assert_int_equal(fs->claimed_inodes, 0);
}

static void random_growth_and_deletion_never_shares_or_loses_a_block(void **state)
{
    static const char *const sets[] = {"", "-g 1024", "-O ^extent,^64bit,^flex_bg,^metadata_csum", "-O ^metadata_csum,uninit_bg -g 1024"};
    for (size_t i = 0; i < ARRAY_LEN(sets); i++) {
        struct fs_rig rig;
        fs_rig_init(&rig, &(struct fs_rig_options){.fast_disk = true, .mke2fs = sets[i], .seed = 7 + i});
        fs_rig_run(&rig, body_random, NULL);
        fs_rig_fsck(&rig);
        fs_rig_fini(&rig);
    }
}

struct worker {
    struct fs_rig *rig;
    uint64_t seed;
};

static int worker_run(void *arg)
{
    struct worker *worker = arg;
    struct fs *fs = worker->rig->fs;
    struct prng chance;
    prng_seed(&chance, worker->seed);
    for (int round = 0; round < 12; round++) {
        struct make make = {.mode = prng_below(&chance, 5) ? 0100644 : 0040755};
        assert_int_equal(make_orphan_file(fs, &make), 0);
        struct grow grow = {.inode = make.inode, .goal = prng_below(&chance, worker->rig->options.blocks)};
        for (uint64_t i = prng_below(&chance, 40); make.mode == 0100644 && i > 0; i--) {
            grow.want = 1 + (uint32_t)prng_below(&chance, 60);
            assert_int_equal(grow_file(fs, &grow), 0);
            grow.lblock += grow.got + prng_below(&chance, 2);
            grow.goal = grow.block + grow.got;
        }
        if (prng_below(&chance, 4) == 0)
            assert_int_equal(fs_commit(fs), 0);
        if (prng_below(&chance, 8) == 0)
            rt_sleep_until(fs->rt, rt_now_ns(fs->rt) + prng_below(&chance, 2000000000));
        drop_file(make.inode);
    }
    return 0;
}

static void body_concurrent(struct fs_rig *rig, void *arg)
{
    struct numbers before = numbers_of(rig->fs);
    struct worker workers[8];
    struct rt_group group;
    rt_group_init(&group, rig->rt);
    for (size_t i = 0; i < ARRAY_LEN(workers); i++) {
        workers[i] = (struct worker){rig, rig->options.seed * 100 + i};
        rt_group_go(&group, "worker", worker_run, &workers[i]);
    }
    assert_int_equal(rt_group_wait(&group), 0);
    wait_for_deletion(rig->fs);
    assert_same_numbers(rig->fs, &before);
    assert_int_equal(rig->fs->claimed_blocks, 0);
    assert_true(rig->fs->stats.commits > 3);
}

static void many_fibres_and_a_small_journal_do_not_get_in_each_others_way(void **state)
{
    for (uint64_t seed = 1; seed <= 6; seed++) {
        struct fs_rig rig;
        fs_rig_init(&rig, &(struct fs_rig_options){.mke2fs = "-g 1024 -J size=4", .seed = seed, .buf_bytes = 64 * BLOCK_BYTES});
        fs_rig_run(&rig, body_concurrent, NULL);
        fs_rig_fsck(&rig);
        fs_rig_fini(&rig);
    }
}

static void body_small_caches(struct fs_rig *rig, void *arg)
{
    rig->fs->loaded_groups_max = 4;
    rig->fs->inode_limit = 8;
    body_random(rig, arg);
    assert_int_equal(fs_commit(rig->fs), 0);
    for (uint32_t g = 0; g < rig->fs->geo.group_count; g++)
        assert_int_equal(group_load_blocks(rig->fs, g), 0);
    assert_in_range(rig->fs->loaded_groups, 1, 8);
    assert_in_range(rig->fs->inodes.count, 0, 8);
}

static void maps_and_inodes_that_nobody_needs_leave_memory_and_come_back(void **state)
{
    struct fs_rig rig;
    fs_rig_init(&rig, &(struct fs_rig_options){.fast_disk = true, .mke2fs = "-g 256", .seed = 31, .buf_bytes = 16 * BLOCK_BYTES});
    fs_rig_run(&rig, body_small_caches, NULL);
    fs_rig_fsck(&rig);
    fs_rig_fini(&rig);
}

// --- damage ------------------------------------------------------------------------------------------

static void body_avoid_bad_group(struct fs_rig *rig, void *arg)
{
    struct fs *fs = rig->fs;
    uint64_t bad = *(uint64_t *)arg;
    struct inode *inode = must_make(fs, 0100644);
    struct grow grow = {.inode = inode, .want = 1, .goal = bad * fs->geo.blocks_per_group + 100};
    assert_int_equal(grow_file(fs, &grow), 0);
    assert_true(fs->groups[bad].bad);
    assert_true(block_group(&fs->geo, grow.block) != bad);
    fill(inode);
    inode_put(inode);
}

static void a_group_with_a_damaged_bitmap_is_left_alone(void **state)
{
    struct fs_rig rig;
    uint64_t group = 2, bitmap;
    fs_rig_init(&rig, &(struct fs_rig_options){.fast_disk = true, .mke2fs = "-g 2048 -O ^flex_bg"});
    memcpy(&bitmap, (const uint8_t *)sim_disk_peek(rig.disk, 1) + group * 64, 4);
    bitmap &= 0xffffffff;
    // Some group that mke2fs has written a bitmap of.
    poke(&rig, bitmap, 77);
    uint16_t flags;
    memcpy(&flags, (const uint8_t *)sim_disk_peek(rig.disk, 1) + group * 64 + 18, 2);
    if (!(flags & EXT4_BG_BLOCK_UNINIT))
        fs_rig_run(&rig, body_avoid_bad_group, &group);
    fs_rig_fini(&rig);
}

static void body_double_free(struct fs_rig *rig, void *arg)
{
    struct fs *fs = rig->fs;
    struct plan plan;
    struct inode *inode = must_make(fs, 0100644);
    must_grow(inode, 3, 3, 0);
    plan_init(&plan, fs);
    assert_int_equal(alloc_plan_free(&plan, rig->options.blocks - 50, 2), -EFSCORRUPTED);
    plan_end(&plan);
    assert_int_equal(fs_writable(fs), -EROFS);
    struct make make = {.mode = 0100644};
    assert_int_equal(make_orphan_file(fs, &make), -EROFS);
    rt_sleep_until(fs->rt, rt_now_ns(fs->rt) + 1000000000);     // the flusher records the error
    inode_put(inode);
}

static void freeing_a_free_block_makes_the_volume_read_only_and_says_so_on_disk(void **state)
{
    struct fs_rig rig;
    fs_rig_init(&rig, &(struct fs_rig_options){.fast_disk = true});
    fs_rig_run_killed(&rig, body_double_free, NULL);
    const struct ext4_super_raw *raw = (const void *)((const uint8_t *)sim_disk_peek(rig.disk, 0) + EXT4_SUPER_OFFSET);
    assert_true(le16(raw->state) & EXT4_STATE_ERROR);
    assert_true(super_checksum_is_right(raw));
    fs_rig_run(&rig, body_nothing, NULL);
    fs_rig_fini(&rig);
}

static void body_stale(struct fs_rig *rig, void *arg)
{
    struct inode *inode;
    assert_int_equal(inode_get(rig->fs, 0, &inode), -ESTALE);
    assert_int_equal(inode_get(rig->fs, 8, &inode), -ESTALE);
    assert_int_equal(inode_get(rig->fs, 12, &inode), -ESTALE);
    assert_int_equal(inode_get(rig->fs, rig->fs->geo.inode_count, &inode), -ESTALE);
    assert_int_equal(inode_get(rig->fs, rig->fs->geo.inode_count + 1, &inode), -ESTALE);
    assert_int_equal(inode_get(rig->fs, 2, &inode), 0);
    assert_true(inode_is_dir(inode));
    inode_put(inode);
    uint32_t ino;
    inode = must_make(rig->fs, 0100644);
    ino = inode->ino;
    drop_file(inode);
    wait_for_deletion(rig->fs);
    assert_int_equal(inode_get(rig->fs, ino, &inode), -ESTALE);
}

static void a_number_that_is_no_inode_is_stale(void **state)
{
    struct fs_rig rig;
    fs_rig_init(&rig, &(struct fs_rig_options){.fast_disk = true});
    fs_rig_run(&rig, body_stale, NULL);
    fs_rig_fsck(&rig);
    fs_rig_fini(&rig);
}

static void body_bad_inode(struct fs_rig *rig, void *arg)
{
    struct inode *inode;
    assert_int_equal(inode_get(rig->fs, FIRST_FILE, &inode), *(int *)arg);
}

static void a_damaged_inode_is_an_error_and_not_a_crash(void **state)
{
    static const struct { const char *mke2fs; uint32_t byte; int rc; } damage[] = {
        {"", 0x1c, -EFSBADCRC}, {"-O ^metadata_csum", 0x28, -EFSCORRUPTED}, {"-O ^metadata_csum", 0x01, -EFSCORRUPTED},
        {"-O ^metadata_csum", 0x6f, -EFSCORRUPTED}, {"-O ^metadata_csum", 0x6b, -EFSCORRUPTED},
    };
    for (size_t i = 0; i < ARRAY_LEN(damage); i++) {
        struct fs_rig rig;
        uint32_t table;
        int rc = damage[i].rc;
        fs_rig_init(&rig, &(struct fs_rig_options){.fast_disk = true, .mke2fs = damage[i].mke2fs, .debugfs = "write /bin/bash big"});
        memcpy(&table, (const uint8_t *)sim_disk_peek(rig.disk, 1) + 8, 4);
        poke(&rig, table, (FIRST_FILE - 1) * 256 % BLOCK_BYTES + damage[i].byte);
        fs_rig_run(&rig, body_bad_inode, &rc);
        fs_rig_fini(&rig);
    }
}

// Two groups with one inode table: writing one would write the other.
static void metadata_that_overlaps_refuses_the_mount(void **state)
{
    struct fs_rig rig;
    uint8_t bytes[BLOCK_BYTES];
    fs_rig_init(&rig, &(struct fs_rig_options){.fast_disk = true, .mke2fs = "-g 2048 -O ^metadata_csum,^uninit_bg"});
    memcpy(bytes, sim_disk_peek(rig.disk, 1), BLOCK_BYTES);
    memcpy(bytes + 2 * 64 + 8, bytes + 3 * 64 + 8, 4);
    sim_disk_poke(rig.disk, 1, bytes);
    assert_int_equal(fs_rig_refused(&rig), -EFSCORRUPTED);
    fs_rig_fini(&rig);
}

struct mount_fault {
    struct fault_rule rule;
    bool fired;
    int mounted;
};

static void body_mount_under_fault(struct fs_rig *rig, void *arg)
{
    struct mount_fault *fault = arg;
    struct fs_config config = {.rt = rig->rt, .shep = rig->shep, .bufs = rig->bufs, .pages = rig->pages};
    int id = dev_fault_add(rig->dev, &fault->rule);
    fault->mounted = fs_mount(&config, &rig->fs, &rig->err);
    fault->fired = dev_fault_fired(rig->dev, id) > 0;
    dev_fault_clear(rig->dev);
    if (fault->mounted == 0)
        (void)!fs_unmount(rig->fs);
    else
        assert_true(rig->err.text[0] != 0);
    rig->fs = NULL;
}

static void any_request_of_a_mount_may_fail_and_the_next_mount_is_whole(void **state)
{
    static const enum fault_op ops[] = {FAULT_ON_READ, FAULT_ON_WRITE, FAULT_ON_FLUSH};
    struct fs_rig start;
    fs_rig_init(&start, &(struct fs_rig_options){.mke2fs = "-O orphan_file -J size=4", .blocks = 8192, .fast_disk = true});
    fs_rig_run_killed(&start, body_make_many_orphans, NULL);
    for (size_t i = 0; i < ARRAY_LEN(ops); i++) {
        struct mount_fault fault = {.fired = true};
        for (uint64_t nth = 0; fault.fired; nth++) {
            struct fs_rig rig = start;
            rig.disk = sim_disk_clone(start.disk);
            fault.rule = (struct fault_rule){.ops = ops[i], .kind = FAULT_FAIL, .skip = nth, .shots = 1};
            fs_rig_run_raw(&rig, body_mount_under_fault, &fault);
            fs_rig_run(&rig, body_nothing, NULL);
            const struct ext4_super_raw *raw = (const void *)((const uint8_t *)sim_disk_peek(rig.disk, 0) + EXT4_SUPER_OFFSET);
            if (!(le16(raw->state) & EXT4_STATE_ERROR))
                fs_rig_fsck(&rig);
            sim_disk_destroy(rig.disk);
        }
    }
    fs_rig_fini(&start);
}

// --- the flusher -----------------------------------------------------------------------------------------

static void body_flusher(struct fs_rig *rig, void *arg)
{
    struct fs *fs = rig->fs;
    struct inode *inode = must_make(fs, 0100644);
    uint64_t tid = jrn_running_tid(fs->jrn);
    rt_sleep_until(fs->rt, rt_now_ns(fs->rt) + 4000000000u);
    assert_true(jrn_committed_tid(fs->jrn) < tid);
    rt_sleep_until(fs->rt, rt_now_ns(fs->rt) + 2000000000u);
    assert_true(jrn_committed_tid(fs->jrn) >= tid);
    rt_sleep_until(fs->rt, rt_now_ns(fs->rt) + 10000000000u);
    assert_true(fs->flusher_dozing);
    assert_int_equal(fs->stats.commits, 1);
    inode_put(inode);
}

static void changes_are_committed_within_the_interval_and_an_idle_volume_sleeps(void **state)
{
    struct fs_rig rig;
    fs_rig_init(&rig, &(struct fs_rig_options){.fast_disk = true});
    fs_rig_run(&rig, body_flusher, NULL);
    fs_rig_fini(&rig);
}

// --- power cuts and faults -------------------------------------------------------------------------------

static void body_small_work(struct fs_rig *rig, void *arg)
{
    struct fs *fs = rig->fs;
    for (int round = 0; round < 3; round++) {
        struct inode *a = must_make(fs, 0100644), *b = must_make(fs, 0040755);
        must_grow(a, 40, 2, 1);
        assert_int_equal(fs_commit(fs), 0);
        drop_file(a);
        wait_for_deletion(fs);
        if (round == 1)
            assert_int_equal(fs_checkpoint(fs, UINT64_MAX), 0);
        a = must_make(fs, 0100644);
        must_grow(a, 30, 30, 0);
        assert_int_equal(fs_commit(fs), 0);
        inode_put(a);
        drop_file(b);
    }
}

static void after_a_power_cut_at_any_write_the_next_mount_leaves_a_clean_volume(void **state)
{
    static const char *const sets[] = {"-g 2048 -J size=4", "-O ^metadata_csum,uninit_bg -J size=4"};
    for (size_t i = 0; i < ARRAY_LEN(sets); i++) {
        struct fs_rig start;
        struct numbers before;
        fs_rig_init(&start, &(struct fs_rig_options){.mke2fs = sets[i], .blocks = 8192});
        fs_rig_run(&start, body_note_numbers, &before);
        bool cut = true;
        for (uint64_t nth = 1; cut; nth += 1 + nth / 16) {
            struct fs_rig rig = start;
            rig.disk = sim_disk_clone(start.disk);
            rig.options.seed = 100 + nth;
            cut = fs_rig_run_cut(&rig, nth, body_small_work, NULL);
            fs_rig_run(&rig, body_compare_numbers, &before);
            fs_rig_fsck(&rig);
            sim_disk_destroy(rig.disk);
        }
        fs_rig_fini(&start);
    }
}

struct faulty {
    struct fault_rule rule;
    bool fired;
};

// As body_small_work(), but errors are answers.
static void body_under_fault(struct fs_rig *rig, void *arg)
{
    struct faulty *faulty = arg;
    struct fs *fs = rig->fs;
    int id = dev_fault_add(rig->dev, &faulty->rule);
    for (int round = 0; round < 3; round++) {
        struct make make = {.mode = round == 1 ? 0040755 : 0100644};
        if (make_orphan_file(fs, &make) < 0)
            continue;
        struct grow grow = {.inode = make.inode};
        for (int i = 0; i < 10 && make.mode == 0100644; i++) {
            grow.want = 3;
            grow.lblock = (uint64_t)i * 4;
            if (grow_file(fs, &grow) < 0)
                break;
        }
        (void)!fs_commit(fs);
        drop_file(make.inode);
        wait_for_deletion(fs);
    }
    (void)!fs_sync(fs);
    faulty->fired = dev_fault_fired(rig->dev, id) > 0;
    dev_fault_clear(rig->dev);
    assert_int_equal(fs->claimed_blocks, 0);
    assert_int_equal(fs->claimed_inodes, 0);
}

static void any_failed_request_leaves_a_volume_that_recovery_makes_whole(void **state)
{
    static const enum fault_op ops[] = {FAULT_ON_READ, FAULT_ON_WRITE, FAULT_ON_FLUSH};
    struct fs_rig start;
    fs_rig_init(&start, &(struct fs_rig_options){.mke2fs = "-g 2048 -J size=4", .blocks = 8192, .fast_disk = true});
    for (size_t i = 0; i < ARRAY_LEN(ops); i++) {
        struct faulty faulty = {.fired = true};
        for (uint64_t nth = 0; faulty.fired; nth++) {
            struct fs_rig rig = start;
            rig.disk = sim_disk_clone(start.disk);
            faulty.rule = (struct fault_rule){.ops = ops[i], .kind = FAULT_FAIL, .skip = nth, .shots = 1};
            fs_rig_run_killed(&rig, body_under_fault, &faulty);
            fs_rig_run(&rig, body_nothing, NULL);
            const struct ext4_super_raw *raw = (const void *)((const uint8_t *)sim_disk_peek(rig.disk, 0) + EXT4_SUPER_OFFSET);
            if (!(le16(raw->state) & EXT4_STATE_ERROR))
                fs_rig_fsck(&rig);
            sim_disk_destroy(rig.disk);
        }
    }
    fs_rig_fini(&start);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(volumes_of_many_feature_sets_stay_clean_through_work),
        cmocka_unit_test(junk_in_unused_inode_tables_never_becomes_an_inode),
        cmocka_unit_test(what_is_not_supported_is_refused_by_name),
        cmocka_unit_test(a_damaged_group_descriptor_refuses_the_mount_with_its_number),
        cmocka_unit_test(a_read_only_mount_replays_the_journal_and_writes_nothing_else),
        cmocka_unit_test(a_dirty_journal_on_a_read_only_disk_is_refused),
        cmocka_unit_test(orphans_of_a_killed_server_are_deleted_by_the_next_mount),
        cmocka_unit_test(kept_orphans_live_until_they_are_forgotten_or_unmounted),
        cmocka_unit_test(an_orphan_list_that_runs_in_a_ring_is_cut),
        cmocka_unit_test(orphans_in_an_orphan_file_are_deleted_too),
        cmocka_unit_test(an_interrupted_truncation_is_finished_by_the_next_mount),
        cmocka_unit_test(promises_are_exact_and_kept),
        cmocka_unit_test(a_full_volume_takes_as_much_again_after_a_deletion),
        cmocka_unit_test(inode_numbers_run_out_and_come_back),
        cmocka_unit_test(random_growth_and_deletion_never_shares_or_loses_a_block),
        cmocka_unit_test(many_fibres_and_a_small_journal_do_not_get_in_each_others_way),
        cmocka_unit_test(maps_and_inodes_that_nobody_needs_leave_memory_and_come_back),
        cmocka_unit_test(a_group_with_a_damaged_bitmap_is_left_alone),
        cmocka_unit_test(freeing_a_free_block_makes_the_volume_read_only_and_says_so_on_disk),
        cmocka_unit_test(a_number_that_is_no_inode_is_stale),
        cmocka_unit_test(a_damaged_inode_is_an_error_and_not_a_crash),
        cmocka_unit_test(metadata_that_overlaps_refuses_the_mount),
        cmocka_unit_test(any_request_of_a_mount_may_fail_and_the_next_mount_is_whole),
        cmocka_unit_test(changes_are_committed_within_the_interval_and_an_idle_volume_sleeps),
        cmocka_unit_test(after_a_power_cut_at_any_write_the_next_mount_leaves_a_clean_volume),
        cmocka_unit_test(any_failed_request_leaves_a_volume_that_recovery_makes_whole),
    };
    cmocka_set_test_filter(getenv("DROVER_TEST"));     // one test by its name, or a pattern
    return cmocka_run_group_tests(tests, NULL, NULL);
}
