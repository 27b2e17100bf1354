// SPDX-License-Identifier: MIT
// world.c - see world.h.
#include "world.h"

#include <string.h>

#include "base/check.h"
#include "cache/page.h"
#include "dev/fault.h"

void legacy_init(struct legacy_sim *legacy, const struct world_config *config)
{
    *legacy = (struct legacy_sim){.page_count = config->page_count, .log_bytes = plog_bytes(config->log_slots)};
    legacy->arena = xblocks(DIV_ROUND_UP(page_arena_bytes(config->page_count), BLOCK_BYTES));
    legacy->log = xblocks(DIV_ROUND_UP(legacy->log_bytes, BLOCK_BYTES));
}

void legacy_fini(struct legacy_sim *legacy)
{
    free(legacy->arena);
    free(legacy->log);
    *legacy = (struct legacy_sim){0};
}

static int take_legacy(struct world *world)
{
    struct legacy_sim *legacy = world->legacy;
    if (!legacy->inherited) {
        world->pages = page_pool_create(legacy->arena, legacy->page_count);
        plog_init(&world->plog, legacy->log, legacy->log_bytes, &legacy->sequence);
        return 0;
    }
    int rc = page_pool_adopt(legacy->arena, legacy->page_count, &world->pages);
    if (rc < 0)
        return err_set(&world->err, -rc, "the pages of the legacy cannot be adopted");
    rc = plog_attach(&world->plog, legacy->log, legacy->log_bytes, &legacy->sequence);
    return rc < 0 ? err_set(&world->err, -rc, "the P-Log of the legacy cannot be attached") : 0;
}

int world_init(struct world *world, const struct world_config *config, const struct world_door *door, struct rt *rt,
               struct sim_disk *disk, struct legacy_sim *legacy)
{
    *world = (struct world){.config = *config, .door = *door, .disk = disk, .rt = rt, .legacy = legacy};
    world->sim_dev = dev_sim_create(rt, disk, &(struct sim_dev_options){
        .halt = rt_sim_halt, .latency_min_ns = config->latency_min_ns, .latency_max_ns = config->latency_max_ns,
    });
    world->dev = dev_fault_create(rt, world->sim_dev);
    world->shep = shep_create(rt, world->dev);
    world->bufs = buf_cache_create(rt, world->shep, config->buf_bytes);
    return take_legacy(world);
}

// What the door's loop does when it has nothing else to do.
static void adopt_fibre(void *arg)
{
    struct world *world = arg;
    while (world->ops && page_pool_adopt_some(world->pages))
        rt_yield(world->rt);
}

// Before anything is written: a transaction of ours may have the number of one that died with the server.
static void recovered(void *arg, uint64_t tid)
{
    struct world *world = arg;
    world->redo_rc = plog_redo_begin(&world->plog, tid);
}

static int recover(struct world *world)
{
    struct recover_config config = {
        .rt = world->rt, .ops = world->ops, .log = &world->plog,
        .committed_tid = jrn_recovered_tid(world->fs->jrn),
        .progress = &world->legacy->progress,
        .applied = world->door.applied, .arg = world->door.arg,
    };
    return recover_run(&config, &world->recovered, &world->err);
}

int world_mount(struct world *world)
{
    struct fs_config config = {
        .rt = world->rt, .shep = world->shep, .bufs = world->bufs, .pages = world->pages,
        .journal_data = world->config.journal_data,
        .keep_orphans = world->legacy->inherited,
        .successor = world->legacy->inherited,
        .commit_interval_ms = world->config.commit_interval_ms,
        .atime = world->config.atime,
    };
    if (config.successor) {
        config.committed_hint = world->plog.head->committed_tid;
        config.recovered = recovered;
        config.recovered_arg = world;
    }
    int rc = fs_mount(&config, &world->fs, &world->err);
    if (rc < 0)
        return rc;
    if (world->redo_rc < 0)
        return err_set(&world->err, -world->redo_rc, "the P-Log cannot be believed");
    world->ops = ops_open(&(struct ops_config){
        .rt = world->rt, .fs = world->fs, .plog = &world->plog,
        .is_known = world->door.is_known, .arg = world->door.arg,
    });
    if (world->legacy->inherited) {
        rc = recover(world);
        if (rc < 0)
            return rc;
    }
    if (!world->config.no_flusher)
        fs_start_flusher(world->fs);
    return 0;
}

void world_take_over(struct world *world)
{
    ops_bury_unknown(world->ops);
    rt_spawn(world->rt, "adopt", adopt_fibre, world);
}

int world_unmount(struct world *world)
{
    ops_close(world->ops);
    world->ops = NULL;
    int rc = fs_unmount(world->fs);
    world->fs = NULL;
    return rc;
}

void world_fini(struct world *world)
{
    if (world->fs)
        fs_destroy(world->fs);
    page_pool_destroy(world->pages);
    buf_cache_destroy(world->bufs);
    shep_destroy(world->shep);
    dev_destroy(world->dev);
    dev_destroy(world->sim_dev);
}
