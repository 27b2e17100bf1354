// SPDX-License-Identifier: MIT
// crash_server.c - what the crash report (crash.h) says of this server: whose request it was, and how far its
// transactions were. Runs in the signal handler: no allocation, no stdio, no locks.
#include <string.h>

#include "front/fuse/fuse_record.h"
#include "fs/fs.h"
#include "journal/journal.h"
#include "server/crash.h"
#include "server/crash_text.h"
#include "server/server.h"

static_assert(sizeof(struct fuse_record) == LEGACY_RECORD_BYTES, "a record has its place in the legacy");

static void *records_of(const struct server *s)
{
    return (uint8_t *)s->legacy + s->legacy->records_at;
}

static void blame(void *arg, uint64_t request)
{
    fuse_records_blame(records_of(arg), LEGACY_RECORDS, request);
}

static void describe_request(void *arg, uint64_t request, char line[CRASH_LINE_MAX])
{
    fuse_records_describe(records_of(arg), LEGACY_RECORDS, request, line, CRASH_LINE_MAX);
}

static void describe_worker(void *arg, char line[CRASH_LINE_MAX])
{
    const struct server *s = arg;
    struct crash_text text = {0};
    if (!s->fs) {
        crash_put(&text, "the volume is not mounted yet");
    } else if (s->fs->jrn) {
        crash_put(&text, s->door ? "serves" : "recovers");
        crash_put(&text, ", transaction ");
        crash_put_number(&text, jrn_running_tid(s->fs->jrn));
        crash_put(&text, " runs, ");
        crash_put_number(&text, jrn_committed_tid(s->fs->jrn));
        crash_put(&text, " is committed");
    }
    size_t len = MIN(text.len, (size_t)CRASH_LINE_MAX - 1);
    memcpy(line, text.bytes, len);
    line[len] = 0;
}

void crash_open(struct server *s)
{
    crash_catch(&(struct crash_config){
        .log_fd = s->handoff->log_fd,
        .generation = s->handoff->generation,
        .legacy = s->legacy,
        .rt = s->rt,
        .blame = blame,
        .describe = describe_request,
        .describe_worker = describe_worker,
        .arg = s,
    });
}
