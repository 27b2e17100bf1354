// SPDX-License-Identifier: MIT
// map_test.c - maps of files: trees that grow and shrink, indirect blocks, damaged nodes.
#include "base/bitmap.h"
#include "fs/data_rig.h"
#include "fs/extent.h"
#include "fs/indirect.h"

// --- mapping without data ------------------------------------------------------------------------

struct set_args {
    struct inode *inode;
    struct map_run run;
    bool claims;
};

static int set_pass(struct plan *plan, void *arg)
{
    struct set_args *set = arg;
    uint32_t got;
    int rc = 0;
    if (set->claims)
        rc = alloc_claim_run(plan, 0, (uint32_t)set->run.count, false, &set->run.block, &got);
    if (rc < 0)
        return rc;
    if (set->claims)
        set->run.count = got;
    return map_plan_set(plan, set->inode, set->run.lblock, set->run.count);
}

// Maps a hole to new blocks, or (claims false) gives mapped blocks another state.
static int set_run(struct inode *inode, uint64_t lblock, uint64_t count, int state, bool claims)
{
    struct set_args set = {.inode = inode, .run = {.state = state, .lblock = lblock, .count = count}, .claims = claims};
    struct plan plan;
    plan_init(&plan, inode->fs);
    int rc = plan_run(&plan, set_pass, &set);
    if (rc == 0) {
        if (claims) {
            assert_int_equal(set.run.count, count);
            alloc_apply_use(&plan, set.run.block, (uint32_t)count, 0);
        }
        map_apply_set(&plan, inode, &set.run);
        inode->size = inode->d.size = MAX(inode->d.size, (lblock + count) << BLOCK_SHIFT);
    }
    plan_end(&plan);
    return rc;
}

static void map_blocks(struct inode *inode, uint64_t lblock, uint64_t count)
{
    assert_int_equal(set_run(inode, lblock, count, MAP_WRITTEN, true), 0);
}

struct remove_args {
    struct inode *inode;
    struct map_remove remove;
};

static int remove_pass(struct plan *plan, void *arg)
{
    struct remove_args *args = arg;
    return map_plan_remove(plan, args->inode, &args->remove);
}

// Returns the transactions it took, or an error.
static int unmap(struct inode *inode, uint64_t first, uint64_t last)
{
    struct remove_args args = {inode, {.first = first, .last = last}};
    int rc, steps = 0;
    do {
        struct plan plan;
        plan_init(&plan, inode->fs);
        rc = plan_run(&plan, remove_pass, &args);
        if (rc == 0)
            map_apply_remove(&plan, inode, &args.remove);
        assert_true(plan.credits <= 64);
        plan_end(&plan);
        args.remove.last = args.remove.from - 1;
        steps++;
    } while (rc == 0 && args.remove.from != first);
    map_remove_fini(&args.remove);
    return rc < 0 ? rc : steps;
}

static struct map_run run_at(struct inode *inode, uint64_t lblock)
{
    struct map_run run;
    assert_int_equal(map_lookup(NULL, inode, lblock, UINT64_MAX, &run), 0);
    return run;
}

// How many runs the file has; their blocks added up in *blocks.
static uint32_t count_runs(struct inode *inode, uint64_t *blocks)
{
    struct map_run run;
    uint32_t count = 0;
    *blocks = 0;
    for (uint64_t lblock = 0;; lblock = run.lblock + run.count) {
        assert_int_equal(map_next(NULL, inode, lblock, &run), 0);
        if (run.count == 0)
            return count;
        count++;
        *blocks += run.count;
    }
}

static void expect_empty(struct inode *inode)
{
    uint64_t blocks;
    assert_int_equal(count_runs(inode, &blocks), 0);
    assert_int_equal(inode->d.blocks, 0);
}

static void clear_size(struct inode *inode)
{
    inode->size = inode->d.size = 0;
    inode->sealed = false;          // behind the guard's back
}

static void with_rig(const struct fs_rig_options *options, fs_rig_body *body, void *arg)
{
    struct fs_rig rig;
    fs_rig_init(&rig, options);
    fs_rig_run(&rig, body, arg);
    fs_rig_fsck(&rig);
    fs_rig_fini(&rig);
}

// --- extents ---------------------------------------------------------------------------------------

static void neighbours_join_body(struct fs_rig *rig, void *arg)
{
    struct inode *inode = file_make(rig->fs, "a");
    uint64_t blocks;
    assert_int_equal(set_run(inode, 100, 90, MAP_UNWRITTEN, true), 0);
    assert_int_equal(count_runs(inode, &blocks), 1);

    assert_int_equal(set_run(inode, 130, 10, MAP_WRITTEN, false), 0);      // three ways
    assert_int_equal(count_runs(inode, &blocks), 3);
    assert_int_equal(run_at(inode, 135).state, MAP_WRITTEN);
    assert_int_equal(run_at(inode, 140).count, 50);
    assert_int_equal(set_run(inode, 140, 20, MAP_WRITTEN, false), 0);      // joins what is before it
    assert_int_equal(set_run(inode, 120, 10, MAP_WRITTEN, false), 0);      // and behind it
    assert_int_equal(count_runs(inode, &blocks), 3);
    assert_int_equal(run_at(inode, 120).count, 40);
    assert_int_equal(set_run(inode, 100, 20, MAP_WRITTEN, false), 0);
    assert_int_equal(set_run(inode, 160, 30, MAP_WRITTEN, false), 0);
    assert_int_equal(count_runs(inode, &blocks), 1);
    assert_int_equal(set_run(inode, 150, 10, MAP_UNWRITTEN, false), 0);    // and back
    assert_int_equal(count_runs(inode, &blocks), 3);
    assert_int_equal(blocks, 90);
    assert_int_equal(inode->d.blocks, 90 * 8);
    inode_put(inode);
}

static void changing_part_of_an_extent_splits_it_and_likes_join_again(void **state)
{
    with_rig(&(struct fs_rig_options){.fast_disk = true}, neighbours_join_body, NULL);
}

static uint32_t depth_of(struct inode *inode)
{
    return extent_depth(inode->d.block);
}

// Every second block, in an order of its own for each way a node can split.
static void fill_sparsely(struct inode *inode, uint32_t count, int order)
{
    for (uint32_t i = 0; i < count; i++) {
        uint32_t place = order == 0 ? i : order == 1 ? count - 1 - i : (uint32_t)((uint64_t)i * 7919 % count);
        map_blocks(inode, 2 * place, 1);
    }
}

struct deep {
    uint32_t count;
    int order;
    uint32_t depth;
};

static void deep_body(struct fs_rig *rig, void *arg)
{
    struct deep *deep = arg;
    struct inode *inode = file_make(rig->fs, "deep");
    uint64_t blocks, free_before = rig->fs->free_blocks;
    fill_sparsely(inode, deep->count, deep->order);
    assert_int_equal(depth_of(inode), deep->depth);
    assert_int_equal(count_runs(inode, &blocks), deep->count);
    assert_int_equal(blocks, deep->count);

    // A hole in the middle, then the end, then all: every leaf goes, and every index.
    assert_true(unmap(inode, deep->count / 2, deep->count) > 0);
    assert_int_equal(run_at(inode, deep->count / 2).state, MAP_HOLE);
    assert_int_equal(run_at(inode, 2 * deep->count - 2).state, MAP_WRITTEN);
    assert_true(unmap(inode, 7, MAP_LBLOCK_MAX) > 0);
    assert_int_equal(count_runs(inode, &blocks), 4);
    assert_int_equal(depth_of(inode), 0);
    assert_true(unmap(inode, 0, MAP_LBLOCK_MAX) > 0);
    expect_empty(inode);
    clear_size(inode);
    assert_int_equal(rig->fs->free_blocks, free_before);

    // And once more, for e2fsck.
    fill_sparsely(inode, deep->count, deep->order);
    assert_true(unmap(inode, deep->count / 3, deep->count / 3 + 5) > 0);
    inode_put(inode);
}

static void trees_grow_and_shrink_whatever_the_order(void **state)
{
    for (int order = 0; order < 3; order++)
        with_rig(&(struct fs_rig_options){.fast_disk = true}, deep_body, &(struct deep){3000, order, 2});
}

static void inner_nodes_split_too(void **state)
{
    with_rig(&(struct fs_rig_options){.blocks = 98304, .fast_disk = true}, deep_body, &(struct deep){60000, 1, 2});
}

static void full_tree_body(struct fs_rig *rig, void *arg)
{
    struct inode *inode = file_make(rig->fs, "far");
    map_blocks(inode, MAP_LBLOCK_MAX, 1);
    map_blocks(inode, 0, 1);
    assert_int_equal(run_at(inode, 1).count, MAP_LBLOCK_MAX - 1);
    assert_int_equal(set_run(inode, MAP_LBLOCK_MAX + 1, 1, MAP_WRITTEN, true), -EFBIG);
    assert_int_equal(run_at(inode, MAP_LBLOCK_MAX).state, MAP_WRITTEN);
    inode_put(inode);
}

static void the_last_block_of_16_tib_can_be_mapped(void **state)
{
    with_rig(&(struct fs_rig_options){.fast_disk = true}, full_tree_body, NULL);
}

static void long_extent_body(struct fs_rig *rig, void *arg)
{
    struct inode *inode = file_make(rig->fs, "long");
    // Small groups: freeing is cut into transactions that touch a few of them.
    for (uint64_t lblock = 0; rig->fs->free_blocks > 2000; lblock++)
        map_blocks(inode, lblock, 1);
    int steps = unmap(inode, 0, MAP_LBLOCK_MAX);
    assert_true(steps > 3);
    expect_empty(inode);
    clear_size(inode);
    inode_put(inode);
}

static void a_removal_frees_from_few_groups_at_a_time(void **state)
{
    with_rig(&(struct fs_rig_options){.mke2fs = "-g 256 -J size=4 -N 512", .blocks = 16000, .fast_disk = true}, long_extent_body, NULL);
}

// --- moving ----------------------------------------------------------------------------------------

struct shift_args {
    struct inode *inode;
    struct map_shift shift;
};

static int shift_pass(struct plan *plan, void *arg)
{
    struct shift_args *args = arg;
    return map_plan_shift(plan, args->inode, &args->shift);
}

static void shift(struct inode *inode, uint64_t start, uint64_t by, bool away)
{
    struct shift_args args = {inode, {.start = start, .by = by, .away = away}};
    while (!args.shift.done) {
        struct plan plan;
        plan_init(&plan, inode->fs);
        assert_int_equal(plan_run(&plan, shift_pass, &args), 0);
        map_apply_shift(&plan, inode, &args.shift);
        plan_end(&plan);
    }
}

static void shift_body(struct fs_rig *rig, void *arg)
{
    struct inode *inode = file_make(rig->fs, "moved");
    enum { COUNT = 13000, BY = 1001 };     // some 38 leaves: more than one transaction
    AUTO_FREE uint64_t *blocks = xcalloc(COUNT, sizeof *blocks);
    uint64_t total;
    fill_sparsely(inode, COUNT, 0);
    for (uint32_t i = 0; i < COUNT; i++)
        blocks[i] = run_at(inode, 2 * i).block;

    shift(inode, 5000, BY, true);
    assert_int_equal(count_runs(inode, &total), COUNT);
    for (uint32_t i = 0; i < COUNT; i++)
        assert_int_equal(run_at(inode, 2 * i + (2 * i >= 5000 ? BY : 0)).block, blocks[i]);
    shift(inode, 5000 + BY, BY, false);
    assert_int_equal(count_runs(inode, &total), COUNT);
    for (uint32_t i = 0; i < COUNT; i++)
        assert_int_equal(run_at(inode, 2 * i).block, blocks[i]);
    inode_put(inode);
}

static void extents_move_away_and_back_over_many_leaves(void **state)
{
    with_rig(&(struct fs_rig_options){.fast_disk = true, .blocks = 32768}, shift_body, NULL);
}

// --- indirect blocks -------------------------------------------------------------------------------

static void indirect_body(struct fs_rig *rig, void *arg)
{
    struct inode *inode = file_make(rig->fs, "old");
    const uint64_t fan = INDIRECT_FANOUT, borders[] = {0, 11, 12, 12 + fan - 1, 12 + fan, 12 + fan + fan * fan - 1,
                                                       12 + fan + fan * fan, INDIRECT_LBLOCK_MAX};
    uint64_t blocks, free_before = rig->fs->free_blocks;
    assert_false(inode->d.flags & EXT4_EXTENTS_FL);
    for (uint32_t i = 0; i < ARRAY_LEN(borders); i++)
        map_blocks(inode, borders[i], 1);
    // Arrays: 1 single; 1 + 2 double (its first leaf and its last); 1 + 2 + 2 triple.
    assert_int_equal(inode->d.blocks, (8 + 1 + 3 + 5) * 8);
    count_runs(inode, &blocks);
    assert_int_equal(blocks, 8);
    assert_int_equal(run_at(inode, 20).state, MAP_HOLE);
    assert_int_equal(run_at(inode, 20).count, fan + 12 - 1 - 20);
    assert_int_equal(set_run(inode, INDIRECT_LBLOCK_MAX + 1, 1, MAP_WRITTEN, true), -EFBIG);

    map_blocks(inode, 5, 3);
    map_blocks(inode, 12 + 2 * fan - 5, 10);       // over the border of two arrays
    assert_int_equal(run_at(inode, 6).count, 2);

    assert_true(unmap(inode, 12, 12 + fan - 1) > 0);       // the single array goes
    assert_int_equal(run_at(inode, 11).state, MAP_WRITTEN);
    assert_int_equal(run_at(inode, 12).count, fan);
    assert_true(unmap(inode, 0, MAP_LBLOCK_MAX) > 0);
    expect_empty(inode);
    assert_int_equal(rig->fs->free_blocks, free_before);

    for (uint32_t i = 0; i < ARRAY_LEN(borders); i++)
        map_blocks(inode, borders[i], 1);
    inode_put(inode);
}

static void indirect_files_reach_to_the_end_of_the_triple_tree(void **state)
{
    with_rig(&(struct fs_rig_options){.mke2fs = "-O ^extent,^64bit", .fast_disk = true}, indirect_body, NULL);
}

// --- damage ----------------------------------------------------------------------------------------

static struct buf *first_leaf(struct inode *inode)
{
    struct extent_path path;
    assert_int_equal(extent_find(NULL, inode, 0, &path), 0);
    struct buf *buf = extent_leaf(&path)->buf;
    extent_path_fini(NULL, inode, &path);
    return buf;
}

static void expect_damage(struct inode *inode)
{
    struct map_run run;
    uint64_t goal;
    assert_int_equal(map_lookup(NULL, inode, 0, 1, &run), -EFSCORRUPTED);
    assert_int_equal(map_next(NULL, inode, 0, &run), -EFSCORRUPTED);
    assert_int_equal(map_goal(NULL, inode, 0, &goal), -EFSCORRUPTED);
    assert_int_equal(set_run(inode, 1, 1, MAP_WRITTEN, true), -EFSCORRUPTED);
    assert_int_equal(unmap(inode, 0, 5), -EFSCORRUPTED);
}

static void damage_body(struct fs_rig *rig, void *arg)
{
    struct inode *inode = file_make(rig->fs, "bad");
    fill_sparsely(inode, 2000, 0);
    struct buf *leaf = first_leaf(inode);
    struct ext4_extent_header *header = (struct ext4_extent_header *)(void *)leaf->bytes, good = *header;
    struct ext4_extent_index *index = extent_indexes(inode->d.block), good_index = *index;
    leaf->sealed = inode->sealed = false;                   // behind the guard's back

    header->depth = to_le16(1);                             // a leaf that says it is an index
    expect_damage(inode);
    *header = good;
    header->entries = to_le16(341);                         // more than fit
    expect_damage(inode);
    *header = good;
    header->entries = to_le16(0);
    expect_damage(inode);
    *header = good;
    extent_index_set(index, 0, leaf->block);                // the root skips a level
    expect_damage(inode);
    extent_index_set(index, 0, rig->fs->geo.block_count + 1);
    expect_damage(inode);
    extent_index_set(index, 0, 1);                          // the group descriptors
    expect_damage(inode);
    *index = good_index;

    struct ext4_extent *e = extent_entries(leaf->bytes), good_e = *e;
    extent_set(e, 0, 1, false, 0);                          // data in the superblock
    struct map_run run;
    assert_int_equal(map_lookup(NULL, inode, 0, 1, &run), -EFSCORRUPTED);
    assert_int_equal(unmap(inode, 0, 5), -EFSCORRUPTED);
    *e = good_e;
    extent_set(&e[1], 2, 1, false, extent_block(e));        // one block twice
    assert_int_equal(unmap(inode, 0, 5), -EFSCORRUPTED);
    inode_put(inode);
}

static void with_damage(fs_rig_body *body)
{
    struct fs_rig rig;
    fs_rig_init(&rig, &(struct fs_rig_options){.fast_disk = true});
    fs_rig_run_killed(&rig, body, NULL);
    fs_rig_fini(&rig);
}

static void a_damaged_tree_is_reported_and_left_alone(void **state)
{
    with_damage(damage_body);
}

// A damaged bitmap calls a leaf free, and the pass claims it. It has waited, so the leaf may just have been
// freed: no proof of damage, and the pass must run again. Descending again instead would never end.
static void claimed_leaf_body(struct fs_rig *rig, void *arg)
{
    struct inode *inode = file_make(rig->fs, "bad");
    fill_sparsely(inode, 400, 0);
    uint64_t leaf = first_leaf(inode)->block, claimed;
    uint32_t group = block_group(&rig->fs->geo, leaf);
    bitmap_clear_range(rig->fs->groups[group].busy, (uint32_t)(leaf - group_first_block(&rig->fs->geo, group)), 1);

    struct map_run run;
    struct plan plan;
    plan_init(&plan, rig->fs);
    rt_yield(rig->rt);
    assert_int_equal(alloc_claim_block(&plan, leaf, &claimed), 0);
    assert_int_equal(claimed, leaf);
    assert_int_equal(map_lookup(&plan, inode, 0, 1, &run), -EAGAIN);
    plan_end(&plan);
    inode_put(inode);
}

static void a_leaf_that_is_claimed_as_free_sends_the_pass_back_to_its_beginning(void **state)
{
    with_damage(claimed_leaf_body);
}

struct append_args {
    struct inode *inode;
    uint64_t lblock;
    struct map_append append;
};

static int append_pass(struct plan *plan, void *arg)
{
    struct append_args *args = arg;
    return map_plan_append(plan, args->inode, args->lblock, &args->append);
}

static int append_at(struct inode *inode, uint64_t lblock)
{
    struct append_args args = {.inode = inode, .lblock = lblock};
    struct plan plan;
    plan_init(&plan, inode->fs);
    int rc = plan_run(&plan, append_pass, &args);
    plan_end(&plan);
    return rc;
}

static void append_body(struct fs_rig *rig, void *arg)
{
    struct inode *inode = file_make(rig->fs, "short");
    map_blocks(inode, 0, 2);
    assert_int_equal(append_at(inode, 1), -EFSCORRUPTED);   // as if the size covered the first only
    assert_int_equal(append_at(inode, 2), 0);
    assert_int_equal(run_at(inode, 0).count, 2);
    inode_put(inode);
}

static void a_block_behind_the_end_is_not_appended_over(void **state)
{
    with_rig(&(struct fs_rig_options){.fast_disk = true}, append_body, NULL);
    with_rig(&(struct fs_rig_options){.mke2fs = "-O ^extent,^64bit", .fast_disk = true}, append_body, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(changing_part_of_an_extent_splits_it_and_likes_join_again),
        cmocka_unit_test(trees_grow_and_shrink_whatever_the_order),
        cmocka_unit_test(inner_nodes_split_too),
        cmocka_unit_test(the_last_block_of_16_tib_can_be_mapped),
        cmocka_unit_test(a_removal_frees_from_few_groups_at_a_time),
        cmocka_unit_test(extents_move_away_and_back_over_many_leaves),
        cmocka_unit_test(indirect_files_reach_to_the_end_of_the_triple_tree),
        cmocka_unit_test(a_damaged_tree_is_reported_and_left_alone),
        cmocka_unit_test(a_leaf_that_is_claimed_as_free_sends_the_pass_back_to_its_beginning),
        cmocka_unit_test(a_block_behind_the_end_is_not_appended_over),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
