// SPDX-License-Identifier: MIT
// sim_image.c - simulated disks from image files and back; holes stay holes.
#include <fcntl.h>
#include <string.h>

#include "base/check.h"
#include "dev/sim_disk.h"

static bool is_zero(const uint8_t *bytes)
{
    return bytes[0] == 0 && memcmp(bytes, bytes + 1, BLOCK_BYTES - 1) == 0;
}

// One write of the loader; a block inside data that is all zeros is not kept either.
static int load_block(struct sim_disk *disk, int fd, uint64_t block)
{
    uint8_t bytes[BLOCK_BYTES];
    ssize_t len = pread(fd, bytes, sizeof(bytes), (off_t)(block << BLOCK_SHIFT));
    if (len != (ssize_t)sizeof(bytes))
        return len < 0 ? -errno : -EIO;
    if (!is_zero(bytes))
        sim_disk_poke(disk, block, bytes);
    return 0;
}

static int load_blocks(struct sim_disk *disk, int fd)
{
    off_t at = 0;
    for (;;) {
        off_t data = lseek(fd, at, SEEK_DATA);
        if (data < 0)
            return errno == ENXIO ? 0 : -errno;     // ENXIO: no data behind `at`
        off_t hole = lseek(fd, data, SEEK_HOLE);
        if (hole < 0)
            return -errno;
        uint64_t end = MIN(DIV_ROUND_UP((uint64_t)hole, BLOCK_BYTES), disk->block_count);
        for (uint64_t block = (uint64_t)data >> BLOCK_SHIFT; block < end; block++) {
            int rc = load_block(disk, fd, block);
            if (rc < 0)
                return rc;
        }
        at = hole;
    }
}

int sim_disk_load(const char *path, struct sim_disk **out, struct err *err)
{
    AUTO_FD int fd = open(path, O_RDONLY | O_CLOEXEC);
    off_t size = fd < 0 ? -1 : lseek(fd, 0, SEEK_END);
    if (size < 0)
        return err_set(err, errno, "cannot open the image %s: %s", path, strerror(errno));
    struct sim_disk *disk = sim_disk_create((uint64_t)size >> BLOCK_SHIFT);
    int rc = load_blocks(disk, fd);
    if (rc < 0) {
        sim_disk_destroy(disk);
        return err_set(err, -rc, "cannot read the image %s: %s", path, strerror(-rc));
    }
    *out = disk;
    return 0;
}

static int save_blocks(const struct sim_disk *disk, int fd)
{
    if (ftruncate(fd, (off_t)(disk->block_count << BLOCK_SHIFT)) < 0)
        return -errno;
    HTABLE_EACH(node, &disk->blocks) {
        const uint8_t *bytes = sim_disk_peek(disk, node->key);
        if (is_zero(bytes))
            continue;
        ssize_t len = pwrite(fd, bytes, BLOCK_BYTES, (off_t)(node->key << BLOCK_SHIFT));
        if (len != (ssize_t)BLOCK_BYTES)
            return len < 0 ? -errno : -EIO;
    }
    return 0;
}

int sim_disk_save(const struct sim_disk *disk, const char *path, struct err *err)
{
    AUTO_FD int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    int rc = fd < 0 ? -errno : save_blocks(disk, fd);
    if (rc < 0)
        return err_set(err, -rc, "cannot write the image %s: %s", path, strerror(-rc));
    return 0;
}
