// SPDX-License-Identifier: MIT
// plain.c - one copy, at home: it is read and judged, or the answer is an honest error.
#include "shepherd/policy.h"

static YIELDS int plain_read(struct shep_io *io)
{
    int rc = shep_read_home(io);
    if (rc < 0) {
        shep_note(io, SHEP_READ_FAILED, rc);
        return rc;
    }
    if (!shep_is_sane(io)) {
        shep_note(io, SHEP_NOT_SANE, io->verdict);
        return io->verdict;
    }
    return 0;
}

static YIELDS int plain_write(struct shep_io *io)
{
    int rc = shep_write_home(io);
    if (rc < 0)
        shep_note(io, SHEP_WRITE_FAILED, rc);
    return rc;
}

const struct shep_policy shep_policy_plain = {
    .name = "plain", .read = plain_read, .write = plain_write,
};
