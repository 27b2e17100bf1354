// SPDX-License-Identifier: MIT
// main.c - drover-server: takes what the guardian hands it, and builds the stack from disk to door.
//
// Everything that needs the outside world happens before sandbox_enter(), and nothing that needs the disk:
// up to there a standby goes, too, and then waits. No byte of the disk is read, and no part of the
// legacy written, by a server that does not own the mount. Order of construction is order of layers, destruction
// is its reverse.
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>

#include "base/check.h"
#include "base/log.h"
#include "cache/buf.h"
#include "cache/page.h"
#include "dev/dev.h"
#include "dev/uring.h"
#include "guardian/deathwatch.h"
#include "server/inject.h"
#include "server/server.h"
#include "shepherd/shepherd.h"

uint64_t server_now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

// A handoff of another version has the same beginning: enough to say so.
static void refuse_handoff(const struct handoff *handoff)
{
    char text[160];
    struct link_head head = {.kind = LINK_FAILED, .rc = -EPROTO};
    head.text_len = (uint32_t)snprintf(text, sizeof(text), "this is version %s with handoff layout %u, the guardian has %u",
                                       DROVER_VERSION, HANDOFF_VERSION, handoff->version);
    struct iovec iov[2] = {{&head, sizeof(head)}, {text, head.text_len}};
    struct msghdr msg = {.msg_iov = iov, .msg_iovlen = 2};
    if (sendmsg(handoff->link_fd, &msg, MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
        fprintf(stderr, "drover-server: %s\n", text);
}

static const struct handoff *map_handoff(int fd)
{
    struct stat st;
    if (fstat(fd, &st) < 0 || st.st_size < (off_t)offsetof(struct handoff, generation))
        return NULL;
    const struct handoff *handoff = mmap(NULL, sizeof(*handoff), PROT_READ, MAP_SHARED, fd, 0);
    if (handoff == MAP_FAILED || handoff->magic != HANDOFF_MAGIC)
        return NULL;
    if (handoff->version == HANDOFF_VERSION && handoff->bytes == sizeof(*handoff) && st.st_size == (off_t)sizeof(*handoff))
        return handoff;
    refuse_handoff(handoff);
    return NULL;
}

static int make_worker(struct server *s, struct err *err)
{
    struct rt_ring ring = {.fd = s->handoff->ring_fd};
    memcpy(&ring.params, s->handoff->ring_params, sizeof(ring.params));
    int rc = rt_create_waiting(&ring, &s->rt, err);
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

// Up to where a standby waits.
static int build(struct server *s, struct err *err)
{
    int rc = legacy_map(s, err);
    if (rc == 0)
        rc = make_worker(s, err);
    if (rc == 0)
        rc = make_stack(s, err);
    if (rc == 0)
        rc = guardian_link_open(s);
    if (rc == 0)
        rc = relay_client_open(s);
    if (rc == 0)
        rc = deathwatch_register(&s->legacy->owner.word);
    if (rc < 0)
        return err_set(err, -rc, "cannot start: %s", strerror(-rc));
    crash_open(s);
    inject_open(s);
    return sandbox_enter(s->handoff, err);
}

// From here on the mount is ours. First the fence: what the predecessor has under way comes to its end.
static int own(struct server *s, struct err *err)
{
    if (s->handoff->standby)
        standby_wait(s);
    else if (deathwatch_claim(&s->legacy->owner.word) < 0)
        return err_set(err, EBUSY, "another server owns the mount");
    legacy_own(s);
    rt_set_tag_word(s->rt, &s->legacy->running);
    int rc = rt_fence(s->rt, &s->landed, err);
    return rc < 0 ? rc : legacy_open(s, err);
}

int main(int argc, char **argv)
{
    const struct handoff *handoff = argc == 3 && strcmp(argv[1], "--handoff") == 0 ? map_handoff(atoi(argv[2])) : NULL;
    if (!handoff) {
        fprintf(stderr, "drover-server: is started by drover-guardian, which drover mount starts\n");
        return 2;
    }
    prctl(PR_SET_NAME, "drover-server");        // it was started by a descriptor
    log_open(handoff->log_fd, "server");
    tzset();                        // the C library reads a file for it; afterwards none can be opened
    // The kernel must not wait for this process's write-back to free memory that this process wants.
    prctl(PR_SET_IO_FLUSHER, 1, 0, 0, 0);

    struct err err = {0};
    struct server *server = xcalloc(1, sizeof(*server));
    *server = (struct server){.handoff = handoff, .living = true, .exit_code = 1};
    server->began_ns = server_now_ns();
    if (build(server, &err) < 0 || own(server, &err) < 0) {
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
