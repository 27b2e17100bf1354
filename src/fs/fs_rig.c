// SPDX-License-Identifier: MIT
// fs_rig.c - see fs_rig.h. Only tests link it.
//
// After a cut or a kill the fibres are gone and what they held with them: caches and mount are
// then left to the process's end, since their owners can no longer put what they referenced.
#include "fs/fs_rig.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <cmocka.h>

#include "base/check.h"
#include "dev/fault.h"
#include "rt/prng.h"
#include "rt/rt_sim.h"
#include "shepherd/shepherd.h"

#define DEFAULT_BLOCKS 16384u
#define DEFAULT_PAGES 4096u
#define DEFAULT_BUF_BYTES (8u << 20)

// --- other programs --------------------------------------------------------------------------------

// Runs a shell command; its output (both streams) is for the caller to free.
static int run_command(const char *command, char **output)
{
    FILE *pipe = popen(command, "r");
    assert_non_null(pipe);
    size_t size = 0, got;
    char chunk[4096], *text = xmalloc(1);
    while ((got = fread(chunk, 1, sizeof chunk, pipe)) > 0) {
        text = xrealloc(text, size + got + 1);
        memcpy(text + size, chunk, got);
        size += got;
    }
    text[size] = 0;
    *output = text;
    int status = pclose(pipe);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static void must_run(const char *command)
{
    char *output;
    int status = run_command(command, &output);
    if (status != 0)
        fail_msg("%s: exit %d\n%s", command, status, output);
    free(output);
}

static void skip_without(const char *program)
{
    char command[128], *output;
    snprintf(command, sizeof command, "PATH=$PATH:/usr/sbin:/sbin command -v %s", program);
    int status = run_command(command, &output);
    free(output);
    if (status != 0) {
        print_message("skipped: %s is not installed\n", program);
        skip();
    }
}

// --- the image ---------------------------------------------------------------------------------------

static void fill_with_junk(int fd, uint64_t blocks)
{
    AUTO_FREE uint8_t *junk = xmalloc(1 << 20);
    struct prng chance;
    prng_seed(&chance, 99);
    for (size_t i = 0; i < 1 << 20; i++)
        junk[i] = (uint8_t)prng_next(&chance);
    for (uint64_t done = 0; done < blocks * BLOCK_BYTES; done += 1 << 20)
        assert_int_equal(pwrite(fd, junk, 1 << 20, (off_t)done), 1 << 20);
}

static void make_image(struct fs_rig *rig)
{
    const struct fs_rig_options *options = &rig->options;
    const char *extra = options->mke2fs ? options->mke2fs : "";
    snprintf(rig->image, sizeof rig->image, "/tmp/drover-rig-XXXXXX");
    AUTO_FD int fd = mkstemp(rig->image);
    assert_true(fd >= 0);
    if (options->garbage)
        fill_with_junk(fd, options->blocks);
    assert_int_equal(ftruncate(fd, (off_t)(options->blocks * BLOCK_BYTES)), 0);

    const char *fixed = strstr(extra, "-E") ? "" : options->garbage
        ? "-E hash_seed=11111111-2222-4333-8444-555555555555,lazy_itable_init=1,lazy_journal_init=1,nodiscard"
        : "-E hash_seed=11111111-2222-4333-8444-555555555555";
    char command[1024];
    snprintf(command, sizeof command,
             "PATH=$PATH:/usr/sbin:/sbin mke2fs -q -F -t ext4 -b 4096 -U 6f4e1b1a-0f0d-4a8e-9d5b-7a53f0a3c001 %s %s %s 2>&1",
             fixed, extra, rig->image);
    must_run(command);
    if (!options->debugfs)
        return;
    snprintf(command, sizeof command, "PATH=$PATH:/usr/sbin:/sbin debugfs -w -f - %s >/dev/null 2>&1", rig->image);
    FILE *pipe = popen(command, "w");
    assert_non_null(pipe);
    fputs(options->debugfs, pipe);
    fputc('\n', pipe);
    assert_int_equal(pclose(pipe), 0);
}

void fs_rig_init(struct fs_rig *rig, const struct fs_rig_options *options)
{
    *rig = (struct fs_rig){.options = *options};
    if (rig->options.blocks == 0)
        rig->options.blocks = DEFAULT_BLOCKS;
    if (rig->options.seed == 0)
        rig->options.seed = 1;
    skip_without("mke2fs");
    skip_without("e2fsck");
    make_image(rig);
    if (sim_disk_load(rig->image, &rig->disk, &rig->err) < 0)
        fail_msg("%s", rig->err.text);
}

void fs_rig_fini(struct fs_rig *rig)
{
    sim_disk_destroy(rig->disk);
    unlink(rig->image);
}

// --- a world to mount in -------------------------------------------------------------------------------

static void world_begin(struct fs_rig *rig)
{
    const struct fs_rig_options *options = &rig->options;
    uint64_t pages = options->pages ? options->pages : DEFAULT_PAGES;
    struct sim_dev_options sim = {
        .read_only = options->disk_read_only,
        .latency_min_ns = options->fast_disk ? 1000 : 0,
        .latency_max_ns = options->fast_disk ? 1000 : 0,
        .halt = rt_sim_halt,
    };
    rig->rt = rt_sim_create(options->seed + 1000003 * rig->mounts++);
    rig->sim = dev_sim_create(rig->rt, rig->disk, &sim);
    rig->dev = dev_fault_create(rig->rt, rig->sim);
    rig->shep = shep_create(rig->rt, rig->dev);
    rig->bufs = buf_cache_create(rig->rt, rig->shep, options->buf_bytes ? options->buf_bytes : DEFAULT_BUF_BYTES);
    if (rig->inherits) {
        assert_int_equal(page_pool_adopt(rig->arena, pages, &rig->pages), 0);
    } else {
        rig->arena = xblocks(DIV_ROUND_UP(page_arena_bytes(pages), BLOCK_BYTES));
        rig->pages = page_pool_create(rig->arena, pages);
    }
    rig->fs = NULL;
    rig->err = (struct err){0};
}

static void world_end(struct fs_rig *rig)
{
    page_pool_destroy(rig->pages);
    buf_cache_destroy(rig->bufs);
    free(rig->arena);
    rig->inherits = false;
    shep_destroy(rig->shep);
    dev_destroy(rig->dev);
    dev_destroy(rig->sim);
    rt_destroy(rig->rt);
}

// The fibres are gone and hold nothing any more, but the caches do not know that.
static void world_abandon(struct fs_rig *rig)
{
    rt_sim_abandon(rig->rt);
    struct prng chance;
    prng_seed(&chance, rig->options.seed + rig->mounts);
    sim_disk_power_cut(rig->disk, &chance);
    rig->inherits = false;
}

enum run_kind { RUN_MOUNTED, RUN_REFUSED, RUN_KILLED, RUN_RAW };

struct run {
    struct fs_rig *rig;
    fs_rig_body *body;
    void *arg;
    enum run_kind kind;
    int mounted, unmounted;
};

static void run_fibre(void *arg)
{
    struct run *run = arg;
    struct fs_rig *rig = run->rig;
    if (run->kind == RUN_RAW) {
        run->body(rig, run->arg);
        return;
    }
    struct fs_config config = {
        .rt = rig->rt, .shep = rig->shep, .bufs = rig->bufs, .pages = rig->pages,
        .read_only = rig->options.read_only, .journal_data = rig->options.journal_data,
        .keep_orphans = rig->options.keep_orphans, .successor = rig->inherits,
    };
    run->mounted = fs_mount(&config, &rig->fs, &rig->err);
    if (run->mounted < 0)
        return;
    if (!rig->options.no_flusher && !rig->inherits)
        fs_start_flusher(rig->fs);
    if (run->body)
        run->body(rig, run->arg);
    if (run->kind == RUN_KILLED)
        rt_sim_halt(rig->rt);
    run->unmounted = fs_unmount(rig->fs);
    rig->fs = NULL;
}

static int run_world(struct run *run)
{
    world_begin(run->rig);
    rt_spawn(run->rig->rt, "test", run_fibre, run);
    return rt_run(run->rig->rt);
}

void fs_rig_run(struct fs_rig *rig, fs_rig_body *body, void *arg)
{
    struct run run = {rig, body, arg, RUN_MOUNTED, 0, 0};
    assert_int_equal(run_world(&run), 0);
    if (run.mounted < 0)
        fail_msg("mount: %d %s", run.mounted, rig->err.text);
    assert_int_equal(run.unmounted, 0);
    world_end(rig);
}

int fs_rig_refused(struct fs_rig *rig)
{
    struct run run = {rig, NULL, NULL, RUN_REFUSED, 0, 0};
    assert_int_equal(run_world(&run), 0);
    assert_true(run.mounted < 0);
    assert_true(rig->err.text[0] != 0);
    world_end(rig);
    return run.mounted;
}

void fs_rig_run_killed(struct fs_rig *rig, fs_rig_body *body, void *arg)
{
    struct run run = {rig, body, arg, RUN_KILLED, 0, 0};
    assert_int_equal(run_world(&run), -ECANCELED);
    world_abandon(rig);
}

void fs_rig_run_crashed(struct fs_rig *rig, fs_rig_body *body, void *arg)
{
    struct run run = {rig, body, arg, RUN_KILLED, 0, 0};
    struct prng chance;
    assert_int_equal(run_world(&run), -ECANCELED);
    rt_sim_abandon(rig->rt);
    prng_seed(&chance, rig->options.seed + rig->mounts);
    sim_disk_land(rig->disk, &chance, false);
    rig->inherits = true;
}

bool fs_rig_run_cut(struct fs_rig *rig, uint64_t nth, fs_rig_body *body, void *arg)
{
    struct run run = {rig, body, arg, RUN_MOUNTED, 0, 0};
    sim_disk_cut_after(rig->disk, nth);
    int rc = run_world(&run);
    sim_disk_cut_after(rig->disk, 0);
    if (rc == -ECANCELED) {
        world_abandon(rig);
        return true;
    }
    assert_int_equal(rc, 0);
    if (run.mounted < 0)
        fail_msg("mount: %d %s", run.mounted, rig->err.text);
    assert_int_equal(run.unmounted, 0);
    world_end(rig);
    return false;
}

void fs_rig_run_raw(struct fs_rig *rig, fs_rig_body *body, void *arg)
{
    struct run run = {rig, body, arg, RUN_RAW, 0, 0};
    assert_int_equal(run_world(&run), 0);
    world_end(rig);
}

uint64_t fs_rig_steps(const struct fs_rig *rig)
{
    return sim_disk_write_count(rig->disk);
}

// --- the judge -----------------------------------------------------------------------------------------

static int fsck(struct fs_rig *rig, char **output)
{
    char command[256];
    struct err err = {0};
    if (sim_disk_save(rig->disk, rig->image, &err) < 0)
        fail_msg("%s", err.text);
    snprintf(command, sizeof command, "PATH=$PATH:/usr/sbin:/sbin e2fsck -fn %s 2>&1", rig->image);
    return run_command(command, output);
}

void fs_rig_fsck(struct fs_rig *rig)
{
    char *output;
    int status = fsck(rig, &output);
    if (status != 0)
        fail_msg("e2fsck -fn: exit %d\n%s", status, output);
    free(output);
}

char *fs_rig_debugfs(struct fs_rig *rig, const char *command)
{
    char line[512], *output;
    struct err err = {0};
    if (sim_disk_save(rig->disk, rig->image, &err) < 0)
        fail_msg("%s", err.text);
    snprintf(line, sizeof line, "PATH=$PATH:/usr/sbin:/sbin debugfs -R '%s' %s 2>/dev/null", command, rig->image);
    (void)run_command(line, &output);
    return output;
}
