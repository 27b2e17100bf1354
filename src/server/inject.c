// SPDX-License-Identifier: MIT
// inject.c - see inject.h.
#include "server/inject.h"

#include <fcntl.h>
#include <linux/fuse.h>
#include <signal.h>
#include <stdio.h>
#include <sys/syscall.h>

#include "base/check.h"
#include "base/log.h"
#include "rt/rt.h"
#include "server/flip.h"
#include "server/server.h"

static_assert(RT_PROBE_PLAN == (int)CONTROL_POINT_PLAN && RT_PROBE_APPLY == (int)CONTROL_POINT_APPLY &&
              RT_PROBE_REPLY == (int)CONTROL_POINT_REPLY && RT_PROBE_COMMIT == (int)CONTROL_POINT_COMMIT &&
              RT_PROBE_CHECKPOINT == (int)CONTROL_POINT_CHECKPOINT && RT_PROBE_RECOVERY == (int)CONTROL_POINT_RECOVERY &&
              RT_PROBES == (int)CONTROL_POINTS, "one list under two names");

// As if killed from outside: no last words but this line, no blame.
NO_RETURN static void die(const char *why)
{
    log_info("event=injected fault=crash at=%s", why);
    for (;;)
        syscall(SYS_tgkill, getpid(), syscall(SYS_gettid), SIGKILL);
}

static void on_probe(void *arg, enum rt_probe point)
{
    struct legacy_inject *inject = &((struct server *)arg)->legacy->inject;
    if (inject->point != (uint32_t)point + 1)
        return;
    if (inject->after) {
        inject->after--;
        return;
    }
    inject->point = 0;
    die(control_point_names[point]);
}

// The kernel has two messages for some calls.
static uint32_t same_operation(uint32_t opcode)
{
    switch (opcode) {
    case FUSE_RENAME2: return FUSE_RENAME;
    case FUSE_READDIRPLUS: return FUSE_READDIR;
    default: return opcode;
    }
}

void inject_on_request(void *arg, uint32_t opcode, uint32_t ino)
{
    const struct legacy_inject *inject = &((struct server *)arg)->legacy->inject;
    if (inject->poison_op == 0 || inject->poison_ino != ino || inject->poison_op != same_operation(opcode))
        return;
    CHECK(!"poisoned by drover inject");
}

// --- orders -------------------------------------------------------------------------------------------------

static int arm_crash(struct server *s, const struct control_inject *order, char text[INJECT_TEXT_MAX])
{
    struct legacy_inject *inject = &s->legacy->inject;
    if (order->point >= CONTROL_POINTS)
        return -EINVAL;
    if (order->point == CONTROL_POINT_RECOVERY && !s->plog.head) {
        snprintf(text, INJECT_TEXT_MAX, "without a P-Log nothing is applied again in a recovery");
        return -EOPNOTSUPP;
    }
    inject->point = 0;
    inject->after = order->after;
    inject->point = order->point + 1;
    s->inject_dies = order->point == CONTROL_POINT_RECOVERY;
    snprintf(text, INJECT_TEXT_MAX, "the server dies at %s, after %u more", control_point_names[order->point], order->after);
    return 0;
}

static int poison(struct server *s, const struct control_inject *order, char text[INJECT_TEXT_MAX])
{
    struct legacy_inject *inject = &s->legacy->inject;
    if (order->operation == 0 || order->ino == 0 || order->ino > UINT32_MAX)
        return -EINVAL;
    inject->poison_op = 0;
    inject->poison_ino = (uint32_t)order->ino;
    inject->poison_op = same_operation(order->operation);
    snprintf(text, INJECT_TEXT_MAX, "operation %u on inode %u is deadly until it is cleared", inject->poison_op, inject->poison_ino);
    return 0;
}

static int flip(const struct server *s, const struct control_inject *order, char text[INJECT_TEXT_MAX])
{
    struct flip_world world = {
        .maps_fd = s->maps_fd,
        .rt = s->rt,
        .bufs = s->bufs,
        .pages = s->pages,
        .plog = s->plog.head ? &s->plog : NULL,
    };
    if (order->region >= CONTROL_REGIONS || order->count == 0 || order->count > FLIP_MAX)
        return -EINVAL;
    uint32_t flipped = flip_bits(&world, order->region, order->count, order->seed);
    snprintf(text, INJECT_TEXT_MAX, flipped ? "%u bits of %s flipped, seed %llu" : "%u bits flipped: nothing of %s is in use (seed %llu)",
             flipped, control_region_names[order->region], (unsigned long long)order->seed);
    return flipped ? 0 : -ENODATA;
}

static int clear(struct server *s, char text[INJECT_TEXT_MAX])
{
    s->legacy->inject = (struct legacy_inject){0};
    snprintf(text, INJECT_TEXT_MAX, "nothing is waiting any more");
    return 0;
}

int inject_obey(struct server *s, const struct control_inject *order, char text[INJECT_TEXT_MAX])
{
    int rc = -EINVAL;
    snprintf(text, INJECT_TEXT_MAX, "there is no such fault");
    s->inject_dies = false;
    switch (order->fault) {
    case CONTROL_FAULT_CRASH: rc = arm_crash(s, order, text); break;
    case CONTROL_FAULT_FLIP: rc = flip(s, order, text); break;
    case CONTROL_FAULT_POISON: rc = poison(s, order, text); break;
    case CONTROL_FAULT_CLEAR: rc = clear(s, text); break;
    }
    log_info("event=inject rc=%d what=\"%s\"", rc, text);
    return rc;
}

void inject_answered(struct server *s)
{
    if (s->inject_dies)
        die("once, for the recovery");
}

void inject_open(struct server *s)
{
    s->maps_fd = open("/proc/self/maps", O_RDONLY | O_CLOEXEC);
    rt_set_probe(s->rt, on_probe, s);
}
