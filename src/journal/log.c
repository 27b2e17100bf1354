// SPDX-License-Identifier: MIT
// log.c - where the journal's blocks are on the disk, and moving many of them at once.
//
// The journal is a file: its blocks are runs on the disk. The runs come from a disk too, so
// log_map_init() judges them: inside the volume, no block twice.
#include "base/check.h"
#include "journal/internal.h"

#define IO_FIBRES_MAX 16u
#define IO_PIECE_BLOCKS_MAX 1024u   // 4 MiB: more in one request gains nothing and cannot be parallel

static int compare_runs(const void *a, const void *b)
{
    const struct jrn_run *left = a, *right = b;
    return left->block < right->block ? -1 : left->block > right->block;
}

static int check_overlap(const struct log_map *map, struct err *err)
{
    for (uint32_t i = 1; i < map->run_count; i++)
        if (map->by_block[i].block - map->by_block[i - 1].block < map->by_block[i - 1].count)
            return err_set(err, EFSCORRUPTED, "the journal's file holds block %llu twice (run e2fsck)",
                           (unsigned long long)map->by_block[i].block);
    return 0;
}

int log_map_init(struct log_map *map, const struct jrn_config *config, struct err *err)
{
    uint64_t end = MIN(shep_block_count(config->shep), config->geo->block_count);
    size_t size = (config->run_count + 1) * sizeof(struct jrn_run);
    *map = (struct log_map){
        .runs = xmalloc(size), .by_block = xmalloc(size),
        .firsts = xmalloc((config->run_count + 1) * sizeof(uint64_t)),
    };
    for (uint32_t i = 0; i < config->run_count; i++) {
        struct jrn_run run = config->runs[i];
        if (!run.count)
            continue;
        if (run.block >= end || run.count > end - run.block)
            return err_set(err, EFSCORRUPTED, "the journal's file has blocks outside the volume (run e2fsck)");
        map->runs[map->run_count] = map->by_block[map->run_count] = run;
        map->firsts[map->run_count++] = map->blocks;
        map->blocks += run.count;
    }
    qsort(map->by_block, map->run_count, sizeof(struct jrn_run), compare_runs);
    return check_overlap(map, err);
}

void log_map_fini(struct log_map *map)
{
    free(map->runs);
    free(map->by_block);
    free(map->firsts);
    *map = (struct log_map){0};
}

uint64_t log_map_block(const struct log_map *map, uint32_t at, uint64_t *contiguous)
{
    CHECK(at < map->blocks);
    uint32_t low = 0, high = map->run_count;
    while (high - low > 1) {
        uint32_t middle = low + (high - low) / 2;
        if (map->firsts[middle] <= at)
            low = middle;
        else
            high = middle;
    }
    uint64_t inside = at - map->firsts[low];
    if (contiguous)
        *contiguous = map->runs[low].count - inside;
    return map->runs[low].block + inside;
}

bool log_map_owns(const struct log_map *map, uint64_t block)
{
    uint32_t low = 0, high = map->run_count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        const struct jrn_run *run = &map->by_block[middle];
        if (block < run->block)
            high = middle;
        else if (block - run->block < run->count)
            return true;
        else
            low = middle + 1;
    }
    return false;
}

uint32_t log_size(const struct journal *jrn)
{
    return jrn->super.log_end - jrn->super.first;
}

uint32_t log_next(const struct journal *jrn, uint32_t at, uint32_t count)
{
    uint64_t next = (uint64_t)at + count;
    return (uint32_t)(next < jrn->super.log_end ? next : next - log_size(jrn));
}

struct shep_ref log_ref(const struct journal *jrn, enum block_type type, uint32_t at)
{
    return (struct shep_ref){
        .type = type, .owner = {.ino = jrn->geo->journal_ino, .lblock = at},
    };
}

// --- sets of pieces -----------------------------------------------------------------------------

static bool same_owner(const struct shep_ref *a, const struct shep_ref *b)
{
    return a->type == b->type && a->owner.ino == b->owner.ino && a->owner.generation == b->owner.generation;
}

static bool continues(const struct io_piece *last, const struct shep_ref *ref, uint64_t block, const uint8_t *bytes)
{
    return last->block + last->count == block && last->bytes + last->count * BLOCK_BYTES == bytes &&
           last->count < IO_PIECE_BLOCKS_MAX && same_owner(&last->ref, ref);
}

void io_set_add(struct io_set *set, const struct shep_ref *ref, uint64_t block, uint64_t count, uint8_t *bytes)
{
    struct io_piece *last = set->count ? &set->pieces[set->count - 1] : NULL;
    if (last && continues(last, ref, block, bytes)) {
        last->count += count;
        return;
    }
    if (set->count == set->capacity) {
        set->capacity = set->capacity ? 2 * set->capacity : 16;
        set->pieces = xrealloc(set->pieces, set->capacity * sizeof(*set->pieces));
    }
    set->pieces[set->count++] = (struct io_piece){.ref = *ref, .block = block, .count = count, .bytes = bytes};
}

void io_set_add_log(struct journal *jrn, struct io_set *set, uint32_t at, uint32_t count, uint8_t *bytes)
{
    while (count) {
        uint64_t contiguous;
        uint64_t block = log_map_block(&jrn->map, at, &contiguous);
        struct shep_ref ref = log_ref(jrn, BLOCK_JOURNAL, at);
        uint32_t run = MIN(count, IO_PIECE_BLOCKS_MAX);
        run = MIN(run, jrn->super.log_end - at);
        run = (uint32_t)MIN(contiguous, run);
        io_set_add(set, &ref, block, run, bytes);
        bytes += (size_t)run * BLOCK_BYTES;
        count -= run;
        at = log_next(jrn, at, run);
    }
}

static YIELDS void run_piece(struct shepherd *shep, struct io_piece *piece, bool write)
{
    struct iovec iov = {.iov_base = piece->bytes, .iov_len = piece->count * BLOCK_BYTES};
    struct shep_result result;
    piece->rc = write ? shep_write(shep, &piece->ref, piece->block, &iov, 1, 0, &result)
                      : shep_read_run(shep, &piece->ref, piece->block, &iov, 1);
}

struct io_job {
    struct shepherd *shep;
    struct io_set *set;
};

static YIELDS int io_fibre(void *arg)
{
    struct io_job *job = arg;
    while (job->set->next < job->set->count)
        run_piece(job->shep, &job->set->pieces[job->set->next++], job->set->write);
    return 0;
}

int io_set_run(struct journal *jrn, struct io_set *set, bool write)
{
    struct io_job job = {.shep = jrn->shep, .set = set};
    set->next = 0;
    set->write = write;
    if (set->count == 1) {
        run_piece(jrn->shep, &set->pieces[0], write);
    } else if (set->count > 1) {
        struct rt_group group;
        rt_group_init(&group, jrn->rt);
        for (uint32_t i = 0; i < MIN(set->count, IO_FIBRES_MAX); i++)
            rt_group_go(&group, "journal-io", io_fibre, &job);
        int rc = rt_group_wait(&group);
        CHECK(rc == 0);
    }
    for (uint32_t i = 0; i < set->count; i++)
        if (set->pieces[i].rc < 0)
            return set->pieces[i].rc;
    return 0;
}

void io_set_fini(struct io_set *set)
{
    free(set->pieces);
    *set = (struct io_set){0};
}
