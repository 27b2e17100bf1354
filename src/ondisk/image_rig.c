// SPDX-License-Identifier: MIT
// image_rig.c - makes volumes with e2fsprogs and finds blocks in them.
#include "ondisk/image_rig.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>

#include "base/check.h"
#include "ondisk/dir.h"
#include "ondisk/extent.h"
#include "ondisk/group.h"

static int run(const struct image *image, const char *command)
{
    char whole[2048];
    int len = snprintf(whole, sizeof(whole), "cd %s && { %s; } >out 2>err", image->dir, command);
    assert_true(len < (int)sizeof(whole));
    int status = system(whole);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static void path_of(const struct image *image, const char *name, char *out, size_t size)
{
    snprintf(out, size, "%s/%s", image->dir, name);
}

static void reload(struct image *image)
{
    char path[64];
    struct err err = {0};
    path_of(image, "image", path, sizeof(path));
    AUTO_FD int fd = open(path, O_RDONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    ssize_t size = (ssize_t)IMAGE_BLOCKS * BLOCK_BYTES;
    assert_int_equal(pread(fd, image->bytes, (size_t)size, 0), size);
    if (super_decode(image->bytes + EXT4_SUPER_OFFSET, IMAGE_BLOCKS, &image->geo, &err) != 0)
        fail_msg("%s", err.text);
}

struct image image_make(const char *mke2fs_options, const char *debugfs_commands)
{
    struct image image = {.dir = "/tmp/drover-ondisk-XXXXXX", .bytes = xblocks(IMAGE_BLOCKS)};
    char command[512], path[64];

    assert_non_null(mkdtemp(image.dir));
    snprintf(command, sizeof(command), "truncate -s %llu image && mke2fs -q -F -t ext4 -b 4096 %s image",
             (unsigned long long)IMAGE_BLOCKS * BLOCK_BYTES, mke2fs_options);
    if (run(&image, command) != 0) {
        image_fini(&image);
        skip();
    }
    if (debugfs_commands) {
        path_of(&image, "commands", path, sizeof(path));
        FILE *file = fopen(path, "w");
        assert_non_null(file);
        fputs(debugfs_commands, file);
        assert_int_equal(fclose(file), 0);
        assert_int_equal(run(&image, "debugfs -w -f commands image"), 0);
    }
    reload(&image);
    return image;
}

void image_fini(struct image *image)
{
    char command[64];
    snprintf(command, sizeof(command), "rm -r %s", image->dir);
    assert_int_equal(system(command), 0);
    free(image->bytes);
}

int image_shell(struct image *image, const char *command)
{
    int status = run(image, command);
    reload(image);
    return status;
}

void image_store(const struct image *image)
{
    char path[64];
    path_of(image, "image", path, sizeof(path));
    AUTO_FD int fd = open(path, O_WRONLY | O_CLOEXEC);
    ssize_t size = (ssize_t)IMAGE_BLOCKS * BLOCK_BYTES;
    assert_int_equal(pwrite(fd, image->bytes, (size_t)size, 0), size);
}

uint8_t *image_block(const struct image *image, uint64_t block)
{
    assert_true(block < IMAGE_BLOCKS);
    return image->bytes + block * BLOCK_BYTES;
}

struct ext4_inode image_inode(const struct image *image, uint32_t ino)
{
    const struct ext4_geo *geo = &image->geo;
    uint32_t number = inode_group(geo, ino), index = (ino - 1) % geo->inodes_per_group;
    struct ext4_group group;
    struct ext4_inode inode;
    const char *why = NULL;

    const uint8_t *descs = image_block(image, group_desc_block(geo, number / geo->desc_per_block));
    assert_int_equal(group_decode(geo, number, descs + number % geo->desc_per_block * geo->desc_size, &group, &why), 0);
    const uint8_t *raw = image_block(image, group.inode_table) + (size_t)index * geo->inode_size;
    assert_int_equal(inode_decode(geo, ino, raw, &inode, &why), 0);
    return inode;
}

uint64_t image_map(const struct image *image, const struct ext4_inode *inode, uint32_t lblock)
{
    const void *node = inode->block;
    for (;;) {
        const struct ext4_extent_header *header = node;
        const struct ext4_extent *leaf = (const struct ext4_extent *)(header + 1);
        const struct ext4_extent_index *index = (const struct ext4_extent_index *)(header + 1);
        uint32_t i = le16(header->entries);

        while (i > 0 && le32(leaf[i - 1].lblock) > lblock)
            i--;
        if (i == 0)
            return 0;
        if (le16(header->depth) > 0) {
            node = image_block(image, extent_index_block(&index[i - 1]));
            continue;
        }
        uint32_t behind = lblock - le32(leaf[i - 1].lblock);
        return behind < extent_len(&leaf[i - 1]) ? extent_block(&leaf[i - 1]) + behind : 0;
    }
}

uint32_t image_lookup(const struct image *image, uint32_t dir_ino, const char *name)
{
    struct ext4_inode dir = image_inode(image, dir_ino);
    uint32_t ino = 0;
    for (uint32_t lblock = 0; !ino && lblock < dir.size / BLOCK_BYTES; lblock++) {
        uint8_t *leaf = image_block(image, image_map(image, &dir, lblock));
        uint32_t at = dir_leaf_find(&image->geo, leaf, name, strlen(name));
        if (at != DIR_NOT_FOUND)
            ino = le32(dirent_at(leaf, at)->ino);
    }
    inode_fini(&dir);
    assert_int_not_equal(ino, 0);
    return ino;
}

uint32_t test_random(uint64_t *state)
{
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(*state >> 33);
}
