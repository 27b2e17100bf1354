// SPDX-License-Identifier: MIT
// recover_test.c - the AIM matrix at the level of ops: every operation, durable or live, with what may happen to its
// targets afterwards; the server dies, and its successor must show the very same volume.
#include "recover/recover_words.h"

#include <linux/falloc.h>
#include <linux/fs.h>
#include <stdio.h>
#include <string.h>

#include "base/check.h"
#include "base/crc32c.h"
#include "base/log.h"
#include "fs/data.h"
#include "ondisk/inode.h"
#include "rt/rt_sim.h"

// --- operations ---------------------------------------------------------------------------------------

typedef void act(struct recover_rig *rig);
struct named { const char *name; act *act; };

static void create_one(struct recover_rig *rig) { put(rig, make(rig, d(rig), "new"), 0, 5000, 9); }
static void create_with_acl(struct recover_rig *rig) { make(rig, at(rig, "acl", NULL), "new"); make_dir(rig, at(rig, "acl", NULL), "newdir"); }
static void create_many(struct recover_rig *rig)
{
    char name[64];
    for (int i = 0; i < 300; i++) {
        snprintf(name, sizeof name, "a rather long name so that leaves must be split %d", i);
        make(rig, d(rig), name);
    }
}
static void create_as_other(struct recover_rig *rig)
{
    struct ops_attr attr;
    bool created;
    struct ops_caller other = {.uid = 1000, .gid = 1001, .umask = 027};
    assert_int_equal(ops_create(rig->ops, &other, x(rig), n("new"), 0666, true, &attr, &created), 0);
    ops_forget(rig->ops, attr.ino, 1);
    assert_int_equal(ops_mkdir(rig->ops, &other, x(rig), n("newdir"), 0777, &attr), 0);
}
static void do_mknod(struct recover_rig *rig)
{
    struct ops_attr attr;
    assert_int_equal(ops_mknod(rig->ops, &rig->caller, d(rig), n("dev"), 0020660, 259, 70000, &attr), 0);
    assert_int_equal(ops_mknod(rig->ops, &rig->caller, d(rig), n("pipe"), 0010600, 0, 0, &attr), 0);
}
static void do_mkdir(struct recover_rig *rig) { make(rig, make_dir(rig, d(rig), "new"), "inside"); }
static void do_symlink(struct recover_rig *rig)
{
    struct ops_attr attr;
    char target[300];
    memset(target, 'x', sizeof target);
    assert_int_equal(ops_symlink(rig->ops, &rig->caller, d(rig), n("short"), n("somewhere"), &attr), 0);
    assert_int_equal(ops_symlink(rig->ops, &rig->caller, d(rig), n("long"), (struct ops_name){target, sizeof target}, &attr), 0);
}
static void do_tmpfile(struct recover_rig *rig)
{
    struct ops_attr attr;
    assert_int_equal(ops_tmpfile(rig->ops, &rig->caller, d(rig), 0640, &attr), 0);
    recover_rig_hold(rig, attr.ino);
    put(rig, attr.ino, 100, 5000, 3);
}
static void tmpfile_and_link(struct recover_rig *rig)
{
    struct ops_attr attr;
    assert_int_equal(ops_tmpfile(rig->ops, &rig->caller, d(rig), 0640, &attr), 0);
    put(rig, attr.ino, 100, 5000, 3);
    assert_int_equal(ops_link(rig->ops, attr.ino, d(rig), n("named"), &attr), 0);
}
static void do_link(struct recover_rig *rig)
{
    struct ops_attr attr;
    assert_int_equal(ops_link(rig->ops, f(rig), d(rig), n("f3"), &attr), 0);
}
static void unlink_open(struct recover_rig *rig)
{
    struct ops_attr attr;
    assert_int_equal(ops_lookup(rig->ops, x(rig), n("t"), &attr), 0);
    recover_rig_hold(rig, attr.ino);
    assert_int_equal(ops_unlink(rig->ops, x(rig), n("t")), 0);
    put(rig, attr.ino, 4000, 9000, 5);
}
static void do_unlink(struct recover_rig *rig) { assert_int_equal(ops_unlink(rig->ops, d(rig), n("f")), 0); }
static void do_rmdir(struct recover_rig *rig)
{
    struct ops_attr attr;
    assert_int_equal(ops_lookup(rig->ops, d(rig), n("sub"), &attr), 0);
    recover_rig_hold(rig, attr.ino);
    assert_int_equal(ops_rmdir(rig->ops, d(rig), n("sub")), 0);
}
static void move(struct recover_rig *rig, uint32_t from, const char *a, uint32_t to, const char *b, uint32_t flags)
{
    assert_int_equal(ops_rename(rig->ops, &rig->caller, from, n(a), to, n(b), flags), 0);
}
static void do_rename(struct recover_rig *rig) { move(rig, d(rig), "f", d(rig), "renamed", 0); }
static void rename_over(struct recover_rig *rig)
{
    struct ops_attr attr;
    assert_int_equal(ops_lookup(rig->ops, x(rig), n("t"), &attr), 0);
    recover_rig_hold(rig, attr.ino);
    move(rig, d(rig), "f", x(rig), "t", 0);
}
static void rename_dir(struct recover_rig *rig) { move(rig, d(rig), "sub", x(rig), "sub2", 0); }
static void rename_exchange(struct recover_rig *rig) { move(rig, d(rig), "sub", x(rig), "t", RENAME_EXCHANGE); }
static void rename_whiteout(struct recover_rig *rig) { move(rig, d(rig), "f", x(rig), "there", RENAME_WHITEOUT); }
static void do_chmod(struct recover_rig *rig)
{
    assert_int_equal(set(rig, f(rig), (struct ops_setattr){.set = OPS_SET_MODE, .mode = 04711}), 0);
    assert_int_equal(ops_setxattr(rig->ops, d(rig), "system.posix_acl_access", &full_acl, sizeof full_acl, 0, false), 0);
    assert_int_equal(set(rig, d(rig), (struct ops_setattr){.set = OPS_SET_MODE, .mode = 0700}), 0);
}
static void do_chown(struct recover_rig *rig)
{
    assert_int_equal(set(rig, t(rig), (struct ops_setattr){.set = OPS_SET_UID | OPS_SET_GID, .uid = 5, .gid = 6}), 0);
}
static void do_utimes(struct recover_rig *rig)
{
    assert_int_equal(set(rig, f(rig), (struct ops_setattr){.set = OPS_SET_ATIME | OPS_SET_MTIME, .atime = {1, 2}, .mtime = {3ll << 32, 4}}), 0);
    assert_int_equal(set(rig, t(rig), (struct ops_setattr){.set = OPS_SET_ATIME_NOW | OPS_SET_MTIME_NOW}), 0);
}
static void truncate_down(struct recover_rig *rig) { assert_int_equal(set(rig, t(rig), (struct ops_setattr){.set = OPS_SET_SIZE, .size = 6001}), 0); }
static void truncate_up(struct recover_rig *rig) { assert_int_equal(set(rig, f(rig), (struct ops_setattr){.set = OPS_SET_SIZE, .size = 50001}), 0); }
static void truncate_and_more(struct recover_rig *rig)
{
    assert_int_equal(set(rig, t(rig), (struct ops_setattr){.set = OPS_SET_SIZE | OPS_SET_MODE | OPS_KILL_SUIDGID, .mode = 06777, .size = 77777}), 0);
}
static void append(struct recover_rig *rig) { assert_int_equal(put(rig, f(rig), 10000, 7000, 4), 0); }
static void overwrite(struct recover_rig *rig) { assert_int_equal(put(rig, t(rig), 6000, 20000, 5), 0); }
static void write_far(struct recover_rig *rig) { assert_int_equal(put(rig, f(rig), 5000000, 10, 6), 0); }
static void write_big(struct recover_rig *rig) { assert_int_equal(put(rig, f(rig), 500, 1300000, 7), 0); }
static void write_by_other(struct recover_rig *rig)
{
    struct ops_write write = {.off = 7, .bytes = "abc", .len = 3, .kill_suidgid = true, .gid = 4};
    assert_int_equal(ops_write(rig->ops, t(rig), &write), 3);
    write = (struct ops_write){.off = 400000, .bytes = "abc", .len = 3, .keep_times = true};
    assert_int_equal(ops_write(rig->ops, t(rig), &write), 3);
}
static void do_xattr(struct recover_rig *rig)
{
    char big[3000];
    memset(big, 'v', sizeof big);
    assert_int_equal(ops_setxattr(rig->ops, f(rig), "user.big", big, sizeof big, 1, false), 0);
    assert_int_equal(ops_setxattr(rig->ops, f(rig), "user.none", "", 0, 0, false), 0);
    assert_int_equal(ops_setxattr(rig->ops, f(rig), "user.a", "other", 5, 2, false), 0);
    assert_int_equal(ops_removexattr(rig->ops, f(rig), "user.none"), 0);
    assert_int_equal(ops_setxattr(rig->ops, t(rig), "system.posix_acl_access", &full_acl, sizeof full_acl, 0, true), 0);
}
static void do_flags(struct recover_rig *rig)
{
    uint32_t flags, project;
    assert_int_equal(ops_get_flags(rig->ops, f(rig), &flags, &project), 0);
    assert_int_equal(ops_set_flags(rig->ops, f(rig), flags | EXT4_NOATIME_FL, NULL), 0);
    assert_int_equal(ops_set_flags(rig->ops, at(rig, "d", "sub"), EXT4_EXTENTS_FL | EXT4_DIRSYNC_FL, NULL), 0);
}
static void fall(struct recover_rig *rig, uint32_t ino, int mode, uint64_t off, uint64_t len)
{
    assert_int_equal(ops_fallocate(rig->ops, ino, mode, off, len), 0);
}
static void do_fallocate(struct recover_rig *rig) { fall(rig, f(rig), 0, 9000, 500000); fall(rig, at(rig, "d", "e"), FALLOC_FL_KEEP_SIZE, 0, 70000); }
static void punch(struct recover_rig *rig) { fall(rig, t(rig), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 7000, 100000); }
static void zero(struct recover_rig *rig) { fall(rig, t(rig), FALLOC_FL_ZERO_RANGE, 7001, 400000); }
static void copy(struct recover_rig *rig)
{
    assert_int_equal(ops_copy_range(rig->ops, t(rig), 100, f(rig), 3000, 200000), 200000);
}
static void use_number_again(struct recover_rig *rig)
{
    // e is deleted by the deleter, whose work is not logged, and its number is used at once.
    uint32_t e = at(rig, "d", "e");
    assert_int_equal(ops_unlink(rig->ops, d(rig), n("e")), 0);
    rig->fs->config.keep_orphans = false;
    struct inode *inode = inode_peek(rig->fs, e);
    if (inode) {
        inode_forget(inode, inode->lookups);
        inode_put(inode);
    }
    rig->fs->config.keep_orphans = true;
    rt_sleep_until(rig->rt, rt_now_ns(rig->rt) + 100000000);
    uint32_t again = make(rig, d(rig), "e2");
    assert_int_equal(again, e);
    put(rig, again, 0, 3000, 8);
}

static const struct named operations[] = {
    {"create", create_one}, {"create with acl", create_with_acl}, {"create many", create_many},
    {"create as other", create_as_other}, {"mknod", do_mknod}, {"mkdir", do_mkdir}, {"symlink", do_symlink},
    {"tmpfile", do_tmpfile}, {"tmpfile, link", tmpfile_and_link}, {"link", do_link}, {"unlink", do_unlink},
    {"unlink, open", unlink_open}, {"rmdir", do_rmdir}, {"rename", do_rename}, {"rename over", rename_over},
    {"rename dir", rename_dir}, {"rename exchange", rename_exchange}, {"rename whiteout", rename_whiteout},
    {"chmod", do_chmod}, {"chown", do_chown}, {"utimes", do_utimes}, {"truncate down", truncate_down},
    {"truncate up", truncate_up}, {"truncate and mode", truncate_and_more}, {"append", append}, {"overwrite", overwrite},
    {"write far", write_far}, {"write big", write_big}, {"write by other", write_by_other}, {"xattr", do_xattr},
    {"flags", do_flags}, {"fallocate", do_fallocate}, {"punch", punch}, {"zero", zero}, {"copy", copy},
    {"number again", use_number_again},
};

// --- what happens afterwards --------------------------------------------------------------------------

static void nothing(struct recover_rig *rig) { (void)rig; }
static void parent_renamed(struct recover_rig *rig) { move(rig, OPS_ROOT, "d", x(rig), "d2", 0); }
static void permission_taken(struct recover_rig *rig)
{
    (void)!set(rig, d(rig), (struct ops_setattr){.set = OPS_SET_MODE, .mode = 0});
    if (f(rig))
        (void)!set(rig, f(rig), (struct ops_setattr){.set = OPS_SET_MODE | OPS_SET_UID, .mode = 0, .uid = 9});
    if (f(rig))
        (void)!ops_set_flags(rig->ops, f(rig), EXT4_EXTENTS_FL | EXT4_IMMUTABLE_FL, NULL);
}
static void targets_unlinked(struct recover_rig *rig)
{
    static const char *const names[] = {"f", "e", "new", "f3", "renamed", "short", "long", "dev", "named"};
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        (void)!ops_unlink(rig->ops, d(rig), n(names[i]));
    (void)!ops_rmdir(rig->ops, d(rig), n("sub"));
    (void)!ops_unlink(rig->ops, x(rig), n("t"));
}
static void truncated(struct recover_rig *rig)
{
    if (f(rig))
        (void)!set(rig, f(rig), (struct ops_setattr){.set = OPS_SET_SIZE, .size = 3});
    if (t(rig))
        (void)!set(rig, t(rig), (struct ops_setattr){.set = OPS_SET_SIZE, .size = 200003});
}
static void written_again(struct recover_rig *rig)
{
    if (f(rig))
        (void)!put(rig, f(rig), 9990, 9000, 11);
    if (t(rig))
        (void)!put(rig, t(rig), 8000, 3000, 12);
}
static void written_back(struct recover_rig *rig) { (void)!data_writeback_some(rig->fs, 0); }
static void synced_and_written(struct recover_rig *rig)
{
    (void)!data_writeback_some(rig->fs, 0);
    written_again(rig);
    (void)!data_writeback_some(rig->fs, 0);
    truncated(rig);
    written_again(rig);
}
static void names_replaced(struct recover_rig *rig)
{
    static const char *const names[] = {"f", "e", "new"};
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        if (ops_unlink(rig->ops, d(rig), n(names[i])) == 0)
            put(rig, make(rig, d(rig), names[i]), 0, 100, 13);
}
static void parent_emptied_and_removed(struct recover_rig *rig)
{
    targets_unlinked(rig);
    (void)!ops_unlink(rig->ops, d(rig), n("l"));
    (void)!ops_rmdir(rig->ops, OPS_ROOT, n("d"));
}

static const struct named alterations[] = {
    {"nothing", nothing}, {"parent renamed", parent_renamed}, {"permission taken", permission_taken},
    {"targets unlinked", targets_unlinked}, {"truncated", truncated}, {"written again", written_again},
    {"written back", written_back}, {"synced and written", synced_and_written}, {"names replaced", names_replaced},
    {"parent removed", parent_emptied_and_removed},
};

// --- the matrix ---------------------------------------------------------------------------------------

// Where the disk stood: before both, between them, behind both.
#define SHARE 4u                    // one cell in so many, unless DROVER_ALL is set
enum { COMMIT_NEVER, COMMIT_BETWEEN, COMMIT_AFTER, COMMIT_PLACES };

struct cell {
    const struct named *operation, *alteration;
    int commit;
    char *before;
};

static void first_life(struct recover_rig *rig)
{
    struct cell *cell = rig->arg;
    set_up(rig);
    cell->operation->act(rig);
    tick(rig);
    if (cell->commit == COMMIT_BETWEEN)
        commit(rig);
    cell->alteration->act(rig);
    if (cell->commit == COMMIT_AFTER)
        commit(rig);
    cell->before = recover_rig_picture(rig);
}

static void second_life(struct recover_rig *rig)
{
    struct cell *cell = rig->arg;
    char name[128];
    snprintf(name, sizeof name, "%s, %s, %d", cell->operation->name, cell->alteration->name, cell->commit);
    char *after = recover_rig_picture(rig);
    recover_rig_expect(name, cell->before, after);
    free(after);
}

static void only_recover(struct recover_rig *rig) { (void)rig; }

// Service goes on in the same log, and a sync empties it.
static void last_life(struct recover_rig *rig)
{
    second_life(rig);
    assert_int_equal(put(rig, make(rig, OPS_ROOT, "service goes on"), 0, 5000, 1), 0);
    assert_int_equal(ops_sync(rig->ops), 0);
    assert_int_equal(plog_used(&rig->plog), 0);
}

static void run_cell(const struct fs_rig *base, struct cell *cell, uint64_t number)
{
    struct recover_rig rig;
    recover_rig_init(&rig, base);
    assert_int_equal(recover_rig_live(&rig, first_life, cell, LIFE_CRASHES), 0);
    // One in four dies again in the middle, and once more.
    if (number / SHARE % 4 == 0) {
        rig.die_at = 1 + number % 7;
        (void)recover_rig_live(&rig, only_recover, cell, LIFE_CRASHES);
        rig.progress = (struct recover_progress){0};    // it was killed from outside: nobody's fault
        rig.die_at = 2 + number % 5;
        (void)recover_rig_live(&rig, only_recover, cell, LIFE_CRASHES);
        rig.progress = (struct recover_progress){0};
        rig.die_at = 0;
    }
    int rc = recover_rig_live(&rig, second_life, cell, LIFE_CRASHES);
    if (rc < 0)
        fail_msg("%s, %s, %d: recovery %d: %s", cell->operation->name, cell->alteration->name, cell->commit, rc, rig.err.text);
    // What one recovery has restored, the next one restores again; then all of it reaches the disk.
    assert_int_equal(recover_rig_live(&rig, last_life, cell, LIFE_ENDS), 0);
    if (number % 9 == 0) {
        struct fs_rig judge = *base;
        judge.disk = rig.disk;
        fs_rig_fsck(&judge);
    }
    recover_rig_fini(&rig);
    free(cell->before);
}

static void every_operation_survives_whatever_follows_it(void **state)
{
    (void)state;
    const bool all = getenv("DROVER_ALL") != NULL;
    struct fs_rig base;
    uint64_t number = 0;
    fs_rig_init(&base, &(struct fs_rig_options){.mke2fs = "-O project -I 256"});
    for (size_t o = 0; o < ARRAY_LEN(operations); o++)
        for (size_t a = 0; a < ARRAY_LEN(alterations); a++)
            for (int place = 0; place < COMMIT_PLACES; place++, number++)
                if (all || number % SHARE == 0)
                    run_cell(&base, &(struct cell){&operations[o], &alterations[a], place, NULL}, number);
    fs_rig_fini(&base);
}

// --- deaths in recovery -------------------------------------------------------------------------------

struct tale {
    char *picture;
    int answers;
};

static void busy_life(struct recover_rig *rig)
{
    struct tale *tale = rig->arg;
    set_up(rig);
    write_big(rig);
    truncate_up(rig);
    do_xattr(rig);
    create_with_acl(rig);
    unlink_open(rig);
    use_number_again(rig);
    (void)!data_writeback_some(rig->fs, 0);
    written_again(rig);
    do_rename(rig);
    tale->picture = recover_rig_picture(rig);
}

static void look_again(struct recover_rig *rig)
{
    struct tale *tale = rig->arg;
    char *now = recover_rig_picture(rig);
    recover_rig_expect("after many deaths", tale->picture, now);
    free(now);
}

static void die_often(uint64_t commit_every)
{
    struct fs_rig base;
    struct recover_rig rig;
    struct tale tale = {0};
    fs_rig_init(&base, &(struct fs_rig_options){.mke2fs = "-O project -I 256"});
    recover_rig_init(&rig, &base);
    rig.commit_every = commit_every;
    assert_int_equal(recover_rig_live(&rig, busy_life, &tale, LIFE_CRASHES), 0);
    uint64_t deaths = 0;
    // Each recovery dies one redo later than the one before, whichever of its own is the first.
    for (rig.die_at = 1; recover_rig_live(&rig, only_recover, &tale, LIFE_CRASHES) == 1; rig.die_at++)
        deaths++;
    rig.die_at = 0;
    if (!commit_every)
        assert_true(deaths >= 10);
    assert_int_equal(recover_rig_live(&rig, look_again, &tale, LIFE_ENDS), 0);
    struct fs_rig judge = base;
    judge.disk = rig.disk;
    fs_rig_fsck(&judge);
    free(tale.picture);
    recover_rig_fini(&rig);
    fs_rig_fini(&base);
}

static void a_recovery_may_die_at_every_redo(void **state) { (void)state; die_often(0); }
static void and_commit_in_between(void **state) { (void)state; die_often(2); }

static void the_same_entry_kills_no_third_recovery(void **state)
{
    (void)state;
    struct fs_rig base;
    struct recover_rig rig;
    struct tale tale = {0};
    fs_rig_init(&base, &(struct fs_rig_options){0});
    recover_rig_init(&rig, &base);
    assert_int_equal(recover_rig_live(&rig, busy_life, &tale, LIFE_CRASHES), 0);
    rig.die_at = 4;
    for (uint32_t i = 0; i < RECOVER_DEATHS_MAX; i++)
        assert_int_equal(recover_rig_live(&rig, only_recover, &tale, LIFE_CRASHES), 1);
    rig.die_at = 0;
    assert_int_equal(recover_rig_live(&rig, only_recover, &tale, LIFE_CRASHES), -EFSCORRUPTED);
    assert_non_null(strstr(rig.err.text, "have died at entry"));
    free(tale.picture);
    recover_rig_fini(&rig);
    fs_rig_fini(&base);
}

// --- a log that lies ----------------------------------------------------------------------------------

// The nth entry of the log, to be changed in place.
static struct plog_entry *entry_of(struct recover_rig *rig, enum plog_op op)
{
    struct plog_head *head = rig->plog_memory;
    struct plog_entry *slots = (struct plog_entry *)rig->plog_memory + PLOG_HEAD_SLOTS, *found = NULL;
    for (uint64_t slot = head->head; slot < head->tail; slot += plog_slots(slots[slot].name_len, slots[slot].data_len))
        if (slots[slot].op == op)
            found = &slots[slot];
    assert_non_null(found);
    return found;
}

static void reseal(struct plog_entry *entry)
{
    const uint8_t *bytes = (const uint8_t *)entry;
    entry->crc = crc32c(~0u, bytes + 4, sizeof *entry - 4 + entry->name_len + entry->data_len);
}

static void lie_damage(struct recover_rig *rig) { entry_of(rig, PLOG_RENAME)->gid ^= 0x41; }
static void lie_generation(struct recover_rig *rig)
{
    struct plog_entry *entry = entry_of(rig, PLOG_CREATE);
    entry->target[PLOG_PARENT].generation ^= 1;
    reseal(entry);
}
static void lie_number(struct recover_rig *rig)
{
    struct plog_entry *entry = entry_of(rig, PLOG_CREATE);
    entry->target[PLOG_SELF].ino = OPS_ROOT;
    reseal(entry);
}
static void lie_name(struct recover_rig *rig)
{
    struct plog_entry *entry = entry_of(rig, PLOG_RENAME);
    ((char *)(entry + 1))[0] = 'Q';
    reseal(entry);
}
static void lie_mode(struct recover_rig *rig)
{
    struct plog_entry *entry = entry_of(rig, PLOG_CREATE);
    entry->mode ^= 0100;
    reseal(entry);
}
static void lie_bits(struct recover_rig *rig)
{
    struct plog_entry *entry = entry_of(rig, PLOG_SETXATTR);
    entry->bits |= PLOG_DATA;
    entry->tid = 1;
    reseal(entry);
}
static void lie_write(struct recover_rig *rig)
{
    struct plog_entry *entry = entry_of(rig, PLOG_WRITE);
    entry->target[PLOG_SELF].generation ^= 1;
    reseal(entry);
}

static void a_log_that_contradicts_the_volume_is_not_believed(void **state)
{
    (void)state;
    static const struct named lies[] = {{"damage", lie_damage}, {"generation", lie_generation}, {"number", lie_number},
                                        {"name", lie_name}, {"mode", lie_mode}, {"bits", lie_bits}, {"write", lie_write}};
    struct fs_rig base;
    fs_rig_init(&base, &(struct fs_rig_options){0});
    for (size_t i = 0; i < ARRAY_LEN(lies); i++) {
        struct recover_rig rig;
        struct tale tale = {0};
        recover_rig_init(&rig, &base);
        assert_int_equal(recover_rig_live(&rig, busy_life, &tale, LIFE_CRASHES), 0);
        lies[i].act(&rig);
        int rc = recover_rig_live(&rig, only_recover, &tale, LIFE_CRASHES);
        if (rc != -EFSCORRUPTED)
            fail_msg("%s: %d", lies[i].name, rc);
        // From the disk alone: an empty log and arena.
        rig.lives = 0;
        assert_int_equal(recover_rig_live(&rig, only_recover, &tale, LIFE_ENDS), 0);
        struct fs_rig judge = base;
        judge.disk = rig.disk;
        fs_rig_fsck(&judge);
        free(tale.picture);
        recover_rig_fini(&rig);
    }
    fs_rig_fini(&base);
}

static void one_flipped_bit_of_an_entry_costs_nothing(void **state)
{
    (void)state;
    struct fs_rig base;
    struct recover_rig rig;
    struct tale tale = {0};
    fs_rig_init(&base, &(struct fs_rig_options){0});
    recover_rig_init(&rig, &base);
    assert_int_equal(recover_rig_live(&rig, busy_life, &tale, LIFE_CRASHES), 0);
    entry_of(&rig, PLOG_RENAME)->gid ^= 0x40;
    entry_of(&rig, PLOG_CREATE)->name_len ^= 8;
    assert_int_equal(recover_rig_live(&rig, look_again, &tale, LIFE_ENDS), 0);
    assert_int_equal(rig.stats.mended, 2);
    free(tale.picture);
    recover_rig_fini(&rig);
    fs_rig_fini(&base);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_recovery_may_die_at_every_redo),
        cmocka_unit_test(and_commit_in_between),
        cmocka_unit_test(the_same_entry_kills_no_third_recovery),
        cmocka_unit_test(a_log_that_contradicts_the_volume_is_not_believed),
        cmocka_unit_test(one_flipped_bit_of_an_entry_costs_nothing),
        cmocka_unit_test(every_operation_survives_whatever_follows_it),
    };
    log_set_level(LOG_ERROR_LEVEL);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
