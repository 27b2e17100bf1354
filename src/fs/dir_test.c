// SPDX-License-Identifier: MIT
// dir_test.c - directories of every shape against a model, and before the judge: e2fsck and debugfs.
//
// All names of a test are links to one file, so that thousands of them are cheap and e2fsck still counts
// every one.
#include "fs/fs_rig.h"
#include "fs/name_rig.h"

#include <fcntl.h>

#include "base/check.h"
#include "base/log.h"
#include "fs/htree.h"
#include "rt/prng.h"

#define NAMES_MAX 20000u

// Which of the possible names are there. Name i is made from i alone.
struct model {
    bool there[NAMES_MAX];
    uint32_t seen[NAMES_MAX];
    uint32_t count;                     // possible names
    uint32_t len_min, len_max;
    struct prng chance;
    struct inode *dir, *file;
    uint32_t levels;                    // expected of the tree; UINT32_MAX: no index
    bool first;                         // the directory is still to be made
};

static struct dir_name name_nr(const struct model *model, uint32_t i, char *space)
{
    struct prng chance;
    prng_seed(&chance, i);
    size_t len = model->len_min + prng_below(&chance, model->len_max - model->len_min + 1);
    int head = snprintf(space, 256, "%05u", i);
    for (size_t at = (size_t)head; at < len; at++)
        space[at] = (char)('a' + prng_below(&chance, 26));
    // Characters above 127: signed and unsigned hashes differ.
    if (i % 3 == 0 && len > 6)
        space[6] = (char)0xe4;
    return (struct dir_name){space, MAX(len, (size_t)head)};
}

static void set_name(struct model *model, uint32_t i, bool there)
{
    char space[256];
    struct dir_name name = name_nr(model, i, space);
    int expected = model->there[i] == there ? (there ? -EEXIST : -ENOENT) : 0;
    int rc = there ? name_link(model->dir, name, model->file) : name_unlink(model->dir, name, model->file);
    assert_int_equal(rc, expected);
    model->there[i] = there;
}

static bool see_name(void *arg, struct dir_name name, uint32_t ino, uint8_t file_type, uint64_t next_cookie)
{
    struct model *model = arg;
    char space[256];
    if (name.bytes[0] == '.')
        return true;
    uint32_t i = (uint32_t)strtoul(name.bytes, NULL, 10);
    assert_true(i < model->count);
    struct dir_name expected = name_nr(model, i, space);
    assert_int_equal(name.len, expected.len);
    assert_memory_equal(name.bytes, expected.bytes, name.len);
    assert_int_equal(ino, model->file->ino);
    if (model->dir->fs->geo.has_filetype)
        assert_int_equal(file_type, EXT4_FT_REG_FILE);
    model->seen[i]++;
    return true;
}

// A listing in portions of `left` names: what a program with a small buffer does.
struct portion {
    struct model *model;
    uint32_t left;
    uint64_t cookie;
    uint32_t dots;
};

static bool see_portion(void *arg, struct dir_name name, uint32_t ino, uint8_t file_type, uint64_t next_cookie)
{
    struct portion *portion = arg;
    if (portion->left == 0)
        return false;
    portion->left--;
    assert_true(next_cookie > portion->cookie);
    assert_true(next_cookie < 1ull << 63);
    portion->cookie = next_cookie;
    portion->dots += name.bytes[0] == '.';
    return see_name(portion->model, name, ino, file_type, next_cookie);
}

static void list_all(struct model *model, uint32_t portion_max, void (*between)(struct model *model))
{
    struct portion portion = {.model = model};
    struct dir_emit emit = {see_portion, &portion};
    bool eof = false;
    memset(model->seen, 0, sizeof model->seen);
    while (!eof) {
        portion.left = 1 + (uint32_t)prng_below(&model->chance, portion_max);
        assert_int_equal(dir_read(model->dir, portion.cookie, &emit, &eof), 0);
        if (between)
            between(model);
    }
    assert_int_equal(portion.dots, 2);
}

static int is_empty(struct inode *dir, bool *empty)
{
    struct plan plan;
    plan_init(&plan, dir->fs);
    int rc = dir_is_empty(&plan, dir, empty);
    plan_end(&plan);
    return rc;
}

static void check_model(struct model *model)
{
    char space[256];
    for (uint32_t i = 0; i < model->count; i++) {
        struct dir_entry entry;
        int rc = dir_lookup(NULL, model->dir, name_nr(model, i, space), &entry);
        assert_int_equal(rc, model->there[i] ? 0 : -ENOENT);
        if (rc == 0)
            assert_int_equal(entry.ino, model->file->ino);
    }
    list_all(model, 500, NULL);
    for (uint32_t i = 0; i < model->count; i++)
        assert_int_equal(model->seen[i], model->there[i]);
    bool empty, expected = true;
    for (uint32_t i = 0; i < model->count; i++)
        expected = expected && !model->there[i];
    assert_int_equal(is_empty(model->dir, &empty), 0);
    assert_int_equal(empty, expected);
}

static void open_dir(struct fs_rig *rig, struct model *model)
{
    struct inode *root = name_root(rig->fs);
    if (model->first) {
        model->dir = name_make(root, "many", 0040755);
        model->file = name_make(root, "file", 0100644);
        model->first = false;
    } else {
        model->dir = name_open(root, "many");
        model->file = name_open(root, "file");
    }
    inode_put(root);
}

static void close_dir(struct model *model)
{
    inode_put(model->dir);
    inode_put(model->file);
}

static struct model *model_new(uint32_t count, uint32_t len_min, uint32_t len_max)
{
    struct model *model = xcalloc(1, sizeof *model);
    model->count = count;
    model->len_min = len_min;
    model->len_max = len_max;
    model->first = true;
    prng_seed(&model->chance, 42);
    return model;
}

static void grow_body(struct fs_rig *rig, void *arg)
{
    struct model *model = arg;
    open_dir(rig, model);
    for (uint32_t i = 0; i < model->count; i++) {
        set_name(model, i, true);
        if (i % 4 == 3)
            set_name(model, (uint32_t)prng_below(&model->chance, i), false);
        if ((i & (i - 1)) == 0)
            check_model(model);         // at 1, 2, 4, ... names: every shape on the way
    }
    check_model(model);
    assert_int_equal(dir_is_indexed(model->dir), model->levels != UINT32_MAX);
    if (dir_is_indexed(model->dir)) {
        struct plan plan;
        struct htree tree;
        plan_init(&plan, rig->fs);
        assert_int_equal(htree_open(&plan, model->dir, &tree), 0);
        assert_int_equal(tree.frames[0].view.levels, model->levels);
        plan_end(&plan);
    }
    close_dir(model);
}

static void churn_body(struct fs_rig *rig, void *arg)
{
    struct model *model = arg;
    open_dir(rig, model);
    check_model(model);
    for (uint32_t n = 0; n < model->count; n++)
        set_name(model, (uint32_t)prng_below(&model->chance, model->count), prng_below(&model->chance, 2));
    check_model(model);
    close_dir(model);
}

static void empty_body(struct fs_rig *rig, void *arg)
{
    struct model *model = arg;
    open_dir(rig, model);
    for (uint32_t i = 0; i < model->count; i++) {
        if (model->there[i])
            set_name(model, i, false);
    }
    check_model(model);
    for (uint32_t i = 0; i < model->count; i += 7)
        set_name(model, i, true);
    check_model(model);
    close_dir(model);
}

static void life_of_a_directory(const char *mke2fs, struct model *model)
{
    struct fs_rig rig;
    fs_rig_init(&rig, &(struct fs_rig_options){.mke2fs = mke2fs, .fast_disk = true});
    fs_rig_body *const bodies[] = {grow_body, churn_body, empty_body};
    for (size_t i = 0; i < ARRAY_LEN(bodies); i++) {
        fs_rig_run(&rig, bodies[i], model);
        fs_rig_fsck(&rig);
    }
    fs_rig_fini(&rig);
    free(model);
}

static void a_directory_of_long_names_keeps_them_through_all_shapes_to_two_levels(void **state)
{
    struct model *model = model_new(9000, 180, 255);
    model->levels = 1;
    life_of_a_directory(NULL, model);
}

static void a_directory_without_checksums_keeps_its_names(void **state)
{
    struct model *model = model_new(9000, 200, 255);
    model->levels = 1;
    life_of_a_directory("-O ^metadata_csum", model);
}

static void a_directory_of_short_names_keeps_them(void **state)
{
    struct model *model = model_new(5000, 1, 20);
    model->levels = 0;
    life_of_a_directory("-O large_dir", model);
}

static void a_linear_directory_keeps_its_names(void **state)
{
    struct model *model = model_new(1200, 1, 255);
    model->levels = UINT32_MAX;
    life_of_a_directory("-O ^dir_index", model);
}

static void a_directory_of_an_ext3_volume_keeps_its_names(void **state)
{
    struct model *model = model_new(4000, 100, 255);
    model->levels = 0;
    life_of_a_directory("-O ^extent,^64bit,^metadata_csum,^flex_bg,^filetype -I 128", model);
}

// --- other hashes -------------------------------------------------------------------------------------

static void hash_life(const char *debugfs)
{
    struct model *model = model_new(3000, 60, 255);
    struct fs_rig rig;
    fs_rig_init(&rig, &(struct fs_rig_options){.debugfs = debugfs, .fast_disk = true});
    fs_rig_run(&rig, grow_body, model);
    fs_rig_fsck(&rig);
    fs_rig_run(&rig, churn_body, model);
    fs_rig_fsck(&rig);
    fs_rig_fini(&rig);
    free(model);
}

static void trees_of_every_hash_satisfy_e2fsck(void **state)
{
    hash_life("ssv def_hash_version tea");
    hash_life("ssv def_hash_version legacy");
    hash_life("ssv flags 2");           // unsigned characters
    hash_life("ssv def_hash_version tea\nssv flags 2");
}

// --- equal hashes -------------------------------------------------------------------------------------

// The legacy hash gives way: for a prefix and two characters the last one can be solved, and one in
// some millions is a character that a name may have.
struct legacy {
    uint32_t before, hash;
};

static struct legacy legacy_step(struct legacy state, char c)
{
    uint32_t next = state.before + (state.hash ^ (uint32_t)(int32_t)(signed char)c * 7152373u);
    if (next & 0x80000000u)
        next -= 0x7fffffffu;
    return (struct legacy){state.hash, next};
}

static bool legacy_solve(struct legacy state, uint32_t wanted, char *last)
{
    const uint32_t inverse = 4155701597u;       // of 7152373 modulo 2^32
    for (uint32_t wrap = 0; wrap < 2; wrap++) {
        uint32_t sum = wanted + wrap * 0x7fffffffu;
        int32_t c = (int32_t)(((sum - state.before) ^ state.hash) * inverse);
        if (c >= -128 && c <= 127 && c != 0 && c != '/') {
            *last = (char)c;
            return true;
        }
    }
    return false;
}

static bool collide(char *name, size_t len, uint32_t wanted)
{
    struct legacy state = {0x37abe8f9, 0x12a3fe2d};
    for (size_t i = 0; i + 3 < len; i++)
        state = legacy_step(state, name[i]);
    for (int a = -128; a < 128; a++) {
        struct legacy one = legacy_step(state, (char)a);
        for (int b = -128; b < 128 && a != 0 && a != '/'; b++) {
            if (b != 0 && b != '/' && legacy_solve(legacy_step(one, (char)b), wanted, &name[len - 1])) {
                name[len - 3] = (char)a;
                name[len - 2] = (char)b;
                return true;
            }
        }
    }
    return false;
}

static void make_equals(char (*names)[201], uint32_t count, size_t len)
{
    struct prng chance;
    struct dx_hash hash;
    const uint32_t seed[4] = {0};
    prng_seed(&chance, 5);
    for (uint32_t n = 0; n < count;) {
        for (size_t i = 0; i < len; i++)
            names[n][i] = (char)('a' + prng_below(&chance, 26));
        if (!collide(names[n], len, 0x12345678))
            continue;
        assert_int_equal(dx_hash_name(DX_HASH_LEGACY, seed, names[n], len, &hash), 0);
        assert_int_equal(hash.major, 0x12345678u << 1);
        n++;
    }
}

struct equals {
    char names[50][201];
    uint32_t count;
    size_t len;
    uint32_t seen[50];
    uint64_t cookie;
    uint32_t left;
};

static bool see_equal(void *arg, struct dir_name name, uint32_t ino, uint8_t file_type, uint64_t next_cookie)
{
    struct equals *equals = arg;
    if (equals->left-- == 0)
        return false;
    equals->cookie = next_cookie;
    for (uint32_t i = 0; i < equals->count; i++)
        equals->seen[i] += name.len == equals->len && memcmp(name.bytes, equals->names[i], name.len) == 0;
    return true;
}

static void equals_body(struct fs_rig *rig, void *arg)
{
    struct equals *equals = arg;
    struct inode *root = name_root(rig->fs);
    struct inode *dir = name_make(root, "equals", 0040755), *file = name_make(root, "file", 0100644);
    for (uint32_t i = 0; i < 600; i++) {
        char other[32];
        snprintf(other, sizeof other, "between-them-%u", i);
        assert_int_equal(name_link(dir, name_of(other), file), 0);
        if (i % 12 == 0)
            assert_int_equal(name_link(dir, (struct dir_name){equals->names[i / 12], equals->len}, file), 0);
    }
    for (uint32_t i = 0; i < equals->count; i++) {
        struct dir_entry entry;
        assert_int_equal(dir_lookup(NULL, dir, (struct dir_name){equals->names[i], equals->len}, &entry), 0);
    }
    // One name at a time: every boundary falls between two of the same hash once.
    struct dir_emit emit = {see_equal, equals};
    for (bool eof = false; !eof;) {
        equals->left = 1;
        assert_int_equal(dir_read(dir, equals->cookie, &emit, &eof), 0);
    }
    for (uint32_t i = 0; i < equals->count; i++)
        assert_int_equal(equals->seen[i], 1);
    for (uint32_t i = 0; i < equals->count; i += 2)
        assert_int_equal(name_unlink(dir, (struct dir_name){equals->names[i], equals->len}, file), 0);
    for (uint32_t i = 0; i < equals->count; i++) {
        struct dir_entry entry;
        int rc = dir_lookup(NULL, dir, (struct dir_name){equals->names[i], equals->len}, &entry);
        assert_int_equal(rc, i % 2 ? 0 : -ENOENT);
    }
    inode_put(dir);
    inode_put(file);
    inode_put(root);
}

static void names_of_one_hash_that_fill_several_leaves_are_all_found_and_listed_once(void **state)
{
    struct equals *equals = xcalloc(1, sizeof *equals);
    struct fs_rig rig;
    equals->count = 50;
    equals->len = 200;
    make_equals(equals->names, equals->count, equals->len);
    fs_rig_init(&rig, &(struct fs_rig_options){.debugfs = "ssv def_hash_version legacy", .fast_disk = true});
    fs_rig_run(&rig, equals_body, equals);
    fs_rig_fsck(&rig);
    fs_rig_fini(&rig);
    free(equals);
}

// --- listing while names come and go ------------------------------------------------------------------

// Every third name stays; the others come and go.
static void disturb(struct model *model)
{
    for (uint32_t n = 0; n < 12; n++) {
        uint32_t i = (uint32_t)prng_below(&model->chance, model->count);
        if (i % 3 != 0)
            set_name(model, i, prng_below(&model->chance, 2));
    }
}

static void disturbed_listing_body(struct fs_rig *rig, void *arg)
{
    struct model *model = arg;
    bool hashed = rig->fs->geo.has_dir_index;
    open_dir(rig, model);
    for (uint32_t round = 0; round < 6; round++) {
        // It begins with few names, so that the directory changes its shape while it is read.
        for (uint32_t i = 0; i < model->count; i++) {
            bool stays = i % 3 == 0 && i < (round + 1) * model->count / 6;
            if (stays && !model->there[i])
                set_name(model, i, true);
        }
        list_all(model, 1 + 10 * round, disturb);
        for (uint32_t i = 0; i < model->count; i++) {
            if (i % 3 == 0)
                assert_int_equal(model->seen[i], model->there[i]);
            else if (hashed)
                assert_in_range(model->seen[i], 0, 1);
        }
    }
    close_dir(model);
}

static void disturbed_listing(const char *mke2fs)
{
    struct fs_rig rig;
    struct model *model = model_new(1500, 10, 200);
    fs_rig_init(&rig, &(struct fs_rig_options){.mke2fs = mke2fs, .fast_disk = true});
    fs_rig_run(&rig, disturbed_listing_body, model);
    fs_rig_fsck(&rig);
    fs_rig_fini(&rig);
    free(model);
}

static void a_listing_under_change_shows_every_stable_name_once(void **state)
{
    disturbed_listing(NULL);
    disturbed_listing("-O ^dir_index");
}

// As above, with several fibres at once on a slow disk and a cold cache: passes wait and run again.
struct crowd {
    struct model *model;
    struct rt_group group;
    bool listed;
};

static int crowd_lister(void *arg)
{
    struct crowd *crowd = arg;
    list_all(crowd->model, 40, NULL);
    crowd->listed = true;
    return 0;
}

static int crowd_changer(void *arg)
{
    struct crowd *crowd = arg;
    while (!crowd->listed) {
        disturb(crowd->model);
        rt_yield(crowd->model->dir->fs->rt);
    }
    return 0;
}

static void crowd_body(struct fs_rig *rig, void *arg)
{
    struct crowd crowd = {.model = arg};
    open_dir(rig, crowd.model);
    rt_group_init(&crowd.group, rig->rt);
    rt_group_go(&crowd.group, "lister", crowd_lister, &crowd);
    rt_group_go(&crowd.group, "changer", crowd_changer, &crowd);
    assert_int_equal(rt_group_wait(&crowd.group), 0);
    for (uint32_t i = 0; i < crowd.model->count; i += 3)
        assert_int_equal(crowd.model->seen[i], crowd.model->there[i]);
    close_dir(crowd.model);
}

static void fill_body(struct fs_rig *rig, void *arg)
{
    struct model *model = arg;
    open_dir(rig, model);
    for (uint32_t i = 0; i < model->count; i += 3)
        set_name(model, i, true);
    close_dir(model);
}

static void listing_and_changing_from_cold_in_two_fibres_loses_nothing(void **state)
{
    struct fs_rig rig;
    struct model *model = model_new(6000, 100, 255);
    fs_rig_init(&rig, &(struct fs_rig_options){.buf_bytes = 1 << 20});
    fs_rig_run(&rig, fill_body, model);
    fs_rig_run(&rig, crowd_body, model);
    fs_rig_fsck(&rig);
    fs_rig_fini(&rig);
    free(model);
}

// --- rename within one directory ------------------------------------------------------------------------

struct rename {
    struct inode *dir;
    struct dir_name from, to;
    struct dir_entry entry;
    struct dir_add add;
};

static int rename_pass(struct plan *plan, void *arg)
{
    struct rename *r = arg;
    int rc = dir_lookup(plan, r->dir, r->from, &r->entry);
    if (rc < 0)
        return rc;
    dir_plan_change(plan, r->dir, &r->entry);
    r->add.name = r->to;
    rc = dir_plan_add(plan, r->dir, &r->add);
    plan_will_dirty_inode(plan, r->dir);
    return rc;
}

static int rename_in(struct model *model, uint32_t from, uint32_t to)
{
    char from_space[256], to_space[256];
    struct rename r = {.dir = model->dir, .from = name_nr(model, from, from_space), .to = name_nr(model, to, to_space)};
    struct plan plan;
    plan_init(&plan, r.dir->fs);
    int rc = plan_run(&plan, rename_pass, &r);
    if (rc == 0) {
        dir_apply_add(&plan, r.dir, &r.add, r.entry.ino, EXT4_FT_REG_FILE);
        dir_apply_find(&r.add, r.dir, r.from, &r.entry);
        dir_apply_remove(&plan, r.dir, &r.entry);
        inode_dirty(r.dir, false);
    }
    dir_add_fini(&r.add);
    plan_end(&plan);
    return rc;
}

// Each name moves on to a number above all others, so leaves split under the name that is to go.
static void rename_body(struct fs_rig *rig, void *arg)
{
    struct model *model = arg;
    open_dir(rig, model);
    uint32_t half = model->count / 2;
    for (uint32_t i = 0; i < half; i++)
        set_name(model, i, true);
    for (uint32_t i = 0; i < half; i++) {
        assert_int_equal(rename_in(model, i, half + i), 0);
        model->there[i] = false;
        model->there[half + i] = true;
    }
    check_model(model);
    close_dir(model);
}

static void renaming_within_a_directory_that_splits_finds_the_old_name(void **state)
{
    const char *const volumes[] = {NULL, "-O ^dir_index", "-O ^metadata_csum,^extent,^64bit"};
    for (size_t i = 0; i < ARRAY_LEN(volumes); i++) {
        struct fs_rig rig;
        struct model *model = model_new(2000, 30, 255);
        fs_rig_init(&rig, &(struct fs_rig_options){.mke2fs = volumes[i], .fast_disk = true});
        fs_rig_run(&rig, rename_body, model);
        fs_rig_fsck(&rig);
        fs_rig_fini(&rig);
        free(model);
    }
}

// --- dots, limits, parents ----------------------------------------------------------------------------

static int parent_pass(struct plan *plan, void *arg)
{
    uint32_t *ino = arg;
    struct inode *dir;
    int rc = plan_inode(plan, *ino, &dir);
    return rc < 0 ? rc : dir_plan_parent(plan, dir, ino);
}

static void corners_body(struct fs_rig *rig, void *arg)
{
    struct inode *root = name_root(rig->fs);
    struct inode *outer = name_make(root, "outer", 0040755), *inner = name_make(outer, "inner", 0040700);
    struct inode *file = name_make(inner, "file", 0100600);
    struct dir_entry entry;
    char long_name[300];
    bool empty, eof;
    memset(long_name, 'x', sizeof long_name);

    assert_int_equal(dir_lookup(NULL, inner, name_of("."), &entry), 0);
    assert_int_equal(entry.ino, inner->ino);
    assert_int_equal(entry.file_type, EXT4_FT_DIR);
    assert_int_equal(dir_lookup(NULL, inner, name_of(".."), &entry), 0);
    assert_int_equal(entry.ino, outer->ino);
    assert_int_equal(dir_lookup(NULL, inner, name_of("..."), &entry), -ENOENT);
    assert_int_equal(dir_lookup(NULL, inner, name_of("fil"), &entry), -ENOENT);
    assert_int_equal(dir_lookup(NULL, file, name_of("x"), &entry), -ENOTDIR);
    assert_int_equal(dir_read(file, 0, &(struct dir_emit){0}, &eof), -ENOTDIR);
    assert_int_equal(dir_lookup(NULL, inner, (struct dir_name){long_name, 255}, &entry), -ENOENT);
    assert_int_equal(dir_lookup(NULL, inner, (struct dir_name){long_name, 256}, &entry), -ENAMETOOLONG);
    assert_int_equal(name_link(inner, (struct dir_name){long_name, 256}, file), -ENAMETOOLONG);
    assert_int_equal(name_link(inner, (struct dir_name){long_name, 255}, file), 0);
    assert_int_equal(is_empty(inner, &empty), 0);
    assert_false(empty);

    struct plan plan;
    uint32_t ino = inner->ino;
    plan_init(&plan, rig->fs);
    assert_int_equal(plan_run(&plan, parent_pass, &ino), 0);
    plan_end(&plan);
    assert_int_equal(ino, outer->ino);
    inode_put(file);
    inode_put(inner);
    inode_put(outer);
    inode_put(root);
}

static void dots_and_long_names_are_answered_as_the_kernel_does(void **state)
{
    struct fs_rig rig;
    fs_rig_init(&rig, &(struct fs_rig_options){.fast_disk = true});
    fs_rig_run(&rig, corners_body, NULL);
    fs_rig_fsck(&rig);
    fs_rig_fini(&rig);
}

// --- what others wrote, and what others read ----------------------------------------------------------

static void debugfs_lists_the_names_that_we_wrote(void **state)
{
    struct fs_rig rig;
    struct model *model = model_new(700, 20, 120);
    model->levels = 0;
    fs_rig_init(&rig, &(struct fs_rig_options){.fast_disk = true});
    fs_rig_run(&rig, grow_body, model);
    char *listing = fs_rig_debugfs(&rig, "ls -p /many");
    for (uint32_t i = 0; i < model->count; i++) {
        char space[256], wanted[300];
        struct dir_name name = name_nr(model, i, space);
        if (i % 3 == 0)
            continue;                   // debugfs prints bytes above 127 in its own way
        snprintf(wanted, sizeof wanted, "/%.*s/", (int)name.len, name.bytes);
        assert_int_equal(strstr(listing, wanted) != NULL, model->there[i]);
    }
    free(listing);
    fs_rig_fini(&rig);
    free(model);
}

static void adopt_body(struct fs_rig *rig, void *arg)
{
    struct model *model = arg;
    char space[256];
    struct inode *root = name_root(rig->fs);
    model->dir = name_open(root, "many");
    model->file = name_open(model->dir, "first");
    inode_put(root);
    for (uint32_t i = 1; i < model->count; i += 2) {
        struct dir_entry entry;
        assert_int_equal(dir_lookup(NULL, model->dir, name_nr(model, i, space), &entry), 0);
    }
    for (uint32_t i = 0; i < model->count; i += 2)
        set_name(model, i, true);
    for (uint32_t i = 0; i < model->count; i++) {
        struct dir_entry entry;
        assert_int_equal(dir_lookup(NULL, model->dir, name_nr(model, i, space), &entry), 0);
    }
    close_dir(model);
}

// mke2fs -d writes a linear directory of many blocks, e2fsck -D gives it an index.
static void directories_that_e2fsprogs_wrote_are_read_and_extended(void **state)
{
    for (int indexed = 0; indexed < 2; indexed++) {
        struct model *model = model_new(1000, 30, 100);
        char tree[] = "/tmp/drover-dir-test-XXXXXX", command[400], space[256];
        struct fs_rig rig;
        assert_non_null(mkdtemp(tree));
        snprintf(command, sizeof command, "mkdir %s/many && cd %s/many && touch first", tree, tree);
        assert_int_equal(system(command), 0);
        for (uint32_t i = 1; i < model->count; i += 2) {
            char path[400];
            struct dir_name name = name_nr(model, i, space);
            snprintf(path, sizeof path, "%s/many/%.*s", tree, (int)name.len, name.bytes);
            FILE *file = fopen(path, "w");
            assert_non_null(file);
            fclose(file);
        }
        snprintf(command, sizeof command, "-d %s", tree);
        fs_rig_init(&rig, &(struct fs_rig_options){.mke2fs = command, .fast_disk = true});
        if (indexed) {
            struct err err = {0};
            snprintf(command, sizeof command, "PATH=$PATH:/usr/sbin:/sbin e2fsck -fyD %s >/dev/null 2>&1", rig.image);
            assert_in_range(system(command), 0, 256);
            sim_disk_destroy(rig.disk);
            assert_int_equal(sim_disk_load(rig.image, &rig.disk, &err), 0);
        }
        fs_rig_run(&rig, adopt_body, model);
        fs_rig_fsck(&rig);
        fs_rig_fini(&rig);
        snprintf(command, sizeof command, "rm -r %s", tree);
        assert_int_equal(system(command), 0);
        free(model);
    }
}

// --- damage ---------------------------------------------------------------------------------------------

static bool see_anything(void *arg, struct dir_name name, uint32_t ino, uint8_t file_type, uint64_t next_cookie)
{
    uint32_t *left = arg;
    return (*left)-- > 0;
}

// Anything may be answered but a crash, and nothing may take for ever.
static void damaged_body(struct fs_rig *rig, void *arg)
{
    struct model *model = arg;
    char space[256];
    struct inode *root = name_root(rig->fs);
    struct dir_entry entry;
    bool eof = false, empty;
    model->dir = name_open(root, "many");
    model->file = name_open(root, "file");
    for (uint32_t n = 0; n < 300; n++) {
        uint32_t i = (uint32_t)prng_below(&model->chance, model->count);
        struct dir_name name = name_nr(model, i, space);
        int rc = dir_lookup(NULL, model->dir, name, &entry);
        assert_true(rc == 0 || rc == -ENOENT || rc == -EFSCORRUPTED);
        if (n % 3 == 0)
            rc = name_link(model->dir, name, model->file);
        else if (n % 3 == 1)
            rc = name_unlink(model->dir, name, model->file);
        else
            rc = rename_in(model, i, (uint32_t)prng_below(&model->chance, model->count));
        assert_true(rc <= 0);
    }
    uint32_t left = 100000;
    int rc = dir_read(model->dir, 0, &(struct dir_emit){see_anything, &left}, &eof);
    assert_true(rc == 0 || rc == -EFSCORRUPTED || rc == -EIO);
    assert_true(left > 0);
    rc = is_empty(model->dir, &empty);
    assert_true(rc == 0 || rc == -EFSCORRUPTED || rc == -EAGAIN);
    inode_put(root);
    close_dir(model);
}

static uint32_t blocks_of(struct fs_rig *rig, const char *command, uint64_t *out, uint32_t max)
{
    char *text = fs_rig_debugfs(rig, command), *end;
    uint32_t count = 0;
    for (char *at = text; count < max; at = end) {
        out[count] = strtoull(at, &end, 10);
        if (end == at)
            break;
        count++;
    }
    free(text);
    return count;
}

// Where structure is densest: the root and the nodes, of the others mostly the first bytes.
static void damage(const char *image, const uint64_t *blocks, uint32_t count, struct prng *chance)
{
    AUTO_FD int fd = open(image, O_RDWR);
    for (uint32_t n = 0; n < 40; n++) {
        uint64_t block = blocks[n % 2 ? prng_below(chance, count) : 0];
        uint64_t at = block * BLOCK_BYTES + prng_below(chance, n % 4 < 2 ? 64 : BLOCK_BYTES);
        uint8_t byte = (uint8_t)(n % 3 ? prng_next(chance) : prng_below(chance, 4));
        assert_int_equal(pwrite(fd, &byte, 1, (off_t)at), 1);
    }
}

// Bytes of directory blocks are changed at random, on a volume without checksums that would tell.
static void damaged_directories_never_crash_or_hang(void **state)
{
    struct fs_rig rig;
    struct model *model = model_new(9000, 200, 255);
    static uint64_t blocks[3000];
    char pristine[100], command[300];
    model->levels = 1;
    fs_rig_init(&rig, &(struct fs_rig_options){.mke2fs = "-O ^metadata_csum", .fast_disk = true});
    fs_rig_run(&rig, grow_body, model);
    uint32_t count = blocks_of(&rig, "blocks /many", blocks, ARRAY_LEN(blocks));
    assert_true(count > 500);
    snprintf(pristine, sizeof pristine, "%s.pristine", rig.image);
    snprintf(command, sizeof command, "cp --sparse=always %s %s", rig.image, pristine);
    assert_int_equal(system(command), 0);

    log_open(open("/dev/null", O_WRONLY), "test");
    uint32_t rounds = getenv("ROUNDS") ? (uint32_t)atoi(getenv("ROUNDS")) : 60;
    for (uint32_t round = 0; round < rounds; round++) {
        struct err err = {0};
        snprintf(command, sizeof command, "cp --sparse=always %s %s", pristine, rig.image);
        assert_int_equal(system(command), 0);
        damage(rig.image, blocks, count, &model->chance);
        sim_disk_destroy(rig.disk);
        assert_int_equal(sim_disk_load(rig.image, &rig.disk, &err), 0);
        fs_rig_run(&rig, damaged_body, model);
    }
    log_open(2, "test");
    unlink(pristine);
    fs_rig_fini(&rig);
    free(model);
}

static void path_of(struct plan *plan, const struct model *model, uint32_t i, struct htree *tree)
{
    char space[256];
    struct dx_hash hash;
    assert_int_equal(htree_open(plan, model->dir, tree), 0);
    assert_int_equal(htree_hash(model->dir, tree, name_nr(model, i, space), &hash), 0);
    assert_int_equal(htree_descend(plan, model->dir, hash.major, tree), 0);
    assert_int_equal(tree->last, 1);
}

// The name that goes is found through one node; where the new name belongs, the other node says that
// the first one is a leaf. The new name is put into it, which ends it as a node.
static void astray_body(struct fs_rig *rig, void *arg)
{
    struct model *model = arg;
    struct plan plan;
    struct htree old, new;
    uint32_t from = 0, to = 0;
    open_dir(rig, model);
    plan_init(&plan, rig->fs);
    while (!model->there[from])
        from++;
    path_of(&plan, model, from, &old);
    do {
        while (model->there[++to])
            ;
        path_of(&plan, model, to, &new);
    } while (new.frames[1].buf == old.frames[1].buf);
    dx_set_block(&new.frames[1].view, new.frames[1].at, old.frames[1].lblock);
    assert_int_equal(rename_in(model, from, to), 0);
    char space[256];
    struct dir_entry entry;
    assert_int_equal(dir_lookup(NULL, model->dir, name_nr(model, from, space), &entry), -EFSCORRUPTED);
    plan_end(&plan);
    close_dir(model);
}

static void a_rename_through_an_index_that_takes_a_node_for_a_leaf_ends(void **state)
{
    struct fs_rig rig;
    struct model *model = model_new(9000, 200, 255);
    model->levels = 1;
    fs_rig_init(&rig, &(struct fs_rig_options){.mke2fs = "-O ^metadata_csum", .fast_disk = true});
    fs_rig_run(&rig, grow_body, model);
    fs_rig_run(&rig, astray_body, model);
    fs_rig_fini(&rig);
    free(model);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(dots_and_long_names_are_answered_as_the_kernel_does),
        cmocka_unit_test(a_directory_of_long_names_keeps_them_through_all_shapes_to_two_levels),
        cmocka_unit_test(a_directory_without_checksums_keeps_its_names),
        cmocka_unit_test(a_directory_of_short_names_keeps_them),
        cmocka_unit_test(a_linear_directory_keeps_its_names),
        cmocka_unit_test(a_directory_of_an_ext3_volume_keeps_its_names),
        cmocka_unit_test(trees_of_every_hash_satisfy_e2fsck),
        cmocka_unit_test(names_of_one_hash_that_fill_several_leaves_are_all_found_and_listed_once),
        cmocka_unit_test(a_listing_under_change_shows_every_stable_name_once),
        cmocka_unit_test(listing_and_changing_from_cold_in_two_fibres_loses_nothing),
        cmocka_unit_test(renaming_within_a_directory_that_splits_finds_the_old_name),
        cmocka_unit_test(debugfs_lists_the_names_that_we_wrote),
        cmocka_unit_test(directories_that_e2fsprogs_wrote_are_read_and_extended),
        cmocka_unit_test(damaged_directories_never_crash_or_hang),
        cmocka_unit_test(a_rename_through_an_index_that_takes_a_node_for_a_leaf_ends),
    };
    if (getenv("TEST"))
        cmocka_set_test_filter(getenv("TEST"));
    return cmocka_run_group_tests(tests, NULL, NULL);
}
