// SPDX-License-Identifier: MIT
// ops_random_test.c - random operations against a model in memory; remounts, power cuts, and crowds.
//
// The model is a tree of nodes with names, contents and modes, and knows which error each operation
// must give. Every seed is a test of its own: what fails is named with its seed.
#include "ops/ops_rig.h"

#include <stdio.h>
#include <string.h>

#include "base/check.h"
#include "rt/prng.h"
#include "rt/rt.h"

#define NODES_MAX 400
#define ENTRIES_MAX 64
#define NAMES 24
#define FILE_MAX 60000u
#define HELD_MAX 8

enum kind { KIND_FREE, KIND_FILE, KIND_DIR, KIND_LINK };

struct node {
    enum kind kind;
    uint32_t ino, nlink, mode;
    struct node *parent;            // of a directory
    uint32_t count;
    struct { char name[80]; struct node *node; } entries[ENTRIES_MAX];
    uint8_t *bytes;                 // of a file; a symlink's target
    uint32_t size;
    bool held;                      // looked up and not forgotten: lives on without links
};

struct model {
    struct prng chance;
    struct node nodes[NODES_MAX];
    struct node *root;
    struct node *held[HELD_MAX];
};

// --- the model ----------------------------------------------------------------------------------------

static uint32_t pick(struct model *m, uint32_t bound)
{
    return (uint32_t)(prng_next(&m->chance) % bound);
}

static struct node *node_new(struct model *m, enum kind kind)
{
    for (int i = 0; i < NODES_MAX; i++) {
        if (m->nodes[i].kind != KIND_FREE)
            continue;
        m->nodes[i] = (struct node){.kind = kind, .nlink = kind == KIND_DIR ? 2 : 1};
        return &m->nodes[i];
    }
    return NULL;
}

static void node_drop(struct node *node)
{
    if (node->nlink > 0 || node->held)
        return;
    free(node->bytes);
    *node = (struct node){0};
}

static int entry_find(const struct node *dir, const char *name)
{
    for (uint32_t i = 0; i < dir->count; i++)
        if (strcmp(dir->entries[i].name, name) == 0)
            return (int)i;
    return -1;
}

static struct node *child(const struct node *dir, const char *name)
{
    int i = entry_find(dir, name);
    return i < 0 ? NULL : dir->entries[i].node;
}

static void entry_add(struct node *dir, const char *name, struct node *node)
{
    snprintf(dir->entries[dir->count].name, sizeof dir->entries[0].name, "%s", name);
    dir->entries[dir->count++].node = node;
    if (node->kind == KIND_DIR) {
        node->parent = dir;
        dir->nlink++;
    }
}

static void entry_remove(struct node *dir, const char *name)
{
    int i = entry_find(dir, name);
    if (dir->entries[i].node->kind == KIND_DIR)
        dir->nlink--;
    dir->entries[i] = dir->entries[--dir->count];
}

static bool is_inside(const struct node *dir, const struct node *node)
{
    for (; dir; dir = dir->parent)
        if (dir == node)
            return true;
    return false;
}

static struct node *random_node(struct model *m, enum kind kind)
{
    for (int tries = 0; tries < 1000; tries++) {
        struct node *node = &m->nodes[pick(m, NODES_MAX)];
        if (node->kind == kind && (node->nlink > 0 || node->held))
            return node;
    }
    return kind == KIND_DIR ? m->root : NULL;
}

static const char *random_name(struct model *m, char name[80])
{
    uint32_t i = pick(m, NAMES);
    snprintf(name, 80, "%u%.*s", i, (int)(i * 3), "-abcdefghijklmnopqrstuvwxyz-abcdefghijklmnopqrstuvwxyz-abcdefghijklmnop");
    return name;
}

// --- one operation, there and here -----------------------------------------------------------------------

// The lookup that an answer counted is given back, or kept in one of a few places.
static void keep_or_forget(struct ops_rig *rig, struct model *m, struct node *node)
{
    if (node->held || pick(m, 10) > 0) {
        rig_forget(rig, node->ino);
        return;
    }
    struct node **place = &m->held[pick(m, HELD_MAX)];
    if (*place) {
        rig_forget(rig, (*place)->ino);
        (*place)->held = false;
        node_drop(*place);
    }
    *place = node;
    node->held = true;
}

static void do_make(struct ops_rig *rig, struct model *m)
{
    static const enum kind kinds[] = {KIND_FILE, KIND_FILE, KIND_DIR, KIND_LINK};
    enum kind kind = kinds[pick(m, 4)];
    struct node *dir = random_node(m, KIND_DIR), *node = NULL;
    struct ops_attr attr;
    bool created;
    char name[80], target[200];
    size_t len = 1 + pick(m, sizeof target - 1);
    int rc;

    random_name(m, name);
    memset(target, 't', sizeof target);
    int expected = dir->nlink == 0 ? -ENOENT : child(dir, name) ? -EEXIST : 0;
    if (expected == 0 && (dir->count == ENTRIES_MAX || !(node = node_new(m, kind))))
        return;
    if (kind == KIND_FILE)
        rc = ops_create(rig->ops, &rig->caller, dir->ino, n(name), 0644, true, &attr, &created);
    else if (kind == KIND_DIR)
        rc = ops_mkdir(rig->ops, &rig->caller, dir->ino, n(name), 0755, &attr);
    else
        rc = ops_symlink(rig->ops, &rig->caller, dir->ino, n(name), (struct ops_name){target, len}, &attr);
    assert_int_equal(rc, expected);
    if (rc < 0)
        return;
    node->ino = attr.ino;
    node->mode = attr.mode;
    if (kind == KIND_LINK) {
        node->size = (uint32_t)len;
        node->bytes = xmalloc(len);
        memset(node->bytes, 't', len);
    }
    entry_add(dir, name, node);
    keep_or_forget(rig, m, node);
}

static void do_link(struct ops_rig *rig, struct model *m)
{
    struct node *dir = random_node(m, KIND_DIR), *node = random_node(m, KIND_FILE);
    struct ops_attr attr;
    char name[80];

    if (!node || dir->count == ENTRIES_MAX)
        return;
    random_name(m, name);
    int expected = dir->nlink == 0 ? -ENOENT : child(dir, name) ? -EEXIST : node->nlink == 0 ? -ENOENT : 0;
    assert_int_equal(ops_link(rig->ops, node->ino, dir->ino, n(name), &attr), expected);
    if (expected < 0)
        return;
    node->nlink++;
    entry_add(dir, name, node);
    assert_int_equal(attr.nlink, node->nlink);
    keep_or_forget(rig, m, node);
}

static void lose_link(struct node *node)
{
    node->nlink = node->kind == KIND_DIR ? 0 : node->nlink - 1;
    if (node->kind == KIND_DIR)
        node->parent = NULL;
    node_drop(node);
}

static void do_remove(struct ops_rig *rig, struct model *m)
{
    struct node *dir = random_node(m, KIND_DIR), *node;
    bool as_dir = pick(m, 3) == 0;
    char name[80];

    random_name(m, name);
    node = child(dir, name);
    int expected = !node ? -ENOENT : as_dir && node->kind != KIND_DIR ? -ENOTDIR :
                   !as_dir && node->kind == KIND_DIR ? -EISDIR : as_dir && node->count ? -ENOTEMPTY : 0;
    int rc = as_dir ? ops_rmdir(rig->ops, dir->ino, n(name)) : ops_unlink(rig->ops, dir->ino, n(name));
    assert_int_equal(rc, expected);
    if (rc < 0)
        return;
    entry_remove(dir, name);
    lose_link(node);
}

static int rename_expected(struct node *from, struct node *to, struct node *a, struct node *b, uint32_t flags)
{
    bool exchange = flags & RENAME_EXCHANGE;

    if (from->nlink == 0 || to->nlink == 0 || !a)
        return -ENOENT;
    if (b && (flags & RENAME_NOREPLACE))
        return -EEXIST;
    if (!b && exchange)
        return -ENOENT;
    if (a->kind == KIND_DIR && is_inside(to, a))
        return -EINVAL;
    if (b && b->kind == KIND_DIR && is_inside(from, b))
        return exchange ? -EINVAL : -ENOTEMPTY;
    if (!b || a == b || exchange)
        return 0;
    if (a->kind == KIND_DIR && b->kind != KIND_DIR)
        return -ENOTDIR;
    if (a->kind != KIND_DIR && b->kind == KIND_DIR)
        return -EISDIR;
    return b->kind == KIND_DIR && b->count ? -ENOTEMPTY : 0;
}

static void do_rename(struct ops_rig *rig, struct model *m)
{
    static const uint32_t all_flags[] = {0, 0, 0, RENAME_NOREPLACE, RENAME_EXCHANGE};
    struct node *from = random_node(m, KIND_DIR), *to = pick(m, 3) ? random_node(m, KIND_DIR) : from;
    uint32_t flags = all_flags[pick(m, 5)];
    char from_name[80], to_name[80];

    random_name(m, from_name);
    random_name(m, to_name);
    struct node *a = child(from, from_name), *b = child(to, to_name);
    int expected = rename_expected(from, to, a, b, flags);
    if (to->count == ENTRIES_MAX)
        return;
    assert_int_equal(ops_rename(rig->ops, &rig->caller, from->ino, n(from_name), to->ino, n(to_name), flags), expected);
    if (expected < 0 || a == b)
        return;
    entry_remove(from, from_name);
    if (b)
        entry_remove(to, to_name);
    entry_add(to, to_name, a);
    if (b && (flags & RENAME_EXCHANGE))
        entry_add(from, from_name, b);
    else if (b)
        lose_link(b);
}

static void resize(struct node *node, uint32_t size)
{
    node->bytes = xrealloc(node->bytes, size + 1);
    if (size > node->size)
        memset(node->bytes + node->size, 0, size - node->size);
    node->size = size;
}

static void do_write(struct ops_rig *rig, struct model *m)
{
    struct node *node = random_node(m, KIND_FILE);
    uint8_t bytes[9000];
    struct ops_write write = {.off = pick(m, FILE_MAX - sizeof bytes), .bytes = bytes, .len = 1 + pick(m, sizeof bytes)};

    if (!node)
        return;
    write.append = pick(m, 4) == 0 && node->size < FILE_MAX - sizeof bytes;
    if (write.append)
        write.off = node->size;
    for (size_t i = 0; i < write.len; i++)
        bytes[i] = (uint8_t)(prng_next(&m->chance) | 1);
    assert_int_equal(ops_write(rig->ops, node->ino, &write), write.len);
    if (write.off + write.len > node->size)
        resize(node, (uint32_t)(write.off + write.len));
    memcpy(node->bytes + write.off, bytes, write.len);
}

static void do_truncate(struct ops_rig *rig, struct model *m)
{
    struct node *node = random_node(m, KIND_FILE);
    uint32_t size = pick(m, FILE_MAX);

    if (!node)
        return;
    assert_int_equal(rig_setattr(rig, node->ino, (struct ops_setattr){.set = OPS_SET_SIZE, .size = size}), 0);
    resize(node, size);
}

static void do_punch(struct ops_rig *rig, struct model *m)
{
    struct node *node = random_node(m, KIND_FILE);
    uint32_t off = pick(m, FILE_MAX), len = 1 + pick(m, 20000);

    if (!node)
        return;
    assert_int_equal(ops_fallocate(rig->ops, node->ino, 3, off, len), 0);       // punch, keep size
    if (off < node->size)
        memset(node->bytes + off, 0, MIN(len, node->size - off));
}

static void do_chmod(struct ops_rig *rig, struct model *m)
{
    struct node *node = random_node(m, pick(m, 2) ? KIND_FILE : KIND_DIR);

    if (!node)
        return;
    uint32_t mode = pick(m, 01000);
    assert_int_equal(rig_setattr(rig, node->ino, (struct ops_setattr){.set = OPS_SET_MODE, .mode = mode}), 0);
    node->mode = (node->mode & 0170000) | mode;
}

static void do_sync(struct ops_rig *rig, struct model *m)
{
    struct node *node = random_node(m, KIND_FILE);

    if (pick(m, 4) == 0)
        assert_int_equal(ops_sync(rig->ops), 0);
    else if (node)
        assert_int_equal(ops_fsync(rig->ops, node->ino, pick(m, 2)), 0);
    if (pick(m, 3) == 0)
        rig_sleep(rig, 1 + pick(m, 40));
}

static void do_one(struct ops_rig *rig, struct model *m)
{
    static void (*const all[])(struct ops_rig *rig, struct model *m) = {
        do_make, do_make, do_make, do_link, do_remove, do_remove, do_rename, do_rename,
        do_write, do_write, do_write, do_truncate, do_punch, do_chmod, do_sync,
    };
    all[pick(m, ARRAY_LEN(all))](rig, m);
}

// --- comparing ------------------------------------------------------------------------------------------

struct listing {
    const struct node *dir;
    uint32_t count;
};

static bool match_entry(void *arg, const struct ops_dirent *entry)
{
    struct listing *l = arg;
    char name[256];
    memcpy(name, entry->name.bytes, entry->name.len);
    name[entry->name.len] = 0;
    bool dots = strcmp(name, ".") == 0 || strcmp(name, "..") == 0;
    struct node *node = dots ? NULL : child(l->dir, name);
    if (!dots && strcmp(name, "lost+found") != 0) {
        assert_non_null(node);
        assert_int_equal(entry->ino, node->ino);
        l->count++;
    }
    return true;
}

static void compare_content(struct ops_rig *rig, const struct node *node)
{
    AUTO_FREE uint8_t *got = xblocks(FILE_MAX / BLOCK_BYTES + 2);
    ssize_t len = node->kind == KIND_FILE ? ops_read(rig->ops, node->ino, 0, FILE_MAX, got)
                                          : ops_readlink(rig->ops, node->ino, (char *)got, FILE_MAX);
    assert_int_equal(len, node->size);
    if (len > 0)
        assert_memory_equal(got, node->bytes, len);
}

static void compare(struct ops_rig *rig, struct model *m)
{
    for (int i = 0; i < NODES_MAX; i++) {
        struct node *node = &m->nodes[i];
        if (node->kind == KIND_FREE)
            continue;
        struct ops_attr attr = rig_attr(rig, node->ino);
        if (node != m->root)
            assert_int_equal(attr.nlink, node->nlink);
        if (node->kind != KIND_LINK && node != m->root)
            assert_int_equal(attr.mode, node->mode);
        if (node->kind != KIND_DIR) {
            assert_int_equal(attr.size, node->size);
            compare_content(rig, node);
            continue;
        }
        struct listing l = {.dir = node};
        assert_int_equal(ops_readdir(rig->ops, node->ino, 0, false, match_entry, &l), 0);
        assert_int_equal(l.count, node->count);
    }
}

// --- the tests --------------------------------------------------------------------------------------------

static struct model *model_create(uint64_t seed)
{
    struct model *m = xcalloc(1, sizeof *m);
    prng_seed(&m->chance, seed);
    m->root = node_new(m, KIND_DIR);
    m->root->ino = OPS_ROOT;
    m->root->nlink = 3;
    return m;
}

static void model_destroy(struct model *m)
{
    for (int i = 0; i < NODES_MAX; i++)
        free(m->nodes[i].bytes);
    free(m);
}

// At unmount the kernel forgets everything.
static void forget_held(struct model *m)
{
    for (int i = 0; i < HELD_MAX; i++) {
        if (!m->held[i])
            continue;
        m->held[i]->held = false;
        node_drop(m->held[i]);
        m->held[i] = NULL;
    }
}

static void body_model(struct ops_rig *rig)
{
    struct model *m = rig->arg;
    compare(rig, m);
    for (int i = 0; i < 600; i++)
        do_one(rig, m);
    compare(rig, m);
}

static void against_the_model(const char *mke2fs, uint64_t seed)
{
    struct fs_rig fs_rig;
    struct model *m = model_create(seed);
    fs_rig_init(&fs_rig, &(struct fs_rig_options){.mke2fs = mke2fs, .seed = seed, .fast_disk = true, .pages = 512});
    for (int mount = 0; mount < 3; mount++) {
        ops_rig_mount(&fs_rig, body_model, m);
        forget_held(m);
        fs_rig_fsck(&fs_rig);
    }
    fs_rig_fini(&fs_rig);
    model_destroy(m);
}

static void random_operations_agree_with_a_model_over_remounts(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 6; seed++)
        against_the_model(NULL, seed);
}

static void random_operations_agree_with_a_model_on_old_formats(void **state)
{
    (void)state;
    against_the_model("-O ^extent,^64bit,^metadata_csum,^dir_index", 11);
    against_the_model("-O ^flex_bg,^huge_file,uninit_bg,^metadata_csum -I 128", 12);
}

static void body_cut(struct ops_rig *rig)
{
    struct model *m = rig->arg;
    for (int i = 0; i < 300; i++)
        do_one(rig, m);
}

struct cut {
    struct model *model;
};

static void mounted_for_cut(struct fs_rig *fs_rig, void *arg)
{
    struct cut *cut = arg;
    struct ops_rig rig = {.fs_rig = fs_rig, .fs = fs_rig->fs, .caller = {.umask = 022}, .arg = cut->model};
    rig.ops = ops_open(&(struct ops_config){.rt = fs_rig->rt, .fs = fs_rig->fs});
    body_cut(&rig);
    ops_close(rig.ops);
}

static void body_nothing(struct ops_rig *rig)
{
    rig_create(rig, OPS_ROOT, "it lives");
}

static void after_a_power_cut_anywhere_the_volume_is_consistent(void **state)
{
    (void)state;
    for (uint64_t nth = 5; nth < 400; nth += 13) {
        struct fs_rig fs_rig;
        struct cut cut = {.model = model_create(nth)};
        fs_rig_init(&fs_rig, &(struct fs_rig_options){.seed = nth});
        fs_rig_run_cut(&fs_rig, nth, mounted_for_cut, &cut);
        ops_rig_mount(&fs_rig, body_nothing, NULL);
        fs_rig_fsck(&fs_rig);
        fs_rig_fini(&fs_rig);
        model_destroy(cut.model);
    }
}

// --- a crowd: no model, many fibres in a few directories ------------------------------------------------

struct member {
    struct ops_rig *rig;
    struct prng chance;
    uint32_t *dirs;
};

static uint32_t chance(struct member *c, uint32_t bound)
{
    return (uint32_t)(prng_next(&c->chance) % bound);
}

static bool always(void *arg, const struct ops_dirent *entry)
{
    struct ops_rig *rig = arg;
    if (entry->attr && !(entry->name.len <= 2 && entry->name.bytes[0] == '.'))
        ops_forget(rig->ops, entry->ino, 1);
    return true;
}

// What it answers depends on the others; that it answers, and never with damage, does not.
static void jostle(struct member *c)
{
    struct ops_rig *rig = c->rig;
    struct ops *ops = rig->ops;
    uint32_t dir = c->dirs[chance(c, 4)], other = c->dirs[chance(c, 4)];
    struct ops_attr attr = {0};
    struct ops_write write = {.bytes = "0123456789", .len = 10, .off = chance(c, 30000)};
    char name[16], name2[16];
    bool created;
    int rc = 0;

    snprintf(name, sizeof name, "n%u", chance(c, 12));
    snprintf(name2, sizeof name2, "n%u", chance(c, 12));
    switch (chance(c, 9)) {
    case 0: case 1:
        rc = ops_create(ops, &rig->caller, dir, n(name), 0644, chance(c, 2), &attr, &created);
        break;
    case 2: rc = ops_mkdir(ops, &rig->caller, dir, n(name), 0755, &attr); break;
    case 3: rc = ops_unlink(ops, dir, n(name)); break;
    case 4: rc = ops_rmdir(ops, dir, n(name)); break;
    case 5: case 6:
        rc = ops_rename(ops, &rig->caller, dir, n(name), other, n(name2), chance(c, 4) ? 0 : RENAME_EXCHANGE);
        break;
    case 7: rc = ops_readdir(ops, dir, 0, true, always, rig); break;
    default: rc = ops_lookup(ops, dir, n(name), &attr); break;
    }
    assert_true(rc != -EUCLEAN && rc != -EIO && rc != -ESTALE && rc != -EROFS);
    if (attr.ino == 0 || rc < 0)
        return;
    if ((attr.mode & 0170000) == 0100000) {
        assert_int_equal(ops_write(ops, attr.ino, &write), 10);
        if (chance(c, 5) == 0)
            assert_int_equal(rig_setattr(rig, attr.ino, (struct ops_setattr){.set = OPS_SET_SIZE, .size = chance(c, 20000)}), 0);
        if (chance(c, 10) == 0)
            assert_int_equal(ops_fsync(ops, attr.ino, false), 0);
    }
    rig_forget(rig, attr.ino);
}

static int crowd_member(void *arg)
{
    struct member *c = arg;
    for (int i = 0; i < 250; i++) {
        jostle(c);
        if (chance(c, 20) == 0)
            rt_yield(c->rig->fs_rig->rt);
    }
    return 0;
}

static void body_crowd(struct ops_rig *rig)
{
    struct member members[8];
    struct rt_group group;
    uint32_t dirs[4] = {rig_mkdir(rig, OPS_ROOT, "a"), rig_mkdir(rig, OPS_ROOT, "b"),
                        rig_mkdir(rig, OPS_ROOT, "c"), rig_mkdir(rig, OPS_ROOT, "d")};

    rt_group_init(&group, rig->fs_rig->rt);
    for (int i = 0; i < 8; i++) {
        members[i] = (struct member){.rig = rig, .dirs = dirs};
        prng_seed(&members[i].chance, rt_random(rig->fs_rig->rt));
        rt_group_go(&group, "member", crowd_member, &members[i]);
    }
    assert_int_equal(rt_group_wait(&group), 0);
}

static void many_fibres_in_the_same_directories_leave_a_consistent_volume(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 6; seed++)
        ops_rig_test(&(struct fs_rig_options){.seed = seed, .buf_bytes = 256u << 10, .pages = 256}, body_crowd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_operations_agree_with_a_model_over_remounts),
        cmocka_unit_test(random_operations_agree_with_a_model_on_old_formats),
        cmocka_unit_test(after_a_power_cut_anywhere_the_volume_is_consistent),
        cmocka_unit_test(many_fibres_in_the_same_directories_leave_a_consistent_volume),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
