// SPDX-License-Identifier: MIT
// upgrade.c - a planned hand-over: from the server that runs to the program that is on disk now.
//
//     upgrade_begin ─▶ candidate starts ─▶ LINK_STANDBY_READY ─▶ LINK_HAND_OVER to the server ─▶ it exits
//                            │                                                                      │
//                            ▼ died, or said why not                          the candidate takes over, as ever
//                    nothing has changed                                                            │
//                                                                    ▼ died before it served        ▼ serves
//                                                              the old program is started    its program is ours
//
// The candidate is a standby like any other: when the server dies meanwhile, one of the two takes over. Programs
// are held open: whatever is installed, the mount's servers are of one program until an upgrade has come to its
// end, and what does not understand the mount's memory never becomes one.
#include "guardian/guardian.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "base/log.h"

#define HAND_OVER_NS 3000000000ull  // then the server is killed, which is no worse than any other death

int upgrade_begin(struct guardian *g, struct err *err)
{
    if (!g->opt.standby || !g->opt.plog_bytes)
        return err_set(err, EOPNOTSUPP, "was mounted without a standby (options plog=off, standby=off)");
    if (g->candidate.pid || g->upgrade_from[0])
        return err_set(err, EBUSY, "an upgrade is under way");
    if (g->server.state != SERVER_SERVING || g->unmount_pid > 0)
        return err_set(err, EAGAIN, "its server does not serve at the moment");
    int rc = g->candidate_fd = spawn_find_server(g->candidate_path, err);
    if (rc < 0)
        return rc;
    rc = spawn_standby(g, &g->candidate, g->candidate_fd);
    if (rc < 0) {
        close(g->candidate_fd);
        return err_set(err, -rc, "%.300s cannot be started: %s", g->candidate_path, strerror(-rc));
    }
    snprintf(g->upgrade_from, sizeof(g->upgrade_from), "%s", g->server.version[0] ? g->server.version : "unknown");
    return 0;
}

void upgrade_failed(struct guardian *g, int rc, const char *why)
{
    log_warn("event=upgrade-failed rc=%d why=\"%s\"", rc, why);
    close(g->candidate_fd);
    g->upgrade_from[0] = 0;
    clients_upgraded(g, rc, why);
}

void upgrade_serving(struct guardian *g, double ms)
{
    char text[160];
    if (!g->upgrade_from[0])
        return;
    snprintf(text, sizeof(text), "from version %.40s to %.40s, pause %.3f ms", g->upgrade_from, g->server.version, ms);
    log_info("event=upgraded generation=%u what=\"%s\"", g->server.generation, text);
    if (g->standby.pid)             // of the old program: the candidate was the faster one when the server died
        succession_put_aside(g, &g->standby);
    strcpy(g->server_path, g->candidate_path);
    close(g->server_fd);
    g->server_fd = g->candidate_fd;
    g->upgrade_from[0] = 0;
    clients_upgraded(g, 0, text);
}

// The old standby is put aside only now; when telling the server fails it is about to die by itself.
static void hand_over(struct guardian *g, uint64_t now_ns)
{
    struct link_head head = {.kind = LINK_HAND_OVER};
    if (g->standby.pid)
        succession_put_aside(g, &g->standby);
    log_info("event=handing-over from=%d to=%d old=\"%s\" new=\"%s\"", g->server.pid, g->candidate.pid, g->upgrade_from,
             g->candidate.version);
    g->server.hands_over = true;
    g->server.since_ns = now_ns;
    if (send(g->server.link_fd, &head, sizeof(head), MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
        succession_kill(g, &g->server);
}

void upgrade_turn(struct guardian *g, uint64_t now_ns)
{
    struct server *s = &g->server;
    if (g->candidate.state == SERVER_WAITING && s->state == SERVER_SERVING && !s->hands_over)
        hand_over(g, now_ns);
    if (s->pid && s->hands_over && !s->was_killed_by_us && now_ns - s->since_ns > HAND_OVER_NS) {
        log_warn("event=hand-over-late pid=%d", s->pid);
        succession_kill(g, s);
    }
}
