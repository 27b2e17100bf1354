// SPDX-License-Identifier: MIT
// adopt_crash_test.c - generations of servers that adopt each other's logs: a model, the replay and e2fsck judge.
//
// One life after the other works on random blocks and is killed, now and then by the power. The model
// knows each block as it was when the last transaction was closed, and when the one before it was.
// Each life begins with a look at every block; between lives the same disk is also replayed.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>

#include "base/check.h"
#include "cache/page.h"
#include "journal/internal.h"
#include "journal/journal_rig.h"

#define B RIG_HOME
#define BLOCKS 200u

enum kind { META, DATA, FREED, ANY };       // of FREED and ANY the content does not matter
struct cell {
    enum kind kind;
    uint32_t version;
    uint64_t freed_tid;
};
struct moment {
    uint64_t tid;                           // the transaction that ended with it
    struct cell cells[BLOCKS];
};

struct life {
    struct jrig rig;
    struct prng prng;
    uint32_t version, steps;
    struct moment now, closed, committed;
    uint64_t hint;
    bool replay;                            // as after a power cut
    bool only_look, close;
    bool done, helper;
    uint8_t *bytes;                         // one block; freed by t_end(), whoever was abandoned
    uint32_t seen[BLOCKS];                  // versions, when it was opened
};

static uint32_t chance(struct life *life, uint32_t below)
{
    return (uint32_t)(prng_next(&life->prng) % below);
}

static YIELDS int open_journal(struct life *life)
{
    struct jrn_config config = rig_config(&life->rig);
    config.adopt = !life->replay;
    config.committed_hint = life->hint;
    return rig_open_as(&life->rig, &config);
}

// As metadata or as data: both must come to the same.
static YIELDS int read_block(struct life *life, uint32_t b, bool as_data, uint32_t *version)
{
    struct shep_ref ref = {.type = BLOCK_DATA, .owner = {.ino = 12, .lblock = b}};
    if (as_data) {
        struct iovec iov = {life->bytes, BLOCK_BYTES};
        int rc = data_read_blocks(life->rig.cache, &ref.owner, B + b, &iov, 1);
        *version = rig_version(life->bytes, B + b);
        return rc;
    }
    struct buf *buf;
    int rc = buf_get(life->rig.cache, &ref, B + b, &buf);
    if (rc < 0)
        return rc;
    *version = rig_version(buf->bytes, B + b);
    buf_put(life->rig.cache, buf);
    return 0;
}

static YIELDS void look(struct life *life)
{
    for (uint32_t b = 0; b < BLOCKS; b++)
        CHECK(read_block(life, b, chance(life, 2), &life->seen[b]) == 0);
}

// The disk is at one of two moments, and the number of the newest transaction says at which.
static void expect_moment(struct life *life)
{
    uint64_t tid = jrn_recovered_tid(life->rig.jrn);
    assert_true(tid >= life->committed.tid);
    if (life->closed.tid && tid >= life->closed.tid)
        life->committed = life->closed;
    for (uint32_t b = 0; b < BLOCKS; b++) {
        struct cell *cell = &life->committed.cells[b];
        if (cell->kind <= DATA && cell->version != life->seen[b])
            fail_msg("block %u has version %u, not %u (kind %d) of %llu", b, life->seen[b], cell->version,
                     cell->kind, (unsigned long long)tid);
        cell->freed_tid = 0;
    }
    life->now = life->closed = life->committed;
    life->closed.tid = 0;
}

// --- work ---------------------------------------------------------------------------------------

static YIELDS void commit(struct life *life)
{
    struct journal *jrn = life->rig.jrn;
    if (jrn_running_empty(jrn))
        return;
    life->closed = life->now;
    life->closed.tid = jrn_running_tid(jrn);
    CHECK(jrn_commit(jrn) == 0);
    life->committed = life->closed;
}

static YIELDS void make_room(struct life *life)
{
    struct journal *jrn = life->rig.jrn;
    while (jrn_reserve(jrn, 1) == -EAGAIN) {
        commit(life);
        int rc = jrn_checkpoint(jrn, 150);
        CHECK(rc == 0 || rc == -EAGAIN);
    }
}

static void set_cell(struct life *life, uint32_t b, struct cell cell)
{
    life->now.cells[b] = life->closed.cells[b] = life->committed.cells[b] = cell;
}

// Data is stable by itself, so all moments have it.
static YIELDS void write_data(struct life *life, uint32_t b)
{
    struct shep_ref ref = {.type = BLOCK_DATA};
    struct iovec iov = {life->bytes, BLOCK_BYTES};
    uint32_t version = ++life->version;
    set_cell(life, b, (struct cell){.kind = ANY});
    rig_paint(life->bytes, B + b, version);
    CHECK(shep_write(life->rig.shep, &ref, B + b, &iov, 1, SHEP_FUA, NULL) == 0);
    set_cell(life, b, (struct cell){.kind = DATA, .version = version});
}

static YIELDS void modify(struct life *life, uint32_t b, bool fresh)
{
    uint32_t version = ++life->version;
    make_room(life);
    rig_modify(&life->rig, B + b, version, fresh);
    life->now.cells[b] = (struct cell){.kind = META, .version = version};
}

static YIELDS void step(struct life *life)
{
    struct journal *jrn = life->rig.jrn;
    uint32_t b = chance(life, BLOCKS);
    struct cell *cell = &life->now.cells[b];
    bool reusable = cell->kind >= FREED && cell->freed_tid <= jrn_committed_tid(jrn);
    if (cell->kind == META && chance(life, 8)) {
        modify(life, b, false);
    } else if (cell->kind <= DATA) {
        make_room(life);
        jrn_forget(jrn, B + b);
        *cell = (struct cell){.kind = FREED, .freed_tid = jrn_running_tid(jrn)};
    } else if (reusable && chance(life, 3) == 0) {
        write_data(life, b);
    } else if (reusable) {
        modify(life, b, true);
    }
    if (chance(life, 30) == 0)
        commit(life);
}

static YIELDS void checkpointer(void *arg)
{
    struct life *life = arg;
    while (!life->done) {
        rt_sleep_until(life->rig.rt, rt_now_ns(life->rig.rt) + 1 + chance(life, 60000000));
        int rc = jrn_checkpoint(life->rig.jrn, chance(life, 1000));
        CHECK(rc == 0 || rc == -EAGAIN);
    }
    life->helper = false;
}

static YIELDS void live(void *arg)
{
    struct life *life = arg;
    CHECK(open_journal(life) == 0);
    look(life);
    if (life->only_look)
        return;
    expect_moment(life);
    life->helper = true;
    rt_spawn(life->rig.rt, "checkpointer", checkpointer, life);
    for (uint32_t i = 0; i < life->steps; i++)
        step(life);
    life->done = true;
    while (life->helper)
        rt_yield(life->rig.rt);
    if (life->close) {
        commit(life);
        CHECK(jrn_close(life->rig.jrn) == 0);
        life->rig.jrn = NULL;
    }
}

// --- lives --------------------------------------------------------------------------------------

static struct life *t_life(struct sim_disk *disk, uint64_t seed)
{
    struct life *life = xcalloc(1, sizeof(*life));
    rig_init(&life->rig, disk, seed);
    prng_seed(&life->prng, seed);
    life->bytes = xblocks(1);
    return life;
}

static int t_run(struct life *life, uint32_t steps)
{
    life->steps = steps;
    life->done = false;
    return rig_run(&life->rig, live);
}

// Killed: what is under way lands, and the next process meets the disk.
static void t_kill(struct life *life, uint64_t seed)
{
    struct sim_disk *disk = life->rig.disk;
    struct prng prng;
    prng_seed(&prng, seed);
    rt_sim_abandon(life->rig.rt);
    sim_disk_cut_after(disk, 0);
    sim_disk_land(disk, &prng, seed % 2);
    rig_fini(&life->rig);
    rig_init(&life->rig, disk, seed);
}

static void t_end(struct life *life)
{
    rt_sim_abandon(life->rig.rt);
    rig_fini(&life->rig);
    free(life->bytes);
    free(life);
}

// The disk as a read sees it now, all of it stable.
static struct sim_disk *t_as_seen(const struct sim_disk *disk)
{
    static const uint8_t zeros[BLOCK_BYTES];
    struct sim_disk *copy = sim_disk_create(sim_disk_block_count(disk));
    for (uint64_t block = 0; block < sim_disk_block_count(disk); block++) {
        const void *bytes = sim_disk_peek(disk, block);
        if (memcmp(bytes, zeros, BLOCK_BYTES) != 0)
            sim_disk_poke(copy, block, bytes);
    }
    return copy;
}

static void t_look(struct sim_disk *disk, bool replay, uint32_t seen[BLOCKS])
{
    struct life *life = t_life(disk, 5);
    life->replay = replay;
    life->only_look = true;
    assert_int_equal(t_run(life, 0), 0);
    memcpy(seen, life->seen, sizeof(life->seen));
    t_end(life);
}

static struct sim_disk *t_after_e2fsck(const struct sim_disk *disk)
{
    char path[] = "/tmp/drover-journal-XXXXXX", command[128];
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    close(fd);
    assert_int_equal(sim_disk_save(disk, path, NULL), 0);
    snprintf(command, sizeof(command), "e2fsck -fy %s >/dev/null 2>&1", path);
    assert_int_equal(WEXITSTATUS(system(command)) & ~1, 0);
    struct sim_disk *theirs;
    assert_int_equal(sim_disk_load(path, &theirs, NULL), 0);
    unlink(path);
    return theirs;
}

// Adopted, replayed by us, and replayed by e2fsck: one disk.
static void t_compare(const struct sim_disk *disk, bool with_e2fsck)
{
    uint32_t adopted[BLOCKS], replayed[BLOCKS];
    struct sim_disk *copy = t_as_seen(disk);
    t_look(copy, false, adopted);
    struct sim_disk *theirs = with_e2fsck ? t_after_e2fsck(copy) : NULL;
    t_look(copy, true, replayed);
    assert_memory_equal(adopted, replayed, sizeof(adopted));
    for (uint32_t b = 0; b < BLOCKS && theirs; b++)
        assert_int_equal(rig_version(sim_disk_peek(theirs, B + b), B + b), replayed[b]);
    if (theirs)
        sim_disk_destroy(theirs);
    sim_disk_destroy(copy);
}

struct census {
    uint32_t adopted, wrapped, replayed;
};

static void take_census(struct census *census, const struct journal *jrn)
{
    const struct txn *oldest = jrn ? txn_first(&jrn->committed) : NULL;
    if (!jrn)
        return;
    census->adopted += jrn->is_adopted;
    census->replayed += !jrn->is_adopted;
    census->wrapped += jrn->is_adopted && oldest && jrn->head < oldest->log_start;
}

static void generations(const struct sim_disk *golden, uint64_t seed, struct census *census)
{
    struct sim_disk *disk = sim_disk_clone(golden);
    struct life *life = t_life(disk, seed);
    for (uint32_t generation = 0; generation < 14; generation++) {
        sim_disk_cut_after(disk, 1 + chance(life, generation % 3 ? 250 : 25));
        int rc = t_run(life, 100 + chance(life, 1500));
        assert_true(rc == 0 || rc == -ECANCELED);
        take_census(census, life->rig.jrn);
        life->hint = chance(life, 2) ? life->committed.tid : 0;
        life->replay = chance(life, 5) == 0;
        if (life->replay)
            rig_power_cut(&life->rig, seed + generation);
        t_kill(life, seed + generation);
        t_compare(disk, generation == 9);
    }
    life->close = true;
    life->replay = false;
    assert_int_equal(t_run(life, 50), 0);
    for (uint32_t b = 0; b < BLOCKS; b++)
        if (life->committed.cells[b].kind <= DATA)
            assert_int_equal(rig_version(sim_disk_peek(disk, B + b), B + b), life->committed.cells[b].version);
    assert_int_equal(rig_super(&life->rig).start, 0);
    t_end(life);
    sim_disk_destroy(disk);
}

static void a_log_is_adopted_through_generations(void **state)
{
    (void)state;
    static const char *const formats[] = {"", "^metadata_csum,^64bit"};
    for (uint32_t i = 0; i < ARRAY_LEN(formats); i++) {
        struct census census = {0};
        struct sim_disk *golden = rig_mkfs(formats[i]);
        for (uint64_t seed = 1; seed <= 12; seed++)
            generations(golden, seed, &census);
        print_message("adopted %u (%u wrapped), replayed %u\n", census.adopted, census.wrapped, census.replayed);
        assert_true(census.adopted > 60);
        assert_true(census.wrapped > 5);
        sim_disk_destroy(golden);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_log_is_adopted_through_generations),
    };
    return cmocka_run_group_tests_name("journal-adopt-crash", tests, NULL, NULL);
}
