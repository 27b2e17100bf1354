// SPDX-License-Identifier: MIT
// journal_crash_test.c - the power is cut at every write of random work; recovery is held against a model.
//
// The model remembers, for every transaction, what each block was when it was closed. After
// recovery the disk must be exactly one of these moments: not before the last transaction that was
// acknowledged, not after the last that was closed. Blocks are freed, used again for metadata, and
// used again for data that is written past the journal: revokes must protect those.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <string.h>

#include "base/check.h"
#include "journal/journal_rig.h"

#define BLOCKS 96u
#define TXNS_MAX 200u
#define STEPS 700u

enum kind { META, DATA, FREED, ANY };       // of FREED and ANY the content does not matter

struct cell {
    enum kind kind;
    uint32_t version;
};

struct world {
    struct jrig rig;
    struct prng prng;
    uint32_t version;
    uint64_t tid_first;                     // first transaction of this life
    uint64_t tid_closed;                    // last one that was closed
    uint64_t tid_acked;                     // last one that was acknowledged
    struct cell now[BLOCKS];
    struct cell snap[TXNS_MAX][BLOCKS];     // [tid - tid_first + 1]; [0] is the beginning
    uint64_t freed_tid[BLOCKS];
    bool done;
    uint32_t helpers;
};

static _Alignas(BLOCK_BYTES) uint8_t data_bytes[BLOCK_BYTES];

static uint32_t chance(struct world *world, uint32_t below)
{
    return (uint32_t)(prng_next(&world->prng) % below);
}

static struct cell *snap_of(struct world *world, uint64_t tid)
{
    CHECK(tid + 1 >= world->tid_first && tid - world->tid_first + 1 < TXNS_MAX);
    return world->snap[tid - world->tid_first + 1];
}

static YIELDS void commit(struct world *world)
{
    struct journal *jrn = world->rig.jrn;
    if (jrn_running_empty(jrn))
        return;
    uint64_t tid = jrn_running_tid(jrn);
    memcpy(snap_of(world, tid), world->now, sizeof(world->now));
    world->tid_closed = tid;
    CHECK(jrn_commit(jrn) == 0);
    world->tid_acked = MAX(world->tid_acked, tid);
}

static YIELDS void make_room(struct world *world, uint32_t credits)
{
    while (jrn_reserve(world->rig.jrn, credits) == -EAGAIN) {
        commit(world);
        int rc = jrn_checkpoint(world->rig.jrn, 100);
        CHECK(rc == 0 || rc == -EAGAIN);
    }
}

// Data is stable or not by itself, whatever transactions do: it changes all moments since the
// block became free.
static void set_past_and_now(struct world *world, uint32_t b, struct cell cell)
{
    for (uint64_t tid = world->freed_tid[b]; tid <= world->tid_closed; tid++)
        snap_of(world, tid)[b] = cell;
    world->now[b] = cell;
}

static YIELDS void write_data(struct world *world, uint32_t b)
{
    struct shep_ref ref = {.type = BLOCK_DATA};
    struct iovec iov = {data_bytes, BLOCK_BYTES};
    set_past_and_now(world, b, (struct cell){ANY, 0});
    uint32_t version = ++world->version;
    rig_paint(data_bytes, RIG_HOME + b, version);
    CHECK(shep_write(world->rig.shep, &ref, RIG_HOME + b, &iov, 1, SHEP_FUA, NULL) == 0);
    set_past_and_now(world, b, (struct cell){DATA, version});
}

static void free_block(struct world *world, uint32_t b)
{
    jrn_forget(world->rig.jrn, RIG_HOME + b);
    world->now[b] = (struct cell){FREED, 0};
    world->freed_tid[b] = jrn_running_tid(world->rig.jrn);
}

static YIELDS void change(struct world *world, uint32_t b, bool fresh)
{
    make_room(world, 1);
    // The wait may have let another transaction begin, but nobody else changes blocks.
    uint32_t version = ++world->version;
    rig_modify(&world->rig, RIG_HOME + b, version, fresh);
    world->now[b] = (struct cell){META, version};
}

static YIELDS void step(struct world *world)
{
    uint32_t b = chance(world, BLOCKS), action = chance(world, 16);
    bool reusable = world->now[b].kind == FREED && world->freed_tid[b] <= jrn_committed_tid(world->rig.jrn);
    if (world->now[b].kind == META && action < 11)
        change(world, b, false);
    else if (world->now[b].kind == META || world->now[b].kind == DATA)
        free_block(world, b);
    else if (reusable && action < 8)
        change(world, b, true);
    else if (reusable)
        write_data(world, b);
    if (chance(world, 24) == 0)
        commit(world);
}

static YIELDS void committer(void *arg)
{
    struct world *world = arg;
    while (!world->done) {
        rt_sleep_until(world->rig.rt, rt_now_ns(world->rig.rt) + chance(world, 4000000));
        commit(world);
    }
    world->helpers--;
}

static YIELDS void checkpointer(void *arg)
{
    struct world *world = arg;
    while (!world->done) {
        rt_sleep_until(world->rig.rt, rt_now_ns(world->rig.rt) + chance(world, 9000000));
        int rc = jrn_checkpoint(world->rig.jrn, chance(world, 4) ? jrn_size_blocks(world->rig.jrn) - chance(world, 200) : UINT64_MAX);
        CHECK(rc == 0 || rc == -EAGAIN);
    }
    world->helpers--;
}

static YIELDS void work(void *arg)
{
    struct world *world = arg;
    CHECK(rig_open(&world->rig) == 0);
    world->tid_first = jrn_running_tid(world->rig.jrn);
    world->tid_closed = world->tid_acked = world->tid_first - 1;
    world->helpers = 2;
    rt_spawn(world->rig.rt, "committer", committer, world);
    rt_spawn(world->rig.rt, "checkpointer", checkpointer, world);
    for (uint32_t i = 0; i < STEPS && world->tid_closed - world->tid_first + 3 < TXNS_MAX; i++)
        step(world);
    world->done = true;
    while (world->helpers)
        rt_sleep_until(world->rig.rt, rt_now_ns(world->rig.rt) + 1000000);
    commit(world);
    CHECK(jrn_close(world->rig.jrn) == 0);
    world->rig.jrn = NULL;
}

static YIELDS void open_again(void *arg)
{
    struct world *world = arg;
    struct jrn_config config = rig_config(&world->rig);
    CHECK(jrn_open(&config, &world->rig.jrn, NULL) == 0);
    world->rig.rc = jrn_recover(world->rig.jrn, NULL, NULL);
}

// Every block as it was when transaction `tid` was closed.
static void expect_moment(struct world *world, uint64_t tid, uint64_t seed, uint64_t cut)
{
    const struct cell *moment = snap_of(world, tid);
    for (uint32_t b = 0; b < BLOCKS; b++) {
        uint32_t found = rig_version(sim_disk_peek(world->rig.disk, RIG_HOME + b), RIG_HOME + b);
        if (moment[b].kind == FREED || moment[b].kind == ANY || found == moment[b].version)
            continue;
        fail_msg("seed %llu cut %llu: block %u has version %u, not %u (kind %d) of transaction %llu",
                 (unsigned long long)seed, (unsigned long long)cut, b, found, moment[b].version,
                 moment[b].kind, (unsigned long long)tid);
    }
}

// Power back: recovery, cut once more in the middle of it if asked for, and the comparison.
static void recover_and_compare(struct world *world, uint64_t seed, uint64_t cut, uint64_t second_cut)
{
    struct sim_disk *disk = world->rig.disk;
    uint64_t acked = world->tid_acked, closed = world->tid_closed, first = world->tid_first;
    for (uint64_t again = second_cut;; again = 0) {
        rig_fini(&world->rig);
        rig_init(&world->rig, disk, seed);
        sim_disk_cut_after(disk, again);
        rt_spawn(world->rig.rt, "open", open_again, world);
        int rc = rt_run(world->rig.rt);
        if (rc != -ECANCELED)
            break;
        rig_power_cut(&world->rig, seed + cut);
    }
    sim_disk_cut_after(disk, 0);
    assert_int_equal(world->rig.rc, 0);
    uint64_t tid = jrn_recovered_tid(world->rig.jrn);
    // Cut before the log was begun, it is as mke2fs or the last recovery left it.
    tid = closed < first ? first - 1 : MAX(tid, first - 1);
    assert_true(tid >= acked);
    assert_true(tid <= closed);
    expect_moment(world, tid, seed, cut);
}

// Returns the steps that the work took, or 0 when it was cut.
static uint64_t run_world(const struct sim_disk *golden, uint64_t seed, uint64_t cut)
{
    struct world *world = xcalloc(1, sizeof(*world));
    struct sim_disk *disk = sim_disk_clone(golden);
    rig_init(&world->rig, disk, seed);
    prng_seed(&world->prng, seed);
    uint64_t before = sim_disk_write_count(disk), steps = 0;
    sim_disk_cut_after(disk, cut);
    rt_spawn(world->rig.rt, "work", work, world);
    int rc = rt_run(world->rig.rt);
    if (rc == -ECANCELED) {
        rig_power_cut(&world->rig, seed * 1000 + cut);
        recover_and_compare(world, seed, cut, cut % 3 == 0 ? 1 + cut % 7 : 0);
    } else {
        assert_int_equal(rc, 0);
        steps = sim_disk_write_count(disk) - before;
        expect_moment(world, world->tid_closed, seed, cut);
        assert_int_equal(sim_disk_unstable(disk), 0);
    }
    rig_fini(&world->rig);
    sim_disk_destroy(disk);
    free(world);
    return steps;
}

static void sweep(const char *features, uint64_t seed, uint64_t stride)
{
    struct sim_disk *golden = rig_mkfs(features);
    uint64_t steps = run_world(golden, seed, 0);
    assert_true(steps > 100);
    for (uint64_t cut = 1 + seed % stride; cut <= steps; cut += stride)
        assert_int_equal(run_world(golden, seed, cut), 0);
    sim_disk_destroy(golden);
}

static void every_cut_leaves_a_moment_between_transactions(void **state)
{
    (void)state;
    sweep("", 1, 1);
}

static void so_it_is_with_other_seeds(void **state)
{
    (void)state;
    for (uint64_t seed = 2; seed < 6; seed++)
        sweep("", seed, 9);
}

static void so_it_is_without_checksums_and_with_short_block_numbers(void **state)
{
    (void)state;
    sweep("^metadata_csum,^64bit", 11, 5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_cut_leaves_a_moment_between_transactions),
        cmocka_unit_test(so_it_is_with_other_seeds),
        cmocka_unit_test(so_it_is_without_checksums_and_with_short_block_numbers),
    };
    return cmocka_run_group_tests_name("journal-crash", tests, NULL, NULL);
}
