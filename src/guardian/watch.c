// SPDX-License-Identifier: MIT
// watch.c - the guardian's loop: what the server says, how it dies, whether it hangs, what then.
//
// Nothing here waits for the server, for a disk or for a client: every descriptor is non-blocking,
// and what the kernel may hold up (umount) is a child's work. Whatever a dying server sends is data:
// lengths are checked, kinds that do not fit the state are ignored.
#include "guardian/guardian.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>

#include "base/log.h"
#include "guardian/fuse_mount.h"
#include "guardian/sys_mount.h"

#define PATIENCE_NS 100000000ull    // before the third attempt; twice as long before each further one

uint64_t guardian_now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

// --- success and failure of `drover mount` -------------------------------------------------------

static void close_ready_fd(struct guardian *g)
{
    if (g->opt.ready_fd >= 0)
        close(g->opt.ready_fd);
    g->opt.ready_fd = -1;
}

static void tell_starter(struct guardian *g, const char *line)
{
    int fd = g->opt.ready_fd >= 0 ? g->opt.ready_fd : STDERR_FILENO;
    if (write(fd, line, strlen(line)) < 0)
        log_debug("event=starter-gone errno=%d", errno);
    close_ready_fd(g);
}

static void report_serving(struct guardian *g)
{
    g->was_serving = true;
    log_info("event=mounted disk=\"%s\" mountpoint=\"%s\" read_only=%d", g->opt.disk, g->opt.mountpoint, g->opt.read_only);
    if (g->opt.foreground) {
        close_ready_fd(g);
        return;
    }
    // From here on this is a daemon: the terminal of `drover mount` is let go.
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    if (null >= 0) {
        dup2(null, STDIN_FILENO);
        dup2(null, STDOUT_FILENO);
        dup2(null, STDERR_FILENO);
        if (null > STDERR_FILENO)
            close(null);
    }
    tell_starter(g, "ok\n");
}

// The mount is over, for good or ill.
static void end(struct guardian *g, int rc, const char *text)
{
    g->over = true;
    g->end_rc = rc;
    if (text != g->end_text)
        snprintf(g->end_text, sizeof(g->end_text), "%s", text);
    if (rc == 0)
        log_info("event=ended what=\"%s\"", text);
    else
        log_error("event=ended rc=%d why=\"%s\"", rc, text);
    if (!g->was_serving) {
        char line[sizeof(g->end_text) + 2];
        snprintf(line, sizeof(line), "%s\n", text);
        tell_starter(g, rc == 0 ? "the mount was ended before it was usable\n" : line);
    }
}

// --- the link ---------------------------------------------------------------------------------

static int tell_server(struct guardian *g, enum link_kind kind)
{
    struct link_head head = {.kind = kind, .ask = kind == LINK_GO ? g->kernel_dirty_kib : 0};
    return send(g->server.link_fd, &head, sizeof(head), MSG_DONTWAIT | MSG_NOSIGNAL) < 0 ? -errno : 0;
}

static void on_ready(struct guardian *g, const struct link_head *head)
{
    struct err err = {0};
    if (g->server.state != SERVER_STARTING)
        return;
    if (head->rc == LINK_READ_ONLY && !g->mounted) {
        g->opt.read_only = true;
        g->opt.mount_flags |= MS_RDONLY;
    }
    if (!g->mounted && fuse_mount(&g->opt, g->fuse_fd, g->disk.block_count, &g->kernel_dirty_kib, &err) < 0) {
        // The server has the volume open: it closes it properly, says LINK_ENDED, and that ends us.
        snprintf(g->end_text, sizeof(g->end_text), "%s", err.text);
        g->end_rc = -err.number;
        if (tell_server(g, LINK_STOP) < 0)
            watch_kill_server(g, SIGKILL);
        return;
    }
    g->mounted = true;
    g->server.state = SERVER_MOUNTED;
    if (tell_server(g, LINK_GO) < 0)
        watch_kill_server(g, SIGKILL);
}

static void on_serving(struct guardian *g)
{
    if (g->server.state != SERVER_MOUNTED)
        return;
    g->server.state = SERVER_SERVING;
    if (!g->was_serving)
        report_serving(g);
    if (!g->pause_began_ns)
        return;
    double ms = (double)(guardian_now_ns() - g->pause_began_ns) / 1e6;
    g->pauses_ms[g->pause_count++ % PAUSES_MAX] = ms;
    g->recoveries++;
    g->pause_began_ns = 0;
    log_info("event=recovered generation=%u pause_ms=%.3f", g->server.generation, ms);
}

static void on_ended(struct guardian *g, const struct link_head *head, const char *text)
{
    g->server.state = SERVER_ENDED;
    if (g->end_rc == 0) {           // else: why mount(2) failed says more
        g->end_rc = head->rc < 0 ? head->rc : 0;
        snprintf(g->end_text, sizeof(g->end_text), "%s", text);
    }
}

// One message. False when there was none.
static bool read_link(struct guardian *g)
{
    ssize_t got = recv(g->server.link_fd, g->packet, sizeof(g->packet) - 1, MSG_DONTWAIT);
    struct link_head head;
    if (got < (ssize_t)sizeof(head))
        return false;
    memcpy(&head, g->packet, sizeof(head));
    size_t len = MIN((size_t)head.text_len, (size_t)got - sizeof(head));
    char *text = (char *)g->packet + sizeof(head);
    text[len] = 0;
    switch (head.kind) {
    case LINK_READY: on_ready(g, &head); break;
    case LINK_SERVING: on_serving(g); break;
    case LINK_STATUS: clients_status(g, head.ask, text, len); break;
    case LINK_ENDED: on_ended(g, &head, text); break;
    case LINK_FAILED:
        log_error("event=server-failed generation=%u rc=%d why=\"%s\"", g->server.generation, head.rc, text);
        snprintf(g->end_text, sizeof(g->end_text), "%s", text);
        break;
    }
    return true;
}

// --- death --------------------------------------------------------------------------------------

void watch_kill_server(struct guardian *g, int signal)
{
    g->server.was_killed_by_us = true;
    if (g->server.pid > 0)
        kill(g->server.pid, signal);
}

// Notes one more; true when `limit` of them lie within the brake's time.
static bool too_many(struct deaths *deaths, uint32_t limit)
{
    uint64_t now = guardian_now_ns();
    uint32_t oldest = (deaths->count + 1 + OWN_CRASHES - limit) % OWN_CRASHES;
    deaths->at_ns[deaths->count++ % OWN_CRASHES] = now;
    return deaths->count >= limit && now - deaths->at_ns[oldest] < BRAKE_NS;
}

// The clients get errors from here on; whoever waits gets the reason.
static void give_up(struct guardian *g, const char *why)
{
    char text[sizeof(g->end_text)];
    snprintf(text, sizeof(text), "%.200s%s%.250s", why, g->end_text[0] ? ": " : "", g->end_text);
    log_error("event=giving-up mountpoint=\"%s\" why=\"%s\" what=\"the mount answers with errors from now on; unmount it, then run drover fsck\"",
              g->opt.mountpoint, text);
    if (g->relay_pid > 0)
        kill(g->relay_pid, SIGKILL);
    if (g->mounted)
        g->unmount_pid = fuse_unmount_begin(g->opt.mountpoint, FUSE_UNMOUNT_ABORT);
    end(g, -EIO, text);
}

static void describe_death(const siginfo_t *info, char *out, size_t size)
{
    if (info->si_code == CLD_EXITED)
        snprintf(out, size, "exit=%d", info->si_status);
    else
        snprintf(out, size, "signal=%d", info->si_status);
}

static void restart(struct guardian *g)
{
    int rc = spawn_server(g);
    if (rc == 0)
        return;
    log_error("event=server-not-started errno=%d", -rc);
    if (too_many(&g->quick, QUICK_DEATHS))
        give_up(g, "no server can be started");
    // Otherwise the loop's next turn tries again.
}

static void on_death(struct guardian *g)
{
    siginfo_t info = {0};
    if (waitid(P_PID, (id_t)g->server.pid, &info, WEXITED | WNOHANG) < 0 || info.si_pid == 0)
        return;
    while (read_link(g))            // its last words
        ;
    struct server dead = g->server;
    bool serving = dead.state == SERVER_SERVING;
    close(dead.pidfd);
    close(dead.link_fd);
    g->server.pid = 0;
    g->server.state = SERVER_NONE;
    if (dead.state == SERVER_ENDED) {
        end(g, g->end_rc, g->end_text);
        return;
    }

    char how[32];
    describe_death(&info, how, sizeof(how));
    if (!g->mounted) {
        char text[sizeof(g->end_text)];
        snprintf(text, sizeof(text), "the server died while opening the volume (%s, see %.200s)", how, g->log_path);
        end(g, g->end_rc ? g->end_rc : -EIO, g->end_text[0] ? g->end_text : text);
        return;
    }
    log_warn("event=server-died generation=%u pid=%d %s", dead.generation, dead.pid, how);
    if (!g->pause_began_ns)
        g->pause_began_ns = guardian_now_ns();
    bool own_fault = !dead.was_killed_by_us && !(info.si_code != CLD_EXITED && info.si_status == SIGKILL);
    // One that had work and finished none of it dies of that work.
    bool stuck = g->legacy->received != dead.received_before && g->legacy->answered == dead.answered_before;
    bool useless = !serving || (own_fault && stuck);
    if (!useless)
        g->quick.count = 0;
    if (useless && too_many(&g->quick, QUICK_DEATHS))
        give_up(g, "the server died again and again without serving");
    else if (own_fault && too_many(&g->own, OWN_CRASHES))
        give_up(g, "the server crashed too often");
    else if (useless && g->quick.count > 1)     // what stopped it may pass
        g->restart_at_ns = guardian_now_ns() + (PATIENCE_NS << (g->quick.count - 2));
    else
        restart(g);
}

// --- hangs --------------------------------------------------------------------------------------

// Time counts only while this loop itself turns: a machine that was stopped is not a server that hangs.
static void watch_beat(struct guardian *g, uint64_t tick_ns)
{
    struct server *s = &g->server;
    uint64_t now = guardian_now_ns(), beat = g->legacy->beat_ns;
    uint64_t passed = MIN(now - s->looked_ns, 2 * tick_ns);
    s->looked_ns = now;
    if (s->pid == 0 || s->was_killed_by_us)
        return;
    if (beat == 0 || beat != s->beat_seen) {    // 0: it waits for its predecessor's writes to land
        s->beat_seen = beat;
        s->still_ns = 0;
        return;
    }
    s->still_ns += passed;
    if (s->still_ns < (uint64_t)g->opt.hang_s * 1000000000)
        return;
    log_warn("event=server-hangs generation=%u pid=%d still_ms=%llu", s->generation, s->pid,
             (unsigned long long)(s->still_ns / 1000000));
    if (!g->pause_began_ns)
        g->pause_began_ns = now - s->still_ns;
    watch_kill_server(g, SIGKILL);
}

// --- signals and children ---------------------------------------------------------------------------

static void ask_to_end(struct guardian *g)
{
    if (!g->mounted) {
        g->end_rc = -EINTR;
        snprintf(g->end_text, sizeof(g->end_text), "interrupted");
        if (g->server.pid == 0 || tell_server(g, LINK_STOP) < 0)
            watch_kill_server(g, SIGKILL);
    } else if (g->unmount_pid <= 0) {
        g->unmount_pid = fuse_unmount_begin(g->opt.mountpoint, FUSE_UNMOUNT_OR_DETACH);
    }
}

static void reap(struct guardian *g)
{
    int status;
    if (g->unmount_pid > 0 && waitpid(g->unmount_pid, &status, WNOHANG) == g->unmount_pid) {
        g->unmount_pid = 0;
        if (status)
            log_warn("event=unmount-asked result=%d what=\"in use: ends when the last user goes\"", WEXITSTATUS(status));
    }
    if (g->relay_pid > 0 && waitpid(g->relay_pid, &status, WNOHANG) == g->relay_pid) {
        log_warn("event=relay-died status=%#x what=\"SEEK_DATA and SEEK_HOLE fail until the next mount\"", status);
        g->relay_pid = 0;
    }
}

static void on_signal(struct guardian *g)
{
    struct signalfd_siginfo info;
    while (read(g->signal_fd, &info, sizeof(info)) == (ssize_t)sizeof(info)) {
        if (info.ssi_signo == SIGCHLD)
            reap(g);
        else
            ask_to_end(g);
    }
}

// --- the loop -----------------------------------------------------------------------------------

static void turn(struct guardian *g, uint64_t tick_ns)
{
    enum { SIGNALS, LISTEN, PIDFD, LINK, CLIENTS };
    struct pollfd fds[CLIENTS + CLIENTS_MAX] = {
        [SIGNALS] = {.fd = g->signal_fd, .events = POLLIN},
        [LISTEN] = {.fd = g->listen_fd, .events = POLLIN},
        [PIDFD] = {.fd = g->server.pid ? g->server.pidfd : -1, .events = POLLIN},
        [LINK] = {.fd = g->server.pid ? g->server.link_fd : -1, .events = POLLIN},
    };
    for (size_t i = 0; i < CLIENTS_MAX; i++)
        fds[CLIENTS + i] = (struct pollfd){.fd = g->clients[i].fd, .events = POLLIN};
    uint64_t sleep_ns = g->server.pid ? tick_ns : MIN(tick_ns, PATIENCE_NS);
    int ready = poll(fds, ARRAY_LEN(fds), (int)(sleep_ns / 1000000));
    if (ready > 0) {
        if (fds[PIDFD].revents) {
            on_death(g);            // first of all: somebody waits for the successor
            return;
        }
        if ((fds[LINK].revents & POLLHUP) && !(fds[LINK].revents & POLLIN))
            poll(NULL, 0, 1);       // it closed its end and is about to die
        if (fds[LINK].revents & POLLIN)
            read_link(g);
        if (fds[SIGNALS].revents)
            on_signal(g);
        if (fds[LISTEN].revents)
            clients_accept(g);
        for (size_t i = 0; i < CLIENTS_MAX; i++)
            if (fds[CLIENTS + i].revents && g->clients[i].fd == fds[CLIENTS + i].fd)
                clients_read(g, &g->clients[i]);
    }
    clients_expire(g, guardian_now_ns());
    watch_beat(g, tick_ns);
    if (g->server.pid == 0 && !g->over && guardian_now_ns() >= g->restart_at_ns)
        restart(g);
}

int watch_run(struct guardian *g)
{
    uint64_t tick_ns = MIN((uint64_t)g->opt.hang_s * 1000000000 / 8, (uint64_t)500000000);
    while (!g->over)
        turn(g, tick_ns);
    return g->end_rc == 0 ? 0 : 1;
}
