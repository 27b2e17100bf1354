// SPDX-License-Identifier: MIT
// xattr_test.c - extended attributes against a model, before e2fsck and debugfs; ACLs there and back.
#include "fs/fs_rig.h"
#include "fs/name_rig.h"

#include <fcntl.h>
#include <sys/xattr.h>

#include "base/check.h"
#include "base/log.h"
#include "ondisk/acl.h"
#include "ondisk/xattr.h"
#include "rt/prng.h"

struct set_args {
    struct inode *inode;
    uint16_t mode;                      // of chmod
    struct xattr_set set;
};

static int set_pass(struct plan *plan, void *arg)
{
    struct set_args *args = arg;
    return xattr_plan_set(plan, args->inode, &args->set);
}

static int set(struct inode *inode, const char *name, const void *value, size_t size, int flags)
{
    struct set_args args = {.inode = inode, .set = {.name = name, .value = value, .size = size, .flags = flags}};
    struct plan plan;
    plan_init(&plan, inode->fs);
    int rc = plan_run(&plan, set_pass, &args);
    if (rc == 0)
        xattr_apply_set(&plan, inode, &args.set);
    xattr_set_fini(&args.set);
    plan_end(&plan);
    return rc;
}

static int unset(struct inode *inode, const char *name)
{
    return set(inode, name, NULL, 0, 0);
}

// --- a model ------------------------------------------------------------------------------------------

#define FILES 8u
#define NAMES 12u

struct model {
    struct prng chance;
    uint32_t size[FILES][NAMES];        // UINT32_MAX: not there
    uint8_t fill[FILES][NAMES];
    bool first;
    uint32_t steps;
    uint32_t value_max;
};

static const char *const prefixes[] = {"user.", "trusted.", "security."};

static void name_nr(uint32_t i, char *out)
{
    snprintf(out, 64, "%sname-%0*u", prefixes[i % 3], (int)(1 + i * 2), i);
}

static void file_nr(uint32_t i, char *out)
{
    snprintf(out, 16, "file%u", i);
}

static void value_nr(const struct model *model, uint32_t file, uint32_t name, uint8_t *out)
{
    for (uint32_t i = 0; i < model->size[file][name]; i++)
        out[i] = (uint8_t)(model->fill[file][name] + i * 7);
}

static void check_file(struct model *model, struct inode *inode, uint32_t file)
{
    uint8_t expected[BLOCK_BYTES], got[BLOCK_BYTES];
    char name[64], list[1024];
    uint32_t count = 0;
    for (uint32_t i = 0; i < NAMES; i++) {
        name_nr(i, name);
        uint32_t size = model->size[file][i];
        ssize_t rc = xattr_get(NULL, inode, name, got, sizeof got);
        assert_int_equal(rc, size == UINT32_MAX ? -ENODATA : (ssize_t)size);
        if (rc < 0)
            continue;
        value_nr(model, file, i, expected);
        assert_memory_equal(got, expected, size);
        assert_int_equal(xattr_get(NULL, inode, name, NULL, 0), size);
        if (size > 1)
            assert_int_equal(xattr_get(NULL, inode, name, got, size - 1), -ERANGE);
        count++;
    }
    ssize_t len = xattr_list(inode, list, sizeof list);
    assert_true(len >= 0);
    assert_int_equal(xattr_list(inode, NULL, 0), len);
    for (char *at = list; at < list + len; at += strlen(at) + 1) {
        uint32_t i = 0;
        for (; i < NAMES; i++) {
            name_nr(i, name);
            if (strcmp(name, at) == 0)
                break;
        }
        assert_true(i < NAMES);
        assert_int_not_equal(model->size[file][i], UINT32_MAX);
        count--;
    }
    assert_int_equal(count, 0);
}

static void change_one(struct model *model, struct inode *inode, uint32_t file)
{
    uint32_t i = (uint32_t)prng_below(&model->chance, NAMES), old = model->size[file][i];
    uint8_t value[BLOCK_BYTES], old_fill = model->fill[file][i];
    char name[64];
    name_nr(i, name);
    if (prng_below(&model->chance, 3) == 0) {
        assert_int_equal(unset(inode, name), old == UINT32_MAX ? -ENODATA : 0);
        model->size[file][i] = UINT32_MAX;
        return;
    }
    int flags = prng_below(&model->chance, 4) ? 0 : prng_below(&model->chance, 2) ? XATTR_CREATE : XATTR_REPLACE;
    uint32_t max = prng_below(&model->chance, 2) ? 40 : model->value_max;
    model->size[file][i] = (uint32_t)prng_below(&model->chance, max);
    model->fill[file][i] = (uint8_t)prng_next(&model->chance);
    value_nr(model, file, i, value);
    int rc = set(inode, name, value, model->size[file][i], flags);
    if (flags == XATTR_CREATE && old != UINT32_MAX)
        assert_int_equal(rc, -EEXIST);
    else if (flags == XATTR_REPLACE && old == UINT32_MAX)
        assert_int_equal(rc, -ENODATA);
    else
        assert_true(rc == 0 || rc == -ENOSPC);
    if (rc < 0) {
        model->size[file][i] = old;
        model->fill[file][i] = old_fill;
    }
}

static void model_body(struct fs_rig *rig, void *arg)
{
    struct model *model = arg;
    struct inode *root = name_root(rig->fs), *files[FILES];
    char name[16];
    for (uint32_t i = 0; i < FILES; i++) {
        file_nr(i, name);
        files[i] = model->first ? name_make(root, name, i == 0 ? 0040755 : 0100644) : name_open(root, name);
        check_file(model, files[i], i);
    }
    model->first = false;
    for (uint32_t n = 0; n < model->steps; n++) {
        uint32_t i = (uint32_t)prng_below(&model->chance, FILES);
        change_one(model, files[i], i);
        check_file(model, files[i], i);
    }
    for (uint32_t i = 0; i < FILES; i++)
        inode_put(files[i]);
    inode_put(root);
}

static void check_with_debugfs(struct fs_rig *rig, struct model *model)
{
    char command[128], file[16], name[64], saved[] = "/tmp/drover-xattr-XXXXXX";
    close(mkstemp(saved));
    for (uint32_t n = 0; n < 20; n++) {
        uint32_t f = (uint32_t)prng_below(&model->chance, FILES), i = (uint32_t)prng_below(&model->chance, NAMES);
        if (model->size[f][i] == UINT32_MAX || model->size[f][i] == 0)
            continue;
        uint8_t expected[BLOCK_BYTES], got[BLOCK_BYTES];
        file_nr(f, file);
        name_nr(i, name);
        snprintf(command, sizeof command, "ea_get -f %s /%s %s", saved, file, name);
        free(fs_rig_debugfs(rig, command));
        value_nr(model, f, i, expected);
        FILE *stream = fopen(saved, "r");
        assert_int_equal(fread(got, 1, sizeof got, stream), model->size[f][i]);
        fclose(stream);
        assert_memory_equal(got, expected, model->size[f][i]);
    }
    unlink(saved);
}

static void model_life(const char *mke2fs, uint32_t value_max)
{
    struct model *model = xcalloc(1, sizeof *model);
    struct fs_rig rig;
    memset(model->size, 0xff, sizeof model->size);
    model->first = true;
    model->steps = 400;
    model->value_max = value_max;
    prng_seed(&model->chance, 3);
    fs_rig_init(&rig, &(struct fs_rig_options){.mke2fs = mke2fs, .fast_disk = true});
    for (uint32_t mounts = 0; mounts < 3; mounts++) {
        fs_rig_run(&rig, model_body, model);
        fs_rig_fsck(&rig);
        check_with_debugfs(&rig, model);
    }
    fs_rig_fini(&rig);
    free(model);
}

static void attributes_agree_with_a_model_and_with_debugfs(void **state)
{
    model_life(NULL, 1500);
    model_life(NULL, 60);
    model_life("-O ^metadata_csum -I 512", 4096);
}

static void inodes_of_128_bytes_keep_attributes_in_a_block(void **state)
{
    model_life("-O ^metadata_csum,^64bit -I 128", 1000);
}

// --- names and limits -----------------------------------------------------------------------------------

static void limits_body(struct fs_rig *rig, void *arg)
{
    struct inode *root = name_root(rig->fs), *file = name_make(root, "file", 0100644);
    static char value[70000];           // more than a fibre's stack holds
    char out[8], long_name[300];
    memset(value, 'v', sizeof value);
    snprintf(long_name, sizeof long_name, "user.%0255d", 1);
    assert_int_equal(set(file, "none.x", "v", 1, 0), -EOPNOTSUPP);
    assert_int_equal(xattr_get(NULL, file, "none.x", out, sizeof out), -EOPNOTSUPP);
    assert_int_equal(set(file, "user.", "v", 1, 0), -EINVAL);
    assert_int_equal(set(file, "user.a", value, 65537, 0), -E2BIG);
    assert_int_equal(set(file, "user.a", value, 65536, 0), -ENOSPC);
    assert_int_equal(set(file, "user.a", value, 4097, 0), -ENOSPC);
    assert_int_equal(unset(file, "user.a"), -ENODATA);
    // One block: a header of 32 bytes, an entry of 20, a terminator of 4.
    assert_int_equal(set(file, "user.a", value, BLOCK_BYTES - 56 + 1, 0), -ENOSPC);
    assert_int_equal(set(file, "user.a", value, BLOCK_BYTES - 56, 0), 0);
    assert_int_equal(file->d.blocks, 8);
    assert_int_equal(set(file, long_name, "", 0, 0), -ENOSPC);
    assert_int_equal(set(file, "user.a", "short", 5, 0), 0);
    assert_int_equal(file->d.blocks, 0);
    assert_int_equal(file->d.file_acl, 0);
    assert_int_equal(set(file, long_name, "", 0, 0), 0);
    assert_int_equal(xattr_get(NULL, file, long_name, out, sizeof out), 0);
    assert_int_equal(xattr_list(file, out, sizeof out), -ERANGE);
    inode_put(file);
    inode_put(root);
}

static void names_and_sizes_are_limited_as_in_the_kernel(void **state)
{
    struct fs_rig rig;
    fs_rig_init(&rig, &(struct fs_rig_options){.fast_disk = true});
    fs_rig_run(&rig, limits_body, NULL);
    fs_rig_fsck(&rig);
    fs_rig_fini(&rig);
}

// --- shared blocks --------------------------------------------------------------------------------------

static int share_pass(struct plan *plan, void *arg)
{
    struct inode **pair = arg;
    struct buf *buf;
    struct block_owner owner = {0};
    plan_credits(plan, 1);
    plan_will_dirty_inode(plan, pair[1]);
    return plan_buf(plan, BLOCK_XATTR, &owner, pair[0]->d.file_acl, &buf);
}

// What only the kernel does: a second inode with the same attributes takes the same block.
static void share_block(struct inode *from, struct inode *to)
{
    struct inode *pair[2] = {from, to};
    struct plan plan;
    plan_init(&plan, from->fs);
    assert_int_equal(plan_run(&plan, share_pass, pair), 0);
    struct buf *buf = buf_peek(from->fs->bufs, from->d.file_acl);
    struct ext4_xattr_header *header = xattr_header(buf->bytes);
    header->refcount = to_le32(le32(header->refcount) + 1);
    jrn_dirty(from->fs->jrn, buf);
    to->d.file_acl = from->d.file_acl;
    to->d.blocks += 8;
    inode_dirty(to, true);
    plan_end(&plan);
}

static int free_pass(struct plan *plan, void *arg)
{
    return xattr_plan_free(plan, arg);
}

static void free_block(struct inode *inode)
{
    struct plan plan;
    plan_init(&plan, inode->fs);
    assert_int_equal(plan_run(&plan, free_pass, inode), 0);
    xattr_apply_free(&plan, inode);
    plan_end(&plan);
}

static void shared_body(struct fs_rig *rig, void *arg)
{
    struct inode *root = name_root(rig->fs), *files[4];
    char value[600], got[600], name[16];
    memset(value, 's', sizeof value);
    for (uint32_t i = 0; i < 4; i++) {
        file_nr(i, name);
        files[i] = name_make(root, name, 0100644);
        if (i == 0)
            assert_int_equal(set(files[0], "user.shared", value, sizeof value, 0), 0);
        else
            share_block(files[0], files[i]);
    }
    uint64_t block = files[0]->d.file_acl;
    assert_int_equal(set(files[1], "user.shared", "other", 5, 0), 0);       // into the body: it leaves the block
    memset(value, 't', sizeof value);
    assert_int_equal(set(files[2], "user.mine", value, 200, 0), 0);         // a copy of its own
    assert_int_equal(files[1]->d.file_acl, 0);
    assert_int_not_equal(files[2]->d.file_acl, block);
    assert_int_equal(files[3]->d.file_acl, block);
    for (uint32_t i = 0; i < 4; i++) {
        assert_int_equal(xattr_get(NULL, files[i], "user.shared", got, sizeof got), i == 1 ? 5 : 600);
        assert_int_equal(got[0], i == 1 ? 'o' : 's');
    }
    free_block(files[0]);
    assert_int_equal(xattr_get(NULL, files[0], "user.shared", got, sizeof got), -ENODATA);
    assert_int_equal(xattr_get(NULL, files[3], "user.shared", got, sizeof got), 600);
    free_block(files[3]);
    free_block(files[2]);
    for (uint32_t i = 0; i < 4; i++) {
        assert_int_equal(files[i]->d.blocks, 0);
        inode_put(files[i]);
    }
    inode_put(root);
}

static void a_shared_block_is_copied_before_it_is_changed_and_freed_by_its_last_user(void **state)
{
    struct fs_rig rig;
    fs_rig_init(&rig, &(struct fs_rig_options){.fast_disk = true});
    fs_rig_run(&rig, shared_body, NULL);
    fs_rig_fsck(&rig);
    fs_rig_fini(&rig);
}

// --- access control lists -------------------------------------------------------------------------------

#define ACCESS "system.posix_acl_access"
#define DEFAULTS "system.posix_acl_default"

static size_t acl_bytes(const struct acl_entry *entries, uint32_t count, uint8_t *out)
{
    struct acl acl = {(struct acl_entry *)entries, count};
    return acl_to_xattr(&acl, out);
}

static const struct acl_entry some_user[] = {
    {ACL_TAG_USER_OBJ, 7, ACL_ID_NONE}, {ACL_TAG_USER, 6, 1000}, {ACL_TAG_GROUP_OBJ, 5, ACL_ID_NONE},
    {ACL_TAG_MASK, 7, ACL_ID_NONE}, {ACL_TAG_OTHER, 1, ACL_ID_NONE},
};
static const struct acl_entry only_mode[] = {
    {ACL_TAG_USER_OBJ, 6, ACL_ID_NONE}, {ACL_TAG_GROUP_OBJ, 4, ACL_ID_NONE}, {ACL_TAG_OTHER, 0, ACL_ID_NONE},
};

static int chmod_pass(struct plan *plan, void *arg)
{
    struct set_args *args = arg;
    return xattr_plan_chmod(plan, args->inode, args->mode, &args->set);
}

static bool chmod_acl(struct inode *inode, uint16_t mode)
{
    struct set_args args = {.inode = inode, .mode = mode};
    struct plan plan;
    plan_init(&plan, inode->fs);
    assert_int_equal(plan_run(&plan, chmod_pass, &args), 0);
    bool has_acl = args.set.name;
    if (has_acl)
        xattr_apply_set(&plan, inode, &args.set);
    xattr_set_fini(&args.set);
    plan_end(&plan);
    return has_acl;
}

static void acl_body(struct fs_rig *rig, void *arg)
{
    struct inode *root = name_root(rig->fs), *file = name_make(root, "file", 0100644), *dir = name_make(root, "dir", 0040755);
    uint8_t value[200], got[200];
    uint16_t mode = 0100644;
    bool minimal;

    // There and back, through the disk's shorter form.
    size_t size = acl_bytes(some_user, 5, value);
    assert_int_equal(set(file, ACCESS, value, size, 0), 0);
    assert_int_equal(xattr_get(NULL, file, ACCESS, got, sizeof got), size);
    assert_memory_equal(got, value, size);
    assert_int_equal(xattr_get(NULL, file, ACCESS, NULL, 0), size);
    assert_int_equal(xattr_get(NULL, file, ACCESS, got, size - 1), -ERANGE);
    assert_int_equal(set(file, ACCESS, value, size - 8, 0), -EINVAL);
    assert_int_equal(xattr_acl_mode(value, size, &mode, &minimal), 0);
    assert_int_equal(mode, 0100771);
    assert_false(minimal);

    // chmod changes the mask, not the group's entry.
    assert_true(chmod_acl(file, 0100640));
    assert_int_equal(xattr_get(NULL, file, ACCESS, got, sizeof got), size);
    struct acl_entry changed[5];
    memcpy(changed, some_user, sizeof changed);
    changed[0].perm = 6;
    changed[3].perm = 4;
    changed[4].perm = 0;
    acl_bytes(changed, 5, value);
    assert_memory_equal(got, value, size);
    assert_false(chmod_acl(dir, 0040700));

    size = acl_bytes(only_mode, 3, value);
    assert_int_equal(xattr_acl_mode(value, size, &mode, &minimal), 0);
    assert_int_equal(mode, 0100640);
    assert_true(minimal);

    // What a directory hands on.
    size = acl_bytes(some_user, 5, value);
    assert_int_equal(set(dir, DEFAULTS, value, size, 0), 0);
    struct inode *sub = name_make_masked(dir, "sub", 0040755, 077), *inner = name_make_masked(dir, "file", 0100644, 077);
    struct inode *plain = name_make_masked(root, "plain", 0100666, 027);
    assert_int_equal(plain->d.mode, 0100640);
    assert_int_equal(sub->d.mode, 0040751);
    assert_int_equal(inner->d.mode, 0100640);
    assert_int_equal(xattr_get(NULL, sub, DEFAULTS, got, sizeof got), size);
    assert_memory_equal(got, value, size);
    assert_int_equal(xattr_get(NULL, sub, ACCESS, got, sizeof got), size);
    assert_int_equal(xattr_get(NULL, inner, DEFAULTS, got, sizeof got), -ENODATA);
    assert_int_equal(xattr_get(NULL, inner, ACCESS, got, sizeof got), size);
    memcpy(changed, some_user, sizeof changed);
    changed[0].perm = 6;
    changed[3].perm = 4;
    changed[4].perm = 0;
    acl_bytes(changed, 5, value);
    assert_memory_equal(got, value, size);
    struct inode *all[] = {root, file, dir, sub, inner, plain};
    for (size_t i = 0; i < ARRAY_LEN(all); i++)
        inode_put(all[i]);
}

// Lists of a hundred users do not fit into an inode: the child's take a block.
static void large_acl_body(struct fs_rig *rig, void *arg)
{
    enum { USERS = 200 };
    struct acl_entry entries[USERS + 4];
    static uint8_t value[8 * (USERS + 5)], got[8 * (USERS + 5)];
    entries[0] = (struct acl_entry){ACL_TAG_USER_OBJ, 7, ACL_ID_NONE};
    for (uint32_t i = 0; i < USERS; i++)
        entries[1 + i] = (struct acl_entry){ACL_TAG_USER, 5, i + 1};
    entries[USERS + 1] = (struct acl_entry){ACL_TAG_GROUP_OBJ, 5, ACL_ID_NONE};
    entries[USERS + 2] = (struct acl_entry){ACL_TAG_MASK, 7, ACL_ID_NONE};
    entries[USERS + 3] = (struct acl_entry){ACL_TAG_OTHER, 5, ACL_ID_NONE};
    struct inode *root = name_root(rig->fs), *dir = name_make(root, "dir", 0040755);
    size_t size = acl_bytes(entries, USERS + 4, value);
    assert_int_equal(set(dir, DEFAULTS, value, size, 0), 0);
    struct inode *sub = name_make(dir, "sub", 0040777);
    assert_int_not_equal(sub->d.file_acl, 0);
    assert_int_equal(xattr_get(NULL, sub, DEFAULTS, got, sizeof got), size);
    assert_memory_equal(got, value, size);
    assert_int_equal(xattr_get(NULL, sub, ACCESS, got, sizeof got), size);
    inode_put(sub);
    inode_put(dir);
    inode_put(root);
}

static void acls_go_there_and_back_and_keep_step_with_the_mode(void **state)
{
    struct fs_rig rig;
    fs_rig_init(&rig, &(struct fs_rig_options){.fast_disk = true});
    fs_rig_run(&rig, acl_body, NULL);
    fs_rig_fsck(&rig);
    fs_rig_fini(&rig);
}

static void inherited_acls_that_do_not_fit_take_a_block(void **state)
{
    const char *const volumes[] = {NULL, "-O ^metadata_csum,^64bit -I 128"};
    for (size_t i = 0; i < ARRAY_LEN(volumes); i++) {
        struct fs_rig rig;
        fs_rig_init(&rig, &(struct fs_rig_options){.mke2fs = volumes[i], .fast_disk = true});
        fs_rig_run(&rig, large_acl_body, NULL);
        fs_rig_fsck(&rig);
        fs_rig_fini(&rig);
    }
}

// --- damage ---------------------------------------------------------------------------------------------

static void damaged_body_body(struct fs_rig *rig, void *arg)
{
    struct prng *chance = arg;
    struct inode *root = name_root(rig->fs), *file = name_make(root, "file", 0100644);
    char got[300], list[2000];
    uint8_t *good = xmalloc(file->d.body_size);
    for (uint32_t i = 0; i < 4; i++) {
        char name[16];
        snprintf(name, sizeof name, "user.n%u", i);
        assert_int_equal(set(file, name, "0123456789", 4 + i, 0), 0);
    }
    memcpy(good, file->d.body, file->d.body_size);
    for (uint32_t round = 0; round < 20000; round++) {
        memcpy(file->d.body, good, file->d.body_size);
        file->sealed = false;           // behind the guard's back
        for (uint32_t n = 0; n < 3; n++)
            file->d.body[prng_below(chance, file->d.body_size)] = (uint8_t)prng_next(chance);
        ssize_t rc = xattr_get(NULL, file, "user.n2", got, sizeof got);
        assert_true(rc >= 0 || rc == -ENODATA || rc == -EFSCORRUPTED);
        rc = xattr_list(file, list, sizeof list);
        assert_true(rc >= 0 || rc == -EFSCORRUPTED);
        rc = set(file, "user.n1", "another value", 13, 0);
        assert_true(rc == 0 || rc == -EFSCORRUPTED);
    }
    memcpy(file->d.body, good, file->d.body_size);
    file->sealed = false;
    free(good);
    inode_put(file);
    inode_put(root);
}

static void a_damaged_body_is_refused_and_never_crashes(void **state)
{
    struct fs_rig rig;
    struct prng chance;
    prng_seed(&chance, 11);
    log_open(open("/dev/null", O_WRONLY), "test");
    fs_rig_init(&rig, &(struct fs_rig_options){.fast_disk = true});
    fs_rig_run(&rig, damaged_body_body, &chance);
    fs_rig_fini(&rig);
    log_open(2, "test");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(attributes_agree_with_a_model_and_with_debugfs),
        cmocka_unit_test(inodes_of_128_bytes_keep_attributes_in_a_block),
        cmocka_unit_test(names_and_sizes_are_limited_as_in_the_kernel),
        cmocka_unit_test(a_shared_block_is_copied_before_it_is_changed_and_freed_by_its_last_user),
        cmocka_unit_test(acls_go_there_and_back_and_keep_step_with_the_mode),
        cmocka_unit_test(inherited_acls_that_do_not_fit_take_a_block),
        cmocka_unit_test(a_damaged_body_is_refused_and_never_crashes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
