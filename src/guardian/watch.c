// SPDX-License-Identifier: MIT
// watch.c - the guardian's loop: what the servers say, whether they hang or die; what then is succession.c's.
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

#define IMPATIENT_NS 100000000ull   // the longest sleep while there is no server

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
    fdstore_ready(g);
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

void watch_end(struct guardian *g, int rc, const char *text)
{
    g->over = true;
    fdstore_clear(g);
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

static void take_version(struct server *s, const char *text)
{
    size_t len = strnlen(text, sizeof(s->version) - 1);
    for (size_t i = 0; i < len; i++)
        s->version[i] = text[i] >= ' ' && text[i] <= '~' && text[i] != '"' ? text[i] : '?';
    s->version[len] = 0;
}

static int mount_it(struct guardian *g)
{
    struct err err = {0};
    int rc = fuse_mount(&g->opt, g->fuse_fd, g->disk.block_count, &g->kernel_dirty_kib, &err);
    if (rc < 0) {
        // The server has the volume open: it closes it properly, says LINK_ENDED, and that ends us.
        snprintf(g->end_text, sizeof(g->end_text), "%s", err.text);
        g->end_rc = -err.number;
        return rc;
    }
    g->mounted = true;
    g->legacy->kernel_dirty_kib = g->kernel_dirty_kib;
    g->legacy->mounted = 1;
    fdstore_put_all(g);
    return 0;
}

static void on_ready(struct guardian *g, struct server *s, const struct link_head *head, const char *text)
{
    if (s->state != SERVER_STARTING)
        return;
    take_version(s, text);
    if (head->rc == LINK_READ_ONLY && !g->mounted) {
        g->opt.read_only = true;
        g->opt.mount_flags |= MS_RDONLY;
    }
    enum link_kind answer = g->mounted || mount_it(g) == 0 ? LINK_GO : LINK_STOP;
    if (answer == LINK_GO)
        s->state = SERVER_MOUNTED;
    if (tell_server(g, answer) < 0)
        succession_kill(g, s);
}

static void on_serving(struct guardian *g, struct server *s, const void *bytes, size_t len)
{
    struct link_serving told = {0};
    if (s->state != SERVER_MOUNTED)
        return;
    memcpy(&told, bytes, MIN(len, sizeof(told)));
    s->state = SERVER_SERVING;
    if (!g->was_serving)
        report_serving(g);
    succession_serving(g, told.pause_ns);
    fdstore_save(g);
}

static void on_ended(struct guardian *g, const struct link_head *head, const char *text)
{
    g->server.state = SERVER_ENDED;
    if (g->end_rc == 0) {           // else: why mount(2) failed says more
        g->end_rc = head->rc < 0 ? head->rc : 0;
        snprintf(g->end_text, sizeof(g->end_text), "%s", text);
    }
}

static void on_failed(struct guardian *g, struct server *s, const struct link_head *head, const char *text)
{
    log_error("event=server-failed generation=%u rc=%d why=\"%s\"", s->generation, head->rc, text);
    if (s == &g->candidate && g->upgrade_from[0]) {
        char why[600];
        snprintf(why, sizeof(why), "%.500s; the old program goes on", text);
        upgrade_failed(g, head->rc < 0 ? head->rc : -EIO, why);
    } else
        snprintf(g->end_text, sizeof(g->end_text), "%s", text);
}

// A standby becomes ready, takes over, or says why it cannot; from then on it speaks as the server.
static void hear_standby(struct guardian *g, struct server *s, const struct link_head *head, const char *text)
{
    switch (head->kind) {
    case LINK_STANDBY_READY:
        if (s->state != SERVER_STARTING)
            return;
        s->state = SERVER_WAITING;
        take_version(s, text);
        g->standby_deaths = 0;
        break;
    case LINK_TAKING: succession_taken(g, s, (uint32_t)head->rc); break;
    case LINK_FAILED: on_failed(g, s, head, text); break;
    }
}

static void hear_server(struct guardian *g, struct server *s, const struct link_head *head, const char *text, size_t len)
{
    switch (head->kind) {
    case LINK_READY: on_ready(g, s, head, text); break;
    case LINK_SERVING: on_serving(g, s, text, len); break;
    case LINK_STATUS: clients_status(g, head->ask, text, len); break;
    case LINK_INJECT: clients_injected(g, head->ask, head->rc, text, len); break;
    case LINK_ENDED: on_ended(g, head, text); break;
    case LINK_FAILED: on_failed(g, s, head, text); break;
    }
}

bool watch_read_link(struct guardian *g, struct server *s)
{
    ssize_t got = recv(s->link_fd, g->packet, sizeof(g->packet) - 1, MSG_DONTWAIT);
    struct link_head head;
    if (got < (ssize_t)sizeof(head))
        return false;
    memcpy(&head, g->packet, sizeof(head));
    size_t len = MIN((size_t)head.text_len, (size_t)got - sizeof(head));
    char *text = (char *)g->packet + sizeof(head);
    text[len] = 0;
    s->asked = false;
    if (s == &g->server)
        hear_server(g, s, &head, text, len);
    else
        hear_standby(g, s, &head, text);
    return true;
}

// --- hangs --------------------------------------------------------------------------------------

void watch_asked(struct guardian *g)
{
    g->server.asked = true;
}

// Time counts only while this loop itself turns: a machine that was stopped is not a server that hangs.
static void watch_beat(struct guardian *g, uint64_t tick_ns)
{
    struct server *s = &g->server;
    uint64_t now = guardian_now_ns(), beat = g->legacy->beat_ns;
    uint64_t passed = MIN(now - s->looked_ns, 2 * tick_ns);
    s->looked_ns = now;
    if (s->pid == 0 || s->was_killed_by_us)
        return;
    bool beats = beat == 0 || beat != s->beat_seen;     // 0: it waits for its predecessor's writes to land
    s->beat_seen = beat;
    s->still_ns = beats ? 0 : s->still_ns + passed;
    // Its loop may turn and yet not hear us: damaged memory can do that.
    s->deaf_ns = s->asked && beat != 0 ? s->deaf_ns + passed : 0;
    if (MAX(s->still_ns, s->deaf_ns) < (uint64_t)g->opt.hang_s * 1000000000)
        return;
    log_warn("event=server-hangs generation=%u pid=%d still_ms=%llu", s->generation, s->pid,
             (unsigned long long)(MAX(s->still_ns, s->deaf_ns) / 1000000));
    if (!g->pause_began_ns) {
        g->pause_began_ns = now - MAX(s->still_ns, s->deaf_ns);
        g->pause_attempts = 0;
        g->pause_cause = "hung";
        g->pause_is_of_hang = true;
    }
    g->legacy->death = DEATH_HUNG;  // before it dies: whoever wakes up then reads it
    succession_kill(g, s);
}

// --- signals and children ---------------------------------------------------------------------------

static void ask_to_end(struct guardian *g)
{
    if (!g->mounted) {
        g->end_rc = -EINTR;
        snprintf(g->end_text, sizeof(g->end_text), "interrupted");
        if (g->server.pid == 0 || tell_server(g, LINK_STOP) < 0)
            succession_kill(g, &g->server);
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

enum { SIGNALS, LISTEN, SERVER, STANDBY, CANDIDATE, CORPSES, CLIENTS = CORPSES + CORPSES_MAX };

static void fill(const struct guardian *g, struct pollfd deaths[], struct pollfd links[])
{
    const struct server *const servers[] = {&g->server, &g->standby, &g->candidate};
    deaths[SIGNALS] = (struct pollfd){.fd = g->signal_fd, .events = POLLIN};
    deaths[LISTEN] = (struct pollfd){.fd = g->listen_fd, .events = POLLIN};
    for (size_t i = 0; i < ARRAY_LEN(servers); i++) {
        deaths[SERVER + i] = (struct pollfd){.fd = servers[i]->pid ? servers[i]->pidfd : -1, .events = POLLIN};
        links[i] = (struct pollfd){.fd = servers[i]->pid ? servers[i]->link_fd : -1, .events = POLLIN};
    }
    for (size_t i = 0; i < CORPSES_MAX; i++)
        deaths[CORPSES + i] = (struct pollfd){.fd = g->corpses[i].server.pid ? g->corpses[i].server.pidfd : -1, .events = POLLIN};
    for (size_t i = 0; i < CLIENTS_MAX; i++)
        deaths[CLIENTS + i] = (struct pollfd){.fd = g->clients[i].fd, .events = POLLIN};
}

// What the servers say and how they die. One thing a turn, as each may move servers to other places; what a
// standby says comes first, for it says it earlier than its predecessor's end is known. False: nothing.
static bool serve_servers(struct guardian *g, const struct pollfd fds[], const struct pollfd links[])
{
    struct server *const standbys[] = {&g->standby, &g->candidate};
    for (size_t i = 0; i < ARRAY_LEN(standbys); i++)
        if ((links[1 + i].revents & POLLIN) && watch_read_link(g, standbys[i]))
            return true;
    if (fds[SERVER].revents) {
        succession_server_died(g);
        return true;
    }
    for (size_t i = 0; i < ARRAY_LEN(standbys); i++) {
        if (fds[STANDBY + i].revents) {
            succession_standby_died(g, standbys[i]);
            return true;
        }
    }
    for (size_t i = 0; i < CORPSES_MAX; i++)
        if (fds[CORPSES + i].revents)
            succession_corpse_died(g, &g->corpses[i]);
    return (links[0].revents & POLLIN) && watch_read_link(g, &g->server);
}

static void serve_others(struct guardian *g, const struct pollfd fds[])
{
    if (fds[SIGNALS].revents)
        on_signal(g);
    if (fds[LISTEN].revents)
        clients_accept(g);
    for (size_t i = 0; i < CLIENTS_MAX; i++)
        if (fds[CLIENTS + i].revents && g->clients[i].fd == fds[CLIENTS + i].fd)
            clients_read(g, &g->clients[i]);
}

static void turn(struct guardian *g, uint64_t tick_ns)
{
    enum { LINKS = CLIENTS + CLIENTS_MAX, ALL = LINKS + 3 };
    struct pollfd fds[ALL];
    fill(g, fds, fds + LINKS);
    uint64_t sleep_ns = g->server.pid && (g->standby.pid || !g->opt.standby) ? tick_ns : MIN(tick_ns, IMPATIENT_NS);
    if (poll(fds, ALL, (int)(sleep_ns / 1000000)) > 0) {
        bool hung_up = false;       // it closed its end and is about to die
        for (size_t i = LINKS; i < ALL; i++)
            hung_up |= (fds[i].revents & (POLLHUP | POLLIN)) == POLLHUP;
        bool moved = serve_servers(g, fds, fds + LINKS);
        if (!moved)
            serve_others(g, fds);
        if (hung_up && !moved)
            poll(NULL, 0, 1);
    }
    uint64_t now = guardian_now_ns();
    clients_expire(g, now);
    watch_beat(g, tick_ns);
    if (g->over)
        return;
    upgrade_turn(g, now);
    succession_turn(g, now);
}

int watch_run(struct guardian *g)
{
    uint64_t tick_ns = MIN((uint64_t)g->opt.hang_s * 1000000000 / 8, (uint64_t)500000000);
    while (!g->over)
        turn(g, tick_ns);
    return g->end_rc == 0 ? 0 : 1;
}
