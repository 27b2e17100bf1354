// SPDX-License-Identifier: MIT
// clients.c - the control socket: commands ask, the guardian answers, and waits for none of them.
//
// The server's half of a status is asked for over the link and handed out when it comes, or left
// out when it does not come within a second: a hung server must not hide behind its own status.
#include "guardian/guardian.h"

#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "base/log.h"

#define STATUS_WAIT_NS 1000000000ull

int clients_listen(struct guardian *g, struct err *err)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    if (strlen(g->socket_path) >= sizeof(addr.sun_path))
        return err_set(err, ENAMETOOLONG, "%s is too long for a socket's name", g->socket_path);
    strcpy(addr.sun_path, g->socket_path);
    int there = control_connect(g->socket_path);
    if (there >= 0) {
        close(there);
        return err_set(err, EBUSY, "%s is a drover mount already (drover umount %s)", g->opt.mountpoint, g->opt.mountpoint);
    }
    unlink(g->socket_path);         // of a guardian that was killed
    g->listen_fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (g->listen_fd < 0 || bind(g->listen_fd, (struct sockaddr *)&addr, sizeof(addr)) < 0 ||
        chmod(g->socket_path, 0666) < 0 || listen(g->listen_fd, CLIENTS_MAX) < 0)
        return err_set(err, errno, "cannot make the control socket %s: %s", g->socket_path, strerror(errno));
    return 0;
}

static bool peer_is_master(int fd)
{
    struct ucred cred;
    socklen_t len = sizeof(cred);
    return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &len) == 0 && (cred.uid == 0 || cred.uid == geteuid());
}

void clients_accept(struct guardian *g)
{
    int fd = accept4(g->listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (fd < 0)
        return;
    for (size_t i = 0; i < CLIENTS_MAX; i++) {
        if (g->clients[i].fd >= 0)
            continue;
        g->clients[i] = (struct client){.fd = fd, .may_inject = peer_is_master(fd)};
        return;
    }
    close(fd);                      // too many at once; the command says that nobody answered
}

static void drop(struct client *client)
{
    close(client->fd);
    client->fd = -1;
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void fill_pauses(const struct guardian *g, struct control_state *out)
{
    double sorted[PAUSES_MAX];
    uint32_t count = MIN(g->pause_count, (uint32_t)PAUSES_MAX);
    if (count == 0)
        return;
    memcpy(sorted, g->pauses_ms, count * sizeof(sorted[0]));
    qsort(sorted, count, sizeof(sorted[0]), compare);
    out->pause_p50_ms = sorted[count / 2];
    out->pause_p99_ms = sorted[MIN(count - 1, count * 99 / 100)];
    out->pause_max_ms = sorted[count - 1];
    for (uint32_t i = 0, bucket = 0; i < count; i++) {
        while (sorted[i] > control_bucket_ms[bucket])
            bucket++;
        out->pause_buckets[bucket]++;
    }
}

static void fill_state(const struct guardian *g, struct control_state *out)
{
    *out = (struct control_state){
        .guardian_pid = getpid(),
        .server_pid = g->server.pid,
        .standby_pid = g->standby.state == SERVER_WAITING ? g->standby.pid : 0,
        .generation = g->server.generation,
        .recoveries = g->recoveries,
        .serving = g->server.state == SERVER_SERVING,
        .read_only = g->opt.read_only,
    };
    if (g->legacy) {
        out->aim_act = g->legacy->aim_act;
        out->aim_ignore = g->legacy->aim_ignore;
        out->aim_modify = g->legacy->aim_modify;
        out->pages_recovered = g->legacy->pages_recovered;
        out->distrusted = g->legacy->distrusted;
        out->poisoned = g->legacy->poisoned;
        out->mended = g->legacy->mended;
    }
    fill_pauses(g, out);
    if (g->legacy) {
        out->crashes = g->legacy->crashes;
        out->damage = g->legacy->damage;
    }
    snprintf(out->disk, sizeof(out->disk), "%s", g->opt.disk);
    snprintf(out->mountpoint, sizeof(out->mountpoint), "%s", g->opt.mountpoint);
    snprintf(out->log, sizeof(out->log), "%s", g->log_path);
}

// Answers and lets go. A client that does not read its answer loses it.
static void answer(const struct guardian *g, struct client *client, int rc, const void *text, size_t len)
{
    struct control_answer head = {
        .magic = CONTROL_MAGIC, .version = CONTROL_VERSION, .rc = rc, .text_len = (uint32_t)len,
    };
    fill_state(g, &head.state);
    struct iovec iov[2] = {{&head, sizeof(head)}, {(void *)text, len}};
    struct msghdr msg = {.msg_iov = iov, .msg_iovlen = 2};
    if (sendmsg(client->fd, &msg, MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
        log_debug("event=control-answer-lost errno=%d", errno);
    drop(client);
}

static bool put_question(struct guardian *g, struct client *client)
{
    struct link_head head = {.kind = LINK_STATUS, .ask = ++g->asked};
    client->ask = head.ask;
    client->generation = g->server.generation;
    watch_asked(g);
    return send(g->server.link_fd, &head, sizeof(head), MSG_DONTWAIT | MSG_NOSIGNAL) >= 0;
}

static void ask_server(struct guardian *g, struct client *client)
{
    client->deadline_ns = guardian_now_ns() + STATUS_WAIT_NS;
    if (g->server.state != SERVER_SERVING || !put_question(g, client))
        answer(g, client, 0, NULL, 0);
}

// The server does it, and says what it did.
static void inject_by_server(struct guardian *g, struct client *client, const struct control_inject *inject)
{
    struct {
        struct link_head head;
        struct control_inject inject;
    } message = {{.kind = LINK_INJECT, .ask = ++g->asked, .text_len = sizeof(*inject)}, *inject};
    static_assert(sizeof(message) == sizeof(message.head) + sizeof(message.inject), "one behind the other");
    if (!client->may_inject) {
        answer(g, client, -EPERM, NULL, 0);
    } else if (g->server.state != SERVER_SERVING ||
               send(g->server.link_fd, &message, sizeof(message), MSG_DONTWAIT | MSG_NOSIGNAL) < 0) {
        answer(g, client, -ESRCH, NULL, 0);
    } else {
        client->ask = message.head.ask;
        client->injects = true;
        watch_asked(g);
        client->generation = g->server.generation;
        client->deadline_ns = guardian_now_ns() + STATUS_WAIT_NS;
    }
}

static void inject(struct guardian *g, struct client *client, int signal)
{
    if (!client->may_inject) {
        answer(g, client, -EPERM, NULL, 0);
    } else if (g->server.pid == 0 || g->server.state == SERVER_ENDED) {
        answer(g, client, -ESRCH, NULL, 0);
    } else {
        log_info("event=injected signal=%d pid=%d", signal, g->server.pid);
        kill(g->server.pid, signal);
        answer(g, client, 0, NULL, 0);
    }
}

static void upgrade(struct guardian *g, struct client *client)
{
    struct err err = {0};
    int rc = client->may_inject ? upgrade_begin(g, &err) : -EPERM;
    if (rc < 0)
        answer(g, client, rc, err.text, strlen(err.text));
    else
        client->upgrades = true;
}

void clients_upgraded(struct guardian *g, int rc, const char *text)
{
    for (size_t i = 0; i < CLIENTS_MAX; i++)
        if (g->clients[i].fd >= 0 && g->clients[i].upgrades)
            answer(g, &g->clients[i], rc, text, strlen(text));
}

void clients_read(struct guardian *g, struct client *client)
{
    struct {
        struct control_ask ask;
        struct control_inject inject;
    } packet;
    ssize_t got = recv(client->fd, &packet, sizeof(packet), MSG_DONTWAIT);
    if (got < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    struct control_ask ask = packet.ask;
    size_t wanted = got >= (ssize_t)sizeof(ask) && ask.op == CONTROL_INJECT ? sizeof(packet) : sizeof(ask);
    if (got != (ssize_t)wanted || ask.magic != CONTROL_MAGIC || client->ask || client->waits || client->upgrades) {
        drop(client);
        return;
    }
    if (ask.version != CONTROL_VERSION) {
        answer(g, client, -EPROTO, NULL, 0);
        return;
    }
    switch (ask.op) {
    case CONTROL_STATUS: ask_server(g, client); break;
    case CONTROL_CRASH: inject(g, client, SIGKILL); break;
    case CONTROL_HANG: inject(g, client, SIGSTOP); break;
    case CONTROL_WAIT: client->waits = true; break;
    case CONTROL_UPGRADE: upgrade(g, client); break;
    case CONTROL_INJECT: inject_by_server(g, client, &packet.inject); break;
    default: answer(g, client, -EOPNOTSUPP, NULL, 0);
    }
}

void clients_status(struct guardian *g, uint32_t ask, const void *text, size_t len)
{
    for (size_t i = 0; i < CLIENTS_MAX; i++)
        if (g->clients[i].fd >= 0 && g->clients[i].ask == ask && ask)
            answer(g, &g->clients[i], 0, text, len);
}

void clients_injected(struct guardian *g, uint32_t ask, int rc, const void *text, size_t len)
{
    for (size_t i = 0; i < CLIENTS_MAX; i++)
        if (g->clients[i].fd >= 0 && g->clients[i].ask == ask && ask && g->clients[i].injects)
            answer(g, &g->clients[i], rc, text, len);
}

void clients_expire(struct guardian *g, uint64_t now_ns)
{
    static const char died[] = "the server died before it answered (drover log says of what)";
    for (size_t i = 0; i < CLIENTS_MAX; i++) {
        struct client *client = &g->clients[i];
        if (client->fd < 0 || !client->ask)
            continue;
        if (client->injects && (g->server.pid == 0 || client->generation != g->server.generation))
            answer(g, client, -ESRCH, died, strlen(died));
        else if (client->deadline_ns <= now_ns)
            answer(g, client, client->injects ? -ETIMEDOUT : 0, NULL, 0);
        else if (client->generation != g->server.generation && g->server.state == SERVER_SERVING && !put_question(g, client))
            answer(g, client, 0, NULL, 0);      // the one that was asked first has died
    }
}

// Takes in whoever knocked while the end came: `drover umount` asks to wait, then unmounts.
static void take_latecomers(struct guardian *g)
{
    struct pollfd pollfd = {.fd = g->listen_fd, .events = POLLIN};
    for (int i = 0; i < CLIENTS_MAX && poll(&pollfd, 1, 0) > 0; i++)
        clients_accept(g);
    for (size_t i = 0; i < CLIENTS_MAX; i++)
        if (g->clients[i].fd >= 0 && !g->clients[i].waits)
            clients_read(g, &g->clients[i]);
}

void clients_end(struct guardian *g)
{
    take_latecomers(g);
    unlink(g->socket_path);
    close(g->listen_fd);
    for (size_t i = 0; i < CLIENTS_MAX; i++) {
        struct client *client = &g->clients[i];
        if (client->fd >= 0 && client->waits)
            answer(g, client, g->end_rc, g->end_text, strlen(g->end_text));
        else if (client->fd >= 0)
            drop(client);
    }
}
