// SPDX-License-Identifier: MIT
// shepherd.c - the policy table: every request goes to the policy of its block type.
//
// Invariant: what leaves with an error has been logged here exactly once; callers only pass the
// number on.
#include "shepherd/shepherd.h"

#include "base/check.h"
#include "base/log.h"
#include "dev/dev.h"
#include "shepherd/internal.h"

struct shepherd *shep_create(struct rt *rt, struct dev *dev)
{
    struct shepherd *shep = xcalloc(1, sizeof(*shep));
    shep->rt = rt;
    shep->dev = dev;
    for (int type = 0; type < BLOCK_TYPE_COUNT; type++)
        shep->table[type] = &shep_policy_plain;
    return shep;
}

void shep_destroy(struct shepherd *shep)
{
    free(shep);
}

void shep_set_geometry(struct shepherd *shep, const struct ext4_geo *geo)
{
    shep->geo = geo;
}

uint64_t shep_block_count(const struct shepherd *shep)
{
    return shep->dev->block_count;
}

struct shep_stats shep_stats(const struct shepherd *shep)
{
    return shep->stats;
}

static const struct shep_policy *policy_of(const struct shepherd *shep, const struct shep_ref *ref)
{
    CHECK((unsigned)ref->type < BLOCK_TYPE_COUNT);
    return shep->table[ref->type];
}

int shep_read(struct shepherd *shep, const struct shep_ref *ref, uint64_t block, void *out)
{
    struct iovec iov = {.iov_base = out, .iov_len = BLOCK_BYTES};
    struct shep_io io = {
        .shep = shep, .ref = *ref, .block = block, .count = 1, .iov = &iov, .iovcnt = 1,
        .verify = true,
    };
    return policy_of(shep, ref)->read(&io);
}

int shep_judge(struct shepherd *shep, const struct shep_ref *ref, uint64_t block, void *bytes)
{
    struct iovec iov = {.iov_base = bytes, .iov_len = BLOCK_BYTES};
    struct shep_io io = {
        .shep = shep, .ref = *ref, .block = block, .count = 1, .iov = &iov, .iovcnt = 1,
        .verify = true,
    };
    if (shep_is_sane(&io))
        return 0;
    shep_note(&io, SHEP_NOT_SANE, io.verdict);
    return io.verdict;
}

int shep_read_run(struct shepherd *shep, const struct shep_ref *ref, uint64_t block, const struct iovec *iov, int iovcnt)
{
    struct shep_io io = {
        .shep = shep, .ref = *ref, .block = block, .count = iov_bytes(iov, iovcnt) / BLOCK_BYTES,
        .iov = iov, .iovcnt = iovcnt,
    };
    return policy_of(shep, ref)->read(&io);
}

int shep_write(struct shepherd *shep, const struct shep_ref *ref, uint64_t block, const struct iovec *iov, int iovcnt, enum shep_flags flags, struct shep_result *result)
{
    if (result)
        *result = (struct shep_result){0};
    struct shep_io io = {
        .shep = shep, .ref = *ref, .block = block, .count = iov_bytes(iov, iovcnt) / BLOCK_BYTES,
        .iov = iov, .iovcnt = iovcnt, .flags = flags, .result = result,
    };
    return policy_of(shep, ref)->write(&io);
}

int shep_flush(struct shepherd *shep)
{
    shep->stats.flushes++;
    int rc = dev_flush(shep->dev);
    if (rc < 0) {
        shep->stats.write_errors++;
        log_error("event=flush_failed dev=%s error=%d", shep->dev->label, -rc);
    }
    return rc;
}

int shep_discard(struct shepherd *shep, uint64_t block, uint64_t count)
{
    int rc = dev_discard(shep->dev, block, count);
    if (rc < 0 && rc != -EOPNOTSUPP)
        log_warn("event=discard_failed dev=%s block=%llu count=%llu error=%d", shep->dev->label,
                 (unsigned long long)block, (unsigned long long)count, -rc);
    return rc;
}
