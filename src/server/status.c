// SPDX-License-Identifier: MIT
// status.c - the server's half of `drover status --json`; the command adds the guardian's.
#include "server/server.h"

#include <jansson.h>
#include <string.h>

#include "cache/buf.h"
#include "cache/page.h"
#include "dev/dev.h"
#include "fs/fs.h"
#include "shepherd/shepherd.h"

static json_int_t count(uint64_t value)
{
    return (json_int_t)value;
}

static json_t *cache_json(const struct server *s)
{
    struct buf_stats bufs = buf_stats(s->bufs);
    uint64_t pages = page_pool_size(s->pages), free_pages = page_pool_free(s->pages);
    return json_pack("{s:I, s:I, s:I, s:I, s:I, s:I, s:I}",
                     "bytes", count(bufs.bytes), "limit", count(bufs.limit),
                     "hits", count(bufs.hits), "misses", count(bufs.misses),
                     "data_bytes", count(pages * BLOCK_BYTES),
                     "data_free_bytes", count(free_pages * BLOCK_BYTES),
                     "data_dirty_bytes", count(page_pool_dirty(s->pages) * BLOCK_BYTES));
}

static json_t *journal_json(const struct server *s)
{
    return json_pack("{s:s, s:I, s:I, s:I, s:I}",
                     "mode", s->handoff->journal_data ? "data" : "ordered",
                     "transactions", count(s->fs->stats.commits),
                     "blocks_written", count(s->fs->stats.journal_blocks),
                     "blocks", count(s->fs->jrn ? jrn_size_blocks(s->fs->jrn) : 0),
                     "blocks_free", count(s->fs->jrn ? jrn_free_blocks(s->fs->jrn) : 0));
}

static json_t *disk_json(const struct server *s)
{
    struct shep_stats stats = shep_stats(s->shep);
    const char *state = s->fs->broken ? "read-only" : s->fs->shut_down ? "shut-down" : "ok";
    return json_pack("{s:s, s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I}",
                     "name", s->handoff->disk, "state", state,
                     "reads", count(stats.reads), "writes", count(stats.writes), "flushes", count(stats.flushes),
                     "read_errors", count(stats.read_errors), "write_errors", count(stats.write_errors),
                     "corruptions", count(stats.corruptions), "repaired", count(0), "remapped", count(0));
}

static json_t *door_json(const struct server *s)
{
    struct fuse_door_stats stats = {0};
    if (s->door)
        stats = fuse_door_stats(s->door);
    return json_pack("{s:I, s:I, s:I, s:I, s:I}", "requests", count(stats.requests), "resent", count(stats.resent),
                     "from_records", count(stats.from_records), "malformed", count(stats.malformed),
                     "in_flight", count(stats.in_flight));
}

// Entries are numbered without a gap, and the oldest is at the head.
static json_t *plog_json(const struct server *s)
{
    const struct plog *log = &s->plog;
    uint64_t slots = log->head ? plog_used(log) : 0;
    uint64_t entries = slots ? *log->sequence + 1 - log->slots[log->head->head % log->slot_count].seq : 0;
    return json_pack("{s:I, s:I, s:I}", "entries", count(MIN(entries, slots)), "bytes", count(slots * sizeof(*log->slots)),
                     "capacity", count(log->head ? log->slot_count * sizeof(*log->slots) : 0));
}

char *status_json(const struct server *s)
{
    if (!s->fs)
        return NULL;
    json_t *all = json_pack("{s:o, s:o, s:o, s:{s:s}, s:[o], s:[], s:o}",
                            "cache", cache_json(s), "journal", journal_json(s),
                            "plog", plog_json(s),
                            "policy", "name", "plain",
                            "disks", disk_json(s), "damaged_files", "fuse", door_json(s));
    char *text = all ? json_dumps(all, JSON_COMPACT) : NULL;
    json_decref(all);
    return text;
}
