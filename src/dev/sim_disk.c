// SPDX-License-Identifier: MIT
// sim_disk.c - the content of a simulated disk: what is stable, what is not yet, and power cuts.
//
// For each block there is one stable version and a list of unstable writes. Acknowledgements are
// numbered across the disk, so "before the flush began" is a comparison. Stable content only ever
// moves forward in that order: a flush takes writes oldest first, and a FUA write throws away the
// acknowledged ones it supersedes, as no disk writes older cached data over newer.
#include <string.h>

#include "base/check.h"
#include "dev/sim_disk.h"

#define SECTOR_SIZE 512u
#define SECTORS (BLOCK_BYTES / SECTOR_SIZE)

static const uint8_t zeros[BLOCK_BYTES];

struct sim_disk *sim_disk_create(uint64_t block_count)
{
    struct sim_disk *disk = xcalloc(1, sizeof(*disk));
    disk->whole_block = UINT64_MAX;
    disk->block_count = block_count;
    htable_init(&disk->blocks);
    list_init(&disk->under_way);
    list_init(&disk->acked);
    return disk;
}

static void write_free(struct sim_disk *disk, struct sim_write *write)
{
    list_remove(&write->of_block);
    list_remove(&write->of_disk);
    disk->unstable--;
    free(write->bytes);
    free(write);
}

void sim_disk_destroy(struct sim_disk *disk)
{
    if (!disk)
        return;
    HTABLE_EACH(node, &disk->blocks) {
        struct sim_block *block = CONTAINER_OF(node, struct sim_block, node);
        while (!list_empty(&block->writes))
            write_free(disk, LIST_ENTRY(block->writes.next, struct sim_write, of_block));
        free(block->stable);
        free(block);
    }
    htable_fini(&disk->blocks);
    free(disk);
}

struct sim_disk *sim_disk_clone(const struct sim_disk *disk)
{
    struct sim_disk *copy = sim_disk_create(disk->block_count);
    copy->whole_block = disk->whole_block;
    HTABLE_EACH(node, &disk->blocks) {
        struct sim_block *block = CONTAINER_OF(node, struct sim_block, node);
        if (block->stable)
            sim_disk_poke(copy, node->key, block->stable);
    }
    return copy;
}

uint64_t sim_disk_block_count(const struct sim_disk *disk) { return disk->block_count; }
uint64_t sim_disk_write_count(const struct sim_disk *disk) { return disk->steps; }
uint64_t sim_disk_unstable(const struct sim_disk *disk) { return disk->unstable; }

// --- blocks -----------------------------------------------------------------------------------

struct sim_block *sim_block_find(const struct sim_disk *disk, uint64_t nr)
{
    struct hnode *node = htable_find(&disk->blocks, nr);
    return node ? CONTAINER_OF(node, struct sim_block, node) : NULL;
}

struct sim_block *sim_block_get(struct sim_disk *disk, uint64_t nr)
{
    CHECK(nr < disk->block_count);
    struct sim_block *block = sim_block_find(disk, nr);
    if (block)
        return block;
    block = xcalloc(1, sizeof(*block));
    list_init(&block->writes);
    htable_insert(&disk->blocks, &block->node, nr);
    return block;
}

static void set_stable(struct sim_block *block, const uint8_t *bytes)
{
    if (!block->stable)
        block->stable = xmalloc(BLOCK_BYTES);
    memcpy(block->stable, bytes ? bytes : zeros, BLOCK_BYTES);
}

const void *sim_disk_peek(const struct sim_disk *disk, uint64_t nr)
{
    const struct sim_block *block = sim_block_find(disk, nr);
    if (!block)
        return zeros;
    const struct sim_write *newest = NULL;
    LIST_EACH(node, &block->writes) {
        const struct sim_write *write = LIST_ENTRY(node, struct sim_write, of_block);
        if (write->ack_nr && (!newest || write->ack_nr > newest->ack_nr))
            newest = write;
    }
    const uint8_t *bytes = newest ? newest->bytes : block->stable;
    return bytes ? bytes : zeros;
}

void sim_disk_poke(struct sim_disk *disk, uint64_t block, const void *bytes)
{
    set_stable(sim_block_get(disk, block), bytes);
}

// --- writes -----------------------------------------------------------------------------------

bool sim_disk_step(struct sim_disk *disk)
{
    bool cut = ++disk->steps == disk->cut_at;
    if (disk->on_step)
        disk->on_step(disk->on_step_arg);
    return cut;
}

void sim_disk_on_step(struct sim_disk *disk, void (*hook)(void *arg), void *arg)
{
    disk->on_step = hook;
    disk->on_step_arg = arg;
}

void sim_disk_cut_after(struct sim_disk *disk, uint64_t nth)
{
    disk->cut_at = nth ? disk->steps + nth : 0;
}

struct sim_write *sim_write_begin_take(struct sim_disk *disk, uint64_t nr, uint8_t *bytes)
{
    struct sim_write *write = xcalloc(1, sizeof(*write));
    *write = (struct sim_write){.block = sim_block_get(disk, nr), .bytes = bytes, .request = disk->steps};
    list_push_back(&write->block->writes, &write->of_block);
    list_push_back(&disk->under_way, &write->of_disk);
    disk->unstable++;
    return write;
}

static void drop_acked(struct sim_disk *disk, struct sim_block *block)
{
    LIST_EACH_SAFE(node, &block->writes) {
        struct sim_write *write = LIST_ENTRY(node, struct sim_write, of_block);
        if (write->ack_nr)
            write_free(disk, write);
    }
}

static void make_stable(struct sim_disk *disk, struct sim_write *write)
{
    set_stable(write->block, write->bytes);
    write_free(disk, write);
}

void sim_write_ack(struct sim_disk *disk, struct sim_write *write, bool stable)
{
    if (stable) {
        drop_acked(disk, write->block);
        make_stable(disk, write);
        return;
    }
    write->ack_nr = ++disk->ack_nr;
    list_remove(&write->of_disk);
    list_push_back(&disk->acked, &write->of_disk);
}

void sim_disk_settle(struct sim_disk *disk, uint64_t ack_nr)
{
    while (!list_empty(&disk->acked)) {
        struct sim_write *oldest = LIST_ENTRY(disk->acked.next, struct sim_write, of_disk);
        if (oldest->ack_nr > ack_nr)
            return;
        make_stable(disk, oldest);
    }
}

// --- the power cut ----------------------------------------------------------------------------

// How lucky a cut is, in quarters: now and then all is lost, or all is kept, since independent
// draws for each block would hardly ever show these two.
enum { LUCK_NONE = 0, LUCK_FULL = 4 };

static const uint8_t *version(const struct sim_block *block, uint64_t index)
{
    if (index == 0)
        return block->stable ? block->stable : zeros;
    struct list *node = block->writes.next;
    while (--index)
        node = node->next;
    const uint8_t *bytes = LIST_ENTRY(node, struct sim_write, of_block)->bytes;
    return bytes ? bytes : zeros;
}

static uint64_t write_count(const struct sim_block *block)
{
    uint64_t count = 0;
    LIST_EACH(node, &block->writes)
        count++;
    return count;
}

// Version 0 is the stable one, the highest the last write that began.
static uint64_t draw_version(struct prng *chance, uint64_t luck, uint64_t newest)
{
    if (luck == LUCK_NONE || luck == LUCK_FULL)
        return luck ? newest : 0;
    return prng_below(chance, LUCK_FULL) < luck ? newest : prng_below(chance, newest);
}

static void decide(const struct sim_disk *disk, struct sim_block *block, struct prng *chance, uint64_t luck)
{
    uint8_t result[BLOCK_BYTES];
    uint64_t newest = write_count(block);
    memcpy(result, version(block, draw_version(chance, luck, newest)), BLOCK_BYTES);
    bool may_tear = luck != LUCK_NONE && luck != LUCK_FULL && block->node.key != disk->whole_block;
    if (may_tear && prng_below(chance, 4) == 0) {
        // Torn: some sectors are of another version.
        const uint8_t *other = version(block, prng_below(chance, newest + 1));
        for (uint32_t i = 0; i < SECTORS; i++)
            if (prng_below(chance, 2))
                memcpy(result + i * SECTOR_SIZE, other + i * SECTOR_SIZE, SECTOR_SIZE);
    }
    set_stable(block, result);
}

static void decide_all(struct sim_disk *disk, struct list *writes, struct prng *chance, uint64_t luck)
{
    // Lists, not the hash table: the order of draws must follow from the history alone.
    while (!list_empty(writes)) {
        struct sim_block *block = LIST_ENTRY(writes->next, struct sim_write, of_disk)->block;
        decide(disk, block, chance, luck);
        while (!list_empty(&block->writes))
            write_free(disk, LIST_ENTRY(block->writes.next, struct sim_write, of_block));
    }
}

static struct sim_write *draw_under_way(struct sim_disk *disk, struct prng *chance)
{
    uint64_t count = 0;
    LIST_EACH(node, &disk->under_way)
        count++;
    struct list *node = disk->under_way.next;
    for (uint64_t skip = prng_below(chance, count); skip > 0; skip--)
        node = node->next;
    return LIST_ENTRY(node, struct sim_write, of_disk);
}

void sim_disk_land(struct sim_disk *disk, struct prng *chance, bool some_lost)
{
    while (!list_empty(&disk->under_way)) {
        uint64_t request = draw_under_way(disk, chance)->request;
        bool lost = some_lost && prng_below(chance, 3) == 0;
        LIST_EACH_SAFE(node, &disk->under_way) {
            struct sim_write *write = LIST_ENTRY(node, struct sim_write, of_disk);
            if (write->request != request)
                continue;
            if (lost)
                write_free(disk, write);
            else
                sim_write_ack(disk, write, write->fua);
        }
    }
    disk->cuts++;
    disk->cut_at = 0;
}

void sim_disk_keep_whole(struct sim_disk *disk, uint64_t block)
{
    disk->whole_block = block;
}

void sim_disk_power_cut(struct sim_disk *disk, struct prng *chance)
{
    uint64_t luck = prng_below(chance, LUCK_FULL + 1);
    decide_all(disk, &disk->acked, chance, luck);
    decide_all(disk, &disk->under_way, chance, luck);
    CHECK(disk->unstable == 0);
    disk->cuts++;
    disk->cut_at = 0;
}
