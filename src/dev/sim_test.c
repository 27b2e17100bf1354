// SPDX-License-Identifier: MIT
// sim_test.c - what a simulated disk keeps and what it may forget.
#include "dev/dev_test.h"

#include <stdio.h>
#include <sys/stat.h>

#include "dev/sim.h"
#include "rt/rt_sim.h"

#define BLOCKS 64
#define SEEDS 300

struct rig {
    struct rt *rt;
    struct sim_disk *disk;
    struct dev *dev;
    struct prng chance;
    int acked;                  // how many writes of some test were
    char order[32];
};

static struct rig t_rig(uint64_t seed)
{
    struct rig rig = {.rt = rt_sim_create(seed), .disk = sim_disk_create(BLOCKS)};
    prng_seed(&rig.chance, seed);
    rig.dev = dev_sim_create(rig.rt, rig.disk, &(struct sim_dev_options){.halt = rt_sim_halt});
    return rig;
}

static void t_end(struct rig *rig)
{
    dev_destroy(rig->dev);
    rt_destroy(rig->rt);
    sim_disk_destroy(rig->disk);
}

static int t_run(struct rig *rig, void (*fn)(void *))
{
    rt_spawn(rig->rt, "main", fn, rig);
    int rc = rt_run(rig->rt);
    if (rc == -ECANCELED)
        rt_sim_abandon(rig->rt);
    return rc;
}

static char t_peek(const struct rig *rig, uint64_t block)
{
    return t_letter_of(sim_disk_peek(rig->disk, block));
}

// True when every sector of the block is one letter out of `letters`.
static bool t_made_of(const struct rig *rig, uint64_t block, const char *letters)
{
    const char *bytes = sim_disk_peek(rig->disk, block);
    for (size_t sector = 0; sector < BLOCK_BYTES; sector += 512)
        if (memcmp(bytes + sector, bytes + sector + 1, 511) || !memchr(letters, bytes[sector], strlen(letters) + 1))
            return false;
    return true;
}

static void write_then_read(void *arg)
{
    struct rig *rig = arg;
    AUTO_FREE uint8_t *blocks = xblocks(4);
    memset(blocks, 'x', BLOCK_BYTES);
    memset(blocks + BLOCK_BYTES, 'y', 3 * BLOCK_BYTES);
    struct iovec iov[] = {{blocks, BLOCK_BYTES}, {blocks + BLOCK_BYTES, 3 * BLOCK_BYTES}};
    assert_int_equal(dev_write(rig->dev, 10, iov, 2, 0), 0);
    assert_int_equal(t_letter(rig->dev, 9), 0);
    assert_int_equal(t_letter(rig->dev, 10), 'x');
    assert_int_equal(t_letter(rig->dev, 13), 'y');
    assert_int_equal(t_write(rig->dev, 10, 'z', 0), 0);
    assert_int_equal(t_letter(rig->dev, 10), 'z');
    assert_int_equal(sim_disk_unstable(rig->disk), 5);
    assert_int_equal(dev_flush(rig->dev), 0);
    assert_int_equal(sim_disk_unstable(rig->disk), 0);
    assert_int_equal(t_letter(rig->dev, 10), 'z');
    assert_int_equal(t_letter(rig->dev, 11), 'y');
}

static void reads_see_every_acknowledged_write(void **state)
{
    (void)state;
    struct rig rig = t_rig(1);
    assert_int_equal(t_run(&rig, write_then_read), 0);
    assert_int_equal(sim_disk_write_count(rig.disk), 3);
    t_end(&rig);
}

static void flush_some(void *arg)
{
    struct rig *rig = arg;
    assert_int_equal(t_write(rig->dev, 0, 'a', 0), 0);
    assert_int_equal(t_write(rig->dev, 1, 'a', 0), 0);
    assert_int_equal(dev_flush(rig->dev), 0);
    assert_int_equal(t_write(rig->dev, 1, 'b', 0), 0);
    assert_int_equal(t_write(rig->dev, 1, 'c', 0), 0);
    assert_int_equal(t_write(rig->dev, 2, 'f', DEV_FUA), 0);
}

static void a_power_cut_keeps_what_was_flushed_and_gambles_with_the_rest(void **state)
{
    (void)state;
    int a = 0, b = 0, c = 0, torn = 0;
    for (uint64_t seed = 0; seed < SEEDS; seed++) {
        struct rig rig = t_rig(seed);
        assert_int_equal(t_run(&rig, flush_some), 0);
        sim_disk_power_cut(rig.disk, &rig.chance);
        assert_int_equal(sim_disk_unstable(rig.disk), 0);
        assert_int_equal(t_peek(&rig, 0), 'a');
        assert_int_equal(t_peek(&rig, 2), 'f');
        assert_true(t_made_of(&rig, 1, "abc"));
        switch (t_peek(&rig, 1)) {
        case 'a': a++; break;
        case 'b': b++; break;
        case 'c': c++; break;
        default: torn++;
        }
        t_end(&rig);
    }
    assert_true(a > 20 && b > 20 && c > 20 && torn > 20);
}

static void supersede_by_fua(void *arg)
{
    struct rig *rig = arg;
    assert_int_equal(t_write(rig->dev, 1, 'a', 0), 0);
    assert_int_equal(t_write(rig->dev, 2, 'a', 0), 0);
    assert_int_equal(t_write(rig->dev, 1, 'f', DEV_FUA), 0);
}

static void a_fua_write_is_stable_alone_and_older_ones_cannot_return(void **state)
{
    (void)state;
    int lost = 0;
    for (uint64_t seed = 0; seed < SEEDS; seed++) {
        struct rig rig = t_rig(seed);
        assert_int_equal(t_run(&rig, supersede_by_fua), 0);
        assert_int_equal(sim_disk_unstable(rig.disk), 1);
        sim_disk_power_cut(rig.disk, &rig.chance);
        assert_int_equal(t_peek(&rig, 1), 'f');
        lost += t_peek(&rig, 2) == 0;
        t_end(&rig);
    }
    assert_true(lost > 50);
}

// --- under way --------------------------------------------------------------------------------

static void one_write(void *arg)
{
    struct rig *rig = arg;
    uint64_t block = (uint64_t)rig->acked++;
    assert_int_equal(t_write(rig->dev, block, 'w', 0), 0);
    rig->order[strlen(rig->order)] = (char)('a' + block);
}

static void writes_end_in_any_order(void **state)
{
    (void)state;
    char first[32] = "";
    int differ = 0;
    for (uint64_t seed = 0; seed < 20; seed++) {
        struct rig rig = t_rig(seed);
        for (int i = 0; i < 10; i++)
            rt_spawn(rig.rt, "write", one_write, &rig);
        assert_int_equal(rt_run(rig.rt), 0);
        assert_int_equal(strlen(rig.order), 10);
        if (seed == 0)
            strcpy(first, rig.order);
        differ += strcmp(first, rig.order) != 0;
        t_end(&rig);
    }
    assert_true(differ >= 18);
}

static void write_during_flush(void *arg)
{
    struct rig *rig = arg;
    // Acknowledged before the flush returns in some runs, but never before it began.
    rt_sleep_until(rig->rt, rt_now_ns(rig->rt) + 5000);
    assert_int_equal(t_write(rig->dev, 1, 'b', 0), 0);
    rig->acked++;
}

static void flush_beside_a_write(void *arg)
{
    struct rig *rig = arg;
    assert_int_equal(t_write(rig->dev, 0, 'a', 0), 0);
    rt_spawn(rig->rt, "late", write_during_flush, rig);
    assert_int_equal(dev_flush(rig->dev), 0);
    rig->order[0] = rig->acked ? 'w' : 'f';
}

static void a_flush_covers_only_what_was_acknowledged_before_it_began(void **state)
{
    (void)state;
    int lost_though_acked_first = 0;
    for (uint64_t seed = 0; seed < SEEDS; seed++) {
        struct rig rig = t_rig(seed);
        assert_int_equal(t_run(&rig, flush_beside_a_write), 0);
        assert_int_equal(sim_disk_unstable(rig.disk), 1);
        sim_disk_power_cut(rig.disk, &rig.chance);
        assert_int_equal(t_peek(&rig, 0), 'a');
        lost_though_acked_first += rig.order[0] == 'w' && t_peek(&rig, 1) == 0;
        t_end(&rig);
    }
    assert_true(lost_though_acked_first > 20);
}

static void five_steps(void *arg)
{
    struct rig *rig = arg;
    static _Alignas(BLOCK_BYTES) uint8_t letters[2 * BLOCK_BYTES];
    memset(letters, '3', sizeof(letters));
    struct iovec iov = {letters, sizeof(letters)};
    assert_int_equal(t_write(rig->dev, 1, '1', DEV_FUA), 0);
    rig->acked = 1;
    assert_int_equal(dev_flush(rig->dev), 0);
    rig->acked = 2;
    assert_int_equal(dev_write(rig->dev, 3, &iov, 1, 0), 0);
    rig->acked = 3;
    assert_int_equal(dev_discard(rig->dev, 1, 1), 0);
    rig->acked = 4;
    assert_int_equal(dev_flush(rig->dev), 0);
    rig->acked = 5;
}

static void the_power_fails_at_the_step_that_was_asked_for(void **state)
{
    (void)state;
    int kept = 0, lost = 0, torn = 0, one_of_two = 0;
    for (uint64_t seed = 0; seed < SEEDS; seed++) {
        struct rig rig = t_rig(seed);
        uint64_t nth = seed % 6 + 1;
        sim_disk_cut_after(rig.disk, nth);
        assert_int_equal(t_run(&rig, five_steps), nth <= 5 ? -ECANCELED : 0);
        assert_int_equal(rig.acked, nth - 1);
        sim_disk_power_cut(rig.disk, &rig.chance);
        if (nth >= 2 && nth <= 3)
            assert_int_equal(t_peek(&rig, 1), '1');
        if (nth == 3) {
            kept += t_peek(&rig, 3) == '3';
            lost += t_peek(&rig, 3) == 0;
            torn += t_peek(&rig, 3) == '?';
            one_of_two += t_peek(&rig, 3) != t_peek(&rig, 4);
            assert_true(t_made_of(&rig, 3, "3") && t_made_of(&rig, 4, "3"));
        }
        if (nth == 6)
            assert_int_equal(t_peek(&rig, 3), '3');
        t_end(&rig);
    }
    assert_true(kept > 5 && lost > 5 && torn > 1 && one_of_two > 5);
}

static void read_after_recovery(void *arg)
{
    struct rig *rig = arg;
    rig->order[0] = t_letter(rig->dev, 1);
}

static void after_a_cut_the_disk_serves_a_new_worker(void **state)
{
    (void)state;
    struct rig rig = t_rig(5);
    sim_disk_cut_after(rig.disk, 2);
    assert_int_equal(t_run(&rig, five_steps), -ECANCELED);
    sim_disk_power_cut(rig.disk, &rig.chance);
    dev_destroy(rig.dev);
    rt_destroy(rig.rt);
    rig.rt = rt_sim_create(6);
    rig.dev = dev_sim_create(rig.rt, rig.disk, NULL);
    assert_int_equal(t_run(&rig, read_after_recovery), 0);
    assert_int_equal(rig.order[0], '1');
    t_end(&rig);
}

static void write_across_a_cut(void *arg)
{
    struct rig *rig = arg;
    assert_int_equal(t_write(rig->dev, 0, 'a', 0), -EIO);
    rig->acked++;
}

static void cut_now(void *arg)
{
    struct rig *rig = arg;
    rt_sleep_until(rig->rt, 10000);
    sim_disk_power_cut(rig->disk, &rig->chance);
}

static void a_request_that_outlives_a_power_cut_fails(void **state)
{
    (void)state;
    struct rig rig = t_rig(5);
    rt_spawn(rig.rt, "cut", cut_now, &rig);
    assert_int_equal(t_run(&rig, write_across_a_cut), 0);
    assert_int_equal(rig.acked, 1);
    t_end(&rig);
}

// --- chance -----------------------------------------------------------------------------------

static void write_a_lot(void *arg)
{
    struct rig *rig = arg;
    for (int i = 0; i < 30; i++) {
        uint64_t block = rt_random(rig->rt) % BLOCKS;
        switch (rt_random(rig->rt) % 8) {
        case 0: (void)!dev_flush(rig->dev); break;
        case 1: (void)!dev_discard(rig->dev, 0, block); break;
        case 2: (void)!t_write(rig->dev, block, 'f', DEV_FUA); break;
        default: (void)!t_write(rig->dev, block, (char)('a' + i % 26), 0);
        }
    }
}

static struct rig t_history(uint64_t seed)
{
    struct rig rig = t_rig(seed);
    for (int i = 0; i < 4; i++)
        rt_spawn(rig.rt, "writer", write_a_lot, &rig);
    sim_disk_cut_after(rig.disk, 60);
    assert_int_equal(rt_run(rig.rt), -ECANCELED);
    rt_sim_abandon(rig.rt);
    sim_disk_power_cut(rig.disk, &rig.chance);
    return rig;
}

static int t_differing_blocks(const struct rig *a, const struct rig *b)
{
    int differ = 0;
    for (uint64_t i = 0; i < BLOCKS; i++)
        differ += memcmp(sim_disk_peek(a->disk, i), sim_disk_peek(b->disk, i), BLOCK_BYTES) != 0;
    return differ;
}

static void one_seed_leaves_one_content(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < 30; seed++) {
        struct rig a = t_history(seed), b = t_history(seed), c = t_history(seed + 100);
        assert_int_equal(t_differing_blocks(&a, &b), 0);
        assert_true(t_differing_blocks(&a, &c) > 0);
        t_end(&a);
        t_end(&b);
        t_end(&c);
    }
}

static void write_then_discard(void *arg)
{
    struct rig *rig = arg;
    for (uint64_t i = 0; i < BLOCKS; i += 2)
        assert_int_equal(t_write(rig->dev, i, 'a', 0), 0);
    assert_int_equal(dev_discard(rig->dev, 0, 16), 0);
    assert_int_equal(dev_discard(rig->dev, 16, BLOCKS - 16), 0);
    int zeroed = 0;
    for (uint64_t i = 0; i < BLOCKS; i += 2) {
        char letter = t_letter(rig->dev, i);
        assert_true(letter == 0 || letter == 'a');
        zeroed += letter == 0;
    }
    assert_true(zeroed > 5 && zeroed < 27);
}

static void discarded_blocks_read_as_zeros_or_as_before(void **state)
{
    (void)state;
    struct rig rig = t_rig(2);
    assert_int_equal(t_run(&rig, write_then_discard), 0);
    t_end(&rig);
}

// --- images -----------------------------------------------------------------------------------

static void die_while_writing(void *arg)
{
    struct rig *rig = arg;
    assert_int_equal(t_write(rig->dev, 1, 'a', 0), 0);
    sim_disk_cut_after(rig->disk, 1);
    (void)!t_write(rig->dev, 2, 'b', DEV_FUA);
}

static void after_a_process_died_its_writes_land_and_what_was_not_stable_stays_so(void **state)
{
    (void)state;
    bool kept = false, lost = false;
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        struct rig rig = t_rig(seed);
        assert_int_equal(t_run(&rig, die_while_writing), -ECANCELED);
        bool may_lose = seed % 2;
        sim_disk_land(rig.disk, &rig.chance, may_lose);
        assert_int_equal(t_peek(&rig, 1), 'a');
        assert_int_equal(sim_disk_unstable(rig.disk), 1);       // the first, which nobody has flushed
        char second = t_peek(&rig, 2);
        assert_true(second == 'b' || (may_lose && second == 0));
        kept |= may_lose && second == 'b';
        lost |= second == 0;
        t_end(&rig);
    }
    assert_true(kept && lost);
}

static void a_large_sparse_image_is_cheap_to_load_and_save(void **state)
{
    (void)state;
    const uint64_t huge = 1ull << 28;       // 1 TB
    char path[] = "/tmp/sim_test.XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    close(fd);
    struct sim_disk *disk = sim_disk_create(huge), *back = NULL;
    struct err err = {0};
    uint8_t block[BLOCK_BYTES];
    const uint64_t where[] = {0, 1, 7, huge / 2, huge - 1};
    for (size_t i = 0; i < ARRAY_LEN(where); i++)
        sim_disk_poke(disk, where[i], memset(block, 'a' + (int)i, BLOCK_BYTES));
    sim_disk_poke(disk, 9, memset(block, 0, BLOCK_BYTES));

    assert_int_equal(sim_disk_save(disk, path, &err), 0);
    struct stat st;
    assert_int_equal(stat(path, &st), 0);
    assert_true((uint64_t)st.st_size == huge * BLOCK_BYTES);
    assert_true(st.st_blocks < 1000);
    assert_int_equal(sim_disk_load(path, &back, &err), 0);
    assert_true(sim_disk_block_count(back) == huge);
    struct sim_disk *clone = sim_disk_clone(back);
    for (size_t i = 0; i < ARRAY_LEN(where); i++) {
        assert_int_equal(t_letter_of(sim_disk_peek(back, where[i])), 'a' + (int)i);
        assert_int_equal(t_letter_of(sim_disk_peek(clone, where[i])), 'a' + (int)i);
    }
    assert_int_equal(t_letter_of(sim_disk_peek(back, 9)), 0);
    sim_disk_poke(clone, 0, memset(block, 'z', BLOCK_BYTES));
    assert_int_equal(t_letter_of(sim_disk_peek(back, 0)), 'a');
    sim_disk_destroy(disk);
    sim_disk_destroy(back);
    sim_disk_destroy(clone);
    sim_disk_destroy(NULL);
    unlink(path);
}

static void an_image_that_cannot_be_opened_is_an_error_with_a_sentence(void **state)
{
    (void)state;
    struct err err = {0}, err2 = {0};
    struct sim_disk *disk = sim_disk_create(1), *none = NULL;
    assert_int_equal(sim_disk_load("/nonexistent/image", &none, &err), -ENOENT);
    assert_true(strstr(err.text, "/nonexistent/image"));
    assert_int_equal(sim_disk_save(disk, "/nonexistent/image", &err2), -ENOENT);
    sim_disk_destroy(disk);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_see_every_acknowledged_write),
        cmocka_unit_test(a_power_cut_keeps_what_was_flushed_and_gambles_with_the_rest),
        cmocka_unit_test(a_fua_write_is_stable_alone_and_older_ones_cannot_return),
        cmocka_unit_test(writes_end_in_any_order),
        cmocka_unit_test(a_flush_covers_only_what_was_acknowledged_before_it_began),
        cmocka_unit_test(the_power_fails_at_the_step_that_was_asked_for),
        cmocka_unit_test(after_a_cut_the_disk_serves_a_new_worker),
        cmocka_unit_test(a_request_that_outlives_a_power_cut_fails),
        cmocka_unit_test(one_seed_leaves_one_content),
        cmocka_unit_test(discarded_blocks_read_as_zeros_or_as_before),
        cmocka_unit_test(after_a_process_died_its_writes_land_and_what_was_not_stable_stays_so),
        cmocka_unit_test(a_large_sparse_image_is_cheap_to_load_and_save),
        cmocka_unit_test(an_image_that_cannot_be_opened_is_an_error_with_a_sentence),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
