// SPDX-License-Identifier: MIT
// legacy.c - the server's dealings with the memory that outlives it (guardian/legacy.h): bounds, ownership, and
// which of it is a predecessor's to be believed.
#include "server/server.h"

#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "base/log.h"
#include "cache/page.h"
#include "front/fuse/fuse_record.h"
#include "recover/recover.h"

#define PAGES_MIN 1024u

// --- bounds -----------------------------------------------------------------------------------------

static bool lies_within(const struct legacy *l, uint64_t at, uint64_t bytes)
{
    return at % BLOCK_BYTES == 0 && at >= l->header_bytes && at <= l->bytes && bytes <= l->bytes - at;
}

static bool is_sound(const struct legacy *l, uint64_t bytes)
{
    return l->magic == LEGACY_MAGIC && l->version == LEGACY_VERSION && l->bytes == bytes && l->header_bytes == BLOCK_BYTES &&
           lies_within(l, l->records_at, (uint64_t)LEGACY_RECORDS * LEGACY_RECORD_BYTES) &&
           lies_within(l, l->plog_at, l->plog_bytes) && (!l->plog_bytes || l->plog_bytes >= plog_bytes(PLOG_SLOTS_MIN)) &&
           lies_within(l, l->arena_at, l->arena_bytes) && l->page_count <= l->arena_bytes / BLOCK_BYTES &&
           page_arena_bytes(l->page_count) <= l->arena_bytes;
}

int legacy_map(struct server *s, struct err *err)
{
    static_assert(sizeof(struct fuse_record) <= LEGACY_RECORD_BYTES, "a record has its place");
    static_assert(sizeof(struct recover_progress) <= sizeof(s->legacy->recover_progress), "the legacy has room for it");
    struct stat st;
    if (fstat(s->handoff->legacy_fd, &st) < 0 || st.st_size < (off_t)BLOCK_BYTES)
        return err_set(err, EINVAL, "the guardian's memory is missing");
    struct legacy *legacy = mmap(NULL, (size_t)st.st_size, PROT_READ | PROT_WRITE, MAP_SHARED, s->handoff->legacy_fd, 0);
    if (legacy == MAP_FAILED)
        return err_set(err, errno, "cannot map the guardian's memory: %s", strerror(errno));
    if (!is_sound(legacy, (uint64_t)st.st_size))
        return err_set(err, EPROTO, "this is version " DROVER_VERSION " with legacy layout %u, the mount has another one", LEGACY_VERSION);
    if (legacy->page_count < PAGES_MIN)
        return err_set(err, EINVAL, "the cache is too small (cache=16M or more)");
    s->legacy = legacy;
    return 0;
}

// --- ownership ----------------------------------------------------------------------------------------

static void *records(const struct server *s)
{
    return (uint8_t *)s->legacy + s->legacy->records_at;
}

// One that crashed has blamed the request itself; of one that was killed for standing still, we do. A kill from
// outside is nobody's fault.
void legacy_own(struct server *s)
{
    struct legacy *l = s->legacy;
    l->owner.generation = s->handoff->generation;
    l->beat_ns = 0;                 // it waits for its predecessor's writes
    uint32_t death = l->death;
    l->death = DEATH_SILENT;        // counted once, also when we are killed meanwhile
    if (death == DEATH_HUNG && l->running) {
        uint32_t deaths = fuse_records_blame(records(s), LEGACY_RECORDS, l->running);
        log_warn("event=hung-at-request request=%llu deaths=%u", (unsigned long long)l->running, deaths);
    }
    if (death == DEATH_SILENT)
        memset(l->recover_progress, 0, sizeof(l->recover_progress));
    l->running = 0;
    s->recovers = s->handoff->generation > 1 && l->plog_bytes && !l->distrust;
    s->alone = s->handoff->generation > 1 && !s->recovers;
}

// --- log and pages ------------------------------------------------------------------------------------

// All that a predecessor had told and the disk does not say is lost: loudly, and old handles are stale. So are its
// records and the names that the kernel knows, with which the door deals: until then whoever comes starts here, too.
static void start_from_disk(struct server *s)
{
    struct legacy *l = s->legacy;
    l->epoch++;
    l->distrusted++;
    memset(l->recover_progress, 0, sizeof(l->recover_progress));
    log_error("event=recovered_from_disk_alone epoch=%u what=\"operations that were not durable are lost, open files are stale: "
              "what was left in memory could not be trusted\"", l->epoch);
}

static int adopt(struct server *s, uint8_t *log, uint8_t *arena)
{
    struct legacy *l = s->legacy;
    int rc = plog_attach(&s->plog, log, l->plog_bytes, &l->sequence);
    return rc < 0 ? rc : page_pool_adopt(arena, l->page_count, &s->pages);
}

int legacy_open(struct server *s, struct err *err)
{
    struct legacy *l = s->legacy;
    uint8_t *log = (uint8_t *)l + l->plog_at, *arena = (uint8_t *)l + l->arena_at;
    int rc = s->recovers ? adopt(s, log, arena) : 0;
    if (rc < 0 && rc != -EFSCORRUPTED)
        return err_set(err, -rc, "cannot take over the pages: %s", strerror(-rc));
    if (rc < 0) {
        legacy_distrust(s, "the log's head or the page descriptors are damaged");
        s->recovers = false;
        s->alone = true;
    }
    if (s->recovers)
        return 0;
    if (s->alone && l->plog_bytes)
        start_from_disk(s);
    s->plog = (struct plog){0};
    if (l->plog_bytes)
        plog_init(&s->plog, log, l->plog_bytes, &l->sequence);
    s->pages = page_pool_create(arena, l->page_count);
    return 0;
}

void legacy_distrust(struct server *s, const char *why)
{
    if (s->legacy->plog_bytes)
        s->legacy->distrust = 1;
    log_error("event=legacy-distrusted why=\"%s\"", why);
}

void legacy_applied(void *arg, const struct plog_entry *entry)
{
    struct server *s = arg;
    const struct ops_answer answer = {
        .seq = entry->seq,
        .result = entry->result,
        .ino = entry->target[PLOG_SELF].ino,
        .generation = entry->target[PLOG_SELF].generation,
    };
    if (entry->client == FUSE_CLIENT)
        fuse_records_applied(records(s), LEGACY_RECORDS, entry->request, &answer);
}
