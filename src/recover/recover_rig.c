// SPDX-License-Identifier: MIT
// recover_rig.c - see recover_rig.h. Only tests link it.
#include "recover/recover_rig.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/check.h"
#include "base/crc32c.h"
#include "fs/data.h"
#include "rt/rt_sim.h"

#define PAGES 2048u
#define SLOTS 262144u            // touched only as far as they are used

void recover_rig_init(struct recover_rig *rig, const struct fs_rig *base)
{
    *rig = (struct recover_rig){
        .disk = sim_disk_clone(base->disk), .page_count = PAGES, .plog_bytes = plog_bytes(SLOTS), .caller = {.umask = 022},
    };
    prng_seed(&rig->chance, base->options.seed);
    rig->arena = xblocks(DIV_ROUND_UP(page_arena_bytes(PAGES), BLOCK_BYTES));
    rig->plog_memory = xblocks(DIV_ROUND_UP(rig->plog_bytes, BLOCK_BYTES));
}

void recover_rig_fini(struct recover_rig *rig)
{
    sim_disk_destroy(rig->disk);
    free(rig->arena);
    free(rig->plog_memory);
}

void recover_rig_hold(struct recover_rig *rig, uint32_t ino)
{
    assert_true(rig->held_count < ARRAY_LEN(rig->held));
    rig->held[rig->held_count++] = ino;
}

// --- a life -----------------------------------------------------------------------------------------

struct life {
    struct recover_rig *rig;
    recover_rig_body *body;
    enum life_end end;
    int rc;
    struct dev *dev;
    struct shepherd *shep;
    struct buf_cache *bufs;
    struct page_pool *pages;
};

static void recovered(void *arg, uint64_t tid)
{
    struct recover_rig *rig = arg;
    if (rig->lives > 1)
        (void)!plog_redo_begin(&rig->plog, tid);    // recover_run() says it again
}

static void on_probe(void *arg, enum rt_probe point)
{
    struct recover_rig *rig = arg;
    if (point != RT_PROBE_RECOVERY)
        return;
    if (++rig->probes == rig->die_at)
        rt_sim_halt(rig->rt);
    if (rig->commit_every && rig->probes % rig->commit_every == 0)
        assert_int_equal(fs_commit(rig->fs), 0);
}

static void count_answer(void *arg, const struct plog_entry *entry)
{
    struct recover_rig *rig = arg;
    rig->answers++;
}

static int recover(struct life *life)
{
    struct recover_rig *rig = life->rig;
    struct recover_config config = {
        .rt = rig->rt, .ops = rig->ops, .log = &rig->plog, .committed_tid = jrn_recovered_tid(rig->fs->jrn),
        .progress = &rig->progress, .applied = count_answer, .arg = rig,
    };
    struct timespec begin, end;
    rig->probes = rig->answers = 0;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &begin);
    int rc = recover_run(&config, &rig->stats, &rig->err);
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &end);
    rig->recover_ns = (uint64_t)(end.tv_sec - begin.tv_sec) * 1000000000u + (uint64_t)end.tv_nsec - (uint64_t)begin.tv_nsec;
    return rc;
}

static void live(void *arg)
{
    struct life *life = arg;
    struct recover_rig *rig = life->rig;
    struct fs_config config = {
        .rt = rig->rt, .shep = life->shep, .bufs = life->bufs, .pages = life->pages, .successor = rig->lives > 1,
        .keep_orphans = true, .recovered = recovered, .recovered_arg = rig, .atime = ATIME_NONE,
    };
    life->rc = fs_mount(&config, &rig->fs, &rig->err);
    if (life->rc < 0)
        fail_msg("mount: %s", rig->err.text);
    rig->ops = ops_open(&(struct ops_config){.rt = rig->rt, .fs = rig->fs, .plog = &rig->plog,
                                              .is_known = rig->is_known, .arg = rig});
    if (rig->lives > 1)
        life->rc = recover(life);
    if (life->rc < 0)
        rt_sim_halt(rig->rt);
    if (rig->flusher)
        fs_start_flusher(rig->fs);
    life->rc = 0;
    life->body(rig);
    if (life->end == LIFE_CRASHES)
        rt_sim_halt(rig->rt);
    ops_close(rig->ops);
    assert_int_equal(fs_unmount(rig->fs), 0);
}

static void begin(struct life *life)
{
    struct recover_rig *rig = life->rig;
    struct sim_dev_options sim = {.latency_min_ns = 1000, .latency_max_ns = 50000};

    rig->rt = rt_sim_create(7 + rig->lives++);
    rt_set_probe(rig->rt, on_probe, rig);
    life->dev = dev_sim_create(rig->rt, rig->disk, &sim);
    life->shep = shep_create(rig->rt, life->dev);
    life->bufs = buf_cache_create(rig->rt, life->shep, 8 << 20);
    if (rig->lives == 1) {
        plog_init(&rig->plog, rig->plog_memory, rig->plog_bytes, &rig->sequence);
        life->pages = page_pool_create(rig->arena, rig->page_count);
    } else {
        assert_int_equal(plog_attach(&rig->plog, rig->plog_memory, rig->plog_bytes, &rig->sequence), 0);
        assert_int_equal(page_pool_adopt(rig->arena, rig->page_count, &life->pages), 0);
    }
}

int recover_rig_live(struct recover_rig *rig, recover_rig_body *body, void *arg, enum life_end end)
{
    struct life life = {.rig = rig, .body = body, .end = end, .rc = 1};

    rig->arg = arg;
    rig->err = (struct err){0};
    begin(&life);
    rt_spawn(rig->rt, "life", live, &life);
    life.rc = 1;
    int rc = rt_run(rig->rt);
    if (rc == -ECANCELED) {
        // What the dead had allocated is garbage: it knows nothing any more.
        rt_sim_abandon(rig->rt);
        sim_disk_land(rig->disk, &rig->chance, true);
        rt_destroy(rig->rt);
        return rig->die_at && rig->probes == rig->die_at ? 1 : life.rc;
    }
    assert_int_equal(rc, 0);
    page_pool_destroy(life.pages);
    buf_cache_destroy(life.bufs);
    shep_destroy(life.shep);
    dev_destroy(life.dev);
    rt_destroy(rig->rt);
    return life.rc;
}

// --- a picture --------------------------------------------------------------------------------------

struct text {
    char *bytes;
    size_t len, room;
};

static void PRINTF_LIKE(2, 3) say(struct text *text, const char *fmt, ...)
{
    va_list args;
    if (text->room - text->len < 4096)
        text->bytes = xrealloc(text->bytes, text->room = 2 * text->room + 8192);
    va_start(args, fmt);
    text->len += (size_t)vsnprintf(text->bytes + text->len, text->room - text->len, fmt, args);
    va_end(args);
}

static void say_time(struct text *text, const char *what, struct ops_time time)
{
    say(text, " %s=%" PRId64 ".%09u", what, time.sec, time.nsec);
}

static void say_content(struct text *text, struct recover_rig *rig, const struct ops_attr *attr)
{
    const size_t step = 1 << 20;
    AUTO_FREE uint8_t *bytes = xblocks(step / BLOCK_BYTES + 1);
    uint64_t limit = MIN(attr->size, (uint64_t)8 << 20);

    for (uint64_t off = 0; off < limit; off += step) {
        ssize_t got = ops_read(rig->ops, attr->ino, off, step, bytes);
        assert_true(got >= 0);
        say(text, " crc=%08x", crc32c(~0u, bytes, (size_t)got));
        for (ssize_t at = 0; at < got && attr->size <= 65536; at += BLOCK_BYTES)
            say(text, ":%04x", crc32c(~0u, bytes + at, (size_t)MIN(got - at, (ssize_t)BLOCK_BYTES)) & 0xffff);
    }
}

// Where data is, and where holes are.
static void say_map(struct text *text, struct recover_rig *rig, const struct ops_attr *attr)
{
    int64_t at = 0;
    for (int i = 0; i < 40 && at >= 0 && (uint64_t)at < attr->size; i++) {
        at = ops_lseek(rig->ops, attr->ino, (uint64_t)at, i % 2 ? SEEK_HOLE : SEEK_DATA);
        say(text, " %s=%" PRId64, i % 2 ? "hole" : "data", at);
    }
}

static void say_xattrs(struct text *text, struct recover_rig *rig, uint32_t ino)
{
    char names[1024];
    AUTO_FREE uint8_t *value = xmalloc(65536);
    ssize_t len = ops_listxattr(rig->ops, ino, names, sizeof names);

    assert_true(len >= 0);
    for (ssize_t at = 0; at < len; at += (ssize_t)strlen(names + at) + 1) {
        ssize_t got = ops_getxattr(rig->ops, ino, names + at, value, 65536);
        assert_true(got >= 0);
        say(text, " %s=%zd/%08x", names + at, got, crc32c(~0u, value, (size_t)got));
    }
}

static void say_inode(struct text *text, struct recover_rig *rig, uint32_t ino, struct ops_attr *attr)
{
    uint32_t flags, project;
    char target[BLOCK_BYTES + 1];

    int rc = ops_getattr(rig->ops, ino, attr);
    if (rc < 0) {
        say(text, "ino=%u rc=%d\n", ino, rc);
        attr->mode = 0;
        return;
    }
    assert_int_equal(ops_get_flags(rig->ops, ino, &flags, &project), 0);
    say(text, "ino=%u gen=%u mode=%o nlink=%u uid=%u gid=%u size=%" PRIu64 " blocks=%" PRIu64 " rdev=%u,%u flags=%x project=%u",
        ino, attr->generation, attr->mode, attr->nlink, attr->uid, attr->gid, attr->size, rig->any_blocks ? 0 : attr->blocks, attr->rdev_major,
        attr->rdev_minor, flags, project);
    say_time(text, "a", attr->atime);
    say_time(text, "m", attr->mtime);
    say_time(text, "c", attr->ctime);
    say_time(text, "b", attr->btime);
    say_xattrs(text, rig, ino);
    if ((attr->mode & 0170000) == 0100000) {
        say_map(text, rig, attr);
        say_content(text, rig, attr);
    }
    if ((attr->mode & 0170000) == 0120000) {
        ssize_t got = ops_readlink(rig->ops, ino, target, BLOCK_BYTES);
        assert_true(got >= 0);
        say(text, " -> %zd/%08x", got, crc32c(~0u, target, (size_t)got));
    }
    say(text, "\n");
}

struct list_dir {
    struct text *text;
    uint32_t *inos;
    size_t count;
    const char *path;
};

static bool list_entry(void *arg, const struct ops_dirent *entry)
{
    struct list_dir *list = arg;
    say(list->text, "  %s/%.*s ino=%u type=%u cookie=%" PRIx64 "\n", list->path, (int)entry->name.len, entry->name.bytes, entry->ino,
        entry->type, entry->next_cookie);
    if (entry->name.bytes[0] == '.')
        return true;
    list->inos = xrealloc(list->inos, (list->count + 1) * sizeof *list->inos);
    list->inos[list->count++] = entry->ino;
    return true;
}

static void say_tree(struct text *text, struct recover_rig *rig, uint32_t ino, unsigned depth)
{
    struct ops_attr attr;
    char path[32];
    struct list_dir list = {.text = text, .path = path};

    say_inode(text, rig, ino, &attr);
    if ((attr.mode & 0170000) != 0040000 || depth > 20)
        return;
    snprintf(path, sizeof path, "#%u", ino);
    assert_int_equal(ops_readdir(rig->ops, ino, 0, false, list_entry, &list), 0);
    for (size_t i = 0; i < list.count; i++)
        say_tree(text, rig, list.inos[i], depth + 1);
    free(list.inos);
}

char *recover_rig_picture(struct recover_rig *rig)
{
    struct text text = {0};
    struct ops_attr attr;

    say_tree(&text, rig, OPS_ROOT, 0);
    for (uint32_t i = 0; i < rig->held_count; i++)
        say_inode(&text, rig, rig->held[i], &attr);
    return text.bytes;
}

void recover_rig_expect(const char *name, const char *before, const char *after)
{
    while (*before || *after) {
        size_t a = strcspn(before, "\n"), b = strcspn(after, "\n");
        if (a != b || memcmp(before, after, a) != 0)
            fail_msg("%s: applications saw\n%.*s\nand see now\n%.*s", name, (int)a, before, (int)b, after);
        before += a + (before[a] != 0);
        after += b + (after[b] != 0);
    }
}
