// SPDX-License-Identifier: MIT
// journal_rig.c - builds and breaks the little world of the journal's tests.
#include "journal/journal_rig.h"

#include <stdio.h>
#include <string.h>

#include "base/check.h"
#include "dev/fault.h"
#include "dev/trace.h"
#include "ondisk/extent.h"
#include "ondisk/group.h"
#include "ondisk/inode.h"

struct sim_disk *rig_mkfs(const char *features)
{
    char path[] = "/tmp/drover-journal-XXXXXX", command[512];
    int fd = mkstemp(path);
    CHECK(fd >= 0);
    close(fd);
    snprintf(command, sizeof(command),
             "mke2fs -q -F -t ext4 -b 4096 -N 128 -J size=4 %s%s -U 6a1f5c52-0f8e-4c8f-9d6c-0f3c0a8b7d11 "
             "-E hash_seed=6a1f5c52-0f8e-4c8f-9d6c-0f3c0a8b7d12,lazy_itable_init=0 %s %u 2>/dev/null",
             *features ? "-O " : "", features, path, RIG_BLOCKS);
    CHECK(system(command) == 0);
    struct sim_disk *disk;
    CHECK(sim_disk_load(path, &disk, NULL) == 0);
    unlink(path);
    return disk;
}

// Of a journal that is as small as this one, all extents stand in the inode.
static void find_journal(struct jrig *rig)
{
    const uint8_t *super = sim_disk_peek(rig->disk, 0);
    CHECK(super_decode(super + EXT4_SUPER_OFFSET, sim_disk_block_count(rig->disk), &rig->geo, &rig->err) == 0);
    const char *why;
    struct ext4_group group;
    CHECK(group_decode(&rig->geo, 0, sim_disk_peek(rig->disk, group_desc_block(&rig->geo, 0)), &group, &why) == 0);
    uint32_t index = rig->geo.journal_ino - 1;
    const uint8_t *table = sim_disk_peek(rig->disk, group.inode_table + index / rig->geo.inodes_per_block);
    struct ext4_inode inode;
    CHECK(inode_decode(&rig->geo, rig->geo.journal_ino, table + index % rig->geo.inodes_per_block * rig->geo.inode_size, &inode, &why) == 0);
    const struct ext4_extent_header *root = (const void *)inode.block;
    CHECK(le16(root->depth) == 0 && le16(root->entries) <= ARRAY_LEN(rig->runs));
    for (uint32_t i = 0; i < le16(root->entries); i++) {
        const struct ext4_extent *extent = &extent_entries(inode.block)[i];
        rig->runs[rig->run_count++] = (struct jrn_run){.block = extent_block(extent), .count = extent_len(extent)};
    }
    inode_fini(&inode);
}

void rig_init(struct jrig *rig, struct sim_disk *disk, uint64_t seed)
{
    *rig = (struct jrig){.rt = rt_sim_create(seed), .disk = disk};
    find_journal(rig);
    struct sim_dev_options options = {.halt = rt_sim_halt};
    rig->home = dev_sim_create(rig->rt, disk, &options);
    rig->trace = dev_trace_create(rig->home, false);
    rig->dev = dev_fault_create(rig->rt, rig->trace);
    rig->shep = shep_create(rig->rt, rig->dev);
    shep_set_geometry(rig->shep, &rig->geo);
    rig->cache = buf_cache_create(rig->rt, rig->shep, 64 * BLOCK_BYTES);
}

void rig_fini(struct jrig *rig)
{
    if (rig->jrn)
        jrn_destroy(rig->jrn);
    buf_cache_destroy(rig->cache);
    shep_destroy(rig->shep);
    dev_destroy(rig->dev);
    dev_destroy(rig->trace);
    dev_destroy(rig->home);
    rt_destroy(rig->rt);
}

void rig_power_cut(struct jrig *rig, uint64_t chance)
{
    rt_sim_abandon(rig->rt);
    sim_disk_cut_after(rig->disk, 0);
    struct prng prng;
    prng_seed(&prng, chance);
    sim_disk_power_cut(rig->disk, &prng);
}

int rig_run(struct jrig *rig, void (*fn)(void *rig))
{
    rt_spawn(rig->rt, "test", fn, rig);
    return rt_run(rig->rt);
}

struct jrn_config rig_config(struct jrig *rig)
{
    return (struct jrn_config){
        .rt = rig->rt, .shep = rig->shep, .cache = rig->cache, .geo = &rig->geo,
        .runs = rig->runs, .run_count = rig->run_count,
    };
}

int rig_open(struct jrig *rig)
{
    struct jrn_config config = rig_config(rig);
    return rig_open_as(rig, &config);
}

int rig_open_as(struct jrig *rig, const struct jrn_config *config)
{
    rig->err = (struct err){0};
    rig->rc = jrn_open(config, &rig->jrn, &rig->err);
    if (rig->rc == 0)
        rig->rc = jrn_recover(rig->jrn, NULL, &rig->err);
    return rig->rc;
}

// Every third block begins like a block of the journal, so that escaping has its share of the work.
void rig_paint(void *bytes, uint64_t block, uint32_t version)
{
    uint32_t *words = bytes;
    for (uint32_t i = 0; i < BLOCK_BYTES / 4; i++)
        words[i] = i & 1 ? version : (uint32_t)block;
    if (block % 3 == 0)
        words[0] = to_be32(JBD2_MAGIC).raw;
}

uint32_t rig_version(const void *bytes, uint64_t block)
{
    uint32_t version;
    uint8_t expected[BLOCK_BYTES];
    memcpy(&version, (const char *)bytes + 4, sizeof(version));
    if (version == 0)
        memset(expected, 0, sizeof(expected));
    else
        rig_paint(expected, block, version);
    return memcmp(bytes, expected, BLOCK_BYTES) == 0 ? version : UINT32_MAX;
}

void rig_modify(struct jrig *rig, uint64_t block, uint32_t version, bool fresh)
{
    struct shep_ref ref = {.type = BLOCK_DATA, .owner = {.ino = 12, .lblock = block}};
    struct buf *buf;
    if (fresh)
        buf = buf_get_new(rig->cache, &ref, block);
    else
        CHECK(buf_get(rig->cache, &ref, block, &buf) == 0);
    rig_paint(buf->bytes, block, version);
    jrn_dirty(rig->jrn, buf);
    buf_put(rig->cache, buf);
}

uint64_t rig_log_block(const struct jrig *rig, uint32_t at)
{
    for (uint32_t i = 0; i < rig->run_count; at -= (uint32_t)rig->runs[i++].count)
        if (at < rig->runs[i].count)
            return rig->runs[i].block + at;
    CHECK(false);
    return 0;
}

struct jbd2_super rig_super(const struct jrig *rig)
{
    struct jbd2_super super;
    const char *why = NULL;
    CHECK(jbd2_super_decode(sim_disk_peek(rig->disk, rig_log_block(rig, 0)), RIG_BLOCKS, &super, &why) == 0);
    return super;
}

void rig_poke_super(struct jrig *rig, const struct jbd2_super *super)
{
    uint8_t bytes[BLOCK_BYTES];
    memcpy(bytes, sim_disk_peek(rig->disk, rig_log_block(rig, 0)), BLOCK_BYTES);
    jbd2_super_encode(super, bytes);
    sim_disk_poke(rig->disk, rig_log_block(rig, 0), bytes);
}
