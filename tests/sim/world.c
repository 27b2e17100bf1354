// SPDX-License-Identifier: MIT
// world.c - see world.h.
#include "world.h"

#include "base/check.h"
#include "cache/page.h"

void world_init(struct world *world, const struct world_config *config, struct sim_disk *disk, uint64_t seed)
{
    *world = (struct world){.config = *config, .disk = disk};
    world->rt = rt_sim_create(seed);
    world->dev = dev_sim_create(world->rt, disk, &(struct sim_dev_options){.halt = rt_sim_halt});
    world->shep = shep_create(world->rt, world->dev);
    world->bufs = buf_cache_create(world->rt, world->shep, config->buf_bytes);
    world->arena = xblocks(DIV_ROUND_UP(page_arena_bytes(config->page_count), BLOCK_BYTES));
    world->pages = page_pool_create(world->arena, config->page_count);
}

int world_mount(struct world *world)
{
    struct fs_config config = {
        .rt = world->rt, .shep = world->shep, .bufs = world->bufs, .pages = world->pages,
        .journal_data = world->config.journal_data,
        .commit_interval_ms = world->config.commit_interval_ms,
    };
    int rc = fs_mount(&config, &world->fs, &world->err);
    if (rc < 0)
        return rc;
    fs_start_flusher(world->fs);
    world->ops = ops_open(&(struct ops_config){.rt = world->rt, .fs = world->fs});
    return 0;
}

int world_unmount(struct world *world)
{
    ops_close(world->ops);
    world->ops = NULL;
    int rc = fs_unmount(world->fs);
    world->fs = NULL;
    return rc;
}

void world_fini(struct world *world, bool power_was_cut)
{
    // After a power cut the fibres stand where they stood, so their memory is simply left: the
    // simulator runs without a leak checker.
    if (power_was_cut)
        rt_sim_abandon(world->rt);
    if (world->fs)
        fs_destroy(world->fs);
    page_pool_destroy(world->pages);
    if (!power_was_cut) {
        buf_cache_destroy(world->bufs);
        shep_destroy(world->shep);
        dev_destroy(world->dev);
    }
    free(world->arena);
    rt_destroy(world->rt);
}
