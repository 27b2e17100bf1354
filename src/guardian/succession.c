// SPDX-License-Identifier: MIT
// succession.c - a server dies, and what comes after it: the standby, or a new one, or the end.
//
// With a standby the kernel tells it of the death before anybody else (deathwatch.h): it has taken over
// when this process first hears of it. So the dead server may still be here, as a corpse whose memory is being
// taken down; how it died is known, and judged, only when that is over.
#include "guardian/guardian.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>

#include "base/log.h"
#include "guardian/deathwatch.h"
#include "guardian/fuse_mount.h"

#define PATIENCE_NS 100000000ull    // before the third attempt; twice as long before each further one
#define OUTSIDE_WAIT_NS 500000000ull
#define HEIR_NS 2000000000ull       // a standby that has not taken over by then does not live
#define START_NS 20000000000ull     // nor one that is not ready by then
#define UPGRADE_DIED "the new program died when it had taken over; the old one comes back"
#define FREE_CORPSES_MIN 3          // a death, and an upgrade that puts a standby aside

// --- corpses --------------------------------------------------------------------------------------

void succession_kill(struct guardian *g, struct server *s)
{
    s->was_killed_by_us = true;
    if (s->pid > 0)
        kill(s->pid, SIGKILL);
}

// Reaped: it is no more.
static void let_go(struct guardian *g, struct server *s)
{
    close(s->pidfd);
    close(s->link_fd);
    fdstore_drop_pid(g, s->pid);
    *s = (struct server){.generation = s->generation};
}

static size_t free_corpses(const struct guardian *g)
{
    size_t count = 0;
    for (size_t i = 0; i < CORPSES_MAX; i++)
        count += g->corpses[i].server.pid == 0;
    return count;
}

static bool is_stuck(const struct guardian *g, const struct server *s)
{
    // One that had work and finished none of it dies of that work.
    return g->legacy->received != s->received_before && g->legacy->answered == s->answered_before;
}

// `judged`: it is ours to end, nobody need wonder why.
static void lay_out(struct guardian *g, struct server *s, bool judged)
{
    for (size_t i = 0; i < CORPSES_MAX; i++) {
        struct corpse *corpse = &g->corpses[i];
        if (corpse->server.pid)
            continue;
        kill(s->pid, SIGKILL);      // it is dead; if it only seemed so, it is now
        *corpse = (struct corpse){
            .server = *s,
            .was_serving = s->state == SERVER_SERVING,
            .stuck = is_stuck(g, s),
            .judged = judged || s->hands_over,
        };
        *s = (struct server){.generation = s->generation};
        return;
    }
}

void succession_put_aside(struct guardian *g, struct server *s)
{
    lay_out(g, s, true);
}

// --- judgement ------------------------------------------------------------------------------------

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
    watch_end(g, -EIO, text);
}

static void describe_death(const siginfo_t *info, char out[32])
{
    snprintf(out, 32, info->si_code == CLD_EXITED ? "exit=%d" : "signal=%d", info->si_status);
}

static bool was_killed(const siginfo_t *info)
{
    return info->si_code != CLD_EXITED && info->si_status == SIGKILL;
}

static const char *cause_of(const struct server *dead, const siginfo_t *info)
{
    bool by_signal = info->si_code != CLD_EXITED;
    return dead->hands_over ? "upgraded"
         : dead->was_killed_by_us ? "hung"
         : was_killed(info) ? "killed"
         : by_signal ? "crashed" : "failed";
}

// The brake. False: it holds, and all is over. Kills from outside (a test, or the kernel for want of memory) are
// nobody's fault and end nothing; but a server that gets no chance to serve is not started as fast as can be.
static bool judge(struct guardian *g, const struct server *dead, const siginfo_t *info, bool was_serving, bool stuck)
{
    bool from_outside = !dead->was_killed_by_us && was_killed(info);
    bool own_fault = !dead->was_killed_by_us && !from_outside;
    bool useless = !was_serving || (own_fault && stuck);
    uint64_t now = guardian_now_ns();
    if (!useless)
        g->quick.count = 0;
    if (useless && from_outside) {
        if (too_many(&g->outside, OUTSIDE_DEATHS))
            g->restart_at_ns = now + OUTSIDE_WAIT_NS;
        return true;
    }
    if (useless && too_many(&g->quick, QUICK_DEATHS))
        give_up(g, "the server died again and again without serving");
    else if (own_fault && too_many(&g->own, OWN_CRASHES))
        give_up(g, "the server crashed too often");
    else if (useless && g->quick.count > 1)     // what stopped it may pass
        g->restart_at_ns = now + (PATIENCE_NS << (g->quick.count - 2));
    return !g->over;
}

// --- the next one ---------------------------------------------------------------------------------

static void begin_pause(struct guardian *g, const char *cause)
{
    if (!g->pause_began_ns) {
        g->pause_began_ns = guardian_now_ns();
        g->pause_attempts = 0;
        g->pause_cause = NULL;
    }
    if (!g->pause_cause)
        g->pause_cause = cause;
}

static bool has_heir(const struct guardian *g)
{
    return g->standby.pid || g->candidate.pid;
}

static void restart(struct guardian *g)
{
    int rc = spawn_server(g);
    if (rc == 0) {
        g->pause_attempts++;
        return;
    }
    log_error("event=server-not-started errno=%d", -rc);
    if (too_many(&g->quick, QUICK_DEATHS))
        give_up(g, "no server can be started");
    // Otherwise the loop's next turn tries again.
}

// No server: the standby takes over, or else a new one is started.
static void succeed(struct guardian *g)
{
    if (has_heir(g))
        g->heir_by_ns = guardian_now_ns() + HEIR_NS;
    else if (guardian_now_ns() >= g->restart_at_ns)
        restart(g);
}

void succession_server_died(struct guardian *g)
{
    siginfo_t info = {0};
    if (waitid(P_PID, (id_t)g->server.pid, &info, WEXITED | WNOHANG) < 0 || info.si_pid == 0)
        return;
    while (watch_read_link(g, &g->server))      // its last words
        ;
    struct server dead = g->server;
    bool stuck = is_stuck(g, &dead);
    let_go(g, &g->server);
    if (dead.state == SERVER_ENDED) {
        watch_end(g, g->end_rc, g->end_text);
        return;
    }
    char how[32];
    describe_death(&info, how);
    if (!g->mounted) {
        char text[sizeof(g->end_text)];
        snprintf(text, sizeof(text), "the server died while opening the volume (%s, see %.200s)", how, g->log_path);
        watch_end(g, g->end_rc ? g->end_rc : -EIO, g->end_text[0] ? g->end_text : text);
        return;
    }
    if (!dead.hands_over)
        log_warn("event=server-died generation=%u pid=%d %s", dead.generation, dead.pid, how);
    begin_pause(g, cause_of(&dead, &info));
    if (dead.is_new && g->upgrade_from[0])
        upgrade_failed(g, -EIO, UPGRADE_DIED);
    const int alive[] = {g->standby.pid, g->candidate.pid};
    if (deathwatch_bury(&g->legacy->owner.word, dead.pid, alive, ARRAY_LEN(alive)) && has_heir(g))
        log_warn("event=owner-buried pid=%d what=\"the kernel could not tell the standby of its death\"", dead.pid);
    if (dead.hands_over || judge(g, &dead, &info, dead.state == SERVER_SERVING, stuck))
        succeed(g);
}

void succession_standby_died(struct guardian *g, struct server *s)
{
    siginfo_t info = {0};
    while (s->pid && watch_read_link(g, s))
        ;
    if (!s->pid)                    // its last words were that it has taken over: it died as the server
        return;
    if (waitid(P_PID, (id_t)s->pid, &info, WEXITED | WNOHANG) < 0 || info.si_pid == 0)
        return;
    struct server dead = *s;
    char how[32];
    describe_death(&info, how);
    let_go(g, s);
    if (!g->legacy->ended)          // then it has nothing to wait for
        log_warn("event=standby-died pid=%d %s", dead.pid, how);
    if (s == &g->candidate && g->upgrade_from[0])
        upgrade_failed(g, -ECHILD, "the new program died; the old one goes on");
    uint32_t power = MIN(g->standby_deaths++, 7u);
    g->standby_at_ns = guardian_now_ns() + (PATIENCE_NS << power);
    if (g->server.pid == 0 && !g->over)
        succeed(g);
}

void succession_corpse_died(struct guardian *g, struct corpse *corpse)
{
    siginfo_t info = {0};
    if (waitid(P_PID, (id_t)corpse->server.pid, &info, WEXITED | WNOHANG) < 0 || info.si_pid == 0)
        return;
    struct corpse dead = *corpse;
    char how[32];
    let_go(g, &corpse->server);
    describe_death(&info, how);
    if (dead.judged)
        return;
    log_warn("event=server-died generation=%u pid=%d %s", dead.server.generation, dead.server.pid, how);
    if (!g->over)
        judge(g, &dead.server, &info, dead.was_serving, dead.stuck);
}

// --- the standby takes over -------------------------------------------------------------------------

void succession_taken(struct guardian *g, struct server *s, uint32_t death)
{
    static const char *const causes[] = {[DEATH_SILENT] = "killed", [DEATH_CRASHED] = "crashed", [DEATH_HUNG] = "hung"};
    if (g->server.state == SERVER_ENDED) {      // there is nothing to take over
        succession_kill(g, s);
        return;
    }
    struct server heir = *s;
    heir.is_new = s == &g->candidate;
    *s = (struct server){0};
    if (g->server.is_new && g->upgrade_from[0])
        upgrade_failed(g, -EIO, UPGRADE_DIED);
    if (g->server.pid) {
        while (watch_read_link(g, &g->server))
            ;
        begin_pause(g, g->server.hands_over ? "upgraded" : causes[death <= DEATH_HUNG ? death : DEATH_SILENT]);
        lay_out(g, &g->server, false);
    }
    heir.state = SERVER_MOUNTED;
    heir.received_before = g->legacy->received;
    heir.answered_before = g->legacy->answered;
    heir.looked_ns = heir.since_ns = guardian_now_ns();
    g->server = heir;
    g->heir_by_ns = 0;
    g->pause_attempts++;
}

static double pause_ms(const struct guardian *g, uint64_t told_ns)
{
    // It knows best when it woke up; but not of a hang before that, nor of others that tried.
    uint64_t ns = told_ns && g->pause_attempts == 1 && !g->pause_is_of_hang ? told_ns : guardian_now_ns() - g->pause_began_ns;
    return (double)ns / 1e6;
}

void succession_serving(struct guardian *g, uint64_t told_ns)
{
    const struct legacy *l = g->legacy;
    if (!g->pause_began_ns)
        return;
    double ms = pause_ms(g, told_ns);
    const char *cause = g->pause_cause ? g->pause_cause : "failed";
    g->pause_began_ns = 0;
    g->pause_is_of_hang = false;
    if (g->server.is_new)
        upgrade_serving(g, ms);
    g->server.is_new = false;
    if (strcmp(cause, "upgraded") == 0)
        return;                     // nobody had died
    g->pauses_ms[g->pause_count++ % PAUSES_MAX] = ms;
    g->recoveries++;
    log_info("event=recovered generation=%u pause_ms=%.3f act=%llu ignore=%llu modify=%llu pages=%llu died=%s", g->server.generation, ms,
             (unsigned long long)(l->aim_act - g->seen.act), (unsigned long long)(l->aim_ignore - g->seen.ignore),
             (unsigned long long)(l->aim_modify - g->seen.modify), (unsigned long long)(l->pages_recovered - g->seen.pages), cause);
    g->seen.act = l->aim_act;
    g->seen.ignore = l->aim_ignore;
    g->seen.modify = l->aim_modify;
    g->seen.pages = l->pages_recovered;
}

// --- what is due --------------------------------------------------------------------------------------

static bool wants_standby(const struct guardian *g, uint64_t now_ns)
{
    return g->opt.standby && g->opt.plog_bytes && g->server.state == SERVER_SERVING && g->unmount_pid <= 0 &&
           !has_heir(g) && now_ns >= g->standby_at_ns && free_corpses(g) >= FREE_CORPSES_MIN;
}

static void end_time_of(struct guardian *g, struct server *s, uint64_t now_ns)
{
    if (s->pid == 0 || s->was_killed_by_us)
        return;
    bool late = s->state == SERVER_STARTING && now_ns - s->since_ns > START_NS;
    bool idle = g->heir_by_ns && now_ns > g->heir_by_ns;
    if (!late && !idle)
        return;
    log_warn("event=standby-late pid=%d what=\"%s\"", s->pid, late ? "it does not become ready" : "it does not take over");
    succession_kill(g, s);
}

void succession_turn(struct guardian *g, uint64_t now_ns)
{
    end_time_of(g, &g->standby, now_ns);
    end_time_of(g, &g->candidate, now_ns);
    if (g->server.pid == 0 && !has_heir(g) && now_ns >= g->restart_at_ns)
        restart(g);
    if (!wants_standby(g, now_ns))
        return;
    int rc = spawn_standby(g, &g->standby, g->server_fd);
    if (rc == 0)
        return;
    log_warn("event=standby-not-started errno=%d", -rc);
    g->standby_at_ns = now_ns + (PATIENCE_NS << MIN(g->standby_deaths++, 7u));
}

static void end_one(struct guardian *g, struct server *s)
{
    if (s->pid == 0)
        return;
    kill(s->pid, SIGKILL);
    waitpid(s->pid, NULL, 0);
    let_go(g, s);
}

void succession_end(struct guardian *g)
{
    end_one(g, &g->standby);
    end_one(g, &g->candidate);
    end_one(g, &g->server);
    for (size_t i = 0; i < CORPSES_MAX; i++)
        end_one(g, &g->corpses[i].server);
}
