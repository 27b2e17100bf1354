// SPDX-License-Identifier: MIT
// primitives.c - the steps that policies are composed of, and the one place that writes the log.
#include <string.h>

#include "base/check.h"
#include "base/log.h"
#include "dev/dev.h"
#include "ondisk/verify.h"
#include "shepherd/internal.h"

// Block numbers come from disks: one outside the volume is damage, not a mistake of ours.
static bool in_volume(const struct shep_io *io)
{
    uint64_t end = io->shep->dev->block_count;
    return io->block < end && io->count <= end - io->block;
}

int shep_read_home(struct shep_io *io)
{
    io->shep->stats.reads++;
    if (!in_volume(io)) {
        io->reason = "outside the volume";
        return -EFSCORRUPTED;
    }
    int rc = dev_read(io->shep->dev, io->block, io->iov, io->iovcnt);
    if (rc == 0)
        return 0;
    io->reason = strerror(-rc);
    return -EIO;
}

int shep_write_home(struct shep_io *io)
{
    io->shep->stats.writes++;
    if (!in_volume(io)) {
        io->reason = "outside the volume";
        return -EFSCORRUPTED;
    }
    enum dev_flags flags = io->flags & SHEP_FUA ? DEV_FUA : 0;
    int rc = dev_write(io->shep->dev, io->block, io->iov, io->iovcnt, flags);
    if (rc < 0)
        io->reason = strerror(-rc);
    return rc;
}

bool shep_is_sane(struct shep_io *io)
{
    if (!io->verify || !io->shep->geo)
        return true;
    CHECK(io->count == 1 && io->iovcnt == 1);
    const char *why = "not what its type promises";
    io->verdict = block_verify(io->shep->geo, io->ref.type, &io->ref.owner, io->block,
                               io->iov->iov_base, &why);
    if (io->verdict < 0)
        io->reason = why;
    return io->verdict == 0;
}

static const char *event_name(enum shep_event event)
{
    switch (event) {
    case SHEP_READ_FAILED: return "read_failed";
    case SHEP_WRITE_FAILED: return "write_failed";
    case SHEP_NOT_SANE: return "not_sane";
    }
    return "unknown";
}

void shep_note(struct shep_io *io, enum shep_event event, int error)
{
    struct shep_stats *stats = &io->shep->stats;
    stats->read_errors += event == SHEP_READ_FAILED;
    stats->write_errors += event == SHEP_WRITE_FAILED;
    stats->corruptions += event == SHEP_NOT_SANE;
    log_error("event=%s dev=%s type=%s block=%llu count=%llu inode=%u lblock=%llu error=%d reason=\"%s\"",
              event_name(event), io->shep->dev->label, block_type_name(io->ref.type),
              (unsigned long long)io->block, (unsigned long long)io->count, io->ref.owner.ino,
              (unsigned long long)io->ref.owner.lblock, -error, io->reason ? io->reason : "");
}
