// SPDX-License-Identifier: MIT
// guardian_link.c - the server's end of the link (guardian/link.h).
//
// When the guardian dies the server goes on serving: it has all descriptors, and a mount without
// guardian is better than none. Only its standby will come after it, if there is one, and then nobody.
#include "server/server.h"

#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include "base/log.h"
#include "server/inject.h"

static void put(struct server *s, const struct link_head *head, const char *text)
{
    struct iovec iov[2] = {{(void *)head, sizeof(*head)}, {(void *)text, head->text_len}};
    struct msghdr msg = {.msg_iov = iov, .msg_iovlen = 2};
    if (sendmsg(s->handoff->link_fd, &msg, MSG_DONTWAIT | MSG_NOSIGNAL) < 0 && !s->guardian_gone)
        log_warn("event=guardian-not-told kind=%u errno=%d", head->kind, errno);
}

void guardian_tell(struct server *s, enum link_kind kind, int rc, const char *text)
{
    struct link_head head = {.kind = kind, .rc = rc, .text_len = (uint32_t)strlen(text)};
    put(s, &head, text);
}

void guardian_tell_serving(struct server *s)
{
    struct link_serving serving = {.pause_ns = server_now_ns() - s->began_ns};
    struct link_head head = {.kind = LINK_SERVING, .text_len = sizeof(serving)};
    put(s, &head, (const char *)&serving);
}

static void answer_status(struct server *s, uint32_t ask)
{
    char *json = status_json(s);
    size_t len = json ? strlen(json) : 0;
    if (len > LINK_TEXT_MAX)
        len = 0;
    struct link_head head = {.kind = LINK_STATUS, .ask = ask, .text_len = (uint32_t)len};
    put(s, &head, json);
    free(json);
}

static void answer_inject(struct server *s, uint32_t ask, const struct control_inject *inject)
{
    char text[INJECT_TEXT_MAX];
    struct link_head head = {.kind = LINK_INJECT, .ask = ask, .rc = inject_obey(s, inject, text)};
    head.text_len = (uint32_t)strlen(text);
    put(s, &head, text);
    inject_answered(s);
}

static void lose_guardian(struct server *s)
{
    s->guardian_gone = true;
    rt_unwatch(s->rt, s->handoff->link_fd);
    log_error("event=guardian-died what=\"serving goes on, but after the standby nobody will restart this server\"");
    if (!s->legacy->mounted) {      // it will never mount
        s->must_stop = true;
        waitq_wake_all(s->rt, &s->news);
    }
}

static void on_readable(void *arg, uint32_t events)
{
    struct server *s = arg;
    struct {
        struct link_head head;
        struct control_inject inject;
    } message = {0};
    ssize_t got = recv(s->handoff->link_fd, &message, sizeof(message), MSG_DONTWAIT);
    struct link_head head = message.head;
    (void)events;
    if (got < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (got < (ssize_t)sizeof(head)) {
        lose_guardian(s);
        return;
    }
    switch (head.kind) {
    case LINK_GO:
        s->may_go = true;
        s->kernel_dirty_max = (uint64_t)head.ask << 10;
        break;
    case LINK_STOP: s->must_stop = true; break;
    case LINK_HAND_OVER: life_hand_over(s); return;
    case LINK_STATUS: answer_status(s, head.ask); return;
    case LINK_INJECT: answer_inject(s, head.ask, &message.inject); return;
    default: return;
    }
    waitq_wake_all(s->rt, &s->news);
}

int guardian_link_open(struct server *s)
{
    return rt_watch(s->rt, s->handoff->link_fd, EPOLLIN, on_readable, s);
}

void guardian_link_close(struct server *s)
{
    if (!s->guardian_gone)
        rt_unwatch(s->rt, s->handoff->link_fd);
}
