// SPDX-License-Identifier: MIT
// relay_client.c - asks the relay (guardian/link.h) to do a system call, and waits for it.
#include "server/server.h"

#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include "base/check.h"
#include "base/log.h"

#define LOOK_NS 1000000000ull

static void wake(struct server *s, int rc)
{
    s->relay_rc = rc;
    s->relay_tag = 0;
    waitq_wake_all(s->rt, &s->relay_answered);
}

static void on_readable(void *arg, uint32_t events)
{
    struct server *s = arg;
    struct relay_answer answer;
    ssize_t got = recv(s->handoff->relay_fd, &answer, sizeof(answer), MSG_DONTWAIT);
    (void)events;
    if (got < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (got != (ssize_t)sizeof(answer)) {
        log_error("event=relay-gone");
        rt_unwatch(s->rt, s->handoff->relay_fd);
        if (s->relay_tag)
            wake(s, -EPIPE);
        return;
    }
    // An answer with another tag was meant for a predecessor.
    if (s->relay_tag && answer.tag == s->relay_tag)
        wake(s, answer.rc);
}

static int put(struct server *s, uint64_t tag, const void *bytes, size_t len)
{
    struct relay_ask ask = {.tag = tag, .len = (uint32_t)len};
    CHECK(len <= sizeof(ask.bytes));
    if (len)
        memcpy(ask.bytes, bytes, len);
    size_t size = offsetof(struct relay_ask, bytes) + len;
    if (send(s->handoff->relay_fd, &ask, size, MSG_DONTWAIT | MSG_NOSIGNAL) >= 0)
        return 0;
    return errno == ECONNRESET || errno == ENOTCONN ? -EPIPE : -errno;
}

static int ask(struct server *s, const void *bytes, size_t len)
{
    CHECK(s->relay_tag == 0);
    uint64_t tag = (uint64_t)s->handoff->generation << 40 | (rt_random(s->rt) & 0xffffffff) << 8 | 1;
    int rc = put(s, tag, bytes, len);
    if (rc == 0)
        s->relay_tag = tag;
    return rc;
}

int relay_notify(void *arg, const void *bytes, size_t len)
{
    struct server *s = arg;
    CHECK(len > 0);
    int rc = ask(s, bytes, len);
    if (rc < 0)
        return rc;
    while (s->relay_tag)
        waitq_wait(s->rt, &s->relay_answered);
    return s->relay_rc;
}

int relay_post(void *arg, const void *bytes, size_t len)
{
    CHECK(len > 0);
    return put(arg, 0, bytes, len);
}

int relay_sync(void *arg, bool (*more)(void *of), void *of)
{
    struct server *s = arg;
    int rc = ask(s, NULL, 0);
    if (rc < 0)
        return rc;
    while (s->relay_tag) {
        if (waitq_wait_until(s->rt, &s->relay_answered, rt_now_ns(s->rt) + LOOK_NS) || more(of))
            continue;
        s->relay_tag = 0;           // an answer that comes later is nobody's
        return -ETIMEDOUT;
    }
    return s->relay_rc;
}

int relay_client_open(struct server *s)
{
    return s->handoff->relay_fd < 0 ? 0 : rt_watch(s->rt, s->handoff->relay_fd, EPOLLIN, on_readable, s);
}

void relay_client_close(struct server *s)
{
    if (s->handoff->relay_fd >= 0)
        rt_unwatch(s->rt, s->handoff->relay_fd);
}
