// SPDX-License-Identifier: MIT
// recover_random_test.c - lives full of random operations, each ended by a sudden death, many of them in recovery.
#include "recover/recover_rig.h"

#include <inttypes.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <stdio.h>
#include <string.h>

#include "base/check.h"
#include "base/log.h"
#include "fs/data.h"
#include "rt/rt_sim.h"

#define LIVES 5u
#define OPS_A_LIFE 60u

struct story {
    uint64_t seed;
    uint32_t dirs[4];
    struct prng chance;
    char *picture;
};

static uint32_t draw(struct recover_rig *rig, uint32_t below)
{
    return (uint32_t)(prng_next(&((struct story *)rig->arg)->chance) % below);
}

static struct ops_name name_of(uint32_t i)
{
    static const char *const names[] = {"a", "b", "c", "d", "e", "f", "g", "h"};
    return (struct ops_name){names[i % 8], 1};
}

// A directory of the first three levels.
static uint32_t some_dir(struct recover_rig *rig)
{
    uint32_t ino = OPS_ROOT;
    for (uint32_t depth = draw(rig, 3); depth > 0; depth--) {
        struct ops_attr attr;
        if (ops_lookup(rig->ops, ino, name_of(draw(rig, 8)), &attr) < 0)
            return ino;
        ops_forget(rig->ops, attr.ino, 1);
        if ((attr.mode & 0170000) != 0040000)
            return ino;
        ino = attr.ino;
    }
    return ino;
}

static uint32_t some_inode(struct recover_rig *rig)
{
    for (uint32_t tries = 0; tries < 10; tries++) {
        struct ops_attr attr;
        if (ops_lookup(rig->ops, some_dir(rig), name_of(draw(rig, 8)), &attr) < 0)
            continue;
        ops_forget(rig->ops, attr.ino, 1);
        return attr.ino;
    }
    return OPS_ROOT;
}

static void some_write(struct recover_rig *rig, uint32_t ino)
{
    static uint8_t bytes[70000];
    size_t len = 1 + draw(rig, draw(rig, 3) ? 5000 : 70000);
    memset(bytes, (int)draw(rig, 256), len);
    (void)!ops_write(rig->ops, ino, &(struct ops_write){
        .off = draw(rig, draw(rig, 8) ? 40000 : 3000000), .bytes = bytes, .len = len, .privileged = true,
        .append = draw(rig, 4) == 0, .keep_times = draw(rig, 8) == 0, .kill_suidgid = draw(rig, 8) == 0,
    });
}

static void some_setattr(struct recover_rig *rig, uint32_t ino)
{
    static const uint32_t sets[] = {OPS_SET_MODE, OPS_SET_UID, OPS_SET_GID, OPS_SET_SIZE, OPS_SET_SIZE, OPS_SET_SIZE,
                                    OPS_SET_SIZE | OPS_SET_MODE, OPS_SET_MTIME, OPS_SET_ATIME_NOW, OPS_TOUCH};
    struct ops_attr attr;
    struct ops_setattr set = {
        .set = sets[draw(rig, ARRAY_LEN(sets))], .mode = draw(rig, 010000), .uid = draw(rig, 4), .gid = draw(rig, 4),
        .size = draw(rig, 60000), .mtime = {draw(rig, 100000), draw(rig, 1000000)},
    };
    (void)!ops_setattr(rig->ops, &rig->caller, ino, &set, &attr);
}

static void some_fallocate(struct recover_rig *rig, uint32_t ino)
{
    static const int modes[] = {0, FALLOC_FL_KEEP_SIZE, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, FALLOC_FL_ZERO_RANGE,
                                FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE};
    (void)!ops_fallocate(rig->ops, ino, modes[draw(rig, ARRAY_LEN(modes))], draw(rig, 50000), 1 + draw(rig, 50000));
}

static void some_making(struct recover_rig *rig)
{
    struct ops_attr attr = {0};
    struct ops_caller caller = {.uid = draw(rig, 3), .gid = draw(rig, 3), .umask = draw(rig, 0100)};
    struct ops_name name = name_of(draw(rig, 8));
    uint32_t dir = some_dir(rig);
    bool created;
    int rc;
    switch (draw(rig, 6)) {
    case 0: rc = ops_mkdir(rig->ops, &caller, dir, name, 02777, &attr); break;
    case 1: rc = ops_symlink(rig->ops, &caller, dir, name, (struct ops_name){"target", 6}, &attr); break;
    case 2: rc = ops_mknod(rig->ops, &caller, dir, name, 0010666, 0, 0, &attr); break;
    default: rc = ops_create(rig->ops, &caller, dir, name, 0666, draw(rig, 2), &attr, &created); break;
    }
    if (rc == 0)
        ops_forget(rig->ops, attr.ino, 1);
    if (rc == 0 && (attr.mode & 0170000) == 0100000)
        some_write(rig, attr.ino);
}

static void some_xattr(struct recover_rig *rig, uint32_t ino)
{
    static const char value[3000];
    const char *name = draw(rig, 2) ? "user.one" : "user.two";
    if (draw(rig, 4))
        (void)!ops_setxattr(rig->ops, ino, name, value, draw(rig, draw(rig, 2) ? 60 : 3000), 0, false);
    else
        (void)!ops_removexattr(rig->ops, ino, name);
}

static void some_rename(struct recover_rig *rig)
{
    static const uint32_t flags[] = {0, 0, 0, RENAME_NOREPLACE, RENAME_EXCHANGE, RENAME_WHITEOUT};
    (void)!ops_rename(rig->ops, &rig->caller, some_dir(rig), name_of(draw(rig, 8)), some_dir(rig), name_of(draw(rig, 8)),
                      flags[draw(rig, ARRAY_LEN(flags))]);
}

static void some_tmpfile(struct recover_rig *rig)
{
    struct ops_attr attr;
    if (rig->held_count == ARRAY_LEN(rig->held) ||
        ops_tmpfile(rig->ops, &rig->caller, some_dir(rig), 0600, &attr) < 0)
        return;
    some_write(rig, attr.ino);
    if (draw(rig, 2))
        (void)!ops_link(rig->ops, attr.ino, some_dir(rig), name_of(draw(rig, 8)), &attr);
    else
        recover_rig_hold(rig, attr.ino);
}

static void one(struct recover_rig *rig)
{
    struct ops_attr attr;
    uint32_t flags, project, ino = some_inode(rig);

    switch (draw(rig, 20)) {
    case 0: case 1: case 2: case 3: some_making(rig); break;
    case 4: case 5: case 6: some_write(rig, ino); break;
    case 7: case 8: some_setattr(rig, ino); break;
    case 9: some_fallocate(rig, ino); break;
    case 10: (void)!ops_unlink(rig->ops, some_dir(rig), name_of(draw(rig, 8))); break;
    case 11: (void)!ops_rmdir(rig->ops, some_dir(rig), name_of(draw(rig, 8))); break;
    case 12: case 13: some_rename(rig); break;
    case 14: if (ops_link(rig->ops, ino, some_dir(rig), name_of(draw(rig, 8)), &attr) == 0) ops_forget(rig->ops, ino, 1); break;
    case 15: some_xattr(rig, ino); break;
    case 16: some_tmpfile(rig); break;
    case 17: if (ops_get_flags(rig->ops, ino, &flags, &project) == 0) (void)!ops_set_flags(rig->ops, ino, flags ^ 0x40, NULL); break;
    case 18: if (draw(rig, 3) == 0) assert_int_equal(fs_commit(rig->fs), 0); break;
    default: if (draw(rig, 3) == 0) (void)!ops_fsync(rig->ops, ino, draw(rig, 2)); else (void)!data_writeback_some(rig->fs, draw(rig, 10)); break;
    }
    if (draw(rig, 4) == 0)
        rt_sleep_until(rig->rt, rt_now_ns(rig->rt) + draw(rig, 400) * 1000000ull);
}

static void live_on(struct recover_rig *rig)
{
    struct story *story = rig->arg;
    char what[64];

    if (story->picture) {
        char *now = recover_rig_picture(rig);
        snprintf(what, sizeof what, "seed %" PRIu64 ", life %" PRIu64, story->seed, rig->lives);
        recover_rig_expect(what, story->picture, now);
        free(now);
        free(story->picture);
    }
    for (uint32_t i = 0; i < OPS_A_LIFE; i++)
        one(rig);
    if (draw(rig, 4) == 0) {
        assert_int_equal(ops_sync(rig->ops), 0);
        if (!rig->flusher)
            assert_int_equal(plog_used(&rig->plog), 0);
    }
    story->picture = recover_rig_picture(rig);
}

static void only_recover(struct recover_rig *rig) { (void)rig; }

static void tell(const struct fs_rig *base, uint64_t seed)
{
    struct recover_rig rig;
    struct story story = {.seed = seed};
    recover_rig_init(&rig, base);
    prng_seed(&story.chance, seed);
    rig.any_blocks = true;
    rig.flusher = seed % 3 == 0;
    rig.commit_every = seed % 4 == 1 ? 5 : 0;
    for (uint64_t life = 0; life < LIVES; life++) {
        bool last = life == LIVES - 1;
        for (uint64_t deaths = seed % 3; life > 0 && deaths > 0; deaths--) {
            rig.die_at = 1 + prng_next(&story.chance) % 40;
            (void)recover_rig_live(&rig, only_recover, &story, LIFE_CRASHES);
            rig.die_at = 0;
            rig.progress = (struct recover_progress){0};
        }
        int rc = recover_rig_live(&rig, live_on, &story, last ? LIFE_ENDS : LIFE_CRASHES);
        if (rc < 0)
            fail_msg("seed %" PRIu64 ", life %" PRIu64 ": %d %s", seed, life, rc, rig.err.text);
    }
    struct fs_rig judge = *base;
    judge.disk = rig.disk;
    fs_rig_fsck(&judge);
    free(story.picture);
    recover_rig_fini(&rig);
}

static void nobody_notices_any_of_many_deaths(void **state)
{
    (void)state;
    const char *from = getenv("DROVER_SEED"), *count = getenv("DROVER_SEEDS");
    uint64_t first = from ? strtoull(from, NULL, 10) : 1, seeds = count ? strtoull(count, NULL, 10) : 40;
    struct fs_rig base;
    fs_rig_init(&base, &(struct fs_rig_options){.mke2fs = "-O project -I 256"});
    for (uint64_t seed = first; seed < first + seeds; seed++)
        tell(&base, seed);
    fs_rig_fini(&base);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nobody_notices_any_of_many_deaths),
    };
    log_set_level(LOG_ERROR_LEVEL);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
