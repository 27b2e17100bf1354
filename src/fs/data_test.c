// SPDX-License-Identifier: MIT
// data_test.c - what is written is what is read, now, after a remount, and by e2fsck's judgement.
#include "fs/data_rig.h"

#include <linux/falloc.h>

#include "dev/fault.h"

// --- a model of some files ---------------------------------------------------------------------

#define MODEL_FILES 4u
#define MODEL_MAX (3u << 20)

struct model_file {
    char name[8];
    uint64_t size;
    uint8_t *bytes;
};

struct model {
    struct prng chance;
    bool extents;
    uint32_t steps;
    struct model_file files[MODEL_FILES];
    struct inode *inodes[MODEL_FILES];
};

static void model_init(struct model *model, uint64_t seed, uint32_t steps, bool extents)
{
    *model = (struct model){.steps = steps, .extents = extents};
    prng_seed(&model->chance, seed);
    for (uint32_t i = 0; i < MODEL_FILES; i++) {
        snprintf(model->files[i].name, sizeof model->files[i].name, "f%u", i);
        model->files[i].bytes = xcalloc(1, 2 * MODEL_MAX);
    }
}

static void model_fini(struct model *model)
{
    for (uint32_t i = 0; i < MODEL_FILES; i++)
        free(model->files[i].bytes);
}

static void model_resize(struct model_file *file, uint64_t size)
{
    if (size < file->size)
        memset(file->bytes + size, 0, file->size - size);
    file->size = size;
}

static uint64_t some_off(struct model *model, uint64_t limit)
{
    uint64_t off = prng_below(&model->chance, limit);
    return prng_below(&model->chance, 3) == 0 ? off & ~(uint64_t)(BLOCK_BYTES - 1) : off;
}

static void step_write(struct model *model, struct model_file *file, struct inode *inode)
{
    uint64_t off = some_off(model, MODEL_MAX - (64 << 10));
    size_t len = 1 + prng_below(&model->chance, prng_below(&model->chance, 4) ? 9000 : 60000);
    if (prng_below(&model->chance, 3) == 0)
        off = file->size < MODEL_MAX - (64 << 10) ? file->size : off;
    AUTO_FREE uint8_t *bytes = xmalloc(len);
    fill_pattern(bytes, len, off, prng_next(&model->chance));
    assert_int_equal(file_write(inode, off, bytes, len), 0);
    memcpy(file->bytes + off, bytes, len);
    file->size = MAX(file->size, off + len);
}

static void step_truncate(struct model *model, struct model_file *file, struct inode *inode)
{
    uint64_t size = some_off(model, prng_below(&model->chance, 2) ? MODEL_MAX : file->size + 1);
    assert_int_equal(file_truncate(inode, size), 0);
    model_resize(file, size);
}

static void step_punch(struct model *model, struct model_file *file, struct inode *inode)
{
    uint64_t off = some_off(model, MODEL_MAX), len = 1 + some_off(model, 200000);
    int rc = file_fallocate(inode, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, off, len);
    assert_int_equal(rc, 0);
    if (off < file->size)
        memset(file->bytes + off, 0, MIN(len, file->size - off));
}

static void step_fallocate(struct model *model, struct model_file *file, struct inode *inode)
{
    uint64_t off = some_off(model, MODEL_MAX - 400000), len = 1 + some_off(model, 300000);
    bool keep = prng_below(&model->chance, 2), zero = prng_below(&model->chance, 2);
    int mode = (keep ? FALLOC_FL_KEEP_SIZE : 0) | (zero ? FALLOC_FL_ZERO_RANGE : 0);
    int rc = file_fallocate(inode, mode, off, len);
    assert_int_equal(rc, model->extents ? 0 : -EOPNOTSUPP);
    if (rc < 0)
        return;
    if (zero && off < file->size)
        memset(file->bytes + off, 0, MIN(len, file->size - off));
    if (!keep && off + len > file->size)
        model_resize(file, off + len);
}

static void step_collapse(struct model *model, struct model_file *file, struct inode *inode)
{
    uint64_t off = prng_below(&model->chance, MODEL_MAX) & ~4095ull, len = (1 + prng_below(&model->chance, 40)) << 12;
    int rc = file_fallocate(inode, FALLOC_FL_COLLAPSE_RANGE, off, len);
    if (!model->extents || off + len >= file->size) {
        assert_int_equal(rc, model->extents ? -EINVAL : -EOPNOTSUPP);
        return;
    }
    assert_int_equal(rc, 0);
    memmove(file->bytes + off, file->bytes + off + len, file->size - off - len);
    model_resize(file, file->size - len);
}

static void step_insert(struct model *model, struct model_file *file, struct inode *inode)
{
    uint64_t off = prng_below(&model->chance, MODEL_MAX) & ~4095ull, len = (1 + prng_below(&model->chance, 40)) << 12;
    if (file->size + len > MODEL_MAX)
        return;
    int rc = file_fallocate(inode, FALLOC_FL_INSERT_RANGE, off, len);
    if (!model->extents || off >= file->size) {
        assert_int_equal(rc, model->extents ? -EINVAL : -EOPNOTSUPP);
        return;
    }
    assert_int_equal(rc, 0);
    memmove(file->bytes + off + len, file->bytes + off, file->size - off);
    memset(file->bytes + off, 0, len);
    file->size += len;
}

static void step_read(struct model *model, struct model_file *file, struct inode *inode)
{
    uint64_t off = some_off(model, MODEL_MAX);
    size_t len = 1 + prng_below(&model->chance, 200000);
    len = off < file->size ? MIN(len, file->size - off) : 0;
    expect_bytes(inode, off, file->bytes + off, len);
}

// A hole reads as zeros; data never hides in a hole.
static void step_seek(struct model *model, struct model_file *file, struct inode *inode)
{
    uint64_t off = some_off(model, MODEL_MAX);
    int64_t data = data_seek(inode, off, SEEK_DATA), hole = data_seek(inode, off, SEEK_HOLE);
    if (off >= file->size) {
        assert_int_equal(data, -ENXIO);
        assert_int_equal(hole, -ENXIO);
        return;
    }
    uint64_t end = data < 0 ? file->size : (uint64_t)data;
    for (uint64_t i = off; i < end; i++)
        assert_int_equal(file->bytes[i], 0);
    assert_true(hole >= (int64_t)off && hole <= (int64_t)file->size);
    assert_true(hole == (int64_t)off || data == (int64_t)off);
}

static void model_step(struct model *model)
{
    uint32_t i = (uint32_t)prng_below(&model->chance, MODEL_FILES);
    struct model_file *file = &model->files[i];
    struct inode *inode = model->inodes[i];
    switch (prng_below(&model->chance, 24)) {
    case 0: case 1: step_truncate(model, file, inode); break;
    case 2: case 3: step_punch(model, file, inode); break;
    case 4: case 5: step_fallocate(model, file, inode); break;
    case 6: step_collapse(model, file, inode); break;
    case 7: step_insert(model, file, inode); break;
    case 8: assert_int_equal(data_fsync(inode, prng_below(&model->chance, 2)), 0); break;
    case 9: assert_int_equal(data_writeback(inode, some_off(model, MODEL_MAX), 100000), 0); break;
    case 10: step_seek(model, file, inode); break;
    case 11: case 12: case 13: case 14: step_read(model, file, inode); break;
    default: step_write(model, file, inode); break;
    }
    assert_int_equal(inode->size, file->size);
}

static void model_check(struct model *model)
{
    for (uint32_t i = 0; i < MODEL_FILES; i++) {
        assert_int_equal(model->inodes[i]->size, model->files[i].size);
        expect_bytes(model->inodes[i], 0, model->files[i].bytes, model->files[i].size);
    }
}

static void model_make(struct fs_rig *rig, void *arg)
{
    struct model *model = arg;
    for (uint32_t i = 0; i < MODEL_FILES; i++)
        inode_put(file_make(rig->fs, model->files[i].name));
}

static void model_body(struct fs_rig *rig, void *arg)
{
    struct model *model = arg;
    for (uint32_t i = 0; i < MODEL_FILES; i++)
        model->inodes[i] = file_open(rig->fs, model->files[i].name);
    model_check(model);
    for (uint32_t i = 0; i < model->steps; i++)
        model_step(model);
    model_check(model);
    assert_int_equal(rig->fs->reserved_blocks, model->inodes[0]->delayed + model->inodes[1]->delayed +
                     model->inodes[2]->delayed + model->inodes[3]->delayed);
    for (uint32_t i = 0; i < MODEL_FILES; i++)
        inode_put(model->inodes[i]);
}

static void run_model(const struct fs_rig_options *options, uint32_t steps, uint32_t mounts)
{
    struct fs_rig rig;
    struct model model;
    bool extents = !options->mke2fs || !strstr(options->mke2fs, "^extent");
    fs_rig_init(&rig, options);
    model_init(&model, options->seed, steps, extents);
    fs_rig_run(&rig, model_make, &model);
    for (uint32_t i = 0; i < mounts; i++)
        fs_rig_run(&rig, model_body, &model);
    fs_rig_fsck(&rig);
    model_fini(&model);
    fs_rig_fini(&rig);
}

static void files_equal_their_model_through_remounts(void **state)
{
    for (uint64_t seed = 1; seed <= 4; seed++)
        run_model(&(struct fs_rig_options){.seed = seed, .fast_disk = true}, 300, 3);
}

static void files_equal_their_model_with_few_pages_and_buffers(void **state)
{
    run_model(&(struct fs_rig_options){.seed = 11, .pages = 64, .buf_bytes = 64 << 10}, 300, 3);
}

static void files_with_indirect_blocks_equal_their_model(void **state)
{
    run_model(&(struct fs_rig_options){.seed = 21, .mke2fs = "-O ^extent,^64bit", .fast_disk = true}, 400, 3);
}

static void files_under_journalled_data_equal_their_model(void **state)
{
    run_model(&(struct fs_rig_options){.seed = 31, .journal_data = true, .fast_disk = true}, 300, 3);
}

static void files_without_metadata_checksums_equal_their_model(void **state)
{
    run_model(&(struct fs_rig_options){.seed = 41, .mke2fs = "-O ^metadata_csum,^64bit", .garbage = true}, 300, 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(files_equal_their_model_through_remounts),
        cmocka_unit_test(files_equal_their_model_with_few_pages_and_buffers),
        cmocka_unit_test(files_with_indirect_blocks_equal_their_model),
        cmocka_unit_test(files_under_journalled_data_equal_their_model),
        cmocka_unit_test(files_without_metadata_checksums_equal_their_model),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
