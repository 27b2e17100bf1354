// SPDX-License-Identifier: MIT
// instructions.c - one kind of operation, on the core of the server over a simulated disk: for valgrind to count.
//
//   instructions IMAGE WORK COUNT on|off
//
// The simulator draws everything from a seed, so a count is exact and comes out the same again. instructions.py
// takes COUNT operations less none, with the P-Log and without: what logging costs where no kernel call blurs it. It
// leaves out the door and the kernel, which cost the same with and without, so the real ratio is nearer to one.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../tests/sim/world.h"
#include "base/check.h"
#include "cache/page.h"

#define FILES 2000u

struct bench {
    struct world world;
    const char *work;
    uint32_t count;
    bool logged;
    uint32_t dir, other;
    uint32_t inos[FILES];
    uint8_t *block;
};

static const struct ops_caller root = {.umask = 022};

static struct ops_name name_of(char text[32], const char *kind, uint32_t i)
{
    int len = snprintf(text, 32, "%s%06u", kind, i);
    return (struct ops_name){text, (size_t)len};
}

static void must(int64_t rc, const char *what)
{
    if (rc >= 0)
        return;
    fprintf(stderr, "instructions: %s: %s\n", what, strerror((int)-rc));
    exit(1);
}

static void create(struct bench *b, const char *kind, uint32_t i, struct ops_attr *attr)
{
    char text[32];
    bool created;
    must(ops_create(b->world.ops, &root, b->dir, name_of(text, kind, i), 0644, true, attr, &created), "create");
}

static void write_block(struct bench *b, uint32_t i, uint64_t off)
{
    must(ops_write(b->world.ops, b->inos[i % FILES], &(struct ops_write){.off = off, .bytes = b->block, .len = BLOCK_BYTES}), "write");
}

static void prepare(struct bench *b)
{
    struct ops_attr attr;
    char text[32];
    must(ops_mkdir(b->world.ops, &root, OPS_ROOT, name_of(text, "dir", 0), 0755, &attr), "mkdir");
    b->dir = attr.ino;
    must(ops_mkdir(b->world.ops, &root, OPS_ROOT, name_of(text, "dir", 1), 0755, &attr), "mkdir");
    b->other = attr.ino;
    for (uint32_t i = 0; i < FILES; i++) {
        create(b, "file", i, &attr);
        b->inos[i] = attr.ino;
        write_block(b, i, 0);
    }
    must(ops_sync(b->world.ops), "sync");
}

static void do_create(struct bench *b, uint32_t i)
{
    struct ops_attr attr;
    create(b, "new", i, &attr);
}
static void do_overwrite(struct bench *b, uint32_t i)
{
    write_block(b, i, 0);
}
static void do_append(struct bench *b, uint32_t i)
{
    write_block(b, i, BLOCK_BYTES);
}
static void do_read(struct bench *b, uint32_t i)
{
    must(ops_read(b->world.ops, b->inos[i % FILES], 0, BLOCK_BYTES, b->block), "read");
}
static void do_getattr(struct bench *b, uint32_t i)
{
    struct ops_attr attr;
    must(ops_getattr(b->world.ops, b->inos[i % FILES], &attr), "getattr");
}
static void do_chmod(struct bench *b, uint32_t i)
{
    struct ops_attr attr;
    must(ops_setattr(b->world.ops, &root, b->inos[i % FILES], &(struct ops_setattr){.set = OPS_SET_MODE, .mode = 0600}, &attr), "chmod");
}
static void do_rename(struct bench *b, uint32_t i)
{
    char from[32], to[32];
    must(ops_rename(b->world.ops, &root, b->dir, name_of(from, "file", i), b->other, name_of(to, "moved", i), 0), "rename");
}
static void do_unlink(struct bench *b, uint32_t i)
{
    char text[32];
    must(ops_unlink(b->world.ops, b->dir, name_of(text, "file", i)), "unlink");
    ops_forget(b->world.ops, b->inos[i], 1);
}

static const struct {
    const char *name;
    void (*run)(struct bench *b, uint32_t i);
} works[] = {
    {"create", do_create}, {"overwrite", do_overwrite}, {"append", do_append}, {"read", do_read}, {"getattr", do_getattr},
    {"chmod", do_chmod}, {"rename", do_rename}, {"unlink", do_unlink},
};

static void life(void *arg)
{
    struct bench *b = arg;
    must(world_mount(&b->world), "mount");
    if (!b->logged) {
        ops_close(b->world.ops);
        b->world.ops = ops_open(&(struct ops_config){.rt = b->world.rt, .fs = b->world.fs});
    }
    prepare(b);
    for (size_t w = 0; w < sizeof(works) / sizeof(*works); w++)
        for (uint32_t i = 0; strcmp(works[w].name, b->work) == 0 && i < b->count; i++)
            works[w].run(b, i);
    must(ops_sync(b->world.ops), "sync");       // with what the log costs when it is trimmed
    exit(0);
}

int main(int argc, char **argv)
{
    if (argc == 2 && strcmp(argv[1], "works") == 0) {
        for (size_t w = 0; w < sizeof(works) / sizeof(*works); w++)
            puts(works[w].name);
        return 0;
    }
    if (argc != 5 || atoi(argv[3]) < 0 || (uint32_t)atoi(argv[3]) > FILES) {
        fprintf(stderr, "usage: instructions IMAGE WORK COUNT on|off | instructions works\n");
        return 2;
    }
    struct bench b = {.work = argv[2], .count = (uint32_t)atoi(argv[3]), .logged = strcmp(argv[4], "on") == 0};
    struct world_config config = {.page_count = 20000, .buf_bytes = 64 << 20, .log_slots = 65536, .no_flusher = true};
    struct legacy_sim legacy;
    struct sim_disk *disk;
    struct err err = {0};
    if (sim_disk_load(argv[1], &disk, &err) < 0) {
        fprintf(stderr, "instructions: %s\n", err.text);
        return 1;
    }
    b.block = xblocks(1);
    memset(b.block, 'b', BLOCK_BYTES);
    legacy_init(&legacy, &config);
    struct rt *rt = rt_sim_create(1);
    must(world_init(&b.world, &config, &(struct world_door){0}, rt, disk, &legacy), "volume");
    rt_spawn(rt, "life", life, &b);
    return rt_run(rt) < 0;
}
