// SPDX-License-Identifier: MIT
// main.c - drover-server: takes what the guardian hands it, and builds the stack from disk to door.
//
// Everything that needs the outside world happens before sandbox_enter(); no byte of the disk is
// read before it. Order of construction is order of layers, destruction is its reverse.
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <time.h>

#include "base/check.h"
#include "base/log.h"
#include "cache/buf.h"
#include "cache/page.h"
#include "dev/dev.h"
#include "dev/uring.h"
#include "server/server.h"
#include "shepherd/shepherd.h"

static const struct handoff *map_handoff(int fd)
{
    struct stat st;
    if (fstat(fd, &st) < 0 || st.st_size != (off_t)sizeof(struct handoff))
        return NULL;
    const struct handoff *handoff = mmap(NULL, sizeof(*handoff), PROT_READ, MAP_SHARED, fd, 0);
    if (handoff == MAP_FAILED || handoff->magic != HANDOFF_MAGIC || handoff->version != HANDOFF_VERSION ||
        handoff->bytes != sizeof(*handoff))
        return NULL;
    return handoff;
}

static int map_legacy(struct server *s, struct err *err)
{
    struct stat st;
    if (fstat(s->handoff->legacy_fd, &st) < 0 || st.st_size < (off_t)BLOCK_BYTES)
        return err_set(err, EINVAL, "the guardian's memory is missing");
    struct legacy *legacy = mmap(NULL, (size_t)st.st_size, PROT_READ | PROT_WRITE, MAP_SHARED, s->handoff->legacy_fd, 0);
    if (legacy == MAP_FAILED)
        return err_set(err, errno, "cannot map the guardian's memory: %s", strerror(errno));
    if (legacy->magic != LEGACY_MAGIC || legacy->version != LEGACY_VERSION || legacy->bytes != (uint64_t)st.st_size ||
        legacy->header_bytes != BLOCK_BYTES || legacy->arena_bytes > legacy->bytes - BLOCK_BYTES)
        return err_set(err, EINVAL, "the guardian's memory is not of this version");
    s->legacy = legacy;
    return 0;
}

static int make_worker(struct server *s, struct err *err)
{
    struct rt_ring ring = {.fd = s->handoff->ring_fd};
    memcpy(&ring.params, s->handoff->ring_params, sizeof(ring.params));
    int rc = rt_create(&ring, &s->rt, err);     // waits for what a predecessor still has in flight
    if (rc < 0)
        return rc;
    rt_set_heartbeat(s->rt, &s->legacy->beat_ns);
    rt_set_spin_ns(s->rt, s->handoff->spin_ns);
    waitq_init(&s->news);
    waitq_init(&s->beat_wake);
    waitq_init(&s->relay_answered);
    return 0;
}

static int make_stack(struct server *s, struct err *err)
{
    const struct handoff *h = s->handoff;
    int rc = dev_uring_create(s->rt, h->disk_fd, h->disk_is_block_device, h->disk_blocks, h->read_only, h->disk, &s->dev);
    if (rc < 0)
        return err_set(err, -rc, "%s cannot be used: %s", h->disk, strerror(-rc));
    s->shep = shep_create(s->rt, s->dev);
    s->bufs = buf_cache_create(s->rt, s->shep, h->cache_bytes);
    uint64_t pages = s->legacy->page_count;
    while (pages && page_arena_bytes(pages) > s->legacy->arena_bytes)
        pages--;
    if (pages < 1024)
        return err_set(err, EINVAL, "the cache is too small (cache=16M or more)");
    s->pages = page_pool_create((uint8_t *)s->legacy + s->legacy->header_bytes, pages);
    return 0;
}

static void destroy_stack(struct server *s)
{
    page_pool_destroy(s->pages);
    buf_cache_destroy(s->bufs);
    shep_destroy(s->shep);
    dev_destroy(s->dev);
    rt_destroy(s->rt);
}

static int build(struct server *s, struct err *err)
{
    int rc = map_legacy(s, err);
    if (rc == 0)
        rc = make_worker(s, err);
    if (rc == 0)
        rc = make_stack(s, err);
    if (rc == 0)
        rc = guardian_link_open(s);
    if (rc == 0)
        rc = relay_client_open(s);
    if (rc < 0)
        return err_set(err, -rc, "cannot start: %s", strerror(-rc));
    return sandbox_enter(s->handoff, err);
}

int main(int argc, char **argv)
{
    const struct handoff *handoff = argc == 3 && strcmp(argv[1], "--handoff") == 0 ? map_handoff(atoi(argv[2])) : NULL;
    if (!handoff) {
        fprintf(stderr, "drover-server: is started by drover-guardian, which drover mount starts\n");
        return 2;
    }
    log_open(handoff->log_fd, "server");
    tzset();                        // the C library reads a file for it; afterwards none can be opened
    // The kernel must not wait for this process's write-back to free memory that this process wants.
    prctl(PR_SET_IO_FLUSHER, 1, 0, 0, 0);

    struct err err = {0};
    struct server *server = xcalloc(1, sizeof(*server));
    *server = (struct server){.handoff = handoff, .living = true, .exit_code = 1};
    if (build(server, &err) < 0) {
        log_error("event=server-not-built why=\"%s\"", err.text);
        guardian_tell(server, handoff->generation == 1 ? LINK_ENDED : LINK_FAILED, -err.number, err.text);
        return 1;
    }
    life_start(server);
    int rc = rt_run(server->rt);
    if (rc < 0) {
        log_error("event=loop-failed errno=%d", -rc);
        return 1;                   // a successor may do better
    }
    guardian_link_close(server);
    relay_client_close(server);
    destroy_stack(server);
    return server->exit_code;
}
